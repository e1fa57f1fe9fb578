//! Carries a plan out.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::{
    batch::v1::{Job, JobCondition, JobSpec, JobStatus},
    core::v1::Pod,
};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;

use super::{
    Jobs, TRACKED, finish,
    plan::{self, Observed, Plan, clamp, is_suspended, time, with_condition},
    pods,
    track::{self, Tracked},
};
use crate::framework::{
    Claim, Controller, Error, Key, Next, Severity, absent, claim, controller_of, controller_reference,
    patch_claims,
};
use crate::pod;

/// When to look again at a job that still waits to see its own writes.
const UNSETTLED: Duration = Duration::from_secs(301);

impl Jobs {
    pub(super) async fn pods_of(&self, job: &Job) -> Result<Vec<Arc<Pod>>, Error> {
        let meta = &job.metadata;
        let Some(selector) = job.spec.as_ref().and_then(|spec| spec.selector.as_ref()) else {
            return Ok(Vec::new());
        };
        let store = &self.control.pods;
        let mut candidates = store.controlled_by(meta.uid.as_deref().unwrap_or_default());
        candidates.extend(store.orphans_in(meta.namespace.as_deref().unwrap_or_default()));
        let reference = controller_reference(job);
        let controller =
            Controller { reference: &reference, selector, ending: meta.deletion_timestamp.is_some() };
        let claims = claim(&controller, candidates, |_| true);
        patch_claims(&self.client, job, &reference, &claims.changes).await?;
        let mut owned = claims.owned;
        for (change, pod) in &claims.changes {
            // Who is adopted waits to be counted from now on, who is let go does not.
            self.track(pod, *change == Claim::Adopt).await?;
            if let Some(adopted) = owned.iter_mut().find(|it| Arc::ptr_eq(it, pod)) {
                let mut tracked = (**pod).clone();
                tracked.metadata.finalizers.get_or_insert_default().push(pods::TRACKING.into());
                *adopted = Arc::new(tracked);
            }
        }
        Ok(owned)
    }

    async fn track(&self, pod: &Pod, tracked: bool) -> Result<(), Error> {
        if pods::is_tracked(pod) == tracked {
            return Ok(());
        }
        let meta = &pod.metadata;
        let api = Api::<Pod>::namespaced(self.client.clone(), meta.namespace.as_deref().unwrap_or_default());
        let field = if tracked { "finalizers" } else { "$deleteFromPrimitiveList/finalizers" };
        let patch = json!({ "metadata": { "uid": meta.uid, field: [pods::TRACKING] } });
        let patched =
            api.patch_metadata(&pod.name_any(), &PatchParams::default(), &Patch::Strategic(patch)).await;
        absent(patched).map(drop)
    }

    /// Pods whose job is gone, or is another of the same name, or is over, are
    /// counted by nobody: they are let go.
    pub(super) async fn release_strays(&self, key: &Key, job: Option<&Job>) -> Result<(), Error> {
        let is_stray = |pod: &Arc<Pod>| {
            let owner = controller_of(&pod.metadata).map(|owner| owner.uid.as_str());
            job.is_none_or(|job| finish::is_finished(job) || owner != job.metadata.uid.as_deref())
        };
        let waiting = self.control.pods.indexed(TRACKED, &key.to_string());
        let strays: Vec<_> = waiting.into_iter().filter(is_stray).collect();
        join_all(strays.iter().map(|pod| self.track(pod, false))).await.into_iter().collect()
    }

    pub(super) async fn execute(
        &self,
        key: &Key,
        observed: &Observed,
        spec: &JobSpec,
    ) -> Result<Next, Error> {
        let now = self.control.clock.now();
        let mut plan = plan::plan(observed, spec, now);
        let managed = self.manage(key, observed, &mut plan).await;
        let old = observed.job.status.clone().unwrap_or_default();
        let mut status = old.clone();
        status.active = Some(clamp(plan.tally.active.len())).filter(|count| *count != 0);
        status.ready = Some(plan.tally.ready);
        status.terminating = Some(plan.tally.terminating);
        status.uncounted_terminated_pods.get_or_insert_default();
        if status.start_time.is_none() && !is_suspended(spec) {
            status.start_time = Some(time(now));
        }
        if plan.finished.is_none() {
            plan.finished = self.go_on(observed, spec, &plan, &mut status, now);
        }
        let tracked = track::list(observed, spec, &plan, status, now);
        self.flush(key, observed, &plan, &old, tracked, now).await?;
        managed?;
        Ok(match plan.again {
            Some(wait) => Next::After(wait),
            None if observed.settled => Next::Change,
            None => Next::After(UNSETTLED),
        })
    }

    // Creates and deletes pods, and counts what comes of it.
    async fn manage(&self, key: &Key, observed: &Observed, plan: &mut Plan) -> Result<(), Error> {
        let job = &*observed.job;
        let created = self.control.create(key, job, std::mem::take(&mut plan.create)).await;
        if plan.delete.is_empty() {
            return created;
        }
        let deleted = self.control.delete(key, job, &plan.delete).await;
        if deleted.is_err() {
            // Some may still run.
            plan.finished = None;
            return deleted;
        }
        let gone: HashSet<_> = plan.delete.iter().filter_map(|pod| pod.metadata.uid.clone()).collect();
        let tally = &mut plan.tally;
        tally.active.retain(|pod| pod.metadata.uid.as_ref().is_none_or(|uid| !gone.contains(uid)));
        tally.ready = clamp(tally.active.iter().filter(|pod| pod::is_ready(pod)).count());
        tally.terminating += clamp(plan.delete.len());
        created
    }

    // What a job that was looked after reports: that enough has succeeded, or
    // that it stands or goes on.
    fn go_on(
        &self,
        observed: &Observed,
        spec: &JobSpec,
        plan: &Plan,
        status: &mut JobStatus,
        now: Timestamp,
    ) -> Option<JobCondition> {
        let tally = &plan.tally;
        let idle = tally.active.is_empty() && self.control.settled(&Key::of(&observed.job.metadata));
        let enough = match spec.completions {
            None => tally.succeeded > 0,
            Some(completions) => tally.succeeded >= completions,
        };
        if enough && idle && observed.settled {
            return Some(finish::completed(now));
        }
        if !plan.managed {
            return None;
        }
        let conditions = status.conditions.clone().unwrap_or_default();
        let (value, reason, message, event) = if is_suspended(spec) {
            ("True", "JobSuspended", "Job suspended", "Suspended")
        } else {
            ("False", "JobResumed", "Job resumed", "Resumed")
        };
        if let Some(new) = with_condition(&conditions, "Suspended", value, (reason, message), now) {
            status.conditions = Some(new);
            status.start_time = (!is_suspended(spec)).then(|| time(now));
            self.control.events.event(&*observed.job, Severity::Normal, event, message);
        }
        None
    }

    async fn flush(
        &self,
        key: &Key,
        observed: &Observed,
        plan: &Plan,
        old: &JobStatus,
        tracked: Tracked,
        now: Timestamp,
    ) -> Result<(), Error> {
        let Tracked { status, ended, finished } = tracked;
        let mut job = (*observed.job).clone();
        let mut listed = old.clone();
        listed.uncounted_terminated_pods.get_or_insert_default();
        // What a pod was counted as is written before it is let go; with none to let go one write is enough.
        let mut dirty = status != listed;
        job.status = Some(status);
        if dirty && !ended.is_empty() {
            job = self.write(key, &job).await?;
            dirty = false;
        }
        if let Some(memory) = self.memory.lock().get_mut(key) {
            memory.backoff = plan.tally.backoff;
        }
        let released = join_all(ended.iter().map(|pod| self.track(pod, false))).await;
        let mut failed = None;
        let mut waiting: HashSet<String> = observed
            .pods
            .iter()
            .filter(|pod| pods::is_tracked(pod))
            .filter_map(|pod| pod.metadata.uid.clone())
            .collect();
        for (pod, released) in ended.iter().zip(released) {
            let uid = pod.metadata.uid.clone().unwrap_or_default();
            match released {
                Ok(()) => {
                    waiting.remove(&uid);
                    if let Some(memory) = self.memory.lock().get_mut(key) {
                        memory.counted.insert(uid);
                    }
                }
                Err(error) => failed = Some(error),
            }
        }
        let status = job.status.get_or_insert_default();
        dirty |= track::settle(status, &waiting.iter().map(String::as_str).collect());
        let over = failed.is_none() && finished.as_ref().is_some_and(|it| track::end(status, it, now));
        if dirty || over {
            job = self.write(key, &job).await?;
        }
        if let Some(finished) = finished.filter(|_| over) {
            if let Some(memory) = self.memory.lock().get_mut(key) {
                memory.finished = true;
            }
            self.tell_end(&job, &finished);
        }
        failed.map_or(Ok(()), Err)
    }

    async fn write(&self, key: &Key, job: &Job) -> Result<Job, Error> {
        let api = Api::<Job>::namespaced(self.client.clone(), &key.namespace);
        Ok(api.replace_status(&key.name, &PostParams::default(), job).await?)
    }

    fn tell_end(&self, job: &Job, finished: &JobCondition) {
        let events = &self.control.events;
        if finished.type_ != "Complete" {
            let text = |of: &Option<String>| of.clone().unwrap_or_default();
            let reason: &'static str = match finished.reason.as_deref() {
                Some("PodFailurePolicy") => "PodFailurePolicy",
                Some("DeadlineExceeded") => "DeadlineExceeded",
                Some("MaxFailedIndexesExceeded") => "MaxFailedIndexesExceeded",
                Some("FailedIndexes") => "FailedIndexes",
                _ => "BackoffLimitExceeded",
            };
            events.event(job, Severity::Warning, reason, text(&finished.message));
            return;
        }
        let succeeded = job.status.as_ref().and_then(|status| status.succeeded).unwrap_or(0);
        if job.spec.as_ref().and_then(|spec| spec.completions).is_some_and(|wanted| succeeded > wanted) {
            let text = "Too many succeeded pods running after completion count reached";
            events.event(job, Severity::Warning, "TooManySucceededPods", text);
        }
        events.event(job, Severity::Normal, "Completed", "Job completed");
    }
}
