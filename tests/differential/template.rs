//! `{{name}}` in the text of exchanges.

use std::collections::BTreeMap;

use serde_json::Value;

/// Values by the names that stand for them.
pub type Variables = BTreeMap<String, Value>;

/// Puts variables into every string of `value`, keys of objects included.
///
/// A string that is nothing but `{{name}}` becomes the variable's value, of whatever type. Names that are
/// not known stay as they are: they may be captured from a later answer. `{{repeat TEXT N}}` is TEXT, N times.
pub fn expand(value: &Value, variables: &Variables) -> Value {
    match value {
        Value::String(text) => match whole(text).and_then(|name| variables.get(name)) {
            Some(value) => value.clone(),
            None => Value::String(expand_text(text, variables)),
        },
        Value::Array(items) => items.iter().map(|item| expand(item, variables)).collect(),
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .map(|(key, value)| (expand_text(key, variables), expand(value, variables)))
                .collect(),
        ),
        other => other.clone(),
    }
}

/// Puts variables into `text`.
pub fn expand_text(text: &str, variables: &Variables) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, name, after)) = next(rest) {
        out.push_str(before);
        match (variables.get(name), repeated(name)) {
            (Some(Value::String(value)), _) => out.push_str(value),
            (Some(value), _) => out.push_str(&value.to_string()),
            (None, Some(value)) => out.push_str(&value),
            (None, None) => out.push_str(&format!("{{{{{name}}}}}")),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

fn next(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once("{{")?;
    let (name, after) = rest.split_once("}}")?;
    Some((before, name.trim(), after))
}

fn whole(text: &str) -> Option<&str> {
    next(text).filter(|(before, _, after)| before.is_empty() && after.is_empty()).map(|(_, name, _)| name)
}

fn repeated(call: &str) -> Option<String> {
    let (text, count) = call.strip_prefix("repeat ")?.split_once(' ')?;
    Some(text.repeat(count.parse().ok()?))
}

#[test]
fn templates() {
    use serde_json::json;
    let variables: Variables =
        [("a".to_owned(), json!("x")), ("n".to_owned(), json!(3)), ("o".to_owned(), json!({"k": 1}))].into();
    let check = |template: Value, expected: Value| assert_eq!(expand(&template, &variables), expected);
    check(json!("{{a}}-{{n}}"), json!("x-3"));
    check(json!(["{{n}}", "{{ o }}", "{{later}}", "{{"]), json!([3, {"k": 1}, "{{later}}", "{{"]));
    check(json!({"{{a}}": "{{repeat ab 2}}"}), json!({"x": "abab"}));
}
