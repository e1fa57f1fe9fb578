//! Drives pods away from nodes with NoExecute taints that they do not
//! tolerate, or not for ever.

use std::{collections::HashMap, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod, Taint, Toleration};
use kube::Client;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    drive_away::drive_away,
    framework::{Clock, Error, Key, Next, Queue, Reconcile, Recorder, Setup, Severity, Store, Style},
    pod,
    toleration::tolerates,
};

/// What a pod says that is deleted.
const DRIVEN_AWAY: (&str, &str) =
    ("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint");
const WORKERS: usize = 8;
const NAME: &str = "taint-eviction-controller";

/// Puts the controller in.
pub(crate) fn start(setup: &mut Setup) {
    let nodes = setup.reflect::<Node>();
    let pods = setup.reflect::<Pod>();
    pod::index_by_node(&pods.store());
    let queue = Queue::new();
    let eviction = Arc::new(TaintEviction {
        client: setup.client.clone(),
        clock: setup.clock.clone(),
        events: setup.recorder(NAME, Style::Counted),
        nodes: nodes.store(),
        pods: pods.store(),
        marked: Mutex::default(),
    });
    let (on_pod, watching) = (queue.clone(), eviction.clone());
    pods.on_change(move |change| {
        let spec = |pod: &Arc<Pod>| pod.spec.as_ref().map(|s| (s.node_name.clone(), s.tolerations.clone()));
        if change.before.and_then(spec) == change.after.and_then(spec) {
            return;
        }
        // Most nodes drive nobody away.
        if let Some(pod) = change.sides().last().filter(|pod| watching.concerns(pod)) {
            on_pod.add(Key::of(&pod.metadata));
        }
    });
    let (on_node, of_node) = (queue.clone(), pods.store());
    nodes.on_change(move |change| {
        let driving = |node: Option<&Arc<Node>>| node.map(|node| no_execute(node)).unwrap_or_default();
        let Some(node) = change.after.filter(|_| driving(change.before) != driving(change.after)) else {
            return;
        };
        let pods = of_node.indexed(pod::BY_NODE, node.metadata.name.as_deref().unwrap_or_default());
        on_node.extend(pods.iter().map(|pod| Key::of(&pod.metadata)));
    });
    setup.reconcile(NAME, queue, WORKERS, Worker(eviction));
}

fn no_execute(node: &Node) -> Vec<Taint> {
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    taints.filter(|taint| taint.effect == "NoExecute").cloned().collect()
}

/// How long a pod may stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stay {
    Ever,
    For(Duration),
}

/// How long a pod with `tolerations` may stay on a node with `taints`: the
/// shortest time of the tolerations that are used.
fn stay(taints: &[Taint], tolerations: &[Toleration]) -> Stay {
    let mut stay = Stay::Ever;
    for taint in taints {
        let Some(used) = tolerations.iter().find(|toleration| tolerates(toleration, taint)) else {
            return Stay::For(Duration::ZERO);
        };
        if let Some(seconds) = used.toleration_seconds {
            let time = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
            stay = match stay {
                Stay::For(shorter) if shorter <= time => stay,
                _ => Stay::For(time),
            };
        }
    }
    stay
}

/// A pod that has to go.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Marked {
    uid: Option<String>,
    due: Instant,
    /// It was deleted; kept so that this is done once.
    gone: bool,
}

struct TaintEviction {
    client: Client,
    clock: Clock,
    events: Recorder,
    nodes: Arc<Store<Node>>,
    pods: Arc<Store<Pod>>,
    marked: Mutex<HashMap<Key, Marked>>,
}

struct Worker(Arc<TaintEviction>);

impl Reconcile<Key> for Worker {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        self.0.look(key).await
    }
}

impl TaintEviction {
    fn concerns(&self, pod: &Pod) -> bool {
        let node = pod::node(pod).and_then(|name| self.nodes.get(&Key::cluster(name)));
        node.is_none_or(|node| !no_execute(&node).is_empty())
            || self.marked.lock().contains_key(&Key::of(&pod.metadata))
    }

    async fn look(&self, key: &Key) -> Result<Next, Error> {
        let Some(pod) = self.pods.get(key) else {
            self.spare(key);
            return Ok(Next::Change);
        };
        if self.marked.lock().get(key).is_some_and(|marked| marked.uid != pod.metadata.uid) {
            self.spare(key);
        }
        let Some(node) = pod::node(&pod).and_then(|name| self.nodes.get(&Key::cluster(name))) else {
            // Its node is gone; a pod that was to go still is.
            return self.go_when_due(key, &pod).await;
        };
        let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
        match stay(&no_execute(&node), tolerations) {
            Stay::Ever => {
                self.spare(key);
                return Ok(Next::Change);
            }
            Stay::For(Duration::ZERO) => self.mark(key, &pod, Duration::ZERO),
            // Once it is settled when it goes, another toleration changes nothing.
            Stay::For(time) if !self.marked.lock().contains_key(key) => self.mark(key, &pod, time),
            Stay::For(_) => {}
        }
        self.go_when_due(key, &pod).await
    }

    fn mark(&self, key: &Key, pod: &Pod, time: Duration) {
        let mut marked = self.marked.lock();
        if marked.get(key).is_some_and(|marked| marked.gone) {
            return;
        }
        let now = Instant::now();
        let due = now.checked_add(time).unwrap_or(now + Duration::from_secs(86_400 * 365));
        let sooner = marked.insert(key.clone(), Marked { uid: pod.metadata.uid.clone(), due, gone: false });
        drop(marked);
        if sooner.is_some_and(|before| before.due > due) {
            self.tell(key, "Cancelling deletion of Pod");
        }
    }

    /// The pod does not go, or has gone by itself.
    fn spare(&self, key: &Key) {
        if self.marked.lock().remove(key).is_some_and(|marked| !marked.gone) {
            self.tell(key, "Cancelling deletion of Pod");
        }
    }

    async fn go_when_due(&self, key: &Key, pod: &Pod) -> Result<Next, Error> {
        let Some(marked) = self.marked.lock().get(key).cloned() else { return Ok(Next::Change) };
        if marked.gone {
            return Ok(Next::Change);
        }
        let left = marked.due.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            return Ok(Next::After(left));
        }
        self.tell(key, "Marking for deletion Pod");
        drive_away(&self.client, pod, DRIVEN_AWAY, &self.clock).await?;
        if let Some(marked) = self.marked.lock().get_mut(key) {
            marked.gone = true;
        }
        Ok(Next::Change)
    }

    fn tell(&self, key: &Key, what: &str) {
        let regarding = ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            namespace: Some(key.namespace.clone()),
            name: Some(key.name.clone()),
            ..ObjectReference::default()
        };
        let message = format!("{what} {}/{}", key.namespace, key.name);
        self.events.act(regarding, Severity::Normal, "TaintManagerEviction", "", message);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn how_long_pods_stay() {
        let check = |taints: &[&str], tolerations: Value, expected: Option<u64>| {
            let taints: Vec<Taint> = taints
                .iter()
                .map(|key| Taint { key: (*key).into(), effect: "NoExecute".into(), ..Taint::default() })
                .collect();
            let parsed: Vec<Toleration> = serde_json::from_value(tolerations.clone()).unwrap();
            let expected = expected.map_or(Stay::Ever, |seconds| Stay::For(Duration::from_secs(seconds)));
            assert_eq!(stay(&taints, &parsed), expected, "{taints:?} {tolerations}");
        };
        let of = |key: &str, seconds: Option<i64>| json!({"key": key, "operator": "Exists", "tolerationSeconds": seconds});
        check(&[], json!([]), None);
        check(&["a"], json!([]), Some(0));
        check(&["a"], json!([of("a", None)]), None);
        check(&["a"], json!([of("a", Some(300))]), Some(300));
        check(&["a"], json!([of("a", Some(-5))]), Some(0));
        check(&["a", "b"], json!([of("a", Some(300)), of("b", Some(60))]), Some(60));
        check(&["a", "b"], json!([of("a", Some(300)), of("b", None)]), Some(300));
        check(&["a", "b"], json!([of("a", None)]), Some(0));
        // The first that fits is the one that is used.
        check(&["a"], json!([of("a", Some(7)), of("a", None)]), Some(7));
    }
}
