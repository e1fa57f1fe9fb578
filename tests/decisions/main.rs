//! Our scheduler decides as the real kube-scheduler does.
//!
//! Generated clusters, and pods that come into them one after the other (`generate.rs`), are put into an API server
//! of ours, on which the real kube-scheduler works. Each pod comes twice: first an extender refuses it every node, so
//! that the scheduler tells which nodes it found and why not the others; then it is let go, so that it is scored and
//! bound. Ours is asked the same of the same objects: the message, the nodes and every rule's scores must be equal,
//! and the node that was chosen one of our best. What differs must be allowed, with a reason, by `allowed.yaml`.
//!
//! The real one is built by `tests/reference/build kube-scheduler`; where it is not there, nothing is compared, which
//! is an error only if `CORACLE_REQUIRE_REFERENCE` is set (as `make test` does where Go is).
//!
//! To work with:
//! - `CORACLE_DECISIONS=2000`: how many decisions are compared (200);
//! - `CORACLE_DECISIONS_SEED=7`: the first world (1); each has 20 pods;
//! - `CORACLE_DECISIONS_LOG=1`: shows the real scheduler's log.

#[path = "../allowed/mod.rs"]
mod allowed;
mod compare;
mod extender;
mod generate;
mod ours;
mod reference;
mod storage;
mod world;

use std::collections::BTreeMap;
use std::env;
use std::path::Path;
use std::time::Instant;

use allowed::Allowance;
use world::Place;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Pods that come into one world.
const ARRIVING: usize = 20;
/// What differs is asked again so often: the real scheduler may not have seen all objects yet.
const TRIES: usize = 4;
/// So many decisions need every allowance.
const WHOLE: usize = 2000;
/// Differences shown in full.
const SHOWN: usize = 25;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decisions() -> Result<(), Failure> {
    let Some(binary) = reference::binary() else {
        println!(
            "decisions: not run: the real kube-scheduler is not built (tests/reference/build kube-scheduler)"
        );
        return match env::var_os("CORACLE_REQUIRE_REFERENCE") {
            Some(_) => Err("CORACLE_REQUIRE_REFERENCE is set, and there is no reference".into()),
            None => Ok(()),
        };
    };
    let number = |name: &str, default: u64| -> u64 {
        env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let wanted = number("CORACLE_DECISIONS", 200) as usize;
    let seed = number("CORACLE_DECISIONS_SEED", 1);
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/decisions");
    let mut allowed = Allowance::load(&here.join("allowed.yaml"))?;
    let directory = tempfile::tempdir()?;
    let began = Instant::now();
    let place = Place::start(&binary, directory.path()).await?;
    let mut tally = Tally::default();
    for (at, seed) in (seed..).take(wanted.div_ceil(ARRIVING)).enumerate() {
        let world = generate::world(seed, ARRIVING.min(wanted - at * ARRIVING));
        place.furnish(&world).await?;
        for (at, pod) in world.arriving.iter().enumerate() {
            one(&place, pod, &format!("{seed}.{at}"), &mut allowed, &mut tally).await?;
        }
        place.clear().await?;
    }
    place.stop().await;
    println!("{tally} in {:.0?}", began.elapsed());
    if wanted >= WHOLE {
        Allowance::unused(&allowed).for_each(|allowance| println!("allowed, but not needed: {allowance}"));
    }
    if tally.different > 0 {
        return Err(format!("{tally}").into());
    }
    Ok(())
}

/// Compares what becomes of one pod.
async fn one(
    place: &Place,
    pod: &serde_json::Value,
    title: &str,
    allowed: &mut [Allowance],
    tally: &mut Tally,
) -> Result<(), Failure> {
    for attempt in 1..=TRIES {
        let (seen, own) = place.look(pod, attempt).await?;
        let mut differences = compare::refusals(&seen, &own.refused);
        if differences.is_empty() && !seen.found.is_empty() && place.may_be_bound(pod) {
            // It is bound then: there is no second time.
            let chosen = place.go(pod, attempt, seen.found.len()).await?;
            differences = compare::choice(&chosen, &own.chosen);
            tally.scored += 1;
        } else if !differences.is_empty() && attempt < TRIES {
            continue;
        }
        tally.take(title, pod, differences, allowed);
        break;
    }
    Ok(())
}

/// How many decisions went how.
#[derive(Default)]
struct Tally {
    equal: usize,
    scored: usize,
    allowed: usize,
    different: usize,
    /// How often which rule's texts or scores differed.
    common: BTreeMap<String, usize>,
}

impl Tally {
    fn take(
        &mut self,
        title: &str,
        pod: &serde_json::Value,
        differences: Vec<compare::Difference>,
        allowed: &mut [Allowance],
    ) {
        let count = differences.len();
        let bad: Vec<_> =
            differences.into_iter().filter(|d| !allowed.iter_mut().any(|a| a.covers(title, d))).collect();
        match (count, bad.is_empty()) {
            (0, _) => self.equal += 1,
            (_, true) => self.allowed += 1,
            (_, false) => {
                self.different += 1;
                for difference in &bad {
                    *self.common.entry(difference.at.clone()).or_default() += 1;
                }
                if self.different <= SHOWN {
                    println!("--- {title}: {pod}");
                    bad.iter().take(8).for_each(|difference| println!("    {difference}"));
                }
            }
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { equal, scored, allowed, different, common } = self;
        let all = equal + allowed + different;
        write!(f, "decisions: {all}, {scored} of them scored: {equal} equal, {allowed} as allowed, ")?;
        write!(f, "{different} different")?;
        for (at, count) in common {
            write!(f, "; {count} at {at}")?;
        }
        Ok(())
    }
}
