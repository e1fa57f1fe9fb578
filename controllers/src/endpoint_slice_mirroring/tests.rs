use std::sync::Arc;

use k8s_openapi::api::core::v1::Endpoints;
use serde_json::{Value, json};

use super::plan::plan;

fn endpoints(subsets: Value) -> Endpoints {
    let endpoints = json!({
        "metadata": {"name": "db", "namespace": "a", "uid": "e", "labels": {"team": "x"},
                     "annotations": {"note": "n", "endpoints.kubernetes.io/last-change-trigger-time": "t"}},
        "subsets": subsets,
    });
    serde_json::from_value(endpoints).unwrap()
}

#[test]
fn a_slice_says_what_the_endpoints_say() {
    let one = endpoints(
        json!([{"addresses": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "ports": [{"name": "sql", "port": 5432}]}]),
    );
    let made = plan(&one, &[]).changes.create;
    assert_eq!(made.iter().map(|slice| slice.address_type.as_str()).collect::<Vec<_>>(), ["IPv4", "IPv6"]);
    let first = serde_json::to_value(&made[0]).unwrap();
    assert_eq!(first["endpoints"], json!([{"addresses": ["10.0.0.1"], "conditions": {"ready": true}}]));
    assert_eq!(first["metadata"]["annotations"], json!({"note": "n"}));
    assert_eq!(
        first["metadata"]["labels"],
        json!({"team": "x", "kubernetes.io/service-name": "db",
               "endpointslice.kubernetes.io/managed-by": "endpointslicemirroring-controller.k8s.io"})
    );
    let there: Vec<_> = made.into_iter().map(Arc::new).collect();
    let again = plan(&one, &there).changes;
    assert_eq!((again.create.len(), again.update.len(), again.delete.len()), (0, 0, 0));
    let less = endpoints(
        json!([{"notReadyAddresses": [{"ip": "10.0.0.1"}], "ports": [{"name": "sql", "port": 5432}]}]),
    );
    let changes = plan(&less, &there).changes;
    assert_eq!((changes.create.len(), changes.update.len(), changes.delete.len()), (0, 1, 1));
}

#[test]
fn what_is_not_mirrored_is_told() {
    let check = |subsets: Value, expected: &[(&str, &str)]| {
        let warnings = plan(&endpoints(subsets), &[]).warnings;
        let found: Vec<_> = warnings.iter().map(|(reason, text)| (*reason, text.as_str())).collect();
        assert_eq!(found, expected);
    };
    check(
        json!([{"addresses": [{"ip": "x"}]}]),
        &[("InvalidIPAddress", "Skipped 1 invalid IP addresses when mirroring to EndpointSlices")],
    );
    let many: Value = (0..1002).map(|i| json!({"ip": format!("10.0.{}.{}", i / 250, i % 250)})).collect();
    let text = "A max of 1000 addresses can be mirrored to EndpointSlices per Endpoints subset. 2 addresses were skipped";
    check(json!([{"addresses": many}]), &[("TooManyAddressesToMirror", text)]);
}
