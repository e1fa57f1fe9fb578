//! Objects of any kind by chance, made of the kind's schema and a valid object.
//!
//! A valid object is varied: fields go, come, and change. So most of what is made is nearly valid, and what
//! validation finds in the rest is little enough to be taken away again ([`mended`]).

use coracle_api::schema::{Field, Ref, Shape, Struct};
use serde_json::{Map, Value, json};

use super::chance::Chance;
use super::kinds::Kind;
use super::words;

/// No object has more new values.
const MOST: usize = 160;
const DEEPEST: usize = 12;

/// What a server sets itself, or what another test is about.
const NOT_GIVEN: [&str; 9] = [
    "name",
    "namespace",
    "generateName",
    "managedFields",
    "resourceVersion",
    "uid",
    "selfLink",
    "deletionTimestamp",
    "creationTimestamp",
];

/// An object of `kind`, named `name`.
pub fn object(chance: &mut Chance, kind: &Kind, name: &str) -> Value {
    let mut generator = Generator::new(chance);
    let base = kind.base.as_object();
    let mut object = generator.fields(&kind.schema, base, 0);
    object.insert("apiVersion".into(), kind.version.clone().into());
    object.insert("kind".into(), kind.kind.clone().into());
    let mut metadata = match kind.schema.field("metadata").map(|field| &field.shape) {
        Some(Shape::Struct(of)) => generator.fields(of, kind.base["metadata"].as_object(), 1),
        _ => Map::new(),
    };
    metadata.retain(|field, _| !NOT_GIVEN.contains(&field.as_str()));
    metadata.insert("name".into(), name.into());
    object.insert("metadata".into(), Value::Object(metadata));
    Value::Object(object)
}

/// Makes values of shapes.
pub struct Generator<'c> {
    pub chance: &'c mut Chance,
    left: usize,
    /// Of a hundred optional fields, so many come.
    share: u32,
    /// Of a hundred values, so many cannot be decoded.
    mistyped: u32,
}

impl<'c> Generator<'c> {
    pub fn new(chance: &'c mut Chance) -> Self {
        let share = [2, 5, 12, 30][chance.below(4)];
        let mistyped = if chance.percent(5) { 2 } else { 0 };
        Self { chance, left: MOST, share, mistyped }
    }

    /// The fields of `of`, some of them as `base` has them.
    pub fn fields(
        &mut self,
        of: &Struct,
        base: Option<&Map<String, Value>>,
        depth: usize,
    ) -> Map<String, Value> {
        let mut fields = Map::new();
        for field in of.fields.iter() {
            if depth == 0 && matches!(&*field.name, "apiVersion" | "kind" | "metadata") {
                continue;
            }
            let old = base.and_then(|base| base.get(&*field.name));
            let value = match old {
                Some(old) if self.chance.percent(85) => Some(self.varied(of, field, old, depth)),
                Some(_) if self.chance.percent(40) => None,
                _ if depth > DEEPEST || self.left == 0 || !self.chance.percent(self.share) => None,
                _ => Some(self.value(of, &field.name, &field.shape, depth)),
            };
            fields.extend(value.map(|value| (field.name.to_string(), value)));
        }
        fields
    }

    fn varied(&mut self, of: &Struct, field: &Field, old: &Value, depth: usize) -> Value {
        match (&field.shape, old) {
            (Shape::Struct(inner), Value::Object(fields)) => {
                Value::Object(self.fields(inner, Some(fields), depth + 1))
            }
            (Shape::List(list), Value::Array(items)) => {
                let mut new = Vec::new();
                for item in items {
                    match (&list.element, item) {
                        (Shape::Struct(inner), Value::Object(fields)) => {
                            new.push(Value::Object(self.fields(inner, Some(fields), depth + 1)));
                        }
                        _ => new.push(item.clone()),
                    }
                }
                if self.left > 0 && self.chance.percent(self.share) {
                    new.push(self.value(of, &field.name, &list.element, depth + 1));
                }
                Value::Array(new)
            }
            _ if self.left > 0 && self.chance.percent(15) => self.value(of, &field.name, &field.shape, depth),
            _ => old.clone(),
        }
    }

    /// A value for the field `name` of `of`, of that shape.
    pub fn value(&mut self, of: &Struct, name: &str, shape: &Shape, depth: usize) -> Value {
        self.left = self.left.saturating_sub(1);
        if self.chance.percent(self.mistyped) {
            return [json!("x"), json!(7), json!([1]), json!({ "a": 1 }), Value::Null, json!(1.5)]
                [self.chance.below(6)]
            .clone();
        }
        match shape {
            Shape::String => self.chance.text(words::texts(of.go_name(), name)).into(),
            Shape::Bool => self.chance.percent(50).into(),
            Shape::Int32 | Shape::Int64 => self.number(name),
            Shape::Float64 => [json!(0.5), json!(1), json!(-0.25), json!(1e10)][self.chance.below(4)].clone(),
            Shape::Bytes => self.chance.text(words::BYTES).into(),
            Shape::Time => self.chance.text(words::TIMES).into(),
            Shape::MicroTime => self.chance.text(words::MICRO_TIMES).into(),
            Shape::Duration => self.chance.text(words::DURATIONS).into(),
            Shape::Quantity => self.chance.text(words::QUANTITIES).into(),
            Shape::IntOrString => [json!(1), json!("50%"), json!("http"), json!(80), json!(0), json!("3")]
                [self.chance.below(6)]
            .clone(),
            Shape::FieldsV1 => json!({}),
            Shape::Any => {
                [json!({}), json!({ "a": 1, "b": [1, 2.5, "x", null, { "c": true }] }), json!({ "z": "" })]
                    [self.chance.below(3)]
                .clone()
            }
            Shape::Struct(inner) => {
                if depth > DEEPEST {
                    return json!({});
                }
                Value::Object(self.required(inner, depth + 1))
            }
            Shape::List(list) => {
                let count = if depth > DEEPEST { 0 } else { self.chance.below(4) };
                (0..count).map(|_| self.value(of, name, &list.element, depth + 1)).collect()
            }
            Shape::Map(map) => {
                let keys = if matches!(map.value, Shape::Quantity) { words::RESOURCES } else { words::KEYS };
                let count = if depth > DEEPEST { 0 } else { self.chance.below(4) };
                let entries: Map<String, Value> = (0..count)
                    .map(|_| (self.chance.text(keys).to_owned(), self.value(of, name, &map.value, depth + 1)))
                    .collect();
                Value::Object(entries)
            }
        }
    }

    // What must be there is, mostly, and some of the rest.
    fn required(&mut self, of: &Ref<Struct>, depth: usize) -> Map<String, Value> {
        let mut fields = self.fields(of, None, depth);
        for field in of.fields.iter().filter(|field| field.required) {
            if !fields.contains_key(&*field.name) && self.chance.percent(95) {
                fields.insert(field.name.to_string(), self.value(of, &field.name, &field.shape, depth));
            }
        }
        // A choice of one: of a union nothing is required.
        let optional = of.fields.iter().all(|field| !field.required);
        if optional && fields.is_empty() && self.left > 0 {
            let at = self.chance.below(of.fields.len());
            if let Some(field) = of.fields.get(at).filter(|_| depth <= DEEPEST) {
                fields.insert(field.name.to_string(), self.value(of, &field.name, &field.shape, depth));
            }
        }
        fields
    }

    fn number(&mut self, name: &str) -> Value {
        let numbers: &[i64] = if name.ends_with("ort") || name.ends_with("orts") {
            &[80, 443, 8080, 30080, 1, 65535]
        } else {
            &[1, 2, 5, 30, 100, 0, 1000, 3600, -1, i32::MAX as i64]
        };
        self.chance.one(numbers).copied().unwrap_or_default().into()
    }
}

/// Takes from `object` what `answer`, a Status, complains of, or puts back what `base` has there.
///
/// False where nothing could be done about it.
pub fn mended(object: &mut Value, base: &Value, answer: &Value) -> bool {
    let causes = answer.pointer("/details/causes").and_then(Value::as_array);
    let mut changed = false;
    for cause in causes.into_iter().flatten() {
        let path = steps(cause["field"].as_str().unwrap_or_default());
        if path.first().is_none_or(|first| first == "metadata" && path.len() == 1) {
            continue;
        }
        let lacks = cause["reason"] == "FieldValueRequired";
        changed |= mend(object, base, &path, lacks);
    }
    changed
}

// The longest part of the path that is there goes; of what lacks something, what it lacks it in.
fn mend(object: &mut Value, base: &Value, path: &[String], lacks: bool) -> bool {
    for length in (1..=path.len()).rev() {
        let (Some(path), Some((last, parents))) =
            (path.get(..length), path.get(..length).and_then(<[_]>::split_last))
        else {
            continue;
        };
        let valid = path.iter().try_fold(base, within).cloned();
        let Some(parent) = parents.iter().try_fold(&mut *object, |at, step| match at {
            Value::Object(fields) => fields.get_mut(step),
            Value::Array(items) => items.get_mut(step.parse::<usize>().ok()?),
            _ => None,
        }) else {
            continue;
        };
        match (parent, valid) {
            (Value::Object(fields), Some(valid)) if fields.get(last) != Some(&valid) => {
                fields.insert(last.clone(), valid);
                return true;
            }
            (Value::Object(fields), None)
                if fields.contains_key(last) && !(lacks && length == path.len()) =>
            {
                fields.remove(last);
                return true;
            }
            (Value::Array(items), valid) => {
                let Some(at) = last.parse::<usize>().ok().filter(|at| *at < items.len()) else { continue };
                match valid {
                    Some(valid) if items[at] != valid => items[at] = valid,
                    Some(_) => continue,
                    None => drop(items.remove(at)),
                }
                return true;
            }
            _ => {}
        }
    }
    false
}

fn within<'v>(at: &'v Value, step: &String) -> Option<&'v Value> {
    match at {
        Value::Object(fields) => fields.get(step),
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        _ => None,
    }
}

/// The steps of a field path: `spec.ports[0].limits[example.com/a]`.
fn steps(path: &str) -> Vec<String> {
    let (mut steps, mut step, mut depth) = (Vec::new(), String::new(), 0);
    for letter in path.chars() {
        match letter {
            '[' if depth == 0 => {
                depth = 1;
                steps.extend((!step.is_empty()).then(|| std::mem::take(&mut step)));
            }
            ']' if depth == 1 => {
                depth = 0;
                steps.push(std::mem::take(&mut step));
            }
            '.' if depth == 0 => steps.extend((!step.is_empty()).then(|| std::mem::take(&mut step))),
            letter => step.push(letter),
        }
    }
    steps.extend((!step.is_empty()).then_some(step));
    steps
}

#[test]
fn what_is_complained_of_goes() {
    let check = |field: &str, reason: &str, expected: Value| {
        let mut object = json!({ "spec": { "a": [{ "b": 1 }, { "b": 2 }], "c": 1, "d": { "e/f.g": 1 } } });
        let base = json!({ "spec": { "c": 2, "a": [{ "b": 1 }] } });
        let status = json!({ "details": { "causes": [{ "field": field, "reason": reason }] } });
        mended(&mut object, &base, &status);
        assert_eq!(object, expected, "{field}");
    };
    let spec = |a: Value, c: i32, d: Value| json!({ "spec": { "a": a, "c": c, "d": d } });
    let (a, d) = (json!([{ "b": 1 }, { "b": 2 }]), json!({ "e/f.g": 1 }));
    check("spec.c", "FieldValueInvalid", spec(a.clone(), 2, d.clone()));
    check("spec.d[e/f.g]", "FieldValueInvalid", spec(a.clone(), 1, json!({})));
    check("spec.a[1].x", "FieldValueRequired", spec(json!([{ "b": 1 }]), 1, d.clone()));
    check("spec.a[1].b", "FieldValueInvalid", spec(json!([{ "b": 1 }, {}]), 1, d));
}
