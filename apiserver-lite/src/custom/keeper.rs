//! Follows the CRDs: accepts their names, establishes them, and deletes their
//! instances before they go.
//!
//! Start at [`run`]. Level-based: an event says which CRD to look at, never
//! what to do.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use coracle_api::Object;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    conditions::{self, CLEANUP},
    definition::is_true,
    definitions::PREFIX,
};
use crate::{
    ApiServer,
    authn::User,
    codec,
    error::ApiError,
    registry::{
        Registry, Target,
        change::Change,
        options::{DeleteOptions, ListOptions, WriteOptions},
        read::internal,
        write::Author,
    },
    resources::Part,
    watch::{Subscriber, subscriber::Next},
};

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
// Without anything to do it still looks up now and then.
const IDLE: Duration = Duration::from_secs(600);

/// Follows the CRDs until the shutdown.
pub async fn run(server: Arc<ApiServer>, shutdown: CancellationToken) {
    let mut keeper = Keeper { server, due: BTreeMap::new(), waits: BTreeMap::new() };
    tokio::select! {
        () = keeper.keep() => {}
        () = shutdown.cancelled() => {}
    }
}

struct Keeper {
    server: Arc<ApiServer>,
    // When to look at which CRD.
    due: BTreeMap<String, Instant>,
    // How long each was last waited for.
    waits: BTreeMap<String, Duration>,
}

// What came of a look at a CRD.
enum Look {
    // All is as it should be.
    Done,
    // It was written, or somebody else wrote it: its event comes.
    Written,
    // Not yet: again later.
    Waiting,
}

impl Keeper {
    fn registry(&self) -> &Registry {
        &self.server.registry
    }

    async fn keep(&mut self) {
        loop {
            // Subscribed before all are looked at: what comes later is seen.
            let hub = self.registry().hub.clone();
            let feed = hub.feed(PREFIX);
            let Ok(mut subscriber) = Subscriber::new(&hub, &feed, hub.revision()) else { continue };
            self.registry().rows();
            for crd in self.registry().definitions.all() {
                self.due.insert(crd.name().to_owned(), Instant::now());
            }
            loop {
                self.look_at_all_due().await;
                let next = self.due.values().min().copied().unwrap_or_else(|| Instant::now() + IDLE);
                match subscriber.next(next).await {
                    Ok(Next::Events(events)) => {
                        for told in events {
                            self.seen(&told.event.key()[PREFIX.len()..], told.event.deleted);
                        }
                    }
                    Ok(Next::Quiet(_)) => {}
                    Ok(Next::Closed) => return,
                    Err(_) => break,
                }
            }
        }
    }

    fn seen(&mut self, name: &str, deleted: bool) {
        self.waits.remove(name);
        if !deleted {
            self.due.insert(name.to_owned(), Instant::now());
            return;
        }
        self.due.remove(name);
        self.siblings(name);
    }

    // Names that one CRD gives up are free for the others of its group.
    fn siblings(&mut self, name: &str) {
        let group = |name: &str| name.split_once('.').map(|(_, group)| group.to_owned());
        let own = group(name);
        let others: BTreeSet<String> = self.registry().definitions.names().into_iter().collect();
        for other in others.into_iter().filter(|it| it != name && group(it) == own) {
            self.due.entry(other).or_insert_with(Instant::now);
        }
    }

    async fn look_at_all_due(&mut self) {
        loop {
            let now = Instant::now();
            let Some(name) = self.due.iter().find(|(_, at)| **at <= now).map(|(name, _)| name.clone()) else {
                return;
            };
            self.due.remove(&name);
            match self.look(&name).await {
                Ok(Look::Done) => {
                    self.waits.remove(&name);
                }
                Ok(Look::Written) => self.siblings(&name),
                Ok(Look::Waiting) => self.later(name),
                Err(ApiError::Conflict { .. } | ApiError::NotFound(_)) => {}
                Err(error) => {
                    tracing::warn!(%error, crd = name, "a custom resource definition could not be kept");
                    self.later(name);
                }
            }
        }
    }

    fn later(&mut self, name: String) {
        let wait = self.waits.get(&name).map_or(FIRST_WAIT, |last| (*last * 2).min(LONGEST_WAIT));
        self.due.insert(name.clone(), Instant::now() + wait);
        self.waits.insert(name, wait);
    }

    async fn look(&self, name: &str) -> Result<Look, ApiError> {
        let registry = self.registry();
        let found = registry.store.get(&format!("{PREFIX}{name}")).await.map_err(internal)?;
        let Some(record) = found else { return Ok(Look::Done) };
        let crd = codec::json::parse_stored(&record.bytes);
        registry.rows();
        let now = registry.config.clock.now();
        if crd.deleting() && crd.finalizers().any(|it| it == CLEANUP) {
            return self.take_instances(&crd).await;
        }
        let taken = registry.definitions.taken(name);
        match conditions::next(&crd, &taken, now) {
            Some(next) => self.write(next).await.map(|()| Look::Written),
            None => Ok(Look::Done),
        }
    }

    async fn take_instances(&self, crd: &Object) -> Result<Look, ApiError> {
        let registry = self.registry();
        let now = registry.config.clock.now();
        let begun = crd.get(&["status", "conditions"]).is_some_and(|it| {
            it.as_array().into_iter().flatten().any(|it| it["reason"] == "InstanceDeletionInProgress")
        });
        if !begun {
            self.write(conditions::deleting(crd, now)).await?;
            return Ok(Look::Written);
        }
        let had = is_true(crd, "Established");
        if let Some(row) = registry.definitions.stored_row(crd.name()).filter(|_| had) {
            let target = Target { row, namespace: String::new(), name: String::new() };
            let user = User::server();
            let (all, options) = (ListOptions::default(), DeleteOptions::default());
            registry.delete_collection(&target, &all, &options, &user).await?;
            let some = ListOptions { limit: 1, ..ListOptions::default() };
            if !registry.list(&target, &some).await?.records.is_empty() {
                return Ok(Look::Waiting);
            }
        }
        self.write(conditions::released(crd, had, now)).await?;
        Ok(Look::Written)
    }

    async fn write(&self, crd: Object) -> Result<(), ApiError> {
        let registry = self.registry();
        let Some(row) = registry.row("apiextensions.k8s.io", "v1", "customresourcedefinitions") else {
            return Ok(());
        };
        let target = Target { row, namespace: String::new(), name: crd.name().to_owned() };
        let user = User::server();
        let options = WriteOptions::own();
        let mut author =
            Author { user: &user, options: &options, manager: "kube-apiserver", warnings: Vec::new() };
        registry.update(&target, Part::Status, &Change::Replace(crd), &mut author).await?;
        Ok(())
    }
}
