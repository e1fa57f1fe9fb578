use std::sync::Arc;

use coracle_controllers::framework::Store;
use jiff::Timestamp;
use rand::{SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use crate::{
    cache::Cache,
    cycle::{Decision, Moment, schedule_one},
    nominations::Nominations,
    objects::Objects,
    plugin::Nomination,
    plugins::default_plugins,
    pod::PodInfo,
    report,
};

/// A pod of that many CPUs.
fn pod(name: &str, cpu: u32, priority: i32, change: Value) -> Arc<PodInfo> {
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "a", "uid": name, "labels": {"app": name}},
        "spec": {"priority": priority,
            "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu.to_string()}}}]},
        "status": {"startTime": "2026-01-01T00:00:00Z"},
    });
    for (part, fields) in change.as_object().into_iter().flatten() {
        for (key, value) in fields.as_object().into_iter().flatten() {
            pod[part][key] = value.clone();
        }
    }
    Arc::new(PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap())))
}

fn plain(name: &str, cpu: u32, priority: i32) -> Arc<PodInfo> {
    pod(name, cpu, priority, json!({}))
}

struct World {
    cache: Cache,
    objects: Objects,
    nominations: Nominations,
}

impl World {
    /// Nodes of four CPUs, with the pods on them.
    fn new(nodes: &[(&str, Vec<Arc<PodInfo>>)]) -> Self {
        let mut cache = Cache::default();
        for (name, pods) in nodes {
            let node = json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
                "status": {"allocatable": {"cpu": "4", "pods": "110"}}});
            cache.set_node(Arc::new(serde_json::from_value(node).unwrap()));
            pods.iter().for_each(|pod| cache.set_pod(pod.clone(), name));
        }
        Self { cache, objects: Objects::default(), nominations: Nominations::default() }
    }

    fn guarded(mut self, app: &str, allowed: i32) -> Self {
        let budget = json!({"metadata": {"name": "b", "namespace": "a"},
            "spec": {"selector": {"matchLabels": {"app": app}}},
            "status": {"disruptionsAllowed": allowed, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1}});
        self.objects.budgets = Arc::new(Store::of(vec![serde_json::from_value(budget).unwrap()]));
        self
    }

    fn nominated(mut self, pod: Arc<PodInfo>, node: &str) -> Self {
        self.nominations.add(pod, node);
        self
    }

    /// The node, or who goes from where, or what the user is told.
    fn place(&mut self, pod: &PodInfo) -> String {
        let moment = Moment {
            plugins: &default_plugins(&self.objects),
            nodes: &self.cache.snapshot(),
            nominations: &self.nominations,
            percentage: 0,
            extenders: &[],
            shapes: &Default::default(),
            now: Timestamp::UNIX_EPOCH,
        };
        match schedule_one(&moment, pod, &mut 0, &mut StdRng::seed_from_u64(3)) {
            Decision::Node(node) => node,
            Decision::NoNodes => report::NO_NODES.into(),
            Decision::Unfit(diagnosis) => match &diagnosis.nomination {
                Nomination::On(node) => {
                    let names: Vec<&str> = diagnosis.victims.iter().map(|pod| pod.uid.as_str()).collect();
                    format!("{node}: {}", names.join(" "))
                }
                _ => report::message(&diagnosis),
            },
        }
    }
}

fn check(mut world: World, pod: &PodInfo, expected: &str) {
    assert_eq!(world.place(pod), expected);
}

#[test]
fn the_fewest_and_least_important_go() {
    let urgent = plain("urgent", 2, 10);
    check(World::new(&[("n", vec![plain("a", 2, 1), plain("b", 2, 2)])]), &urgent, "n: a");
    check(
        World::new(&[("n", vec![plain("a", 1, 1), plain("b", 1, 1), plain("c", 2, 5)])]),
        &urgent,
        "n: a b",
    );
    check(World::new(&[("n", vec![plain("a", 3, 1)]), ("m", vec![plain("b", 3, 2)])]), &urgent, "n: a");
    // As important as the other's, but more of them.
    let crowd = vec![plain("a", 1, 1), plain("b", 1, 1), plain("c", 2, 20)];
    check(World::new(&[("m", crowd), ("n", vec![plain("d", 3, 1)])]), &urgent, "n: d");
    // The younger one has less to lose.
    let at = |name, time: &str| pod(name, 3, 1, json!({"status": {"startTime": time}}));
    let ages =
        [("m", vec![at("old", "2026-01-01T00:00:00Z")]), ("n", vec![at("young", "2026-01-02T00:00:00Z")])];
    check(World::new(&ages), &urgent, "n: young");
}

#[test]
fn budgets_are_kept_where_possible() {
    let urgent = plain("urgent", 2, 10);
    let one = || World::new(&[("n", vec![plain("a", 2, 1), plain("b", 2, 2)])]);
    check(one().guarded("a", 0), &urgent, "n: b");
    check(one().guarded("a", 1), &urgent, "n: a");
    let two = || World::new(&[("m", vec![plain("a", 4, 1)]), ("n", vec![plain("b", 4, 5)])]);
    check(two(), &urgent, "m: a");
    check(two().guarded("a", 0), &urgent, "n: b");
    // Nothing else helps: the budget gives way.
    check(World::new(&[("n", vec![plain("a", 4, 1)])]).guarded("a", 0), &urgent, "n: a");
}

#[test]
fn nothing_helps() {
    let full = || World::new(&[("n", vec![plain("a", 4, 5)])]);
    let told = "0/1 nodes are available: 1 Insufficient cpu. preemption: ";
    check(
        full(),
        &plain("p", 2, 5),
        &format!("{told}0/1 nodes are available: 1 No preemption victims found for incoming pod."),
    );
    check(
        full(),
        &pod("p", 2, 9, json!({"spec": {"preemptionPolicy": "Never"}})),
        &format!("{told}not eligible due to preemptionPolicy=Never."),
    );
    check(
        full(),
        &plain("p", 5, 9),
        &format!("{told}0/1 nodes are available: 1 Preemption is not helpful for scheduling."),
    );
    let mixed = World::new(&[("n", vec![plain("a", 2, 20), plain("b", 2, 1)])]);
    check(mixed, &plain("p", 3, 9), &format!("{told}0/1 nodes are available: 1 Insufficient cpu."));
    check(
        full(),
        &pod("p", 2, 9, json!({"spec": {"nodeSelector": {"x": "y"}}})),
        "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. preemption: \
         0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
    );
    let leaving = pod(
        "a",
        4,
        5,
        json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"conditions": [
            {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]}}),
    );
    check(
        World::new(&[("n", vec![leaving])]),
        &pod("p", 2, 9, json!({"status": {"nominatedNodeName": "n"}})),
        &format!("{told}not eligible due to a terminating pod on the nominated node."),
    );
}

#[test]
fn room_that_was_made_is_kept() {
    let world = || World::new(&[("n", vec![])]).nominated(plain("urgent", 3, 10), "n");
    let full = "0/1 nodes are available: 1 Insufficient cpu. preemption: \
                0/1 nodes are available: 1 No preemption victims found for incoming pod.";
    check(world(), &plain("p", 2, 1), full);
    check(world(), &plain("p", 1, 1), "n");
    check(world(), &plain("p", 2, 11), "n");
    check(world(), &plain("urgent", 3, 10), "n");
    // The nominated node comes first, however good others are.
    let nominated = pod("p", 1, 1, json!({"status": {"nominatedNodeName": "n"}}));
    check(World::new(&[("m", vec![]), ("n", vec![plain("a", 3, 1)])]), &nominated, "n");
}

#[test]
fn the_state_is_left_as_it_was() {
    // Each node is looked at with what was worked out once: pods that went in
    // thought from the first must be back for the second.
    let guard = json!({"spec": {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "urgent"}}}]}}}});
    let mut world = World::new(&[
        ("m", vec![pod("a", 1, 1, guard.clone())]),
        ("n", vec![pod("b", 1, 20, guard.clone())]),
    ]);
    for name in ["m", "n"] {
        let node = json!({"metadata": {"name": name, "labels": {"zone": "z"}},
            "status": {"allocatable": {"cpu": "4", "pods": "110"}}});
        world.cache.set_node(Arc::new(serde_json::from_value(node).unwrap()));
    }
    let told = world.place(&plain("urgent", 1, 10));
    assert!(told.contains("preemption: 0/2 nodes are available"), "{told}");
}
