//! What changed in a pod, as upstream shows it.

use serde_json::Value;
pub fn of_spec(_old: &Value, _new: &Value) -> String {
    String::new()
}
pub fn of_ephemeral_container(_old: &Value, _new: &Value) -> String {
    String::new()
}
pub fn capitalized(value: &Value) -> Value {
    value.clone()
}
