//! DELETE of an object and of collections.

use std::sync::Arc;

use bytes::Bytes;
use coracle_api::{Object, Status, facts, status::Details};
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
        negotiation::{self, Forms, Offer},
    },
    error::{ApiError, Subject},
    registry::{delete::Deleted, options::DeleteOptions},
    resources::Row,
};

pub(super) async fn object<B>(call: &Call<'_>, row: &Arc<Row>, sent: B) -> Result<Response<Body>, ApiError>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin,
    B::Error: std::fmt::Display,
{
    negotiation::output(call.headers(), &call.info.query, Offer::of(&row.facts, Forms::Object))?;
    let options = options(call, sent).await?;
    if let Some(reason) = row.strategy.undeletable(&call.info.name) {
        let subject = Subject::of(&row.facts, &call.info.name);
        return Err(ApiError::Forbidden { subject, reason: reason.to_owned() });
    }
    // Also of a deletion that is refused.
    call.warn(row.strategy.deletion_warnings(&options));
    let deleted = call.registry().delete(&call.target(row), &options, call.user).await?;
    let pending = match options.orphan_dependents {
        Some(false) => StatusCode::ACCEPTED,
        _ => StatusCode::OK,
    };
    match &deleted {
        Deleted::Gone(record) => {
            gone(call, row, &codec::json::parse_stored(&record.bytes), &Shown::Record(record))
        }
        Deleted::Marked(record) => answer::object(call, row, pending, &Shown::Record(record)),
        Deleted::Dry { object, gone: true } => gone(call, row, object, &Shown::Object(object)),
        Deleted::Dry { object, .. } => answer::object(call, row, pending, &Shown::Object(object)),
    }
}

async fn options<B>(call: &Call<'_>, sent: B) -> Result<DeleteOptions, ApiError>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin,
    B::Error: std::fmt::Display,
{
    let sent = body::read(call, sent).await?;
    if sent.is_empty() {
        return DeleteOptions::parse(&call.info.query);
    }
    DeleteOptions::decode(&body::sent(call, sent)?.json(&facts::meta_v1::DELETE_OPTIONS)?)
}

// The answer to a deletion that is done: a Status that names the object, or
// for some kinds the object.
fn gone(
    call: &Call<'_>,
    row: &Arc<Row>,
    object: &Object,
    shown: &Shown<'_>,
) -> Result<Response<Body>, ApiError> {
    if row.strategy.returns_deleted() {
        return answer::object(call, row, StatusCode::OK, shown);
    }
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
    negotiation::output(call.headers(), &call.info.query, Offer::of(&row.facts, Forms::List))?;
    let (target, selected) = list::asked(call, row, false)?;
    let options = options(call, sent).await?;
    options.check_collection()?;
    let listing = call.registry().delete_collection(&target, &selected, &options, call.user).await?;
    call.warn(row.strategy.deletion_warnings(&options));
    answer::listing(call, row, &listing).await
}
