//! What an object of a kind looks like: its fields, their shapes, which of them
//! Go leaves out when they are empty, and how lists and maps merge.
//!
//! One form serves built-in kinds (static tables under [`crate::facts`]) and
//! custom resources (built at run time), so decoding, pruning, defaulting,
//! field sets, patches and every codec walk the same tree.

use std::{borrow::Cow, fmt, ops::Deref, sync::Arc};

/// A shared part of a schema: a static table, or one built at run time.
pub enum Ref<T: 'static> {
    /// A generated table.
    Static(&'static T),
    /// Made from a CRD.
    Shared(Arc<T>),
}

impl<T> Clone for Ref<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Static(it) => Self::Static(it),
            Self::Shared(it) => Self::Shared(it.clone()),
        }
    }
}

impl<T> Deref for Ref<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Self::Static(it) => it,
            Self::Shared(it) => it,
        }
    }
}

// Schemas are recursive (JSONSchemaProps holds itself), so a reference prints
// as a mark instead of its target.
impl<T> fmt::Debug for Ref<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ref")
    }
}

/// A struct type of the API.
#[derive(Debug)]
pub struct Struct {
    /// Its OpenAPI definition name, `io.k8s.api.core.v1.PodSpec`. The last
    /// segment is the Go type's name, which decode errors cite.
    pub name: Cow<'static, str>,
    /// Its fields in Go's order, embedded structs flattened as JSON has them.
    pub fields: Cow<'static, [Field]>,
    /// `x-kubernetes-map-type: atomic`: one owner for the whole.
    pub atomic: bool,
    /// Fields that the schema does not name are kept.
    pub open: bool,
}

impl Struct {
    /// The field of that JSON name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// Whether it was made from a CRD. Of such objects only the metadata has a
    /// Go type; all else is kept as it is written.
    pub fn is_custom(&self) -> bool {
        matches!(self.fields, Cow::Owned(_))
    }

    /// The Go type's name, `PodSpec`.
    pub fn go_name(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or(&self.name)
    }
}

/// One field of a [`Struct`].
#[derive(Debug, Clone)]
pub struct Field {
    /// The JSON name.
    pub name: Cow<'static, str>,
    /// What it holds.
    pub shape: Shape,
    /// When Go leaves it out of JSON.
    pub omit: Omit,
    /// Go holds it as a pointer: a zero value is then not an empty one.
    pub pointer: bool,
    /// Upstream's OpenAPI lists it as required.
    pub required: bool,
    /// The default that upstream's OpenAPI publishes, as JSON text.
    pub default: Option<Cow<'static, str>>,
    /// How strategic merge treats it.
    pub patch: Patch,
    /// The protobuf field number, 0 where there is none.
    pub number: u16,
    /// The numbers of the embedded messages that hold it in protobuf, the
    /// outermost first. Empty where it stands in the struct itself.
    pub within: &'static [u16],
}

/// When a field is left out of JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Omit {
    /// Never: an unset one is written as its zero value (`null`, `""`, `0`, `{}`).
    Never,
    /// Go's `omitempty`: `false`, `0`, `""`, `null`, and empty lists and maps.
    /// A struct that is not a pointer is always written.
    Empty,
    /// Go's `omitzero`: as `Empty`, and a struct of zero value too.
    Zero,
}

/// The `patchStrategy` and `patchMergeKey` tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Patch {
    /// `merge`: lists merge instead of being replaced.
    pub merge: bool,
    /// `retainKeys`: keys that the patch does not name go.
    pub retain_keys: bool,
    /// `replace`: an object is replaced instead of being merged.
    pub replace: bool,
    /// The key of a merging list of structs.
    pub key: Option<&'static str>,
}

/// The shape of a value.
#[derive(Debug, Clone)]
pub enum Shape {
    /// Go `string`.
    String,
    /// Go `bool`.
    Bool,
    /// Go `int32`; JSON numbers outside of it are refused.
    Int32,
    /// Go `int64`.
    Int64,
    /// Go `float64`.
    Float64,
    /// Go `[]byte`: base64 in JSON.
    Bytes,
    /// `metav1.Time`: RFC 3339, whole seconds, UTC.
    Time,
    /// `metav1.MicroTime`: RFC 3339 with six digits, UTC.
    MicroTime,
    /// `metav1.Duration`: Go's duration text.
    Duration,
    /// `resource.Quantity`, kept in canonical form.
    Quantity,
    /// `intstr.IntOrString`.
    IntOrString,
    /// `metav1.FieldsV1`.
    FieldsV1,
    /// `runtime.RawExtension`, a JSON value, and whatever else passes as it is.
    Any,
    /// Another struct.
    Struct(Ref<Struct>),
    /// A list.
    List(Ref<List>),
    /// A map from strings.
    Map(Ref<Map>),
}

/// A list type.
#[derive(Debug)]
pub struct List {
    /// What its elements are.
    pub element: Shape,
    /// How it merges and who owns its elements.
    pub kind: ListKind,
}

/// `x-kubernetes-list-type`.
#[derive(Debug)]
pub enum ListKind {
    /// One owner for the whole list. What an unmarked list is.
    Atomic,
    /// Elements are unique scalars with an owner each.
    Set,
    /// Elements are structs told apart by these keys, in this order.
    Map(Cow<'static, [Cow<'static, str>]>),
}

/// A map type.
#[derive(Debug)]
pub struct Map {
    /// What its values are.
    pub value: Shape,
    /// `x-kubernetes-map-type: atomic`.
    pub atomic: bool,
}
