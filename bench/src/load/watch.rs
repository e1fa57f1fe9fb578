//! Watches: what events cost when there are many watchers, and what a watcher costs when there are none.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::create::{config_map, unique};
use super::stretch::Stretch;
use super::{Client, Clients, LoadError, NAMESPACE};
use crate::connection::ConnectionError;
use crate::kubeconfig::Access;
use crate::process::Family;

/// How many watches share a connection, as those of one client program do.
const SHARED_BY: usize = 100;
/// So many objects are changed in turn.
const OBJECTS: usize = 100;

/// So many watchers of ConfigMaps of 1 KB, of which so many are updated each second: events that arrive at
/// watchers, per second and per second of the server's processors.
///
/// # Errors
/// When a watch or an update fails.
pub async fn churn(
    access: &Access,
    pid: Option<u32>,
    (watchers, accept): (usize, &str),
    rate: f64,
    time: Duration,
) -> Result<Value, LoadError> {
    let connections = Clients::spread(access, watchers.div_ceil(SHARED_BY).max(1)).await?;
    let mut writer = Clients::spread(access, 1).await?.client(0).await?;
    writer.furnish().await?;
    let prefix = unique();
    let collection = format!("/api/v1/namespaces/{NAMESPACE}/configmaps");
    for number in 0..OBJECTS {
        writer.ensure(&collection, config_map(&prefix, number, &filler(0))).await?;
    }
    let events = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    let revision = revision(&mut writer, &collection).await?;
    for mut client in connections.first(watchers).await? {
        client = client.accepting(accept);
        let body = client.open(&watch(&collection, &revision)).await?;
        tasks.spawn(count(body, accept.contains("protobuf"), events.clone()));
    }
    write(&mut writer, &collection, &prefix, rate, Duration::from_secs(1)).await?;
    let before = events.load(Ordering::Relaxed);
    let stretch = Stretch::begin(pid);
    let writes = write(&mut writer, &collection, &prefix, rate, time).await?;
    let spent = stretch.spent();
    let arrived = events.load(Ordering::Relaxed) - before;
    tasks.abort_all();
    Ok(json!({
        "watchers": watchers,
        "writes": writes,
        "events": arrived,
        "per_second": spent.per_second(arrived),
        "per_cpu_second": spent.per_cpu_second(arrived),
        "of_all": arrived as f64 / (writes * watchers) as f64,
    }))
}

// Updates objects in turn, at this rate; a server that is slower is not hurried.
async fn write(
    writer: &mut Client,
    collection: &str,
    prefix: &str,
    rate: f64,
    time: Duration,
) -> Result<usize, LoadError> {
    let deadline = Instant::now() + time;
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut writes = 0;
    while Instant::now() < deadline {
        ticks.tick().await;
        let number = writes % OBJECTS;
        let body = config_map(prefix, number, &filler(writes + 1));
        writer.ask("PUT", &format!("{collection}/{prefix}-{number}"), body).await?;
        writes += 1;
    }
    Ok(writes)
}

// Each write changes something, also between runs.
fn filler(number: usize) -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{number}-{:x}-{}", since.as_nanos(), "x".repeat(820))
}

async fn count(mut body: Incoming, protobuf: bool, events: Arc<AtomicUsize>) {
    let mut frames = Frames::default();
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        let arrived = if protobuf { frames.ended_in(&data) } else { lines(&data) };
        events.fetch_add(arrived, Ordering::Relaxed);
    }
}

// An event in JSON is a line.
fn lines(data: &[u8]) -> usize {
    data.iter().filter(|byte| **byte == b'\n').count()
}

/// Counts events in protobuf: each is a length in four bytes, and so many bytes.
#[derive(Default)]
struct Frames {
    head: Vec<u8>,
    left: usize,
}

impl Frames {
    fn ended_in(&mut self, mut data: &[u8]) -> usize {
        let mut ended = 0;
        while !data.is_empty() {
            if self.left > 0 {
                let (_, rest) = data.split_at(self.left.min(data.len()));
                self.left -= data.len() - rest.len();
                ended += usize::from(self.left == 0);
                data = rest;
                continue;
            }
            let (head, rest) = data.split_at((4 - self.head.len()).min(data.len()));
            self.head.extend_from_slice(head);
            data = rest;
            if let Ok(length) = <[u8; 4]>::try_from(&*self.head) {
                self.left = u32::from_be_bytes(length) as usize;
                self.head.clear();
            }
        }
        ended
    }
}

/// Opens so many watches in which nothing happens: how much the server's resident memory grows for each, and for
/// each connection that carries a hundred of them.
///
/// # Errors
/// When a watch cannot be opened.
pub async fn idle(access: &Access, pid: u32, watches: usize) -> Result<Value, LoadError> {
    let family = Family::of(pid);
    let mut writer = Clients::spread(access, 1).await?.client(0).await?;
    writer.furnish().await?;
    let collection = format!("/api/v1/namespaces/{NAMESPACE}/configmaps");
    let revision = revision(&mut writer, &collection).await?;
    settle().await;
    let alone = family.resident();
    let count = watches.div_ceil(SHARED_BY).max(1);
    let connections = Clients::spread(access, count).await?;
    for number in 0..count {
        connections.client(number).await?.ask("GET", "/version", Bytes::new()).await?;
    }
    settle().await;
    let connected = family.resident();
    let mut bodies = Vec::with_capacity(watches);
    for number in 0..watches {
        bodies.push(connections.client(number).await?.open(&watch(&collection, &revision)).await?);
    }
    settle().await;
    let watched = family.resident();
    drop(bodies);
    let grown = |from: u64, to: u64, by: usize| to.saturating_sub(from) as f64 / 1024.0 / by.max(1) as f64;
    Ok(json!({
        "watches": watches,
        "kib_per_watch": grown(connected, watched, watches),
        "kib_per_connection": grown(alone, connected, count),
    }))
}

async fn settle() {
    tokio::time::sleep(Duration::from_secs(2)).await;
}

fn watch(collection: &str, revision: &str) -> String {
    format!("{collection}?watch=true&allowWatchBookmarks=true&timeoutSeconds=3000&resourceVersion={revision}")
}

// Where a list stands now.
async fn revision(client: &mut Client, collection: &str) -> Result<String, LoadError> {
    let list = client.ask("GET", &format!("{collection}?limit=1"), Bytes::new()).await?;
    let list: Value = serde_json::from_slice(&list).unwrap_or_default();
    list["metadata"]["resourceVersion"].as_str().map(str::to_owned).ok_or_else(|| {
        LoadError::Connection(ConnectionError::Connect(std::io::Error::other("a list without a revision")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_counted_when_they_end() {
        let stream = [&[0, 0, 0, 3, 1, 2, 3][..], &[0, 0, 0, 1, 9], &[0, 0, 1, 0], &[7; 256]].concat();
        for size in 1..=stream.len() {
            let mut frames = Frames::default();
            let counted: usize = stream.chunks(size).map(|piece| frames.ended_in(piece)).sum();
            assert_eq!(counted, 3, "in pieces of {size}");
        }
    }

    #[test]
    fn lines_are_events() {
        assert_eq!(lines(b"{}\n{}\n{"), 2);
    }
}
