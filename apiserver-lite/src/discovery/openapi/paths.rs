//! The paths of a version: for every resource and subresource, the operations
//! that its verbs allow.

use coracle_api::{GroupVersionKind, facts::meta_v1, resource::Subresource, schema::Struct};
use serde_json::{Map, Value, json};

use super::{
    definitions::{self, Definitions},
    operations::{self, Operation, Parameter},
};
use crate::discovery::groups::{Group, Served, Version, custom};

const LIST: &[Parameter] = &[
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];

const WRITE: &[Parameter] =
    &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];

const DELETE: &[Parameter] = &[
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("ignoreStoreReadErrorWithClusterBreakingPotential", "boolean"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];

/// The paths of a version; what they need of definitions is added to those.
pub fn of<'a>(
    group: &'a Group,
    version: &'a Version,
    definitions: &mut Definitions<'a>,
) -> Map<String, Value> {
    let root = format!("/{}/", super::name(group, version));
    let mut paths = Map::new();
    for resource in &version.resources {
        if let Some(said) = resource.said() {
            definitions.add_custom(resource, said);
        }
        let place = Place { root: &root, resource, custom: custom(resource) };
        place.collection(&mut paths, definitions);
        place.object(&mut paths, definitions);
        for subresource in resource.subresources.iter() {
            place.subresource(subresource, &mut paths, definitions);
        }
    }
    paths
}

// A resource, and where its paths begin.
struct Place<'a, 'b> {
    root: &'b str,
    resource: &'a Served,
    custom: bool,
}

// What an operation takes and gives.
struct Body<'a> {
    kind: &'a GroupVersionKind,
    schema: &'a Struct,
}

impl<'a> Place<'a, '_> {
    fn verb(&self, verb: &str) -> bool {
        self.resource.verbs.iter().any(|it| it == verb)
    }

    fn own(&self) -> Body<'a> {
        Body { kind: &self.resource.gvk, schema: &self.resource.schema }
    }

    /// List, create, delete the collection; and the list of all namespaces.
    fn collection(&self, paths: &mut Map<String, Value>, definitions: &mut Definitions<'a>) {
        let mut item = Map::new();
        if self.verb("list") {
            let list = definitions.add_list(self.resource);
            let one = self.operation("get", "list", self.id("list", "", ""), LIST, list.clone());
            if self.resource.namespaced {
                let id = format!("list{}{}ForAllNamespaces", self.version(), self.resource.gvk.kind);
                let all = self.operation("get", "list", id, LIST, list);
                let path = format!("{}{}", self.root, self.resource.plural);
                let mut item = Map::new();
                self.put(&mut item, all, definitions);
                insert(paths, path, item, &[], definitions);
            }
            self.put(&mut item, one, definitions);
        }
        if self.verb("create") {
            let create = self.write("post", "post", self.id("create", "", ""), &self.own(), definitions);
            self.put(&mut item, create, definitions);
        }
        if self.verb("deletecollection") {
            let parameters = LIST.iter().filter(|(name, _)| !["watch", "allowWatchBookmarks"].contains(name));
            let mut delete =
                self.delete("deletecollection", self.id("delete", "Collection", ""), definitions);
            delete.parameters.extend(parameters);
            delete.parameters.sort_unstable();
            self.put(&mut item, delete, definitions);
        }
        insert(paths, self.path(""), item, self.segments(false), definitions);
    }

    /// Get, replace, patch and delete one object.
    fn object(&self, paths: &mut Map<String, Value>, definitions: &mut Definitions<'a>) {
        let mut item = Map::new();
        if self.verb("get") {
            let kind = definitions.add_kind(&self.resource.gvk, &self.resource.schema);
            let get = self.operation("get", "get", self.id("read", "", ""), &[], kind);
            self.put(&mut item, get, definitions);
        }
        self.updates(&self.resource.verbs, &self.own(), "", &mut item, definitions);
        if self.verb("delete") {
            let delete = self.delete("delete", self.id("delete", "", ""), definitions);
            self.put(&mut item, delete, definitions);
        }
        insert(paths, self.path("/{name}"), item, self.segments(true), definitions);
    }

    fn subresource(
        &self,
        it: &'a Subresource,
        paths: &mut Map<String, Value>,
        definitions: &mut Definitions<'a>,
    ) {
        let mut item = Map::new();
        let suffix = capital(&it.name);
        match &it.schema {
            // Streams: whatever goes through them is no object.
            None => {
                for (verb, method) in [
                    ("get", "get"),
                    ("create", "post"),
                    ("update", "put"),
                    ("delete", "delete"),
                    ("patch", "patch"),
                ] {
                    if it.verbs.iter().any(|own| own == verb) {
                        let id = self.id("connect", &capital(method), &suffix);
                        let mut connect = self.operation(method, "connect", id, &[], Value::Null);
                        (connect.kind, connect.response) = (definitions::kind_of(&it.gvk), None);
                        self.put(&mut item, connect, definitions);
                    }
                }
            }
            Some(schema) => {
                let body = Body { kind: &it.gvk, schema };
                let kind = definitions.add_kind(&it.gvk, schema);
                if it.verbs.iter().any(|verb| verb == "get") {
                    let mut get = self.operation("get", "get", self.id("read", "", &suffix), &[], kind);
                    get.kind = definitions::kind_of(&it.gvk);
                    if it.name == "log" {
                        get.response = None;
                    }
                    self.put(&mut item, get, definitions);
                }
                if it.verbs.iter().any(|verb| verb == "create") {
                    let create =
                        self.write("post", "post", self.id("create", "", &suffix), &body, definitions);
                    self.put(&mut item, create, definitions);
                }
                self.updates(&it.verbs, &body, &suffix, &mut item, definitions);
            }
        }
        insert(paths, self.path(&format!("/{{name}}/{}", it.name)), item, self.segments(true), definitions);
    }

    // PUT and PATCH.
    fn updates(
        &self,
        verbs: &[std::borrow::Cow<'static, str>],
        body: &Body<'a>,
        suffix: &str,
        item: &mut Map<String, Value>,
        definitions: &mut Definitions<'a>,
    ) {
        if verbs.iter().any(|verb| verb == "update") {
            let put = self.write("put", "put", self.id("replace", "", suffix), body, definitions);
            self.put(item, put, definitions);
        }
        if verbs.iter().any(|verb| verb == "patch") {
            let mut patch = self.write("patch", "patch", self.id("patch", "", suffix), body, definitions);
            let mut types = vec![
                "application/apply-patch+yaml",
                "application/json-patch+json",
                "application/merge-patch+json",
            ];
            if !self.custom {
                types.push("application/strategic-merge-patch+json");
            }
            patch.body = Some((definitions.add_patch(), types));
            patch.parameters.push(("force", "boolean"));
            self.put(item, patch, definitions);
        }
    }

    fn operation(
        &self,
        method: &'static str,
        action: &'static str,
        id: String,
        parameters: &[Parameter],
        response: Value,
    ) -> Operation {
        Operation {
            method,
            action,
            id,
            tag: format!("{}_{}", lower(&camel(&self.resource.gvk.group)), self.resource.gvk.version),
            kind: definitions::kind_of(&self.resource.gvk),
            parameters: parameters.to_vec(),
            body: None,
            response: Some(response),
            codes: &["200"],
        }
    }

    fn write(
        &self,
        method: &'static str,
        action: &'static str,
        id: String,
        body: &Body<'a>,
        definitions: &mut Definitions<'a>,
    ) -> Operation {
        let kind = definitions.add_kind(body.kind, body.schema);
        Operation {
            kind: definitions::kind_of(body.kind),
            body: Some((kind.clone(), vec!["*/*"])),
            codes: if method == "post" { &["200", "201", "202"] } else { &["200", "201"] },
            ..self.operation(method, action, id, WRITE, kind)
        }
    }

    fn delete(&self, action: &'static str, id: String, definitions: &mut Definitions<'a>) -> Operation {
        let status = definitions.add(&meta_v1::STATUS);
        Operation {
            body: Some((definitions.add(&meta_v1::DELETE_OPTIONS), vec!["*/*"])),
            codes: if action == "delete" { &["200", "202"] } else { &["200"] },
            ..self.operation("delete", action, id, DELETE, status)
        }
    }

    fn put(&self, item: &mut Map<String, Value>, operation: Operation, definitions: &Definitions<'a>) {
        item.insert(operation.method.to_owned(), operation.write(definitions.form()));
    }

    // `AppsV1`
    fn version(&self) -> String {
        format!("{}{}", camel(&self.resource.gvk.group), capital(&self.resource.gvk.version))
    }

    // `patchAppsV1NamespacedDeploymentScale`
    fn id(&self, verb: &str, infix: &str, suffix: &str) -> String {
        let scope = if self.resource.namespaced { "Namespaced" } else { "" };
        format!("{verb}{}{infix}{scope}{}{suffix}", self.version(), self.resource.gvk.kind)
    }

    fn path(&self, rest: &str) -> String {
        let scope = if self.resource.namespaced { "namespaces/{namespace}/" } else { "" };
        format!("{}{scope}{}{rest}", self.root, self.resource.plural)
    }

    // The parameters in the path.
    fn segments(&self, named: bool) -> &'static [&'static str] {
        match (named, self.resource.namespaced) {
            (true, true) => &["name", "namespace"],
            (true, false) => &["name"],
            (false, true) => &["namespace"],
            (false, false) => &[],
        }
    }
}

fn insert(
    paths: &mut Map<String, Value>,
    path: String,
    mut item: Map<String, Value>,
    segments: &[&str],
    definitions: &Definitions<'_>,
) {
    if item.is_empty() {
        return;
    }
    let form = definitions.form();
    let segments = segments.iter().map(|name| operations::segment(form, name));
    let pretty = operations::query(form, &("pretty", "string"));
    item.insert("parameters".to_owned(), segments.chain([pretty]).collect::<Vec<_>>().into());
    paths.insert(path, json!(item));
}

// `rbac.authorization.k8s.io` is `RbacAuthorization`, the core group `Core`.
fn camel(group: &str) -> String {
    let name = group.strip_suffix(".k8s.io").unwrap_or(group);
    let name = if name.is_empty() { "core" } else { name };
    name.split(['.', '-']).map(capital).collect()
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn lower(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}
