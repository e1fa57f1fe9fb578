//! Whatever goes wrong between them and the API, controllers, scheduler and nodes get there.
//!
//! Between all loops and the API server is a layer that, by a seed, refuses requests, loses answers, delays, cuts
//! watches; meanwhile the loops are stopped and started again. When it stops everything must come out right, and
//! nothing may have happened on the way that must never happen.
//!
//! `CORACLE_FAULT_SEEDS=N`: how many seeds (default 12); `CORACLE_FAULT_SEED=S`: only that one.

mod layer;
mod watcher;
mod world;

use std::env;

use futures::StreamExt;

const AT_ONCE: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults() {
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("CORACLE_FAULT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("CORACLE_FAULT_SEEDS").unwrap_or(12),
    };
    let runs = futures::stream::iter(seeds).map(async |seed| (seed, world::run(seed).await));
    let mut failed = Vec::new();
    let mut met = 0;
    let mut outcomes = Box::pin(runs.buffer_unordered(AT_ONCE));
    while let Some((seed, outcome)) = outcomes.next().await {
        match outcome {
            Ok(faults) => met += faults,
            Err(error) => failed.push(format!("seed {seed}: {error}")),
        }
    }
    println!("faults: {met} in all, {} seeds failed", failed.len());
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(met > 0, "nothing went wrong, so nothing was shown");
}
