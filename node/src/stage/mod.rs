//! How pods and nodes move on that Stages select.
//!
//! Start at [`Stages::course`]: whether an object lives by itself, waits for a
//! Stage, or is to be played. [`player`] plays. Conditions and values are in
//! CEL, or at paths as KWOK's Stages have them; what is patched is YAML with CEL
//! in it, where KWOK has templates of Go.
//!
//! Objects that no Stage may select by its labels and annotations cost a look
//! at those, and nothing else.

mod compiled;
mod expression;
mod keeper;
mod path;
pub(crate) mod player;
mod template;
#[cfg(test)]
mod tests;
mod turn;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use coracle_controllers::framework::{Clock, Key, Queue, Setup};
use coracle_crds::stage::Kind;
use jiff::{SignedDuration, Timestamp};
use kube::Resource;
use parking_lot::{Mutex, RwLock};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde::Serialize;
use serde_json::Value;

use compiled::Record;
pub(crate) use compiled::Stage;
use expression::Scope;
pub(crate) use turn::Course;
use turn::{Turn, choose};

type Listener = Box<dyn Fn(&Stage) + Send + Sync>;

/// The Stages of a cluster, and who waits for them.
pub(crate) struct Stages {
    clock: Clock,
    compiled: RwLock<Compiled>,
    records: Mutex<BTreeMap<String, Arc<Record>>>,
    turns: Mutex<HashMap<String, Turn>>,
    chance: Mutex<StdRng>,
    listeners: Mutex<Vec<Listener>>,
    /// Stages whose status may have changed.
    told: Queue<Key>,
    last_id: AtomicU64,
}

#[derive(Default, Clone)]
struct Compiled {
    pods: Arc<[Arc<Stage>]>,
    nodes: Arc<[Arc<Stage>]>,
}

impl Stages {
    /// No Stages: everything lives by itself.
    pub(crate) fn none(clock: Clock) -> Self {
        Self {
            clock,
            compiled: RwLock::default(),
            records: Mutex::default(),
            turns: Mutex::default(),
            chance: Mutex::new(StdRng::from_os_rng()),
            listeners: Mutex::default(),
            told: Queue::new(),
            last_id: AtomicU64::new(0),
        }
    }

    /// The Stages of the cluster. What is put in after this waits until they are read.
    pub(crate) fn start(setup: &mut Setup) -> Arc<Self> {
        let stages = Arc::new(Self::none(setup.clock.clone()));
        keeper::start(setup, stages.clone());
        stages
    }

    /// Calls `listener` for each Stage that comes, changes or goes.
    pub(crate) fn on_change(&self, listener: impl Fn(&Stage) + Send + Sync + 'static) {
        self.listeners.lock().push(Box::new(listener));
    }

    fn of(&self, kind: Kind) -> Arc<[Arc<Stage>]> {
        let compiled = self.compiled.read();
        match kind {
            Kind::Pod => compiled.pods.clone(),
            Kind::Node => compiled.nodes.clone(),
        }
    }

    /// Whether a Stage may be for this object, as far as labels and annotations tell.
    pub(crate) fn may_select<K: Resource>(&self, kind: Kind, object: &K) -> bool {
        self.of(kind).iter().any(|stage| stage.may_select(object.meta()))
    }

    /// What is to be done with `object` now. `more` is what expressions see beside it.
    pub(crate) fn course<K: Resource + Serialize>(
        &self,
        kind: Kind,
        object: &K,
        more: impl FnOnce() -> Vec<(&'static str, String)>,
    ) -> Course {
        let stages = self.of(kind);
        if stages.is_empty() {
            return Course::Free;
        }
        let uid = object.meta().uid.as_deref().unwrap_or_default();
        let now = self.clock.now();
        let mut possible = stages.iter().filter(|stage| stage.may_select(object.meta())).peekable();
        if possible.peek().is_none() {
            self.set_free(uid, now);
            return Course::Free;
        }
        if self.turns.lock().get(uid).is_some_and(|turn| turn.is_past(revision(object))) {
            return Course::Wait(None);
        }
        let Ok(json) = serde_json::to_value(object) else { return Course::Free };
        let scope = Scope::new(&json, now, more());
        let candidates: Vec<Arc<Stage>> = possible.filter(|stage| stage.selects(&scope)).cloned().collect();
        if candidates.is_empty() {
            self.set_free(uid, now);
            return Course::Free;
        }
        let mut turns = self.turns.lock();
        let turn = turns.entry(uid.to_owned()).or_default();
        if turn.is_over(&candidates)
            && let Some((stage, due)) = self.draw(&candidates, &scope)
        {
            self.tell(&stage.name);
            turn.draw(&candidates, stage, due);
        }
        turn.course(now)
    }

    fn draw(&self, candidates: &[Arc<Stage>], scope: &Scope<'_>) -> Option<(Arc<Stage>, Timestamp)> {
        let mut chance = self.chance.lock();
        let chosen = match candidates {
            [one] => one,
            several => {
                let weights: Vec<_> = several.iter().map(|stage| stage.weight(scope)).collect();
                several.get(choose(&weights, |below| chance.random_range(0..below)))?
            }
        };
        let (least, most) = chosen.delay(scope);
        let delay = if least < most { chance.random_range(least..most) } else { least };
        let delay = SignedDuration::try_from(delay).unwrap_or_default();
        Some((chosen.clone(), scope.now().checked_add(delay).unwrap_or(Timestamp::MAX)))
    }

    fn set_free(&self, uid: &str, now: Timestamp) {
        let mut turns = self.turns.lock();
        if let Some(turn) = turns.get_mut(uid) {
            if let Some(stage) = turn.drawn() {
                self.tell(&stage.name);
            }
            if turn.clear(now) {
                turns.remove(uid);
            }
        }
    }

    /// `stage` was played for `object`, of which `revision` came.
    pub(crate) fn played(&self, stage: &Stage, uid: &str, revision: u64) {
        stage.record.succeeded();
        self.turns.lock().entry(uid.to_owned()).or_default().played(revision, self.clock.now());
        self.tell(&stage.name);
    }

    /// `stage` could not be played for the object with this uid.
    pub(crate) fn failed(&self, stage: &Stage, uid: &str, why: String) {
        stage.record.failed(why);
        self.turns.lock().entry(uid.to_owned()).or_default().tried(self.clock.now());
        self.tell(&stage.name);
    }

    /// The object is gone.
    pub(crate) fn forget(&self, uid: &str) {
        if let Some(stage) = self.turns.lock().remove(uid).as_ref().and_then(Turn::drawn) {
            self.tell(&stage.name);
        }
    }

    /// Counts of a Stage are written once in a while, not with each change.
    fn tell(&self, name: &str) {
        self.told.add_after(Key::cluster(name), keeper::COUNTED_EVERY);
    }

    /// How many wait for each Stage.
    fn waiting(&self, name: &str) -> i64 {
        let turns = self.turns.lock();
        let count =
            turns.values().filter(|turn| turn.drawn().is_some_and(|stage| stage.name == name)).count();
        i64::try_from(count).unwrap_or(i64::MAX)
    }

    fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// The revision of an object.
pub(crate) fn revision<K: Resource>(object: &K) -> u64 {
    object.meta().resource_version.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The changes of a stage to an object, as they are sent.
fn changes<K: Serialize>(
    stage: &Stage,
    object: &K,
    now: Timestamp,
    more: Vec<(&'static str, String)>,
) -> Result<Vec<compiled::Change>, String> {
    let json: Value = serde_json::to_value(object).map_err(|error| error.to_string())?;
    stage.changes(&Scope::new(&json, now, more))
}
