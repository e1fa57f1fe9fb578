//! Objects to protobuf, byte for byte as Go's generated code writes them: the
//! fields in the order of their numbers, and what is no pointer in Go also when
//! it is empty.

use coracle_api::schema::{Field, Shape, Struct};
use serde_json::{Map, Value};

use super::{MAGIC, known::known, special};

// Wire types.
const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const BYTES: u8 = 2;

/// The message of an object, without its envelope: what lists hold, and what
/// is kept of an object for the next one who asks.
pub fn message(object: &Map<String, Value>, schema: &Struct) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    Message(&mut out).fields(&schema.fields, 0, object);
    out
}

/// A message in the envelope that tells what it is.
pub fn envelope(api_version: &str, kind: &str, message: &[u8]) -> Vec<u8> {
    let mut out = opening(api_version, kind, message.len());
    out.extend_from_slice(message);
    out.extend_from_slice(CLOSING);
    out
}

/// What comes before a message of `length` bytes in its envelope.
pub(super) fn opening(api_version: &str, kind: &str, length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(length + api_version.len() + kind.len() + 32);
    out.extend_from_slice(MAGIC);
    let mut envelope = Message(&mut out);
    envelope.nested(1, |types| {
        types.text(1, api_version);
        types.text(2, kind);
    });
    envelope.tag(2, BYTES);
    envelope.varint(length as u64);
    out
}

/// What comes after the message: no content encoding, no content type.
pub(super) const CLOSING: &[u8] = &[3 << 3 | BYTES, 0, 4 << 3 | BYTES, 0];

/// An API object that says itself what it is, in its envelope; `None` where no
/// table has its kind.
pub fn value(value: &Value) -> Option<Vec<u8>> {
    let object = value.as_object()?;
    let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let schema = known(api_version, kind)?;
    Some(envelope(api_version, kind, &message(object, &schema)))
}

/// The frame of a watch's event about an object in its envelope: a length in
/// four bytes, and a `WatchEvent`.
pub fn frame(kind: &str, object: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 4];
    let mut event = Message(&mut out);
    event.text(1, kind);
    event.nested(2, |raw| raw.bytes(1, object));
    let length = u32::try_from(out.len() - 4).unwrap_or(u32::MAX);
    out[..4].copy_from_slice(&length.to_be_bytes());
    out
}

/// A message at the end of a buffer.
pub(super) struct Message<'a>(pub &'a mut Vec<u8>);

impl Message<'_> {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn tag(&mut self, number: u16, wire: u8) {
        self.varint(u64::from(number) << 3 | u64::from(wire));
    }

    pub(super) fn number(&mut self, number: u16, value: i64) {
        self.tag(number, VARINT);
        self.varint(value as u64);
    }

    pub(super) fn bytes(&mut self, number: u16, bytes: &[u8]) {
        self.tag(number, BYTES);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn text(&mut self, number: u16, text: &str) {
        self.bytes(number, text.as_bytes());
    }

    /// A message in this one. Most are short: their length is one byte, and
    /// room is made when it is not.
    pub(super) fn nested(&mut self, number: u16, write: impl FnOnce(&mut Message<'_>)) {
        self.tag(number, BYTES);
        let start = self.0.len();
        self.0.push(0);
        write(&mut Message(self.0));
        let length = self.0.len() - start - 1;
        if length < 0x80 {
            self.0[start] = length as u8;
            return;
        }
        let mut prefix = Vec::with_capacity(5);
        Message(&mut prefix).varint(length as u64);
        self.0.splice(start..=start, prefix);
    }

    /// The fields of a struct. `depth` is how many embedded messages lead here.
    pub(super) fn fields(&mut self, fields: &[Field], depth: usize, object: &Map<String, Value>) {
        let number = |field: &Field| field.within.get(depth).copied().unwrap_or(field.number);
        if fields.is_sorted_by_key(number) {
            return self.sorted(fields, depth, object);
        }
        let mut sorted = fields.to_vec();
        sorted.sort_by_key(number);
        self.sorted(&sorted, depth, object);
    }

    fn sorted(&mut self, mut fields: &[Field], depth: usize, object: &Map<String, Value>) {
        while let Some(field) = fields.first() {
            let Some(number) = field.within.get(depth) else {
                self.field(field, object.get(&*field.name).filter(|value| !value.is_null()));
                fields = &fields[1..];
                continue;
            };
            let end = fields.iter().position(|it| it.within.get(depth) != Some(number));
            let (embedded, rest) = fields.split_at(end.unwrap_or(fields.len()));
            self.nested(*number, |inner| inner.fields(embedded, depth + 1, object));
            fields = rest;
        }
    }

    fn field(&mut self, field: &Field, value: Option<&Value>) {
        if field.number == 0 {
            return;
        }
        match (&field.shape, value) {
            (Shape::List(list), Some(Value::Array(elements))) => {
                for element in elements {
                    self.value(field.number, &field.name, &list.element, Some(element));
                }
            }
            (Shape::Map(map), Some(Value::Object(entries))) => {
                self.entries(field, &map.value, entries);
            }
            (Shape::List(_) | Shape::Map(_) | Shape::Bytes, None) => {}
            (_, None) if field.pointer => {}
            (shape, value) => self.value(field.number, &field.name, shape, value),
        }
    }

    fn entries(&mut self, field: &Field, shape: &Shape, entries: &Map<String, Value>) {
        let mut sorted: Vec<_> = entries.iter().collect();
        // Go's order is that of the bytes; the map's is not promised to be.
        sorted.sort_unstable_by_key(|(key, _)| key.as_bytes());
        for (key, value) in sorted {
            self.nested(field.number, |entry| {
                entry.text(1, key);
                match (shape, value) {
                    // A list cannot be a map's value in protobuf: a message holds it.
                    (Shape::List(list), Value::Array(elements)) => entry.nested(2, |holder| {
                        for element in elements {
                            holder.value(1, &field.name, &list.element, Some(element));
                        }
                    }),
                    _ => entry.value(2, &field.name, shape, Some(value)),
                }
            });
        }
    }

    // A value that is there, or the zero one.
    fn value(&mut self, number: u16, name: &str, shape: &Shape, value: Option<&Value>) {
        let text = || value.and_then(Value::as_str).unwrap_or_default();
        let integer = || value.and_then(Value::as_i64).unwrap_or_default();
        match shape {
            Shape::String => self.text(number, text()),
            Shape::Bool => self.number(number, i64::from(value == Some(&Value::Bool(true)))),
            Shape::Int32 | Shape::Int64 => self.number(number, integer()),
            Shape::Float64 => {
                self.tag(number, FIXED64);
                let float = value.and_then(Value::as_f64).unwrap_or_default();
                self.0.extend_from_slice(&float.to_le_bytes());
            }
            Shape::Bytes => self.bytes(number, &special::from_base64(text())),
            Shape::Time => self.nested(number, |out| special::write_time(out, text(), false)),
            Shape::MicroTime => self.nested(number, |out| special::write_time(out, text(), true)),
            Shape::Duration => self.nested(number, |out| special::write_duration(out, text())),
            Shape::Quantity => self.nested(number, |out| special::write_quantity(out, value)),
            Shape::IntOrString => self.nested(number, |out| special::write_int_or_string(out, value)),
            Shape::FieldsV1 => self.nested(number, |out| special::write_raw(out, value)),
            Shape::Any => self.nested(number, |out| special::write_any(out, name, value)),
            Shape::Struct(schema) => {
                let nothing = Map::new();
                let object = value.and_then(Value::as_object).unwrap_or(&nothing);
                self.nested(number, |out| out.fields(&schema.fields, 0, object));
            }
            Shape::List(_) | Shape::Map(_) => {}
        }
    }
}
