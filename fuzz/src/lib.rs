//! What the targets share: how they cut the fuzzer's bytes up.

use coracle_api::{Resource, facts::RESOURCES};
use serde_json::{Map, Value};

/// The kind that the first byte stands for, and the rest.
pub fn kind(data: &[u8]) -> Option<(&'static Resource, &[u8])> {
    let (first, rest) = data.split_first()?;
    Some((RESOURCES[usize::from(*first) % RESOURCES.len()], rest))
}

/// Two bodies: lines are how people write corpora, and JSON needs none.
pub fn pair(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = data.iter().position(|byte| *byte == b'\n')?;
    Some((&data[..at], &data[at + 1..]))
}

/// A tree that a server could have stored: it is no deeper than bodies may be.
pub fn tree(text: &[u8]) -> Option<Value> {
    serde_json::from_slice(text).ok()
}

/// An object, by the kind that it names.
pub fn object(text: &[u8]) -> Option<(&'static Resource, Map<String, Value>)> {
    let Value::Object(object) = tree(text)? else { return None };
    let kind = object.get("kind")?.as_str()?;
    let version = object.get("apiVersion")?.as_str()?;
    let resource = RESOURCES.iter().find(|it| it.gvk.kind == kind && it.api_version() == version)?;
    Some((resource, object))
}
