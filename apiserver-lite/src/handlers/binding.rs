//! POST of a `Binding`: a pod gets its node.

use std::sync::Arc;

use bytes::Bytes;
use coracle_api::{FieldError, Object, Status, field::FieldPath};
use http::{Response, StatusCode};
use serde_json::Value;

use super::{Call, answer, body};
use crate::{
    admission::pod_topology_labels,
    body::Body,
    codec::negotiation::{self, Forms},
    error::ApiError,
    registry::{binding::Binding, change::Change, metadata, options::Writing},
    resources::{Part, Row},
};

pub(super) async fn bind<B>(call: &Call<'_>, row: &Arc<Row>, sent: B) -> Result<Response<Body>, ApiError>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin,
    B::Error: std::fmt::Display,
{
    let output = negotiation::output(call.headers(), &call.info.query, Forms::Object)?;
    let sent = body::sent(call, body::read(call, sent).await?)?;
    let options = call.options(Writing::Create)?;
    let manager = call.manager(&options);
    let mut author = call.author(&options, &manager);
    let (gvk, schema) = match row.facts.subresource("binding") {
        Some(it) => (&it.gvk, it.schema.as_ref()),
        None => (&row.facts.gvk, Some(&row.facts.schema)),
    };
    let Some(schema) = schema else { return Err(ApiError::NoSuchPath) };
    let mut object = body::object(call, &sent, gvk, schema, options.validation)?;
    metadata::place(&mut object, true, &call.info.namespace)?;
    let name = if call.info.name.is_empty() { object.name() } else { &call.info.name }.to_owned();
    if name != object.name() {
        return Err(ApiError::BadRequest("name in URL does not match name in Binding object".to_owned()));
    }
    check(&object)?;
    pod_topology_labels::bind(call.registry(), &mut object).await?;
    let Some(pods) = call.registry().row("", "v1", "pods") else { return Err(ApiError::NoSuchPath) };
    let target = call.target(&pods).named(&name);
    let change = Change::Bind(Arc::new(binding(&object)));
    let bound = call.registry().update(&target, Part::Other("binding"), &change, &mut author).await;
    call.warn(author.warnings);
    bound?;
    let status = Status { code: 201, ..Status::success(None) };
    let value = serde_json::to_value(status).unwrap_or_default();
    Ok(answer::value_in(&output, StatusCode::CREATED, &value))
}

fn binding(object: &Object) -> Binding {
    let map = |field| object.meta(field).and_then(Value::as_object).cloned().unwrap_or_default();
    Binding {
        node: object.get_str(&["target", "name"]).to_owned(),
        uid: object.uid().to_owned(),
        resource_version: object.resource_version().to_owned(),
        annotations: map("annotations"),
        labels: map("labels"),
    }
}

// Upstream answers these two without a Status of their own.
fn check(object: &Object) -> Result<(), ApiError> {
    let target = FieldPath::new("target");
    let kind = object.get_str(&["target", "kind"]);
    let mut errors = Vec::new();
    if !matches!(kind, "" | "Node") {
        errors.push(FieldError::not_supported(&target.child("kind"), kind, &["Node", "<empty>"]));
    }
    if object.get_str(&["target", "name"]).is_empty() {
        errors.push(FieldError::required(&target.child("name"), ""));
    }
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    match texts.as_slice() {
        [] => Ok(()),
        [one] => Err(ApiError::plain(500, one)),
        many => Err(ApiError::plain(500, &format!("[{}]", many.join(", ")))),
    }
}
