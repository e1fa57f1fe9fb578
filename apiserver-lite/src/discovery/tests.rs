use std::collections::BTreeSet;

use coracle_api::schema::Struct;
use expect_test::{Expect, expect};
use jiff::Timestamp;
use serde_json::Value;

use coracle_api::{Resource, schema::Ref};

use super::*;
use crate::resources;

fn discovery() -> Discovery {
    Discovery::new(
        resources::builtins().into_iter().map(|row| row.facts),
        "192.0.2.1:21443",
        Timestamp::UNIX_EPOCH,
    )
}

fn get(discovery: &Discovery, path: &str, accept: &str) -> Response<Bytes> {
    discovery.answer(path, accept, None).expect("a document").expect("an acceptable form")
}

fn json_of(discovery: &Discovery, path: &str) -> Value {
    serde_json::from_slice(get(discovery, path, JSON).body()).expect("JSON")
}

fn header<'a>(response: &'a Response<Bytes>, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().expect("text"))
}

/// The first 16 digits of the SHA-512 of what the real kube-apiserver v1.37.2
/// answers, without white space, ending in a new line.
const REAL: &[(&str, &str)] = &[
    ("/api", "C413BBEEFBCBF42A"),
    ("/apis", "D617BB1464CAF1E6"),
    ("/api/v1", "F8C87C60054FA968"),
    ("/apis/apiregistration.k8s.io", "B527A73D32D6DD64"),
    ("/apis/apiregistration.k8s.io/v1", "4ABFDEE19174AB54"),
    ("/apis/apps", "90A434CF0A2A7971"),
    ("/apis/apps/v1", "41C96756C0E41BBF"),
    ("/apis/events.k8s.io", "0940CD65F99EC768"),
    ("/apis/events.k8s.io/v1", "1EC43C881FA8E962"),
    ("/apis/authentication.k8s.io", "E9C8610390718ADD"),
    ("/apis/authentication.k8s.io/v1", "244F447C6307DBAA"),
    ("/apis/authorization.k8s.io", "D049FA7EF6DB12D9"),
    ("/apis/authorization.k8s.io/v1", "6859DD27F9DE4011"),
    ("/apis/autoscaling", "A51C0E185CF329DA"),
    ("/apis/autoscaling/v2", "C791785A17DFC5E9"),
    ("/apis/autoscaling/v1", "C9A64DF08E9A9A61"),
    ("/apis/batch", "0465E0D442BB0C37"),
    ("/apis/batch/v1", "53D36DADFEF83FE2"),
    ("/apis/certificates.k8s.io", "099591B49A8DBF5B"),
    ("/apis/certificates.k8s.io/v1", "54DC3900935C3D3B"),
    ("/apis/networking.k8s.io", "E6903BB633C0A198"),
    ("/apis/networking.k8s.io/v1", "07180A8F9CB4A033"),
    ("/apis/policy", "56F03EE1FDDCEF8A"),
    ("/apis/policy/v1", "DD46261D552B3F81"),
    ("/apis/rbac.authorization.k8s.io", "98A88AB8EEBA0AE2"),
    ("/apis/rbac.authorization.k8s.io/v1", "6920500DA333E97F"),
    ("/apis/storage.k8s.io", "F835CFA17B105F7F"),
    ("/apis/storage.k8s.io/v1", "4C011686E587314E"),
    ("/apis/admissionregistration.k8s.io", "1032D6525CD0F885"),
    ("/apis/admissionregistration.k8s.io/v1", "F8C607CE7E5ED5EF"),
    ("/apis/apiextensions.k8s.io", "9A918B0EB5E05B22"),
    ("/apis/apiextensions.k8s.io/v1", "11143C122BEAF898"),
    ("/apis/scheduling.k8s.io", "FD97CB3E93539829"),
    ("/apis/scheduling.k8s.io/v1", "6E474E2E24B8D26C"),
    ("/apis/coordination.k8s.io", "4EE781AAD90004F0"),
    ("/apis/coordination.k8s.io/v1", "2AFC1B57BE1AE16E"),
    ("/apis/node.k8s.io", "9E94EF78DF4009DC"),
    ("/apis/node.k8s.io/v1", "4D8E48ED38408CFF"),
    ("/apis/discovery.k8s.io", "E1835EFF76B6ACB4"),
    ("/apis/discovery.k8s.io/v1", "FE18C96A0F178793"),
    ("/apis/resource.k8s.io", "1E1B0D60DBE287A3"),
    ("/apis/resource.k8s.io/v1", "CBBDB4F65EEFEA9A"),
    ("/apis/flowcontrol.apiserver.k8s.io", "116368ED7CE38413"),
    ("/apis/flowcontrol.apiserver.k8s.io/v1", "D9E5DE384C8D4342"),
    ("/apis/storagemigration.k8s.io", "D6A5B4FBCECF4D12"),
    ("/apis/storagemigration.k8s.io/v1", "826A9C89221BC796"),
];

#[test]
fn legacy_documents_are_the_real_servers() {
    let discovery = discovery();
    for (path, expected) in REAL {
        let body = get(&discovery, path, JSON).into_body();
        assert_eq!(&hash(&body)[..16], *expected, "{path}: {}", String::from_utf8_lossy(&body));
    }
}

#[test]
fn aggregated_documents_have_the_real_servers_etags() {
    let discovery = discovery();
    let etag = |path| header(&get(&discovery, path, AGGREGATED), "etag").to_owned();
    expect![[r#""4D7E1BED90B364BC86049DD9E636494980AEF65B7F8CFAA267616FA062B514A8A3CC2C2851CC9337B8D28B4C80960E2353DE5E0B152E87CC223E02EA3C5C37AC""#]]
        .assert_eq(&etag("/api"));
    expect![[r#""C1F1010597FE58AB064229356A99E46C1A393186FA4A195FB7F52CC9716570130AA2FD3A1637DC37D5C215C4A3A6022B5C46487215FF916DE5BA1DD781D395AE""#]]
        .assert_eq(&etag("/apis"));
    let body = json_of_form(&discovery, "/apis", AGGREGATED);
    assert_eq!(
        (&body["kind"], &body["apiVersion"]),
        (&"APIGroupDiscoveryList".into(), &"apidiscovery.k8s.io/v2".into())
    );
}

fn json_of_form(discovery: &Discovery, path: &str, accept: &str) -> Value {
    serde_json::from_slice(get(discovery, path, accept).body()).expect("JSON")
}

#[test]
fn every_request_gets_the_form_it_asks_for() {
    let discovery = discovery();
    let check = |path: &str, accept: &str, expected: &str| {
        let got = match discovery.answer(path, accept, None) {
            None => "none".to_owned(),
            Some(Err(error)) => error.to_string(),
            Some(Ok(response)) => {
                format!("{} {}", response.status().as_u16(), header(&response, "content-type"))
            }
        };
        assert_eq!(got, expected, "{path} {accept}");
    };
    let beta = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
    let refused = "only the following media types are accepted: \
                   application/json, application/yaml, application/vnd.kubernetes.protobuf";
    let unrouted = "406: Not Acceptable\n\nAvailable representations: \
                    application/json, application/yaml, application/vnd.kubernetes.protobuf";
    let aggregated = format!("200 {AGGREGATED}");
    for path in ["/api", "/apis", "/apis/"] {
        check(path, "", "200 application/json");
        check(path, "*/*", "200 application/json");
        check(path, "application/yaml", "200 application/yaml");
        check(
            path,
            "application/vnd.kubernetes.protobuf,application/json",
            "200 application/vnd.kubernetes.protobuf",
        );
        check(path, "text/html", unrouted);
        check(path, AGGREGATED, &aggregated);
        check(path, &format!("{AGGREGATED},{beta},application/json"), &aggregated);
        check(path, &format!("application/json;q=0.5,{AGGREGATED}"), &aggregated);
        check(path, &format!("application/json,{AGGREGATED}"), "200 application/json");
        // kubectl before 1.30
        check(path, &format!("{beta},application/json"), "200 application/json");
        check(path, beta, refused);
    }
    check("/apis/apps", "*/*", "200 application/json");
    check("/apis/apps/v1/", "application/yaml", "200 application/yaml");
    check("/api/v1", AGGREGATED, refused);
    check("/openapi/v2", "", "200 application/json");
    check("/openapi/v2", "*/*", "200 application/json");
    let asked = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    check("/openapi/v2", asked, "200 application/com.github.proto-openapi.spec.v2.v1.0+protobuf");
    check("/openapi/v2", "text/plain", "406 ");
    check("/openapi/v3", "text/html", "200 text/plain; charset=utf-8");
    check("/openapi/v3/apis/apps/v1", "application/json", "200 application/json");
    check("/openapi/v3/apis/apps/v1", "text/html", "406 ");
    check("/", "", "200 application/json");
    for path in
        ["/api/v2", "/apis/none", "/apis/apps/v9", "/apis/apps/v1/deployments", "/apis//v1", "/openapi"]
    {
        check(path, "*/*", "none");
    }
    for path in
        ["/openapi/v3/", "/openapi/v3/apis/none/v1", "/openapi/v3/apis//v1", "/openapi/v3/api/v1/pods"]
    {
        check(path, "*/*", "404 ");
    }
}

#[test]
fn the_root_lists_what_there_is() {
    let paths = json_of(&discovery(), "/")["paths"].clone();
    let paths: Vec<_> = paths.as_array().expect("paths").iter().filter_map(Value::as_str).collect();
    for path in ["/api", "/api/v1", "/apis", "/apis/", "/apis/apps", "/apis/apps/v1", "/version"] {
        assert_eq!(paths.iter().filter(|it| **it == path).count(), 1, "{path}");
    }
    assert!(paths.is_sorted());
}

#[test]
fn a_known_etag_is_enough() {
    let discovery = discovery();
    for (path, accept) in [("/apis", AGGREGATED), ("/openapi/v2", JSON), ("/openapi/v3/apis/batch/v1", JSON)]
    {
        let whole = get(&discovery, path, accept);
        let again =
            discovery.answer(path, accept, Some(header(&whole, "etag"))).expect("a document").expect("ok");
        assert_eq!((again.status(), again.body().len()), (StatusCode::NOT_MODIFIED, 0), "{path}");
        assert_eq!(again.headers().get("vary"), whole.headers().get("vary"), "{path}");
        let other = discovery.answer(path, accept, Some("\"other\"")).expect("a document").expect("ok");
        assert_eq!(other.body(), whole.body(), "{path}");
    }
}

#[test]
fn the_index_leads_to_every_version() {
    let discovery = discovery();
    let index = json_of(&discovery, "/openapi/v3");
    let paths = index["paths"].as_object().expect("paths");
    assert_eq!(paths.len(), 23);
    for entry in paths.values() {
        let url = entry["serverRelativeURL"].as_str().expect("URL");
        let response = get(&discovery, url, JSON);
        assert_eq!(header(&response, "cache-control"), "public, immutable", "{url}");
        let (path, _) = url.split_once('?').expect("a hash");
        let moved = get(&discovery, &format!("{path}?hash=ABC"), JSON);
        assert_eq!((moved.status(), header(&moved, "location")), (StatusCode::MOVED_PERMANENTLY, url));
    }
}

/// `METHOD PATH ID CODES` of all operations.
fn operations(discovery: &Discovery) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for path in REAL.iter().map(|(path, _)| path).filter(|path| path.contains("/v")) {
        let document = json_of(discovery, &format!("/openapi/v3{path}"));
        for (path, item) in document["paths"].as_object().expect("paths") {
            let methods = item.as_object().expect("item").iter().filter(|(name, _)| *name != "parameters");
            for (method, it) in methods {
                let codes: Vec<_> = it["responses"].as_object().expect("responses").keys().cloned().collect();
                let id = it["operationId"].as_str().expect("ID");
                lines.insert(format!("{method} {path} {id} {}", codes.join(" ")));
            }
        }
    }
    lines
}

#[test]
fn operations_are_the_real_servers() {
    let lines: Vec<_> = operations(&discovery()).into_iter().collect();
    // Upstream also has the watch paths of old, and HEAD, OPTIONS and the
    // paths below of proxies.
    assert_eq!((lines.len(), &hash(lines.join("\n").as_bytes())[..16]), (629, "83DB9F6B7093863E"));
}

/// Every `$ref` of a document leads to a definition, and every definition is
/// led to or is a kind.
fn check_references(document: &Value, folder: &str) {
    fn visit<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str));
                map.values().for_each(|it| visit(it, found));
            }
            Value::Array(list) => list.iter().for_each(|it| visit(it, found)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    visit(document, &mut found);
    let there = document.pointer(folder).and_then(Value::as_object).expect("definitions");
    let found: BTreeSet<_> =
        found.iter().map(|it| it.strip_prefix(&format!("#{folder}/")).expect("a definition")).collect();
    let there: BTreeSet<_> = there.keys().map(String::as_str).collect();
    assert_eq!(found.difference(&there).count(), 0, "{:?}", found.difference(&there));
    assert_eq!(there.difference(&found).count(), 0, "{:?}", there.difference(&found));
}

#[test]
fn references_lead_somewhere() {
    let discovery = discovery();
    check_references(&json_of(&discovery, "/openapi/v2"), "/definitions");
    for path in ["/openapi/v3/api/v1", "/openapi/v3/apis/apps/v1", "/openapi/v3/apis/authorization.k8s.io/v1"]
    {
        check_references(&json_of(&discovery, path), "/components/schemas");
    }
}

#[test]
fn every_kind_and_field_is_described() {
    let document = json_of(&discovery(), "/openapi/v2");
    // Not in k8s-openapi's data: what only its own code knows.
    let silent = |name: &str| name.ends_with("List") || name.starts_with("io.k8s.apimachinery.");
    for (name, definition) in document["definitions"].as_object().expect("definitions") {
        if silent(name) {
            continue;
        }
        assert!(definition["description"].is_string(), "{name}");
        for (field, schema) in definition["properties"].as_object().into_iter().flatten() {
            // Upstream says nothing of these either.
            let mute = [".CertificateSigningRequest", ".ExternalDocumentation", ".JSONSchemaProps"];
            let known = mute.iter().any(|it| name.ends_with(it));
            assert!(known || schema["description"].is_string(), "{name}.{field}");
        }
    }
}

#[test]
fn patches_take_what_kubectl_looks_for() {
    let document = json_of(&discovery(), "/openapi/v2");
    let mut kinds = 0;
    for (path, item) in document["paths"].as_object().expect("paths") {
        let Some(patch) = item.get("patch").filter(|it| it["x-kubernetes-action"] == "patch") else {
            continue;
        };
        let names: Vec<_> =
            patch["parameters"].as_array().expect("parameters").iter().map(|it| &it["name"]).collect();
        for name in ["dryRun", "fieldManager", "fieldValidation", "force"] {
            assert!(names.contains(&&Value::from(name)), "{path} {name}");
        }
        assert!(patch["x-kubernetes-group-version-kind"]["kind"].is_string(), "{path}");
        kinds += 1;
    }
    assert_eq!(kinds, 102);
}

#[test]
fn fields_say_how_they_are_merged() {
    fn check(document: &Value, definition: &str, field: &str, expected: Expect) {
        let mut schema = document["components"]["schemas"][definition]["properties"][field].clone();
        schema.as_object_mut().expect("schema").remove("description");
        expected.assert_eq(&schema.to_string());
    }
    let core = json_of(&discovery(), "/openapi/v3/api/v1");
    let spec = "io.k8s.api.core.v1.PodSpec";
    check(
        &core,
        spec,
        "containers",
        expect![[
            r##"{"items":{"$ref":"#/components/schemas/io.k8s.api.core.v1.Container"},"type":"array","x-kubernetes-list-map-keys":["name"],"x-kubernetes-list-type":"map","x-kubernetes-patch-merge-key":"name","x-kubernetes-patch-strategy":"merge"}"##
        ]],
    );
    check(
        &core,
        spec,
        "volumes",
        expect![[
            r##"{"items":{"$ref":"#/components/schemas/io.k8s.api.core.v1.Volume"},"type":"array","x-kubernetes-list-map-keys":["name"],"x-kubernetes-list-type":"map","x-kubernetes-patch-merge-key":"name","x-kubernetes-patch-strategy":"merge,retainKeys"}"##
        ]],
    );
    check(
        &core,
        spec,
        "nodeSelector",
        expect![[
            r#"{"additionalProperties":{"type":"string"},"type":"object","x-kubernetes-map-type":"atomic"}"#
        ]],
    );
    check(
        &core,
        spec,
        "securityContext",
        expect![[r##"{"allOf":[{"$ref":"#/components/schemas/io.k8s.api.core.v1.PodSecurityContext"}]}"##]],
    );
    check(
        &core,
        "io.k8s.api.core.v1.ContainerPort",
        "protocol",
        expect![[r#"{"default":"TCP","type":"string"}"#]],
    );
    check(
        &core,
        "io.k8s.api.core.v1.PersistentVolumeSpec",
        "claimRef",
        expect![[
            r##"{"allOf":[{"$ref":"#/components/schemas/io.k8s.api.core.v1.ObjectReference"}],"x-kubernetes-map-type":"granular"}"##
        ]],
    );
    check(
        &core,
        "io.k8s.api.core.v1.Pod",
        "metadata",
        expect![[
            r##"{"allOf":[{"$ref":"#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}],"default":{}}"##
        ]],
    );
    let policy = json_of(&discovery(), "/openapi/v3/apis/policy/v1");
    check(
        &policy,
        "io.k8s.api.policy.v1.PodDisruptionBudgetSpec",
        "selector",
        expect![[
            r##"{"allOf":[{"$ref":"#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector"}],"x-kubernetes-patch-strategy":"replace"}"##
        ]],
    );
}

#[test]
fn storage_versions_have_upstreams_hashes() {
    let rows = resources::builtins();
    let others = rows
        .iter()
        .map(|row| &row.facts)
        .filter(|it| !it.storage.is_empty() && storage_version_hash(&it.storage_version) != it.storage_hash);
    // Upstream stores these in versions that it does not serve by default.
    let names: Vec<_> = others.map(|it| it.qualified_name() + "\n").collect();
    expect![[r#"
        clustertrustbundles.certificates.k8s.io
        podcertificaterequests.certificates.k8s.io
        customresourcedefinitions.apiextensions.k8s.io
        devicetaintrules.resource.k8s.io
        storageversionmigrations.storagemigration.k8s.io
    "#]]
    .assert_eq(&names.concat());
}

#[test]
fn hashes_change_with_what_is_served() {
    fn check(change: impl Fn(&mut Resource)) {
        let hash_of = |resources: Vec<Ref<Resource>>| {
            let index =
                json_of(&Discovery::new(resources.into_iter(), "", Timestamp::UNIX_EPOCH), "/openapi/v3");
            index["paths"]["apis/apps/v1"]["serverRelativeURL"].clone()
        };
        let rows = || resources::builtins().into_iter().map(|row| row.facts);
        let changed = rows().map(|it| {
            let mut own = (*it).clone();
            if own.plural == "deployments" {
                change(&mut own);
            }
            Ref::Shared(std::sync::Arc::new(own))
        });
        let shared = rows().map(|it| Ref::Shared(std::sync::Arc::new((*it).clone())));
        let before = hash_of(shared.collect());
        assert!(before.is_string());
        assert_ne!(before, hash_of(changed.collect()));
    }
    check(|it| it.gvk.kind = "Other".into());
    check(|it| it.namespaced = false);
    check(|it| it.verbs = it.verbs[1..].to_vec().into());
    check(|it| it.subresources = it.subresources[1..].to_vec().into());
    check(|it| {
        let mut schema =
            Struct { name: "x.Y".into(), fields: it.schema.fields.clone(), atomic: false, open: false };
        schema.fields.to_mut()[0].required = true;
        it.schema = Ref::Shared(std::sync::Arc::new(schema));
    });
}
