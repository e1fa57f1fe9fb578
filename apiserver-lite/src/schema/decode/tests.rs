use coracle_api::{Resource, facts::RESOURCES};
use serde_json::json;

use super::*;

fn resource(plural: &str) -> &'static Resource {
    RESOURCES.iter().find(|it| it.plural == plural && it.gvk.group != "extensions").expect(plural)
}

fn decode(plural: &str, body: &str) -> Result<Decoded, DecodeError> {
    let resource = resource(plural);
    json(body.as_bytes(), &resource.gvk, &resource.schema)
}

// The message of the refusal: of the error, or of the strict errors.
fn refusal(plural: &str, body: &str) -> String {
    match decode(plural, body) {
        Ok(decoded) => decoded.refusal(&resource(plural).gvk).unwrap_or_else(|| "good".to_owned()),
        Err(error) => error.to_string(),
    }
}

// What kube-apiserver v1.37.2 answered to each body.
#[test]
fn refuses_as_upstream() {
    let kind = "Deployment in version \"v1\" cannot be handled as a Deployment: ";
    let json = "json: cannot unmarshal ";
    for (body, expected) in [
        (r#"{"spec":{"replicas":"x"}}"#, format!("{kind}{json}string into Go struct field DeploymentSpec.spec.replicas of type int32")),
        (r#"{"spec":{"replicas":1.5}}"#, format!("{kind}{json}number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32")),
        (r#"{"spec":{"replicas":99999999999}}"#, format!("{kind}{json}number 99999999999 into Go struct field DeploymentSpec.spec.replicas of type int32")),
        (
            r#"{"kind":"Pod","apiVersion":"v1"}"#,
            "Pod in version \"v1\" cannot be handled as a Deployment: converting (v1.Pod) to (apps.Deployment): unknown conversion".to_owned(),
        ),
        (
            r#"{"kind":"Foo"}"#,
            "Foo in version \"v1\" cannot be handled as a Deployment: no kind \"Foo\" is registered for version \"apps/v1\" in scheme \"pkg/runtime/scheme.go:111\"".to_owned(),
        ),
        (r#"{"apiVersion":"v1"}"#, format!("{kind}no kind \"Deployment\" is registered for version \"v1\" in scheme \"pkg/runtime/scheme.go:111\"")),
        (r#"{"apiVersion":"apps/v1beta1"}"#, "the API version in the data (apps/v1beta1) does not match the expected API version (apps/v1)".to_owned()),
        (r#"{"kind":"Deployment","apiVersion":"apps/"}"#, "good".to_owned()),
        ("null", "good".to_owned()),
        (r#"{"metadata":{"labels":{"x":5},"creationTimestamp":7}}"#, format!("{kind}{json}number into Go struct field ObjectMeta.metadata.creationTimestamp of type string")),
        (
            r#"{"metadata":{"creationTimestamp":"yesterday"}}"#,
            format!("{kind}parsing time \"yesterday\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"yesterday\" as \"2006\""),
        ),
        (r#"{"metadata":{"labels":{"x":5}}}"#, format!("{kind}{json}number into Go struct field ObjectMeta.metadata.labels of type string")),
        (r#"{"spec":{"template":{"spec":{"containers":["x"]}}}}"#, format!("{kind}{json}string into Go struct field PodSpec.spec.template.spec.containers of type v1.Container")),
        (r#"{"spec":{"template":{"spec":{"containers":{}}}}}"#, format!("{kind}{json}object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container")),
        (
            r#"{"spec":{"template":{"spec":{"volumes":[{"hostPath":4}]}}}}"#,
            format!("{kind}{json}number into Go struct field Volume.spec.template.spec.volumes.VolumeSource.hostPath of type v1.HostPathVolumeSource"),
        ),
        (
            r#"{"spec":{"template":{"spec":{"volumes":[{"hostPath":{"path":4}}]}}}}"#,
            format!("{kind}{json}number into Go struct field HostPathVolumeSource.spec.template.spec.volumes.VolumeSource.hostPath.path of type string"),
        ),
        (
            r#"{"spec":{"template":{"spec":{"containers":[{"resources":{"limits":{"cpu":"x"}}}]}}}}"#,
            format!("{kind}quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"),
        ),
        (
            r#"{"spec":{"template":{"spec":{"containers":[{"resources":{"limits":5}}]}}}}"#,
            format!("{kind}{json}number into Go struct field ResourceRequirements.spec.template.spec.containers.resources.limits of type v1.ResourceList"),
        ),
        (
            r#"{"spec":{"template":{"spec":{"restartPolicy":4}}}}"#,
            format!(
                "{kind}{json}number into Go struct field PodSpec.spec.template.spec.restartPolicy of type v1.RestartPolicy"
            ),
        ),
        (
            r#"{"spec":{"strategy":{"rollingUpdate":{"maxSurge":1.5}}}}"#,
            format!("{kind}{json}number 1.5 into Go struct field RollingUpdateDeployment.spec.strategy.rollingUpdate.maxSurge of type int32"),
        ),
        (
            r#"{"spec":{"strategy":{"rollingUpdate":{"maxSurge":true}}}}"#,
            format!("{kind}{json}bool into Go struct field RollingUpdateDeployment.spec.strategy.rollingUpdate.maxSurge of type int32"),
        ),
        (
            r#"{"metadata":{"name":"a","name":"b","labels":{"q":"1","q":"2"}},"spec":{"foo":1,"template":{"spec":{"containers":[{"bar":{},"name":"x"}]}}},"zz":3}"#,
            format!("{kind}strict decoding error: duplicate field \"metadata.name\", duplicate field \"metadata.labels.q\", unknown field \"spec.foo\", unknown field \"spec.template.spec.containers[0].bar\", unknown field \"zz\""),
        ),
    ] {
        assert_eq!(refusal("deployments", body), expected, "{body}");
    }
}

#[test]
fn refuses_bytes_as_upstream() {
    let kind = "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: ";
    for (value, expected) in [
        (r#""!!""#, "illegal base64 data at input byte 0"),
        (r#""YWJj=""#, "illegal base64 data at input byte 4"),
        (r#""YQ=""#, "illegal base64 data at input byte 3"),
        (r#""YQ=a""#, "illegal base64 data at input byte 2"),
        (r#""YWI""#, "illegal base64 data at input byte 0"),
        ("5", "json: cannot unmarshal number into Go struct field ConfigMap.binaryData of type []uint8"),
        (
            "[1,300]",
            "json: cannot unmarshal number 300 into Go struct field ConfigMap.binaryData of type uint8",
        ),
    ] {
        let body = format!(r#"{{"binaryData":{{"a":{value}}}}}"#);
        assert_eq!(refusal("configmaps", &body), format!("{kind}{expected}"), "{value}");
    }
}

#[test]
fn refuses_other_texts_as_upstream() {
    let head = "the object provided is unrecognized (must be of type ConfigMap): ";
    let parse = "couldn't get version/kind; json parse error: ";
    for (body, expected) in [
        ("", format!("{parse}unexpected end of JSON input (<empty>)")),
        (
            "kind: ConfigMap and a lot more text here",
            format!(
                "{parse}invalid character 'k' looking for beginning of value (6b696e643a20436f6e6669674d617020616e642061206c6f74206d6f7265 ...)"
            ),
        ),
        (
            "[1]",
            format!(
                "{parse}json: cannot unmarshal array into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }} (5b315d)"
            ),
        ),
        (
            r#"{"kind":5}"#,
            format!(
                "{parse}json: cannot unmarshal number into Go struct field .kind of type string ({{\"kind\":5}})"
            ),
        ),
        (
            r#"{"apiVersion":"a/b/c"}"#,
            "unexpected GroupVersion string: a/b/c ({\"apiVersion\":\"a/b/c\"})".to_owned(),
        ),
        (r#"{"a":}"#, format!("{parse}invalid character '}}' looking for beginning of value ({{\"a\":}})")),
        (
            r#"{"metadata":{"name":"a"}}x"#,
            format!(
                "{parse}invalid character 'x' after top-level value ({{\"metadata\":{{\"name\":\"a\"}}}}x)"
            ),
        ),
        (
            r#"{"metadata":{"name":"a"}"#,
            format!("{parse}unexpected end of JSON input ({{\"metadata\":{{\"name\":\"a\"}})"),
        ),
        ("{\"meta\n\":1}", format!("{parse}invalid character '\\n' in string literal ({{\"meta\n\":1}})")),
        (
            r#"{"a":tru}"#,
            format!("{parse}invalid character '}}' in literal true (expecting 'e') ({{\"a\":tru}})"),
        ),
        (r#"{"a":"\x"}"#, format!("{parse}invalid character 'x' in string escape code ({{\"a\":\"\\x\"}})")),
        (
            r#"{"a":"\u00g"}"#,
            format!(
                "{parse}invalid character 'g' in \\u hexadecimal character escape ({{\"a\":\"\\u00g\"}})"
            ),
        ),
        (
            "{é:1}",
            format!("{parse}invalid character 'Ã' looking for beginning of object key string ({{é:1}})"),
        ),
        (r#"{"a" 1}"#, format!("{parse}invalid character '1' after object key ({{\"a\" 1}})")),
        (r#"{"a":01}"#, format!("{parse}invalid character '1' after object key:value pair ({{\"a\":01}})")),
        (r#"{"a":-x}"#, format!("{parse}invalid character 'x' in numeric literal ({{\"a\":-x}})")),
        (
            r#"{"a":1.}"#,
            format!("{parse}invalid character '}}' after decimal point in numeric literal ({{\"a\":1.}})"),
        ),
        (r#"{"a":[1 2]}"#, format!("{parse}invalid character '2' after array element ({{\"a\":[1 2]}})")),
        (
            r#"{"a":1,}"#,
            format!(
                "{parse}invalid character '}}' looking for beginning of object key string ({{\"a\":1,}})"
            ),
        ),
        // A syntax error anywhere comes before a wrong type.
        (
            r#"{"data":5,"a"}"#,
            format!("{parse}invalid character '}}' after object key ({{\"data\":5,\"a\"}})"),
        ),
    ] {
        assert_eq!(refusal("configmaps", body), format!("{head}{expected}"), "{body}");
    }
}

#[test]
fn bounds_the_nesting() {
    let deep = |depth: usize| format!(r#"{{"q":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    let message = refusal("configmaps", &deep(10_001));
    assert!(message.contains("invalid character '[' exceeded max depth ({\"q\":[["), "{message}");
    assert!(refusal("configmaps", &deep(9_999)).ends_with("unknown field \"q\""));
    let kept = format!(r#"{{"data":{}}}"#, "[".repeat(1_000));
    assert!(refusal("controllerrevisions", &kept).contains("exceeded max depth"));
}

#[test]
fn gives_the_canonical_form() {
    let check = |plural: &str, body: &str, expected: Value| {
        let decoded = decode(plural, body).expect(body);
        assert_eq!(decoded.object.into_value(), expected, "{body}");
    };
    let meta = |kind: &str, version: &str| json!({"kind": kind, "apiVersion": version, "metadata": {}});
    let with = |mut tree: Value, more: Value| {
        if let (Value::Object(tree), Value::Object(more)) = (&mut tree, more) {
            tree.extend(more);
        }
        tree
    };
    let config = |more: Value| with(meta("ConfigMap", "v1"), more);
    check("configmaps", "{}", config(json!({})));
    check(
        "configmaps",
        r#"{"data":{"a":"\u00e9\ud83d\ude00\ud800","b":null},"immutable":false,"x":[{"y":1}]}"#,
        config(json!({"data": {"a": "é😀\u{fffd}", "b": ""}, "immutable": false})),
    );
    check("configmaps", r#"{"data":{},"binaryData":null,"immutable":null}"#, config(json!({})));
    check(
        "configmaps",
        r#"{"data":{"a":"1"},"data":{"b":"2"}}"#,
        config(json!({"data": {"a": "1", "b": "2"}})),
    );
    check(
        "configmaps",
        r#"{"binaryData":{"a":[104,105],"b":"aG\nk=","c":"aR=="}}"#,
        config(json!({"binaryData": {"a": "aGk=", "b": "aGk=", "c": "aQ=="}})),
    );
    let pod = |spec: Value| with(meta("Pod", "v1"), json!({"spec": spec, "status": {}}));
    check("pods", "{}", pod(json!({"containers": null})));
    // Whoever sends an empty list owns it; it is none once that is noted.
    check(
        "pods",
        r#"{"spec":{"containers":[],"volumes":[],"hostNetwork":false,"priority":0}}"#,
        pod(json!({"containers": [], "priority": 0})),
    );
    check(
        "pods",
        r#"{"spec":{"containers":[{"name":"a","resources":{"limits":{"cpu":0.5,"memory":"1024Ki"}},
            "livenessProbe":{"httpGet":{"port":"http"}}},null]}}"#,
        pod(json!({"containers": [
            {"name": "a", "resources": {"limits": {"cpu": "500m", "memory": "1Mi"}}, "livenessProbe": {"httpGet": {"port": "http"}}},
            {"name": "", "resources": {}}]})),
    );
    check(
        "deployments",
        r#"{"metadata":{"creationTimestamp":"2024-01-01T02:00:00.5+02:00","generation":0},"spec":{"replicas":0,"paused":true,"paused":false}}"#,
        json!({"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"creationTimestamp": "2024-01-01T00:00:00Z"},
            "spec": {"replicas": 0, "selector": null, "strategy": {}, "template": {"metadata": {}, "spec": {"containers": null}}},
            "status": {}}),
    );
    check(
        "controllerrevisions",
        r#"{"data":{"a":[1.5,1e3,null]},"revision":3}"#,
        with(
            meta("ControllerRevision", "apps/v1"),
            json!({"data": {"a": [1.5, 1000.0, null]}, "revision": 3}),
        ),
    );
}

#[test]
fn canonicalizes_what_was_changed() {
    let schema = &resource("pods").schema;
    let mut object = Object::from_value(json!({
        "spec": {"containers": [{"name": "a", "args": [], "env": null}], "volumes": [], "nodeName": ""},
        "metadata": {"labels": {}, "creationTimestamp": null}
    }))
    .expect("an object");
    super::super::canonical::canonicalize(&mut object, schema);
    let expected =
        json!({"spec": {"containers": [{"name": "a", "resources": {}}]}, "metadata": {}, "status": {}});
    assert_eq!(object.into_value(), expected);
}

#[test]
fn decodes_trees() {
    let resource = resource("pods");
    let tree = json!({"spec": {"containers": [{"name": "a", "foo": 1}]}});
    let decoded = value(&tree, &resource.gvk, &resource.schema).expect("decodes");
    assert_eq!(decoded.strict, ["unknown field \"spec.containers[0].foo\""]);
    let fault =
        value(&json!({"spec": {"priority": "x"}}), &resource.gvk, &resource.schema).expect_err("wrong");
    let expected = "json: cannot unmarshal string into Go struct field PodSpec.spec.priority of type int32";
    assert_eq!(fault.to_string(), expected);
}

#[test]
fn decodes_yaml() {
    let resource = resource("configmaps");
    let said = |body: &str| match yaml(body.as_bytes(), &resource.gvk, &resource.schema) {
        Ok(decoded) => {
            decoded.refusal(&resource.gvk).unwrap_or_else(|| decoded.object.into_value().to_string())
        }
        Err(error) => error.to_string(),
    };
    for (body, expected) in [
        ("data: {a: b}", r#"{"apiVersion":"v1","data":{"a":"b"},"kind":"ConfigMap","metadata":{}}"#),
        (
            "data:\n  a: yes",
            "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: json: cannot unmarshal bool into Go \
             struct field ConfigMap.data of type string",
        ),
        (
            "metadata: *z",
            "the object provided is unrecognized (must be of type ConfigMap): yaml: unknown anchor 'z' referenced \
             (6d657461646174613a202a7a)",
        ),
        (
            "data:\n  a: b\n  a: c\nfoo: 1",
            "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: yaml: unmarshal \
             errors:\n  line 3: key \"a\" already set in map, unknown field \"foo\"",
        ),
    ] {
        assert_eq!(said(body), expected, "{body}");
    }
}

// What Go's encoder wrote for an empty object of each kind.
#[test]
fn empty_objects_are_as_go_writes_them() {
    let mut checked = 0;
    for line in include_str!("empty.jsonl").lines() {
        let expected: Value = serde_json::from_str(line).expect("JSON");
        let named = |it: &GroupVersionKind| {
            expected["kind"] == *it.kind && expected["apiVersion"] == it.api_version()
        };
        let whole = RESOURCES.iter().map(|it| (&it.gvk, Some(&it.schema)));
        let parts =
            RESOURCES.iter().flat_map(|it| it.subresources.iter()).map(|it| (&it.gvk, it.schema.as_ref()));
        let (gvk, schema) = whole.chain(parts).find(|it| named(it.0)).expect(line);
        for body in ["{}", line] {
            let decoded = json(body.as_bytes(), gvk, schema.expect(line)).expect(line);
            assert_eq!(decoded.object.into_value(), expected, "{body}");
        }
        checked += 1;
    }
    assert!(checked >= 68, "{checked} kinds");
}

#[test]
fn names_go_types() {
    let json = "PersistentVolumeClaim in version \"v1\" cannot be handled as a PersistentVolumeClaim: json: cannot \
        unmarshal ";
    for (spec, expected) in [
        (
            r#"{"accessModes":5}"#,
            "number into Go struct field PersistentVolumeClaimSpec.spec.accessModes of type []v1.PersistentVolumeAccessMode",
        ),
        (
            r#"{"accessModes":[5]}"#,
            "number into Go struct field PersistentVolumeClaimSpec.spec.accessModes of type v1.PersistentVolumeAccessMode",
        ),
        (
            r#"{"volumeMode":true}"#,
            "bool into Go struct field PersistentVolumeClaimSpec.spec.volumeMode of type v1.PersistentVolumeMode",
        ),
        (
            r#"{"volumeName":{}}"#,
            "object into Go struct field PersistentVolumeClaimSpec.spec.volumeName of type string",
        ),
        (
            r#"{"resources":{"requests":[]}}"#,
            "array into Go struct field VolumeResourceRequirements.spec.resources.requests of type v1.ResourceList",
        ),
    ] {
        let body = format!(r#"{{"spec":{spec}}}"#);
        assert_eq!(refusal("persistentvolumeclaims", &body), format!("{json}{expected}"));
    }
}

#[test]
fn another_kind_is_read_before_it_is_refused() {
    let maps = resource("configmaps");
    let check = |body: &str, expected: &str| {
        let error = json(body.as_bytes(), &maps.gvk, &maps.schema).unwrap_err();
        assert_eq!(error.to_string(), expected, "{body}");
    };
    check(
        r#"{"kind":"Secret","apiVersion":"v1","data":{"a":"*"}}"#,
        "Secret in version \"v1\" cannot be handled as a ConfigMap: illegal base64 data at input byte 0",
    );
    check(
        r#"{"kind":"ConfigMapList","apiVersion":"v1"}"#,
        "ConfigMapList in version \"v1\" cannot be handled as a ConfigMap: \
         converting (v1.ConfigMapList) to (core.ConfigMap): unknown conversion",
    );
}

#[test]
fn fields_of_a_map_that_comes_twice_come_once() {
    let maps = resource("configmaps");
    let body = r#"{"data":{"x":"1"},"data":{"x":"2","y":"1","y":"2"}}"#;
    let decoded = json(body.as_bytes(), &maps.gvk, &maps.schema).unwrap();
    assert_eq!(decoded.strict, ["duplicate field \"data\"", "duplicate field \"data.y\""]);
}

#[test]
fn what_does_not_convert() {
    let pods = resource("pods");
    let check = |containers: serde_json::Value, expected: &str| {
        let tree = serde_json::json!({ "spec": { "containers": containers } });
        let error = converted(&tree, &pods.gvk, &pods.schema).unwrap_err();
        assert_eq!(error.to_string(), expected, "{tree}");
    };
    check(serde_json::json!({}), "cannot restore slice from map");
    check(serde_json::json!([5]), "cannot restore struct from: int64");
    check(serde_json::json!([{ "name": 5 }]), "cannot convert int64 to string");
    check(serde_json::json!([{ "tty": "x" }]), "unrecognized type: bool");
}

// Bodies with bytes changed, doubled and cut off, from one seed.
#[test]
fn nothing_panics() {
    let seeds = [
        r#"{"kind":"Pod","metadata":{"name":"a","labels":{"x":"\u00e9\ud83d"},"creationTimestamp":"2024-01-01T00:00:00Z"},
            "spec":{"containers":[{"name":"c","resources":{"limits":{"cpu":"1.5e3","memory":"1Gi"}},"ports":[{"containerPort":-1.5}],
            "livenessProbe":{"httpGet":{"port":"http"}}}],"volumes":[null,{}],"priority":12}}"#,
        "kind: Pod\nmetadata: &a {name: 'x', labels: *a}\nspec:\n  containers:\n  - name: |\n      y\n    <<: {tty: yes}\n  ? 0x1\n  : !!int \"5\"\n",
    ];
    let pods = resource("pods");
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below.max(1) as u64).unwrap_or_default()
    };
    for round in 0..4_000 {
        let mut body = seeds[round % 2].as_bytes().to_vec();
        for _ in 0..=random(4) {
            let at = random(body.len());
            match random(4) {
                0 => body[at] = b"{}[]\",:\\&*!|->#%0e.\n\xc3\0"[random(22)],
                1 => body.truncate(at.max(1)),
                2 => body.extend_from_within(at..),
                _ => drop(body.remove(at)),
            }
            if body.is_empty() {
                body.push(b'{');
            }
        }
        let _ = json(&body, &pods.gvk, &pods.schema);
        let _ = yaml(&body, &pods.gvk, &pods.schema);
    }
}
