//! From bytes to an [`Object`] in canonical form.

use std::fmt::Write as _;

use coracle_api::{GroupVersionKind, Object, field::go_quote, resource::api_version, schema::Struct};
use serde_json::{Map, Value};

use crate::codec;

use super::{
    reader::{Reader, text_of},
    registered,
    walk::{Reading, Walk},
};

/// What decoding found.
#[derive(Debug)]
pub struct Decoded {
    /// The object, canonical, without the fields that the schema does not have.
    /// Its `kind` and `apiVersion` are those asked for.
    pub object: Object,
    /// `unknown field "spec.foo"`, `duplicate field "spec.a"`, in upstream's
    /// order: fieldValidation decides what becomes of them.
    pub strict: Vec<String>,
}

impl Decoded {
    /// The message of the refusal when strict errors are refused; `None` when
    /// there are none.
    pub fn refusal(&self, gvk: &GroupVersionKind) -> Option<String> {
        if self.strict.is_empty() {
            return None;
        }
        let errors = format!("strict decoding error: {}", self.strict.join(", "));
        Some(unfit(&gvk.version, &gvk.kind, gvk, &errors))
    }
}

/// Why bytes are no object.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The body is no such object; the text is upstream's.
    #[error("{0}")]
    Malformed(String),
}

/// Decodes one object of `gvk`, a built-in kind, from JSON. A body may leave
/// `kind` and `apiVersion` out.
///
/// # Errors
/// `Malformed` for bad JSON, another kind or version, wrong types, too deep
/// nesting, with the message of upstream's 400.
pub fn json(body: &[u8], gvk: &GroupVersionKind, schema: &Struct) -> Result<Decoded, DecodeError> {
    decode(body, gvk, schema, Reading::Json)
        .map_err(|fault| DecodeError::Malformed(message(fault, body, gvk)))
}

/// Decodes one object from YAML in the same way.
///
/// # Errors
/// As [`json`]; what is wrong with the YAML comes first.
pub fn yaml(body: &[u8], gvk: &GroupVersionKind, schema: &Struct) -> Result<Decoded, DecodeError> {
    let document = match codec::yaml::document(body) {
        Ok(document) => document,
        Err(fault) => return Err(DecodeError::Malformed(message(Fault::Unrecognized(fault), body, gvk))),
    };
    let text =
        serde_json::to_vec(&document.value).map_err(|error| DecodeError::Malformed(error.to_string()))?;
    let mut decoded = decode(&text, gvk, schema, Reading::Json)
        .map_err(|fault| DecodeError::Malformed(message(fault, body, gvk)))?;
    if let Some(duplicates) = document.duplicates {
        decoded.strict.insert(0, duplicates);
    }
    Ok(decoded)
}

/// Decodes a tree, such as the result of a patch, in the same way.
///
/// # Errors
/// As [`json`], with the bare text of what is wrong.
pub fn value(tree: &Value, gvk: &GroupVersionKind, schema: &Struct) -> Result<Decoded, DecodeError> {
    let body = serde_json::to_vec(tree).map_err(|error| DecodeError::Malformed(error.to_string()))?;
    bare(&body, gvk, schema)
}

/// Why a body in another format is not even recognized.
pub fn unrecognized(fault: String, body: &[u8], gvk: &GroupVersionKind) -> DecodeError {
    DecodeError::Malformed(message(Fault::Unrecognized(fault), body, gvk))
}

/// Why bytes are no JSON, in the words of Go's decoder.
pub fn syntax(body: &[u8]) -> Option<String> {
    let text = text_of(body);
    let mut reader = Reader::new(&text);
    let read = reader.peek().and_then(|_| reader.skip().map(|_| ())).and_then(|()| reader.end());
    read.err().map(|error| error.0)
}

/// Decodes one object from JSON, as [`json`] does.
///
/// # Errors
/// As [`json`], with the bare text of what is wrong.
pub fn bare(body: &[u8], gvk: &GroupVersionKind, schema: &Struct) -> Result<Decoded, DecodeError> {
    decode(body, gvk, schema, Reading::Json).map_err(Fault::bare)
}

/// Converts a tree to an object, as upstream does with strategic patches, where it decodes nothing.
///
/// # Errors
/// As [`value`]; wrong types are told in the words of upstream's converter.
pub fn converted(tree: &Value, gvk: &GroupVersionKind, schema: &Struct) -> Result<Decoded, DecodeError> {
    let body = serde_json::to_vec(tree).map_err(|error| DecodeError::Malformed(error.to_string()))?;
    decode(&body, gvk, schema, Reading::Converted).map_err(Fault::bare)
}

// What is wrong with a body.
enum Fault {
    // It does not even say what it is.
    Unrecognized(String),
    // It says that it is this kind, and is not one that was asked for.
    Unfit { version: String, kind: String, fault: String },
    // It is of another version; the whole message.
    Version(String),
}

impl Fault {
    fn bare(self) -> DecodeError {
        let (Self::Unrecognized(text) | Self::Version(text) | Self::Unfit { fault: text, .. }) = self;
        DecodeError::Malformed(text)
    }
}

fn decode(body: &[u8], gvk: &GroupVersionKind, schema: &Struct, reading: Reading) -> Result<Decoded, Fault> {
    if schema.is_custom() {
        return custom(body, gvk, schema);
    }
    let text = text_of(body);
    let mut walk = Walk::new(&text, reading);
    let parse =
        |fault: &str| Fault::Unrecognized(format!("couldn't get version/kind; json parse error: {fault}"));
    let map = walk.document(schema).map_err(|error| parse(&error.0))?;
    if let Some(fault) = &walk.identity {
        return Err(parse(fault));
    }
    let mut object = Object(map);
    let given = given(&object).map_err(Fault::Unrecognized)?;
    check_identity(body, &given, gvk)?;
    let strict = std::mem::take(&mut walk.strict);
    if let Some(fault) = walk.fault() {
        return Err(Fault::Unfit { version: gvk.version.to_string(), kind: gvk.kind.to_string(), fault });
    }
    object.0.insert("kind".to_owned(), Value::String(gvk.kind.to_string()));
    object.0.insert("apiVersion".to_owned(), Value::String(gvk.api_version()));
    Ok(Decoded { object, strict })
}

// A custom resource: whatever fields it has are read, and what its schema does
// not name goes. That it is of the right kind is for validation to say.
fn custom(body: &[u8], gvk: &GroupVersionKind, schema: &Struct) -> Result<Decoded, Fault> {
    let text = text_of(body);
    let mut walk = Walk::new(&text, Reading::Json);
    let parse =
        |fault: &str| Fault::Unrecognized(format!("couldn't get version/kind; json parse error: {fault}"));
    let mut map = walk.free_document().map_err(|error| parse(&error.0))?;
    if let Some(fault) = &walk.identity {
        return Err(parse(fault));
    }
    let text = |name: &str| map.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (data, expected) = (text("apiVersion"), gvk.api_version());
    if text("kind").is_empty() {
        let body = String::from_utf8_lossy(body);
        return Err(Fault::Unrecognized(format!("Object 'Kind' is missing in '{body}'")));
    }
    if data != expected {
        return Err(Fault::Version(format!(
            "the API version in the data ({data}) does not match the expected API version ({expected})"
        )));
    }
    let mut strict = std::mem::take(&mut walk.strict);
    match crate::custom::prune(&mut map, schema, false) {
        Ok(unknown) => strict.extend(unknown),
        Err(fault) => {
            return Err(Fault::Unfit { version: gvk.version.to_string(), kind: gvk.kind.to_string(), fault });
        }
    }
    Ok(Decoded { object: Object(map), strict })
}

/// A part of an object that has a Go type of its own.
#[derive(Debug, Default)]
pub struct Part {
    /// Its fields, canonical.
    pub fields: Map<String, Value>,
    /// The paths of those that the type does not have.
    pub unknown: Vec<String>,
}

/// Decodes a part of an object, such as the metadata of an embedded one.
///
/// # Errors
/// Why it does not fit the type, in Go's words.
pub fn part(tree: &Value, schema: &Struct) -> Result<Part, String> {
    let kind = match tree {
        Value::Object(_) => None,
        Value::Null => return Ok(Part::default()),
        Value::Bool(_) => Some("bool"),
        Value::Number(_) => Some("number"),
        Value::String(_) => Some("string"),
        Value::Array(_) => Some("array"),
    };
    if let Some(kind) = kind {
        let name = schema.go_name();
        return Err(format!("json: cannot unmarshal {kind} into Go value of type v1.{name}"));
    }
    let text = tree.to_string();
    let mut walk = Walk::new(&text, Reading::Json);
    let fields = walk.document(schema).map_err(|error| error.0)?;
    let strict = std::mem::take(&mut walk.strict);
    if let Some(fault) = walk.fault() {
        return Err(fault);
    }
    let bare = |text: String| Some(text.strip_prefix("unknown field \"")?.strip_suffix('"')?.to_owned());
    Ok(Part { fields, unknown: strict.into_iter().filter_map(bare).collect() })
}

// The group, version and kind that the body gives.
struct Given {
    group: String,
    version: String,
    kind: String,
}

fn given(object: &Object) -> Result<Given, String> {
    let text = object.api_version();
    let mut parts = text.split('/');
    let (group, version) = match (parts.next(), parts.next(), parts.next()) {
        _ if text.is_empty() || text == "/" => ("", ""),
        (Some(version), None, _) => ("", version),
        (Some(group), Some(version), None) => (group, version),
        _ => return Err(format!("unexpected GroupVersion string: {text}")),
    };
    Ok(Given { group: group.to_owned(), version: version.to_owned(), kind: object.kind().to_owned() })
}

// What the body leaves out is what was asked for; what it gives must be that.
fn check_identity(body: &[u8], given: &Given, gvk: &GroupVersionKind) -> Result<(), Fault> {
    let kind = if given.kind.is_empty() { &*gvk.kind } else { &given.kind };
    let (group, version) = match (given.group.as_str(), given.version.as_str()) {
        ("", "") => (&*gvk.group, &*gvk.version),
        (group, "") if group == gvk.group => (group, &*gvk.version),
        given => given,
    };
    if (group, version, kind) == (&*gvk.group, &*gvk.version, &*gvk.kind) {
        return Ok(());
    }
    let data = api_version(group, version);
    let fault = if version.is_empty() {
        format!("Object 'apiVersion' is missing in '{}'", String::from_utf8_lossy(body))
    } else if !registered::kind(group, version, kind) {
        let (kind, data) = (go_quote(kind), go_quote(&data));
        format!("no kind {kind} is registered for version {data} in scheme \"pkg/runtime/scheme.go:111\"")
    } else if kind == gvk.kind {
        let expected = gvk.api_version();
        return Err(Fault::Version(format!(
            "the API version in the data ({data}) does not match the expected API version ({expected})"
        )));
    } else if let Some(fault) = registered::schema(group, version, kind).and_then(|it| misfit(body, it)) {
        fault
    } else {
        let target = registered::package(&gvk.group);
        format!("converting ({version}.{kind}) to ({target}.{}): unknown conversion", gvk.kind)
    };
    Err(Fault::Unfit { version: version.to_owned(), kind: kind.to_owned(), fault })
}

// Why the body is not even an object of the kind that it says.
fn misfit(body: &[u8], schema: &Struct) -> Option<String> {
    let text = text_of(body);
    let mut walk = Walk::new(&text, Reading::Json);
    walk.document(schema).ok()?;
    walk.fault()
}

// The message of a 400.
fn message(fault: Fault, body: &[u8], gvk: &GroupVersionKind) -> String {
    match fault {
        Fault::Unrecognized(fault) => {
            let (kind, summary) = (&gvk.kind, summary(body));
            format!("the object provided is unrecognized (must be of type {kind}): {fault} ({summary})")
        }
        Fault::Unfit { version, kind, fault } => unfit(&version, &kind, gvk, &fault),
        Fault::Version(message) => message,
    }
}

fn unfit(version: &str, kind: &str, gvk: &GroupVersionKind, fault: &str) -> String {
    format!("{kind} in version {} cannot be handled as a {}: {fault}", go_quote(version), gvk.kind)
}

// The beginning of the body: as text when it looks like JSON, else in hex.
fn summary(body: &[u8]) -> String {
    const MOST: usize = 30;
    let head = body.get(..MOST).unwrap_or(body);
    let more = if body.len() > MOST { " ..." } else { "" };
    match body.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(head)),
        Some(_) => {
            let mut hex = String::with_capacity(2 * MOST + more.len());
            for byte in head {
                // Writing to a String cannot fail.
                let _ = write!(hex, "{byte:02x}");
            }
            hex + more
        }
    }
}

#[cfg(test)]
mod tests;
