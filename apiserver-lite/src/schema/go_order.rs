//! Objects as Go's JSON has them: the fields of structs in the order of the Go
//! type, not of the alphabet.

use coracle_api::schema::{Shape, Struct};
use serde_json::{Map, Value};

/// The JSON of a patched object, as upstream's libraries for patches leave it:
/// what a patch goes through is parsed, and so is in the order of the alphabet,
/// all else stays as Go wrote it. `touched` has an object where the patch has.
pub fn patched(value: &Value, schema: &Struct, touched: &Value) -> String {
    let mut out = String::new();
    write_struct(value, schema, Some(touched), &mut out);
    out
}

/// A list of structs of `schema` as Go writes it.
pub fn list(items: &[Value], schema: &Struct) -> String {
    let mut out = String::from("[");
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_struct(item, schema, None, &mut out);
    }
    out.push(']');
    out
}

fn write_struct(value: &Value, schema: &Struct, touched: Option<&Value>, out: &mut String) {
    let Value::Object(map) = value else { return out.push_str(&scalar(value)) };
    match touched {
        Some(touched) => {
            let members = map.iter().map(|(name, value)| {
                let shape = schema.field(name).map(|field| &field.shape);
                (name, value, shape, touched.get(name))
            });
            write_map(members, out);
        }
        None => {
            let known = schema.fields.iter().filter_map(|field| {
                let (name, value) = map.get_key_value(field.name.as_ref())?;
                Some((name, value, Some(&field.shape), None))
            });
            let unknown = map.iter().filter(|(name, _)| schema.field(name).is_none());
            write_map(known.chain(unknown.map(|(name, value)| (name, value, None, None))), out);
        }
    }
}

type Member<'a> = (&'a String, &'a Value, Option<&'a Shape>, Option<&'a Value>);

fn write_map<'a>(members: impl Iterator<Item = Member<'a>>, out: &mut String) {
    out.push('{');
    for (index, (name, value, shape, touched)) in members.enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push_str(&scalar(&Value::String(name.clone())));
        out.push(':');
        write(value, shape, touched, out);
    }
    out.push('}');
}

fn write(value: &Value, shape: Option<&Shape>, touched: Option<&Value>, out: &mut String) {
    // What the patch brought has the order that the client gave it.
    let brought = touched.is_some_and(|it| !it.is_object());
    match (value, shape) {
        (_, None) => out.push_str(&scalar(value)),
        _ if brought => out.push_str(&scalar(value)),
        (_, Some(Shape::Struct(schema))) => write_struct(value, schema, touched, out),
        (Value::Array(items), Some(Shape::List(list))) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                let touched = touched.and_then(|it| it.get(index.to_string()));
                write(item, Some(&list.element), touched, out);
            }
            out.push(']');
        }
        (Value::Object(map), Some(Shape::Map(of))) => {
            let member = |(name, value)| (name, value, Some(&of.value), touched.and_then(|it| it.get(name)));
            write_map(map.iter().map(member), out);
        }
        _ => out.push_str(&scalar(value)),
    }
}

// Go escapes what HTML treats specially.
fn scalar(value: &Value) -> String {
    value.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// What a JSON patch goes through: an object a level, and the values it sets.
pub fn ways(operations: &Value) -> Value {
    let mut ways = Value::Object(Map::new());
    for operation in operations.as_array().into_iter().flatten() {
        let paths = ["path", "from"].into_iter().filter_map(|name| operation.get(name)?.as_str());
        for path in paths {
            let mut at = &mut ways;
            let mut steps =
                path.split('/').skip(1).map(|it| it.replace("~1", "/").replace("~0", "~")).peekable();
            while let Some(step) = steps.next() {
                let Value::Object(map) = at else { break };
                let last = steps.peek().is_none();
                let slot = map.entry(step).or_insert(Value::Null);
                if !last && slot.is_null() {
                    *slot = Value::Object(Map::new());
                }
                at = slot;
            }
        }
    }
    ways
}

#[cfg(test)]
mod tests {
    use coracle_api::facts;
    use serde_json::json;

    use super::*;

    fn check(touched: &Value, expected: &str) {
        let schema = &facts::RESOURCES.iter().find(|it| it.plural == "deployments").expect("a kind").schema;
        let value = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "a<b", "labels": { "y": "1", "x": "2" } },
            "spec": { "replicas": 1, "odd": 1, "template": { "spec": { "containers": [{ "image": "i", "name": "c" }] } } },
        });
        assert_eq!(patched(&value, schema, touched), expected);
    }

    #[test]
    fn structs_have_gos_order_where_no_patch_went() {
        check(
            &json!({ "spec": { "replicas": 1 } }),
            r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a\u003cb","labels":{"x":"2","y":"1"}},"spec":{"odd":1,"replicas":1,"template":{"spec":{"containers":[{"name":"c","image":"i"}]}}}}"#,
        );
        check(
            &ways(
                &json!([{ "op": "add", "path": "/metadata/labels/z" }, { "op": "test", "path": "/spec/template/spec/containers/0/image" }]),
            ),
            r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"labels":{"x":"2","y":"1"},"name":"a\u003cb"},"spec":{"odd":1,"replicas":1,"template":{"spec":{"containers":[{"image":"i","name":"c"}]}}}}"#,
        );
    }

    #[test]
    fn ways_of_patches() {
        let check = |operations: Value, expected: Value| assert_eq!(ways(&operations), expected);
        check(json!([{ "path": "/a/b~1c" }, { "path": "/a" }]), json!({ "a": { "b/c": null } }));
        check(json!([{ "path": "/a", "from": "/b/0" }, 1]), json!({ "a": null, "b": { "0": null } }));
        check(json!({}), json!({}));
    }
}
