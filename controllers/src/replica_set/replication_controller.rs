//! A ReplicationController, seen as a ReplicaSet.

use std::sync::Arc;

use k8s_openapi::{
    api::{
        apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetSpec, ReplicaSetStatus},
        core::v1::{ReplicationController, ReplicationControllerCondition, ReplicationControllerStatus},
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};

use super::Replicating;

impl Replicating for ReplicationController {
    const CONTROLLER: &'static str = "replication-controller";

    fn as_set(this: &Arc<Self>) -> Arc<ReplicaSet> {
        let spec = this.spec.clone().unwrap_or_default();
        let selector = LabelSelector { match_labels: spec.selector, match_expressions: None };
        Arc::new(ReplicaSet {
            metadata: this.metadata.clone(),
            spec: ReplicaSetSpec {
                min_ready_seconds: spec.min_ready_seconds,
                replicas: spec.replicas,
                selector,
                template: spec.template,
            },
            status: this.status.clone().map(set_status),
        })
    }

    fn with_status(&self, status: ReplicaSetStatus) -> Option<Self> {
        let status = own_status(status);
        (self.status.as_ref() != Some(&status)).then(|| Self { status: Some(status), ..self.clone() })
    }
}

fn set_status(status: ReplicationControllerStatus) -> ReplicaSetStatus {
    let condition = |it: ReplicationControllerCondition| ReplicaSetCondition {
        last_transition_time: it.last_transition_time,
        message: it.message,
        reason: it.reason,
        status: Some(it.status),
        type_: Some(it.type_),
    };
    ReplicaSetStatus {
        available_replicas: status.available_replicas,
        conditions: status.conditions.map(|all| all.into_iter().map(condition).collect()),
        fully_labeled_replicas: status.fully_labeled_replicas,
        observed_generation: status.observed_generation,
        ready_replicas: status.ready_replicas,
        replicas: status.replicas,
        // It does not say how many are ending.
        terminating_replicas: None,
    }
}

fn own_status(status: ReplicaSetStatus) -> ReplicationControllerStatus {
    let condition = |it: ReplicaSetCondition| ReplicationControllerCondition {
        last_transition_time: it.last_transition_time,
        message: it.message,
        reason: it.reason,
        status: it.status.unwrap_or_default(),
        type_: it.type_.unwrap_or_default(),
    };
    ReplicationControllerStatus {
        available_replicas: status.available_replicas,
        conditions: status.conditions.map(|all| all.into_iter().map(condition).collect()),
        fully_labeled_replicas: status.fully_labeled_replicas,
        observed_generation: status.observed_generation,
        ready_replicas: status.ready_replicas,
        replicas: status.replicas,
    }
}
