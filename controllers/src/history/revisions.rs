//! Reading and writing revisions.

use std::sync::Arc;

use k8s_openapi::{
    api::{apps::v1::ControllerRevision, core::v1::PodTemplateSpec},
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, ObjectMeta},
        runtime::RawExtension,
    },
};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, PostParams},
};

use super::data::{name, snapshot};
use crate::framework::{Claims, Controller, Error, Reflected, Store, absent, claim, controller_reference};

/// Sorts by number; the older first where two have the same.
pub(crate) fn sort(revisions: &mut [Arc<ControllerRevision>]) {
    revisions.sort_by(|a, b| {
        let made = |it: &ControllerRevision| it.metadata.creation_timestamp.as_ref().map(|time| time.0);
        let number = |it: &ControllerRevision| it.revision.unwrap_or(0);
        number(a)
            .cmp(&number(b))
            .then_with(|| made(a).cmp(&made(b)))
            .then_with(|| a.metadata.name.cmp(&b.metadata.name))
    });
}

/// The revisions of `owner`, and the claims that must be written for that.
pub(crate) fn controlled<K>(
    store: &Store<ControllerRevision>,
    owner: &K,
    selector: &LabelSelector,
) -> Claims<ControllerRevision>
where
    K: Reflected + Resource<DynamicType = ()>,
{
    let meta = owner.meta();
    let mut candidates = store.controlled_by(meta.uid.as_deref().unwrap_or_default());
    candidates.extend(store.orphans_in(meta.namespace.as_deref().unwrap_or_default()));
    let reference = controller_reference(owner);
    let ending = meta.deletion_timestamp.is_some();
    claim(&Controller { reference: &reference, selector, ending }, candidates, |_| true)
}

/// The revisions of one namespace, to be written.
pub(crate) struct Revisions {
    api: Api<ControllerRevision>,
}

impl Revisions {
    /// Those of `namespace`.
    pub(crate) fn of(client: &Client, namespace: &str) -> Self {
        Self { api: Api::namespaced(client.clone(), namespace) }
    }

    /// A new revision of the template of `owner`, with the label that tells its hash.
    pub(crate) fn made<K: Resource<DynamicType = ()>>(
        owner: &K,
        template: &PodTemplateSpec,
        (label, hash): (&str, String),
        number: i64,
    ) -> ControllerRevision {
        let meta = owner.meta();
        let mut labels = template.metadata.as_ref().and_then(|it| it.labels.clone()).unwrap_or_default();
        labels.insert(label.to_owned(), hash.clone());
        let metadata = ObjectMeta {
            name: Some(name(meta.name.as_deref().unwrap_or_default(), &hash)),
            namespace: meta.namespace.clone(),
            labels: Some(labels),
            annotations: meta.annotations.clone(),
            owner_references: Some(vec![controller_reference(owner)]),
            ..ObjectMeta::default()
        };
        ControllerRevision { metadata, data: RawExtension(snapshot(template)), revision: Some(number) }
    }

    /// Creates `revision`; gives back what is there where the name is taken.
    pub(crate) async fn create(&self, revision: &ControllerRevision) -> Result<Created, Error> {
        match self.api.create(&PostParams::default(), revision).await.map_err(Error::from) {
            Ok(created) => Ok(Created::New(created)),
            Err(error) if error.is_already_exists() => {
                let name = revision.metadata.name.as_deref().unwrap_or_default();
                Ok(Created::Taken(self.api.get(name).await?, error))
            }
            Err(error) => Err(error),
        }
    }

    /// Writes `revision` as it is now.
    pub(crate) async fn replace(&self, revision: &ControllerRevision) -> Result<ControllerRevision, Error> {
        let name = revision.metadata.name.as_deref().unwrap_or_default();
        Ok(self.api.replace(name, &PostParams::default(), revision).await?)
    }

    /// Gives `revision` another number.
    pub(crate) async fn renumber(
        &self,
        revision: &ControllerRevision,
        number: i64,
    ) -> Result<ControllerRevision, Error> {
        if revision.revision == Some(number) {
            return Ok(revision.clone());
        }
        self.replace(&ControllerRevision { revision: Some(number), ..revision.clone() }).await
    }

    /// Deletes `revision`, if it is still there.
    pub(crate) async fn delete(&self, revision: &ControllerRevision) -> Result<(), Error> {
        let name = revision.metadata.name.as_deref().unwrap_or_default();
        absent(self.api.delete(name, &DeleteParams::default()).await).map(drop)
    }
}

/// How creating a revision went.
pub(crate) enum Created {
    /// It is there now.
    New(ControllerRevision),
    /// This one had the name before.
    Taken(ControllerRevision, Error),
}
