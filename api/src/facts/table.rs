//! How the generated tables are written down: short constructors, so that a
//! field is a line.

use std::{borrow::Cow, mem};

use crate::{
    resource::GroupVersionKind,
    schema::{Field, List, ListKind, Map, Omit, Patch, Ref, Shape, Struct},
};

/// Always written.
pub const NEVER: u8 = 0;
/// Go's `omitempty`.
pub const EMPTY: u8 = 1;
/// Go's `omitzero`.
pub const ZERO: u8 = 2;
/// Go holds a pointer.
pub const POINTER: u8 = 4;
/// Upstream's OpenAPI requires it.
pub const REQUIRED: u8 = 8;
/// Upstream's OpenAPI publishes the zero value as its default.
pub const ZEROED: u8 = 16;

/// A field: its JSON name, its protobuf number, its shape and the flags above.
pub const fn field(name: &'static str, number: u16, shape: Shape, flags: u8) -> Field {
    let default = if flags & ZEROED == 0 { None } else { Some(Cow::Borrowed(zero(&shape))) };
    let omit = match flags & (EMPTY | ZERO) {
        NEVER => Omit::Never,
        EMPTY => Omit::Empty,
        _ => Omit::Zero,
    };
    Field {
        name: Cow::Borrowed(name),
        shape,
        omit,
        pointer: flags & POINTER != 0,
        required: flags & REQUIRED != 0,
        default,
        patch: Patch { merge: false, retain_keys: false, replace: false, key: None },
        number,
        within: &[],
    }
}

/// The field with that default, JSON text.
pub const fn defaulted(json: &'static str, mut field: Field) -> Field {
    // Forgotten, not dropped: a destructor cannot run in a constant, and what
    // stood there was `None`.
    mem::forget(field.default.replace(Cow::Borrowed(json)));
    field
}

/// The field with those patch tags.
pub const fn patched(patch: Patch, mut field: Field) -> Field {
    field.patch = patch;
    field
}

/// The field, held in protobuf by the embedded messages of those numbers.
pub const fn inlined(within: &'static [u16], mut field: Field) -> Field {
    field.within = within;
    field
}

/// A struct as a shape.
pub const fn of(it: &'static Struct) -> Shape {
    Shape::Struct(Ref::Static(it))
}

/// A list as a shape.
pub const fn list(it: &'static List) -> Shape {
    Shape::List(Ref::Static(it))
}

/// A map as a shape.
pub const fn map(it: &'static Map) -> Shape {
    Shape::Map(Ref::Static(it))
}

/// A list that is owned as a whole.
pub const fn atomic(element: Shape) -> List {
    List { element, kind: ListKind::Atomic }
}

/// A list of unique scalars.
pub const fn set(element: Shape) -> List {
    List { element, kind: ListKind::Set }
}

/// A map whose entries have an owner each.
pub const fn granular(value: Shape) -> Map {
    Map { value, atomic: false }
}

/// A map that is owned as a whole.
pub const fn whole(value: Shape) -> Map {
    Map { value, atomic: true }
}

/// A group, version and kind.
pub const fn gvk(group: &'static str, version: &'static str, kind: &'static str) -> GroupVersionKind {
    GroupVersionKind {
        group: Cow::Borrowed(group),
        version: Cow::Borrowed(version),
        kind: Cow::Borrowed(kind),
    }
}

const fn zero(shape: &Shape) -> &'static str {
    match shape {
        Shape::String => "\"\"",
        Shape::Bool => "false",
        Shape::Int32 | Shape::Int64 | Shape::Float64 => "0",
        _ => "{}",
    }
}
