use coracle_api::facts::RESOURCES;
use serde_json::Value;

use super::*;

fn schema(kind: &str) -> &'static Struct {
    let resource = RESOURCES.iter().find(|it| it.gvk.kind == kind).expect("a built-in kind");
    match &resource.schema {
        coracle_api::schema::Ref::Static(it) => it,
        coracle_api::schema::Ref::Shared(_) => unreachable!("built-in kinds are static"),
    }
}

fn parse(yaml: &str) -> Value {
    serde_yaml_ng::from_str(yaml).expect("test YAML")
}

#[track_caller]
fn check(kind: &str, target: &str, patch: &str, expected: &str) {
    let patch = parse(patch).to_string();
    assert_eq!(apply(parse(target), patch.as_bytes(), schema(kind)), Ok(parse(expected)), "{target} {patch}");
}

#[track_caller]
fn refused(kind: &str, target: &str, patch: &str, expected: PatchError) {
    let patch = parse(patch).to_string();
    assert_eq!(apply(parse(target), patch.as_bytes(), schema(kind)), Err(expected), "{target} {patch}");
}

#[test]
fn maps_merge() {
    check("ConfigMap", "{data: {a: b}}", "{data: {c: d}}", "{data: {a: b, c: d}}");
    check("ConfigMap", "{data: {a: b}}", "{data: {a: null, n: null}}", "{data: {}}");
    check("ConfigMap", "{data: {a: b}}", "{data: null}", "{}");
    check("ConfigMap", "{data: {a: b}}", "{data: x}", "{data: x}");
    check("ConfigMap", "{}", "{data: {a: null, b: {c: null}}}", "{data: {b: {}}}");
    check("ConfigMap", "{data: {a: b}}", "{data: {$patch: replace, c: d}}", "{data: {c: d}}");
    check("ConfigMap", "{data: {a: b}}", "{data: {$patch: delete}}", "{data: {}}");
    check("ConfigMap", "{}", "{data: {$patch: delete, a: b}}", "{}");
    check("ConfigMap", "{data: {a: b}}", "{$patch: replace, immutable: true}", "{immutable: true}");
    check(
        "ConfigMap",
        "{data: {a: b}, immutable: true}",
        "{$retainKeys: [data], data: {c: d}}",
        "{data: {a: b, c: d}}",
    );
    // What Go tags `replace` is replaced.
    check(
        "PodDisruptionBudget",
        "{spec: {minAvailable: 1, selector: {matchLabels: {a: b}}}}",
        "{spec: {selector: {matchLabels: {c: d}}}}",
        "{spec: {minAvailable: 1, selector: {matchLabels: {c: d}}}}",
    );
}

#[test]
fn lists_merge_by_key() {
    let pod = "{spec: {containers: [{name: a, image: i}, {name: b, image: j}]}}";
    let merged = |containers: &str| format!("{{spec: {{containers: {containers}}}}}");
    let check = |patch: &str, expected: &str| check("Pod", pod, &merged(patch), &merged(expected));
    check("[{name: b, image: k}]", "[{name: a, image: i}, {name: b, image: k}]");
    check("[{name: a, tty: true}]", "[{name: a, image: i, tty: true}, {name: b, image: j}]");
    check("[{name: c}]", "[{name: c}, {name: a, image: i}, {name: b, image: j}]");
    check("[{name: b}, {name: a}]", "[{name: b, image: j}, {name: a, image: i}]");
    check("[{name: a, $patch: delete}]", "[{name: b, image: j}]");
    check("[{name: c}, {$patch: replace}]", "[{name: c}]");
    check("[{name: a, $patch: delete}, {name: a, image: z}]", "[{name: a, image: z}, {name: b, image: j}]");
    check("[]", "[{name: a, image: i}, {name: b, image: j}]");
}

#[test]
fn lists_of_scalars_merge_by_value() {
    let check = |patch: &str, expected: &str| {
        let wrap = |it: &str| format!("{{metadata: {{{it}}}}}");
        check("Pod", "{metadata: {finalizers: [a, b, c]}}", &wrap(patch), &wrap(expected));
    };
    check("finalizers: [d, b]", "finalizers: [d, a, b, c]");
    check("$deleteFromPrimitiveList/finalizers: [b, x]", "finalizers: [a, c]");
    check("$deleteFromPrimitiveList/finalizers: [b], finalizers: [d]", "finalizers: [d, a, c]");
    check("$deleteFromPrimitiveList/other: [b]", "finalizers: [a, b, c]");
    check("$setElementOrder/finalizers: [c, b, a]", "finalizers: [c, b, a]");
    check("$setElementOrder/finalizers: [c, d, a], finalizers: [d]", "finalizers: [b, c, d, a]");
}

#[test]
fn lists_that_do_not_merge_are_replaced() {
    check(
        "Pod",
        "{spec: {tolerations: [{key: a}]}}",
        "{spec: {tolerations: [{key: b}]}}",
        "{spec: {tolerations: [{key: b}]}}",
    );
    check(
        "Pod",
        "{spec: {containers: [{name: a, args: [x, y]}]}}",
        "{spec: {containers: [{name: a, args: [z]}]}}",
        "{spec: {containers: [{name: a, args: [z]}]}}",
    );
}

#[test]
fn element_orders_are_kept() {
    let pod = "{spec: {containers: [{name: a}, {name: b}, {name: c}]}}";
    let order = "$setElementOrder/containers";
    check(
        "Pod",
        pod,
        &format!("{{spec: {{{order}: [{{name: c}}, {{name: a}}]}}}}"),
        "{spec: {containers: [{name: b}, {name: c}, {name: a}]}}",
    );
    check(
        "Pod",
        pod,
        &format!("{{spec: {{{order}: [{{name: n}}, {{name: b}}], containers: [{{name: n, image: i}}]}}}}"),
        "{spec: {containers: [{name: n, image: i}, {name: a}, {name: b}, {name: c}]}}",
    );
    check(
        "Pod",
        "{spec: {}}",
        &format!("{{spec: {{{order}: [{{name: a}}], containers: [{{name: a}}]}}}}"),
        "{spec: {containers: [{name: a}]}}",
    );
    check("Pod", "{spec: {}}", &format!("{{spec: {{{order}: [{{name: a}}]}}}}"), "{spec: {}}");
}

#[test]
fn volumes_retain_the_keys_they_name() {
    check(
        "Pod",
        "{spec: {volumes: [{name: v, emptyDir: {}}]}}",
        "{spec: {volumes: [{name: v, $retainKeys: [name, hostPath], hostPath: {path: /x}}]}}",
        "{spec: {volumes: [{name: v, hostPath: {path: /x}}]}}",
    );
}

#[test]
fn misuse_is_refused() {
    let malformed = |text: &str| PatchError::Malformed(text.to_owned());
    let failed = |text: &str| PatchError::Failed(text.to_owned());
    let object = "{metadata: {finalizers: [a], labels: {x: y}}, data: {k: v}}";
    let refused = |patch: &str, error: PatchError| refused("ConfigMap", object, patch, error);
    refused("[]", malformed("json: cannot unmarshal array into Go value of type map[string]interface {}"));
    refused("x", malformed("json: cannot unmarshal string into Go value of type map[string]interface {}"));
    refused("{metadata: {$patch: frob}}", failed("unknown patch type: frob in map: map[$patch:frob]"));
    refused("{metadata: {$retainKeys: 3}}", malformed("invalid patch format of retainKeys"));
    refused("{metadata: {$retainKeys: [x], labels: {}}}", malformed("invalid patch format of retainKeys"));
    refused(
        "{metadata: {$deleteFromPrimitiveList: [x]}}",
        malformed("invalid patch format of primitive list"),
    );
    refused("{metadata: {$setElementOrder: []}}", malformed("invalid patch format of setElementOrder list"));
    refused(
        "{metadata: {$setElementOrder/finalizers: 3}}",
        failed("expected a []interface {}, but received a int64"),
    );
    refused(
        "{metadata: {$setElementOrder/foo: [], foo: [1]}}",
        failed("unable to find api field in struct ObjectMeta for the json field \"foo\""),
    );
    refused(
        "{data: {$setElementOrder/foo: [], foo: [1]}}",
        failed("merging an object in json but data type is not struct, instead is: map"),
    );
    refused("{metadata: {finalizers: [3]}}", failed("list element types are not identical: [[a] [3]]"));
    refused(
        "{metadata: {$setElementOrder/finalizers: [a], finalizers: [b]}}",
        failed("The order in patch list:\n[b]\n doesn't match $setElementOrder list:\n[a]\n"),
    );
    super::tests::refused(
        "Pod",
        "{spec: {containers: [{name: a}]}}",
        "{spec: {containers: [{image: x}]}}",
        failed("map: map[image:x] does not contain declared merge key: name"),
    );
    super::tests::refused(
        "Pod",
        "{spec: {containers: [{name: a}]}}",
        "{spec: {containers: [[]]}}",
        failed("list element types are not identical: [[map[name:a]] [[]]]"),
    );
    super::tests::refused(
        "Pod",
        "{metadata: {finalizers: []}}",
        "{metadata: {finalizers: [[]]}}",
        PatchError::Unprocessable("lists of lists are not supported".to_owned()),
    );
}
