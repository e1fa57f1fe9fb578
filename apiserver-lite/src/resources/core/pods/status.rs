//! What a status may say about a pod.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use coracle_api::{FieldError, FieldPath, Object, format};
use serde_json::Value;

use super::{resources, transitions, update};
use crate::resources::rules::{Check, Errors, IMMUTABLE, Place, Rule, check};

/// Validates an update of `/status`.
pub fn validate(new: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    update::annotations_kept(new, old, &mut errors);
    let (new, old) = (Place::object(new, Some(old)), Place::object(old, None));
    let null = Value::Object(serde_json::Map::new());
    let status = new.field("status").unwrap_or_else(|| Place::at("status", &null, None));
    let before = old.field("status").unwrap_or_else(|| Place::at("status", &null, None));
    check(CONDITIONS, &status, &mut errors);
    nomination(&status, &before, &old, &mut errors);
    check(&[Check::Field("observedGeneration", &[GENERATION])], &status, &mut errors);
    if status.text("qosClass") != before.text("qosClass") {
        let path = status.path_of("qosClass");
        errors.push(FieldError::invalid(&path, status.text("qosClass"), IMMUTABLE));
    }
    if let Some(spec) = old.get("spec") {
        transitions::validate(&status, &before, spec, &mut errors);
    }
    claims(&new, &status, &mut errors);
    addresses(&status, &before, ("podIP", "podIPs"), &mut errors);
    addresses(&status, &before, ("hostIP", "hostIPs"), &mut errors);
    for list in LISTS {
        check(&[Check::Each(list, USER)], &status, &mut errors);
    }
    for (list, containers) in
        [("containerStatuses", "containers"), ("initContainerStatuses", "initContainers")]
    {
        devices(&status, &new, list, containers, &mut errors);
    }
    check(NO_DEVICES, &status, &mut errors);
    errors
}

const LISTS: [&str; 3] = ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"];
const GENERATION: Rule = Rule::AtLeast(0, "must be a non-negative integer");

static CONDITIONS: &[Check] = &[Check::Each(
    "conditions",
    &[
        Check::Field("observedGeneration", &[GENERATION]),
        Check::With(|condition, errors| {
            let kind = condition.text("type");
            if !matches!(kind, "PodScheduled" | "Ready" | "Initialized") {
                let faults = format::qualified_name(kind).into_iter();
                errors.extend(faults.map(|it| FieldError::invalid(&condition.path_of("Type"), kind, it)));
            }
        }),
    ],
)];

fn nomination(status: &Place<'_>, before: &Place<'_>, old: &Place<'_>, errors: &mut Errors) {
    let (new, path) = (status.text("nominatedNodeName"), status.path_of("nominatedNodeName"));
    if new.is_empty() || new == before.text("nominatedNodeName") {
        return;
    }
    let faults = format::name_is_subdomain(new, false).into_iter();
    errors.extend(faults.map(|fault| FieldError::invalid(&path, new, fault)));
    if old.get("spec").and_then(|spec| spec["nodeName"].as_str()).is_some_and(|node| !node.is_empty()) {
        let detail = "may not be set on pods that are already bound to a node";
        errors.push(FieldError::forbidden(&path, detail));
    }
}

fn claims(pod: &Place<'_>, status: &Place<'_>, errors: &mut Errors) {
    let spec = pod.field("spec");
    let known: HashSet<&str> = spec
        .iter()
        .flat_map(|spec| spec.list("resourceClaims"))
        .filter_map(|claim| claim["name"].as_str())
        .collect();
    let mut seen = HashSet::new();
    if let Some(list) = status.field("resourceClaimStatuses") {
        for claim in list.items() {
            let name = claim.text("name");
            if !known.contains(name) {
                let detail = "must match the name of an entry in `spec.resourceClaims`";
                errors.push(FieldError::invalid(&claim.path_of("name"), name, detail));
            }
            if !seen.insert(name.to_owned()) {
                errors.push(FieldError::duplicate(&claim.path_of("name"), name));
            }
            check(
                &[Check::Field("resourceClaimName", &[Rule::Format(format::dns1123_subdomain)])],
                &claim,
                errors,
            );
        }
    }
    if let (Some(extended), Some(spec)) = (status.field("extendedResourceClaimStatus"), spec) {
        extended_claim(&extended, &spec, errors);
    }
}

fn extended_claim(claim: &Place<'_>, spec: &Place<'_>, errors: &mut Errors) {
    let containers: HashMap<&str, &Value> = ["initContainers", "containers"]
        .into_iter()
        .flat_map(|list| spec.list(list))
        .filter_map(|container| Some((container["name"].as_str()?, container)))
        .collect();
    let list = claim.field("requestMappings").filter(|list| list.items().next().is_some());
    if list.is_none() {
        let detail = "at least one request mapping is required";
        errors.push(FieldError::required(&claim.path_of("requestMappings"), detail));
    }
    let mut seen = HashSet::new();
    for mapping in list.iter().flat_map(Place::items) {
        let text = |field: &str| mapping.text(field).to_owned();
        let (container, resource, request) =
            (text("containerName"), text("resourceName"), text("requestName"));
        match containers.get(container.as_str()) {
            None => {
                let detail =
                    "must match the name of an entry in spec.initContainers.name or spec.containers.name";
                errors.push(FieldError::invalid(
                    &mapping.path_of("containerName"),
                    container.clone(),
                    detail,
                ));
            }
            Some(it) if it["resources"]["requests"].get(&resource).is_none() => {
                let detail = "must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests";
                errors.push(FieldError::invalid(&mapping.path_of("resourceName"), resource.clone(), detail));
            }
            Some(_) => {}
        }
        let faults = format::dns1123_label(&request).into_iter();
        let path = claim.path_of("requestName");
        errors.extend(faults.map(|fault| FieldError::invalid(&path, request.clone(), fault)));
        if !seen.insert((container, resource, request)) {
            for field in ["containerName", "resourceName", "requestName"] {
                errors.push(FieldError::duplicate(&mapping.path_of(field), mapping.text(field)));
            }
        }
    }
    check(
        &[Check::Field("resourceClaimName", &[Rule::Required(""), Rule::Format(format::dns1123_subdomain)])],
        claim,
        errors,
    );
}

// `podIP` is the first of `podIPs`, of which there is one a family.
fn addresses(status: &Place<'_>, before: &Place<'_>, (one, many): (&str, &str), errors: &mut Errors) {
    let list = |status: &Place<'_>| -> Vec<String> {
        let ips = status.list(many).iter().map(|it| it["ip"].as_str().unwrap_or_default().to_owned());
        ips.collect()
    };
    let (ips, old, path) = (list(status), list(before), status.path_of(many));
    let of_pod = one == "podIP";
    let first_differs = ips.first().is_some_and(|first| first != status.text(one));
    let differs = || {
        let first = ips.first().map(String::as_str).unwrap_or_default();
        FieldError::invalid(&path.index(0).child("ip"), first, format!("must be equal to `{one}`"))
    };
    if !of_pod && first_differs {
        errors.push(differs());
    }
    for (index, ip) in ips.iter().enumerate().filter(|(_, ip)| !old.contains(ip)) {
        let faults = format::ip_lenient(ip).into_iter();
        errors.extend(faults.map(|fault| FieldError::invalid(&path.index(index), ip.as_str(), fault)));
    }
    if ips.len() > 1 {
        dual_stack(&ips, status.list(many), &path, errors);
    }
    if of_pod && status.text(one).is_empty() != ips.is_empty() {
        let detail = "podIP and podIPs must either both be set or both be unset";
        errors.push(FieldError::invalid(&path, shown(status.list(many)), detail));
    } else if of_pod && first_differs {
        errors.push(differs());
    }
}

// Upstream shows its internal structs, or nothing.
fn shown(ips: &[Value]) -> Value {
    if ips.is_empty() {
        return Value::Null;
    }
    ips.iter().map(|it| serde_json::json!({"IP": it["ip"]})).collect()
}

fn dual_stack(ips: &[String], list: &[Value], path: &FieldPath, errors: &mut Errors) {
    let parsed: Vec<Option<IpAddr>> = ips.iter().map(|ip| format::parse_ip(ip)).collect();
    if let Some(index) = parsed.iter().position(Option::is_none) {
        let mut error = FieldError::forbidden(path, "");
        error.kind = coracle_api::FieldErrorKind::Internal;
        error.detail =
            format!("failed to check for dual stack with error:invalid IP[{index}]: {}", ips[index]);
        errors.push(error);
    }
    let families: HashSet<bool> = parsed.iter().flatten().map(IpAddr::is_ipv4).collect();
    if ips.len() > 2 || families.len() < 2 || parsed.contains(&None) {
        let detail = "may specify no more than one IP for each IP family";
        errors.push(FieldError::invalid(path, shown(list), detail));
    }
}

static USER: &[Check] = &[Check::With(|status, errors| {
    let os = status
        .above()
        .and_then(Place::above)
        .and_then(Place::above)
        .and_then(|pod| pod.get("spec")?.get("os")?.get("name")?.as_str())
        .unwrap_or("linux");
    let Some(user) = status.field("user") else { return };
    let Some(linux) = user.field("linux") else { return };
    if os == "windows" {
        errors.push(FieldError::forbidden(&linux.path(), "cannot be set for a windows pod"));
    } else if os == "linux" {
        // What a runtime reports may be any number of the kernel's.
        check(LINUX_USER, &linux, errors);
    }
})];

static LINUX_USER: &[Check] = &[
    Check::Field("uid", &[Rule::Within(0, u32::MAX as i64)]),
    Check::Field("gid", &[Rule::Within(0, i32::MAX as i64)]),
    Check::Items("supplementalGroups", &[Rule::Within(0, i32::MAX as i64)]),
];

static NO_DEVICES: &[Check] = &[Check::Each(
    "ephemeralContainerStatuses",
    &[Check::Field("allocatedResourcesStatus", &[Rule::Unset("must not be specified in container status")])],
)];

fn devices(status: &Place<'_>, pod: &Place<'_>, list: &str, containers: &str, errors: &mut Errors) {
    let Some(statuses) = status.field(list) else { return };
    let spec = pod.field("spec");
    let by_name: HashMap<&str, &Value> = spec
        .iter()
        .flat_map(|spec| spec.list(containers))
        .filter_map(|container| Some((container["name"].as_str()?, container)))
        .collect();
    let claim = status.get("extendedResourceClaimStatus");
    for own in statuses.items() {
        let Some(allocated) = own.field("allocatedResourcesStatus") else { continue };
        for resource in allocated.items() {
            let name = resource.text("name");
            // A container that is not there is let pass, as upstream does.
            let unasked = by_name.get(own.text("name")).and_then(|container| unasked(name, container, claim));
            if let Some(detail) = unasked {
                errors.push(FieldError::invalid(&resource.path_of("name"), name, detail));
            }
            let mut seen = HashSet::new();
            let Some(units) = resource.field("resources") else { continue };
            for unit in units.items() {
                health(&unit, errors);
                let id = unit.text("resourceID");
                if !seen.insert(id.to_owned()) {
                    errors.push(FieldError::duplicate(&unit.path_of("resourceID"), id));
                }
            }
        }
    }
}

fn health(unit: &Place<'_>, errors: &mut Errors) {
    super::containers::one_of(unit, "health", &["Healthy", "Unhealthy", "Unknown"], errors);
    if let Some(message) = unit.get("message").and_then(Value::as_str) {
        if message.is_empty() {
            let detail = "must be non-empty if specified";
            errors.push(FieldError::required(&unit.path_of("message"), detail));
        } else if message.len() > 1024 {
            errors.push(FieldError::too_long(&unit.path_of("message"), 1024));
        }
    }
}

fn unasked(name: &str, container: &Value, extended: Option<&Value>) -> Option<&'static str> {
    let requests = &container["resources"]["requests"];
    let Some(reference) = name.strip_prefix("claim:") else {
        let found = requests.get(name).is_some();
        return (!found).then_some("must match one of the container's resource requests");
    };
    let claims = container["resources"]["claims"].as_array();
    let listed = claims.into_iter().flatten().any(|claim| {
        let text = |field: &str| claim[field].as_str().unwrap_or_default();
        match text("request") {
            "" => text("name") == reference,
            request => format!("{}/{request}", text("name")) == reference,
        }
    });
    let mapped = || {
        let (claim, request) = reference.split_once('/')?;
        let extended = extended.filter(|it| it["resourceClaimName"] == claim && !request.is_empty())?;
        extended["requestMappings"].as_array()?.iter().find(|mapping| {
            let asked = mapping["resourceName"].as_str().and_then(|name| requests.get(name));
            mapping["containerName"] == container["name"]
                && mapping["requestName"] == request
                && asked.is_some_and(|asked| !resources::quantity(asked).is_zero())
        })
    };
    let detail = "must match one of the container's resource claims as 'claim:<claimName>/<requestName>' when container.resources.claims[*].request is set or 'claim:<claimName>' when it is empty";
    (!listed && mapped().is_none()).then_some(detail)
}
