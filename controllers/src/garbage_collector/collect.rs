//! Asks what must be asked, and carries plans out.

use std::sync::Arc;

use futures::{StreamExt, stream};
use k8s_openapi::{
    api::core::v1::ObjectReference,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{
    Api,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions, PropagationPolicy},
    core::PartialObjectMeta,
};
use serde_json::{Value, json};

use super::{
    Collector, Kind, Work,
    absent::OwnerKey,
    graph::{FOREGROUND, Item, ORPHAN},
    plan::{Owner, Plan, plan},
};
use crate::framework::{Error, Key, Next, Reconcile, Severity, absent};

/// Dependents of one owner that are written to at once.
const AT_ONCE: usize = 16;

type Meta = PartialObjectMeta<DynamicObject>;

pub(super) struct Worker(pub(super) Arc<Collector>);

impl Reconcile<Work> for Worker {
    async fn reconcile(&self, work: &Work) -> Result<Next, Error> {
        match work {
            Work::Delete(uid) => self.0.look_at(uid).await?,
            Work::Orphan(uid) => self.0.orphan_dependents(uid).await?,
        }
        Ok(Next::Change)
    }
}

impl Collector {
    fn api(&self, kind: &Kind, key: &Key) -> Api<Meta> {
        if key.namespace.is_empty() {
            Api::all_with(self.client.clone(), &kind.resource)
        } else {
            Api::namespaced_with(self.client.clone(), &key.namespace, &kind.resource)
        }
    }

    /// The object as it is now; `None` when it or its uid is gone.
    async fn live(&self, item: &Item) -> Result<Option<ObjectMeta>, Error> {
        let found = absent(self.api(&item.kind, &item.key).get(&item.key.name).await)?;
        Ok(found.map(|object| object.metadata).filter(|meta| meta.uid.as_ref() == Some(&item.uid)))
    }

    async fn look_at(&self, uid: &str) -> Result<(), Error> {
        let Some((item, owned)) = self.graph.lock().with_owners(uid) else { return Ok(()) };
        if item.waits() {
            return self.wait_for_dependents(&item).await;
        }
        // What the graph shows is enough to keep an object: when an owner goes,
        // its dependents come here again.
        if item.ending || owned {
            return Ok(());
        }
        let Some(live) = self.live(&item).await? else { return Ok(()) };
        let mut owners = Vec::new();
        for reference in live.owner_references.iter().flatten() {
            owners.push(self.owner(&item, reference).await?);
        }
        let dependents: Vec<bool> = self.graph.lock().dependents(uid).map(Item::waits).collect();
        match plan(&live, &owners, &dependents) {
            Plan::Keep => Ok(()),
            Plan::Disown(kept) => self.write(&item, &live, json!({"ownerReferences": kept})).await.map(drop),
            Plan::Delete { policy, unblock } => {
                let live = if unblock { self.unblock(&item, live).await? } else { Some(live) };
                match live {
                    Some(live) => self.delete(&item, &live, policy).await,
                    None => Ok(()),
                }
            }
        }
    }

    /// A deletion in the foreground: goes on when no dependent holds it up.
    async fn wait_for_dependents(&self, item: &Item) -> Result<(), Error> {
        let blocking: Vec<Item> = self
            .graph
            .lock()
            .dependents(&item.uid)
            .filter(|dependent| dependent.blocks(&item.uid))
            .cloned()
            .collect();
        if blocking.is_empty() {
            return self.drop_finalizer(item, FOREGROUND).await;
        }
        for dependent in blocking.iter().filter(|dependent| !dependent.waits()) {
            self.queue.add(Work::Delete(dependent.uid.clone()));
        }
        Ok(())
    }

    async fn orphan_dependents(&self, uid: &str) -> Result<(), Error> {
        let Some(owner) = self.graph.lock().get(uid).cloned() else { return Ok(()) };
        let dependents: Vec<Item> = self.graph.lock().dependents(uid).cloned().collect();
        let releases =
            dependents.into_iter().map(|dependent| async move { self.release(&dependent, uid).await });
        let released: Vec<Result<(), Error>> =
            stream::iter(releases).buffer_unordered(AT_ONCE).collect().await;
        released.into_iter().collect::<Result<(), Error>>()?;
        self.drop_finalizer(&owner, ORPHAN).await
    }

    /// Takes the reference to the owner `uid` out of a dependent.
    async fn release(&self, dependent: &Item, uid: &str) -> Result<(), Error> {
        let patch = Patch::Strategic(json!({"metadata": {
            "uid": dependent.uid, "ownerReferences": [{"$patch": "delete", "uid": uid}],
        }}));
        let api = self.api(&dependent.kind, &dependent.key);
        match absent(api.patch_metadata(&dependent.key.name, &PatchParams::default(), &patch).await) {
            Ok(_) => return Ok(()),
            // It has no such reference, or is another object by now.
            Err(error) if error.is_invalid() || error.is_conflict() => {}
            // Custom resources cannot be patched so.
            Err(Error::Api(kube::Error::Api(status))) if status.code == 415 => {}
            Err(error) => return Err(error),
        }
        let Some(live) = self.live(dependent).await? else { return Ok(()) };
        let references = live.owner_references.clone().unwrap_or_default();
        let kept: Vec<&OwnerReference> = references.iter().filter(|reference| reference.uid != uid).collect();
        if kept.len() == references.len() {
            return Ok(());
        }
        self.write(dependent, &live, json!({"ownerReferences": kept})).await.map(drop)
    }

    async fn drop_finalizer(&self, item: &Item, finalizer: &str) -> Result<(), Error> {
        let Some(live) = self.live(item).await? else { return Ok(()) };
        let finalizers = live.finalizers.clone().unwrap_or_default();
        let kept: Vec<&String> = finalizers.iter().filter(|f| *f != finalizer).collect();
        if kept.len() == finalizers.len() {
            return Ok(());
        }
        self.write(item, &live, json!({"finalizers": kept})).await.map(drop)
    }

    /// `live` after its references have stopped holding owners up.
    async fn unblock(&self, item: &Item, live: ObjectMeta) -> Result<Option<ObjectMeta>, Error> {
        let mut references = live.owner_references.clone().unwrap_or_default();
        references.iter_mut().for_each(|reference| reference.block_owner_deletion = Some(false));
        self.write(item, &live, json!({"ownerReferences": references})).await
    }

    /// Changes metadata, provided that nobody else has since `live`.
    async fn write(
        &self,
        item: &Item,
        live: &ObjectMeta,
        mut change: Value,
    ) -> Result<Option<ObjectMeta>, Error> {
        change["uid"] = json!(live.uid);
        change["resourceVersion"] = json!(live.resource_version);
        let patch = Patch::Merge(json!({"metadata": change}));
        let api = self.api(&item.kind, &item.key);
        let written = absent(api.patch(&item.key.name, &PatchParams::default(), &patch).await)?;
        Ok(written.map(|object| object.metadata))
    }

    async fn delete(&self, item: &Item, live: &ObjectMeta, policy: PropagationPolicy) -> Result<(), Error> {
        let params = DeleteParams {
            propagation_policy: Some(policy),
            // Its owners may have changed since they were looked at.
            preconditions: Some(Preconditions {
                uid: live.uid.clone(),
                resource_version: live.resource_version.clone(),
            }),
            ..DeleteParams::default()
        };
        absent(self.api(&item.kind, &item.key).delete(&item.key.name, &params).await).map(drop)
    }

    /// What is known of an owner; one that the graph does not have is asked for.
    async fn owner(&self, item: &Item, reference: &OwnerReference) -> Result<Owner, Error> {
        {
            let graph = self.graph.lock();
            if let Some(known) = graph.get(&reference.uid) {
                if known.is_named_by(reference, &item.key) {
                    return Ok(if known.waits() { Owner::Waiting } else { Owner::Present });
                }
                if known.key.namespace != item.key.namespace && !known.key.namespace.is_empty() {
                    self.report_namespace(item, reference);
                }
            }
        }
        let namespaces = [&item.key.namespace, ""].map(|namespace| owner_key(reference, namespace));
        let kind = self.kind(&reference.api_version, &reference.kind);
        let Some(kind) = kind else {
            // It is not known whether such an owner has a namespace.
            let absent = self.absent.lock();
            if namespaces.iter().any(|key| absent.contains(key)) {
                return Ok(Owner::Absent);
            }
            let Key { namespace, name } = &item.key;
            return Err(Error::Invalid(format!(
                "the owner kind {} of {namespace}/{name} is not served",
                reference.kind
            )));
        };
        if kind.namespaced && item.key.namespace.is_empty() {
            // Such an owner cannot be looked for: the object stays.
            self.report_namespace(item, reference);
            return Ok(Owner::Present);
        }
        let [within, without] = namespaces;
        let key = if kind.namespaced { within } else { without };
        if self.absent.lock().contains(&key) {
            return Ok(Owner::Absent);
        }
        let namespace = if kind.namespaced { item.key.namespace.clone() } else { String::new() };
        let place = Key::namespaced(namespace, reference.name.clone());
        let found = absent(self.api(&kind, &place).get(&place.name).await)?;
        let Some(owner) = found.map(|o| o.metadata).filter(|meta| meta.uid.as_ref() == Some(&reference.uid))
        else {
            self.absent.lock().add(key);
            return Ok(Owner::Absent);
        };
        let waits =
            owner.deletion_timestamp.is_some() && owner.finalizers.iter().flatten().any(|f| f == FOREGROUND);
        Ok(if waits { Owner::Waiting } else { Owner::Present })
    }

    fn report_namespace(&self, item: &Item, reference: &OwnerReference) {
        let regarding = ObjectReference {
            api_version: Some(item.kind.resource.api_version.clone()),
            kind: Some(item.kind.resource.kind.clone()),
            namespace: Some(item.key.namespace.clone()).filter(|namespace| !namespace.is_empty()),
            name: Some(item.key.name.clone()),
            uid: Some(item.uid.clone()),
            ..ObjectReference::default()
        };
        let OwnerReference { api_version, kind, name, uid, .. } = reference;
        let namespace = &item.key.namespace;
        let message = format!(
            "ownerRef [{api_version}/{kind}, namespace: {namespace}, name: {name}, uid: {uid}] does not exist in namespace \"{namespace}\""
        );
        self.events.act(regarding, Severity::Warning, "OwnerRefInvalidNamespace", "", message);
    }
}

fn owner_key(reference: &OwnerReference, namespace: &str) -> OwnerKey {
    let group = reference.api_version.split_once('/').map_or("", |(group, _)| group);
    [group, &reference.kind, namespace, &reference.name, &reference.uid].map(str::to_owned)
}
