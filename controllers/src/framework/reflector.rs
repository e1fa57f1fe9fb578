//! Keeps a [`Store`] equal to what the API shows, and tells who asked.

use std::{any::Any, future::Future, sync::Arc, time::Duration};

use futures::{StreamExt, pin_mut};
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{
    Api,
    runtime::watcher::{self, Event},
};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::{Key, Reflected, Store, controller_of};

/// First wait after a failed list or watch, doubled up to [`RETRY_LONGEST`].
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LONGEST: Duration = Duration::from_secs(3);
/// Objects per page of a list.
const PAGE: u32 = 500;

/// An object before and after; one of the two may be absent.
pub struct Change<'a, K> {
    /// As it was in the store.
    pub before: Option<&'a Arc<K>>,
    /// As it is now.
    pub after: Option<&'a Arc<K>>,
}

impl<K: Reflected> Change<'_, K> {
    /// Both sides that exist.
    pub fn sides(&self) -> impl Iterator<Item = &Arc<K>> {
        self.before.into_iter().chain(self.after)
    }

    /// The uids of the controllers before and after.
    pub fn controllers(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.sides().filter_map(|object| {
            let owner = controller_of(object.meta())?;
            Some((owner.kind.as_str(), owner.name.as_str(), object.meta().namespace.as_deref()?))
        })
    }

    /// True when the object is new here, or its labels or its controller changed.
    pub fn relabelled(&self) -> bool {
        match (self.before, self.after) {
            (Some(before), Some(after)) => {
                before.meta().labels != after.meta().labels
                    || controller_of(before.meta()) != controller_of(after.meta())
            }
            _ => true,
        }
    }
}

type Handler<K> = Box<dyn Fn(&Change<'_, K>) + Send + Sync>;

/// One type's watch, shared by everybody in the process.
pub struct Reflector<K: Reflected> {
    store: Arc<Store<K>>,
    // Held while the store changes and the handlers run, so that a handler
    // added meanwhile sees every object exactly once before its changes.
    handlers: Mutex<Vec<Handler<K>>>,
}

impl<K: Reflected> Default for Reflector<K> {
    fn default() -> Self {
        Self { store: Arc::default(), handlers: Mutex::default() }
    }
}

impl<K: Reflected> Reflector<K> {
    /// What it keeps.
    pub fn store(&self) -> Arc<Store<K>> {
        self.store.clone()
    }

    /// Calls `handler` for what is there now and for each later change.
    /// It must not block.
    pub fn on_change(&self, handler: impl Fn(&Change<'_, K>) + Send + Sync + 'static) {
        let mut handlers = self.handlers.lock();
        for object in self.store.all() {
            handler(&Change { before: None, after: Some(&object) });
        }
        handlers.push(Box::new(handler));
    }

    /// Lists and watches until `shutdown`.
    pub async fn run(self: Arc<Self>, api: Api<K>, config: watcher::Config, shutdown: CancellationToken) {
        let mut listed = Vec::new();
        follow(api, config, shutdown, |event| self.take(event, &mut listed)).await;
    }

    fn take(&self, event: Event<K>, listed: &mut Vec<Arc<K>>) {
        match event {
            Event::Init => {
                self.store.begin_list();
                listed.clear();
            }
            Event::InitApply(object) => listed.push(Arc::new(lean(object))),
            Event::InitDone => {
                let handlers = self.handlers.lock();
                for (before, after) in self.store.replace(std::mem::take(listed)) {
                    tell(&handlers, before.as_ref(), after.as_ref());
                }
            }
            Event::Apply(object) => {
                let object = Arc::new(lean(object));
                let handlers = self.handlers.lock();
                let before = self.store.apply(object.clone());
                tell(&handlers, before.as_ref(), Some(&object));
            }
            Event::Delete(object) => {
                let handlers = self.handlers.lock();
                let before = self.store.remove(&object).unwrap_or_else(|| Arc::new(lean(object)));
                tell(&handlers, Some(&before), None);
            }
        }
    }
}

fn tell<K>(handlers: &[Handler<K>], before: Option<&Arc<K>>, after: Option<&Arc<K>>) {
    for handler in handlers {
        handler(&Change { before, after });
    }
}

/// `object` without its managed fields, which no loop reads and which are as
/// large as the rest. An update that leaves them out keeps them.
fn lean<K: Reflected>(mut object: K) -> K {
    object.meta_mut().managed_fields = None;
    if let Some(pod) = (&mut object as &mut dyn Any).downcast_mut::<Pod>() {
        tighten(pod);
    }
    object
}

/// Takes away the room that the decoder has left for more: there are many pods, and each has a fifth more of it than
/// it needs.
fn tighten(pod: &mut Pod) {
    if let Some(status) = &mut pod.status {
        shrink(&mut status.conditions);
        shrink(&mut status.container_statuses);
        shrink(&mut status.init_container_statuses);
    }
    let Some(spec) = &mut pod.spec else { return };
    shrink(&mut spec.tolerations);
    shrink(&mut spec.volumes);
    for volume in spec.volumes.iter_mut().flatten() {
        if let Some(projected) = &mut volume.projected {
            shrink(&mut projected.sources);
        }
    }
    for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        shrink(&mut container.env);
        shrink(&mut container.ports);
        shrink(&mut container.volume_mounts);
    }
}

fn shrink<T>(list: &mut Option<Vec<T>>) {
    if let Some(list) = list {
        list.shrink_to_fit();
    }
}

/// Lists and watches until `shutdown`, through dropped watches and errors.
pub(crate) async fn follow<K: Reflected>(
    api: Api<K>,
    config: watcher::Config,
    shutdown: CancellationToken,
    mut take: impl FnMut(Event<K>),
) {
    let events = watcher::watcher(api, config.page_size(PAGE));
    pin_mut!(events);
    let mut wait = RETRY_FIRST;
    while let Some(event) = until(&shutdown, events.next()).await.flatten() {
        match event {
            Ok(event) => {
                // The beginning of a list is not yet an answer.
                if !matches!(event, Event::Init) {
                    wait = RETRY_FIRST;
                }
                take(event);
            }
            Err(error) => {
                tracing::debug!(%error, kind = std::any::type_name::<K>(), "watch failed");
                if until(&shutdown, tokio::time::sleep(wait)).await.is_none() {
                    return;
                }
                wait = (wait * 2).min(RETRY_LONGEST);
            }
        }
    }
}

/// What `future` gives, or nothing when `shutdown` comes first.
pub(crate) async fn until<T>(shutdown: &CancellationToken, future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = shutdown.cancelled() => None,
        value = future => Some(value),
    }
}

/// The metadata of one object, before and after.
pub struct Metadata<'a> {
    /// The object's place.
    pub key: Key,
    /// As it was.
    pub before: Option<&'a ObjectMeta>,
    /// As it is now.
    pub after: Option<&'a ObjectMeta>,
}

/// A reflector of any type, seen as a source of metadata: who needs only
/// that need not watch the type again.
pub trait MetadataFeed: Send + Sync {
    /// Calls `handler` for what is there now and for each later change.
    fn on_metadata(&self, handler: Box<dyn Fn(&Metadata<'_>) + Send + Sync>);
    /// Tells when the first full list is here.
    fn synced(&self) -> tokio::sync::watch::Receiver<bool>;
}

impl<K: Reflected> MetadataFeed for Reflector<K> {
    fn on_metadata(&self, handler: Box<dyn Fn(&Metadata<'_>) + Send + Sync>) {
        self.on_change(move |change| {
            let Some(key) = change.sides().next().map(|object| Key::of(object.meta())) else { return };
            handler(&Metadata {
                key,
                before: change.before.map(|object| object.meta()),
                after: change.after.map(|object| object.meta()),
            });
        });
    }

    fn synced(&self) -> tokio::sync::watch::Receiver<bool> {
        self.store.synced()
    }
}
