//! PATCH of an object, or of a part of it.

use std::sync::Arc;

use bytes::Bytes;
use coracle_api::{
    Object,
    status::{Details, Status},
};
use http::{Response, header};

use super::{Call, body, create, update};
use crate::{
    body::Body,
    codec::{
        negotiation::{self, Forms, Offer},
        yaml,
    },
    error::ApiError,
    registry::{
        change::{Apply, Change, Form, Patch},
        options::{FieldValidation, WriteOptions, Writing},
    },
    resources::Row,
};

pub(super) async fn object<B>(call: &Call<'_>, row: &Arc<Row>, sent: B) -> Result<Response<Body>, ApiError>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin,
    B::Error: std::fmt::Display,
{
    let (change, options) = read(call, row, sent).await?;
    let manager = call.manager(&options);
    let mut author = call.author(&options, &manager);
    let written = call.registry().update(&call.target(row), update::part(call), &change, &mut author).await;
    call.warn(author.warnings);
    create::respond(call, row, &written?)
}

/// The change and the options of a request.
pub(super) async fn read<B>(call: &Call<'_>, row: &Row, sent: B) -> Result<(Change, WriteOptions), ApiError>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin,
    B::Error: std::fmt::Display,
{
    let kind = kind(call, row)?;
    negotiation::output(call.headers(), &call.info.query, Offer::of(&row.facts, Forms::Object))?;
    let body = body::read(call, sent).await?;
    let options = call.options(Writing::Patch { apply: kind == Kind::Apply })?;
    let change = match kind {
        Kind::Patch(form) => Change::Patch(Arc::new(Patch { form, body, validation: options.validation })),
        Kind::Apply => Change::Apply(Arc::new(configuration(&body, &options)?)),
    };
    Ok((change, options))
}

// A configuration to apply. It is YAML, as JSON is.
fn configuration(body: &[u8], options: &WriteOptions) -> Result<Apply, ApiError> {
    let undecodable = |error: String| ApiError::BadRequest(format!("error decoding patch: {error}"));
    // Upstream makes JSON of it first.
    let unread = |error: String| ApiError::BadRequest(format!("error encoding patch: {error}"));
    let document = yaml::document(body).map_err(unread)?;
    if let (FieldValidation::Strict, Some(duplicates)) = (options.validation, document.duplicates) {
        return Err(ApiError::BadRequest(format!("error strict decoding patch: {duplicates}")));
    }
    let Some(config) = Object::from_value(document.value) else {
        return Err(undecodable("the configuration is not an object".to_owned()));
    };
    Ok(Apply { config, force: options.force, validation: options.validation })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Patch(Form),
    Apply,
}

fn kind(call: &Call<'_>, row: &Row) -> Result<Kind, ApiError> {
    let custom = row.facts.schema.is_custom();
    let given =
        call.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match given.split(';').next().unwrap_or_default().trim() {
        "application/json-patch+json" => Ok(Kind::Patch(Form::Json)),
        "application/merge-patch+json" => Ok(Kind::Patch(Form::Merge)),
        "application/strategic-merge-patch+json" if !custom => Ok(Kind::Patch(Form::Strategic)),
        "application/apply-patch+yaml" => Ok(Kind::Apply),
        _ if custom => {
            let taken = [
                "application/json-patch+json",
                "application/merge-patch+json",
                "application/apply-patch+yaml",
            ];
            Err(ApiError::UnsupportedMediaType(taken.map(str::to_owned).to_vec()))
        }
        // Upstream's router says so, which knows no more than that no endpoint takes it.
        _ => {
            let text = "415: Unsupported Media Type".to_owned();
            let status = Status::failure(415, "UnsupportedMediaType", text, Some(Details::default()));
            Err(ApiError::Status(Box::new(status)))
        }
    }
}
