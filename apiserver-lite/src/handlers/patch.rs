//! PATCH of an object, or of a part of it.

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, header};

use super::{Call, body, create, update};
use crate::{
    body::Body,
    codec::negotiation::{self, Forms},
    error::ApiError,
    registry::{
        change::{Change, Form, Patch},
        options::{WriteOptions, Writing},
    },
    resources::Row,
};

/// The media types of patches, as upstream lists them when it gets another.
const MEDIA_TYPES: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

pub(super) async fn object<B>(call: &Call<'_>, row: &Arc<Row>, sent: B) -> Result<Response<Body>, ApiError>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin,
    B::Error: std::fmt::Display,
{
    let (patch, options) = read(call, sent).await?;
    let manager = call.manager(&options);
    let mut author = call.author(&options, &manager);
    let written = call
        .registry()
        .update(&call.target(row), update::part(call), &Change::Patch(Arc::new(patch)), &mut author)
        .await?;
    create::respond(call, row, &written, &author.warnings)
}

/// The patch and the options of a request.
pub(super) async fn read<B>(call: &Call<'_>, sent: B) -> Result<(Patch, WriteOptions), ApiError>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin,
    B::Error: std::fmt::Display,
{
    let form = form(call)?;
    negotiation::output(call.headers(), &call.info.query, Forms::Object)?;
    let body = body::read(call, sent).await?;
    let options = call.options(Writing::Patch { apply: false })?;
    Ok((Patch { form, body, validation: options.validation }, options))
}

fn form(call: &Call<'_>) -> Result<Form, ApiError> {
    let given =
        call.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match given.split(';').next().unwrap_or_default().trim() {
        "application/json-patch+json" => Ok(Form::Json),
        "application/merge-patch+json" => Ok(Form::Merge),
        "application/strategic-merge-patch+json" => Ok(Form::Strategic),
        _ => Err(ApiError::UnsupportedMediaType(MEDIA_TYPES.iter().map(|&it| it.to_owned()).collect())),
    }
}
