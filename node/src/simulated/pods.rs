//! Carries out what [`pod_worker::step`] decides for the pods of all nodes.

use std::{collections::HashMap, sync::Arc};

use coracle_controllers::{
    framework::{Clock, Error, Key, Next, Queue, Reconcile, Recorder, Setup, Severity, Store, Style},
    pod,
};
use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod, PodStatus};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{
    Fleet,
    addresses::{self, Addresses},
    admission,
    references::References,
};
use crate::pod_worker::{self, Obstacles, Place};

const WORKERS: usize = 64;

/// Puts the pods in.
pub(super) fn start(setup: &mut Setup, fleet: Arc<Fleet>) {
    let reflector = setup.reflect_at_least::<Pod>("spec.nodeName!=");
    let nodes = setup.reflect::<Node>().store();
    pod::index_by_node(&reflector.store());
    let queue = Queue::new();
    let pods = Arc::new(Pods {
        client: setup.client.clone(),
        clock: setup.clock.clone(),
        events: setup.recorder("kubelet", Style::Counted).modest(),
        fleet,
        store: reflector.store(),
        nodes,
        references: References::new(setup.client.clone(), setup.clock.clone()),
        addresses: Mutex::default(),
        written: Mutex::default(),
    });
    let (watching, on_pod) = (pods.clone(), queue.clone());
    reflector.on_change(move |change| {
        if let Some(pod) = change.sides().last().filter(|pod| watching.number(pod).is_some()) {
            watching.see(pod, change.after.is_none());
            on_pod.add(Key::of(&pod.metadata));
        }
    });
    setup.reconcile("simulated-pods", queue, WORKERS, Worker(pods));
}

struct Pods {
    client: Client,
    clock: Clock,
    events: Recorder,
    fleet: Arc<Fleet>,
    store: Arc<Store<Pod>>,
    nodes: Arc<Store<Node>>,
    references: References,
    addresses: Mutex<Addresses>,
    /// Pods as they were written and do not show in the store yet, by uid.
    written: Mutex<HashMap<String, Arc<Pod>>>,
}

struct Worker(Arc<Pods>);

impl Reconcile<Key> for Worker {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        self.0.work(key).await
    }
}

impl Pods {
    /// The number of the node that the pod is on, if it is one of these.
    fn number(&self, pod: &Pod) -> Option<usize> {
        self.fleet.numbers.get(pod.spec.as_ref()?.node_name.as_deref()?).copied()
    }

    fn see(&self, pod: &Pod, gone: bool) {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        if gone {
            self.addresses.lock().free(uid);
            self.written.lock().remove(uid);
        } else if let Some(address) = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()) {
            self.addresses.lock().keep(uid, address);
        }
    }

    /// The pod as last seen or written, whichever is newer.
    fn current(&self, key: &Key) -> Option<Arc<Pod>> {
        let seen = self.store.get(key)?;
        let uid = seen.metadata.uid.as_deref().unwrap_or_default();
        let mut written = self.written.lock();
        match written.get(uid) {
            Some(ours) if revision(ours) > revision(&seen) => Some(ours.clone()),
            Some(_) => {
                written.remove(uid);
                Some(seen)
            }
            None => Some(seen),
        }
    }

    async fn work(&self, key: &Key) -> Result<Next, Error> {
        let Some(pod) = self.current(key) else { return Ok(Next::Change) };
        let Some(number) = self.number(&pod) else { return Ok(Next::Change) };
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let pod_ip = self.addresses.lock().of(&uid);
        let pod_ip = pod_ip.ok_or_else(|| Error::Invalid("no pod address is left".into()))?;
        let obstacles = self.obstacles(&pod).await?;
        let place = Place { host_ip: addresses::of_node(number), pod_ip, obstacles };
        let step = pod_worker::step(&pod, &place, self.clock.now());
        if let Some(status) = &step.status {
            self.write(key, &pod, status).await?;
        }
        for note in step.notes.iter().filter(|note| note.warning || self.fleet.config.pod_events) {
            self.tell(&pod, number, note);
        }
        if step.remove {
            self.remove(key, &uid).await?;
        }
        // It may have gone meanwhile, and then nothing else frees what it had.
        if self.store.get(key).is_none_or(|seen| seen.metadata.uid != pod.metadata.uid) {
            self.see(&pod, true);
        }
        Ok(step.again.map_or(Next::Change, Next::After))
    }

    /// What keeps a pod that has not started yet from starting.
    async fn obstacles(&self, pod: &Arc<Pod>) -> Result<Obstacles, Error> {
        let status = pod.status.as_ref();
        let pending = status.is_none_or(|s| matches!(s.phase.as_deref(), None | Some("" | "Pending")));
        if !pending || pod.metadata.deletion_timestamp.is_some() {
            return Ok(Obstacles::default());
        }
        if status.is_none_or(|status| status.start_time.is_none()) {
            let name = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
            let node = self.nodes.get(&Key { namespace: String::new(), name: name.to_owned() });
            let others = self.store.indexed(pod::BY_NODE, name);
            if let Some(rejection) = node.and_then(|node| admission::reject(pod, &node, &others)) {
                return Ok(Obstacles { rejection: Some(rejection), ..Obstacles::default() });
            }
        }
        self.references.missing(pod).await
    }

    async fn write(&self, key: &Key, pod: &Pod, status: &PodStatus) -> Result<(), Error> {
        let api = Api::<Pod>::namespaced(self.client.clone(), &key.namespace);
        let patch = Patch::Strategic(json!({"metadata": {"uid": pod.metadata.uid}, "status": patch(status)}));
        match api.patch_status(&key.name, &PatchParams::default(), &patch).await.map_err(Error::from) {
            Ok(mut written) => {
                written.metadata.managed_fields = None;
                let uid = written.metadata.uid.clone().unwrap_or_default();
                self.written.lock().insert(uid, Arc::new(written));
                Ok(())
            }
            // Gone, or another pod of that name: the watch tells.
            Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn remove(&self, key: &Key, uid: &str) -> Result<(), Error> {
        let api = Api::<Pod>::namespaced(self.client.clone(), &key.namespace);
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
            ..DeleteParams::default()
        };
        match api.delete(&key.name, &params).await.map_err(Error::from) {
            Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error),
            _ => Ok(()),
        }
    }

    fn tell(&self, pod: &Pod, number: usize, note: &pod_worker::Note) {
        let host = self.fleet.names.get(number).cloned().unwrap_or_default();
        let init = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
        let ephemeral = pod.spec.iter().flat_map(|spec| spec.ephemeral_containers.iter().flatten());
        let list = if init.into_iter().any(|c| c.name == note.container) {
            "initContainers"
        } else if ephemeral.into_iter().any(|c| c.name == note.container) {
            "ephemeralContainers"
        } else {
            "containers"
        };
        let regarding = ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            resource_version: pod.metadata.resource_version.clone(),
            field_path: (!note.container.is_empty()).then(|| format!("spec.{list}{{{}}}", note.container)),
        };
        let severity = if note.warning { Severity::Warning } else { Severity::Normal };
        self.events.on_host(host).act(regarding, severity, note.reason, "", note.message.clone());
    }
}

/// `status` as a patch: conditions are merged one by one, so what a condition
/// no longer has must be taken out by name.
fn patch(status: &PodStatus) -> Value {
    let mut patch = json!(status);
    for condition in patch["conditions"].as_array_mut().into_iter().flatten() {
        for field in ["reason", "message"] {
            if condition.get(field).is_none() {
                condition[field] = Value::Null;
            }
        }
    }
    patch
}

fn revision(pod: &Pod) -> u64 {
    pod.metadata.resource_version.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0)
}
