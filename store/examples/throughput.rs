//! Measures the embedded store: durable 1 KiB creations a second by number of
//! writers, reads, and how long a full store takes to open.
//!
//! `cargo run --release -p coracle-store --example throughput [DIRECTORY [SECONDS]]`

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use coracle_store::{Embedded, Mode, NoSink, Options, Range, Store, Value, Write};

// What the measures of the whole server take for a full directory.
const FULL: usize = 28_000;

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args_os().skip(1);
    let directory =
        arguments.next().map_or_else(|| std::env::temp_dir().join("store-throughput"), PathBuf::from);
    let seconds: u64 = match arguments.next() {
        Some(seconds) => seconds.to_string_lossy().parse()?,
        None => 3,
    };
    if arguments.next().is_some() {
        return open(&directory).await;
    }
    for (name, mode) in [
        ("durable", Mode::Durable as fn(PathBuf) -> Mode),
        ("relaxed", Mode::Relaxed),
        ("memory", |_| Mode::Memory),
    ] {
        for writers in [1, 16, 128, 200] {
            let fresh = fresh(&directory)?;
            write(name, mode(fresh), writers, Duration::from_secs(seconds)).await?;
        }
    }
    fill(&fresh(&directory)?).await?;
    // In a process that has no freed memory to use again.
    let status = std::process::Command::new(std::env::current_exe()?)
        .args([directory.as_os_str(), "0".as_ref(), "open".as_ref()])
        .status()?;
    if !status.success() {
        return Err(format!("the process that opens it ended with {status}").into());
    }
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}

fn fresh(directory: &Path) -> Result<PathBuf, Failure> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(directory.to_owned()),
    }
}

fn creation(key: String) -> Write {
    let bytes = Bytes::from(vec![b'x'; 1024]);
    Write::Create { key: key.into(), value: Value { bytes, hole: Some(512) }, ttl: None }
}

async fn write(name: &str, mode: Mode, writers: usize, time: Duration) -> Result<(), Failure> {
    let store = Arc::new(Embedded::open(Options::new(mode, Arc::new(NoSink)))?);
    let mut tasks = tokio::task::JoinSet::new();
    let started = Instant::now();
    for writer in 0..writers {
        let store = store.clone();
        tasks.spawn(async move {
            let mut waits = Vec::new();
            while started.elapsed() < time {
                let begun = Instant::now();
                let write = creation(format!("/registry/configmaps/default/{writer}-{}", waits.len()));
                store.commit(write).await?;
                waits.push(begun.elapsed());
            }
            Ok::<_, coracle_store::StoreError>(waits)
        });
    }
    let mut waits = Vec::new();
    while let Some(task) = tasks.join_next().await {
        waits.extend(task??);
    }
    let took = started.elapsed().as_secs_f64();
    waits.sort_unstable();
    let at = |part: usize| waits.get(waits.len() * part / 1000).copied().unwrap_or_default();
    println!(
        "{name:8} {writers:4} writers {:8.0}/s  p50 {:?}  p99 {:?}  p99.9 {:?}  max {:?}",
        waits.len() as f64 / took,
        at(500),
        at(990),
        at(999),
        waits.last().copied().unwrap_or_default(),
    );
    store.close().await;
    Ok(())
}

// Bytes of memory; 0 where that is not known.
fn resident() -> Result<usize, Failure> {
    let Ok(text) = std::fs::read_to_string("/proc/self/statm") else { return Ok(0) };
    let pages: usize = text.split(' ').nth(1).unwrap_or("0").parse()?;
    Ok(pages * 4096)
}

fn options(directory: &Path) -> Options {
    Options::new(Mode::Durable(directory.to_owned()), Arc::new(NoSink))
}

async fn fill(directory: &Path) -> Result<(), Failure> {
    let store = Arc::new(Embedded::open(options(directory))?);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..FULL {
        let store = store.clone();
        tasks.spawn(async move {
            store.commit(creation(format!("/registry/configmaps/default/object-{n}"))).await
        });
    }
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    store.close().await;
    Ok(())
}

async fn open(directory: &Path) -> Result<(), Failure> {
    let before = resident()?;
    for round in 0..5 {
        let started = Instant::now();
        let store = Embedded::open(options(directory))?;
        let opened = started.elapsed();
        if round == 0 {
            let grown = resident()?.saturating_sub(before);
            println!("resident: {} bytes an object of 1 KiB", grown / store.found().keys.max(1));
        }
        store.commit(creation(format!("/registry/configmaps/default/round-{round}"))).await?;
        let written = started.elapsed();
        let begun = Instant::now();
        let range = Range { prefix: "/registry/configmaps/".into(), after: None, limit: 0 };
        let page = store.range(range, None).await?;
        let listed = begun.elapsed();
        let begun = Instant::now();
        for record in &page.records {
            store.get(&record.key).await?;
        }
        let got = begun.elapsed() / u32::try_from(page.records.len())?;
        println!(
            "open {} x 1 KiB in {opened:?}, first write acknowledged after {written:?}; list {listed:?}, get {got:?}, {} MiB on disk",
            page.records.len(),
            store.size() >> 20,
        );
        let begun = Instant::now();
        let mut pages = 0;
        let mut after = None;
        loop {
            let range = Range { prefix: "/registry/configmaps/".into(), after, limit: 500 };
            let page = store.range(range, Some(page.revision)).await?;
            pages += 1;
            after = page.records.last().map(|record| record.key.clone());
            if page.remaining == 0 {
                break;
            }
        }
        println!("{pages} pages of 500 in {:?}", begun.elapsed());
        let begun = Instant::now();
        store.close().await;
        println!("close {:?}", begun.elapsed());
    }
    Ok(())
}
