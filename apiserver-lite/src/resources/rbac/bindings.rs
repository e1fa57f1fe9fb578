//! Role bindings and cluster role bindings.

use coracle_api::{FieldError, FieldPath, Object, format};
use serde_json::{Map, Value};

use crate::resources::{
    Column, Strategy, Write,
    columns::{AGE, NAME, wide},
    declared::{self, Declared, Must},
    rules::{IMMUTABLE, Place},
    tree::{list, map_mut, objects_mut, or_default, section, text},
    workloads::showing,
};

/// The group.
pub const GROUP: &str = "rbac.authorization.k8s.io";

/// The behaviour of role bindings.
pub struct RoleBindings;

/// The behaviour of cluster role bindings.
pub struct ClusterRoleBindings;

impl Strategy for RoleBindings {
    fn default(&self, object: &mut Object) {
        default(&mut object.0);
    }

    fn validate(&self, _write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        binding(new, old, &["Role", "ClusterRole"], true)
    }

    fn name(&self, name: &str, _prefix: bool) -> Vec<String> {
        format::path_segment_name(name)
    }

    fn creates_on_update(&self) -> bool {
        true
    }
}

impl Strategy for ClusterRoleBindings {
    fn default(&self, object: &mut Object) {
        default(&mut object.0);
    }

    fn validate(&self, _write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        binding(new, old, &["ClusterRole"], false)
    }

    fn name(&self, name: &str, _prefix: bool) -> Vec<String> {
        format::path_segment_name(name)
    }

    fn creates_on_update(&self) -> bool {
        true
    }
}

fn default(binding: &mut Map<String, Value>) {
    or_default(map_mut(binding, "roleRef"), "apiGroup", GROUP);
    for subject in objects_mut(binding, "subjects") {
        default_subject(subject);
    }
}

/// The defaults of a subject.
pub fn default_subject(subject: &mut Map<String, Value>) {
    if ["User", "Group"].contains(&subject.get("kind").map_or("", text)) {
        or_default(subject, "apiGroup", GROUP);
    }
}

fn binding(new: &Object, old: Option<&Object>, kinds: &[&str], namespaced: bool) -> Vec<FieldError> {
    let path = FieldPath::new("roleRef");
    let role = section(new, "roleRef");
    let mut errors = Vec::new();
    let (group, kind, name) = (text(&role["apiGroup"]), text(&role["kind"]), text(&role["name"]));
    if group != GROUP {
        errors.push(FieldError::not_supported(&path.child("apiGroup"), group, &[GROUP]));
    }
    if !kinds.contains(&kind) {
        errors.push(FieldError::not_supported(&path.child("kind"), kind, kinds));
    }
    if !name.is_empty() {
        let faults = format::path_segment_name(name);
        errors.extend(faults.into_iter().map(|fault| FieldError::invalid(&path.child("name"), name, fault)));
    }
    for (index, it) in list(section(new, "subjects")).iter().enumerate() {
        errors.extend(subject(it, namespaced, &FieldPath::new("subjects").index(index)));
    }
    if old.is_some_and(|old| section(old, "roleRef") != role) {
        errors.push(showing(FieldError::invalid(&path, role.clone(), IMMUTABLE), "RoleRef", role));
    }
    declared::check(DECLARED, &Place::object(new, old), &mut errors);
    errors
}

static DECLARED: &[Declared] = &[
    Declared::Field("subjects", &[Must::Each(&[], &[Declared::Field("name", &[Must::Required])])]),
    Declared::Part("roleRef", &[Declared::Field("name", &[Must::Required])]),
];

fn subject(subject: &Value, namespaced: bool, path: &FieldPath) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (kind, name, group) = (text(&subject["kind"]), text(&subject["name"]), text(&subject["apiGroup"]));
    match kind {
        "ServiceAccount" => {
            if !name.is_empty() {
                let faults = format::dns1123_subdomain(name);
                let path = path.child("name");
                errors.extend(faults.into_iter().map(|fault| FieldError::invalid(&path, name, fault)));
            }
            if !group.is_empty() {
                errors.push(FieldError::not_supported(&path.child("apiGroup"), group, &[""]));
            }
            if !namespaced && text(&subject["namespace"]).is_empty() {
                errors.push(FieldError::required(&path.child("namespace"), ""));
            }
        }
        "User" | "Group" if group != GROUP => {
            errors.push(FieldError::not_supported(&path.child("apiGroup"), group, &[GROUP]));
        }
        "User" | "Group" => {}
        _ => {
            let kinds = &["ServiceAccount", "User", "Group"];
            errors.push(FieldError::not_supported(&path.child("kind"), kind, kinds));
        }
    }
    errors
}

fn role(binding: &Object) -> Value {
    let role = section(binding, "roleRef");
    format!("{}/{}", text(&role["kind"]), text(&role["name"])).into()
}

fn subjects(binding: &Object, kind: &str) -> Value {
    let all = list(section(binding, "subjects")).iter().filter(|it| text(&it["kind"]) == kind);
    let shown: Vec<String> = all
        .map(|it| match kind {
            "ServiceAccount" => format!("{}/{}", text(&it["namespace"]), text(&it["name"])),
            _ => text(&it["name"]).to_owned(),
        })
        .collect();
    shown.join(", ").into()
}

/// The columns of role bindings.
pub static COLUMNS: &[Column] = &[
    NAME,
    Column::new(
        "Role",
        "string",
        "roleRef can reference a Role in the current namespace or a ClusterRole in the global namespace. If the RoleRef cannot be resolved, the Authorizer must return an error.",
        |it, _| role(it),
    ),
    AGE,
    wide(Column::new("Users", "string", "Users in the roleBinding", |it, _| subjects(it, "User"))),
    wide(Column::new("Groups", "string", "Groups in the roleBinding", |it, _| subjects(it, "Group"))),
    wide(Column::new("ServiceAccounts", "string", "ServiceAccounts in the roleBinding", |it, _| {
        subjects(it, "ServiceAccount")
    })),
];

/// The columns of cluster role bindings.
pub static CLUSTER_COLUMNS: &[Column] = &[
    NAME,
    Column::new(
        "Role",
        "string",
        "roleRef can only reference a ClusterRole in the global namespace. If the RoleRef cannot be resolved, the Authorizer must return an error.",
        |it, _| role(it),
    ),
    AGE,
    wide(Column::new("Users", "string", "Users in the clusterRoleBinding", |it, _| subjects(it, "User"))),
    wide(Column::new("Groups", "string", "Groups in the clusterRoleBinding", |it, _| subjects(it, "Group"))),
    wide(Column::new("ServiceAccounts", "string", "ServiceAccounts in the clusterRoleBinding", |it, _| {
        subjects(it, "ServiceAccount")
    })),
];
