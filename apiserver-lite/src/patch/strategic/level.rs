//! Where in the schema a merge stands, and what upstream says when a patch
//! leaves it.

use coracle_api::schema::{Field, Patch, Shape, Struct};

use crate::patch::PatchError;

/// The Go type of the value that merges.
#[derive(Clone, Copy)]
pub enum Level<'a> {
    /// A struct with fields.
    Struct { schema: &'a Struct, pointer: bool },
    /// A Go struct that is one value in JSON.
    Opaque(&'static str),
    /// Another kind of type.
    Kind(&'static str),
}

impl<'a> Level<'a> {
    /// The level of a whole object.
    pub fn root(schema: &'a Struct) -> Self {
        Self::Struct { schema, pointer: false }
    }

    /// The type of a map-like field, and how it merges.
    pub fn map(&self, key: &str) -> Result<(Self, Patch), PatchError> {
        let field = self.field(key)?;
        Ok((Self::of(&field.shape, field.pointer), field.patch))
    }

    /// The element type of a list field, and how the list merges.
    pub fn list(&self, key: &str) -> Result<(Self, Patch), PatchError> {
        let field = self.field(key)?;
        let element = match &field.shape {
            Shape::List(list) if matches!(list.element, Shape::List(_)) => {
                return Err(PatchError::Failed("unexpected slice of slice".to_owned()));
            }
            Shape::List(list) => Self::of(&list.element, false),
            Shape::Bytes => Self::Kind("uint8"),
            other if field.pointer => Self::of(other, false),
            _ => {
                let text = format!("expected slice or array type, but got: {}", self.name());
                return Err(PatchError::Failed(text));
            }
        };
        Ok((element, field.patch))
    }

    /// The kind of the type, as Go's reflection names it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Struct { pointer: true, .. } => "ptr",
            Self::Struct { .. } | Self::Opaque(_) => "struct",
            Self::Kind(kind) => kind,
        }
    }

    fn field(&self, key: &str) -> Result<&'a Field, PatchError> {
        let name = match self {
            Self::Struct { schema, .. } => {
                let folded = || schema.fields.iter().find(|field| field.name.eq_ignore_ascii_case(key));
                if let Some(field) = schema.field(key).or_else(folded) {
                    return Ok(field);
                }
                schema.go_name()
            }
            Self::Opaque(name) => name,
            Self::Kind(kind) => {
                let text =
                    format!("merging an object in json but data type is not struct, instead is: {kind}");
                return Err(PatchError::Failed(text));
            }
        };
        let text = format!("unable to find api field in struct {name} for the json field \"{key}\"");
        Err(PatchError::Failed(text))
    }

    fn of(shape: &'a Shape, pointer: bool) -> Self {
        match shape {
            Shape::Struct(schema) => Self::Struct { schema, pointer },
            Shape::String => Self::Kind("string"),
            Shape::Bool => Self::Kind("bool"),
            Shape::Int32 => Self::Kind("int32"),
            Shape::Int64 => Self::Kind("int64"),
            Shape::Float64 => Self::Kind("float64"),
            Shape::Bytes | Shape::List(_) => Self::Kind("slice"),
            Shape::Map(_) => Self::Kind("map"),
            Shape::Time => Self::Opaque("Time"),
            Shape::MicroTime => Self::Opaque("MicroTime"),
            Shape::Duration => Self::Opaque("Duration"),
            Shape::Quantity => Self::Opaque("Quantity"),
            Shape::IntOrString => Self::Opaque("IntOrString"),
            Shape::FieldsV1 => Self::Opaque("FieldsV1"),
            Shape::Any => Self::Opaque("RawExtension"),
        }
    }
}
