//! The definitions of a document: one for each struct that its kinds reach.

use std::collections::{BTreeMap, HashSet};

use coracle_api::{
    GroupVersionKind, Resource, facts,
    schema::{Field, ListKind, Shape, Struct},
};
use serde_json::{Map, Value, json};

use super::{Form, custom, descriptions::Descriptions};

/// The name of metav1.ListMeta's definition.
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";

/// The name of metav1.ObjectMeta's definition.
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// The name of metav1.Patch's definition: any JSON.
const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";

/// Gathers definitions; [`Self::finish`] gives them all.
pub struct Definitions<'a> {
    form: Form,
    structs: BTreeMap<&'a str, &'a Struct>,
    roots: HashSet<&'a str>,
    kinds: BTreeMap<&'a str, &'a GroupVersionKind>,
    lists: Vec<&'a Resource>,
    // What CRDs say, by the name of the definition.
    said: BTreeMap<&'a str, (&'a Resource, Value)>,
    specials: HashSet<&'static str>,
}

impl<'a> Definitions<'a> {
    /// None yet.
    pub fn new(form: Form) -> Self {
        let (structs, roots, kinds) = (BTreeMap::new(), HashSet::new(), BTreeMap::new());
        Self {
            form,
            structs,
            roots,
            kinds,
            lists: Vec::new(),
            said: BTreeMap::new(),
            specials: HashSet::new(),
        }
    }

    /// The form that the definitions have.
    pub fn form(&self) -> Form {
        self.form
    }

    /// A reference to a struct, which is added with all that it holds.
    pub fn add(&mut self, it: &'a Struct) -> Value {
        self.roots.insert(&it.name);
        self.reach(it);
        self.form.reference(&it.name)
    }

    /// A reference to a kind.
    pub fn add_kind(&mut self, kind: &'a GroupVersionKind, it: &'a Struct) -> Value {
        self.kinds.insert(&it.name, kind);
        self.add(it)
    }

    /// Tells what the CRD of a resource says of it.
    pub fn add_custom(&mut self, resource: &'a Resource, said: Value) {
        self.said.insert(&resource.schema.name, (resource, said));
        // What they all have is told of with this.
        self.roots.insert(OBJECT_META);
    }

    /// A reference to the list of a resource.
    pub fn add_list(&mut self, resource: &'a Resource) -> Value {
        if !self.lists.iter().any(|it| it.gvk == resource.gvk) {
            self.lists.push(resource);
        }
        self.add(&facts::meta_v1::LIST_META);
        self.form.reference(&list_name(resource))
    }

    /// A reference to what patches are.
    pub fn add_patch(&mut self) -> Value {
        self.specials.insert(PATCH);
        self.form.reference(PATCH)
    }

    fn reach(&mut self, it: &'a Struct) {
        // Where a field overrides its type's map type there are two structs of
        // a name; the atomic one is the definition.
        let known = self.structs.get(&*it.name).is_some_and(|known| known.atomic || !it.atomic);
        if !known && named(it) {
            self.structs.insert(&it.name, it);
        }
        if !known {
            it.fields.iter().for_each(|field| self.reach_shape(&field.shape));
        }
    }

    fn reach_shape(&mut self, shape: &'a Shape) {
        match shape {
            Shape::Struct(it) => self.reach(it),
            Shape::List(it) => self.reach_shape(&it.element),
            Shape::Map(it) => self.reach_shape(&it.value),
            _ => self.specials.extend(special(shape)),
        }
    }

    /// All definitions by name.
    pub fn finish(self) -> Map<String, Value> {
        let writer = Writer {
            form: self.form,
            structs: &self.structs,
            texts: Descriptions::of(self.roots.into_iter()),
        };
        let mut all = Map::new();
        for it in self.structs.values() {
            if let Some((resource, said)) = self.said.get(&*it.name) {
                all.insert(it.name.to_string(), custom::definition(self.form, resource, said));
                continue;
            }
            let mut definition = writer.object(it);
            if let Some(kind) = self.kinds.get(&*it.name) {
                definition["x-kubernetes-group-version-kind"] = json!([kind_of(kind)]);
            }
            all.insert(it.name.to_string(), definition);
        }
        for resource in self.lists {
            let list = match self.said.get(&*resource.schema.name) {
                Some((_, said)) => custom::list_definition(self.form, resource, said),
                None => writer.list(resource),
            };
            all.insert(list_name(resource), list);
        }
        for (name, schema) in specials(self.form) {
            if self.specials.contains(name) {
                all.insert(name.to_owned(), schema);
            }
        }
        all
    }
}

/// `x-kubernetes-group-version-kind` of a kind.
pub fn kind_of(kind: &GroupVersionKind) -> Value {
    json!({ "group": kind.group, "version": kind.version, "kind": kind.kind })
}

fn list_name(resource: &Resource) -> String {
    let (name, kind) = (&resource.schema.name, &resource.gvk.kind);
    match name.strip_suffix(kind.as_ref()).filter(|_| resource.schema.is_custom()) {
        Some(package) => format!("{package}{}", resource.list_kind),
        None => format!("{name}List"),
    }
}

// Structs of CRDs below the root have no definition of their own.
fn named(it: &Struct) -> bool {
    it.name.contains('.')
}

struct Writer<'a> {
    form: Form,
    structs: &'a BTreeMap<&'a str, &'a Struct>,
    texts: Descriptions,
}

impl Writer<'_> {
    fn object(&self, it: &Struct) -> Value {
        let mut schema = json!({ "type": "object" });
        if let Some(text) = self.texts.definition(&it.name) {
            schema["description"] = text.into();
        }
        if !it.fields.is_empty() {
            let properties = it.fields.iter().map(|field| (field.name.to_string(), self.field(it, field)));
            schema["properties"] = properties.collect::<Map<_, _>>().into();
        }
        let required: Vec<_> =
            it.fields.iter().filter(|field| field.required).map(|field| &field.name).collect();
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        if it.atomic {
            schema["x-kubernetes-map-type"] = "atomic".into();
        }
        if it.open {
            schema["x-kubernetes-preserve-unknown-fields"] = true.into();
        }
        schema
    }

    fn field(&self, of: &Struct, field: &Field) -> Value {
        let mut schema = match &field.shape {
            // What a CRD's schema holds as JSON may be of any type.
            Shape::Any if of.go_name() == "JSONSchemaProps" => json!({}),
            shape => self.shape(shape),
        };
        let text = self.texts.field(&of.name, &field.name);
        let default = field.default.as_deref().filter(|_| self.form == Form::V3);
        let default = default.and_then(|text| serde_json::from_str::<Value>(text).ok());
        // OpenAPI 3.0 ignores what stands beside a reference.
        if self.form == Form::V3 && (text.is_some() || default.is_some()) && schema.get("$ref").is_some() {
            schema = json!({ "allOf": [schema] });
        }
        if let Some(text) = text {
            schema["description"] = text.into();
        }
        if let Some(default) = default {
            schema["default"] = default;
        }
        if let Shape::Struct(it) = &field.shape
            && !it.atomic
            && self.structs.get(&*it.name).is_some_and(|known| known.atomic)
        {
            schema["x-kubernetes-map-type"] = "granular".into();
        }
        if let Some(key) = field.patch.key {
            schema["x-kubernetes-patch-merge-key"] = key.into();
        }
        let strategies = [
            (field.patch.merge, "merge"),
            (field.patch.retain_keys, "retainKeys"),
            (field.patch.replace, "replace"),
        ];
        let strategies: Vec<_> = strategies.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect();
        if !strategies.is_empty() {
            schema["x-kubernetes-patch-strategy"] = strategies.join(",").into();
        }
        schema
    }

    fn shape(&self, shape: &Shape) -> Value {
        if let Some(name) = special(shape) {
            return self.form.reference(name);
        }
        match shape {
            Shape::String => json!({ "type": "string" }),
            Shape::Bool => json!({ "type": "boolean" }),
            Shape::Int32 => json!({ "type": "integer", "format": "int32" }),
            Shape::Int64 => json!({ "type": "integer", "format": "int64" }),
            Shape::Float64 => json!({ "type": "number", "format": "double" }),
            Shape::Bytes => json!({ "type": "string", "format": "byte" }),
            Shape::Struct(it) if named(it) => self.form.reference(&it.name),
            Shape::Struct(it) => self.object(it),
            Shape::List(it) => {
                let mut schema = json!({ "type": "array", "items": self.shape(&it.element) });
                match &it.kind {
                    ListKind::Atomic => schema["x-kubernetes-list-type"] = "atomic".into(),
                    ListKind::Set => schema["x-kubernetes-list-type"] = "set".into(),
                    ListKind::Map(keys) => {
                        schema["x-kubernetes-list-type"] = "map".into();
                        schema["x-kubernetes-list-map-keys"] = json!(keys);
                    }
                }
                schema
            }
            Shape::Map(it) => {
                let mut schema = json!({ "type": "object", "additionalProperties": self.shape(&it.value) });
                if it.atomic {
                    schema["x-kubernetes-map-type"] = "atomic".into();
                }
                schema
            }
            _ => json!({}),
        }
    }

    fn list(&self, resource: &Resource) -> Value {
        let mut kind = kind_of(&resource.gvk);
        kind["kind"] = resource.list_kind.as_ref().into();
        let mut metadata = self.form.reference(LIST_META);
        if self.form == Form::V3 {
            metadata = json!({ "allOf": [metadata], "default": {} });
        }
        json!({
            "description": format!("A list of {}.", resource.plural),
            "type": "object",
            "properties": {
                "apiVersion": { "type": "string" },
                "kind": { "type": "string" },
                "metadata": metadata,
                "items": { "type": "array", "items": self.form.reference(&resource.schema.name) },
            },
            "required": ["items"],
            "x-kubernetes-group-version-kind": [kind],
        })
    }
}

// The definition of a type that marshals itself.
fn special(shape: &Shape) -> Option<&'static str> {
    Some(match shape {
        Shape::Time => "io.k8s.apimachinery.pkg.apis.meta.v1.Time",
        Shape::MicroTime => "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime",
        Shape::Duration => "io.k8s.apimachinery.pkg.apis.meta.v1.Duration",
        Shape::Quantity => "io.k8s.apimachinery.pkg.api.resource.Quantity",
        Shape::IntOrString => "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
        Shape::FieldsV1 => "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
        Shape::Any => "io.k8s.apimachinery.pkg.runtime.RawExtension",
        _ => return None,
    })
}

// All of those, in a form of OpenAPI.
fn specials(form: Form) -> [(&'static str, Value); 8] {
    let text = json!({ "type": "string" });
    let time = json!({ "type": "string", "format": "date-time" });
    let (quantity, number_or_text) = match form {
        Form::V2 => (text.clone(), json!({ "type": "string", "format": "int-or-string" })),
        Form::V3 => (
            json!({ "oneOf": [{ "type": "string" }, { "type": "number" }] }),
            json!({ "format": "int-or-string", "oneOf": [{ "type": "integer" }, { "type": "string" }] }),
        ),
    };
    [
        (PATCH, json!({ "type": "object" })),
        ("io.k8s.apimachinery.pkg.apis.meta.v1.Time", time.clone()),
        ("io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime", time),
        ("io.k8s.apimachinery.pkg.apis.meta.v1.Duration", text),
        ("io.k8s.apimachinery.pkg.api.resource.Quantity", quantity),
        ("io.k8s.apimachinery.pkg.util.intstr.IntOrString", number_or_text),
        ("io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1", json!({ "type": "object" })),
        ("io.k8s.apimachinery.pkg.runtime.RawExtension", json!({ "type": "object" })),
    ]
}
