//! The types whose protobuf and JSON forms are nothing alike.

use base64::{Engine, engine::general_purpose::STANDARD};
use coracle_api::{facts, schema::Struct, stamp};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{
    MAGIC, ProtobufError, message,
    wire::{Reader, Wire},
};

pub(super) fn float(wire: &Wire<'_>, name: &str) -> Result<Value, ProtobufError> {
    match wire {
        Wire::Fixed64(bits) => Ok(f64::from_bits(*bits).into()),
        Wire::Fixed32(bits) => Ok(f64::from(f32::from_bits(*bits)).into()),
        _ => Err(wire.mismatch(name)),
    }
}

pub(super) fn base64(bytes: &[u8]) -> Value {
    STANDARD.encode(bytes).into()
}

// Seconds and nanoseconds; Go's zero time is an empty message.
pub(super) fn time(bytes: &[u8], micros: bool) -> Result<Value, ProtobufError> {
    let (mut seconds, mut nanos) = (0i64, 0i32);
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.field()? {
        match number {
            1 => seconds = wire.varint("seconds")? as i64,
            2 => nanos = wire.varint("nanos")? as i32,
            _ => {}
        }
    }
    if (seconds, nanos) == (0, 0) {
        return Ok(Value::Null);
    }
    let time = Timestamp::new(seconds, nanos).map_err(|_| ProtobufError::Content("seconds".to_owned()))?;
    let form = if micros { "%Y-%m-%dT%H:%M:%S.%6fZ" } else { "%Y-%m-%dT%H:%M:%SZ" };
    Ok(time.strftime(form).to_string().into())
}

pub(super) fn duration(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let mut nanos = 0;
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.field()? {
        if number == 1 {
            nanos = wire.varint("duration")? as i64;
        }
    }
    Ok(stamp::duration_text(nanos).into())
}

pub(super) fn quantity(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let mut text = "";
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.field()? {
        if number == 1 {
            text = wire.text("quantity")?;
        }
    }
    Ok(if text.is_empty() { "0".into() } else { text.into() })
}

pub(super) fn int_or_string(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let (mut is_text, mut number, mut text) = (false, 0, "");
    let mut reader = Reader::new(bytes);
    while let Some((field, wire)) = reader.field()? {
        match field {
            1 => is_text = wire.varint("type")? == 1,
            2 => number = wire.varint("intVal")? as i32,
            3 => text = wire.text("strVal")?,
            _ => {}
        }
    }
    Ok(if is_text { text.into() } else { number.into() })
}

// A message whose first field is JSON.
pub(super) fn raw_json(bytes: &[u8], name: &str) -> Result<Value, ProtobufError> {
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.field()? {
        if number == 1 {
            return json(wire.bytes(name)?, name);
        }
    }
    Ok(Value::Null)
}

fn json(bytes: &[u8], name: &str) -> Result<Value, ProtobufError> {
    serde_json::from_slice(bytes).map_err(|_| ProtobufError::Content(name.to_owned()))
}

/// What facts call `Any`: raw JSON, or one of the three forms that
/// `JSONSchemaProps` has for values that are of two types.
pub(super) fn any(wire: &Wire<'_>, name: &str, depth: usize) -> Result<Value, ProtobufError> {
    let bytes = wire.bytes(name)?;
    match name {
        "items" => schemas(bytes, 2, false, depth),
        "dependencies" => schemas(bytes, 2, true, depth),
        "additionalProperties" | "additionalItems" => allowed(bytes, depth),
        _ => {
            let mut reader = Reader::new(bytes);
            while let Some((number, wire)) = reader.field()? {
                if number == 1 {
                    let raw = wire.bytes(name)?;
                    // An object in protobuf of its own would need its schema.
                    if raw.starts_with(MAGIC) {
                        return Err(ProtobufError::Content(name.to_owned()));
                    }
                    return json(raw, name);
                }
            }
            Ok(Value::Null)
        }
    }
}

fn props() -> Option<&'static Struct> {
    let crds = facts::RESOURCES.iter().find(|it| it.plural == "customresourcedefinitions")?;
    let mut at: &'static Struct = match &crds.schema {
        coracle_api::schema::Ref::Static(it) => it,
        coracle_api::schema::Ref::Shared(_) => return None,
    };
    use coracle_api::schema::{Ref, Shape};
    for name in ["spec", "versions", "schema", "openAPIV3Schema"] {
        let shape = match &at.field(name)?.shape {
            Shape::List(Ref::Static(list)) => &list.element,
            shape => shape,
        };
        let Shape::Struct(Ref::Static(next)) = shape else { return None };
        at = next;
    }
    Some(at)
}

fn schema(bytes: &[u8], depth: usize) -> Result<Value, ProtobufError> {
    let Some(props) = props() else { return Ok(Value::Object(Map::new())) };
    Ok(Value::Object(message(bytes, props, depth)?))
}

// One schema (field 1), or a list of schemas or texts.
fn schemas(bytes: &[u8], list: u16, texts: bool, depth: usize) -> Result<Value, ProtobufError> {
    let mut reader = Reader::new(bytes);
    let mut elements = Vec::new();
    while let Some((number, wire)) = reader.field()? {
        if number == 1 {
            return schema(wire.bytes("schema")?, depth);
        }
        if number == list {
            elements.push(if texts {
                wire.text("property")?.into()
            } else {
                schema(wire.bytes("jSONSchemas")?, depth)?
            });
        }
    }
    Ok(Value::Array(elements))
}

// Whether anything is allowed (field 1), or what by which schema (field 2).
fn allowed(bytes: &[u8], depth: usize) -> Result<Value, ProtobufError> {
    let mut reader = Reader::new(bytes);
    let mut allows = false;
    while let Some((number, wire)) = reader.field()? {
        match number {
            1 => allows = wire.varint("allows")? != 0,
            2 => return schema(wire.bytes("schema")?, depth),
            _ => {}
        }
    }
    Ok(allows.into())
}
