//! Which pods belong together when the pod does not say: those of its
//! services and of its controller.

use std::collections::BTreeMap;

use coracle_api::selector::LabelSelector;
use coracle_controllers::framework::{Key, controller_of, matches_labels};

use super::super::tally::{Labels, selector};
use crate::{objects::Objects, pod::PodInfo};

/// The selector of what `pod` belongs to; of everything, when to nothing.
pub(super) fn selector_of(pod: &PodInfo, objects: &Objects) -> LabelSelector {
    let meta = &pod.pod.metadata;
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    let mut labels = Labels::new();
    for service in objects.services.in_namespace(namespace) {
        let wanted = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        if let Some(wanted) = wanted.filter(|wanted| matches_labels(Some(wanted), meta.labels.as_ref())) {
            labels.extend(wanted.clone());
        }
    }
    let exactly = |labels: &BTreeMap<String, String>| {
        LabelSelector::from_labels(labels.iter().map(|(key, value)| (key.as_str(), value.as_str())))
    };
    let services = exactly(&labels);
    let Some(owner) = controller_of(meta) else { return services };
    let key = Key::namespaced(namespace, &owner.name);
    let controller = match (owner.api_version.as_str(), owner.kind.as_str()) {
        ("v1", "ReplicationController") => {
            let spec = objects.replication_controllers.get(&key).and_then(|found| found.spec.clone());
            let Some(spec) = spec else { return services };
            labels.extend(spec.selector.unwrap_or_default());
            return exactly(&labels);
        }
        ("apps/v1", "ReplicaSet") => objects.replica_sets.get(&key).map(|found| found.spec.selector.clone()),
        ("apps/v1", "StatefulSet") => {
            objects.stateful_sets.get(&key).map(|found| found.spec.selector.clone())
        }
        _ => None,
    };
    let controller = controller.and_then(|written| selector(Some(&written)).ok());
    match (services.requirements(), controller.as_ref().and_then(LabelSelector::requirements)) {
        (Some(services), Some(controller)) => {
            LabelSelector::from_requirements(services.iter().chain(controller).cloned())
        }
        _ => services,
    }
}
