//! Keeps the Endpoints of services that select their pods: what
//! EndpointSlices say, in its older form.
//!
//! Start at [`plan::plan`].

mod plan;
pub(crate) mod subsets;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
};
use tokio_util::sync::CancellationToken;

use crate::{
    endpoint_slice::{pod, trigger::TriggerTimes},
    framework::{
        Clock, Error, Expectations, Key, Next, Queue, Reconcile, Recorder, Setup, Severity, Store, Style,
        absent,
    },
};

const WORKERS: usize = 5;
/// Locks of old were Endpoints without a service.
pub(crate) const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";

/// Puts the controller in.
pub(crate) fn start(setup: &mut Setup) {
    let services = setup.reflect::<Service>();
    let pods = setup.reflect::<Pod>();
    let endpoints = setup.reflect::<Endpoints>();
    let queue = Queue::new();
    let on_service = queue.clone();
    services.on_change(move |change| {
        on_service.extend(change.sides().last().map(|service| Key::of(&service.metadata)));
    });
    let (on_pod, known) = (queue.clone(), services.store());
    pods.on_change(move |change| on_pod.extend(pod::concerned(change, &known)));
    let (on_endpoints, known) = (queue.clone(), services.store());
    endpoints.on_change(move |change| {
        // Those that nobody's service goes by are left alone while they are there.
        let Some(key) = change.sides().last().map(|endpoints| Key::of(&endpoints.metadata)) else { return };
        if known.get(&key).is_some() {
            on_endpoints.add(key);
        }
    });
    let (left_over, known) = (queue.clone(), endpoints.store());
    setup.when_synced(move |_: CancellationToken| async move {
        // A service may have gone while nobody looked.
        let led =
            |it: &Endpoints| it.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(LEADER));
        let all = known.all();
        left_over.extend(all.iter().filter(|it| !led(it)).map(|it| Key::of(&it.metadata)));
    });
    let controller = EndpointsOfServices {
        client: setup.client.clone(),
        clock: setup.clock.clone(),
        events: setup.recorder("endpoint-controller", Style::Counted),
        services: services.store(),
        pods: pods.store(),
        endpoints: endpoints.store(),
        triggers: TriggerTimes::default(),
        expectations: Expectations::default(),
    };
    setup.reconcile("endpoints-controller", queue, WORKERS, controller);
}

struct EndpointsOfServices {
    client: Client,
    clock: Clock,
    events: Recorder,
    services: Arc<Store<Service>>,
    pods: Arc<Store<Pod>>,
    endpoints: Arc<Store<Endpoints>>,
    triggers: TriggerTimes,
    expectations: Expectations,
}

impl Reconcile<Key> for EndpointsOfServices {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let settled = self.expectations.satisfied(key, &self.endpoints, self.clock.now());
        let Some(service) = self.services.get(key) else {
            self.triggers.forget(key);
            self.expectations.forget(key);
            // Also when it does not show yet: it may just have been made.
            absent(self.api(key).delete(&key.name, &DeleteParams::default()).await)?;
            return Ok(Next::Change);
        };
        if pod::selector(&service).is_none() {
            return Ok(Next::Change);
        }
        if !settled {
            return Err(Error::Stale(format!("the Endpoints {key}")));
        }
        let pods = pod::selected(&self.pods, &service);
        let trigger = self.triggers.next(key, &service, &pods);
        let current = self.endpoints.get(key);
        if let Some(wanted) = plan::plan(&service, &pods, current.as_deref(), trigger) {
            self.write(key, &wanted, current.is_none()).await?;
        }
        Ok(Next::Change)
    }
}

impl EndpointsOfServices {
    fn api(&self, key: &Key) -> Api<Endpoints> {
        Api::namespaced(self.client.clone(), &key.namespace)
    }

    async fn write(&self, key: &Key, wanted: &Endpoints, new: bool) -> Result<(), Error> {
        let params = PostParams::default();
        let written = match new {
            true => self.api(key).create(&params, wanted).await,
            false => self.api(key).replace(&key.name, &params, wanted).await,
        };
        match written.map_err(Error::from) {
            Ok(written) => {
                self.expectations.created(key, &written, &self.endpoints, self.clock.now());
                Ok(())
            }
            Err(error) if error.is_namespace_terminating() => Err(error),
            Err(error) => {
                let (reason, text) = match new {
                    true => (
                        "FailedToCreateEndpoint",
                        format!("Failed to create endpoint for service {key}: {error}"),
                    ),
                    false => ("FailedToUpdateEndpoint", format!("Failed to update endpoint {key}: {error}")),
                };
                self.events.event(wanted, Severity::Warning, reason, text);
                Err(error)
            }
        }
    }
}
