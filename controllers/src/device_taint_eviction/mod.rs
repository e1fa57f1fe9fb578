//! Drives pods away from devices with NoExecute taints that their claims do
//! not tolerate, or not for ever.
//!
//! When a pod must go is worked out in `eviction`; what is told of a rule in
//! its status, in `status`.

mod eviction;
mod status;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::{
    core::v1::{ObjectReference, Pod},
    resource::v1::{DeviceTaintRule, ResourceClaim, ResourceSlice},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use parking_lot::Mutex;
use serde_json::json;

use crate::{
    devices::{BY_CLAIM, asked, claim_keys, claims, results, taints},
    drive_away::drive_away,
    framework::{Clock, Error, Key, Next, Queue, Reconcile, Recorder, Setup, Severity, Store, Style, absent},
    pod,
};
use eviction::{BY_DEVICE, BY_POOL, Due, World, device_keys, drives_away, pool_keys};

/// What a pod says that is deleted.
const DRIVEN_AWAY: (&str, &str) =
    ("DeletionByDeviceTaintManager", "Device Taint manager: deleting due to NoExecute taint");
const NAME: &str = "device-taint-eviction-controller";
const WORKERS: usize = 8;
/// How often at most the status of a rule is brought up to date.
const PERIOD: Duration = Duration::from_secs(10);

/// What is to be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Item {
    Pod(Key),
    Rule(Key),
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(key) => write!(f, "pod:{key}"),
            Self::Rule(key) => write!(f, "rule:{key}"),
        }
    }
}

/// Puts the controller in.
pub(crate) fn start(setup: &mut Setup) {
    let pods = setup.reflect::<Pod>();
    let claims = setup.reflect::<ResourceClaim>();
    let slices = setup.reflect::<ResourceSlice>();
    let rules = setup.reflect::<DeviceTaintRule>();
    pods.store().index(BY_CLAIM, claim_keys);
    claims.store().index(BY_DEVICE, device_keys);
    slices.store().index(BY_POOL, pool_keys);
    let queue = Queue::new();
    let eviction = Arc::new(DeviceTaintEviction {
        client: setup.client.clone(),
        clock: setup.clock.clone(),
        events: setup.recorder(NAME, Style::Counted),
        pods: pods.store(),
        claims: claims.store(),
        slices: slices.store(),
        rules: rules.store(),
        marked: Mutex::default(),
        evicted: Mutex::default(),
        queue: queue.clone(),
    });
    let on_pod = queue.clone();
    pods.on_change(move |change| {
        let seen = |pod: &Arc<Pod>| (pod::node(pod).map(str::to_owned), claim_keys(pod));
        if change.before.map(seen) != change.after.map(seen)
            && let Some(pod) = change.sides().last().filter(|pod| has_claims(pod))
        {
            on_pod.add(Item::Pod(Key::of(&pod.metadata)));
        }
    });
    let on_claim = eviction.clone();
    claims.on_change(move |change| {
        change.sides().for_each(|claim| on_claim.look_at_users(claim));
    });
    let on_slice = eviction.clone();
    slices.on_change(move |change| change.sides().for_each(|slice| on_slice.slice_changed(slice)));
    let on_rule = eviction.clone();
    rules.on_change(move |change| {
        let (before, after) = (change.before, change.after);
        if let (Some(before), Some(after)) = (before, after)
            && before.metadata.uid == after.metadata.uid
            && before.spec == after.spec
        {
            return;
        }
        if let (Some(before), None) = (before, after) {
            on_rule.evicted.lock().remove(before.metadata.uid.as_deref().unwrap_or_default());
        }
        on_rule.queue.extend(after.map(|rule| Item::Rule(Key::of(&rule.metadata))));
        change.sides().for_each(|rule| on_rule.rule_changed(rule));
    });
    setup.reconcile(NAME, queue, WORKERS, Worker(eviction));
}

fn has_claims(pod: &Pod) -> bool {
    !asked(pod).is_empty() || !claims(pod).is_empty()
}

/// A pod that has to go.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Marked {
    uid: Option<String>,
    /// It was deleted; kept so that this is done once.
    gone: bool,
}

struct DeviceTaintEviction {
    client: Client,
    clock: Clock,
    events: Recorder,
    pods: Arc<Store<Pod>>,
    claims: Arc<Store<ResourceClaim>>,
    slices: Arc<Store<ResourceSlice>>,
    rules: Arc<Store<DeviceTaintRule>>,
    marked: Mutex<HashMap<Key, Marked>>,
    /// How many pods went because of a rule, by its uid.
    evicted: Mutex<HashMap<String, u64>>,
    queue: Queue<Item>,
}

struct Worker(Arc<DeviceTaintEviction>);

impl Reconcile<Item> for Worker {
    async fn reconcile(&self, item: &Item) -> Result<Next, Error> {
        match item {
            Item::Pod(key) => self.0.look_at_pod(key).await,
            Item::Rule(key) => self.0.look_at_rule(key).await,
        }
    }
}

impl DeviceTaintEviction {
    fn look_at_users(&self, claim: &ResourceClaim) {
        let key = Key::of(&claim.metadata);
        let pods = self.pods.indexed(BY_CLAIM, &key.to_string());
        self.queue.extend(pods.iter().map(|pod| Item::Pod(Key::of(&pod.metadata))));
    }

    /// Taints came, went or changed; or the pool is published anew, and what
    /// was said before does not count any more.
    fn slice_changed(&self, slice: &ResourceSlice) {
        let (driver, pool) = (&slice.spec.driver, &slice.spec.pool.name);
        let known = self.slices.indexed(BY_POOL, &format!("{driver}/{pool}"));
        let all = known.iter().map(Arc::as_ref).chain([slice]);
        let devices = all.flat_map(|slice| slice.spec.devices.iter().flatten());
        let tainted = devices.filter(|device| device.taints.iter().flatten().any(drives_away));
        let names: BTreeSet<String> = tainted.map(|device| device.name.clone()).collect();
        for name in names {
            for claim in self.claims.indexed(BY_DEVICE, &format!("{driver}/{pool}/{name}")) {
                self.look_at_users(&claim);
            }
        }
    }

    fn rule_changed(&self, rule: &DeviceTaintRule) {
        if !drives_away(&rule.spec.taint) {
            return;
        }
        for claim in self.claims.all() {
            if results(&claim).iter().any(|it| taints(rule, &it.driver, &it.pool, &it.device)) {
                self.look_at_users(&claim);
            }
        }
    }

    fn world(&self) -> World<'_> {
        let rules = self.rules.all().into_iter().filter(|rule| drives_away(&rule.spec.taint)).collect();
        World { claims: &self.claims, slices: &self.slices, rules }
    }

    async fn look_at_pod(&self, key: &Key) -> Result<Next, Error> {
        let Some(pod) = self.pods.get(key) else {
            self.marked.lock().remove(key);
            return Ok(Next::Change);
        };
        if self.marked.lock().get(key).is_some_and(|marked| marked.uid != pod.metadata.uid) {
            self.marked.lock().remove(key);
        }
        let Some(due) = self.world().due(&pod) else {
            if self.marked.lock().remove(key).is_some_and(|marked| !marked.gone) {
                self.tell(key, &pod, "Cancelling deletion");
            }
            return Ok(Next::Change);
        };
        for rule in &due.rules {
            self.queue.add_after(Item::Rule(Key::cluster(rule.name.clone())), PERIOD);
        }
        let marked = Marked { uid: pod.metadata.uid.clone(), gone: false };
        let marked = self.marked.lock().entry(key.clone()).or_insert(marked).clone();
        let left = due.at.as_second().saturating_sub(self.clock.now().as_second());
        if marked.gone || pod.metadata.deletion_timestamp.is_some() {
            return Ok(Next::Change);
        }
        if let Some(left) = u64::try_from(left).ok().filter(|left| *left > 0) {
            return Ok(Next::After(Duration::from_secs(left)));
        }
        self.evict(key, &pod, &due).await?;
        Ok(Next::Change)
    }

    async fn evict(&self, key: &Key, pod: &Pod, due: &Due) -> Result<(), Error> {
        self.tell(key, pod, "Marking for deletion");
        drive_away(&self.client, pod, DRIVEN_AWAY, &self.clock).await?;
        if let Some(marked) = self.marked.lock().get_mut(key) {
            marked.gone = true;
        }
        let mut evicted = self.evicted.lock();
        for rule in &due.rules {
            *evicted.entry(rule.uid.clone()).or_default() += 1;
        }
        Ok(())
    }

    fn tell(&self, key: &Key, pod: &Pod, what: &str) {
        let regarding = ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            namespace: Some(key.namespace.clone()),
            name: Some(key.name.clone()),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        };
        self.events.act(regarding, Severity::Normal, "DeviceTaintManagerEviction", "", what.to_owned());
    }

    async fn look_at_rule(&self, key: &Key) -> Result<Next, Error> {
        let Some(rule) = self.rules.get(key) else { return Ok(Next::Change) };
        let now = self.clock.now();
        if let Some(wait) = status::rest(&rule, now, PERIOD) {
            return Ok(Next::After(wait));
        }
        let uid = rule.metadata.uid.as_deref().unwrap_or_default();
        let evicted = self.evicted.lock().get(uid).copied().unwrap_or(0);
        let counts = status::count(&rule, &self.world(), &self.pods, evicted);
        let Some(condition) = status::condition(&rule, &counts, now) else { return Ok(Next::Change) };
        let body = json!({
            "apiVersion": "resource.k8s.io/v1", "kind": "DeviceTaintRule",
            "metadata": {"name": key.name, "uid": uid}, "status": {"conditions": [condition]},
        });
        let api = Api::<DeviceTaintRule>::all(self.client.clone());
        let params = PatchParams::apply(NAME).force();
        let done = absent(api.patch_status(&key.name, &params, &Patch::Apply(body)).await);
        done.map_err(|error| Error::Invalid(format!("add condition to DeviceTaintRule status: {error}")))?;
        Ok(Next::Change)
    }
}
