//! Custom resource definitions: names, group, scope and versions. Their
//! schemas are checked where custom resources are served.

use coracle_api::{FieldError, FieldPath, Object, format};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    approval, tidy,
    versions::{self, Versions},
};
use crate::resources::{
    Column, Part, Strategy, Write,
    admissionregistration::webhooks::{service_faults, url_faults},
    columns::{CREATED_AT, NAME, show, wide},
    rules::IMMUTABLE,
    tree::{field, list, object_mut, section, set, text, texts, truth},
};
use crate::{
    custom::{
        Schema,
        conditions::{self, CLEANUP, Condition},
    },
    registry::{delete::Decision, metadata, options::DeleteOptions},
};

/// The behaviour of custom resource definitions.
pub struct CustomResourceDefinitions;

impl Strategy for CustomResourceDefinitions {
    fn qualifies_finalizers(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Object) {
        let spec = object.section_mut("spec");
        default_names(spec);
        tidy::versions(spec);
        spec.entry("conversion").or_insert_with(|| json!({"strategy": "None"}));
        let webhook = object_mut(spec, "conversion").and_then(|conversion| object_mut(conversion, "webhook"));
        if let Some(webhook) = webhook {
            crate::resources::admissionregistration::webhooks::default_client(webhook);
        }
        store_version(object);
    }

    fn prepare(&self, write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
        crate::resources::prepare(write, new, old);
        if write.part != Part::Whole {
            return;
        }
        if old.is_none() {
            let status = json!({
                "conditions": null,
                "acceptedNames": {"plural": "", "kind": ""},
                "storedVersions": [],
            });
            new.0.insert("status".to_owned(), status);
        }
        store_version(new);
    }

    fn validate(&self, write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let accepted =
            names(field(new, &["status", "acceptedNames"]), &FieldPath::new("status").child("acceptedNames"));
        if write.part == Part::Status {
            return accepted;
        }
        let mut errors = Vec::new();
        errors.extend(spec(section(new, "spec"), old.map(|old| section(old, "spec"))));
        if let Some(old) = old {
            errors.extend(update(new, old));
        }
        errors.extend(accepted);
        errors.extend(stored_versions(new));
        errors.extend(approval::fault(new, old));
        errors.extend(preserves(new, old));
        errors
    }

    fn warnings(&self, write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<String> {
        if write.part != Part::Whole {
            return Vec::new();
        }
        let before = old.map(|old| versions::warnings(section(old, "spec"))).unwrap_or_default();
        let now = versions::warnings(section(new, "spec"));
        now.into_iter().filter(|it| !before.contains(it)).collect()
    }

    fn updates_unconditionally(&self) -> bool {
        false
    }

    // The first deletion marks it; it goes when its instances are gone.
    fn deletion(&self, object: &Object, _options: &DeleteOptions, now: Timestamp) -> Option<Decision> {
        if object.deleting() {
            return None;
        }
        let mut new = object.clone();
        new.set_meta("deletionTimestamp", Some(metadata::stamp(now).into()));
        if !new.finalizers().any(|it| it == CLEANUP) {
            let all = new.finalizers().map(str::to_owned).chain([CLEANUP.to_owned()]).collect();
            metadata::set_finalizers(&mut new, all);
        }
        let condition = Condition {
            kind: "Terminating",
            status: "True",
            reason: "InstanceDeletionPending",
            message: "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
        };
        conditions::set(&mut new, &condition, now);
        Some(Decision::Mark(new))
    }

    fn returns_deleted(&self) -> bool {
        false
    }

    fn name_of(&self, object: &Object, name: &str, prefix: bool) -> Vec<String> {
        let mut faults = format::name_is_subdomain(name, prefix);
        let plural = object.get_str(&["spec", "names", "plural"]);
        if name != format!("{plural}.{}", object.get_str(&["spec", "group"])) {
            faults.push("must be spec.names.plural+\".\"+spec.group".to_owned());
        }
        faults
    }
}

fn has_defaults(spec: &Value) -> bool {
    let schemas = list(&spec["versions"]).iter().map(|it| &it["schema"]["openAPIV3Schema"]);
    schemas.into_iter().any(|it| Schema::parse(it).has_defaults())
}

// What keeps unknown fields is said in the schema nowadays.
fn preserves(new: &Object, old: Option<&Object>) -> Option<FieldError> {
    let says = |crd: &Object| truth(field(crd, &["spec", "preserveUnknownFields"]));
    if !says(new) || old.is_some_and(says) {
        return None;
    }
    let path = FieldPath::new("spec").child("preserveUnknownFields");
    let detail = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
    Some(FieldError::invalid(&path, true, detail))
}

fn default_names(spec: &mut Map<String, Value>) {
    let Some(names) = object_mut(spec, "names") else { return };
    let kind = names.get("kind").map_or("", text).to_owned();
    let lacks = |names: &Map<String, Value>, name: &str| names.get(name).is_none_or(|it| text(it).is_empty());
    if kind.is_empty() {
        return;
    }
    if lacks(names, "singular") {
        names.insert("singular".to_owned(), kind.to_lowercase().into());
    }
    if lacks(names, "listKind") {
        names.insert("listKind".to_owned(), format!("{kind}List").into());
    }
}

// The version that is stored belongs to those that may be in the store.
fn store_version(object: &mut Object) {
    let versions = list(field(object, &["spec", "versions"]));
    let Some(version) = versions.iter().find(|it| truth(&it["storage"])).map(|it| it["name"].clone()) else {
        return;
    };
    let mut stored = list(field(object, &["status", "storedVersions"])).to_vec();
    if !stored.contains(&version) {
        stored.push(version);
        object.section_mut("status").insert("storedVersions".to_owned(), Value::Array(stored));
    }
}

fn spec(spec: &Value, old: Option<&Value>) -> Vec<FieldError> {
    const SCOPES: &[&str] = &["Cluster", "Namespaced"];
    let path = FieldPath::new("spec");
    let mut errors = Vec::new();
    let (group, at) = (text(&spec["group"]), path.child("group"));
    let faults = format::dns1123_subdomain(group);
    if group.is_empty() {
        errors.push(FieldError::required(&at, ""));
    } else if !faults.is_empty() {
        errors.push(FieldError::invalid(&at, group, faults.join(",")));
    } else if !group.contains('.') {
        errors.push(FieldError::invalid(&at, group, "should be a domain with at least one dot"));
    }
    let scope = text(&spec["scope"]);
    if scope.is_empty() {
        errors.push(FieldError::required(&path.child("scope"), ""));
    } else if !SCOPES.contains(&scope) {
        errors.push(FieldError::not_supported(&path.child("scope"), scope, SCOPES));
    }
    if truth(&spec["preserveUnknownFields"]) && has_defaults(spec) {
        let detail = "must be false in order to use defaults in the schema";
        errors.push(FieldError::invalid(&path.child("preserveUnknownFields"), true, detail));
    }
    let versions = Versions::new(spec, old);
    errors.extend(versions.faults(&path.child("versions")));
    let first = list(&spec["versions"]).first().map_or("", |version| text(&version["name"]));
    let faults = format::dns1035_label(first);
    if !first.is_empty() && !faults.is_empty() {
        errors.push(FieldError::invalid(&path.child("version"), first, faults.join(",")));
    }
    let named = path.child("names");
    for name in ["plural", "singular", "kind", "listKind"] {
        if text(&spec["names"][name]).is_empty() {
            errors.push(FieldError::required(&named.child(name), ""));
        }
    }
    errors.extend(names(&spec["names"], &named));
    errors.extend(versions.common(&path));
    if text(&spec["conversion"]["strategy"]) != "None" && truth(&spec["preserveUnknownFields"]) {
        let detail = "must be None if spec.preserveUnknownFields is true";
        let at = path.child("conversion").child("strategy");
        errors.push(FieldError::invalid(&at, text(&spec["conversion"]["strategy"]), detail));
    }
    errors.extend(conversion(&spec["conversion"], &path.child("conversion")));
    errors
}

fn names(names: &Value, path: &FieldPath) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for name in ["plural", "singular"] {
        let value = text(&names[name]);
        let faults = format::dns1035_label(value);
        if !value.is_empty() && !faults.is_empty() {
            errors.push(FieldError::invalid(&path.child(name), value, faults.join(",")));
        }
    }
    for name in ["kind", "listKind"] {
        let value = text(&names[name]);
        let faults = format::dns1035_label(&value.to_lowercase());
        if !value.is_empty() && !faults.is_empty() {
            let detail = format!("may have mixed case, but should otherwise match: {}", faults.join(","));
            errors.push(FieldError::invalid(&path.child(name), value, detail));
        }
    }
    let labels = |name: &str| -> Vec<FieldError> {
        let texts = texts(&names[name]).into_iter().enumerate();
        let faults = texts.map(|(index, value)| (index, value, format::dns1035_label(value)));
        faults
            .filter(|(_, _, faults)| !faults.is_empty())
            .map(|(index, value, faults)| {
                FieldError::invalid(&path.child(name).index(index), value, faults.join(","))
            })
            .collect()
    };
    errors.extend(labels("shortNames"));
    let kind = text(&names["kind"]);
    if !kind.is_empty() && kind == text(&names["listKind"]) {
        let detail = "kind and listKind may not be the same";
        errors.push(FieldError::invalid(&path.child("listKind"), kind, detail));
    }
    errors.extend(labels("categories"));
    errors
}

fn conversion(conversion: &Value, path: &FieldPath) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (strategy, webhook) = (text(&conversion["strategy"]), &conversion["webhook"]);
    match strategy {
        "" => errors.push(FieldError::required(&path.child("strategy"), "")),
        "None" | "Webhook" => {}
        other => errors.push(FieldError::not_supported(&path.child("strategy"), other, &["None", "Webhook"])),
    }
    let at = path.child("webhookClientConfig");
    if strategy == "Webhook" {
        let client = &webhook["clientConfig"];
        match (client["url"].as_str(), client["service"].is_null()) {
            _ if client.is_null() => {
                errors.push(FieldError::required(&at, "required when strategy is set to Webhook"));
            }
            (None, true) | (Some(_), false) => {
                errors.push(FieldError::required(&at, "exactly one of url or service is required"));
            }
            (Some(url), true) => errors.extend(url_faults(url, &at.child("url"))),
            (None, false) => errors.extend(service_faults(&client["service"], &at.child("service"))),
        }
        let versions = texts(&webhook["conversionReviewVersions"]);
        let at = path.child("conversionReviewVersions");
        if versions.is_empty() {
            errors.push(FieldError::required(&at, ""));
        } else if !versions.iter().any(|version| ["v1", "v1beta1"].contains(version)) {
            let detail = "must include at least one of v1, v1beta1";
            errors.push(FieldError::invalid(&at, json!(versions), detail));
        }
    } else {
        let detail = "should not be set when strategy is not set to Webhook";
        if set(&webhook["clientConfig"]) {
            errors.push(FieldError::forbidden(&at, detail));
        }
        if !list(&webhook["conversionReviewVersions"]).is_empty() {
            errors.push(FieldError::forbidden(&path.child("conversionReviewVersions"), detail));
        }
    }
    errors
}

fn update(new: &Object, old: &Object) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let path = FieldPath::new("spec");
    let mut fixed = |at: &[&str]| {
        let now = field(new, at);
        if now != field(old, at) {
            let path = at[1..].iter().fold(path.clone(), |path, name| path.child(name));
            errors.push(FieldError::invalid(&path, now.clone(), IMMUTABLE));
        }
    };
    if condition(old, "Established") == Some("True") {
        fixed(&["spec", "scope"]);
        fixed(&["spec", "names", "kind"]);
    }
    fixed(&["spec", "group"]);
    fixed(&["spec", "names", "plural"]);
    errors
}

fn condition<'a>(definition: &'a Object, kind: &str) -> Option<&'a str> {
    let conditions = list(field(definition, &["status", "conditions"]));
    conditions.iter().find(|it| text(&it["type"]) == kind).map(|it| text(&it["status"]))
}

fn stored_versions(new: &Object) -> Vec<FieldError> {
    let path = FieldPath::new("status").child("storedVersions");
    let stored = texts(field(new, &["status", "storedVersions"]));
    if stored.is_empty() {
        return vec![FieldError::invalid(&path, Value::Null, "must have at least one stored version")];
    }
    let versions = list(field(new, &["spec", "versions"]));
    let mut errors = Vec::new();
    for version in versions.iter().filter(|it| truth(&it["storage"]) && !stored.contains(&text(&it["name"])))
    {
        let detail = format!("must have the storage version {}", text(&version["name"]));
        errors.push(FieldError::invalid(&path, json!(stored), detail));
    }
    for (index, name) in stored.iter().enumerate() {
        if !versions.iter().any(|it| text(&it["name"]) == *name) {
            let detail = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
            );
            errors.push(FieldError::invalid(&path.index(index), *name, detail));
        }
    }
    errors
}

fn served(definition: &Object) -> String {
    let versions = list(field(definition, &["spec", "versions"])).iter();
    let shown = |it: &Value| {
        let storage = if truth(&it["storage"]) { "(storage)" } else { "" };
        format!("{}{storage}", text(&it["name"]))
    };
    let mut served: Vec<String> = versions.filter(|it| truth(&it["served"])).map(shown).collect();
    served.sort();
    served.join(",")
}

/// The columns.
pub static COLUMNS: &[Column] = &[
    NAME,
    Column::new("Scope", "string", "Cluster/Namespaced", |it, _| show(it, &["spec", "scope"])),
    Column::new("Versions", "string", "Served versions", |it, _| served(it).into()),
    CREATED_AT,
    wide(Column::new("Group", "string", "API group", |it, _| show(it, &["spec", "group"]))),
    wide(Column::new("Kind", "string", "CustomResource kind", |it, _| show(it, &["spec", "names", "kind"]))),
    wide(Column::new("ShortNames", "string", "Short names", |it, _| {
        texts(field(it, &["spec", "names", "shortNames"])).join(",").into()
    })),
    wide(Column::new("Established", "boolean", "Established status", |it, _| {
        (condition(it, "Established") == Some("True")).into()
    })),
];
