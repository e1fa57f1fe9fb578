//! What watchers get.

use std::{sync::Arc, time::Instant};

use coracle_api::{
    Resource,
    metrics::{Counter, Family, Histogram, Registry},
};

use super::facts;

/// What is counted of watches.
pub struct Watches {
    events: Arc<Family<Counter>>,
    sizes: Arc<Family<Histogram>>,
    initial: Arc<Family<Counter>>,
    lists: Arc<Family<Histogram>>,
    terminated: Arc<Family<Counter>>,
}

/// The handles of one watch.
pub struct Watch {
    events: Arc<Counter>,
    sizes: Arc<Histogram>,
    initial: Arc<Counter>,
    list: Arc<Histogram>,
    terminated: Arc<Counter>,
    since: Instant,
}

impl Watches {
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            events: registry.family(&facts::WATCH_EVENTS),
            sizes: registry.family(&facts::WATCH_EVENT_SIZES),
            initial: registry.family(&facts::INIT_EVENTS),
            lists: registry.family(&facts::WATCH_LISTS),
            terminated: registry.family(&facts::TERMINATED_WATCHERS),
        }
    }

    /// A watch of a resource begins.
    pub fn begin(&self, resource: &Resource, scope: &str) -> Watch {
        let (group, version, plural) = (&*resource.gvk.group, &*resource.gvk.version, &*resource.plural);
        Watch {
            events: self.events.with(&[group, version, plural]),
            sizes: self.sizes.with(&[group, version, plural]),
            initial: self.initial.with(&[group, plural]),
            list: self.lists.with(&[group, version, plural, scope]),
            terminated: self.terminated.with(&[group, plural]),
            since: Instant::now(),
        }
    }
}

impl Watch {
    /// An event was sent, of so many bytes.
    pub fn sent(&self, bytes: usize) {
        self.events.inc();
        self.sizes.observe(bytes as f64);
    }

    /// Of what was there at the start, this many objects were sent.
    pub fn began_with(&self, objects: usize) {
        self.initial.add(objects as u64);
    }

    /// The list that a watch began with was sent.
    pub fn listed(&self) {
        self.list.observe(self.since.elapsed().as_secs_f64());
    }

    /// The watcher was too slow.
    pub fn fell_behind(&self) {
        self.terminated.inc();
    }
}
