use serde_json::json;

use super::*;

fn check(text: &str, expected: &str) {
    let shown = match document(text.as_bytes()) {
        Ok(Document { value, duplicates: None }) => value.to_string(),
        Ok(Document { value, duplicates: Some(text) }) => format!("{value} {text}"),
        Err(error) => error,
    };
    assert_eq!(shown, expected, "{text}");
}

#[test]
fn scalars_are_of_yaml_1_1() {
    for (text, expected) in [
        ("", "null"),
        ("# only", "null"),
        ("hello", r#""hello""#),
        ("yes", "true"),
        ("'yes'", r#""yes""#),
        ("Off", "false"),
        ("~", "null"),
        ("0644", "420"),
        ("0o17", "15"),
        ("0x1F", "31"),
        ("0b11", "3"),
        ("-0b11", "-3"),
        ("1_000", "1000"),
        ("+12", "12"),
        ("089", "89"),
        ("18446744073709551615", "18446744073709551615"),
        ("1e3", "1000"),
        (".5", "0.5"),
        ("-1.5e-3", "-0.0015"),
        ("190:20:30", r#""190:20:30""#),
        ("1.2.3", r#""1.2.3""#),
        ("2001-01-01", r#""2001-01-01""#),
        ("!!str 5", r#""5""#),
        ("!!int \"5\"", "5"),
        ("!!binary aGk=", r#""hi""#),
        ("!foo 5", r#""5""#),
        ("!!bool x", "yaml: cannot decode !!str `x` as a !!bool"),
        (".inf", "json: unsupported value: +Inf"),
        ("a: >\n    x\n    y\n", r#"{"a":"x y\n"}"#),
        ("a: |\n  x", r#"{"a":"x"}"#),
    ] {
        check(text, expected);
    }
}

// What kube-apiserver v1.37.2 said about each.
#[test]
fn refuses_as_upstream() {
    for (text, expected) in [
        ("metadata:\n\tname: a", "yaml: line 2: found character that cannot start any token"),
        ("metadata: [a", "yaml: line 1: did not find expected ',' or ']'"),
        ("metadata: {name: a", "yaml: line 1: did not find expected ',' or '}'"),
        ("metadata:\n  name: a\n data: b", "yaml: line 2: did not find expected key"),
        ("metadata: *z", "yaml: unknown anchor 'z' referenced"),
        ("a: &a [*a]", "yaml: anchor 'a' value contains itself"),
        ("? [a]\n: b", "yaml: invalid map key: []interface {}{\"a\"}"),
        ("{? {a: b} : c}", "yaml: invalid map key: map[interface {}]interface {}{\"a\":\"b\"}"),
        ("a: b: c", "yaml: mapping values are not allowed in this context"),
        ("a: \"\\q\"", "yaml: found unknown escape character"),
        ("\"abc", "yaml: found unexpected end of stream"),
        ("a: {<<: [a]}", "yaml: map merge requires map or sequence of maps as the value"),
        ("%YAML 1.2\n---\na: b", "yaml: found incompatible YAML document"),
        ("{~: n}", "unsupported map key of type: %!s(<nil>), key: <nil>, value: false"),
    ] {
        check(text, expected);
    }
    assert_eq!(document(b"\xff: a"), Err("yaml: invalid leading UTF-8 octet".to_owned()));
}

#[test]
fn maps_merge_and_repeat() {
    for (text, expected) in [
        ("{1: x, true: w, 1.5: z}", r#"{"1":"x","1.5":"z","true":"w"}"#),
        ("a: &x {b: c}\nd: *x", r#"{"a":{"b":"c"},"d":{"b":"c"}}"#),
        ("<<: {a: b}\nc: d", r#"{"a":"b","c":"d"}"#),
        ("<<: [{a: 1}, {a: 2, b: 2}]", r#"{"a":1,"b":2}"#),
        ("a: 1\n---\nb: 2", r#"{"a":1}"#),
        (
            "a: 1\nb:\n  c: 1\n  c: 2\na: 3",
            "{\"a\":3,\"b\":{\"c\":2}} yaml: unmarshal errors:\n  line 4: key \"c\" already set in map\n  line 5: key \"a\" \
             already set in map",
        ),
        (
            "{true: y, yes: b}",
            "{\"true\":\"b\"} yaml: unmarshal errors:\n  line 1: key true already set in map",
        ),
    ] {
        check(text, expected);
    }
}

#[test]
fn bounds_its_work() {
    check(&format!("a: {}", "[".repeat(20_000)), "yaml: exceeded max depth of 10000");
    check(&"- ".repeat(20_000), "yaml: exceeded max depth of 10000");
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(",");
        bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    check(&bomb, "yaml: document contains excessive aliasing");
    // Each anchor keeps a copy of all that is in it.
    let nested: String = (0..500).map(|at| format!("&a{at} [")).collect();
    let text = format!("{nested}{}{}", "x".repeat(100_000), "]".repeat(500));
    check(&text, "yaml: document contains excessive aliasing");
}

#[test]
fn writes_what_it_reads() {
    let check = |value: Value, expected: &str| {
        let text = write(&value);
        assert_eq!(text, expected);
        assert_eq!(read(text.as_bytes()), Ok(value.clone()), "{text}");
        assert_eq!(serde_yaml_ng::from_str::<Value>(&text).expect("another reader"), value, "{text}");
    };
    check(
        json!({"b": [1, {"c": "d", "e": {}}, [2, [3]], []], "a": null}),
        "a: null\nb:\n- 1\n- c: d\n  e: {}\n- - 2\n  - - 3\n- []\n",
    );
    check(
        json!({"a": "yes", "b": "0644", "c": "1:30", "d": "", "e": "2001-01-01"}),
        "a: \"yes\"\nb: \"0644\"\nc: \"1:30\"\nd: \"\"\ne: \"2001-01-01\"\n",
    );
    check(
        json!({"a": "it's: x", "b": "-x", "c": "a #b", "d": "a:b", "e": "@x", "f": "a'b"}),
        "a: 'it''s: x'\nb: '-x'\nc: 'a #b'\nd: a:b\ne: '@x'\nf: a'b\n",
    );
    check(
        json!({"s": {"t": "x\n\n  y\nz\n", "u": "x\ny"}}),
        "s:\n  t: |\n    x\n\n      y\n    z\n  u: |-\n    x\n    y\n",
    );
    check(
        json!(["x\ny\n", "x \n", "\n", "x\n\n", "\tx\ny"]),
        "- |\n  x\n  y\n- \"x \\n\"\n- \"\\n\"\n- \"x\\n\\n\"\n- \"\\tx\\ny\"\n",
    );
    check(
        json!({"a b": "é😀", "true": "\u{1}\u{7f}", "": 1}),
        "\"\": 1\na b: é😀\n\"true\": \"\\u0001\\x7f\"\n",
    );
    check(json!("x"), "x\n");
}
