//! What a rule may cost, and the fields it asks for that are not there: both
//! from its tree and what its names stand for, which are parts of a schema
//! before a rule runs and parts of an object when it does.
//!
//! Only calls and rounds of comprehensions are counted. That is less than
//! upstream counts, so what is refused here is refused there.

use kube_cel::cel::common::ast::{ComprehensionExpr, EntryExpr, Expr, IdedExpr, operators};
use serde_json::Value;

use crate::resources::tree::{list, set, text, truth};

/// What a rule may cost at run time, and by the estimate before it runs.
pub const MOST_PER_RULE: u64 = 1_000_000;
pub const MOST_ESTIMATED: u64 = 10_000_000;
const MOST_BYTES: u64 = 3 << 20;
// What a round of a comprehension costs beside its body.
const ROUND: u64 = 2;

/// What a name of an expression stands for.
pub trait Place: Copy {
    fn field(self, name: &str) -> Option<Self>;
    /// The items of a list or the values of a map, each of them this often.
    fn parts(self) -> (Vec<Self>, u64);
    fn is_map(self) -> bool;
    /// Whether it is known to have no such field.
    fn lacks(self, name: &str) -> bool;
}

impl Place for &Value {
    fn field(self, name: &str) -> Option<Self> {
        self.get(name)
    }

    fn parts(self) -> (Vec<Self>, u64) {
        match self {
            Value::Array(items) => (items.iter().collect(), 1),
            Value::Object(map) => (map.values().collect(), 1),
            _ => (Vec::new(), 1),
        }
    }

    fn is_map(self) -> bool {
        self.is_object()
    }

    fn lacks(self, _: &str) -> bool {
        false
    }
}

/// A part of a schema.
#[derive(Clone, Copy)]
pub struct Declared<'a> {
    /// Its schema.
    pub schema: &'a Value,
    /// Whether it is an object's with the fields that all of them have.
    pub root: bool,
}

impl<'a> Declared<'a> {
    fn part(schema: &'a Value) -> Self {
        Self { schema, root: truth(&schema["x-kubernetes-embedded-resource"]) }
    }
}

impl Place for Declared<'_> {
    fn field(self, name: &str) -> Option<Self> {
        if self.root && name == "metadata" {
            return None;
        }
        let properties = self.schema["properties"].get(name);
        let additional = Some(&self.schema["additionalProperties"]).filter(|it| it.is_object());
        properties.or(additional).map(Self::part)
    }

    fn parts(self) -> (Vec<Self>, u64) {
        match below(self.schema) {
            Some(inner) => (vec![Self::part(inner)], most(self.schema).max(1)),
            None => (Vec::new(), 1),
        }
    }

    fn is_map(self) -> bool {
        text(&self.schema["type"]) == "object"
    }

    fn lacks(self, name: &str) -> bool {
        let schema = self.schema;
        let closed = text(&schema["type"]) == "object"
            && !set(&schema["additionalProperties"])
            && !truth(&schema["x-kubernetes-preserve-unknown-fields"]);
        let common = self.root && matches!(name, "apiVersion" | "kind" | "metadata");
        // Names with underscores may be escaped ones.
        closed && !common && !name.contains("__") && schema["properties"].get(name).is_none()
    }
}

// What a list's items or a map's values are.
fn below(schema: &Value) -> Option<&Value> {
    let name = match text(&schema["type"]) {
        "array" => "items",
        "object" => "additionalProperties",
        _ => return None,
    };
    Some(&schema[name]).filter(|it| it.is_object())
}

// How many of them there may be.
fn most(schema: &Value) -> u64 {
    let (bound, between) =
        if text(&schema["type"]) == "array" { ("maxItems", 1) } else { ("maxProperties", 6) };
    let smallest = below(schema).map_or(2, least);
    schema[bound].as_u64().unwrap_or(MOST_BYTES / (smallest + between))
}

// How long the shortest JSON of a schema is.
fn least(schema: &Value) -> u64 {
    let needed = list(&schema["required"]).iter().map(text);
    match text(&schema["type"]) {
        "object" => needed.fold(2, |sum, name| {
            let inner = schema["properties"].get(name).map_or(1, least);
            sum.saturating_add(name.len() as u64 + 4 + inner)
        }),
        "array" | "string" => 2,
        "boolean" => 4,
        _ => 1,
    }
}

/// How many values of a part of a schema an object may have.
#[derive(Clone, Copy, Default)]
pub struct Often {
    times: u64,
    unbounded: bool,
}

impl Often {
    /// Those of what is in a list or a map, when there are so many of it.
    pub fn inside(self, schema: &Value) -> Self {
        let name = if text(&schema["type"]) == "array" { "maxItems" } else { "maxProperties" };
        match schema[name].as_u64() {
            _ if below(schema).is_none() => self,
            Some(most) => Self { times: self.times.max(1).saturating_mul(most.max(1)), ..self },
            None => Self { unbounded: true, ..self },
        }
    }

    fn of(self, schema: &Value) -> u64 {
        if self.unbounded { MOST_BYTES / (least(schema) + 1) } else { self.times.max(1) }
    }
}

/// What evaluating an expression costs, at most a little more than `limit`.
/// `unknown` is how many rounds are counted over what is not known.
pub struct Walk<'a, P> {
    names: Vec<(&'a str, Option<P>)>,
    unknown: u64,
    limit: u64,
    /// The first field that is not there.
    pub missing: Option<String>,
}

impl<'a, P: Place> Walk<'a, P> {
    pub fn new(own: P, old: Option<P>, unknown: u64, limit: u64) -> Self {
        Self { names: vec![("self", Some(own)), ("oldSelf", old)], unknown, limit, missing: None }
    }

    pub fn cost(&mut self, at: &'a IdedExpr) -> u64 {
        match &at.expr {
            Expr::Call(call) => {
                let parts = call.target.as_deref().into_iter().chain(&call.args);
                parts.fold(1, |sum: u64, it| sum.saturating_add(self.cost(it)))
            }
            Expr::Select(select) => {
                let lacks = self.place(&select.operand).is_some_and(|it| it.lacks(&select.field));
                let cost = self.cost(&select.operand);
                if lacks {
                    self.missing.get_or_insert_with(|| select.field.clone());
                }
                cost
            }
            Expr::Comprehension(it) => self.rounds(it),
            Expr::List(it) => it.elements.iter().fold(0, |sum: u64, it| sum.saturating_add(self.cost(it))),
            Expr::Map(it) => it.entries.iter().fold(0, |sum, it| self.entry(&it.expr, sum)),
            Expr::Struct(it) => it.entries.iter().fold(0, |sum, it| self.entry(&it.expr, sum)),
            Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => 0,
        }
    }

    fn entry(&mut self, entry: &'a EntryExpr, sum: u64) -> u64 {
        let cost = match entry {
            EntryExpr::StructField(it) => self.cost(&it.value),
            EntryExpr::MapEntry(it) => self.cost(&it.key).saturating_add(self.cost(&it.value)),
        };
        sum.saturating_add(cost)
    }

    fn rounds(&mut self, it: &'a ComprehensionExpr) -> u64 {
        let mut sum = self.cost(&it.iter_range);
        let range = self.place(&it.iter_range);
        let keyed = range.is_some_and(Place::is_map);
        let (parts, weight) = match range.map(Place::parts) {
            Some((parts, weight)) => (parts.into_iter().map(Some).collect(), weight),
            None => (vec![None], self.unknown),
        };
        let alike = !loops(&it.loop_step);
        let names = self.names.len();
        let take = if alike { 1 } else { parts.len() };
        let times = if alike { weight.saturating_mul(parts.len() as u64) } else { weight };
        for part in parts.into_iter().take(take) {
            match &it.iter_var2 {
                Some(second) => self.names.extend([(it.iter_var.as_str(), None), (second.as_str(), part)]),
                None => self.names.push((it.iter_var.as_str(), part.filter(|_| !keyed))),
            }
            self.names.push((it.accu_var.as_str(), None));
            let round = ROUND.saturating_add(self.cost(&it.loop_step));
            self.names.truncate(names);
            sum = sum.saturating_add(round.saturating_mul(times));
            if sum > self.limit {
                break;
            }
        }
        sum
    }

    fn place(&self, at: &IdedExpr) -> Option<P> {
        match &at.expr {
            Expr::Ident(name) => self.names.iter().rev().find(|(it, _)| it == name)?.1,
            Expr::Select(select) if !select.test => self.place(&select.operand)?.field(&select.field),
            Expr::Call(call) if call.func_name == operators::INDEX => {
                let of = call.target.as_deref().or(call.args.first())?;
                self.place(of)?.parts().0.into_iter().next()
            }
            _ => None,
        }
    }
}

// Whether there is a comprehension in an expression.
fn loops(at: &IdedExpr) -> bool {
    let entry = |it: &EntryExpr| match it {
        EntryExpr::StructField(it) => loops(&it.value),
        EntryExpr::MapEntry(it) => loops(&it.key) || loops(&it.value),
    };
    match &at.expr {
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).any(loops),
        Expr::Select(select) => loops(&select.operand),
        Expr::Comprehension(_) => true,
        Expr::List(it) => it.elements.iter().any(loops),
        Expr::Map(it) => it.entries.iter().any(|it| entry(&it.expr)),
        Expr::Struct(it) => it.entries.iter().any(|it| entry(&it.expr)),
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => false,
    }
}

/// What is wrong with an expression that is evaluated for each value of a
/// schema.
pub fn estimated(
    schema: Declared<'_>,
    often: Often,
    optional: bool,
    expression: &IdedExpr,
) -> (Option<String>, Option<String>) {
    let old = Some(schema).filter(|_| !optional);
    let mut walk = Walk::new(schema, old, 1, u64::MAX);
    let cost = walk.cost(expression).saturating_mul(often.of(schema.schema));
    (walk.missing, (cost > MOST_ESTIMATED).then(|| exceeds(cost)))
}

#[allow(clippy::cast_precision_loss)]
fn exceeds(cost: u64) -> String {
    let factor = cost as f64 / MOST_ESTIMATED as f64;
    let factor = match factor {
        it if it > 100.0 => "more than 100x".to_owned(),
        it if it < 1.5 => format!("{it:.6}x"),
        it => format!("{it:.1}x"),
    };
    format!(
        "estimated rule cost exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}
