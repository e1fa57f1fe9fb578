//! Joins reflectors, queues and reconcilers, and runs them.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    future::Future,
    hash::Hash,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use coracle_api::metrics::Registry;
use kube::{Api, Client, Resource, core::ApiResource, runtime::watcher};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    Clock, Error, EventSink, MetadataFeed, Queue, Recorder, Reflected, Reflector,
    events::{self, Style},
    reflector::until,
};

/// When a reconciled key should be looked at again without a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Only when something changes.
    Change,
    /// After this long.
    After(Duration),
}

/// A control loop's body.
pub trait Reconcile<K>: Send + Sync + 'static {
    /// Looks at `key` and does what is needed. Called for one key at a time,
    /// for several keys at once.
    fn reconcile(&self, key: &K) -> impl Future<Output = Result<Next, Error>> + Send;
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;
type Spawn = Box<dyn FnOnce(CancellationToken) -> Task + Send>;

type Deferred = Box<dyn FnOnce(&mut Setup) + Send>;

/// A set of control loops being put together: all that one process runs, so
/// that it watches each type once.
///
/// Controllers, scheduler and nodes put themselves in one after the other;
/// [`Setup::section`] stands before each.
pub struct Setup {
    /// The API, as whoever puts itself in now is known there. What is
    /// reflected is read with the client of [`Setup::new`].
    pub client: Client,
    /// The time.
    pub clock: Clock,
    /// What is measured.
    pub metrics: Arc<Registry>,
    reader: Client,
    reflectors: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
    /// Reflectors of less than all of a type, by the fields that select it.
    selected: HashMap<(TypeId, String), Arc<dyn Any + Send + Sync>>,
    feeds: HashMap<String, Arc<dyn MetadataFeed>>,
    synced: Vec<watch::Receiver<bool>>,
    tasks: Vec<Spawn>,
    last: Vec<Deferred>,
    events: EventSink,
}

impl Setup {
    /// Nothing yet.
    pub fn new(client: Client, clock: Clock) -> Self {
        let (sink, source) = events::channel();
        let writer = events::Writer::new(client.clone(), clock.clone());
        let mut setup = Self {
            reader: client.clone(),
            client,
            clock,
            metrics: Arc::default(),
            reflectors: HashMap::new(),
            selected: HashMap::new(),
            feeds: HashMap::new(),
            synced: Vec::new(),
            tasks: Vec::new(),
            last: Vec::new(),
            events: sink,
        };
        setup.task(move |shutdown| writer.run(source, shutdown));
        setup
    }

    /// Here begins what waits for nothing that was reflected before.
    pub fn section(&mut self) {
        self.synced.clear();
    }

    /// Puts something in after everything else, a section of its own.
    pub fn at_last(&mut self, start: impl FnOnce(&mut Setup) + Send + 'static) {
        self.last.push(Box::new(start));
    }

    /// The process's one reflector of `K`.
    pub fn reflect<K: Reflected + Resource<DynamicType = ()>>(&mut self) -> Arc<Reflector<K>> {
        if let Some(reflector) = known(self.reflectors.get(&TypeId::of::<K>())) {
            return self.awaited(reflector);
        }
        let reflector = self.watch::<K>(watcher::Config::default());
        let row = ApiResource::erase::<K>(&());
        self.reflectors.insert(TypeId::of::<K>(), reflector.clone());
        self.feeds.insert(feed_name(&row.group, &row.plural), reflector.clone());
        self.awaited(reflector)
    }

    /// A reflector of exactly the objects of `K` that `fields` selects.
    pub fn reflect_where<K: Reflected + Resource<DynamicType = ()>>(
        &mut self,
        fields: &str,
    ) -> Arc<Reflector<K>> {
        let which = (TypeId::of::<K>(), fields.to_owned());
        if let Some(reflector) = known(self.selected.get(&which)) {
            return self.awaited(reflector);
        }
        let reflector = self.watch::<K>(watcher::Config::default().fields(fields));
        self.selected.insert(which, reflector.clone());
        self.awaited(reflector)
    }

    /// A reflector that shows at least the objects of `K` that `fields`
    /// selects: the one of all of them, where somebody has asked for that.
    pub fn reflect_at_least<K: Reflected + Resource<DynamicType = ()>>(
        &mut self,
        fields: &str,
    ) -> Arc<Reflector<K>> {
        if self.reflectors.contains_key(&TypeId::of::<K>()) {
            return self.reflect();
        }
        self.reflect_where(fields)
    }

    fn watch<K: Reflected + Resource<DynamicType = ()>>(
        &mut self,
        config: watcher::Config,
    ) -> Arc<Reflector<K>> {
        let reflector = Arc::<Reflector<K>>::default();
        let (api, running) = (Api::all(self.reader.clone()), reflector.clone());
        self.task(move |shutdown| running.run(api, config, shutdown));
        reflector
    }

    fn awaited<K: Reflected>(&mut self, reflector: Arc<Reflector<K>>) -> Arc<Reflector<K>> {
        self.synced.push(reflector.store().synced());
        reflector
    }

    /// The metadata of what is reflected so far, by
    /// [`feed_name`].
    pub fn feeds(&self) -> &HashMap<String, Arc<dyn MetadataFeed>> {
        &self.feeds
    }

    /// Where `component` reports its events.
    pub fn recorder(&self, component: &'static str, style: Style) -> Recorder {
        Recorder::new(component, style, self.events.clone())
    }

    /// Loops of this section that are put in from now on wait for this too.
    pub fn await_sync(&mut self, synced: watch::Receiver<bool>) {
        self.synced.push(synced);
    }

    /// Runs a task until shutdown.
    pub fn task<F>(&mut self, task: impl FnOnce(CancellationToken) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tasks.push(Box::new(move |shutdown| Box::pin(task(shutdown))));
    }

    /// Runs a task until shutdown, once everything reflected so far in this
    /// section is here.
    pub fn when_synced<F>(&mut self, task: impl FnOnce(CancellationToken) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let synced = self.synced.clone();
        self.task(move |shutdown| async move {
            if until(&shutdown, all_synced(synced)).await.is_some() {
                task(shutdown).await;
            }
        });
    }

    /// Works on `queue`, up to `workers` keys at a time, once everything
    /// reflected so far in this section is here.
    pub fn reconcile<K, R>(&mut self, name: &'static str, queue: Queue<K>, workers: usize, reconciler: R)
    where
        K: Clone + Eq + Hash + std::fmt::Display + Send + Sync + 'static,
        R: Reconcile<K>,
    {
        queue.measure(&self.metrics, name);
        self.when_synced(move |shutdown| work(name, queue, workers, Arc::new(reconciler), shutdown));
    }

    /// Runs everything until `shutdown` and waits for it to end.
    pub async fn run(mut self, shutdown: CancellationToken) {
        for start in std::mem::take(&mut self.last) {
            self.section();
            start(&mut self);
        }
        let mut running = JoinSet::new();
        for spawn in self.tasks {
            running.spawn(spawn(shutdown.clone()));
        }
        while let Some(ended) = running.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a control loop died");
            }
        }
    }
}

fn known<K: Reflected>(found: Option<&Arc<dyn Any + Send + Sync>>) -> Option<Arc<Reflector<K>>> {
    found?.clone().downcast().ok()
}

/// The name that [`Setup::feeds`] knows a resource by.
pub fn feed_name(group: &str, plural: &str) -> String {
    format!("{plural}.{group}")
}

pub(crate) async fn all_synced(synced: Vec<watch::Receiver<bool>>) {
    for mut one in synced {
        // An error means that the store is gone, and with it this loop's reason to wait.
        let _ = one.wait_for(|synced| *synced).await;
    }
}

async fn work<K, R>(
    name: &'static str,
    queue: Queue<K>,
    workers: usize,
    reconciler: Arc<R>,
    shutdown: CancellationToken,
) where
    K: Clone + Eq + Hash + std::fmt::Display + Send + Sync + 'static,
    R: Reconcile<K>,
{
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(ended) = running.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(name, %error, "a reconcile died");
                }
            }
            key = queue.next(), if running.len() < workers.max(1) => {
                let (queue, reconciler) = (queue.clone(), reconciler.clone());
                running.spawn(async move {
                    // Also when the reconcile panics: the key must not stay taken.
                    let _done = Done { queue: &queue, key: &key };
                    settle(name, &queue, &key, reconciler.reconcile(&key).await);
                });
            }
        }
    }
    running.shutdown().await;
}

struct Done<'a, K: Clone + Eq + Hash> {
    queue: &'a Queue<K>,
    key: &'a K,
}

impl<K: Clone + Eq + Hash> Drop for Done<'_, K> {
    fn drop(&mut self) {
        self.queue.done(self.key);
    }
}

fn settle<K: Clone + Eq + Hash + std::fmt::Display>(
    name: &str,
    queue: &Queue<K>,
    key: &K,
    result: Result<Next, Error>,
) {
    match result {
        Ok(next) => {
            queue.forget(key);
            if let Next::After(delay) = next {
                queue.add_after(key.clone(), delay);
            }
        }
        Err(error) if error.is_namespace_terminating() => queue.forget(key),
        Err(error) => {
            tracing::debug!(name, %key, %error, "reconcile failed");
            queue.add_rate_limited(key.clone());
        }
    }
}
