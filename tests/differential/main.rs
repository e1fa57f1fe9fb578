//! Coracle answers as the real kube-apiserver does.
//!
//! The requests of `exchanges/*.yaml` go, in order, to both; every answer is compared, but for what
//! `mask.rs` says no two servers can have alike, and what `allowed.yaml` allows with a reason.
//!
//! The real one is built by `tests/reference/build kube-apiserver etcd`; where it is not there, nothing is
//! compared, which is an error only if `CORACLE_REQUIRE_REFERENCE` is set (as `make test` does where Go is).
//!
//! To work with:
//! - `CORACLE_DIFFERENTIAL_ONLY=TEXT`: reports only exchanges with TEXT in `FILE: NAME`, and runs only their files;
//! - `CORACLE_DIFFERENTIAL_ALONE=1`: with it, asks nothing but those exchanges;
//! - `CORACLE_DIFFERENTIAL_REFERENCE=KUBECONFIG`, `CORACLE_DIFFERENTIAL_OURS=KUBECONFIG`: servers that run already;
//! - `CORACLE_DIFFERENTIAL=record`: asks the real one alone, and prints what it answers.

#[path = "../allowed/mod.rs"]
mod allowed;
mod compare;
mod coverage;
mod exchange;
mod junk;
mod mask;
mod party;
mod properties;
mod protobuf;
mod side;
mod template;
mod user;

use std::collections::BTreeMap;
use std::env;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::Mutex;

use allowed::Allowance;
use compare::{Comparison, Difference};
use coverage::Coverage;
use exchange::{Exchange, Identity, Script};
use party::Party;
use side::{Answer, Side};

/// One pair of servers at a time: a second one would make the watches of the first late.
static TURN: Mutex<()> = Mutex::const_new(());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn differential() -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let here = root.join("tests/differential");
    let only = env::var("CORACLE_DIFFERENTIAL_ONLY").ok();
    let scripts = exchange::load(&here.join("exchanges"), &run_name())?;
    let scripts: Vec<Script> =
        scripts.into_iter().filter(|script| concerns(script, only.as_deref())).collect();
    let scripts = if env::var_os("CORACLE_DIFFERENTIAL_ALONE").is_some() {
        alone(scripts, only.as_deref())
    } else {
        scripts
    };
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let _turn = TURN.lock().await;
    let Some(mut reference) = Party::reference(root, directory.path()).await? else {
        return party::not_run("differential");
    };
    if env::var("CORACLE_DIFFERENTIAL").is_ok_and(|mode| mode == "record") {
        record(&scripts, &mut reference.side, only.as_deref()).await?;
        return reference.stop().await;
    }
    let mut ours = Party::ours(directory.path()).await?;
    let mut allowed = Allowance::load(&here.join("allowed.yaml"))?;
    let tally =
        compare_all(&scripts, &mut reference.side, &mut ours.side, &mut allowed, only.as_deref()).await?;
    tally.print_common();
    if only.is_none() {
        println!("{}", tally.coverage);
    }
    println!("{tally}");
    ours.stop().await?;
    reference.stop().await?;
    // Who looks at a part cannot tell what the rest needs.
    let unused: Vec<String> = if only.is_none() { Allowance::unused(&allowed).collect() } else { Vec::new() };
    for allowance in &unused {
        println!("allowed, but not needed: {allowance}");
    }
    let missing = if only.is_none() { tally.coverage.missing() } else { Vec::new() };
    for missing in &missing {
        println!("never asked: {missing}");
    }
    if tally.different > 0 || !unused.is_empty() {
        return Err(format!("{tally}; {} allowances unused", unused.len()));
    }
    Ok(())
}

/// Unlike those of other runs against the same servers.
fn run_name() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let digit = |place: u32| char::from_digit((seconds / 36u64.pow(place) % 36) as u32, 36).unwrap_or('0');
    (0..5).rev().map(digit).collect()
}

fn concerns(script: &Script, only: Option<&str>) -> bool {
    script.exchanges.iter().any(|exchange| is_meant(script, exchange, only))
}

fn is_meant(script: &Script, exchange: &Exchange, only: Option<&str>) -> bool {
    only.is_none_or(|only| title(script, exchange).contains(only))
}

// What is named, without what went before it in its file.
fn alone(scripts: Vec<Script>, only: Option<&str>) -> Vec<Script> {
    let meant = |mut script: Script| {
        let name = script.name.clone();
        script
            .exchanges
            .retain(|exchange| only.is_none_or(|only| format!("{name}: {}", exchange.name).contains(only)));
        script
    };
    scripts.into_iter().map(meant).collect()
}

fn title(script: &Script, exchange: &Exchange) -> String {
    format!("{}: {}", script.name, exchange.name)
}

/// How many exchanges went how.
#[derive(Default)]
struct Tally {
    equal: usize,
    allowed: usize,
    different: usize,
    skipped: usize,
    /// Known to differ still.
    unlike: usize,
    /// What was asked of which kind.
    coverage: Coverage,
    /// How often ours differed in what way.
    common: BTreeMap<(String, String, String), usize>,
}

impl Tally {
    /// Many differences have one cause: says which are the most frequent.
    fn print_common(&self) {
        const SHOWN: usize = 12;
        let mut common: Vec<_> = self.common.iter().filter(|(_, count)| **count > 1).collect();
        common.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for ((at, reference, ours), count) in common.into_iter().take(SHOWN) {
            println!("{count} times {at}: {reference} / {ours}");
        }
    }

    fn note(&mut self, difference: &Difference) {
        let short = |text: &str| text.chars().take(60).collect::<String>();
        let place = difference.at.replace(|c: char| c.is_ascii_digit(), "");
        *self.common.entry((place, short(&difference.reference), short(&difference.ours))).or_default() += 1;
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { equal, allowed, different, skipped, unlike, .. } = self;
        let all = equal + allowed + different;
        write!(
            f,
            "differential: {all} exchanges: {equal} equal, {allowed} as allowed, {different} different"
        )?;
        if *unlike > 0 {
            write!(f, ", {unlike} not compared yet")?;
        }
        if *skipped > 0 { write!(f, " ({skipped} not asked: no key of the authority)") } else { Ok(()) }
    }
}

async fn compare_all(
    scripts: &[Script],
    reference: &mut Side,
    ours: &mut Side,
    allowed: &mut [Allowance],
    only: Option<&str>,
) -> Result<Tally, String> {
    let mut comparison = Comparison::new(yesterday());
    let mut tally = Tally::default();
    for script in scripts {
        for exchange in furnish(script)? {
            let (reference, ours) = tokio::join!(reference.ask(&exchange), ours.ask(&exchange));
            for (name, (answer, _)) in [("the reference", reference), ("ours", ours)] {
                if answer.status != 201 {
                    println!("{}: {name}: {}: {} {}", script.name, exchange.name, answer.status, answer.body);
                }
            }
        }
        for exchange in &script.exchanges {
            if !reference.knows(exchange.identity) || !ours.knows(exchange.identity) {
                tally.skipped += 1;
                continue;
            }
            let (theirs, own) = tokio::join!(reference.ask(exchange), ours.ask(exchange));
            let again = protobuf::again(exchange, &theirs.0);
            let in_protobuf = match &again {
                Some(again) => Some(tokio::join!(reference.ask(again), ours.ask(again))),
                None => None,
            };
            let again =
                again.iter().zip(&in_protobuf).map(|(again, (theirs, own))| (again, &theirs.0, &own.0));
            for (exchange, theirs, own) in answers(exchange, &theirs, &own).chain(again) {
                let title = title(script, exchange);
                if let Some(failure) = theirs.failure.as_ref().filter(|_| !exchange.yet) {
                    // What follows may need it: one mistake of ours, and many differences.
                    println!("--- {title}: asked the reference, got no answer: {failure}");
                    tally.different += 1;
                    continue;
                }
                let found = comparison.compare(exchange, theirs, own);
                if !is_meant(script, exchange, only) {
                    continue;
                }
                tally.coverage.note(exchange, theirs.status);
                if exchange.yet {
                    tally.unlike += 1;
                    continue;
                }
                let count = found.len();
                let bad: Vec<_> =
                    found.into_iter().filter(|d| !allowed.iter_mut().any(|a| a.covers(&title, d))).collect();
                match (count, bad.is_empty()) {
                    (0, _) => tally.equal += 1,
                    (_, true) => tally.allowed += 1,
                    (_, false) => {
                        tally.different += 1;
                        bad.iter().for_each(|difference| tally.note(difference));
                        report(&title, exchange, &bad);
                    }
                }
            }
        }
    }
    Ok(tally)
}

/// The exchange itself, and those during its watch, each with both answers.
fn answers<'a>(
    exchange: &'a Exchange,
    theirs: &'a (Answer, Vec<Answer>),
    own: &'a (Answer, Vec<Answer>),
) -> impl Iterator<Item = (&'a Exchange, &'a Answer, &'a Answer)> {
    let during = exchange.watch.iter().flat_map(|watch| &watch.during).zip(theirs.1.iter().zip(&own.1));
    let during = during.map(|(exchange, (theirs, own))| (exchange, theirs, own));
    during.chain(std::iter::once((exchange, &theirs.0, &own.0)))
}

fn report(title: &str, exchange: &Exchange, differences: &[Difference]) {
    const LIMIT: usize = 20;
    println!("--- {title}\n    {}", exchange.request);
    for difference in differences.iter().take(LIMIT) {
        println!("    {difference}");
    }
    if differences.len() > LIMIT {
        println!("    ... and {} more", differences.len() - LIMIT);
    }
}

/// What a script's namespace needs: on both sides no controller makes service accounts.
fn furnish(script: &Script) -> Result<Vec<Exchange>, String> {
    let ns = &script.namespace;
    let text = format!(
        "- {{name: namespace, request: POST /api/v1/namespaces, body: {{metadata: {{name: {ns}}}}}}}\n\
         - {{name: service account, request: POST /api/v1/namespaces/{ns}/serviceaccounts, body: {{metadata: {{name: default}}}}}}\n"
    );
    serde_yaml_ng::from_str(&text).map_err(|error| error.to_string())
}

/// Times before it were written into exchanges; later ones come from a clock.
fn yesterday() -> String {
    let now = jiff::Timestamp::now();
    (now - jiff::SignedDuration::from_hours(24)).strftime("%Y-%m-%d").to_string()
}

async fn record(scripts: &[Script], reference: &mut Side, only: Option<&str>) -> Result<(), String> {
    let mut count = 0;
    for script in scripts {
        for exchange in furnish(script)? {
            reference.ask(&exchange).await;
        }
        for exchange in
            script.exchanges.iter().filter(|e| reference_can(reference, e.identity)).collect::<Vec<_>>()
        {
            let answer = reference.ask(exchange).await;
            for (exchange, answer, _) in answers(exchange, &answer, &answer) {
                count += 1;
                if !is_meant(script, exchange, only) {
                    continue;
                }
                println!("--- {}\n    {}", title(script, exchange), exchange.request);
                println!("    {} {:?} {}", answer.status, answer.headers, answer.layout);
                println!("    {}", answer.body);
                if let Some(failure) = &answer.failure {
                    println!("    FAILURE {failure}");
                }
            }
        }
    }
    println!("differential: {count} exchanges recorded");
    Ok(())
}

fn reference_can(side: &Side, identity: Identity) -> bool {
    side.knows(identity)
}
