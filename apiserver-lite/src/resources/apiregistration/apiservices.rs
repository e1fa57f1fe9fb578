//! API services: who serves which group and version.

use coracle_api::{FieldError, FieldPath, Object, format};
use serde_json::{Value, json};

use crate::resources::{
    Column, Part, Strategy, Write,
    columns::{AGE, NAME},
    core::secrets::decoded_len,
    restore, separate,
    tree::{field, list, number, object_mut, section, text, time, truth},
};

/// The behaviour of API services.
pub struct ApiServices;

impl Strategy for ApiServices {
    fn qualifies_finalizers(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Object) {
        if let Some(service) = object_mut(object.section_mut("spec"), "service") {
            service.entry("port").or_insert_with(|| 443.into());
        }
    }

    fn prepare(&self, write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
        separate(write, new, old);
        match (write.part, old) {
            (Part::Status, Some(old)) => {
                let metadata = |name: &str| old.meta(name).cloned();
                for name in ["labels", "annotations", "finalizers", "ownerReferences"] {
                    new.set_meta(name, metadata(name));
                }
            }
            (Part::Whole, None) => {
                let local = field(new, &["spec", "service"]).is_null();
                let condition = json!({
                    "type": "Available",
                    "status": "True",
                    "lastTransitionTime": time(write.now),
                    "reason": "Local",
                    "message": "Local APIServices are always available",
                });
                let status = if local { json!({"conditions": [condition]}) } else { json!({}) };
                new.0.insert("status".to_owned(), status);
            }
            (Part::Whole, Some(old)) => restore(new, old, "status"),
            _ => {}
        }
    }

    fn validate(&self, write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        if write.part == Part::Status {
            return status(new);
        }
        let mut errors = Vec::new();
        if old.is_some() {
            let path = FieldPath::new("metadata").child("name");
            let faults = self.name_of(new, new.name(), false).into_iter();
            errors.extend(faults.map(|fault| FieldError::invalid(&path, new.name(), fault)));
        }
        errors.extend(spec(new));
        errors
    }

    // The table is made without asking what the client has already.
    fn repeats_headings(&self) -> bool {
        true
    }

    fn updates_unconditionally(&self) -> bool {
        false
    }

    fn name_of(&self, object: &Object, name: &str, _prefix: bool) -> Vec<String> {
        let faults = format::path_segment_name(name);
        let wanted = wanted(object);
        if !faults.is_empty() || name == wanted {
            return faults;
        }
        vec![format!("must be `spec.version+\".\"+spec.group`: {wanted:?}")]
    }
}

fn status(new: &Object) -> Vec<FieldError> {
    let path = FieldPath::new("status").child("conditions");
    let states = &["True", "False", "Unknown"];
    let conditions = list(field(new, &["status", "conditions"])).iter().enumerate();
    conditions
        .map(|(index, it)| (index, text(&it["status"])))
        .filter(|(_, state)| !states.contains(state))
        .map(|(index, state)| FieldError::not_supported(&path.index(index).child("status"), state, states))
        .collect()
}

// The name that it must have.
fn wanted(service: &Object) -> String {
    format!("{}.{}", service.get_str(&["spec", "version"]), service.get_str(&["spec", "group"]))
}

fn spec(new: &Object) -> Vec<FieldError> {
    let (spec, path) = (section(new, "spec"), FieldPath::new("spec"));
    let (group, version) = (text(&spec["group"]), text(&spec["version"]));
    let mut errors = Vec::new();
    if group.is_empty() && version != "v1" {
        let detail = "only v1 may have an empty group and it better be legacy kube";
        errors.push(FieldError::required(&path.child("group"), detail));
    }
    let mut of = |name: &str, value: &str, faults: Vec<String>| {
        errors.extend(faults.into_iter().map(|fault| FieldError::invalid(&path.child(name), value, fault)));
    };
    if !group.is_empty() {
        of("group", group, format::dns1123_subdomain(group));
    }
    of("version", version, format::dns1035_label(version));
    for (name, most) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1000)] {
        let priority = number(&spec[name]);
        if !(1..=most).contains(&priority) {
            let detail = format!("must be positive and less than {most}");
            errors.push(FieldError::invalid(&path.child(name), priority, detail));
        }
    }
    errors.extend(service(spec, &path));
    errors
}

fn service(spec: &Value, path: &FieldPath) -> Vec<FieldError> {
    let (service, bundle) = (&spec["service"], text(&spec["caBundle"]));
    let insecure = truth(&spec["insecureSkipTLSVerify"]);
    let at = path.child("insecureSkipTLSVerify");
    let mut errors = Vec::new();
    if service.is_null() {
        if !bundle.is_empty() {
            let shown = format!("{} bytes", decoded_len(bundle));
            let detail = "local APIServices may not have a caBundle";
            errors.push(FieldError::invalid(&path.child("caBundle"), shown, detail));
        }
        if insecure {
            errors.push(FieldError::invalid(
                &at,
                true,
                "local APIServices may not have insecureSkipTLSVerify",
            ));
        }
        return errors;
    }
    let own = path.child("service");
    for name in ["namespace", "name"] {
        if text(&service[name]).is_empty() {
            errors.push(FieldError::required(&own.child(name), ""));
        }
    }
    let port = number(&service["port"]);
    let faults = format::port_number(port);
    if !faults.is_empty() {
        let detail = format!("port is not valid: {}", faults.join(", "));
        errors.push(FieldError::invalid(&own.child("port"), port, detail));
    }
    if insecure && !bundle.is_empty() {
        errors.push(FieldError::invalid(&at, true, "may not be true if caBundle is present"));
    }
    errors
}

fn host(it: &Object) -> String {
    let service = field(it, &["spec", "service"]);
    if service.is_null() {
        return "Local".to_owned();
    }
    format!("{}/{}", text(&service["namespace"]), text(&service["name"]))
}

fn available(it: &Object) -> String {
    let conditions = list(field(it, &["status", "conditions"]));
    match conditions.iter().find(|it| text(&it["type"]) == "Available") {
        None => "Unknown".to_owned(),
        Some(it) if text(&it["status"]) == "True" => "True".to_owned(),
        Some(it) => format!("{} ({})", text(&it["status"]), text(&it["reason"])),
    }
}

/// The columns.
pub static COLUMNS: &[Column] = &[
    NAME,
    Column::new(
        "Service",
        "string",
        "The reference to the service that hosts this API endpoint.",
        |it, _| host(it).into(),
    ),
    Column::new("Available", "string", "Whether this service is available.", |it, _| available(it).into()),
    AGE,
];
