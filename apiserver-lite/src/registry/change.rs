//! What a write wants of an object.

use std::sync::Arc;

use coracle_api::{
    FieldError, GroupVersionKind, Object, Resource,
    field::{FieldPath, go_quote},
    schema::Struct,
};
use serde_json::Value;

use super::{binding::Binding, options::FieldValidation, scale};
use crate::{
    apply::{self, Writer},
    error::{ApiError, Subject},
    patch::{self, PatchError},
    resources::Row,
    schema::{
        decode::{self, Decoded},
        go_order,
    },
};

/// A change to an object that is there (or, for some, not yet).
#[derive(Clone)]
pub enum Change {
    /// The object becomes this one.
    Replace(Object),
    /// A patch is laid on it.
    Patch(Arc<Patch>),
    /// A configuration is applied.
    Apply(Arc<Apply>),
    /// Its scale is changed: the change is one to the `Scale` of the object.
    Scale(Box<Change>),
    /// A pod is given to a node.
    Bind(Arc<Binding>),
}

/// A configuration to apply.
pub struct Apply {
    /// The fields that the client wants.
    pub config: Object,
    /// Whether it takes fields from other managers.
    pub force: bool,
    /// How fields that the schema does not have are met.
    pub validation: FieldValidation,
}

impl Apply {
    /// The object that the configuration makes of `current`, or of nothing,
    /// with its managedFields.
    ///
    /// # Errors
    /// 400, 409
    pub fn onto(
        &self,
        facts: &Resource,
        current: Option<&Object>,
        writer: &Writer<'_>,
    ) -> Result<Changed, ApiError> {
        let applied = apply::applied(facts, current, &self.config, writer, self.force)?;
        let tree = applied.into_value();
        let decoded = if facts.schema.is_custom() {
            decode::value(&tree, &facts.gvk, &facts.schema)
                .map_err(|error| ApiError::BadRequest(error.to_string()))?
        } else {
            decode::converted(&tree, &facts.gvk, &facts.schema)
                .map_err(|error| self.unconverted(facts, &error.to_string()))?
        };
        let warnings = if self.validation == FieldValidation::Warn { decoded.strict } else { Vec::new() };
        Ok(Changed { object: decoded.object, warnings })
    }
}

impl Apply {
    // What upstream says of values that only the types refuse, not the schema: times, mostly.
    fn unconverted(&self, facts: &Resource, fault: &str) -> ApiError {
        let GroupVersionKind { group, version, kind } = &facts.gvk;
        let kind = format!("{group}/{version}, Kind={kind}");
        apply::ApplyError::Failed(format!(
            "failed to convert new object ({}/{}; {kind}) to proper version: unable to convert unstructured object to \
             {kind}: {fault}",
            self.config.namespace(),
            self.config.name(),
        ))
        .into()
    }
}

/// A patch in one of the three forms.
pub struct Patch {
    /// The form.
    pub form: Form,
    /// Its bytes, JSON.
    pub body: bytes::Bytes,
    /// How fields that the schema does not have are met.
    pub validation: FieldValidation,
}

/// The forms of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// RFC 6902
    Json,
    /// RFC 7396
    Merge,
    /// Kubernetes' own.
    Strategic,
}

/// An object after a change, and what to warn of.
pub struct Changed {
    /// The object, canonical.
    pub object: Object,
    /// `unknown field ...`
    pub warnings: Vec<String>,
}

impl Change {
    /// The object that the change makes of `current`.
    ///
    /// # Errors
    /// 400, 413, 422: a patch that is malformed or does not fit.
    pub fn onto(&self, row: &Row, current: &Object, writer: &Writer<'_>) -> Result<Changed, ApiError> {
        let facts: &Resource = &row.facts;
        match self {
            Self::Replace(object) => Ok(Changed { object: object.clone(), warnings: Vec::new() }),
            Self::Patch(patch) => patch.onto(facts, current),
            Self::Apply(apply) => apply.onto(facts, Some(current), writer),
            Self::Scale(change) => scale::change(change, row, current, writer),
            Self::Bind(binding) => binding.onto(current, writer.now),
        }
    }
}

impl Patch {
    fn onto(&self, facts: &Resource, current: &Object) -> Result<Changed, ApiError> {
        let target = current.clone().into_value();
        let schema: &Struct = &facts.schema;
        let mut strict = match (self.validation, self.form) {
            (FieldValidation::Ignore, _) => Vec::new(),
            (_, Form::Json) => patch::json::check(&self.body).map_err(refused)?,
            (_, Form::Merge) => patch::merge::check(&self.body).map_err(refused)?,
            (_, Form::Strategic) => patch::strategic::check(&self.body).map_err(refused)?,
        };
        let patched = match self.form {
            Form::Json => patch::json::apply(target, &self.body),
            Form::Merge => patch::merge::apply(target, &self.body),
            Form::Strategic => patch::strategic::apply(target, &self.body, schema),
        }
        .map_err(refused)?;
        let decoded =
            match unversioned(&patched).filter(|_| self.form != Form::Strategic && !schema.is_custom()) {
                Some(strict) => Decoded { object: Object::default(), strict },
                None if self.form == Form::Strategic => decode::converted(&patched, &facts.gvk, schema)
                    .map_err(|error| self.invalid(&patched, schema, error.to_string()))?,
                None => decode::value(&patched, &facts.gvk, schema)
                    .map_err(|error| self.invalid(&patched, schema, error.to_string()))?,
            };
        strict.extend(decoded.strict);
        if self.validation == FieldValidation::Strict && !strict.is_empty() {
            return Err(self.invalid(
                &patched,
                schema,
                format!("strict decoding error: {}", strict.join(", ")),
            ));
        }
        if self.validation == FieldValidation::Ignore {
            strict.clear();
        }
        Ok(Changed { object: decoded.object, warnings: strict })
    }

    // What the error shows: the patched object, or the patch as Go prints it.
    fn invalid(&self, patched: &Value, schema: &Struct, detail: String) -> ApiError {
        let shown = match self.form {
            _ if schema.is_custom() => patched.to_string(),
            Form::Merge => {
                let touched: Value = serde_json::from_slice(&self.body).unwrap_or_default();
                go_order::patched(patched, schema, &touched)
            }
            Form::Json => {
                let operations: Value = serde_json::from_slice(&self.body).unwrap_or_default();
                go_order::patched(patched, schema, &go_order::ways(&operations))
            }
            Form::Strategic => {
                let patch = serde_json::from_slice(&self.body).unwrap_or_default();
                patch::golang::verbose(&patch)
            }
        };
        let errors = vec![FieldError::invalid(&FieldPath::new("patch"), shown, detail)];
        ApiError::Invalid { subject: Subject::default(), errors }
    }
}

// Without a version upstream reads into its internal type, which has none of
// the fields under the names that they have in versions.
fn unversioned(patched: &Value) -> Option<Vec<String>> {
    let fields = patched.as_object()?;
    if fields.get("apiVersion").and_then(Value::as_str).is_some_and(|it| !it.is_empty()) {
        return None;
    }
    let unknown = fields.keys().filter(|name| !["apiVersion", "kind"].contains(&name.as_str()));
    Some(unknown.map(|name| format!("unknown field {}", go_quote(name))).collect())
}

fn refused(error: PatchError) -> ApiError {
    match error {
        PatchError::Malformed(text) => ApiError::BadRequest(text),
        PatchError::Unprocessable(_) => ApiError::Unprocessable(error.to_string()),
        PatchError::TooLarge(_) => ApiError::PatchTooLarge(error.to_string()),
        PatchError::Failed(text) => ApiError::plain(500, &text),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_is_known_without_a_version() {
        let check = |patched: Value, expected: Option<&[&str]>| {
            let expected = expected.map(|it| it.iter().map(|&it| it.to_owned()).collect());
            assert_eq!(unversioned(&patched), expected);
        };
        check(json!({ "apiVersion": "v1", "data": {} }), None);
        check(
            json!({ "kind": "ConfigMap", "data": {}, "metadata": {} }),
            Some(&["unknown field \"data\"", "unknown field \"metadata\""]),
        );
        check(json!([]), None);
    }
}
