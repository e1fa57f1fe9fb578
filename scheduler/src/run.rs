//! The scheduler's loop: what is seen goes into the cache and the queue, and
//! pods come out of the queue one at a time.

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Instant};

use coracle_controllers::framework::{Change, Clock, Setup, Severity, Style};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use parking_lot::Mutex;
use rand::{SeedableRng, rngs::StdRng};
use tokio::{sync::Semaphore, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    bind::{Unbound, bind},
    cache::Cache,
    configuration::{self, Configuration, DEFAULT_NAME},
    cycle::{Decision, Diagnosis, Moment, schedule_one},
    extender::Extender,
    measures::{self, Measures, Outcome},
    nominations::Nominations,
    objects::Objects,
    plugin::{Event, Happening, Nomination, Plugin},
    plugins::dynamic_resources::give_back,
    pod::PodInfo,
    preemption::evict::Eviction,
    profile::{Profile, rules},
    queue::{Back, Backoff, Queue},
    report::{self, reference},
    shape::Shapes,
};

/// Requests of bindings and reports that may be under way at once.
const AT_ONCE: usize = 128;
/// Pods that may be on their way: most wait for room among those, some for
/// volumes or for permission.
const ON_THE_WAY: usize = 4096;

/// What the scheduler is given.
#[derive(Debug, Clone)]
pub struct Config {
    /// Which rules run for which pods.
    pub configuration: Configuration,
    /// The host in its events.
    pub host: String,
    /// Decides between equal nodes.
    pub seed: u64,
    /// The time.
    pub clock: Clock,
}

impl Default for Config {
    fn default() -> Self {
        Self { configuration: Configuration::default(), host: String::new(), seed: 0, clock: Clock::system() }
    }
}

/// Schedules pods until `shutdown`, and waits for its tasks to end.
pub async fn run(client: Client, config: Config, shutdown: CancellationToken) {
    let mut setup = Setup::new(client, config.clock.clone());
    start(&mut setup, config);
    setup.run(shutdown).await;
}

/// Puts the scheduler in.
pub fn start(setup: &mut Setup, config: Config) {
    setup.section();
    let client = setup.client.clone();
    let objects = Objects::reflect(setup);
    let Configuration { profiles, backoff_first, backoff_longest, extenders } = &config.configuration;
    let extenders = match Extender::all(extenders) {
        Ok(extenders) => extenders,
        // It was tried when the configuration was read. Without those that
        // must be asked no pod would be where it should.
        Err(error) => return tracing::error!(error, "nothing is scheduled"),
    };
    let profiles: Vec<Profile> =
        profiles.iter().filter_map(|profile| profile_of(profile, &objects, &config.host, setup)).collect();
    let rules = profiles.iter().map(|profile| (profile.name.to_owned(), profile.plugins.clone())).collect();
    let scheduler = Arc::new(Scheduler {
        client,
        queue: Queue::new(rules, Backoff { first: *backoff_first, longest: *backoff_longest }),
        profiles,
        cache: Mutex::default(),
        nominations: Mutex::default(),
        requests: Semaphore::new(AT_ONCE),
        measures: Measures::new(&setup.metrics),
        extenders,
        clock: config.clock,
    });
    let counted = scheduler.clone();
    measures::pending(&setup.metrics, move || counted.queue.counts());
    let on_object = scheduler.clone();
    Objects::on_change(setup, move |event| on_object.queue.happened(event));
    let nodes = setup.reflect::<Node>();
    let on_node = scheduler.clone();
    nodes.on_change(move |change| on_node.node_changed(change));

    // Pods that have ended are of no interest, and may be most: who schedules
    // alone does not watch them.
    let pods = setup.reflect_at_least::<Pod>("status.phase!=Succeeded,status.phase!=Failed");
    let on_pod = scheduler.clone();
    pods.on_change(move |change| on_pod.pod_changed(change));
    let (pods_synced, nodes_synced) = (pods.store().synced(), nodes.store().synced());
    setup.task(move |shutdown| async move {
        for mut synced in objects.synced().into_iter().chain([nodes_synced, pods_synced]) {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = synced.wait_for(|synced| *synced) => {}
            }
        }
        scheduler.schedule(StdRng::seed_from_u64(config.seed), shutdown).await;
    });
}

fn profile_of(
    told: &configuration::Profile,
    objects: &Objects,
    host: &str,
    setup: &Setup,
) -> Option<Profile> {
    let plugins = match rules(told, objects) {
        Ok(plugins) => plugins,
        // It was tried when the configuration was read.
        Err(error) => {
            tracing::error!(profile = told.name, %error, "profile left out");
            return None;
        }
    };
    // Events name their component for as long as the process lives.
    let name: &'static str = match told.name.as_str() {
        DEFAULT_NAME => DEFAULT_NAME,
        name => name.to_owned().leak(),
    };
    let events = setup.recorder(name, Style::Series).on_host(host);
    plugins.iter().for_each(|plugin| plugin.report_to(&events));
    Some(Profile { name, percentage: told.percentage, plugins, shapes: Shapes::default(), events })
}

struct Scheduler {
    client: Client,
    /// At least one; by scheduler name.
    profiles: Vec<Profile>,
    queue: Queue,
    cache: Mutex<Cache>,
    nominations: Mutex<Arc<Nominations>>,
    /// Room for requests.
    requests: Semaphore,
    measures: Measures,
    extenders: Vec<Extender>,
    clock: Clock,
}

impl Scheduler {
    async fn schedule(self: Arc<Self>, mut luck: StdRng, shutdown: CancellationToken) {
        let mut under_way = JoinSet::new();
        let mut start = 0;
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(_) = under_way.join_next() => {}
                pod = self.queue.next(), if under_way.len() < ON_THE_WAY => {
                    self.place(pod, &mut start, &mut luck, &mut under_way);
                    // A long queue must not keep the watches from being read.
                    tokio::task::yield_now().await;
                }
            }
        }
        under_way.shutdown().await;
    }

    fn place(
        self: &Arc<Self>,
        pod: Arc<PodInfo>,
        start: &mut usize,
        luck: &mut StdRng,
        under_way: &mut JoinSet<()>,
    ) {
        let nodes = self.cache.lock().snapshot();
        let scheduler = self.clone();
        let Some(profile) = self.profile(&pod) else { return self.queue.remove(&pod.uid) };
        let nominations = self.nominations.lock().clone();
        let moment = Moment {
            plugins: &profile.plugins,
            nodes: &nodes,
            nominations: &nominations,
            percentage: profile.percentage,
            extenders: &self.extenders,
            shapes: &profile.shapes,
            now: self.clock.now(),
        };
        let since = Instant::now();
        let decision = schedule_one(&moment, &pod, start, luck);
        self.measures.decided(since.elapsed());
        let failed = match &decision {
            Decision::Node(_) => None,
            Decision::Unfit(Diagnosis { failed: Some(_), .. }) => Some(Outcome::Error),
            Decision::Unfit(_) | Decision::NoNodes => Some(Outcome::Unschedulable),
        };
        if let Some(outcome) = failed {
            self.measures.attempted(outcome, profile.name, since.elapsed());
        }
        match decision {
            Decision::Node(node) => {
                if let Some((plugin, rejection)) = reserve(&profile.plugins, &pod, &node) {
                    let outcome = if rejection.failed { Outcome::Error } else { Outcome::Unschedulable };
                    self.measures.attempted(outcome, profile.name, since.elapsed());
                    let mut message = rejection.reasons.join(", ");
                    let (back, reason) = if rejection.failed {
                        message = format!("running Reserve plugin \"{plugin}\": {message}");
                        (Back::Failed, "SchedulerError")
                    } else {
                        (Back::Rejected([plugin].into()), "Unschedulable")
                    };
                    self.queue.give_back(&pod.uid, back);
                    under_way.spawn(async move {
                        scheduler.report(&pod, reason, message, &Nomination::Keep).await
                    });
                    return;
                }
                self.cache.lock().assume(pod.clone(), &node);
                if !nominations.is_empty() {
                    Arc::make_mut(&mut self.nominations.lock()).remove(&pod.uid);
                }
                under_way.spawn(async move { scheduler.bind(pod, node, since).await });
            }
            Decision::Unfit(Diagnosis { failed: Some(why), .. }) => {
                self.queue.give_back(&pod.uid, Back::Failed);
                under_way.spawn(async move {
                    scheduler.report(&pod, "SchedulerError", why, &Nomination::Keep).await
                });
            }
            Decision::Unfit(diagnosis) => {
                self.nominate(&pod, &diagnosis.nomination);
                if diagnosis.victims.is_empty() {
                    self.queue.give_back(&pod.uid, Back::Rejected(diagnosis.plugins.clone()));
                }
                under_way.spawn(async move { scheduler.unfit(&pod, diagnosis).await });
            }
            Decision::NoNodes => {
                self.queue.give_back(&pod.uid, Back::Rejected(Default::default()));
                let message = report::NO_NODES.to_owned();
                under_way.spawn(async move {
                    scheduler.report(&pod, "Unschedulable", message, &Nomination::Keep).await
                });
            }
        }
    }

    fn nominate(&self, pod: &Arc<PodInfo>, nomination: &Nomination) {
        let mut nominations = self.nominations.lock();
        match nomination {
            Nomination::On(node) => Arc::make_mut(&mut nominations).add(pod.clone(), node),
            Nomination::Clear if nominations.holds(&pod.uid) => {
                Arc::make_mut(&mut nominations).remove(&pod.uid);
            }
            Nomination::Clear | Nomination::Keep => {}
        }
    }

    /// Tells the user why a pod has no node, and lets others go for it.
    ///
    /// Until they are told to go the pod is worked on, so that it is tried
    /// again when they are gone and not before.
    async fn unfit(&self, pod: &Arc<PodInfo>, diagnosis: Diagnosis) {
        let message = report::message(&diagnosis);
        let Some(profile) = self.profile(pod) else { return };
        for claim in &diagnosis.claims {
            if let Err(error) = give_back(&self.client, claim).await {
                tracing::debug!(pod = %pod.key(), %error, "devices not given back");
            }
        }
        let node = match &diagnosis.nomination {
            Nomination::On(node) if !diagnosis.victims.is_empty() => node,
            nomination => return self.report(pod, "Unschedulable", message, nomination).await,
        };
        self.measures.preempts(diagnosis.victims.len());
        let nominated: Vec<Arc<PodInfo>> = {
            let nominations = self.nominations.lock();
            nominations.on(node).filter(|other| other.priority() < pod.priority()).cloned().collect()
        };
        let eviction = Eviction {
            client: &self.client,
            events: &profile.events,
            scheduler: profile.name,
            pod,
            node,
            now: self.clock.now(),
        };
        let report = self.report(pod, "Unschedulable", message, &diagnosis.nomination);
        let ((), done) = futures::join!(report, eviction.carry_out(&nominated, &diagnosis.victims));
        if let Err(error) = &done {
            tracing::warn!(pod = %pod.key(), %error, "victims were not all told to go");
        }
        let back = done.map_or(Back::Failed, |()| Back::Rejected(diagnosis.plugins));
        self.queue.give_back(&pod.uid, back);
    }

    async fn bind(&self, pod: Arc<PodInfo>, node: String, since: Instant) {
        let key = pod.key();
        let Some(profile) = self.profile(&pod) else { return };
        // The watch of the pod may be quicker than this answer.
        let tried = self.queue.tried(&pod.uid);
        let unbound = match bind(&profile.plugins, &self.extenders, &self.client, &self.requests, &pod, &node)
            .await
        {
            Ok(()) => {
                self.measures.attempted(Outcome::Scheduled, profile.name, since.elapsed());
                if let Some((attempts, waited)) = tried {
                    self.measures.placed(attempts, waited);
                }
                // The watch takes it out of the queue; before that, it is
                // worked on and so not given out again.
                let message = format!("Successfully assigned {}/{} to {node}", key.namespace, key.name);
                profile.events.act(reference(&pod.pod), Severity::Normal, "Scheduled", "Binding", message);
                profile.plugins.iter().for_each(|plugin| plugin.post_bind(&pod, &node));
                return;
            }
            Err(unbound) => unbound,
        };
        profile.plugins.iter().rev().for_each(|plugin| plugin.unreserve(&pod, &node));
        for release in profile.plugins.iter().rev().filter_map(|plugin| plugin.release(&self.client, &pod)) {
            release.await;
        }
        self.cache.lock().forget(&pod.uid);
        if pod.nominated().is_some() {
            Arc::make_mut(&mut self.nominations.lock()).follow(pod.clone(), None);
        }
        self.queue.happened(Event { pods: (Some(&pod), None), ..Happening::PodRemoved.into() });
        match unbound {
            Unbound::Rejected(plugin, rejection) => {
                self.measures.attempted(Outcome::Unschedulable, profile.name, since.elapsed());
                self.queue.give_back(&pod.uid, Back::Rejected([plugin].into()));
                self.report(&pod, "Unschedulable", rejection.reasons.join(", "), &Nomination::Keep).await;
            }
            // The pod is gone, which the watch tells too.
            Unbound::Failed(error) if error.is_not_found() => self.queue.give_back(&pod.uid, Back::Failed),
            Unbound::Failed(error) => {
                self.measures.attempted(Outcome::Error, profile.name, since.elapsed());
                self.queue.give_back(&pod.uid, Back::Failed);
                self.report(&pod, "SchedulerError", error.to_string(), &Nomination::Keep).await;
            }
        }
    }

    /// Tells the user why a pod has no node.
    async fn report(&self, pod: &PodInfo, reason: &str, message: String, nomination: &Nomination) {
        let patch = report::unscheduled(&pod.pod, reason, &message, nomination, self.clock.now());
        let Some(profile) = self.profile(pod) else { return };
        profile.events.act(reference(&pod.pod), Severity::Warning, "FailedScheduling", "Scheduling", message);
        if let Some(patch) = patch {
            let key = pod.key();
            let api = Api::<Pod>::namespaced(self.client.clone(), &key.namespace);
            let _room = self.requests.acquire().await;
            if let Err(error) =
                api.patch_status(&key.name, &PatchParams::default(), &Patch::Strategic(patch)).await
            {
                tracing::debug!(%key, %error, "condition not written");
            }
        }
    }

    fn node_changed(&self, change: &Change<'_, Node>) {
        match (change.before, change.after) {
            (Some(node), None) => {
                self.cache.lock().remove_node(node.metadata.name.as_deref().unwrap_or_default());
                let nodes = (Some(node.as_ref()), None);
                self.queue.happened(Event { nodes, ..Happening::NodeRemoved.into() });
            }
            (before, Some(node)) => {
                self.cache.lock().set_node(node.clone());
                let nodes = (before.map(Arc::as_ref), Some(node.as_ref()));
                for what in node_happenings(before.map(Arc::as_ref), node) {
                    self.queue.happened(Event { nodes, ..what.into() });
                }
            }
            (None, None) => {}
        }
    }

    fn pod_changed(&self, change: &Change<'_, Pod>) {
        let Some(pod) = change.after.filter(|pod| !coracle_controllers::pod::is_terminal(pod)) else {
            if let Some(pod) = change.before {
                let uid = pod.metadata.uid.as_deref().unwrap_or_default();
                self.queue.remove(uid);
                // Who waits for the room that was made for it may have it.
                let nominated = self.withdraw(uid);
                if self.cache.lock().remove_pod(uid) || nominated {
                    let gone = PodInfo::new(pod.clone());
                    self.queue.happened(Event { pods: (Some(&gone), None), ..Happening::PodRemoved.into() });
                }
            }
            return;
        };
        let info = PodInfo::new(pod.clone());
        if let Some(node) = info.node().map(str::to_owned) {
            self.queue.remove(&info.uid);
            self.withdraw(&info.uid);
            let came =
                change.before.is_none_or(|before| before.spec.as_ref().is_none_or(|s| s.node_name.is_none()));
            let relabelled = change.relabelled();
            let info = Arc::new(info);
            self.cache.lock().set_pod(info.clone(), &node);
            if came || relabelled {
                let before = change.before.filter(|_| !came).map(|pod| PodInfo::new(pod.clone()));
                let pods = (before.as_ref(), Some(info.as_ref()));
                self.queue.happened(Event { pods, ..Happening::PodPlaced.into() });
            }
        } else if !self.is_mine(&info) || pod.metadata.deletion_timestamp.is_some() {
            self.queue.remove(&info.uid);
            if self.withdraw(&info.uid) {
                self.queue.happened(Event { pods: (Some(&info), None), ..Happening::PodRemoved.into() });
            }
        } else if self.cache.lock().has_pod(&info.uid) {
            // Should its binding fail, it is tried again as it is now.
            self.queue.renew(info);
        } else {
            let said = |pod: &Arc<Pod>| {
                let node = pod.status.as_ref().and_then(|status| status.nominated_node_name.clone());
                node.filter(|node| !node.is_empty())
            };
            let said_before = change.before.and_then(said);
            let mut nominations = self.nominations.lock();
            if said_before.is_some() || info.nominated().is_some() || nominations.holds(&info.uid) {
                Arc::make_mut(&mut nominations).follow(Arc::new(info.clone()), said_before.as_deref());
            }
            drop(nominations);
            self.queue.set(info);
        }
    }

    /// Forgets that room was made for a pod; true when it was.
    fn withdraw(&self, uid: &str) -> bool {
        let mut nominations = self.nominations.lock();
        nominations.holds(uid) && Arc::make_mut(&mut nominations).remove(uid)
    }

    fn is_mine(&self, pod: &PodInfo) -> bool {
        self.profile(pod).is_some()
    }

    /// The profile of the scheduler that the pod asks for.
    fn profile(&self, pod: &PodInfo) -> Option<&Profile> {
        self.profiles.iter().find(|profile| profile.name == pod.scheduler_name())
    }
}

fn reserve(
    plugins: &[Arc<dyn Plugin>],
    pod: &PodInfo,
    node: &str,
) -> Option<(&'static str, crate::plugin::Rejection)> {
    for (at, plugin) in plugins.iter().enumerate() {
        if let Err(rejection) = plugin.reserve(pod, node) {
            plugins.iter().take(at + 1).rev().for_each(|taken| taken.unreserve(pod, node));
            return Some((plugin.name(), rejection));
        }
    }
    None
}

/// What a change of a node may mean to waiting pods.
fn node_happenings(before: Option<&Node>, after: &Node) -> Vec<Happening> {
    let Some(before) = before else { return vec![Happening::NodeAdded] };
    let allocatable = |node: &Node| node.status.as_ref().and_then(|status| status.allocatable.clone());
    let taints = |node: &Node| node.spec.as_ref().map(|spec| (spec.taints.clone(), spec.unschedulable));
    let mut happenings = Vec::new();
    if allocatable(before) != allocatable(after) {
        happenings.push(Happening::NodeAllocatable);
    }
    if before.metadata.labels != after.metadata.labels {
        happenings.push(Happening::NodeLabels);
    }
    let features = |node: &Node| node.status.as_ref().and_then(|status| status.declared_features.clone());
    if features(before) != features(after) {
        happenings.push(Happening::NodeFeatures);
    }
    if taints(before) != taints(after) {
        happenings.push(Happening::NodeTaints);
    }
    happenings
}
