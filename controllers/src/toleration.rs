//! Which taints a pod tolerates.

use k8s_openapi::api::core::v1::{Taint, Toleration};

/// True when `toleration` tolerates `taint`.
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let any =
        |wanted: Option<&String>, is: &str| wanted.is_none_or(|wanted| wanted.is_empty() || wanted == is);
    if !any(toleration.effect.as_ref(), &taint.effect) || !any(toleration.key.as_ref(), &taint.key) {
        return false;
    }
    let value = toleration.value.as_deref().unwrap_or_default();
    let tainted = taint.value.as_deref().unwrap_or_default();
    match toleration.operator.as_deref().unwrap_or_default() {
        "" | "Equal" => value == tainted,
        "Exists" => true,
        "Lt" => numbers(tainted, value).is_some_and(|(taint, limit)| taint < limit),
        "Gt" => numbers(tainted, value).is_some_and(|(taint, limit)| taint > limit),
        _ => false,
    }
}

fn numbers(taint: &str, limit: &str) -> Option<(i64, i64)> {
    Some((number(taint)?, number(limit)?))
}

/// A decimal integer without leading zeros or a plus.
fn number(text: &str) -> Option<i64> {
    let parsed: i64 = text.parse().ok()?;
    (parsed.to_string() == text).then_some(parsed)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn tolerations() {
        let check = |toleration: Value, expected: bool| {
            let taint = Taint {
                key: "level".into(),
                value: Some("5".into()),
                effect: "NoExecute".into(),
                time_added: None,
            };
            let parsed: Toleration = serde_json::from_value(toleration.clone()).unwrap();
            assert_eq!(tolerates(&parsed, &taint), expected, "{toleration}");
        };
        check(json!({"operator": "Exists"}), true);
        check(json!({"key": "level", "value": "5"}), true);
        check(json!({"key": "level", "operator": "Equal", "value": "6"}), false);
        check(json!({"key": "other", "operator": "Exists"}), false);
        check(json!({"key": "level", "operator": "Exists", "effect": "NoSchedule"}), false);
        check(json!({"key": "level", "operator": "Lt", "value": "6"}), true);
        check(json!({"key": "level", "operator": "Lt", "value": "5"}), false);
        check(json!({"key": "level", "operator": "Gt", "value": "4"}), true);
        check(json!({"key": "level", "operator": "Gt", "value": "04"}), false);
        check(json!({"key": "level", "operator": "Bogus"}), false);
    }
}
