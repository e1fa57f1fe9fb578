//! Jobs.

use coracle_api::{FieldError, FieldPath, Object, format};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{job_spec, job_status};
use crate::registry::options::DeleteOptions;
use crate::resources::{
    Column, Part, Strategy, Write, age,
    columns::{AGE, NAME, selector, wide},
    core::pods::{disabled, internal::Internal},
    label_selectors::SELECTOR,
    rules::{Errors, IMMUTABLE, Place, check},
    tree::{count, field, list, number, section, text, truth},
    workloads::{self, CONTAINERS, IMAGES, TEMPLATE, unset},
};

/// The behaviour of jobs.
pub struct Jobs;

const NAME_LABELS: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];
const UID_LABELS: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];

impl Strategy for Jobs {
    fn default(&self, object: &mut Object) {
        default_labels(object);
        default_spec(object.section_mut("spec"), true);
        workloads::default_template(object, TEMPLATE);
    }

    fn prepare(&self, write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
        if old.is_none() {
            let labels = |job: &Object| job.get(&["spec", "template", "metadata", "labels"]).cloned();
            // In upstream's memory labels that came from the template still are
            // the template's, and so get what is generated for it.
            let shared = new.meta("labels").is_some() && new.meta("labels").cloned() == labels(new);
            generate_selector(new);
            if shared {
                let labels = labels(new);
                new.set_meta("labels", labels);
            }
            // Upstream sets defaults again when it reads what it stored.
            default_labels(new);
        }
        if write.part == Part::Whole && old.is_none_or(|old| old.get(&["spec", "scheduling"]).is_none()) {
            new.section_mut("spec").remove("scheduling");
        }
        workloads::prepare(write, new, old, TEMPLATE);
    }

    fn validate(&self, write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        match (write.part, old) {
            (Part::Status, Some(old)) => job_status::validate(new, old),
            (_, old) => validate(new, old),
        }
    }

    fn warnings(&self, write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<String> {
        let mut out = workloads::warn(write, new, old, TEMPLATE, true);
        let counts = write.part == Part::Whole && old.is_none_or(|old| old.generation() != new.generation());
        if let Some(warning) = many(section(new, "spec"), "spec").filter(|_| counts) {
            let named = usize::from(old.is_none() && !format::dns1123_label(new.name()).is_empty());
            out.insert(named, warning);
        }
        out
    }

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_subdomain(name, prefix)
    }

    fn selectable(&self, object: &Object) -> Vec<(&'static str, String)> {
        vec![("status.successful", number(field(object, &["status", "succeeded"])).to_string())]
    }

    fn selectors(&self) -> &'static [&'static str] {
        &["status.successful"]
    }

    fn orphans_by_default(&self) -> bool {
        true
    }

    fn deletion_warnings(&self, options: &DeleteOptions) -> Vec<String> {
        let said = options.propagation_policy.is_some() || options.orphan_dependents.is_some();
        let warning = "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning";
        if said { Vec::new() } else { vec![warning.to_owned()] }
    }
}

/// What is said of a job that does more than can be kept count of.
pub fn many(spec: &Value, path: &str) -> Option<String> {
    let indexed = text(&spec["completionMode"]) == "Indexed";
    let many = number(&spec["completions"]) > 100_000 && number(&spec["parallelism"]) > 10_000;
    (indexed && many).then(|| format!("{path}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail"))
}

/// The defaults of a job's spec. In a cron job only those of its patterns are
/// set: the rest comes when a job is made.
pub fn default_spec(spec: &mut Map<String, Value>, whole: bool) {
    let rules = spec.get_mut("podFailurePolicy").and_then(|it| it.get_mut("rules")?.as_array_mut());
    for rule in rules.into_iter().flatten() {
        let patterns = rule.get_mut("onPodConditions").and_then(Value::as_array_mut);
        for pattern in patterns.into_iter().flatten().filter_map(Value::as_object_mut) {
            if pattern.get("status").is_none_or(|status| status.is_null() || status == "") {
                pattern.insert("status".to_owned(), "True".into());
            }
        }
    }
    if !whole {
        return;
    }
    if !spec.contains_key("completions") && !spec.contains_key("parallelism") {
        unset(spec, "completions", 1);
    }
    unset(spec, "parallelism", 1);
    let limit = if spec.contains_key("backoffLimitPerIndex") { i32::MAX } else { 6 };
    unset(spec, "backoffLimit", limit);
    unset(spec, "completionMode", "NonIndexed");
    unset(spec, "suspend", false);
    let replacement = if spec.contains_key("podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
    unset(spec, "podReplacementPolicy", replacement);
    unset(spec, "manualSelector", false);
}

// A job without labels has those of its template.
fn default_labels(job: &mut Object) {
    let labels = job.get(&["spec", "template", "metadata", "labels"]).filter(|labels| count(labels) > 0);
    if let Some(labels) = labels.cloned().filter(|_| job.meta("labels").map_or(0, count) == 0) {
        job.set_meta("labels", Some(labels));
    }
}

// A job selects its own pods, by its uid.
fn generate_selector(job: &mut Object) {
    if truth(field(job, &["spec", "manualSelector"])) {
        return;
    }
    let (name, uid) = (Value::from(job.name()), Value::from(job.uid()));
    let spec = job.section_mut("spec");
    let template = map_in(spec, "template");
    let labels = map_in(map_in(template, "metadata"), "labels");
    for label in NAME_LABELS {
        labels.entry(label).or_insert_with(|| name.clone());
    }
    for label in UID_LABELS {
        labels.entry(label).or_insert_with(|| uid.clone());
    }
    map_in(map_in(spec, "selector"), "matchLabels").entry(UID_LABELS[1]).or_insert(uid);
}

fn map_in<'a>(map: &'a mut Map<String, Value>, field: &str) -> &'a mut Map<String, Value> {
    crate::resources::tree::map_mut(map, field)
}

fn validate(new: &Object, old: Option<&Object>) -> Errors {
    let mut errors = Errors::new();
    let job = Place::object(new, old);
    let Some(spec) = job.field("spec") else { return errors };
    if old.is_none() {
        generated(new, &spec, &mut errors);
    }
    check(job_spec::SPEC, &spec, &mut errors);
    match spec.field("selector") {
        None => errors.push(FieldError::required(&spec.path_of("selector"), "")),
        Some(selector) => check(SELECTOR, &selector, &mut errors),
    }
    if let Some(selector) = workloads::parsed(&spec) {
        workloads::selects(&spec, &selector, &mut errors);
    }
    if let Some(old) = old {
        update(&spec, old, &mut errors);
    }
    hostnames(new, &spec, &mut errors);
    errors
}

// Users may not have said otherwise than what was generated.
fn generated(job: &Object, spec: &Place<'_>, errors: &mut Errors) {
    if spec.flag("manualSelector") || !spec.has("selector") {
        return;
    }
    if job.uid().is_empty() {
        errors.push(FieldError::required(&FieldPath::new("metadata.uid"), ""));
    }
    let path = FieldPath::new("spec.template.metadata.labels");
    let labels = job.get(&["spec", "template", "metadata", "labels"]);
    let [name, prefixed_name] = NAME_LABELS.map(|label| (label, job.name()));
    let [uid, prefixed_uid] = UID_LABELS.map(|label| (label, job.uid()));
    for (label, expected) in [uid, name, prefixed_uid, prefixed_name] {
        let detail = format!("must be '{expected}'");
        match labels.and_then(|labels| labels.get(label)?.as_str()) {
            None => errors.push(FieldError::required(&path.key(label), detail)),
            Some(value) if value != expected => {
                let shown = labels.cloned().unwrap_or_default();
                errors.push(FieldError::invalid(&path.key(label), shown, detail));
            }
            Some(_) => {}
        }
    }
    let expected = |label: &str| {
        let all = [name, prefixed_name, uid, prefixed_uid];
        all.into_iter().find(|(name, _)| *name == label).map(|(_, value)| value)
    };
    if workloads::parsed(spec).is_some_and(|selector| !selector.matches(expected)) {
        errors.push(workloads::selector_error(spec, "`selector` not auto-generated"));
    }
}

// Pods of indexed jobs are called after their index.
fn hostnames(job: &Object, spec: &Place<'_>, errors: &mut Errors) {
    let completions = spec.number("completions").filter(|it| *it > 0);
    if let Some(completions) = completions.filter(|_| spec.text("completionMode") == "Indexed") {
        let last = format!("{}-{}", job.name(), completions - 1);
        if !format::dns1123_label(&last).is_empty() {
            let detail = format!("will not able to create pod with invalid DNS label: {last}");
            errors.push(FieldError::invalid(&FieldPath::new("metadata.name"), job.name(), detail));
        }
    }
}

fn update(spec: &Place<'_>, old: &Object, errors: &mut Errors) {
    completions(spec, errors);
    workloads::same_selector(spec, errors);
    template(spec, old, errors);
    let internal = Internal::read();
    for (field, of) in [
        ("completionMode", ""),
        ("podFailurePolicy", "PodFailurePolicy"),
        ("backoffLimitPerIndex", ""),
        ("managedBy", ""),
        ("successPolicy", "SuccessPolicy"),
    ] {
        if spec.get(field) != spec.old_of(field) {
            let value = spec.get(field).cloned();
            let shown = value.as_ref().map_or_else(|| "null".to_owned(), |value| internal.compact(of, value));
            let error = FieldError::invalid(&spec.path_of(field), value.unwrap_or_default(), IMMUTABLE);
            errors.push(error.showing(shown));
        }
    }
}

// Elastic indexed jobs change completions and parallelism together.
fn completions(spec: &Place<'_>, errors: &mut Errors) {
    let (new, path) = (spec.get("completions"), spec.path_of("completions"));
    if new == spec.old_of("completions") {
        return;
    }
    if spec.text("completionMode") != "Indexed" {
        errors.push(FieldError::invalid(&path, new.cloned().unwrap_or_default(), IMMUTABLE));
    } else if let Some(new) = new.filter(|new| Some(*new) != spec.get("parallelism")) {
        let detail = "can only be modified in tandem with spec.parallelism";
        errors.push(FieldError::invalid(&path, new.clone(), detail));
    }
}

// A job that is suspended and has no pods may still change where they run and
// what they get.
fn template(spec: &Place<'_>, old: &Object, errors: &mut Errors) {
    let (Some(new), Some(before)) = (spec.get("template"), spec.old_of("template")) else { return };
    let suspended = truth(field(old, &["spec", "suspend"]));
    let conditions = list(field(old, &["status", "conditions"]));
    let paused = conditions.iter().any(|it| it["type"] == "Suspended" && it["status"] == "True");
    let started = old.get(&["status", "startTime"]).is_some();
    let idle = number(field(old, &["status", "active"])) == 0;
    let mutable = suspended && (!started || paused) && idle;
    let mut before = before.clone();
    if mutable {
        allow_scheduling(&mut before, new);
    }
    let internal = Internal::read();
    if mutable {
        allow_resources(&mut before, new);
        let (new, before) = (&new["spec"], &before["spec"]);
        if new != before {
            let path = spec.path_of("template.spec");
            let error = FieldError::invalid(&path, new.clone(), IMMUTABLE);
            errors.push(error.showing(internal.compact("PodSpec", new)));
        }
    } else if *new != before {
        let error = FieldError::invalid(&spec.path_of("template"), new.clone(), IMMUTABLE);
        errors.push(error.showing(internal.compact("PodTemplateSpec", new)));
    }
}

fn put(to: &mut Value, from: &Value, field: &str) {
    let Some(fields) = to.as_object_mut() else { return };
    match from.get(field) {
        Some(value) => {
            fields.insert(field.to_owned(), value.clone());
        }
        None => {
            fields.remove(field);
        }
    }
}

fn allow_scheduling(before: &mut Value, new: &Value) {
    if let Some(metadata) = before.get_mut("metadata") {
        put(metadata, &new["metadata"], "annotations");
        put(metadata, &new["metadata"], "labels");
    }
    let Some(pod) = before.get_mut("spec") else { return };
    for field in ["nodeSelector", "tolerations", "schedulingGates"] {
        put(pod, &new["spec"], field);
    }
    let (own, after) = (pod.get("affinity").cloned(), new["spec"].get("affinity"));
    match (own, after) {
        (Some(mut own), None) => {
            if let Some(fields) = own.as_object_mut() {
                fields.remove("nodeAffinity");
            }
            let left = count(&own) > 0;
            put(pod, &if left { json!({"affinity": own}) } else { json!({}) }, "affinity");
        }
        (own, Some(after)) => {
            let mut own = own.unwrap_or_else(|| json!({}));
            put(&mut own, after, "nodeAffinity");
            put(pod, &json!({"affinity": own}), "affinity");
        }
        (None, None) => {}
    }
}

fn allow_resources(before: &mut Value, new: &Value) {
    for field in ["containers", "initContainers"] {
        let after = list(&new["spec"][field]);
        let own = before.get_mut("spec").and_then(|pod| pod.get_mut(field)?.as_array_mut());
        let Some(own) = own.filter(|own| own.len() == after.len()) else { continue };
        for (own, after) in own.iter_mut().zip(after).filter(|(own, after)| own["name"] == after["name"]) {
            put(own, after, "resources");
        }
    }
}

/// Drops what is disabled from a job's spec that is somewhere inside.
pub fn drop_disabled(spec: Option<&mut Value>, old: Option<&Value>) {
    let Some(fields) = spec.and_then(Value::as_object_mut) else { return };
    if old.is_none_or(|old| old.get("scheduling").is_none()) {
        fields.remove("scheduling");
    }
    disabled::drop_template(fields.get_mut("template"), old.and_then(|old| old.get("template")));
}

fn state(job: &Object) -> &'static str {
    let conditions = list(field(job, &["status", "conditions"]));
    // The first condition of a type is the one that counts.
    let is =
        |kind: &str| conditions.iter().find(|it| it["type"] == kind).is_some_and(|it| it["status"] == "True");
    match () {
        () if is("Complete") => "Complete",
        () if is("Failed") => "Failed",
        () if job.deleting() => "Terminating",
        () if is("Suspended") => "Suspended",
        () if is("FailureTarget") => "FailureTarget",
        () if is("SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    }
}

fn completed(job: &Object) -> String {
    let succeeded = number(field(job, &["status", "succeeded"]));
    match field(job, &["spec", "completions"]).as_i64() {
        Some(completions) => format!("{succeeded}/{completions}"),
        None => match number(field(job, &["spec", "parallelism"])) {
            parallelism @ 2.. => format!("{succeeded}/1 of {parallelism}"),
            _ => format!("{succeeded}/1"),
        },
    }
}

fn duration(job: &Object, now: Timestamp) -> String {
    let time = |name: &str| text(field(job, &["status", name])).parse::<Timestamp>().ok();
    let Some(start) = time("startTime") else { return String::new() };
    age::human(time("completionTime").unwrap_or(now).duration_since(start).as_secs())
}

/// What the columns of jobs and cron jobs say of selectors.
pub const SELECTS: &str = "A label query over pods that should match the pod count. Normally, the system sets this field for you. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors";

/// The columns.
pub static COLUMNS: &[Column] = &[
    NAME,
    Column::new("Status", "string", "Status of the job.", |it, _| state(it).into()),
    Column::new(
        "Completions",
        "string",
        "The number of pods which reached phase Succeeded. The value increases monotonically for a given spec. However, it may decrease in reaction to scale down of elastic indexed jobs.",
        |it, _| completed(it).into(),
    ),
    Column::new("Duration", "string", "Time required to complete the job.", |it, now| {
        duration(it, now).into()
    }),
    AGE,
    wide(CONTAINERS),
    wide(IMAGES),
    wide(Column::new("Selector", "string", SELECTS, |it, _| {
        selector(&section(it, "spec")["selector"]).into()
    })),
];
