//! The protobuf form of OpenAPI v2 (gnostic's `openapi.v2`), the only one that
//! kubectl reads of it.

use bytes::Bytes;
use serde_json::{Map, Value};

/// Encodes a v2 document.
pub fn protobuf(json: &[u8]) -> Bytes {
    let document: Value = serde_json::from_slice(json).unwrap_or_default();
    let mut out = Message::default();
    out.text(1, document.get("swagger"));
    if let Some(info) = document.get("info") {
        let mut message = Message::default();
        message.text(1, info.get("title"));
        message.text(2, info.get("version"));
        out.message(2, &message);
    }
    let mut paths = Message::default();
    for (name, item) in entries(document.get("paths")) {
        paths.named(2, name, &path_item(item));
    }
    out.message(8, &paths);
    let mut definitions = Message::default();
    for (name, definition) in entries(document.get("definitions")) {
        definitions.named(1, name, &schema(definition));
    }
    out.message(9, &definitions);
    out.0.into()
}

fn path_item(item: &Value) -> Message {
    let mut out = Message::default();
    for (name, number) in
        [("get", 2), ("put", 3), ("post", 4), ("delete", 5), ("options", 6), ("head", 7), ("patch", 8)]
    {
        if let Some(it) = item.get(name) {
            out.message(number, &operation(it));
        }
    }
    parameters(&mut out, 9, item);
    out.extensions(10, item);
    out
}

fn operation(it: &Value) -> Message {
    let mut out = Message::default();
    out.texts(1, it.get("tags"));
    out.text(3, it.get("description"));
    out.text(5, it.get("operationId"));
    out.texts(6, it.get("produces"));
    out.texts(7, it.get("consumes"));
    parameters(&mut out, 8, it);
    let mut responses = Message::default();
    for (code, answer) in entries(it.get("responses")) {
        let mut response = Message::default();
        response.text(1, answer.get("description"));
        if let Some(it) = answer.get("schema") {
            response.message(2, &schema(it).within(1));
        }
        responses.named(1, code, &response.within(1));
    }
    out.message(9, &responses);
    out.texts(10, it.get("schemes"));
    out.extensions(13, it);
    out
}

fn parameters(out: &mut Message, number: u32, of: &Value) {
    for it in elements(of.get("parameters")) {
        let place = it.get("in").and_then(Value::as_str).unwrap_or_default();
        let parameter = match place {
            "body" => {
                let mut body = Message::default();
                body.text(2, it.get("name"));
                body.text(3, it.get("in"));
                body.flag(4, it.get("required"));
                if let Some(it) = it.get("schema") {
                    body.message(5, &schema(it));
                }
                body.within(1)
            }
            _ => simple(it, place == "query").within(2),
        };
        out.message(number, &parameter.within(1));
    }
}

// A parameter in the query or the path: their numbers differ by one field that
// only the query has.
fn simple(it: &Value, query: bool) -> Message {
    let shift = u32::from(query);
    let mut out = Message::default();
    out.flag(1, it.get("required"));
    out.text(2, it.get("in"));
    out.text(3, it.get("description"));
    out.text(4, it.get("name"));
    out.text(5 + shift, it.get("type"));
    out.flag(19 + shift, it.get("uniqueItems"));
    out.within(if query { 3 } else { 4 })
}

fn schema(it: &Value) -> Message {
    let mut out = Message::default();
    out.text(1, it.get("$ref"));
    out.text(2, it.get("format"));
    out.text(4, it.get("description"));
    out.texts(19, it.get("required"));
    if let Some(it) = it.get("additionalProperties") {
        let mut item = Message::default();
        if it.is_object() {
            item.message(1, &schema(it));
        } else {
            item.flag(2, Some(it));
        }
        out.message(21, &item);
    }
    if let Some(kind) = it.get("type") {
        let mut item = Message::default();
        item.text(1, Some(kind));
        out.message(22, &item);
    }
    if let Some(it) = it.get("items") {
        out.message(23, &schema(it).within(1));
    }
    if let Some(properties) = it.get("properties") {
        let mut message = Message::default();
        for (name, it) in entries(Some(properties)) {
            message.named(1, name, &schema(it));
        }
        out.message(25, &message);
    }
    out.extensions(31, it);
    out
}

fn entries(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value.and_then(Value::as_object).into_iter().flat_map(Map::iter)
}

fn elements(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

// A protobuf message that is being written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn bytes(&mut self, number: u32, bytes: &[u8]) {
        self.varint(u64::from(number) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn message(&mut self, number: u32, message: &Self) {
        self.bytes(number, &message.0);
    }

    fn text(&mut self, number: u32, value: Option<&Value>) {
        if let Some(text) = value.and_then(Value::as_str) {
            self.bytes(number, text.as_bytes());
        }
    }

    fn texts(&mut self, number: u32, value: Option<&Value>) {
        elements(value).for_each(|it| self.text(number, Some(it)));
    }

    fn flag(&mut self, number: u32, value: Option<&Value>) {
        if value.and_then(Value::as_bool) == Some(true) {
            self.varint(u64::from(number) << 3);
            self.varint(1);
        }
    }

    // An entry of what is a map in JSON: a name and a value.
    fn named(&mut self, number: u32, name: &str, value: &Self) {
        let mut entry = Self::default();
        entry.bytes(1, name.as_bytes());
        entry.message(2, value);
        self.message(number, &entry);
    }

    // `x-` fields: values are YAML, and JSON is that.
    fn extensions(&mut self, number: u32, of: &Value) {
        for (name, value) in entries(Some(of)).filter(|(name, _)| name.starts_with("x-")) {
            let mut any = Self::default();
            any.bytes(2, value.to_string().as_bytes());
            self.named(number, name, &any);
        }
    }

    // The message as the only field of another one.
    fn within(&self, number: u32) -> Self {
        let mut outer = Self::default();
        outer.message(number, self);
        outer
    }
}
