//! The vocabulary that every part of Coracle shares: objects, schemas, resource
//! rows, selectors, quantities, statuses and field errors.
//!
//! Nothing here does I/O, knows HTTP or holds state. Start at [`resource`] for
//! what a kind is, at [`schema`] for what its objects look like, and at
//! [`facts`] for the tables that upstream publishes.

pub mod facts;
pub mod field;
pub mod format;
pub mod metrics;
pub mod object;
pub mod quantity;
pub mod quota;
pub mod resource;
pub mod schedule;
pub mod schema;
pub mod selector;
pub mod stamp;
pub mod status;

pub use field::{FieldError, FieldErrorKind, FieldPath};
pub use object::Object;
pub use quantity::Quantity;
pub use resource::{GroupVersionKind, Resource};
pub use selector::{FieldSelector, LabelSelector};
pub use status::Status;

#[cfg(test)]
mod tests {
    use super::*;

    // Short texts of the letters that matter, from one seed.
    #[test]
    fn no_text_makes_a_parser_panic() {
        let letters: Vec<char> = "019aeEiKMn.:/-+,=!<>()\\ é'\"%\0TZ".chars().collect();
        let mut state = 0x2545_f491_4f6c_dd1du64;
        for _ in 0..40_000 {
            let mut text = String::new();
            for _ in 0..24 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let at = usize::try_from(state % (letters.len() as u64 + 2)).unwrap_or_default();
                let Some(c) = letters.get(at) else { break };
                text.push(*c);
            }
            if let Ok(quantity) = Quantity::parse(&text) {
                let shown = quantity.to_string();
                let _ = (
                    quantity.value(),
                    quantity.milli_value(),
                    quantity.plus(&quantity),
                    quantity.approximate(),
                );
                assert!(Quantity::parse(&shown).is_ok(), "{text:?} became {shown:?}");
            }
            let _ = (LabelSelector::parse(&text), FieldSelector::parse(&text), field::go_quote(&text));
            if let Ok(schedule) = schedule::Schedule::parse(&text) {
                let _ = schedule.next(jiff::Timestamp::UNIX_EPOCH);
            }
            let _ = (format::ip(&text), format::cidr(&text), format::interface_address(&text));
            let _ = (format::qualified_name(&text), format::name_is_label(&text, true));
            let _ = (stamp::canonical_time(&text, stamp::Precision::Micros), stamp::parse_duration(&text));
        }
    }
}
