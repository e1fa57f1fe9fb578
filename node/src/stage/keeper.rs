//! Reads Stages, and writes what became of them.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use coracle_controllers::framework::{Change, Clock, Error, Key, Next, Reconcile, Setup, Store};
use coracle_crds::{
    Stage as Written,
    stage::{Kind, StageStatus},
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
};
use parking_lot::Mutex;
use serde_json::json;

use super::{Record, Stage, Stages};

const WORKERS: usize = 2;
/// Counts are written no more often.
pub(super) const COUNTED_EVERY: Duration = Duration::from_secs(1);

/// Reads the Stages, and puts in what tells of them.
pub(super) fn start(setup: &mut Setup, stages: Arc<Stages>) {
    let reflector = setup.reflect::<Written>();
    let (seeing, queue) = (stages.clone(), stages.told.clone());
    // Compiled here and not by the worker: who waits for the list waits for this too.
    reflector.on_change(move |change| seeing.see(change));
    let keeper = Keeper {
        client: setup.client.clone(),
        clock: setup.clock.clone(),
        written: reflector.store(),
        stages,
    };
    setup.reconcile("stage", queue, WORKERS, keeper);
}

impl Stages {
    pub(super) fn see(&self, change: &Change<'_, Written>) {
        let (Some(name), Some(last)) =
            (change.sides().find_map(|stage| stage.metadata.name.clone()), change.sides().last())
        else {
            return;
        };
        let unchanged = |before: &Arc<Written>| {
            change.after.is_some_and(|after| before.uid() == after.uid() && before.spec == after.spec)
        };
        if change.before.is_some_and(unchanged) {
            return;
        }
        let before = self.take_out(&name);
        let after = change.after.and_then(|written| {
            let record = self.record(&name, written);
            let selects_any = written.spec.selector.is_some();
            match Stage::compile(&name, self.next_id(), &written.spec, record) {
                Ok(stage) => selects_any.then(|| self.put_in(Arc::new(stage))),
                Err(_) => None,
            }
        });
        if change.after.is_none() {
            self.records.lock().remove(&name);
        }
        let listeners = self.listeners.lock();
        for stage in before.iter().chain(&after) {
            listeners.iter().for_each(|listener| listener(stage));
        }
        self.told.add(Key::cluster(last.name_any()));
    }

    /// What is known of a Stage. Counts go on from what it shows.
    fn record(&self, name: &str, written: &Written) -> Arc<Record> {
        let mut records = self.records.lock();
        let record = records.entry(name.to_owned()).or_insert_with(|| {
            let shown = written.status.clone().unwrap_or_default();
            Arc::new(Record {
                played: shown.played.into(),
                failed: shown.failed.into(),
                trouble: Mutex::default(),
            })
        });
        *record.trouble.lock() = None;
        record.clone()
    }

    fn take_out(&self, name: &str) -> Option<Arc<Stage>> {
        let mut compiled = self.compiled.write();
        let compiled = &mut *compiled;
        [&mut compiled.pods, &mut compiled.nodes].into_iter().find_map(|list| {
            let found = list.iter().find(|stage| stage.name == name).cloned()?;
            *list = list.iter().filter(|stage| stage.name != name).cloned().collect();
            Some(found)
        })
    }

    fn put_in(&self, stage: Arc<Stage>) -> Arc<Stage> {
        let mut compiled = self.compiled.write();
        let list = match stage.kind {
            Kind::Pod => &mut compiled.pods,
            Kind::Node => &mut compiled.nodes,
        };
        let mut stages: Vec<_> = list.iter().cloned().chain([stage.clone()]).collect();
        // The order in which they are drawn from does not depend on which came first.
        stages.sort_by(|one, other| one.name.cmp(&other.name));
        *list = stages.into();
        stage
    }
}

struct Keeper {
    client: Client,
    clock: Clock,
    written: Arc<Store<Written>>,
    stages: Arc<Stages>,
}

impl Reconcile<Key> for Keeper {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(written) = self.written.get(key) else { return Ok(Next::Change) };
        let record = self.stages.records.lock().get(&key.name).cloned().unwrap_or_default();
        let waiting = self.stages.waiting(&key.name);
        let Some(status) = status(&written, &record, waiting, self.clock.now()) else {
            return Ok(Next::Change);
        };
        let api = Api::<Written>::all(self.client.clone());
        let patch = Patch::Merge(json!({"metadata": {"uid": written.metadata.uid}, "status": status}));
        match api.patch_status(&key.name, &PatchParams::default(), &patch).await.map_err(Error::from) {
            Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error),
            _ => Ok(Next::Change),
        }
    }
}

/// The status that a Stage has now, if that is another than it shows.
pub(super) fn status(
    written: &Written,
    record: &Record,
    waiting: i64,
    now: Timestamp,
) -> Option<StageStatus> {
    let shown = written.status.clone().unwrap_or_default();
    let invalid = Stage::compile("", 0, &written.spec, Arc::default()).err();
    let ready = match (&invalid, &written.spec.selector) {
        (Some(error), _) => ("False", "InvalidExpression", error.clone()),
        (None, None) => ("True", "SelectsNothing", "it has no selector".to_owned()),
        (None, Some(_)) => ("True", "Accepted", "its expressions are understood".to_owned()),
    };
    let evaluated = match record.trouble.lock().clone() {
        Some(trouble) => ("False", "Failed", trouble),
        None => ("True", "Succeeded", String::new()),
    };
    let condition = |type_: &str, (truth, reason, message): (&str, &str, String)| {
        let known = shown.conditions.iter().find(|it| it.type_ == type_);
        let since = known.filter(|it| it.status == truth).map(|it| it.last_transition_time.clone());
        Condition {
            type_: type_.into(),
            status: truth.into(),
            reason: reason.into(),
            message: message.chars().take(1024).collect(),
            observed_generation: written.metadata.generation,
            last_transition_time: since
                .unwrap_or_else(|| Time(Timestamp::from_second(now.as_second()).unwrap_or(now))),
        }
    };
    let status = StageStatus {
        conditions: vec![condition("Ready", ready), condition("Evaluated", evaluated)],
        observed_generation: written.metadata.generation,
        waiting,
        played: record.played.load(Ordering::Relaxed),
        failed: record.failed.load(Ordering::Relaxed),
    };
    (written.status.as_ref() != Some(&status)).then_some(status)
}
