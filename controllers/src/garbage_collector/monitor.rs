//! Watches the metadata of everything that can be deleted, as resources come
//! and go.

use std::{collections::HashMap, sync::Arc, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api,
    api::DynamicObject,
    core::PartialObjectMeta,
    runtime::watcher::{self, Event},
};
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{Collector, Kind, graph::Outcome};
use crate::framework::{MetadataFeed, Served, all_synced, discover, feed_name, follow, until};

/// Time between looks at what the API serves (upstream: 30 s).
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// From a change of the custom resource definitions to a look: it takes the
/// API a moment to serve a new one, and they often come in numbers.
const SETTLE: Duration = Duration::from_millis(300);
/// Time to wait for all first lists; whoever comes later only costs questions.
const FIRST_LISTS: Duration = Duration::from_secs(30);
/// Objects that own nothing, are owned by nothing, and are many.
const IGNORED: [&str; 2] = ["events.", "events.events.k8s.io"];
/// How long the watch of what is no longer served may still tell of what went before.
const DRAIN: Duration = Duration::from_secs(2);
const DEFINITIONS: &str = "customresourcedefinitions.apiextensions.k8s.io";

/// Watches until `shutdown`; `complete` becomes true when the first lists are here.
pub(super) async fn run(
    collector: Arc<Collector>,
    feeds: HashMap<String, Arc<dyn MetadataFeed>>,
    complete: watch::Sender<bool>,
    shutdown: CancellationToken,
) {
    let mut monitors = Monitors {
        collector,
        feeds,
        running: HashMap::new(),
        tasks: JoinSet::new(),
        stop: shutdown.child_token(),
        changed: Arc::new(Notify::new()),
    };
    let mut wait = SETTLE;
    loop {
        let Some(served) = until(&shutdown, discover(&monitors.collector.client)).await else { break };
        match served {
            Ok(served) => {
                let synced = monitors.follow_served(served);
                if !*complete.borrow() {
                    let first = tokio::time::timeout(FIRST_LISTS, all_synced(synced));
                    if until(&shutdown, first).await.is_none() {
                        break;
                    }
                    complete.send_replace(true);
                }
                wait = LOOK_EVERY;
            }
            Err(error) => {
                tracing::debug!(%error, "discovery failed");
                wait = (wait * 2).min(LOOK_EVERY);
            }
        }
        let changed = monitors.changed.clone();
        let next = async {
            if tokio::time::timeout(wait, changed.notified()).await.is_ok() {
                tokio::time::sleep(SETTLE).await;
            }
        };
        if until(&shutdown, next).await.is_none() {
            break;
        }
    }
    monitors.stop.cancel();
    while monitors.tasks.join_next().await.is_some() {}
}

struct Monitors {
    collector: Arc<Collector>,
    feeds: HashMap<String, Arc<dyn MetadataFeed>>,
    /// What is watched and how to stop it, by resource.
    running: HashMap<String, (Arc<Kind>, CancellationToken)>,
    tasks: JoinSet<()>,
    stop: CancellationToken,
    /// The definitions of custom resources have changed.
    changed: Arc<Notify>,
}

impl Monitors {
    /// Starts to watch what is new and stops to watch what is gone.
    fn follow_served(&mut self, served: Vec<Served>) -> Vec<watch::Receiver<bool>> {
        while self.tasks.try_join_next().is_some() {}
        let kinds: Vec<Arc<Kind>> = served
            .into_iter()
            .filter(|served| served.supports(&["list", "watch", "delete"]))
            .map(|served| Arc::new(Kind { resource: served.resource, namespaced: served.namespaced }))
            .filter(|kind| !IGNORED.contains(&name(kind).as_str()))
            .collect();
        let by_kind =
            |kind: &Arc<Kind>| ((kind.resource.group.clone(), kind.resource.kind.clone()), kind.clone());
        *self.collector.kinds.write() = kinds.iter().map(by_kind).collect();
        // One that is served in another version now is watched anew.
        let by_name: HashMap<String, &Arc<Kind>> = kinds.iter().map(|kind| (name(kind), kind)).collect();
        let (feeds, tasks) = (&self.feeds, &mut self.tasks);
        self.running.retain(|name, (watched, stop)| {
            let now = by_name.get(name);
            let kept = now.is_some_and(|kind| *kind == watched || feeds.contains_key(name));
            if !kept && now.is_some() {
                stop.cancel();
            } else if !kept {
                let stop = stop.clone();
                tasks.spawn(async move {
                    if until(&stop, tokio::time::sleep(DRAIN)).await.is_some() {
                        stop.cancel();
                    }
                });
            }
            kept
        });
        kinds.into_iter().filter_map(|kind| self.follow(kind)).collect()
    }

    fn follow(&mut self, kind: Arc<Kind>) -> Option<watch::Receiver<bool>> {
        let name = name(&kind);
        if self.running.contains_key(&name) {
            return None;
        }
        let stop = self.stop.child_token();
        self.running.insert(name.clone(), (kind.clone(), stop.clone()));
        let collector = self.collector.clone();
        if let Some(feed) = self.feeds.get(&name) {
            feed.on_metadata(Box::new(move |change| collector.take(&kind, change.before, change.after)));
            return Some(feed.synced());
        }
        let changed = (name == DEFINITIONS).then(|| self.changed.clone());
        let (sync, synced) = watch::channel(false);
        self.tasks.spawn(watch_kind(collector, kind, sync, changed, stop));
        Some(synced)
    }
}

fn name(kind: &Kind) -> String {
    feed_name(&kind.resource.group, &kind.resource.plural)
}

async fn watch_kind(
    collector: Arc<Collector>,
    kind: Arc<Kind>,
    synced: watch::Sender<bool>,
    changed: Option<Arc<Notify>>,
    stop: CancellationToken,
) {
    let api = Api::<PartialObjectMeta<DynamicObject>>::all_with(collector.client.clone(), &kind.resource);
    let mut listed: Vec<ObjectMeta> = Vec::new();
    follow(api, watcher::Config::default(), stop, |event| {
        match event {
            Event::Init => listed.clear(),
            Event::InitApply(object) => listed.push(lean(object.metadata)),
            Event::InitDone => {
                let outcome = collector.graph.lock().replace(&kind, &std::mem::take(&mut listed));
                collector.look(outcome);
                synced.send_replace(true);
            }
            Event::Apply(object) => collector.take(&kind, None, Some(&object.metadata)),
            Event::Delete(object) => collector.take(&kind, Some(&object.metadata), None),
        }
        if let Some(changed) = &changed {
            changed.notify_one();
        }
    })
    .await;
    // What is no longer served does not hold anything up.
    if collector.kind(&kind.resource.api_version, &kind.resource.kind).is_none() {
        let outcome = collector.graph.lock().forget(&kind);
        collector.look(outcome);
    }
}

/// What the graph reads of metadata.
fn lean(meta: ObjectMeta) -> ObjectMeta {
    ObjectMeta { managed_fields: None, labels: None, annotations: None, ..meta }
}

impl Collector {
    fn take(&self, kind: &Arc<Kind>, before: Option<&ObjectMeta>, after: Option<&ObjectMeta>) {
        let mut graph = self.graph.lock();
        let mut outcome = Outcome::default();
        let uid = |meta: Option<&ObjectMeta>| meta.and_then(|meta| meta.uid.clone());
        // The same name may be another object.
        if let Some(gone) = uid(before).filter(|gone| uid(after).as_ref() != Some(gone)) {
            outcome.add(graph.remove(&gone));
        }
        if let Some(meta) = after {
            outcome.add(graph.set(kind, meta));
        }
        drop(graph);
        self.look(outcome);
    }
}
