//! A structural schema as the shapes that decoding, pruning and field sets
//! walk: the same that built-in kinds have.

use std::{borrow::Cow, sync::Arc};

use coracle_api::{
    facts::meta_v1::OBJECT_META,
    schema::{Field, List, ListKind, Map, Omit, Patch, Ref, Shape, Struct},
};

use super::schema::{Additional, Kind, ListType, Schema};

/// The struct of a whole custom resource, under the name of its definition.
pub fn resource(name: String, schema: &Schema) -> Struct {
    Struct { name: Cow::Owned(name), ..fields(schema, true) }
}

fn fields(schema: &Schema, resource: bool) -> Struct {
    let mut fields: Vec<Field> = Vec::new();
    if resource {
        fields.push(field("apiVersion", Shape::String, None));
        fields.push(field("kind", Shape::String, None));
        fields.push(field("metadata", Shape::Struct(Ref::Static(&OBJECT_META)), None));
    }
    let known = |name: &str| resource && matches!(name, "apiVersion" | "kind" | "metadata");
    let own = schema.properties.iter().filter(|(name, _)| !known(name));
    fields.extend(own.map(|(name, it)| field(name, shape(it), Some(it))));
    Struct {
        name: Cow::Borrowed(""),
        fields: Cow::Owned(fields),
        atomic: schema.atomic,
        open: schema.preserve,
    }
}

fn field(name: &str, shape: Shape, schema: Option<&Schema>) -> Field {
    let default = schema.and_then(|it| it.default.as_ref()).map(|it| Cow::Owned(it.to_string()));
    Field {
        name: Cow::Owned(name.to_owned()),
        shape,
        omit: Omit::Zero,
        pointer: true,
        required: false,
        default,
        patch: Patch::default(),
        number: 0,
        within: &[],
    }
}

fn shape(schema: &Schema) -> Shape {
    if schema.int_or_string {
        return Shape::IntOrString;
    }
    match schema.kind {
        Kind::String => Shape::String,
        Kind::Integer => Shape::Int64,
        Kind::Number => Shape::Float64,
        Kind::Boolean => Shape::Bool,
        Kind::Array => {
            let element = schema.items.as_ref().map_or(Shape::Any, |it| shape(it));
            let kind = match &schema.list {
                ListType::Atomic => ListKind::Atomic,
                ListType::Set => ListKind::Set,
                ListType::Map(keys) => {
                    ListKind::Map(keys.iter().map(|key| Cow::Owned(key.to_string())).collect())
                }
            };
            Shape::List(Ref::Shared(Arc::new(List { element, kind })))
        }
        Kind::Object => object(schema),
        // No type and nothing pruned: any JSON.
        Kind::Any | Kind::Unknown => Shape::Any,
    }
}

fn object(schema: &Schema) -> Shape {
    let map = |value: Shape| Shape::Map(Ref::Shared(Arc::new(Map { value, atomic: schema.atomic })));
    match &schema.additional {
        Additional::Schema(entry) if schema.properties.is_empty() => map(shape(entry)),
        // Upstream keeps what is no object or list there.
        Additional::Allowed(true) if schema.properties.is_empty() && !schema.preserve => {
            map(Shape::IntOrString)
        }
        _ if schema.preserve && schema.properties.is_empty() && !schema.embedded && !schema.atomic => {
            Shape::Any
        }
        _ => Shape::Struct(Ref::Shared(Arc::new(fields(schema, schema.embedded)))),
    }
}
