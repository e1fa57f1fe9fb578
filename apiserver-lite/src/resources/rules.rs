//! Validation as data: what a kind's fields must be, as tables.
//!
//! A struct of the API has a table of [`Check`]s. They run in the order they
//! stand in, which is the order in which upstream reports errors. A rule about
//! one field is a [`Rule`]; a rule across fields is a function, reached through
//! [`Check::With`].
//!
//! ```ignore
//! static PORT: &[Check] = &[
//!     Check::Field("name", &[Rule::Format(format::port_name)]),
//!     Check::Field("containerPort", &[Rule::Required(""), Rule::Within(1, 65535)]),
//!     Check::Field("protocol", &[Rule::Required(""), Rule::OneOf(&["SCTP", "TCP", "UDP"])]),
//! ];
//! static CONTAINER: &[Check] = &[
//!     Check::Field("name", &[Rule::Required(""), Rule::Format(format::dns1123_label)]),
//!     Check::Each("ports", PORT),
//!     Check::With(requests_fit_limits),
//! ];
//! ```
//!
//! Objects are canonical, so an unset field is absent. Where Go's type is no
//! pointer, the empty text is unset too.

use std::any::Any;

use coracle_api::{FieldError, FieldPath, Object};
use serde_json::{Map, Value};

/// The detail of what must not be negative.
pub const NOT_NEGATIVE: &str = "must be greater than or equal to 0";
/// The detail of what must be positive.
pub const POSITIVE: &str = "must be greater than zero";
/// The detail of what may not change.
pub const IMMUTABLE: &str = "field is immutable";

/// What an error list is.
pub type Errors = Vec<FieldError>;

/// What is wrong with a text: one message a fault, none when it is right.
pub type Format = fn(&str) -> Vec<String>;

/// One step of a struct's validation.
pub enum Check {
    /// A field by its rules, in order; a broken [`Rule::Required`] ends them.
    Field(&'static str, &'static [Rule]),
    /// The same for a field that is a pointer in Go: there an empty text is set.
    Pointer(&'static str, &'static [Rule]),
    /// Each item of a list of scalars.
    Items(&'static str, &'static [Rule]),
    /// The struct in a field, where it is set.
    Within(&'static str, &'static [Check]),
    /// Each struct of a list.
    Each(&'static str, &'static [Check]),
    /// A table that others share.
    All(&'static [Check]),
    /// A table for some values only.
    When(fn(&Place<'_>) -> bool, &'static [Check]),
    /// A rule across fields.
    With(fn(&Place<'_>, &mut Errors)),
}

/// What one field must be. All but `Required`, `Immutable` and `Unset` let an
/// unset field pass.
pub enum Rule {
    /// It is set. The detail may be empty.
    Required(&'static str),
    /// A text of this format.
    Format(Format),
    /// One of these, shown in this order.
    OneOf(&'static [&'static str]),
    /// 0 or more.
    NotNegative,
    /// 1 or more.
    Positive,
    /// A number from the first to the last.
    Within(i64, i64),
    /// At least that; the detail says so.
    AtLeast(i64, &'static str),
    /// At most that; the detail says so.
    AtMost(i64, &'static str),
    /// A text of at most so many bytes.
    MaxBytes(usize),
    /// A list or map of at most so many entries.
    MaxItems(usize),
    /// A list whose items differ.
    Unique,
    /// A list of structs that differ in this field.
    UniqueBy(&'static str),
    /// What it was before.
    Immutable,
    /// Not set. The detail says why.
    Unset(&'static str),
}

/// How a place is reached from the one above it.
#[derive(Clone, Copy)]
enum Step<'a> {
    Root(&'a str),
    Field(&'a str),
    Index(usize),
    Key(&'a str),
    Here,
}

/// A value in an object that is validated, with what it was before and what is
/// around it. Its path becomes text only when something is wrong.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    value: Tree<'a>,
    old: Option<Tree<'a>>,
    step: Step<'a>,
    above: Option<&'a Place<'a>>,
    known: Option<&'a dyn Any>,
}

#[derive(Clone, Copy)]
enum Tree<'a> {
    Object(&'a Map<String, Value>),
    Value(&'a Value),
}

impl<'a> Tree<'a> {
    fn get(self, field: &str) -> Option<&'a Value> {
        match self {
            Self::Object(map) => map.get(field),
            Self::Value(value) => value.get(field),
        }
        .filter(|value| !value.is_null())
    }

    fn value(self) -> &'a Value {
        match self {
            // Whole objects are never shown in errors.
            Self::Object(_) => &Value::Null,
            Self::Value(value) => value,
        }
    }
}

impl<'a> Place<'a> {
    /// The object itself; its path is empty.
    pub fn object(new: &'a Object, old: Option<&'a Object>) -> Self {
        Self {
            value: Tree::Object(&new.0),
            old: old.map(|old| Tree::Object(&old.0)),
            step: Step::Root(""),
            above: None,
            known: None,
        }
    }

    /// A value that stands alone at `path`, as text: `spec.template`.
    pub fn at(path: &'a str, value: &'a Value, old: Option<&'a Value>) -> Self {
        let old = old.map(Tree::Value);
        Self { value: Tree::Value(value), old, step: Step::Root(path), above: None, known: None }
    }

    /// The same place, where rules know something that was found out once for
    /// the whole tree below: the volumes of a pod, for its containers.
    #[must_use]
    pub fn knowing(self, known: &'a dyn Any) -> Self {
        Self { known: Some(known), ..self }
    }

    /// What rules know here.
    pub fn known<T: 'static>(&self) -> Option<&'a T> {
        self.known?.downcast_ref()
    }

    /// The value.
    pub fn value(&self) -> &'a Value {
        self.value.value()
    }

    /// What it was before; `None` on create and where nothing was.
    pub fn old(&self) -> Option<&'a Value> {
        self.old.map(Tree::value)
    }

    /// Whether the object is updated and not created.
    pub fn updating(&self) -> bool {
        self.old.is_some() || self.above.is_some_and(Place::updating)
    }

    /// The place that this one is in.
    pub fn above(&self) -> Option<&'a Place<'a>> {
        self.above
    }

    /// The nearest place above, this one included, that stands in a field of
    /// that name: a container reaches the pod's spec with `spec`.
    pub fn within(&self, field: &str) -> Option<Place<'a>> {
        let mut place = *self;
        loop {
            match place.step {
                Step::Field(name) if name == field => return Some(place),
                Step::Root(path) if path == field || path.ends_with(&format!(".{field}")) => {
                    return Some(place);
                }
                _ => place = *place.above?,
            }
        }
    }

    /// The field that this stands in.
    pub fn name(&self) -> Option<&'a str> {
        match self.step {
            Step::Field(name) => Some(name),
            _ => None,
        }
    }

    /// Which item of its list this is.
    pub fn position(&self) -> Option<usize> {
        match self.step {
            Step::Index(index) => Some(index),
            _ => None,
        }
    }

    /// The path of this place.
    pub fn path(&self) -> FieldPath {
        let above = || self.above.map(Place::path).unwrap_or_default();
        match self.step {
            Step::Root(path) => FieldPath::new(path),
            Step::Field(name) => above().child(name),
            Step::Index(index) => above().index(index),
            Step::Key(key) => above().key(key),
            Step::Here => above(),
        }
    }

    /// The path of a field below.
    pub fn path_of(&self, field: &str) -> FieldPath {
        self.path().child(field)
    }

    /// A field, where it is set.
    pub fn get(&self, field: &str) -> Option<&'a Value> {
        self.value.get(field)
    }

    /// What a field was before.
    pub fn old_of(&self, field: &str) -> Option<&'a Value> {
        self.old?.get(field)
    }

    /// Whether a field is set.
    pub fn has(&self, field: &str) -> bool {
        self.get(field).is_some()
    }

    /// A text field, or the empty text.
    pub fn text(&self, field: &str) -> &'a str {
        self.get(field).and_then(Value::as_str).unwrap_or_default()
    }

    /// A number.
    pub fn number(&self, field: &str) -> Option<i64> {
        self.get(field).and_then(Value::as_i64)
    }

    /// A flag, unset ones are false.
    pub fn flag(&self, field: &str) -> bool {
        self.get(field).and_then(Value::as_bool).unwrap_or(false)
    }

    /// The items of a list field.
    pub fn list(&self, field: &str) -> &'a [Value] {
        self.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// The texts of a list field.
    pub fn texts(&self, field: &str) -> impl Iterator<Item = &'a str> {
        self.list(field).iter().filter_map(Value::as_str)
    }

    /// The entries of a map field.
    pub fn entries(&self, field: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
        let map = self.get(field).and_then(Value::as_object);
        map.into_iter().flatten().map(|(key, value)| (key.as_str(), value))
    }

    /// The place of a field, where it is set.
    pub fn field<'b>(&'b self, field: &'b str) -> Option<Place<'b>> {
        self.field_as(field, field)
    }

    /// The place of a field that paths show under another name.
    pub fn field_as<'b>(&'b self, field: &str, shown: &'b str) -> Option<Place<'b>> {
        let value = Tree::Value(self.get(field)?);
        let old = self.old_of(field).map(Tree::Value);
        Some(Place { value, old, step: Step::Field(shown), above: Some(self), known: self.known })
    }

    /// The place of a field that Go has whether it is set or not; `null` where it
    /// is not.
    pub fn part<'b>(&'b self, field: &'b str) -> Place<'b> {
        let value = Tree::Value(self.get(field).unwrap_or(&Value::Null));
        let old = self.old.map(|_| Tree::Value(self.old_of(field).unwrap_or(&Value::Null)));
        Place { value, old, step: Step::Field(field), above: Some(self), known: self.known }
    }

    /// The same place with another older value, or none.
    #[must_use]
    pub fn since(self, old: Option<&'a Value>) -> Self {
        Self { old: old.map(Tree::Value), ..self }
    }

    /// The place of an item of this list, which has no older value.
    pub fn item<'b>(&'b self, index: usize, value: &'b Value) -> Place<'b> {
        let step = Step::Index(index);
        Place { value: Tree::Value(value), old: None, step, above: Some(self), known: self.known }
    }

    /// The place of a value below that upstream's paths do not tell from this
    /// one.
    pub fn here<'b>(&'b self, value: &'b Value) -> Place<'b> {
        Place { value: Tree::Value(value), old: None, step: Step::Here, above: Some(self), known: self.known }
    }

    /// The places of this list's items.
    pub fn items<'b>(&'b self) -> impl Iterator<Item = Place<'b>> {
        let list: &'b [Value] = self.value().as_array().map_or(&[], Vec::as_slice);
        list.iter().enumerate().map(|(index, value)| self.item(index, value))
    }

    /// The places of this map's values.
    pub fn values<'b>(&'b self) -> impl Iterator<Item = (&'b str, Place<'b>)> {
        let map = self.value().as_object();
        map.into_iter().flatten().map(|(key, value)| {
            let step = Step::Key(key);
            let place =
                Place { value: Tree::Value(value), old: None, step, above: Some(self), known: self.known };
            (key.as_str(), place)
        })
    }
}

/// Validates a whole object by a table.
pub fn validate(checks: &[Check], new: &Object, old: Option<&Object>) -> Errors {
    let mut errors = Vec::new();
    check(checks, &Place::object(new, old), &mut errors);
    errors
}

/// Runs a table on a place.
pub fn check(checks: &[Check], place: &Place<'_>, errors: &mut Errors) {
    for it in checks {
        match it {
            Check::Field(field, rules) => {
                let old = place.old_of(field);
                keep(rules, place.get(field), old, place.updating(), || place.path_of(field), errors);
            }
            Check::Pointer(field, rules) => {
                let old = place.old_of(field);
                let value = place.get(field).filter(|value| !value.is_null());
                keep_set(rules, value, old, place.updating(), || place.path_of(field), errors);
            }
            Check::Items(field, rules) => {
                for (index, value) in place.list(field).iter().enumerate() {
                    keep(rules, Some(value), None, false, || place.path_of(field).index(index), errors);
                }
            }
            Check::Within(field, checks) => {
                if let Some(inner) = place.field(field) {
                    check(checks, &inner, errors);
                }
            }
            Check::Each(field, checks) => {
                if let Some(list) = place.field(field) {
                    list.items().for_each(|item| check(checks, &item, errors));
                }
            }
            Check::All(checks) => check(checks, place, errors),
            Check::When(applies, checks) => {
                if applies(place) {
                    check(checks, place, errors);
                }
            }
            Check::With(rule) => rule(place, errors),
        }
    }
}

/// Each text of a list by its format, empty ones too.
pub fn texts(place: &Place<'_>, field: &str, format: Format, errors: &mut Errors) {
    for (index, text) in place.texts(field).enumerate() {
        let path = || place.path_of(field).index(index);
        errors.extend(format(text).into_iter().map(|fault| FieldError::invalid(&path(), text, fault)));
    }
}

fn keep(
    rules: &[Rule],
    value: Option<&Value>,
    old: Option<&Value>,
    updating: bool,
    path: impl Fn() -> FieldPath,
    errors: &mut Errors,
) {
    let set = value.filter(|value| !value.is_null() && value.as_str() != Some(""));
    keep_given(rules, (value, set), old, updating, path, errors);
}

// As `keep`, where whatever is there is set.
fn keep_set(
    rules: &[Rule],
    set: Option<&Value>,
    old: Option<&Value>,
    updating: bool,
    path: impl Fn() -> FieldPath,
    errors: &mut Errors,
) {
    keep_given(rules, (set, set), old, updating, path, errors);
}

// With the value as it is, and as far as it is set.
fn keep_given(
    rules: &[Rule],
    (value, set): (Option<&Value>, Option<&Value>),
    old: Option<&Value>,
    updating: bool,
    path: impl Fn() -> FieldPath,
    errors: &mut Errors,
) {
    for rule in rules {
        match (rule, set) {
            (Rule::Required(detail), None) => {
                errors.push(FieldError::required(&path(), *detail));
                return;
            }
            (Rule::Immutable, _) => {
                if updating && value != old {
                    let shown = value.cloned().unwrap_or_default();
                    errors.push(FieldError::invalid(&path(), shown, IMMUTABLE));
                }
            }
            (Rule::Unset(detail), Some(_)) => errors.push(FieldError::forbidden(&path(), *detail)),
            (rule, Some(value)) => rule.apply(value, &path, errors),
            (_, None) => {}
        }
    }
}

impl Rule {
    // What the rule says about a value that is set.
    fn apply(&self, value: &Value, path: &dyn Fn() -> FieldPath, errors: &mut Errors) {
        let text = value.as_str().unwrap_or_default();
        let number = value.as_i64();
        let mut invalid = |detail: &str| errors.push(FieldError::invalid(&path(), value.clone(), detail));
        match self {
            Self::Format(format) => format(text).iter().for_each(|fault| invalid(fault)),
            Self::NotNegative if number.is_some_and(|it| it < 0) => invalid(NOT_NEGATIVE),
            Self::Positive if number.is_some_and(|it| it < 1) => invalid(POSITIVE),
            Self::Within(first, last) if number.is_some_and(|it| it < *first || it > *last) => {
                invalid(&format!("must be between {first} and {last}, inclusive"));
            }
            Self::AtLeast(least, detail) if number.is_some_and(|it| it < *least) => invalid(detail),
            Self::AtMost(most, detail) if number.is_some_and(|it| it > *most) => invalid(detail),
            Self::OneOf(supported) if !supported.contains(&text) => {
                errors.push(FieldError::not_supported(&path(), text, supported));
            }
            Self::MaxBytes(max) if text.len() > *max => errors.push(FieldError::too_long(&path(), *max)),
            Self::MaxItems(max) => {
                let length = value.as_array().map_or_else(|| value.as_object().map_or(0, Map::len), Vec::len);
                if length > *max {
                    errors.push(FieldError::too_many(&path(), length, *max));
                }
            }
            Self::Unique => repeated(value, Some, |index, item| {
                errors.push(FieldError::duplicate(&path().index(index), item.clone()));
            }),
            Self::UniqueBy(key) => repeated(
                value,
                |item| item.get(*key),
                |index, item| {
                    errors.push(FieldError::duplicate(&path().index(index).child(key), item.clone()));
                },
            ),
            _ => {}
        }
    }
}

fn repeated<'a>(
    list: &'a Value,
    key: impl Fn(&'a Value) -> Option<&'a Value>,
    mut found: impl FnMut(usize, &'a Value),
) {
    // Scalars only, so their JSON text tells them apart.
    let mut seen = std::collections::HashSet::new();
    for (index, item) in list.as_array().into_iter().flatten().enumerate() {
        let key = key(item).filter(|key| key.as_str() != Some(""));
        if let Some(key) = key.filter(|key| !seen.insert(key.to_string())) {
            found(index, key);
        }
    }
}

#[cfg(test)]
mod tests;
