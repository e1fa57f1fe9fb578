//! Selectors of devices in CEL: `device.driver`, `device.attributes["domain"].name`,
//! `device.capacity["domain"].name`, `device.allowMultipleAllocations`.
//!
//! The language and Kubernetes' libraries are kube-cel's. That library recurses
//! with the depth of an expression and has no budget, so expressions are
//! bounded before it sees them and deep ones run on a stack of their own.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    thread,
};

use k8s_openapi::api::resource::v1::{Device, DeviceAttribute};
use kube_cel::{
    KubeCelExt,
    cel::{
        Context, ExecutionError, Program,
        common::ast::IdedExpr,
        objects::{Key, Map, ResolveResult, Value},
    },
};
use parking_lot::Mutex;

use super::expression::{self, DOMAIN};

/// What an evaluation may cost, as upstream bounds it.
const MOST_COST: u64 = 1_000_000;
const MOST_BYTES: usize = 10 << 10;
const MOST_NESTING: usize = 40;
const MOST_STEPS: usize = 1000;
const STACK: usize = 64 << 20;
/// Up to this depth an expression runs on the caller's stack.
const SHALLOW: usize = 24;
/// Expressions that are kept compiled.
const KEPT: usize = 256;

/// A compiled selector.
pub(super) struct Selector {
    tree: IdedExpr,
    deep: bool,
    cost: u64,
}

/// What selectors run in, and those that were compiled.
pub(super) struct Environment {
    context: Context<'static>,
    version: Result<Program, String>,
    quantity: Result<Program, String>,
    compiled: Mutex<HashMap<String, Arc<Result<Selector, String>>>>,
}

impl Default for Environment {
    fn default() -> Self {
        let mut context = Context::default().with_all();
        context.add_function(DOMAIN, domain);
        let program = |text: &str| Program::compile(text).map_err(|error| error.to_string());
        Self {
            context,
            version: program("semver(it)"),
            quantity: program("quantity(it)"),
            compiled: Mutex::default(),
        }
    }
}

// What a device has in a domain: nothing where it does not know it.
fn domain(all: Value, name: Value) -> ResolveResult {
    let (Value::Map(all), Value::String(name)) = (all, name) else {
        return Err(ExecutionError::NoSuchOverload);
    };
    let none = || Value::Map(Map { map: Arc::default() });
    Ok(all.map.get(&Key::String(name)).cloned().unwrap_or_else(none))
}

impl Environment {
    /// The selector that `text` is, compiled once.
    pub(super) fn selector(&self, text: &str) -> Arc<Result<Selector, String>> {
        if let Some(known) = self.compiled.lock().get(text) {
            return known.clone();
        }
        let compiled = Arc::new(Selector::compile(text));
        let mut all = self.compiled.lock();
        if all.len() >= KEPT {
            all.clear();
        }
        all.insert(text.to_owned(), compiled.clone());
        compiled
    }

    /// What expressions see of a device.
    /// # Errors
    /// An attribute is of no kind that there is.
    pub(super) fn device(&self, driver: &str, device: &Device) -> Result<Value, String> {
        let mut attributes = Domains::default();
        for (name, attribute) in device.attributes.iter().flatten() {
            let value = self.attribute(attribute).map_err(|why| format!("attribute {name}: {why}"))?;
            attributes.insert(name, driver, value);
        }
        let mut capacity = Domains::default();
        for (name, amount) in device.capacity.iter().flatten() {
            let value = self.made(&self.quantity, &amount.value.0)?;
            capacity.insert(name, driver, value);
        }
        Ok(map([
            ("driver", Value::String(Arc::new(driver.to_owned()))),
            ("allowMultipleAllocations", Value::Bool(device.allow_multiple_allocations == Some(true))),
            ("attributes", attributes.value()),
            ("capacity", capacity.value()),
        ]))
    }

    fn attribute(&self, attribute: &DeviceAttribute) -> Result<Value, String> {
        match attribute {
            DeviceAttribute { int: Some(int), .. } => Ok(Value::Int(*int)),
            DeviceAttribute { bool: Some(bool), .. } => Ok(Value::Bool(*bool)),
            DeviceAttribute { string: Some(string), .. } => Ok(Value::String(Arc::new(string.clone()))),
            DeviceAttribute { version: Some(version), .. } => {
                self.made(&self.version, version).map_err(|why| format!("parse semantic version: {why}"))
            }
            _ => Err("unsupported attribute value".to_owned()),
        }
    }

    fn made(&self, how: &Result<Program, String>, text: &str) -> Result<Value, String> {
        let how = how.as_ref().map_err(Clone::clone)?;
        let mut scope = self.context.new_inner_scope();
        scope.add_variable_from_value("it", Value::String(Arc::new(text.to_owned())));
        how.execute(&scope).map_err(|error| error.to_string())
    }

    /// Whether a device is selected.
    /// # Errors
    /// The expression cannot be evaluated: upstream's text where it is known.
    pub(super) fn matches(&self, selector: &Selector, device: &Value) -> Result<bool, String> {
        if selector.cost > MOST_COST {
            return Err("operation cancelled: actual cost limit exceeded".to_owned());
        }
        let run = || {
            let mut scope = self.context.new_inner_scope();
            scope.add_variable_from_value("device", device.clone());
            Value::resolve(&selector.tree, &scope)
        };
        let value = match selector.deep {
            true => apart(run).map_err(|()| "the expression could not be evaluated".to_owned())?,
            false => run(),
        };
        match value {
            Ok(Value::Bool(matches)) => Ok(matches),
            Ok(other) => Err(format!("CEL result of type {} could not be converted to bool", kind(&other))),
            Err(error) => Err(told(&error)),
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Int(_) => "int",
        Value::UInt(_) => "uint",
        Value::Float(_) => "double",
        Value::String(_) => "string",
        Value::List(_) => "list",
        Value::Map(_) => "map",
        Value::Null => "null_type",
        _ => "object",
    }
}

fn told(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(key) => format!(
            "no such key: {key}. consider using CEL optional chaining (.? followed by orValue()) or guarding the check with has() for optional fields"
        ),
        ExecutionError::NoSuchOverload => "no such overload".to_owned(),
        other => other.to_string(),
    }
}

impl Selector {
    fn compile(text: &str) -> Result<Self, String> {
        if text.len() > MOST_BYTES
            || expression::nesting(text) > MOST_NESTING
            || expression::steps(text) > MOST_STEPS
        {
            return Err("the expression is too complex".to_owned());
        }
        let compiled = apart(|| {
            let program = Program::compile(text).map_err(|error| format!("compilation failed: {error}"))?;
            let tree = expression::prepared(program.expression().clone())?;
            let (deep, cost) = (expression::depth(&tree) > SHALLOW, expression::cost(&tree));
            Ok(Self { tree, deep, cost })
        });
        compiled.map_err(|()| "the expression is too complex".to_owned())?
    }
}

// Runs on a stack of its own; `Err` when it panics.
fn apart<T: Send>(run: impl FnOnce() -> T + Send) -> Result<T, ()> {
    thread::scope(|scope| {
        let started =
            thread::Builder::new().name("cel".to_owned()).stack_size(STACK).spawn_scoped(scope, run);
        started.map_err(drop)?.join().map_err(drop)
    })
}

/// Values by domain and name.
#[derive(Default)]
struct Domains(BTreeMap<String, HashMap<Key, Value>>);

impl Domains {
    fn insert(&mut self, name: &str, driver: &str, value: Value) {
        let (domain, name) = name.split_once('/').unwrap_or((driver, name));
        let key = Key::String(Arc::new(name.to_owned()));
        self.0.entry(domain.to_owned()).or_default().insert(key, value);
    }

    fn value(self) -> Value {
        let each = |(domain, values): (String, HashMap<Key, Value>)| {
            (Key::String(Arc::new(domain)), Value::Map(Map { map: Arc::new(values) }))
        };
        Value::Map(Map { map: Arc::new(self.0.into_iter().map(each).collect()) })
    }
}

fn map<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let each = |(name, value): (&str, Value)| (Key::String(Arc::new(name.to_owned())), value);
    Value::Map(Map { map: Arc::new(fields.into_iter().map(each).collect()) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn devices_are_selected() {
        let device = json!({
            "name": "d",
            "attributes": {
                "model": {"string": "a100"}, "cores": {"int": 7}, "ready": {"bool": true},
                "other.example.com/version": {"version": "1.2.3"},
            },
            "capacity": {"memory": {"value": "40Gi"}},
        });
        let device: Device = serde_json::from_value(device).unwrap();
        let environment = Environment::default();
        let value = environment.device("gpu.example.com", &device).unwrap();
        let check = |text: &str, expected: Result<bool, &str>| {
            let selector = environment.selector(text);
            let found = selector.as_ref().as_ref().map_err(Clone::clone);
            let found = found.and_then(|selector| environment.matches(selector, &value));
            match expected {
                Ok(expected) => assert_eq!(found, Ok(expected), "{text}"),
                Err(start) => {
                    assert!(found.as_ref().is_err_and(|e| e.starts_with(start)), "{text}: {found:?}")
                }
            }
        };
        check("true", Ok(true));
        check(r#"device.driver == "gpu.example.com""#, Ok(true));
        check(r#"device.driver == "b""#, Ok(false));
        check(r#"device.attributes["gpu.example.com"].model == "a100""#, Ok(true));
        check(r#"device.attributes["gpu.example.com"].cores > 8"#, Ok(false));
        check(r#"device.attributes["gpu.example.com"].ready && !device.allowMultipleAllocations"#, Ok(true));
        check(r#"device.attributes["other.example.com"].version.isGreaterThan(semver("1.0.0"))"#, Ok(true));
        check(r#"device.attributes["other.example.com"].version.compareTo(semver("1.2.3")) == 0"#, Ok(true));
        check(r#"device.capacity["gpu.example.com"].memory.compareTo(quantity("10Gi")) >= 0"#, Ok(true));
        check(r#"device.capacity["gpu.example.com"].memory.isLessThan(quantity("10Gi"))"#, Ok(false));
        check(r#""gpu.example.com" in device.attributes"#, Ok(true));
        check(r#""x" in device.attributes && device.attributes["x"].y == 1"#, Ok(false));
        check(r#"has(device.attributes["x"].y)"#, Ok(false));
        check(r#"has(device.attributes["gpu.example.com"].model)"#, Ok(true));
        check(r#"device.attributes["x"].y == 1"#, Err("no such key: y. consider"));
        check(r#"device.attributes["gpu.example.com"].model"#, Err("CEL result of type string"));
        check(
            r#"cel.bind(dra, device.attributes["gpu.example.com"], dra.model == "a100" && dra.cores == 7)"#,
            Ok(true),
        );
        check("device.attributes[", Err("compilation failed"));
        let deep = format!("{}true{}", "(".repeat(50), ")".repeat(50));
        check(&deep, Err("the expression is too complex"));
        let chain = vec!["true"; 300].join(" && ");
        check(&chain, Ok(true));
        let list = "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30]";
        let nested = format!(
            "{list}.all(a, {list}.all(b, {list}.all(c, {list}.all(d, {list}.all(e, a+b+c+d+e > 0)))))"
        );
        check(&nested, Err("operation cancelled: actual cost limit exceeded"));
    }
}
