//! What requests take of the capacities of devices that are shared.

use std::collections::BTreeMap;

use coracle_api::{Quantity, quantity::Family};
use k8s_openapi::{
    api::resource::v1::{
        CapacityRequestPolicy, CapacityRequestPolicyRange, CapacityRequirements, DeviceCapacity,
    },
    apimachinery::pkg::api::resource::Quantity as Text,
};

/// Amounts by the name of a capacity.
pub(super) type Amounts = BTreeMap<String, Quantity>;

fn read(text: &Text) -> Quantity {
    Quantity::parse(&text.0).unwrap_or_default()
}

/// What a request takes of each capacity of a device.
/// # Errors
/// An amount cannot be represented, or is below zero.
pub(super) fn taken(
    asked: Option<&CapacityRequirements>,
    capacity: &BTreeMap<String, DeviceCapacity>,
) -> Result<Amounts, String> {
    let asked = asked.and_then(|asked| asked.requests.as_ref());
    let each = capacity.iter().map(|(name, has)| {
        let wanted = asked.and_then(|asked| asked.get(name)).map(read);
        let amount = consumed(wanted, has).map_err(|why| format!("capacity {name:?}: {why}"))?;
        Ok((name.clone(), amount))
    });
    each.collect()
}

/// Whether a device has what a request takes beside what is `used` of it.
/// # Errors
/// As [`taken`].
pub(super) fn fits(
    asked: Option<&CapacityRequirements>,
    capacity: &BTreeMap<String, DeviceCapacity>,
    used: &[&Amounts],
) -> Result<bool, String> {
    let named = asked.and_then(|asked| asked.requests.as_ref()).into_iter().flatten();
    if named.into_iter().any(|(name, _)| !capacity.contains_key(name)) {
        return Ok(false);
    }
    let wanted = taken(asked, capacity)?;
    if let Some((name, _)) = wanted.iter().find(|(_, amount)| amount.sign() < 0) {
        return Err(format!("capacity {name:?}: capacity value is negative"));
    }
    for (name, has) in capacity {
        let Some(amount) = wanted.get(name) else { continue };
        if has.request_policy.as_ref().is_some_and(|policy| violates(amount, policy)) {
            return Ok(false);
        }
        let sum = used.iter().filter_map(|used| used.get(name)).fold(amount.clone(), |sum, it| sum.plus(it));
        if sum > read(&has.value) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn consumed(wanted: Option<Quantity>, has: &DeviceCapacity) -> Result<Quantity, String> {
    let policy = has.request_policy.as_ref();
    let Some(wanted) = wanted else {
        // Who asks for nothing gets the default, or all of it.
        return Ok(read(policy.and_then(|policy| policy.default.as_ref()).unwrap_or(&has.value)));
    };
    match policy {
        Some(CapacityRequestPolicy { valid_range: Some(range), .. }) => rounded(wanted, range),
        Some(CapacityRequestPolicy { valid_values: Some(values), .. }) => {
            Ok(values.iter().map(read).find(|value| wanted <= *value).unwrap_or(wanted))
        }
        _ => Ok(wanted),
    }
}

/// The unit in which a range is reckoned: thousandths where all of it can be
/// told in them.
fn scale(range: &CapacityRequestPolicyRange) -> i64 {
    let exact = |text: &Text| thousandths(&read(text)).is_some();
    let fine = range.step.as_ref().is_none_or(|step| thousandths(&read(step)).is_some_and(|step| step >= 1));
    let all = exact(&range.min) && range.max.as_ref().is_none_or(exact) && fine;
    if all { -3 } else { 0 }
}

fn thousandths(amount: &Quantity) -> Option<i64> {
    let milli = amount.milli_value();
    (Quantity::milli(milli) == *amount).then_some(milli)
}

const UNREPRESENTABLE: &str = "capacity request cannot be represented in the device's range arithmetic";

/// The least amount of the range that is not below what is wanted.
fn rounded(wanted: Quantity, range: &CapacityRequestPolicyRange) -> Result<Quantity, String> {
    let min = read(&range.min);
    if wanted < min {
        return Ok(min);
    }
    let Some(step) = range.step.as_ref().map(read) else { return Ok(wanted) };
    let scale = scale(range);
    if scale == -3 && thousandths(&wanted).is_none() {
        return Err(format!("{UNREPRESENTABLE}: request {wanted} is not a representable milli value"));
    }
    if scale == 0 && wanted > Quantity::new(i64::MAX, Family::DecimalSi) {
        return Err(format!("{UNREPRESENTABLE}: request {wanted} exceeds MaxInt64"));
    }
    let unit = |amount: &Quantity| i128::from(amount.scaled_value(scale));
    let (least, each) = (unit(&min), unit(&step).max(1));
    let more = unit(&wanted) - least;
    let steps = more / each + i128::from(more % each != 0);
    let Ok(sum) = i64::try_from(least + each * steps) else {
        let past = if scale == -3 { "the milli-value range" } else { "MaxInt64" };
        return Err(format!(
            "{UNREPRESENTABLE}: rounding request {wanted} up to the next step passes {past}"
        ));
    };
    Ok(match scale {
        -3 if sum % 1000 != 0 => Quantity::milli(sum),
        -3 => Quantity::new(sum / 1000, step.family()),
        _ => Quantity::new(sum, step.family()),
    })
}

fn violates(amount: &Quantity, policy: &CapacityRequestPolicy) -> bool {
    if policy.default.as_ref().is_some_and(|default| read(default) == *amount) {
        return false;
    }
    match (&policy.valid_range, &policy.valid_values) {
        (Some(range), _) => is_outside(amount, range),
        (None, Some(values)) if !values.is_empty() => values.iter().all(|value| read(value) != *amount),
        _ => false,
    }
}

fn is_outside(amount: &Quantity, range: &CapacityRequestPolicyRange) -> bool {
    if range.max.as_ref().is_some_and(|max| *amount > read(max)) {
        return true;
    }
    let Some(step) = range.step.as_ref().map(read) else { return false };
    let scale = scale(range);
    if scale == -3 && thousandths(amount).is_none() {
        return true;
    }
    let unit = |amount: &Quantity| i128::from(amount.scaled_value(scale));
    let each = unit(&step).max(1);
    (unit(amount) - unit(&read(&range.min))) % each != 0
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(capacity: Value, asked: Value, used: Value, expected: Result<Option<&str>, &str>) {
        let capacity: BTreeMap<String, DeviceCapacity> =
            serde_json::from_value(json!({"memory": capacity})).unwrap();
        let requirements: CapacityRequirements =
            serde_json::from_value(json!({"requests": asked.clone()})).unwrap();
        let used: BTreeMap<String, Text> = serde_json::from_value(used).unwrap();
        let used: Amounts = used.iter().map(|(name, amount)| (name.clone(), read(amount))).collect();
        let found = fits(Some(&requirements), &capacity, &[&used]).and_then(|fits| {
            let taken = taken(Some(&requirements), &capacity)?;
            Ok(fits.then(|| taken["memory"].to_string()))
        });
        let expected = expected.map(|it| it.map(str::to_owned)).map_err(str::to_owned);
        assert_eq!(found, expected, "{asked}");
    }

    #[test]
    fn capacities_are_taken_as_their_policies_say() {
        let plain = || json!({"value": "8Gi"});
        check(plain(), json!({}), json!({}), Ok(Some("8Gi")));
        check(plain(), json!({"memory": "3Gi"}), json!({"memory": "5Gi"}), Ok(Some("3Gi")));
        check(plain(), json!({"memory": "3Gi"}), json!({"memory": "6Gi"}), Ok(None));
        check(plain(), json!({"cores": "1"}), json!({}), Ok(None));
        check(
            plain(),
            json!({"memory": "-1"}),
            json!({}),
            Err("capacity \"memory\": capacity value is negative"),
        );
        let range = || {
            json!({"value": "8Gi", "requestPolicy": {"default": "1Gi",
                "validRange": {"min": "1Gi", "step": "2Gi", "max": "7Gi"}}})
        };
        check(range(), json!({}), json!({}), Ok(Some("1Gi")));
        check(range(), json!({"memory": "1"}), json!({}), Ok(Some("1Gi")));
        check(range(), json!({"memory": "4Gi"}), json!({}), Ok(Some("5Gi")));
        check(range(), json!({"memory": "4Gi"}), json!({"memory": "4Gi"}), Ok(None));
        check(range(), json!({"memory": "8Gi"}), json!({}), Ok(None));
        let values = || json!({"value": "8Gi", "requestPolicy": {"default": "1Gi", "validValues": ["1Gi", "2Gi", "4Gi"]}});
        check(values(), json!({"memory": "3Gi"}), json!({}), Ok(Some("4Gi")));
        check(values(), json!({"memory": "5Gi"}), json!({}), Ok(None));
        let fine = || {
            json!({"value": "1", "requestPolicy": {"default": "100m",
                "validRange": {"min": "100m", "step": "50m"}}})
        };
        check(fine(), json!({"memory": "120m"}), json!({}), Ok(Some("150m")));
        check(fine(), json!({"memory": "120u"}), json!({}), Ok(Some("100m")));
    }
}
