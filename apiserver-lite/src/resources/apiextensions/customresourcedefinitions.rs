//! Custom resource definitions: names, group, scope and versions. Their
//! schemas are checked where custom resources are served.

use std::collections::BTreeSet;

use coracle_api::{FieldError, FieldPath, Object, format};
use serde_json::{Map, Value, json};

use crate::resources::{
    Column, Part, Strategy, Write,
    admissionregistration::webhooks::{service_faults, url_faults},
    columns::{CREATED_AT, NAME, show, wide},
    core::pods::internal::Internal,
    rules::IMMUTABLE,
    tree::{field, list, object_mut, section, set, text, texts, truth},
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
        let spec_value = section(new, "spec");
        let wanted = format!("{}.{}", text(&spec_value["names"]["plural"]), text(&spec_value["group"]));
        if old.is_none() && new.name() != wanted {
            let path = FieldPath::new("metadata").child("name");
            errors.push(FieldError::invalid(&path, new.name(), "must be spec.names.plural+\".\"+spec.group"));
        }
        errors.extend(spec(spec_value));
        errors.extend(super::structural::faults(spec_value));
        if let Some(old) = old {
            errors.extend(update(new, old));
        }
        errors.extend(accepted);
        errors.extend(stored_versions(new));
        errors.extend(approval(new, old));
        errors
    }

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_subdomain(name, prefix)
    }
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

fn spec(spec: &Value) -> Vec<FieldError> {
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
    errors.extend(versions(spec, &path.child("versions")));
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
    if let [version] = list(&spec["versions"]) {
        for (index, column) in list(&version["additionalPrinterColumns"]).iter().enumerate() {
            errors.extend(printer_column(column, &path.child("additionalPrinterColumns").index(index)));
        }
    }
    errors.extend(conversion(&spec["conversion"], &path.child("conversion")));
    errors
}

fn versions(spec: &Value, path: &FieldPath) -> Vec<FieldError> {
    let versions = list(&spec["versions"]);
    // Upstream takes what the only version says for all versions.
    let alone = versions.len() == 1;
    let mut errors = Vec::new();
    for (index, version) in versions.iter().enumerate() {
        if version["schema"]["openAPIV3Schema"].is_null() {
            let path = path.index(index).child("schema").child("openAPIV3Schema");
            errors.push(FieldError::required(&path, ""));
        }
    }
    for (index, version) in versions.iter().enumerate() {
        let (name, path) = (text(&version["name"]), path.index(index));
        let faults = format::dns1035_label(name);
        if !faults.is_empty() {
            errors.push(FieldError::invalid(&path.child("name"), name, faults.join(",")));
        }
        if set(&version["deprecationWarning"]) && !truth(&version["deprecated"]) {
            let warning = version["deprecationWarning"].clone();
            let detail = "can only be set for deprecated versions";
            errors.push(FieldError::invalid(&path.child("deprecationWarning"), warning, detail));
        }
        for (index, column) in
            list(&version["additionalPrinterColumns"]).iter().enumerate().filter(|_| !alone)
        {
            errors.extend(printer_column(column, &path.child("additionalPrinterColumns").index(index)));
        }
    }
    let names: BTreeSet<&str> = versions.iter().map(|it| text(&it["name"])).collect();
    let wrong = |detail: &str| {
        let shown = shown(versions, alone);
        FieldError::invalid(path, Value::Array(versions.to_vec()), detail).showing(shown)
    };
    if names.len() != versions.len() {
        errors.push(wrong("must contain unique version names"));
    }
    if versions.iter().filter(|it| truth(&it["storage"])).count() != 1 {
        errors.push(wrong("must have exactly one version marked as storage version"));
    }
    errors
}

// The versions as upstream holds them: what the only one says of its objects
// stands beside the list then.
fn shown(versions: &[Value], alone: bool) -> String {
    const OF_ALL: [&str; 4] = ["schema", "subresources", "additionalPrinterColumns", "selectableFields"];
    let mut versions = versions.to_vec();
    for version in versions.iter_mut().filter_map(Value::as_object_mut).filter(|_| alone) {
        version.retain(|name, _| !OF_ALL.contains(&name.as_str()));
    }
    Internal::read().compact_list("CustomResourceDefinitionVersion", &versions)
}

fn printer_column(column: &Value, path: &FieldPath) -> Vec<FieldError> {
    const TYPES: &[&str] = &["boolean", "date", "integer", "number", "string"];
    let mut errors = Vec::new();
    if text(&column["name"]).is_empty() {
        errors.push(FieldError::required(&path.child("name"), ""));
    }
    match text(&column["type"]) {
        "" => {
            let detail = format!("must be one of {}", TYPES.join(","));
            errors.push(FieldError::required(&path.child("type"), detail));
        }
        kind if !TYPES.contains(&kind) => {
            let detail = format!("must be one of {}", TYPES.join(","));
            errors.push(FieldError::invalid(&path.child("type"), kind, detail));
        }
        _ => {}
    }
    if text(&column["jsonPath"]).is_empty() {
        errors.push(FieldError::required(&path.child("JSONPath"), ""));
    }
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
    let mut labels = |name: &str| {
        for (index, value) in texts(&names[name]).into_iter().enumerate() {
            let faults = format::dns1035_label(value);
            if !faults.is_empty() {
                errors.push(FieldError::invalid(&path.child(name).index(index), value, faults.join(",")));
            }
        }
    };
    labels("shortNames");
    let kind = text(&names["kind"]);
    let same = !kind.is_empty() && kind == text(&names["listKind"]);
    labels("categories");
    if same {
        errors.push(FieldError::invalid(
            &path.child("listKind"),
            kind,
            "kind and listKind may not be the same",
        ));
    }
    errors
}

fn conversion(conversion: &Value, path: &FieldPath) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (strategy, webhook) = (text(&conversion["strategy"]), &conversion["webhook"]);
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
    } else if set(webhook) {
        errors.push(FieldError::forbidden(&at, "should not be set when strategy is not set to Webhook"));
    }
    match strategy {
        "" => errors.push(FieldError::required(&path.child("strategy"), "")),
        "None" | "Webhook" => {}
        other => errors.push(FieldError::not_supported(&path.child("strategy"), other, &["None", "Webhook"])),
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

// Groups of the community's own need its approval.
fn approval(new: &Object, old: Option<&Object>) -> Option<FieldError> {
    const APPROVED: &str = "api-approved.kubernetes.io";
    let group = text(field(new, &["spec", "group"]));
    let protected = |domain: &str| group == domain || group.ends_with(&format!(".{domain}"));
    if !protected("k8s.io") && !protected("kubernetes.io") {
        return None;
    }
    let state = |it: &Object| match it.annotation(APPROVED).unwrap_or_default() {
        "" => "missing",
        text if text.starts_with("unapproved") => "bypassed",
        text if text.starts_with("https://") || text.starts_with("http://") => "approved",
        _ => "invalid",
    };
    let now = state(new);
    if old.is_some_and(|old| state(old) == now) {
        return None;
    }
    let path = FieldPath::new("metadata").child("annotations").key(APPROVED);
    let detail = "protected groups must have approval annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111";
    match now {
        "missing" => Some(FieldError::required(&path, detail)),
        "invalid" => {
            let detail = "protected groups must have approval annotation \"api-approved.kubernetes.io\" with either a URL or a reason starting with \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111";
            Some(FieldError::invalid(&path, new.annotation(APPROVED).unwrap_or_default(), detail))
        }
        _ => None,
    }
}

fn served(definition: &Object) -> String {
    let versions = list(field(definition, &["spec", "versions"])).iter();
    versions.filter(|it| truth(&it["served"])).map(|it| text(&it["name"])).collect::<Vec<_>>().join(",")
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
