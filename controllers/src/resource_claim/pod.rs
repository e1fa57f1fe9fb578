//! The claims of a pod: made where they are missing, and reserved for a pod
//! that was bound without the scheduler.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        core::v1::{Pod, PodResourceClaim},
        resource::v1::{ResourceClaim, ResourceClaimConsumerReference, ResourceClaimTemplate},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;

use super::ResourceClaims;
use crate::{
    devices::{POD_CLAIM, asked, is_allocated, is_for, is_reserved_for, named},
    framework::{Error, Key, Severity, absent, controller_reference},
    pod::node,
};

/// Who owns what it writes into pods' statuses.
const MANAGER: &str = "ResourceClaimController";
/// The longest beginning of a generated name.
const LONGEST: usize = 57;

impl ResourceClaims {
    /// Whether a claim of the pod is to be made or reserved.
    pub(super) fn needs_work(&self, pod: &Pod) -> bool {
        if pod.metadata.deletion_timestamp.is_some() {
            return false;
        }
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        asked(pod).iter().any(|asked| {
            let Ok(named) = named(pod, asked) else { return true };
            let Some(named) = named else { return false };
            let Some(claim) = self.claim(pod, named.name) else {
                return asked.resource_claim_template_name.is_some();
            };
            let is_its = !named.owned || is_for(pod, &claim).is_ok();
            is_its && node(pod).is_some() && is_allocated(&claim) && !is_reserved_for(&claim, uid)
        })
    }

    fn claim(&self, pod: &Pod, name: &str) -> Option<std::sync::Arc<ResourceClaim>> {
        self.claims.get(&Key::namespaced(pod.metadata.namespace.clone().unwrap_or_default(), name))
    }

    pub(super) async fn look_at_pod(&self, key: &Key) -> Result<(), Error> {
        let Some(pod) = self.pods.get(key).filter(|pod| pod.metadata.deletion_timestamp.is_none()) else {
            return Ok(());
        };
        let mut made = BTreeMap::new();
        for asked in asked(&pod) {
            match self.have(&pod, asked).await {
                Ok(name) => made.extend(name.map(|name| (asked.name.clone(), name))),
                // The namespace ends, which nobody needs to be told.
                Err(error) if error.is_namespace_terminating() => return Err(error),
                Err(error) => {
                    let message = format!("PodResourceClaim {}: {error}", asked.name);
                    self.events.event(&*pod, Severity::Warning, "FailedResourceClaimCreation", message);
                    return Err(error);
                }
            }
        }
        if !made.is_empty() {
            self.tell(key, &pod, made).await?;
        }
        if node(&pod).is_some() { self.reserve(key, &pod).await } else { Ok(()) }
    }

    /// The name of a claim that the pod does not know to be its own; it is
    /// made when there is none.
    async fn have(&self, pod: &Pod, asked: &PodResourceClaim) -> Result<Option<String>, Error> {
        match named(pod, asked) {
            Ok(None) => return Ok(None),
            Ok(Some(named)) => {
                if let Some(claim) = self.claim(pod, named.name)
                    && (!named.owned || is_for(pod, &claim).is_ok())
                {
                    return Ok(None);
                }
                if self.was_made(pod, asked).is_some_and(|made| made == named.name) {
                    return Ok(None);
                }
            }
            Err(why) if asked.resource_claim_template_name.is_none() => {
                return Err(Error::Invalid(format!("checking for claim before creating it: {why}")));
            }
            Err(_) => {}
        }
        let Some(template) = &asked.resource_claim_template_name else { return Ok(None) };
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let there = self.claims.controlled_by(uid).into_iter().find(|claim| {
            let annotations = claim.metadata.annotations.as_ref();
            annotations.and_then(|all| all.get(POD_CLAIM)) == Some(&asked.name)
        });
        if let Some(there) = there {
            return Ok(there.metadata.name.clone());
        }
        if let Some(made) = self.was_made(pod, asked) {
            return Ok(Some(made));
        }
        self.make(pod, asked, template).await.map(Some)
    }

    /// The claim that was made for this and may not show yet.
    fn was_made(&self, pod: &Pod, asked: &PodResourceClaim) -> Option<String> {
        self.made.lock().get(pod.metadata.uid.as_deref()?)?.get(&asked.name).cloned()
    }

    async fn make(&self, pod: &Pod, asked: &PodResourceClaim, template: &str) -> Result<String, Error> {
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let Some(found) = self.templates.get(&Key::namespaced(namespace.clone(), template)) else {
            return Err(Error::Invalid(format!(
                "resource claim template {template:?}: resourceclaimtemplate.resource.k8s.io {template:?} not found"
            )));
        };
        let claim = claim(pod, asked, &found);
        let api = Api::<ResourceClaim>::namespaced(self.client.clone(), &namespace);
        let made = match api.create(&PostParams::default(), &claim).await.map_err(Error::from) {
            Ok(made) => made,
            Err(error) if error.is_namespace_terminating() => return Err(error),
            Err(error) => return Err(Error::Invalid(format!("create ResourceClaim : {error}"))),
        };
        let name = made.metadata.name.unwrap_or_default();
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        // Not when it went meanwhile: its end was seen, and would not be again.
        if self.pods.get(&Key::of(&pod.metadata)).is_some() {
            self.made.lock().entry(uid).or_default().insert(asked.name.clone(), name.clone());
        }
        Ok(name)
    }

    /// Tells the pod which claims were made for it.
    async fn tell(&self, key: &Key, pod: &Pod, made: BTreeMap<String, String>) -> Result<(), Error> {
        let known = pod.status.iter().flat_map(|status| status.resource_claim_statuses.iter().flatten());
        let mut all: BTreeMap<String, String> =
            known.filter_map(|it| Some((it.name.clone(), it.resource_claim_name.clone()?))).collect();
        all.extend(made);
        let statuses: Vec<_> =
            all.iter().map(|(name, claim)| json!({"name": name, "resourceClaimName": claim})).collect();
        let body = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": key.name, "namespace": key.namespace},
            "status": {"resourceClaimStatuses": statuses},
        });
        let api = Api::<Pod>::namespaced(self.client.clone(), &key.namespace);
        let params = PatchParams::apply(MANAGER).force();
        let done = absent(api.patch_status(&key.name, &params, &Patch::Apply(body)).await);
        done.map_err(|error| Error::Invalid(format!("update pod {key} ResourceClaimStatuses: {error}")))?;
        Ok(())
    }

    /// Whoever bound the pod may have left this out.
    async fn reserve(&self, key: &Key, pod: &Pod) -> Result<(), Error> {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        for asked in asked(pod) {
            let Ok(Some(named)) = named(pod, asked) else { continue };
            let Some(claim) = self.claim(pod, named.name) else { return Ok(()) };
            if named.owned {
                is_for(pod, &claim).map_err(Error::Invalid)?;
            }
            if !is_allocated(&claim) || is_reserved_for(&claim, uid) {
                continue;
            }
            let mut claim = ResourceClaim::clone(&claim);
            let consumers = claim.status.get_or_insert_default().reserved_for.get_or_insert_default();
            consumers.push(ResourceClaimConsumerReference {
                api_group: None,
                name: key.name.clone(),
                resource: "pods".to_owned(),
                uid: uid.to_owned(),
            });
            let api = Api::<ResourceClaim>::namespaced(self.client.clone(), &key.namespace);
            let done = api.replace_status(named.name, &PostParams::default(), &claim).await;
            done.map_err(Error::from).map_err(|error| match error {
                conflict if conflict.is_conflict() => conflict,
                error => Error::Invalid(format!("reserve claim {}/{}: {error}", key.namespace, named.name)),
            })?;
        }
        Ok(())
    }
}

/// The claim for `asked` of `pod`.
pub(super) fn claim(pod: &Pod, asked: &PodResourceClaim, template: &ResourceClaimTemplate) -> ResourceClaim {
    let said = template.spec.clone().unwrap_or_default();
    let meta = said.metadata.unwrap_or_default();
    let mut annotations = meta.annotations.unwrap_or_default();
    annotations.insert(POD_CLAIM.to_owned(), asked.name.clone());
    let mut owner = controller_reference(pod);
    owner.block_owner_deletion = None;
    ResourceClaim {
        metadata: ObjectMeta {
            generate_name: Some(name_for(pod.metadata.name.as_deref().unwrap_or_default(), &asked.name)),
            owner_references: Some(vec![owner]),
            annotations: Some(annotations),
            labels: meta.labels,
            ..ObjectMeta::default()
        },
        spec: said.spec,
        status: None,
    }
}

/// How the name of a claim begins: pod and claim are cut alike where it would
/// be too long.
pub(super) fn name_for(pod: &str, claim: &str) -> String {
    let whole = format!("{pod}-{claim}-");
    if whole.len() <= LONGEST {
        return whole;
    }
    let cut = |text: &str| text.get(..text.len() * LONGEST / whole.len()).unwrap_or(text).to_owned();
    format!("{}-{}", cut(pod), cut(claim))
}
