//! From JSON to YAML in block style, keys in order, as upstream lays it out.

use serde_json::{Map, Value};

use super::scalar::is_ambiguous;

/// Writes JSON as one YAML document.
pub fn write(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => mapping(&mut out, map, 0),
        Value::Array(items) if !items.is_empty() => sequence(&mut out, items, 0),
        scalar => {
            plain(&mut out, scalar, 0);
            out.push('\n');
        }
    }
    out
}

fn indent(out: &mut String, level: usize) {
    (0..level).for_each(|_| out.push_str("  "));
}

fn mapping(out: &mut String, map: &Map<String, Value>, level: usize) {
    for (at, (key, value)) in map.iter().enumerate() {
        // The first entry of an element stands behind its dash.
        if at > 0 || !out.ends_with("- ") {
            indent(out, level);
        }
        text(out, key, None);
        out.push(':');
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                out.push('\n');
                mapping(out, inner, level + 1);
            }
            // Elements stand below the first letter of their key.
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                sequence(out, items, level);
            }
            scalar => {
                out.push(' ');
                plain(out, scalar, level + 1);
                out.push('\n');
            }
        }
    }
}

fn sequence(out: &mut String, items: &[Value], level: usize) {
    for (at, item) in items.iter().enumerate() {
        if at > 0 || !out.ends_with("- ") {
            indent(out, level);
        }
        out.push_str("- ");
        match item {
            Value::Object(map) if !map.is_empty() => mapping(out, map, level + 1),
            Value::Array(items) if !items.is_empty() => sequence(out, items, level + 1),
            scalar => {
                plain(out, scalar, level + 1);
                out.push('\n');
            }
        }
    }
}

fn plain(out: &mut String, value: &Value, level: usize) {
    match value {
        Value::String(it) => text(out, it, Some(level)),
        Value::Object(_) => out.push_str("{}"),
        Value::Array(_) => out.push_str("[]"),
        other => out.push_str(&other.to_string()),
    }
}

// Text as it is, in a block of lines (where `level` says how deep), in single
// quotes, or in double quotes, whichever is the first that all readers
// understand.
fn text(out: &mut String, text: &str, level: Option<usize>) {
    let printable = text.chars().all(|c| c == '\n' || (!c.is_control() && c != '\u{feff}' && !is_break(c)));
    match level {
        Some(level) if printable && is_block(text) => return block(out, text, level),
        _ => {}
    }
    if !printable || text.contains('\n') || is_ambiguous(text) {
        // JSON's quoting is YAML's.
        out.push_str(&Value::from(text).to_string().replace('\u{7f}', "\\x7f"));
    } else if is_plain(text) {
        out.push_str(text);
    } else {
        out.push('\'');
        out.push_str(&text.replace('\'', "''"));
        out.push('\'');
    }
}

fn is_break(c: char) -> bool {
    matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn is_plain(text: &str) -> bool {
    let starts = text.starts_with(|c: char| " -?:,[]{}#&*!|>'\"%@`<=".contains(c));
    !starts && !text.ends_with([' ', ':']) && !text.contains(": ") && !text.contains(" #")
}

// Lines that keep their form in a block: the first one must show the
// indentation, and no line may end in blanks.
fn is_block(text: &str) -> bool {
    text.contains('\n')
        && !text.starts_with([' ', '\n', '\t'])
        && !text.ends_with("\n\n")
        && text.lines().all(|line| !line.ends_with([' ', '\t']) && !line.starts_with('\t'))
}

fn block(out: &mut String, text: &str, level: usize) {
    out.push_str(if text.ends_with('\n') { "|" } else { "|-" });
    for line in text.lines() {
        out.push('\n');
        if !line.is_empty() {
            indent(out, level);
            out.push_str(line);
        }
    }
}
