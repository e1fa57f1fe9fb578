use coracle_api::field::FieldPath;
use serde_json::{Value, json};

use super::*;

fn of(schema: &Value) -> Schema {
    Schema::parse(schema)
}

fn texts(errors: Vec<FieldError>) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

// The errors of a field `a` with that schema and value.
fn check(field: Value, value: Value, expected: &[&str]) {
    let schema = of(&json!({ "type": "object", "properties": { "a": field } }));
    let said = texts(object(&schema, &json!({ "a": value }), None, &FieldPath::default()));
    assert_eq!(said, expected, "{field} {value}");
}

#[test]
fn types() {
    let text = || json!({ "type": "string" });
    check(text(), json!("x"), &[]);
    check(
        text(),
        json!(5),
        &["a: Invalid value: \"integer\": a in body must be of type string: \"integer\""],
    );
    check(text(), json!(null), &["a: Invalid value: \"null\": a in body must be of type string: \"null\""]);
    check(json!({ "type": "string", "nullable": true }), json!(null), &[]);
    check(json!({ "type": "integer" }), json!(1.0), &[]);
    check(json!({ "type": "number" }), json!(1), &[]);
    check(
        json!({ "type": "integer" }),
        json!(1.5),
        &[
            "a: Invalid value: \"number\": a in body must be of type integer: \"number\"",
            "<nil>: Invalid value: \"\": Checked value must be of type integer (default format) in a",
        ],
    );
    let either = || json!({ "x-kubernetes-int-or-string": true });
    check(either(), json!("5%"), &[]);
    check(either(), json!(5), &[]);
    check(
        either(),
        json!(true),
        &["a: Invalid value: \"boolean\": a in body must be of type integer,string: \"boolean\""],
    );
    check(json!({ "x-kubernetes-preserve-unknown-fields": true }), json!(null), &[]);
}

#[test]
fn bounds() {
    let texts = json!({ "type": "string", "minLength": 2, "maxLength": 3, "pattern": "^[a-z]+$" });
    check(texts.clone(), json!("ab"), &[]);
    check(texts.clone(), json!("a"), &["a: Invalid value: \"a\": a in body should be at least 2 chars long"]);
    check(texts.clone(), json!("abcd"), &["a: Too long: may not be more than 3 bytes"]);
    check(texts, json!("A1"), &["a: Invalid value: \"A1\": a in body should match '^[a-z]+$'"]);
    let numbers =
        json!({ "type": "integer", "minimum": 0, "maximum": 10, "exclusiveMaximum": true, "multipleOf": 3 });
    check(numbers.clone(), json!(9), &[]);
    check(numbers.clone(), json!(12), &["a: Invalid value: 12: a in body should be less than 10"]);
    check(
        numbers.clone(),
        json!(-3),
        &["a: Invalid value: -3: a in body should be greater than or equal to 0"],
    );
    check(numbers, json!(4), &["a: Invalid value: 4: a in body should be a multiple of 3"]);
    let small = json!({ "type": "integer", "format": "int32" });
    check(
        small,
        json!(3_000_000_000_i64),
        &["<nil>: Invalid value: \"\": Checked value must be of type integer with format int32 in a"],
    );
    let list = json!({ "type": "array", "minItems": 1, "maxItems": 2, "items": { "type": "string" } });
    check(list.clone(), json!([]), &["a: Invalid value: 0: a in body should have at least 1 items"]);
    check(list.clone(), json!(["a", "b", "c"]), &["a: Too many: 3: must have at most 2 items"]);
    check(
        list,
        json!([1]),
        &["a[0]: Invalid value: \"integer\": a[0] in body must be of type string: \"integer\""],
    );
    let map = json!({ "type": "object", "maxProperties": 1, "additionalProperties": { "type": "integer" } });
    check(map.clone(), json!({ "x": 1, "y": 2 }), &["a: Too many: 2: must have at most 1 item"]);
    check(
        map,
        json!({ "x": "1" }),
        &["a.x: Invalid value: \"string\": a.x in body must be of type integer: \"string\""],
    );
    let values = json!({ "type": "string", "enum": ["x", "y"] });
    check(values, json!("z"), &["a: Unsupported value: \"z\": supported values: \"x\", \"y\""]);
    check(json!({ "type": "object", "required": ["x"] }), json!({}), &["a.x: Required value"]);
}

#[test]
fn combined_schemas() {
    let any = json!({ "type": "string", "anyOf": [{ "pattern": "^x" }, { "pattern": "^y" }] });
    check(any.clone(), json!("yes"), &[]);
    check(
        any,
        json!("z"),
        &[
            "<nil>: Invalid value: \"\": \"a\" must validate at least one schema (anyOf)",
            "a: Invalid value: \"z\": a in body should match '^x'",
        ],
    );
    let one = json!({ "type": "object", "oneOf": [{ "required": ["x"] }, { "required": ["y"] }] });
    check(one.clone(), json!({ "x": 1 }), &[]);
    check(
        one,
        json!({ "x": 1, "y": 1 }),
        &[
            "<nil>: Invalid value: \"\": \"a\" must validate one and only one schema (oneOf). Found 2 valid alternatives",
        ],
    );
    check(
        json!({ "type": "string", "not": { "enum": ["x"] } }),
        json!("x"),
        &["<nil>: Invalid value: \"\": \"a\" must not validate the schema (not)"],
    );
}

#[test]
fn formats() {
    let check = |format: &str, good: &[&str], bad: &[&str]| {
        for text in good {
            assert!(matches_format(format, text), "{format} {text}");
        }
        for text in bad {
            assert!(!matches_format(format, text), "{format} {text}");
        }
    };
    check(
        "date-time",
        &["2020-01-02T03:04:05Z", "2020-01-02t03:04:05.9+01:00"],
        &["2020-01-02", "2020-01-02T24:00:00Z"],
    );
    check("date", &["2020-02-29"], &["2021-02-29", "2020-2-3"]);
    check("ipv4", &["10.0.0.1"], &["10.0.0", "::1"]);
    check("ipv6", &["::1"], &["10.0.0.1"]);
    check("cidr", &["10.0.0.0/8", "fd00::/8"], &["10.0.0.0", "10.0.0.0/33"]);
    check("mac", &["01:23:45:67:89:ab", "0123.4567.89ab"], &["01:23:45", "zz:23:45:67:89:ab"]);
    check(
        "uuid",
        &["123e4567-e89b-12d3-a456-426614174000", "123e4567e89b12d3a456426614174000"],
        &["x", "123e4567"],
    );
    check("uuid4", &["123e4567-e89b-42d3-a456-426614174000"], &["123e4567-e89b-12d3-a456-426614174000"]);
    check("byte", &["YWI="], &["?", "YWI", ""]);
    check("duration", &["1h30m", "3 days", "5s"], &["soon", "5"]);
    check("email", &["a@b.c", "A <a@b.c>"], &["a", "@b"]);
    check("hostname", &["example.com", "a-b.example.com"], &["-a", "a..b"]);
    check("uri", &["https://example.com/x", "/x"], &["x", "", "https://a b"]);
    check("isbn", &["0321751043", "978-0321751041"], &["0321751044"]);
    check("hexcolor", &["#FFFFFF", "abc"], &["#ab"]);
    check("rgbcolor", &["rgb(255, 0, 1)"], &["rgb(256,0,0)"]);
    check("creditcard", &["4111 1111 1111 1111"], &["4111111111111112"]);
    check("ssn", &["111-22-3333"], &["111223333"]);
    check("k8s-short-name", &["abc-1"], &["Abc", "a.b"]);
    check("k8s-long-name", &["abc.d"], &["A.b"]);
    check("unknown", &["whatever"], &[]);
}

#[test]
fn lists_hold_each_element_once() {
    let schema = of(&json!({ "type": "object", "properties": {
        "set": { "type": "array", "x-kubernetes-list-type": "set", "items": { "type": "string" } },
        "map": { "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k", "l"],
            "items": { "type": "object" } },
    } }));
    let check = |value: Value, expected: &[&str]| {
        let Value::Object(map) = value else { return };
        assert_eq!(texts(lists(&schema, &map, &FieldPath::default())), expected);
    };
    check(json!({ "set": ["a", "b"], "map": [{ "k": 1 }, { "k": 1, "l": 2 }] }), &[]);
    check(json!({ "set": ["a", "b", "a", "a"] }), &["set[2]: Duplicate value: \"a\""]);
    check(json!({ "map": [{ "k": 1, "v": 1 }, { "k": 1 }] }), &["map[1]: Duplicate value: {\"k\":1}"]);
    check(
        json!({ "map": [5] }),
        &["map[0]: Invalid value: 5: must be an object for an array of list-type map"],
    );
}

#[test]
fn embedded_resources_are_objects() {
    let schema = of(&json!({ "type": "object", "properties": {
        "pod": { "type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true },
    } }));
    let check = |pod: Value, expected: &[&str]| {
        assert_eq!(texts(embedded(&schema, &json!({ "pod": pod }), &FieldPath::default())), expected);
    };
    check(json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "a" } }), &[]);
    check(
        json!({ "kind": "" }),
        &["pod.apiVersion: Required value", "pod.kind: Invalid value: \"\": must not be empty"],
    );
    check(
        json!({ "apiVersion": "a/b/c", "kind": "Pod" }),
        &["pod.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c"],
    );
}

#[test]
fn what_does_not_change_is_let_be() {
    let schema = of(&json!({ "type": "object", "properties": {
        "a": { "type": "string", "maxLength": 1 },
        "b": { "type": "string", "maxLength": 1 },
        "list": { "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": { "type": "object", "properties": { "k": { "type": "string" }, "v": { "type": "string", "maxLength": 1 } } } },
    } }));
    let check = |old: Value, new: Value, expected: &[&str]| {
        assert_eq!(texts(object(&schema, &new, Some(&old), &FieldPath::default())), expected);
    };
    let long = "a: Too long: may not be more than 1 byte";
    check(json!({ "a": "xx" }), json!({ "a": "xx", "b": "y" }), &[]);
    check(json!({ "a": "xx" }), json!({ "a": "xy" }), &[long]);
    check(json!({ "b": "x" }), json!({ "a": "xx" }), &[long]);
    check(
        json!({ "list": [{ "k": "1", "v": "xx" }] }),
        json!({ "list": [{ "k": "2", "v": "y" }, { "k": "1", "v": "xx" }] }),
        &[],
    );
}
