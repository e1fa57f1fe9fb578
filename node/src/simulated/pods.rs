//! Carries out what [`pod_worker::step`] decides for the pods of all nodes.

use std::{collections::HashMap, sync::Arc, time::Duration};

use coracle_controllers::{
    framework::{Clock, Error, Key, Next, Queue, Reconcile, Recorder, Setup, Severity, Store, Style},
    pod,
};
use coracle_crds::stage::Kind;
use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod, PodStatus};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{
    addresses::{self, Addresses},
    admission,
    fleet::{Fleet, is_stopped},
    references::References,
};
use crate::{
    pod_worker::{self, Obstacles, Place, Step},
    stage::{
        Course, Stage, Stages,
        player::{Played, Player},
        revision,
    },
};

const WORKERS: usize = 64;

/// Puts the pods in.
pub(super) fn start(setup: &mut Setup, fleet: Arc<Fleet>, stages: Arc<Stages>) {
    let reflector = setup.reflect_at_least::<Pod>("spec.nodeName!=");
    let nodes = setup.reflect::<Node>();
    pod::index_by_node(&reflector.store());
    let queue = Queue::new();
    let pods = Arc::new(Pods {
        client: setup.client.clone(),
        clock: setup.clock.clone(),
        events: setup.recorder("kubelet", Style::Counted).modest(),
        player: Player { clock: setup.clock.clone(), events: setup.recorder("kubelet", Style::Counted) },
        fleet,
        stages,
        store: reflector.store(),
        nodes: nodes.store(),
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
    let (on_node, known) = (queue.clone(), pods.clone());
    nodes.on_change(move |change| {
        // Pods that came before their node was known, and those of one that goes on.
        let begins =
            |node: &Arc<Node>| change.before.is_none_or(|before| is_stopped(before)) && !is_stopped(node);
        let ours = |node: &Node| {
            node.metadata.name.as_deref().is_some_and(|name| known.fleet.number(name).is_some())
        };
        if let Some(node) = change.after.filter(|node| begins(node) && ours(node)) {
            let name = node.metadata.name.as_deref().unwrap_or_default();
            for pod in known.store.indexed(pod::BY_NODE, name) {
                known.see(&pod, false);
                on_node.add(Key::of(&pod.metadata));
            }
        }
    });
    let (on_stage, known) = (queue.clone(), pods.clone());
    pods.stages.on_change(move |stage| {
        if stage.is_for(Kind::Pod) {
            let pods = known.store.all().into_iter();
            let ours = pods.filter(|pod| stage.may_select(&pod.metadata) && known.number(pod).is_some());
            on_stage.extend(ours.map(|pod| Key::of(&pod.metadata)));
        }
    });
    setup.reconcile("simulated-pods", queue, WORKERS, Worker(pods));
}

struct Pods {
    client: Client,
    clock: Clock,
    events: Recorder,
    player: Player,
    fleet: Arc<Fleet>,
    stages: Arc<Stages>,
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
        self.fleet.number(host(pod)?)
    }

    fn see(&self, pod: &Pod, gone: bool) {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        if gone {
            self.addresses.lock().free(uid);
            self.written.lock().remove(uid);
            self.stages.forget(uid);
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
            Some(ours) if revision(&**ours) > revision(&*seen) => Some(ours.clone()),
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
        // A node that has stopped does nothing for its pods; they are looked at when it goes on.
        if host(&pod).is_some_and(|name| self.fleet.is_silent(name)) {
            return Ok(Next::Change);
        }
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let pod_ip = self.addresses.lock().of(&uid);
        let pod_ip = pod_ip.ok_or_else(|| Error::Invalid("no pod address is left".into()))?;
        let mut place =
            Place { host_ip: addresses::of_node(number), pod_ip, obstacles: Obstacles::default() };
        match self.stages.course(Kind::Pod, &*pod, || variables(&place)) {
            Course::Free => {}
            Course::Wait(wait) => return Ok(wait.map_or(Next::Change, Next::After)),
            Course::Play(stage) => return self.play(key, &pod, &place, &stage).await,
        }
        place.obstacles = self.obstacles(&pod).await?;
        let step = pod_worker::step(&pod, &place, self.clock.now());
        if let Some(status) = &step.status {
            self.write(key, &pod, status).await?;
        }
        self.tell_all(&pod, &step);
        if step.remove {
            self.remove(key, &uid).await?;
        }
        // It may have gone meanwhile, and then nothing else frees what it had.
        if self.store.get(key).is_none_or(|seen| seen.metadata.uid != pod.metadata.uid) {
            self.see(&pod, true);
        }
        Ok(step.again.map_or(Next::Change, Next::After))
    }

    /// A Stage is played for the pod: what it patches, then what it does to containers.
    async fn play(&self, key: &Key, pod: &Pod, place: &Place, stage: &Stage) -> Result<Next, Error> {
        let api = Api::<Pod>::namespaced(self.client.clone(), &key.namespace);
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let written = match self.player.play(&api, stage, pod, variables(place)).await {
            Ok(Played::Kept(written)) => written,
            Ok(Played::Gone) => {
                self.stages.played(stage, uid, 0);
                return Ok(Next::Change);
            }
            Ok(Played::Lost) => return Err(Error::Stale(format!("pod {key}"))),
            Err(error) => {
                self.stages.failed(stage, uid, error.to_string());
                return Err(error);
            }
        };
        let mut newest = written.as_ref().map_or(0, revision);
        if !stage.exits.is_empty() {
            let subject = written.as_ref().unwrap_or(pod);
            let step = pod_worker::end(subject, place, &stage.exits, self.clock.now());
            if let Some(status) = &step.status {
                newest = newest.max(self.write(key, subject, status).await?);
            }
            self.tell_all(pod, &step);
        } else if let Some(written) = written {
            self.keep(written);
        }
        self.stages.played(stage, uid, newest);
        // Where nothing was written, nothing else would bring it back.
        let unchanged = newest == 0 || newest == revision(pod);
        let at_once = stage.looks_on() && unchanged;
        Ok(if at_once { Next::After(Duration::from_millis(1)) } else { Next::Change })
    }

    /// What keeps a pod that has not started yet from starting, or one that
    /// runs from being given what it asks for.
    async fn obstacles(&self, pod: &Arc<Pod>) -> Result<Obstacles, Error> {
        let status = pod.status.as_ref();
        let pending = status.is_none_or(|s| matches!(s.phase.as_deref(), None | Some("" | "Pending")));
        if pod.metadata.deletion_timestamp.is_some() {
            return Ok(Obstacles::default());
        }
        let name = host(pod).unwrap_or_default();
        let node = || self.nodes.get(&Key { namespace: String::new(), name: name.to_owned() });
        if !pending {
            let resized = pod_worker::is_resized(pod).then(node).flatten();
            let resize = resized.and_then(|node| {
                admission::short_of_room(pod, &node, &self.store.indexed(pod::BY_NODE, name))
            });
            return Ok(Obstacles { resize, ..Obstacles::default() });
        }
        if status.is_none_or(|status| status.start_time.is_none()) {
            let node = node();
            let others = self.store.indexed(pod::BY_NODE, name);
            if let Some(rejection) = node.and_then(|node| admission::reject(pod, &node, &others)) {
                return Ok(Obstacles { rejection: Some(rejection), ..Obstacles::default() });
            }
        }
        self.references.missing(pod).await
    }

    /// Writes the status, and returns the revision that came of it.
    async fn write(&self, key: &Key, pod: &Pod, status: &PodStatus) -> Result<u64, Error> {
        let api = Api::<Pod>::namespaced(self.client.clone(), &key.namespace);
        let patch =
            Patch::Strategic(json!({"metadata": {"uid": pod.metadata.uid}, "status": patch(status, pod)}));
        match api.patch_status(&key.name, &PatchParams::default(), &patch).await.map_err(Error::from) {
            Ok(written) => {
                let revision = revision(&written);
                self.keep(written);
                Ok(revision)
            }
            // Gone, or another pod of that name: the watch tells.
            Err(error) if error.is_not_found() || error.is_conflict() => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Remembers what was written until the store shows it.
    fn keep(&self, mut written: Pod) {
        written.metadata.managed_fields = None;
        let uid = written.metadata.uid.clone().unwrap_or_default();
        self.written.lock().insert(uid, Arc::new(written));
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

    fn tell_all(&self, pod: &Pod, step: &Step) {
        for note in step.notes.iter().filter(|note| note.warning || self.fleet.config.pod_events) {
            self.tell(pod, note);
        }
    }

    fn tell(&self, pod: &Pod, note: &pod_worker::Note) {
        let host = host(pod).unwrap_or_default().to_owned();
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
/// no longer has must be taken out by name, and so must a condition.
fn patch(status: &PodStatus, pod: &Pod) -> Value {
    let mut patch = json!(status);
    let before = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let there = |type_: &str| status.conditions.iter().flatten().any(|it| it.type_ == type_);
    let gone: Vec<Value> = before
        .filter(|it| !there(&it.type_))
        .map(|it| json!({"type": it.type_, "$patch": "delete"}))
        .collect();
    for condition in patch["conditions"].as_array_mut().into_iter().flatten() {
        for field in ["reason", "message"] {
            if condition.get(field).is_none() {
                condition[field] = Value::Null;
            }
        }
    }
    if let Some(conditions) = patch["conditions"].as_array_mut() {
        conditions.extend(gone);
    }
    patch
}

/// What expressions of Stages see beside the pod.
fn variables(place: &Place) -> Vec<(&'static str, String)> {
    vec![("hostIP", place.host_ip.clone()), ("podIP", place.pod_ip.clone())]
}

/// The name of the node that the pod is on.
fn host(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}
