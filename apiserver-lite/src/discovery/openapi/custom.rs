//! The definitions of custom resources: what their CRD says, with what all
//! objects have.

use coracle_api::Resource;
use serde_json::{Map, Value, json};

use super::{Form, definitions::kind_of};
use crate::resources::tree::{list, text, truth};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";
const API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const KIND: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const METADATA: &str = "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
const LIST_METADATA: &str = "Standard list metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const OWN_API_VERSION: &str = "apiVersion defines the versioned schema of this representation of an object. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const OWN_KIND: &str = "kind is a string value representing the type of this object. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";

const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";
const EMBEDDED: &str = "x-kubernetes-embedded-resource";

/// The definition of a kind from what its CRD says of the version.
pub fn definition(form: Form, resource: &Resource, version: &Value) -> Value {
    let schema = &version["schema"]["openAPIV3Schema"];
    let opens = form == Form::V2 && truth(&schema[PRESERVE]);
    let mut made = if !schema.is_object() || opens {
        json!({ "type": "object" })
    } else {
        let mut made = schema.clone();
        publish(&mut made, form);
        made["properties"]["metadata"] = reference(form, "ObjectMeta", METADATA);
        made["properties"]["apiVersion"] = described("string", API_VERSION);
        made["properties"]["kind"] = described("string", KIND);
        made
    };
    made["x-kubernetes-group-version-kind"] = json!([kind_of(&resource.gvk)]);
    selectable(&mut made, version);
    made
}

/// The definition of its list.
pub fn list_definition(form: Form, resource: &Resource, version: &Value) -> Value {
    let mut kind = kind_of(&resource.gvk);
    kind["kind"] = resource.list_kind.as_ref().into();
    let items = format!(
        "List of {}. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md",
        resource.plural
    );
    let mut made = json!({
        "description": format!("{} is a list of {}", resource.list_kind, resource.gvk.kind),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": described("string", API_VERSION),
            "kind": described("string", KIND),
            "metadata": reference(form, "ListMeta", LIST_METADATA),
            "items": { "description": items, "type": "array", "items": form.reference(&resource.schema.name) },
        },
        "x-kubernetes-group-version-kind": [kind],
    });
    selectable(&mut made, version);
    made
}

fn described(kind: &str, text: &str) -> Value {
    json!({ "description": text, "type": kind })
}

fn reference(form: Form, name: &str, description: &str) -> Value {
    let it = form.reference(&format!("{META}{name}"));
    let mut made = match form {
        Form::V2 => it,
        Form::V3 => json!({ "allOf": [it] }),
    };
    made["description"] = description.into();
    made
}

fn selectable(made: &mut Value, version: &Value) {
    let fields = list(&version["selectableFields"]);
    if fields.is_empty() {
        return;
    }
    let path = |it: &Value| json!({ "fieldPath": text(&it["jsonPath"]).trim_start_matches('.') });
    made["x-kubernetes-selectable-fields"] = fields.iter().map(path).collect();
}

// Brings a schema and all within into the form that is published.
fn publish(schema: &mut Value, form: Form) {
    match form {
        Form::V2 => simplify(schema),
        Form::V3 => unfold(schema),
    }
    let Some(map) = schema.as_object_mut() else { return };
    if let Some(Value::Object(properties)) = map.get_mut("properties") {
        properties.values_mut().for_each(|it| publish(it, form));
    }
    for name in ["items", "additionalProperties"] {
        if let Some(inner) = map.get_mut(name).filter(|it| it.is_object()) {
            publish(inner, form);
        }
    }
    embed(map, form);
}

// Says in plain OpenAPI what an int-or-string is.
fn unfold(schema: &mut Value) {
    let either = json!([{ "type": "integer" }, { "type": "string" }]);
    if !truth(&schema["x-kubernetes-int-or-string"]) {
        return;
    }
    let first = schema["allOf"].get(0).map_or(Value::Null, |it| it["anyOf"].clone());
    if schema["anyOf"] == either || first == either {
        return;
    }
    let Some(map) = schema.as_object_mut() else { return };
    if !map.contains_key("anyOf") {
        map.insert("anyOf".to_owned(), either);
        return;
    }
    let mut all = vec![json!({ "anyOf": either })];
    all.extend(list(map.get("allOf").unwrap_or(&Value::Null)).iter().cloned());
    map.insert("allOf".to_owned(), all.into());
}

// Leaves out what OpenAPI v2 does not have, or kubectl does not understand.
fn simplify(schema: &mut Value) {
    let nullables: Vec<String> = schema["properties"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, it)| truth(&it["nullable"]))
        .map(|(name, _)| name.clone())
        .collect();
    let entries_nullable = truth(&schema["additionalProperties"]["nullable"]);
    let Some(map) = schema.as_object_mut() else { return };
    for name in ["allOf", "anyOf", "oneOf", "not", "default"] {
        map.remove(name);
    }
    let says = |map: &Map<String, Value>, name: &str| map.get(name).is_some_and(truth);
    if says(map, "nullable") {
        ["type", "nullable", "items", "properties"].into_iter().for_each(|name| drop(map.remove(name)));
    }
    if says(map, PRESERVE) {
        map.remove("items");
        map.remove("properties");
        if map.get("type").is_some_and(|it| it == "object") {
            map.remove("type");
        }
    }
    if !map.contains_key("items") && map.get("type").is_some_and(|it| it == "array") {
        map.remove("type");
    }
    if let Some(Value::Array(required)) = map.get_mut("required") {
        required.retain(|it| !nullables.iter().any(|name| it == name.as_str()) && !entries_nullable);
        if required.is_empty() {
            map.remove("required");
        }
    }
}

fn embed(map: &mut Map<String, Value>, form: Form) {
    let says = |name: &str| map.get(name).is_some_and(truth);
    if !says(EMBEDDED) || (form == Form::V2 && says(PRESERVE)) {
        return;
    }
    let mut properties = match map.remove("properties") {
        Some(Value::Object(properties)) => properties,
        _ => Map::new(),
    };
    properties.insert("apiVersion".to_owned(), described("string", OWN_API_VERSION));
    properties.insert("kind".to_owned(), described("string", OWN_KIND));
    properties.insert("metadata".to_owned(), reference(form, "ObjectMeta", METADATA));
    map.insert("properties".to_owned(), Value::Object(properties));
    let mut required = match map.remove("required") {
        Some(Value::Array(required)) => required,
        _ => Vec::new(),
    };
    for name in ["kind", "apiVersion"] {
        if !required.iter().any(|it| it == name) {
            required.push(name.into());
        }
    }
    map.insert("required".to_owned(), required.into());
}
