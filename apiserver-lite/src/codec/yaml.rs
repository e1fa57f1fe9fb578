//! YAML bodies, read as JSON, and answers in YAML.

use serde_json::Value;

/// Reads one YAML document as JSON.
///
/// # Errors
/// The text of what is wrong with it.
pub fn read(body: &[u8]) -> Result<Value, String> {
    serde_yaml_ng::from_slice(body).map_err(|error| format!("error converting YAML to JSON: yaml: {error}"))
}

/// Writes JSON as YAML.
pub fn write(value: &Value) -> String {
    serde_yaml_ng::to_string(value).unwrap_or_default()
}
