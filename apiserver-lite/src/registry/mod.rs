//! Objects in the store: reading, the one write loop, deletion.
//!
//! Start at [`Registry`]. Reads ([`read`]) answer with records, never decoded.
//! Every write is a [`change::Change`] through [`write`] or, for deletions,
//! [`delete`].

pub mod binding;
pub mod bootstrap;
pub mod change;
pub mod companions;
pub mod delete;
pub mod lookup;
pub mod metadata;
pub mod options;
pub mod page;
pub mod read;
pub mod rows;
pub mod scale;
pub mod turns;
pub mod write;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use arc_swap::ArcSwap;
use coracle_store::Store;

use crate::{
    codec::shows::Shows,
    config::Config,
    custom::Definitions,
    error::{ApiError, Subject},
    metrics::Metrics,
    resources::Row,
    watch::Hub,
};

pub use rows::Rows;

/// Everything that requests work on.
pub struct Registry {
    /// The cluster's data.
    pub store: Arc<dyn Store>,
    /// The histories that watches read.
    pub hub: Arc<Hub>,
    /// The settings.
    pub config: Config,
    /// What was made of objects to show them.
    pub shows: Shows,
    /// What custom resources there are.
    pub definitions: Arc<Definitions>,
    /// What is measured.
    pub metrics: Metrics,
    /// Who charges a quota next.
    pub charging: turns::Turns,
    rows: ArcSwap<Rows>,
    // What the checks of health ask for.
    making_defaults: AtomicBool,
    stopping: AtomicBool,
}

impl Registry {
    /// A registry of the built-in kinds over `store`, whose sink is `hub`.
    pub fn new(store: Arc<dyn Store>, hub: Arc<Hub>, config: Config, rows: Rows) -> Self {
        let definitions = Arc::new(Definitions::new(rows.all()));
        hub.tap(definitions.prefix(), definitions.clone());
        Self {
            store,
            hub,
            config,
            shows: Shows::default(),
            definitions,
            metrics: Metrics::default(),
            charging: turns::Turns::default(),
            rows: ArcSwap::from_pointee(rows),
            making_defaults: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
        }
    }

    /// Whether the objects are there that every cluster has.
    pub fn has_defaults(&self) -> bool {
        !self.making_defaults.load(Ordering::Acquire)
    }

    /// Those objects are being made, and are there a little later.
    pub fn makes_defaults(&self, making: bool) {
        self.making_defaults.store(making, Ordering::Release);
    }

    /// Whether the server is about to stop.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// The server is about to stop: it says so when it is asked, and goes on.
    pub fn stops(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// The kinds that are served now: with the custom resources of every
    /// definition that was written before the call.
    pub fn rows(&self) -> Arc<Rows> {
        self.follow();
        self.rows.load_full()
    }

    fn follow(&self) {
        self.definitions.follow(&self.hub, |rows| self.rows.store(Arc::new(rows)));
    }

    /// The row of a resource.
    pub fn row(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Row>> {
        self.follow();
        self.rows.load().find(group, version, plural).cloned()
    }
}

/// Which object of a kind, or which collection.
#[derive(Clone)]
pub struct Target {
    /// The kind.
    pub row: Arc<Row>,
    /// The namespace; empty for cluster-wide kinds and collections over all.
    pub namespace: String,
    /// The object's name; empty for a collection.
    pub name: String,
}

impl Target {
    /// What keys of the collection begin with.
    pub fn prefix(&self) -> String {
        let all = rows::prefix(&self.row.facts);
        if self.namespace.is_empty() || !self.row.facts.namespaced {
            all
        } else {
            format!("{all}{}/", self.namespace)
        }
    }

    /// The object's key.
    pub fn key(&self) -> String {
        format!("{}{}", self.prefix(), self.name)
    }

    /// A `Conflict` in the words that upstream's store has for an object that is not as it must be.
    pub fn unfit(&self, reason: &str) -> ApiError {
        let key = self.key();
        ApiError::Conflict {
            subject: Subject::of(&self.row.facts, &self.name),
            reason: format!(
                "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: {reason}"
            ),
        }
    }

    /// The same kind and namespace, another name.
    #[must_use]
    pub fn named(&self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self.clone() }
    }
}
