//! POST of a `TokenRequest`: a service account gets a token.

use std::sync::Arc;

use bytes::Bytes;
use coracle_api::{FieldError, FieldPath, Object, Resource};
use http::{Response, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Call, answer, body};
use crate::{
    apply::{self, Writer},
    authn::{
        issuer::{self, Claims},
        service_account::AUDIENCES,
    },
    body::Body,
    codec::{
        self,
        negotiation::{self, Forms},
    },
    error::{ApiError, Subject},
    registry::{lookup, metadata, options::Writing},
    resources::{
        Row,
        tree::{self, at, field, list, number, or_default, set, text},
    },
    schema::canonical,
};

const DEFAULT_SECONDS: i64 = 3600;
const LEAST_SECONDS: i64 = 600;
const MOST_SECONDS: i64 = 1 << 32;
// Asked for by the volume that every pod gets: such tokens are good for a year,
// as clients that do not read them anew would fail after an hour.
const EXTENDED_SECONDS: i64 = 3607;
const YEAR: i64 = 365 * 24 * 3600;

pub(super) async fn create<B>(call: &Call<'_>, row: &Arc<Row>, sent: B) -> Result<Response<Body>, ApiError>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin,
    B::Error: std::fmt::Display,
{
    let output = negotiation::output(call.headers(), &call.info.query, Forms::Object)?;
    let sent = body::sent(call, body::read(call, sent).await?)?;
    let options = call.options(Writing::Create)?;
    let manager = call.manager(&options);
    let Some(facts) = row.facts.subresource("token") else { return Err(ApiError::NoSuchPath) };
    let Some(schema) = &facts.schema else { return Err(ApiError::NoSuchPath) };
    let kind = Resource { gvk: facts.gvk.clone(), schema: schema.clone(), ..Resource::clone(&row.facts) };
    let mut request = body::object(call, &sent, &kind.gvk, schema, options.validation)?;
    or_default(request.section_mut("spec"), "expirationSeconds", DEFAULT_SECONDS);
    let now = call.registry().config.clock.now();
    let writer = Writer { manager: &manager, subresource: "token", now };
    apply::updated(&kind, None, &mut request, &writer);
    metadata::place(&mut request, true, &call.info.namespace)?;
    let record = call.registry().get(&call.target(row)).await?;
    let account = codec::json::parse_stored(&record.bytes);
    complete(&mut request, &account, now)?;
    let claims = claims(call, &request, &account, now).await?;
    let signer = call.registry().config.issuer.as_ref();
    let signer =
        signer.ok_or_else(|| ApiError::Internal("there is no key to sign tokens with".to_owned()))?;
    let token = signer
        .sign(&claims)
        .map_err(|error| ApiError::Internal(format!("failed to generate token: {error}")))?;
    let until = later(now, number(field(&request, &["spec", "expirationSeconds"])));
    let status = json!({ "token": token, "expirationTimestamp": tree::time(until) });
    request.0.insert("status".to_owned(), status);
    canonical::canonicalize(&mut request, schema);
    Ok(answer::value_in(&output, StatusCode::CREATED, &request.into_value()))
}

// Fills in what the request leaves to the account, and judges it.
fn complete(request: &mut Object, account: &Object, now: Timestamp) -> Result<(), ApiError> {
    let subject = |name: &str| Subject {
        group: "authentication.k8s.io".to_owned(),
        kind: "TokenRequest".to_owned(),
        name: name.to_owned(),
    };
    let (name, given) = (account.name(), request.name());
    if !given.is_empty() && given != name {
        let path = FieldPath::new("metadata").child("name");
        let detail = "must match the service account name if specified";
        let errors = vec![FieldError::invalid(&path, given, detail)];
        return Err(ApiError::Invalid { subject: subject(name), errors });
    }
    let (uid, given) = (account.uid(), request.uid());
    if !given.is_empty() && given != uid {
        let reason = format!(
            "the UID in the token request ({given}) does not match the UID of the service account ({uid})"
        );
        return Err(ApiError::Conflict { subject: subject(name), reason });
    }
    request.set_meta("name", Some(name.into()));
    request.set_meta("uid", Some(uid.into()));
    request.set_meta("creationTimestamp", Some(tree::time(now)));
    if list(field(request, &["spec", "audiences"])).is_empty() {
        request.section_mut("spec").insert("audiences".to_owned(), json!(AUDIENCES));
    }
    let errors = faults(request);
    if errors.is_empty() { Ok(()) } else { Err(ApiError::Invalid { subject: subject(""), errors }) }
}

fn faults(request: &Object) -> Vec<FieldError> {
    let spec = FieldPath::new("spec");
    let path = spec.child("expirationSeconds");
    let seconds = number(field(request, &["spec", "expirationSeconds"]));
    let attestations = field(request, &["spec", "attestations"]);
    if tree::count(attestations) > 0 {
        let detail = "attestations may only be specified with a webhook bound object reference";
        return vec![FieldError::invalid(&spec.child("attestations"), attestations.clone(), detail)];
    }
    match seconds {
        ..LEAST_SECONDS => {
            vec![FieldError::invalid(&path, seconds, "may not specify a duration less than 10 minutes")]
        }
        LEAST_SECONDS..=MOST_SECONDS => Vec::new(),
        _ => vec![FieldError::invalid(&path, seconds, "may not specify a duration larger than 2^32 seconds")],
    }
}

// What the token says: of the account, and of what it is bound to.
async fn claims(
    call: &Call<'_>,
    request: &Object,
    account: &Object,
    now: Timestamp,
) -> Result<Claims, ApiError> {
    let namespace = account.namespace();
    let mut own = json!({ "namespace": namespace, "serviceaccount": reference(account) });
    let asked = field(request, &["spec", "boundObjectRef"]);
    if set(asked) {
        bind(call, &mut own, asked, account).await?;
    }
    let seconds = number(field(request, &["spec", "expirationSeconds"]));
    let audiences = field(request, &["spec", "audiences"]);
    let ours = list(audiences).iter().all(|it| AUDIENCES.contains(&text(it)));
    let mut life = seconds;
    if set(&own["pod"]) && seconds == EXTENDED_SECONDS && ours {
        own["warnafter"] = later(now, seconds).as_second().into();
        life = YEAR;
    }
    let claims = json!({
        "iss": issuer::NAME,
        "sub": format!("system:serviceaccount:{namespace}:{}", account.name()),
        "aud": audiences,
        "iat": now.as_second(),
        "nbf": now.as_second(),
        "exp": later(now, life).as_second(),
        "jti": uuid::Uuid::new_v4().to_string(),
        "kubernetes.io": own,
    });
    match claims {
        Value::Object(claims) => Ok(claims),
        _ => Ok(Claims::new()),
    }
}

async fn bind(call: &Call<'_>, own: &mut Value, asked: &Value, account: &Object) -> Result<(), ApiError> {
    let part = |name: &str| text(at(asked, &[name]));
    let (version, kind, name) = (part("apiVersion"), part("kind"), part("name"));
    let (group, _) = version.split_once('/').unwrap_or(("", version));
    let (plural, claim) = match (group, kind) {
        ("", "Pod") => ("pods", "pod"),
        ("", "Secret") => ("secrets", "secret"),
        ("", "Node") => ("nodes", "node"),
        _ => {
            let kind = match group {
                "" => format!("/{version}, Kind={kind}"),
                _ => format!("{version}, Kind={kind}"),
            };
            return Err(ApiError::BadRequest(format!("cannot bind token to object of type {kind}")));
        }
    };
    let namespace = if plural == "nodes" { "" } else { account.namespace() };
    let found = lookup::object(call.registry(), ("", plural), namespace, name).await?;
    let subject = |kind: &str| Subject { group: String::new(), kind: kind.to_owned(), name: name.to_owned() };
    let Some(object) = found else { return Err(ApiError::NotFound(subject(plural))) };
    if claim == "pod" {
        let account = account.name();
        if object.get_str(&["spec", "serviceAccountName"]) != account {
            return Err(ApiError::BadRequest(format!(
                "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
            )));
        }
        let node = object.get_str(&["spec", "nodeName"]);
        if !node.is_empty() {
            let found = lookup::object(call.registry(), ("", "nodes"), "", node).await?;
            own["node"] = found.as_ref().map_or_else(|| json!({ "name": node }), reference);
        }
    }
    let uid = part("uid");
    if !uid.is_empty() && uid != object.uid() {
        let reason = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have \
             been deleted and then recreated"
        );
        return Err(ApiError::Conflict { subject: subject(kind), reason });
    }
    own[claim] = reference(&object);
    Ok(())
}

fn reference(object: &Object) -> Value {
    json!({ "name": object.name(), "uid": object.uid() })
}

fn later(now: Timestamp, seconds: i64) -> Timestamp {
    now.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(now)
}
