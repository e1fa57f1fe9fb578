//! Which objects a controller owns: adoption and release.

use std::sync::Arc;

use k8s_openapi::{
    NamespaceResourceScope,
    apimachinery::pkg::apis::meta::v1::{LabelSelector, OwnerReference},
};
use kube::{
    Api, Client, Resource,
    api::{Patch, PatchParams},
};
use serde::Serialize;
use serde_json::json;

use super::{Error, Reflected, controller_of, error::absent, matches};

/// The owner that claims.
pub struct Controller<'a> {
    /// The reference that its objects carry.
    pub reference: &'a OwnerReference,
    /// What it selects.
    pub selector: &'a LabelSelector,
    /// It is being deleted, and so adopts nothing.
    pub ending: bool,
}

/// A change of an object's controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Claim {
    /// Put the reference in.
    Adopt,
    /// Take the reference out.
    Release,
}

/// What a controller owns, and what must be written to make it so.
pub struct Claims<K> {
    /// Its objects, adopted ones among them.
    pub owned: Vec<Arc<K>>,
    /// The writes.
    pub changes: Vec<(Claim, Arc<K>)>,
}

impl<K> Default for Claims<K> {
    fn default() -> Self {
        Self { owned: Vec::new(), changes: Vec::new() }
    }
}

/// Decides for each candidate whether it is owned, adopted, released or
/// somebody else's. What the controller selects must also be as `belongs` says.
pub fn claim<K: Reflected>(
    controller: &Controller<'_>,
    candidates: impl IntoIterator<Item = Arc<K>>,
    belongs: impl Fn(&K) -> bool,
) -> Claims<K> {
    let mut claims = Claims::default();
    for object in candidates {
        let meta = object.meta();
        let selected = matches(controller.selector, meta.labels.as_ref());
        match controller_of(meta) {
            Some(owner) if owner.uid != controller.reference.uid => {}
            Some(_) if selected && belongs(&object) => claims.owned.push(object),
            Some(_) if controller.ending => {}
            Some(_) => claims.changes.push((Claim::Release, object)),
            None => {
                let ending = controller.ending || meta.deletion_timestamp.is_some();
                if selected && !ending && belongs(&object) {
                    claims.changes.push((Claim::Adopt, object.clone()));
                    claims.owned.push(object);
                }
            }
        }
    }
    claims
}

/// Writes the changes of `claims`.
///
/// Before the first adoption the controller is read live, because a copy may
/// not yet show that it is being deleted.
/// # Errors
/// The first write that failed; an object that is gone is none.
pub async fn patch_claims<O, K>(
    client: &Client,
    owner: &O,
    reference: &OwnerReference,
    changes: &[(Claim, Arc<K>)],
) -> Result<(), Error>
where
    O: Reflected + Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    K: Reflected + Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    if changes.is_empty() {
        return Ok(());
    }
    let namespace = owner.meta().namespace.as_deref().unwrap_or_default();
    if changes.iter().any(|(claim, _)| *claim == Claim::Adopt) {
        let fresh = Api::<O>::namespaced(client.clone(), namespace).get(&reference.name).await?;
        if fresh.meta().uid.as_deref() != Some(&reference.uid) {
            return Err(Error::Stale(reference.name.clone()));
        }
        if fresh.meta().deletion_timestamp.is_some() {
            return Err(Error::Invalid(format!("{} has just been deleted", reference.name)));
        }
    }
    let api = Api::<K>::namespaced(client.clone(), namespace);
    for (claim, object) in changes {
        let meta = object.meta();
        let owner = match claim {
            Claim::Adopt => serde_json::to_value(reference).unwrap_or_default(),
            Claim::Release => json!({"$patch": "delete", "uid": reference.uid}),
        };
        let patch = json!({"metadata": {"uid": meta.uid, "ownerReferences": [owner]}});
        let name = meta.name.as_deref().unwrap_or_default();
        match absent(api.patch_metadata(name, &PatchParams::default(), &Patch::Strategic(patch)).await) {
            Ok(_) => {}
            // It lost its reference or was made anew; the next event tells.
            Err(error) if *claim == Claim::Release && error.is_invalid() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::ObjectMeta};
    use serde_json::json;

    use super::*;

    fn pod(name: &str, app: &str, owner: Option<&str>) -> Arc<Pod> {
        let owner = owner.map(|uid| OwnerReference {
            uid: uid.into(),
            controller: Some(true),
            ..OwnerReference::default()
        });
        Arc::new(Pod {
            metadata: ObjectMeta {
                name: Some(name.into()),
                labels: Some([("app".to_owned(), app.to_owned())].into()),
                owner_references: owner.map(|o| vec![o]),
                ..ObjectMeta::default()
            },
            ..Pod::default()
        })
    }

    #[test]
    fn ownership() {
        let selector: LabelSelector = serde_json::from_value(json!({"matchLabels": {"app": "web"}})).unwrap();
        let reference = OwnerReference { uid: "me".into(), ..OwnerReference::default() };
        let check = |ending, pod: Arc<Pod>, owned: bool, change: Option<Claim>| {
            let controller = Controller { reference: &reference, selector: &selector, ending };
            let claims = claim(&controller, [pod.clone()], |_| true);
            let got = (!claims.owned.is_empty(), claims.changes.first().map(|(claim, _)| *claim));
            assert_eq!(got, (owned, change), "{:?} ending={ending}", pod.metadata);
        };
        check(false, pod("mine", "web", Some("me")), true, None);
        check(false, pod("theirs", "web", Some("other")), false, None);
        check(false, pod("orphan", "web", None), true, Some(Claim::Adopt));
        check(false, pod("stranger", "db", None), false, None);
        check(false, pod("relabelled", "db", Some("me")), false, Some(Claim::Release));
        check(true, pod("orphan", "web", None), false, None);
        check(true, pod("relabelled", "db", Some("me")), false, None);
    }
}
