//! Heartbeats: nodes that renew their Leases, each from what it last saw of its own.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};

use super::create::unique;
use super::stretch::Stretch;
use super::{Client, Clients, LoadError, NAMESPACE, together};
use crate::kubeconfig::Access;
use crate::sample::Sample;

/// Nodes share connections: so many clients speak for all of them.
const CLIENTS: usize = 200;

/// So many nodes, of which as many as possible renew their Leases for so long.
///
/// # Errors
/// When a Lease cannot be made or renewed.
pub async fn measure(
    access: &Access,
    pid: Option<u32>,
    nodes: usize,
    time: Duration,
) -> Result<Value, LoadError> {
    let connections = Clients::connect(access, CLIENTS).await?;
    connections.client(0).await?.furnish().await?;
    let prefix = unique();
    let speakers = (0..CLIENTS).map(|number| {
        let names = (number..nodes).step_by(CLIENTS).map(|node| format!("{prefix}-{node}")).collect();
        Speaker { leases: names, revisions: Vec::new() }
    });
    let mut made = Vec::with_capacity(CLIENTS);
    for (client, speaker) in connections.first(CLIENTS).await?.into_iter().zip(speakers) {
        made.push(tokio::spawn(speaker.make(client)));
    }
    let mut speakers = Vec::with_capacity(CLIENTS);
    for task in made {
        speakers.push(task.await??);
    }
    let stretch = Stretch::begin(pid);
    let deadline = Instant::now() + time;
    let latencies =
        together(speakers, |(speaker, client): (Speaker, Client)| speaker.renew_until(client, deadline))
            .await?;
    let spent = stretch.spent();
    let sample = Sample::of(latencies);
    Ok(json!({
        "nodes": nodes,
        "updates": sample.count(),
        "per_second": spent.per_second(sample.count()),
        "per_cpu_second": spent.per_cpu_second(sample.count()),
        "p50_ms": sample.percentile(50.0).as_secs_f64() * 1e3,
        "p99_ms": sample.percentile(99.0).as_secs_f64() * 1e3,
    }))
}

/// Who renews some of the Leases, one after the other.
struct Speaker {
    leases: Vec<String>,
    revisions: Vec<String>,
}

impl Speaker {
    async fn make(mut self, mut client: Client) -> Result<(Self, Client), LoadError> {
        for name in &self.leases {
            let answer = client.ask("POST", &collection(), lease(name, "", 0)).await?;
            self.revisions.push(revision(&answer));
        }
        Ok((self, client))
    }

    async fn renew_until(
        mut self,
        mut client: Client,
        deadline: Instant,
    ) -> Result<Vec<Duration>, LoadError> {
        let mut latencies = Vec::new();
        if self.leases.is_empty() {
            return Ok(latencies);
        }
        for round in 1.. {
            for (name, seen) in self.leases.iter().zip(&mut self.revisions) {
                if Instant::now() >= deadline {
                    return Ok(latencies);
                }
                let body = lease(name, seen, round);
                let begin = Instant::now();
                let answer = client.ask("PUT", &format!("{}/{name}", collection()), body).await?;
                latencies.push(begin.elapsed());
                *seen = revision(&answer);
            }
        }
        Ok(latencies)
    }
}

fn collection() -> String {
    format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases")
}

fn lease(name: &str, revision: &str, round: usize) -> Bytes {
    let (minutes, seconds, micros) = (round / 60 % 60, round % 60, round % 1_000_000);
    Bytes::from(format!(
        r#"{{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{{"name":"{name}","namespace":"{NAMESPACE}","resourceVersion":"{revision}"}},"spec":{{"holderIdentity":"{name}","leaseDurationSeconds":40,"renewTime":"2026-01-01T00:{minutes:02}:{seconds:02}.{micros:06}Z"}}}}"#
    ))
}

// Text, not a tree: the client shares the machine with what it measures.
fn revision(lease: &[u8]) -> String {
    let text = String::from_utf8_lossy(lease);
    let after = text.split_once(r#""resourceVersion":""#).map_or("", |(_, after)| after);
    after.split('"').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_revision_of_an_answer() {
        assert_eq!(revision(br#"{"metadata":{"name":"a","resourceVersion":"42"}}"#), "42");
        assert_eq!(revision(b"{}"), "");
    }

    #[test]
    fn leases_are_json() {
        let lease: Value = serde_json::from_slice(&lease("a", "7", 3)).expect("JSON");
        assert_eq!(lease["spec"]["renewTime"], json!("2026-01-01T00:00:03.000003Z"));
    }
}
