//! Secrets.

use base64::{Engine, engine::general_purpose::STANDARD};
use coracle_api::{FieldError, FieldPath, Object, format};
use serde_json::Value;

use crate::{
    resources::{
        Column, Strategy, Write,
        columns::{AGE, NAME, show, size},
        rules::IMMUTABLE,
        tree::{entries, map_mut, or_default, section, text},
    },
    schema::decode,
};

use super::configmaps::{immutable, key_faults};

/// What the values of a secret or config map may hold together.
pub const MAX_BYTES: usize = 1024 * 1024;

/// The behaviour of secrets.
pub struct Secrets;

impl Strategy for Secrets {
    fn default(&self, object: &mut Object) {
        fold_string_data(object);
        or_default(&mut object.0, "type", "Opaque");
    }

    fn prepare(&self, _write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
        if let Some(old) = old {
            or_default(&mut new.0, "type", text(section(old, "type")));
        }
    }

    fn validate(&self, _write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let kind = text(section(new, "type"));
        let mut errors = Vec::new();
        if let Some(old) = old {
            if kind != text(section(old, "type")) {
                errors.push(FieldError::invalid(&FieldPath::new("type"), kind, IMMUTABLE));
            }
            errors.extend(immutable(new, old, &["data"]));
        }
        let data = FieldPath::new("data");
        let mut size = 0;
        for (key, value) in entries(section(new, "data")) {
            errors.extend(key_faults(key, &data.key(key)));
            size += decoded_len(text(value));
        }
        if size > MAX_BYTES {
            errors.push(FieldError::too_long(&data, MAX_BYTES));
        }
        errors.extend(lacks(kind, new, &data));
        errors
    }

    fn warnings(&self, _write: &Write<'_>, new: &Object, _old: Option<&Object>) -> Vec<String> {
        pair_fault(new).into_iter().collect()
    }

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_subdomain(name, prefix)
    }

    fn selectors(&self) -> &'static [&'static str] {
        &["type"]
    }

    fn selectable(&self, object: &Object) -> Vec<(&'static str, String)> {
        vec![("type", object.get_str(&["type"]).to_owned())]
    }
}

// `stringData` is write-only: it is laid over `data` and forgotten.
fn fold_string_data(object: &mut Object) {
    if let Some(Value::Object(plain)) = object.0.remove("stringData") {
        if plain.is_empty() {
            return;
        }
        let data = map_mut(&mut object.0, "data");
        for (key, value) in plain {
            data.insert(key, STANDARD.encode(text(&value)).into());
        }
    }
}

/// How many bytes a base64 text stands for.
pub fn decoded_len(base64: &str) -> usize {
    base64.trim_end_matches('=').len() * 3 / 4
}

/// The bytes under a key of a secret's data.
pub fn bytes(secret: &Object, key: &str) -> Option<Vec<u8>> {
    STANDARD.decode(section(secret, "data").get(key)?.as_str()?).ok()
}

// What a secret of that type must hold and does not.
fn lacks(kind: &str, secret: &Object, data: &FieldPath) -> Vec<FieldError> {
    let has = |key: &str| section(secret, "data").get(key).is_some();
    let missing = |keys: &[&str]| -> Vec<FieldError> {
        keys.iter().filter(|key| !has(key)).map(|key| FieldError::required(&data.key(key), "")).collect()
    };
    match kind {
        "kubernetes.io/service-account-token" => {
            const ACCOUNT: &str = "kubernetes.io/service-account.name";
            let path = FieldPath::new("metadata").child("annotations").key(ACCOUNT);
            match secret.annotation(ACCOUNT).unwrap_or_default() {
                "" => vec![FieldError::required(&path, "")],
                _ => Vec::new(),
            }
        }
        "kubernetes.io/dockercfg" => json_under(secret, ".dockercfg", data),
        "kubernetes.io/dockerconfigjson" => json_under(secret, ".dockerconfigjson", data),
        "kubernetes.io/basic-auth" if !has("username") && !has("password") => {
            missing(&["username", "password"])
        }
        "kubernetes.io/ssh-auth" if bytes(secret, "ssh-privatekey").is_none_or(|key| key.is_empty()) => {
            vec![FieldError::required(&data.key("ssh-privatekey"), "")]
        }
        "kubernetes.io/tls" => missing(&["tls.crt", "tls.key"]),
        _ => Vec::new(),
    }
}

fn json_under(secret: &Object, key: &str, data: &FieldPath) -> Vec<FieldError> {
    let path = data.key(key);
    let Some(content) = bytes(secret, key) else {
        return vec![FieldError::required(&path, "")];
    };
    match json_fault(&content) {
        Some(fault) => vec![FieldError::invalid(&path, "<secret contents redacted>", fault)],
        None => Vec::new(),
    }
}

// Why bytes are no JSON object, in the words of Go's decoder.
fn json_fault(content: &[u8]) -> Option<String> {
    let kind = match serde_json::from_slice::<Value>(content) {
        Ok(Value::Object(_) | Value::Null) => return None,
        Ok(Value::Array(_)) => "array",
        Ok(Value::String(_)) => "string",
        Ok(Value::Number(_)) => "number",
        Ok(Value::Bool(_)) => "bool",
        Err(error) => return decode::syntax(content).or_else(|| Some(error.to_string())),
    };
    Some(format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"))
}

// What a TLS secret's pair lacks to be one.
fn pair_fault(secret: &Object) -> Option<String> {
    if text(section(secret, "type")) != "kubernetes.io/tls" {
        return None;
    }
    let pem = |key: &str| {
        let content = bytes(secret, key).unwrap_or_default();
        content.windows(11).any(|it| it == b"-----BEGIN ")
    };
    [("tls.crt", "certificate"), ("tls.key", "key")]
        .into_iter()
        .find(|(key, _)| !pem(key))
        .map(|(_, name)| format!("tls: failed to find any PEM data in {name} input"))
}

/// The columns.
pub static COLUMNS: &[Column] = &[
    NAME,
    Column::new(
        "Type",
        "string",
        "Used to facilitate programmatic handling of secret data. More info: https://kubernetes.io/docs/concepts/configuration/secret/#secret-types",
        |it, _| show(it, &["type"]),
    ),
    Column::new(
        "Data",
        "string",
        "Data contains the secret data. Each key must consist of alphanumeric characters, '-', '_' or '.'. The serialized form of the secret data is a base64 encoded string, representing the arbitrary (possibly non-string) data value here. Described in https://tools.ietf.org/html/rfc4648#section-4",
        |it, _| size(it, &["data"]),
    ),
    AGE,
];
