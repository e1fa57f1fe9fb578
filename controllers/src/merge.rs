//! Objects of tests: a plain one, and what is different about it.

use std::borrow::Borrow;

use serde_json::Value;

/// Lays `change` over `into`, field by field; lists and plain values are replaced.
pub(crate) fn merge(into: &mut Value, change: impl Borrow<Value>) {
    match (into, change.borrow()) {
        (Value::Object(into), Value::Object(change)) => {
            for (key, value) in change {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, change) => *into = change.clone(),
    }
}
