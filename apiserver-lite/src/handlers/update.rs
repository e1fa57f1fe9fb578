//! PUT of an object, or of a part of it.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;

use super::{Call, body, create};
use crate::{
    body::Body,
    codec::negotiation::{self, Forms, Offer},
    error::ApiError,
    registry::{change::Change, metadata, options::Writing},
    resources::{Part, Row},
};

pub(super) async fn object<B>(call: &Call<'_>, row: &Arc<Row>, sent: B) -> Result<Response<Body>, ApiError>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin,
    B::Error: std::fmt::Display,
{
    negotiation::output(call.headers(), &call.info.query, Offer::of(&row.facts, Forms::Object))?;
    let sent = body::read(call, sent).await?;
    let options = call.options(Writing::Update)?;
    let sent = body::sent(call, sent)?;
    let manager = call.manager(&options);
    let mut author = call.author(&options, &manager);
    let facts = &row.facts;
    let mut object = body::object(call, &sent, &facts.gvk, &facts.schema, options.validation)?;
    row.strategy.default(&mut object);
    row.strategy.default_at(&mut object, call.registry().config.clock.now());
    metadata::place(&mut object, facts.namespaced, &call.info.namespace)?;
    metadata::check_name(&object, &call.info.name)?;
    let target = call.target(row);
    let written = call.registry().update(&target, part(call), &Change::Replace(object), &mut author).await;
    call.warn(author.warnings);
    create::respond(call, row, &written?)
}

/// The part of the object that the path names.
pub(super) fn part<'a>(call: &Call<'a>) -> Part<'a> {
    match call.info.subresource.as_str() {
        "" => Part::Whole,
        "status" => Part::Status,
        other => Part::Other(other),
    }
}
