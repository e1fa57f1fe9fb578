//! Paths as jq writes them, as far as Stages of KWOK have them: fields, items,
//! and `select` by equality, joined by pipes.
//!
//! What is not there, and what a step is not for, gives no value.

use serde_json::Value;

/// More steps have no use.
const MOST_STEPS: usize = 64;
/// More values are not looked at.
const MOST_VALUES: usize = 10_000;

/// A path, parsed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Path(Vec<Step>);

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(String),
    Item(usize),
    Items,
    Select { path: Path, equal: bool, value: Value },
}

impl Path {
    /// Reads `text`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser { text, at: 0 };
        let path = parser.pipe()?;
        parser.blank();
        match parser.rest() {
            "" => Ok(path),
            rest => Err(format!("{rest:?} is not understood: fields, items and select( PATH == VALUE ) are")),
        }
    }

    /// The values there, without nulls.
    pub(super) fn values<'a>(&self, object: &'a Value) -> Vec<&'a Value> {
        let mut values = vec![object];
        for step in &self.0 {
            values = values.into_iter().flat_map(|value| step.of(value)).take(MOST_VALUES).collect();
        }
        values.retain(|value| !value.is_null());
        values
    }
}

impl Step {
    fn of<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match self {
            Step::Field(name) => value.get(name).into_iter().collect(),
            Step::Item(at) => value.get(at).into_iter().collect(),
            Step::Items => match value {
                Value::Array(items) => items.iter().collect(),
                Value::Object(fields) => fields.values().collect(),
                _ => Vec::new(),
            },
            Step::Select { path, equal, value: wanted } => {
                let found = path.values(value);
                let holds = match found.as_slice() {
                    [] => wanted.is_null(),
                    found => found.contains(&wanted),
                };
                if holds == *equal { vec![value] } else { Vec::new() }
            }
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn blank(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn eat(&mut self, what: &str) -> bool {
        let found = self.rest().starts_with(what);
        if found {
            self.at += what.len();
        }
        found
    }

    fn pipe(&mut self) -> Result<Path, String> {
        let mut steps = Vec::new();
        loop {
            self.blank();
            if self.eat("select(") {
                steps.push(self.select()?);
            } else {
                self.steps(&mut steps)?;
            }
            if steps.len() > MOST_STEPS {
                return Err(format!("a path of more than {MOST_STEPS} steps"));
            }
            self.blank();
            if !self.eat("|") {
                return Ok(Path(steps));
            }
        }
    }

    fn steps(&mut self, steps: &mut Vec<Step>) -> Result<(), String> {
        if !self.rest().starts_with('.') {
            return Err(format!("{:?} does not begin with a dot", self.rest()));
        }
        let before = self.at;
        while self.rest().starts_with(['.', '[']) && steps.len() <= MOST_STEPS {
            let dotted = self.eat(".");
            if self.eat("[") {
                steps.push(self.bracket()?);
                continue;
            }
            let name = self.word();
            match name {
                // The object itself.
                "" if dotted && self.at == before + 1 => return Ok(()),
                "" => match self.quoted() {
                    Some(name) => steps.push(Step::Field(name?)),
                    None => return Err("a dot with no field after it".to_owned()),
                },
                name => steps.push(Step::Field(name.to_owned())),
            }
        }
        Ok(())
    }

    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }

    fn bracket(&mut self) -> Result<Step, String> {
        self.blank();
        let step = match self.quoted() {
            Some(name) => Step::Field(name?),
            None if self.rest().starts_with(']') => Step::Items,
            None => {
                let digits = self.word();
                Step::Item(digits.parse().map_err(|_| format!("{digits:?} is no index"))?)
            }
        };
        self.blank();
        if self.eat("]") { Ok(step) } else { Err("a bracket that is not closed".to_owned()) }
    }

    /// A text in quotes, as JSON has them.
    fn quoted(&mut self) -> Option<Result<String, String>> {
        let rest = self.rest();
        if !rest.starts_with('"') {
            return None;
        }
        let mut escaped = false;
        let end = rest.char_indices().skip(1).find(|(_, c)| {
            let ends = *c == '"' && !escaped;
            escaped = *c == '\\' && !escaped;
            ends
        });
        let Some((end, _)) = end else { return Some(Err("a text that is not closed".to_owned())) };
        self.at += end + 1;
        Some(serde_json::from_str(rest.get(..=end).unwrap_or_default()).map_err(|error| error.to_string()))
    }

    fn select(&mut self) -> Result<Step, String> {
        let mut steps = Vec::new();
        self.blank();
        self.steps(&mut steps)?;
        self.blank();
        let equal = self.eat("==");
        if !equal && !self.eat("!=") {
            return Err("select compares by == or !=".to_owned());
        }
        self.blank();
        let value = match self.quoted() {
            Some(text) => Value::String(text?),
            None => {
                let rest = self.rest();
                let end = rest.find([')', ' ']).unwrap_or(rest.len());
                self.at += end;
                let literal = rest.get(..end).unwrap_or_default();
                serde_json::from_str(literal).map_err(|_| format!("{literal:?} is no value"))?
            }
        };
        self.blank();
        if !self.eat(")") {
            return Err("a select that is not closed".to_owned());
        }
        Ok(Step::Select { path: Path(steps), equal, value })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_find_values() {
        let object = json!({
            "metadata": {"labels": {"a.b/c": "x"}, "ownerReferences": [{"kind": "Job"}, {"kind": "Pod"}], "none": null},
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "False"}], "n": 3},
        });
        let check = |path: &str, expected: Value| {
            let found = Path::parse(path).unwrap_or_else(|error| panic!("{path}: {error}"));
            assert_eq!(json!(found.values(&object)), expected, "{path}");
        };
        check(".status.n", json!([3]));
        check(".metadata.labels[\"a.b/c\"]", json!(["x"]));
        check(".metadata.labels.\"a.b/c\"", json!(["x"]));
        check(".metadata.ownerReferences.[].kind", json!(["Job", "Pod"]));
        check(".metadata.ownerReferences[].kind", json!(["Job", "Pod"]));
        check(".metadata.ownerReferences[1].kind", json!(["Pod"]));
        check(".status.conditions.[] | select( .type == \"Ready\" ) | .status", json!(["True"]));
        check(".status.conditions[] | select(.type != \"Ready\") | .status", json!(["False"]));
        check(".metadata.none", json!([]));
        check(".status.n.deeper", json!([]));
        check(".status.n[]", json!([]));
        check(".nothing.at.all[]", json!([]));
        check(". | .status.n", json!([3]));
    }

    #[test]
    fn what_is_not_understood() {
        let check = |path: &str, part: &str| {
            let error = Path::parse(path).expect_err(path);
            assert!(error.contains(part), "{path}: {error}");
        };
        check("status", "does not begin with a dot");
        check(".a | length", "does not begin with a dot");
        check(".a + 1", "is not understood");
        check(".a[", "is no index");
        check(".a[\"b", "not closed");
        check(".a | select(.b)", "== or !=");
        check(".a..b", "no field after it");
        check(&".a".repeat(100), "more than 64 steps");
    }
}
