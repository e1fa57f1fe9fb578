//! Registration, leases and status reports.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use coracle_controllers::framework::{Clock, Error, Next, Queue, Reconcile, Setup};
use jiff::Timestamp;
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

use super::{Fleet, machine};

const WORKERS: usize = 32;
/// No beat comes more often than this.
const SHORTEST: Duration = Duration::from_millis(100);
/// Longest wait after a beat that failed.
const LONGEST_RETRY: Duration = Duration::from_secs(10);
const NAMESPACE: &str = "kube-node-lease";
const LEASE_SECONDS: i32 = 40;

/// Puts the heartbeats in.
pub(super) fn start(setup: &mut Setup, fleet: Arc<Fleet>) {
    let queue = Queue::new();
    (0..fleet.names.len()).for_each(|number| queue.add(Beat::Register(number)));
    let beats = Beats {
        client: setup.client.clone(),
        clock: setup.clock.clone(),
        fleet,
        queue: queue.clone(),
        known: Mutex::default(),
    };
    setup.reconcile("node", queue, WORKERS, beats);
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
    queue: Queue<Beat>,
    known: Mutex<HashMap<usize, Known>>,
}

/// What a node remembers of what it wrote.
#[derive(Default)]
struct Known {
    uid: Option<String>,
    lease: Option<Lease>,
}

impl Reconcile<Beat> for Beats {
    async fn reconcile(&self, beat: &Beat) -> Result<Next, Error> {
        match *beat {
            Beat::Register(number) => self.kept_up(self.register(number).await),
            Beat::Lease(number) => self.kept_up(self.renew(number).await),
            Beat::Status(number) => self.kept_up(self.report(number).await),
        }
    }
}

impl Beats {
    /// A beat that failed comes again at the usual pace: after an outage, a
    /// growing back-off would leave the node for dead.
    fn kept_up(&self, beat: Result<Next, Error>) -> Result<Next, Error> {
        beat.or_else(|error| {
            tracing::debug!(%error, "heartbeat failed");
            Ok(Next::After(self.fleet.config.renew_every.clamp(SHORTEST, LONGEST_RETRY)))
        })
    }

    fn name(&self, number: usize) -> &str {
        self.fleet.names.get(number).map(String::as_str).unwrap_or_default()
    }

    async fn register(&self, number: usize) -> Result<Next, Error> {
        let api = Api::<Node>::all(self.client.clone());
        let now = self.clock.now();
        let node =
            machine::node(&self.fleet, number, now).map_err(|error| Error::Invalid(error.to_string()))?;
        let registered = match api.create(&PostParams::default(), &node).await.map_err(Error::from) {
            Ok(created) => created,
            Err(error) if error.is_already_exists() => self.take_over(number, &node).await?,
            Err(error) => return Err(error),
        };
        self.known.lock().entry(number).or_default().uid = registered.metadata.uid;
        self.queue.add(Beat::Lease(number));
        let first = first_report(number, self.fleet.names.len(), self.fleet.config.report_every);
        self.queue.add_after(Beat::Status(number), first);
        Ok(Next::Change)
    }

    /// A node of that name is there: it becomes this one.
    async fn take_over(&self, number: usize, node: &Node) -> Result<Node, Error> {
        let api = Api::<Node>::all(self.client.clone());
        let name = self.name(number);
        let meta = &node.metadata;
        let labels = json!({"metadata": {"labels": meta.labels, "annotations": meta.annotations}});
        let there = api.patch(name, &PatchParams::default(), &Patch::Merge(labels)).await?;
        let mut status = machine::status(&self.fleet, number, self.clock.now());
        status["conditions"] = kept_transitions(status["conditions"].take(), &there);
        let patch = json!({"status": status});
        Ok(api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await?)
    }

    async fn report(&self, number: usize) -> Result<Next, Error> {
        let api = Api::<Node>::all(self.client.clone());
        let name = self.name(number);
        let there = match api.get(name).await.map_err(Error::from) {
            Ok(there) => there,
            // Like a kubelet, it does not register again while it runs.
            Err(error) if error.is_not_found() => return Ok(Next::Change),
            Err(error) => return Err(error),
        };
        let conditions = kept_transitions(machine::conditions(self.clock.now()), &there);
        let patch = json!({"status": {"conditions": conditions}});
        api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
        Ok(Next::After(self.fleet.config.report_every))
    }

    async fn renew(&self, number: usize) -> Result<Next, Error> {
        let api = Api::<Lease>::namespaced(self.client.clone(), NAMESPACE);
        let (lease, uid) = {
            let mut known = self.known.lock();
            let known = known.entry(number).or_default();
            (known.lease.take(), known.uid.clone())
        };
        let now = self.clock.now();
        let post = PostParams::default();
        let name = self.name(number);
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
        Ok(Next::After(self.fleet.config.renew_every.max(SHORTEST)))
    }
}

/// When the node with this number, of `count`, reports for the first time after it registered: each at another
/// moment, so that they do not come all at once, time and again.
fn first_report(number: usize, count: usize, every: Duration) -> Duration {
    every.mul_f64(((number + 1) as f64 / count.max(1) as f64).clamp(0.0, 1.0))
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
