use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Node};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    Timing, aged_labels,
    health::{Health, unknown},
    taints,
    zones::{Census, Turn, Zones, zone},
};

fn node(change: Value) -> Node {
    let mut value =
        json!({"metadata": {"name": "n", "uid": "u", "creationTimestamp": "1970-01-01T00:00:00Z"}});
    value.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    serde_json::from_value(value).unwrap()
}

fn beating(at: u32) -> Node {
    node(json!({"status": {"conditions": [
        {"type": "Ready", "status": "True", "lastHeartbeatTime": format!("1970-01-01T00:00:{at:02}Z")},
    ]}}))
}

fn lease(revision: &str, second: u32) -> Lease {
    serde_json::from_value(json!({
        "metadata": {"resourceVersion": revision},
        "spec": {"renewTime": format!("1970-01-01T00:00:{second:02}.000000Z")},
    }))
    .unwrap()
}

#[test]
fn a_node_is_heard_by_status_or_lease() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let time = |seconds| Timestamp::from_second(seconds).unwrap();
    let heard = |health: &Health| health.heard.duration_since(start).as_secs();

    let first = Health::look(None, &beating(1), None, at(10), time(10));
    assert_eq!(heard(&first), 10, "seen for the first time");
    let same = Health::look(Some(&first), &beating(1), None, at(20), time(20));
    assert_eq!(heard(&same), 10, "nothing new");
    let status = Health::look(Some(&same), &beating(2), None, at(30), time(30));
    assert_eq!(heard(&status), 30, "a new heartbeat");
    let leased = Health::look(Some(&status), &beating(2), Some(&lease("5", 9)), at(40), time(40));
    assert_eq!(heard(&leased), 40, "a lease");
    let stale = Health::look(Some(&leased), &beating(2), Some(&lease("5", 9)), at(50), time(50));
    assert_eq!(heard(&stale), 40, "the same lease");
    let renewed = Health::look(Some(&stale), &beating(2), Some(&lease("6", 10)), at(60), time(60));
    assert_eq!(heard(&renewed), 60, "a renewed lease");
    assert!(!renewed.is_silent(Duration::from_secs(50), at(110)));
    assert!(renewed.is_silent(Duration::from_secs(50), at(111)));
    // One that never spoke is as silent as it is old.
    let mute = Health::look(None, &node(json!({})), None, at(1000), time(61));
    assert!(mute.is_silent(Duration::from_secs(60), at(1000)));
    let mut other = beating(2);
    other.metadata.uid = Some("another".into());
    assert_eq!(heard(&Health::look(Some(&renewed), &other, None, at(200), time(200))), 200);
}

#[test]
fn what_a_silent_node_is_told_to_be() {
    let check = |node: Node, expected: &[(&str, &str)]| {
        let told = unknown(&node, Timestamp::from_second(99).unwrap());
        let rows: Vec<(&str, &str)> =
            told.iter().map(|c| (c.type_.as_str(), c.reason.as_deref().unwrap_or_default())).collect();
        assert_eq!(rows, expected);
        assert!(told.iter().all(|c| c.status == "Unknown"));
    };
    let never = "NodeStatusNeverUpdated";
    let rest = [("MemoryPressure", never), ("DiskPressure", never), ("PIDPressure", never)];
    let with = |reason| [&[("Ready", reason)], &rest[..]].concat();
    check(node(json!({})), &with(never));
    check(beating(1), &with("NodeStatusUnknown"));
    let said = node(json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}));
    check(said, &rest);
}

#[test]
fn pods_are_driven_away_by_one_taint() {
    let check = |has: &[&str], key: Option<&str>, expected: Option<&[&str]>| {
        let taints: Vec<Value> = has
            .iter()
            .map(|key| json!({"key": format!("node.kubernetes.io/{key}"), "effect": "NoExecute"}))
            .collect();
        let key = key.map(|key| format!("node.kubernetes.io/{key}"));
        let node = node(json!({"spec": {"taints": taints}}));
        let got = taints::with_no_execute(&node, key.as_deref(), Timestamp::UNIX_EPOCH);
        let names = got.as_ref().map(|taints| {
            taints.iter().filter_map(|t| t.key.strip_prefix("node.kubernetes.io/")).collect::<Vec<_>>()
        });
        assert_eq!(names.as_deref(), expected, "{has:?} {key:?}");
    };
    check(&[], None, None);
    check(&[], Some("unreachable"), Some(&["unreachable"]));
    check(&["unreachable"], Some("unreachable"), None);
    check(&["not-ready"], Some("unreachable"), Some(&["unreachable"]));
    check(&["not-ready", "mine"], None, Some(&["mine"]));
}

#[test]
fn zones_turn() {
    let now = Instant::now();
    let timing = Timing::default();
    let mut zones = Zones::default();
    let mut far = now;
    let mut check = |counts: &[(&str, usize, usize)], turn: Turn, rates: &[Option<u64>]| {
        let counts: BTreeMap<String, Census> = counts
            .iter()
            .map(|(name, ready, not_ready)| {
                ((*name).to_owned(), Census { ready: *ready, not_ready: *not_ready })
            })
            .collect();
        assert_eq!(zones.turn(&counts, &timing, now), turn, "{counts:?}");
        // Seconds from one node to the next.
        let gaps: Vec<Option<u64>> = zones
            .tainters()
            .map(|tainter| {
                ["x", "y"].into_iter().for_each(|node| tainter.add(node));
                far += Duration::from_secs(100_000);
                let gap = tainter
                    .take(far)
                    .and_then(|_| tainter.due())
                    .map(|due| due.duration_since(far).as_secs());
                ["x", "y"].into_iter().for_each(|node| tainter.remove(node));
                gap
            })
            .collect();
        assert_eq!(gaps, rates, "{counts:?}");
    };
    check(&[("a", 3, 0), ("b", 2, 1)], Turn::None, &[Some(10), Some(10)]);
    // Few of few: none; few of many: slowly.
    check(&[("a", 1, 3), ("b", 20, 40)], Turn::None, &[None, Some(100)]);
    // One whole zone at the usual pace, as long as another is heard.
    check(&[("a", 0, 4), ("b", 60, 0)], Turn::None, &[Some(10), Some(10)]);
    check(&[("a", 0, 4), ("b", 0, 60)], Turn::Silence, &[None, None]);
    check(&[("a", 0, 4), ("b", 0, 60)], Turn::None, &[None, None]);
    check(&[("a", 4, 0), ("b", 0, 60)], Turn::Hearing, &[Some(10), Some(10)]);
    // The zone that was heard has gone: what is left was silent.
    check(&[("b", 60, 0)], Turn::Hearing, &[Some(10)]);
    check(&[("b", 59, 1)], Turn::None, &[Some(10)]);
}

#[test]
fn a_tainter_keeps_its_pace() {
    let now = Instant::now();
    let timing = Timing::default();
    let mut zones = Zones::default();
    let tainter = zones.tainter(&node(json!({})), &timing, now);
    ["a", "b", "a", "c"].into_iter().for_each(|node| tainter.add(node));
    tainter.remove("c");
    assert_eq!(tainter.take(now).as_deref(), Some("a"));
    assert_eq!(tainter.take(now + Duration::from_secs(9)), None);
    assert_eq!(tainter.take(now + Duration::from_secs(10)).as_deref(), Some("b"));
    assert_eq!(tainter.due(), None);
}

#[test]
fn labels_of_places() {
    let labelled = |labels: Value| node(json!({"metadata": {"labels": labels}}));
    assert_eq!(zone(&labelled(json!({}))), "");
    let place = json!({"topology.kubernetes.io/region": "r", "topology.kubernetes.io/zone": "z"});
    assert_eq!(zone(&labelled(place)), "r:\0:z");
    let aged = labelled(json!({"kubernetes.io/os": "linux", "beta.kubernetes.io/os": "plan9"}));
    assert_eq!(aged_labels(&aged), BTreeMap::from([("beta.kubernetes.io/os", "linux")]));
    assert!(
        aged_labels(&labelled(json!({"kubernetes.io/os": "a", "beta.kubernetes.io/os": "a"}))).is_empty()
    );
}
