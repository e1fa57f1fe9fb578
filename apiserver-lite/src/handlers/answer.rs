//! Answers: objects, lists and Statuses in the form that the client wants.

use bytes::Bytes;
use coracle_api::{Object, Status};
use coracle_store::Record;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json as tree};

use super::Call;
use crate::{
    body::Body,
    codec::{
        self,
        list::{self, Joined, ListMeta},
        negotiation::{self, Form, Format, Forms, Offer, Output, PROTOBUF},
        partial, protobuf, table, yaml,
    },
    error::ApiError,
    registry::{Registry, read::Listing},
    request::Query,
    resources::Row,
};

// So many records are looked at before others get their turn.
const TURN: usize = 128;

/// An object to answer with.
pub enum Shown<'a> {
    /// A stored one.
    Record(&'a Record),
    /// One in hand.
    Object(&'a Object),
}

/// JSON bytes as they are.
pub fn json(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A Status in JSON.
pub fn status(status: &Status) -> Response<Body> {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(code, codec::json::line(status));
    if let Some(seconds) =
        status.details.as_ref().map(|details| details.retry_after_seconds).filter(|it| *it > 0)
    {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// An error, in the format that the client accepts; else, as upstream has it, in indented JSON.
pub fn error(error: &ApiError, headers: &HeaderMap, query: &Query) -> Response<Body> {
    let mut response = status(&error.status());
    let Ok(output) = negotiation::output(headers, query, Forms::Whole) else {
        let text = serde_json::to_vec_pretty(&error.status()).unwrap_or_default();
        *response.body_mut() = Bytes::from(text).into();
        return response;
    };
    match output.format {
        Format::Yaml => {
            let value = serde_json::to_value(error.status()).unwrap_or_default();
            *response.body_mut() = Bytes::from(yaml::write(&value)).into();
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/yaml"));
        }
        Format::Protobuf => {
            let value = serde_json::to_value(error.status()).unwrap_or_default();
            *response.body_mut() = Bytes::from(protobuf::write::value(&value).unwrap_or_default()).into();
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(PROTOBUF));
        }
        Format::Json if output.pretty => {
            *response.body_mut() = codec::json::indent(&codec::json::line(&error.status())).into();
        }
        Format::Json => {}
    }
    response
}

/// A tree in the client's format.
pub fn value_in(output: &Output, status: StatusCode, value: &Value) -> Response<Body> {
    match output.format {
        Format::Json if output.pretty => {
            json(status, Bytes::from(serde_json::to_vec_pretty(value).unwrap_or_default()))
        }
        Format::Json => json(status, codec::json::line(value)),
        Format::Yaml => {
            let mut response = json(status, Bytes::from(yaml::write(value)));
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/yaml"));
            response
        }
        Format::Protobuf => in_protobuf(status, protobuf::write::value(value).unwrap_or_default()),
    }
}

fn in_protobuf(status: StatusCode, body: Vec<u8>) -> Response<Body> {
    let mut response = json(status, Bytes::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(PROTOBUF));
    response
}

impl Shown<'_> {
    // The JSON of the object in the version that the row speaks.
    fn bytes(&self, row: &Row) -> Bytes {
        match self {
            Self::Record(record) => shown(row, record),
            Self::Object(object) if row.facts.gvk == row.facts.storage_version => codec::json::plain(object),
            Self::Object(object) => codec::json::plain(&spoken(row, (*object).clone())),
        }
    }

    /// The object as a protobuf message without its envelope.
    pub fn message(&self, registry: &Registry, row: &Row) -> Bytes {
        match self {
            Self::Record(record) => registry.shows.message(row, record),
            Self::Object(_) => protobuf::write::message(&self.object(row).0, &row.facts.schema).into(),
        }
    }

    fn object(&self, row: &Row) -> Object {
        match self {
            Self::Record(record) => codec::json::parse_stored(&shown(row, record)),
            Self::Object(object) => spoken(row, (*object).clone()),
        }
    }
}

/// A record's bytes in the version that the row speaks.
pub fn shown(row: &Row, record: &Record) -> Bytes {
    if row.facts.gvk == row.facts.storage_version && row.strategy.shows_as_stored(record.revision) {
        return record.bytes.clone();
    }
    codec::json::plain(&object_of(row, record))
}

/// A record's object in the version that the row speaks.
pub fn object_of(row: &Row, record: &Record) -> Object {
    let mut object = codec::json::parse_stored(&record.bytes);
    row.strategy.revive(&mut object, record.revision);
    spoken(row, object)
}

fn spoken(row: &Row, mut object: Object) -> Object {
    if row.facts.gvk != row.facts.storage_version {
        row.strategy.from_storage(&mut object, &row.facts.api_version());
    }
    object
}

/// Answers with an object.
///
/// # Errors
/// 400 for options of tables, 406
pub fn object(
    call: &Call<'_>,
    row: &Row,
    status: StatusCode,
    shown: &Shown<'_>,
) -> Result<Response<Body>, ApiError> {
    let output = negotiation::output(call.headers(), &call.info.query, Offer::of(&row.facts, Forms::Object))?;
    let version = match &output.form {
        Form::Whole if output.format == Format::Protobuf => {
            let message = shown.message(call.registry(), row);
            let body = protobuf::write::envelope(&row.facts.api_version(), &row.facts.gvk.kind, &message);
            return Ok(in_protobuf(status, body));
        }
        Form::Whole => {
            let bytes = shown.bytes(row);
            if output.format == Format::Json && !output.pretty {
                return Ok(json(status, bytes));
            }
            return Ok(value_in(&output, status, &codec::json::tree(&bytes)));
        }
        Form::Partial(version) => {
            let object = shown.object(row);
            let value = partial::object(&table::without(&object, row.strategy.carriers()), version);
            return Ok(value_in(&output, status, &value));
        }
        Form::PartialList(_) => return Err(partial::no_list(&row.facts)),
        Form::Table(version) => version,
    };
    let object = shown.object(row);
    let include = table::include(&call.info.query)?;
    let now = call.registry().config.clock.now();
    let rows = vec![table::row(&object, row, include, version, now)];
    let metadata = match object.resource_version() {
        "" => tree!({}),
        revision => tree!({ "resourceVersion": revision }),
    };
    Ok(value_in(&output, status, &table::table(version, metadata, Some(&row.columns), rows)))
}

/// Answers with a page of a collection.
///
/// # Errors
/// 400 for options of tables, 406
pub async fn listing(call: &Call<'_>, row: &Row, listing: &Listing) -> Result<Response<Body>, ApiError> {
    let output = negotiation::output(call.headers(), &call.info.query, Offer::of(&row.facts, Forms::List))?;
    let api_version = row.facts.api_version();
    let metadata = list_metadata(listing);
    let shows = &call.registry().shows;
    let in_protobuf = output.format == Format::Protobuf;
    let joined = match &output.form {
        Form::Whole if in_protobuf => {
            let items = each(listing, |record| shows.message(row, record)).await;
            return Ok(messages(&api_version, &row.facts.list_kind, &metadata, items));
        }
        Form::Whole => whole_list(row, listing, &api_version),
        Form::Partial(_) => return Err(partial::no_object(&row.facts)),
        Form::PartialList(version) if in_protobuf => {
            let items = each(listing, |record| shows.partial(row, record)).await;
            let api_version = coracle_api::resource::api_version("meta.k8s.io", version);
            return Ok(messages(&api_version, "PartialObjectMetadataList", &metadata, items));
        }
        Form::PartialList(version) if listing.records.is_empty() => {
            let none = partial::list(std::iter::empty(), metadata, version);
            return Ok(value_in(&output, StatusCode::OK, &none));
        }
        Form::PartialList(version) => {
            let items = each(listing, |record| shows.metadata(row, record)).await;
            partial::joined(items, &metadata, version)
        }
        Form::Table(version) => {
            let include = table::include(&call.info.query)?;
            let now = call.registry().config.clock.now();
            let ranked = row.strategy.rank().map(|rank| ranked(rank, listing));
            let listing = ranked.as_ref().unwrap_or(listing);
            let rows = each(listing, |record| shows.row(row, record, include, now)).await;
            table::joined(version, &metadata, &row.columns, include, rows)
        }
    };
    if output.format == Format::Json && !output.pretty {
        return Ok(pieces("application/json", joined.left(), joined));
    }
    Ok(value_in(&output, StatusCode::OK, &codec::json::tree(&joined.collect::<Vec<_>>().concat())))
}

// The same page in the order in which tables show it.
fn ranked(rank: fn(&Object) -> i64, listing: &Listing) -> Listing {
    let mut records = listing.records.clone();
    records.sort_by_cached_key(|record| rank(&codec::json::parse_stored(&record.bytes)));
    Listing {
        records,
        revision: listing.revision,
        continue_token: listing.continue_token.clone(),
        remaining: listing.remaining,
    }
}

// What may have to be made of each record. Others get their turn meanwhile.
async fn each<T>(listing: &Listing, make: impl Fn(&Record) -> T) -> Vec<T> {
    let mut made = Vec::with_capacity(listing.records.len());
    for records in listing.records.chunks(TURN) {
        made.extend(records.iter().map(|record| make(record)));
        tokio::task::yield_now().await;
    }
    made
}

fn pieces(
    content_type: &'static str,
    left: usize,
    pieces: impl Iterator<Item = Bytes> + Send + 'static,
) -> Response<Body> {
    let mut response = Response::new(Body::Pieces { pieces: Box::new(pieces), left });
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn messages(api_version: &str, kind: &str, metadata: &Value, items: Vec<Bytes>) -> Response<Body> {
    let metadata = metadata.as_object().cloned().unwrap_or_default();
    let joined = protobuf::list::Joined::new(api_version, kind, &metadata, items);
    pieces(PROTOBUF, joined.left(), joined)
}

fn list_metadata(listing: &Listing) -> Value {
    let mut metadata = tree!({ "resourceVersion": listing.revision.to_string() });
    if !listing.continue_token.is_empty() {
        metadata["continue"] = listing.continue_token.as_str().into();
    }
    if let Some(remaining) = listing.remaining {
        metadata["remainingItemCount"] = remaining.into();
    }
    metadata
}

fn whole_list(row: &Row, listing: &Listing, api_version: &str) -> Joined {
    let meta = ListMeta {
        kind: &row.facts.list_kind,
        api_version,
        revision: listing.revision.0,
        continue_token: &listing.continue_token,
        remaining: listing.remaining,
        always_continues: row.facts.schema.is_custom(),
    };
    let items = listing.records.iter().map(|record| shown(row, record)).collect();
    // Items of custom resources say what they are.
    let custom = row.facts.schema.is_custom();
    let head = if custom { 0 } else { list::head(api_version, &row.facts.gvk.kind) };
    Joined::new(&meta, items, head)
}

/// Adds `Warning` headers, each once.
pub fn warn(response: &mut Response<Body>, warnings: &[String]) {
    for (at, warning) in warnings.iter().enumerate() {
        if warnings[..at].contains(warning) {
            continue;
        }
        let text: String = warning.chars().filter(|c| !c.is_control()).collect();
        let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
}
