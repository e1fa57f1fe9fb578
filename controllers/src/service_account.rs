//! Every namespace has a service account called `default`.

use std::sync::Arc;

use k8s_openapi::{
    api::core::v1::{Namespace, ServiceAccount},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, Client, api::PostParams};

use crate::{
    framework::{Error, Key, Next, Queue, Reconcile, Setup, Store},
    namespace::is_active,
};

const WORKERS: usize = 4;
const NAME: &str = "default";

/// Puts the controller in.
pub(crate) fn start(setup: &mut Setup) {
    let namespaces = setup.reflect::<Namespace>();
    let accounts = setup.reflect::<ServiceAccount>();
    let queue = Queue::new();
    let on_namespace = queue.clone();
    namespaces.on_change(move |change| {
        if let Some(namespace) = change.after {
            on_namespace.add(Key::of(&namespace.metadata));
        }
    });
    let on_account = queue.clone();
    accounts.on_change(move |change| {
        let default = change.before.filter(|account| account.metadata.name.as_deref() == Some(NAME));
        if let (Some(gone), None) = (default, change.after) {
            on_account.add(Key::cluster(gone.metadata.namespace.clone().unwrap_or_default()));
        }
    });
    let controller = ServiceAccounts {
        client: setup.client.clone(),
        namespaces: namespaces.store(),
        accounts: accounts.store(),
    };
    setup.reconcile("serviceaccount-controller", queue, WORKERS, controller);
}

struct ServiceAccounts {
    client: Client,
    namespaces: Arc<Store<Namespace>>,
    accounts: Arc<Store<ServiceAccount>>,
}

impl Reconcile<Key> for ServiceAccounts {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let active = self.namespaces.get(key).is_some_and(|namespace| is_active(&namespace));
        if !active || self.accounts.get(&Key::namespaced(key.name.clone(), NAME)).is_some() {
            return Ok(Next::Change);
        }
        let account = ServiceAccount {
            metadata: ObjectMeta { name: Some(NAME.into()), ..ObjectMeta::default() },
            ..ServiceAccount::default()
        };
        let api = Api::<ServiceAccount>::namespaced(self.client.clone(), &key.name);
        match api.create(&PostParams::default(), &account).await.map_err(Error::from) {
            // The namespace has gone meanwhile, or the account has come.
            Err(error) if !error.is_already_exists() && !error.is_not_found() => Err(error),
            _ => Ok(Next::Change),
        }
    }
}
