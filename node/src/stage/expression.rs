//! Expressions in CEL, and what they see.
//!
//! The library recurses with an expression and has no budget, so expressions
//! are bounded when they are compiled ([`unfit`]), and what they would walk
//! over is estimated before they are evaluated.

use std::{
    cell::OnceCell,
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
};

use jiff::{SignedDuration, Timestamp};
use kube_cel::{
    KubeCelExt,
    cel::{
        Context, ExecutionError, Program, Value as CelValue,
        common::ast::{EntryExpr, Expr, IdedExpr},
        objects::{Key, Map},
    },
};
use serde_json::Value;

const STACK: usize = 64 << 20;
const MOST_BYTES: usize = 8 << 10;
const MOST_BRACKETS: usize = 40;
const MOST_STEPS: usize = 600;
/// Of the tree, which is walked on ordinary stacks.
const MOST_DEPTH: usize = 60;
/// Rounds of comprehensions, times the steps of the expression.
const MOST_WORK: u64 = 5_000_000;
/// They make lists and texts that are larger than what they are given.
const UNBOUNDED: [&str; 4] = ["range", "replace", "split", "join"];

/// An expression that can be evaluated.
#[derive(Debug)]
pub(super) struct Expression {
    program: Program,
    /// How deep comprehensions stand in each other.
    rounds: u32,
    steps: u64,
}

/// Why an expression gives no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// It asks for a field that is not there.
    Missing(String),
    /// It is wrong.
    Wrong(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Missing(name) => write!(f, "no such key: {name}"),
            Failure::Wrong(why) => f.write_str(why),
        }
    }
}

/// What expressions see: the object as `self`, the time as `now`, and more by name.
pub(super) struct Scope<'a> {
    object: &'a Value,
    now: Timestamp,
    more: Vec<(&'static str, String)>,
    context: OnceCell<Context<'static>>,
    widest: OnceCell<u64>,
}

impl<'a> Scope<'a> {
    pub(super) fn new(object: &'a Value, now: Timestamp, more: Vec<(&'static str, String)>) -> Self {
        Self { object, now, more, context: OnceCell::new(), widest: OnceCell::new() }
    }

    pub(super) fn object(&self) -> &'a Value {
        self.object
    }

    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    fn context(&self) -> &Context<'static> {
        self.context.get_or_init(|| {
            let mut context = Context::default().with_all();
            context.add_variable_from_value("self", to_cel(self.object));
            context.add_variable_from_value("now", text(&written(self.now)));
            for (name, value) in &self.more {
                context.add_variable_from_value(*name, text(value));
            }
            context
        })
    }
}

/// A time as the API writes it.
fn written(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second()).unwrap_or(time).to_string()
}

impl Expression {
    /// Compiles `text`.
    pub(super) fn compile(text: &str) -> Result<Self, String> {
        if let Some(why) = unfit(text) {
            return Err(why);
        }
        let compiled = thread::scope(|scope| {
            let compile = || {
                let program = Program::compile(text).map_err(|error| error.to_string())?;
                let mut measure = Measure::default();
                measure.walk(program.expression(), 1, 0);
                Ok::<_, String>((program, measure))
            };
            let started = thread::Builder::new().name("cel".to_owned()).stack_size(STACK);
            let thread = started.spawn_scoped(scope, compile).map_err(|error| error.to_string())?;
            thread.join().unwrap_or_else(|_| Err("it is too complex".to_owned()))
        });
        let (program, measure) = compiled?;
        if measure.deepest > MOST_DEPTH {
            return Err(format!("nested deeper than {MOST_DEPTH}"));
        }
        let functions = program.references().functions().into_iter().map(str::to_owned).collect::<Vec<_>>();
        if let Some(name) = functions.iter().find(|name| UNBOUNDED.contains(&name.as_str())) {
            return Err(format!("the function {name:?} is not supported here"));
        }
        Ok(Self { program, rounds: measure.rounds, steps: measure.steps })
    }

    /// Its value in `scope`.
    fn evaluate(&self, scope: &Scope<'_>) -> Result<CelValue, Failure> {
        if self.rounds > 0 {
            let widest = *scope.widest.get_or_init(|| widest(scope.object));
            let work = widest.checked_pow(self.rounds).and_then(|rounds| rounds.checked_mul(self.steps));
            if work.is_none_or(|work| work > MOST_WORK) {
                return Err(Failure::Wrong("it would take too long on this object".to_owned()));
            }
        }
        // The library is not ours: what it panics at is an expression that is wrong.
        let outcome = catch_unwind(AssertUnwindSafe(|| self.program.execute(scope.context())));
        match outcome {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(ExecutionError::NoSuchKey(name))) => Err(Failure::Missing(name.to_string())),
            Ok(Err(error)) => Err(Failure::Wrong(error.to_string())),
            Err(_) => Err(Failure::Wrong("it cannot be evaluated".to_owned())),
        }
    }

    /// Whether it holds.
    pub(super) fn holds(&self, scope: &Scope<'_>) -> Result<bool, Failure> {
        match self.evaluate(scope)? {
            CelValue::Bool(holds) => Ok(holds),
            other => Err(Failure::Wrong(format!("{} where true or false is needed", kind(&other)))),
        }
    }

    /// Its value as JSON.
    pub(super) fn json(&self, scope: &Scope<'_>) -> Result<Value, Failure> {
        to_json(&self.evaluate(scope)?)
    }
}

#[derive(Default)]
struct Measure {
    deepest: usize,
    rounds: u32,
    steps: u64,
}

impl Measure {
    fn walk(&mut self, expression: &IdedExpr, depth: usize, rounds: u32) {
        self.deepest = self.deepest.max(depth);
        self.rounds = self.rounds.max(rounds);
        self.steps += 1;
        let depth = depth + 1;
        match &expression.expr {
            Expr::Call(call) => {
                let operands = call.target.iter().map(|target| &**target).chain(&call.args);
                operands.for_each(|operand| self.walk(operand, depth, rounds));
            }
            Expr::Comprehension(it) => {
                self.walk(&it.iter_range, depth, rounds);
                self.walk(&it.accu_init, depth, rounds);
                for part in [&it.loop_cond, &it.loop_step, &it.result] {
                    self.walk(part, depth, rounds + 1);
                }
            }
            Expr::List(list) => list.elements.iter().for_each(|item| self.walk(item, depth, rounds)),
            Expr::Map(map) => map.entries.iter().for_each(|entry| self.entry(&entry.expr, depth, rounds)),
            Expr::Struct(it) => it.entries.iter().for_each(|entry| self.entry(&entry.expr, depth, rounds)),
            Expr::Select(select) => self.walk(&select.operand, depth, rounds),
            Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => {}
        }
    }

    fn entry(&mut self, entry: &EntryExpr, depth: usize, rounds: u32) {
        match entry {
            EntryExpr::StructField(field) => self.walk(&field.value, depth, rounds),
            EntryExpr::MapEntry(entry) => {
                self.walk(&entry.key, depth, rounds);
                self.walk(&entry.value, depth, rounds);
            }
        }
    }
}

/// What speaks against an expression before the library sees it: it would
/// overrun its stack.
fn unfit(expression: &str) -> Option<String> {
    if expression.len() > MOST_BYTES {
        return Some(format!("longer than {MOST_BYTES} bytes"));
    }
    let (mut quote, mut escaped, mut open, mut deepest, mut steps) = (None, false, 0_usize, 0, 0);
    for c in expression.chars() {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(begun), c) if c == begun => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, c) => {
                match c {
                    '(' | '[' | '{' | '?' => open += 1,
                    ')' | ']' | '}' => open = open.saturating_sub(1),
                    _ => {}
                }
                deepest = deepest.max(open);
                steps += usize::from("([{.?:!-+*/%<>=&|,".contains(c));
            }
        }
    }
    if deepest > MOST_BRACKETS {
        return Some(format!("nested deeper than {MOST_BRACKETS}"));
    }
    (steps > MOST_STEPS).then(|| format!("more than {MOST_STEPS} steps"))
}

/// How many the largest list or map in a value holds.
fn widest(value: &Value) -> u64 {
    let (own, below) = match value {
        Value::Array(items) => (items.len(), items.iter().map(widest).max()),
        Value::Object(map) => (map.len(), map.values().map(widest).max()),
        _ => (1, None),
    };
    (own as u64).max(below.unwrap_or(0)).max(1)
}

fn text(text: &str) -> CelValue {
    CelValue::String(Arc::new(text.to_owned()))
}

fn to_cel(value: &Value) -> CelValue {
    match value {
        Value::Null => CelValue::Null,
        Value::Bool(value) => CelValue::Bool(*value),
        Value::Number(number) => number
            .as_i64()
            .map_or_else(|| CelValue::Float(number.as_f64().unwrap_or(f64::NAN)), CelValue::Int),
        Value::String(value) => text(value),
        Value::Array(items) => CelValue::List(Arc::new(items.iter().map(to_cel).collect())),
        Value::Object(fields) => {
            let map: HashMap<Key, CelValue> =
                fields.iter().map(|(name, value)| (Key::from(name.as_str()), to_cel(value))).collect();
            CelValue::Map(Map { map: Arc::new(map) })
        }
    }
}

fn to_json(value: &CelValue) -> Result<Value, Failure> {
    Ok(match value {
        CelValue::Null => Value::Null,
        CelValue::Bool(value) => (*value).into(),
        CelValue::Int(value) => (*value).into(),
        CelValue::UInt(value) => (*value).into(),
        CelValue::Float(value) => (*value).into(),
        CelValue::String(value) => value.as_str().into(),
        CelValue::List(items) => Value::Array(items.iter().map(to_json).collect::<Result<_, _>>()?),
        CelValue::Map(map) => {
            let mut fields = serde_json::Map::new();
            for (key, value) in map.map.iter() {
                fields.insert(key.to_string(), to_json(value)?);
            }
            Value::Object(fields)
        }
        CelValue::Timestamp(time) => {
            Timestamp::from_second(time.timestamp()).map(written).unwrap_or_default().into()
        }
        CelValue::Duration(duration) => format!("{}ms", duration.num_milliseconds()).into(),
        other => return Err(Failure::Wrong(format!("{} cannot be written", kind(other)))),
    })
}

fn kind(value: &CelValue) -> String {
    format!("a value of type {}", value.type_of())
}

/// A duration as Go or as people write it, or the time from `now` to a time.
pub(super) fn duration(value: &Value, now: Timestamp) -> Option<SignedDuration> {
    match value {
        Value::Number(milliseconds) => milliseconds.as_i64().map(SignedDuration::from_millis),
        Value::String(text) => {
            let until = text.parse::<Timestamp>().ok().map(|time| time.duration_since(now));
            until.or_else(|| text.parse().ok())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn values() {
        let object = json!({"metadata": {"name": "a", "labels": {"x/y": "z"}}, "list": [{"n": 1}, {"n": 2}]});
        let check = |text: &str, expected: Result<Value, &str>| {
            let scope = Scope::new(&object, at(), vec![("podIP", "10.0.0.1".to_owned())]);
            let found = Expression::compile(text).unwrap().json(&scope);
            match expected {
                Ok(expected) => assert_eq!(found, Ok(expected), "{text}"),
                Err(part) => assert!(
                    found.as_ref().is_err_and(|it| it.to_string().contains(part)),
                    "{text}: {found:?}"
                ),
            }
        };
        check("self.metadata.name + '-' + podIP", Ok(json!("a-10.0.0.1")));
        check("self.metadata.labels['x/y']", Ok(json!("z")));
        check("self.list.map(it, {'m': it.n * 2})", Ok(json!([{"m": 2}, {"m": 4}])));
        check("self.list.filter(it, it.n == 2)[0].n", Ok(json!(2)));
        check("now", Ok(json!("2026-01-01T00:00:00Z")));
        check("timestamp(now) + duration('1h')", Ok(json!("2026-01-01T01:00:00Z")));
        check("has(self.status)", Ok(json!(false)));
        check("self.status.phase", Err("no such key"));
        check("self.metadata.name + 1", Err(""));
    }

    #[test]
    fn bounds() {
        let refused = |text: &str, part: &str| {
            let error = Expression::compile(text).map(drop).expect_err(text);
            assert!(error.contains(part), "{error}");
        };
        refused(&"(".repeat(5000), "nested deeper than 40");
        refused(&format!("1{}", " + 1".repeat(590)), "nested deeper than 60");
        refused(&"a.".repeat(3000), "more than 600 steps");
        refused(&"a".repeat(9000), "longer than 8192 bytes");
        refused("'a'.replace('a', 'aa')", "not supported here");
        refused("self.", "");
        let many = json!({"list": (0..3000).collect::<Vec<_>>()});
        let all = Expression::compile("self.list.all(a, self.list.all(b, a == b || true))").unwrap();
        let told = all.holds(&Scope::new(&many, at(), Vec::new()));
        assert_eq!(told, Err(Failure::Wrong("it would take too long on this object".to_owned())));
    }

    #[test]
    fn durations() {
        let check = |value: Value, expected: Option<i64>| {
            assert_eq!(duration(&value, at()).map(|it| it.as_millis() as i64), expected, "{value}");
        };
        check(json!(250), Some(250));
        check(json!("1m30s"), Some(90_000));
        check(json!("100ms"), Some(100));
        check(json!("1.5h"), Some(5_400_000));
        check(json!("2026-01-01T00:00:05Z"), Some(5_000));
        check(json!("soon"), None);
        check(json!(true), None);
    }
}
