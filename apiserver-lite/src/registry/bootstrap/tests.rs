use std::{net::SocketAddr, sync::Arc};

use coracle_store::{Embedded, Mode, Options, Store};

use super::*;
use crate::{
    config::Config,
    registry::{
        Rows,
        options::{DeleteOptions, ListOptions},
    },
    resources,
    watch::Hub,
};

fn config(advertise: &str) -> Config {
    let advertise: SocketAddr = advertise.parse().unwrap();
    Config { advertise, client_authority: Some("PEM".to_owned()), ..Config::default() }
}

// A start of the server on this store: its registry after all is made.
async fn started(store: Arc<dyn Store>, config: Config) -> Registry {
    let hub = Arc::new(Hub::new(10));
    let registry = Registry::new(store, hub, config, Rows::new(resources::builtins()));
    run(&registry).await.unwrap();
    finish(&registry).await.unwrap();
    registry
}

fn store() -> Arc<dyn Store> {
    Arc::new(Embedded::open(Options::new(Mode::Memory, Arc::new(Hub::new(10)))).unwrap())
}

async fn names(registry: &Registry, (group, plural): (&str, &str)) -> Vec<String> {
    let row = registry.row(group, "v1", plural).unwrap();
    let target = Target { row, namespace: String::new(), name: String::new() };
    let listing = registry.list(&target, &ListOptions::default()).await.unwrap();
    listing.records.iter().map(|it| codec::json::parse_stored(&it.bytes).name().to_owned()).collect()
}

async fn field(
    registry: &Registry,
    kind: (&str, &str),
    (namespace, name): (&str, &str),
    path: &str,
) -> Value {
    let row = registry.row(kind.0, "v1", kind.1).unwrap();
    let target = Target { row, namespace: namespace.to_owned(), name: name.to_owned() };
    let record = registry.get(&target).await.unwrap();
    let object = codec::json::parse_stored(&record.bytes).into_value();
    object.pointer(path).cloned().unwrap_or_default()
}

#[tokio::test]
async fn a_new_cluster_has_what_upstreams_has() {
    let registry = started(store(), config("192.0.2.7:6443")).await;
    let rbac = "rbac.authorization.k8s.io";
    let flow = "flowcontrol.apiserver.k8s.io";
    for (kind, count) in [
        (("", "namespaces"), 4),
        (("", "services"), 1),
        (("", "endpoints"), 1),
        (("", "configmaps"), 2),
        (("discovery.k8s.io", "endpointslices"), 1),
        (("networking.k8s.io", "servicecidrs"), 1),
        (("scheduling.k8s.io", "priorityclasses"), 2),
        ((rbac, "clusterroles"), 73),
        ((rbac, "clusterrolebindings"), 54),
        ((rbac, "roles"), 7),
        ((rbac, "rolebindings"), 7),
        ((flow, "prioritylevelconfigurations"), 8),
        ((flow, "flowschemas"), 11),
        (("apiregistration.k8s.io", "apiservices"), 22),
    ] {
        assert_eq!(names(&registry, kind).await.len(), count, "{kind:?}");
    }
    let kubernetes = ("default", "kubernetes");
    let ready = "/status/conditions/0/type";
    for (kind, of, path, expected) in [
        (("", "services"), kubernetes, "/spec/clusterIP", json!("10.96.0.1")),
        (("", "endpoints"), kubernetes, "/subsets/0/addresses/0/ip", json!("192.0.2.7")),
        (("networking.k8s.io", "servicecidrs"), ("", "kubernetes"), ready, json!("Ready")),
        ((flow, "flowschemas"), ("", "exempt"), ready, json!("Dangling")),
        (("apiregistration.k8s.io", "apiservices"), ("", "v1.apps"), ready, json!("Available")),
        ((rbac, "clusterrolebindings"), ("", "cluster-admin"), "/subjects/0/apiGroup", json!(rbac)),
    ] {
        assert_eq!(field(&registry, kind, of, path).await, expected, "{kind:?} {path}");
    }
}

#[tokio::test]
async fn loopback_has_no_endpoints() {
    let registry = started(store(), config("127.0.0.1:6443")).await;
    assert_eq!(names(&registry, ("", "endpoints")).await, Vec::<String>::new());
    let wanted = json!(6443);
    let service = ("default", "kubernetes");
    assert_eq!(field(&registry, ("", "services"), service, "/spec/ports/0/targetPort").await, wanted);
}

#[tokio::test]
async fn a_second_start_changes_only_what_follows_the_address() {
    let store = store();
    started(store.clone(), config("192.0.2.7:6443")).await;
    let before = store.revision();
    started(store.clone(), config("192.0.2.7:6443")).await;
    assert_eq!(store.revision(), before);
    let registry = started(store.clone(), config("192.0.2.8:6444")).await;
    let kubernetes = ("default", "kubernetes");
    let port = field(&registry, ("", "services"), kubernetes, "/spec/ports/0/targetPort").await;
    assert_eq!(port, json!(6444));
    let subsets = field(&registry, ("", "endpoints"), kubernetes, "/subsets").await;
    assert_eq!(subsets[0]["addresses"][0]["ip"], json!("192.0.2.8"));
    assert_eq!(subsets[0]["ports"][0]["port"], json!(6444));
    let slices = ("discovery.k8s.io", "endpointslices");
    assert_eq!(field(&registry, slices, kubernetes, "/ports/0/port").await, json!(6444));
    assert_eq!(field(&registry, slices, kubernetes, "/endpoints/0/addresses/0").await, json!("192.0.2.8"));
}

#[tokio::test]
async fn what_must_not_be_missing_comes_back() {
    let registry = started(store(), config("192.0.2.7:6443")).await;
    let essential = [
        (("", "services"), "default", "kubernetes"),
        (("networking.k8s.io", "servicecidrs"), "", "kubernetes"),
        (("discovery.k8s.io", "endpointslices"), "default", "kubernetes"),
    ];
    for ((group, plural), namespace, name) in essential {
        let row = registry.row(group, "v1", plural).unwrap();
        let target = Target { row, namespace: namespace.to_owned(), name: name.to_owned() };
        registry.delete(&target, &DeleteOptions::default(), &User::server()).await.unwrap();
    }
    essentials(&registry).await.unwrap();
    for (kind, namespace, name) in essential {
        assert_eq!(
            field(&registry, kind, (namespace, name), "/metadata/name").await,
            json!(name),
            "{kind:?}"
        );
    }
}
