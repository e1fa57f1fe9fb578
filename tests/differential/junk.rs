//! Objects of any kind with every field set, made of its schema: what validation, defaults and decoding say of them.

use apiserver_lite::codec::protobuf::known;
use coracle_api::schema::{Ref, Shape, Struct};
use serde_json::{Map, Value, json};

/// What the fields of an object are set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Filling {
    /// What is hardly ever valid.
    Wrong,
    /// What each type has when nobody sets it; lists and maps have one element.
    Zero,
    /// What often is valid.
    Plausible,
    /// Values that the types cannot hold.
    Mistyped,
}

/// The object that `wanted` describes: `VERSION KIND FILLING`, with every field but its metadata.
///
/// # Errors
/// When there is no such kind or filling.
pub fn object(wanted: &str) -> Result<Value, String> {
    let mut words = wanted.split(' ');
    let (Some(version), Some(kind), Some(filling), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(format!("junk: not VERSION KIND FILLING: {wanted}"));
    };
    let filling = match filling {
        "wrong" => Filling::Wrong,
        "zero" => Filling::Zero,
        "plausible" => Filling::Plausible,
        "mistyped" => Filling::Mistyped,
        other => return Err(format!("junk: no filling {other}")),
    };
    let schema = known(version, kind).ok_or_else(|| format!("junk: no kind {version} {kind}"))?;
    let mut object = fields(&schema, filling, &mut Vec::new());
    object.insert("apiVersion".into(), version.into());
    object.insert("kind".into(), kind.into());
    object.remove("metadata");
    Ok(Value::Object(object))
}

// `within`: the structs on the way here. One that holds itself is not entered again.
fn fields(of: &Ref<Struct>, filling: Filling, within: &mut Vec<String>) -> Map<String, Value> {
    within.push(of.name.to_string());
    let fields = of.fields.iter().filter_map(|field| {
        let value = if filling == Filling::Mistyped {
            mistyped(&field.shape)
        } else {
            value(&field.shape, filling, within)?
        };
        Some((field.name.to_string(), value))
    });
    let fields = fields.collect();
    within.pop();
    fields
}

fn value(shape: &Shape, filling: Filling, within: &mut Vec<String>) -> Option<Value> {
    let choose = |wrong: Value, zero: Value, plausible: Value| match filling {
        Filling::Wrong => wrong,
        Filling::Zero => zero,
        Filling::Plausible | Filling::Mistyped => plausible,
    };
    Some(match shape {
        Shape::String => choose("Not/Valid !".into(), "".into(), "a".into()),
        Shape::Bool => choose(true.into(), false.into(), true.into()),
        Shape::Int32 | Shape::Int64 => choose((-1).into(), 0.into(), 1.into()),
        Shape::Float64 => choose(json!(-0.5), json!(0.0), json!(0.5)),
        Shape::Bytes => choose("AA==".into(), "".into(), "YQ==".into()),
        Shape::Time => choose(Value::Null, Value::Null, "2020-01-02T03:04:05Z".into()),
        Shape::MicroTime => choose(Value::Null, Value::Null, "2020-01-02T03:04:05.000006Z".into()),
        Shape::Duration => choose("-1s".into(), "0s".into(), "1m0s".into()),
        Shape::Quantity => choose("-1".into(), "0".into(), "1".into()),
        Shape::IntOrString => choose("x y".into(), 0.into(), 1.into()),
        Shape::FieldsV1 => json!({}),
        Shape::Any => choose(json!({}), json!({}), json!({ "a": 1 })),
        Shape::Struct(of) if within.iter().any(|name| *name == of.name) => return None,
        Shape::Struct(of) => Value::Object(fields(of, filling, within)),
        Shape::List(list) => Value::Array(vec![value(&list.element, filling, within)?]),
        Shape::Map(map) => {
            let key = match filling {
                Filling::Wrong => "Not/A Key !",
                Filling::Zero => "",
                Filling::Plausible | Filling::Mistyped => "a",
            };
            json!({ key: value(&map.value, filling, within)? })
        }
    })
}

fn mistyped(shape: &Shape) -> Value {
    match shape {
        Shape::Struct(_) | Shape::Map(_) => json!(["a"]),
        Shape::List(_) => json!({ "a": 1 }),
        Shape::String | Shape::Bytes | Shape::Time | Shape::MicroTime | Shape::Duration => json!(7),
        _ => json!("x"),
    }
}

#[test]
fn every_field_once() {
    let check = |wanted: &str, pointer: &str, expected: Value| {
        let object = object(wanted).unwrap();
        assert_eq!(object.pointer(pointer), Some(&expected), "{wanted} {pointer} in {object}");
    };
    check("apps/v1 Deployment wrong", "/spec/replicas", json!(-1));
    check("apps/v1 Deployment zero", "/spec/template/spec/containers/0/image", json!(""));
    check("v1 Pod plausible", "/spec/volumes/0/emptyDir/sizeLimit", json!("1"));
    check("v1 Pod mistyped", "/spec", json!(["a"]));
    assert!(object("v1 Nothing wrong").is_err());
}
