//! When what endpoints show has happened: the annotation by which the delay
//! of the network's programming is measured.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Service};
use parking_lot::Mutex;

use crate::{framework::Key, pod};

/// The annotation.
pub(crate) const LAST_CHANGE: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// What was last seen of each service.
#[derive(Default)]
pub(crate) struct TriggerTimes(Mutex<HashMap<Key, Seen>>);

#[derive(Default)]
struct Seen {
    service: Option<Timestamp>,
    pods: HashMap<String, Timestamp>,
}

impl TriggerTimes {
    /// The earliest of the changes that are new since the last call.
    pub(crate) fn next(&self, key: &Key, service: &Service, pods: &[Arc<Pod>]) -> Option<Timestamp> {
        let created = service.metadata.creation_timestamp.as_ref().map(|time| time.0);
        let times = pods.iter().filter_map(|pod| {
            let since = pod::condition(pod, "Ready")?.last_transition_time.as_ref()?.0;
            Some((pod.metadata.name.clone()?, since))
        });
        let now = Seen { service: created, pods: times.collect() };
        let mut seen = self.0.lock();
        let Some(before) = seen.get(key) else {
            seen.insert(key.clone(), now);
            return created;
        };
        let newer = now.pods.iter().filter(|(name, at)| before.pods.get(*name).is_none_or(|was| *at > was));
        let newest =
            newer.map(|(_, at)| *at).chain(created.filter(|at| before.service.is_none_or(|was| *at > was)));
        let trigger = newest.min();
        seen.insert(key.clone(), now);
        trigger
    }

    /// Forgets a service that is gone.
    pub(crate) fn forget(&self, key: &Key) {
        self.0.lock().remove(key);
    }
}

/// Writes `trigger` among the annotations, or takes an older one away.
pub(crate) fn annotate(annotations: &mut Option<BTreeMap<String, String>>, trigger: Option<Timestamp>) {
    match trigger {
        Some(at) => {
            annotations.get_or_insert_default().insert(LAST_CHANGE.to_owned(), at.to_string());
        }
        None => {
            if let Some(annotations) = annotations {
                annotations.remove(LAST_CHANGE);
            }
        }
    }
}
