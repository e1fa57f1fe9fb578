//! Empties namespaces that are being deleted, and lets them go.
//!
//! Pods go first, then everything else that the API serves. Start at
//! [`Namespaces::empty`].

mod conditions;
mod content;

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{Namespace, NamespaceStatus, Pod};
use kube::{Api, Client, api::PostParams};

use self::content::{Content, Failures};
use crate::{
    framework::{Clock, Error, Key, Next, Queue, Reconcile, Setup, Store, absent, discover},
    pod,
};

const WORKERS: usize = 10;
/// What this controller takes out of `spec.finalizers`.
const FINALIZER: &str = "kubernetes";
const TERMINATING: &str = "Terminating";
/// Longest wait before what remains is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Puts the controller in.
pub(crate) fn start(setup: &mut Setup) {
    let namespaces = setup.reflect::<Namespace>();
    let pods = setup.reflect::<Pod>();
    let queue = Queue::new();
    let on_namespace = queue.clone();
    namespaces.on_change(move |change| {
        if let Some(namespace) = change.after.filter(|ns| ns.metadata.deletion_timestamp.is_some()) {
            on_namespace.add(Key::of(&namespace.metadata));
        }
    });
    // Everything else waits for the pods: the last one's end is the moment.
    let (on_pod, known, left) = (queue.clone(), namespaces.store(), pods.store());
    pods.on_change(move |change| {
        let (Some(pod), None) = (change.before, change.after) else { return };
        let key = Key::cluster(pod.metadata.namespace.clone().unwrap_or_default());
        let ending = known.get(&key).is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_some());
        if ending && left.in_namespace(&key.name).is_empty() {
            on_pod.add(key);
        }
    });
    let controller = Namespaces {
        client: setup.client.clone(),
        clock: setup.clock.clone(),
        namespaces: namespaces.store(),
        pods: pods.store(),
    };
    setup.reconcile("namespace-controller", queue, WORKERS, controller);
}

/// True for a namespace that things may be created in.
pub(crate) fn is_active(namespace: &Namespace) -> bool {
    namespace.metadata.deletion_timestamp.is_none() && phase(namespace) != TERMINATING
}

fn phase(namespace: &Namespace) -> &str {
    namespace.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

fn finalizers(namespace: &Namespace) -> &[String] {
    namespace.spec.as_ref().and_then(|spec| spec.finalizers.as_deref()).unwrap_or_default()
}

struct Namespaces {
    client: Client,
    clock: Clock,
    namespaces: Arc<Store<Namespace>>,
    pods: Arc<Store<Pod>>,
}

impl Reconcile<Key> for Namespaces {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let seen = self.namespaces.get(key);
        if seen.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_none()) {
            return Ok(Next::Change);
        }
        // Live: what is decided here must not be decided on an old copy.
        match absent(self.api().get(&key.name).await)? {
            Some(live) if live.metadata.deletion_timestamp.is_some() => self.empty(live).await,
            _ => Ok(Next::Change),
        }
    }
}

impl Namespaces {
    fn api(&self) -> Api<Namespace> {
        Api::all(self.client.clone())
    }

    async fn empty(&self, mut namespace: Namespace) -> Result<Next, Error> {
        if phase(&namespace) != TERMINATING {
            namespace.status.get_or_insert_default().phase = Some(TERMINATING.into());
            namespace = self.write_status(&namespace).await?;
        }
        if finalizers(&namespace).is_empty() {
            return Ok(Next::Change);
        }
        let name = namespace.metadata.name.clone().unwrap_or_default();
        let mut failures = Failures::default();
        let content = match discover(&self.client).await {
            Ok(served) => {
                let seconds = self.pod_seconds(&namespace);
                content::delete_all(&self.client, &name, served, seconds, &mut failures).await
            }
            Err(error) => {
                failures.discovery = Some(error.to_string());
                Content::default()
            }
        };
        let status = namespace.status.clone().unwrap_or_default();
        if let Some(conditions) = conditions::update(&status, &content, &failures, self.clock.now()) {
            namespace.status = Some(NamespaceStatus { conditions: Some(conditions), ..status });
            namespace = self.write_status(&namespace).await?;
        }
        if let Some(failure) = failures.first() {
            return Err(Error::Incomplete(failure));
        }
        if !content.is_empty() {
            let estimate = Duration::from_secs(content.estimate / 2 + 1);
            return Ok(Next::After(estimate.min(LOOK_AGAIN)));
        }
        self.finalize(namespace).await?;
        Ok(Next::Change)
    }

    /// How long the pods of an ending namespace may yet take: the longest
    /// grace period, unless it has passed.
    fn pod_seconds(&self, namespace: &Namespace) -> u64 {
        let name = namespace.metadata.name.as_deref().unwrap_or_default();
        let pods = self.pods.in_namespace(name);
        let running = pods.iter().filter(|pod| !pod::is_terminal(pod));
        let grace = running.filter_map(|pod| pod.spec.as_ref()?.termination_grace_period_seconds).max();
        let grace = u64::try_from(grace.unwrap_or_default()).unwrap_or_default();
        let since = namespace.metadata.deletion_timestamp.as_ref().map_or(0, |time| time.0.as_second());
        let passed = u64::try_from(self.clock.now().as_second() - since).unwrap_or_default();
        if passed >= grace { 0 } else { grace }
    }

    async fn write_status(&self, namespace: &Namespace) -> Result<Namespace, Error> {
        let name = namespace.metadata.name.as_deref().unwrap_or_default();
        Ok(self.api().replace_status(name, &PostParams::default(), namespace).await?)
    }

    /// Lets the namespace go, as far as this controller is concerned.
    async fn finalize(&self, mut namespace: Namespace) -> Result<(), Error> {
        if let Some(finalizers) = namespace.spec.as_mut().and_then(|spec| spec.finalizers.as_mut()) {
            finalizers.retain(|finalizer| finalizer != FINALIZER);
        }
        let name = namespace.metadata.name.clone().unwrap_or_default();
        let api = self.api();
        absent(api.replace_subresource("finalize", &name, &PostParams::default(), &namespace).await).map(drop)
    }
}
