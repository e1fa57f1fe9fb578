//! GET of an object.

use std::sync::Arc;

use http::{Response, StatusCode};

use super::{
    Call,
    answer::{self, Shown},
};
use crate::{body::Body, error::ApiError, registry::options, resources::Row};

pub(super) async fn object(call: &Call<'_>, row: &Arc<Row>) -> Result<Response<Body>, ApiError> {
    let since = options::revision(call.info.query.get("resourceVersion").unwrap_or_default())
        .map_err(|error| ApiError::plain(500, &error.to_string()))?;
    let record = call.registry().get_since(&call.target(row), since).await?;
    answer::object(call, row, StatusCode::OK, &Shown::Record(&record))
}
