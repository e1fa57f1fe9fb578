//! Deletes finished jobs when their time to live is over.
//!
//! Start at [`plan::left`].

mod plan;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::batch::v1::Job;
use kube::{
    Api, Client,
    api::{DeleteParams, Preconditions},
};

use self::plan::Left;
use crate::framework::{Clock, Error, Key, Next, Queue, Reconcile, Setup, Store, absent};

const WORKERS: usize = 5;
/// The longest wait before the time is asked again: the clock may jump.
const PIECE: Duration = Duration::from_secs(3600);

/// Puts the controller in.
pub(crate) fn start(setup: &mut Setup) {
    let jobs = setup.reflect::<Job>();
    let queue = Queue::new();
    let on_job = queue.clone();
    jobs.on_change(move |change| {
        on_job.extend(change.after.filter(|job| plan::concerns(job)).map(|job| Key::of(&job.metadata)));
    });
    let controller =
        TimesToLive { client: setup.client.clone(), clock: setup.clock.clone(), jobs: jobs.store() };
    setup.reconcile("ttl-after-finished-controller", queue, WORKERS, controller);
}

struct TimesToLive {
    client: Client,
    clock: Clock,
    jobs: Arc<Store<Job>>,
}

impl Reconcile<Key> for TimesToLive {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(job) = self.jobs.get(key) else { return Ok(Next::Change) };
        if let Some(next) = self.wait(&job)? {
            return Ok(next);
        }
        // The copy may be old, and somebody may have given it more time.
        let api = Api::<Job>::namespaced(self.client.clone(), &key.namespace);
        let Some(fresh) = absent(api.get(&key.name).await)? else { return Ok(Next::Change) };
        if let Some(next) = self.wait(&fresh)? {
            return Ok(next);
        }
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: fresh.metadata.uid, resource_version: None }),
            ..DeleteParams::foreground()
        };
        absent(api.delete(&key.name, &params).await)?;
        Ok(Next::Change)
    }
}

impl TimesToLive {
    /// What to wait for; `None` when the job's time is over.
    fn wait(&self, job: &Job) -> Result<Option<Next>, Error> {
        Ok(match plan::left(job, self.clock.now())? {
            Left::Forever => Some(Next::Change),
            Left::Some(time) => Some(Next::After(time.min(PIECE))),
            Left::Nothing => None,
        })
    }
}
