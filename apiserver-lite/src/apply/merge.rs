//! Lays an applied configuration on an object, by schema: maps and keyed lists
//! merge, all else is the configuration's where it says something.

use std::collections::HashMap;

use coracle_api::schema::{List, Shape, Struct};
use serde_json::{Map, Value};

use super::{
    fieldset::Element,
    walk::{Form, Members, Unkeyed, element_of, form, same_kind},
};

/// `config` laid on `live`, both of `schema`.
///
/// # Errors
/// `Unkeyed` for list elements that cannot be told apart.
pub fn merge(
    live: &Map<String, Value>,
    config: &Map<String, Value>,
    schema: &Struct,
) -> Result<Map<String, Value>, Unkeyed> {
    if schema.atomic {
        return Ok(config.clone());
    }
    merge_maps(Some(live), Some(config), Members::Struct(schema))
}

fn merge_values(
    live: Option<&Value>,
    config: Option<&Value>,
    shape: &Shape,
) -> Result<Option<Value>, Unkeyed> {
    let (Some(old), Some(new)) = (live, config) else {
        return Ok(config.or(live).cloned());
    };
    let right = form(shape, config);
    if !same_kind(form(shape, live), right) {
        return Ok(Some(new.clone()));
    }
    match right {
        Form::Map(members) => {
            let (left, right) = (old.as_object(), new.as_object());
            if left.is_none_or(Map::is_empty) && right.is_none_or(Map::is_empty) {
                return Ok(Some(new.clone()));
            }
            let merged = merge_maps(left, right, members)?;
            Ok((!merged.is_empty()).then_some(Value::Object(merged)))
        }
        Form::List(list) => {
            let items = |value: &Value| value.as_array().map_or(0, Vec::len);
            if items(old) == 0 && items(new) == 0 {
                return Ok(Some(new.clone()));
            }
            let empty = Vec::new();
            let merged =
                merge_lists(old.as_array().unwrap_or(&empty), new.as_array().unwrap_or(&empty), list)?;
            Ok((!merged.is_empty()).then_some(Value::Array(merged)))
        }
        Form::Scalar | Form::Atomic => Ok(Some(new.clone())),
    }
}

fn merge_maps(
    live: Option<&Map<String, Value>>,
    config: Option<&Map<String, Value>>,
    members: Members<'_>,
) -> Result<Map<String, Value>, Unkeyed> {
    let mut out = live.cloned().unwrap_or_default();
    for (name, value) in config.into_iter().flatten() {
        let (shape, _) = members.shape(name);
        match merge_values(live.and_then(|live| live.get(name)), Some(value), shape)? {
            Some(merged) => drop(out.insert(name.clone(), merged)),
            None => drop(out.remove(name)),
        }
    }
    Ok(out)
}

/// The items of one list, by the elements that name them.
struct Items<'a> {
    elements: Vec<String>,
    values: &'a [Value],
    // `None` for an element that is there more than once: nothing merges with it.
    by_element: HashMap<String, Option<&'a Value>>,
}

impl<'a> Items<'a> {
    fn of(list: &'a List, values: &'a [Value], unique: bool) -> Result<Self, Unkeyed> {
        let mut it = Self { elements: Vec::new(), values, by_element: HashMap::new() };
        for (index, value) in values.iter().enumerate() {
            let element: Element<'_> = element_of(list, value)
                .map_err(|Unkeyed(text)| Unkeyed(format!("element {index}: {text}")))?;
            let name = element.to_string();
            if it.by_element.contains_key(&name) {
                if unique {
                    return Err(Unkeyed(format!("duplicate entries for key {name}")));
                }
                it.by_element.insert(name.clone(), None);
            } else {
                it.by_element.insert(name.clone(), Some(value));
            }
            it.elements.push(name);
        }
        Ok(it)
    }

    fn get(&self, element: &str) -> Option<&'a Value> {
        self.by_element.get(element).copied().flatten()
    }

    fn has(&self, element: &str) -> bool {
        self.by_element.contains_key(element)
    }
}

// Items that both have stand in the configuration's order; each item that only
// the live list has stays before the shared one that it preceded.
fn merge_lists(live: &[Value], config: &[Value], list: &List) -> Result<Vec<Value>, Unkeyed> {
    let right = Items::of(list, config, true)?;
    let left = Items::of(list, live, false)?;
    let mut shared = right.elements.iter().filter(|element| left.has(element));
    let mut next_shared = shared.next();
    let mut merged: HashMap<&str, ()> = HashMap::new();
    let mut out = Vec::with_capacity(live.len().max(config.len()));
    let both = |element: &str, out: &mut Vec<Value>| -> Result<(), Unkeyed> {
        out.extend(merge_values(left.get(element), right.get(element), &list.element)?);
        Ok(())
    };
    let (mut l, mut r) = (0, 0);
    while l < left.elements.len() || r < right.elements.len() {
        let (this, other) = (left.elements.get(l), right.elements.get(r));
        if let (Some(this), Some(other)) = (this, other) {
            if this == other {
                merged.insert(other, ());
                both(other, &mut out)?;
                l += 1;
                r += 1;
                next_shared = shared.next();
                continue;
            }
            if right.has(this) && next_shared.is_some_and(|next| next != this) {
                // Shared, but not the one whose turn it is.
                l += 1;
                continue;
            }
        }
        if let Some(this) = this {
            if !right.has(this) {
                out.extend(left.values.get(l).cloned());
                l += 1;
                continue;
            }
            if merged.contains_key(this.as_str()) {
                l += 1;
            }
        }
        if let Some(other) = other {
            merged.insert(other, ());
            both(other, &mut out)?;
            r += 1;
            if next_shared == Some(other) {
                next_shared = shared.next();
            }
        }
    }
    Ok(out)
}
