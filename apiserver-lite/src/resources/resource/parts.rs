//! What requests, allocations, classes and slices share.

use std::collections::{BTreeMap, BTreeSet};

use coracle_api::{FieldError, FieldPath, format};
use serde_json::{Value, json};

use super::types::identifier;
use crate::{
    cel,
    resources::{
        core::volume_sources::csi_driver,
        rules::Errors,
        tree::{list, set, text, texts},
    },
};

/// One error for each fault of a value.
pub fn invalid(path: &FieldPath, value: &str, faults: Vec<String>) -> Errors {
    faults.into_iter().map(|fault| FieldError::invalid(path, value, fault)).collect()
}

/// What is wrong with the name of a pool: subdomains between slashes.
pub fn pool_name(name: &str, path: &FieldPath) -> Errors {
    const MAX: usize = 253;
    if name.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    let mut errors = Errors::new();
    if name.len() > MAX {
        errors.push(FieldError::too_long(path, MAX));
    }
    errors.extend(name.split('/').flat_map(|part| invalid(path, part, format::dns1123_subdomain(part))));
    errors
}

/// What is wrong with the name of an attribute or capacity, with its domain or
/// without.
pub fn qualified_name(name: &str, path: &FieldPath) -> Errors {
    match name.split('/').collect::<Vec<_>>().as_slice() {
        [own] => identifier(own, path),
        [domain, own] => {
            let mut errors = match *domain {
                "" => vec![FieldError::invalid(path, "", "the domain must not be empty")],
                domain => csi_driver(domain, path),
            };
            match *own {
                "" => errors.push(FieldError::invalid(path, "", "the name must not be empty")),
                own => errors.extend(identifier(own, path)),
            }
            errors
        }
        // Upstream lets more slashes pass.
        _ => Errors::new(),
    }
}

/// What is wrong with a toleration, but for what is declared.
pub fn toleration(toleration: &Value, path: &FieldPath) -> Errors {
    let (value, path) = (text(&toleration["value"]), path.child("value"));
    match text(&toleration["operator"]) {
        "Exists" if !value.is_empty() => {
            vec![FieldError::invalid(&path, value, "must be empty for operator `Exists`")]
        }
        "Equal" => invalid(&path, value, format::label_value(value)),
        _ => Errors::new(),
    }
}

/// What is wrong with tolerations.
pub fn tolerations(all: &Value, path: &FieldPath) -> Errors {
    list(all).iter().enumerate().flat_map(|(index, it)| toleration(it, &path.index(index))).collect()
}

/// What is wrong with a taint, but for its effect.
pub fn taint(taint: &Value, path: &FieldPath) -> Errors {
    let (key, value) = (text(&taint["key"]), text(&taint["value"]));
    let mut errors = invalid(&path.child("key"), key, format::qualified_name(key));
    errors.extend(invalid(&path.child("value"), value, format::label_value(value)));
    errors
}

/// What is wrong with selectors of devices. Expressions that were `stored`
/// before are taken as they are.
pub fn selectors(all: &Value, path: &FieldPath, stored: bool) -> Errors {
    const MOST: usize = 32;
    // Too many are declared to be wrong.
    if list(all).len() > MOST {
        return Errors::new();
    }
    let selector = |(index, it): (usize, &Value)| {
        let path = path.index(index).child("cel");
        match &it["cel"] {
            Value::Null => vec![FieldError::required(&path, "")],
            _ if stored => Errors::new(),
            cel => expression(text(&cel["expression"]), &path.child("expression")),
        }
    };
    list(all).iter().enumerate().flat_map(selector).collect()
}

fn expression(expression: &str, path: &FieldPath) -> Errors {
    const LONGEST: usize = 10 * 1024;
    if expression.len() > LONGEST {
        return vec![FieldError::too_long(path, LONGEST)];
    }
    cel::of_devices(expression).err().map(|fault| fault.at(path, expression)).into_iter().collect()
}

/// What is wrong with a configuration that is meant for drivers, but for the name of the driver.
pub fn configuration(holder: &Value, path: &FieldPath, stored: bool) -> Errors {
    const LONGEST: usize = 10 * 1024;
    let path = path.child("opaque");
    match &holder["opaque"] {
        Value::Null => vec![FieldError::required(&path, "")],
        opaque => raw(&opaque["parameters"], &path.child("parameters"), stored, LONGEST),
    }
}

/// What is wrong with an object of a driver's own.
pub fn raw(value: &Value, path: &FieldPath, stored: bool, longest: usize) -> Errors {
    match value {
        Value::Null => vec![FieldError::required(path, "")],
        value if !stored && value.to_string().len() > longest => vec![FieldError::too_long(path, longest)],
        Value::Object(_) => Errors::new(),
        _ => vec![FieldError::invalid(path, "<value omitted>", "must be a valid JSON object")],
    }
}

/// The requests of a claim that others refer to, as `REQUEST` and `REQUEST/SUBREQUEST`, each with those within it.
pub struct Names(BTreeMap<String, BTreeSet<String>>);

impl Names {
    /// Those of a claim's `devices`.
    pub fn of(devices: &Value) -> Self {
        let name = |it: &Value| text(&it["name"]).to_owned();
        let within = |it: &Value| list(&it["firstAvailable"]).iter().map(name).collect();
        Self(list(&devices["requests"]).iter().map(|it| (name(it), within(it))).collect())
    }

    /// What is wrong with a reference to one of them.
    pub fn refuse(&self, name: &str, path: &FieldPath) -> Errors {
        const UNKNOWN: &str = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
        if name.split('/').count() > 2 {
            return vec![FieldError::invalid(path, name, UNKNOWN)];
        }
        let mut errors: Errors =
            name.split('/').flat_map(|part| invalid(path, part, format::dns1123_label(part))).collect();
        let known = match name.split_once('/') {
            None => self.0.contains_key(name),
            Some((request, within)) => self.0.get(request).is_some_and(|it| it.contains(within)),
        };
        if !known {
            errors.push(FieldError::invalid(path, name, UNKNOWN));
        }
        errors
    }

    /// What is wrong with the references in a list.
    pub fn refuse_all(&self, names: &Value, path: &FieldPath) -> Errors {
        const MOST: usize = 32;
        if list(names).len() > MOST {
            return Errors::new();
        }
        let each = texts(names).into_iter().enumerate();
        each.flat_map(|(index, name)| self.refuse(name, &path.index(index))).collect()
    }
}

/// What is wrong with the conditions under which devices are bound, or their
/// binding fails.
pub fn binding(holder: &Value, path: &FieldPath) -> Errors {
    const MOST: usize = 4;
    const LISTS: [&str; 2] = ["bindingConditions", "bindingFailureConditions"];
    let mut errors = Errors::new();
    for name in LISTS.into_iter().filter(|name| list(&holder[*name]).len() <= MOST) {
        let path = path.child(name);
        for (index, kind) in texts(&holder[name]).into_iter().enumerate() {
            errors.extend(invalid(&path.index(index), kind, format::qualified_name(kind)));
        }
    }
    let [bound, failed] = LISTS.map(|name| texts(&holder[name]));
    for (name, all) in LISTS.into_iter().zip([&bound, &failed]) {
        let path = path.child(name);
        for (index, kind) in all.iter().enumerate() {
            if all.iter().take(index).any(|earlier| earlier == kind) {
                errors.push(FieldError::duplicate(&path.index(index), *kind));
            }
            if name == "bindingFailureConditions" && bound.contains(kind) {
                let detail = "bindingFailureConditions must not overlap with bindingConditions";
                errors.push(FieldError::invalid(&path.index(index), *kind, detail));
            }
        }
    }
    for (none, some, detail) in [
        (0, 1, "bindingConditions are required to use bindingFailureConditions"),
        (1, 0, "bindingFailureConditions are required to use bindingConditions"),
    ] {
        let all = [&bound, &failed];
        if all[none].is_empty() && !all[some].is_empty() {
            // Upstream shows a list that is not there as null.
            let shown = if set(&holder[LISTS[none]]) { json!([]) } else { Value::Null };
            errors.push(FieldError::invalid(&path.child(LISTS[none]), shown, detail));
        }
    }
    errors
}
