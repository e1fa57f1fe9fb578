//! The canonical form: what Go would write for the object.

use coracle_api::{Object, schema::Struct};

/// Brings a tree that was changed into canonical form: drops what Go omits,
/// adds what Go always writes.
pub fn canonicalize(_object: &mut Object, _schema: &Struct) {}
