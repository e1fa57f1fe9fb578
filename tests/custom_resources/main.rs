//! Custom resources, as those who write operators with kube-rs use them: a CRD by derive, its objects, what becomes of
//! them and of it.

mod boats;
mod definitions;
mod lifetime;
mod objects;

use std::future::Future;

use coracle::Cluster;
use kube::Client;

/// How a test ends.
pub type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Runs a test on a cluster with no nodes.
pub async fn with<F: Future<Output = Outcome>>(test: impl FnOnce(Client) -> F) -> Outcome {
    let cluster = Cluster::builder().nodes(0).start().await?;
    let outcome = test(cluster.client()).await;
    cluster.stop().await;
    outcome
}
