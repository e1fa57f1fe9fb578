//! A pod that was to be disrupted and was not says so no longer.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::{
    framework::{Clock, Error, Key, Next, Queue, Reconcile, Setup, Store, absent},
    pod::{condition, is_terminal},
};

/// After this long a condition is stale.
const STALE: SignedDuration = SignedDuration::from_mins(2);

/// Puts the loop in.
pub(super) fn start(setup: &mut Setup) {
    let pods = setup.reflect::<Pod>();
    let queue = Queue::new();
    let (on_pod, clock) = (queue.clone(), setup.clock.clone());
    pods.on_change(move |change| {
        if let Some(pod) = change.after
            && let Some(left) = left(pod, clock.now())
        {
            on_pod.add_after(Key::of(&pod.metadata), left);
        }
    });
    let loop_of_pods =
        StaleConditions { client: setup.client.clone(), clock: setup.clock.clone(), pods: pods.store() };
    setup.reconcile("disruption-stale-conditions", queue, 1, loop_of_pods);
}

/// How long until the pod's condition is stale; nothing when it never will be.
pub(super) fn left(pod: &Pod, now: Timestamp) -> Option<Duration> {
    let said = condition(pod, "DisruptionTarget").filter(|said| said.status == "True")?;
    // A kubelet may take as long as it likes.
    let by_kubelet = said.reason.as_deref() == Some("TerminationByKubelet");
    if pod.metadata.deletion_timestamp.is_some() || by_kubelet || is_terminal(pod) {
        return None;
    }
    let since = said.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    let stale = since.checked_add(STALE).unwrap_or(Timestamp::MAX);
    Some(Duration::try_from(stale.duration_since(now)).unwrap_or_default())
}

struct StaleConditions {
    client: Client,
    clock: Clock,
    pods: Arc<Store<Pod>>,
}

impl Reconcile<Key> for StaleConditions {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(pod) = self.pods.get(key) else { return Ok(Next::Change) };
        match left(&pod, self.clock.now()) {
            None => return Ok(Next::Change),
            Some(left) if !left.is_zero() => return Ok(Next::After(left)),
            Some(_) => {}
        }
        let patch = json!({
            "metadata": { "resourceVersion": pod.metadata.resource_version },
            "status": { "conditions": [{
                "type": "DisruptionTarget",
                "status": "False",
                "reason": null,
                "message": null,
                "observedGeneration": pod.metadata.generation,
                "lastTransitionTime": self.clock.time(),
            }] },
        });
        let api = Api::<Pod>::namespaced(self.client.clone(), &key.namespace);
        absent(api.patch_status(&key.name, &PatchParams::default(), &Patch::Strategic(patch)).await)?;
        Ok(Next::Change)
    }
}
