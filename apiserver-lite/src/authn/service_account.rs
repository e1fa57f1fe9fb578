//! Service accounts, by the tokens that they are issued.

use coracle_api::{Object, field::go_quote};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{
    User,
    issuer::{self, TokenError},
};
use crate::{
    registry::{Registry, lookup, metadata},
    resources::tree::{at, list, text},
};

// How far the clocks of others may be off.
const LEEWAY: SignedDuration = SignedDuration::from_secs(60);
const INVALIDATED: &str = "service account token has been invalidated";

/// What is known of a token that is good.
pub struct Authenticated {
    /// Whose it is.
    pub user: User,
    /// Which of the audiences asked for it is for.
    pub audiences: Vec<String>,
}

/// Whose token it is; it must be for one of the audiences.
///
/// # Errors
/// Why it is not good, or `None` for one that is not ours at all.
pub async fn authenticate(
    registry: &Registry,
    token: &str,
    audiences: &[&str],
) -> Result<Authenticated, Option<String>> {
    let issuer = registry.config.issuer.as_ref().ok_or(None)?;
    let claims = issuer.open(token).map_err(|error| match error {
        TokenError::Foreign => None,
        TokenError::Forged => Some("go-jose/go-jose: error in cryptographic primitive".to_owned()),
    })?;
    let claims = Value::Object(claims);
    let meant = meant_for(&claims, audiences)?;
    check_times(&claims, registry.config.clock.now())?;
    let bound = at(&claims, &["kubernetes.io"]);
    let account = check_account(registry, bound).await?;
    check_bound(registry, bound).await?;
    Ok(Authenticated { user: user(&claims, bound, &account), audiences: meant })
}

fn meant_for(claims: &Value, audiences: &[&str]) -> Result<Vec<String>, Option<String>> {
    let claimed: Vec<&str> = match at(claims, &["aud"]) {
        Value::String(one) => vec![one],
        many => list(many).iter().map(text).collect(),
    };
    let meant: Vec<String> =
        audiences.iter().filter(|it| claimed.contains(it)).map(|it| (*it).to_owned()).collect();
    if meant.is_empty() {
        let shown = |list: &[&str]| list.iter().map(|it| go_quote(it)).collect::<Vec<_>>().join(" ");
        return Err(Some(format!(
            "token audiences [{}] is invalid for the target audiences [{}]",
            shown(&claimed),
            shown(audiences)
        )));
    }
    Ok(meant)
}

fn check_times(claims: &Value, now: Timestamp) -> Result<(), Option<String>> {
    let time = |name: &str| {
        let seconds = at(claims, &[name]).as_f64().filter(|it| it.is_finite());
        seconds.and_then(|it| Timestamp::from_second(it as i64).ok())
    };
    let early = now.saturating_sub(LEEWAY).unwrap_or(now);
    let late = now.saturating_add(LEEWAY).unwrap_or(now);
    if time("nbf").is_some_and(|since| late < since) {
        return Err(Some("service account token is not valid yet".to_owned()));
    }
    // One without an end is none that is issued here.
    if time("exp").is_none_or(|until| early > until) {
        return Err(Some("service account token has expired".to_owned()));
    }
    if time("iat").is_some_and(|issued| late < issued) {
        return Err(Some("service account token is issued in the future".to_owned()));
    }
    Ok(())
}

async fn check_account(registry: &Registry, bound: &Value) -> Result<Object, Option<String>> {
    let namespace = text(at(bound, &["namespace"]));
    let (name, uid) = reference(at(bound, &["serviceaccount"]));
    let missing = || Some(format!("serviceaccounts {name:?} not found"));
    let account = find(registry, "serviceaccounts", namespace, name).await?.ok_or_else(missing)?;
    if account.uid() != uid {
        let own = account.uid();
        return Err(Some(format!("service account UID ({own}) does not match claim ({uid})")));
    }
    if is_gone(registry, &account) {
        return Err(Some(format!("service account {namespace}/{name} has been deleted")));
    }
    Ok(account)
}

// What the token is bound to must still be there, and be the same.
async fn check_bound(registry: &Registry, bound: &Value) -> Result<(), Option<String>> {
    let namespace = text(at(bound, &["namespace"]));
    let of_pod = at(bound, &["pod"]).is_object();
    for (claim, plural, namespace, what) in [
        ("secret", "secrets", namespace, "secret"),
        ("pod", "pods", namespace, "pod"),
        ("node", "nodes", "", "node"),
    ] {
        let claimed = at(bound, &[claim]);
        // The node of a pod is told, not asked for.
        if !claimed.is_object() || (claim == "node" && of_pod) {
            continue;
        }
        let (name, uid) = reference(claimed);
        let invalidated = || Some(INVALIDATED.to_owned());
        let object = find(registry, plural, namespace, name).await?.ok_or_else(invalidated)?;
        if object.uid() != uid {
            let own = object.uid();
            return Err(Some(format!(
                "{what} UID ({own}) does not match service account {claim} ref claim ({uid})"
            )));
        }
        if is_gone(registry, &object) {
            return Err(invalidated());
        }
    }
    Ok(())
}

fn reference(claim: &Value) -> (&str, &str) {
    (text(at(claim, &["name"])), text(at(claim, &["uid"])))
}

async fn find(
    registry: &Registry,
    plural: &'static str,
    namespace: &str,
    name: &str,
) -> Result<Option<Object>, Option<String>> {
    lookup::object(registry, ("", plural), namespace, name).await.map_err(|error| Some(error.to_string()))
}

fn is_gone(registry: &Registry, object: &Object) -> bool {
    let now = registry.config.clock.now();
    let since = now.saturating_sub(LEEWAY).unwrap_or(now);
    object.deleting() && metadata::instant(object.meta_str("deletionTimestamp")).is_some_and(|it| it < since)
}

fn user(claims: &Value, bound: &Value, account: &Object) -> User {
    let namespace = account.namespace();
    let groups = ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    let name = format!("system:serviceaccount:{namespace}:{}", account.name());
    let mut user = User::authenticated(&name, &groups);
    user.uid = account.uid().to_owned();
    let mut extra = |key: &str, value: String| {
        user.extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value]);
    };
    for claim in ["pod", "node"] {
        let (name, uid) = reference(at(bound, &[claim]));
        if !name.is_empty() {
            extra(&format!("{claim}-name"), name.to_owned());
            if !uid.is_empty() {
                extra(&format!("{claim}-uid"), uid.to_owned());
            }
        }
    }
    let id = text(at(claims, &["jti"]));
    if !id.is_empty() {
        extra("credential-id", format!("JTI={id}"));
    }
    user
}

/// The audiences of the API server itself.
pub const AUDIENCES: &[&str] = &[issuer::NAME];
