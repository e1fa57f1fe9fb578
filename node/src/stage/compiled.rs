//! A Stage as it is obeyed: its texts read, its expressions compiled.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use coracle_controllers::framework::matches_labels;
use coracle_crds::stage::{
    Event, Exit, Finalizers, Kind, MatchExpression, Operator, PatchType, StageSpec, Subresource, ValueFrom,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{
    expression::{Expression, Failure, Scope, duration},
    path::Path,
    template::Template,
};

/// No wait is longer.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
const MOST_WEIGHT: i64 = 1_000_000;

/// What became of a Stage since it was first seen; it outlives a change of it.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) played: AtomicI64,
    pub(super) failed: AtomicI64,
    /// What went wrong last, until something goes right.
    pub(super) trouble: Mutex<Option<String>>,
}

impl Record {
    pub(super) fn succeeded(&self) {
        self.played.fetch_add(1, Ordering::Relaxed);
        *self.trouble.lock() = None;
    }

    pub(super) fn failed(&self, why: String) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        *self.trouble.lock() = Some(why);
    }
}

/// A Stage that can be played.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(super) name: String,
    /// Another for each version of each Stage.
    pub(super) id: u64,
    pub(super) kind: Kind,
    pub(super) record: Arc<Record>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    /// It speaks of deletion, and so is for what is being deleted too.
    of_deleted: bool,
    rules: Vec<Rule>,
    weight: i64,
    weight_from: Option<Source>,
    delay: Option<i64>,
    delay_from: Option<Source>,
    jitter: Option<i64>,
    jitter_from: Option<Source>,
    immediate: bool,
    pub(super) event: Option<Event>,
    finalizers: Option<Finalizers>,
    pub(super) delete: bool,
    patches: Vec<Patch>,
    pub(crate) exits: Vec<Exit>,
}

#[derive(Debug)]
enum Rule {
    Cel(Expression),
    Path { path: Path, operator: Operator, values: Vec<String> },
}

#[derive(Debug)]
enum Source {
    Cel(Expression),
    Path(Path),
}

#[derive(Debug)]
struct Patch {
    status: bool,
    type_: PatchType,
    root: Option<String>,
    template: Template,
}

/// A patch to send.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Change {
    /// Of the status.
    pub(super) status: bool,
    pub(super) type_: PatchType,
    pub(super) body: Value,
}

impl Stage {
    /// Compiles `spec`.
    /// # Errors
    /// What is wrong, with the field that it is in.
    pub(super) fn compile(
        name: &str,
        id: u64,
        spec: &StageSpec,
        record: Arc<Record>,
    ) -> Result<Self, String> {
        let selector = spec.selector.clone().unwrap_or_default();
        let rules = selector.match_expressions.iter().enumerate().map(|(at, it)| {
            Rule::compile(it).map_err(|error| format!("spec.selector.matchExpressions[{at}]: {error}"))
        });
        let delay = spec.delay.clone().unwrap_or_default();
        let source = |from: &Option<ValueFrom>, field: &str| {
            from.as_ref()
                .map(|it| Source::compile(it).map_err(|error| format!("spec.{field}: {error}")))
                .transpose()
        };
        let mut patches = Vec::new();
        for (at, patch) in spec.next.patches.iter().enumerate() {
            let template = Template::parse(&patch.template)
                .map_err(|error| format!("spec.next.patches[{at}].template: {error}"))?;
            patches.push(Patch {
                status: patch.subresource == Some(Subresource::Status),
                type_: patch.type_.unwrap_or_default(),
                root: patch.root.clone(),
                template,
            });
        }
        if let Some(template) = &spec.next.status_template {
            let template =
                Template::parse(template).map_err(|error| format!("spec.next.statusTemplate: {error}"))?;
            patches.push(Patch {
                status: true,
                type_: PatchType::Strategic,
                root: Some("status".into()),
                template,
            });
        }
        Ok(Self {
            name: name.to_owned(),
            id,
            kind: spec.resource_ref.kind,
            record,
            of_deleted: selector.match_expressions.iter().any(speaks_of_deletion),
            rules: rules.collect::<Result<_, _>>()?,
            labels: selector.match_labels,
            annotations: selector.match_annotations,
            weight: spec.weight,
            weight_from: source(&spec.weight_from, "weightFrom")?,
            delay: delay.duration_milliseconds,
            delay_from: source(&delay.duration_from, "delay.durationFrom")?,
            jitter: delay.jitter_duration_milliseconds,
            jitter_from: source(&delay.jitter_duration_from, "delay.jitterDurationFrom")?,
            immediate: spec.immediate_next_stage.unwrap_or(false),
            event: spec.next.event.clone(),
            finalizers: spec.next.finalizers.clone(),
            delete: spec.next.delete,
            patches,
            exits: spec.next.containers.clone(),
        })
    }

    /// Whether it may be for the object with this metadata, as far as labels
    /// and annotations tell.
    pub(crate) fn may_select(&self, meta: &ObjectMeta) -> bool {
        matches_labels(Some(&self.labels), meta.labels.as_ref())
            && matches_labels(Some(&self.annotations), meta.annotations.as_ref())
            && (self.of_deleted || meta.deletion_timestamp.is_none())
    }

    /// Whether it is for this kind.
    pub(crate) fn is_for(&self, kind: Kind) -> bool {
        self.kind == kind
    }

    /// Whether the next Stage is looked for also when nothing has changed.
    pub(crate) fn looks_on(&self) -> bool {
        self.immediate
    }

    /// Whether its expressions hold. One that asks for what is not there does not.
    pub(super) fn selects(&self, scope: &Scope<'_>) -> bool {
        self.rules.iter().enumerate().all(|(at, rule)| match rule.holds(scope) {
            Ok(holds) => holds,
            Err(Failure::Missing(_)) => false,
            Err(Failure::Wrong(why)) => {
                let told = format!("spec.selector.matchExpressions[{at}]: {why}");
                *self.record.trouble.lock() = Some(told);
                false
            }
        })
    }

    /// Its weight; none where that is not a number.
    pub(super) fn weight(&self, scope: &Scope<'_>) -> Option<i64> {
        let found = match self.weight_from.as_ref().map(|source| source.value(scope)) {
            None | Some(Ok(None)) => Some(self.weight),
            Some(Ok(Some(Value::String(text)))) => text.trim().parse().ok(),
            Some(Ok(Some(value))) => value.as_i64(),
            Some(Err(error)) => {
                *self.record.trouble.lock() = Some(format!("spec.weightFrom: {error}"));
                None
            }
        };
        found.map(|weight| weight.clamp(0, MOST_WEIGHT))
    }

    /// The shortest and the longest wait.
    pub(super) fn delay(&self, scope: &Scope<'_>) -> (Duration, Duration) {
        let least = self.found(&self.delay_from, self.delay, "durationFrom", scope).unwrap_or_default();
        let most = self.found(&self.jitter_from, self.jitter, "jitterDurationFrom", scope).unwrap_or(least);
        (least.min(most), most)
    }

    fn found(
        &self,
        from: &Option<Source>,
        fixed: Option<i64>,
        field: &str,
        scope: &Scope<'_>,
    ) -> Option<Duration> {
        let fixed = fixed.map(|it| Duration::from_millis(it.unsigned_abs()));
        let found = match from.as_ref().map(|source| source.value(scope)) {
            None | Some(Ok(None)) => fixed,
            Some(Ok(Some(value))) => duration(&value, scope.now())
                // What is over need not be waited for.
                .map(|it| it.max(jiff::SignedDuration::ZERO).unsigned_abs())
                .or(fixed),
            Some(Err(error)) => {
                *self.record.trouble.lock() = Some(format!("spec.delay.{field}: {error}"));
                fixed
            }
        };
        found.map(|it| it.min(LONGEST))
    }

    /// What is to be patched, in order. `object` is what the scope shows.
    /// # Errors
    /// A template cannot be evaluated.
    pub(super) fn changes(&self, scope: &Scope<'_>) -> Result<Vec<Change>, String> {
        let mut changes = Vec::new();
        changes.extend(self.finalizers.as_ref().and_then(|it| finalizers(it, scope.object())));
        if self.delete {
            return Ok(changes);
        }
        for patch in &self.patches {
            let rendered = patch.template.render(scope).map_err(|error| error.to_string())?;
            let body = match &patch.root {
                None => rendered,
                Some(root) if patch.type_ == PatchType::Json => under(root, rendered)?,
                Some(root) => json!({root.as_str(): rendered}),
            };
            changes.push(Change { status: patch.status, type_: patch.type_, body });
        }
        Ok(changes)
    }
}

/// Moves the paths of a JSON patch below `root`.
fn under(root: &str, mut patch: Value) -> Result<Value, String> {
    for operation in patch.as_array_mut().ok_or("a patch of type json is a list")? {
        for field in ["path", "from"] {
            if let Some(path) = operation.get(field).and_then(Value::as_str) {
                operation[field] = format!("/{root}{path}").into();
            }
        }
    }
    Ok(patch)
}

/// The finalizers that the object is to have, if those are others.
fn finalizers(rule: &Finalizers, object: &Value) -> Option<Change> {
    let list = object["metadata"]["finalizers"].as_array().into_iter().flatten();
    let before: Vec<&str> = list.filter_map(Value::as_str).collect();
    let goes = |name: &str| rule.empty || rule.remove.iter().any(|it| it.value == name);
    let mut after: Vec<&str> = before.iter().copied().filter(|name| !goes(name)).collect();
    for added in &rule.add {
        if !after.contains(&added.value.as_str()) {
            after.push(&added.value);
        }
    }
    // Written whole, so only onto what was seen.
    let version = &object["metadata"]["resourceVersion"];
    let body = json!({"metadata": {"finalizers": after, "resourceVersion": version}});
    (before != after).then_some(Change { status: false, type_: PatchType::Merge, body })
}

fn speaks_of_deletion(expression: &MatchExpression) -> bool {
    let cel = expression.cel.iter().map(|it| it.expression.as_str());
    cel.chain(expression.key.as_deref()).any(|text| text.contains("deletionTimestamp"))
}

impl Rule {
    fn compile(expression: &MatchExpression) -> Result<Self, String> {
        match (&expression.cel, &expression.key, expression.operator) {
            (Some(cel), None, _) => {
                Expression::compile(&cel.expression).map(Self::Cel).map_err(|error| format!("cel: {error}"))
            }
            (None, Some(key), Some(operator)) => {
                let path = Path::parse(key).map_err(|error| format!("key: {error}"))?;
                Ok(Self::Path { path, operator, values: expression.values.clone() })
            }
            _ => Err("either cel, or key with an operator".to_owned()),
        }
    }

    fn holds(&self, scope: &Scope<'_>) -> Result<bool, Failure> {
        let Self::Path { path, operator, values } = self else {
            let Self::Cel(expression) = self else { return Ok(false) };
            return expression.holds(scope);
        };
        let found = path.values(scope.object());
        let listed = || {
            found.iter().any(|value| match value {
                Value::String(text) => values.contains(text),
                Value::Bool(_) | Value::Number(_) => values.contains(&value.to_string()),
                _ => false,
            })
        };
        Ok(match operator {
            Operator::In => listed(),
            Operator::NotIn => !listed(),
            Operator::Exists => !found.is_empty(),
            Operator::DoesNotExist => found.is_empty(),
        })
    }
}

impl Source {
    fn compile(from: &ValueFrom) -> Result<Self, String> {
        match (&from.cel, &from.expression_from) {
            (Some(cel), None) => {
                Expression::compile(&cel.expression).map(Self::Cel).map_err(|error| format!("cel: {error}"))
            }
            (None, Some(path)) => {
                Path::parse(path).map(Self::Path).map_err(|error| format!("expressionFrom: {error}"))
            }
            _ => Err("either cel or expressionFrom".to_owned()),
        }
    }

    /// The value; none where it is not there.
    fn value(&self, scope: &Scope<'_>) -> Result<Option<Value>, Failure> {
        match self {
            Self::Path(path) => Ok(path.values(scope.object()).first().map(|it| (*it).clone())),
            Self::Cel(expression) => match expression.json(scope) {
                Ok(value) => Ok(Some(value).filter(|it| !it.is_null())),
                Err(Failure::Missing(_)) => Ok(None),
                Err(wrong) => Err(wrong),
            },
        }
    }
}
