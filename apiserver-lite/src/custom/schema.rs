//! The structural schema of a custom resource: what a CRD's `openAPIV3Schema`
//! says, parsed once. It prunes, defaults and validates objects.

use std::sync::OnceLock;

use regex::Regex;
use serde_json::Value;

use crate::resources::tree::{entries, list, text, texts, truth};

/// What a value is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The schema names no type.
    Any,
    /// `object`
    Object,
    /// `array`
    Array,
    /// `string`
    String,
    /// `integer`
    Integer,
    /// `number`
    Number,
    /// `boolean`
    Boolean,
    /// A type that JSON schemas do not have.
    Unknown,
}

impl Kind {
    fn parse(text: &str) -> Self {
        match text {
            "" => Self::Any,
            "object" => Self::Object,
            "array" => Self::Array,
            "string" => Self::String,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "boolean" => Self::Boolean,
            _ => Self::Unknown,
        }
    }

    /// The name in schemas.
    pub fn name(self) -> &'static str {
        match self {
            Self::Any | Self::Unknown => "",
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }
}

/// `x-kubernetes-list-type`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListType {
    /// Not said, or `atomic`.
    Atomic,
    /// `set`
    Set,
    /// `map`, by these keys.
    Map(Box<[Box<str>]>),
}

/// `additionalProperties`
#[derive(Debug, Clone)]
pub enum Additional {
    /// Not said.
    Unsaid,
    /// `true` or `false`.
    Allowed(bool),
    /// Entries are of this schema.
    Schema(Box<Schema>),
}

/// A part of a schema.
#[derive(Debug, Clone)]
pub struct Schema {
    /// `type`
    pub kind: Kind,
    /// `nullable`
    pub nullable: bool,
    /// `x-kubernetes-int-or-string`
    pub int_or_string: bool,
    /// `x-kubernetes-preserve-unknown-fields`
    pub preserve: bool,
    /// `x-kubernetes-embedded-resource`
    pub embedded: bool,
    /// `x-kubernetes-map-type: atomic`
    pub atomic: bool,
    /// `x-kubernetes-list-type`
    pub list: ListType,
    /// `default`
    pub default: Option<Box<Value>>,
    /// `items`
    pub items: Option<Box<Schema>>,
    /// `properties`, by name.
    pub properties: Box<[(Box<str>, Schema)]>,
    /// `additionalProperties`
    pub additional: Additional,
    /// What values must keep to besides; `None`: nothing.
    pub rules: Option<Box<Rules>>,
}

/// What a schema says of values beyond their shape.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// `format`, where it is one that is checked.
    pub format: Option<Box<str>>,
    /// `pattern`
    pub pattern: Option<Pattern>,
    /// `maximum`, and whether it is itself excluded.
    pub maximum: Option<(f64, bool)>,
    /// `minimum`, and whether it is itself excluded.
    pub minimum: Option<(f64, bool)>,
    /// `multipleOf`
    pub multiple_of: Option<f64>,
    /// `maxLength`
    pub max_length: Option<i64>,
    /// `minLength`
    pub min_length: Option<i64>,
    /// `maxItems`
    pub max_items: Option<i64>,
    /// `minItems`
    pub min_items: Option<i64>,
    /// `uniqueItems`
    pub unique_items: bool,
    /// `maxProperties`
    pub max_properties: Option<i64>,
    /// `minProperties`
    pub min_properties: Option<i64>,
    /// `enum`
    pub one_of_values: Box<[Value]>,
    /// `required`
    pub required: Box<[Box<str>]>,
    /// `allOf`
    pub all_of: Box<[Schema]>,
    /// `anyOf`
    pub any_of: Box<[Schema]>,
    /// `oneOf`
    pub one_of: Box<[Schema]>,
    /// `not`
    pub not: Option<Schema>,
}

/// A pattern, compiled when it is first needed: most are of objects that
/// nobody writes.
#[derive(Debug, Clone)]
pub struct Pattern {
    /// Its text.
    pub text: Box<str>,
    compiled: OnceLock<Option<Regex>>,
}

impl Pattern {
    fn new(text: &str) -> Self {
        Self { text: text.into(), compiled: OnceLock::new() }
    }

    /// Whether it is found in `text`. One that does not compile is found
    /// nowhere: such schemas are refused.
    pub fn matches(&self, text: &str) -> bool {
        let compiled = self.compiled.get_or_init(|| compile(&self.text).ok());
        compiled.as_ref().is_some_and(|pattern| pattern.is_match(text))
    }
}

// What patterns may take: as they come with CRDs, they are input.
const PATTERN_BYTES: usize = 1 << 20;

/// Compiles a pattern in the syntax of Go, which is RE2's.
///
/// # Errors
/// Why it is none.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    // Go's `$` is the end of the text; `\z` and `\Q..\E` are spelled alike or
    // rare, and `\pN` is the same in both.
    let unicode = regex::RegexBuilder::new(pattern);
    let mut builder = unicode;
    builder.size_limit(PATTERN_BYTES);
    builder.build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => "expression too large".to_owned(),
        error => error.to_string().lines().last().unwrap_or_default().to_owned(),
    })
}

impl Schema {
    /// Reads the JSON of a schema. What it cannot be is left out: schemas are
    /// checked before they are stored.
    pub fn parse(json: &Value) -> Self {
        let kind = Kind::parse(text(&json["type"]));
        let keys = || texts(&json["x-kubernetes-list-map-keys"]).into_iter().map(Into::into).collect();
        Self {
            kind,
            nullable: truth(&json["nullable"]),
            int_or_string: truth(&json["x-kubernetes-int-or-string"]),
            preserve: truth(&json["x-kubernetes-preserve-unknown-fields"]),
            embedded: truth(&json["x-kubernetes-embedded-resource"]),
            atomic: text(&json["x-kubernetes-map-type"]) == "atomic",
            list: match text(&json["x-kubernetes-list-type"]) {
                "set" => ListType::Set,
                "map" => ListType::Map(keys()),
                _ => ListType::Atomic,
            },
            default: Some(&json["default"]).filter(|it| !it.is_null()).cloned().map(Box::new),
            items: json["items"].is_object().then(|| Box::new(Self::parse(&json["items"]))),
            properties: entries(&json["properties"])
                .map(|(name, it)| (name.into(), Self::parse(it)))
                .collect(),
            additional: match &json["additionalProperties"] {
                Value::Bool(allowed) => Additional::Allowed(*allowed),
                Value::Object(_) => Additional::Schema(Box::new(Self::parse(&json["additionalProperties"]))),
                _ => Additional::Unsaid,
            },
            rules: Rules::parse(json, kind).map(Box::new),
        }
    }

    /// The schema of a property.
    pub fn property(&self, name: &str) -> Option<&Self> {
        let at = self.properties.binary_search_by(|(it, _)| it.as_ref().cmp(name)).ok()?;
        self.properties.get(at).map(|(_, schema)| schema)
    }

    /// The schema of all entries that are no properties.
    pub fn entry(&self) -> Option<&Self> {
        match &self.additional {
            Additional::Schema(schema) => Some(schema),
            _ => None,
        }
    }

    /// The schema of a field: of the property, or of all entries.
    pub fn field(&self, name: &str) -> Option<&Self> {
        self.property(name).or_else(|| self.entry())
    }

    /// Whether any part has a default.
    pub fn has_defaults(&self) -> bool {
        self.default.is_some()
            || self.items.as_ref().is_some_and(|it| it.has_defaults())
            || self.entry().is_some_and(Self::has_defaults)
            || self.properties.iter().any(|(_, it)| it.has_defaults())
    }
}

impl Rules {
    fn parse(json: &Value, kind: Kind) -> Option<Self> {
        let whole = |name: &str| json[name].as_i64();
        let schemas = |name: &str| list(&json[name]).iter().map(Schema::parse).collect::<Box<[_]>>();
        let bound =
            |name: &str, exclusive: &str| json[name].as_f64().map(|bound| (bound, truth(&json[exclusive])));
        let rules = Self {
            format: checked_format(kind, text(&json["format"])).map(Into::into),
            pattern: Some(text(&json["pattern"])).filter(|it| !it.is_empty()).map(Pattern::new),
            maximum: bound("maximum", "exclusiveMaximum"),
            minimum: bound("minimum", "exclusiveMinimum"),
            multiple_of: json["multipleOf"].as_f64(),
            max_length: whole("maxLength"),
            min_length: whole("minLength"),
            max_items: whole("maxItems"),
            min_items: whole("minItems"),
            unique_items: truth(&json["uniqueItems"]),
            max_properties: whole("maxProperties"),
            min_properties: whole("minProperties"),
            one_of_values: list(&json["enum"]).into(),
            required: texts(&json["required"]).into_iter().map(Into::into).collect(),
            all_of: schemas("allOf"),
            any_of: schemas("anyOf"),
            one_of: schemas("oneOf"),
            not: json["not"].is_object().then(|| Schema::parse(&json["not"])),
        };
        (!rules.is_empty()).then_some(rules)
    }

    fn is_empty(&self) -> bool {
        let numbers = [
            self.max_length,
            self.min_length,
            self.max_items,
            self.min_items,
            self.max_properties,
            self.min_properties,
        ];
        self.format.is_none()
            && self.pattern.is_none()
            && self.maximum.is_none()
            && self.minimum.is_none()
            && self.multiple_of.is_none()
            && numbers.iter().all(Option::is_none)
            && !self.unique_items
            && self.one_of_values.is_empty()
            && self.required.is_empty()
            && self.all_of.is_empty()
            && self.any_of.is_empty()
            && self.one_of.is_empty()
            && self.not.is_none()
    }
}

/// The formats that texts are checked for, without their dashes.
const TEXT_FORMATS: &[&str] = &[
    "bsonobjectid",
    "uri",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "cidr",
    "mac",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
    "isbn",
    "isbn10",
    "isbn13",
    "creditcard",
    "ssn",
    "hexcolor",
    "rgbcolor",
    "byte",
    "password",
    "date",
    "duration",
    "datetime",
    "k8sshortname",
    "k8slongname",
];

/// The format, where one of that type is checked; others count as none.
pub fn checked_format(kind: Kind, format: &str) -> Option<&str> {
    let known = match kind {
        Kind::Any | Kind::String => TEXT_FORMATS.contains(&format.replace('-', "").as_str()),
        Kind::Integer => matches!(format, "int32" | "int64"),
        Kind::Number => matches!(format, "float" | "double"),
        _ => false,
    };
    (known && !format.is_empty()).then_some(format)
}
