//! Pod disruption budgets.

use coracle_api::{FieldError, Object, format};
use serde_json::Value;

use crate::resources::{
    Column, Part, Strategy, Write,
    columns::{AGE, NAME, integer},
    conditions, label_selectors, meta,
    rules::{self, Check, Errors, Place, Rule},
    tree::{field, number},
    workloads,
};

/// The behaviour of pod disruption budgets.
pub struct PodDisruptionBudgets;

impl Strategy for PodDisruptionBudgets {
    fn validate(&self, write: &Write<'_>, new: &Object, _old: Option<&Object>) -> Vec<FieldError> {
        if write.part == Part::Status {
            return rules::validate(&[Check::Within("status", STATUS)], new, None);
        }
        rules::validate(&[Check::Within("spec", SPEC)], new, None)
    }

    // What it must be as an object is looked at only when the rest of it is right.
    fn check(
        &self,
        write: &Write<'_>,
        namespaced: bool,
        new: &Object,
        old: Option<&Object>,
    ) -> Vec<FieldError> {
        let mut errors = old.map(|old| meta::validate_update(new, old)).unwrap_or_default();
        errors.extend(self.validate(write, new, old));
        if old.is_none() && errors.is_empty() {
            errors = meta::validate(new, namespaced, format::name_is_path_segment);
        }
        errors
    }

    fn updates_unconditionally(&self) -> bool {
        false
    }
}

static SPEC: &[Check] = &[
    Check::With(|spec, errors| {
        if spec.has("minAvailable") && spec.has("maxUnavailable") {
            let detail = "minAvailable and maxUnavailable cannot be both set";
            let error = FieldError::invalid(&spec.path(), spec.value().clone(), detail);
            errors.push(workloads::showing(error, "PodDisruptionBudgetSpec", spec.value()));
        }
        amount(spec, "minAvailable", errors);
        amount(spec, "maxUnavailable", errors);
    }),
    Check::Within("selector", label_selectors::SELECTOR),
    Check::Pointer("unhealthyPodEvictionPolicy", &[Rule::OneOf(&["AlwaysAllow", "IfHealthyBudget"])]),
];

static STATUS: &[Check] = &[
    Check::With(|status, errors| {
        if let Some(all) = status.field("conditions") {
            conditions::conditions(&all, errors);
        }
    }),
    Check::Field("disruptionsAllowed", &[Rule::NotNegative]),
    Check::Field("currentHealthy", &[Rule::NotNegative]),
    Check::Field("desiredHealthy", &[Rule::NotNegative]),
    Check::Field("expectedPods", &[Rule::NotNegative]),
];

// A count, or a share of at most all.
fn amount(spec: &Place<'_>, name: &str, errors: &mut Errors) {
    let Some(value) = spec.get(name) else { return };
    let path = spec.path_of(name);
    let invalid = |detail: String| FieldError::invalid(&path, value.clone(), detail);
    match value {
        Value::String(text) => {
            let faults = format::percent(text);
            if faults.is_empty() && text.trim_end_matches('%').parse::<i64>().is_ok_and(|share| share > 100) {
                errors.push(invalid("must not be greater than 100%".to_owned()));
            }
            errors.extend(faults.into_iter().map(invalid));
        }
        count if number(count) < 0 => errors.push(invalid(rules::NOT_NEGATIVE.to_owned())),
        _ => {}
    }
}

fn shown(budget: &Object, name: &str) -> Value {
    match field(budget, &["spec", name]) {
        Value::Null => "N/A".into(),
        Value::String(text) => text.as_str().into(),
        count => count.to_string().into(),
    }
}

/// The columns.
pub static COLUMNS: &[Column] = &[
    NAME,
    Column::new("Min Available", "string", "The minimum number of pods that must be available.", |it, _| {
        shown(it, "minAvailable")
    }),
    Column::new(
        "Max Unavailable",
        "string",
        "The maximum number of pods that may be unavailable.",
        |it, _| shown(it, "maxUnavailable"),
    ),
    Column::new(
        "Allowed Disruptions",
        "integer",
        "Calculated number of pods that may be disrupted at this time.",
        |it, _| integer(it, &["status", "disruptionsAllowed"]),
    ),
    AGE,
];
