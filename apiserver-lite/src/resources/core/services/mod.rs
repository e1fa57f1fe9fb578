//! Services.
//!
//! A service's way: [`keep`] carries over what was allocated, [`families`]
//! decides on IP families, [`allocate`] takes addresses and node ports of the
//! [`pool`], [`ip_addresses`] are the objects that say who has which address,
//! [`validate`] and [`update`] have the rules. [`shape`] says what a
//! type asks for.

mod allocate;
mod families;
mod ip_addresses;
mod keep;
mod pool;
mod shape;
#[cfg(test)]
mod tests;
mod update;
mod validate;

use std::sync::Arc;

use coracle_api::{FieldError, FieldPath, Object, format};
use futures::future::BoxFuture;
use serde_json::{Map, Value, json};

use self::{
    allocate::{AllocateError, Allocation, Ranges, allocate},
    pool::{Holding, Pool},
};
use crate::{
    codec,
    error::{ApiError, Subject},
    registry::{
        Registry, Target,
        companions::{Companion, Companions},
        options::ListOptions,
    },
    resources::{
        Claim, Column, Part, Strategy, Write,
        columns::{AGE, NAME, labels, wide},
        core::addresses,
        separate,
        tree::{field, list, number, object_mut, objects_mut, or_default, section, set, text, texts},
    },
};

pub use validate::target_port;

// How often an address is looked for that nobody else has.
const ADDRESSES: usize = 256;

/// The behaviour of services, with what is taken of addresses and ports.
pub struct Services {
    pool: Arc<Pool>,
}

impl Strategy for Services {
    fn default(&self, object: &mut Object) {
        default_spec(object.section_mut("spec"));
        if text(field(object, &["spec", "type"])) == "LoadBalancer" {
            let status = object_mut(&mut object.0, "status");
            if let Some(balancer) = status.and_then(|status| object_mut(status, "loadBalancer")) {
                for point in objects_mut(balancer, "ingress").filter(|it| it.get("ip").is_some_and(set)) {
                    point.entry("ipMode").or_insert_with(|| "VIP".into());
                }
            }
        }
    }

    fn prepare(&self, write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
        separate(write, new, old);
        if write.part != Part::Whole {
            return;
        }
        if let Some(old) = old {
            keep::allocated(new, old);
        } else {
            new.0.insert("status".to_owned(), json!({"loadBalancer": {}}));
        }
        keep::normalize(new, old);
        if let Some(old) = old {
            keep::drop_by_type(new, old);
        }
        keep::drop_of_external_name(new);
    }

    fn begin<'a>(
        &'a self,
        registry: &'a Registry,
        write: &'a Write<'a>,
        new: &'a mut Object,
        old: Option<&'a Object>,
    ) -> BoxFuture<'a, Result<Claim, ApiError>> {
        Box::pin(async move {
            if write.part != Part::Whole {
                return Ok(Claim::default());
            }
            if self.pool.is_new() {
                self.learn(registry).await?;
            }
            let mut ranges = ip_addresses::ranges(registry, new).await?;
            // Of addresses that somebody else has, only those are known that
            // were met.
            for _ in 0..ADDRESSES {
                let mut given = new.clone();
                let allocation = self.claim(&ranges, &mut given, old, write.dry_run)?;
                let met = ip_addresses::held(registry, allocation.taken()).await?;
                if met.is_empty() {
                    let companions = Companions {
                        made: ip_addresses::all(&given, allocation.taken()),
                        gone: ip_addresses::all(&given, allocation.released()),
                    };
                    *new = given;
                    return Ok(Claim { companions, ..Claim::of(allocation) });
                }
                ranges.avoided.extend(met);
            }
            let name = new.name();
            Err(ApiError::Internal(format!(
                "failed to allocate a serviceIP for Service {name:?}: range is full"
            )))
        })
    }

    fn companions(&self, object: &Object) -> Vec<Companion> {
        ip_addresses::all(object, &Holding::of(object).ips)
    }

    fn removed(&self, object: &Object) {
        self.pool.forget(object);
    }

    fn validate(&self, write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        if write.part == Part::Status {
            return validate::status(new, old);
        }
        let mut errors = old.map(|old| update::update(new, old)).unwrap_or_default();
        errors.extend(validate::service(new, old));
        errors
    }

    fn warnings(&self, write: &Write<'_>, new: &Object, _old: Option<&Object>) -> Vec<String> {
        if write.part == Part::Status {
            let path = FieldPath::new("status").child("loadBalancer").child("ingress");
            let points = list(field(new, &["status", "loadBalancer", "ingress"])).iter().enumerate();
            return points
                .filter_map(|(index, it)| addresses::ip_warnings(&path.index(index), text(&it["ip"])))
                .collect();
        }
        warnings(new)
    }

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_label(name, prefix)
    }

    fn creates_on_update(&self) -> bool {
        true
    }

    fn selectors(&self) -> &'static [&'static str] {
        &["spec.clusterIP", "spec.type"]
    }

    fn selectable(&self, object: &Object) -> Vec<(&'static str, String)> {
        vec![
            ("spec.clusterIP", object.get_str(&["spec", "clusterIP"]).to_owned()),
            ("spec.type", object.get_str(&["spec", "type"]).to_owned()),
        ]
    }

    fn returns_deleted(&self) -> bool {
        true
    }
}

impl Services {
    /// Services of which nothing is known yet.
    #[allow(clippy::new_without_default, reason = "`Strategy` has a `default` of another meaning")]
    pub fn new() -> Self {
        Self { pool: Arc::default() }
    }

    // Every claim waits for this, so the listing misses no service: one that is
    // written meanwhile has a claim, and that waited.
    async fn learn(&self, registry: &Registry) -> Result<(), ApiError> {
        let Some(row) = registry.row("", "v1", "services") else { return Ok(()) };
        let all = Target { row, namespace: String::new(), name: String::new() };
        let listing = registry.list(&all, &ListOptions::default()).await?;
        let services: Vec<Object> =
            listing.records.iter().map(|record| codec::json::parse_stored(&record.bytes)).collect();
        self.pool.learn(services.iter());
        Ok(())
    }

    fn claim(
        &self,
        ranges: &Ranges,
        new: &mut Object,
        old: Option<&Object>,
        dry_run: bool,
    ) -> Result<Allocation, ApiError> {
        let invalid = |name: &str, errors: Vec<FieldError>| ApiError::Invalid {
            subject: Subject { group: String::new(), kind: "Service".to_owned(), name: name.to_owned() },
            errors,
        };
        families::fill(new, old, &ranges.families).map_err(|errors| invalid(new.name(), errors))?;
        match allocate(&self.pool, ranges, new, old, dry_run) {
            Ok(allocation) => Ok(allocation),
            Err(AllocateError::Invalid(error)) => Err(invalid(new.name(), vec![error])),
            Err(AllocateError::Exhausted(text)) => Err(ApiError::Internal(text)),
        }
    }
}

fn default_spec(spec: &mut Map<String, Value>) {
    const AFFINITY_SECONDS: i64 = 3 * 60 * 60;
    or_default(spec, "sessionAffinity", "None");
    match spec.get("sessionAffinity").map_or("", text) {
        "None" => {
            spec.remove("sessionAffinityConfig");
        }
        "ClientIP" => {
            let timeout = spec.get("sessionAffinityConfig").map(|it| &it["clientIP"]["timeoutSeconds"]);
            if timeout.is_none_or(Value::is_null) {
                let config = json!({"clientIP": {"timeoutSeconds": AFFINITY_SECONDS}});
                spec.insert("sessionAffinityConfig".to_owned(), config);
            }
        }
        _ => {}
    }
    or_default(spec, "type", "ClusterIP");
    for port in objects_mut(spec, "ports") {
        or_default(port, "protocol", "TCP");
        let target = port.get("targetPort").unwrap_or(&Value::Null);
        if target.is_null() || *target == 0 || *target == "" {
            let own = port.get("port").cloned().unwrap_or_else(|| 0.into());
            port.insert("targetPort".to_owned(), own);
        }
    }
    let view = Value::Object(spec.clone());
    if shape::external(&view) {
        or_default(spec, "externalTrafficPolicy", "Cluster");
    }
    match text(&view["type"]) {
        "NodePort" | "ClusterIP" => {
            spec.entry("internalTrafficPolicy").or_insert_with(|| "Cluster".into());
        }
        "LoadBalancer" => {
            spec.entry("internalTrafficPolicy").or_insert_with(|| "Cluster".into());
            spec.entry("allocateLoadBalancerNodePorts").or_insert_with(|| true.into());
        }
        _ => {}
    }
}

fn warnings(new: &Object) -> Vec<String> {
    const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
    let mut out = Vec::new();
    if new.annotation(HINTS).is_some() {
        out.push(format!(
            "annotation {HINTS} is deprecated, please use service.kubernetes.io/topology-mode instead"
        ));
    }
    let spec = section(new, "spec");
    let path = FieldPath::new("spec");
    let kind = text(&spec["type"]);
    let headless = kind == "ClusterIP" && text(&spec["clusterIP"]) == shape::NONE;
    for (index, ip) in shape::cluster_ips(spec).into_iter().enumerate() {
        out.extend(addresses::ip_warnings(&path.child("clusterIPs").index(index), ip));
    }
    let external = texts(&spec["externalIPs"]);
    let balancer = text(&spec["loadBalancerIP"]);
    if headless {
        if !balancer.is_empty() {
            out.push("spec.loadBalancerIP is ignored for headless services".to_owned());
        }
        if !external.is_empty() {
            out.push("spec.externalIPs is ignored for headless services".to_owned());
        }
        if text(&spec["sessionAffinity"]) != "None" {
            out.push("spec.SessionAffinity is ignored for headless services".to_owned());
        }
    }
    for (index, ip) in external.iter().enumerate() {
        out.extend(addresses::ip_warnings(&path.child("externalIPs").index(index), ip));
    }
    if !external.is_empty() && !headless && kind != "ExternalName" {
        out.push(
            "spec.externalIPs is deprecated and may no longer be implemented in some clusters".to_owned(),
        );
    }
    out.extend(addresses::ip_warnings(&path.child("loadBalancerIP"), balancer));
    for (index, range) in texts(&spec["loadBalancerSourceRanges"]).into_iter().enumerate() {
        out.extend(addresses::cidr_warnings(&path.child("loadBalancerSourceRanges").index(index), range));
    }
    if kind == "ExternalName" && !external.is_empty() {
        out.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
    }
    if kind != "ExternalName" && !text(&spec["externalName"]).is_empty() {
        out.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned());
    }
    if text(&spec["trafficDistribution"]) == "PreferClose" {
        out.push(
            "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"".to_owned(),
        );
    }
    out
}

/// Where a load balancer is reached, as tables show it.
pub fn ingress_points(status: &Value) -> Vec<&str> {
    let mut points: Vec<&str> = list(&status["loadBalancer"]["ingress"])
        .iter()
        .map(|it| if text(&it["ip"]).is_empty() { text(&it["hostname"]) } else { text(&it["ip"]) })
        .filter(|point| !point.is_empty())
        .collect();
    points.sort_unstable();
    points.dedup();
    points
}

fn external_ip(service: &Object) -> String {
    let spec = section(service, "spec");
    let external = texts(&spec["externalIPs"]);
    let (mut points, none) = match text(&spec["type"]) {
        "ClusterIP" | "NodePort" => (Vec::new(), "<none>"),
        "LoadBalancer" => (ingress_points(section(service, "status")), "<pending>"),
        "ExternalName" => return text(&spec["externalName"]).to_owned(),
        _ => return "<unknown>".to_owned(),
    };
    points.extend(external);
    if points.is_empty() { none.to_owned() } else { points.join(",") }
}

fn ports(service: &Object) -> String {
    let ports: Vec<String> = list(field(service, &["spec", "ports"]))
        .iter()
        .map(|port| {
            let (own, node, protocol) =
                (number(&port["port"]), number(&port["nodePort"]), text(&port["protocol"]));
            if node > 0 { format!("{own}:{node}/{protocol}") } else { format!("{own}/{protocol}") }
        })
        .collect();
    if ports.is_empty() { "<none>".to_owned() } else { ports.join(",") }
}

/// The columns.
pub static COLUMNS: &[Column] = &[
    NAME,
    Column::new(
        "Type",
        "string",
        "type determines how the Service is exposed. Defaults to ClusterIP. Valid options are ExternalName, ClusterIP, NodePort, and LoadBalancer. \"ClusterIP\" allocates a cluster-internal IP address for load-balancing to endpoints. Endpoints are determined by the selector or if that is not specified, by manual construction of an Endpoints object or EndpointSlice objects. If clusterIP is \"None\", no virtual IP is allocated and the endpoints are published as a set of endpoints rather than a virtual IP. \"NodePort\" builds on ClusterIP and allocates a port on every node which routes to the same endpoints as the clusterIP. \"LoadBalancer\" builds on NodePort and creates an external load-balancer (if supported in the current cloud) which routes to the same endpoints as the clusterIP. \"ExternalName\" aliases this service to the specified externalName. Several other fields do not apply to ExternalName services. More info: https://kubernetes.io/docs/concepts/services-networking/service/#publishing-services-service-types",
        |it, _| text(field(it, &["spec", "type"])).into(),
    ),
    Column::new(
        "Cluster-IP",
        "string",
        "clusterIP is the IP address of the service and is usually assigned randomly. If an address is specified manually, is in-range (as per system configuration), and is not in use, it will be allocated to the service; otherwise creation of the service will fail. This field may not be changed through updates unless the type field is also being changed to ExternalName (which requires this field to be blank) or the type field is being changed from ExternalName (in which case this field may optionally be specified, as describe above).  Valid values are \"None\", empty string (\"\"), or a valid IP address. Setting this to \"None\" makes a \"headless service\" (no virtual IP), which is useful when direct endpoint connections are preferred and proxying is not required.  Only applies to types ClusterIP, NodePort, and LoadBalancer. If this field is specified when creating a Service of type ExternalName, creation will fail. This field will be wiped when updating a Service to type ExternalName. More info: https://kubernetes.io/docs/concepts/services-networking/service/#virtual-ips-and-service-proxies",
        |it, _| texts(field(it, &["spec", "clusterIPs"])).first().copied().unwrap_or("<none>").into(),
    ),
    Column::new(
        "External-IP",
        "string",
        "externalIPs is a list of IP addresses for which nodes in the cluster will also accept traffic for this service.  These IPs are not managed by Kubernetes.  The user is responsible for ensuring that traffic arrives at a node with this IP.  A common example is external load-balancers that are not part of the Kubernetes system.",
        |it, _| external_ip(it).into(),
    ),
    Column::new(
        "Port(s)",
        "string",
        "The list of ports that are exposed by this service. More info: https://kubernetes.io/docs/concepts/services-networking/service/#virtual-ips-and-service-proxies",
        |it, _| ports(it).into(),
    ),
    AGE,
    wide(Column::new(
        "Selector",
        "string",
        "Route service traffic to pods with label keys and values matching this selector. If empty or not present, the service is assumed to have an external process managing its endpoints, which Kubernetes will not modify. Only applies to types ClusterIP, NodePort, and LoadBalancer. Ignored if type is ExternalName. More info: https://kubernetes.io/docs/concepts/services-networking/service/",
        |it, _| labels(field(it, &["spec", "selector"])).into(),
    )),
];
