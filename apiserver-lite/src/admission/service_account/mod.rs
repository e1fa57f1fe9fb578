//! A pod runs as a service account: it gets the account's pull secrets, and a
//! volume with a token for it.

mod secrets;
mod token;

use std::time::Duration;

use coracle_api::{Object, format};
use serde_json::{Value, json};

use super::{Attributes, Operation};
use crate::{
    error::ApiError,
    registry::lookup,
    resources::{
        Part,
        tree::{field, list, section, set, text, truth},
    },
};

const MIRROR: &str = "kubernetes.io/config.mirror";
// A new namespace's default account is made by a controller that may need a
// moment. Upstream waits as long for it.
const PATIENCE: Duration = Duration::from_millis(1500);
const PAUSE: Duration = Duration::from_millis(10);

/// Gives a new pod its account and what comes with it.
///
/// # Errors
/// 403 for an account that is not there, and as [`validate`].
pub async fn admit(attributes: &Attributes<'_>, new: &mut Object) -> Result<(), ApiError> {
    if !attributes.creates() || !attributes.is_core("pods") {
        return Ok(());
    }
    // A mirror pod must stay what its kubelet runs.
    if new.annotation(MIRROR).is_some() {
        return validate(attributes, new).await;
    }
    if new.get_str(&["spec", "serviceAccountName"]).is_empty() {
        let spec = new.section_mut("spec");
        spec.insert("serviceAccountName".to_owned(), "default".into());
        spec.insert("serviceAccount".to_owned(), "default".into());
    }
    let account = account(attributes, new).await?;
    let automount = [field(new, &["spec", "automountServiceAccountToken"])]
        .into_iter()
        .chain([section(&account, "automountServiceAccountToken")])
        .find(|it| set(it))
        .is_none_or(truth);
    if automount {
        token::mount(new.section_mut("spec"));
    }
    if list(field(new, &["spec", "imagePullSecrets"])).is_empty() {
        let secrets = list(section(&account, "imagePullSecrets"));
        let secrets: Vec<Value> = secrets.iter().map(|it| json!({ "name": text(&it["name"]) })).collect();
        if !secrets.is_empty() {
            new.section_mut("spec").insert("imagePullSecrets".to_owned(), secrets.into());
        }
    }
    permitted(attributes, new, &account)
}

/// Refuses pods without an account, and secrets that theirs may not have.
///
/// # Errors
/// 403
pub async fn validate(attributes: &Attributes<'_>, new: &Object) -> Result<(), ApiError> {
    if !attributes.is_core("pods") {
        return Ok(());
    }
    match (attributes.operation, attributes.part) {
        (Operation::Update, Part::Other("ephemeralcontainers")) => {
            let account = account(attributes, new).await?;
            if !secrets::enforced(&account) {
                return Ok(());
            }
            // Upstream gives this one refusal as an error without a reason.
            secrets::of_ephemeral(&account, new).map_or(Ok(()), |text| Err(ApiError::plain(500, &text)))
        }
        (Operation::Create, Part::Whole) if new.annotation(MIRROR).is_some() => {
            secrets::of_mirror(new).map_or(Ok(()), |reason| Err(attributes.forbid(new, reason)))
        }
        (Operation::Create, Part::Whole) => {
            let account = account(attributes, new).await?;
            permitted(attributes, new, &account)
        }
        _ => Ok(()),
    }
}

fn permitted(attributes: &Attributes<'_>, pod: &Object, account: &Object) -> Result<(), ApiError> {
    if !secrets::enforced(account) {
        return Ok(());
    }
    secrets::of_pod(account, pod).map_or(Ok(()), |reason| Err(attributes.forbid(pod, reason)))
}

async fn account(attributes: &Attributes<'_>, pod: &Object) -> Result<Object, ApiError> {
    let namespace = attributes.target.namespace.as_str();
    let name = pod.get_str(&["spec", "serviceAccountName"]);
    if name.is_empty() {
        let reason = format!("no service account specified for pod {namespace}/{}", pod.name());
        return Err(attributes.forbid(pod, reason));
    }
    let patience = if name == "default" { PATIENCE } else { Duration::ZERO };
    let mut waited = Duration::ZERO;
    loop {
        let kind = ("", "serviceaccounts");
        if let Some(account) = lookup::object(attributes.registry, kind, namespace, name).await? {
            return Ok(account);
        }
        if waited >= patience {
            let faults = format::path_segment_name(name);
            let why = if faults.is_empty() {
                format!("serviceaccount {name:?} not found")
            } else {
                format!("invalid resource name {name:?}: [{}]", faults.join(" "))
            };
            let reason = format!("error looking up service account {namespace}/{name}: {why}");
            return Err(attributes.forbid(pod, reason));
        }
        tokio::time::sleep(PAUSE).await;
        waited += PAUSE;
    }
}
