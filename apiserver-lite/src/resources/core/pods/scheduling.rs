//! Where pods may run: tolerations, spread, gates, claims on devices.

use std::collections::HashSet;

use coracle_api::{FieldError, format};

use super::{affinity, containers::one_of, internal::Internal, spec::Names};
use crate::resources::{
    label_selectors::SELECTOR,
    rules::{Check, Errors, POSITIVE, Place, Rule, check},
};

const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// One toleration.
pub static TOLERATION: &[Check] = &[
    Check::Field("key", &[Rule::Format(format::qualified_name)]),
    Check::With(toleration),
    Check::Field("effect", &[Rule::OneOf(EFFECTS)]),
];

fn toleration(toleration: &Place<'_>, errors: &mut Errors) {
    let (operator, value, effect) =
        (toleration.text("operator"), toleration.text("value"), toleration.text("effect"));
    let path = toleration.path_of("operator");
    if toleration.text("key").is_empty() && operator != "Exists" {
        let detail =
            "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        errors.push(FieldError::invalid(&path, operator, detail));
    }
    if toleration.has("tolerationSeconds") && effect != "NoExecute" {
        let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        errors.push(FieldError::invalid(&toleration.path_of("effect"), effect, detail));
    }
    match operator {
        "Equal" | "" => {
            let faults = format::label_value(value);
            if !faults.is_empty() {
                errors.push(FieldError::invalid(&path, value, faults.join(";")));
            }
        }
        "Exists" if !value.is_empty() => {
            errors.push(FieldError::invalid(&path, value, "value must be empty when `operator` is 'Exists'"));
        }
        "Exists" => {}
        // Behind a feature gate that is off.
        "Lt" | "Gt" => {
            errors.push(FieldError::not_supported(&path, operator, &["Equal", "Exists", "Lt", "Gt"]));
        }
        _ => errors.push(FieldError::not_supported(&path, operator, &["Equal", "Exists"])),
    }
}

/// One constraint on the spread over a topology.
pub static SPREAD: &[Check] = &[
    Check::With(|spread, errors| {
        let skew = spread.number("maxSkew").unwrap_or(0);
        if skew < 1 {
            errors.push(FieldError::invalid(&spread.path_of("maxSkew"), skew, POSITIVE));
        }
    }),
    Check::Field("topologyKey", &[Rule::Required("can not be empty")]),
    Check::With(|spread, errors| {
        one_of(spread, "whenUnsatisfiable", &["DoNotSchedule", "ScheduleAnyway"], errors);
    }),
    Check::With(not_again),
    Check::Field("minDomains", &[Rule::Positive]),
    Check::With(|spread, errors| {
        let action = spread.text("whenUnsatisfiable");
        if let Some(domains) = spread.number("minDomains").filter(|_| action != "DoNotSchedule") {
            let detail = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
            errors.push(FieldError::invalid(&spread.path_of("minDomains"), domains, detail));
        }
    }),
    Check::Pointer("nodeAffinityPolicy", &[Rule::OneOf(&["Honor", "Ignore"])]),
    Check::Pointer("nodeTaintsPolicy", &[Rule::OneOf(&["Honor", "Ignore"])]),
    Check::With(affinity::label_keys),
    Check::Within("labelSelector", SELECTOR),
];

// The first of two is the one that upstream reports.
fn not_again(spread: &Place<'_>, errors: &mut Errors) {
    if spread.known::<Names>().is_some_and(|names| names.spreads_again(spread)) {
        let path = spread.path_of("{topologyKey, whenUnsatisfiable}");
        let pair = format!("{{{}, {}}}", spread.text("topologyKey"), spread.text("whenUnsatisfiable"));
        errors.push(FieldError::duplicate(&path, pair));
    }
}

/// `spec.schedulingGates`
pub fn gates(spec: &Place<'_>, errors: &mut Errors) {
    let Some(list) = spec.field("schedulingGates") else { return };
    let mut seen = HashSet::new();
    for gate in list.items() {
        let name = gate.text("name");
        let faults = format::qualified_name(name).into_iter();
        errors.extend(faults.map(|fault| FieldError::invalid(&gate.path(), name, fault)));
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&gate.path(), name));
        }
    }
}

/// `spec.resourceClaims`
pub fn resource_claims(spec: &Place<'_>, errors: &mut Errors) {
    let Some(list) = spec.field("resourceClaims") else { return };
    let mut seen = HashSet::new();
    for claim in list.items() {
        let name = claim.text("name");
        if !name.is_empty() && !seen.insert(name) {
            errors.push(FieldError::duplicate(&claim.path_of("name"), name));
        } else {
            check(CLAIM_NAME, &claim, errors);
        }
        let detail = match (claim.has("resourceClaimName"), claim.has("resourceClaimTemplateName")) {
            (true, true) => {
                Some("at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified")
            }
            (false, false) => Some("must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"),
            _ => None,
        };
        if let Some(detail) = detail {
            let shown = Internal::read().compact("PodResourceClaim", claim.value());
            errors.push(FieldError::invalid(&claim.path(), claim.value().clone(), detail).showing(shown));
        }
        check(CLAIM_SOURCE, &claim, errors);
    }
}

static CLAIM_NAME: &[Check] =
    &[Check::Field("name", &[Rule::Required(""), Rule::Format(format::dns1123_label)])];

static CLAIM_SOURCE: &[Check] = &[
    Check::Pointer("resourceClaimName", &[Rule::Format(format::dns1123_subdomain)]),
    Check::Pointer("resourceClaimTemplateName", &[Rule::Format(format::dns1123_subdomain)]),
];
