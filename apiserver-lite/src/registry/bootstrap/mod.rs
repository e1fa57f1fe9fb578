//! The objects that every cluster has, made at its first start.
//!
//! [`run`] makes what nothing works without and is over before the server says
//! that it is ready; [`finish`] makes the rest while requests are answered;
//! [`keep_up`] makes the first again when somebody deletes it.
//! All leave alone what is there, and change only what follows the server's
//! address.

mod defaults;
mod kubernetes;
#[cfg(test)]
mod tests;

use std::{convert::Infallible, sync::Arc, time::Duration};

use coracle_api::Object;
use futures::{StreamExt, TryStreamExt, future::try_join_all, stream};
use serde_json::{Value, json};

use super::{Registry, Target, change::Change, options::WriteOptions, write::Author};
use crate::{authn::User, codec, error::ApiError, resources::Part};

const SERVER: &str = "kube-apiserver";
// How many objects are made at one time: the store commits them together.
const TOGETHER: usize = 32;
// How often what was deleted is looked for. Upstream's for the service and its
// network; namespaces may wait for a minute there.
const AGAIN: Duration = Duration::from_secs(10);

/// An object to be made.
struct Seed {
    /// Its group, version and plural.
    kind: (&'static str, &'static str, &'static str),
    /// Its field manager.
    manager: &'static str,
    /// The object; its kind is filled in.
    object: Value,
    /// Its status and who manages that.
    status: Option<(&'static str, Value)>,
    /// The fields that must be so on every start.
    kept: &'static [&'static str],
}

impl Seed {
    fn new(kind: (&'static str, &'static str, &'static str), object: Value) -> Self {
        Self { kind, manager: SERVER, object, status: None, kept: &[] }
    }
}

/// Makes what is missing of the objects that nothing works without.
///
/// # Errors
/// When the store does not take them.
pub async fn run(registry: &Registry) -> Result<(), ApiError> {
    try_join_all(priority_classes().map(|seed| ensure(registry, seed))).await?;
    essentials(registry).await
}

async fn essentials(registry: &Registry) -> Result<(), ApiError> {
    let namespaces = ["default", "kube-system", "kube-public", "kube-node-lease"]
        .map(|name| Seed::new(("", "v1", "namespaces"), json!({ "metadata": { "name": name } })));
    try_join_all(namespaces.map(|seed| ensure(registry, seed))).await?;
    // The network is there before a service is given an address of it.
    ensure(registry, kubernetes::cidr(&registry.config)).await?;
    try_join_all(kubernetes::seeds(&registry.config).into_iter().map(|seed| ensure(registry, seed))).await?;
    Ok(())
}

/// Makes what is missing of the rest: what the server knows of itself, the
/// default roles, and how requests are shared.
///
/// # Errors
/// When the store does not take them.
pub async fn finish(registry: &Registry) -> Result<(), ApiError> {
    let mut seeds = kubernetes::records(&registry.config);
    seeds.extend(defaults::seeds(registry.config.clock.now()));
    stream::iter(seeds.into_iter().map(|seed| ensure(registry, seed)))
        .buffer_unordered(TOGETHER)
        .try_collect::<()>()
        .await
}

/// Makes the namespaces, the `kubernetes` Service and its network again
/// within ten seconds of their deletion, for as long as it is polled.
pub async fn keep_up(registry: &Registry) -> Infallible {
    loop {
        tokio::time::sleep(AGAIN).await;
        if let Err(error) = essentials(registry).await {
            tracing::warn!(%error, "what every cluster has is not all there");
        }
    }
}

fn priority_classes() -> [Seed; 2] {
    let of = |name: &str, value: i64, description: &str| {
        let class = json!({ "metadata": { "name": name }, "value": value, "description": description });
        Seed::new(("scheduling.k8s.io", "v1", "priorityclasses"), class)
    };
    [
        of(
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
        of(
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if \
             necessary.",
        ),
    ]
}

// Creates an object unless it is there.
async fn ensure(registry: &Registry, seed: Seed) -> Result<(), ApiError> {
    let (group, version, plural) = seed.kind;
    let Some(row) = registry.row(group, version, plural) else { return Ok(()) };
    let mut object = Object::from_value(seed.object).unwrap_or_default();
    object.0.insert("apiVersion".to_owned(), row.facts.api_version().into());
    object.0.insert("kind".to_owned(), Value::String(row.facts.gvk.kind.to_string()));
    let target = Target {
        row: Arc::clone(&row),
        namespace: object.namespace().to_owned(),
        name: object.name().to_owned(),
    };
    row.strategy.default(&mut object);
    if let Ok(record) = registry.get(&target).await {
        return keep(registry, &target, &codec::json::parse_stored(&record.bytes), &object, seed.kept).await;
    }
    let created = async |author: &mut Author<'_>| registry.create(&target, object, author).await.map(|_| ());
    match write(seed.manager, created).await {
        Ok(()) => {}
        // Somebody else was faster.
        Err(ApiError::AlreadyExists(_)) => return Ok(()),
        Err(error) => return Err(error),
    }
    let Some((manager, status)) = seed.status else { return Ok(()) };
    let record = registry.get(&target).await?;
    let mut object = codec::json::parse_stored(&record.bytes);
    object.0.insert("status".to_owned(), status);
    let written = write(manager, async |author| {
        let change = Change::Replace(object);
        registry.update(&target, Part::Status, &change, author).await.map(|_| ())
    });
    match written.await {
        // Who keeps it was faster.
        Err(ApiError::Conflict { .. }) => Ok(()),
        written => written,
    }
}

// Sets the fields that follow from how the server was started.
async fn keep(
    registry: &Registry,
    target: &Target,
    there: &Object,
    wanted: &Object,
    paths: &[&str],
) -> Result<(), ApiError> {
    let wanted = Value::Object(wanted.0.clone());
    let mut changed = Value::Object(there.0.clone());
    for path in paths {
        if let (Some(slot), Some(value)) = (changed.pointer_mut(path), wanted.pointer(path)) {
            *slot = value.clone();
        }
    }
    if changed.as_object() == Some(&there.0) {
        return Ok(());
    }
    let changed = Object::from_value(changed).unwrap_or_default();
    write(SERVER, async |author| {
        let change = Change::Replace(changed);
        registry.update(target, Part::Whole, &change, author).await.map(|_| ())
    })
    .await
}

// Writes as the server itself.
async fn write(
    manager: &str,
    act: impl AsyncFnOnce(&mut Author<'_>) -> Result<(), ApiError>,
) -> Result<(), ApiError> {
    let user = User::server();
    let options = WriteOptions::own();
    act(&mut Author { user: &user, options: &options, manager, warnings: Vec::new() }).await
}
