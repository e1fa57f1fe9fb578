//! What a Deployment needs done.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};

use super::{
    revision::{self, Rollback},
    rollout, scale, status,
    work::{Set, Work},
};
use crate::framework::{Claim, Controller, Error, Severity, claim, controller_reference};

/// A Deployment and what is around it.
pub(super) struct Observed {
    pub(super) deployment: Arc<Deployment>,
    /// Its sets, and the namespace's sets that nobody controls.
    pub(super) sets: Vec<Arc<ReplicaSet>>,
    /// The pods of those sets.
    pub(super) pods: Vec<Arc<Pod>>,
}

/// What to do; the fields in this order.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) claims: Vec<(Claim, Arc<ReplicaSet>)>,
    pub(super) create: Option<ReplicaSet>,
    pub(super) update: Vec<Update>,
    pub(super) delete: Vec<String>,
    pub(super) notes: Vec<Note>,
    pub(super) write: Option<Write>,
    /// Look again after this long.
    pub(super) again: Option<Duration>,
}

/// A set as it is to be, and its sizes before and after when they differ.
pub(super) struct Update {
    pub(super) set: ReplicaSet,
    pub(super) scaled: Option<(i32, i32)>,
}

/// Something to tell about the deployment.
pub(super) struct Note {
    pub(super) severity: Severity,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// The deployment as it is to be.
pub(super) enum Write {
    Status(Box<Deployment>),
    Whole(Box<Deployment>),
}

/// Decides what `observed` needs.
/// # Errors
/// A strategy that is not known.
pub(super) fn plan(observed: &Observed, now: Timestamp) -> Result<Plan, Error> {
    let deployment = &*observed.deployment;
    if deployment.spec.selector == LabelSelector::default() {
        return Ok(selects_all(deployment));
    }
    let ending = deployment.metadata.deletion_timestamp.is_some();
    let reference = controller_reference(deployment);
    let controller = Controller { reference: &reference, selector: &deployment.spec.selector, ending };
    let claims = claim(&controller, observed.sets.iter().cloned(), |_| true);
    let mut work = Work::new(deployment, claims.owned, now);
    let mut plan = Plan { claims: claims.changes, ..Plan::default() };

    if ending {
        revision::sync(&mut work, false);
        finish(&mut plan, observed, work, Report::Counts);
        return Ok(plan);
    }
    status::note_pause(&mut work);
    if status::is_paused(deployment) {
        revision::sync(&mut work, false);
        scale::scale(&mut work);
        if revision::rollback_to(deployment).is_none() {
            rollout::clean_up(&mut work);
        }
        finish(&mut plan, observed, work, Report::Counts);
        return Ok(plan);
    }
    if let Some(target) = revision::rollback_to(deployment) {
        revision::sync(&mut work, true);
        roll_back(&mut plan, &work, target);
        return Ok(plan);
    }
    if scale::is_scaling(&work) {
        revision::sync(&mut work, false);
        scale::scale(&mut work);
        finish(&mut plan, observed, work, Report::Counts);
        return Ok(plan);
    }
    if work.is_recreate() {
        rollout::recreate(&mut work, &observed.pods);
    } else if work.is_rolling() {
        rollout::rolling(&mut work);
    } else {
        return Err(Error::Invalid(format!("unexpected deployment strategy type of {}", work.name())));
    }
    if deployment.status.as_ref().is_some_and(|status| status::is_complete(deployment, status)) {
        rollout::clean_up(&mut work);
    }
    finish(&mut plan, observed, work, Report::Rollout);
    Ok(plan)
}

/// What the status tells.
enum Report {
    /// The counts.
    Counts,
    /// The counts, and how the roll-out goes.
    Rollout,
}

/// Turns the working copy into writes.
fn finish(plan: &mut Plan, observed: &Observed, work: Work, report: Report) {
    let status = match report {
        Report::Counts => status::counted(&work),
        Report::Rollout => status::of_rollout(&work),
    };
    let mut deployment = work.deployment.clone();
    deployment.status = Some(status.clone());
    if deployment.status != observed.deployment.status
        || deployment.metadata.annotations != observed.deployment.metadata.annotations
    {
        plan.write = Some(Write::Status(Box::new(deployment)));
    } else if matches!(report, Report::Rollout) {
        plan.again = status::next_check(&work, &status);
    }
    for set in work.old.into_iter().chain(work.new) {
        write_set(plan, set);
    }
}

fn write_set(plan: &mut Plan, set: Set) {
    let (from, to) = (set.original.as_ref().map(|set| set.spec.replicas.unwrap_or(1)), set.replicas());
    match set.original {
        None => plan.create = Some(set.object),
        Some(_) if set.delete => plan.delete.push(set.name().to_owned()),
        Some(original) if *original != set.object => {
            let scaled = from.filter(|from| *from != to).map(|from| (from, to));
            plan.update.push(Update { set: set.object, scaled });
        }
        Some(_) => {}
    }
}

fn roll_back(plan: &mut Plan, work: &Work, target: i64) {
    let (deployment, outcome) = revision::roll_back(work, target);
    let name = work.name();
    let (severity, reason, message) = match outcome {
        Rollback::Done(revision) => (
            Severity::Normal,
            "DeploymentRollback",
            format!("Rolled back deployment \"{name}\" to revision {revision}"),
        ),
        Rollback::NoLast => (
            Severity::Warning,
            "DeploymentRollbackRevisionNotFound",
            "Unable to find last revision.".to_owned(),
        ),
        Rollback::NotFound => (
            Severity::Warning,
            "DeploymentRollbackRevisionNotFound",
            "Unable to find the revision to rollback to.".to_owned(),
        ),
        Rollback::Unchanged => (
            Severity::Warning,
            "DeploymentRollbackTemplateUnchanged",
            format!("The rollback revision contains the same template as current deployment \"{name}\""),
        ),
    };
    plan.notes.push(Note { severity, reason, message });
    plan.write = Some(Write::Whole(Box::new(deployment)));
}

fn selects_all(deployment: &Deployment) -> Plan {
    let mut plan = Plan::default();
    plan.notes.push(Note {
        severity: Severity::Warning,
        reason: "SelectingAll",
        message: "This deployment is selecting all pods. A non-empty selector is required.".into(),
    });
    let mut updated = deployment.clone();
    let status = updated.status.get_or_insert_default();
    if status.observed_generation < deployment.metadata.generation {
        status.observed_generation = deployment.metadata.generation;
        plan.write = Some(Write::Status(Box::new(updated)));
    }
    plan
}
