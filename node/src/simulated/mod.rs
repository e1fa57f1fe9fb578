//! Nodes that exist only in the API.
//!
//! Any number in one process: one watch of their pods, one queue of pods and
//! one of heartbeats for all of them, no task and no timer of its own for any.
//! Start at [`run`].

mod addresses;
mod admission;
mod heartbeats;
mod leftover;
mod machine;
mod pods;
mod references;

use std::{collections::HashMap, sync::Arc, time::Duration};

use coracle_controllers::framework::{Clock, Setup};
use kube::Client;
use tokio_util::sync::CancellationToken;

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
        }
    }
}

/// The nodes that this process plays, by name.
pub(crate) struct Fleet {
    config: Config,
    names: Vec<String>,
    numbers: HashMap<String, usize>,
}

impl Fleet {
    fn new(config: Config) -> Self {
        let names: Vec<String> =
            (1..=config.count).map(|number| format!("{}-{number}", config.prefix)).collect();
        let numbers = names.iter().enumerate().map(|(at, name)| (name.clone(), at)).collect();
        Self { config, names, numbers }
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
    if !fleet.names.is_empty() {
        heartbeats::start(setup, fleet.clone());
        pods::start(setup, fleet);
    }
}
