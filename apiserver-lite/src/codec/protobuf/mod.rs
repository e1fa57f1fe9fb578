//! Kubernetes' protobuf: the envelope, and objects by the field numbers of
//! their schema.
//!
//! Start at [`read`] and [`write`].

mod known;
pub mod list;
mod special;
mod wire;
pub mod write;

use std::borrow::Cow;

use coracle_api::schema::{Field, Shape, Struct};
use serde_json::{Map, Value};

pub use known::known;
use wire::{Reader, Wire};

/// What every body begins with.
const MAGIC: &[u8] = b"k8s\0";
// Deeper nesting than any object has; keeps hostile bodies off the stack.
const DEPTH: usize = 128;

/// Why bytes are no such object.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufError {
    /// They do not begin as they should.
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    Magic,
    /// They end in the middle of a field.
    #[error("unexpected EOF")]
    Truncated,
    /// A number takes more than 64 bits.
    #[error("proto: integer overflow")]
    Overflow,
    /// A field has a wire type that it cannot have.
    #[error("proto: wrong wireType = {kind} for field {field}")]
    WireType {
        /// The wire type.
        kind: u8,
        /// The field.
        field: String,
    },
    /// A field number, or a tag, that cannot be.
    #[error("proto: illegal tag {0}")]
    Tag(u64),
    /// Text that is not UTF-8, or JSON in it that is none.
    #[error("proto: field {0} has an invalid value")]
    Content(String),
    /// Nested too deep.
    #[error("exceeded max depth")]
    Depth,
}

/// An object that came in its envelope.
#[derive(Debug, PartialEq)]
pub struct Envelope {
    /// The `apiVersion` that the envelope names, or the empty string.
    pub api_version: String,
    /// The `kind`.
    pub kind: String,
    /// The object, with what it held set. Not canonical.
    pub object: Map<String, Value>,
}

/// Reads an object of `schema` in its envelope.
///
/// # Errors
/// See [`ProtobufError`].
pub fn read(bytes: &[u8], schema: &Struct) -> Result<Envelope, ProtobufError> {
    let rest = bytes.strip_prefix(MAGIC).ok_or(ProtobufError::Magic)?;
    let mut reader = Reader::new(rest);
    let mut envelope = Envelope { api_version: String::new(), kind: String::new(), object: Map::new() };
    let mut raw: &[u8] = &[];
    while let Some((number, wire)) = reader.field()? {
        match (number, wire) {
            (1, Wire::Bytes(types)) => {
                let mut types = Reader::new(types);
                while let Some((number, wire)) = types.field()? {
                    match number {
                        1 => envelope.api_version = wire.text("apiVersion")?.to_owned(),
                        2 => envelope.kind = wire.text("kind")?.to_owned(),
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    envelope.object = message(raw, schema, 0)?;
    Ok(envelope)
}

/// The `apiVersion` and the `kind` that an envelope names.
///
/// # Errors
/// See [`ProtobufError`].
pub fn types(bytes: &[u8]) -> Result<(String, String), ProtobufError> {
    static NOTHING: Struct =
        Struct { name: Cow::Borrowed(""), fields: Cow::Borrowed(&[]), atomic: false, open: false };
    read(bytes, &NOTHING).map(|envelope| (envelope.api_version, envelope.kind))
}

fn message(bytes: &[u8], schema: &Struct, depth: usize) -> Result<Map<String, Value>, ProtobufError> {
    let mut object = Map::new();
    fields(bytes, schema, &[], depth, &mut object)?;
    Ok(object)
}

// Reads a message into `object`. `within` is the way of embedded messages that
// lead to this one: JSON has their fields in the struct itself.
fn fields(
    bytes: &[u8],
    schema: &Struct,
    within: &[u16],
    depth: usize,
    object: &mut Map<String, Value>,
) -> Result<(), ProtobufError> {
    if depth > DEPTH {
        return Err(ProtobufError::Depth);
    }
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.field()? {
        let found = schema.fields.iter().find(|field| field.number == number && field.within == within);
        if let Some(field) = found {
            add(object, field, &wire, depth)?;
            continue;
        }
        let inner: Vec<u16> = within.iter().copied().chain([number]).collect();
        if let Wire::Bytes(bytes) = wire
            && schema.fields.iter().any(|field| field.within.starts_with(&inner))
        {
            fields(bytes, schema, &inner, depth + 1, object)?;
        }
    }
    Ok(())
}

fn add(
    object: &mut Map<String, Value>,
    field: &Field,
    wire: &Wire<'_>,
    depth: usize,
) -> Result<(), ProtobufError> {
    match &field.shape {
        Shape::List(list) => {
            let slot = object.entry(field.name.as_ref()).or_insert_with(|| Value::Array(Vec::new()));
            let Some(elements) = slot.as_array_mut() else { return Ok(()) };
            // Numbers may come packed.
            if let (Wire::Bytes(bytes), Shape::Int32 | Shape::Int64 | Shape::Bool) = (wire, &list.element) {
                let mut packed = Reader::new(bytes);
                while !packed.is_empty() {
                    let number = Wire::Varint(packed.varint()?);
                    elements.push(value(&list.element, &field.name, &number, depth)?);
                }
                return Ok(());
            }
            elements.push(value(&list.element, &field.name, wire, depth)?);
        }
        Shape::Map(map) => {
            let (key, entry) = entry(&map.value, &field.name, wire, depth)?;
            let slot = object.entry(field.name.as_ref()).or_insert_with(|| Value::Object(Map::new()));
            if let Some(entries) = slot.as_object_mut() {
                entries.insert(key, entry);
            }
        }
        shape => {
            let value = value(shape, &field.name, wire, depth)?;
            object.insert(field.name.to_string(), value);
        }
    }
    Ok(())
}

fn entry(shape: &Shape, name: &str, wire: &Wire<'_>, depth: usize) -> Result<(String, Value), ProtobufError> {
    let mut reader = Reader::new(wire.bytes(name)?);
    let (mut key, mut found) = (String::new(), None);
    while let Some((number, wire)) = reader.field()? {
        match number {
            1 => key = wire.text(name)?.to_owned(),
            2 => found = Some(entry_value(shape, name, &wire, depth)?),
            _ => {}
        }
    }
    let found = match found {
        Some(found) => found,
        // An entry without a value has the zero one.
        None => entry_value(shape, name, &zero(shape), depth)?,
    };
    Ok((key, found))
}

fn zero(shape: &Shape) -> Wire<'static> {
    match shape {
        Shape::Bool | Shape::Int32 | Shape::Int64 => Wire::Varint(0),
        Shape::Float64 => Wire::Fixed64(0),
        _ => Wire::Bytes(&[]),
    }
}

// A list cannot be a map's value in protobuf: a message with one field holds it.
fn entry_value(shape: &Shape, name: &str, wire: &Wire<'_>, depth: usize) -> Result<Value, ProtobufError> {
    let Shape::List(list) = shape else { return value(shape, name, wire, depth) };
    let mut reader = Reader::new(wire.bytes(name)?);
    let mut elements = Vec::new();
    while let Some((_, wire)) = reader.field()? {
        elements.push(value(&list.element, name, &wire, depth)?);
    }
    Ok(Value::Array(elements))
}

fn value(shape: &Shape, name: &str, wire: &Wire<'_>, depth: usize) -> Result<Value, ProtobufError> {
    Ok(match shape {
        Shape::String => wire.text(name)?.into(),
        Shape::Bool => (wire.varint(name)? != 0).into(),
        // Negative ones come as 64 bits, whatever their size.
        Shape::Int32 => (wire.varint(name)? as i32).into(),
        Shape::Int64 => (wire.varint(name)? as i64).into(),
        Shape::Float64 => special::float(wire, name)?,
        Shape::Bytes => special::base64(wire.bytes(name)?),
        Shape::Time => special::time(wire.bytes(name)?, false)?,
        Shape::MicroTime => special::time(wire.bytes(name)?, true)?,
        Shape::Duration => special::duration(wire.bytes(name)?)?,
        Shape::Quantity => special::quantity(wire.bytes(name)?)?,
        Shape::IntOrString => special::int_or_string(wire.bytes(name)?)?,
        Shape::FieldsV1 => special::raw_json(wire.bytes(name)?, name)?,
        Shape::Any => special::any(wire, name, depth + 1)?,
        Shape::Struct(it) => Value::Object(message(wire.bytes(name)?, it, depth + 1)?),
        Shape::List(_) | Shape::Map(_) => return Err(ProtobufError::Content(name.to_owned())),
    })
}

#[cfg(test)]
mod tests;
