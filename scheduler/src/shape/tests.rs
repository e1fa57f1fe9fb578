use std::sync::Arc;

use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use super::{Shape, Shapes};
use crate::{
    cache::{Cache, Snapshot},
    cycle::{Decision, Moment, schedule_one},
    explain::explain,
    nominations::Nominations,
    plugin::Plugin,
    plugins::{
        default_plugins,
        tests::{merge, node, pod},
    },
    pod::PodInfo,
};

const NODES: usize = 130;
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

/// One of few shapes, some of which ask about other pods.
fn random_pod(chance: &mut StdRng, uid: &str) -> PodInfo {
    let rule =
        |values: &[&str]| json!({"matchExpressions": [{"key": "zone", "operator": "In", "values": values}]});
    let near =
        |key: &str, app: &str| json!([{"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}}]);
    let port = json!({"containers": [{"name": "c", "ports": [{"containerPort": 1, "hostPort": 80}]}]});
    let spec = match chance.random_range(0..10) {
        0 => json!({"nodeSelector": {"zone": "a"}}),
        1 => json!({"tolerations": [{"operator": "Exists"}]}),
        2 => port,
        3 => {
            json!({"affinity": {"nodeAffinity": {PREFERRED: [{"weight": 3, "preference": rule(&["b", "c"])}]}}})
        }
        4 => json!({"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [rule(&["b"])]}}}}),
        5 => json!({"affinity": {"podAntiAffinity": {REQUIRED: near("kubernetes.io/hostname", "x")}}}),
        6 => json!({"affinity": {"podAffinity": {REQUIRED: near("zone", "x")}}}),
        7 => json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone",
            "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "x"}}}]}),
        8 => json!({"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{"matchFields": [
            {"key": "metadata.name", "operator": "In", "values": ["n007"]}]}]}}}}),
        _ => json!({}),
    };
    let mut made = (*pod(uid, spec).pod).clone();
    let app = ["x", "y"][chance.random_range(0..2)];
    made.metadata.labels = Some([("app".to_owned(), app.to_owned())].into());
    PodInfo::new(Arc::new(made))
}

fn random_node(chance: &mut StdRng, name: &str) -> Value {
    let zone = ["a", "b", "c"][chance.random_range(0..3)];
    let mut change = json!({"metadata": {"labels": {"zone": zone, "kubernetes.io/hostname": name}}});
    match chance.random_range(0..8) {
        0 => merge(&mut change, json!({"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}})),
        1 => merge(&mut change, json!({"spec": {"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}})),
        2 => merge(&mut change, json!({"spec": {"unschedulable": true}})),
        3 => merge(&mut change, json!({"status": {"allocatable": {"cpu": "2"}}})),
        _ => {}
    }
    change
}

fn change(chance: &mut StdRng, cache: &mut Cache, step: usize) {
    let name = format!("n{:03}", chance.random_range(0..NODES));
    match chance.random_range(0..6) {
        0 => cache.remove_node(&name),
        1 | 2 => cache.set_node(node(&name, random_node(chance, &name))),
        3 => drop(cache.remove_pod(&format!("p{}", chance.random_range(0..=step)))),
        _ => {}
    }
}

struct Scheduler {
    plugins: Vec<Arc<dyn Plugin>>,
    shapes: Shapes,
}

impl Scheduler {
    fn new() -> Self {
        Self { plugins: default_plugins(&Default::default()), shapes: Shapes::default() }
    }

    fn decide(&self, nodes: &Snapshot, pod: &PodInfo, percentage: usize, start: &mut usize) -> Decision {
        let moment = Moment {
            plugins: &self.plugins,
            nodes,
            nominations: &Nominations::default(),
            percentage,
            extenders: &[],
            shapes: &self.shapes,
            now: jiff::Timestamp::UNIX_EPOCH,
        };
        schedule_one(&moment, pod, start, &mut StdRng::seed_from_u64(5))
    }
}

#[test]
fn what_is_remembered_changes_no_decision() {
    let mut chance = StdRng::seed_from_u64(17);
    let mut cache = Cache::default();
    for number in 0..NODES {
        let name = format!("n{number:03}");
        cache.set_node(node(&name, random_node(&mut chance, &name)));
    }
    let remembering = Scheduler::new();
    let (mut start, mut placed) = (0, 0);
    for step in 0..300 {
        change(&mut chance, &mut cache, step);
        let pod = random_pod(&mut chance, &format!("p{step}"));
        let snapshot = cache.snapshot();
        let mut start_anew = start;
        let anew = Scheduler::new().decide(&snapshot, &pod, 0, &mut start_anew);
        let decision = remembering.decide(&snapshot, &pod, 0, &mut start);
        assert_eq!(format!("{decision:?} {start}"), format!("{anew:?} {start_anew}"), "step {step}");
        if let Decision::Node(node) = decision {
            placed += 1;
            cache.assume(Arc::new(pod), &node);
        }
    }
    assert!((100..300).contains(&placed), "{placed} were placed: too few or all");
}

#[test]
fn the_best_of_all_nodes_is_what_every_rule_says() {
    let mut chance = StdRng::seed_from_u64(23);
    let mut cache = Cache::default();
    for number in 0..20 {
        let name = format!("n{number:03}");
        cache.set_node(node(&name, random_node(&mut chance, &name)));
    }
    let remembering = Scheduler::new();
    for step in 0..60 {
        let pod = random_pod(&mut chance, &format!("p{step}"));
        let snapshot = cache.snapshot();
        let explanation = explain(&remembering.plugins, &snapshot, &pod);
        let total = |scores: &std::collections::BTreeMap<&str, i64>| scores.values().sum::<i64>();
        let best = explanation.scores.values().map(total).max();
        match remembering.decide(&snapshot, &pod, 100, &mut 0) {
            Decision::Node(node) => {
                assert_eq!(explanation.scores.get(&node).map(total), best, "step {step}");
                cache.assume(Arc::new(pod), &node);
            }
            _ => assert_eq!(best, None, "step {step}"),
        }
    }
}

#[test]
fn pods_are_of_one_shape_when_nodes_cannot_tell_them_apart() {
    let check = |one: Value, other: Value, same: bool| {
        let shape = |spec: &Value| Shape::of(&pod("p", spec.clone()));
        assert_eq!(shape(&one) == shape(&other), same, "{one} {other}");
    };
    check(json!({}), json!({}), true);
    check(json!({}), json!({"volumes": [{"name": "kube-api-access-x7"}]}), true);
    check(json!({}), json!({"nodeSelector": {"zone": "a"}}), false);
    check(json!({}), json!({"tolerations": [{"operator": "Exists"}]}), false);
    check(json!({}), json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "2"}}}]}), false);
    check(json!({}), json!({"overhead": {"cpu": "2"}}), false);
}
