//! Service accounts.

use coracle_api::{Object, format};

use crate::resources::{
    Column, Strategy, Write,
    columns::{AGE, NAME},
    tree::objects_mut,
};

const ENFORCE_MOUNTABLE: &str = "kubernetes.io/enforce-mountable-secrets";

/// The behaviour of service accounts.
pub struct ServiceAccounts;

impl Strategy for ServiceAccounts {
    fn prepare(&self, _write: &Write<'_>, new: &mut Object, _old: Option<&Object>) {
        // Of a reference to a secret only the name counts.
        for secret in objects_mut(&mut new.0, "secrets") {
            secret.retain(|field, _| field == "name");
        }
    }

    fn warnings(&self, _write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<String> {
        let enforces = |object: &Object| object.annotation(ENFORCE_MOUNTABLE).map(str::to_owned);
        let now = enforces(new);
        if now.is_none() || old.is_some_and(|old| enforces(old).is_some()) {
            return Vec::new();
        }
        vec![format!(
            "metadata.annotations[{ENFORCE_MOUNTABLE}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
        )]
    }

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_subdomain(name, prefix)
    }

    fn returns_deleted(&self) -> bool {
        true
    }
}

/// The columns.
pub static COLUMNS: &[Column] = &[NAME, AGE];
