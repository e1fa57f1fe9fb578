//! Watches: a stream of events from a revision on.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use coracle_store::{Record, Revision};
use futures::stream;
use http::{HeaderValue, Response, header};
use jiff::Timestamp;
use rand::Rng;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    Call,
    answer::{self, Shown},
    list,
};
use crate::{
    ApiServer,
    body::Body,
    codec::{
        self, frame,
        negotiation::{self, Form, Format, Output},
        partial, protobuf,
        table::{self, Include},
    },
    error::ApiError,
    metrics::watches::Watch,
    registry::{Target, options::ListOptions, rows},
    resources::Row,
    watch::{Filter, Lagged, Subscriber, filter::Seen, subscriber::Next},
};

// How often a watcher that asked for bookmarks gets one.
const BOOKMARKS: Duration = Duration::from_secs(60);

pub(super) async fn collection(call: &Call<'_>, row: &Arc<Row>) -> Result<Response<Body>, ApiError> {
    let output = negotiation::stream(call.headers(), &call.info.query, &row.facts)?;
    let (target, options) = list::asked(call, row, true)?;
    let include = match output.form {
        Form::Table(_) => table::include(&call.info.query)?,
        _ => Include::Metadata,
    };
    let start = start(call, &target, &options).await?;
    let scope = if target.namespace.is_empty() { "cluster" } else { "namespace" };
    let measures = call.registry().metrics.watches.begin(&row.facts, scope);
    let writer =
        Writer { server: call.server.clone(), row: row.clone(), include, headed: false, output, measures };
    let content_type = writer.content_type();
    let session = Session {
        subscriber: start.subscriber,
        filter: call.registry().filter(&target, &options),
        writer,
        pending: start.initial,
        ends: Instant::now() + lifetime(call, &options),
        bookmarks: options.bookmarks,
        next_bookmark: Instant::now() + BOOKMARKS,
        over: false,
    };
    let mut response = Response::new(Body::stream(stream::unfold(session, Session::next)));
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    Ok(response)
}

fn lifetime(call: &Call<'_>, options: &ListOptions) -> Duration {
    options.timeout.unwrap_or_else(|| {
        let least = call.registry().config.min_watch_seconds as f64;
        Duration::from_secs_f64(least * (1.0 + rand::rng().random::<f64>()))
    })
}

struct Start {
    subscriber: Result<Subscriber, Lagged>,
    initial: Option<Initial>,
}

// What is there already, for watchers that do not bring a revision.
struct Initial {
    records: std::vec::IntoIter<Arc<Record>>,
    revision: Revision,
    // The bookmark that ends it, where the client asked for it.
    closing: bool,
}

async fn start(call: &Call<'_>, target: &Target, options: &ListOptions) -> Result<Start, ApiError> {
    let registry = call.registry();
    let feed = registry.hub.feed(&rows::prefix(&target.row.facts));
    let from = options.revision.unwrap_or_default();
    let wants_initial = options.initial_events.unwrap_or(from.0 == 0);
    if !wants_initial {
        // Without a revision, from now on.
        let from = if from.0 == 0 { registry.hub.revision() } else { from };
        return Ok(Start { subscriber: Subscriber::new(&registry.hub, feed, from), initial: None });
    }
    let all = ListOptions {
        limit: 0,
        continue_token: String::new(),
        revision: options.revision,
        exact: false,
        ..options.clone()
    };
    let listing = registry.list(target, &all).await?;
    let closing = options.initial_events == Some(true) && options.bookmarks;
    Ok(Start {
        subscriber: Subscriber::new(&registry.hub, feed, listing.revision),
        initial: Some(Initial { records: listing.records.into_iter(), revision: listing.revision, closing }),
    })
}

struct Session {
    subscriber: Result<Subscriber, Lagged>,
    filter: Filter,
    writer: Writer,
    pending: Option<Initial>,
    ends: Instant,
    bookmarks: bool,
    next_bookmark: Instant,
    over: bool,
}

// A frame of initial events is about as large as one of later ones.
const ENOUGH: usize = 64 << 10;

impl Session {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        if self.over {
            return None;
        }
        let mut out = BytesMut::new();
        if self.initial(&mut out) {
            return Some((out.freeze(), self));
        }
        loop {
            let subscriber = match &mut self.subscriber {
                Ok(subscriber) => subscriber,
                Err(lagged) => {
                    let text = lagged.to_string();
                    self.fail(&mut out, text);
                    return Some((out.freeze(), self));
                }
            };
            let deadline = if self.bookmarks { self.ends.min(self.next_bookmark) } else { self.ends };
            match subscriber.next(deadline).await {
                Ok(Next::Events(events)) => {
                    for event in &events {
                        if let Some(seen) = self.filter.see(event) {
                            self.writer.seen(&mut out, &seen);
                        }
                    }
                    if !out.is_empty() {
                        return Some((out.freeze(), self));
                    }
                    if Instant::now() >= self.ends {
                        return None;
                    }
                }
                Ok(Next::Quiet(revision)) => {
                    if Instant::now() >= self.ends {
                        return None;
                    }
                    self.next_bookmark = Instant::now() + BOOKMARKS;
                    self.writer.bookmark(&mut out, revision, false);
                    return Some((out.freeze(), self));
                }
                Ok(Next::Closed) => return None,
                Err(lagged) => {
                    self.writer.measures.fell_behind();
                    self.fail(&mut out, lagged.to_string());
                    return Some((out.freeze(), self));
                }
            }
        }
    }

    // Writes a part of what was there at the start; false when there is no
    // more of it.
    fn initial(&mut self, out: &mut BytesMut) -> bool {
        let Some(initial) = &mut self.pending else { return false };
        for record in initial.records.by_ref() {
            self.writer.measures.began_with(1);
            self.writer.seen(out, &Seen::Added(record));
            if out.len() > ENOUGH {
                return true;
            }
        }
        if initial.closing {
            let revision = initial.revision;
            self.writer.bookmark(out, revision, true);
            self.writer.measures.listed();
        }
        self.pending = None;
        !out.is_empty()
    }

    fn fail(&mut self, out: &mut BytesMut, message: String) {
        let status = ApiError::Expired(message).status();
        self.writer.value(out, "ERROR", &serde_json::to_value(&status).unwrap_or_default());
        self.over = true;
    }
}

// Writes events in the form that the client wants.
struct Writer {
    server: Arc<ApiServer>,
    row: Arc<Row>,
    output: Output,
    include: Include,
    headed: bool,
    measures: Watch,
}

impl Writer {
    fn content_type(&self) -> HeaderValue {
        HeaderValue::from_static(match (self.output.format, self.output.stream) {
            (Format::Protobuf, _) => "application/vnd.kubernetes.protobuf;stream=watch",
            (_, true) => "application/json;stream=watch",
            (_, false) => "application/json",
        })
    }

    fn seen(&mut self, out: &mut BytesMut, seen: &Seen) {
        let before = out.len();
        self.write(out, seen);
        self.measures.sent(out.len() - before);
    }

    fn write(&mut self, out: &mut BytesMut, seen: &Seen) {
        let (kind, record) = match seen {
            Seen::Added(record) => ("ADDED", record),
            Seen::Modified(record) => ("MODIFIED", record),
            Seen::Deleted(record) => ("DELETED", record),
        };
        if self.output.form == Form::Whole && self.output.format == Format::Protobuf {
            // What left a selector is shown as it was, at the revision of what it is now: not to be kept.
            let message = match seen {
                Seen::Deleted(record) => Shown::Object(&codec::json::parse_stored(&record.bytes))
                    .message(&self.server.registry, &self.row),
                _ => answer::message(&self.server.registry, &self.row, record),
            };
            return self.message(out, kind, &message);
        }
        self.event(out, kind, &answer::shown(&self.row, record));
    }

    // A bookmark is an event about an empty object of the kind.
    fn bookmark(&mut self, out: &mut BytesMut, revision: Revision, initial_end: bool) {
        let bytes = frame::bookmark(&self.row.facts, revision.0, initial_end);
        if self.output.form == Form::Whole && self.output.format == Format::Protobuf {
            let object = codec::json::parse_stored(&bytes);
            let message = protobuf::write::message(&object.0, &self.row.facts.schema);
            return self.message(out, "BOOKMARK", &message);
        }
        self.event(out, "BOOKMARK", &bytes);
    }

    fn message(&self, out: &mut BytesMut, kind: &str, message: &[u8]) {
        let facts = &self.row.facts;
        let object = protobuf::write::envelope(&facts.api_version(), &facts.gvk.kind, message);
        out.extend_from_slice(&protobuf::write::frame(kind, &object));
    }

    fn event(&mut self, out: &mut BytesMut, kind: &str, bytes: &[u8]) {
        let value = match &self.output.form {
            Form::Whole => return frame::json(out, kind, bytes),
            Form::Partial(version) | Form::PartialList(version) => {
                partial::object(&codec::json::parse_stored(bytes), version)
            }
            Form::Table(version) => {
                let object = codec::json::parse_stored(bytes);
                let now: Timestamp = self.server.registry.config.clock.now();
                let row = table::row(&object, &self.row, self.include, version, now);
                let columns = (!self.headed).then_some(&*self.row.columns);
                let metadata = json!({ "resourceVersion": object.resource_version() });
                table::table(version, metadata, columns, vec![row])
            }
        };
        self.headed = true;
        self.value(out, kind, &value);
    }

    fn value(&self, out: &mut BytesMut, kind: &str, value: &Value) {
        if self.output.format == Format::Protobuf {
            let object = protobuf::write::value(value).unwrap_or_default();
            out.extend_from_slice(&protobuf::write::frame(kind, &object));
        } else {
            frame::json(out, kind, &serde_json::to_vec(value).unwrap_or_default());
        }
    }
}
