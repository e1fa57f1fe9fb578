//! All CRDs, and the rows that they are now.
//!
//! The store tells of each write to a CRD before it is acknowledged; the rows
//! are made anew when the next request looks at them. So a request never sees
//! less than what was acknowledged before it began, and a CRD that nobody asks
//! for costs nothing.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use coracle_api::Object;
use coracle_store::{Event, Record, Store};
use parking_lot::Mutex;

use super::{conditions::Taken, definition::Definition};
use crate::{
    codec,
    error::ApiError,
    registry::Rows,
    registry::{read::internal, rows},
    resources::Row,
    watch::{Hub, Tap},
};

/// What the keys of CRDs begin with.
pub const PREFIX: &str = "/registry/apiextensions.k8s.io/customresourcedefinitions/";

/// All CRDs.
pub struct Definitions {
    builtin: Vec<Arc<Row>>,
    // How many writes the store told of, and how many of them are in the rows.
    told: AtomicU64,
    taken: AtomicU64,
    pending: Mutex<BTreeMap<String, Option<Arc<Record>>>>,
    served: Mutex<Served>,
}

#[derive(Default)]
struct Served {
    by_key: BTreeMap<String, Entry>,
    stamp: u64,
}

struct Entry {
    record: Arc<Record>,
    definition: Option<Arc<Definition>>,
    // Those that are served.
    rows: Vec<Arc<Row>>,
    // That of the version which is stored.
    stored: Option<Arc<Row>>,
    taken: Taken,
}

impl Tap for Definitions {
    fn see(&self, event: &Arc<Event>) {
        let record = (!event.deleted).then(|| event.record.clone());
        self.pending.lock().insert(event.key().to_string(), record);
        self.told.fetch_add(1, Ordering::AcqRel);
    }
}

impl Definitions {
    /// None yet, beside these rows.
    pub fn new(builtin: &[Arc<Row>]) -> Self {
        Self {
            builtin: builtin.to_vec(),
            told: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            pending: Mutex::default(),
            served: Mutex::default(),
        }
    }

    /// What the keys of CRDs begin with.
    pub fn prefix(&self) -> &'static str {
        PREFIX
    }

    /// Takes up what is in a store that was opened.
    ///
    /// # Errors
    /// The store's.
    pub async fn load(&self, store: &dyn Store) -> Result<(), ApiError> {
        let range = coracle_store::Range { prefix: PREFIX.into(), after: None, limit: 0 };
        let page = store.range(range, None).await.map_err(internal)?;
        let mut pending = self.pending.lock();
        for record in page.records {
            // What the store told of since is newer.
            pending.entry(record.key.to_string()).or_insert(Some(record));
        }
        self.told.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// Every CRD as it is now.
    pub fn all(&self) -> Vec<Object> {
        let records: Vec<Arc<Record>> =
            self.served.lock().by_key.values().map(|entry| entry.record.clone()).collect();
        records.iter().map(|record| codec::json::parse_stored(&record.bytes)).collect()
    }

    /// The names of all CRDs.
    pub fn names(&self) -> Vec<String> {
        let served = self.served.lock();
        served.by_key.keys().filter_map(|key| key.strip_prefix(PREFIX)).map(str::to_owned).collect()
    }

    /// The row of the version that is stored, served or not.
    pub fn stored_row(&self, name: &str) -> Option<Arc<Row>> {
        self.served.lock().by_key.get(&format!("{PREFIX}{name}"))?.stored.clone()
    }

    /// The definition that a row is of.
    pub fn of(&self, row: &Row) -> Option<Arc<Definition>> {
        let gvk = &row.facts.gvk;
        let key = format!("{PREFIX}{}.{}", row.facts.plural, gvk.group);
        self.served.lock().by_key.get(&key)?.definition.clone()
    }

    /// The names that the CRDs of a CRD's group have.
    pub fn taken(&self, name: &str) -> Taken {
        let group = name.split_once('.').map_or("", |(_, group)| group);
        let mut taken = Taken::default();
        let served = self.served.lock();
        let suffix = format!(".{group}");
        for (key, entry) in &served.by_key {
            let other = key.strip_prefix(PREFIX).and_then(|it| it.split_once('.')).map(|(_, group)| group);
            if other == Some(group) && key.ends_with(&suffix) {
                taken.resources.extend(entry.taken.resources.iter().cloned());
                taken.kinds.extend(entry.taken.kinds.iter().cloned());
            }
        }
        taken
    }

    /// Takes up what was written since, and hands the new rows to `install`.
    pub fn follow(&self, hub: &Hub, install: impl FnOnce(Rows)) {
        if self.told.load(Ordering::Acquire) == self.taken.load(Ordering::Acquire) {
            return;
        }
        // Who comes second waits here, and finds that it is done.
        let mut served = self.served.lock();
        let told = self.told.load(Ordering::Acquire);
        if told == self.taken.load(Ordering::Acquire) {
            return;
        }
        let pending = std::mem::take(&mut *self.pending.lock());
        let mut changed = false;
        for (key, record) in pending {
            changed |= served.take(key, record, hub);
        }
        if changed {
            let custom = served.by_key.values().flat_map(|entry| entry.rows.iter());
            // What is built in comes first, and is served by nothing else.
            let own = |row: &&Arc<Row>| {
                let gvk = &row.facts.gvk;
                !self
                    .builtin
                    .iter()
                    .any(|it| it.facts.gvk.group == gvk.group && it.facts.gvk.version == gvk.version)
            };
            install(Rows::of(self.builtin.iter().chain(custom.filter(own)).cloned().collect()));
        }
        self.taken.store(told, Ordering::Release);
    }
}

impl Served {
    // Takes up one CRD; whether that changes what is served.
    fn take(&mut self, key: String, record: Option<Arc<Record>>, hub: &Hub) -> bool {
        let Some(record) = record else {
            let Some(gone) = self.by_key.remove(&key) else { return false };
            gone.drop_feed(hub);
            return !gone.rows.is_empty();
        };
        let before = self.by_key.get_mut(&key);
        let mut other = true;
        if let Some(before) = before {
            let (old, new) =
                (codec::json::parse_stored(&before.record.bytes), codec::json::parse_stored(&record.bytes));
            // One that is going, and nothing else, has watchers who are to see its objects go.
            other = new.uid() != old.uid() || new.0.get("spec") != old.0.get("spec");
            if Definition::is_as(&new, &old) && new.uid() == old.uid() {
                before.record = record;
                before.taken = names_of(&new);
                return false;
            }
        }
        self.stamp += 1;
        let taken = names_of(&codec::json::parse_stored(&record.bytes));
        let mut entry = Entry { definition: None, rows: Vec::new(), stored: None, taken, record };
        if let Some((definition, rows)) = Definition::read(&entry.record, self.stamp) {
            entry.stored = rows.get(definition.storage).map(|(_, row)| row.clone());
            entry.rows = rows.into_iter().filter(|(served, _)| *served).map(|(_, row)| row).collect();
            entry.definition = Some(definition);
        }
        for row in &entry.rows {
            let feed = hub.feed(&rows::prefix(&row.facts));
            // Watchers of what it was list again.
            if other {
                feed.end_watches();
            }
        }
        let before = self.by_key.insert(key, entry);
        let served = self.by_key.values().any(|entry| !entry.rows.is_empty());
        if let Some(before) = before.filter(|it| !it.rows.is_empty()) {
            let still = self
                .by_key
                .values()
                .flat_map(|it| &it.rows)
                .any(|row| before.rows.iter().any(|old| old.facts.storage == row.facts.storage));
            if !still {
                before.drop_feed(hub);
            }
            return true;
        }
        served
    }
}

fn names_of(crd: &Object) -> Taken {
    let mut taken = Taken::default();
    taken.add(crd);
    taken
}

impl Entry {
    fn drop_feed(&self, hub: &Hub) {
        if let Some(row) = self.rows.first() {
            hub.drop_feed(&rows::prefix(&row.facts));
        }
    }
}
