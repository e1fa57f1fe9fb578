//! Paths into objects, and what is wrong there. The texts are those that
//! upstream's field errors have.

use std::fmt;

use serde_json::Value;

/// A path such as `spec.containers[0].name` or `metadata.labels[app]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldPath(String);

impl FieldPath {
    /// A path that starts at this field. The empty name is the root.
    pub fn new(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// The field `name` below this one.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() { Self::new(name) } else { Self(format!("{}.{name}", self.0)) }
    }

    /// The list element `index`.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// The map entry `key`.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }

    /// The path's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path's text; the root is named as upstream's nil path is.
    pub fn named(&self) -> &str {
        if self.0.is_empty() { "<nil>" } else { &self.0 }
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What kind of error it is; the `reason` of a Status cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldErrorKind {
    /// `FieldValueNotFound`
    NotFound,
    /// `FieldValueRequired`
    Required,
    /// `FieldValueDuplicate`
    Duplicate,
    /// `FieldValueInvalid`
    Invalid,
    /// `FieldValueNotSupported`
    NotSupported,
    /// `FieldValueForbidden`
    Forbidden,
    /// `FieldValueTooLong`
    TooLong,
    /// `FieldValueTooMany`
    TooMany,
    /// `InternalError`
    Internal,
    /// `FieldValueTypeInvalid`
    TypeInvalid,
    /// `FieldValueTooFew`
    TooFew,
    /// `FieldValueTooShort`
    TooShort,
}

impl FieldErrorKind {
    /// The `reason` in a Status cause.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::Internal => "InternalError",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::TooFew => "FieldValueTooFew",
            Self::TooShort => "FieldValueTooShort",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::Internal => "Internal error",
            Self::TooFew => "Too few",
            Self::TooShort => "Too short",
        }
    }
}

/// One thing that validation found.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldError {
    /// What kind of error.
    pub kind: FieldErrorKind,
    /// Where.
    pub path: FieldPath,
    /// The offending value. Kinds that do not show one leave it `Null`.
    pub value: Value,
    /// What is wrong with it.
    pub detail: String,
    // Whether the value is not shown at all.
    valueless: bool,
    // The value as upstream's JSON has it, where its fields have an order or
    // names of their own.
    json: Option<String>,
}

impl FieldError {
    fn new(kind: FieldErrorKind, path: &FieldPath, value: Value, detail: impl Into<String>) -> Self {
        Self { kind, path: path.clone(), value, detail: detail.into(), valueless: false, json: None }
    }

    /// The same error without a value.
    #[must_use]
    pub fn valueless(self) -> Self {
        Self { valueless: true, ..self }
    }

    /// The same error with the value shown as this text: JSON whose fields
    /// stand in Go's order.
    #[must_use]
    pub fn showing(self, json: String) -> Self {
        Self { json: Some(json), ..self }
    }

    /// The value is not allowed there, `detail` says why.
    pub fn invalid(path: &FieldPath, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Invalid, path, value.into(), detail)
    }

    /// The value has the wrong type.
    pub fn type_invalid(path: &FieldPath, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::TypeInvalid, path, value.into(), detail)
    }

    /// A value must be given.
    pub fn required(path: &FieldPath, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Required, path, Value::Null, detail)
    }

    /// The value stands there twice.
    pub fn duplicate(path: &FieldPath, value: impl Into<Value>) -> Self {
        Self::new(FieldErrorKind::Duplicate, path, value.into(), "")
    }

    /// What the value refers to is not there.
    pub fn not_found(path: &FieldPath, value: impl Into<Value>) -> Self {
        Self::new(FieldErrorKind::NotFound, path, value.into(), "")
    }

    /// The value is none of `supported`; they are shown in the order given.
    pub fn not_supported(path: &FieldPath, value: impl Into<Value>, supported: &[&str]) -> Self {
        let quoted: Vec<String> = supported.iter().map(|it| go_quote(it)).collect();
        let detail = if quoted.is_empty() {
            String::new()
        } else {
            format!("supported values: {}", quoted.join(", "))
        };
        Self::new(FieldErrorKind::NotSupported, path, value.into(), detail)
    }

    /// The field must not be set or changed now.
    pub fn forbidden(path: &FieldPath, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Forbidden, path, Value::Null, detail)
    }

    /// The text is longer than `max` bytes.
    pub fn too_long(path: &FieldPath, max: usize) -> Self {
        let unit = if max == 1 { "byte" } else { "bytes" };
        Self::new(FieldErrorKind::TooLong, path, Value::Null, format!("may not be more than {max} {unit}"))
    }

    /// There are more than `max` items.
    pub fn too_many(path: &FieldPath, actual: usize, max: usize) -> Self {
        let unit = if max == 1 { "item" } else { "items" };
        Self::new(FieldErrorKind::TooMany, path, actual.into(), format!("must have at most {max} {unit}"))
    }

    /// The text is longer than `max` characters.
    pub fn too_long_characters(path: &FieldPath, max: usize) -> Self {
        let unit = if max == 1 { "character" } else { "characters" };
        Self::new(FieldErrorKind::TooLong, path, Value::Null, format!("may not be more than {max} {unit}"))
    }

    /// The text is shorter than `min` characters.
    pub fn too_short(path: &FieldPath, min: usize) -> Self {
        let unit = if min == 1 { "character" } else { "characters" };
        Self::new(FieldErrorKind::TooShort, path, Value::Null, format!("must be at least {min} {unit}"))
    }

    /// There are fewer than `min` items.
    pub fn too_few(path: &FieldPath, actual: usize, min: usize) -> Self {
        let unit = if min == 1 { "item" } else { "items" };
        Self::new(FieldErrorKind::TooFew, path, actual.into(), format!("must have at least {min} {unit}"))
    }

    /// Something went wrong that is not the client's doing.
    pub fn internal(path: &FieldPath, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Internal, path, Value::Null, detail)
    }

    /// The message without the path: what a Status cause has.
    pub fn body(&self) -> String {
        use FieldErrorKind::{Forbidden, Internal, Required, TooLong, TooShort};
        let mut text = self.kind.text().to_owned();
        if !self.valueless && !matches!(self.kind, Required | Forbidden | TooLong | TooShort | Internal) {
            text.push_str(": ");
            text.push_str(&self.json.clone().unwrap_or_else(|| shown(&self.value)));
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.named(), self.body())
    }
}

/// Several errors in one text: one stands alone, more stand in brackets, equal
/// ones once. What upstream's aggregates print.
pub fn aggregate(errors: &[FieldError]) -> String {
    let mut texts: Vec<String> = Vec::with_capacity(errors.len());
    for error in errors {
        let text = error.to_string();
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    match texts.as_slice() {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

// Text is quoted as Go's %q does; numbers are printed plainly; trees are shown
// as Go writes JSON, which escapes what HTML treats specially.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::String(text) => go_quote(text),
        Value::Number(number) if number.is_f64() => go_float(number.as_f64().unwrap_or_default()),
        Value::Number(_) | Value::Bool(_) => value.to_string(),
        Value::Array(_) | Value::Object(_) => {
            value.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
        }
    }
}

/// Go's %v of a float: the shortest digits, with an exponent from 1e+21 on and
/// below 1e-4.
pub fn go_float(number: f64) -> String {
    if number != 0.0 && !(1e-4..1e21).contains(&number.abs()) {
        let text = format!("{number:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ('-', exponent),
            None => ('+', exponent),
        };
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    format!("{number}")
}

/// Quotes text as Go's `%q` does.
pub fn go_quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\u{b}' => out.push_str("\\v"),
            ' '..='~' => out.push(c),
            '\0'..='\x7f' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if is_print(c) => out.push(c),
            c if u32::from(c) < 0x10000 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

// Whether Go's unicode.IsPrint holds. Rust's own quoting draws the same line,
// but also escapes a combining character that comes first: one stands before.
fn is_print(c: char) -> bool {
    let text: String = ['a', c].into_iter().collect();
    !text.escape_debug().any(|c| c == '\\')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn prints_as_upstream() {
        let path = FieldPath::new("spec").child("items").index(2).key("a.b/c");
        let check = |error: FieldError, expected: &str| assert_eq!(error.to_string(), expected);
        check(
            FieldError::invalid(&path, "x\"", "bad"),
            "spec.items[2][a.b/c]: Invalid value: \"x\\\"\": bad",
        );
        let root = FieldPath::default();
        check(FieldError::invalid(&root, 3, ""), "<nil>: Invalid value: 3");
        check(
            FieldError::invalid(&root, json!({"b": "<&>", "a": [1]}), "no"),
            "<nil>: Invalid value: {\"a\":[1],\"b\":\"\\u003c\\u0026\\u003e\"}: no",
        );
        check(FieldError::invalid(&root, 1e21, "no"), "<nil>: Invalid value: 1e+21: no");
        check(FieldError::invalid(&root, 2.5e-7, "no"), "<nil>: Invalid value: 2.5e-07: no");
        check(FieldError::required(&root, ""), "<nil>: Required value");
        check(FieldError::forbidden(&root, "no"), "<nil>: Forbidden: no");
        check(FieldError::duplicate(&root, "a"), "<nil>: Duplicate value: \"a\"");
        check(
            FieldError::not_supported(&root, "a", &["z", "b"]),
            "<nil>: Unsupported value: \"a\": supported values: \"z\", \"b\"",
        );
        check(FieldError::too_long(&root, 1), "<nil>: Too long: may not be more than 1 byte");
        check(
            FieldError::too_long_characters(&root, 9),
            "<nil>: Too long: may not be more than 9 characters",
        );
        check(FieldError::too_short(&root, 1), "<nil>: Too short: must be at least 1 character");
        check(FieldError::too_many(&root, 5, 1), "<nil>: Too many: 5: must have at most 1 item");
        check(FieldError::too_few(&root, 0, 2), "<nil>: Too few: 0: must have at least 2 items");
        check(FieldError::internal(&root, "boom"), "<nil>: Internal error: boom");
    }

    #[test]
    fn aggregates_once_each() {
        let a = FieldError::required(&FieldPath::new("a"), "");
        let b = FieldError::required(&FieldPath::new("b"), "");
        assert_eq!(aggregate(std::slice::from_ref(&a)), "a: Required value");
        assert_eq!(aggregate(&[a.clone(), b, a]), "[a: Required value, b: Required value]");
    }

    #[test]
    fn quotes_as_go() {
        for (text, expected) in [
            ("a\u{301}é", "\"a\u{301}é\""),
            ("\u{301}", "\"\u{301}\""),
            ("\u{a0}\u{200b}\u{85}", "\"\\u00a0\\u200b\\u0085\""),
            ("\0\x1b\x7f", "\"\\x00\\x1b\\x7f\""),
            ("'\\", "\"'\\\\\""),
            ("\u{e0001}", "\"\\U000e0001\""),
        ] {
            assert_eq!(go_quote(text), expected);
        }
    }
}
