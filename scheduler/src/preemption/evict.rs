//! Carries out what preemption decided: victims are told why, and deleted.

use std::sync::Arc;

use coracle_controllers::framework::{Error, Recorder, Severity};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use serde_json::{Value, json};

use crate::{pod::PodInfo, report};

/// Victims that may be told to go at once.
const AT_ONCE: usize = 16;
const REASON: &str = "PreemptionByScheduler";

/// True when the pod is going because another took its place.
pub(crate) fn is_leaving(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
        && target(pod).is_some_and(|it| it.status == "True" && it.reason.as_deref() == Some(REASON))
}

fn target(pod: &Pod) -> Option<&PodCondition> {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().find(|condition| condition.type_ == "DisruptionTarget")
}

/// One pod takes the place of others.
pub(crate) struct Eviction<'a> {
    pub(crate) client: &'a Client,
    pub(crate) events: &'a Recorder,
    /// The scheduler that the pod asked for.
    pub(crate) scheduler: &'a str,
    /// The pod for which others go.
    pub(crate) pod: &'a PodInfo,
    /// Where it is to be.
    pub(crate) node: &'a str,
    pub(crate) now: Timestamp,
}

impl Eviction<'_> {
    /// Takes the nomination from `nominated`, then lets `victims` go. Pods
    /// that are gone or going already are left alone.
    /// # Errors
    /// A victim could not be told to go; others may have been.
    pub(crate) async fn carry_out(
        &self,
        nominated: &[Arc<PodInfo>],
        victims: &[Arc<PodInfo>],
    ) -> Result<(), Error> {
        for other in nominated.iter().filter(|other| other.nominated().is_some()) {
            let patch = json!({"metadata": {"uid": other.uid}, "status": {"nominatedNodeName": null}});
            if let Err(error) = self.patch(other, patch).await {
                tracing::debug!(pod = %other.key(), %error, "nomination not cleared");
            }
        }
        let staying = victims.iter().filter(|victim| victim.pod.metadata.deletion_timestamp.is_none());
        let going: Vec<_> = staying.map(|victim| self.evict(victim)).collect();
        stream::iter(going).buffer_unordered(AT_ONCE).try_collect::<()>().await
    }

    async fn evict(&self, victim: &PodInfo) -> Result<(), Error> {
        if let Some(patch) = self.condition(&victim.pod) {
            match self.patch(victim, patch).await {
                Err(error) if error.is_not_found() => return Ok(()),
                done => done?,
            }
        }
        let key = victim.key();
        let same = Preconditions { uid: Some(victim.uid.clone()), resource_version: None };
        let how = DeleteParams { preconditions: Some(same), ..DeleteParams::default() };
        let api = Api::<Pod>::namespaced(self.client.clone(), &key.namespace);
        match api.delete(&key.name, &how).await.map_err(Error::from) {
            // Gone, and perhaps another has its name.
            Err(error) if error.is_not_found() || error.is_conflict() => return Ok(()),
            done => done?,
        };
        let message = format!("Preempted by pod {} on node {}", self.pod.uid, self.node);
        let regarding = report::reference(&victim.pod);
        self.events.act(regarding, Severity::Normal, "Preempted", "Preempting", message);
        Ok(())
    }

    async fn patch(&self, pod: &PodInfo, patch: Value) -> Result<(), Error> {
        let key = pod.key();
        let api = Api::<Pod>::namespaced(self.client.clone(), &key.namespace);
        api.patch_status(&key.name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
        Ok(())
    }

    /// Tells in the victim's status why it goes, unless it does already.
    fn condition(&self, victim: &Pod) -> Option<Value> {
        let message = format!("{}: preempting to accommodate a higher priority pod", self.scheduler);
        let known = target(victim);
        let told = known.is_some_and(|known| {
            known.status == "True"
                && known.reason.as_deref() == Some(REASON)
                && known.message.as_deref() == Some(message.as_str())
        });
        if told {
            return None;
        }
        let since = known.filter(|known| known.status == "True");
        let since = since.and_then(|known| known.last_transition_time.as_ref()).map_or(self.now, |t| t.0);
        let since = Timestamp::from_second(since.as_second()).unwrap_or(since);
        let condition = json!({
            "type": "DisruptionTarget", "status": "True", "reason": REASON, "message": message,
            "lastProbeTime": null, "lastTransitionTime": since.to_string(),
            "observedGeneration": victim.metadata.generation,
        });
        Some(json!({"metadata": {"uid": victim.metadata.uid}, "status": {"conditions": [condition]}}))
    }
}
