//! Bindings: a pod's node, named once.

use coracle_api::{FieldError, FieldPath, Object, format};

use crate::resources::{Strategy, Write, tree::field, tree::text};

/// The behaviour of bindings; none is ever stored.
pub struct Bindings;

impl Strategy for Bindings {
    fn prepare(&self, _write: &Write<'_>, _new: &mut Object, _old: Option<&Object>) {}

    fn validate(&self, _write: &Write<'_>, new: &Object, _old: Option<&Object>) -> Vec<FieldError> {
        let target = FieldPath::new("target");
        let (kind, name) = (text(field(new, &["target", "kind"])), text(field(new, &["target", "name"])));
        let mut errors = Vec::new();
        if !["", "Node"].contains(&kind) {
            errors.push(FieldError::not_supported(&target.child("kind"), kind, &["Node", "<empty>"]));
        }
        let path = target.child("name");
        if name.is_empty() {
            errors.push(FieldError::required(&path, ""));
        } else if ["", "Node"].contains(&kind) {
            let faults = format::dns1123_subdomain(name);
            errors.extend(faults.into_iter().map(|fault| FieldError::invalid(&path, name, fault)));
        }
        errors
    }
}
