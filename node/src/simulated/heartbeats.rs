//! Registration, leases and status reports.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use coracle_controllers::framework::{Change, Clock, Error, Next, Queue, Reconcile, Setup};
use coracle_crds::stage::Kind;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        coordination::v1::{Lease, LeaseSpec},
        core::v1::Node,
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{
    addresses,
    fleet::{Fleet, is_stopped, pool_of},
    machine::{self, Shape},
};
use crate::stage::Stages;

const WORKERS: usize = 32;
/// No beat comes more often than this, and renewals come at multiples of it.
const SHORTEST: Duration = Duration::from_millis(100);
/// Longest wait after a beat that failed.
const LONGEST_RETRY: Duration = Duration::from_secs(10);
const NAMESPACE: &str = "kube-node-lease";
const LEASE_SECONDS: i32 = 40;
/// Nodes of pools report at so many different moments.
const SPREAD: usize = 1000;

/// Puts the heartbeats in.
pub(super) fn start(setup: &mut Setup, fleet: Arc<Fleet>, stages: Arc<Stages>) {
    let queue = Queue::new();
    (0..fleet.config.count).for_each(|number| queue.add(Beat::Register(number)));
    let shape = Shape::of(&fleet);
    let beats = Arc::new(Beats {
        client: setup.client.clone(),
        clock: setup.clock.clone(),
        fleet,
        stages,
        shape,
        queue: queue.clone(),
        known: Mutex::default(),
    });
    // The nodes without a pool register at once, before anything is listed.
    setup.reconcile("node", queue, WORKERS, Worker(beats.clone()));
    setup.reflect::<Node>().on_change(move |change| beats.see(change));
}

/// Something a node does, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Beat {
    Register(usize),
    Lease(usize),
    Status(usize),
}

impl fmt::Display for Beat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

struct Beats {
    client: Client,
    clock: Clock,
    fleet: Arc<Fleet>,
    stages: Arc<Stages>,
    /// Of the nodes without a pool.
    shape: Shape,
    queue: Queue<Beat>,
    known: Mutex<HashMap<usize, Known>>,
}

struct Worker(Arc<Beats>);

/// What a node remembers of what it wrote.
#[derive(Default)]
struct Known {
    uid: Option<String>,
    lease: Option<Lease>,
}

impl Reconcile<Beat> for Worker {
    async fn reconcile(&self, beat: &Beat) -> Result<Next, Error> {
        self.0.beat(*beat).await
    }
}

impl Beats {
    async fn beat(&self, beat: Beat) -> Result<Next, Error> {
        let (Beat::Register(number) | Beat::Lease(number) | Beat::Status(number)) = beat;
        // It has gone, or does nothing until it is told otherwise.
        let Some(name) = self.fleet.name(number).filter(|name| !self.fleet.is_silent(name)) else {
            return Ok(Next::Change);
        };
        self.kept_up(match beat {
            Beat::Register(_) => self.register(&name, number).await,
            Beat::Lease(_) => self.renew(&name, number).await,
            Beat::Status(_) => self.report(&name).await,
        })
    }

    /// Nodes of pools come and go, and any node may be stopped and started.
    fn see(&self, change: &Change<'_, Node>) {
        let Some(name) = change.sides().find_map(|node| node.metadata.name.as_deref()) else { return };
        let Some(node) = change.after else {
            // One without a pool does not register again, but its number stays its own.
            let of_pool = change.before.is_some_and(|node| pool_of(node).is_some());
            if let Some(number) = of_pool.then(|| self.fleet.dismiss(name)).flatten() {
                self.known.lock().remove(&number);
            }
            return;
        };
        let mut begins = false;
        if pool_of(node).is_some() {
            let address = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
            let wanted = address.filter(|it| it.type_ == "InternalIP");
            let wanted = wanted.filter_map(|it| addresses::number_of_node(&it.address)).next();
            begins = self.fleet.admit(name, wanted).1 || change.before.is_none();
        }
        let stopped = is_stopped(node);
        begins |= self.fleet.silence(name, stopped) && !stopped;
        let Some(number) = self.fleet.number(name).filter(|_| begins && !stopped) else { return };
        self.known.lock().entry(number).or_default().uid.clone_from(&node.metadata.uid);
        self.queue.add(Beat::Lease(number));
        let wait = match is_well(node, self.clock.now()) {
            true => first_report(number % SPREAD, SPREAD, self.fleet.config.report_every),
            false => Duration::ZERO,
        };
        self.queue.add_after(Beat::Status(number), wait);
    }

    /// A beat that failed comes again at the usual pace: after an outage, a
    /// growing back-off would leave the node for dead.
    fn kept_up(&self, beat: Result<Next, Error>) -> Result<Next, Error> {
        beat.or_else(|error| {
            tracing::debug!(%error, "heartbeat failed");
            Ok(Next::After(self.fleet.config.renew_every.clamp(SHORTEST, LONGEST_RETRY)))
        })
    }

    async fn register(&self, name: &str, number: usize) -> Result<Next, Error> {
        let api = Api::<Node>::all(self.client.clone());
        let now = self.clock.now();
        let node = machine::node(name, number, &self.shape, now)
            .map_err(|error| Error::Invalid(error.to_string()))?;
        let registered = match api.create(&PostParams::default(), &node).await.map_err(Error::from) {
            Ok(created) => created,
            Err(error) if error.is_already_exists() => self.take_over(name, number, &node).await?,
            Err(error) => return Err(error),
        };
        self.known.lock().entry(number).or_default().uid = registered.metadata.uid;
        self.queue.add(Beat::Lease(number));
        let first = first_report(number, self.fleet.config.count, self.fleet.config.report_every);
        self.queue.add_after(Beat::Status(number), first);
        Ok(Next::Change)
    }

    /// A node of that name is there: it becomes this one.
    async fn take_over(&self, name: &str, number: usize, node: &Node) -> Result<Node, Error> {
        let api = Api::<Node>::all(self.client.clone());
        let meta = &node.metadata;
        let labels = json!({"metadata": {"labels": meta.labels, "annotations": meta.annotations}});
        let there = api.patch(name, &PatchParams::default(), &Patch::Merge(labels)).await?;
        let mut status = machine::status(name, number, &self.shape, self.clock.now());
        status["conditions"] = kept_transitions(status["conditions"].take(), &there);
        let patch = json!({"status": status});
        Ok(api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await?)
    }

    async fn report(&self, name: &str) -> Result<Next, Error> {
        let api = Api::<Node>::all(self.client.clone());
        let there = match api.get(name).await.map_err(Error::from) {
            Ok(there) => there,
            // Like a kubelet, it does not register again while it runs.
            Err(error) if error.is_not_found() => return Ok(Next::Change),
            Err(error) => return Err(error),
        };
        let mut conditions = machine::conditions(self.clock.now());
        if self.stages.may_select(Kind::Node, &there) {
            conditions = as_they_are(conditions, &there);
        }
        let conditions = kept_transitions(conditions, &there);
        let patch = json!({"status": {"conditions": conditions}});
        api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
        Ok(Next::After(self.fleet.config.report_every))
    }

    async fn renew(&self, name: &str, number: usize) -> Result<Next, Error> {
        let api = Api::<Lease>::namespaced(self.client.clone(), NAMESPACE);
        let (lease, uid) = {
            let mut known = self.known.lock();
            let known = known.entry(number).or_default();
            (known.lease.take(), known.uid.clone())
        };
        let now = self.clock.now();
        let post = PostParams::default();
        let written = match lease {
            Some(mut lease) => {
                let spec = lease.spec.get_or_insert_default();
                spec.renew_time = Some(MicroTime(now));
                api.replace(name, &post, &lease).await.map_err(Error::from)
            }
            None => match api.create(&post, &new_lease(name, uid, now)).await.map_err(Error::from) {
                Err(error) if error.is_already_exists() => {
                    let mut lease = api.get(name).await?;
                    lease.spec = new_lease(name, None, now).spec;
                    api.replace(name, &post, &lease).await.map_err(Error::from)
                }
                other => other,
            },
        };
        match written {
            Ok(mut lease) => {
                // Without them, an update keeps them; and they are larger than the rest.
                lease.metadata.managed_fields = None;
                self.known.lock().entry(number).or_default().lease = Some(lease);
            }
            // Somebody else wrote or deleted it: read it next time.
            Err(error) if error.is_conflict() || error.is_not_found() => {}
            Err(error) => return Err(error),
        }
        Ok(Next::After(together(self.clock.now(), self.fleet.config.renew_every.max(SHORTEST))))
    }
}

/// Until the first moment after `wait` at which others renew, too: many that come at once are written at once, and
/// cost much less than the same number one by one.
fn together(now: Timestamp, wait: Duration) -> Duration {
    let (moment, tick) = (now.as_duration().unsigned_abs() + wait, SHORTEST.as_nanos());
    let over = (moment.as_nanos() % tick) as u64;
    wait + Duration::from_nanos(SHORTEST.as_nanos() as u64 - over)
}

/// When the node with this number, of `count`, reports for the first time after it registered: each at another
/// moment, so that they do not come all at once, time and again.
fn first_report(number: usize, count: usize, every: Duration) -> Duration {
    every.mul_f64(((number + 1) as f64 / count.max(1) as f64).clamp(0.0, 1.0))
}

/// Its last report is recent and good: there is no need of another.
fn is_well(node: &Node, now: Timestamp) -> bool {
    let recent = SignedDuration::from_secs(LEASE_SECONDS.into());
    node.status.iter().flat_map(|status| status.conditions.iter().flatten()).any(|condition| {
        condition.type_ == "Ready"
            && condition.status == "True"
            && condition.last_heartbeat_time.as_ref().is_some_and(|time| now.duration_since(time.0) < recent)
    })
}

fn new_lease(name: &str, uid: Option<String>, now: Timestamp) -> Lease {
    let owner = uid.map(|uid| {
        vec![OwnerReference {
            api_version: "v1".into(),
            kind: "Node".into(),
            name: name.into(),
            uid,
            ..OwnerReference::default()
        }]
    });
    Lease {
        metadata: ObjectMeta {
            name: Some(name.into()),
            namespace: Some(NAMESPACE.into()),
            owner_references: owner,
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(name.into()),
            lease_duration_seconds: Some(LEASE_SECONDS),
            renew_time: Some(MicroTime(now)),
            ..LeaseSpec::default()
        }),
    }
}

/// What a Stage has said of a node stays; what others say of one that was
/// silent does not.
fn as_they_are(mut conditions: Value, node: &Node) -> Value {
    let known = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    for condition in conditions.as_array_mut().into_iter().flatten() {
        let known = known.iter().find(|k| condition["type"] == k.type_.as_str() && k.status != "Unknown");
        if let Some(known) = known {
            condition["status"] = json!(known.status);
            condition["reason"] = json!(known.reason);
            condition["message"] = json!(known.message);
        }
    }
    conditions
}

/// `conditions` with the transition times of those that `node` has already.
fn kept_transitions(mut conditions: Value, node: &Node) -> Value {
    let known = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    for condition in conditions.as_array_mut().into_iter().flatten() {
        let same = known
            .iter()
            .find(|k| condition["type"] == k.type_.as_str() && condition["status"] == k.status.as_str());
        if let Some(time) = same.and_then(|known| known.last_transition_time.as_ref()) {
            condition["lastTransitionTime"] = json!(time);
        }
    }
    conditions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_spread_over_their_period() {
        let check = |number: usize, count: usize, seconds: u64| {
            let first = first_report(number, count, Duration::from_secs(300));
            assert_eq!(first, Duration::from_secs(seconds), "{number} of {count}");
        };
        check(0, 1, 300);
        check(0, 3, 100);
        check(2, 3, 300);
        check(5, 3, 300);
        check(0, 0, 300);
    }

    #[test]
    fn renewals_come_together() {
        let check = |now_ms: i64, wait_ms: u64, expected_ms: u64| {
            let now = Timestamp::from_millisecond(now_ms).unwrap();
            let waits = together(now, Duration::from_millis(wait_ms));
            assert_eq!(waits, Duration::from_millis(expected_ms), "{now_ms} and {wait_ms}");
        };
        check(0, 10_000, 10_100);
        check(1, 10_000, 10_099);
        check(199, 10_000, 10_001);
        check(150, 330, 350);
    }

    #[test]
    fn what_a_stage_says_of_a_node_is_repeated() {
        let node: Node = serde_json::from_value(json!({"status": {"conditions": [
            {"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"},
            {"type": "DiskPressure", "status": "True", "reason": "Full", "message": "full"},
        ]}}))
        .unwrap();
        let conditions = as_they_are(machine::conditions(Timestamp::UNIX_EPOCH), &node);
        let told: Vec<_> = conditions
            .as_array()
            .unwrap()
            .iter()
            .map(|c| (c["status"].as_str(), c["reason"].as_str()))
            .collect();
        assert_eq!(told[1], (Some("True"), Some("Full")));
        assert_eq!(told[3], (Some("True"), Some("KubeletReady")));
    }

    #[test]
    fn transition_times_stay_while_nothing_changes() {
        let node: Node = serde_json::from_value(json!({"status": {"conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2024-01-01T00:00:00Z"},
            {"type": "DiskPressure", "status": "Unknown", "lastTransitionTime": "2024-01-01T00:00:00Z"},
        ]}}))
        .unwrap();
        let conditions = kept_transitions(machine::conditions(Timestamp::from_second(0).unwrap()), &node);
        let times: Vec<&str> =
            conditions.as_array().unwrap().iter().filter_map(|c| c["lastTransitionTime"].as_str()).collect();
        let new = "1970-01-01T00:00:00Z";
        assert_eq!(times, [new, new, new, "2024-01-01T00:00:00Z"]);
    }
}
