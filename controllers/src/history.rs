//! The revisions of pod templates that DaemonSets and StatefulSets keep.
//!
//! A revision holds a patch that makes the template what it was, so two
//! revisions are equal when their patches are.

use std::sync::Arc;

use k8s_openapi::{
    NamespaceResourceScope,
    api::{apps::v1::ControllerRevision, core::v1::PodTemplateSpec},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, apis::meta::v1::ObjectMeta, runtime::RawExtension},
};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    framework::{
        Controller, Error, Reflected, Store, absent, claim, controller_reference, controls, patch_claims,
    },
    short_hash,
};

/// The longest part of a revision's name that comes from its owner.
const PREFIX_LONGEST: usize = 223;

/// The revisions of all owners of a kind.
pub(crate) struct History {
    pub(crate) client: Client,
    pub(crate) revisions: Arc<Store<ControllerRevision>>,
    /// The label that carries a revision's hash.
    pub(crate) label: &'static str,
    /// Whether revisions carry their owner's annotations.
    pub(crate) annotated: bool,
}

/// An owner's revisions, settled.
pub(crate) struct Settled {
    /// That of the template as it is.
    pub(crate) newest: Arc<ControllerRevision>,
    /// The others, the oldest first.
    pub(crate) old: Vec<Arc<ControllerRevision>>,
    /// How often a hash was taken already.
    pub(crate) collisions: Option<i32>,
}

impl Settled {
    /// The revision of this name.
    pub(crate) fn named(&self, name: &str) -> Option<&Arc<ControllerRevision>> {
        let mut all = self.old.iter().chain([&self.newest]);
        all.find(|revision| revision.metadata.name.as_deref() == Some(name))
    }
}

/// What an owner says of its revisions.
pub(crate) struct Wanted<'a> {
    pub(crate) template: &'a PodTemplateSpec,
    pub(crate) selector: &'a LabelSelector,
    pub(crate) collisions: Option<i32>,
}

impl History {
    /// The revisions of `owner`, with one for its template, which is the newest.
    /// # Errors
    /// A write that failed.
    pub(crate) async fn settle<O>(&self, owner: &O, wanted: &Wanted<'_>) -> Result<Settled, Error>
    where
        O: Reflected + Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        let mut all = self.of(owner, wanted.selector).await?;
        all.sort_by_key(|it| (it.revision, it.metadata.creation_timestamp.clone(), it.metadata.name.clone()));
        let data = data(wanted.template);
        let (equal, old): (Vec<_>, Vec<_>) = all.into_iter().partition(|it| holds(it, &data));
        let next = old.last().map_or(0, |last| number(last)) + 1;
        let Some((newest, doubles)) = equal.split_last() else {
            let (newest, collisions) = self.create(owner, wanted, &data, next).await?;
            let newest = Arc::new(newest);
            return Ok(Settled { newest, old, collisions });
        };
        for double in doubles {
            self.delete(double).await?;
        }
        let newest = if number(newest) < next { self.renumber(newest, next).await? } else { newest.clone() };
        Ok(Settled { newest, old, collisions: wanted.collisions })
    }

    async fn of<O>(&self, owner: &O, selector: &LabelSelector) -> Result<Vec<Arc<ControllerRevision>>, Error>
    where
        O: Reflected + Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        let meta = owner.meta();
        let reference = controller_reference(owner);
        let ending = meta.deletion_timestamp.is_some();
        let controller = Controller { reference: &reference, selector, ending };
        let mut candidates = self.revisions.controlled_by(meta.uid.as_deref().unwrap_or_default());
        candidates.extend(self.revisions.orphans_in(meta.namespace.as_deref().unwrap_or_default()));
        let claims = claim(&controller, candidates, |_| true);
        patch_claims(&self.client, owner, &reference, &claims.changes).await?;
        Ok(claims.owned)
    }

    async fn create<O>(
        &self,
        owner: &O,
        wanted: &Wanted<'_>,
        data: &Value,
        number: i64,
    ) -> Result<(ControllerRevision, Option<i32>), Error>
    where
        O: Reflected + Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        let api = self.api(owner.meta());
        let mut collisions = wanted.collisions;
        loop {
            let revision = self.revision(owner, wanted.template, data, number, collisions);
            let name = revision.metadata.name.clone().unwrap_or_default();
            match api.create(&PostParams::default(), &revision).await.map_err(Error::from) {
                Ok(created) => return Ok((created, collisions)),
                Err(error) if !error.is_already_exists() => return Err(error),
                Err(_) => {}
            }
            // A copy may be older than the revision that we made ourselves.
            match absent(api.get(&name).await)? {
                Some(known) if holds(&known, data) && controls(owner.meta(), &known.metadata) => {
                    return Ok((known, collisions));
                }
                _ => collisions = Some(collisions.unwrap_or(0).saturating_add(1)),
            }
        }
    }

    fn revision<O>(
        &self,
        owner: &O,
        template: &PodTemplateSpec,
        data: &Value,
        number: i64,
        collisions: Option<i32>,
    ) -> ControllerRevision
    where
        O: Resource<DynamicType = ()>,
    {
        let hash = hash(data, collisions);
        let meta = owner.meta();
        let own = meta.name.clone().unwrap_or_default();
        let prefix: String = own.chars().take(PREFIX_LONGEST).collect();
        let mut labels = template.metadata.as_ref().and_then(|it| it.labels.clone()).unwrap_or_default();
        labels.insert(self.label.to_owned(), hash.clone());
        ControllerRevision {
            metadata: ObjectMeta {
                name: Some(format!("{prefix}-{hash}")),
                namespace: meta.namespace.clone(),
                labels: Some(labels),
                annotations: meta.annotations.clone().filter(|_| self.annotated),
                owner_references: Some(vec![controller_reference(owner)]),
                ..ObjectMeta::default()
            },
            data: RawExtension(data.clone()),
            revision: Some(number),
        }
    }

    async fn renumber(
        &self,
        revision: &ControllerRevision,
        number: i64,
    ) -> Result<Arc<ControllerRevision>, Error> {
        let name = revision.metadata.name.as_deref().unwrap_or_default();
        let patch = Patch::Merge(json!({ "revision": number }));
        let api = self.api(&revision.metadata);
        Ok(Arc::new(api.patch(name, &PatchParams::default(), &patch).await?))
    }

    async fn delete(&self, revision: &ControllerRevision) -> Result<(), Error> {
        let name = revision.metadata.name.as_deref().unwrap_or_default();
        let api = self.api(&revision.metadata);
        absent(api.delete(name, &DeleteParams::default()).await).map(drop)
    }

    /// Deletes the oldest of `old` that nothing lives by, so that `limit` stay.
    /// # Errors
    /// A deletion that failed.
    pub(crate) async fn truncate(
        &self,
        old: &[Arc<ControllerRevision>],
        limit: Option<i32>,
        is_live: impl Fn(&ControllerRevision) -> bool,
    ) -> Result<(), Error> {
        let idle: Vec<_> = old.iter().filter(|revision| !is_live(revision)).collect();
        let keep = usize::try_from(limit.unwrap_or(10)).unwrap_or(0);
        for revision in idle.iter().take(idle.len().saturating_sub(keep)) {
            self.delete(revision).await?;
        }
        Ok(())
    }

    /// The hash that a revision's label carries.
    pub(crate) fn hash_of<'a>(&self, revision: &'a ControllerRevision) -> &'a str {
        let labels = revision.metadata.labels.as_ref();
        labels.and_then(|labels| labels.get(self.label)).map_or("", String::as_str)
    }

    fn api(&self, meta: &ObjectMeta) -> Api<ControllerRevision> {
        Api::namespaced(self.client.clone(), meta.namespace.as_deref().unwrap_or_default())
    }
}

/// The patch that makes a template this one.
fn data(template: &PodTemplateSpec) -> Value {
    let mut template = serde_json::to_value(template).unwrap_or_default();
    if let Some(template) = template.as_object_mut() {
        template.insert("$patch".into(), "replace".into());
    }
    json!({ "spec": { "template": template } })
}

/// The template that a revision holds.
pub(crate) fn template(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let mut template = revision.data.0.pointer("/spec/template")?.clone();
    template.as_object_mut()?.remove("$patch");
    serde_json::from_value(template).ok()
}

fn number(revision: &ControllerRevision) -> i64 {
    revision.revision.unwrap_or(0)
}

fn holds(revision: &ControllerRevision, data: &Value) -> bool {
    revision.data.0 == *data
}

fn hash(data: &Value, collisions: Option<i32>) -> String {
    let mut hash = short_hash::fnv32(short_hash::BASIS, data.to_string().as_bytes());
    if let Some(collisions) = collisions {
        hash = short_hash::fnv32(hash, collisions.to_string().as_bytes());
    }
    short_hash::text(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_revision_holds_is_its_template() {
        let read = |value: Value| serde_json::from_value::<PodTemplateSpec>(value).expect("a template");
        let web = read(json!({"spec": {"containers": [{"name": "c", "image": "a"}]}}));
        let other = read(json!({"spec": {"containers": [{"name": "c", "image": "b"}]}}));
        let held =
            ControllerRevision { data: RawExtension(data(&web)), revision: Some(1), ..Default::default() };
        assert!(holds(&held, &data(&web)) && !holds(&held, &data(&other)));
        assert_eq!(template(&held), Some(web.clone()));
        assert_ne!(hash(&data(&web), None), hash(&data(&other), None));
        assert_ne!(hash(&data(&web), None), hash(&data(&web), Some(1)));
    }
}
