//! YAML in whose texts `${ }` holds CEL.
//!
//! A text that is only one expression becomes its value, whatever that is; in
//! any other, values are put in as text.

use serde_json::{Map, Value};

use super::expression::{Expression, Failure, Scope};

/// More values have no use.
const MOST_NODES: usize = 10_000;

/// A template, read.
#[derive(Debug)]
pub(super) enum Template {
    Literal(Value),
    Value(Expression),
    Text(Vec<Piece>),
    List(Vec<Template>),
    Fields(Vec<(String, Template)>),
}

#[derive(Debug)]
pub(super) enum Piece {
    Text(String),
    Value(Expression),
}

impl Template {
    /// Reads `yaml`.
    pub(super) fn parse(yaml: &str) -> Result<Self, String> {
        let value: Value = serde_yaml_ng::from_str(yaml).map_err(|error| match yaml.contains("{{") {
            true => format!("{error}; templates of Go are not understood, ${{ }} holds CEL here"),
            false => error.to_string(),
        })?;
        let mut left = MOST_NODES;
        Self::build(value, &mut left)
    }

    fn build(value: Value, left: &mut usize) -> Result<Self, String> {
        *left = left.checked_sub(1).ok_or("the template is too large")?;
        Ok(match value {
            Value::String(text) => of_text(text)?,
            Value::Array(items) => {
                Self::List(items.into_iter().map(|item| Self::build(item, left)).collect::<Result<_, _>>()?)
            }
            Value::Object(fields) => {
                let fields = fields.into_iter().map(|(name, value)| Ok((name, Self::build(value, left)?)));
                Self::Fields(fields.collect::<Result<_, String>>()?)
            }
            other => Self::Literal(other),
        })
    }

    /// What it is in `scope`.
    pub(super) fn render(&self, scope: &Scope<'_>) -> Result<Value, Failure> {
        Ok(match self {
            Self::Literal(value) => value.clone(),
            Self::Value(expression) => expression.json(scope)?,
            Self::Text(pieces) => {
                let mut text = String::new();
                for piece in pieces {
                    match piece {
                        Piece::Text(part) => text += part,
                        Piece::Value(expression) => match expression.json(scope)? {
                            Value::String(value) => text += &value,
                            other => text += &other.to_string(),
                        },
                    }
                }
                Value::String(text)
            }
            Self::List(items) => {
                Value::Array(items.iter().map(|item| item.render(scope)).collect::<Result<_, _>>()?)
            }
            Self::Fields(fields) => {
                let fields = fields.iter().map(|(name, value)| Ok((name.clone(), value.render(scope)?)));
                Value::Object(fields.collect::<Result<Map<_, _>, _>>()?)
            }
        })
    }
}

fn of_text(text: String) -> Result<Template, String> {
    let mut pieces = Vec::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once("${") {
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        let end = end(after).ok_or_else(|| format!("${{ without its end in {text:?}"))?;
        let (expression, left) = after.split_at(end);
        let compiled = Expression::compile(expression.trim());
        pieces.push(Piece::Value(compiled.map_err(|error| format!("{:?}: {error}", expression.trim()))?));
        rest = left.strip_prefix('}').unwrap_or(left);
    }
    if pieces.is_empty() {
        return Ok(Template::Literal(Value::String(text)));
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    let alone = matches!(pieces.as_slice(), [Piece::Value(_)]);
    Ok(match pieces.pop() {
        Some(Piece::Value(expression)) if alone => Template::Value(expression),
        Some(last) => {
            pieces.push(last);
            Template::Text(pieces)
        }
        None => Template::Literal(Value::String(text)),
    })
}

/// Where the brace is that closes an expression, past those inside it.
fn end(expression: &str) -> Option<usize> {
    let (mut open, mut quote, mut escaped) = (0_usize, None, false);
    for (at, c) in expression.char_indices() {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(begun), c) if c == begun => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '{') => open += 1,
            (None, '}') if open == 0 => return Some(at),
            (None, '}') => open -= 1,
            (None, _) => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn templates_become_values() {
        let object = json!({"spec": {"containers": [{"name": "a", "image": "i"}]}, "n": 2});
        let check = |yaml: &str, expected: Value| {
            let scope = Scope::new(&object, "2026-01-01T00:00:00Z".parse().unwrap(), Vec::new());
            let template = Template::parse(yaml).unwrap_or_else(|error| panic!("{yaml}: {error}"));
            assert_eq!(template.render(&scope), Ok(expected), "{yaml}");
        };
        check("phase: Failed", json!({"phase": "Failed"}));
        check(
            "{n: '${self.n}', text: 'n is ${self.n}!', at: '${now}'}",
            json!({"n": 2, "text": "n is 2!", "at": "2026-01-01T00:00:00Z"}),
        );
        check("- '${self.spec.containers.map(c, {\"name\": c.name})}'", json!([[{"name": "a"}]]));
        check("a: '${\"}\"} and ${self.n}'", json!({"a": "} and 2"}));
        check("- $5\n- 1.5\n- null", json!(["$5", 1.5, null]));
    }

    #[test]
    fn what_is_wrong_with_them() {
        let check = |yaml: &str, part: &str| {
            let error = Template::parse(yaml).map(drop).expect_err(yaml);
            assert!(error.contains(part), "{error}");
        };
        check("a: '${self.n'", "without its end");
        check("a: '${self.}'", "self.");
        check("{{ $now := Now }}\na: b", "templates of Go are not understood");
        check("a: [", "");
    }
}
