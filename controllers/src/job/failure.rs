//! What a failed pod means for its Job.

use k8s_openapi::api::{
    batch::v1::{Job, JobSpec, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule},
    core::v1::{ContainerStatus, Pod},
};

use crate::pod;

/// What the policy says of a failed pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It counts.
    Counts,
    /// It does not.
    Ignored,
    /// It counts, and its index has failed for good.
    FailsIndex,
    /// It counts, and the whole job has failed, as the message says.
    FailsJob(String),
}

/// True when the pod has failed, or counts as if: one that is being deleted is
/// replaced, unless only failed ones are.
pub(super) fn is_failed(pod: &Pod, spec: &JobSpec) -> bool {
    match pod::phase(pod) {
        "Failed" => true,
        "Succeeded" => false,
        _ => !only_replaces_failed(spec) && pod.metadata.deletion_timestamp.is_some(),
    }
}

/// True when a pod that is being deleted has to end before another takes its place.
pub(super) fn only_replaces_failed(spec: &JobSpec) -> bool {
    spec.pod_replacement_policy.as_deref() == Some("Failed")
}

/// What the job's policy says of `pod`.
pub(super) fn judge(job: &Job, pod: &Pod) -> Verdict {
    let policy = job.spec.as_ref().and_then(|spec| spec.pod_failure_policy.as_ref());
    for (index, rule) in policy.iter().flat_map(|policy| policy.rules.iter().enumerate()) {
        if let Some(reason) = matching(rule, pod, index) {
            return match rule.action.as_str() {
                "Ignore" => Verdict::Ignored,
                "FailIndex" => Verdict::FailsIndex,
                "FailJob" => Verdict::FailsJob(reason),
                _ => Verdict::Counts,
            };
        }
    }
    Verdict::Counts
}

fn matching(rule: &PodFailurePolicyRule, pod: &Pod, index: usize) -> Option<String> {
    let status = pod.status.as_ref()?;
    let meta = &pod.metadata;
    let name = format!(
        "{}/{}",
        meta.namespace.as_deref().unwrap_or_default(),
        meta.name.as_deref().unwrap_or_default()
    );
    let action = &rule.action;
    if let Some(codes) = &rule.on_exit_codes {
        let containers = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
        let (container, code) = containers.filter_map(|it| exited(it, codes)).next()?;
        return Some(format!(
            "Container {container} for pod {name} failed with exit code {code} matching {action} rule at index {index}"
        ));
    }
    let patterns = rule.on_pod_conditions.as_ref()?;
    let met = status.conditions.iter().flatten().find(|condition| {
        let is = |status: Option<&str>| status.unwrap_or("True") == condition.status;
        patterns.iter().any(|pattern| pattern.type_ == condition.type_ && is(pattern.status.as_deref()))
    })?;
    Some(format!("Pod {name} has condition {} matching {action} rule at index {index}", met.type_))
}

fn exited<'a>(
    status: &'a ContainerStatus,
    codes: &PodFailurePolicyOnExitCodesRequirement,
) -> Option<(&'a str, i32)> {
    let code = status.state.as_ref()?.terminated.as_ref()?.exit_code;
    let named = codes.container_name.as_ref().is_none_or(|name| *name == status.name);
    let met = match codes.operator.as_str() {
        "In" => codes.values.contains(&code),
        "NotIn" => !codes.values.contains(&code),
        _ => false,
    };
    (named && code != 0 && met).then_some((status.name.as_str(), code))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn rules_are_tried_in_order() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"namespace": "a", "name": "p"},
            "status": {
                "phase": "Failed",
                "conditions": [{"type": "DisruptionTarget", "status": "True"}],
                "containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                    "state": {"terminated": {"exitCode": 3}}}],
            },
        }))
        .expect("a pod");
        let check = |rules: Value, expected: Verdict| {
            let spec = json!({"template": {}, "podFailurePolicy": {"rules": rules}});
            let job: Job = serde_json::from_value(json!({"metadata": {}, "spec": spec})).expect("a job");
            assert_eq!(judge(&job, &pod), expected, "{rules}");
        };
        let codes = |action: &str, operator: &str, values: Value| json!({"action": action, "onExitCodes": {"operator": operator, "values": values}});
        let disrupted =
            json!({"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]});
        check(json!([]), Verdict::Counts);
        check(json!([disrupted, codes("FailJob", "In", json!([3]))]), Verdict::Ignored);
        check(json!([codes("Count", "In", json!([3])), disrupted]), Verdict::Counts);
        check(json!([codes("FailIndex", "NotIn", json!([1]))]), Verdict::FailsIndex);
        check(json!([codes("FailJob", "In", json!([1]))]), Verdict::Counts);
        let told = "Container c for pod a/p failed with exit code 3 matching FailJob rule at index 0";
        check(json!([codes("FailJob", "In", json!([3]))]), Verdict::FailsJob(told.into()));
    }
}
