//! Ends a writing process with SIGKILL at random points, and looks for what it
//! said was written. `CORACLE_CRASH_ROUNDS=1000` for the long run,
//! `CORACLE_CRASH_SEED` to repeat one.
//!
//! The process that is killed is this test executable, told by
//! `CORACLE_CRASH_DIRECTORY` to be the writer.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write as _},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use coracle_store::{Embedded, Mode, NoSink, Options, Range, Retention, Revision, Store, Value, Write};
use rand::{Rng, SeedableRng, rngs::StdRng};

const WRITERS: u64 = 8;
const KEYS: u64 = 12;

/// What the writers said of one key: the last acknowledged write, and those
/// since whose acknowledgement a kill may have cut off.
#[derive(Debug, Clone, Default)]
struct Said {
    acknowledged: Option<Version>,
    begun: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Version {
    revision: u64,
    /// `None`: it is deleted.
    text: Option<String>,
}

fn options(directory: &Path, relaxed: bool) -> Options {
    let directory = directory.to_owned();
    let mode = if relaxed { Mode::Relaxed(directory) } else { Mode::Durable(directory) };
    let mut options = Options::new(mode, Arc::new(NoSink));
    // Small, so that rows are removed all the time.
    options.retention = Retention { events: 500, ..Retention::default() };
    options
}

/// Not a test of its own: writes without end when it is told where.
#[test]
fn writer() {
    let Some(directory) = std::env::var_os("CORACLE_CRASH_DIRECTORY") else { return };
    // The harness has begun a line.
    say("\n".to_owned());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let relaxed = std::env::var_os("CORACLE_CRASH_RELAXED").is_some();
        let store = Embedded::open(options(Path::new(&directory), relaxed));
        let store = Arc::new(store.expect("it opens"));
        let mut tasks = tokio::task::JoinSet::new();
        for writer in 0..WRITERS {
            tasks.spawn(write_without_end(store.clone(), writer));
        }
        tasks.join_next().await;
    });
}

fn say(line: String) {
    // One write call a line, so that a kill cuts between lines.
    let mut out = std::io::stdout().lock();
    if out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

// Creates, updates and deletes keys of its own, large and small. Says `begin
// KEY TEXT` before and `done KEY REVISION TEXT` after each write.
async fn write_without_end(store: Arc<Embedded>, writer: u64) {
    let mut random = StdRng::seed_from_u64(u64::from(std::process::id()) * WRITERS + writer);
    for n in 0_u64.. {
        let key: coracle_store::Key = format!("/{writer}/{}", random.random_range(0..KEYS)).into();
        let current = store.get(&key).await.expect("it can be read");
        let text = format!("{}-{writer}-{n}", std::process::id());
        let length = if random.random_ratio(1, 20) { random.random_range(4096..60_000) } else { 600 };
        let value = Value { bytes: format!("{text} {}", "x".repeat(length)).into(), hole: Some(0) };
        let (write, text) = match current {
            None => (Write::Create { key: key.clone(), value, ttl: None }, text),
            Some(current) if random.random_ratio(1, 4) => {
                (Write::Delete { key: key.clone(), expected: current.revision }, "-".to_owned())
            }
            Some(current) => {
                (Write::Update { key: key.clone(), expected: current.revision, value, ttl: None }, text)
            }
        };
        say(format!("begin {key} {text}\n"));
        let record = store.commit(write).await.expect("it is written");
        say(format!("done {key} {text} {}\n", record.revision));
    }
}

#[test]
fn nothing_acknowledged_is_lost_to_a_kill() {
    kill_again_and_again(15, false);
}

#[test]
fn relaxed_writes_outlive_the_process() {
    kill_again_and_again(5, true);
}

fn kill_again_and_again(usual: u64, relaxed: bool) {
    let number = |name: &str, usual: u64| match std::env::var(name) {
        Ok(text) => text.parse().expect("a number"),
        Err(_) => usual,
    };
    let rounds = number("CORACLE_CRASH_ROUNDS", usual);
    let seed = number("CORACLE_CRASH_SEED", 7);
    let mut random = StdRng::seed_from_u64(seed);
    let directory = tempfile::tempdir().expect("a directory");
    let store = directory.path().join("store");
    let mut said: BTreeMap<String, Said> = BTreeMap::new();
    let mut newest = 0;
    let (mut acknowledged, mut dropped) = (0, 0);
    for round in 0..rounds {
        let child = start(&store, relaxed);
        // From the middle of opening to well into checkpoints.
        let life = Duration::from_micros(random.random_range(0..250_000));
        for line in kill_after(child, life) {
            acknowledged += u64::from(hear(&mut said, &mut newest, &line));
        }
        // The next writer may find the files as the kill left them, too.
        if round + 1 < rounds && random.random_ratio(1, 3) {
            continue;
        }
        let found = check(options(&store, relaxed), &mut said, newest, round);
        dropped += u64::from(found.dropped.is_some());
        newest = newest.max(found.newest.0);
    }
    println!(
        "{rounds} rounds, seed {seed}, relaxed {relaxed}: {acknowledged} writes acknowledged, 0 lost, {dropped} starts dropped an \
         unfinished one, at revision {newest}"
    );
    assert!(rounds == 0 || acknowledged > 0, "no round wrote anything");
}

fn start(store: &Path, relaxed: bool) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("this executable"));
    if relaxed {
        command.env("CORACLE_CRASH_RELAXED", "1");
    }
    command
        .args(["writer", "--exact", "--nocapture", "--test-threads=1"])
        .env("CORACLE_CRASH_DIRECTORY", store)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("it starts")
}

// The lines that it says until it is dead. It lives for `life` from its first
// word on, so that a slow machine does not make this test empty.
fn kill_after(mut child: Child, life: Duration) -> Vec<String> {
    let out = BufReader::new(child.stdout.take().expect("it has an output"));
    let (sender, lines) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in out.lines().map_while(Result::ok) {
            let _gone = sender.send(line);
        }
    });
    let mut heard = Vec::new();
    heard.extend(lines.recv_timeout(Duration::from_secs(60)));
    let end = Instant::now() + life;
    while let Ok(line) = lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
        heard.push(line);
    }
    child.kill().expect("it can be killed");
    let status = child.wait().expect("it is dead");
    assert_eq!(status.signal(), Some(9), "it ended by itself");
    heard.extend(lines.iter());
    reader.join().expect("the reader ends");
    heard
}

// Whether the line is an acknowledgement.
fn hear(said: &mut BTreeMap<String, Said>, newest: &mut u64, line: &str) -> bool {
    let words: Vec<&str> = line.split(' ').collect();
    match words.as_slice() {
        ["begin", key, text] => {
            said.entry((*key).to_owned()).or_default().begun.push((*text).to_owned());
            false
        }
        ["done", key, text, revision] => {
            let revision = revision.parse().expect("a revision");
            let said = said.entry((*key).to_owned()).or_default();
            assert!(
                said.acknowledged.as_ref().is_none_or(|before| before.revision < revision),
                "{key}: {revision} after {:?}",
                said.acknowledged
            );
            *newest = (*newest).max(revision);
            let text = (*text != "-").then(|| (*text).to_owned());
            *said = Said { acknowledged: Some(Version { revision, text }), begun: Vec::new() };
            true
        }
        // The test harness has its own words.
        _ => false,
    }
}

// Opens the store, and compares each key with what was said of it.
fn check(
    options: Options,
    said: &mut BTreeMap<String, Said>,
    newest: u64,
    round: u64,
) -> coracle_store::Found {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let store = Embedded::open(options).unwrap_or_else(|error| panic!("round {round}: {error}"));
    assert!(
        store.revision() >= Revision(newest),
        "round {round}: {} is older than {newest}",
        store.revision()
    );
    let range = Range { prefix: "/".into(), after: None, limit: 0 };
    let page = runtime.block_on(store.range(range, None)).expect("it can be read");
    let mut there: BTreeMap<String, Version> = BTreeMap::new();
    for record in &page.records {
        let text = std::str::from_utf8(&record.bytes).expect("it is text");
        let revision = record.revision.0;
        let (head, tail) = text.split_once(' ').expect("it is whole");
        let text = head.strip_prefix(&revision.to_string()).expect("its revision is in its hole");
        assert!(tail.bytes().all(|byte| byte == b'x'), "round {round}: {} is torn", record.key);
        there.insert(record.key.to_string(), Version { revision, text: Some(text.to_owned()) });
    }
    for key in there.keys() {
        assert!(said.contains_key(key), "round {round}: {key} comes from nowhere");
    }
    for (key, said) in said.iter_mut() {
        let found = there.get(key);
        let text = found.and_then(|found| found.text.as_deref());
        // A write that was begun may have been done or not.
        let begun = std::mem::take(&mut said.begun);
        if begun.iter().any(|begun| text == (begun != "-").then_some(begun)) {
            let revision = found.map_or_else(|| store.revision().0, |found| found.revision);
            let before = said.acknowledged.as_ref().map_or(0, |before| before.revision);
            assert!(revision >= before, "round {round}: {key} is back at {revision}, was at {before}");
            said.acknowledged = Some(Version { revision, text: text.map(str::to_owned) });
            continue;
        }
        let last = said.acknowledged.as_ref().and_then(|last| last.text.as_deref());
        assert_eq!(text, last, "round {round}: {key}, acknowledged {:?}", said.acknowledged);
        if let (Some(found), Some(last)) = (found, &said.acknowledged) {
            assert_eq!(found.revision, last.revision, "round {round}: {key}");
        }
    }
    let found = store.found();
    runtime.block_on(store.close());
    found
}
