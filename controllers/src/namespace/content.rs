//! What a namespace holds, and deleting it.

use std::collections::BTreeMap;

use futures::{StreamExt, stream};
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, ListParams},
    core::PartialObjectMeta,
};

use crate::framework::{Error, Served, absent};

/// Resources looked at at once.
const AT_ONCE: usize = 8;
/// Seconds that finalizers are expected to take.
const FINALIZER_SECONDS: u64 = 15;
/// Seconds that pods are expected to take to end.
const POD_SECONDS: u64 = 30;

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

    fn add(&mut self, resource: String, left: &[Meta]) {
        if left.is_empty() {
            return;
        }
        self.resources.insert(resource, left.len());
        self.estimate = self.estimate.max(1);
        for finalizer in left.iter().flat_map(|object| object.metadata.finalizers.iter().flatten()) {
            *self.finalizers.entry(finalizer.clone()).or_default() += 1;
            self.estimate = self.estimate.max(FINALIZER_SECONDS);
        }
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
pub(super) async fn delete_all(
    client: &Client,
    namespace: &str,
    served: Vec<Served>,
    failures: &mut Failures,
) -> Content {
    let deletable =
        served.into_iter().filter(|served| served.namespaced && served.supports(&["delete", "list"]));
    let (pods, others): (Vec<Served>, Vec<Served>) =
        deletable.partition(|served| served.resource.group.is_empty() && served.resource.plural == "pods");
    let mut content = Content::default();
    delete_each(client, namespace, pods, &mut content, failures).await;
    if !content.is_empty() {
        content.pods_first = true;
        content.estimate = content.estimate.max(POD_SECONDS);
        return content;
    }
    delete_each(client, namespace, others, &mut content, failures).await;
    content
}

async fn delete_each(
    client: &Client,
    namespace: &str,
    served: Vec<Served>,
    content: &mut Content,
    failures: &mut Failures,
) {
    let deletions = served.into_iter().map(|served| async move {
        let name = format!("{}.{}", served.resource.plural, served.resource.group);
        (name, delete(client, namespace, &served).await)
    });
    let mut done = stream::iter(deletions).buffer_unordered(AT_ONCE);
    while let Some((name, left)) = done.next().await {
        match left {
            Ok(left) => content.add(name, &left),
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
