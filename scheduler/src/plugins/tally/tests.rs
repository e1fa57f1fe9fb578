use std::{collections::BTreeMap, sync::Arc};

use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use super::{Sort, Tally, Term, selector};
use crate::{
    cache::{Cache, Snapshot},
    plugins::tests::{node, pod},
    pod::PodInfo,
};

const KEYS: [&str; 2] = ["kubernetes.io/hostname", "zone"];

fn zoned(chance: &mut StdRng) -> Value {
    let zone = ["a", "b", "c"][chance.random_range(0..3)];
    match chance.random_range(0..5) {
        0 => json!({}),
        _ => json!({"metadata": {"labels": {"zone": zone}}}),
    }
}

fn placed(chance: &mut StdRng, uid: &str) -> PodInfo {
    let app = ["web", "db"][chance.random_range(0..2)];
    let term = json!({"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "db"}}});
    let spec = match chance.random_range(0..3) {
        0 => {
            json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}})
        }
        _ => json!({}),
    };
    let mut pod = (*pod(uid, spec).pod).clone();
    pod.metadata.labels = Some(BTreeMap::from([("app".to_owned(), app.to_owned())]));
    PodInfo::new(Arc::new(pod))
}

fn sort() -> Sort {
    let written = serde_json::from_value(json!({"matchLabels": {"app": "web"}})).unwrap();
    Sort { terms: vec![Term::in_namespace("a", selector(Some(&written)).unwrap())], living: true }
}

/// All that a tally tells, with names in place of numbers.
fn told(tally: &Tally, snapshot: &Snapshot, incoming: &PodInfo) -> Vec<(String, String, i64, i64, i64)> {
    let mut view = tally.at(snapshot);
    let mut told = Vec::new();
    for key in KEYS {
        let pods = view.pods_by(&sort(), key);
        let on = view.pods_on(&sort());
        let wished = view.wished_of(incoming, None);
        for info in snapshot.nodes() {
            let slot = info.slot;
            let there = pods.at(slot).map_or(-1, |domain| pods.count(domain));
            let refused = wished.iter().filter(|(one, _)| &*one.key == key);
            let refused = refused.map(|(_, domains)| domains.at(slot).map_or(0, |d| domains.count(d))).sum();
            let here = i64::from(on.get(slot).copied().unwrap_or(0));
            told.push((key.to_owned(), info.name().to_owned(), there, here, refused));
        }
    }
    told
}

#[test]
fn what_is_kept_is_what_would_be_counted_anew() {
    let mut chance = StdRng::seed_from_u64(11);
    let (mut cache, kept) = (Cache::default(), Tally::default());
    let mut db = (*pod("incoming", json!({})).pod).clone();
    db.metadata.labels = Some(BTreeMap::from([("app".to_owned(), "db".to_owned())]));
    let incoming = PodInfo::new(Arc::new(db));
    for step in 0..600 {
        let name = format!("n{}", chance.random_range(0..6));
        let uid = format!("p{}", chance.random_range(0..20));
        match chance.random_range(0..8) {
            0 | 1 => cache.set_node(node(&name, zoned(&mut chance))),
            2 => cache.remove_node(&name),
            3 => {
                cache.remove_pod(&uid);
            }
            _ => cache.set_pod(Arc::new(placed(&mut chance, &uid)), &name),
        }
        let snapshot = cache.snapshot();
        let anew = told(&Tally::default(), &snapshot, &incoming);
        assert_eq!(told(&kept, &snapshot, &incoming), anew, "step {step}");
    }
}
