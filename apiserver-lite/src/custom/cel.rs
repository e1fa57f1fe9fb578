//! `x-kubernetes-validations`: rules in CEL that a CRD's schema may have.
//!
//! The language and Kubernetes' libraries are kube-cel's; where rules stand,
//! what they see as `oldSelf`, and what their failures say is here. Of type errors
//! only fields that are not there are found before a rule runs. A rule that cannot be evaluated refuses the
//! object: nothing is let through unchecked.
//!
//! The library recurses with the depth of an expression and has no budget, so
//! expressions are bounded before it sees them ([`unfit`]), it runs on a stack
//! of its own, and what a rule may cost is estimated from the sizes of what it
//! walks over.

mod costs;

use std::{collections::BTreeMap, thread};

use coracle_api::{FieldError, field::FieldPath};
use kube_cel::{CompiledSchema, Validator, compile_schema};
use serde_json::{Map, Value, json};

use super::{
    schema::{ListType, Schema},
    validate::Pair,
};
use crate::resources::tree::{entries, list, text, truth};

pub use self::costs::{Declared, Often};
use self::costs::{MOST_PER_RULE, Walk};

const RULES: &str = "x-kubernetes-validations";
const STACK: usize = 64 << 20;
// What an expression may be: more than upstream's users write.
const MOST_BYTES: usize = 8 << 10;
const MOST_NESTING: usize = 40;
const MOST_STEPS: usize = 600;
// What all rules of an object may cost together.
const BUDGET: u64 = 10_000_000;

/// The rules of a schema, compiled.
pub struct Rules {
    own: Vec<Rule>,
    kind: String,
    properties: BTreeMap<String, Rules>,
    items: Option<Box<Rules>>,
    entries: Option<Box<Rules>>,
    all_of: Vec<Rules>,
}

struct Rule {
    compiled: CompiledSchema,
    said: Value,
    old: bool,
}

impl Rules {
    /// The rules of a schema; `None` where there are none.
    pub fn of(schema: &Value) -> Option<Self> {
        if !mentions(schema) {
            return None;
        }
        apart(|| Self::build(schema)).ok()
    }

    fn build(schema: &Value) -> Self {
        let part = |name: &str| {
            Some(&schema[name])
                .filter(|it| it.is_object() && mentions(it))
                .map(|it| Box::new(Self::build(it)))
        };
        let properties = entries(&schema["properties"]).filter(|(_, it)| mentions(it));
        Self {
            own: list(&schema[RULES]).iter().map(|said| Rule::build(schema, said)).collect(),
            kind: text(&schema["type"]).to_owned(),
            properties: properties.map(|(name, it)| (name.to_owned(), Self::build(it))).collect(),
            items: part("items"),
            entries: part("additionalProperties"),
            all_of: list(&schema["allOf"]).iter().filter(|it| mentions(it)).map(Self::build).collect(),
        }
    }

    /// What the rules refuse of an object. `old` is what it was before.
    pub fn check(&self, schema: &Schema, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let run = || {
            let mut run = Run { validator: Validator::new(), left: BUDGET, errors: Vec::new() };
            let pair = old.map(|old| Pair { old: Some(old), new: object, schema });
            run.node(self, Some(schema), object, Before { old, pair, same: false }, &FieldPath::default());
            run.errors
        };
        apart(run).unwrap_or_else(|()| {
            vec![FieldError::internal(&FieldPath::default(), "the validation rules could not be evaluated")]
        })
    }
}

impl Rule {
    fn build(schema: &Value, said: &Value) -> Self {
        let mut alone = bare(schema);
        alone[RULES] = json!([said]);
        let compiled = compile_schema(&alone);
        let old = compiled.validations.iter().flatten().any(|it| it.is_transition_rule);
        Self { old, compiled, said: said.clone() }
    }

    fn shown(&self) -> String {
        match text(&self.said["message"]) {
            "" => text(&self.said["rule"]).trim().to_owned(),
            message => message.trim().to_owned(),
        }
    }
}

// Runs on a stack of its own; `Err` when it panics.
pub(crate) fn apart<T: Send>(run: impl FnOnce() -> T + Send) -> Result<T, ()> {
    thread::scope(|scope| {
        let started =
            thread::Builder::new().name("cel".to_owned()).stack_size(STACK).spawn_scoped(scope, run);
        started.map_err(drop)?.join().map_err(drop)
    })
}

// Whether there is a rule in a schema.
fn mentions(schema: &Value) -> bool {
    !list(&schema[RULES]).is_empty()
        || entries(&schema["properties"]).any(|(_, it)| mentions(it))
        || ["items", "additionalProperties"]
            .iter()
            .any(|name| schema[*name].is_object() && mentions(&schema[*name]))
        || list(&schema["allOf"]).iter().any(mentions)
}

// The schema without the rules in it.
fn bare(schema: &Value) -> Value {
    match schema {
        Value::Object(map) => {
            let kept = map.iter().filter(|(name, _)| *name != RULES);
            Value::Object(kept.map(|(name, it)| (name.clone(), bare(it))).collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.iter().map(bare).collect()),
        other => other.clone(),
    }
}

// What stood in a value's place before the update.
#[derive(Clone, Copy)]
struct Before<'a> {
    old: Option<&'a Value>,
    pair: Option<Pair<'a>>,
    // Whether the nearest part that can be compared is as it was.
    same: bool,
}

struct Run {
    validator: Validator,
    left: u64,
    errors: Vec<FieldError>,
}

impl Run {
    fn node(
        &mut self,
        rules: &Rules,
        schema: Option<&Schema>,
        value: &Value,
        mut before: Before<'_>,
        path: &FieldPath,
    ) {
        if value.is_null() || self.left == 0 {
            return;
        }
        if let Some(pair) = before.pair {
            before.same = pair.old == Some(pair.new);
        }
        for rule in &rules.own {
            self.rule(rules, rule, value, before, path);
        }
        for part in &rules.all_of {
            self.node(part, schema, value, Before { pair: None, same: false, ..before }, path);
        }
        match value {
            Value::Object(map) => self.fields(rules, schema, map, before, path),
            Value::Array(items) => self.items(rules, schema, items, before, path),
            _ => {}
        }
    }

    fn fields(
        &mut self,
        rules: &Rules,
        schema: Option<&Schema>,
        map: &Map<String, Value>,
        before: Before<'_>,
        path: &FieldPath,
    ) {
        for (name, value) in map {
            let named =
                schema.is_some_and(|it| it.property(name).is_some()) || rules.properties.contains_key(name);
            let below = match rules.properties.get(name) {
                Some(below) => below,
                None if named => continue,
                None => match &rules.entries {
                    Some(below) => below,
                    None => continue,
                },
            };
            let inner = schema.and_then(|it| it.field(name));
            let pair = before.pair.zip(inner).and_then(|(pair, inner)| pair.key(name, inner));
            let old = before.old.and_then(|old| old.get(name)).filter(|it| !it.is_null());
            let at = if named { path.child(name) } else { path.key(name) };
            self.node(below, inner, value, Before { old, pair, same: before.same }, &at);
        }
    }

    fn items(
        &mut self,
        rules: &Rules,
        schema: Option<&Schema>,
        items: &[Value],
        before: Before<'_>,
        path: &FieldPath,
    ) {
        let Some(below) = &rules.items else { return };
        let inner = schema.and_then(|it| it.items.as_deref());
        let keyed = schema.is_some_and(|it| matches!(it.list, ListType::Map(_)));
        for (index, value) in items.iter().enumerate() {
            let pair = before.pair.zip(inner).and_then(|(pair, inner)| pair.index(index, inner));
            let old = pair.and_then(|pair| pair.old).filter(|_| keyed);
            self.node(below, inner, value, Before { old, pair, same: before.same }, &path.index(index));
        }
    }

    fn rule(&mut self, rules: &Rules, rule: &Rule, value: &Value, before: Before<'_>, path: &FieldPath) {
        if self.left == 0 {
            return;
        }
        let optional = truth(&rule.said["optionalOldSelf"]);
        if rule.old && before.old.is_none() && !optional {
            return;
        }
        let unknown = widest(value).max(before.old.map_or(0, widest));
        let mut walk = Walk::new(value, before.old, unknown, MOST_PER_RULE);
        let programs = rule.compiled.validations.iter().flatten();
        let cost = programs.fold(1, |sum: u64, it| sum.saturating_add(walk.cost(it.program.expression())));
        if cost > MOST_PER_RULE {
            self.left = 0;
            let detail = format!(
                "'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit for rule: {}",
                rule.shown()
            );
            self.errors.push(FieldError::invalid(path, rules.kind.as_str(), detail));
            return;
        }
        if cost > self.left {
            self.left = 0;
            let detail = "validation failed due to running out of cost budget, no further validation rules will be run";
            self.errors.push(FieldError::invalid(path, rules.kind.as_str(), detail));
            return;
        }
        self.left -= cost;
        let Err(failed) = self.validator.validate_compiled(&rule.compiled, value, before.old) else { return };
        for failure in failed.into_vec() {
            let refused = failure.kind == kube_cel::ErrorKind::ValidationFailure;
            if refused && !rule.old && before.same {
                continue;
            }
            let error = if refused {
                self::refused(rules, rule, value, &failure.message, path)
            } else {
                let text =
                    failure.message.strip_prefix("rule evaluation error: ").unwrap_or(&failure.message);
                let detail = format!("{text} evaluating rule: {}", rule.shown());
                FieldError::invalid(path, rules.kind.as_str(), detail)
            };
            self.errors.push(error);
        }
    }
}

fn refused(rules: &Rules, rule: &Rule, value: &Value, message: &str, path: &FieldPath) -> FieldError {
    let below = text(&rule.said["fieldPath"]).trim_start_matches('.');
    let at = if below.is_empty() { path.clone() } else { path.child(below) };
    let whole = matches!(rules.kind.as_str(), "object" | "array");
    let message = message.trim();
    let with = |error: FieldError| if whole { error.valueless() } else { error };
    match text(&rule.said["reason"]) {
        "FieldValueForbidden" => FieldError::forbidden(&at, message),
        "FieldValueRequired" => FieldError::required(&at, message),
        "FieldValueDuplicate" => with(FieldError::duplicate(&at, value.clone())),
        _ => with(FieldError::invalid(&at, value.clone(), message)),
    }
}

// How many the largest list or map in a value holds.
fn widest(value: &Value) -> u64 {
    let (own, below) = match value {
        Value::Array(items) => (items.len(), items.iter().map(widest).max()),
        Value::Object(map) => (map.len(), map.values().map(widest).max()),
        Value::String(text) => (text.len() / 64, None),
        _ => (1, None),
    };
    (own as u64).max(below.unwrap_or(0)).max(1)
}

/// What is wrong with the expressions of a rule, as far as that shows before it
/// runs. `place` is what the schema is of, when it is all there is of it.
pub fn faults(
    schema: &Value,
    place: Option<(Declared<'_>, Often)>,
    said: &Value,
    path: &FieldPath,
) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for name in ["rule", "messageExpression"] {
        let (expression, at) = (text(&said[name]), path.child(name));
        if let Some(why) = unfit(expression) {
            errors.push(FieldError::forbidden(&at, why));
        }
    }
    if !errors.is_empty() {
        return errors;
    }
    let at = path.child("rule");
    match apart(|| compile(schema, place, said)) {
        Err(()) => errors.push(FieldError::forbidden(&at, "the expression is too complex for this server")),
        Ok(Some(Fault::Wrong(detail))) => errors.push(FieldError::invalid(&at, said.clone(), detail)),
        Ok(Some(Fault::Refused(detail))) => errors.push(FieldError::forbidden(&at, detail)),
        Ok(None) => {}
    }
    errors
}

enum Fault {
    Wrong(String),
    Refused(String),
}

fn compile(schema: &Value, place: Option<(Declared<'_>, Often)>, said: &Value) -> Option<Fault> {
    let mut alone = bare(&json!({ "type": schema["type"] }));
    alone[RULES] = json!([said]);
    let compiled = compile_schema(&alone);
    let own = compiled.validations.into_iter().next()?;
    let own = match own {
        Ok(own) => own,
        Err(error) => return Some(Fault::Wrong(format!("compilation failed: {error}"))),
    };
    let programs = [Some(&own.program), own.message_program.as_ref()];
    for references in programs.into_iter().flatten().map(|it| it.references()) {
        let mut functions = references.functions();
        functions.sort_unstable();
        if let Some(name) = functions.into_iter().find(|name| !is_known(name)) {
            return Some(Fault::Refused(format!(
                "the function {name:?} is not supported by this server yet"
            )));
        }
    }
    let (declared, often) = place?;
    let optional = truth(&said["optionalOldSelf"]);
    match costs::estimated(declared, often, optional, own.program.expression()) {
        (Some(name), _) => Some(Fault::Wrong(undefined(text(&said["rule"]), &name))),
        (None, exceeded) => exceeded.map(Fault::Refused),
    }
}

// As upstream's compiler says it.
fn undefined(rule: &str, name: &str) -> String {
    let asked = format!(".{name}");
    let ends = |at: usize| {
        let next = rule[at + asked.len()..].chars().next();
        !next.is_some_and(|it| it.is_ascii_alphanumeric() || it == '_')
    };
    let at = rule.match_indices(&asked).map(|(at, _)| at).find(|at| ends(*at)).unwrap_or_default();
    let chain = rule[..at].trim_end_matches(|it: char| it.is_ascii_alphanumeric() || matches!(it, '_' | '.'));
    let at = if chain.ends_with("has(") { chain.len() - 1 } else { at };
    let line = rule[..at].matches('\n').count() + 1;
    let start = rule[..at].rfind('\n').map_or(0, |it| it + 1);
    let shown = rule[start..].lines().next().unwrap_or_default();
    let column = rule[start..at].chars().count();
    format!(
        "compilation failed: ERROR: <input>:{line}:{}: undefined field '{name}'\n | {shown}\n | {}^",
        column + 1,
        ".".repeat(column)
    )
}

// Operators, and the functions of the libraries that are there.
pub(crate) fn is_known(name: &str) -> bool {
    const NAMES: &[&str] = &[
        "size",
        "type",
        "dyn",
        "int",
        "uint",
        "double",
        "string",
        "bytes",
        "bool",
        "timestamp",
        "duration",
        "contains",
        "startsWith",
        "endsWith",
        "matches",
        "getFullYear",
        "getMonth",
        "getDate",
        "getDayOfMonth",
        "getDayOfWeek",
        "getDayOfYear",
        "getHours",
        "getMinutes",
        "getSeconds",
        "getMilliseconds",
        "charAt",
        "indexOf",
        "lastIndexOf",
        "lowerAscii",
        "upperAscii",
        "replace",
        "split",
        "substring",
        "trim",
        "join",
        "reverse",
        "quote",
        "isSorted",
        "sum",
        "min",
        "max",
        "slice",
        "sort",
        "flatten",
        "distinct",
        "first",
        "last",
        "range",
        "equivalent",
        "intersects",
        "find",
        "findAll",
        "url",
        "isURL",
        "getScheme",
        "getHost",
        "getHostname",
        "getPort",
        "getEscapedPath",
        "getQuery",
        "ip",
        "isIP",
        "isIPv4",
        "isIPv6",
        "isCanonical",
        "family",
        "isLoopback",
        "isUnspecified",
        "isLinkLocalMulticast",
        "isLinkLocalUnicast",
        "isGlobalUnicast",
        "cidr",
        "isCIDR",
        "isCIDRv4",
        "isCIDRv6",
        "containsIP",
        "containsCIDR",
        "prefixLength",
        "masked",
        "semver",
        "isSemver",
        "major",
        "minor",
        "patch",
        "isGreaterThan",
        "isLessThan",
        "compareTo",
        "quantity",
        "isQuantity",
        "isInteger",
        "asInteger",
        "asApproximateFloat",
        "sign",
        "add",
        "sub",
        "format",
        "dns1123Label",
        "dns1123Subdomain",
        "dns1035Label",
        "dns1035LabelPrefix",
        "dns1123LabelPrefix",
        "dns1123SubdomainPrefix",
        "qualifiedName",
        "labelValue",
        "uri",
        "uuid",
        "byte",
        "date",
        "datetime",
        "named",
        "validate",
        "hasValue",
        "value",
        "ceil",
        "floor",
        "round",
        "trunc",
        "abs",
        "sqrt",
        "isInf",
        "isNaN",
        "isFinite",
        "bitAnd",
        "bitOr",
        "bitXor",
        "bitNot",
        "bitShiftLeft",
        "bitShiftRight",
        "greatest",
        "least",
        "decode",
        "encode",
        "escapeKey",
    ];
    let operator = name.starts_with(|c: char| !c.is_ascii_alphabetic());
    operator || NAMES.contains(&name.rsplit('.').next().unwrap_or(name))
}

/// Why an expression is not even looked at.
pub(crate) fn unfit(expression: &str) -> Option<String> {
    if expression.len() > MOST_BYTES {
        return Some(format!("expressions of more than {MOST_BYTES} bytes are not supported by this server"));
    }
    if nesting(expression) > MOST_NESTING || ternaries(expression) > MOST_NESTING {
        return Some(format!(
            "expressions nested deeper than {MOST_NESTING} are not supported by this server"
        ));
    }
    let too_long = steps(expression) > MOST_STEPS;
    too_long.then(|| format!("expressions of more than {MOST_STEPS} steps are not supported by this server"))
}

// The expression's characters without those in texts.
fn code(expression: &str) -> impl Iterator<Item = (usize, char)> {
    let (mut quote, mut escaped) = (None, false);
    expression.char_indices().filter(move |(_, c)| match (quote, c) {
        (Some(_), _) if escaped => {
            escaped = false;
            false
        }
        (Some(_), '\\') => {
            escaped = true;
            false
        }
        (Some(open), c) if *c == open => {
            quote = None;
            false
        }
        (Some(_), _) => false,
        (None, '\'' | '"') => {
            quote = Some(*c);
            false
        }
        (None, _) => true,
    })
}

// How deep brackets nest.
fn nesting(expression: &str) -> usize {
    let (mut open, mut deepest) = (0_usize, 0);
    for (_, c) in code(expression) {
        match c {
            '(' | '[' | '{' => open += 1,
            ')' | ']' | '}' => open = open.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(open);
    }
    deepest
}

fn ternaries(expression: &str) -> usize {
    code(expression).filter(|(_, c)| *c == '?').count()
}

// Operators, selections and calls: each is a level of the library's tree.
fn steps(expression: &str) -> usize {
    code(expression).filter(|(_, c)| "([{.?:!-+*/%<>=&|,".contains(*c)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(rule: Value) -> Value {
        json!({ "type": "object", RULES: [rule], "properties": {
            "a": { "type": "integer" },
            "name": { "type": "string", RULES: [{ "rule": "self == oldSelf", "message": "name is fixed" }] },
            "list": { "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": {
                "type": "object", "properties": { "k": { "type": "string" }, "v": { "type": "integer", RULES: [{ "rule": "self >= oldSelf" }] } } } },
        } })
    }

    fn check(rule: Value, object: Value, old: Option<Value>, expected: &[&str]) {
        let json = schema(rule);
        let rules = Rules::of(&json).expect("rules");
        let errors = rules.check(&Schema::parse(&json), &object, old.as_ref());
        assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn rules_refuse() {
        let positive = || json!({ "rule": "!has(self.a) || self.a > 0" });
        check(positive(), json!({ "a": 1 }), None, &[]);
        check(
            positive(),
            json!({ "a": 0 }),
            None,
            &["<nil>: Invalid value: failed rule: !has(self.a) || self.a > 0"],
        );
        let told = json!({ "rule": "self.a > 0", "message": "too small", "fieldPath": ".a", "reason": "FieldValueForbidden" });
        check(told, json!({ "a": 0 }), None, &["a: Forbidden: too small"]);
        let told = json!({ "rule": "self.a > 0", "messageExpression": "'it is ' + string(self.a)" });
        check(told, json!({ "a": 0 }), None, &["<nil>: Invalid value: it is 0"]);
        check(
            json!({ "rule": "self.b > 0" }),
            json!({ "a": 0 }),
            None,
            &["<nil>: Invalid value: \"object\": No such key: b evaluating rule: self.b > 0"],
        );
    }

    #[test]
    fn transitions_compare_what_belongs_together() {
        let any = || json!({ "rule": "true" });
        check(any(), json!({ "name": "a" }), None, &[]);
        check(any(), json!({ "name": "a" }), Some(json!({})), &[]);
        check(
            any(),
            json!({ "name": "b" }),
            Some(json!({ "name": "a" })),
            &["name: Invalid value: \"b\": name is fixed"],
        );
        check(
            any(),
            json!({ "list": [{ "k": "y", "v": 1 }, { "k": "x", "v": 1 }] }),
            Some(json!({ "list": [{ "k": "x", "v": 2 }] })),
            &["list[1].v: Invalid value: 1: failed rule: self >= oldSelf"],
        );
    }

    #[test]
    fn what_does_not_change_is_let_be() {
        let positive = || json!({ "rule": "self.a > 0" });
        check(positive(), json!({ "a": 0 }), Some(json!({ "a": 0 })), &[]);
        check(
            positive(),
            json!({ "a": 0, "name": "x" }),
            Some(json!({ "a": 0 })),
            &["<nil>: Invalid value: failed rule: self.a > 0"],
        );
    }

    #[test]
    fn costs_are_bounded() {
        let many: Vec<Value> = (0..5000).map(|it| json!({ "k": it.to_string() })).collect();
        let nested = json!({ "rule": "self.list.all(x, self.list.all(y, x.k != y.k || x == y))" });
        check(
            nested,
            json!({ "list": many }),
            None,
            &[
                "<nil>: Invalid value: \"object\": 'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit for rule: self.list.all(x, self.list.all(y, x.k != y.k || x == y))",
            ],
        );
    }

    #[test]
    fn expressions_are_checked_before_they_run() {
        let schema = schema(json!({ "rule": "true" }));
        let place = Declared { schema: &schema, root: false };
        let check = |rule: &str, expected: &[&str]| {
            let errors = faults(
                &schema,
                Some((place, Often::default())),
                &json!({ "rule": rule }),
                &FieldPath::new("r"),
            );
            let said: Vec<String> = errors.iter().map(ToString::to_string).collect();
            let as_expected = said.iter().zip(expected).all(|(it, start)| it.starts_with(start));
            assert!(as_expected && said.len() == expected.len(), "{rule}: {said:?}");
        };
        check("self.a > 0 && self.list.all(x, x.k.matches('^a'))", &[]);
        check(
            "self.metadata == 1",
            &["r.rule: Invalid value: {\"rule\":\"self.metadata == 1\"}: compilation fail"],
        );
        check(
            "self.list.all(x, self.list.all(y, x.k != y.k || x == y))",
            &["r.rule: Forbidden: estimated rule cost exceeds budget by factor of mor"],
        );
        check("self.a >", &["r.rule: Invalid value: {\"rule\":\"self.a \\u003e\"}: compilation failed: f"]);
        check("frobnicate(self)", &["r.rule: Forbidden: the function \"frobnicate\" is not supported by "]);
        check(
            &format!("{}1{} == 1", "(".repeat(50), ")".repeat(50)),
            &["r.rule: Forbidden: expressions nested deeper than 40 are not supporte"],
        );
        check(
            &"self.a + ".repeat(700),
            &["r.rule: Forbidden: expressions of more than 600 steps are not support"],
        );
        check(
            &"self.a == 1 ? true : ".repeat(100),
            &["r.rule: Forbidden: expressions nested deeper than 40 are not supporte"],
        );
    }
}
