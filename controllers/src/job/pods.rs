//! The pods of a Job: what they carry, and how they are made.

use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Container, EnvVar, EnvVarSource, ObjectFieldSelector, Pod},
};

use super::failure::{self, Verdict};
use crate::{framework::controller_reference, pod};

/// The finalizer that keeps a pod until it was counted.
pub(super) const TRACKING: &str = "batch.kubernetes.io/job-tracking";
const INDEX: &str = "batch.kubernetes.io/job-completion-index";
const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
const IGNORED_FAILURES: &str = "batch.kubernetes.io/job-index-ignored-failure-count";
const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";
// Names are generated with five letters more.
const PREFIX_LONGEST: usize = 58;

/// True until the pod was counted.
pub(super) fn is_tracked(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().flatten().any(|it| it == TRACKING)
}

/// The pod's index.
pub(super) fn index(pod: &Pod) -> Option<i32> {
    annotation(pod, INDEX)
}

/// How often the pod's index had failed before.
pub(super) fn failures(pod: &Pod) -> i32 {
    annotation(pod, FAILURES).unwrap_or(0)
}

/// The same with the failures that do not count.
pub(super) fn all_failures(pod: &Pod) -> i32 {
    failures(pod).saturating_add(annotation(pod, IGNORED_FAILURES).unwrap_or(0))
}

fn annotation(pod: &Pod, name: &str) -> Option<i32> {
    let number = pod.metadata.annotations.as_ref()?.get(name)?.parse::<i32>().ok()?;
    (number >= 0).then_some(number)
}

/// A new pod without an index.
pub(super) fn new(job: &Job) -> Pod {
    let Some(spec) = &job.spec else { return Pod::default() };
    let mut made = pod::from_template(&spec.template, controller_reference(job));
    let finalizers = made.metadata.finalizers.get_or_insert_default();
    if !finalizers.iter().any(|it| it == TRACKING) {
        finalizers.push(TRACKING.into());
    }
    made
}

/// A new pod of this index, which takes the place of `failed`.
pub(super) fn new_indexed(job: &Job, index: i32, failed: Option<&Pod>) -> Pod {
    let mut made = new(job);
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let ending = format!("-{index}-");
    let prefix: String = name.chars().take(PREFIX_LONGEST.saturating_sub(ending.len())).collect();
    made.metadata.generate_name = Some(format!("{prefix}{ending}"));
    made.metadata.labels.get_or_insert_default().insert(INDEX.into(), index.to_string());
    let annotations = made.metadata.annotations.get_or_insert_default();
    annotations.insert(INDEX.into(), index.to_string());
    if job.spec.as_ref().is_some_and(|spec| spec.backoff_limit_per_index.is_some()) {
        let (counted, ignored) = failed.map_or((0, 0), |pod| after(job, pod));
        annotations.insert(FAILURES.into(), counted.to_string());
        if ignored > 0 {
            annotations.insert(IGNORED_FAILURES.into(), ignored.to_string());
        }
    }
    if let Some(spec) = &mut made.spec {
        spec.hostname = Some(format!("{name}-{index}"));
        spec.containers.iter_mut().for_each(tell_index);
        spec.init_containers.iter_mut().flatten().for_each(tell_index);
    }
    made
}

fn after(job: &Job, failed: &Pod) -> (i32, i32) {
    let (counted, ignored) = (failures(failed), all_failures(failed) - failures(failed));
    match failure::judge(job, failed) {
        Verdict::Ignored => (counted, ignored.saturating_add(1)),
        _ => (counted.saturating_add(1), ignored),
    }
}

fn tell_index(container: &mut Container) {
    let variables = container.env.get_or_insert_default();
    if variables.iter().any(|it| it.name == INDEX_VARIABLE) {
        return;
    }
    let field = ObjectFieldSelector { field_path: format!("metadata.labels['{INDEX}']"), api_version: None };
    variables.push(EnvVar {
        name: INDEX_VARIABLE.into(),
        value_from: Some(EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() }),
        ..EnvVar::default()
    });
}
