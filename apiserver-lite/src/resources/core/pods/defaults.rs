//! The defaults of pods and of pod templates.

use coracle_api::Object;
use serde_json::{Map, Value, json};

use super::image;
use crate::resources::core::quantities::to_milli;

type Fields = Map<String, Value>;

/// The defaults of a pod. Some of them are not a template's: they come when the
/// pod is made.
pub fn pod(object: &mut Object) {
    if let Some(spec) = object.0.get_mut("spec").and_then(Value::as_object_mut) {
        if spec.get("terminationGracePeriodSeconds").and_then(Value::as_i64).is_some_and(|it| it < 0) {
            spec.insert("terminationGracePeriodSeconds".to_owned(), 1.into());
        }
        let host_network = spec.get("hostNetwork").and_then(Value::as_bool) == Some(true);
        for list in ["containers", "initContainers"] {
            for container in each(spec, list) {
                request_limits(container);
                if host_network {
                    host_ports(container);
                }
            }
        }
        unset(spec, "enableServiceLinks", true);
        self::spec(spec);
    }
    if let Some(status) = object.0.get_mut("status").and_then(Value::as_object_mut) {
        addresses(status);
    }
}

/// The defaults of a `PodTemplateSpec`.
pub fn template(template: Option<&mut Value>) {
    if let Some(spec) = template.and_then(|it| it.get_mut("spec")).and_then(Value::as_object_mut) {
        self::spec(spec);
    }
}

// What a container may use at most it also asks for, unless it says.
fn request_limits(container: &mut Fields) {
    let Some(resources) = inner(container, "resources") else { return };
    let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else { return };
    if limits.is_empty() {
        return;
    }
    unset(resources, "requests", json!({}));
    if let Some(requests) = inner(resources, "requests") {
        for (name, limit) in limits {
            requests.entry(name).or_insert(limit);
        }
    }
}

fn host_ports(container: &mut Fields) {
    for port in each(container, "ports") {
        let host = port.get("hostPort").and_then(Value::as_i64).unwrap_or(0);
        if let Some(number) = port.get("containerPort").cloned().filter(|_| host == 0) {
            port.insert("hostPort".to_owned(), number);
        }
    }
}

// `podIP` and `podIPs` say the same; where they differ the single one is right.
fn addresses(status: &mut Fields) {
    let single = status.get("podIP").and_then(Value::as_str).unwrap_or_default().to_owned();
    let first = status.get("podIPs").and_then(|list| list.get(0)?.get("ip")?.as_str()).map(str::to_owned);
    match first {
        None if single.is_empty() => {}
        Some(first) if single.is_empty() => {
            status.insert("podIP".to_owned(), first.into());
        }
        Some(first) if first == single => {}
        _ => {
            status.insert("podIPs".to_owned(), json!([{"ip": single}]));
        }
    }
}

fn spec(spec: &mut Fields) {
    // Two names of one field; the newer one wins.
    let account = ["serviceAccountName", "serviceAccount"]
        .into_iter()
        .find_map(|field| spec.get(field).filter(|name| *name != "").cloned());
    if let Some(account) = account {
        spec.insert("serviceAccountName".to_owned(), account.clone());
        spec.insert("serviceAccount".to_owned(), account);
    }
    empty(spec, "dnsPolicy", "ClusterFirst");
    empty(spec, "restartPolicy", "Always");
    unset(spec, "securityContext", json!({}));
    unset(spec, "terminationGracePeriodSeconds", 30);
    empty(spec, "schedulerName", "default-scheduler");
    each(spec, "volumes").for_each(volume);
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        each(spec, list).for_each(container);
    }
    to_milli(spec, "overhead");
    if let Some(own) = inner(spec, "resources") {
        to_milli(own, "limits");
        to_milli(own, "requests");
    }
}

fn container(container: &mut Fields) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default().to_owned();
    empty(container, "imagePullPolicy", image::pull_policy(&image));
    empty(container, "terminationMessagePath", "/dev/termination-log");
    empty(container, "terminationMessagePolicy", "File");
    each(container, "ports").for_each(|port| empty(port, "protocol", "TCP"));
    for variable in each(container, "env") {
        let Some(from) = inner(variable, "valueFrom") else { continue };
        field_ref(from);
        if let Some(file) = inner(from, "fileKeyRef") {
            unset(file, "optional", false);
        }
    }
    if let Some(own) = inner(container, "resources") {
        to_milli(own, "limits");
        to_milli(own, "requests");
    }
    for field in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = inner(container, field) {
            for (field, default) in [
                ("timeoutSeconds", 1),
                ("periodSeconds", 10),
                ("successThreshold", 1),
                ("failureThreshold", 3),
            ] {
                zero(probe, field, default);
            }
            http(probe);
            if let Some(grpc) = inner(probe, "grpc") {
                unset(grpc, "service", "");
            }
        }
    }
    if let Some(lifecycle) = inner(container, "lifecycle") {
        for field in ["postStart", "preStop"] {
            if let Some(hook) = inner(lifecycle, field) {
                http(hook);
            }
        }
    }
}

fn http(handler: &mut Fields) {
    if let Some(http) = inner(handler, "httpGet") {
        empty(http, "path", "/");
        empty(http, "scheme", "HTTP");
    }
}

fn field_ref(source: &mut Fields) {
    if let Some(reference) = inner(source, "fieldRef") {
        empty(reference, "apiVersion", "v1");
    }
}

fn volume(volume: &mut Fields) {
    if volume.iter().all(|(field, source)| field == "name" || source.is_null()) {
        volume.insert("emptyDir".to_owned(), json!({}));
    }
    if let Some(host) = inner(volume, "hostPath") {
        unset(host, "type", "");
    }
    for field in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = inner(volume, field) {
            unset(source, "defaultMode", 0o644);
        }
    }
    if let Some(downward) = inner(volume, "downwardAPI") {
        each(downward, "items").for_each(field_ref);
    }
    if let Some(projected) = inner(volume, "projected") {
        for source in each(projected, "sources") {
            if let Some(downward) = inner(source, "downwardAPI") {
                each(downward, "items").for_each(field_ref);
            }
            if let Some(token) = inner(source, "serviceAccountToken") {
                unset(token, "expirationSeconds", 3600);
            }
        }
    }
    if let Some(source) = inner(volume, "image") {
        let reference = source.get("reference").and_then(Value::as_str).unwrap_or_default().to_owned();
        empty(source, "pullPolicy", image::pull_policy(&reference));
    }
    if let Some(claim) = inner(volume, "ephemeral").and_then(|it| inner(it, "volumeClaimTemplate")) {
        self::claim(claim);
    }
    older_volume(volume);
}

/// The defaults of a claim or of the template of one.
pub fn claim(claim: &mut Fields) {
    if let Some(spec) = inner(claim, "spec") {
        unset(spec, "volumeMode", "Filesystem");
        if let Some(own) = inner(spec, "resources") {
            to_milli(own, "limits");
            to_milli(own, "requests");
        }
    }
}

fn older_volume(volume: &mut Fields) {
    if let Some(iscsi) = inner(volume, "iscsi") {
        empty(iscsi, "iscsiInterface", "default");
    }
    if let Some(rbd) = inner(volume, "rbd") {
        empty(rbd, "pool", "rbd");
        empty(rbd, "user", "admin");
        empty(rbd, "keyring", "/etc/ceph/keyring");
    }
    if let Some(disk) = inner(volume, "azureDisk") {
        unset(disk, "cachingMode", "ReadWrite");
        unset(disk, "fsType", "ext4");
        unset(disk, "readOnly", false);
        unset(disk, "kind", "Shared");
    }
    if let Some(scale) = inner(volume, "scaleIO") {
        empty(scale, "storageMode", "ThinProvisioned");
        empty(scale, "fsType", "xfs");
    }
}

fn inner<'a>(fields: &'a mut Fields, field: &str) -> Option<&'a mut Fields> {
    fields.get_mut(field)?.as_object_mut()
}

fn each<'a>(fields: &'a mut Fields, list: &str) -> impl Iterator<Item = &'a mut Fields> {
    let items = fields.get_mut(list).and_then(Value::as_array_mut);
    items.into_iter().flatten().filter_map(Value::as_object_mut)
}

fn unset(fields: &mut Fields, field: &str, default: impl Into<Value>) {
    if fields.get(field).is_none_or(Value::is_null) {
        fields.insert(field.to_owned(), default.into());
    }
}

fn empty(fields: &mut Fields, field: &str, default: &str) {
    if fields.get(field).is_none_or(|value| value.is_null() || value == "") {
        fields.insert(field.to_owned(), default.into());
    }
}

fn zero(fields: &mut Fields, field: &str, default: i64) {
    if fields.get(field).and_then(Value::as_i64).unwrap_or(0) == 0 {
        fields.insert(field.to_owned(), default.into());
    }
}
