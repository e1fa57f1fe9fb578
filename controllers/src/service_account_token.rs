//! Fills in the secrets that hold a service account's token, and deletes
//! those whose account is gone.
//!
//! The tokens are asked for from the API, bound to their secret and lasting:
//! nobody here has the key that signs them.

use std::sync::Arc;

use k8s_openapi::{
    ByteString,
    api::{
        authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
        core::v1::{Secret, ServiceAccount},
    },
};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams, Preconditions},
};

use crate::{
    framework::{Error, Key, Next, Queue, Reconcile, Setup, Store, absent},
    storage::annotation,
};

const WORKERS: usize = 5;
const TYPE: &str = "kubernetes.io/service-account-token";
const ACCOUNT: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";
/// The index of secrets by the account that they are of, `NAMESPACE/NAME`.
const BY_ACCOUNT: &str = "account";
/// The longest that the API grants, in seconds.
const FOR_EVER: i64 = 1 << 32;

/// Puts the controller in; `bundle` is the CA certificates of the secrets.
pub(crate) fn start(setup: &mut Setup, bundle: Option<&str>) {
    let accounts = setup.reflect::<ServiceAccount>();
    let secrets = setup.reflect_where::<Secret>(&format!("type={TYPE}"));
    secrets
        .store()
        .index(BY_ACCOUNT, |secret| account_of(secret).map(|key| key.to_string()).into_iter().collect());
    let queue = Queue::new();
    let on_secret = queue.clone();
    secrets.on_change(move |change| on_secret.extend(change.after.map(|secret| Key::of(&secret.metadata))));
    let (on_account, of_account) = (queue.clone(), secrets.store());
    accounts.on_change(move |change| {
        let uid = |account: &Arc<ServiceAccount>| account.metadata.uid.clone();
        if change.before.map(uid) == change.after.map(uid) {
            return;
        }
        let Some(account) = change.sides().last() else { return };
        let theirs = of_account.indexed(BY_ACCOUNT, &Key::of(&account.metadata).to_string());
        on_account.extend(theirs.iter().map(|secret| Key::of(&secret.metadata)));
    });
    let controller = Tokens {
        client: setup.client.clone(),
        bundle: bundle.map(str::to_owned),
        accounts: accounts.store(),
        secrets: secrets.store(),
    };
    setup.reconcile("serviceaccount-token-controller", queue, WORKERS, controller);
}

/// The account that the secret names.
fn account_of(secret: &Secret) -> Option<Key> {
    let name = annotation(&secret.metadata, ACCOUNT).filter(|name| !name.is_empty())?;
    Some(Key::namespaced(secret.metadata.namespace.clone().unwrap_or_default(), name))
}

struct Tokens {
    client: Client,
    bundle: Option<String>,
    accounts: Arc<Store<ServiceAccount>>,
    secrets: Arc<Store<Secret>>,
}

impl Reconcile<Key> for Tokens {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(secret) = self.secrets.get(key) else { return Ok(Next::Change) };
        let Some(named) = account_of(&secret) else { return Ok(Next::Change) };
        if secret.metadata.deletion_timestamp.is_some() {
            return Ok(Next::Change);
        }
        match self.account(&named, &secret).await? {
            None => self.delete(key, &secret).await?,
            Some(account) => self.fill(key, &secret, &account).await?,
        }
        Ok(Next::Change)
    }
}

impl Tokens {
    /// The account that the secret is of. One that the copy does not show is
    /// asked for, so that no secret goes because of that.
    async fn account(&self, key: &Key, secret: &Secret) -> Result<Option<Arc<ServiceAccount>>, Error> {
        let wanted = annotation(&secret.metadata, ACCOUNT_UID).filter(|uid| !uid.is_empty());
        let is_it = |account: &Arc<ServiceAccount>| {
            wanted.is_none_or(|uid| account.metadata.uid.as_deref() == Some(uid))
        };
        if let Some(account) = self.accounts.get(key).filter(is_it) {
            return Ok(Some(account));
        }
        let api = Api::<ServiceAccount>::namespaced(self.client.clone(), &key.namespace);
        Ok(absent(api.get(&key.name).await)?.map(Arc::new).filter(is_it))
    }

    async fn delete(&self, key: &Key, secret: &Secret) -> Result<(), Error> {
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: secret.metadata.uid.clone(), resource_version: None }),
            ..DeleteParams::default()
        };
        let api = Api::<Secret>::namespaced(self.client.clone(), &key.namespace);
        absent(api.delete(&key.name, &params).await).map(drop)
    }

    async fn fill(&self, key: &Key, secret: &Secret, account: &ServiceAccount) -> Result<(), Error> {
        let Lack { bundle, namespace, token } = Lack::of(secret, self.bundle.as_deref());
        if !bundle && !namespace && !token {
            return Ok(());
        }
        let mut filled = secret.clone();
        let data = filled.data.get_or_insert_default();
        if let Some(text) = self.bundle.as_ref().filter(|_| bundle) {
            data.insert("ca.crt".into(), ByteString(text.clone().into_bytes()));
        }
        if namespace {
            data.insert("namespace".into(), ByteString(key.namespace.clone().into_bytes()));
        }
        if token {
            let token = self.token(key, secret, account).await?;
            data.insert("token".into(), ByteString(token.into_bytes()));
        }
        let annotations = filled.metadata.annotations.get_or_insert_default();
        annotations.insert(ACCOUNT.into(), account.metadata.name.clone().unwrap_or_default());
        annotations.insert(ACCOUNT_UID.into(), account.metadata.uid.clone().unwrap_or_default());
        let api = Api::<Secret>::namespaced(self.client.clone(), &key.namespace);
        absent(api.replace(&key.name, &PostParams::default(), &filled).await).map(drop)
    }

    async fn token(&self, key: &Key, secret: &Secret, account: &ServiceAccount) -> Result<String, Error> {
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".into()),
                    kind: Some("Secret".into()),
                    name: Some(key.name.clone()),
                    uid: secret.metadata.uid.clone(),
                }),
                expiration_seconds: Some(FOR_EVER),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let api = Api::<ServiceAccount>::namespaced(self.client.clone(), &key.namespace);
        let name = account.metadata.name.as_deref().unwrap_or_default();
        let granted = api.create_token_request(name, &PostParams::default(), &request).await?;
        let token = granted.status.and_then(|status| status.token).filter(|token| !token.is_empty());
        token.ok_or_else(|| Error::Invalid(format!("no token was granted to {}/{name}", key.namespace)))
    }
}

/// What a secret has not yet.
#[derive(Debug, PartialEq, Eq)]
struct Lack {
    bundle: bool,
    namespace: bool,
    token: bool,
}

impl Lack {
    fn of(secret: &Secret, bundle: Option<&str>) -> Self {
        let entry = |key: &str| {
            secret
                .data
                .as_ref()
                .and_then(|data| data.get(key))
                .map(|bytes| bytes.0.as_slice())
                .unwrap_or_default()
        };
        Self {
            bundle: bundle.is_some_and(|bundle| entry("ca.crt") != bundle.as_bytes()),
            namespace: entry("namespace").is_empty(),
            token: entry("token").is_empty(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_a_secret_has_not() {
        let check = |data: Value, bundle: Option<&str>, expected: [bool; 3]| {
            let secret: Secret = serde_json::from_value(json!({"stringData": {}, "data": data})).unwrap();
            let Lack { bundle, namespace, token } = Lack::of(&secret, bundle);
            assert_eq!([bundle, namespace, token], expected, "{data}");
        };
        let text = |text: &str| ByteString(text.as_bytes().to_vec());
        check(json!({}), None, [false, true, true]);
        check(json!({"namespace": text("a"), "token": text("t")}), None, [false, false, false]);
        check(json!({"namespace": text("a"), "token": text("t")}), Some("c"), [true, false, false]);
        check(json!({"ca.crt": text("c"), "token": text("")}), Some("c"), [false, true, true]);
    }
}
