//! DELETE of an object and of collections.

use std::sync::Arc;

use bytes::Bytes;
use coracle_api::{Status, facts, status::Details};
use coracle_store::Record;
use http::{Response, StatusCode};

use super::{
    Call,
    answer::{self, Shown},
    body, list,
};
use crate::{
    body::Body,
    codec::{
        self,
        negotiation::{self, Forms},
    },
    error::ApiError,
    registry::{delete::Deleted, options::DeleteOptions},
    resources::Row,
};

pub(super) async fn object<B>(call: &Call<'_>, row: &Arc<Row>, sent: B) -> Result<Response<Body>, ApiError>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin,
    B::Error: std::fmt::Display,
{
    negotiation::output(call.headers(), &call.info.query, Forms::Object)?;
    let options = options(call, sent).await?;
    let deleted = call.registry().delete(&call.target(row), &options, call.user).await?;
    let pending = match options.orphan_dependents {
        Some(false) => StatusCode::ACCEPTED,
        _ => StatusCode::OK,
    };
    let mut response = match &deleted {
        Deleted::Gone(record) => gone(call, row, record),
        Deleted::Marked(record) => answer::object(call, row, pending, &Shown::Record(record)),
        Deleted::Dry { object, .. } => answer::object(call, row, StatusCode::OK, &Shown::Object(object)),
    }?;
    answer::warn(&mut response, &row.strategy.deletion_warnings(&options));
    Ok(response)
}

async fn options<B>(call: &Call<'_>, sent: B) -> Result<DeleteOptions, ApiError>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin,
    B::Error: std::fmt::Display,
{
    let sent = body::read(call, sent).await?;
    let sent =
        if sent.is_empty() { sent } else { body::sent(call, sent)?.json(&facts::meta_v1::DELETE_OPTIONS)? };
    DeleteOptions::parse(&sent, &call.info.query)
}

/// The answer to a deletion that is done: a Status that names the object, or
/// for some kinds the object.
pub(super) fn gone(call: &Call<'_>, row: &Arc<Row>, record: &Record) -> Result<Response<Body>, ApiError> {
    if row.strategy.returns_deleted() {
        return answer::object(call, row, StatusCode::OK, &Shown::Record(record));
    }
    let object = codec::json::parse_stored(&record.bytes);
    let details = Details {
        name: object.name().to_owned(),
        group: row.facts.gvk.group.to_string(),
        kind: row.facts.plural.to_string(),
        uid: object.uid().to_owned(),
        ..Details::default()
    };
    success(call, &Status::success(Some(details)))
}

/// A Status that says all went well, in the client's format.
pub(super) fn success(call: &Call<'_>, status: &Status) -> Result<Response<Body>, ApiError> {
    let output = negotiation::output(call.headers(), &call.info.query, Forms::Object)?;
    let value = serde_json::to_value(status).unwrap_or_default();
    Ok(answer::value_in(&output, StatusCode::OK, &value))
}

pub(super) async fn collection<B>(
    call: &Call<'_>,
    row: &Arc<Row>,
    sent: B,
) -> Result<Response<Body>, ApiError>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin,
    B::Error: std::fmt::Display,
{
    negotiation::output(call.headers(), &call.info.query, Forms::List)?;
    let (target, selected) = list::asked(call, row, false)?;
    let options = options(call, sent).await?;
    let listing = call.registry().delete_collection(&target, &selected, &options, call.user).await?;
    let mut response = answer::listing(call, row, &listing)?;
    answer::warn(&mut response, &row.strategy.deletion_warnings(&options));
    Ok(response)
}
