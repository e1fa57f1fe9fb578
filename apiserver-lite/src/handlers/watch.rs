//! Watches: a stream of events from a revision on.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use coracle_store::{Record, Revision};
use futures::Stream;
use http::{HeaderValue, Response, header};
use jiff::Timestamp;
use rand::Rng;
use serde_json::{Value, json};
use tokio::time::{Instant, Sleep};

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
    watch::{
        Filter, Lagged, Subscriber,
        filter::Seen,
        history::{Framing, Told},
        subscriber::Next,
    },
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
    let ends = Instant::now() + lifetime(call, &options);
    // Who wants none has none due before the end.
    let next_bookmark = if options.bookmarks { Instant::now() + BOOKMARKS } else { ends };
    let session = Session {
        subscriber: start.subscriber,
        filter: call.registry().filter(&target, &options),
        writer,
        pending: start.initial,
        ready: VecDeque::new(),
        ends,
        next_bookmark,
        alarm: Box::pin(tokio::time::sleep_until(ends.min(next_bookmark))),
        over: false,
    };
    let mut response = Response::new(Body::stream(session));
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
        return Ok(Start { subscriber: Subscriber::new(&registry.hub, &feed, from), initial: None });
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
        subscriber: Subscriber::new(&registry.hub, &feed, listing.revision),
        initial: Some(Initial { records: listing.records.into_iter(), revision: listing.revision, closing }),
    })
}

struct Session {
    subscriber: Result<Subscriber, Lagged>,
    filter: Filter,
    writer: Writer,
    pending: Option<Initial>,
    // Frames that are to be sent next.
    ready: VecDeque<Bytes>,
    ends: Instant,
    next_bookmark: Instant,
    // Set for the next bookmark or the end.
    alarm: Pin<Box<Sleep>>,
    over: bool,
}

// A frame of initial events is about as large as one of later ones.
const ENOUGH: usize = 64 << 10;

impl Stream for Session {
    type Item = Bytes;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.get_mut().poll_frame(cx)
    }
}

impl Session {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(frame) = self.ready.pop_front() {
            return Poll::Ready(Some(frame));
        }
        // What a burst took is not kept for the time of quiet.
        self.ready = VecDeque::new();
        if self.over {
            return Poll::Ready(None);
        }
        let mut out = BytesMut::new();
        if self.initial(&mut out) {
            return Poll::Ready(Some(out.freeze()));
        }
        loop {
            // Also where there is always more to tell.
            if Instant::now() >= self.ends {
                return Poll::Ready(None);
            }
            let subscriber = match &mut self.subscriber {
                Ok(subscriber) => subscriber,
                Err(lagged) => {
                    let text = lagged.to_string();
                    return Poll::Ready(Some(self.fail(text)));
                }
            };
            let next = match subscriber.poll_next(cx) {
                Poll::Ready(next) => next,
                Poll::Pending => {
                    ready!(self.alarm.as_mut().poll(cx));
                    Ok(subscriber.quiet())
                }
            };
            match next {
                Ok(Next::Events(events)) => {
                    let shared = subscriber.is_shared();
                    for told in &events {
                        if let Some(seen) = self.filter.see(&told.event) {
                            self.ready.push_back(self.writer.told(told, &seen, shared));
                        }
                    }
                    if let Some(frame) = self.ready.pop_front() {
                        return Poll::Ready(Some(frame));
                    }
                }
                Ok(Next::Quiet(revision)) => {
                    if Instant::now() >= self.ends {
                        return Poll::Ready(None);
                    }
                    self.next_bookmark = Instant::now() + BOOKMARKS;
                    self.set_alarm();
                    self.writer.bookmark(&mut out, revision, false);
                    return Poll::Ready(Some(out.freeze()));
                }
                Ok(Next::Closed) => return Poll::Ready(None),
                Err(lagged) => {
                    self.writer.measures.fell_behind();
                    return Poll::Ready(Some(self.fail(lagged.to_string())));
                }
            }
        }
    }

    fn set_alarm(&mut self) {
        self.alarm.as_mut().reset(self.ends.min(self.next_bookmark));
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

    fn fail(&mut self, message: String) -> Bytes {
        let status = ApiError::Expired(message).status();
        let mut out = BytesMut::new();
        self.writer.value(&mut out, "ERROR", &serde_json::to_value(&status).unwrap_or_default());
        self.over = true;
        out.freeze()
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

    // The frame of an event; that of whole objects is the same for all who see it so.
    fn told(&mut self, told: &Told, seen: &Seen, shared: bool) -> Bytes {
        let mut out = BytesMut::new();
        let frame = if self.output.form == Form::Whole {
            let framing = Framing {
                sign: seen.sign(),
                protobuf: self.output.format == Format::Protobuf,
                kind: self.row.facts.gvk.clone(),
                stamp: self.row.strategy.stamp(),
            };
            told.frame(framing, shared, || {
                self.write(&mut out, seen);
                out.freeze()
            })
        } else {
            self.write(&mut out, seen);
            out.freeze()
        };
        self.measures.sent(frame.len());
        frame
    }

    fn seen(&mut self, out: &mut BytesMut, seen: &Seen) {
        let before = out.len();
        self.write(out, seen);
        self.measures.sent(out.len() - before);
    }

    fn write(&mut self, out: &mut BytesMut, seen: &Seen) {
        let (kind, record) = (seen.sign(), seen.record());
        if self.output.form == Form::Whole && self.output.format == Format::Protobuf {
            // What left a selector is shown as it was, at the revision of what it is now: not to be kept.
            let message = match seen {
                Seen::Deleted(record) => Shown::Object(&codec::json::parse_stored(&record.bytes))
                    .message(&self.server.registry, &self.row),
                _ => self.server.registry.shows.message(&self.row, record),
            };
            return self.message(out, kind, &message);
        }
        self.event(out, kind, &answer::shown(&self.row, record));
    }

    // A bookmark is an event about an empty object of the kind.
    fn bookmark(&mut self, out: &mut BytesMut, revision: Revision, initial_end: bool) {
        let bytes = frame::bookmark(&self.row.facts, revision.0, initial_end, |empty| {
            self.row.strategy.fill_empty(empty);
        });
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
                let object = codec::json::parse_stored(bytes);
                partial::object(&table::without(&object, self.row.strategy.carriers()), version)
            }
            Form::Table(version) => {
                let object = codec::json::parse_stored(bytes);
                let now: Timestamp = self.server.registry.config.clock.now();
                let row = table::row(&object, &self.row, self.include, version, now);
                let headed = self.headed && !self.row.strategy.repeats_headings();
                let columns = (!headed).then_some(&*self.row.columns);
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
