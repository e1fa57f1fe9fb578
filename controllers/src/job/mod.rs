//! Runs the pods of Jobs until enough of them have succeeded.
//!
//! Start at [`plan::plan`]; [`track`] counts what has ended.

mod backoff;
mod execute;
mod failure;
mod finish;
mod indexes;
mod plan;
mod pods;
#[cfg(test)]
mod tests;
mod track;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::Client;
use parking_lot::Mutex;

use backoff::Backoff;

use crate::{
    framework::{
        Error, Expectations, Key, Next, Queue, Reconcile, Setup, Severity, Store, Style, controller_of,
        matches,
    },
    pod_control::{PodControl, concerned},
};

const WORKERS: usize = 5;
/// Pods that end together are counted together.
const TOGETHER: Duration = Duration::from_millis(100);
const BUILT_IN: &str = "kubernetes.io/job-controller";
/// The index of pods that wait to be counted, by their job's name.
const TRACKED: &str = "tracked-by-job";

/// Puts the controller in.
pub(crate) fn start(setup: &mut Setup) {
    let jobs = setup.reflect::<Job>();
    let pods = setup.reflect::<Pod>();
    pods.store().index(TRACKED, |pod| tracked_by(pod).into_iter().collect());
    let queue = Queue::new();
    let on_job = queue.clone();
    jobs.on_change(move |change| {
        if let Some(job) = change.sides().last() {
            on_job.add(Key::of(&job.metadata));
        }
    });
    let (on_pod, known) = (queue.clone(), jobs.store());
    pods.on_change(move |change| {
        // One that comes or goes is looked at now, others in a while.
        let soon = change.before.is_none() || change.after.is_none();
        for key in concerned(change, &known, selects) {
            if soon {
                on_pod.add(key);
            } else {
                on_pod.add_after(key, TOGETHER);
            }
        }
    });
    let controller = Jobs {
        client: setup.client.clone(),
        jobs: jobs.store(),
        control: PodControl {
            client: setup.client.clone(),
            clock: setup.clock.clone(),
            events: setup.recorder("job-controller", Style::Counted),
            pods: pods.store(),
            expectations: Expectations::default(),
        },
        memory: Mutex::default(),
    };
    setup.reconcile("job-controller", queue, WORKERS, controller);
}

// The place of the job that the pod waits to be counted by.
fn tracked_by(pod: &Pod) -> Option<String> {
    let owner = controller_of(&pod.metadata).filter(|owner| owner.kind == "Job")?;
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    pods::is_tracked(pod).then(|| format!("{namespace}/{}", owner.name))
}

fn selects(job: &Arc<Job>, labels: Option<&BTreeMap<String, String>>) -> bool {
    let selector = job.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| matches(selector, labels))
}

struct Jobs {
    client: Client,
    jobs: Arc<Store<Job>>,
    control: PodControl,
    memory: Mutex<HashMap<Key, Memory>>,
}

// What a copy of a job does not tell.
#[derive(Default, Clone)]
struct Memory {
    uid: String,
    // Pods whose finalizer we took away; until a copy shows it.
    counted: HashSet<String>,
    backoff: Backoff,
    // We wrote that it is over.
    finished: bool,
}

impl Reconcile<Key> for Jobs {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        // Before the pods: what this says must not be newer than what they show.
        let settled = self.control.settled(key);
        let job = self.jobs.get(key);
        self.release_strays(key, job.as_deref()).await?;
        let Some(job) = job else {
            self.control.expectations.forget(key);
            self.memory.lock().remove(key);
            return Ok(Next::Change);
        };
        let Some(spec) = &job.spec else { return Ok(Next::Change) };
        if spec.managed_by.as_deref().is_some_and(|by| by != BUILT_IN) {
            return Ok(Next::Change);
        }
        let memory = self.recall(key, &job);
        if finish::is_finished(&job) || memory.finished {
            return Ok(Next::Change);
        }
        if !matches!(spec.completion_mode.as_deref(), None | Some("NonIndexed" | "Indexed")) {
            let text = "Skipped Job sync because completion mode is unknown";
            self.control.events.event(&*job, Severity::Warning, "UnknownCompletionMode", text);
            return Ok(Next::Change);
        }
        let pods = self.pods_of(&job).await?;
        let observed = plan::Observed {
            job: job.clone(),
            pods,
            settled,
            counted: memory.counted,
            backoff: memory.backoff,
        };
        self.execute(key, &observed, spec).await
    }
}

impl Jobs {
    // What is remembered of this job. What copies show by now is forgotten.
    fn recall(&self, key: &Key, job: &Job) -> Memory {
        let mut all = self.memory.lock();
        let memory = all.entry(key.clone()).or_default();
        let uid = job.metadata.uid.as_deref().unwrap_or_default();
        if memory.uid != uid {
            *memory = Memory { uid: uid.to_owned(), ..Memory::default() };
        }
        if !memory.counted.is_empty() {
            let waiting = self.control.pods.indexed(TRACKED, &key.to_string());
            let shown: HashSet<&String> =
                waiting.iter().filter_map(|pod| pod.metadata.uid.as_ref()).collect();
            memory.counted.retain(|uid| shown.contains(uid));
        }
        memory.clone()
    }
}
