//! Pods as the registry writes them.

use coracle_api::{FieldError, FieldPath, Object, format};
use serde_json::Value;

use super::{annotations, containers, defaults, ephemeral, prepare, resize, spec, status, update, warnings};
use crate::resources::{
    Part, Strategy, Write,
    rules::{Errors, NOT_NEGATIVE, Place},
};

/// The behaviour of pods.
pub struct Pods;

impl Strategy for Pods {
    fn default(&self, object: &mut Object) {
        defaults::pod(object);
    }

    fn prepare(&self, write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
        match (write.part, old) {
            (_, None) => prepare::create(write, new),
            (Part::Whole, Some(old)) => prepare::update(new, old),
            (Part::Status, Some(old)) => prepare::status(new, old),
            (Part::Other("ephemeralcontainers"), Some(old)) => prepare::ephemeral_containers(new, old),
            (Part::Other("resize"), Some(old)) => prepare::resize(new, old),
            // Bindings and evictions set what they set.
            (Part::Other(_), Some(_)) => {}
        }
    }

    fn validate(&self, write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        match (write.part, old) {
            (_, None) => validate_new(new),
            (Part::Whole, Some(old)) => update::validate(new, old),
            (Part::Status, Some(old)) => status::validate(new, old),
            (Part::Other("ephemeralcontainers"), Some(old)) => ephemeral::validate(new, old),
            (Part::Other("resize"), Some(old)) => resize::validate(new, old),
            (Part::Other(_), Some(_)) => Vec::new(),
        }
    }

    fn warnings(&self, write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<String> {
        match (write.part, old) {
            (_, None) => warnings::of_new_pod(new),
            (Part::Status, Some(_)) => warnings::of_status(new),
            _ => Vec::new(),
        }
    }

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_subdomain(name, prefix)
    }

    fn selectable(&self, object: &Object) -> Vec<(&'static str, String)> {
        let text = |path: &[&str]| object.get_str(path).to_owned();
        let host = object.get(&["spec", "hostNetwork"]) == Some(&Value::Bool(true));
        let address = object.get(&["status", "podIPs"]).and_then(|ips| ips.get(0)?.get("ip")?.as_str());
        vec![
            ("spec.nodeName", text(&["spec", "nodeName"])),
            ("spec.restartPolicy", text(&["spec", "restartPolicy"])),
            ("spec.schedulerName", text(&["spec", "schedulerName"])),
            ("spec.serviceAccountName", text(&["spec", "serviceAccountName"])),
            ("spec.hostNetwork", host.to_string()),
            ("status.phase", text(&["status", "phase"])),
            ("status.podIP", address.unwrap_or_default().to_owned()),
            ("status.nominatedNodeName", text(&["status", "nominatedNodeName"])),
        ]
    }

    fn selectors(&self) -> &'static [&'static str] {
        &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ]
    }

    fn selector<'a>(&self, name: &'a str, _api_version: &str) -> Option<&'a str> {
        match name {
            "spec.host" => Some("spec.nodeName"),
            // Known, and of no pod.
            "status.podIPs" => Some(name),
            _ => self.selects(name).then_some(name),
        }
    }

    fn graceful(&self) -> bool {
        true
    }

    fn returns_deleted(&self) -> bool {
        true
    }

    fn grace(&self, object: &Object, asked: Option<i64>) -> Option<i64> {
        let own = object.get(&["spec", "terminationGracePeriodSeconds"]).and_then(Value::as_i64);
        let finished = matches!(object.get_str(&["status", "phase"]), "Failed" | "Succeeded");
        // Nobody runs it, so nobody has to end it.
        if finished || object.get_str(&["spec", "nodeName"]).is_empty() {
            return Some(0);
        }
        let period = asked.or(own).unwrap_or(0);
        Some(if period < 0 { 1 } else { period })
    }
}

fn validate_new(pod: &Object) -> Errors {
    let mut errors = validate_whole(pod);
    let object = Place::object(pod, None);
    let Some(spec) = object.field("spec") else { return errors };
    if !spec.list("ephemeralContainers").is_empty() {
        let path = spec.path_of("ephemeralContainers");
        errors.push(FieldError::forbidden(&path, "cannot be set on create"));
    }
    if !spec.text("nodeName").is_empty() && !spec.list("schedulingGates").is_empty() {
        let detail = "cannot be set until all schedulingGates have been cleared";
        errors.push(FieldError::forbidden(&spec.path_of("nodeName"), detail));
    }
    annotations::agree(annotations::of(object.get("metadata")), &spec, &mut errors);
    errors
}

/// What holds for pods whenever they are written.
pub fn validate_whole(pod: &Object) -> Errors {
    let mut errors = Errors::new();
    let object = Place::object(pod, None);
    let Some(spec) = object.field("spec") else { return errors };
    let path = FieldPath::new("metadata").child("annotations");
    annotations::validate(annotations::of(object.get("metadata")), &spec, &path, &mut errors);
    spec::validate(&spec, pod.name(), &mut errors);
    if spec.text("serviceAccountName").is_empty() {
        tokens(&spec, &mut errors);
    }
    if let Some(seconds) = spec.number("terminationGracePeriodSeconds").filter(|seconds| *seconds < 0) {
        let path = spec.path_of("terminationGracePeriodSeconds");
        errors.push(FieldError::invalid(&path, seconds, NOT_NEGATIVE));
    }
    for field in ["containers", "initContainers"] {
        if let Some(list) = spec.field(field) {
            list.items().for_each(|container| containers::trimmed_image(&container, &mut errors));
        }
    }
    errors
}

// Without an account there is nothing to make a token of.
fn tokens(spec: &Place<'_>, errors: &mut Errors) {
    let Some(volumes) = spec.field("volumes") else { return };
    for volume in volumes.items() {
        let Some(projected) = volume.field("projected") else { continue };
        let Some(sources) = projected.field("sources") else { continue };
        for source in sources.items().filter(|source| source.has("serviceAccountToken")) {
            let path = source.path_of("serviceAccountToken");
            let detail = "must not be specified when serviceAccountName is not set";
            errors.push(FieldError::forbidden(&path, detail));
        }
    }
}
