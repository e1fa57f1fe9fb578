//! Carries a plan out.

use jiff::Timestamp;
use k8s_openapi::{
    api::batch::v1::{CronJob, CronJobStatus, Job},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{
    Api,
    api::{DeleteParams, PostParams, Preconditions},
};

use super::{
    Alarm, CronJobs,
    plan::{self, Observed, Plan, Step},
};
use crate::framework::{Error, Key, Next, Severity, absent, controls, reference};

impl CronJobs {
    /// Deletes what the history has too much of. What cannot be deleted now
    /// is tried again with the next change.
    pub(super) async fn clear_history(&self, observed: &mut Observed) {
        for job in plan::surplus(observed) {
            if self.delete(&observed.cron_job, &job).await {
                observed.removed.extend(job.metadata.uid.clone());
            }
        }
    }

    pub(super) async fn execute(&self, key: &Key, cron_job: &CronJob, plan: Plan) -> Result<Next, Error> {
        for event in plan.events {
            self.events.event(cron_job, event.severity, event.reason, event.message);
        }
        let mut status = plan.status;
        let (wake, started) = match plan.step {
            Step::Wait(wake) => (wake, Ok(())),
            Step::Start { at, job, replace, wake } => {
                (wake, self.begin(cron_job, &mut status, at, &job, replace).await)
            }
        };
        if cron_job.status.as_ref() != Some(&status) {
            let updated = CronJob { status: Some(status), ..cron_job.clone() };
            let api = Api::<CronJob>::namespaced(self.client.clone(), &key.namespace);
            api.replace_status(&key.name, &PostParams::default(), &updated).await?;
        }
        started?;
        if let Some(due) = wake {
            self.alarms.add(Alarm { key: key.clone(), due });
        }
        Ok(Next::Change)
    }

    async fn begin(
        &self,
        cron_job: &CronJob,
        status: &mut CronJobStatus,
        at: Timestamp,
        job: &Job,
        replace: bool,
    ) -> Result<(), Error> {
        if replace {
            self.replace(cron_job, status).await?;
        }
        let Some(started) = self.create(cron_job, job).await? else { return Ok(()) };
        let active = status.active.get_or_insert_default();
        if !active.iter().any(|listed| listed.uid == started.metadata.uid) {
            active.push(reference(&started));
            status.last_schedule_time = Some(Time(at));
        }
        Ok(())
    }

    async fn replace(&self, cron_job: &CronJob, status: &mut CronJobStatus) -> Result<(), Error> {
        for running in status.active.clone().into_iter().flatten() {
            let name = running.name.as_deref().unwrap_or_default();
            let job = match self.jobs_in(running.namespace.as_deref()).get(name).await.map_err(Error::from) {
                Ok(job) => job,
                Err(error) => {
                    self.events.event(cron_job, Severity::Warning, "FailedGet", format!("Get job: {error}"));
                    return Err(error);
                }
            };
            if !self.delete(cron_job, &job).await {
                let namespace = running.namespace.as_deref().unwrap_or_default();
                return Err(Error::Incomplete(format!("could not replace job {namespace}/{name}")));
            }
            status.active.get_or_insert_default().retain(|listed| listed.uid != running.uid);
        }
        Ok(())
    }

    /// The job, also when it is there already and is the cron job's own;
    /// `None` when it is somebody else's.
    async fn create(&self, cron_job: &CronJob, job: &Job) -> Result<Option<Job>, Error> {
        let api = self.jobs_in(job.metadata.namespace.as_deref());
        let name = job.metadata.name.as_deref().unwrap_or_default();
        match api.create(&PostParams::default(), job).await.map_err(Error::from) {
            Ok(created) => {
                self.events.event(
                    cron_job,
                    Severity::Normal,
                    "SuccessfulCreate",
                    format!("Created job {name}"),
                );
                Ok(Some(created))
            }
            Err(error) if error.is_already_exists() => {
                let there = api.get(name).await?;
                Ok(controls(&cron_job.metadata, &there.metadata).then_some(there))
            }
            Err(error) if error.is_namespace_terminating() => Err(error),
            Err(error) => {
                let message = format!("Error creating job: {error}");
                self.events.event(cron_job, Severity::Warning, "FailedCreate", message);
                Err(error)
            }
        }
    }

    /// Whether the job is gone, or going.
    async fn delete(&self, cron_job: &CronJob, job: &Job) -> bool {
        let name = job.metadata.name.as_deref().unwrap_or_default();
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: job.metadata.uid.clone(), resource_version: None }),
            ..DeleteParams::background()
        };
        match absent(self.jobs_in(job.metadata.namespace.as_deref()).delete(name, &params).await) {
            Ok(Some(_)) => {
                self.events.event(
                    cron_job,
                    Severity::Normal,
                    "SuccessfulDelete",
                    format!("Deleted job {name}"),
                );
                true
            }
            Ok(None) => true,
            Err(error) => {
                self.events.event(
                    cron_job,
                    Severity::Warning,
                    "FailedDelete",
                    format!("Deleted job: {error}"),
                );
                false
            }
        }
    }
}
