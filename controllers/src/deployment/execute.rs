//! Carries a plan out.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use kube::{
    Api,
    api::{DeleteParams, PostParams, Preconditions},
};

use super::{
    Deployments,
    plan::{Observed, Plan, Update, Write},
    status, template,
};
use crate::framework::{Error, Key, Next, Severity, controller_reference, controls, patch_claims};

impl Deployments {
    pub(super) async fn execute(&self, key: &Key, observed: &Observed, plan: Plan) -> Result<Next, Error> {
        let deployment = &*observed.deployment;
        patch_claims(&self.client, deployment, &controller_reference(deployment), &plan.claims).await?;
        if let Some(set) = plan.create {
            self.create(key, deployment, set).await?;
        }
        for update in plan.update {
            self.update(key, deployment, update).await?;
        }
        for name in plan.delete {
            self.delete(key, observed, &name).await?;
        }
        for note in plan.notes {
            self.events.event(deployment, note.severity, note.reason, note.message);
        }
        let api = self.api(key);
        match plan.write {
            Some(Write::Status(deployment)) => {
                api.replace_status(&key.name, &PostParams::default(), &deployment).await?;
            }
            Some(Write::Whole(deployment)) => {
                api.replace(&key.name, &PostParams::default(), &deployment).await?;
            }
            None => {}
        }
        Ok(plan.again.map_or(Next::Change, Next::After))
    }

    fn api(&self, key: &Key) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), &key.namespace)
    }

    fn sets(&self, key: &Key) -> Api<ReplicaSet> {
        Api::namespaced(self.client.clone(), &key.namespace)
    }

    async fn create(&self, key: &Key, deployment: &Deployment, set: ReplicaSet) -> Result<(), Error> {
        let name = set.metadata.name.clone().unwrap_or_default();
        match self.sets(key).create(&PostParams::default(), &set).await.map_err(Error::from) {
            Ok(_) => {
                let size = set.spec.replicas.unwrap_or(0);
                if size > 0 {
                    let message = format!("Scaled up replica set {name} from 0 to {size}");
                    self.events.event(deployment, Severity::Normal, "ScalingReplicaSet", message);
                }
                Ok(())
            }
            Err(error) if error.is_already_exists() => self.collide(key, deployment, &name, error).await,
            Err(error) if error.is_namespace_terminating() => Err(error),
            Err(error) => {
                let message = format!("Failed to create new replica set \"{name}\": {error}");
                self.events.event(deployment, Severity::Warning, "ReplicaSetCreateError", message.clone());
                if deployment.spec.progress_deadline_seconds.is_some_and(|seconds| seconds != i32::MAX) {
                    let failed = status::with_failed_create(deployment, message, self.clock.now());
                    let api = self.api(key);
                    // The creation's own error matters more than this one.
                    let _ = api.replace_status(&key.name, &PostParams::default(), &failed).await;
                }
                Err(error)
            }
        }
    }

    /// The name is taken: by this deployment's own set, which the copy does
    /// not show yet, or by another one with the same hash.
    async fn collide(
        &self,
        key: &Key,
        deployment: &Deployment,
        name: &str,
        error: Error,
    ) -> Result<(), Error> {
        let set = self.sets(key).get(name).await?;
        let ours = controls(&deployment.metadata, &set.metadata)
            && set.spec.template.as_ref().is_some_and(|t| template::equal(t, &deployment.spec.template));
        if ours {
            return Err(Error::Stale(name.to_owned()));
        }
        let mut counted = deployment.clone();
        let status = counted.status.get_or_insert_default();
        status.collision_count = Some(status.collision_count.unwrap_or(0).saturating_add(1));
        self.api(key).replace_status(&key.name, &PostParams::default(), &counted).await?;
        Err(error)
    }

    async fn update(&self, key: &Key, deployment: &Deployment, update: Update) -> Result<(), Error> {
        let name = update.set.metadata.name.clone().unwrap_or_default();
        self.sets(key).replace(&name, &PostParams::default(), &update.set).await?;
        if let Some((from, to)) = update.scaled {
            let direction = if from < to { "up" } else { "down" };
            let message = format!("Scaled {direction} replica set {name} from {from} to {to}");
            self.events.event(deployment, Severity::Normal, "ScalingReplicaSet", message);
        }
        Ok(())
    }

    async fn delete(&self, key: &Key, observed: &Observed, name: &str) -> Result<(), Error> {
        let uid = observed
            .sets
            .iter()
            .find(|set| set.metadata.name.as_deref() == Some(name))
            .and_then(|set| set.metadata.uid.clone());
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid, resource_version: None }),
            ..DeleteParams::default()
        };
        match self.sets(key).delete(name, &params).await.map_err(Error::from) {
            Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error),
            _ => Ok(()),
        }
    }
}
