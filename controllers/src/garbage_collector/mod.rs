//! Deletes what nobody owns any more.
//!
//! The [`graph`] holds who owns whom, from the metadata of everything that
//! can be deleted; [`monitor`] fills it; [`plan`] decides for one object.
//! An owner that the graph does not know is asked for, so that nothing is
//! deleted because a copy is incomplete.

mod absent;
mod collect;
mod graph;
mod monitor;
mod plan;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, fmt, sync::Arc};

use kube::{Client, core::ApiResource};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use self::{absent::Absent, graph::Graph};
use crate::framework::{MetadataFeed, Queue, Recorder, Setup, Style};

const WORKERS: usize = 20;

/// Puts the collector in. It must be the last: what others reflect it need
/// not watch again.
pub(crate) fn start(setup: &mut Setup) {
    let collector = Arc::new(Collector {
        client: setup.client.clone(),
        events: setup.recorder("garbage-collector-controller", Style::Counted),
        queue: Queue::new(),
        graph: Mutex::default(),
        kinds: RwLock::default(),
        absent: Mutex::default(),
    });
    let feeds: HashMap<String, Arc<dyn MetadataFeed>> = setup.feeds().clone();
    let (complete, is_complete) = watch::channel(false);
    let watching = collector.clone();
    setup.task(move |shutdown| monitor::run(watching, feeds, complete, shutdown));
    setup.await_sync(is_complete);
    let queue = collector.queue.clone();
    setup.reconcile("garbage-collector-controller", queue, WORKERS, collect::Worker(collector));
}

/// A kind of object that is collected.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    resource: ApiResource,
    namespaced: bool,
}

/// Something to look at, by uid.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Work {
    /// Whether the object must go.
    Delete(String),
    /// Its dependents are to stay: they lose their reference.
    Orphan(String),
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Work::Delete(uid) => write!(f, "delete {uid}"),
            Work::Orphan(uid) => write!(f, "orphan dependents of {uid}"),
        }
    }
}

struct Collector {
    client: Client,
    events: Recorder,
    queue: Queue<Work>,
    graph: Mutex<Graph>,
    /// By group and kind, as owner references name them.
    kinds: RwLock<HashMap<(String, String), Arc<Kind>>>,
    /// Owners that were asked for, or seen to go.
    absent: Mutex<Absent>,
}

impl Collector {
    fn look(&self, outcome: graph::Outcome) {
        let mut absent = self.absent.lock();
        outcome.gone.into_iter().for_each(|key| absent.add(key));
        drop(absent);
        self.queue.extend(outcome.work);
    }

    fn kind(&self, api_version: &str, kind: &str) -> Option<Arc<Kind>> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        self.kinds.read().get(&(group.to_owned(), kind.to_owned())).cloned()
    }
}
