//! What a `JobSpec` must be, in jobs and in cron jobs.

use std::collections::HashSet;

use coracle_api::{FieldError, format};
use serde_json::Value;

use super::indexes;
use crate::resources::{
    core::pods::template,
    rules::{Check, Errors, Place, Rule, check},
    workloads,
};

const MANY: i64 = 100_000;

/// All but the selector.
pub static SPEC: &[Check] = &[
    Check::Field("parallelism", &[Rule::NotNegative]),
    Check::Field("completions", &[Rule::NotNegative]),
    Check::Field("activeDeadlineSeconds", &[Rule::NotNegative]),
    Check::Field("backoffLimit", &[Rule::NotNegative]),
    Check::Field("ttlSecondsAfterFinished", &[Rule::NotNegative]),
    Check::Field("backoffLimitPerIndex", &[Rule::NotNegative]),
    Check::Field("maxFailedIndexes", &[Rule::NotNegative]),
    Check::With(|spec, errors| {
        if spec.has("maxFailedIndexes") && !spec.has("backoffLimitPerIndex") {
            let path = spec.path_of("backoffLimitPerIndex");
            errors.push(FieldError::required(&path, "when maxFailedIndexes is specified"));
        }
    }),
    Check::With(managed_by),
    Check::Pointer("completionMode", &[Rule::OneOf(&["NonIndexed", "Indexed"])]),
    Check::With(completion_mode),
    Check::Within("podFailurePolicy", &[Check::With(failure_policy)]),
    Check::With(success_policy),
    Check::With(|spec, errors| {
        // A failure policy has to see pods fail.
        let supported: &[&str] =
            if spec.has("podFailurePolicy") { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
        let policy = spec.text("podReplacementPolicy");
        if spec.has("podReplacementPolicy") && !supported.contains(&policy) {
            errors.push(FieldError::not_supported(&spec.path_of("podReplacementPolicy"), policy, supported));
        }
    }),
    Check::Within("template", &[Check::With(template::validate)]),
    Check::With(restart_policy),
];

// `example.com/path`
fn managed_by(spec: &Place<'_>, errors: &mut Errors) {
    let Some(name) = spec.get("managedBy").and_then(Value::as_str) else { return };
    let path = spec.path_of("managedBy");
    match name.split_once('/') {
        _ if name.is_empty() => errors.push(FieldError::required(&path, "")),
        Some((domain, rest)) if !domain.is_empty() && !rest.is_empty() => {
            let faults = format::dns1123_subdomain(domain).into_iter();
            errors.extend(faults.map(|fault| FieldError::invalid(&path, domain, fault)));
            if !rest.bytes().all(path_byte) {
                let detail = format::mismatch("Invalid path", r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+", &[]);
                errors.push(FieldError::invalid(&path, rest, detail));
            }
        }
        _ => {
            let detail = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            errors.push(FieldError::invalid(&path, name, detail));
        }
    }
    if name.len() > 63 {
        errors.push(FieldError::too_long(&path, 63));
    }
}

fn path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&byte)
}

fn completion_mode(spec: &Place<'_>, errors: &mut Errors) {
    let number = |field: &str| spec.number(field);
    let mut wrong = |field: &str, detail: String| {
        errors.push(FieldError::invalid(&spec.path_of(field), number(field).unwrap_or(0), detail));
    };
    if spec.get("completionMode").is_none_or(|mode| mode == "NonIndexed") {
        for field in ["backoffLimitPerIndex", "maxFailedIndexes"].into_iter().filter(|field| spec.has(field))
        {
            wrong(field, "requires indexed completion mode".to_owned());
        }
        return;
    }
    if spec.text("completionMode") != "Indexed" {
        return;
    }
    let (completions, parallelism, failed) =
        (number("completions"), number("parallelism"), number("maxFailedIndexes"));
    let above = "when completions are above 100000 and used with backoff limit per index";
    if completions.is_none() {
        let path = spec.path_of("completions");
        errors.push(FieldError::required(&path, "when completion mode is Indexed"));
    }
    let mut wrong = |field: &str, detail: String| {
        errors.push(FieldError::invalid(&spec.path_of(field), number(field).unwrap_or(0), detail));
    };
    if parallelism.is_some_and(|it| it > MANY) {
        wrong("parallelism", format!("must be less than or equal to {MANY} when completion mode is Indexed"));
    }
    if completions.zip(failed).is_some_and(|(completions, failed)| failed > completions) {
        wrong("maxFailedIndexes", "must be less than or equal to completions".to_owned());
    }
    if failed.is_some_and(|it| it > MANY) {
        wrong("maxFailedIndexes", format!("must be less than or equal to {MANY}"));
    }
    if completions.is_none_or(|it| it <= MANY) || !spec.has("backoffLimitPerIndex") {
        return;
    }
    if failed.is_none() {
        let detail = format!("must be specified when completions is above {MANY}");
        errors.push(FieldError::required(&spec.path_of("maxFailedIndexes"), detail));
    }
    for (field, value) in [("parallelism", parallelism), ("maxFailedIndexes", failed)] {
        if let Some(value) = value.filter(|it| *it > 10_000) {
            let detail = format!("must be less than or equal to 10000 {above}");
            errors.push(FieldError::invalid(&spec.path_of(field), value, detail));
        }
    }
}

const ACTIONS: &[&str] = &["Count", "FailIndex", "FailJob", "Ignore"];

fn failure_policy(policy: &Place<'_>, errors: &mut Errors) {
    check(&[Check::Field("rules", &[Rule::MaxItems(20)])], policy, errors);
    let (Some(rules), Some(spec)) = (policy.field("rules"), policy.above()) else { return };
    for rule in rules.items() {
        let (action, path) = (rule.text("action"), rule.path_of("action"));
        match action {
            "" => {
                let detail = r#"valid values: ["Count" "FailIndex" "FailJob" "Ignore"]"#;
                errors.push(FieldError::required(&path, detail));
            }
            "FailIndex" if !spec.has("backoffLimitPerIndex") => {
                errors.push(FieldError::invalid(
                    &path,
                    action,
                    "requires the backoffLimitPerIndex to be set",
                ));
            }
            action if !ACTIONS.contains(&action) => {
                errors.push(FieldError::not_supported(&path, action, ACTIONS));
            }
            _ => {}
        }
        let conditions = !rule.list("onPodConditions").is_empty();
        if let Some(codes) = rule.field("onExitCodes") {
            exit_codes(&codes, spec, errors);
        }
        if conditions {
            check(CONDITIONS, &rule, errors);
        }
        if rule.has("onExitCodes") == conditions {
            let which = if conditions { "both" } else { "one of" };
            let end = if conditions { "not supported" } else { "required" };
            let detail = format!("specifying {which} OnExitCodes and OnPodConditions is {end}");
            errors.push(FieldError::invalid(&rule.path(), Value::Null, detail).valueless());
        }
    }
}

static CONDITIONS: &[Check] = &[
    Check::Field("onPodConditions", &[Rule::MaxItems(20)]),
    Check::Each(
        "onPodConditions",
        &[
            Check::With(|pattern, errors| {
                let kind = pattern.text("type");
                let faults = format::qualified_name(kind).into_iter();
                errors.extend(faults.map(|it| FieldError::invalid(&pattern.path_of("type"), kind, it)));
            }),
            Check::Field(
                "status",
                &[
                    Rule::Required(r#"valid values: ["False" "True" "Unknown"]"#),
                    Rule::OneOf(&["False", "True", "Unknown"]),
                ],
            ),
        ],
    ),
];

static OPERATOR: &[Check] = &[Check::Field(
    "operator",
    &[Rule::Required(r#"valid values: ["In" "NotIn"]"#), Rule::OneOf(&["In", "NotIn"])],
)];

fn exit_codes(codes: &Place<'_>, spec: &Place<'_>, errors: &mut Errors) {
    check(OPERATOR, codes, errors);
    let pod = spec.get("template").and_then(|template| template.get("spec"));
    let named = |name: &str| {
        let lists = ["containers", "initContainers"].into_iter();
        let mut all = lists.filter_map(|list| pod?.get(list)?.as_array()).flatten();
        all.any(|container| container["name"] == name)
    };
    if let Some(name) = codes.get("containerName").and_then(Value::as_str).filter(|name| !named(name)) {
        let detail = "must be one of the container or initContainer names in the pod template";
        errors.push(FieldError::invalid(&codes.path_of("containerName"), name, detail));
    }
    let (values, path) = (codes.list("values"), codes.path_of("values"));
    let shown = || if codes.has("values") { Value::Array(values.to_vec()) } else { Value::Null };
    if values.is_empty() {
        errors.push(FieldError::invalid(&path, shown(), "at least one value is required"));
    }
    if values.len() > 255 {
        errors.push(FieldError::too_many(&path, values.len(), 255));
    }
    let numbers: Vec<i64> = values.iter().map(|value| value.as_i64().unwrap_or(0)).collect();
    let mut seen = HashSet::new();
    for (index, number) in numbers.iter().enumerate() {
        if codes.text("operator") == "In" && *number == 0 {
            let detail = "must not be 0 for the In operator";
            errors.push(FieldError::invalid(&path.index(index), 0, detail));
        }
        if !seen.insert(number) {
            errors.push(FieldError::duplicate(&path.index(index), *number));
        }
    }
    if !numbers.is_sorted() {
        errors.push(FieldError::invalid(&path, shown(), "must be ordered"));
    }
}

fn success_policy(spec: &Place<'_>, errors: &mut Errors) {
    let Some(policy) = spec.field("successPolicy") else { return };
    if spec.text("completionMode") != "Indexed" {
        let detail = "requires indexed completion mode";
        let error = FieldError::invalid(&policy.path(), policy.value().clone(), detail);
        errors.push(workloads::showing(error, "SuccessPolicy", policy.value()));
        return;
    }
    if policy.list("rules").is_empty() {
        let detail = "at least one rules must be specified when the successPolicy is specified";
        errors.push(FieldError::required(&policy.path_of("rules"), detail));
    }
    check(&[Check::Field("rules", &[Rule::MaxItems(20)])], &policy, errors);
    // Without completions there is an error already.
    let completions = spec.number("completions").unwrap_or(0);
    if let Some(rules) = policy.field("rules") {
        rules.items().for_each(|rule| success_rule(&rule, completions, errors));
    }
}

fn success_rule(rule: &Place<'_>, completions: i64, errors: &mut Errors) {
    let listed = rule.get("succeededIndexes").and_then(Value::as_str);
    let counted = rule.number("succeededCount");
    if listed.is_none() && counted.is_none() {
        let detail = "at least one of succeededCount or succeededIndexes must be specified";
        errors.push(FieldError::required(&rule.path(), detail));
    }
    let mut total = 0;
    if let Some(list) = listed {
        check(&[Check::Field("succeededIndexes", &[Rule::MaxBytes(64 << 10)])], rule, errors);
        match indexes::count(list, completions) {
            Ok(count) => total = count,
            Err(error) => {
                let detail = format!("error parsing succeededIndexes: {error}");
                errors.push(FieldError::invalid(&rule.path_of("succeededIndexes"), list, detail));
            }
        }
    }
    let Some(count) = counted else { return };
    check(&[Check::Field("succeededCount", &[Rule::NotNegative])], rule, errors);
    let mut wrong = |detail: String| {
        errors.push(FieldError::invalid(&rule.path_of("succeededCount"), count, detail));
    };
    if count > completions {
        wrong(format!("must be less than or equal to {completions} (the number of specified completions)"));
    }
    if listed.is_some() && count > total {
        wrong(format!(
            "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
        ));
    }
}

fn restart_policy(spec: &Place<'_>, errors: &mut Errors) {
    let Some(template) = spec.field("template") else { return };
    let policy = template.get("spec").and_then(|pod| pod["restartPolicy"].as_str()).unwrap_or_default();
    let path = template.path_of("spec").child("restartPolicy");
    match policy {
        "Always" | "" => {
            errors.push(FieldError::required(&path, r#"valid values: "OnFailure", "Never""#));
        }
        "OnFailure" if spec.has("podFailurePolicy") => {
            let detail = r#"only "Never" is supported when podFailurePolicy is specified"#;
            errors.push(FieldError::invalid(&path, policy, detail));
        }
        "OnFailure" | "Never" => {}
        other => errors.push(FieldError::not_supported(&path, other, &["OnFailure", "Never"])),
    }
}
