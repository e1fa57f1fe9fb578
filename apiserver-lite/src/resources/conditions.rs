//! `metav1.Condition`, which the status of many kinds holds.

use coracle_api::{FieldError, format};
use serde_json::Value;

use super::rules::{self, Check, Errors, Place, Rule};

const LONGEST_REASON: usize = 1024;
const LONGEST_MESSAGE: usize = 32 * 1024;

/// What a list of conditions must be.
pub fn conditions(list: &Place<'_>, errors: &mut Errors) {
    let all = list.value().as_array().map_or(&[][..], Vec::as_slice);
    let kind = |it: &Value| it["type"].as_str().unwrap_or_default().to_owned();
    for condition in list.items() {
        let own = condition.text("type");
        let earlier = all.iter().take(condition.position().unwrap_or_default());
        if earlier.into_iter().any(|it| kind(it) == own) {
            errors.push(FieldError::duplicate(&condition.path(), own));
        }
        rules::check(CONDITION, &condition, errors);
    }
}

static CONDITION: &[Check] = &[
    Check::Field("type", &[Rule::Required("is required"), Rule::Format(format::qualified_name)]),
    Check::Field("status", &[Rule::Required(""), Rule::OneOf(&["False", "True", "Unknown"])]),
    Check::Field("observedGeneration", &[Rule::AtLeast(0, "must be greater than or equal to zero")]),
    Check::Field("lastTransitionTime", &[Rule::Required("")]),
    Check::Field("reason", &[Rule::Required(""), Rule::Format(reason), Rule::MaxBytes(LONGEST_REASON)]),
    Check::Field("message", &[Rule::MaxBytes(LONGEST_MESSAGE)]),
];

fn reason(text: &str) -> Vec<String> {
    const MESSAGE: &str = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_'";
    const REGEX: &str = "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?";
    const EXAMPLES: &[&str] = &["my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB"];
    let inner = |c: char| c.is_ascii_alphanumeric() || "_,:".contains(c);
    let good = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(inner)
        && text.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    if good { Vec::new() } else { vec![format::mismatch(MESSAGE, REGEX, EXAMPLES)] }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn conditions_are_whole_and_differ() {
        let list = json!([
            {"type": "A", "status": "True", "reason": "R_1", "lastTransitionTime": "2020-01-01T00:00:00Z"},
            {"type": "A", "status": "Maybe", "observedGeneration": -1, "reason": "1"},
            {},
        ]);
        let mut errors = Vec::new();
        conditions(&Place::at("c", &list, None), &mut errors);
        let said: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "c[1]: Duplicate value: \"A\"".to_owned(),
                "c[1].status: Unsupported value: \"Maybe\": supported values: \"False\", \"True\", \"Unknown\"".to_owned(),
                "c[1].observedGeneration: Invalid value: -1: must be greater than or equal to zero".to_owned(),
                "c[1].lastTransitionTime: Required value".to_owned(),
                format!("c[1].reason: Invalid value: \"1\": {}", reason("1").concat()),
                "c[2].type: Required value: is required".to_owned(),
                "c[2].status: Required value".to_owned(),
                "c[2].lastTransitionTime: Required value".to_owned(),
                "c[2].reason: Required value".to_owned(),
            ]
        );
    }
}
