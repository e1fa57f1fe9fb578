use serde_json::json;

use super::*;

fn short(text: &str) -> Vec<String> {
    if text.len() < 4 { Vec::new() } else { vec!["must be short".to_owned()] }
}

static PORT: &[Check] = &[
    Check::Field("name", &[Rule::Format(short)]),
    Check::Field("port", &[Rule::Required(""), Rule::Within(1, 9)]),
    Check::Field("protocol", &[Rule::OneOf(&["TCP", "UDP"])]),
];

static SPEC: &[Check] = &[
    Check::Field("name", &[Rule::Required("say who"), Rule::Format(short), Rule::MaxBytes(5)]),
    Check::Field("class", &[Rule::Immutable]),
    Check::Field("size", &[Rule::NotNegative, Rule::AtMost(3, "must be at most 3")]),
    Check::Field("ports", &[Rule::MaxItems(3), Rule::UniqueBy("name")]),
    Check::Each("ports", PORT),
    Check::Items("args", &[Rule::Required(""), Rule::Format(short)]),
    Check::Field("args", &[Rule::Unique]),
    Check::When(|spec| spec.flag("locked"), &[Check::Field("key", &[Rule::Required("")])]),
    Check::Within("limits", &[Check::Field("cpu", &[Rule::Positive])]),
    Check::With(|spec, errors| {
        if spec.flag("odd") {
            errors.push(FieldError::forbidden(&spec.path_of("odd"), "may not be odd"));
        }
    }),
];

fn check_spec(new: Value, old: Option<Value>, expected: &[&str]) {
    let object = |spec| Object::from_value(json!({"spec": spec})).unwrap();
    let (new, old) = (object(new), old.map(object));
    let errors = validate(&[Check::Within("spec", SPEC)], &new, old.as_ref());
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(texts, expected);
}

#[test]
fn rules_run_in_order() {
    check_spec(json!({"name": "a"}), None, &[]);
    check_spec(json!({}), None, &["spec.name: Required value: say who"]);
    check_spec(json!({"name": ""}), None, &["spec.name: Required value: say who"]);
    check_spec(
        json!({"name": "abcdef", "size": 4, "limits": {"cpu": 0}}),
        None,
        &[
            "spec.name: Invalid value: \"abcdef\": must be short",
            "spec.name: Too long: may not be more than 5 bytes",
            "spec.size: Invalid value: 4: must be at most 3",
            "spec.limits.cpu: Invalid value: 0: must be greater than zero",
        ],
    );
}

#[test]
fn lists_name_their_items() {
    check_spec(
        json!({"name": "a", "args": ["x", "", "x"], "ports": [{"name": "a", "port": 1}, {"name": "a"}, {"port": 10, "protocol": "X"}, {"port": 2}]}),
        None,
        &[
            "spec.ports: Too many: 4: must have at most 3 items",
            "spec.ports[1].name: Duplicate value: \"a\"",
            "spec.ports[1].port: Required value",
            "spec.ports[2].port: Invalid value: 10: must be between 1 and 9, inclusive",
            "spec.ports[2].protocol: Unsupported value: \"X\": supported values: \"TCP\", \"UDP\"",
            "spec.args[1]: Required value",
            "spec.args[2]: Duplicate value: \"x\"",
        ],
    );
}

#[test]
fn conditions_functions_and_immutable_fields() {
    check_spec(
        json!({"name": "a", "locked": true, "odd": true}),
        None,
        &["spec.key: Required value", "spec.odd: Forbidden: may not be odd"],
    );
    let old = json!({"name": "a", "class": "x"});
    check_spec(old.clone(), Some(old.clone()), &[]);
    check_spec(
        json!({"name": "a", "class": "y"}),
        Some(old),
        &["spec.class: Invalid value: \"y\": field is immutable"],
    );
}
