//! The `scale` subresource.

use std::sync::Arc;

use bytes::Bytes;
use coracle_api::Object;
use http::{Response, StatusCode};
use serde_json::json;

use super::{Call, answer, body, patch};
use crate::{
    body::Body,
    codec::{
        negotiation::{self, Form, Forms, Offer},
        partial, table,
    },
    error::ApiError,
    registry::{change::Change, metadata, options::Writing, scale, write::Written},
    resources::{
        Column, DEFAULT_COLUMNS, Part, Row,
        columns::{AGE, NAMED},
        tree::{field, number},
    },
};

/// The columns of a scale's table.
static COLUMNS: &[Column] = &[
    Column::new("Name", "string", NAMED, |it, _| it.name().into()),
    Column::new(
        "Desired",
        "integer",
        "replicas is the desired number of instances for the scaled object.",
        |it, _| number(field(it, &["spec", "replicas"])).into(),
    ),
    Column::new(
        "Available",
        "integer",
        "replicas is the actual number of observed instances of the scaled object.",
        |it, _| number(field(it, &["status", "replicas"])).into(),
    ),
    AGE,
];

pub(super) async fn get(call: &Call<'_>, row: &Arc<Row>) -> Result<Response<Body>, ApiError> {
    let record = call.registry().get(&call.target(row)).await?;
    respond(call, row, &answer::object_of(row, &record), true)
}

pub(super) async fn update<B>(call: &Call<'_>, row: &Arc<Row>, sent: B) -> Result<Response<Body>, ApiError>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin,
    B::Error: std::fmt::Display,
{
    let sent = body::read(call, sent).await?;
    let options = call.options(Writing::Update)?;
    let sent = body::sent(call, sent)?;
    let manager = call.manager(&options);
    let author = call.author(&options, &manager);
    let Some(facts) = row.facts.subresource("scale") else { return Err(ApiError::NoSuchPath) };
    let Some(schema) = &facts.schema else { return Err(ApiError::NoSuchPath) };
    let mut new = body::object(call, &sent, &facts.gvk, schema, options.validation)?;
    metadata::place(&mut new, row.facts.namespaced, &call.info.namespace)?;
    metadata::check_name(&new, &call.info.name)?;
    write(call, row, Change::Replace(new), author).await
}

pub(super) async fn patch<B>(call: &Call<'_>, row: &Arc<Row>, sent: B) -> Result<Response<Body>, ApiError>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin,
    B::Error: std::fmt::Display,
{
    let (change, options) = patch::read(call, row, sent).await?;
    let manager = call.manager(&options);
    let author = call.author(&options, &manager);
    write(call, row, change, author).await
}

async fn write(
    call: &Call<'_>,
    row: &Arc<Row>,
    change: Change,
    mut author: crate::registry::write::Author<'_>,
) -> Result<Response<Body>, ApiError> {
    let change = Change::Scale(Box::new(change));
    let written = call.registry().update(&call.target(row), Part::Other("scale"), &change, &mut author).await;
    call.warn(author.warnings);
    let object = match written? {
        Written::Stored { record, .. } | Written::Deleted(record) => answer::object_of(row, &record),
        Written::Dry { object, .. } => object,
    };
    respond(call, row, &object, false)
}

fn respond(
    call: &Call<'_>,
    row: &Row,
    object: &Object,
    must_be_there: bool,
) -> Result<Response<Body>, ApiError> {
    let offer = Offer { forms: Forms::Object, protobuf: !row.facts.schema.is_custom() };
    let output = negotiation::output(call.headers(), &call.info.query, offer)?;
    let paths = row.strategy.scale();
    if must_be_there && paths.custom && scale::at(object, &paths.replicas).is_none() {
        let path = paths.replicas.join(".");
        return Err(ApiError::Internal(format!("the spec replicas field \".{path}\" does not exist")));
    }
    let scale = scale::of(object, paths)?;
    let value = match &output.form {
        Form::Whole => scale.into_value(),
        Form::Partial(version) => partial::object(&scale, version),
        Form::PartialList(_) => return Err(partial::no_list(&row.facts)),
        Form::Table(version) => {
            let columns = if paths.custom { DEFAULT_COLUMNS } else { COLUMNS };
            let row =
                Row { facts: row.facts.clone(), strategy: row.strategy.clone(), columns: columns.into() };
            let include = table::include(&call.info.query)?;
            let rows = vec![table::row(&scale, &row, include, version, call.registry().config.clock.now())];
            let metadata = json!({ "resourceVersion": scale.resource_version() });
            table::table(version, metadata, Some(columns), rows)
        }
    };
    Ok(answer::value_in(&output, StatusCode::OK, &value))
}
