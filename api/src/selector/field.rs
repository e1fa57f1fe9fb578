//! Field selectors.

use std::{fmt, str::FromStr};

use super::{MAX_BYTES, SelectorError};

/// One condition on one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldRequirement {
    /// The field, `metadata.name`.
    pub field: String,
    /// The value, unescaped.
    pub value: String,
    /// Whether the field must have the value, or must not.
    pub equal: bool,
}

/// A parsed field selector: all requirements must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldSelector(Vec<FieldRequirement>);

impl FieldSelector {
    /// Parses `metadata.name=a,status.phase!=Running`. Which fields a kind has
    /// is not checked here.
    ///
    /// # Errors
    /// Upstream's text.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        if text.len() > MAX_BYTES {
            return Err(SelectorError::too_long());
        }
        let mut terms = split(text);
        terms.sort_unstable();
        let mut requirements = Vec::with_capacity(terms.len());
        for term in terms.into_iter().filter(|term| !term.is_empty()) {
            let Some((field, equal, value)) = cut(term) else {
                return Err(SelectorError(format!("invalid selector: '{text}'; can't understand '{term}'")));
            };
            requirements.push(FieldRequirement { field: field.to_owned(), value: unescape(value)?, equal });
        }
        Ok(Self(requirements))
    }

    /// The selector for one field with one value.
    pub fn equal(field: &str, value: &str) -> Self {
        Self(vec![FieldRequirement { field: field.to_owned(), value: value.to_owned(), equal: true }])
    }

    /// Whether it lets every object pass.
    pub fn is_everything(&self) -> bool {
        self.0.is_empty()
    }

    /// Its requirements.
    pub fn requirements(&self) -> &[FieldRequirement] {
        &self.0
    }

    /// Calls each field what `name` says.
    ///
    /// # Errors
    /// The first field for which it says nothing.
    pub fn rename(&mut self, name: impl Fn(&str) -> Option<String>) -> Result<(), String> {
        for requirement in &mut self.0 {
            requirement.field = name(&requirement.field).ok_or_else(|| requirement.field.clone())?;
        }
        Ok(())
    }

    /// Whether fields match; a field that is not there is the empty string.
    pub fn matches<'a>(&self, lookup: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0.iter().all(|it| (lookup(&it.field).unwrap_or_default() == it.value) == it.equal)
    }

    /// The value that a field must have, where the selector pins one.
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.0.iter().find(|it| it.equal && it.field == field).map(|it| it.value.as_str())
    }
}

impl FromStr for FieldSelector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        Self::parse(text)
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, it) in self.0.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            let operator = if it.equal { "=" } else { "!=" };
            write!(f, "{comma}{}{operator}{}", it.field, escape(&it.value))?;
        }
        Ok(())
    }
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=")
}

// The terms between commas that no backslash escapes.
fn split(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

// A term's field, whether it must be equal, and the value as written. The
// first operator counts: fields cannot be escaped.
fn cut(term: &str) -> Option<(&str, bool, &str)> {
    for (at, _) in term.char_indices() {
        let rest = &term[at..];
        for (operator, equal) in [("!=", false), ("==", true), ("=", true)] {
            if let Some(value) = rest.strip_prefix(operator) {
                return Some((&term[..at], equal, value));
            }
        }
    }
    None
}

fn unescape(value: &str) -> Result<String, SelectorError> {
    let sequence = |it: &str| SelectorError(format!("invalid field selector: invalid escape sequence: {it}"));
    let mut out = String::with_capacity(value.len());
    let mut escaped = false;
    for c in value.chars() {
        match c {
            '\\' | ',' | '=' if escaped => {
                out.push(c);
                escaped = false;
            }
            _ if escaped => return Err(sequence(&format!("\\{c}"))),
            '\\' => escaped = true,
            ',' | '=' => {
                let code = u32::from(c);
                let text = format!("invalid field selector: unescaped character in value: {code}");
                return Err(SelectorError(text));
            }
            c => out.push(c),
        }
    }
    if escaped { Err(sequence("\\")) } else { Ok(out) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_as_upstream() {
        for (text, expected) in [
            ("", ""),
            (",,", ""),
            ("metadata.name=a", "metadata.name=a"),
            ("z==1,a!=2", "a!=2,z=1"),
            (r"a=b\,c\=d\\", r"a=b\,c\=d\\"),
            ("a=", "a="),
            ("=", "="),
            ("a=é", "a=é"),
            ("abc", "error: invalid selector: 'abc'; can't understand 'abc'"),
            (r"a=b\c", r"error: invalid field selector: invalid escape sequence: \c"),
            (r"a=b\", r"error: invalid field selector: invalid escape sequence: \"),
            ("a=b=c", "error: invalid field selector: unescaped character in value: 61"),
        ] {
            let shown = match FieldSelector::parse(text) {
                Ok(selector) => selector.to_string(),
                Err(error) => format!("error: {error}"),
            };
            assert_eq!(shown, expected, "{text:?}");
        }
    }

    #[test]
    fn matches_fields() {
        let lookup = |field: &str| (field == "spec.nodeName").then_some("n1");
        for (text, expected) in [
            ("", true),
            ("spec.nodeName=n1", true),
            ("spec.nodeName!=n1", false),
            ("spec.nodeName=", false),
            ("other=", true),
            ("other!=", false),
        ] {
            let selector = FieldSelector::parse(text).expect(text);
            assert_eq!(selector.matches(lookup), expected, "{text}");
        }
        let selector = FieldSelector::parse("a!=1,a=2").expect("parses");
        assert_eq!(selector.exact("a"), Some("2"));
    }
}
