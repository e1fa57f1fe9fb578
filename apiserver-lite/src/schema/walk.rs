//! Walks JSON and a schema together, in one pass, and builds the canonical
//! tree: what Go's decoder would take from the text and its encoder write.

use std::{borrow::Cow, collections::HashSet};

use base64::{
    Engine, alphabet,
    engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD},
};
use coracle_api::{
    Quantity,
    field::go_quote,
    quantity::QuantityError,
    schema::{Field, List, Omit, Shape, Struct},
    stamp::{Precision, canonical_time, duration_text, parse_duration},
};
use serde_json::{Map, Number, Value};

use super::{
    canonical::{complete, omitted, zero_element},
    go_type::{embedded, go_type},
    reader::{Kind, Reader, Syntax},
};

// Go does not look at the bits that are left over.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

// As upstream: more are not collected.
const MAX_STRICT: usize = 100;

enum Step<'s> {
    Field(&'s Struct, &'s Field),
    Key(String),
    Index(usize),
}

// What became of a value.
enum Parsed {
    Null,
    Value(Value),
    // Of the wrong type, and noted as such.
    Refused,
}

/// Which of upstream's two ways of making structs words the errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// Decoding JSON.
    Json,
    /// Converting a tree of untyped values.
    Converted,
}

pub(super) struct Walk<'a, 's> {
    reader: Reader<'a>,
    reading: Reading,
    path: Vec<Step<'s>>,
    /// Unknown and duplicate fields.
    pub strict: Vec<String>,
    // The first wrong type, and the first error of a type that reads itself,
    // which counts more: Go stops there.
    wrong: Option<String>,
    fatal: Option<String>,
    /// What is wrong with `kind` and `apiVersion`, which are looked at first.
    pub identity: Option<String>,
}

impl<'a, 's> Walk<'a, 's> {
    pub fn new(text: &'a str, reading: Reading) -> Self {
        let reader = Reader::new(text);
        Self {
            reader,
            reading,
            path: Vec::new(),
            strict: Vec::new(),
            wrong: None,
            fatal: None,
            identity: None,
        }
    }

    /// Why the value does not fit its type, if so.
    pub fn fault(self) -> Option<String> {
        self.fatal.or(self.wrong)
    }

    /// The whole text as one object of `schema`.
    pub fn document(&mut self, schema: &'s Struct) -> Result<Map<String, Value>, Syntax> {
        let mut map = Map::new();
        match self.reader.peek()? {
            Kind::Object => self.object(schema, &mut map)?,
            kind => {
                self.reader.skip()?;
                if kind != Kind::Null {
                    let name = kind.name();
                    self.identity = Some(format!(
                        "json: cannot unmarshal {name} into Go value of type struct {{ APIVersion string \
                         \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}"
                    ));
                }
                complete(&mut map, schema);
            }
        }
        self.reader.end()?;
        Ok(map)
    }

    /// The whole text as one object of whatever fields; those that come twice
    /// are noted.
    pub fn free_document(&mut self) -> Result<Map<String, Value>, Syntax> {
        let kind = self.reader.peek()?;
        let read = self.free(kind)?;
        self.reader.end()?;
        match read {
            Value::Object(map) => {
                for name in ["kind", "apiVersion"] {
                    let found = map.get(name).filter(|it| !it.is_string() && !it.is_null());
                    if let (Some(found), None) = (found, &self.identity) {
                        let kind = json_name(found);
                        self.identity = Some(format!(
                            "json: cannot unmarshal {kind} into Go struct field .{name} of type string"
                        ));
                    }
                }
                Ok(map)
            }
            Value::Null => Ok(Map::new()),
            other => {
                let name = json_name(&other);
                self.identity = Some(format!(
                    "json: cannot unmarshal {name} into Go value of type struct {{ APIVersion string \
                     \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}"
                ));
                Ok(Map::new())
            }
        }
    }

    fn free(&mut self, kind: Kind) -> Result<Value, Syntax> {
        match kind {
            Kind::Array => {
                self.reader.enter()?;
                let mut items = Vec::new();
                while self.reader.element(items.is_empty())? {
                    self.path.push(Step::Index(items.len()));
                    let kind = self.reader.peek()?;
                    items.push(self.free(kind)?);
                    self.path.pop();
                }
                Ok(Value::Array(items))
            }
            Kind::Object => {
                self.reader.enter()?;
                let (mut map, mut first) = (Map::new(), true);
                while let Some(key) = self.reader.key(first)? {
                    first = false;
                    if map.contains_key(key.as_ref()) {
                        self.note("duplicate field", &key);
                    }
                    self.path.push(Step::Key(key.to_string()));
                    let kind = self.reader.peek()?;
                    let value = self.free(kind)?;
                    self.path.pop();
                    map.insert(key.into_owned(), value);
                }
                Ok(Value::Object(map))
            }
            _ => self.any(),
        }
    }

    fn object(&mut self, schema: &'s Struct, map: &mut Map<String, Value>) -> Result<(), Syntax> {
        self.reader.enter()?;
        let (mut seen, mut next, mut first) = (0u128, 0, true);
        while let Some(key) = self.reader.key(first)? {
            first = false;
            let Some(index) = find(&schema.fields, &key, next) else {
                self.unknown(schema, key, map)?;
                continue;
            };
            next = index + 1;
            let field = &schema.fields[index];
            let bit = 1u128.checked_shl(u32::try_from(index).unwrap_or(u32::MAX)).unwrap_or(0);
            if seen & bit != 0 || (bit == 0 && map.contains_key(field.name.as_ref())) {
                self.note("duplicate field", &field.name);
            }
            seen |= bit;
            if self.path.is_empty() {
                self.check_identity(field)?;
            }
            self.path.push(Step::Field(schema, field));
            self.field(field, map)?;
            self.path.pop();
        }
        complete(map, schema);
        Ok(())
    }

    fn unknown(
        &mut self,
        schema: &Struct,
        key: Cow<'_, str>,
        map: &mut Map<String, Value>,
    ) -> Result<(), Syntax> {
        if schema.open {
            let value = self.any()?;
            map.insert(key.into_owned(), value);
        } else {
            self.note("unknown field", &key);
            self.reader.skip()?;
        }
        Ok(())
    }

    fn check_identity(&mut self, field: &Field) -> Result<(), Syntax> {
        if field.name == "kind" || field.name == "apiVersion" {
            let kind = self.reader.peek()?;
            if !matches!(kind, Kind::String | Kind::Null) && self.identity.is_none() {
                let (kind, name) = (kind.name(), &field.name);
                self.identity = Some(format!(
                    "json: cannot unmarshal {kind} into Go struct field .{name} of type string"
                ));
            }
        }
        Ok(())
    }

    // A field that comes twice: objects merge, all else is replaced.
    fn field(&mut self, field: &'s Field, map: &mut Map<String, Value>) -> Result<(), Syntax> {
        let name = field.name.as_ref();
        let parsed = match (&field.shape, self.reader.peek()?) {
            (Shape::Struct(schema), Kind::Object) => {
                let mut inner = taken(map, name);
                self.object(schema, &mut inner)?;
                Parsed::Value(Value::Object(inner))
            }
            (Shape::Map(schema), Kind::Object) => {
                let mut inner = taken(map, name);
                self.entries(&schema.value, &mut inner)?;
                Parsed::Value(Value::Object(inner))
            }
            (shape, kind) => self.value(shape, kind)?,
        };
        match parsed {
            // Upstream tells an empty list of webhooks that is sent from none.
            Parsed::Value(value)
                if omitted(field, &value) && !(value.is_array() && field.name == "webhooks") =>
            {
                map.remove(name);
            }
            Parsed::Value(value) => {
                map.insert(name.to_owned(), value);
            }
            Parsed::Null if clears(field) => {
                map.remove(name);
            }
            Parsed::Null | Parsed::Refused => {}
        }
        Ok(())
    }

    fn entries(&mut self, shape: &'s Shape, map: &mut Map<String, Value>) -> Result<(), Syntax> {
        self.reader.enter()?;
        let deep = matches!(shape, Shape::Struct(_) | Shape::Map(_) | Shape::List(_));
        // Those of a field that comes twice are not there twice themselves.
        let mut earlier: HashSet<String> = map.keys().cloned().collect();
        let mut first = true;
        while let Some(key) = self.reader.key(first)? {
            first = false;
            if map.contains_key(key.as_ref()) && !earlier.remove(key.as_ref()) {
                self.note("duplicate field", &key);
            }
            if deep {
                self.path.push(Step::Key(key.to_string()));
            }
            let value = self.element(shape)?;
            if deep {
                self.path.pop();
            }
            map.insert(key.into_owned(), value);
        }
        Ok(())
    }

    fn items(&mut self, list: &'s List) -> Result<Value, Syntax> {
        self.reader.enter()?;
        let mut items = Vec::new();
        while self.reader.element(items.is_empty())? {
            self.path.push(Step::Index(items.len()));
            let value = self.element(&list.element)?;
            self.path.pop();
            items.push(value);
        }
        // In storage an empty list and none are the same. Only of this one must
        // it be known later on: an empty one asks to clear it.
        // And of one that Go always writes: who sends it owns it.
        let clears = matches!(
            self.path.last(),
            Some(Step::Field(_, field))
                if matches!(field.name.as_ref(), "managedFields" | "webhooks")
                    || (field.omit == Omit::Never && !field.pointer)
        );
        Ok(if items.is_empty() && !clears { Value::Null } else { Value::Array(items) })
    }

    // A value in a list or map: there, `null` is the zero value.
    fn element(&mut self, shape: &'s Shape) -> Result<Value, Syntax> {
        let kind = self.reader.peek()?;
        Ok(match self.value(shape, kind)? {
            Parsed::Value(value) => value,
            Parsed::Null | Parsed::Refused => zero_element(shape),
        })
    }

    fn value(&mut self, shape: &'s Shape, kind: Kind) -> Result<Parsed, Syntax> {
        if kind == Kind::Null {
            self.reader.null()?;
            return Ok(Parsed::Null);
        }
        let value = match (shape, kind) {
            (Shape::String | Shape::IntOrString, Kind::String) => {
                Value::String(self.reader.string()?.into_owned())
            }
            (Shape::Bool, Kind::Bool) => Value::Bool(self.reader.bool()?),
            (Shape::Int32 | Shape::Int64 | Shape::Float64, Kind::Number) => {
                let text = self.reader.number()?;
                return Ok(match number(shape, text) {
                    Some(value) => Parsed::Value(value),
                    None => self.wrong(shape, &format!("number {text}")),
                });
            }
            (Shape::Struct(schema), Kind::Object) => {
                let mut map = Map::new();
                self.object(schema, &mut map)?;
                Value::Object(map)
            }
            (Shape::Map(schema), Kind::Object) => {
                let mut map = Map::new();
                self.entries(&schema.value, &mut map)?;
                Value::Object(map)
            }
            (Shape::List(list), Kind::Array) => self.items(list)?,
            (Shape::Any | Shape::FieldsV1, _) => self.any()?,
            (Shape::Quantity, _) => return self.quantity(kind),
            (Shape::Time | Shape::MicroTime | Shape::Duration, _) => return self.stamp(shape, kind),
            (Shape::IntOrString, _) => return self.integer(kind),
            (Shape::Bytes, Kind::String) => return self.base64(),
            (Shape::Bytes, Kind::Array) => return self.octets(),
            _ => {
                let text = self.reader.skip()?;
                let number = kind == Kind::Number && self.reading == Reading::Converted;
                return Ok(self.wrong(shape, if number { text } else { kind.name() }));
            }
        };
        Ok(Parsed::Value(value))
    }

    fn quantity(&mut self, kind: Kind) -> Result<Parsed, Syntax> {
        // Upstream reads the raw text between the quotes, whatever it is.
        let raw = self.reader.skip()?;
        let text = if kind == Kind::String { raw.trim_matches('"') } else { raw };
        let read = if matches!(kind, Kind::String | Kind::Number) {
            Quantity::parse(text.trim())
        } else {
            Err(QuantityError::Format)
        };
        Ok(match read {
            Ok(quantity) => Parsed::Value(Value::String(quantity.to_string())),
            Err(error) => self.stop(error.to_string()),
        })
    }

    fn stamp(&mut self, shape: &Shape, kind: Kind) -> Result<Parsed, Syntax> {
        if kind != Kind::String {
            let what = self.what(kind)?;
            let message = self.type_error(&what_brief(kind, &what), "string");
            return Ok(self.stop(message));
        }
        let text = self.reader.string()?;
        let read = match shape {
            Shape::Time => canonical_time(&text, Precision::Seconds),
            Shape::MicroTime => canonical_time(&text, Precision::Micros),
            _ => parse_duration(&text).map(|nanos| Some(duration_text(nanos))),
        };
        Ok(match read {
            Ok(Some(text)) => Parsed::Value(Value::String(text)),
            Ok(None) => Parsed::Null,
            Err(message) => self.stop(message),
        })
    }

    // The number of an IntOrString.
    fn integer(&mut self, kind: Kind) -> Result<Parsed, Syntax> {
        let what = self.what(kind)?;
        let number = if kind == Kind::Number { what.strip_prefix("number ") } else { None };
        Ok(match number.and_then(|text| text.parse::<i32>().ok()) {
            Some(number) => Parsed::Value(number.into()),
            None => {
                let message = self.type_error(&what, "int32");
                self.stop(message)
            }
        })
    }

    fn base64(&mut self) -> Result<Parsed, Syntax> {
        let text = self.reader.string()?;
        if STANDARD.decode(text.as_bytes()).is_ok() {
            return Ok(Parsed::Value(Value::String(text.into_owned())));
        }
        let kept: Vec<u8> = text.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
        Ok(match LENIENT.decode(kept) {
            Ok(bytes) => Parsed::Value(Value::String(STANDARD.encode(bytes))),
            Err(_) => {
                let message = format!("illegal base64 data at input byte {}", corrupt_at(text.as_bytes()));
                self.note_wrong(message)
            }
        })
    }

    // Go takes an array of numbers for bytes.
    fn octets(&mut self) -> Result<Parsed, Syntax> {
        self.reader.enter()?;
        let (mut octets, mut first) = (Vec::new(), true);
        while self.reader.element(first)? {
            first = false;
            let kind = self.reader.peek()?;
            let what = self.what(kind)?;
            match what.strip_prefix("number ").and_then(|text| text.parse::<u8>().ok()) {
                Some(octet) => octets.push(octet),
                None if kind == Kind::Null => octets.push(0),
                None => {
                    let message = self.type_error(&what, "uint8");
                    self.note_wrong(message);
                }
            }
        }
        Ok(Parsed::Value(Value::String(STANDARD.encode(octets))))
    }

    // Reads over a value and says what it is: `number 5`, `string`.
    fn what(&mut self, kind: Kind) -> Result<String, Syntax> {
        let text = self.reader.skip()?;
        Ok(if kind == Kind::Number { format!("number {text}") } else { kind.name().to_owned() })
    }

    fn any(&mut self) -> Result<Value, Syntax> {
        Ok(match self.reader.peek()? {
            Kind::Null => {
                self.reader.null()?;
                Value::Null
            }
            Kind::Bool => Value::Bool(self.reader.bool()?),
            Kind::String => Value::String(self.reader.string()?.into_owned()),
            Kind::Number => any_number(self.reader.number()?),
            Kind::Array => {
                self.reader.enter()?;
                let mut items = Vec::new();
                while self.reader.element(items.is_empty())? {
                    items.push(self.any()?);
                }
                Value::Array(items)
            }
            Kind::Object => {
                self.reader.enter()?;
                let (mut map, mut first) = (Map::new(), true);
                while let Some(key) = self.reader.key(first)? {
                    first = false;
                    map.insert(key.into_owned(), self.any()?);
                }
                Value::Object(map)
            }
        })
    }

    fn wrong(&mut self, shape: &Shape, what: &str) -> Parsed {
        let go_type = go_type(shape, self.path.iter().rev().find_map(Step::field));
        let message = match self.reading {
            Reading::Json => self.type_error(what, &go_type),
            Reading::Converted => unconvertible(what, shape, &go_type),
        };
        self.note_wrong(message)
    }

    fn note_wrong(&mut self, message: String) -> Parsed {
        self.wrong.get_or_insert(message);
        Parsed::Refused
    }

    fn stop(&mut self, message: String) -> Parsed {
        self.fatal.get_or_insert(message);
        Parsed::Refused
    }

    fn type_error(&self, what: &str, go_type: &str) -> String {
        let mut fields = Vec::new();
        let mut owner = None;
        for (schema, field) in self.path.iter().filter_map(Step::field) {
            owner = Some(schema);
            fields.extend(embedded(schema, field).iter().copied());
            fields.push(field.name.as_ref());
        }
        match owner {
            Some(owner) => {
                let (owner, fields) = (owner.go_name(), fields.join("."));
                format!(
                    "json: cannot unmarshal {what} into Go struct field {owner}.{fields} of type {go_type}"
                )
            }
            None => format!("json: cannot unmarshal {what} into Go value of type {go_type}"),
        }
    }

    fn note(&mut self, what: &str, name: &str) {
        if self.strict.len() >= MAX_STRICT {
            return;
        }
        let mut path = String::new();
        for step in &self.path {
            match step {
                Step::Index(index) => path.push_str(&format!("[{index}]")),
                Step::Field(_, field) => append(&mut path, &field.name),
                Step::Key(key) => append(&mut path, key),
            }
        }
        append(&mut path, name);
        let message = format!("{what} {}", go_quote(&path));
        if !self.strict.contains(&message) {
            self.strict.push(message);
        }
    }
}

impl<'s> Step<'s> {
    fn field(&self) -> Option<(&'s Struct, &'s Field)> {
        match self {
            Self::Field(schema, field) => Some((schema, field)),
            _ => None,
        }
    }
}

// What Go calls a value of that kind.
fn json_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

// Why the converter does not make a value of that shape of what there is.
fn unconvertible(what: &str, shape: &Shape, go_type: &str) -> String {
    let (kind, source) = match what {
        "object" => ("map", "map[string]interface {}"),
        "array" => ("slice", "[]interface {}"),
        "string" | "bool" => (what, what),
        number if number.contains(['.', 'e', 'E']) => ("float64", "float64"),
        _ => ("int64", "int64"),
    };
    let is_number = matches!(kind, "int64" | "float64");
    match shape {
        Shape::List(_) | Shape::Bytes => format!("cannot restore slice from {kind}"),
        Shape::Map(_) => format!("cannot restore map from {kind}"),
        Shape::Struct(_) => format!("cannot restore struct from: {kind}"),
        // Go converts numbers to each other and to text, and tells only then what it was to become.
        Shape::String if !kind.starts_with("int") => "unrecognized type: string".to_owned(),
        Shape::Bool => "unrecognized type: bool".to_owned(),
        Shape::Int32 if !is_number => "unrecognized type: int32".to_owned(),
        Shape::Int64 if !is_number => "unrecognized type: int64".to_owned(),
        Shape::Float64 if !is_number => "unrecognized type: float64".to_owned(),
        _ => format!("cannot convert {source} to {go_type}"),
    }
}

fn append(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}

// Go names the number only where it tried to read it.
fn what_brief(kind: Kind, what: &str) -> String {
    if kind == Kind::Number { kind.name().to_owned() } else { what.to_owned() }
}

fn taken(map: &mut Map<String, Value>, name: &str) -> Map<String, Value> {
    match map.remove(name) {
        Some(Value::Object(inner)) => inner,
        _ => Map::new(),
    }
}

// Whether `null` unsets the field; Go ignores it for plain values and structs.
fn clears(field: &Field) -> bool {
    field.pointer
        || !matches!(
            field.shape,
            Shape::String | Shape::Bool | Shape::Int32 | Shape::Int64 | Shape::Float64 | Shape::Struct(_)
        )
}

// The field of that name. Texts mostly keep to one order, so the search starts
// after the field that was found before.
fn find(fields: &[Field], name: &str, next: usize) -> Option<usize> {
    let (before, after) = fields.split_at(next.min(fields.len()));
    let is = |field: &Field| field.name == name;
    let found = after.iter().position(is).map(|at| at + before.len());
    found.or_else(|| before.iter().position(is))
}

fn number(shape: &Shape, text: &str) -> Option<Value> {
    match shape {
        Shape::Int32 => text.parse::<i32>().ok().map(Value::from),
        Shape::Int64 => text.parse::<i64>().ok().map(Value::from),
        _ => {
            let number: f64 = text.parse().ok().filter(|it: &f64| it.is_finite())?;
            // Go writes whole floats without a point.
            let whole = number.fract() == 0.0 && number.abs() < 1e15;
            if whole { Some(Value::from(number as i64)) } else { Number::from_f64(number).map(Value::Number) }
        }
    }
}

fn any_number(text: &str) -> Value {
    if let Ok(number) = text.parse::<i64>() {
        return number.into();
    }
    if let Ok(number) = text.parse::<u64>() {
        return number.into();
    }
    text.parse().ok().and_then(Number::from_f64).map_or(Value::Null, Value::Number)
}

// Where Go's decoder says that base64 is corrupt.
fn corrupt_at(text: &[u8]) -> usize {
    let (mut digits, mut at) = (0, 0);
    let is_break = |byte: &u8| matches!(byte, b'\r' | b'\n');
    while at < text.len() {
        let byte = text[at];
        at += 1;
        if is_break(&byte) {
            continue;
        }
        if byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/' {
            digits = (digits + 1) % 4;
            continue;
        }
        if byte != b'=' || digits < 2 {
            return at - 1;
        }
        let mut pad = || {
            while text.get(at).is_some_and(is_break) {
                at += 1;
            }
            let padded = text.get(at) == Some(&b'=');
            at += usize::from(padded);
            padded
        };
        if digits == 2 && !pad() {
            return if at < text.len() { at - 1 } else { at };
        }
        while text.get(at).is_some_and(is_break) {
            at += 1;
        }
        return at;
    }
    // Go points at the beginning of the quantum that is not whole.
    text.len() - digits
}
