//! Lists in a strategic merge: merged by key or by value, then put in order.
//! The order of the patch comes first, then the one that the object had.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::{ELEMENT_ORDER, Level, MARKER, merge_map, operand, unknown_directive};
use crate::patch::{PatchError, golang};

/// Merges `patch` into `original`, lists of one field with merge key `key`.
pub fn merge(
    original: Vec<Value>,
    patch: Vec<Value>,
    element: Level<'_>,
    key: Option<&str>,
    deletes: bool,
) -> Result<Vec<Value>, PatchError> {
    if original.is_empty() && patch.is_empty() {
        return Ok(original);
    }
    if !holds_maps(&[&original, &patch])? {
        if deletes {
            let gone: HashSet<&Value> = patch.iter().collect();
            return Ok(original.into_iter().filter(|value| !gone.contains(value)).collect());
        }
        let mut seen = HashSet::new();
        let both = original.iter().chain(&patch);
        let merged = both.filter(|value| seen.insert(*value)).cloned().collect();
        return in_order(merged, &patch, &original, None);
    }
    let Some(key) = key else {
        let text = format!("cannot merge lists without merge key for {}", element.name());
        return Err(PatchError::Failed(text));
    };
    let (original, patch) = directed(original, patch, key)?;
    // Only the keys are needed to put the result in order.
    let old_order = keys_only(&original, key);
    let new_order = keys_only(&patch, key);
    let merged = by_key(original, patch, key, element)?;
    in_order(merged, &new_order, &old_order, Some(key))
}

/// Merges the list that `directive` (`$setElementOrder/NAME`) is about and puts
/// it in that order.
pub fn merge_in_order(
    original: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
    directive: &str,
    order: Value,
    level: Level<'_>,
) -> Result<(), PatchError> {
    let order = into_list(order)?;
    let name = operand(directive, ELEMENT_ORDER)?;
    let old = original.get(name).cloned().map(into_list).transpose()?;
    let new = patch.get(name).cloned().map(into_list).transpose()?;
    let (element, strategy) = level.list(name)?;
    let key = strategy.key;
    agrees(new.as_deref().unwrap_or_default(), &order, key)?;
    let merged = match (&old, &new) {
        (None, None) => return Ok(()),
        (Some(old), None) => old.clone(),
        (None, Some(new)) => new.iter().cloned().filter_map(super::without_directives).collect(),
        (Some(old), Some(new)) if strategy.merge => merge(old.clone(), new.clone(), element, key, false)?,
        (Some(_), Some(new)) => new.clone(),
    };
    let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
    holds_maps(&[&old, &new])?;
    original.insert(name.to_owned(), Value::Array(in_order(merged, &order, &old, key)?));
    patch.remove(name);
    Ok(())
}

fn into_list(value: Value) -> Result<Vec<Value>, PatchError> {
    match value {
        Value::Array(list) => Ok(list),
        other => Err(wrong_type("[]interface {}", &other)),
    }
}

fn wrong_type(expected: &str, actual: &Value) -> PatchError {
    PatchError::Failed(format!("expected a {expected}, but received a {}", golang::type_name(actual)))
}

fn no_key(element: &Value, key: &str) -> PatchError {
    let map = golang::verbose(element);
    PatchError::Failed(format!("map: {map} does not contain declared merge key: {key}"))
}

fn key_of<'a>(element: &'a Value, key: &str) -> Result<&'a Value, PatchError> {
    let map = element.as_object().ok_or_else(|| wrong_type("map[string]interface {}", element))?;
    map.get(key).ok_or_else(|| no_key(element, key))
}

// All elements must have one type, which may not be a list.
fn holds_maps(lists: &[&[Value]]) -> Result<bool, PatchError> {
    let mut all = lists.iter().copied().flatten();
    let Some(first) = all.next() else {
        return Err(PatchError::Failed("no elements in any of the given slices".to_owned()));
    };
    match first {
        Value::Array(_) => {
            return Err(PatchError::Unprocessable("lists of lists are not supported".to_owned()));
        }
        // Upstream's reflection has no type for null and panics.
        Value::Null => return Err(PatchError::Failed("list element types are not identical".to_owned())),
        _ => {}
    }
    if all.any(|other| golang::type_name(other) != golang::type_name(first)) {
        let shown: Vec<String> =
            lists.iter().map(|list| golang::verbose(&Value::Array(list.to_vec()))).collect();
        return Err(PatchError::Failed(format!(
            "list element types are not identical: [{}]",
            shown.join(" ")
        )));
    }
    Ok(first.is_object())
}

// Carries out the elements that are directives. Gives the list to merge into
// and the elements to merge.
fn directed(
    mut original: Vec<Value>,
    patch: Vec<Value>,
    key: &str,
) -> Result<(Vec<Value>, Vec<Value>), PatchError> {
    let mut plain = Vec::with_capacity(patch.len());
    let mut gone: HashSet<Value> = HashSet::new();
    let mut replaces = false;
    for element in patch {
        let Value::Object(map) = &element else { continue };
        match map.get(MARKER) {
            None => plain.push(element),
            Some(Value::String(directive)) if directive == "delete" => {
                gone.insert(key_of(&element, key)?.clone());
            }
            Some(Value::String(directive)) if directive == "replace" => replaces = true,
            Some(Value::String(directive)) if directive == "merge" => {
                let text = "merging lists cannot yet be specified in the patch".to_owned();
                return Err(PatchError::Failed(text));
            }
            Some(other) => return Err(unknown_directive(other, map)),
        }
    }
    if replaces {
        return Ok((plain, Vec::new()));
    }
    if !gone.is_empty() {
        original.retain(|element| element.get(key).is_none_or(|value| !gone.contains(value)));
    }
    Ok((original, plain))
}

fn by_key(
    mut original: Vec<Value>,
    patch: Vec<Value>,
    key: &str,
    element: Level<'_>,
) -> Result<Vec<Value>, PatchError> {
    let mut places: HashMap<Value, usize> = HashMap::with_capacity(original.len());
    for (place, old) in original.iter().enumerate() {
        if let Some(value) = old.get(key) {
            places.entry(value.clone()).or_insert(place);
        }
    }
    for new in patch {
        let value = key_of(&new, key)?;
        match places.get(value).and_then(|place| original.get_mut(*place)) {
            Some(old) => {
                if let (Value::Object(old), Value::Object(new)) = (old, new) {
                    *old = merge_map(std::mem::take(old), new, element)?;
                }
            }
            None => {
                places.insert(value.clone(), original.len());
                original.push(new);
            }
        }
    }
    Ok(original)
}

fn keys_only(list: &[Value], key: &str) -> Vec<Value> {
    let named = |element: &Value| {
        let value = element.get(key)?;
        Some(Value::Object(Map::from_iter([(key.to_owned(), value.clone())])))
    };
    list.iter().map(|element| named(element).unwrap_or_else(|| element.clone())).collect()
}

// What the patch says and the order it asks for must agree.
fn agrees(patch: &[Value], order: &[Value], key: Option<&str>) -> Result<(), PatchError> {
    if patch.is_empty() || order.is_empty() {
        return Ok(());
    }
    let mut kept = Vec::with_capacity(patch.len());
    for element in patch {
        if key.is_some() && !element.is_object() {
            return Err(wrong_type("map[string]interface {}", element));
        }
        if element.get(MARKER).is_none_or(|directive| directive != "delete") {
            kept.push(element);
        }
    }
    let mut left = kept.into_iter().filter(|element| element.get(MARKER).is_none()).peekable();
    for place in order {
        let Some(element) = left.peek() else { return Ok(()) };
        let equal = match key {
            Some(key) => {
                wrong_unless_map(element)?;
                wrong_unless_map(place)?;
                key_of(element, key)? == key_of(place, key)?
            }
            None => *element == place,
        };
        if equal {
            left.next();
        }
    }
    if left.peek().is_none() {
        return Ok(());
    }
    let shown = |list: &[Value]| golang::verbose(&Value::Array(list.to_vec()));
    Err(PatchError::Failed(format!(
        "The order in patch list:\n{}\n doesn't match {ELEMENT_ORDER} list:\n{}\n",
        shown(patch),
        shown(order)
    )))
}

fn wrong_unless_map(value: &Value) -> Result<(), PatchError> {
    if value.is_object() { Ok(()) } else { Err(wrong_type("map[string]interface {}", value)) }
}

// Elements that the new order names stand as it says; the others as the old
// one says, each before the first named element that it preceded there.
fn in_order(
    merged: Vec<Value>,
    new_order: &[Value],
    old_order: &[Value],
    key: Option<&str>,
) -> Result<Vec<Value>, PatchError> {
    let new_ranks = ranks(new_order, key)?;
    let old_ranks = ranks(old_order, key)?;
    let mut named = Vec::new();
    let mut others = Vec::new();
    for element in merged {
        let name = match key {
            Some(key) => key_of(&element, key)?,
            None => &element,
        };
        let old = old_ranks.get(name).copied();
        match new_ranks.get(name).copied() {
            Some(new) => named.push((Some(new), old, element)),
            None => others.push((old, old, element)),
        }
    }
    sort(&mut named);
    sort(&mut others);
    let mut out = Vec::with_capacity(named.len() + others.len());
    let mut others = others.into_iter().peekable();
    for (_, rank, element) in named {
        while let Some((_, other, _)) = others.peek() {
            if !matches!((other, rank), (Some(other), Some(rank)) if *other < rank) {
                break;
            }
            out.extend(others.next().map(|(_, _, element)| element));
        }
        out.push(element);
    }
    out.extend(others.map(|(_, _, element)| element));
    Ok(out)
}

fn ranks<'a>(order: &'a [Value], key: Option<&str>) -> Result<HashMap<&'a Value, usize>, PatchError> {
    let mut ranks = HashMap::with_capacity(order.len());
    for (rank, element) in order.iter().enumerate() {
        let name = match key {
            Some(key) => key_of(element, key)?,
            None => element,
        };
        ranks.entry(name).or_insert(rank);
    }
    Ok(ranks)
}

type Ranked = (Option<usize>, Option<usize>, Value);

// An element that the order does not name is less than every other to
// upstream, whose insertion sort so turns a list of them round. That happens
// with an empty `$setElementOrder`; longer lists we leave as they stand.
fn sort(list: &mut [Ranked]) {
    const BLOCK: usize = 20;
    if list.len() > BLOCK || list.iter().all(|(rank, ..)| rank.is_some()) {
        list.sort_by_key(|(rank, ..)| *rank);
        return;
    }
    for end in 1..list.len() {
        let mut at = end;
        while at > 0 && list[at].0.zip(list[at - 1].0).is_none_or(|(this, before)| this < before) {
            list.swap(at, at - 1);
            at -= 1;
        }
    }
}
