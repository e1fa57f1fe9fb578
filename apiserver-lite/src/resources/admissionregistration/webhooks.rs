//! Validating and mutating webhook configurations.

use std::collections::BTreeSet;

use coracle_api::{FieldError, FieldPath, Object, format};
use serde_json::{Map, Value, json};

use super::expressions::{all_unchanged, match_conditions};
use crate::resources::{
    Column, Strategy, Write,
    columns::{AGE, NAME, size},
    label_selectors,
    rules::{self, Check, Errors, Place, Rule},
    tree::{list, object_mut, objects_mut, section, text, texts},
};

/// The behaviour of webhook configurations of either kind.
pub struct WebhookConfigurations {
    /// Whether the webhooks may change objects.
    pub mutating: bool,
}

impl Strategy for WebhookConfigurations {
    fn qualifies_finalizers(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Object) {
        for hook in objects_mut(&mut object.0, "webhooks") {
            default_matching(hook);
            hook.entry("timeoutSeconds").or_insert_with(|| 10.into());
            hook.entry("failurePolicy").or_insert_with(|| "Fail".into());
            if self.mutating {
                hook.entry("reinvocationPolicy").or_insert_with(|| "Never".into());
            }
            for rule in objects_mut(hook, "rules") {
                rule.entry("scope").or_insert_with(|| "*".into());
            }
            default_client(hook);
        }
    }

    fn counts_empty(&self) -> Option<&'static str> {
        Some("webhooks")
    }

    // The generation counts changes of the webhooks.
    fn prepare(&self, _write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
        match old {
            None => new.set_meta("generation", Some(1.into())),
            // To upstream an empty list that is given is not none.
            Some(old) if old.0.get("webhooks") != new.0.get("webhooks") => {
                new.set_meta("generation", Some((old.generation() + 1).into()));
            }
            Some(_) => {}
        }
    }

    fn validate(&self, _write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let place = Place::object(new, None);
        let mut errors = Vec::new();
        let Some(hooks) = place.field("webhooks") else { return errors };
        let kept = all_unchanged(section(new, "webhooks"), old.map(|old| section(old, "webhooks")));
        let mut names = BTreeSet::new();
        for (index, value) in list(section(new, "webhooks")).iter().enumerate() {
            let hook = hooks.item(index, value);
            rules::check(HOOK, &hook, &mut errors);
            if self.mutating {
                rules::check(REINVOCATION, &hook, &mut errors);
            }
            client(&hook, &mut errors);
            if !kept {
                match_conditions(&hook, false, &mut errors);
            }
            versions(&hook, &mut errors);
            let name = text(&value["name"]);
            if !name.is_empty() && !names.insert(name) {
                errors.push(FieldError::duplicate(&hook.path_of("name"), name));
            }
        }
        errors
    }

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_subdomain(name, prefix)
    }

    fn updates_unconditionally(&self) -> bool {
        false
    }
}

/// The defaults of what says which requests something is about.
pub fn default_matching(map: &mut Map<String, Value>) {
    map.entry("matchPolicy").or_insert_with(|| "Equivalent".into());
    map.entry("namespaceSelector").or_insert_with(|| json!({}));
    map.entry("objectSelector").or_insert_with(|| json!({}));
}

/// The defaults of how a webhook is reached.
pub fn default_client(holder: &mut Map<String, Value>) {
    let client = object_mut(holder, "clientConfig");
    if let Some(service) = client.and_then(|client| object_mut(client, "service")) {
        service.entry("port").or_insert_with(|| 443.into());
    }
}

static REINVOCATION: &[Check] =
    &[Check::Pointer("reinvocationPolicy", &[Rule::OneOf(&["IfNeeded", "Never"])])];

static HOOK: &[Check] = &[
    Check::With(hook_name),
    Check::Each("rules", RULE_WITH_OPERATIONS),
    Check::Pointer("failurePolicy", &[Rule::OneOf(&["Fail", "Ignore"])]),
    Check::Pointer("matchPolicy", &[Rule::OneOf(&["Equivalent", "Exact"])]),
    Check::With(side_effects),
    Check::With(|hook, errors| match hook.number("timeoutSeconds") {
        Some(seconds) if !(1..=30).contains(&seconds) => {
            let detail = "the timeout value must be between 1 and 30 seconds";
            errors.push(FieldError::invalid(&hook.path_of("timeoutSeconds"), seconds, detail));
        }
        _ => {}
    }),
    Check::Within("namespaceSelector", label_selectors::SELECTOR),
    Check::Within("objectSelector", label_selectors::SELECTOR),
];

fn side_effects(hook: &Place<'_>, errors: &mut Errors) {
    const NONE: &[&str] = &["None", "NoneOnDryRun"];
    let (effects, path) = (hook.text("sideEffects"), hook.path_of("sideEffects"));
    if !hook.has("sideEffects") {
        errors.push(FieldError::required(&path, "must specify one of None, NoneOnDryRun"));
    } else if !NONE.contains(&effects) {
        errors.push(FieldError::not_supported(&path, effects, NONE));
    }
}

fn hook_name(hook: &Place<'_>, errors: &mut Errors) {
    const SEGMENTS: usize = 3;
    let (name, path) = (hook.text("name"), hook.path_of("name"));
    if name.is_empty() {
        errors.push(FieldError::required(&path, ""));
        return;
    }
    let bare = name.strip_suffix('.').unwrap_or(name);
    let faults = format::dns1123_subdomain(bare);
    if !faults.is_empty() {
        errors.push(FieldError::invalid(&path, bare, faults.join(",")));
    } else if bare.split('.').count() < SEGMENTS {
        let detail = "should be a domain with at least three segments separated by dots";
        errors.push(FieldError::invalid(&path, bare, detail));
    }
}

static RULE_WITH_OPERATIONS: &[Check] =
    &[Check::With(operations), Check::With(|it, errors| rule(it, true, errors))];

/// The rules of the operations that something is about.
pub fn operations(rule: &Place<'_>, errors: &mut Errors) {
    const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
    let path = rule.path_of("operations");
    let all = rule.list("operations");
    if all.is_empty() {
        errors.push(FieldError::required(&path, ""));
    }
    if all.len() > 1 && rule.texts("operations").any(|it| it == "*") {
        let detail = "if '*' is present, must not specify other operations";
        errors.push(FieldError::invalid(&path, json!(all), detail));
    }
    for (index, it) in rule.texts("operations").enumerate().filter(|(_, it)| !OPERATIONS.contains(it)) {
        errors.push(FieldError::not_supported(&path.index(index), it, OPERATIONS));
    }
}

/// The rules of the resources that something is about.
pub fn rule(rule: &Place<'_>, with_subresources: bool, errors: &mut Errors) {
    for (name, what) in [("apiGroups", "API groups"), ("apiVersions", "API versions")] {
        let (all, path) = (rule.list(name), rule.path_of(name));
        if all.is_empty() {
            errors.push(FieldError::required(&path, ""));
        }
        if all.len() > 1 && rule.texts(name).any(|it| it == "*") {
            let detail = format!("if '*' is present, must not specify other {what}");
            errors.push(FieldError::invalid(&path, json!(all), detail));
        }
    }
    for (index, _) in rule.texts("apiVersions").enumerate().filter(|(_, it)| it.is_empty()) {
        errors.push(FieldError::required(&rule.path_of("apiVersions").index(index), ""));
    }
    if with_subresources {
        resources(rule, errors)
    } else {
        resources_alone(rule, errors)
    }
    const SCOPES: &[&str] = &["*", "Cluster", "Namespaced"];
    let scope = rule.text("scope");
    if rule.has("scope") && !SCOPES.contains(&scope) {
        errors.push(FieldError::not_supported(&rule.path_of("scope"), scope, SCOPES));
    }
}

fn resources(rule: &Place<'_>, errors: &mut Errors) {
    let path = rule.path_of("resources");
    let all: Vec<&str> = rule.texts("resources").collect();
    if all.is_empty() {
        errors.push(FieldError::required(&path, ""));
    }
    let (mut whole, mut parts) = (BTreeSet::new(), BTreeSet::new());
    let mut plain = false;
    for (index, name) in all.iter().enumerate() {
        let path = path.index(index);
        if name.is_empty() {
            errors.push(FieldError::required(&path, ""));
            continue;
        }
        let Some((resource, part)) = name.split_once('/') else {
            plain = *name != "*";
            continue;
        };
        if whole.contains(resource) {
            let detail = format!("if '{resource}/*' is present, must not specify {name}");
            errors.push(FieldError::invalid(&path, *name, detail));
        }
        if parts.contains(part) {
            let detail = format!("if '*/{part}' is present, must not specify {name}");
            errors.push(FieldError::invalid(&path, *name, detail));
        }
        if part == "*" {
            whole.insert(resource);
        }
        if resource == "*" {
            parts.insert(part);
        }
    }
    let mut invalid = |detail: &str| errors.push(FieldError::invalid(&path, json!(all), detail));
    if all.len() > 1 && all.contains(&"*/*") {
        invalid("if '*/*' is present, must not specify other resources");
    }
    if all.contains(&"*") && plain {
        invalid("if '*' is present, must not specify other resources without subresources");
    }
}

fn resources_alone(rule: &Place<'_>, errors: &mut Errors) {
    let path = rule.path_of("resources");
    let all: Vec<&str> = rule.texts("resources").collect();
    if all.is_empty() {
        errors.push(FieldError::required(&path, ""));
    }
    for (index, name) in all.iter().enumerate() {
        if name.is_empty() {
            errors.push(FieldError::required(&path.index(index), ""));
        }
        if name.contains('/') {
            errors.push(FieldError::invalid(&path.index(index), *name, "must not specify subresources"));
        }
    }
    if all.len() > 1 && all.contains(&"*") {
        let detail = "if '*' is present, must not specify other resources";
        errors.push(FieldError::invalid(&path, json!(all), detail));
    }
}

fn client(hook: &Place<'_>, errors: &mut Errors) {
    let path = hook.path_of("clientConfig");
    let none = Value::Null;
    let client = hook.get("clientConfig").unwrap_or(&none);
    match (client["url"].as_str(), client["service"].is_null()) {
        (None, true) | (Some(_), false) => {
            errors.push(FieldError::required(&path, "exactly one of url or service is required"));
        }
        (Some(url), true) => errors.extend(url_faults(url, &path.child("url"))),
        (None, false) => errors.extend(service_faults(&client["service"], &path.child("service"))),
    }
}

/// What is wrong with the URL of a webhook.
pub fn url_faults(url: &str, path: &FieldPath) -> Vec<FieldError> {
    const FORM: &str = "; desired format: https://host[/path]";
    let invalid = |value: &str, detail: String| FieldError::invalid(path, value, detail);
    let Some((scheme, rest)) = url.split_once("://") else {
        return vec![
            invalid(
                url.split(':').next().filter(|_| url.contains(':')).unwrap_or(""),
                format!("'https' is the only allowed URL scheme{FORM}"),
            ),
            invalid("", format!("host must be specified{FORM}")),
        ];
    };
    let mut errors = Vec::new();
    if scheme != "https" {
        errors.push(invalid(scheme, format!("'https' is the only allowed URL scheme{FORM}")));
    }
    let (before, fragment) = rest.split_once('#').map_or((rest, ""), |(before, fragment)| (before, fragment));
    let (before, query) = before.split_once('?').map_or((before, ""), |(before, query)| (before, query));
    let authority = before.split('/').next().unwrap_or_default();
    let (user, host) = authority.rsplit_once('@').map_or(("", authority), |(user, host)| (user, host));
    if host.is_empty() {
        errors.push(invalid(host, format!("host must be specified{FORM}")));
    }
    if !user.is_empty() {
        errors.push(invalid(user, "user information is not permitted in the URL".to_owned()));
    }
    if !fragment.is_empty() {
        errors.push(invalid(fragment, "fragments are not permitted in the URL".to_owned()));
    }
    if !query.is_empty() {
        errors.push(invalid(query, "query parameters are not permitted in the URL".to_owned()));
    }
    errors
}

/// What is wrong with a reference to the service of a webhook.
pub fn service_faults(service: &Value, path: &FieldPath) -> Vec<FieldError> {
    let mut errors = Vec::new();
    // Upstream takes the one for the other here.
    for (shown, checked) in [("name", "namespace"), ("namespace", "name")] {
        if text(&service[checked]).is_empty() {
            errors.push(FieldError::required(&path.child(shown), ""));
        }
    }
    let port = service["port"].as_i64().unwrap_or(443);
    let faults = format::port_number(port);
    if !faults.is_empty() {
        let detail = format!("port is not valid: {}", faults.join(", "));
        errors.push(FieldError::invalid(&path.child("port"), port, detail));
    }
    let Some(location) = service["path"].as_str().filter(|location| !["/", ""].contains(location)) else {
        return errors;
    };
    let path = path.child("path");
    let Some(rest) = location.strip_prefix('/') else {
        errors.push(FieldError::invalid(&path, location, "must start with a '/'"));
        return errors;
    };
    let steps: Vec<&str> = rest.split('/').collect();
    for (index, step) in steps.iter().enumerate() {
        if step.is_empty() {
            if index + 1 < steps.len() {
                let detail = format!("segment[{index}] may not be empty");
                errors.push(FieldError::invalid(&path, location, detail));
            }
            continue;
        }
        let faults = format::dns1123_subdomain(step).into_iter();
        let details = faults.map(|fault| format!("segment[{index}]: {fault}"));
        errors.extend(details.map(|detail| FieldError::invalid(&path, location, detail)));
    }
    errors
}

fn versions(hook: &Place<'_>, errors: &mut Errors) {
    const KNOWN: &[&str] = &["v1", "v1beta1"];
    let path = hook.path_of("admissionReviewVersions");
    let all = texts(hook.get("admissionReviewVersions").unwrap_or(&Value::Null));
    if all.is_empty() {
        errors.push(FieldError::required(&path, "must specify one of v1, v1beta1"));
        return;
    }
    for (index, version) in all.iter().enumerate() {
        let path = path.index(index);
        if all[..index].contains(version) {
            errors.push(FieldError::invalid(&path, *version, "duplicate version"));
            continue;
        }
        let faults = format::dns1035_label(version);
        errors.extend(faults.into_iter().map(|fault| FieldError::invalid(&path, *version, fault)));
    }
    if !all.iter().any(|version| KNOWN.contains(version)) {
        errors.push(FieldError::invalid(&path, json!(all), "must include at least one of v1, v1beta1"));
    }
}

/// The columns of both.
pub static COLUMNS: &[Column] = &[
    NAME,
    Column::new(
        "Webhooks",
        "integer",
        "Webhooks indicates the number of webhooks registered in this configuration",
        |it, _| size(it, &["webhooks"]),
    ),
    AGE,
];
