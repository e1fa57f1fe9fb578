//! Objects as sets of fields: what an object has, and in what two differ. The
//! schema says which values are one field and which are made of fields.

use std::{borrow::Cow, cmp::Ordering};

use coracle_api::schema::{Field, List, ListKind, Omit, Shape, Struct};
use serde_json::{Map, Value};

use super::{
    fieldset::{Element, FieldSet},
    reset::Filter,
};

/// A list element cannot be told apart from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unkeyed(pub String);

/// In what one object differs from another.
#[derive(Debug, Default)]
pub struct Difference<'a> {
    /// Fields that only the new one has.
    pub added: FieldSet<'a>,
    /// Fields of both with different values.
    pub modified: FieldSet<'a>,
    /// Fields that only the old one has.
    pub removed: FieldSet<'a>,
}

/// What happened to one path.
#[derive(Default)]
struct Step<'a> {
    added: bool,
    modified: bool,
    removed: bool,
    below: Difference<'a>,
}

impl<'a> Difference<'a> {
    // Most steps change a path in one way only, so elements are seldom copied.
    fn push(&mut self, element: Element<'a>, step: Step<'a>) {
        let Step { added, modified, removed, below } = step;
        if removed || !below.removed.is_empty() {
            self.removed.push(element.clone(), removed, below.removed);
        }
        if modified || !below.modified.is_empty() {
            self.modified.push(element.clone(), modified, below.modified);
        }
        if added || !below.added.is_empty() {
            self.added.push(element, added, below.added);
        }
    }

    /// What `filter` leaves of it.
    #[must_use]
    pub fn filtered(self, filter: &Filter) -> Self {
        Self {
            added: filter.apply(self.added),
            modified: filter.apply(self.modified),
            removed: filter.apply(self.removed),
        }
    }
}

/// In what `new` differs from `old`, both of `schema`.
///
/// # Errors
/// `Unkeyed` when a list that is a map has an element without its keys.
pub fn compare<'a>(
    old: &'a Map<String, Value>,
    new: &'a Map<String, Value>,
    schema: &'a Struct,
) -> Result<Difference<'a>, Unkeyed> {
    let mut step = Step::default();
    if schema.atomic {
        return Ok(step.below);
    }
    compare_maps(&mut step, Some(old), Some(new), Members::Struct(schema))?;
    Ok(step.below)
}

/// How the values in a map are typed.
#[derive(Clone, Copy)]
pub(super) enum Members<'a> {
    Struct(&'a Struct),
    Map(&'a Shape),
    Any,
}

static ANY: Shape = Shape::Any;
// Has one owner as a whole.
static SEALED: Shape = Shape::FieldsV1;

impl<'a> Members<'a> {
    /// The shape of one, and whether the schema names it.
    pub(super) fn shape(self, name: &str) -> (&'a Shape, bool) {
        match self {
            Self::Struct(schema) => match schema.field(name) {
                // Free JSON in a built-in kind is one value, in a custom one
                // it is owned field by field.
                Some(Field { shape: Shape::Any, .. }) if matches!(schema.fields, Cow::Borrowed(_)) => {
                    (&SEALED, true)
                }
                Some(field) => (&field.shape, true),
                None => (&ANY, false),
            },
            Self::Map(shape) => (shape, false),
            Self::Any => (&ANY, false),
        }
    }
}

/// What a value is to field sets.
#[derive(Clone, Copy)]
pub(super) enum Form<'a> {
    Scalar,
    Atomic,
    List(&'a List),
    Map(Members<'a>),
}

/// The form of a value of `shape`. Values without a schema go by what they are.
pub(super) fn form<'a>(shape: &'a Shape, value: Option<&Value>) -> Form<'a> {
    match shape {
        Shape::Struct(schema) if schema.atomic => Form::Atomic,
        Shape::Struct(schema) => Form::Map(Members::Struct(schema)),
        Shape::Map(map) if map.atomic => Form::Atomic,
        Shape::Map(map) => Form::Map(Members::Map(&map.value)),
        Shape::List(list) => match list.kind {
            ListKind::Atomic => Form::Atomic,
            _ => Form::List(list),
        },
        Shape::FieldsV1 => Form::Atomic,
        Shape::Any => match value {
            Some(Value::Array(_)) => Form::Atomic,
            Some(Value::Object(_) | Value::Null) | None => Form::Map(Members::Any),
            Some(_) => Form::Scalar,
        },
        _ => Form::Scalar,
    }
}

pub(super) fn same_kind(a: Form<'_>, b: Form<'_>) -> bool {
    std::mem::discriminant(&a) == std::mem::discriminant(&b)
}

fn compare_values<'a>(
    old: Option<&'a Value>,
    new: Option<&'a Value>,
    shape: &'a Shape,
) -> Result<Step<'a>, Unkeyed> {
    let mut step = Step::default();
    let (left, right) = (form(shape, old), form(shape, new));
    let leaf = if new.is_none() {
        compare_as(&mut step, old, new, left)?
    } else {
        // A value that changed its kind is compared as both.
        if old.is_some() && !same_kind(left, right) {
            compare_as(&mut step, old, new, left)?;
        }
        compare_as(&mut step, old, new, right)?
    };
    if !leaf {
        step.added |= old.is_none();
        step.removed |= new.is_none();
    }
    Ok(step)
}

// Whether the value was compared as one.
fn compare_as<'a>(
    step: &mut Step<'a>,
    old: Option<&'a Value>,
    new: Option<&'a Value>,
    form: Form<'a>,
) -> Result<bool, Unkeyed> {
    match form {
        Form::Scalar | Form::Atomic => {}
        Form::Map(members) => {
            let (left, right) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
            // Nothing and an empty map differ, which only a leaf can say.
            if !(left.is_none_or(Map::is_empty) && right.is_none_or(Map::is_empty)) {
                compare_maps(step, left, right, members)?;
                return Ok(false);
            }
        }
        Form::List(list) => {
            let (left, right) = (old.and_then(Value::as_array), new.and_then(Value::as_array));
            if !(left.is_none_or(Vec::is_empty) && right.is_none_or(Vec::is_empty)) {
                let (left, right) =
                    (left.map_or(&[][..], Vec::as_slice), right.map_or(&[][..], Vec::as_slice));
                compare_lists(step, left, right, list)?;
                return Ok(false);
            }
        }
    }
    match (old, new) {
        (None, _) => step.added = true,
        (_, None) => step.removed = true,
        (Some(old), Some(new)) => step.modified |= !equal(old, new),
    }
    Ok(true)
}

/// Whether two values are the same; numbers by what they are worth.
pub(super) fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => {
            x == y || x.as_f64() == y.as_f64() && (x.is_f64() || y.is_f64())
        }
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| equal(x, y)),
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().zip(y).all(|((k, x), (l, y))| k == l && equal(x, y))
        }
        _ => a == b,
    }
}

fn compare_maps<'a>(
    step: &mut Step<'a>,
    old: Option<&'a Map<String, Value>>,
    new: Option<&'a Map<String, Value>>,
    members: Members<'a>,
) -> Result<(), Unkeyed> {
    let mut left = old.into_iter().flatten().peekable();
    let mut right = new.into_iter().flatten().peekable();
    loop {
        let order = match (left.peek(), right.peek()) {
            (Some((a, _)), Some((b, _))) => a.as_str().cmp(b.as_str()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return Ok(()),
        };
        let one = if order.is_le() { left.next() } else { None };
        let other = if order.is_ge() { right.next() } else { None };
        let Some((name, _)) = one.or(other) else { return Ok(()) };
        let (shape, _) = members.shape(name);
        let below = compare_values(one.map(|(_, value)| value), other.map(|(_, value)| value), shape)?;
        step.below.push(Element::Field(name), below);
    }
}

/// The element that names `item` in `list`.
pub(super) fn element_of<'a>(list: &'a List, item: &'a Value) -> Result<Element<'a>, Unkeyed> {
    let unkeyed = |text: &str| Unkeyed(text.to_owned());
    let ListKind::Map(keys) = &list.kind else {
        return match item {
            Value::Object(_) => {
                Err(unkeyed("associative list without keys has an element that's a map type"))
            }
            Value::Array(_) => Err(unkeyed("not supported: associative list with lists as elements")),
            Value::Null => {
                Err(unkeyed("associative list without keys has an element that's an explicit null"))
            }
            scalar => Ok(Element::Value(Cow::Borrowed(scalar))),
        };
    };
    let item = match item {
        Value::Object(item) => item,
        Value::Null => return Err(unkeyed("associative list with keys may not have a null element")),
        _ => return Err(unkeyed("associative list with keys may not have non-map elements")),
    };
    let mut fields = Vec::with_capacity(keys.len());
    for key in keys.iter() {
        match item.get(key.as_ref()) {
            Some(value) => fields.push((Cow::Borrowed(key.as_ref()), Cow::Borrowed(value))),
            None => {
                if let Some(default) = default_of(&list.element, key) {
                    fields.push((Cow::Borrowed(key.as_ref()), Cow::Owned(default)));
                }
            }
        }
    }
    if fields.is_empty() && !keys.is_empty() {
        let quoted: Vec<String> = keys.iter().map(|key| format!("{key:?}")).collect();
        return Err(Unkeyed(format!(
            "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
            quoted.join(" ")
        )));
    }
    fields.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(Element::Key(fields))
}

fn default_of(element: &Shape, key: &str) -> Option<Value> {
    let Shape::Struct(schema) = element else { return None };
    serde_json::from_str(schema.field(key)?.default.as_deref()?).ok()
}

/// The items of a list with the elements that name them, sorted by those;
/// equal ones in the order of the list.
fn keyed<'a>(list: &'a List, items: &'a [Value]) -> Result<Vec<(Element<'a>, &'a Value)>, Unkeyed> {
    let mut out = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let element =
            element_of(list, item).map_err(|Unkeyed(text)| Unkeyed(format!("element {index}: {text}")))?;
        out.push((element, item));
    }
    out.sort_by(|a, b| a.0.compare(&b.0));
    Ok(out)
}

fn compare_lists<'a>(
    step: &mut Step<'a>,
    old: &'a [Value],
    new: &'a [Value],
    list: &'a List,
) -> Result<(), Unkeyed> {
    let (left, right) = (keyed(list, old)?, keyed(list, new)?);
    let mut left = left.chunk_by(|a, b| a.0.compare(&b.0).is_eq()).peekable();
    let mut right = right.chunk_by(|a, b| a.0.compare(&b.0).is_eq()).peekable();
    loop {
        let order = match (left.peek(), right.peek()) {
            (Some([a, ..]), Some([b, ..])) => a.0.compare(&b.0),
            (Some(_), _) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return Ok(()),
        };
        let one = if order.is_le() { left.next() } else { None }.unwrap_or_default();
        let other = if order.is_ge() { right.next() } else { None }.unwrap_or_default();
        let Some((element, _)) = one.first().or(other.first()) else { return Ok(()) };
        let below = compare_items(one, other, &list.element)?;
        step.below.push(element.clone(), below);
    }
}

// Items that stand there more than once have one owner together.
fn compare_items<'a>(
    old: &[(Element<'a>, &'a Value)],
    new: &[(Element<'a>, &'a Value)],
    shape: &'a Shape,
) -> Result<Step<'a>, Unkeyed> {
    let value = |items: &[(Element<'a>, &'a Value)]| items.first().map(|(_, value)| *value);
    let mut step = match (old, new) {
        ([] | [_], [] | [_]) => return compare_values(value(old), value(new), shape),
        ([_, _, ..], [_, _, ..]) => {
            let same = old.len() == new.len() && old.iter().zip(new).all(|(a, b)| equal(a.1, b.1));
            return Ok(Step { modified: !same, ..Step::default() });
        }
        ([_, _, ..], []) => Step::default(),
        ([_, _, ..], _) => compare_values(None, value(new), shape)?,
        (_, [_, _, ..]) if old.is_empty() => Step::default(),
        _ => compare_values(value(old), None, shape)?,
    };
    step.removed |= old.len() > 1;
    step.added |= new.len() > 1;
    Ok(step)
}

/// The fields that an object has: what applying it makes its applier own.
///
/// # Errors
/// As [`compare`].
pub fn fields<'a>(object: &'a Map<String, Value>, schema: &'a Struct) -> Result<FieldSet<'a>, Unkeyed> {
    let mut set = FieldSet::default();
    if !schema.atomic {
        map_fields(&mut set, object, Members::Struct(schema))?;
    }
    Ok(set)
}

fn map_fields<'a>(
    set: &mut FieldSet<'a>,
    map: &'a Map<String, Value>,
    members: Members<'a>,
) -> Result<(), Unkeyed> {
    for (name, value) in map {
        let (shape, named) = members.shape(name);
        let (leaf, below) = value_fields(value, shape)?;
        let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
        set.push(Element::Field(name), leaf || empty || !named, below);
    }
    Ok(())
}

fn value_fields<'a>(value: &'a Value, shape: &'a Shape) -> Result<(bool, FieldSet<'a>), Unkeyed> {
    let mut set = FieldSet::default();
    match form(shape, Some(value)) {
        Form::Scalar | Form::Atomic => return Ok((true, set)),
        Form::Map(members) => {
            if let Some(map) = value.as_object() {
                map_fields(&mut set, map, members)?;
            }
        }
        Form::List(list) => {
            let items = keyed(list, value.as_array().map_or(&[], Vec::as_slice))?;
            for same in items.chunk_by(|a, b| a.0.compare(&b.0).is_eq()) {
                let below = match same {
                    [(_, item)] => value_fields(item, &list.element)?.1,
                    _ => FieldSet::default(),
                };
                if let Some((element, _)) = same.first() {
                    set.push(element.clone(), true, below);
                }
            }
        }
    }
    Ok((false, set))
}

/// What the paths below a value lead through.
#[derive(Clone, Copy)]
pub(super) enum Below<'a> {
    Members(Members<'a>),
    Items(&'a Shape),
    Nothing,
}

/// What the paths below a value of `shape` lead through.
pub(super) fn below(shape: &Shape) -> Below<'_> {
    match shape {
        Shape::Struct(schema) => Below::Members(Members::Struct(schema)),
        Shape::Map(map) => Below::Members(Members::Map(&map.value)),
        Shape::List(list) => Below::Items(&list.element),
        Shape::Any => Below::Members(Members::Any),
        _ => Below::Nothing,
    }
}

/// What Go writes for a new object of a built-in kind: a create is compared
/// with it, so the structs that every object has belong to nobody.
pub fn zero(schema: &Struct) -> Map<String, Value> {
    schema.fields.iter().filter_map(|field| Some((field.name.to_string(), zero_field(field)?))).collect()
}

fn zero_field(field: &Field) -> Option<Value> {
    match (&field.shape, field.omit) {
        (_, Omit::Zero) => None,
        (_, Omit::Empty) if field.pointer => None,
        (_, Omit::Never) if field.pointer => Some(Value::Null),
        // Go leaves no struct out, and these are structs to it.
        (Shape::Struct(schema), _) => Some(Value::Object(zero(schema))),
        (Shape::Time | Shape::MicroTime | Shape::Any | Shape::FieldsV1, _) => Some(Value::Null),
        (Shape::Quantity, _) => Some("0".into()),
        (Shape::Duration, _) => Some("0s".into()),
        (Shape::IntOrString, _) => Some(0.into()),
        (_, Omit::Empty) => None,
        (Shape::String, _) => Some("".into()),
        (Shape::Bool, _) => Some(false.into()),
        (Shape::Int32 | Shape::Int64 | Shape::Float64, _) => Some(0.into()),
        (Shape::Bytes | Shape::List(_) | Shape::Map(_), _) => Some(Value::Null),
    }
}
