//! The objects that a cluster cannot be without, made at its first start.

use std::sync::Arc;

use coracle_api::Object;
use futures::future::try_join_all;
use serde_json::{Value, json};

use super::{
    Registry, Target,
    options::{FieldValidation, WriteOptions},
    write::Author,
};
use crate::{authn::User, error::ApiError};

/// Makes what is missing of the objects that every cluster has.
///
/// # Errors
/// When the store does not take them.
pub async fn run(registry: &Registry) -> Result<(), ApiError> {
    let namespaces = ["default", "kube-system", "kube-public", "kube-node-lease"]
        .map(|name| json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }));
    try_join_all(namespaces.into_iter().map(|it| ensure(registry, "", "v1", "namespaces", it))).await?;
    Ok(())
}

// Creates an object unless it is there.
async fn ensure(
    registry: &Registry,
    group: &str,
    version: &str,
    plural: &str,
    object: Value,
) -> Result<(), ApiError> {
    let Some(row) = registry.row(group, version, plural) else { return Ok(()) };
    let mut object = Object::from_value(object).unwrap_or_default();
    let target = Target {
        row: Arc::clone(&row),
        namespace: object.namespace().to_owned(),
        name: object.name().to_owned(),
    };
    if registry.get(&target).await.is_ok() {
        return Ok(());
    }
    row.strategy.default(&mut object);
    let user = User::authenticated("system:apiserver", &["system:masters"]);
    let options = WriteOptions {
        dry_run: false,
        manager: String::new(),
        validation: FieldValidation::Ignore,
        force: false,
    };
    let mut author =
        Author { user: &user, options: &options, manager: "kube-apiserver", warnings: Vec::new() };
    match registry.create(&target, object, &mut author).await {
        Ok(_) | Err(ApiError::AlreadyExists(_)) => Ok(()),
        Err(error) => Err(error),
    }
}
