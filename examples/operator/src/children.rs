//! What a site needs. Pure: the same site needs the same things.

use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, Service},
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::Site;

/// The ConfigMap that has an entry for each site of a namespace.
pub const REGISTRY: &str = "sites";

/// The objects that a site owns.
pub struct Children {
    pub page: ConfigMap,
    pub servers: Deployment,
    pub service: Service,
}

impl Children {
    /// # Errors
    /// None that is known; a mistake here would be one.
    pub fn of(site: &Site) -> Result<Self, serde_json::Error> {
        let name = site.name_any();
        let labels = json!({ "app.kubernetes.io/name": "site", "app.kubernetes.io/instance": name });
        // The page is in the template's annotations too: another page is another rollout.
        let servers = json!({ "spec": {
            "replicas": site.spec.replicas,
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels, "annotations": { "example.com/page": digest(&site.spec.page) } },
                "spec": {
                    "containers": [{
                        "name": "server",
                        "image": "nginx:1.29",
                        "ports": [{ "name": "http", "containerPort": 80 }],
                        "volumeMounts": [{ "name": "page", "mountPath": "/usr/share/nginx/html" }],
                    }],
                    "volumes": [{ "name": "page", "configMap": { "name": name } }],
                },
            },
        } });
        let ports = json!([{ "name": "http", "port": 80, "targetPort": "http" }]);
        Ok(Self {
            page: owned(site, &labels, json!({ "data": { "index.html": site.spec.page } }))?,
            servers: owned(site, &labels, servers)?,
            service: owned(site, &labels, json!({ "spec": { "selector": labels, "ports": ports } }))?,
        })
    }
}

fn owned<K: Resource<DynamicType = ()> + DeserializeOwned>(
    site: &Site,
    labels: &Value,
    mut rest: Value,
) -> Result<K, serde_json::Error> {
    let owner: Option<OwnerReference> = site.controller_owner_ref(&());
    // An applied object says what it is.
    rest["apiVersion"] = K::api_version(&()).into();
    rest["kind"] = K::kind(&()).into();
    rest["metadata"] = json!({
        "name": site.name_any(),
        "namespace": site.namespace(),
        "labels": labels,
        "ownerReferences": owner.as_slice(),
    });
    serde_json::from_value(rest)
}

/// The entry of a site in the registry; with no replicas of it, none.
pub fn entry(site: &Site, present: bool) -> Value {
    let data = if present { json!({ site.name_any(): site.spec.replicas.to_string() }) } else { json!({}) };
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": REGISTRY }, "data": data })
}

// FNV-1a: a change has to show, nothing more.
fn digest(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}
