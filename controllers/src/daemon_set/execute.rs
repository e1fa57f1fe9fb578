//! Carries a plan out.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::PostParams};

use super::{
    DaemonSets, HASH_LABEL, node,
    plan::{self, Observed, Plan},
    status,
};
use crate::{
    framework::{Error, Key, Next, Severity, controller_reference},
    history::Settled,
    pod,
};

// A failed pod is deleted at once; the next on that node waits this long, then twice as long.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_LONGEST: Duration = Duration::from_secs(15 * 60);
/// When to look again at a set that still waits to see its own writes.
const UNSETTLED: Duration = Duration::from_secs(301);
const TEMPLATE_GENERATION: &str = "pod-template-generation";

impl DaemonSets {
    pub(super) async fn execute(
        &self,
        key: &Key,
        observed: &Observed,
        history: &Settled,
        pods: &[Arc<Pod>],
    ) -> Result<Next, Error> {
        let now = self.control.clock.now();
        let plan = plan::plan(observed, now);
        let managed = self.manage(key, observed, &plan).await;
        let limit = observed.set.spec.revision_history_limit;
        let live = |hash: &str| {
            let of = |pod: &Pod| {
                pod.metadata.labels.as_ref().is_some_and(|it| it.get(HASH_LABEL).is_some_and(|it| it == hash))
            };
            pods.iter().any(|pod| of(pod))
        };
        let tidied = match &managed {
            Ok(()) => {
                let is_live = |revision: &_| live(self.history.hash_of(revision));
                self.history.truncate(&history.old, limit, is_live).await
            }
            Err(_) => Ok(()),
        };
        let status = status::status(observed, history.collisions, now);
        let lacking = status.number_ready > status.number_available.unwrap_or(0);
        if observed.set.status.as_ref() != Some(&status) {
            let mut updated = (*observed.set).clone();
            updated.status = Some(status);
            let api = Api::namespaced(self.client.clone(), &key.namespace);
            api.replace_status(&key.name, &PostParams::default(), &updated).await?;
        }
        managed?;
        tidied?;
        let min_ready = observed.set.spec.min_ready_seconds.unwrap_or(0);
        if min_ready > 0 && lacking {
            let next = pod::next_availability(pods.iter().map(Arc::as_ref), min_ready, now);
            return Ok(Next::After(next.unwrap_or(Duration::from_secs(min_ready.unsigned_abs().into()))));
        }
        Ok(match plan.retry {
            Some(wait) => Next::After(wait),
            None if observed.settled => Next::Change,
            None => Next::After(UNSETTLED),
        })
    }

    async fn manage(&self, key: &Key, observed: &Observed, plan: &Plan) -> Result<(), Error> {
        let set = &*observed.set;
        for (node, pod) in &plan.ended {
            self.note_end(observed, node, pod);
        }
        let created = self.control.create(key, set, new_pods(observed, &plan.create)).await;
        self.control.delete(key, set, &plan.delete).await?;
        created
    }

    fn note_end(&self, observed: &Observed, node: &str, pod: &Pod) {
        let set = &*observed.set;
        let meta = &pod.metadata;
        let name = format!(
            "{}/{}",
            meta.namespace.as_deref().unwrap_or_default(),
            meta.name.as_deref().unwrap_or_default()
        );
        let events = &self.control.events;
        if pod::phase(pod) == "Succeeded" {
            let text = format!("Found succeeded daemon pod {name} on node {node}, will try to delete it");
            events.event(set, Severity::Normal, "SucceededDaemonPod", text);
            return;
        }
        let text = format!("Found failed daemon pod {name} on node {node}, will try to kill it");
        events.event(set, Severity::Warning, "FailedDaemonPod", text);
        let uid = set.metadata.uid.clone().unwrap_or_default();
        let now = self.control.clock.now();
        let mut failed = self.failed.lock();
        let wait = failed.get(&(uid.clone(), node.to_owned()));
        let wait = wait.map_or(BACKOFF_FIRST, |(_, wait)| (*wait * 2).min(BACKOFF_LONGEST));
        failed.insert((uid, node.to_owned()), (now, wait));
    }
}

fn new_pods(observed: &Observed, nodes: &[String]) -> Vec<Pod> {
    let spec = &observed.set.spec;
    let mut made = pod::from_template(&spec.template, controller_reference(&*observed.set));
    let labels = made.metadata.labels.get_or_insert_default();
    labels.insert(HASH_LABEL.into(), observed.hash.clone());
    let annotations = observed.set.metadata.annotations.as_ref();
    let generation = annotations.and_then(|it| it.get("deprecated.daemonset.template.generation"));
    if let Some(generation) = generation {
        labels.insert(TEMPLATE_GENERATION.into(), generation.clone());
    }
    let pods = nodes.iter().map(|name| {
        let mut pod = made.clone();
        if let Some(spec) = &mut pod.spec {
            spec.tolerations = Some(node::tolerations(spec));
            spec.affinity = Some(node::only(spec.affinity.as_ref(), name));
        }
        pod
    });
    pods.collect()
}
