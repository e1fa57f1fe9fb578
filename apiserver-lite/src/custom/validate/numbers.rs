//! Ranges, factors and sizes of numbers.

use coracle_api::{FieldError, field::go_float};
use serde_json::{Number, Value};

use super::Check;
use crate::custom::schema::{Kind, Rules};

/// What is wrong with a number.
pub(super) fn check(
    check: &Check<'_>,
    kind: Kind,
    rules: Option<&Rules>,
    number: &Number,
    path: &str,
) -> Vec<FieldError> {
    let format = rules.and_then(|it| it.format.as_deref()).unwrap_or_default();
    let mut errors = Vec::new();
    let mut range = |what: &str, number: f64, whole: Option<i64>| {
        if fits(kind, format, number, whole) {
            return true;
        }
        let name = kind.name();
        let text = if format.is_empty() {
            format!("{what} value must be of type {name} (default format) in {path}")
        } else {
            format!("{what} value must be of type {name} with format {format} in {path}")
        };
        errors.push(FieldError::invalid(check.at, "", text));
        false
    };
    let value = number.as_f64().unwrap_or_default();
    range("Checked", value, number.as_i64());
    let Some(rules) = rules else { return errors };
    let mut found = Vec::new();
    let mut invalid = |detail: String| {
        found.push(FieldError::invalid(&check.path(path), Value::Number(number.clone()), detail));
    };
    if let Some(factor) = rules.multiple_of {
        let exact = range("MultipleOf", factor, None);
        let whole = number.as_i64().filter(|_| exact);
        if !(whole.map_or_else(|| multiple(value, factor), |it| multiple_of_whole(it, factor))) {
            let factor = go_float(factor);
            invalid(format!("{path} in body should be a multiple of {factor}"));
        }
    }
    if let Some((max, exclusive)) = rules.maximum {
        range("Maximum boundary", max, None);
        if value > max || (exclusive && value >= max) {
            let than = if exclusive { "less than" } else { "less than or equal to" };
            invalid(format!("{path} in body should be {than} {}", go_float(max)));
        }
    }
    if let Some((min, exclusive)) = rules.minimum {
        range("Minimum boundary", min, None);
        if value < min || (exclusive && value <= min) {
            let than = if exclusive { "greater than" } else { "greater than or equal to" };
            invalid(format!("{path} in body should be {than} {}", go_float(min)));
        }
    }
    errors.extend(found);
    errors
}

// Whether the type can hold the number.
fn fits(kind: Kind, format: &str, number: f64, whole: Option<i64>) -> bool {
    match (kind, format) {
        (Kind::Integer, "int32") => {
            number.fract() == 0.0 && number >= f64::from(i32::MIN) && number <= f64::from(i32::MAX)
        }
        (Kind::Integer, _) => whole.is_some() || (number.fract() == 0.0 && number.abs() < 9.3e18),
        (Kind::Number, "float") => number.abs() <= f64::from(f32::MAX),
        _ => true,
    }
}

fn multiple(value: f64, factor: f64) -> bool {
    if factor <= 0.0 {
        return false;
    }
    let quotient = if factor < 1.0 { 1.0 / factor * value } else { value / factor };
    // Upstream allows for what floats cannot hold.
    let whole = quotient.round();
    quotient == whole || ((quotient - whole) / quotient).abs() < 1e-9
}

fn multiple_of_whole(value: i64, factor: f64) -> bool {
    let factor = factor as i64;
    factor > 0 && value % factor == 0
}
