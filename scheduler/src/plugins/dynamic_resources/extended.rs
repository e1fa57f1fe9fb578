//! Extended resources that devices stand in for: a class of devices can have
//! the name of one. The scheduler makes the claim for them itself.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use coracle_controllers::{
    devices::EXTENDED,
    framework::{Store, controller_reference},
};
use k8s_openapi::{
    api::{
        core::v1::{Container, ContainerExtendedResourceRequest},
        resource::v1::{
            DeviceClaim, DeviceClass, DeviceRequest, ExactDeviceRequest, ResourceClaim, ResourceClaimSpec,
        },
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use uuid::Uuid;

use crate::{pod::PodInfo, resources::Resources};

/// The name of the index of classes by the extended resources they stand for.
pub(crate) const BY_RESOURCE: &str = "scheduler/extended-resource";
/// A class stands for the resource with its name behind this.
const BY_CLASS: &str = "deviceclass.resource.kubernetes.io/";
/// The name of a claim that is not in the API yet.
const UNMADE: &str = "<extended-resources>";

/// The values of the index [`BY_RESOURCE`].
pub(crate) fn resources(class: &DeviceClass) -> Vec<String> {
    let name = class.metadata.name.as_deref().unwrap_or_default();
    let own = class
        .spec
        .as_ref()
        .and_then(|spec| spec.extended_resource_name.clone())
        .filter(|own| !own.is_empty());
    [Some(format!("{BY_CLASS}{name}")), own].into_iter().flatten().collect()
}

/// The class that stands for a resource: the youngest, of equals the first by name.
pub(crate) fn class_of(classes: &Store<DeviceClass>, resource: &str) -> Option<Arc<DeviceClass>> {
    let named = classes.indexed(BY_RESOURCE, resource);
    named.into_iter().max_by_key(|class| {
        let since = class.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (since, Reverse(class.metadata.name.clone()))
    })
}

/// Whether devices can stand in for a resource of this name.
pub(crate) fn is_extended(resource: &str) -> bool {
    let native = !resource.contains('/') || resource.contains("kubernetes.io/");
    resource.starts_with(BY_CLASS) || (!native && !resource.starts_with("requests."))
}

/// The extended resources that a pod asks for.
pub(super) fn asked(pod: &PodInfo) -> impl Iterator<Item = (&str, i64)> {
    let scalars = pod.requests.scalars.iter().map(|(name, amount)| (name.as_str(), *amount));
    scalars.filter(|(name, amount)| *amount != 0 && is_extended(name))
}

/// Whether devices stand in for something that the pod asks for.
pub(super) fn concerns(classes: &Store<DeviceClass>, pod: &PodInfo) -> bool {
    asked(pod).any(|(name, _)| class_of(classes, name).is_some())
}

/// The claim for a pod's extended resources before it is made.
pub(super) fn unmade(pod: &PodInfo) -> ResourceClaim {
    ResourceClaim {
        metadata: ObjectMeta {
            namespace: pod.pod.metadata.namespace.clone(),
            name: Some(UNMADE.to_owned()),
            uid: Some(Uuid::new_v4().to_string()),
            generate_name: Some(format!("{}-extended-resources-", pod.key().name)),
            owner_references: Some(vec![owner(pod)]),
            annotations: Some(BTreeMap::from([(EXTENDED.to_owned(), "true".to_owned())])),
            ..ObjectMeta::default()
        },
        ..ResourceClaim::default()
    }
}

fn owner(pod: &PodInfo) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference {
    let mut owner = controller_reference(&*pod.pod);
    owner.block_owner_deletion = None;
    owner
}

/// Whether the claim is not in the API yet.
pub(super) fn is_unmade(claim: &ResourceClaim) -> bool {
    claim.metadata.name.as_deref() == Some(UNMADE)
}

/// Which of the pod's resources are to be had as devices on a node.
/// # Errors
/// The node has one neither itself nor as devices.
pub(super) fn by_devices<'p>(
    classes: &Store<DeviceClass>,
    pod: &'p PodInfo,
    allocatable: &Resources,
) -> Result<BTreeMap<&'p str, Arc<DeviceClass>>, &'static str> {
    let mut found = BTreeMap::new();
    for (name, _) in asked(pod) {
        match (allocatable.scalars.get(name), class_of(classes, name)) {
            (None | Some(0), Some(class)) => {
                found.insert(name, class);
            }
            (Some(_), _) => {}
            (None, None) => return Err("cannot fit resource"),
        }
    }
    Ok(found)
}

/// The claim for the resources in `classes`, and which request serves which
/// container.
pub(super) fn claim(
    claim: &ResourceClaim,
    pod: &PodInfo,
    classes: &BTreeMap<&str, Arc<DeviceClass>>,
) -> (ResourceClaim, Vec<ContainerExtendedResourceRequest>) {
    let (mut requests, mut mappings) = (Vec::new(), Vec::new());
    for (resource, class) in classes {
        let class = class.metadata.name.as_deref().unwrap_or_default();
        let (mut more, mut serving) = requests_for(pod, resource, class);
        requests.append(&mut more);
        mappings.append(&mut serving);
    }
    requests.sort_by(|a: &DeviceRequest, b| a.name.cmp(&b.name));
    let devices = DeviceClaim { requests: Some(requests), ..DeviceClaim::default() };
    let spec = Some(ResourceClaimSpec { devices: Some(devices) });
    (ResourceClaim { spec, ..claim.clone() }, mappings)
}

fn count(request: &DeviceRequest) -> i64 {
    request.exactly.as_ref().and_then(|exactly| exactly.count).unwrap_or(0)
}

type Served = (Vec<DeviceRequest>, Vec<ContainerExtendedResourceRequest>);

/// Init containers run before the others and may have the devices that those
/// will have; only what they want beyond that is asked for, once.
fn requests_for(pod: &PodInfo, resource: &str, class: &str) -> Served {
    let Some(spec) = pod.spec() else { return Served::default() };
    let init = spec.init_containers.as_deref().unwrap_or_default();
    let containers: Vec<&Container> = init.iter().chain(&spec.containers).collect();
    let is_short = |at: usize| {
        containers.get(at).is_some_and(|it| at < init.len() && it.restart_policy.as_deref() != Some("Always"))
    };
    let (mut long, mut mappings): (Vec<(usize, DeviceRequest)>, Vec<_>) = Default::default();
    for (at, container) in containers.iter().enumerate().filter(|(at, _)| !is_short(*at)) {
        let (request, mut serving) = request_of(at, container, resource, class, &[]);
        long.extend(request.map(|request| (at, request)));
        mappings.append(&mut serving);
    }
    let (mut most, mut names, mut short): (Option<DeviceRequest>, Vec<String>, Vec<_>) = Default::default();
    for (at, container) in containers.iter().enumerate().filter(|(at, _)| is_short(*at)) {
        let reusable: Vec<&DeviceRequest> =
            long.iter().filter(|(of, _)| *of >= at).map(|(_, request)| request).collect();
        let (request, mut serving) = request_of(at, container, resource, class, &reusable);
        if let Some(request) = request {
            names.push(request.name.clone());
            if most.as_ref().is_none_or(|most| count(most) < count(&request)) {
                most = Some(request);
            }
        }
        short.append(&mut serving);
    }
    if let Some(most) = &most {
        for mapping in short.iter_mut().filter(|mapping| names.contains(&mapping.request_name)) {
            mapping.request_name.clone_from(&most.name);
        }
    }
    mappings.append(&mut short);
    (most.into_iter().chain(long.into_iter().map(|(_, request)| request)).collect(), mappings)
}

/// What a container wants of a resource beyond what it can reuse.
fn request_of(
    at: usize,
    container: &Container,
    resource: &str,
    class: &str,
    reusable: &[&DeviceRequest],
) -> (Option<DeviceRequest>, Vec<ContainerExtendedResourceRequest>) {
    let asked = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let Some(asked) = asked else { return (None, Vec::new()) };
    let wanted = asked.get(resource).and_then(|it| coracle_api::Quantity::parse(&it.0).ok());
    let wanted = wanted.map_or(0, |wanted| wanted.value());
    if wanted == 0 {
        return (None, Vec::new());
    }
    let mapping = |request: &str| ContainerExtendedResourceRequest {
        container_name: container.name.clone(),
        request_name: request.to_owned(),
        resource_name: resource.to_owned(),
    };
    let (mut reused, mut mappings) = (0, Vec::new());
    for request in reusable {
        reused += count(request);
        mappings.push(mapping(&request.name));
        if reused >= wanted {
            return (None, mappings);
        }
    }
    let place = asked.keys().position(|name| name == resource).unwrap_or(0);
    let name = format!("container-{at}-request-{place}");
    mappings.push(mapping(&name));
    let exactly = ExactDeviceRequest {
        allocation_mode: Some("ExactCount".to_owned()),
        count: Some(wanted - reused),
        device_class_name: class.to_owned(),
        ..ExactDeviceRequest::default()
    };
    (Some(DeviceRequest { name, exactly: Some(exactly), first_available: None }), mappings)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn containers_are_served_by_requests() {
        let container = |name: &str, gpus: u32, restart: Option<&str>| {
            json!({"name": name, "restartPolicy": restart,
                "resources": {"requests": {"cpu": "1", "example.com/gpu": gpus.to_string()}}})
        };
        let check = |init: Vec<Value>,
                     containers: Vec<Value>,
                     requests: &[(&str, i64)],
                     served: &[(&str, &str)]| {
            let pod = json!({"metadata": {"name": "p"},
                "spec": {"initContainers": init, "containers": containers}});
            let pod = PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap()));
            let (mut made, mappings) = requests_for(&pod, "example.com/gpu", "gpu");
            made.sort_by(|a, b| a.name.cmp(&b.name));
            let made: Vec<(&str, i64)> = made.iter().map(|it| (it.name.as_str(), count(it))).collect();
            let told: Vec<(&str, &str)> =
                mappings.iter().map(|it| (it.container_name.as_str(), it.request_name.as_str())).collect();
            assert_eq!((made.as_slice(), told.as_slice()), (requests, served));
        };
        let c = |name: &str, gpus| container(name, gpus, None);
        check(vec![], vec![c("a", 1)], &[("container-0-request-1", 1)], &[("a", "container-0-request-1")]);
        check(
            vec![c("i", 1)],
            vec![c("a", 2)],
            &[("container-1-request-1", 2)],
            &[("a", "container-1-request-1"), ("i", "container-1-request-1")],
        );
        check(
            vec![c("i", 3), c("j", 4)],
            vec![c("a", 2)],
            &[("container-1-request-1", 2), ("container-2-request-1", 2)],
            &[
                ("a", "container-2-request-1"),
                ("i", "container-2-request-1"),
                ("i", "container-1-request-1"),
                ("j", "container-2-request-1"),
                ("j", "container-1-request-1"),
            ],
        );
        check(
            vec![container("s", 1, Some("Always"))],
            vec![c("a", 1)],
            &[("container-0-request-1", 1), ("container-1-request-1", 1)],
            &[("s", "container-0-request-1"), ("a", "container-1-request-1")],
        );
    }
}
