//! Says of each APIService whether who serves it can be reached. Upstream's
//! API server does this itself; here whoever runs the API server runs this
//! loop beside it.
//!
//! Requests are not routed to other servers here: one that has all that it
//! needs still fails the last check, and says why.

use std::{sync::Arc, time::Duration};

use k8s_openapi::{
    api::{core::v1::Service, discovery::v1::EndpointSlice},
    kube_aggregator::pkg::apis::apiregistration::v1::{APIService, APIServiceCondition, ServiceReference},
};
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
};

use crate::framework::{Clock, Error, Key, Next, Queue, Reconcile, Setup, Store, absent};

const NAME: &str = "api-service-availability";
const MANAGER: &str = "kube-apiserver";
const AVAILABLE: &str = "Available";
const WORKERS: usize = 1;
/// The index of API services by the service that serves them.
const BY_SERVICE: &str = "service";
/// What may change unseen is looked at again after this long.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// Puts the loop in.
pub fn start(setup: &mut Setup) {
    let known = setup.reflect::<APIService>();
    let services = setup.reflect::<Service>();
    known.store().index(BY_SERVICE, |it| reference(it).map(|it| key(it).to_string()).into_iter().collect());
    let queue = Queue::new();
    let on_change = queue.clone();
    known.on_change(move |change| on_change.extend(change.after.map(|it| Key::of(&it.metadata))));
    let (on_service, of) = (queue.clone(), known.store());
    services.on_change(move |change| {
        let Some(service) = change.sides().last() else { return };
        let served = of.indexed(BY_SERVICE, &Key::of(&service.metadata).to_string());
        on_service.extend(served.iter().map(|it| Key::of(&it.metadata)));
    });
    let availability = Availability {
        client: setup.client.clone(),
        clock: setup.clock.clone(),
        known: known.store(),
        services: services.store(),
    };
    setup.reconcile(NAME, queue, WORKERS, availability);
}

fn reference(it: &APIService) -> Option<&ServiceReference> {
    it.spec.as_ref()?.service.as_ref()
}

fn key(reference: &ServiceReference) -> Key {
    Key::namespaced(
        reference.namespace.clone().unwrap_or_default(),
        reference.name.clone().unwrap_or_default(),
    )
}

struct Availability {
    client: Client,
    clock: Clock,
    known: Arc<Store<APIService>>,
    services: Arc<Store<Service>>,
}

impl Reconcile<Key> for Availability {
    async fn reconcile(&self, name: &Key) -> Result<Next, Error> {
        let Some(found) = self.known.get(name) else { return Ok(Next::Change) };
        let (verdict, next) = match reference(&found) {
            None => (Verdict::local(), Next::Change),
            Some(reference) => {
                let service = self.services.get(&key(reference));
                let slices = match &service {
                    Some(service) if has_cluster_ip(service) => self.slices(&key(reference)).await?,
                    _ => Vec::new(),
                };
                let next = if service.is_some() { Next::After(LOOK_AGAIN) } else { Next::Change };
                (verdict(&found, reference, service.as_deref(), &slices), next)
            }
        };
        if let Some(changed) = changed(&found, verdict, &self.clock) {
            let api = Api::<APIService>::all(self.client.clone());
            let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
            absent(api.replace_status(&name.name, &params, &changed).await)?;
        }
        Ok(next)
    }
}

impl Availability {
    // Live: only clusters with such API services need any, and few of them.
    async fn slices(&self, service: &Key) -> Result<Vec<EndpointSlice>, Error> {
        let labels = format!("kubernetes.io/service-name={}", service.name);
        let api = Api::<EndpointSlice>::namespaced(self.client.clone(), &service.namespace);
        Ok(api.list(&ListParams::default().labels(&labels)).await?.items)
    }
}

/// What is to be said of an API service.
#[derive(Debug, PartialEq)]
struct Verdict {
    status: &'static str,
    reason: &'static str,
    message: String,
}

impl Verdict {
    fn local() -> Self {
        let message = "Local APIServices are always available".to_owned();
        Self { status: "True", reason: "Local", message }
    }

    fn fails(reason: &'static str, message: String) -> Self {
        Self { status: "False", reason, message }
    }
}

fn has_cluster_ip(service: &Service) -> bool {
    let kind = service.spec.as_ref().and_then(|spec| spec.type_.as_deref());
    kind.is_none_or(|kind| kind == "ClusterIP")
}

fn verdict(
    it: &APIService,
    reference: &ServiceReference,
    service: Option<&Service>,
    slices: &[EndpointSlice],
) -> Verdict {
    let Key { namespace, name, .. } = key(reference);
    let at = format!("service/{name} in {namespace:?}");
    let Some(service) = service else {
        return Verdict::fails("ServiceNotFound", format!("{at} is not present"));
    };
    let port = reference.port.unwrap_or(443);
    if has_cluster_ip(service) {
        let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
        let Some(found) = ports.iter().find(|it| it.port == port) else {
            return Verdict::fails("ServicePortError", format!("{at} is not listening on port {port}"));
        };
        if slices.is_empty() {
            return Verdict::fails("EndpointsNotFound", format!("cannot find endpointslices for {at}"));
        }
        let port_name = found.name.as_deref().unwrap_or_default();
        if !slices.iter().any(|slice| serves(slice, port_name)) {
            let text = format!("endpointslices for {at} have no addresses with port name {port_name:?}");
            return Verdict::fails("MissingEndpoints", text);
        }
    }
    let (group, version) = it.spec.as_ref().map_or(("", ""), |spec| {
        (spec.group.as_deref().unwrap_or_default(), spec.version.as_deref().unwrap_or_default())
    });
    let url = format!("https://{name}.{namespace}.svc:{port}/apis/{group}/{version}");
    let text =
        format!("failing or missing response from {url}: requests are not routed to other API servers");
    Verdict::fails("FailedDiscoveryCheck", text)
}

fn serves(slice: &EndpointSlice, port: &str) -> bool {
    let ready = slice
        .endpoints
        .iter()
        .flatten()
        .any(|endpoint| endpoint.conditions.as_ref().and_then(|it| it.ready).unwrap_or(true));
    let ports = slice.ports.as_deref().unwrap_or_default();
    ready && ports.iter().any(|it| it.name.as_deref() == Some(port) && it.port.is_some())
}

/// The API service with that said of it, where something else was said before.
fn changed(it: &APIService, verdict: Verdict, clock: &Clock) -> Option<APIService> {
    let mut changed = it.clone();
    let conditions = changed.status.get_or_insert_default().conditions.get_or_insert_default();
    let Verdict { status, reason, message } = verdict;
    match conditions.iter_mut().find(|condition| condition.type_ == AVAILABLE) {
        Some(condition) => {
            if condition.status != status {
                condition.status = status.to_owned();
                condition.last_transition_time = Some(clock.time());
            }
            condition.reason = Some(reason.to_owned());
            condition.message = Some(message);
        }
        None => conditions.push(APIServiceCondition {
            type_: AVAILABLE.to_owned(),
            status: status.to_owned(),
            last_transition_time: Some(clock.time()),
            reason: Some(reason.to_owned()),
            message: Some(message),
        }),
    }
    (changed.status != it.status).then_some(changed)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_is_said() {
        let it: APIService = of(json!({
            "metadata": { "name": "v1.g" },
            "spec": {
                "group": "g", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1,
                "service": { "namespace": "n", "name": "s", "port": 443 },
            },
        }));
        let check = |service: Value, slices: Value, reason: &str, message: &str| {
            let service: Option<Service> = of(service);
            let slices: Vec<EndpointSlice> = of(slices);
            let found = verdict(&it, reference(&it).unwrap(), service.as_ref(), &slices);
            assert_eq!((found.reason, found.message.as_str()), (reason, message));
        };
        let service = json!({ "spec": { "type": "ClusterIP", "ports": [{ "name": "https", "port": 443 }] } });
        let slice = |ready: bool| {
            json!([{
                "metadata": {}, "addressType": "IPv4", "ports": [{ "name": "https", "port": 8443 }],
                "endpoints": [{ "addresses": ["10.0.0.1"], "conditions": { "ready": ready } }],
            }])
        };
        check(json!(null), json!([]), "ServiceNotFound", "service/s in \"n\" is not present");
        check(
            json!({ "spec": { "ports": [{ "port": 80 }] } }),
            json!([]),
            "ServicePortError",
            "service/s in \"n\" is not listening on port 443",
        );
        check(
            service.clone(),
            json!([]),
            "EndpointsNotFound",
            "cannot find endpointslices for service/s in \"n\"",
        );
        check(
            service.clone(),
            slice(false),
            "MissingEndpoints",
            "endpointslices for service/s in \"n\" have no addresses with port name \"https\"",
        );
        check(
            service,
            slice(true),
            "FailedDiscoveryCheck",
            "failing or missing response from https://s.n.svc:443/apis/g/v1: requests are not routed to other API servers",
        );
    }

    #[test]
    fn said_once() {
        let clock = Clock::system();
        let it: APIService = of(json!({ "metadata": { "name": "v1.g" } }));
        let said = changed(&it, Verdict::local(), &clock).unwrap();
        assert_eq!(changed(&said, Verdict::local(), &clock), None);
        let lost = changed(&said, Verdict::fails("ServiceNotFound", "m".into()), &clock).unwrap();
        let conditions = lost.status.unwrap().conditions.unwrap();
        assert_eq!((conditions.len(), conditions[0].status.as_str()), (1, "False"));
    }
}
