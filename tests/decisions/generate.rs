//! Clusters and pods by chance, each the same for the same seed.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Map, Value, json};

use crate::storage;

pub const NAMESPACES: &[(&str, &[(&str, &str)])] =
    &[("red", &[("team", "red"), ("stage", "live")]), ("blue", &[("team", "blue")]), ("plain", &[])];
pub const APPS: &[&str] = &["web", "db", "cache"];
const KEYS: &[&str] =
    &["kubernetes.io/hostname", "topology.kubernetes.io/zone", "topology.kubernetes.io/region", "disk"];
const IMAGES: &[(&str, i64)] = &[
    ("registry.test/big:1", 1_400_000_000),
    ("registry.test/middle:1", 420_000_000),
    ("registry.test/small:1", 31_000_000),
    ("registry.test:5000/unlabelled", 250_000_000),
];

/// A cluster, and the pods that come into it one after the other.
pub struct World {
    /// As the API takes them, in this order.
    pub nodes: Vec<Value>,
    pub owners: Vec<Value>,
    pub storage: Vec<Value>,
    pub placed: Vec<Value>,
    pub arriving: Vec<Value>,
}

/// Where chance comes from.
pub struct Chance(StdRng);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, share: u32) -> bool {
        self.0.random_range(0..100) < share
    }

    pub fn number(&mut self, range: std::ops::Range<i64>) -> i64 {
        self.0.random_range(range)
    }

    pub fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        of.choose(&mut self.0).unwrap_or(&of[0])
    }
}

/// The world of `seed`, into which `arriving` pods come.
pub fn world(seed: u64, arriving: usize) -> World {
    let mut chance = Chance::new(seed);
    let count = chance.number(3..14);
    let nodes: Vec<Value> = (0..count).map(|at| node(&mut chance, &format!("n{seed}-{at}"))).collect();
    let storage = storage::objects(&mut chance, seed, &nodes);
    let claims = storage::claims(&storage);
    let mut pods = Pods { chance, seed, claims, next: 0 };
    let placed = (0..pods.chance.number(0..count * 3))
        .map(|_| {
            let mut pod = pods.pod();
            let at = pods.chance.number(0..count) as usize;
            pod["spec"]["nodeName"] = nodes[at]["metadata"]["name"].clone();
            pod
        })
        .collect();
    let arriving = (0..arriving).map(|_| pods.pod()).collect();
    let owners = owners(&mut pods.chance, seed);
    World { nodes, owners, storage, placed, arriving }
}

fn node(chance: &mut Chance, name: &str) -> Value {
    let mut labels = Map::new();
    let mut label = |key: &str, value: String| labels.insert(key.to_owned(), value.into());
    if chance.percent(95) {
        label(KEYS[0], name.to_owned());
    }
    if chance.percent(88) {
        label(KEYS[1], (*chance.one(&["z1", "z2", "z3"])).to_owned());
    }
    if chance.percent(60) {
        label(KEYS[2], (*chance.one(&["r1", "r2"])).to_owned());
    }
    if chance.percent(70) {
        label(KEYS[3], (*chance.one(&["ssd", "hdd"])).to_owned());
    }
    label("size", chance.number(1..9).to_string());
    let taints: Vec<Value> = (0..chance.number(0..3))
        .filter_map(|at| {
            if !chance.percent(40) {
                return None;
            }
            let effect = *chance.one(&["NoSchedule", "NoExecute", "PreferNoSchedule", "PreferNoSchedule"]);
            let value = *chance.one(&["a", "b"]);
            Some(json!({"key": format!("dedicated{at}"), "value": value, "effect": effect}))
        })
        .collect();
    let mut amounts = json!({
        "cpu": format!("{}m", chance.number(5..80) * 100),
        "memory": format!("{}Mi", chance.number(4..160) * 100),
        "ephemeral-storage": format!("{}Gi", chance.number(1..40)),
        "pods": chance.number(2..14).to_string(),
    });
    if chance.percent(40) {
        amounts["example.com/gpu"] = chance.number(0..5).to_string().into();
    }
    if chance.percent(25) {
        amounts["hugepages-2Mi"] = format!("{}Mi", chance.number(0..20) * 2).into();
    }
    let images: Vec<Value> = IMAGES
        .iter()
        .filter(|_| chance.percent(45))
        .map(|(name, size)| {
            let tag = if name.ends_with("unlabelled") { ":latest" } else { "" };
            json!({"names": [format!("{name}{tag}")], "sizeBytes": size})
        })
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {"taints": taints, "unschedulable": chance.percent(6)},
        "status": {"capacity": amounts, "allocatable": amounts, "images": images},
    })
}

/// Services and controllers, whose selectors spread pods that say nothing of it.
fn owners(chance: &mut Chance, seed: u64) -> Vec<Value> {
    let mut owners = Vec::new();
    for (namespace, _) in NAMESPACES {
        for app in APPS {
            let name = format!("{app}-{seed}");
            if chance.percent(35) {
                owners.push(json!({"apiVersion": "v1", "kind": "Service",
                    "metadata": {"name": name, "namespace": namespace},
                    "spec": {"selector": {"app": app}, "ports": [{"port": 80}], "clusterIP": "None"}}));
            }
            let template = json!({"metadata": {"labels": {"app": app}},
                "spec": {"containers": [{"name": "main", "image": "registry.test/small:1"}]}});
            let selector = json!({"matchLabels": {"app": app}});
            match chance.number(0..4) {
                0 => owners.push(json!({"apiVersion": "apps/v1", "kind": "ReplicaSet",
                    "metadata": {"name": name, "namespace": namespace},
                    "spec": {"replicas": 0, "selector": selector, "template": template}})),
                1 => owners.push(json!({"apiVersion": "apps/v1", "kind": "StatefulSet",
                    "metadata": {"name": name, "namespace": namespace},
                    "spec": {"replicas": 0, "serviceName": name, "selector": selector, "template": template}})),
                2 => owners.push(json!({"apiVersion": "v1", "kind": "ReplicationController",
                    "metadata": {"name": name, "namespace": namespace},
                    "spec": {"replicas": 0, "selector": {"app": app}, "template": template}})),
                _ => {}
            }
        }
    }
    owners
}

struct Pods {
    chance: Chance,
    seed: u64,
    /// Namespace and name of claims that pods may use.
    claims: Vec<(String, String)>,
    next: usize,
}

impl Pods {
    fn pod(&mut self) -> Value {
        self.next += 1;
        let (namespace, _) = *self.chance.one(NAMESPACES);
        let app = *self.chance.one(APPS);
        let mut labels = json!({"app": app});
        if self.chance.percent(50) {
            labels["version"] = (*self.chance.one(&["1", "2"])).into();
        }
        let mut metadata = json!({"name": format!("p{}-{}", self.seed, self.next), "namespace": namespace, "labels": labels});
        if self.chance.percent(25) {
            let (version, kind) = *self.chance.one(&[
                ("apps/v1", "ReplicaSet"),
                ("apps/v1", "StatefulSet"),
                ("v1", "ReplicationController"),
            ]);
            metadata["ownerReferences"] = json!([{"apiVersion": version, "kind": kind, "controller": true,
                "name": format!("{app}-{}", self.seed), "uid": format!("{app}-{}-uid", self.seed)}]);
        }
        let mut spec = json!({"containers": self.containers(), "terminationGracePeriodSeconds": 30});
        if self.chance.percent(15) {
            spec["initContainers"] = self.init_containers();
        }
        self.whole(&mut spec);
        if self.chance.percent(10) {
            spec["nodeSelector"] =
                json!({*self.chance.one(&["disk", KEYS[1]]): *self.chance.one(&["ssd", "z1"])});
        }
        if self.chance.percent(40) {
            spec["tolerations"] = (0..self.chance.number(1..3)).map(|_| self.toleration()).collect();
        }
        if self.chance.percent(8) {
            spec["priorityClassName"] = "decisions-high".into();
        }
        let affinity = self.affinity();
        if !affinity.is_empty() {
            spec["affinity"] = affinity.into();
        }
        let spread = self.spread();
        if !spread.is_empty() {
            spec["topologySpreadConstraints"] = spread.into();
        }
        let own: Vec<(String, String)> =
            self.claims.iter().filter(|(ns, _)| ns == namespace).cloned().collect();
        if !own.is_empty() && self.chance.percent(12) {
            let (_, claim) = self.chance.one(&own).clone();
            spec["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]);
        }
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    }

    fn requests(&mut self) -> Value {
        let mut requests = Map::new();
        let mut ask = |name: &str, amount: String| requests.insert(name.to_owned(), amount.into());
        if self.chance.percent(65) {
            ask("cpu", format!("{}m", self.chance.number(0..30) * 50));
        }
        if self.chance.percent(65) {
            ask("memory", format!("{}Mi", self.chance.number(0..40) * 37));
        }
        if self.chance.percent(15) {
            ask("ephemeral-storage", format!("{}Gi", self.chance.number(0..9)));
        }
        if self.chance.percent(7) {
            ask("example.com/gpu", self.chance.number(1..3).to_string());
        }
        if self.chance.percent(4) {
            ask("hugepages-2Mi", format!("{}Mi", self.chance.number(1..6) * 2));
            ask("memory", "64Mi".to_owned());
            ask("cpu", "100m".to_owned());
        }
        let limits: Map<String, Value> = requests
            .iter()
            .filter(|(name, _)| name.contains('/') || name.starts_with("hugepages"))
            .map(|(name, amount)| (name.clone(), amount.clone()))
            .collect();
        json!({"requests": requests, "limits": limits})
    }

    fn image(&mut self) -> &'static str {
        self.chance.one(IMAGES).0
    }

    fn containers(&mut self) -> Vec<Value> {
        let count = self.chance.number(1..3);
        (0..count)
            .map(|at| {
                let mut container =
                    json!({"name": format!("c{at}"), "image": self.image(), "resources": self.requests()});
                if self.chance.percent(8) {
                    let number = 8000 + self.chance.number(0..3) + at * 10;
                    let mut port = json!({"containerPort": number, "hostPort": number,
                        "protocol": *self.chance.one(&["TCP", "UDP"])});
                    if self.chance.percent(40) {
                        port["hostIP"] = (*self.chance.one(&["127.0.0.1", "10.0.0.1", "0.0.0.0"])).into();
                    }
                    container["ports"] = json!([port]);
                }
                container
            })
            .collect()
    }

    fn init_containers(&mut self) -> Value {
        let count = self.chance.number(1..4);
        (0..count)
            .map(|at| {
                let mut container =
                    json!({"name": format!("i{at}"), "image": self.image(), "resources": self.requests()});
                if self.chance.percent(40) {
                    container["restartPolicy"] = "Always".into();
                }
                container
            })
            .collect()
    }

    /// Sometimes the pod asks as a whole, for more than its containers together.
    fn whole(&mut self, spec: &mut Value) {
        if self.chance.percent(10) {
            spec["resources"] = json!({"requests": {"cpu": "9", "memory": "12Gi"}});
            if self.chance.percent(70) {
                for container in spec["containers"].as_array_mut().into_iter().flatten() {
                    container["resources"] = json!({});
                }
                spec.as_object_mut().map(|spec| spec.remove("initContainers"));
                let cpu = format!("{}m", self.chance.number(1..30) * 100);
                spec["resources"] = json!({"requests": {"cpu": cpu}});
            }
        }
    }

    fn toleration(&mut self) -> Value {
        let mut toleration = Map::new();
        if self.chance.percent(12) {
            toleration.insert("operator".into(), "Exists".into());
            return toleration.into();
        }
        let key = *self.chance.one(&["dedicated0", "dedicated1", "node.kubernetes.io/unschedulable"]);
        toleration.insert("key".into(), key.into());
        if self.chance.percent(50) {
            toleration.insert("operator".into(), "Exists".into());
        } else {
            toleration.insert("value".into(), (*self.chance.one(&["a", "b"])).into());
        }
        if self.chance.percent(50) {
            let effect = *self.chance.one(&["NoSchedule", "NoExecute", "PreferNoSchedule"]);
            toleration.insert("effect".into(), effect.into());
        }
        toleration.into()
    }

    fn node_term(&mut self) -> Value {
        if self.chance.percent(6) {
            let name = format!("n{}-{}", self.seed, self.chance.number(0..8));
            let operator = *self.chance.one(&["In", "NotIn"]);
            return json!({"matchFields": [{"key": "metadata.name", "operator": operator, "values": [name]}]});
        }
        let rules: Vec<Value> = (0..self.chance.number(1..3))
            .map(|_| match self.chance.number(0..6) {
                0 => json!({"key": KEYS[1], "operator": "In", "values": ["z1", "z2"]}),
                1 => json!({"key": KEYS[1], "operator": "NotIn", "values": ["z3"]}),
                2 => json!({"key": "disk", "operator": *self.chance.one(&["Exists", "DoesNotExist"])}),
                3 => {
                    json!({"key": "size", "operator": "Gt", "values": [self.chance.number(1..6).to_string()]})
                }
                4 => {
                    json!({"key": "size", "operator": "Lt", "values": [self.chance.number(4..9).to_string()]})
                }
                _ => json!({"key": "disk", "operator": "In", "values": ["ssd"]}),
            })
            .collect();
        json!({"matchExpressions": rules})
    }

    fn selector(&mut self) -> Value {
        match self.chance.number(0..9) {
            0 => json!({}),
            1 => json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "db"]}]}),
            2 => json!({"matchExpressions": [{"key": "version", "operator": "Exists"}]}),
            3 => json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}),
            _ => json!({"matchLabels": {"app": *self.chance.one(APPS)}}),
        }
    }

    fn pod_term(&mut self) -> Value {
        let mut term = json!({"topologyKey": *self.chance.one(KEYS), "labelSelector": self.selector()});
        match self.chance.number(0..10) {
            0 => term["namespaces"] = json!(["red", "blue"]),
            1 => term["namespaceSelector"] = json!({}),
            2 => term["namespaceSelector"] = json!({"matchLabels": {"team": "red"}}),
            3 => {
                term["namespaces"] = json!(["plain"]);
                term["namespaceSelector"] =
                    json!({"matchExpressions": [{"key": "stage", "operator": "Exists"}]});
            }
            4 => {
                term["labelSelector"] = json!({"matchLabels": {"app": *self.chance.one(APPS)}});
                term["matchLabelKeys"] = json!(["version"]);
            }
            _ => {}
        }
        term
    }

    fn affinity(&mut self) -> Map<String, Value> {
        const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
        const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
        let mut affinity = Map::new();
        let mut put = |kind: &str, when: &str, terms: Value| {
            affinity.entry(kind.to_owned()).or_insert_with(|| json!({}))[when] = terms;
        };
        if self.chance.percent(14) {
            let terms: Vec<Value> = (0..self.chance.number(1..3)).map(|_| self.node_term()).collect();
            put("nodeAffinity", REQUIRED, json!({"nodeSelectorTerms": terms}));
        }
        if self.chance.percent(20) {
            let terms: Vec<Value> = (0..self.chance.number(1..4))
                .map(|_| json!({"weight": self.chance.number(1..101), "preference": self.node_term()}))
                .collect();
            put("nodeAffinity", PREFERRED, terms.into());
        }
        for (kind, share) in [("podAffinity", 9), ("podAntiAffinity", 13)] {
            if self.chance.percent(share) {
                let terms: Vec<Value> = (0..self.chance.number(1..3)).map(|_| self.pod_term()).collect();
                put(kind, REQUIRED, terms.into());
            }
            if self.chance.percent(20) {
                let terms: Vec<Value> = (0..self.chance.number(1..3))
                    .map(
                        |_| json!({"weight": self.chance.number(1..101), "podAffinityTerm": self.pod_term()}),
                    )
                    .collect();
                put(kind, PREFERRED, terms.into());
            }
        }
        affinity
    }

    fn spread(&mut self) -> Vec<Value> {
        if !self.chance.percent(32) {
            return Vec::new();
        }
        let mut constraints = Vec::new();
        for key in KEYS {
            if !self.chance.percent(40) {
                continue;
            }
            let hard = self.chance.percent(45);
            let mut constraint = json!({
                "topologyKey": key,
                "maxSkew": self.chance.number(1..4),
                "whenUnsatisfiable": if hard { "DoNotSchedule" } else { "ScheduleAnyway" },
                "labelSelector": self.selector(),
            });
            if hard && self.chance.percent(30) {
                constraint["minDomains"] = self.chance.number(1..5).into();
            }
            if self.chance.percent(25) {
                constraint["nodeAffinityPolicy"] = (*self.chance.one(&["Honor", "Ignore"])).into();
            }
            if self.chance.percent(25) {
                constraint["nodeTaintsPolicy"] = (*self.chance.one(&["Honor", "Ignore"])).into();
            }
            if self.chance.percent(20) {
                constraint["labelSelector"] = json!({"matchLabels": {"app": *self.chance.one(APPS)}});
                constraint["matchLabelKeys"] = json!(["version"]);
            }
            constraints.push(constraint);
        }
        constraints
    }
}
