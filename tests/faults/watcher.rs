//! Sees every pod at all times, and what must never happen.

use std::collections::HashMap;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What a node of these tests has room for, in pods of these tests.
pub const ROOM: usize = 6;

/// Watches pods until `shutdown`, and then tells what went wrong.
pub fn start(client: Client, shutdown: CancellationToken) -> JoinHandle<Vec<String>> {
    tokio::spawn(async move {
        let mut seen = Seen::default();
        let pods: Api<Pod> = Api::all(client);
        let events = watcher(pods, watcher::Config::default()).default_backoff().touched_objects();
        let mut events = events.boxed();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return seen.wrong,
                event = events.try_next() => match event {
                    Ok(Some(pod)) => seen.pod(pod),
                    Ok(None) => return seen.wrong,
                    Err(_) => {}
                },
            }
        }
    })
}

#[derive(Default)]
struct Seen {
    pods: HashMap<String, Pod>,
    wrong: Vec<String>,
}

impl Seen {
    fn pod(&mut self, pod: Pod) {
        let uid = pod.uid().unwrap_or_default();
        let before = self.pods.get(&uid).and_then(node).map(str::to_owned);
        if let (Some(before), now) = (before, node(&pod))
            && now != Some(before.as_str())
        {
            self.wrong.push(format!("{} was on {before} and is on {now:?}", pod.name_any()));
        }
        let place = node(&pod).map(str::to_owned);
        self.pods.insert(uid, pod);
        let Some(place) = place else { return };
        let runs = |pod: &&Pod| node(pod) == Some(place.as_str()) && !has_ended(pod);
        let count = self.pods.values().filter(runs).filter(|pod| pod.labels().contains_key("sized")).count();
        // What is deleted was seen going first: it has a deletion timestamp, and may be gone.
        let going =
            self.pods.values().filter(runs).filter(|pod| pod.metadata.deletion_timestamp.is_some()).count();
        if count.saturating_sub(going) > ROOM {
            self.wrong.push(format!("{place} has {count} pods, {going} going, and room for {ROOM}"));
        }
    }
}

fn node(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}
