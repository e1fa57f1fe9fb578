//! The types of expressions, as far as they are known.

use std::fmt;

/// A type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Not known here. Nothing is said of it.
    Unknown,
    /// Known at run time only.
    Dyn,
    /// `null`
    Null,
    /// `true`
    Bool,
    /// `1`
    Int,
    /// `1u`
    Uint,
    /// `1.0`
    Double,
    /// `"a"`
    String,
    /// `b"a"`
    Bytes,
    /// A type itself.
    Type,
    /// Of these.
    List(Box<Kind>),
    /// From these to those.
    Map(Box<Kind>, Box<Kind>),
    /// An object of that type, whose fields are not known.
    Opaque(&'static str),
    /// An object whose fields are known.
    Object(&'static Object),
    /// The variables of a policy, by name.
    Variables(Vec<(String, Kind)>),
}

/// An object's type.
#[derive(Debug, PartialEq, Eq)]
pub struct Object {
    /// Its name.
    pub name: &'static str,
    /// Its fields.
    pub fields: &'static [(&'static str, Field)],
}

/// The type of a field of an object, such as can be written down.
#[derive(Debug, PartialEq, Eq)]
pub enum Field {
    /// Any.
    Dyn,
    /// `true`
    Bool,
    /// `1`
    Int,
    /// Text.
    String,
    /// A moment.
    Time,
    /// Texts.
    Strings,
    /// Texts by text.
    Map,
    /// Lists of text by text.
    Lists,
    /// Something by domain and name.
    ByDomain(&'static str),
    /// An object.
    Object(&'static Object),
    /// Objects.
    Objects(&'static Object),
}

/// Moments.
pub const TIMESTAMP: &str = "google.protobuf.Timestamp";
/// Spans of time.
pub const DURATION: &str = "google.protobuf.Duration";

impl Kind {
    /// A list of these.
    pub fn list(of: Self) -> Self {
        Self::List(Box::new(of))
    }

    /// A map from these to those.
    pub fn map(key: Self, value: Self) -> Self {
        Self::Map(Box::new(key), Box::new(value))
    }

    /// Whether it is surely, or may be, of that type.
    pub fn is(&self, other: &Self) -> bool {
        !self.is_known() || !other.is_known() || self == other
    }

    /// Whether all of it is known.
    pub fn is_known(&self) -> bool {
        match self {
            Self::Unknown => false,
            Self::List(of) => of.is_known(),
            Self::Map(key, value) => key.is_known() && value.is_known(),
            _ => true,
        }
    }

    /// Whether a value of it can stand where one of `other` is wanted.
    pub fn suits(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unknown | Self::Dyn, _) | (_, Self::Unknown | Self::Dyn) => true,
            (Self::List(a), Self::List(b)) => a.suits(b),
            (Self::Map(a, x), Self::Map(b, y)) => a.suits(b) && x.suits(y),
            (a, b) => a == b,
        }
    }

    /// What both have in common.
    pub fn common(self, other: Self) -> Self {
        match (self, other) {
            (a, b) if a == b => a,
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            _ => Self::Dyn,
        }
    }

    /// The type of a field; `None` where there is none.
    pub fn field(&self, name: &str) -> Option<Self> {
        match self {
            Self::Object(object) => {
                object.fields.iter().find(|(known, _)| *known == name).map(|(_, field)| field.kind())
            }
            Self::Variables(variables) => {
                // The last that has the name counts.
                variables.iter().rfind(|(known, _)| known == name).map(|(_, kind)| kind.clone())
            }
            Self::Map(_, value) => Some((**value).clone()),
            Self::Dyn => Some(Self::Dyn),
            _ => Some(Self::Unknown),
        }
    }
}

impl Field {
    fn kind(&self) -> Kind {
        match self {
            Self::Dyn => Kind::Dyn,
            Self::Bool => Kind::Bool,
            Self::Int => Kind::Int,
            Self::String => Kind::String,
            Self::Time => Kind::Opaque(TIMESTAMP),
            Self::Strings => Kind::list(Kind::String),
            Self::Map => Kind::map(Kind::String, Kind::String),
            Self::Lists => Kind::map(Kind::String, Kind::list(Kind::String)),
            Self::ByDomain(what) => {
                let what = if what.is_empty() { Kind::Dyn } else { Kind::Opaque(what) };
                Kind::map(Kind::String, Kind::map(Kind::String, what))
            }
            Self::Object(object) => Kind::Object(object),
            Self::Objects(object) => Kind::list(Kind::Object(object)),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Never shown: nothing is said of what is not known.
            Self::Unknown | Self::Dyn => f.write_str("dyn"),
            Self::Null => f.write_str("null_type"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Uint => f.write_str("uint"),
            Self::Double => f.write_str("double"),
            Self::String => f.write_str("string"),
            Self::Bytes => f.write_str("bytes"),
            Self::Type => f.write_str("type"),
            Self::List(of) => write!(f, "list({of})"),
            Self::Map(key, value) => write!(f, "map({key}, {value})"),
            Self::Opaque(name) => f.write_str(name),
            Self::Object(object) => f.write_str(object.name),
            Self::Variables(_) => f.write_str("kubernetes.variables"),
        }
    }
}
