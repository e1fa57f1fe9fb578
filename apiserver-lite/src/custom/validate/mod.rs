//! Whether an object keeps to its schema, in upstream's words.
//!
//! Start at [`object`]. What an update does not change is not held against
//! it, though today's schema refuses it (KEP-4008, ratcheting).

mod embedded;
mod formats;
mod lists;
mod numbers;
mod ratchet;

use coracle_api::{FieldError, field::FieldPath};
use serde_json::{Map, Value};

pub use embedded::{embedded, embedded_in};
pub use formats::matches as matches_format;
pub use lists::lists;

use super::schema::{Kind, Rules, Schema};
pub use ratchet::Pair;

/// What is wrong with `value` by `schema`. `old` is what stood there before;
/// paths in errors begin with `at`.
pub fn object(schema: &Schema, value: &Value, old: Option<&Value>, at: &FieldPath) -> Vec<FieldError> {
    let check = Check { at };
    let pair = old.map(|old| Pair { old: Some(old), new: value, schema });
    check.ratcheted(schema, value, "", pair).errors
}

// What came of a check: the errors, and how much of the schema fitted, by
// which the best of several alternatives is told.
#[derive(Default)]
struct Outcome {
    errors: Vec<FieldError>,
    matches: usize,
}

impl Outcome {
    fn merge(&mut self, other: Self) {
        self.errors.extend(other.errors);
        self.matches += other.matches;
    }
}

struct Check<'a> {
    at: &'a FieldPath,
}

impl Check<'_> {
    // The path of an error. Upstream's own begin with a dot below the root.
    fn path(&self, name: &str) -> FieldPath {
        match name.strip_prefix('.').unwrap_or(name) {
            "" => self.at.clone(),
            name => self.at.child(name),
        }
    }

    fn ratcheted(&self, schema: &Schema, value: &Value, path: &str, pair: Option<Pair<'_>>) -> Outcome {
        let mut outcome = self.value(schema, value, path, pair);
        if pair.is_some_and(|pair| pair.old == Some(pair.new)) {
            outcome.errors.clear();
        }
        outcome
    }

    fn value(&self, schema: &Schema, value: &Value, path: &str, pair: Option<Pair<'_>>) -> Outcome {
        let mut outcome = Outcome::default();
        let rules = schema.rules.as_deref();
        let typed =
            schema.kind != Kind::Any || schema.int_or_string || rules.is_some_and(|it| it.format.is_some());
        if value.is_null() {
            outcome.merge(self.null(schema, path));
            outcome.errors.extend(rules.and_then(|rules| self.one_of_values(rules, value, path)));
            return outcome;
        }
        if typed {
            let error = self.kind(schema, value, path);
            outcome.matches += 1 + usize::from(error.is_none());
            outcome.errors.extend(error);
        }
        if let Some(rules) = rules {
            outcome.merge(self.combined(rules, value, path, pair));
        }
        outcome.matches += 2;
        match value {
            Value::String(text) => {
                outcome.matches += 1;
                outcome.errors.extend(rules.and_then(|rules| self.text(rules, text, path)));
                if let Some(format) = rules.and_then(|rules| rules.format.as_deref()) {
                    outcome.matches += 1;
                    outcome.errors.extend(self.format(format, text, path));
                }
            }
            Value::Number(number) => {
                outcome.matches += 2;
                let kind = if schema.int_or_string { Kind::Integer } else { schema.kind };
                outcome.errors.extend(numbers::check(self, kind, rules, number, path));
            }
            Value::Array(items) => {
                outcome.matches += 2;
                outcome.merge(self.items(schema, items, path, pair));
            }
            _ => {}
        }
        outcome.matches += 1;
        outcome.errors.extend(rules.and_then(|rules| self.one_of_values(rules, value, path)));
        if let Value::Object(map) = value {
            outcome.matches += 1;
            outcome.merge(self.fields(schema, map, path, pair));
        }
        outcome.matches += 1;
        outcome
    }

    fn null(&self, schema: &Schema, path: &str) -> Outcome {
        let types = types(schema);
        if types.is_empty() || schema.nullable {
            return Outcome { errors: Vec::new(), matches: 1 };
        }
        Outcome { errors: vec![self.type_error(path, &types, "null")], matches: 0 }
    }

    fn type_error(&self, path: &str, wanted: &str, found: &str) -> FieldError {
        let quoted = coracle_api::field::go_quote(found);
        FieldError::type_invalid(
            &self.path(path),
            found,
            format!("{path} in body must be of type {wanted}: {quoted}"),
        )
    }

    fn kind(&self, schema: &Schema, value: &Value, path: &str) -> Option<FieldError> {
        let (found, format) = match value {
            Value::Bool(_) => ("boolean", ""),
            Value::String(_) => ("string", ""),
            Value::Number(number) if number.is_i64() => ("integer", "int64"),
            Value::Number(_) => ("number", "float64"),
            Value::Array(_) => ("array", ""),
            Value::Object(_) => ("object", ""),
            Value::Null => return None,
        };
        let takes = |kind: Kind, name: &str| {
            schema.kind == kind && !schema.int_or_string
                || (schema.int_or_string && matches!(name, "integer" | "string"))
        };
        let numeric = takes(Kind::Number, "number") || takes(Kind::Integer, "integer");
        let fits = (schema.int_or_string && matches!(found, "integer" | "string"))
            || (!schema.int_or_string && schema.kind.name() == found);
        let whole = found == "number"
            && takes(Kind::Integer, "integer")
            && value.as_f64().is_some_and(|it| it.fract() == 0.0);
        let widened = found == "integer" && takes(Kind::Number, "number");
        let wanted = schema.rules.as_ref().and_then(|rules| rules.format.as_deref()).unwrap_or_default();
        let listed = matches!(value, Value::String(_) | Value::Array(_));
        if !(listed || wanted.is_empty() || fits || whole || widened || wanted == format) {
            return Some(self.type_error(path, wanted, format));
        }
        if !numeric && !wanted.is_empty() && listed {
            return None;
        }
        (!(fits || whole || widened)).then(|| self.type_error(path, &types(schema), found))
    }

    fn text(&self, rules: &Rules, text: &str, path: &str) -> Option<FieldError> {
        let length = || i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
        let at = self.path(path);
        if let Some(max) = rules.max_length.filter(|max| length() > *max) {
            return Some(FieldError::too_long(&at, usize::try_from(max).unwrap_or(0)));
        }
        if let Some(min) = rules.min_length.filter(|min| length() < *min) {
            let detail = format!("{path} in body should be at least {min} chars long");
            return Some(FieldError::invalid(&at, text, detail));
        }
        let pattern = rules.pattern.as_ref().filter(|pattern| !pattern.matches(text))?;
        Some(FieldError::invalid(&at, text, format!("{path} in body should match '{}'", pattern.text)))
    }

    fn format(&self, format: &str, text: &str, path: &str) -> Option<FieldError> {
        (!formats::matches(format, text)).then(|| self.type_error(path, format, text))
    }

    fn one_of_values(&self, rules: &Rules, value: &Value, path: &str) -> Option<FieldError> {
        let allowed = &rules.one_of_values;
        if allowed.is_empty() || allowed.iter().any(|it| same(it, value)) {
            return None;
        }
        let shown: Vec<String> =
            allowed.iter().map(|it| it.as_str().map_or_else(|| it.to_string(), str::to_owned)).collect();
        let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
        Some(FieldError::not_supported(&self.path(path), value.clone(), &shown))
    }

    fn items(&self, schema: &Schema, items: &[Value], path: &str, pair: Option<Pair<'_>>) -> Outcome {
        let mut outcome = Outcome::default();
        if let Some(element) = &schema.items {
            for (index, item) in items.iter().enumerate() {
                let pair = pair.and_then(|pair| pair.index(index, element));
                outcome.merge(self.ratcheted(element, item, &format!("{path}[{index}]"), pair));
            }
        }
        let Some(rules) = &schema.rules else { return outcome };
        let count = i64::try_from(items.len()).unwrap_or(i64::MAX);
        let at = self.path(path);
        if let Some(min) = rules.min_items.filter(|min| count < *min) {
            let detail = format!("{path} in body should have at least {min} items");
            outcome.errors.push(FieldError::invalid(&at, count, detail));
        }
        if let Some(max) = rules.max_items.filter(|max| count > *max) {
            outcome.errors.push(FieldError::too_many(&at, items.len(), usize::try_from(max).unwrap_or(0)));
        }
        let twice = |rules: &Rules| {
            rules.unique_items && items.iter().enumerate().any(|(at, it)| items[..at].contains(it))
        };
        if twice(rules) {
            outcome.errors.push(FieldError::invalid(
                &at,
                "",
                format!("{path} in body shouldn't contain duplicates"),
            ));
        }
        outcome
    }

    fn fields(
        &self,
        schema: &Schema,
        map: &Map<String, Value>,
        path: &str,
        pair: Option<Pair<'_>>,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        let at = self.path(path);
        let rules = schema.rules.as_deref();
        let count = i64::try_from(map.len()).unwrap_or(i64::MAX);
        if let Some(min) = rules.and_then(|it| it.min_properties).filter(|min| count < *min) {
            let detail = format!("{path} in body should have at least {min} properties");
            outcome.errors.push(FieldError::invalid(&at, count, detail));
        }
        if let Some(max) = rules.and_then(|it| it.max_properties).filter(|max| count > *max) {
            outcome.errors.push(FieldError::too_many(&at, map.len(), usize::try_from(max).unwrap_or(0)));
        }
        for (name, value) in map {
            let (inner, below) = match (schema.property(name), schema.entry()) {
                (Some(it), _) if path.is_empty() => (it, name.clone()),
                (Some(it), _) | (None, Some(it)) => (it, format!("{path}.{name}")),
                (None, None) => {
                    if let super::schema::Additional::Allowed(false) = schema.additional {
                        let detail = format!("{path}.{name} in body is a forbidden property");
                        outcome.errors.push(FieldError::invalid(&at, name.as_str(), detail));
                    }
                    continue;
                }
            };
            let named = path.is_empty() && matches!(name.as_str(), "kind" | "apiVersion");
            let pair = pair.and_then(|pair| pair.key(name, inner)).filter(|_| !named);
            outcome.merge(self.ratcheted(inner, value, &below, pair));
        }
        for name in rules.map_or(&[][..], |it| &it.required) {
            if !map.contains_key(name.as_ref()) {
                outcome.errors.push(FieldError::required(&self.path(&format!("{path}.{name}")), ""));
            }
        }
        outcome
    }

    // allOf, anyOf, oneOf, not.
    fn combined(&self, rules: &Rules, value: &Value, path: &str, pair: Option<Pair<'_>>) -> Outcome {
        let mut outcome = Outcome::default();
        let quoted = || coracle_api::field::go_quote(path);
        let whole = |detail: String| FieldError::invalid(self.at, "", detail);
        if !rules.any_of.is_empty() {
            let (best, valid) = self.best(&rules.any_of, value, path, pair, true);
            if valid == 0 {
                outcome.errors.push(whole(format!("{} must validate at least one schema (anyOf)", quoted())));
            }
            outcome.merge(best);
        }
        if !rules.one_of.is_empty() {
            let (best, valid) = self.best(&rules.one_of, value, path, pair, false);
            if valid != 1 {
                let found = match valid {
                    0 => "Found none valid".to_owned(),
                    many => format!("Found {many} valid alternatives"),
                };
                let text = format!("{} must validate one and only one schema (oneOf). {found}", quoted());
                outcome.errors.push(whole(text));
            }
            if valid < 2 {
                outcome.merge(best);
            }
        }
        if !rules.all_of.is_empty() {
            let mut valid = 0;
            for schema in &rules.all_of {
                let one = self.value(schema, value, path, pair);
                valid += usize::from(one.errors.is_empty());
                outcome.merge(one);
            }
            if valid != rules.all_of.len() {
                let more = if valid == 0 { ". None validated" } else { "" };
                outcome
                    .errors
                    .push(whole(format!("{} must validate all the schemas (allOf){more}", quoted())));
            }
        }
        if let Some(not) = &rules.not
            && self.value(not, value, path, pair).errors.is_empty()
        {
            outcome.errors.push(whole(format!("{} must not validate the schema (not)", quoted())));
        }
        outcome
    }

    // The first alternative that fits, or the one that fits best; and how many
    // fit.
    fn best(
        &self,
        schemas: &[Schema],
        value: &Value,
        path: &str,
        pair: Option<Pair<'_>>,
        first_is_enough: bool,
    ) -> (Outcome, usize) {
        let mut best: Option<Outcome> = None;
        let mut valid = 0;
        for schema in schemas {
            let outcome = self.value(schema, value, path, pair);
            if outcome.errors.is_empty() {
                valid += 1;
                if valid == 1 {
                    best = Some(outcome);
                }
                if first_is_enough {
                    break;
                }
            } else if valid == 0 && best.as_ref().is_none_or(|best| outcome.matches > best.matches) {
                best = Some(outcome);
            }
        }
        (best.unwrap_or_default(), valid)
    }
}

// What a schema's types are called in errors.
fn types(schema: &Schema) -> String {
    if schema.int_or_string { "integer,string".to_owned() } else { schema.kind.name().to_owned() }
}

/// Whether two values are the same; numbers by what they are worth.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || x.as_f64() == y.as_f64(),
        _ => a == b,
    }
}

#[cfg(test)]
mod tests;
