//! Makes claims of devices from the templates that pods name, and takes back
//! what pods do not use any more.
//!
//! Pods are looked at in `pod`, claims in `plan`. Both are told apart by what
//! stands in the queue, as a change of either can concern the other.

mod gone;
mod plan;
mod pod;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, fmt, sync::Arc};

use k8s_openapi::api::{
    core::v1::Pod,
    resource::v1::{ResourceClaim, ResourceClaimConsumerReference, ResourceClaimTemplate},
};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
};
use parking_lot::Mutex;

use crate::{
    devices::{self, BY_CLAIM, claim_keys},
    framework::{Error, Key, Next, Queue, Reconcile, Recorder, Setup, Store, Style, absent, controller_of},
};
use gone::Gone;
use plan::{Plan, is_done};

const NAME: &str = "resourceclaim-controller";
const WORKERS: usize = 50;
/// The name of the index of pods by the templates of their claims.
const BY_TEMPLATE: &str = "resource-claim-template";

/// What is to be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Item {
    Pod(Key),
    Claim(Key),
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(key) => write!(f, "pod:{key}"),
            Self::Claim(key) => write!(f, "claim:{key}"),
        }
    }
}

/// Puts the controller in.
pub(crate) fn start(setup: &mut Setup) {
    let pods = setup.reflect::<Pod>();
    let claims = setup.reflect::<ResourceClaim>();
    let templates = setup.reflect::<ResourceClaimTemplate>();
    pods.store().index(BY_CLAIM, claim_keys);
    pods.store().index(BY_TEMPLATE, template_keys);
    let queue = Queue::new();
    let controller = Arc::new(ResourceClaims {
        client: setup.client.clone(),
        events: setup.recorder("resource_claim", Style::Counted),
        pods: pods.store(),
        claims: claims.store(),
        templates: templates.store(),
        made: Mutex::default(),
        gone: Mutex::default(),
        queue: queue.clone(),
    });
    let on_pod = controller.clone();
    pods.on_change(move |change| match (change.before, change.after) {
        (_, Some(pod)) => on_pod.pod_changed(pod, false),
        (Some(pod), None) => on_pod.pod_changed(pod, true),
        (None, None) => {}
    });
    let on_claim = controller.clone();
    claims.on_change(move |change| {
        let Some(claim) = change.after.or(change.before) else { return };
        let key = Key::of(&claim.metadata);
        if change.after.is_some() {
            on_claim.queue.add(Item::Claim(key.clone()));
        }
        for pod in on_claim.pods.indexed(BY_CLAIM, &key.to_string()) {
            on_claim.pod_changed(&pod, false);
        }
    });
    let on_template = controller.clone();
    templates.on_change(move |change| {
        let Some(template) = change.after else { return };
        for pod in on_template.pods.indexed(BY_TEMPLATE, &Key::of(&template.metadata).to_string()) {
            on_template.pod_changed(&pod, false);
        }
    });
    setup.reconcile(NAME, queue, WORKERS, Worker(controller));
}

fn template_keys(pod: &Pod) -> Vec<String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let names = devices::asked(pod).iter().filter_map(|asked| asked.resource_claim_template_name.as_ref());
    let mut keys: Vec<String> = names.map(|name| format!("{namespace}/{name}")).collect();
    keys.sort();
    keys.dedup();
    keys
}

struct ResourceClaims {
    client: Client,
    events: Recorder,
    pods: Arc<Store<Pod>>,
    claims: Arc<Store<ResourceClaim>>,
    templates: Arc<Store<ResourceClaimTemplate>>,
    /// The claims that were made and may not show yet: by the pod's uid, then
    /// by the pod's name for it.
    made: Mutex<HashMap<String, HashMap<String, String>>>,
    /// Pods that are gone for certain.
    gone: Mutex<Gone>,
    queue: Queue<Item>,
}

struct Worker(Arc<ResourceClaims>);

impl Reconcile<Item> for Worker {
    async fn reconcile(&self, item: &Item) -> Result<Next, Error> {
        match item {
            Item::Pod(key) => self.0.look_at_pod(key).await?,
            Item::Claim(key) => self.0.look_at_claim(key).await?,
        }
        Ok(Next::Change)
    }
}

impl ResourceClaims {
    fn pod_changed(&self, pod: &Pod, gone: bool) {
        let claims = devices::claims(pod);
        if claims.is_empty() && devices::asked(pod).is_empty() {
            return;
        }
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        if gone {
            self.made.lock().remove(&uid);
            self.gone.lock().add(uid);
        }
        let key = Key::of(&pod.metadata);
        if gone || is_done(pod) {
            let keys = claims.iter().map(|claim| Key::namespaced(key.namespace.clone(), claim.name));
            self.queue.extend(keys.map(Item::Claim));
        }
        if !gone && self.needs_work(pod) {
            self.queue.add(Item::Pod(key));
        }
    }

    async fn look_at_claim(&self, key: &Key) -> Result<(), Error> {
        let Some(claim) = self.claims.get(key) else { return Ok(()) };
        let mut remaining = Vec::new();
        let consumers = claim.status.iter().flat_map(|status| status.reserved_for.iter().flatten());
        for consumer in consumers {
            if self.uses(&key.namespace, consumer).await? {
                remaining.push(consumer.clone());
            }
        }
        let owner = controller_of(&claim.metadata).filter(|owner| owner.kind == "Pod");
        let owner = owner.and_then(|owner| {
            let pod = self.pods.get(&Key::namespaced(key.namespace.clone(), owner.name.clone()))?;
            Some(pod.metadata.uid.as_deref() != Some(owner.uid.as_str()) || is_done(&pod))
        });
        let plan = plan::plan(&claim, remaining, owner == Some(true));
        self.carry_out(key, plan).await
    }

    /// Whether who the claim is reserved for may still use it.
    async fn uses(&self, namespace: &str, consumer: &ResourceClaimConsumerReference) -> Result<bool, Error> {
        let is_pod = consumer.resource == "pods" && consumer.api_group.as_deref().is_none_or(str::is_empty);
        if !is_pod {
            return Ok(true);
        }
        if self.gone.lock().has(&consumer.uid) {
            return Ok(false);
        }
        let is_it = |pod: &Pod| pod.metadata.uid.as_deref() == Some(consumer.uid.as_str());
        if let Some(pod) = self.pods.get(&Key::namespaced(namespace, &consumer.name)) {
            return Ok(is_it(&pod) && !is_done(&pod));
        }
        // It may be so new that it does not show.
        let api = Api::<Pod>::namespaced(self.client.clone(), namespace);
        Ok(api.get_opt(&consumer.name).await?.is_some_and(|pod| is_it(&pod)))
    }

    async fn carry_out(&self, key: &Key, plan: Plan) -> Result<(), Error> {
        let api = Api::<ResourceClaim>::namespaced(self.client.clone(), &key.namespace);
        let mut current = plan.release;
        if let Some(claim) = plan.status {
            let written = api.replace_status(&key.name, &PostParams::default(), &claim).await;
            match absent(written)? {
                Some(written) => current = plan.unbind.then(|| plan::unfinalized(written)),
                None => return Ok(()),
            }
        }
        if let Some(claim) = current {
            absent(api.replace(&key.name, &PostParams::default(), &claim).await)?;
        }
        if plan.delete {
            let deleted = absent(api.delete(&key.name, &DeleteParams::default()).await);
            deleted
                .map_err(|error| Error::Invalid(format!("delete unused generated claim {key}: {error}")))?;
        }
        Ok(())
    }
}
