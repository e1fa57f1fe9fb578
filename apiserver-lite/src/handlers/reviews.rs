//! Resources that nothing is stored of: reviews of who may what, bindings,
//! component statuses.

use std::sync::Arc;

use bytes::Bytes;
use coracle_api::Object;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::{Call, answer, binding, body};
use crate::{
    authn::{User, service_account},
    authz,
    body::Body,
    codec::{
        negotiation::{self, Form, Forms},
        partial,
    },
    error::{ApiError, Subject},
    registry::{metadata, options::Writing},
    request::RequestInfo,
    resources::{Row, tree},
};

pub(super) async fn answer<B>(call: &Call<'_>, row: &Arc<Row>, sent: B) -> Result<Response<Body>, ApiError>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin,
    B::Error: std::fmt::Display,
{
    match (&*row.facts.plural, call.info.verb) {
        ("bindings", "create") => binding::bind(call, row, sent).await,
        ("componentstatuses", "list") => {
            let output = negotiation::output(call.headers(), &call.info.query, Forms::List)?;
            let list =
                json!({ "kind": "ComponentStatusList", "apiVersion": "v1", "metadata": {}, "items": [] });
            Ok(answer::value_in(&output, StatusCode::OK, &list))
        }
        ("componentstatuses", "get") => Err(ApiError::NotFound(Subject {
            group: String::new(),
            kind: "componentstatuses".into(),
            name: call.info.name.clone(),
        })),
        (_, "create") => review(call, row, sent).await,
        _ => Err(ApiError::MethodNotAllowed),
    }
}

async fn review<B>(call: &Call<'_>, row: &Arc<Row>, sent: B) -> Result<Response<Body>, ApiError>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin,
    B::Error: std::fmt::Display,
{
    let output = negotiation::output(call.headers(), &call.info.query, Forms::Unstored)?;
    let sent = body::sent(call, body::read(call, sent).await?)?;
    let options = call.options(Writing::Create)?;
    let facts = &row.facts;
    let mut object = body::object(call, &sent, &facts.gvk, &facts.schema, options.validation)?;
    call.registry().manage_unstored(row, &mut object, &call.manager(&options));
    let status = match &*facts.plural {
        "selfsubjectreviews" => json!({ "userInfo": user_info(call.user) }),
        "selfsubjectaccessreviews" => access(&object, call.user),
        "subjectaccessreviews" | "localsubjectaccessreviews" => access(&object, &subject(&object)),
        "selfsubjectrulesreviews" => rules(call.user),
        "tokenreviews" => token(call, &object).await?,
        _ => return Err(ApiError::MethodNotAllowed),
    };
    object.0.insert("status".to_owned(), status);
    if &*facts.plural == "selfsubjectreviews" {
        let now = call.registry().config.clock.now();
        object.set_meta("creationTimestamp", Some(metadata::stamp(now).into()));
    }
    let value = match &output.form {
        Form::Partial(version) => partial::object(&object, version),
        Form::PartialList(_) => return Err(partial::no_list(facts)),
        Form::Whole | Form::Table(_) => object.into_value(),
    };
    Ok(answer::value_in(&output, StatusCode::CREATED, &value))
}

async fn token(call: &Call<'_>, review: &Object) -> Result<Value, ApiError> {
    let token = review.get_str(&["spec", "token"]);
    if token.is_empty() {
        let text = "token is required for TokenReview in authentication";
        return Err(ApiError::BadRequest(text.to_owned()));
    }
    let asked = tree::texts(tree::field(review, &["spec", "audiences"]));
    let audiences = if asked.is_empty() { service_account::AUDIENCES } else { &asked };
    Ok(match service_account::authenticate(call.registry(), token, audiences).await {
        Ok(known) => json!({
            "authenticated": true, "user": user_info(&known.user), "audiences": known.audiences,
        }),
        Err(None) => json!({ "error": "invalid bearer token", "user": {} }),
        Err(Some(reason)) => json!({ "error": format!("[invalid bearer token, {reason}]"), "user": {} }),
    })
}

fn user_info(user: &User) -> Value {
    let mut info = json!({ "username": user.name, "groups": user.groups });
    if !user.uid.is_empty() {
        info["uid"] = user.uid.as_str().into();
    }
    if !user.extra.is_empty() {
        info["extra"] = json!(user.extra);
    }
    info
}

fn subject(review: &Object) -> User {
    let groups = review.get(&["spec", "groups"]).and_then(Value::as_array).into_iter().flatten();
    User {
        name: review.get_str(&["spec", "user"]).to_owned(),
        uid: review.get_str(&["spec", "uid"]).to_owned(),
        groups: groups.filter_map(Value::as_str).map(str::to_owned).collect(),
        extra: Default::default(),
    }
}

fn access(review: &Object, user: &User) -> Value {
    let text = |path: &[&str]| review.get_str(path).to_owned();
    let resource = |field| text(&["spec", "resourceAttributes", field]);
    let is_resource = review.get(&["spec", "resourceAttributes"]).is_some();
    // Verbs that the server does not have are as good as any other here.
    let verb = if is_resource { resource("verb") } else { text(&["spec", "nonResourceAttributes", "verb"]) };
    let info = RequestInfo {
        path: text(&["spec", "nonResourceAttributes", "path"]),
        is_resource,
        verb: if verb == "get" { "get" } else { "*" },
        group: resource("group"),
        version: resource("version"),
        namespace: resource("namespace"),
        resource: resource("resource"),
        subresource: resource("subresource"),
        name: resource("name"),
        ..RequestInfo::default()
    };
    json!({ "allowed": authz::allow(user, &info).is_ok() })
}

fn rules(user: &User) -> Value {
    let (resources, paths) = authz::rules(user);
    json!({ "resourceRules": resources, "nonResourceRules": paths, "incomplete": false })
}
