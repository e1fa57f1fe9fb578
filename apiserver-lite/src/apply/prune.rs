//! What an applier owned and applies no longer goes, unless somebody else owns
//! it or the object needs it.

use coracle_api::schema::{Shape, Struct};
use serde_json::{Map, Value};

use super::{
    fieldset::{Element, FieldSet},
    walk::{self, Below, Form, Members, Unkeyed, below, element_of, form},
};

/// Removes from `merged` the fields in `last`, what the applier owned before,
/// that are in no set of `owned`, the sets of all managers as they are now.
///
/// # Errors
/// `Unkeyed` for list elements that cannot be told apart.
pub fn prune(
    merged: Map<String, Value>,
    schema: &Struct,
    last: &FieldSet<'_>,
    owned: &FieldSet<'_>,
) -> Result<Map<String, Value>, Unkeyed> {
    if last.is_empty() {
        return Ok(merged);
    }
    let members = Members::Struct(schema);
    let last = with_named(last, Some(members));
    let all = with_named(&walk::fields(&merged, schema)?, Some(members));
    // Without what was owned, but with what is owned now.
    let bare = remove_from_map(&merged, members, &last);
    let kept = with_named(&walk::fields(&bare, schema)?, Some(members));
    let owned = with_named(owned, Some(members));
    let pruned = remove_from_map(&merged, members, &all.difference(&kept.union(owned)));
    // What hangs below a removed field, but was never the applier's, stays.
    let kept = with_named(&walk::fields(&pruned, schema)?, Some(members));
    Ok(remove_from_map(&merged, members, &all.difference(&kept).intersection(&last)))
}

// The set with the fields that the schema names on the way to its members.
fn with_named<'a>(set: &FieldSet<'a>, members: Option<Members<'_>>) -> FieldSet<'a> {
    let mut out = FieldSet::default();
    for node in set.nodes() {
        let (named, below) = match (&node.element, members) {
            (Element::Field(name), Some(members)) => {
                let (shape, named) = members.shape(name);
                (named && !node.children.is_empty(), below(shape))
            }
            _ => (false, Below::Nothing),
        };
        out.push(node.element.clone(), node.member || named, with_named_below(&node.children, below));
    }
    out
}

fn with_named_below<'a>(set: &FieldSet<'a>, place: Below<'_>) -> FieldSet<'a> {
    match place {
        Below::Members(members) => with_named(set, Some(members)),
        Below::Nothing => with_named(set, None),
        Below::Items(element) => {
            let mut out = FieldSet::default();
            for node in set.nodes() {
                let place = match node.element {
                    Element::Key(_) => below(element),
                    _ => Below::Nothing,
                };
                out.push(node.element.clone(), node.member, with_named_below(&node.children, place));
            }
            out
        }
    }
}

fn remove_from_map(map: &Map<String, Value>, members: Members<'_>, set: &FieldSet<'_>) -> Map<String, Value> {
    let mut out = Map::new();
    for (name, value) in map {
        match set.get(&Element::Field(name)) {
            Some(node) if node.member => {}
            Some(node) => {
                let (shape, _) = members.shape(name);
                out.insert(name.clone(), remove(value, shape, &node.children));
            }
            None => {
                out.insert(name.clone(), value.clone());
            }
        }
    }
    out
}

// A value of which nothing is left is null.
fn remove(value: &Value, shape: &Shape, set: &FieldSet<'_>) -> Value {
    match (form(shape, Some(value)), value) {
        (Form::Scalar, _) => value.clone(),
        (Form::Map(members), Value::Object(map)) => {
            let left = remove_from_map(map, members, set);
            if left.is_empty() { Value::Null } else { Value::Object(left) }
        }
        (Form::List(list), Value::Array(items)) => {
            let left = items.iter().filter_map(|item| {
                let Ok(element) = element_of(list, item) else { return Some(item.clone()) };
                match set.get(&element) {
                    Some(node) if node.member => None,
                    Some(node) => Some(remove(item, &list.element, &node.children)),
                    None => Some(item.clone()),
                }
            });
            let left: Vec<Value> = left.collect();
            if left.is_empty() { Value::Null } else { Value::Array(left) }
        }
        _ => Value::Null,
    }
}
