//! POST to a collection.

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};

use super::{
    Call,
    answer::{self, Shown},
    body,
};
use crate::{
    body::Body,
    codec::negotiation::{self, Forms, Offer},
    error::ApiError,
    registry::{metadata, options::Writing, write::Written},
    resources::Row,
};

pub(super) async fn object<B>(call: &Call<'_>, row: &Arc<Row>, sent: B) -> Result<Response<Body>, ApiError>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin,
    B::Error: std::fmt::Display,
{
    negotiation::output(call.headers(), &call.info.query, Offer::of(&row.facts, Forms::Object))?;
    negotiation::input(call.headers())?;
    let sent = body::sent(call, body::read(call, sent).await?)?;
    let options = call.options(Writing::Create)?;
    let manager = call.manager(&options);
    let mut author = call.author(&options, &manager);
    let facts = &row.facts;
    let mut object = body::object(call, &sent, &facts.gvk, &facts.schema, options.validation)?;
    row.strategy.default(&mut object);
    row.strategy.default_at(&mut object, call.registry().config.clock.now());
    metadata::place(&mut object, facts.namespaced, &call.info.namespace)?;
    let target = call.target(row).named(object.name());
    let written = call.registry().create(&target, object, &mut author).await;
    call.warn(author.warnings);
    respond(call, row, &written?)
}

/// The answer to a write.
pub(super) fn respond(
    call: &Call<'_>,
    row: &Arc<Row>,
    written: &Written,
) -> Result<Response<Body>, ApiError> {
    let (created, shown) = match written {
        Written::Stored { record, created } => (*created, Shown::Record(record)),
        Written::Deleted(record) => (false, Shown::Record(record)),
        Written::Dry { object, created } => (*created, Shown::Object(object)),
    };
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    answer::object(call, row, status, &shown)
}
