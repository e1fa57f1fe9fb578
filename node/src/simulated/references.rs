//! What pods refer to: ConfigMaps, Secrets and claims that have to be there
//! before a pod can start.
//!
//! What was found is believed for a minute, as kubelet does, so that many
//! pods that name one object cost one request.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use coracle_controllers::framework::{Clock, Error};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Container, PersistentVolumeClaim, Pod, PodSpec, Secret, Volume};
use kube::{Api, Client};
use parking_lot::Mutex;

use crate::pod_worker::Obstacles;

const BELIEVED: Duration = Duration::from_secs(60);
/// More is forgotten at once.
const MOST: usize = 10_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    ConfigMap,
    Secret,
    Claim,
}

/// An object that a pod needs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reference {
    kind: Kind,
    name: String,
    /// Keys that have to be in it.
    keys: Vec<String>,
    need: Need,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Need {
    Volume(String),
    Container(String),
}

type Keys = Arc<BTreeSet<String>>;
type Known = HashMap<(Kind, String, String), (Timestamp, Keys)>;

/// Looks them up.
pub(super) struct References {
    client: Client,
    clock: Clock,
    known: Mutex<Known>,
}

impl References {
    pub(super) fn new(client: Client, clock: Clock) -> Self {
        Self { client, clock, known: Mutex::default() }
    }

    /// What `pod` needs and is not there.
    pub(super) async fn missing(&self, pod: &Pod) -> Result<Obstacles, Error> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let mut obstacles = Obstacles::default();
        let Some(spec) = &pod.spec else { return Ok(obstacles) };
        for reference in of(spec, pod.metadata.name.as_deref().unwrap_or_default()) {
            let keys = self.look_up(reference.kind, namespace, &reference.name).await?;
            let Some(message) = reference.complaint(namespace, keys.as_deref()) else { continue };
            match reference.need {
                Need::Volume(_) => obstacles.volumes.push(message),
                Need::Container(name) => obstacles.containers.push((name, message)),
            }
        }
        Ok(obstacles)
    }

    /// The keys of an object; `None` when it is not there.
    async fn look_up(&self, kind: Kind, namespace: &str, name: &str) -> Result<Option<Keys>, Error> {
        let key = (kind, namespace.to_owned(), name.to_owned());
        let now = self.clock.now();
        let known = self.known.lock().get(&key).cloned();
        if let Some((_, keys)) = known.filter(|(at, _)| now.duration_since(*at).unsigned_abs() < BELIEVED) {
            return Ok(Some(keys));
        }
        let found = match self.read(kind, namespace, name).await {
            Ok(found) => found.map(Arc::new),
            // What the node may not read, it cannot miss.
            Err(kube::Error::Api(status)) if status.code == 403 => return Ok(Some(Keys::default())),
            Err(error) => return Err(error.into()),
        };
        let mut known = self.known.lock();
        if known.len() >= MOST {
            known.clear();
        }
        match &found {
            Some(keys) => known.insert(key, (now, keys.clone())),
            None => known.remove(&key),
        };
        Ok(found)
    }

    async fn read(&self, kind: Kind, namespace: &str, name: &str) -> kube::Result<Option<BTreeSet<String>>> {
        let client = self.client.clone();
        Ok(match kind {
            Kind::ConfigMap => {
                Api::<ConfigMap>::namespaced(client, namespace).get_opt(name).await?.map(|map| {
                    let texts = map.data.into_iter().flatten().map(|(key, _)| key);
                    texts.chain(map.binary_data.into_iter().flatten().map(|(key, _)| key)).collect()
                })
            }
            Kind::Secret => Api::<Secret>::namespaced(client, namespace)
                .get_opt(name)
                .await?
                .map(|secret| secret.data.into_iter().flatten().map(|(key, _)| key).collect()),
            Kind::Claim => Api::<PersistentVolumeClaim>::namespaced(client, namespace)
                .get_opt(name)
                .await?
                .map(|_| BTreeSet::new()),
        })
    }
}

impl Reference {
    /// What kubelet says when the object, or a key of it, is not there.
    fn complaint(&self, namespace: &str, there: Option<&BTreeSet<String>>) -> Option<String> {
        let lost = there.map(|there| self.keys.iter().find(|key| !there.contains(*key)));
        let what = match (lost, self.kind) {
            (Some(None), _) => return None,
            (None, Kind::ConfigMap) => format!("configmap \"{}\" not found", self.name),
            (None, Kind::Secret) => format!("secret \"{}\" not found", self.name),
            (None, Kind::Claim) => {
                let Need::Volume(volume) = &self.need else { return None };
                return Some(format!(
                    "Unable to attach or mount volumes: unmounted volumes=[{volume}], unattached volumes=[], \
                     failed to process volumes=[{volume}]: error processing PVC {namespace}/{name}: \
                     failed to fetch PVC from API server: persistentvolumeclaims \"{name}\" not found",
                    name = self.name
                ));
            }
            (Some(Some(key)), kind) => match (&self.need, kind) {
                (Need::Container(_), Kind::Secret) => {
                    return Some(format!("couldn't find key {key} in Secret {namespace}/{}", self.name));
                }
                (Need::Container(_), _) => {
                    return Some(format!("couldn't find key {key} in ConfigMap {namespace}/{}", self.name));
                }
                (_, Kind::Secret) => format!("references non-existent secret key: {key}"),
                _ => format!("configmap references non-existent config key: {key}"),
            },
        };
        Some(match &self.need {
            Need::Volume(volume) => format!("MountVolume.SetUp failed for volume \"{volume}\" : {what}"),
            Need::Container(_) => what,
        })
    }
}

/// What a pod of this name cannot do without.
fn of(spec: &PodSpec, pod: &str) -> Vec<Reference> {
    let mut references = Vec::new();
    for volume in spec.volumes.iter().flatten() {
        of_volume(volume, pod, &mut references);
    }
    for container in spec.init_containers.iter().flatten().chain(&spec.containers) {
        of_environment(container, &mut references);
    }
    references
}

fn of_volume(volume: &Volume, pod: &str, references: &mut Vec<Reference>) {
    let mut add = |kind, name: &str, optional: Option<bool>, keys: Vec<String>| {
        if optional != Some(true) {
            let need = Need::Volume(volume.name.clone());
            references.push(Reference { kind, name: name.to_owned(), keys, need });
        }
    };
    let keys = |items: &Option<Vec<k8s_openapi::api::core::v1::KeyToPath>>| {
        items.iter().flatten().map(|item| item.key.clone()).collect::<Vec<_>>()
    };
    if let Some(source) = &volume.config_map {
        add(Kind::ConfigMap, &source.name, source.optional, keys(&source.items));
    }
    if let Some(source) = &volume.secret {
        add(
            Kind::Secret,
            source.secret_name.as_deref().unwrap_or_default(),
            source.optional,
            keys(&source.items),
        );
    }
    if let Some(source) = &volume.persistent_volume_claim {
        add(Kind::Claim, &source.claim_name, None, Vec::new());
    }
    if volume.ephemeral.is_some() {
        add(Kind::Claim, &format!("{pod}-{}", volume.name), None, Vec::new());
    }
    let projected = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
    for source in projected {
        if let Some(map) = &source.config_map {
            add(Kind::ConfigMap, &map.name, map.optional, keys(&map.items));
        }
        if let Some(secret) = &source.secret {
            add(Kind::Secret, &secret.name, secret.optional, keys(&secret.items));
        }
    }
}

fn of_environment(container: &Container, references: &mut Vec<Reference>) {
    let mut add = |kind, name: &str, optional: Option<bool>, keys: Vec<String>| {
        if optional != Some(true) {
            let need = Need::Container(container.name.clone());
            references.push(Reference { kind, name: name.to_owned(), keys, need });
        }
    };
    for source in container.env_from.iter().flatten() {
        if let Some(map) = &source.config_map_ref {
            add(Kind::ConfigMap, &map.name, map.optional, Vec::new());
        }
        if let Some(secret) = &source.secret_ref {
            add(Kind::Secret, &secret.name, secret.optional, Vec::new());
        }
    }
    for source in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
        if let Some(key) = &source.config_map_key_ref {
            add(Kind::ConfigMap, &key.name, key.optional, vec![key.key.clone()]);
        }
        if let Some(key) = &source.secret_key_ref {
            add(Kind::Secret, &key.name, key.optional, vec![key.key.clone()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_is_missing_is_told() {
        let check = |spec: Value, there: Option<&[&str]>, expected: &[&str]| {
            let mut value = json!({"containers": [{"name": "c"}]});
            value.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
            let parsed: PodSpec = serde_json::from_value(value).unwrap();
            let there: Option<BTreeSet<String>> =
                there.map(|keys| keys.iter().map(|key| (*key).to_owned()).collect());
            let told: Vec<String> =
                of(&parsed, "p").iter().filter_map(|r| r.complaint("a", there.as_ref())).collect();
            assert_eq!(told, expected, "{spec}");
        };
        let volume = |source: Value| {
            let mut volume = json!({"name": "v"});
            volume.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
            json!({"volumes": [volume]})
        };
        let map = volume(json!({"configMap": {"name": "m", "items": [{"key": "k", "path": "k"}]}}));
        check(map.clone(), Some(&["k"]), &[]);
        check(map.clone(), None, &["MountVolume.SetUp failed for volume \"v\" : configmap \"m\" not found"]);
        check(
            map,
            Some(&[]),
            &["MountVolume.SetUp failed for volume \"v\" : configmap references non-existent config key: k"],
        );
        check(volume(json!({"secret": {"secretName": "s", "optional": true}})), None, &[]);
        check(
            volume(
                json!({"projected": {"sources": [{"secret": {"name": "s"}}, {"serviceAccountToken": {"path": "t"}}]}}),
            ),
            None,
            &["MountVolume.SetUp failed for volume \"v\" : secret \"s\" not found"],
        );
        check(
            volume(json!({"ephemeral": {}})),
            None,
            &[
                "Unable to attach or mount volumes: unmounted volumes=[v], unattached volumes=[], failed to process \
               volumes=[v]: error processing PVC a/p-v: failed to fetch PVC from API server: \
               persistentvolumeclaims \"p-v\" not found",
            ],
        );
        let environment = |extra: Value| {
            let mut container = json!({"name": "c"});
            container.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            json!({"containers": [container]})
        };
        check(
            environment(json!({"envFrom": [{"configMapRef": {"name": "m"}}]})),
            None,
            &["configmap \"m\" not found"],
        );
        check(
            environment(
                json!({"env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}),
            ),
            Some(&["other"]),
            &["couldn't find key k in Secret a/s"],
        );
    }
}
