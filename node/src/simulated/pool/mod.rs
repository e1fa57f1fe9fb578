//! Keeps as many nodes as a NodePool asks for.
//!
//! Start at [`plan::plan`]. The nodes that are made here are played like all
//! others: who sees to that finds them by their owner.

mod plan;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use coracle_controllers::framework::{
    Change, Clock, Error, Key, Next, Queue, Reconcile, Setup, Store, controller_reference,
};
use coracle_crds::NodePool;
use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
};
use plan::{Observed, Plan};
use serde_json::json;

use super::{
    fleet::{Fleet, pool_of},
    machine,
};

const WORKERS: usize = 2;
/// Requests of one pool at a time.
const AT_ONCE: usize = 32;
/// Until a name is looked at again that was free here and taken on the server.
const SOON: Duration = Duration::from_millis(100);

/// Puts the controller in.
pub(super) fn start(setup: &mut Setup, fleet: Arc<Fleet>) {
    let pools = setup.reflect::<NodePool>();
    let nodes = setup.reflect::<Node>();
    nodes.store().index(plan::BY_POOL, plan::pool_label);
    let queue = Queue::new();
    let on_pool = queue.clone();
    pools.on_change(move |change| {
        if let Some(pool) = change.after {
            on_pool.add(Key::of(&pool.metadata));
        }
    });
    let on_node = queue.clone();
    nodes.on_change(move |change| {
        if concerns(change) {
            for node in change.sides() {
                let labelled = plan::pool_label(node);
                let owner = pool_of(node).map(|owner| owner.name.clone());
                on_node.extend(owner.into_iter().chain(labelled).map(Key::cluster));
            }
        }
    });
    let controller = NodePools {
        client: setup.client.clone(),
        clock: setup.clock.clone(),
        fleet,
        pools: pools.store(),
        nodes: nodes.store(),
    };
    setup.reconcile("node-pool", queue, WORKERS, controller);
}

/// Most of what nodes tell is that they still live, which concerns no pool.
fn concerns(change: &Change<'_, Node>) -> bool {
    let (Some(before), Some(after)) = (change.before, change.after) else { return true };
    plan::is_ready(before) != plan::is_ready(after)
        || before.metadata.deletion_timestamp != after.metadata.deletion_timestamp
        || before.metadata.annotations != after.metadata.annotations
        || change.relabelled()
}

/// Whether all nodes that were to be made are this pool's making.
struct Made {
    all: bool,
}

struct NodePools {
    client: Client,
    clock: Clock,
    fleet: Arc<Fleet>,
    pools: Arc<Store<NodePool>>,
    nodes: Arc<Store<Node>>,
}

impl Reconcile<Key> for NodePools {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(pool) = self.pools.get(key) else { return Ok(Next::Change) };
        let observed = self.observe(pool);
        let plan = plan::plan(&observed);
        let outcome = self.execute(&observed.pool, &plan).await;
        let unseen = matches!(outcome, Ok(Made { all: false }));
        let failure = outcome.err();
        let text = failure.as_ref().map(ToString::to_string);
        if let Some(status) = plan::status(&observed, text.as_deref(), self.clock.now()) {
            let api = Api::<NodePool>::all(self.client.clone());
            let patch =
                Patch::Merge(json!({"metadata": {"uid": observed.pool.metadata.uid}, "status": status}));
            match api.patch_status(&key.name, &PatchParams::default(), &patch).await.map_err(Error::from) {
                Err(error) if !error.is_not_found() && !error.is_conflict() => return Err(error),
                _ => {}
            }
        }
        match failure {
            Some(error) => Err(error),
            None if unseen => Ok(Next::After(SOON)),
            None => Ok(plan.again.map_or(Next::Change, Next::After)),
        }
    }
}

impl NodePools {
    fn observe(&self, pool: Arc<NodePool>) -> Observed {
        let owned = self.nodes.controlled_by(pool.metadata.uid.as_deref().unwrap_or_default());
        let labelled = self.nodes.indexed(plan::BY_POOL, &pool.name_any());
        let orphans = labelled.into_iter().filter(|node| node.owner_references().is_empty()).collect();
        let own: BTreeSet<&str> = owned.iter().filter_map(|node| node.metadata.name.as_deref()).collect();
        let missing = plan::names(&pool).filter(|name| !own.contains(name.as_str()));
        let taken = missing.filter(|name| self.nodes.get(&Key::cluster(name.as_str())).is_some()).collect();
        Observed { pool, owned, orphans, taken }
    }

    /// Carries it out; the first failure, after all has been tried.
    async fn execute(&self, pool: &NodePool, plan: &Plan) -> Result<Made, Error> {
        // Collected: the compiler cannot tell that a lazy map of these may move between threads.
        let adopted: Vec<_> = plan.adopt.iter().map(|node| self.adopt(pool, node)).collect();
        let deleted: Vec<_> = plan.delete.iter().map(|node| self.delete(node)).collect();
        let created: Vec<_> = plan.create.iter().map(|name| self.create(pool, name)).collect();
        let results: [Vec<Result<(), Error>>; 2] = [
            stream::iter(adopted).buffer_unordered(AT_ONCE).collect().await,
            stream::iter(deleted).buffer_unordered(AT_ONCE).collect().await,
        ];
        let made: Vec<Result<bool, Error>> = stream::iter(created).buffer_unordered(AT_ONCE).collect().await;
        results.into_iter().flatten().collect::<Result<(), Error>>()?;
        made.into_iter().try_fold(Made { all: true }, |so_far, made| Ok(Made { all: made? && so_far.all }))
    }

    /// Whether it is made: not if there is one of that name already.
    async fn create(&self, pool: &NodePool, name: &str) -> Result<bool, Error> {
        let (number, new) = self.fleet.admit(name, None);
        let made = machine::node(name, number, &plan::shape(pool, name), self.clock.now());
        let mut node = made.map_err(|error| Error::Invalid(error.to_string()))?;
        node.metadata.owner_references = Some(vec![controller_reference(pool)]);
        let api = Api::<Node>::all(self.client.clone());
        match api.create(&PostParams::default(), &node).await.map_err(Error::from) {
            Ok(_) => Ok(true),
            Err(error) => {
                if new {
                    self.fleet.dismiss(name);
                }
                // Ours, not seen yet, or another's: of another's no change is told to this pool.
                if error.is_already_exists() { Ok(false) } else { Err(error) }
            }
        }
    }

    async fn delete(&self, node: &Node) -> Result<(), Error> {
        let api = Api::<Node>::all(self.client.clone());
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: node.uid(), resource_version: None }),
            ..DeleteParams::default()
        };
        match api.delete(&node.name_any(), &params).await.map_err(Error::from) {
            Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error),
            _ => Ok(()),
        }
    }

    async fn adopt(&self, pool: &NodePool, node: &Node) -> Result<(), Error> {
        let api = Api::<Node>::all(self.client.clone());
        let patch = Patch::Merge(json!({"metadata": {
            "uid": node.uid(), "resourceVersion": node.resource_version(),
            "ownerReferences": [controller_reference(pool)],
        }}));
        match api.patch(&node.name_any(), &PatchParams::default(), &patch).await.map_err(Error::from) {
            Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error),
            _ => Ok(()),
        }
    }
}
