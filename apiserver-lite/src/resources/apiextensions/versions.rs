//! The versions of a CRD, one by one and together.

use std::collections::BTreeSet;

use coracle_api::{FieldError, FieldPath, format};
use serde_json::Value;

use super::{parts, schemas};
use crate::resources::{
    core::pods::internal::Internal,
    tree::{list, set, text, truth},
};

fn schema(version: &Value) -> &Value {
    &version["schema"]["openAPIV3Schema"]
}

// What all versions have in common, which upstream keeps beside the list.
struct Common<'a> {
    schema: Option<&'a Value>,
    subresources: Option<&'a Value>,
    columns: Option<&'a Value>,
    selectable: Option<&'a Value>,
}

/// What versions are checked with.
pub struct Versions<'a> {
    all: &'a [Value],
    // Those that are there already: what does not change is let be.
    old: &'a [Value],
    common: Common<'a>,
}

impl<'a> Versions<'a> {
    /// The versions of a spec.
    pub fn new(spec: &'a Value, old: Option<&'a Value>) -> Self {
        let all = list(&spec["versions"]);
        let common = Common {
            schema: parts::shared(all, &|it| schema(it)),
            subresources: parts::shared(all, &|it| &it["subresources"]),
            columns: parts::shared(all, &|it| &it["additionalPrinterColumns"]),
            selectable: parts::shared(all, &|it| &it["selectableFields"]),
        };
        Self { all, old: old.map_or(&[], |old| list(&old["versions"])), common }
    }

    fn before(&self, version: &Value) -> Option<&'a Value> {
        self.old.iter().find(|it| it["name"] == version["name"])
    }

    // Whether the schema was accepted before.
    fn is_old(&self, version: &Value) -> bool {
        self.before(version).is_some_and(|old| schema(old) == schema(version))
    }

    /// What is wrong with each, and with all of them together.
    pub fn faults(&self, path: &FieldPath) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for (index, version) in self.all.iter().enumerate() {
            if schema(version).is_null() && !self.is_old(version) {
                let path = path.index(index).child("schema").child("openAPIV3Schema");
                errors.push(FieldError::required(&path, ""));
            }
        }
        for (index, version) in self.all.iter().enumerate() {
            errors.extend(self.one(version, &path.index(index)));
        }
        let names: BTreeSet<&str> = self.all.iter().map(|it| text(&it["name"])).collect();
        let wrong = |detail: &str| {
            FieldError::invalid(path, Value::Array(self.all.to_vec()), detail).showing(self.shown())
        };
        if names.len() != self.all.len() {
            errors.push(wrong("must contain unique version names"));
        }
        if self.all.iter().filter(|it| truth(&it["storage"])).count() != 1 {
            errors.push(wrong("must have exactly one version marked as storage version"));
        }
        errors
    }

    fn one(&self, version: &Value, path: &FieldPath) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let name = text(&version["name"]);
        let faults = format::dns1035_label(name);
        if !faults.is_empty() {
            errors.push(FieldError::invalid(&path.child("name"), name, faults.join(",")));
        }
        errors.extend(parts::deprecation(version, path));
        if self.common.schema.is_none() && schema(version).is_object() && !self.is_old(version) {
            let status = set(&version["subresources"]["status"]);
            errors.extend(schemas::faults(schema(version), status, &path.child("schema")));
        }
        if self.common.subresources.is_none() {
            errors.extend(parts::subresources(&version["subresources"], &path.child("subresources")));
        }
        if self.common.columns.is_none() {
            errors.extend(columns(&version["additionalPrinterColumns"], path));
        }
        let fields = list(&version["selectableFields"]);
        if self.common.selectable.is_none() && !fields.is_empty() {
            let at = path.child("selectableFields");
            if self.common.schema.is_some() {
                let detail = "may only be set when `version.schema.openAPIV3Schema` is not included";
                errors.push(FieldError::invalid(&at, "", detail));
            } else {
                errors.extend(parts::selectable(
                    fields,
                    schema(version),
                    &at,
                    self.selects_as_before(version),
                ));
            }
        }
        errors
    }

    fn selects_as_before(&self, version: &Value) -> bool {
        self.before(version).is_some_and(|old| old["selectableFields"] == version["selectableFields"])
    }

    /// What is wrong with what all versions have in common.
    pub fn common(&self, path: &FieldPath) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let Some(first) = self.all.first() else { return errors };
        if let Some(schema) = self.common.schema.filter(|_| !self.is_old(first)) {
            let status = self.all.iter().any(|it| set(&it["subresources"]["status"]));
            errors.extend(schemas::faults(schema, status, &path.child("validation")));
        }
        if let Some(subresources) = self.common.subresources {
            errors.extend(parts::subresources(subresources, &path.child("subresources")));
        }
        if let Some(shared) = self.common.columns {
            errors.extend(columns(shared, path));
        }
        if let Some(fields) = self.common.selectable {
            let at = path.child("selectableFields");
            match self.common.schema {
                Some(schema) => {
                    let unchanged = self.selects_as_before(first);
                    if let Some(detail) = schemas::unsupported(schema) {
                        errors.push(FieldError::invalid(&path.child("schema.openAPIV3Schema"), "", detail));
                    }
                    errors.extend(parts::selectable(list(fields), schema, &at, unchanged));
                }
                None => {
                    let detail = "may only be set when validations.schema is included";
                    errors.push(FieldError::invalid(&at, "", detail));
                }
            }
        }
        errors
    }

    // The versions as upstream holds them: without what stands beside the list.
    fn shown(&self) -> String {
        if self.all.is_empty() {
            return "null".to_owned();
        }
        let moved = [
            ("schema", self.common.schema.is_some()),
            ("subresources", self.common.subresources.is_some()),
            ("additionalPrinterColumns", self.common.columns.is_some()),
            ("selectableFields", self.common.selectable.is_some()),
        ];
        let mut versions = self.all.to_vec();
        for version in versions.iter_mut().filter_map(Value::as_object_mut) {
            version.retain(|name, _| !moved.contains(&(name.as_str(), true)));
        }
        Internal::read().compact_list("CustomResourceDefinitionVersion", &versions)
    }
}

fn columns(columns: &Value, path: &FieldPath) -> Vec<FieldError> {
    let at = path.child("additionalPrinterColumns");
    let all = list(columns).iter().enumerate();
    all.flat_map(|(index, column)| parts::column(column, &at.index(index))).collect()
}

/// What is warned of in the schemas of a spec.
pub fn warnings(spec: &Value) -> Vec<String> {
    let versions = list(&spec["versions"]);
    match parts::shared(versions, &|it| schema(it)) {
        Some(shared) => schemas::warnings(shared),
        None => versions.iter().flat_map(|it| schemas::warnings(schema(it))).collect(),
    }
}
