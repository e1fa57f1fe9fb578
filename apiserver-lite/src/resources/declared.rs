//! What upstream declares at its types, and so checks apart from the rest.
//!
//! Its generated checks run after those that are written by hand, and their errors stand last. They go
//! by the fields of the Go types, in that order, and skip what an update leaves
//! as it was. A kind validates with [`rules`](super::rules) first, without what is
//! declared, and then here.

use coracle_api::{FieldError, FieldPath, field::FieldErrorKind};
use serde_json::{Map, Value};

use super::rules::{Errors, Format, IMMUTABLE, Place};

/// What one field of a struct must be, or all of them together.
pub enum Declared {
    /// A field that is no pointer in Go: an empty text, list or map, and 0, are unset.
    Field(&'static str, &'static [Must]),
    /// A pointer: whatever is there is set.
    Pointer(&'static str, &'static [Must]),
    /// A struct that is always there.
    Part(&'static str, &'static [Declared]),
    /// The struct as a whole.
    Whole(fn(&Place<'_>, &mut Errors)),
}

/// What a field must be. The first four end the look at it when they fail.
pub enum Must {
    /// It is set.
    Required,
    /// At most so many items.
    MaxItems(usize),
    /// What it was before.
    Immutable,
    /// What it was before, once it was set.
    Unmodified,
    /// Items that differ: in these fields, or wholly where none is named.
    Unique(&'static [&'static str]),
    /// Each struct of a list. Those that agree in these fields are the same as before.
    Each(&'static [&'static str], &'static [Declared]),
    /// Each struct of a map.
    Values(&'static [Declared]),
    /// The struct itself.
    Struct(&'static [Declared]),
    /// The keys of a map have this format.
    Keys(Format),
    /// One of these, in the order of the alphabet.
    OneOf(&'static [&'static str]),
    /// A text of this format.
    Format(Format),
    /// A text of at most so many characters.
    MaxCharacters(usize),
    /// A text of at most so many bytes.
    MaxBytes(usize),
    /// A number of at least that.
    AtLeast(i64),
    /// Another rule for what is set.
    With(fn(&Place<'_>, &mut Errors)),
}

/// Adds declared errors to those by hand, and drops of those what they say as
/// well: of the same kind at the same field; where a value is invalid, in the
/// same words.
pub fn supersede(errors: &mut Errors, declared: Errors) {
    errors.retain(|error| !declared.iter().any(|it| covers(it, error)));
    errors.extend(declared);
}

fn covers(declared: &FieldError, by_hand: &FieldError) -> bool {
    declared.kind == by_hand.kind
        && declared.path == by_hand.path
        && (declared.kind != FieldErrorKind::Invalid || declared.detail == by_hand.detail)
}

/// Puts those errors last that a declaration says in the same words.
pub fn last(errors: &mut Errors, declared: impl Fn(&FieldError) -> bool) {
    let (last, mut first): (Errors, Errors) = errors.drain(..).partition(declared);
    first.extend(last);
    *errors = first;
}

/// A field that may not change. What it is now is not shown.
pub fn immutable(path: &FieldPath) -> FieldError {
    FieldError::invalid(path, Value::Null, IMMUTABLE)
}

/// Checks a struct.
pub fn check(table: &[Declared], place: &Place<'_>, errors: &mut Errors) {
    for it in table {
        match it {
            Declared::Field(name, musts) => field(place, name, musts, is_filled, errors),
            Declared::Pointer(name, musts) => field(place, name, musts, |_| true, errors),
            Declared::Part(name, table) => {
                let part = place.part(name);
                if !is_kept(&part) {
                    check(table, &part, errors);
                }
            }
            Declared::Whole(rule) => rule(place, errors),
        }
    }
}

fn is_filled(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::Bool(flag) => *flag,
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

// Whether an update leaves it as it was.
fn is_kept(place: &Place<'_>) -> bool {
    place.old().is_some_and(|old| old == place.value())
}

fn field(above: &Place<'_>, name: &str, musts: &[Must], is_set: fn(&Value) -> bool, errors: &mut Errors) {
    let place = above.part(name);
    if is_kept(&place) {
        return;
    }
    let set = !place.value().is_null() && is_set(place.value());
    let before = errors.len();
    for must in musts {
        must.first(&place, set, errors);
    }
    if set && errors.len() == before {
        musts.iter().for_each(|must| must.then(&place, errors));
    }
}

impl Must {
    // The rules after whose failure nothing else of the field is looked at.
    fn first(&self, place: &Place<'_>, set: bool, errors: &mut Errors) {
        let modified = |detail: &str| FieldError::invalid(&place.path(), Value::Null, detail);
        match self {
            Self::Required if !set => errors.push(FieldError::required(&place.path(), "")),
            Self::MaxItems(most) => {
                let items = place.value().as_array().map_or(0, Vec::len);
                if items > *most {
                    errors.push(FieldError::too_many(&place.path(), items, *most));
                }
            }
            Self::Immutable if place.old().is_some() => errors.push(modified(IMMUTABLE)),
            Self::Unmodified if set && place.old().is_some_and(|old| !old.is_null()) => {
                errors.push(modified("field cannot be modified once set"));
            }
            _ => {}
        }
    }

    fn then(&self, place: &Place<'_>, errors: &mut Errors) {
        let value = place.value();
        let text = value.as_str().unwrap_or_default();
        match self {
            Self::Unique(keys) => repeated(place, keys, errors),
            Self::Each(keys, table) => each(place, keys, table, errors),
            Self::Values(table) => {
                for (key, entry) in place.values() {
                    let entry = entry.since(place.old().and_then(|old| old.get(key)));
                    if !is_kept(&entry) {
                        check(table, &entry, errors);
                    }
                }
            }
            Self::Struct(table) => {
                check(table, &place.since(place.old().filter(|old| !old.is_null())), errors)
            }
            Self::Keys(format) => {
                let none = Map::new();
                let before = place.old().and_then(Value::as_object).unwrap_or(&none);
                let keys = value.as_object().into_iter().flat_map(Map::keys);
                for key in keys.filter(|key| !before.contains_key(*key)) {
                    let faults = format(key).into_iter();
                    errors.extend(faults.map(|it| FieldError::invalid(&place.path(), key.as_str(), it)));
                }
            }
            Self::OneOf(known) if !known.contains(&text) => {
                errors.push(FieldError::not_supported(&place.path(), text, known));
            }
            Self::Format(format) => {
                errors
                    .extend(format(text).into_iter().map(|it| FieldError::invalid(&place.path(), text, it)));
            }
            Self::MaxCharacters(most) if text.chars().count() > *most => {
                errors.push(FieldError::too_long_characters(&place.path(), *most));
            }
            Self::MaxBytes(most) if text.len() > *most => {
                errors.push(FieldError::too_long(&place.path(), *most));
            }
            Self::AtLeast(least) => match value.as_i64() {
                Some(number) if number < *least => {
                    let detail = format!("must be greater than or equal to {least}");
                    errors.push(FieldError::invalid(&place.path(), number, detail));
                }
                _ => {}
            },
            Self::With(rule) => rule(place, errors),
            _ => {}
        }
    }
}

fn agree(a: &Value, b: &Value, keys: &[&str]) -> bool {
    // A key that is not there is empty.
    let of = |value: &Value, key: &str| value.get(key).filter(|it| is_filled(it)).cloned();
    if keys.is_empty() { a == b } else { keys.iter().all(|key| of(a, key) == of(b, key)) }
}

fn repeated(place: &Place<'_>, keys: &[&str], errors: &mut Errors) {
    let items = place.value().as_array().map_or(&[][..], Vec::as_slice);
    for (index, item) in items.iter().enumerate() {
        if items.iter().take(index).any(|earlier| agree(earlier, item, keys)) {
            errors.push(FieldError::duplicate(&place.path().index(index), item.clone()));
        }
    }
}

fn each(place: &Place<'_>, keys: &[&str], table: &[Declared], errors: &mut Errors) {
    let before = place.old().and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for item in place.items() {
        let old = before.iter().find(|old| !keys.is_empty() && agree(old, item.value(), keys));
        let item = item.since(old);
        if !is_kept(&item) {
            check(table, &item, errors);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use coracle_api::format;

    static ITEM: &[Declared] =
        &[Declared::Field("name", &[Must::Required, Must::Format(format::dns1123_label)])];
    static STRUCT: &[Declared] = &[
        Declared::Field("mode", &[Must::Required, Must::OneOf(&["A", "B"])]),
        Declared::Field("items", &[Must::MaxItems(2), Must::Unique(&["name"]), Must::Each(&["name"], ITEM)]),
        Declared::Pointer("once", &[Must::Unmodified]),
        Declared::Part("part", ITEM),
    ];

    fn errors(new: Value, old: Option<Value>) -> Vec<String> {
        let mut errors = Vec::new();
        check(STRUCT, &Place::at("s", &new, old.as_ref()), &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn fields_go_in_their_order() {
        let none = ["s.mode: Required value", "s.part.name: Required value"];
        assert_eq!(errors(json!({}), None), none);
        let twice = json!({"mode": "C", "items": [{"name": "a"}, {"name": "a"}], "part": {"name": "x"}});
        assert_eq!(
            errors(twice, None),
            [
                "s.mode: Unsupported value: \"C\": supported values: \"A\", \"B\"",
                "s.items[1]: Duplicate value: {\"name\":\"a\"}",
            ]
        );
        let many = json!({"mode": "A", "items": [{}, {}, {}], "part": {"name": "x"}});
        assert_eq!(errors(many, None), ["s.items: Too many: 3: must have at most 2 items"]);
    }

    #[test]
    fn what_stays_as_it_was_passes() {
        let old = json!({"mode": "C", "items": [{"name": ""}], "once": 1});
        assert_eq!(errors(old.clone(), Some(old.clone())), [""; 0]);
        let mut new = old.clone();
        new["once"] = 2.into();
        assert_eq!(
            errors(new, Some(old)),
            ["s.once: Invalid value: null: field cannot be modified once set"]
        );
    }

    #[test]
    fn said_once_and_last() {
        let path = FieldPath::new("a");
        let mut errors = vec![
            FieldError::invalid(&path, "x", IMMUTABLE),
            FieldError::required(&path, "by hand"),
            FieldError::invalid(&path, "x", "other"),
        ];
        supersede(&mut errors, vec![immutable(&path), FieldError::required(&path, "")]);
        let said: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "a: Invalid value: \"x\": other",
                "a: Invalid value: null: field is immutable",
                "a: Required value"
            ]
        );
    }
}
