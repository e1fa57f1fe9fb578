//! Patches by chance, made of a kind's schema and an object as it is stored.

use coracle_api::schema::{Field, Shape, Struct};
use serde_json::{Map, Value, json};

use super::generate::Generator;

/// Of a hundred fields that are there, so many are changed.
const SHARE: u32 = 22;
const DEEPEST: usize = 9;

/// A strategic merge patch, with the directives that its lists and structs know, and now and then one that none does.
pub fn strategic(
    generator: &mut Generator<'_>,
    of: &Struct,
    live: &Map<String, Value>,
    depth: usize,
) -> Value {
    let mut patch = Map::new();
    for field in of.fields.iter() {
        if depth == 0 && matches!(&*field.name, "apiVersion" | "kind") {
            continue;
        }
        if depth == 1
            && matches!(&*field.name, "name" | "namespace" | "uid" | "resourceVersion" | "managedFields")
        {
            continue;
        }
        let old = live.get(&*field.name);
        let on_the_way = old.is_some_and(|it| it.is_object() || it.is_array()) && depth < DEEPEST;
        let share = match (old, on_the_way) {
            (Some(_), true) => 2 * SHARE,
            (Some(_), false) => SHARE / 2,
            (None, _) => 1,
        };
        if generator.chance.percent(share) {
            change(generator, of, field, old, &mut patch, depth);
        }
    }
    if depth > 0 && generator.chance.percent(4) {
        let directive = [json!("replace"), json!("delete"), json!("merge"), json!("other"), json!(1)]
            [generator.chance.below(5)]
        .clone();
        patch.insert("$patch".into(), directive);
    }
    Value::Object(patch)
}

fn change(
    generator: &mut Generator<'_>,
    of: &Struct,
    field: &Field,
    old: Option<&Value>,
    patch: &mut Map<String, Value>,
    depth: usize,
) {
    let name = &*field.name;
    if generator.chance.percent(6) {
        patch.insert(name.to_owned(), Value::Null);
        return;
    }
    let value = match (&field.shape, old) {
        (Shape::Struct(inner), Some(Value::Object(live))) if depth < DEEPEST => {
            let mut inner = strategic(generator, inner, live, depth + 1);
            if field.patch.retain_keys
                && generator.chance.percent(60)
                && let Value::Object(fields) = &mut inner
            {
                let mut keys: Vec<Value> =
                    fields.keys().filter(|it| !it.starts_with('$')).cloned().map(Value::from).collect();
                // One that is not in the patch, or without one that is: mostly an error.
                if generator.chance.percent(20) {
                    keys.push("type".into());
                }
                if generator.chance.percent(10) {
                    keys.pop();
                }
                fields.insert("$retainKeys".into(), Value::Array(keys));
            }
            inner
        }
        (Shape::List(list), old) if field.patch.merge => {
            let live = old.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            match (&list.element, field.patch.key) {
                (element @ Shape::Struct(_), Some(key)) => {
                    merging(generator, of, field, (element, key), live, patch, depth);
                }
                _ => primitive(generator, of, field, live, patch, depth),
            }
            return;
        }
        (Shape::Map(map), Some(Value::Object(live))) => {
            let mut entries = Map::new();
            for key in live.keys() {
                if generator.chance.percent(40) {
                    let value = if generator.chance.percent(40) {
                        Value::Null
                    } else {
                        generator.value(of, name, &map.value, depth + 1)
                    };
                    entries.insert(key.clone(), value);
                }
            }
            if generator.chance.percent(50) {
                entries.insert("new".into(), generator.value(of, name, &map.value, depth + 1));
            }
            if generator.chance.percent(10) {
                entries.insert("$patch".into(), "replace".into());
            }
            Value::Object(entries)
        }
        (shape, _) => generator.value(of, name, shape, depth),
    };
    patch.insert(name.to_owned(), value);
}

// A list of structs that merge by `key`.
fn merging(
    generator: &mut Generator<'_>,
    of: &Struct,
    field: &Field,
    (element, key): (&Shape, &str),
    live: &[Value],
    patch: &mut Map<String, Value>,
    depth: usize,
) {
    let (mut items, mut order) = (Vec::new(), Vec::new());
    for item in live {
        let (Some(name), Some(fields), Shape::Struct(inner)) = (item.get(key), item.as_object(), element)
        else {
            continue;
        };
        order.push(json!({ key: name }));
        let item = match generator.chance.below(10) {
            0..3 => json!({ key: name, "$patch": "delete" }),
            3..7 => {
                let mut item = strategic(generator, inner, fields, depth + 1);
                item[key] = name.clone();
                item
            }
            7 => json!({ key: name, "$patch": "replace", "zz": 1 }),
            _ => continue,
        };
        items.push(item);
    }
    if generator.chance.percent(35)
        && let Value::Object(mut item) = generator.value(of, &field.name, element, depth + 1)
    {
        if !item.contains_key(key) && generator.chance.percent(90) {
            item.insert(key.to_owned(), "new".into());
        }
        order.extend(item.get(key).map(|name| json!({ key: name })));
        items.push(Value::Object(item));
    }
    match generator.chance.below(20) {
        0 => items.push(json!({ "$patch": "replace" })),
        1 => items.push(json!({ "$patch": "delete" })),
        2 => items.push(json!({ "no": "key" })),
        3 => items.push(json!({ key: "gone", "$patch": "delete" })),
        _ => {}
    }
    generator.chance.shuffle(&mut items);
    ordered(generator, field, order, patch);
    patch.insert(field.name.to_string(), Value::Array(items));
}

// A list of scalars that merge.
fn primitive(
    generator: &mut Generator<'_>,
    of: &Struct,
    field: &Field,
    live: &[Value],
    patch: &mut Map<String, Value>,
    depth: usize,
) {
    let mut order = live.to_vec();
    if generator.chance.percent(60)
        && let Value::Array(new) = generator.value(of, &field.name, &field.shape, depth)
    {
        order.extend(new.iter().cloned());
        patch.insert(field.name.to_string(), Value::Array(new));
    }
    if generator.chance.percent(50) {
        let mut gone: Vec<Value> = live.to_vec();
        generator.chance.shuffle(&mut gone);
        gone.truncate(1);
        if generator.chance.percent(30) {
            gone.push("nowhere".into());
        }
        patch.insert(format!("$deleteFromPrimitiveList/{}", field.name), Value::Array(gone));
    }
    ordered(generator, field, order, patch);
}

fn ordered(
    generator: &mut Generator<'_>,
    field: &Field,
    mut order: Vec<Value>,
    patch: &mut Map<String, Value>,
) {
    if !generator.chance.percent(45) {
        return;
    }
    generator.chance.shuffle(&mut order);
    if generator.chance.percent(15) {
        order.pop();
    }
    patch.insert(format!("$setElementOrder/{}", field.name), Value::Array(order));
}

/// A merge patch.
pub fn merge(generator: &mut Generator<'_>, of: &Struct, live: &Map<String, Value>, depth: usize) -> Value {
    let mut patch = Map::new();
    for field in of.fields.iter() {
        if matches!(
            (depth, &*field.name),
            (0, "apiVersion" | "kind") | (1, "name" | "namespace" | "managedFields")
        ) {
            continue;
        }
        let old = live.get(&*field.name);
        let on_the_way = matches!((&field.shape, old), (Shape::Struct(_), Some(Value::Object(_))));
        if !generator.chance.percent(if on_the_way {
            2 * SHARE
        } else if old.is_some() {
            SHARE / 2
        } else {
            1
        }) {
            continue;
        }
        let value = match (&field.shape, old) {
            _ if generator.chance.percent(15) => Value::Null,
            (Shape::Struct(inner), Some(Value::Object(live))) => merge(generator, inner, live, depth + 1),
            (shape, _) => generator.value(of, &field.name, shape, depth),
        };
        patch.insert(field.name.to_string(), value);
    }
    Value::Object(patch)
}

/// A JSON patch. Some of its operations point to nothing.
pub fn json(generator: &mut Generator<'_>, live: &Value) -> Value {
    let mut pointers = Vec::new();
    collect(live, String::new(), &mut pointers);
    // What is each server's own would show in what a refusal quotes.
    pointers.retain(|(pointer, value)| {
        let given = [
            "/metadata/labels",
            "/metadata/annotations",
            "/metadata/finalizers",
            "/metadata/ownerReferences",
        ];
        let of_metadata = pointer.starts_with("/metadata") && !given.iter().any(|it| pointer.starts_with(it));
        // A request for a certificate tells of the one that it came with.
        let of_user = value.to_string().contains("X509SHA256=");
        !of_metadata && !of_user && !matches!(pointer.as_str(), "/apiVersion" | "/kind")
    });
    let count = 1 + generator.chance.below(4);
    (0..count).map(|_| operation(generator, &pointers)).collect()
}

fn operation(generator: &mut Generator<'_>, pointers: &[(String, Value)]) -> Value {
    let Some((pointer, value)) = generator.chance.one(pointers).cloned() else { return json!({}) };
    let other = generator.chance.one(pointers).cloned().unwrap_or_default();
    let beside = match generator.chance.below(8) {
        0 => format!("{pointer}/-"),
        1 => format!("{pointer}/0"),
        2 => format!("{pointer}x"),
        3 => format!("{pointer}/no/where"),
        4 => format!("{pointer}/-1"),
        _ => pointer.clone(),
    };
    let new = match generator.chance.below(6) {
        0 => json!("x"),
        1 => json!(1),
        2 => json!({ "a": "b" }),
        3 => Value::Null,
        4 => other.1,
        _ => value.clone(),
    };
    match generator.chance.below(12) {
        0..3 => json!({ "op": "add", "path": beside, "value": new }),
        3..6 => json!({ "op": "remove", "path": beside }),
        6..8 => json!({ "op": "replace", "path": beside, "value": new }),
        8 => json!({ "op": "move", "from": pointer, "path": other.0 }),
        9 => json!({ "op": "copy", "from": pointer, "path": other.0 }),
        10 => json!({ "op": "test", "path": beside, "value": new }),
        _ => json!({ "op": "test", "path": pointer, "value": value }),
    }
}

fn collect(at: &Value, pointer: String, into: &mut Vec<(String, Value)>) {
    let escaped = |key: &str| key.replace('~', "~0").replace('/', "~1");
    match at {
        Value::Object(fields) => {
            fields
                .iter()
                .for_each(|(key, value)| collect(value, format!("{pointer}/{}", escaped(key)), into));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, value)| collect(value, format!("{pointer}/{at}"), into));
        }
        _ => {}
    }
    if !pointer.is_empty() {
        into.push((pointer, at.clone()));
    }
}
