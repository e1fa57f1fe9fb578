//! The pods that have no node yet.
//!
//! A pod is ready, waits out its back-off, waits for something that may help
//! it, is gated, or is being worked on. Bounded by the number of pods.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use coracle_controllers::framework::controller_of;
use k8s_openapi::api::{core::v1::PodResourceClaimStatus, resource::v1::ResourceClaim};
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use crate::{
    extender,
    plugin::{Event, Happening, Plugin},
    pod::PodInfo,
};

/// After this long a pod is tried again although nothing helped it.
const FORGOTTEN: Duration = Duration::from_secs(300);

/// Why a pod goes back into the queue.
pub(crate) enum Back {
    /// These rules rejected it.
    Rejected(BTreeSet<&'static str>),
    /// Something failed that has nothing to do with the pod.
    Failed,
}

/// The queue.
pub(crate) struct Queue {
    /// The rules of each scheduler name.
    profiles: Vec<(String, Vec<Arc<dyn Plugin>>)>,
    backoff: Backoff,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    pods: HashMap<String, Entry>,
    /// Highest priority first, then longest waiting.
    ready: BTreeSet<(Reverse<i32>, u64, String)>,
    /// By the time at which something is to be done with a pod.
    due: BTreeSet<(Instant, String)>,
    sequence: u64,
    /// Those that wait for help.
    waiting: BTreeSet<String>,
    /// How many things have happened, and which number the last of each kind was.
    happened: u64,
    last: BTreeMap<Happening, u64>,
}

struct Entry {
    pod: Arc<PodInfo>,
    attempts: u32,
    sequence: u64,
    since: Instant,
    place: Place,
}

enum Place {
    Ready,
    /// Waits out its back-off.
    Backoff {
        until: Instant,
    },
    /// Waits for help, at most until then; `rested` ends its back-off.
    Waiting {
        plugins: BTreeSet<&'static str>,
        until: Instant,
        rested: Instant,
    },
    /// Not to be looked at until it changes.
    Gated,
    /// Being worked on since so many things had happened.
    Taken {
        since: u64,
        /// The pod itself changed meanwhile.
        changed: bool,
    },
}

impl Queue {
    pub(crate) fn new(profiles: Vec<(String, Vec<Arc<dyn Plugin>>)>, backoff: Backoff) -> Self {
        Self { profiles, backoff, state: Mutex::default(), changed: Notify::new() }
    }

    fn rules(&self, pod: &PodInfo) -> impl Iterator<Item = &Arc<dyn Plugin>> {
        let name = pod.scheduler_name().to_owned();
        let profile = self.profiles.iter().find(move |(of, _)| *of == name);
        profile.into_iter().flat_map(|(_, rules)| rules)
    }

    /// Puts a pod in, or its new state.
    pub(crate) fn set(&self, pod: PodInfo) {
        let pod = Arc::new(pod);
        let mut guard = self.state.lock();
        let state = &mut *guard;
        // Not before: what happens meanwhile finds the pod as it is then.
        let gated = self.is_gated(&pod);
        let Some(entry) = state.pods.get_mut(&pod.uid) else {
            state.sequence += 1;
            let (uid, sequence) = (pod.uid.clone(), state.sequence);
            state.pods.insert(
                uid.clone(),
                Entry { pod, attempts: 0, sequence, since: Instant::now(), place: Place::Gated },
            );
            if !gated {
                state.make_ready(&uid);
            }
            drop(guard);
            return self.changed.notify_one();
        };
        let changed =
            entry.pod.pod.spec != pod.pod.spec || entry.pod.pod.metadata.labels != pod.pod.metadata.labels;
        let changed = changed || made_claims(&entry.pod) != made_claims(&pod);
        let uid = pod.uid.clone();
        entry.pod = pod;
        let was_gated = matches!(entry.place, Place::Gated);
        if gated && !matches!(entry.place, Place::Taken { .. }) {
            state.unplace(&uid);
            state.place(&uid, Place::Gated);
        } else if was_gated {
            state.make_ready(&uid);
        } else if changed {
            self.help_one(state, &uid, &Happening::PodChanged.into(), Instant::now());
        }
        drop(guard);
        self.changed.notify_one();
    }

    /// The new state of a pod that is being worked on, if it is.
    pub(crate) fn renew(&self, pod: PodInfo) {
        if self.state.lock().pods.contains_key(&pod.uid) {
            self.set(pod);
        }
    }

    /// Lets pods in that waited for a claim of devices to be made.
    fn ungate(&self, state: &mut State, claim: &ResourceClaim) {
        let gated = |entry: &Entry| matches!(entry.place, Place::Gated) && !self.is_gated(&entry.pod);
        let free: Vec<String> = match controller_of(&claim.metadata) {
            Some(owner) => {
                let entry = state.pods.get(&owner.uid).filter(|entry| gated(entry));
                entry.map(|entry| entry.pod.uid.clone()).into_iter().collect()
            }
            None => state.pods.iter().filter(|(_, it)| gated(it)).map(|(uid, _)| uid.clone()).collect(),
        };
        free.iter().for_each(|uid| state.make_ready(uid));
    }

    fn is_gated(&self, pod: &PodInfo) -> bool {
        self.rules(pod).any(|plugin| plugin.pre_enqueue(pod).is_err())
    }

    /// Takes a pod out.
    pub(crate) fn remove(&self, uid: &str) {
        let mut state = self.state.lock();
        state.unplace(uid);
        state.pods.remove(uid);
    }

    /// Something happened; pods that it may help are tried again.
    pub(crate) fn happened<'a>(&self, event: impl Into<Event<'a>>) {
        let event = event.into();
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let now = Instant::now();
        state.happened += 1;
        state.last.insert(event.what, state.happened);
        let claim = event.claims.1.filter(|_| event.what == Happening::Claim);
        if let Some(claim) = claim {
            self.ungate(state, claim);
        }
        if state.waiting.is_empty() && claim.is_none() {
            return;
        }
        let waiting: Vec<String> = state.waiting.iter().cloned().collect();
        for uid in waiting {
            self.help_one(state, &uid, &event, now);
        }
        drop(guard);
        self.changed.notify_one();
    }

    fn help_one(&self, state: &mut State, uid: &str, event: &Event<'_>, now: Instant) {
        let Some(entry) = state.pods.get_mut(uid) else { return };
        match &mut entry.place {
            Place::Taken { changed, .. } => *changed = true,
            Place::Waiting { plugins, rested, .. } if self.helps_pod(plugins, &entry.pod, event) => {
                let rested = *rested;
                state.unplace(uid);
                if rested <= now {
                    state.make_ready(uid);
                } else {
                    state.place(uid, Place::Backoff { until: rested });
                }
            }
            _ => {}
        }
    }

    fn helps(&self, rejecting: &BTreeSet<&'static str>, happening: Happening) -> bool {
        // Rejected by no rule: there were no nodes, or the scheduler failed.
        rejecting.is_empty()
            || rejecting.contains(extender::NAME)
            || self
                .profiles
                .iter()
                .flat_map(|(_, rules)| rules)
                .any(|p| rejecting.contains(p.name()) && p.helped_by(happening))
    }

    fn helps_pod(&self, rejecting: &BTreeSet<&'static str>, pod: &PodInfo, event: &Event<'_>) -> bool {
        let helps = |p: &Arc<dyn Plugin>| p.helped_by(event.what) && p.helps(pod, event);
        // What extenders go by nobody knows.
        rejecting.is_empty()
            || rejecting.contains(extender::NAME)
            || self
                .profiles
                .iter()
                .flat_map(|(_, rules)| rules)
                .any(|p| rejecting.contains(p.name()) && helps(p))
    }

    /// The next pod; waits until there is one. Cancel-safe.
    /// [`Queue::give_back`] or [`Queue::remove`] must follow.
    pub(crate) async fn next(&self) -> Arc<PodInfo> {
        loop {
            let (pod, due) = {
                let mut state = self.state.lock();
                state.release_due(Instant::now());
                (state.take(), state.due.first().map(|(due, _)| *due))
            };
            if let Some(pod) = pod {
                return pod;
            }
            let changed = self.changed.notified();
            match due {
                None => changed.await,
                Some(due) => {
                    let _ = tokio::time::timeout_at(due, changed).await;
                }
            }
        }
    }

    /// How often a pod was tried, and for how long it has been here.
    pub(crate) fn tried(&self, uid: &str) -> Option<(u32, Duration)> {
        let state = self.state.lock();
        state.pods.get(uid).map(|entry| (entry.attempts, entry.since.elapsed()))
    }

    /// How many pods are ready (or being worked on), back off, wait, and are gated.
    pub(crate) fn counts(&self) -> [usize; 4] {
        let mut counts = [0; 4];
        for entry in self.state.lock().pods.values() {
            let at = match entry.place {
                Place::Ready => 0,
                Place::Backoff { .. } => 1,
                Place::Waiting { .. } => 2,
                Place::Gated => 3,
                Place::Taken { .. } => continue,
            };
            counts[at] += 1;
        }
        counts
    }

    /// Puts a pod back that got no node.
    pub(crate) fn give_back(&self, uid: &str, back: Back) {
        let now = Instant::now();
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let Some(entry) = state.pods.get_mut(uid) else { return };
        let Place::Taken { since, changed } = entry.place else { return };
        let meanwhile = state.last.iter().filter(|(_, number)| **number > since).map(|(what, _)| *what);
        let happened: Vec<Happening> = meanwhile.chain(changed.then_some(Happening::PodChanged)).collect();
        let rested = now + self.backoff.after(entry.attempts);
        let place = match back {
            Back::Rejected(plugins) if !happened.iter().any(|h| self.helps(&plugins, *h)) => {
                Place::Waiting { plugins, until: now + FORGOTTEN, rested }
            }
            _ => Place::Backoff { until: rested },
        };
        state.place(uid, place);
        drop(guard);
        self.changed.notify_one();
    }
}

/// The claims of devices that were made for a pod.
fn made_claims(pod: &PodInfo) -> Option<&Vec<PodResourceClaimStatus>> {
    pod.pod.status.as_ref().and_then(|status| status.resource_claim_statuses.as_ref())
}

impl State {
    /// Takes a pod out of the orders; its place is to be set next.
    fn unplace(&mut self, uid: &str) {
        let Some(entry) = self.pods.get(uid) else { return };
        match &entry.place {
            Place::Ready => {
                self.ready.remove(&(Reverse(entry.pod.priority()), entry.sequence, uid.to_owned()));
            }
            Place::Backoff { until } | Place::Waiting { until, .. } => {
                self.due.remove(&(*until, uid.to_owned()));
                self.waiting.remove(uid);
            }
            Place::Gated | Place::Taken { .. } => {}
        }
    }

    fn place(&mut self, uid: &str, place: Place) {
        let Some(entry) = self.pods.get_mut(uid) else { return };
        if let Place::Backoff { until } | Place::Waiting { until, .. } = &place {
            self.due.insert((*until, uid.to_owned()));
        }
        if let Place::Waiting { .. } = &place {
            self.waiting.insert(uid.to_owned());
        }
        entry.place = place;
    }

    fn make_ready(&mut self, uid: &str) {
        let Some(entry) = self.pods.get_mut(uid) else { return };
        entry.place = Place::Ready;
        self.ready.insert((Reverse(entry.pod.priority()), entry.sequence, uid.to_owned()));
    }

    fn release_due(&mut self, now: Instant) {
        while let Some((due, uid)) = self.due.first().cloned() {
            if due > now {
                return;
            }
            self.due.remove(&(due, uid.clone()));
            self.waiting.remove(&uid);
            self.make_ready(&uid);
        }
    }

    fn take(&mut self) -> Option<Arc<PodInfo>> {
        let (_, _, uid) = self.ready.pop_first()?;
        let entry = self.pods.get_mut(&uid)?;
        entry.attempts = entry.attempts.saturating_add(1);
        entry.place = Place::Taken { since: self.happened, changed: false };
        Some(entry.pod.clone())
    }
}

/// How long a pod rests that got no node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    pub(crate) first: Duration,
    pub(crate) longest: Duration,
}

impl Backoff {
    fn after(self, attempts: u32) -> Duration {
        let doubled = self.first.saturating_mul(2u32.saturating_pow(attempts.saturating_sub(1)));
        doubled.min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::plugins::default_plugins;

    const BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(10) };

    fn pod(uid: &str, spec: Value) -> PodInfo {
        let mut value = json!({"metadata": {"uid": uid, "name": uid}, "spec": {"containers": []}});
        if let (Some(to), Some(from)) = (value["spec"].as_object_mut(), spec.as_object()) {
            to.extend(from.clone());
        }
        PodInfo::new(Arc::new(serde_json::from_value(value).unwrap()))
    }

    fn queue() -> Queue {
        let profile = ("default-scheduler".to_owned(), default_plugins(&Default::default()));
        Queue::new(vec![profile], BACKOFF)
    }

    async fn next(queue: &Queue) -> Option<String> {
        let next = tokio::time::timeout(Duration::ZERO, queue.next()).await;
        next.ok().map(|pod| pod.uid.clone())
    }

    #[tokio::test(start_paused = true)]
    async fn urgent_pods_come_first_then_old_ones() {
        let queue = queue();
        queue.set(pod("first", json!({})));
        queue.set(pod("second", json!({})));
        queue.set(pod("urgent", json!({"priority": 9})));
        queue.set(pod("gone", json!({"priority": 99})));
        queue.remove("gone");
        let mut order = Vec::new();
        while let Some(uid) = next(&queue).await {
            order.push(uid);
        }
        assert_eq!(order, ["urgent", "first", "second"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rejected_pod_waits_for_what_helps_it() {
        let queue = queue();
        queue.set(pod("a", json!({})));
        let rejected = || Back::Rejected(["NodeAffinity"].into());
        assert_eq!(next(&queue).await.as_deref(), Some("a"));
        queue.give_back("a", rejected());
        tokio::time::advance(Duration::from_secs(2)).await;
        queue.happened(Happening::PodRemoved);
        assert_eq!(next(&queue).await, None, "a removed pod does not change labels");
        queue.happened(Happening::NodeLabels);
        assert_eq!(next(&queue).await.as_deref(), Some("a"));
        // What helps while it is worked on counts, after the back-off.
        queue.happened(Happening::NodeAdded);
        queue.give_back("a", rejected());
        assert_eq!(next(&queue).await, None);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(next(&queue).await.as_deref(), Some("a"));
        queue.give_back("a", rejected());
        tokio::time::advance(Duration::from_secs(301)).await;
        assert_eq!(next(&queue).await.as_deref(), Some("a"), "not forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn gates_hold_a_pod_back() {
        let queue = queue();
        queue.set(pod("a", json!({"schedulingGates": [{"name": "g"}]})));
        queue.happened(Happening::NodeAdded);
        assert_eq!(next(&queue).await, None);
        queue.set(pod("a", json!({})));
        assert_eq!(next(&queue).await.as_deref(), Some("a"));
    }

    #[test]
    fn backoff_grows_to_its_limit() {
        let seconds: Vec<u64> = (1..7).map(|attempts| BACKOFF.after(attempts).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 10, 10]);
    }
}
