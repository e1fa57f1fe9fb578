//! What a namespace holds, and deleting it.

use std::collections::BTreeMap;

use futures::{StreamExt, stream};
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, ListParams},
    core::{ApiResource, PartialObjectMeta},
};

use crate::framework::{Error, Served, absent};

/// Resources looked at at once.
const AT_ONCE: usize = 8;
/// Seconds that finalizers are expected to take.
const FINALIZER_SECONDS: u64 = 15;

/// What remains.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    /// How many objects of each resource, as `plural.group`.
    pub(super) resources: BTreeMap<String, usize>,
    /// How many objects each finalizer keeps.
    pub(super) finalizers: BTreeMap<String, usize>,
    /// The pods remain, and nothing else has been touched yet.
    pub(super) pods_first: bool,
    /// Seconds until it may be gone.
    pub(super) estimate: u64,
}

impl Content {
    pub(super) fn is_empty(&self) -> bool {
        self.resources.is_empty()
    }

    /// Takes over what is left of a resource that may take `seconds` to end.
    /// False when it should be gone: nothing holds it.
    fn add(&mut self, resource: String, left: &[Meta], seconds: u64) -> bool {
        if left.is_empty() {
            return true;
        }
        self.resources.insert(resource, left.len());
        let held: Vec<&String> =
            left.iter().flat_map(|object| object.metadata.finalizers.iter().flatten()).collect();
        let expected = match (seconds, held.is_empty()) {
            (0, true) => 0,
            (0, false) => FINALIZER_SECONDS,
            (seconds, _) => seconds,
        };
        self.estimate = self.estimate.max(expected);
        for finalizer in &held {
            *self.finalizers.entry((*finalizer).clone()).or_default() += 1;
        }
        expected > 0
    }
}

/// What went wrong.
#[derive(Debug, Default)]
pub(super) struct Failures {
    /// Why it is not known what there is.
    pub(super) discovery: Option<String>,
    /// Why some content could not be deleted.
    pub(super) content: Vec<String>,
}

impl Failures {
    pub(super) fn first(&self) -> Option<String> {
        self.discovery.iter().chain(&self.content).next().cloned()
    }
}

type Meta = PartialObjectMeta<DynamicObject>;

/// Deletes what it can, pods before everything else; returns what remains.
/// Pods may take `pod_seconds` to end.
pub(super) async fn delete_all(
    client: &Client,
    namespace: &str,
    served: Vec<Served>,
    pod_seconds: u64,
    failures: &mut Failures,
) -> Content {
    let deletable =
        served.into_iter().filter(|served| served.namespaced && served.supports(&["delete", "list"]));
    let (pods, others): (Vec<Served>, Vec<Served>) =
        deletable.partition(|served| served.resource.group.is_empty() && served.resource.plural == "pods");
    let mut content = Content::default();
    delete_each(client, namespace, pods, pod_seconds, &mut content, failures).await;
    if !content.is_empty() {
        content.pods_first = true;
        return content;
    }
    delete_each(client, namespace, others, 0, &mut content, failures).await;
    content
}

async fn delete_each(
    client: &Client,
    namespace: &str,
    served: Vec<Served>,
    seconds: u64,
    content: &mut Content,
    failures: &mut Failures,
) {
    let deletions = served.into_iter().map(|served| async move {
        let left = delete(client, namespace, &served).await;
        (served.resource, left)
    });
    let mut done = stream::iter(deletions).buffer_unordered(AT_ONCE);
    while let Some((ApiResource { group, version, plural, .. }, left)) = done.next().await {
        match left {
            Ok(left) if content.add(format!("{plural}.{group}"), &left, seconds) => {}
            Ok(_) => failures.content.push(format!(
                "unexpected items still remain in namespace: {namespace} for gvr: {group}/{version}, Resource={plural}"
            )),
            Err(error) => failures.content.push(error.to_string()),
        }
    }
}

/// Deletes the objects of one resource; returns those that are still there.
async fn delete(client: &Client, namespace: &str, served: &Served) -> Result<Vec<Meta>, Error> {
    let api = Api::<Meta>::namespaced_with(client.clone(), namespace, &served.resource);
    let list = ListParams::default();
    // A resource that is no longer served has no objects.
    let Some(there) = absent(api.list(&list).await)? else { return Ok(Vec::new()) };
    if there.items.is_empty() {
        return Ok(Vec::new());
    }
    let background = DeleteParams::background();
    if served.supports(&["deletecollection"]) {
        absent(api.delete_collection(&background, &list).await)?;
    } else {
        for object in &there.items {
            let name = object.metadata.name.as_deref().unwrap_or_default();
            absent(api.delete(name, &background).await)?;
        }
    }
    Ok(absent(api.list(&list).await)?.map(|list| list.items).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;

    #[test]
    fn how_long_what_is_left_may_take() {
        let check = |finalizers: &[&str], seconds: u64, expected: (u64, bool)| {
            let finalizers = finalizers.iter().map(|finalizer| (*finalizer).to_owned()).collect();
            let metadata = ObjectMeta { finalizers: Some(finalizers), ..ObjectMeta::default() };
            let left = Meta { types: None, metadata, _phantom: std::marker::PhantomData };
            let mut content = Content::default();
            let well = content.add("pods.".to_owned(), &[left], seconds);
            assert_eq!((content.estimate, well), expected, "{seconds}");
        };
        check(&[], 30, (30, true));
        check(&["f"], 30, (30, true));
        check(&["f"], 0, (FINALIZER_SECONDS, true));
        check(&[], 0, (0, false));
    }
}
