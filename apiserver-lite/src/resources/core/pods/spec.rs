//! What a `PodSpec` must be, in pods and in templates.

use std::collections::{BTreeSet, HashMap};

use coracle_api::{FieldError, format};
use serde_json::Value;

use super::{
    affinity::AFFINITY,
    containers, network, resources, scheduling, security,
    volumes::{self, Volume},
};
use crate::resources::{
    meta::validate_labels,
    rules::{Check, Errors, Place, Rule, check, texts},
};

/// The names in a pod that its containers refer to, found out once.
pub struct Names {
    volumes: HashMap<String, Volume>,
    /// `spec.resourceClaims`
    pub claims: BTreeSet<String>,
    // By the list that they are in: the first place of each name.
    containers: HashMap<(&'static str, String), usize>,
    // The last constraint on each topology and action.
    spreads: HashMap<(String, String), usize>,
}

const CONTAINERS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

impl Names {
    fn of(spec: &Place<'_>, volumes: Vec<(String, Volume)>) -> Self {
        let names = |field: &str| spec.list(field).iter().filter_map(|it| it["name"].as_str());
        let mut containers = HashMap::new();
        for list in CONTAINERS {
            for (index, name) in names(list).enumerate() {
                containers.entry((list, name.to_owned())).or_insert(index);
            }
        }
        let spreads = spec.field("topologySpreadConstraints");
        let spreads = spreads.iter().flat_map(Place::items);
        Self {
            spreads: spreads.map(|it| (spread_pair(&it), it.position().unwrap_or_default())).collect(),
            volumes: volumes.into_iter().collect(),
            claims: names("resourceClaims").filter(|name| !name.is_empty()).map(str::to_owned).collect(),
            containers,
        }
    }

    /// Whether a later constraint is on the same topology and action.
    pub fn spreads_again(&self, spread: &Place<'_>) -> bool {
        self.spreads.get(&spread_pair(spread)).copied() > spread.position()
    }

    /// The volume of that name, if it is a good one.
    pub fn volume(&self, name: &str) -> Option<&Volume> {
        self.volumes.get(name)
    }

    fn first(&self, list: &'static str, name: &str) -> Option<usize> {
        self.containers.get(&(list, name.to_owned())).copied()
    }

    /// Whether a container that is not ephemeral has that name.
    pub fn has_lasting_container(&self, name: &str) -> bool {
        self.first("containers", name).is_some() || self.first("initContainers", name).is_some()
    }

    /// Whether the container at `index` of `list` has a name that one before it
    /// has: regular containers come first, then init, then ephemeral ones.
    pub fn is_repeated(&self, list: &str, name: &str, index: usize) -> bool {
        let before = CONTAINERS.iter().take_while(|it| **it != list);
        let own = CONTAINERS.iter().find(|it| **it == list).and_then(|list| self.first(list, name));
        // Upstream lets init containers repeat the empty name.
        let repeats =
            own.is_some_and(|first| first < index) && !(name.is_empty() && list == "initContainers");
        repeats || before.into_iter().any(|list| self.first(list, name).is_some())
    }
}

fn spread_pair(spread: &Place<'_>) -> (String, String) {
    (spread.text("topologyKey").to_owned(), spread.text("whenUnsatisfiable").to_owned())
}

/// Whether a spec is a pod's and not a template's.
pub fn of_pod(spec: &Place<'_>) -> bool {
    spec.path().as_str() == "spec"
}

/// Validates the spec of a pod of that name; templates have none.
pub fn validate(spec: &Place<'_>, pod: &str, errors: &mut Errors) {
    check(&[Check::Field("terminationGracePeriodSeconds", &[Rule::Required("")])], spec, errors);
    let volumes = volumes::volumes(spec, pod, errors);
    let names = Names::of(spec, volumes);
    check(SPEC, &spec.knowing(&names), errors);
}

static SPEC: &[Check] = &[
    Check::With(scheduling::resource_claims),
    Check::With(|spec, errors| {
        if spec.list("containers").is_empty() {
            errors.push(FieldError::required(&spec.path_of("containers"), ""));
        }
    }),
    Check::All(containers::ALL),
    Check::With(resources::of_pod),
    Check::With(network::host_network_ports),
    Check::Field("restartPolicy", &[Rule::Required(""), Rule::OneOf(&["Always", "OnFailure", "Never"])]),
    Check::Field(
        "dnsPolicy",
        &[Rule::Required(""), Rule::OneOf(&["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"])],
    ),
    Check::With(|spec, errors| {
        if let Some(selector) = spec.field("nodeSelector") {
            validate_labels(&selector, errors);
        }
    }),
    Check::Within("securityContext", security::POD),
    Check::With(|spec, errors| {
        if spec.flag("hostPID") && spec.flag("shareProcessNamespace") {
            let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
            errors.push(FieldError::invalid(&spec.path_of("shareProcessNamespace"), true, detail));
        }
    }),
    Check::Within("affinity", AFFINITY),
    Check::With(network::dns_config),
    Check::Each(
        "readinessGates",
        &[Check::With(|gate, errors| {
            let kind = gate.text("conditionType");
            let faults = format::qualified_name(kind).into_iter();
            errors.extend(faults.map(|it| FieldError::invalid(&gate.path_of("conditionType"), kind, it)));
        })],
    ),
    Check::With(scheduling::gates),
    Check::Each("topologySpreadConstraints", scheduling::SPREAD),
    Check::With(security::host_process),
    Check::With(network::host_users),
    Check::With(network::hostname_override),
    Check::Field("serviceAccountName", &[Rule::Format(format::dns1123_subdomain)]),
    Check::With(|spec, errors| {
        let (old, new) = (spec.text("serviceAccount"), spec.text("serviceAccountName"));
        if old != new {
            let detail = format!("must be the same as serviceAccountName: {new:?}");
            errors.push(FieldError::invalid(&spec.path_of("deprecatedServiceAccount"), old, detail));
        }
    }),
    Check::Field("nodeName", &[Rule::Format(format::dns1123_subdomain)]),
    Check::Field("activeDeadlineSeconds", &[Rule::Within(1, i32::MAX as i64)]),
    Check::Field("hostname", &[Rule::Format(format::dns1123_label)]),
    Check::Field("subdomain", &[Rule::Format(format::dns1123_label)]),
    Check::Each("tolerations", scheduling::TOLERATION),
    Check::Each(
        "hostAliases",
        &[
            Check::With(|alias, errors| {
                let ip = alias.text("ip");
                let faults = format::ip_lenient(ip).into_iter();
                errors.extend(faults.map(|it| FieldError::invalid(&alias.path_of("ip"), ip, it)));
            }),
            Check::With(|alias, errors| texts(alias, "hostnames", format::dns1123_subdomain, errors)),
        ],
    ),
    Check::Field("priorityClassName", &[Rule::Format(format::dns1123_subdomain)]),
    Check::Pointer("runtimeClassName", &[Rule::Format(format::dns1123_subdomain)]),
    Check::Field("preemptionPolicy", &[Rule::OneOf(&["PreemptLowerPriority", "Never"])]),
    Check::With(|spec, errors| {
        if spec.has("preemptionPolicy") && spec.text("preemptionPolicy").is_empty() {
            errors.push(FieldError::required(&spec.path_of("preemptionPolicy"), ""));
        }
    }),
    Check::With(resources::overhead),
    Check::With(security::of_os),
    Check::With(file_volumes),
];

// Variables read files of empty directories only.
fn file_volumes(spec: &Place<'_>, errors: &mut Errors) {
    let volumes = spec.list("volumes");
    let by_name: HashMap<&str, &Value> =
        volumes.iter().filter_map(|volume| Some((volume["name"].as_str()?, volume))).collect();
    containers::visit(spec, |container| {
        let Some(env) = container.field("env") else { return };
        for variable in env.items() {
            let Some(from) = variable.field("valueFrom") else { continue };
            let Some(key) = from.field("fileKeyRef") else { continue };
            let (name, path) = (key.text("volumeName"), key.path_of("volumeName"));
            match by_name.get(name) {
                None => errors.push(FieldError::not_found(&path, name)),
                Some(volume) if volume.get("emptyDir").is_none() => {
                    let detail = "referenced volume must be of type emptyDir";
                    errors.push(FieldError::invalid(&path, name, detail));
                }
                Some(_) => {}
            }
        }
    });
}
