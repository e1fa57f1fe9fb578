//! Every namespace has the cluster's CA certificate, in the config map
//! `kube-root-ca.crt`, so that pods can trust the API.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{
    api::core::v1::{ConfigMap, Namespace},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, Client, api::PostParams};

use crate::{
    framework::{Error, Key, Next, Queue, Reconcile, Setup, Store},
    namespace::is_active,
};

const WORKERS: usize = 4;
const NAME: &str = "kube-root-ca.crt";
const ENTRY: &str = "ca.crt";
const DESCRIPTION: &str = "kubernetes.io/description";
/// Upstream's text, which users and tests see.
const DESCRIPTION_TEXT: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

/// Puts the controller in.
pub(crate) fn start(setup: &mut Setup, bundle: &str) {
    let namespaces = setup.reflect::<Namespace>();
    let maps = setup.reflect_where::<ConfigMap>(&format!("metadata.name={NAME}"));
    let queue = Queue::new();
    let on_namespace = queue.clone();
    namespaces.on_change(move |change| {
        if let Some(namespace) = change.after {
            on_namespace.add(Key::of(&namespace.metadata));
        }
    });
    let on_map = queue.clone();
    maps.on_change(move |change| {
        if let Some(map) = change.before {
            on_map.add(Key::cluster(map.metadata.namespace.clone().unwrap_or_default()));
        }
    });
    let controller = RootCa {
        client: setup.client.clone(),
        bundle: bundle.to_owned(),
        namespaces: namespaces.store(),
        maps: maps.store(),
    };
    setup.reconcile("root-ca-certificate-publisher-controller", queue, WORKERS, controller);
}

struct RootCa {
    client: Client,
    bundle: String,
    namespaces: Arc<Store<Namespace>>,
    maps: Arc<Store<ConfigMap>>,
}

impl Reconcile<Key> for RootCa {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        if !self.namespaces.get(key).is_some_and(|namespace| is_active(&namespace)) {
            return Ok(Next::Change);
        }
        let current = self.maps.get(&Key::namespaced(key.name.clone(), NAME));
        let Some(map) = plan(current.as_deref(), &self.bundle) else { return Ok(Next::Change) };
        let api = Api::<ConfigMap>::namespaced(self.client.clone(), &key.name);
        let post = PostParams::default();
        let written = match current {
            Some(_) => api.replace(NAME, &post, &map).await.map_err(Error::from),
            None => api.create(&post, &map).await.map_err(Error::from),
        };
        match written {
            Err(error) if !error.is_already_exists() && !error.is_not_found() => Err(error),
            _ => Ok(Next::Change),
        }
    }
}

/// The config map as it is to be, when it differs.
fn plan(current: Option<&ConfigMap>, bundle: &str) -> Option<ConfigMap> {
    let data = BTreeMap::from([(ENTRY.to_owned(), bundle.to_owned())]);
    let described = |map: &ConfigMap| {
        map.metadata
            .annotations
            .as_ref()
            .and_then(|a| a.get(DESCRIPTION))
            .is_some_and(|text| !text.is_empty())
    };
    if current.is_some_and(|map| map.data.as_ref() == Some(&data) && described(map)) {
        return None;
    }
    let mut map = current.cloned().unwrap_or_else(|| ConfigMap {
        metadata: ObjectMeta { name: Some(NAME.into()), ..ObjectMeta::default() },
        ..ConfigMap::default()
    });
    map.data = Some(data);
    map.metadata.annotations.get_or_insert_default().insert(DESCRIPTION.into(), DESCRIPTION_TEXT.into());
    Some(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_is_made_once_and_mended() {
        let made = plan(None, "bundle").unwrap();
        assert_eq!(made.metadata.name.as_deref(), Some(NAME));
        assert_eq!(plan(Some(&made), "bundle"), None);
        assert!(plan(Some(&made), "renewed").is_some());
        let mut spoilt = made.clone();
        spoilt.data.get_or_insert_default().insert("more".into(), String::new());
        assert_eq!(plan(Some(&spoilt), "bundle"), Some(made));
    }
}
