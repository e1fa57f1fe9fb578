//! How much of a device's capacity may be asked for.

use coracle_api::{FieldError, FieldPath, Quantity};
use serde_json::Value;

use crate::resources::{
    core::quantities::parse,
    rules::{Errors, NOT_NEGATIVE},
    tree::{list, set, text},
};

/// What is wrong with the policy for requests of a capacity of that amount.
pub fn policy(capacity: &str, policy: &Value, path: &FieldPath) -> Errors {
    let (values, range) = (list(&policy["validValues"]), &policy["validRange"]);
    let capacity = parse(capacity).unwrap_or_default();
    let default = policy["default"].as_str().and_then(parse);
    let missing = |what: &str| {
        vec![FieldError::required(&path.child("default"), format!("required when {what} is defined"))]
    };
    match (values.is_empty(), set(range), default) {
        (false, true, _) => {
            let detail = "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time";
            vec![FieldError::forbidden(path, detail)]
        }
        (true, false, _) => Errors::new(),
        (false, false, None) => missing("validValues"),
        (true, true, None) => missing("validRange"),
        (false, false, Some(default)) => {
            let values = values.iter().map(|it| parse(text(it)).unwrap_or_default()).collect::<Vec<_>>();
            in_values(&default, &capacity, &values, &path.child("validValues"))
        }
        (true, true, Some(default)) => in_range(&default, &capacity, range, &path.child("validRange")),
    }
}

fn in_values(default: &Quantity, capacity: &Quantity, values: &[Quantity], path: &FieldPath) -> Errors {
    const MOST: usize = 10;
    let invalid = |index: usize, detail: String| {
        let shown = values.get(index).map(ToString::to_string).unwrap_or_default();
        FieldError::invalid(&path.index(index), shown, detail)
    };
    let mut errors = Errors::new();
    for (index, pair) in values.windows(2).enumerate() {
        if matches!(pair, [one, next] if one > next) {
            errors.push(invalid(index + 1, "values must be sorted in ascending order".to_owned()));
        }
    }
    if values.len() > MOST {
        errors.push(FieldError::too_many(path, values.len(), MOST));
    } else {
        for (index, _) in values.iter().enumerate().filter(|(_, it)| *it > capacity) {
            errors.push(invalid(index, format!("option is larger than capacity value: {capacity}")));
        }
        for (index, value) in values.iter().enumerate() {
            if values.iter().take(index).any(|earlier| earlier == value) {
                errors.push(FieldError::duplicate(&path.index(index), value.to_string()));
            }
        }
    }
    if values.len() > MOST || !values.contains(default) {
        let detail = "default value is not valid according to the requestPolicy";
        errors.push(FieldError::invalid(path, default.to_string(), detail));
    }
    errors
}

fn in_range(default: &Quantity, capacity: &Quantity, range: &Value, path: &FieldPath) -> Errors {
    let of = |name: &str| range[name].as_str().and_then(parse);
    let Some(min) = of("min") else {
        return vec![FieldError::required(&path.child("min"), "required when validRange is defined")];
    };
    let (max, step) = (of("max"), of("step"));
    let mut errors = Errors::new();
    let mut invalid = |name: &str, value: &Quantity, detail: String| {
        errors.push(FieldError::invalid(&path.child(name), value.to_string(), detail));
    };
    if min > *capacity {
        invalid("min", &min, format!("min is larger than capacity value: {capacity}"));
    }
    if *default < min {
        invalid("default", default, format!("default is less than min: {min}"));
    }
    if let Some(max) = &max {
        if min > *max {
            invalid("max", &min, format!("min is larger than max: {max}"));
        }
        if max > capacity {
            invalid("max", max, format!("max is larger than capacity value: {capacity}"));
        }
        if default > max {
            invalid("default", default, format!("default is more than max: {max}"));
        }
    }
    let bounds =
        [("default", Some(default)), ("min", Some(&min)), ("max", max.as_ref()), ("step", step.as_ref())];
    let given = || bounds.iter().filter_map(|(name, value)| Some((*name, (*value)?)));
    // Where something is smaller than one, thousandths are counted.
    let in_milli = given().any(|(_, it)| !is_whole(it, 0));
    let mut countable = true;
    for (name, value) in given().filter(|(_, it)| in_milli && !is_whole(it, -3)) {
        invalid(name, value, "value cannot be represented as a milli value".to_owned());
        countable = false;
    }
    let Some(step) = step.as_ref().filter(|_| countable) else { return errors };
    if step.sign() <= 0 {
        invalid("step", step, "must be greater than zero".to_owned());
        return errors;
    }
    let added = min.plus(step);
    if added > *capacity {
        invalid("step", step, format!("one step {added} is larger than capacity value: {capacity}"));
    }
    let most = parse("9223372036854775807").unwrap_or_default();
    for (name, value) in given().filter(|_| !in_milli) {
        let detail = match value {
            value if value.sign() < 0 => NOT_NEGATIVE.to_owned(),
            value if *value > most => format!("must not be larger than {most}"),
            _ => continue,
        };
        invalid(name, value, detail);
        countable = false;
    }
    let count = |it: &Quantity| if in_milli { it.milli_value() } else { it.value() };
    for value in [Some(default), max.as_ref()].into_iter().flatten().filter(|_| countable) {
        let over = i128::from(count(value)) - i128::from(count(&min));
        if over % i128::from(count(step).max(1)) != 0 {
            let detail = format!("value is not a multiple of a given step ({step}) from ({min})");
            invalid("step", value, detail);
        }
    }
    errors
}

// Whether there is nothing below that power of ten.
fn is_whole(quantity: &Quantity, scale: i64) -> bool {
    let mut rounded = quantity.clone();
    rounded.round_up(scale)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(policy: Value, expected: &[&str]) {
        let errors = super::policy("10", &policy, &FieldPath::new("p"));
        assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn values_are_sorted_and_have_the_default() {
        check(json!({"default": "2", "validValues": ["1", "2"]}), &[]);
        check(
            json!({"validValues": ["1"]}),
            &["p.default: Required value: required when validValues is defined"],
        );
        check(
            json!({"default": "3", "validValues": ["20", "1", "1"]}),
            &[
                "p.validValues[1]: Invalid value: \"1\": values must be sorted in ascending order",
                "p.validValues[0]: Invalid value: \"20\": option is larger than capacity value: 10",
                "p.validValues[2]: Duplicate value: \"1\"",
                "p.validValues: Invalid value: \"3\": default value is not valid according to the requestPolicy",
            ],
        );
    }

    #[test]
    fn ranges_have_steps() {
        check(json!({"default": "3", "validRange": {"min": "1", "max": "5", "step": "2"}}), &[]);
        check(json!({"default": "1500m", "validRange": {"min": "1", "step": "500m"}}), &[]);
        check(
            json!({"default": "2", "validRange": {"min": "1", "max": "4", "step": "2"}}),
            &[
                "p.validRange.step: Invalid value: \"2\": value is not a multiple of a given step (2) from (1)",
                "p.validRange.step: Invalid value: \"4\": value is not a multiple of a given step (2) from (1)",
            ],
        );
        check(
            json!({"default": "0", "validRange": {"min": "11", "step": "0"}}),
            &[
                "p.validRange.min: Invalid value: \"11\": min is larger than capacity value: 10",
                "p.validRange.default: Invalid value: \"0\": default is less than min: 11",
                "p.validRange.step: Invalid value: \"0\": must be greater than zero",
            ],
        );
    }
}
