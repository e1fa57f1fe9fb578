//! Stateful sets.

use coracle_api::{FieldError, Object, format};
use serde_json::{Value, json};

use crate::resources::{
    Column, Part, Strategy, Write,
    columns::{AGE, NAME, wide},
    core::pods::{annotations, claim, defaults, internal::Internal, template},
    label_selectors::SELECTOR,
    meta::{validate_annotations, validate_labels},
    rules::{Check, Errors, IMMUTABLE, Place, Rule, check},
    tree::{field, number},
    workloads::{self, CONTAINERS, IMAGES, TEMPLATE, unset},
};

/// The behaviour of stateful sets.
pub struct StatefulSets;

const RETENTION: &[&str] = &["Retain", "Delete"];

impl Strategy for StatefulSets {
    fn fill_empty(&self, object: &mut Object) {
        object.section_mut("spec").insert("replicas".to_owned(), 0.into());
    }

    fn default(&self, object: &mut Object) {
        let spec = object.section_mut("spec");
        unset(spec, "podManagementPolicy", "OrderedReady");
        unset(spec, "updateStrategy", json!({}));
        if let Some(strategy) = spec.get_mut("updateStrategy").and_then(Value::as_object_mut) {
            if strategy.get("type").is_none_or(|kind| kind.is_null() || kind == "") {
                strategy.insert("type".to_owned(), "RollingUpdate".into());
                unset(strategy, "rollingUpdate", json!({}));
            }
            let rolling = strategy["type"] == "RollingUpdate";
            let update = strategy.get_mut("rollingUpdate").and_then(Value::as_object_mut);
            if let Some(update) = update.filter(|_| rolling) {
                unset(update, "partition", 0);
                unset(update, "maxUnavailable", 1);
            }
        }
        unset(spec, "persistentVolumeClaimRetentionPolicy", json!({}));
        if let Some(policy) =
            spec.get_mut("persistentVolumeClaimRetentionPolicy").and_then(Value::as_object_mut)
        {
            unset(policy, "whenDeleted", "Retain");
            unset(policy, "whenScaled", "Retain");
        }
        unset(spec, "replicas", 1);
        unset(spec, "revisionHistoryLimit", 10);
        let claims = spec.get_mut("volumeClaimTemplates").and_then(Value::as_array_mut);
        for claim in claims.into_iter().flatten().filter_map(Value::as_object_mut) {
            // Whatever a client says they are.
            claim.insert("apiVersion".to_owned(), "v1".into());
            claim.insert("kind".to_owned(), "PersistentVolumeClaim".into());
            defaults::claim(claim);
            unset(claim, "status", json!({}));
            if let Some(status) = claim.get_mut("status").and_then(Value::as_object_mut) {
                unset(status, "phase", "Pending");
            }
        }
        workloads::default_template(object, TEMPLATE);
    }

    fn prepare(&self, write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
        workloads::prepare(write, new, old, TEMPLATE);
    }

    fn validate(&self, write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        match (write.part, old) {
            (Part::Status, _) => workloads::section(new, old, "status", STATUS),
            (_, None) => workloads::section(new, None, "spec", SPEC),
            (_, Some(old)) => update(new, old),
        }
    }

    fn warnings(&self, write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<String> {
        let mut out = workloads::warn(write, new, old, TEMPLATE, false);
        let limit = field(new, &["spec", "revisionHistoryLimit"]);
        if write.part == Part::Whole && number(limit) < 0 {
            out.push("spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended".to_owned());
        }
        out
    }

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_label(name, prefix)
    }
}

static SPEC: &[Check] = &[
    Check::All(HEAD),
    Check::Each("volumeClaimTemplates", &[Check::Within("spec", claim::SPEC)]),
    Check::All(COUNTS),
    Check::Field("serviceName", &[Rule::Format(format::dns1123_label)]),
    Check::All(TAIL),
];

// What does not change is not judged again.
static UPDATED: &[Check] = &[Check::All(HEAD), Check::All(COUNTS), Check::All(TAIL)];

static HEAD: &[Check] = &[
    Check::With(|spec, errors| {
        let (policy, path) = (spec.text("podManagementPolicy"), spec.path_of("podManagementPolicy"));
        match policy {
            "" => errors.push(FieldError::required(&path, "")),
            "OrderedReady" | "Parallel" => {}
            other => errors.push(FieldError::invalid(&path, other, "must be 'OrderedReady' or 'Parallel'")),
        }
    }),
    Check::Within("updateStrategy", &[Check::With(strategy)]),
    Check::Within(
        "persistentVolumeClaimRetentionPolicy",
        &[
            Check::Field("whenDeleted", &[Rule::OneOf(RETENTION)]),
            Check::Field("whenScaled", &[Rule::OneOf(RETENTION)]),
        ],
    ),
];

static COUNTS: &[Check] = &[
    Check::Field("replicas", &[Rule::NotNegative]),
    Check::Field("minReadySeconds", &[Rule::NotNegative]),
    Check::With(|spec, errors| {
        let start = spec.get("ordinals").and_then(|it| it["start"].as_i64());
        if let Some(start) = start.filter(|start| *start < 0) {
            let path = spec.path_of("ordinals.start");
            errors.push(FieldError::invalid(&path, start, crate::resources::rules::NOT_NEGATIVE));
        }
    }),
];

static TAIL: &[Check] = &[
    Check::Field("selector", &[Rule::Required("")]),
    Check::Within("selector", SELECTOR),
    Check::With(|spec, errors| {
        workloads::empty_selector(spec, "statefulset", errors);
        match workloads::parsed(spec) {
            None => errors.push(workloads::selector_error(spec, "")),
            Some(selector) => {
                if !selector.is_everything() {
                    workloads::selects(spec, &selector, errors);
                }
                pods(spec, errors);
            }
        }
        workloads::lasting(spec, "StatefulSet", errors);
    }),
];

fn strategy(strategy: &Place<'_>, errors: &mut Errors) {
    let rolling = strategy.field("rollingUpdate");
    match (strategy.text("type"), rolling) {
        ("", _) => errors.push(FieldError::required(&strategy.path(), "")),
        ("OnDelete", Some(rolling)) => {
            let detail = "only allowed for updateStrategy 'RollingUpdate'";
            let error = FieldError::invalid(&rolling.path(), rolling.value().clone(), detail);
            errors.push(workloads::showing(error, "RollingUpdateStatefulSetStrategy", rolling.value()));
        }
        ("OnDelete" | "RollingUpdate", None) => {}
        ("RollingUpdate", Some(rolling)) => {
            check(&[Check::Field("partition", &[Rule::NotNegative])], &rolling, errors);
            if rolling.has("maxUnavailable") {
                if workloads::int_or_percent(&rolling, "maxUnavailable", errors) == 0 {
                    let shown = rolling.get("maxUnavailable").cloned().unwrap_or_default();
                    let error =
                        FieldError::invalid(&rolling.path_of("maxUnavailable"), shown.clone(), "cannot be 0");
                    errors.push(workloads::showing(error, "", &shown));
                }
                workloads::at_most_all(&rolling, "maxUnavailable", errors);
            }
        }
        _ => {
            let value = strategy.value();
            let detail = "must be 'RollingUpdate' or 'OnDelete'";
            let error = FieldError::invalid(&strategy.path(), value.clone(), detail);
            errors.push(workloads::showing(error, "StatefulSetUpdateStrategy", value));
        }
    }
}

// The controller gives each pod its name, its subdomain and its claims, so
// these are judged as the pods will have them.
fn pods(spec: &Place<'_>, errors: &mut Errors) {
    let Some(place) = spec.field("template") else { return };
    let mut template = place.value().clone();
    if let Some(pod) = template.get_mut("spec").and_then(Value::as_object_mut) {
        pod.remove("subdomain");
        pod.remove("hostname");
        let claims: Vec<&str> = spec
            .list("volumeClaimTemplates")
            .iter()
            .map(|claim| claim["metadata"]["name"].as_str().unwrap_or_default())
            .collect();
        let own = pod.get("volumes").and_then(Value::as_array).cloned().unwrap_or_default();
        let made =
            claims.iter().map(|name| json!({"name": name, "persistentVolumeClaim": {"claimName": name}}));
        let kept = own.into_iter().filter(|volume| !claims.iter().any(|name| volume["name"] == *name));
        let volumes: Vec<Value> = made.chain(kept).collect();
        if !volumes.is_empty() {
            pod.insert("volumes".to_owned(), Value::Array(volumes));
        }
    }
    let path = place.path();
    let template = Place::at(path.as_str(), &template, None);
    template::validate(&template, errors);
    // Upstream validates the metadata a second time.
    let Some(metadata) = template.get("metadata") else { return };
    let metadata = template.here(metadata);
    if let Some(labels) = metadata.field("labels") {
        validate_labels(&labels, errors);
    }
    if let Some(annotations) = metadata.field("annotations") {
        validate_annotations(&annotations, errors);
    }
    if let Some(pod) = template.field("spec") {
        let path = template.path_of("annotations");
        annotations::validate(annotations::of(template.get("metadata")), &pod, &path, errors);
    }
}

fn update(new: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    let place = Place::object(new, Some(old));
    let Some(spec) = place.field("spec") else { return errors };
    check(UPDATED, &spec, &mut errors);
    workloads::same_selector(&spec, &mut errors);
    let internal = Internal::read();
    for field in ["volumeClaimTemplates", "serviceName", "podManagementPolicy"] {
        if spec.get(field) == spec.old_of(field) {
            continue;
        }
        let value = spec.get(field).cloned();
        let error =
            FieldError::invalid(&spec.path_of(field), value.clone().unwrap_or_else(|| "".into()), IMMUTABLE);
        errors.push(match (field, value) {
            ("volumeClaimTemplates", Some(Value::Array(list))) => {
                // Upstream's internal version has no kinds inside.
                let bare: Vec<Value> = list.into_iter().map(bare).collect();
                error.showing(internal.compact_list("PersistentVolumeClaim", &bare))
            }
            ("volumeClaimTemplates", _) => error.showing("null".to_owned()),
            _ => error,
        });
    }
    errors
}

fn bare(mut claim: Value) -> Value {
    if let Some(fields) = claim.as_object_mut() {
        fields.remove("kind");
        fields.remove("apiVersion");
    }
    claim
}

static STATUS: &[Check] = &[
    Check::Field("replicas", &[Rule::NotNegative]),
    Check::Field("readyReplicas", &[Rule::NotNegative]),
    Check::Field("currentReplicas", &[Rule::NotNegative]),
    Check::Field("updatedReplicas", &[Rule::NotNegative]),
    Check::Field("availableReplicas", &[Rule::NotNegative]),
    Check::Field("observedGeneration", &[Rule::NotNegative]),
    Check::Field("collisionCount", &[Rule::NotNegative]),
    Check::With(|status, errors| {
        let fields = ["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"];
        let of_all = fields.map(|it| (it, "replicas"));
        let detail = |most: &str| format!("cannot be greater than status.{most}");
        workloads::at_most(status, &of_all, detail, errors);
        workloads::at_most(status, &[("availableReplicas", "readyReplicas")], detail, errors);
    }),
    Check::With(workloads::collisions),
];

/// The columns.
pub static COLUMNS: &[Column] = &[
    NAME,
    Column::new("Ready", "string", "Number of the pod with ready state", |it, _| {
        let (ready, all) = (field(it, &["status", "readyReplicas"]), field(it, &["spec", "replicas"]));
        format!("{}/{}", number(ready), number(all)).into()
    }),
    AGE,
    wide(CONTAINERS),
    wide(IMAGES),
];
