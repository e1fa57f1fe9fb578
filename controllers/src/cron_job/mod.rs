//! Starts jobs by the clock.
//!
//! Start at [`plan::plan`]; when something is due is in [`due`]. What is to
//! be looked at later is an [`alarm`], by the wall's clock.

mod alarm;
mod due;
mod execute;
mod plan;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, sync::Arc};

use k8s_openapi::api::{
    batch::v1::{CronJob, Job},
    core::v1::ObjectReference,
};
use kube::{Api, Client};

use self::alarm::{Alarm, Alarms};
use crate::framework::{
    Change, Clock, Error, Key, Next, Queue, Reconcile, Recorder, Setup, Severity, Store, Style, absent,
};

const WORKERS: usize = 5;

/// Puts the controller in.
pub(crate) fn start(setup: &mut Setup) {
    let cron_jobs = setup.reflect::<CronJob>();
    let jobs = setup.reflect::<Job>();
    let (queue, alarms) = (Queue::new(), Queue::new());
    let events = setup.recorder("cronjob-controller", Style::Counted);
    let on_cron_job = OnCronJob {
        queue: queue.clone(),
        alarms: alarms.clone(),
        events: events.clone(),
        clock: setup.clock.clone(),
    };
    cron_jobs.on_change(move |change| on_cron_job.see(change));
    let on_job = queue.clone();
    jobs.on_change(move |change| {
        let owners = change.controllers().filter(|(kind, ..)| *kind == "CronJob");
        on_job.extend(owners.map(|(_, name, namespace)| Key::namespaced(namespace, name)));
    });
    let ringing = Alarms { clock: setup.clock.clone(), queue: queue.clone(), cron_jobs: cron_jobs.store() };
    setup.reconcile("cronjob-controller", alarms.clone(), 1, ringing);
    let controller = CronJobs {
        client: setup.client.clone(),
        clock: setup.clock.clone(),
        events,
        alarms,
        cron_jobs: cron_jobs.store(),
        jobs: jobs.store(),
    };
    setup.reconcile("cronjob-controller", queue, WORKERS, controller);
}

struct OnCronJob {
    queue: Queue<Key>,
    alarms: Queue<Alarm>,
    events: Recorder,
    clock: Clock,
}

impl OnCronJob {
    /// A new schedule begins with what is due next: what it would have started
    /// before it was written is not started now.
    fn see(&self, change: &Change<'_, CronJob>) {
        let Some(after) = change.after else { return };
        let same = |before: &&Arc<CronJob>| {
            before.spec.schedule == after.spec.schedule && before.spec.time_zone == after.spec.time_zone
        };
        let key = Key::of(&after.metadata);
        if change.before.is_none_or(|before| same(&before)) {
            self.queue.add(key);
            return;
        }
        match plan::schedule(&after.spec) {
            Ok(schedule) => {
                if let Some(due) = due::wake(after, &schedule, self.clock.now()) {
                    self.alarms.add(Alarm { key, due });
                }
            }
            Err(_) => {
                let message = format!("unparseable schedule for cronjob: {}", after.spec.schedule);
                self.events.event(&**after, Severity::Warning, "UnParseableCronJobSchedule", message);
            }
        }
    }
}

struct CronJobs {
    client: Client,
    clock: Clock,
    events: Recorder,
    alarms: Queue<Alarm>,
    cron_jobs: Arc<Store<CronJob>>,
    jobs: Arc<Store<Job>>,
}

impl Reconcile<Key> for CronJobs {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(stored) = self.cron_jobs.get(key) else { return Ok(Next::Change) };
        let Some(mut observed) = self.observe(key, &stored).await? else { return Ok(Next::Change) };
        self.clear_history(&mut observed).await;
        let plan = plan::plan(&observed, self.clock.now());
        self.execute(key, &observed.cron_job, plan).await
    }
}

impl CronJobs {
    /// `None` when the cron job is no more.
    async fn observe(&self, key: &Key, stored: &Arc<CronJob>) -> Result<Option<plan::Observed>, Error> {
        let jobs = self.jobs.controlled_by(stored.metadata.uid.as_deref().unwrap_or_default());
        let mut cron_job = CronJob::clone(stored);
        // The copy may be older than this controller's own last write.
        if jobs.iter().any(|job| !plan::is_finished(job) && !plan::lists(&cron_job, job)) {
            let api = Api::<CronJob>::namespaced(self.client.clone(), &key.namespace);
            let fresh = absent(api.get(&key.name).await)?;
            match fresh.filter(|fresh| fresh.metadata.uid == stored.metadata.uid) {
                Some(fresh) => cron_job = fresh,
                None => return Ok(None),
            }
        }
        let mut missing = BTreeSet::new();
        for active in plan::active(&cron_job) {
            let is_it = |job: &Job| job.metadata.uid == active.uid;
            if !jobs.iter().any(|job| is_it(job)) && !self.job(active).await?.is_some_and(|job| is_it(&job)) {
                missing.extend(active.uid.clone());
            }
        }
        Ok(Some(plan::Observed { cron_job, jobs, missing, removed: BTreeSet::new() }))
    }

    async fn job(&self, reference: &ObjectReference) -> Result<Option<Job>, Error> {
        absent(
            self.jobs_in(reference.namespace.as_deref())
                .get(reference.name.as_deref().unwrap_or_default())
                .await,
        )
    }

    fn jobs_in(&self, namespace: Option<&str>) -> Api<Job> {
        Api::namespaced(self.client.clone(), namespace.unwrap_or_default())
    }
}
