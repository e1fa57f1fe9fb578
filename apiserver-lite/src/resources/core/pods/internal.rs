//! Pods as upstream's server holds them: Go structs of an internal version,
//! with names of their own, which some of its messages show as JSON.
//!
//! `internal.txt` has a line a struct: its name, then its fields in Go's order.
//! The mark after a field's name is what it holds: `"` text, `0` a number, `!`
//! a flag, `q` a quantity, `?` a pointer, to a struct where one is named, `.` a
//! struct, `*` a struct whose fields stand among its own, `[` a list and `{` a
//! map, of a struct where one is named. `~` goes
//! before fields that are left out when they are empty, and `=` before the name
//! in v1 where that is not the same but for case.

use std::collections::HashMap;

use serde_json::{Map, Value};

const FACTS: &str = include_str!("internal.txt");

/// The structs of the internal version.
pub struct Internal(HashMap<&'static str, Vec<Field>>);

struct Field {
    name: &'static str,
    v1: &'static str,
    omit_empty: bool,
    mark: char,
    of: &'static str,
}

fn field(text: &'static str) -> Option<Field> {
    let omit_empty = text.starts_with('~');
    let text = text.trim_start_matches('~');
    // `q` and `0` may be in names, but are only marks at the end.
    let at = text.rfind(['?', '.', '*', '[', '{']).or_else(|| text.len().checked_sub(1))?;
    let (name, rest) = (text.get(..at)?, text.get(at..)?);
    let (name, v1) = name.split_once('=').unwrap_or((name, name));
    let mut chars = rest.chars();
    let mark = chars.next()?;
    Some(Field { name, v1, omit_empty, mark, of: chars.as_str() })
}

impl Internal {
    /// Reads the table; messages that need it are rare.
    pub fn read() -> Self {
        let structs = FACTS.lines().filter_map(|line| {
            let mut words = line.split(' ');
            Some((words.next()?, words.filter_map(field).collect()))
        });
        Self(structs.collect())
    }

    /// The JSON of a struct, in one line.
    pub fn compact(&self, of: &str, value: &Value) -> String {
        let mut out = String::new();
        self.write(of, value, None, &mut out);
        out
    }

    /// The JSON of a struct in lines, indented by one space each.
    pub fn pretty(&self, of: &str, value: &Value) -> String {
        let mut out = String::new();
        self.write(of, value, Some(0), &mut out);
        out
    }

    /// The JSON of a list of structs, in one line.
    pub fn compact_list(&self, of: &str, list: &[Value]) -> String {
        let items: Vec<String> = list.iter().map(|it| self.compact(of, it)).collect();
        format!("[{}]", items.join(","))
    }

    fn write(&self, of: &str, value: &Value, depth: Option<usize>, out: &mut String) {
        let Some(fields) = self.0.get(of) else { return plain(value, depth, out) };
        let mut first = true;
        out.push('{');
        self.fields(fields, value, depth, &mut first, out);
        if !first {
            line(depth, out);
        }
        out.push('}');
    }

    fn fields(
        &self,
        fields: &[Field],
        value: &Value,
        depth: Option<usize>,
        first: &mut bool,
        out: &mut String,
    ) {
        let empty = Map::new();
        let map = value.as_object().unwrap_or(&empty);
        let inner = depth.map(|depth| depth + 1);
        for field in fields {
            let found = map.get(field.v1).or_else(|| {
                map.iter().find(|(key, _)| key.eq_ignore_ascii_case(field.v1)).map(|(_, value)| value)
            });
            let found = found.filter(|value| !value.is_null());
            if field.omit_empty && found.is_none() {
                continue;
            }
            if field.mark == '*' {
                if let Some(fields) = self.0.get(field.of) {
                    self.fields(fields, found.unwrap_or(&Value::Null), depth, first, out);
                }
                continue;
            }
            if !*first {
                out.push(',');
            }
            *first = false;
            line(inner, out);
            out.push_str(&format!("\"{}\":", field.name));
            if depth.is_some() {
                out.push(' ');
            }
            self.member(field, found, inner, out);
        }
    }

    fn member(&self, field: &Field, value: Option<&Value>, depth: Option<usize>, out: &mut String) {
        match (field.mark, value) {
            ('"', None) => out.push_str("\"\""),
            ('0', None) => out.push('0'),
            ('!', None) => out.push_str("false"),
            ('q', None) => out.push_str("\"0\""),
            ('.', None) => self.write(field.of, &Value::Null, depth, out),
            (_, None) => out.push_str("null"),
            ('.' | '?', Some(value)) if !field.of.is_empty() => self.write(field.of, value, depth, out),
            ('[', Some(Value::Array(items))) if !items.is_empty() && !field.of.is_empty() => {
                let inner = depth.map(|depth| depth + 1);
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    line(inner, out);
                    self.write(field.of, item, inner, out);
                }
                line(depth, out);
                out.push(']');
            }
            ('{', Some(Value::Object(map))) if !map.is_empty() && !field.of.is_empty() => {
                let inner = depth.map(|depth| depth + 1);
                out.push('{');
                for (index, (key, item)) in map.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    line(inner, out);
                    out.push_str(&escaped(&Value::String(key.clone())));
                    out.push_str(if depth.is_some() { ": " } else { ":" });
                    self.write(field.of, item, inner, out);
                }
                line(depth, out);
                out.push('}');
            }
            (_, Some(value)) => plain(value, depth, out),
        }
    }
}

fn line(depth: Option<usize>, out: &mut String) {
    if let Some(depth) = depth {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', depth));
    }
}

// A value that has no struct: scalars, and lists and maps of them.
fn plain(value: &Value, depth: Option<usize>, out: &mut String) {
    let inner = depth.map(|depth| depth + 1);
    match value {
        Value::Array(items) if !items.is_empty() => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                line(inner, out);
                plain(item, inner, out);
            }
            line(depth, out);
            out.push(']');
        }
        Value::Object(map) if !map.is_empty() => {
            out.push('{');
            for (index, (key, item)) in map.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                line(inner, out);
                out.push_str(&escaped(&Value::String(key.clone())));
                out.push(':');
                if depth.is_some() {
                    out.push(' ');
                }
                plain(item, inner, out);
            }
            line(depth, out);
            out.push('}');
        }
        other => out.push_str(&escaped(other)),
    }
}

/// A value as Go's JSON has it, which escapes what HTML treats specially. So
/// does upstream show what its structs point to.
pub fn escaped(value: &Value) -> String {
    value.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn structs_have_all_their_fields() {
        let internal = Internal::read();
        let cases = [
            ("KeyToPath", json!({"key": "a", "mode": 1}), r#"{"Key":"a","Path":"","Mode":1,"User":null}"#),
            ("SeccompProfile", json!({"type": "X"}), r#"{"Type":"X","LocalhostProfile":null}"#),
            ("LabelSelector", json!({}), "{}"),
            (
                "EnvVarSource",
                json!({"resourceFieldRef": {"resource": "limits.cpu"}}),
                r#"{"FieldRef":null,"ResourceFieldRef":{"ContainerName":"","Resource":"limits.cpu","Divisor":"0"},"ConfigMapKeyRef":null,"SecretKeyRef":null,"FileKeyRef":null}"#,
            ),
            (
                "RBDVolumeSource",
                json!({"monitors": ["a<b"], "pool": "p"}),
                r#"{"CephMonitors":["a\u003cb"],"RBDImage":"","FSType":"","RBDPool":"p","RadosUser":"","Keyring":"","SecretRef":null,"ReadOnly":false}"#,
            ),
        ];
        for (of, value, expected) in cases {
            assert_eq!(internal.compact(of, &value), expected);
        }
    }

    #[test]
    fn pretty_structs_are_indented_by_one_space() {
        let value = json!({"add": ["A"]});
        let expected = "{\n \"Add\": [\n  \"A\"\n ],\n \"Drop\": null\n}";
        assert_eq!(Internal::read().pretty("Capabilities", &value), expected);
    }
}
