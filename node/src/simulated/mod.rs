//! Nodes that exist only in the API.
//!
//! Any number in one process: one watch of their pods, one queue of pods and
//! one of heartbeats for all of them, no task and no timer of its own for any.
//! Start at [`run`].

mod addresses;
mod admission;
mod fleet;
mod heartbeats;
mod leftover;
mod machine;
mod pods;
mod pool;
mod references;
mod staged;

use std::{sync::Arc, time::Duration};

use coracle_controllers::framework::{Clock, Setup};
use fleet::Fleet;
use kube::Client;
use tokio_util::sync::CancellationToken;

use crate::stage::Stages;

pub use machine::Capacity;

/// What the simulated nodes are given.
#[derive(Debug, Clone)]
pub struct Config {
    /// How many there are.
    pub count: usize,
    /// Their names are this, a dash and a number.
    pub prefix: String,
    /// What each has.
    pub capacity: Capacity,
    /// More labels.
    pub labels: Vec<(String, String)>,
    /// Time between renewals of a lease, which lasts 40 s.
    pub renew_every: Duration,
    /// Time between status reports of a node that does not change.
    pub report_every: Duration,
    /// Whether pods have the events that kubelet reports: pulled, created, started.
    pub pod_events: bool,
    /// The time.
    pub clock: Clock,
    /// Whether NodePools and Stages are obeyed: the cluster knows these kinds.
    pub pools: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            count: 1,
            prefix: "node".into(),
            capacity: Capacity::default(),
            labels: Vec::new(),
            renew_every: Duration::from_secs(10),
            report_every: Duration::from_secs(300),
            pod_events: true,
            clock: Clock::system(),
            pools: false,
        }
    }
}

/// Plays the nodes until `shutdown`, and waits for its tasks to end.
///
/// The nodes and their pods stay in the API.
pub async fn run(client: Client, config: Config, shutdown: CancellationToken) {
    let mut setup = Setup::new(client, config.clock.clone());
    start(&mut setup, config);
    setup.run(shutdown).await;
}

/// Puts the nodes in, and takes those away that an earlier, larger fleet of
/// that prefix has left.
pub fn start(setup: &mut Setup, config: Config) {
    let fleet = Arc::new(Fleet::new(config));
    setup.section();
    leftover::start(setup, &fleet.config);
    if fleet.config.count > 0 || fleet.config.pools {
        let pools = fleet.config.pools;
        // Before what obeys them: it waits until they are read.
        let stages = match pools {
            true => Stages::start(setup),
            false => Arc::new(Stages::none(setup.clock.clone())),
        };
        heartbeats::start(setup, fleet.clone(), stages.clone());
        pods::start(setup, fleet.clone(), stages.clone());
        if pools {
            staged::start(setup, fleet.clone(), stages);
            setup.section();
            pool::start(setup, fleet);
        }
    }
}
