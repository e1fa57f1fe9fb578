//! Keeps the EndpointSlices of services that select their pods.
//!
//! Start at [`plan::plan`]. What a pod is to a service is in [`pod`], how
//! endpoints are put into slices in [`packing`].

mod hints;
pub(crate) mod packing;
mod plan;
pub(crate) mod pod;
pub(crate) mod slice;
#[cfg(test)]
mod tests;
mod topology;
pub(crate) mod trigger;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::{
    core::v1::{Node, Pod, Service},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
};
use parking_lot::Mutex;

use self::{
    packing::Changes,
    slice::{MANAGED_BY, SERVICE_NAME},
    topology::{Served, Shares},
    trigger::{TriggerTimes, annotate},
};
use crate::framework::{
    Change, Clock, Error, Expectations, Key, Next, Queue, Reconcile, Recorder, Setup, Severity, Store, Style,
    absent,
};

const NAME: &str = "endpointslice-controller";
const CONTROLLER_NAME: &str = "endpointslice-controller.k8s.io";
const WORKERS: usize = 5;
/// How long changes of slices by others are gathered.
const GATHERED: Duration = Duration::from_secs(1);
/// Time for which changes of nodes are gathered.
const ZONES_GATHERED: Duration = Duration::from_millis(200);
/// The name of the index of slices by their service and who keeps them.
const BY_SERVICE: &str = "service and manager";

/// Puts the controller in.
pub(crate) fn start(setup: &mut Setup) {
    let services = setup.reflect::<Service>();
    let pods = setup.reflect::<Pod>();
    let nodes = setup.reflect::<Node>();
    let slices = setup.reflect::<EndpointSlice>();
    index_by_service(&slices.store());
    let queue = Queue::new();
    let on_service = queue.clone();
    services.on_change(move |change| {
        on_service.extend(change.sides().last().map(|service| Key::of(&service.metadata)));
    });
    let (on_pod, known) = (queue.clone(), services.store());
    pods.on_change(move |change| on_pod.extend(pod::concerned(change, &known)));
    let on_slice = queue.clone();
    slices.on_change(move |change| {
        owners(change, CONTROLLER_NAME).into_iter().for_each(|key| on_slice.add_after(key, GATHERED));
    });
    let zones = Queue::new();
    let on_node = zones.clone();
    nodes.on_change(move |change| {
        let seen = |node: &Node| (topology::is_node_ready(node), node.metadata.labels.clone());
        if change.before.map(|node| seen(node)) != change.after.map(|node| seen(node)) {
            // Where nodes come by the thousand, one look at all of them will do.
            on_node.add_after("zones", ZONES_GATHERED);
        }
    });
    let topology = Arc::<Mutex<Topology>>::default();
    let loop_of_zones = Zones { nodes: nodes.store(), topology: topology.clone(), services: queue.clone() };
    setup.reconcile("endpointslice-topology", zones, 1, loop_of_zones);
    let controller = EndpointSlices {
        writer: Writer::new(setup, slices.store()),
        events: setup.recorder("endpoint-slice-controller", Style::Counted),
        services: services.store(),
        pods: pods.store(),
        nodes: nodes.store(),
        triggers: TriggerTimes::default(),
        topology,
    };
    setup.reconcile(NAME, queue, WORKERS, controller);
}

/// Keeps `slices` indexed by their service and who keeps them.
pub(crate) fn index_by_service(slices: &Store<EndpointSlice>) {
    slices.index(BY_SERVICE, |slice| {
        let label = |name: &str| slice.metadata.labels.as_ref()?.get(name).map(String::as_str);
        let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
        match (label(SERVICE_NAME), label(MANAGED_BY)) {
            (Some(service), Some(manager)) => vec![index_value(namespace, service, manager)],
            _ => Vec::new(),
        }
    });
}

fn index_value(namespace: &str, service: &str, manager: &str) -> String {
    format!("{namespace}/{service}/{manager}")
}

/// The services whose slices, as far as `manager` keeps them, a change touched.
pub(crate) fn owners(change: &Change<'_, EndpointSlice>, manager: &str) -> Vec<Key> {
    let owner = |slice: &Arc<EndpointSlice>| {
        let labels = slice.metadata.labels.as_ref()?;
        labels.get(MANAGED_BY).filter(|by| *by == manager)?;
        let name = labels.get(SERVICE_NAME).filter(|name| !name.is_empty())?;
        Some(Key::namespaced(slice.metadata.namespace.clone().unwrap_or_default(), name.clone()))
    };
    change.sides().filter_map(owner).collect()
}

/// What is known of zones, and of the services whose endpoints have hints by them.
#[derive(Default)]
struct Topology {
    shares: Option<Shares>,
    served: HashMap<Key, BTreeMap<&'static str, Served>>,
}

/// Follows the nodes, and sees which services they leave with too little.
struct Zones {
    nodes: Arc<Store<Node>>,
    topology: Arc<Mutex<Topology>>,
    services: Queue<Key>,
}

impl Reconcile<&'static str> for Zones {
    async fn reconcile(&self, _: &&'static str) -> Result<Next, Error> {
        let nodes = self.nodes.all();
        let shares = topology::shares(nodes.iter().map(|node| &**node));
        let mut topology = self.topology.lock();
        let overloaded = topology.served.iter().filter(|(_, served)| {
            served.values().any(|served| topology::overloaded(served, shares.as_ref()))
        });
        self.services.extend(overloaded.map(|(key, _)| key.clone()));
        topology.shares = shares;
        Ok(Next::Change)
    }
}

/// Writes slices, and knows when its writes show.
pub(crate) struct Writer {
    client: Client,
    clock: Clock,
    slices: Arc<Store<EndpointSlice>>,
    expectations: Expectations,
}

impl Writer {
    /// A writer of what `slices` shows.
    pub(crate) fn new(setup: &Setup, slices: Arc<Store<EndpointSlice>>) -> Self {
        let expectations = Expectations::default();
        Self { client: setup.client.clone(), clock: setup.clock.clone(), slices, expectations }
    }

    /// The slices of the service at `key` that `manager` keeps.
    /// # Errors
    /// They do not show yet what was written last.
    pub(crate) fn slices(&self, key: &Key, manager: &str) -> Result<Vec<Arc<EndpointSlice>>, Error> {
        if !self.expectations.satisfied(key, &self.slices, self.clock.now()) {
            return Err(Error::Stale(format!("the EndpointSlices of {key}")));
        }
        let mut slices = self.slices.indexed(BY_SERVICE, &index_value(&key.namespace, &key.name, manager));
        slices.retain(|slice| slice.metadata.deletion_timestamp.is_none());
        Ok(slices)
    }

    /// Forgets what was written for `key`.
    pub(crate) fn forget(&self, key: &Key) {
        self.expectations.forget(key);
    }

    /// Writes `changes` for the `kind` at `key`.
    pub(crate) async fn write(&self, key: &Key, kind: &str, changes: &Changes) -> Result<(), Error> {
        let api = Api::<EndpointSlice>::namespaced(self.client.clone(), &key.namespace);
        let failed = |act: String, error: Error| match error.is_namespace_terminating() {
            true => error,
            false => Error::Incomplete(format!("failed to {act} for {kind} {key}: {error}")),
        };
        for slice in &changes.create {
            let created = api.create(&PostParams::default(), slice).await.map_err(Error::from);
            let created = created.map_err(|error| failed("create EndpointSlice".into(), error))?;
            self.expectations.created(key, &created, &self.slices, self.clock.now());
        }
        for slice in &changes.update {
            let name = slice.metadata.name.clone().unwrap_or_default();
            let updated = api.replace(&name, &PostParams::default(), slice).await.map_err(Error::from);
            let updated = updated.map_err(|error| failed(format!("update {name} EndpointSlice"), error))?;
            self.expectations.created(key, &updated, &self.slices, self.clock.now());
        }
        for slice in &changes.delete {
            let name = slice.metadata.name.clone().unwrap_or_default();
            let deleted = absent(api.delete(&name, &DeleteParams::default()).await);
            deleted.map_err(|error| failed(format!("delete {name} EndpointSlice"), error))?;
            self.expectations.deleted(key, &**slice, self.clock.now());
        }
        Ok(())
    }
}

struct EndpointSlices {
    writer: Writer,
    events: Recorder,
    services: Arc<Store<Service>>,
    pods: Arc<Store<Pod>>,
    nodes: Arc<Store<Node>>,
    triggers: TriggerTimes,
    topology: Arc<Mutex<Topology>>,
}

impl Reconcile<Key> for EndpointSlices {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(service) = self.services.get(key) else {
            self.triggers.forget(key);
            self.writer.forget(key);
            self.topology.lock().served.remove(key);
            return Ok(Next::Change);
        };
        if pod::selector(&service).is_none() {
            return Ok(Next::Change);
        }
        let slices = self.writer.slices(key, CONTROLLER_NAME)?;
        let observed = self.observe(key, service, slices);
        let trigger = self.triggers.next(key, &observed.service, &observed.pods);
        let outcome = self.execute(key, plan::plan(&observed), &observed.service, trigger).await;
        if let Err(error) = &outcome
            && !error.is_namespace_terminating()
        {
            let text = format!("Error updating Endpoint Slices for Service {key}: {error}");
            self.events.event(&*observed.service, Severity::Warning, "FailedToUpdateEndpointSlices", text);
        }
        outcome.map(|()| Next::Change)
    }
}

impl EndpointSlices {
    fn observe(&self, key: &Key, service: Arc<Service>, slices: Vec<Arc<EndpointSlice>>) -> plan::Observed {
        let pods = pod::selected(&self.pods, &service);
        let on = pods.iter().filter_map(|pod| crate::pod::node(pod));
        let nodes = on.filter_map(|name| Some((name.to_owned(), self.nodes.get(&Key::cluster(name))?)));
        let nodes = nodes.collect();
        let topology = self.topology.lock();
        let hinted = topology.served.contains_key(key);
        plan::Observed { service, pods, nodes, slices, shares: topology.shares.clone(), hinted }
    }

    async fn execute(
        &self,
        key: &Key,
        mut plan: plan::Plan,
        service: &Service,
        trigger: Option<Timestamp>,
    ) -> Result<(), Error> {
        for slice in plan.changes.create.iter_mut().chain(&mut plan.changes.update) {
            annotate(&mut slice.metadata.annotations, trigger);
        }
        {
            let mut topology = self.topology.lock();
            match plan.served.is_empty() {
                true => topology.served.remove(key),
                false => topology.served.insert(key.clone(), plan.served),
            };
        }
        let written = self.writer.write(key, "Service", &plan.changes).await;
        for (severity, reason, text) in plan.events {
            self.events.event(service, severity, reason, text);
        }
        written?;
        match plan.problems.is_empty() {
            true => Ok(()),
            false => Err(Error::Incomplete(plan.problems.join(", "))),
        }
    }
}
