//! Flow schemas.

use coracle_api::{FieldError, FieldPath, Object, format};
use serde_json::{Value, json};

use crate::resources::{
    Column, Part, Strategy, Write,
    columns::{AGE, NAME, integer, show},
    keep_metadata, prepare,
    tree::{field, list, number, section, set, text, texts, truth},
};

const HIGHEST: i64 = 10_000;

/// The behaviour of flow schemas.
pub struct FlowSchemas;

impl Strategy for FlowSchemas {
    fn default(&self, object: &mut Object) {
        let spec = object.section_mut("spec");
        if spec.get("matchingPrecedence").map_or(0, number) == 0 {
            spec.insert("matchingPrecedence".to_owned(), 1000.into());
        }
    }

    fn prepare(&self, write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
        prepare(write, new, old);
        keep_metadata(write, new, old);
    }

    fn validate(&self, write: &Write<'_>, new: &Object, _old: Option<&Object>) -> Vec<FieldError> {
        if write.part == Part::Status {
            return condition_types(new);
        }
        let mut errors = spec(new.name(), section(new, "spec"));
        errors.extend(condition_types(new));
        errors
    }

    fn rank(&self) -> Option<fn(&Object) -> i64> {
        Some(|object| number(field(object, &["spec", "matchingPrecedence"])))
    }

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_subdomain(name, prefix)
    }
}

/// The rules of conditions that are told apart by their type.
pub fn condition_types(object: &Object) -> Vec<FieldError> {
    let path = FieldPath::new("status").child("conditions");
    let all = list(field(object, &["status", "conditions"]));
    let mut errors = Vec::new();
    for (index, condition) in all.iter().enumerate() {
        let (kind, path) = (text(&condition["type"]), path.index(index).child("type"));
        if all[..index].iter().any(|it| text(&it["type"]) == kind) {
            errors.push(FieldError::duplicate(&path, kind));
        }
        if kind.is_empty() {
            errors.push(FieldError::required(&path, ""));
        }
    }
    errors
}

fn spec(name: &str, spec: &Value) -> Vec<FieldError> {
    const METHODS: &[&str] = &["ByNamespace", "ByUser"];
    let path = FieldPath::new("spec");
    let mut errors = Vec::new();
    let precedence = number(&spec["matchingPrecedence"]);
    let at = path.child("matchingPrecedence");
    if precedence <= 0 {
        errors.push(FieldError::invalid(&at, precedence, "must be a positive value"));
    }
    if precedence > HIGHEST {
        errors.push(FieldError::invalid(&at, precedence, format!("must not be greater than {HIGHEST}")));
    }
    if precedence == 1 && name != "exempt" {
        let detail = "only the schema named 'exempt' may have matchingPrecedence 1";
        errors.push(FieldError::invalid(&at, precedence, detail));
    }
    let method = &spec["distinguisherMethod"];
    if set(method) && !METHODS.contains(&text(&method["type"])) {
        let path = path.child("distinguisherMethod").child("type");
        // As the internal version has it, where the fields have Go's names.
        let shown = json!({ "Type": text(&method["type"]) });
        errors.push(FieldError::not_supported(&path, shown, METHODS));
    }
    let level = text(&spec["priorityLevelConfiguration"]["name"]);
    let at = path.child("priorityLevelConfiguration").child("name");
    if level.is_empty() {
        errors.push(FieldError::required(&at, "must reference a priority level"));
    } else {
        let faults = format::dns1123_subdomain(level);
        errors.extend(faults.into_iter().map(|fault| FieldError::invalid(&at, level, fault)));
    }
    for (index, rule) in list(&spec["rules"]).iter().enumerate() {
        errors.extend(rules(rule, &path.child("rules").index(index)));
    }
    errors
}

fn rules(rule: &Value, path: &FieldPath) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let subjects = list(&rule["subjects"]);
    if subjects.is_empty() {
        errors
            .push(FieldError::required(&path.child("subjects"), "subjects must contain at least one value"));
    }
    for (index, it) in subjects.iter().enumerate() {
        errors.extend(subject(it, &path.child("subjects").index(index)));
    }
    let (resources, others) = (list(&rule["resourceRules"]), list(&rule["nonResourceRules"]));
    if resources.is_empty() && others.is_empty() {
        let detail = "at least one of resourceRules and nonResourceRules has to be non-empty";
        errors.push(FieldError::required(path, detail));
    }
    for (index, it) in resources.iter().enumerate() {
        errors.extend(resource_rule(it, &path.child("resourceRules").index(index)));
    }
    for (index, it) in others.iter().enumerate() {
        errors.extend(other_rule(it, &path.child("nonResourceRules").index(index)));
    }
    errors
}

fn subject(subject: &Value, path: &FieldPath) -> Vec<FieldError> {
    const KINDS: &[(&str, &str)] =
        &[("ServiceAccount", "serviceAccount"), ("User", "user"), ("Group", "group")];
    let kind = text(&subject["kind"]);
    let Some((_, own)) = KINDS.iter().find(|(it, _)| *it == kind) else {
        let names = &["Group", "ServiceAccount", "User"];
        return vec![FieldError::not_supported(&path.child("kind"), kind, names)];
    };
    let mut errors = Vec::new();
    let (value, at) = (&subject[*own], path.child(own));
    let name = text(&value["name"]);
    if value.is_null() {
        errors.push(FieldError::required(&at, format!("{own} is required when subject kind is '{kind}'")));
    } else if name.is_empty() {
        errors.push(FieldError::required(&at.child("name"), ""));
    }
    if *own == "serviceAccount" && set(value) {
        let of = |path: FieldPath, value: &str, faults: Vec<String>| {
            let value = value.to_owned();
            faults.into_iter().map(move |fault| FieldError::invalid(&path, value.as_str(), fault))
        };
        if !name.is_empty() && name != "*" {
            errors.extend(of(at.child("name"), name, format::dns1123_subdomain(name)));
        }
        match text(&value["namespace"]) {
            "" => errors.push(FieldError::required(
                &at.child("namespace"),
                "must specify namespace for service account",
            )),
            namespace => {
                errors.extend(of(at.child("namespace"), namespace, format::dns1123_label(namespace)))
            }
        }
    }
    for (kind, name) in KINDS.iter().filter(|(_, name)| name != own && set(&subject[*name])) {
        let detail = format!("{name} is forbidden when subject kind is not '{kind}'");
        errors.push(FieldError::forbidden(&path.child(name), detail));
    }
    errors
}

fn verbs(rule: &Value, path: &FieldPath) -> Vec<FieldError> {
    const VERBS: &[&str] =
        &["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];
    let path = path.child("verbs");
    let verbs = texts(&rule["verbs"]);
    if verbs.is_empty() {
        return vec![FieldError::required(&path, "verbs must contain at least one value")];
    }
    if verbs.contains(&"*") {
        let detail = "if '*' is present, must not specify other verbs";
        return if verbs.len() > 1 {
            vec![FieldError::invalid(&path, rule["verbs"].clone(), detail)]
        } else {
            Vec::new()
        };
    }
    if verbs.iter().all(|verb| VERBS.contains(verb)) {
        return Vec::new();
    }
    vec![FieldError::not_supported(&path, rule["verbs"].clone(), VERBS)]
}

fn resource_rule(rule: &Value, path: &FieldPath) -> Vec<FieldError> {
    let mut errors = verbs(rule, path);
    for (name, what, many) in
        [("apiGroups", "api group", "api groups"), ("resources", "resource", "resources")]
    {
        let all = texts(&rule[name]);
        if all.is_empty() {
            let detail = format!("resource rules must supply at least one {what}");
            errors.push(FieldError::required(&path.child(name), detail));
        } else if all.len() > 1 && all.contains(&"*") {
            let detail = format!("if '*' is present, must not specify other {many}");
            errors.push(FieldError::invalid(&path.child(name), rule[name].clone(), detail));
        }
    }
    let (namespaces, at) = (texts(&rule["namespaces"]), path.child("namespaces"));
    if namespaces.is_empty() {
        if !truth(&rule["clusterScope"]) {
            let detail = "resource rules that are not cluster scoped must supply at least one namespace";
            errors.push(FieldError::required(&at, detail));
        }
    } else if namespaces.contains(&"*") {
        if namespaces.len() > 1 {
            let detail = "if '*' is present, must not specify other namespaces";
            errors.push(FieldError::invalid(&at, rule["namespaces"].clone(), detail));
        }
    } else {
        for (index, namespace) in namespaces.into_iter().enumerate() {
            let details = format::dns1123_label(namespace)
                .into_iter()
                .map(|fault| format!("each member of this list must be '*' or a DNS-1123 label; {fault}"));
            errors.extend(details.map(|detail| FieldError::invalid(&at.index(index), namespace, detail)));
        }
    }
    errors
}

fn other_rule(rule: &Value, path: &FieldPath) -> Vec<FieldError> {
    let mut errors = verbs(rule, path);
    let (urls, at) = (texts(&rule["nonResourceURLs"]), path.child("nonResourceURLs"));
    if urls.is_empty() {
        errors.push(FieldError::required(&at, "nonResourceURLs must contain at least one value"));
    } else if urls.contains(&"*") {
        if urls.len() > 1 {
            let detail = "if '*' is present, must not specify other non-resource URLs";
            errors.push(FieldError::invalid(&at, rule["nonResourceURLs"].clone(), detail));
        }
    } else {
        for (index, url) in urls.into_iter().enumerate() {
            errors.extend(url_fault(url).map(|fault| FieldError::invalid(&at.index(index), url, fault)));
        }
    }
    errors
}

fn url_fault(url: &str) -> Option<&'static str> {
    let wild = url.matches('*').count();
    match url {
        "" => Some("must not be empty"),
        "/" => None,
        _ if !url.starts_with('/') => Some("must start with slash"),
        _ if url.contains(' ') => Some("must not contain white-space"),
        _ if url.contains("//") => Some("must not contain double slash"),
        _ if wild > 1 || (wild == 1 && !url.ends_with("/*")) => Some("wildcard can only do suffix matching"),
        _ => None,
    }
}

fn method(schema: &Object) -> Value {
    let method = field(schema, &["spec", "distinguisherMethod"]);
    if method.is_null() { "<none>".into() } else { text(&method["type"]).into() }
}

fn dangling(schema: &Object) -> &str {
    let conditions = list(field(schema, &["status", "conditions"]));
    conditions.iter().find(|it| text(&it["type"]) == "Dangling").map_or("?", |it| text(&it["status"]))
}

/// The columns.
pub static COLUMNS: &[Column] = &[
    NAME,
    Column::new(
        "PriorityLevel",
        "string",
        "`name` is the name of the priority level configuration being referenced Required.",
        |it, _| show(it, &["spec", "priorityLevelConfiguration", "name"]),
    ),
    Column::new(
        "MatchingPrecedence",
        "string",
        "`matchingPrecedence` is used to choose among the FlowSchemas that match a given request. The chosen FlowSchema is among those with the numerically lowest (which we take to be logically highest) MatchingPrecedence.  Each MatchingPrecedence value must be ranged in [1,10000]. Note that if the precedence is not specified, it will be set to 1000 as default.",
        |it, _| integer(it, &["spec", "matchingPrecedence"]),
    ),
    Column::new(
        "DistinguisherMethod",
        "string",
        "`distinguisherMethod` defines how to compute the flow distinguisher for requests that match this schema. `nil` specifies that the distinguisher is disabled and thus will always be the empty string.",
        |it, _| method(it),
    ),
    AGE,
    Column::new(
        "MissingPL",
        "string",
        "references a broken or non-existent PriorityLevelConfiguration",
        |it, _| dangling(it).into(),
    ),
];
