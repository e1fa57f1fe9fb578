//! JSONPath as kubectl's library has it, for the columns of custom resources
//! and the fields that selectors name.

use serde_json::Value;

// Steps of a path, and of those within filters.
const MOST_STEPS: usize = 100;
// Filters within filters.
const DEEPEST: usize = 8;
// Values that a path leads to: with every `..` there can be many times more.
const MOST_FOUND: usize = 1_000_000;

/// A parsed path.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonPath(Vec<Step>);

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(String),
    Every,
    Below(Box<Step>),
    Slice { from: Option<i64>, to: Option<i64>, by: i64 },
    Index(i64),
    Filter { left: Operand, operator: String, right: Option<Operand> },
    Union(Vec<Step>),
}

#[derive(Debug, Clone, PartialEq)]
enum Operand {
    Path(JsonPath),
    Value(Value),
}

impl JsonPath {
    /// Parses what stands between the braces of a template: `.spec.replicas`,
    /// `.status.conditions[?(@.type=="Ready")].status`.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::parse_within(text, 0)
    }

    fn parse_within(text: &str, depth: usize) -> Result<Self, String> {
        if depth > DEEPEST {
            return Err("the path is too deep".to_owned());
        }
        let mut parser = Parser { rest: text.strip_prefix('$').unwrap_or(text), depth };
        let mut steps = Vec::new();
        while let Some(step) = parser.step()? {
            steps.push(step);
            if steps.len() > MOST_STEPS {
                return Err("the path is too long".to_owned());
            }
        }
        Ok(Self(steps))
    }

    /// The values that the path leads to; missing keys lead nowhere.
    ///
    /// # Errors
    /// An index in what is no list, or out of its bounds.
    pub fn find<'a>(&self, value: &'a Value) -> Result<Vec<&'a Value>, String> {
        let mut found = vec![value];
        for step in &self.0 {
            let mut next = Vec::new();
            for value in found {
                step.take(value, &mut next)?;
            }
            found = next;
        }
        Ok(found)
    }
}

impl Step {
    fn take<'a>(&self, value: &'a Value, out: &mut Vec<&'a Value>) -> Result<(), String> {
        match self {
            Self::Field(name) => match value {
                Value::Object(map) => out.extend(map.get(name)),
                // A field of a list is looked for in what it holds.
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
                Value::Array(_) => {}
            },
            Self::Every => match value {
                Value::Object(map) => out.extend(map.values()),
                Value::Array(items) => out.extend(items),
                _ => {}
            },
            Self::Below(step) => {
                step.take(value, out)?;
                if out.len() > MOST_FOUND {
                    return Err("the path leads to too many values".to_owned());
                }
                match value {
                    Value::Object(map) => map.values().try_for_each(|it| self.take(it, out))?,
                    Value::Array(items) => items.iter().try_for_each(|it| self.take(it, out))?,
                    _ => {}
                }
            }
            Self::Index(index) => {
                let Value::Array(items) = value else { return not_a_list(value) };
                let at = if *index < 0 { index + items.len() as i64 } else { *index };
                match usize::try_from(at).ok().and_then(|at| items.get(at)) {
                    Some(item) => out.push(item),
                    None => {
                        return Err(format!("array index out of bounds: index {at}, length {}", items.len()));
                    }
                }
            }
            Self::Slice { from, to, by } => {
                let Value::Array(items) = value else { return not_a_list(value) };
                let length = items.len() as i64;
                let bound = |it: i64| (if it < 0 { it + length } else { it }).clamp(0, length) as usize;
                let (from, to) = (bound(from.unwrap_or(0)), bound(to.unwrap_or(length)));
                let by = usize::try_from(*by).unwrap_or(1).max(1);
                out.extend(items.get(from..to).unwrap_or_default().iter().step_by(by));
            }
            Self::Filter { left, operator, right } => {
                let items: Vec<&Value> = match value {
                    Value::Array(items) => items.iter().collect(),
                    _ => return not_a_list(value),
                };
                for item in items {
                    if holds(item, left, operator, right.as_ref())? {
                        out.push(item);
                    }
                }
            }
            Self::Union(steps) => steps.iter().try_for_each(|step| step.take(value, out))?,
        }
        Ok(())
    }
}

fn not_a_list(value: &Value) -> Result<(), String> {
    if value.is_null() { Ok(()) } else { Err("is not array or slice".to_owned()) }
}

fn holds(item: &Value, left: &Operand, operator: &str, right: Option<&Operand>) -> Result<bool, String> {
    let values = |operand: &Operand| -> Result<Vec<Value>, String> {
        Ok(match operand {
            Operand::Value(value) => vec![value.clone()],
            Operand::Path(path) => path.find(item)?.into_iter().cloned().collect(),
        })
    };
    let left = values(left)?;
    let Some(right) = right else { return Ok(!left.is_empty()) };
    let right = values(right)?;
    let ([left], [right]) = (left.as_slice(), right.as_slice()) else { return Ok(false) };
    let order = match (left, right) {
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => left.as_f64().zip(right.as_f64()).and_then(|(a, b)| a.partial_cmp(&b)),
    };
    Ok(match operator {
        "==" => left == right || order.is_some_and(std::cmp::Ordering::is_eq),
        "!=" => left != right && !order.is_some_and(std::cmp::Ordering::is_eq),
        "<" => order.is_some_and(std::cmp::Ordering::is_lt),
        "<=" => order.is_some_and(std::cmp::Ordering::is_le),
        ">" => order.is_some_and(std::cmp::Ordering::is_gt),
        ">=" => order.is_some_and(std::cmp::Ordering::is_ge),
        _ => false,
    })
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn step(&mut self) -> Result<Option<Step>, String> {
        // The value itself, as often as it is said.
        self.rest = self.rest.trim_start_matches('@');
        if let Some(rest) = self.rest.strip_prefix("..") {
            self.rest = rest;
            let step = if rest.starts_with('[') { self.brackets()? } else { self.field()? };
            return Ok(Some(Step::Below(Box::new(step))));
        }
        if let Some(rest) = self.rest.strip_prefix('.') {
            self.rest = rest;
            // A dot alone is the value itself.
            return match rest.chars().next() {
                None => Ok(None),
                Some('[') => self.brackets().map(Some),
                Some(_) => self.field().map(Some),
            };
        }
        match self.rest.chars().next() {
            None => Ok(None),
            Some('[') => self.brackets().map(Some),
            Some(_) => self.field().map(Some),
        }
    }

    // A name up to what ends it; a backslash takes the next character as it is.
    fn field(&mut self) -> Result<Step, String> {
        let mut name = String::new();
        let mut chars = self.rest.char_indices();
        let end = loop {
            match chars.next() {
                Some((_, '\\')) => name.extend(chars.next().map(|(_, c)| c)),
                Some((at, c))
                    if matches!(c, '.' | '[' | ']' | ')' | ',' | '{' | '}' | '<' | '>' | '=' | '!')
                        || c.is_whitespace() =>
                {
                    break at;
                }
                Some((_, c)) => name.push(c),
                None => break self.rest.len(),
            }
        };
        self.rest = &self.rest[end..];
        match name.as_str() {
            "*" => Ok(Step::Every),
            "" => Err(format!("unrecognized character at {:?}", self.rest)),
            _ => Ok(Step::Field(name)),
        }
    }

    fn brackets(&mut self) -> Result<Step, String> {
        let inner = self.enclosed()?;
        if let Some(filter) = inner.strip_prefix("?(").and_then(|it| it.strip_suffix(')')) {
            return filter_step(filter, self.depth + 1);
        }
        let parts = split_commas(inner);
        if let [one] = parts.as_slice() {
            return bracket_step(one.trim());
        }
        let steps: Result<Vec<Step>, String> = parts.iter().map(|part| bracket_step(part.trim())).collect();
        steps.map(Step::Union)
    }

    // What stands between this bracket and the one that closes it.
    fn enclosed(&mut self) -> Result<&'a str, String> {
        let text = self.rest;
        let (mut depth, mut quote) = (0usize, None);
        for (at, c) in text.char_indices() {
            match (quote, c) {
                (Some(open), c) if c == open => quote = None,
                (Some(_), _) => {}
                (None, '\'' | '"') => quote = Some(c),
                (None, '[') => depth += 1,
                (None, ']') => {
                    depth -= 1;
                    if depth == 0 {
                        self.rest = &text[at + 1..];
                        return Ok(&text[1..at]);
                    }
                }
                _ => {}
            }
        }
        Err("unterminated array".to_owned())
    }
}

fn split_commas(text: &str) -> Vec<&str> {
    let (mut quote, mut start) = (None, 0);
    let mut parts = Vec::new();
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, ',') => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn bracket_step(text: &str) -> Result<Step, String> {
    let quoted = |mark: char| text.strip_prefix(mark).and_then(|it| it.strip_suffix(mark));
    if let Some(name) = quoted('\'').or_else(|| quoted('"')) {
        return Ok(Step::Field(name.replace("\\", "")));
    }
    if text == "*" {
        return Ok(Step::Every);
    }
    let number = |text: &str| text.parse::<i64>().map_err(|_| format!("invalid array index {text}"));
    if text.contains(':') {
        let mut bounds =
            text.split(':').map(|it| if it.is_empty() { Ok(None) } else { number(it).map(Some) });
        let mut next = || bounds.next().unwrap_or(Ok(None));
        let (from, to, by) = (next()?, next()?, next()?);
        return Ok(Step::Slice { from, to, by: by.unwrap_or(1) });
    }
    number(text).map(Step::Index)
}

fn filter_step(text: &str, depth: usize) -> Result<Step, String> {
    for operator in ["==", "!=", "<=", ">=", "<", ">"] {
        if let Some((left, right)) = text.split_once(operator) {
            return Ok(Step::Filter {
                left: operand(left.trim(), depth)?,
                operator: operator.to_owned(),
                right: Some(operand(right.trim(), depth)?),
            });
        }
    }
    Ok(Step::Filter { left: operand(text.trim(), depth)?, operator: String::new(), right: None })
}

fn operand(text: &str, depth: usize) -> Result<Operand, String> {
    let quoted = |mark: char| text.strip_prefix(mark).and_then(|it| it.strip_suffix(mark));
    if let Some(text) = quoted('\'').or_else(|| quoted('"')) {
        return Ok(Operand::Value(text.into()));
    }
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        return Ok(Operand::Value(value));
    }
    JsonPath::parse_within(text, depth).map(Operand::Path)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(path: &str, expected: Value) {
        let value = json!({
            "spec": { "replicas": 3, "a.b": "dotted", "list": [{ "k": "x", "v": 1 }, { "k": "y", "v": 2 }] },
            "status": { "conditions": [{ "type": "Ready", "status": "True" }, { "type": "Other", "status": "False" }] },
        });
        let found = JsonPath::parse(path).and_then(|it| it.find(&value).map(|it| json!(it)));
        assert_eq!(found.unwrap_or_else(|error| json!({ "error": error })), expected, "{path}");
    }

    #[test]
    fn paths_lead_to_values() {
        check(".spec.replicas", json!([3]));
        check("$.spec.replicas", json!([3]));
        check(".spec.missing.deeper", json!([]));
        check(".spec.a\\.b", json!(["dotted"]));
        check(".spec['a.b']", json!(["dotted"]));
        check(".spec.list[1].k", json!(["y"]));
        check(".spec.list[-1].k", json!(["y"]));
        check(".spec.list[*].v", json!([1, 2]));
        check(".spec.list[0:1].v", json!([1]));
        check(".status.conditions[?(@.type==\"Ready\")].status", json!(["True"]));
        check(".status.conditions[?(@.type=='Other')].status", json!(["False"]));
        check(".spec.list[?(@.v>1)].k", json!(["y"]));
        check("..k", json!(["x", "y"]));
        check(".spec.list[5].k", json!({ "error": "array index out of bounds: index 5, length 2" }));
        check(".spec.list[", json!({ "error": "unterminated array" }));
        check(".spec.list[x]", json!({ "error": "invalid array index x" }));
        check(&format!("{}.spec.replicas", "@".repeat(1_000_000)), json!([3]));
        let nested = format!("{}x{}", "[?(@".repeat(1_000), ")]".repeat(1_000));
        check(&nested, json!({ "error": "the path is too deep" }));
    }
}
