//! The types whose protobuf and JSON forms are nothing alike.

use base64::{Engine, engine::general_purpose::STANDARD};
use coracle_api::{facts, schema::Struct, stamp};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{
    MAGIC, ProtobufError, message,
    wire::{Reader, Wire},
    write::Message,
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
    // Only no message at all is no time: one of zeros is the epoch.
    if bytes.is_empty() {
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

pub(super) fn from_base64(text: &str) -> Vec<u8> {
    STANDARD.decode(text).unwrap_or_default()
}

// Nothing is the zero time. Only micro times have a part of a second.
pub(super) fn write_time(out: &mut Message<'_>, text: &str, micros: bool) {
    let Ok(time) = text.parse::<Timestamp>() else { return };
    let nanos = if micros { time.subsec_nanosecond() / 1000 * 1000 } else { 0 };
    out.number(1, time.as_second());
    out.number(2, nanos.into());
}

pub(super) fn write_duration(out: &mut Message<'_>, text: &str) {
    out.number(1, stamp::parse_duration(text).unwrap_or_default());
}

pub(super) fn write_quantity(out: &mut Message<'_>, value: Option<&Value>) {
    match value {
        Some(Value::String(text)) => out.text(1, text),
        Some(Value::Number(number)) => out.text(1, &number.to_string()),
        _ => out.text(1, "0"),
    }
}

pub(super) fn write_int_or_string(out: &mut Message<'_>, value: Option<&Value>) {
    let text = value.and_then(Value::as_str);
    out.number(1, i64::from(text.is_some()));
    out.number(2, value.and_then(Value::as_i64).unwrap_or_default());
    out.text(3, text.unwrap_or_default());
}

// JSON in the first field.
pub(super) fn write_raw(out: &mut Message<'_>, value: Option<&Value>) {
    if let Some(value) = value {
        out.bytes(1, &serde_json::to_vec(value).unwrap_or_default());
    }
}

pub(super) fn write_any(out: &mut Message<'_>, name: &str, value: Option<&Value>) {
    match (name, value) {
        ("items" | "dependencies", Some(value)) => write_schemas(out, value),
        ("additionalProperties" | "additionalItems", Some(value)) => {
            out.number(1, i64::from(value != &Value::Bool(false)));
            if let Value::Object(schema) = value {
                write_schema(out, 2, schema);
            }
        }
        _ => write_raw(out, value),
    }
}

fn write_schema(out: &mut Message<'_>, number: u16, schema: &Map<String, Value>) {
    if let Some(props) = props() {
        out.nested(number, |out| out.fields(&props.fields, 0, schema));
    }
}

fn write_schemas(out: &mut Message<'_>, value: &Value) {
    match value {
        Value::Object(schema) => write_schema(out, 1, schema),
        Value::Array(elements) => {
            for element in elements {
                match element {
                    Value::String(text) => out.text(2, text),
                    Value::Object(schema) => write_schema(out, 2, schema),
                    _ => {}
                }
            }
        }
        _ => {}
    }
}
