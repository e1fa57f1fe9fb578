//! Requests: how many, how long, how large, and how they ended.
//!
//! In the way of every request: nothing here locks or allocates once a set of
//! labels was seen.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Instant,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use coracle_api::metrics::{Counter, Desc, Family, Gathered, Gauge, Histogram, Metric, Registry, Sample};
use futures::Stream;
use http::{Method, Response, header, request::Parts};

use super::facts;
use crate::{authn::User, body::Body, request::RequestInfo};

const COMPONENT: &str = "apiserver";
const APPLY: &str = "application/apply-patch+yaml";
// The codes that answers usually have: their counters are found by index.
const CODES: [u16; 17] =
    [200, 201, 202, 400, 401, 403, 404, 406, 409, 410, 413, 415, 422, 429, 500, 503, 504];

/// What is counted of requests.
pub struct Requests {
    families: Arc<Families>,
    hasher: RandomState,
    // By the hash of the labels.
    series: ArcSwap<HashMap<u64, Vec<Arc<Series>>>>,
    reading: Arc<InFlight>,
    writing: Arc<InFlight>,
}

struct Families {
    counts: Arc<Family<Counter>>,
    durations: Arc<Family<Histogram>>,
    sli_durations: Arc<Family<Histogram>>,
    response_sizes: Arc<Family<Histogram>>,
    body_sizes: Arc<Family<Histogram>>,
    long_running: Arc<Family<Gauge>>,
    terminations: Arc<Family<Counter>>,
    aborts: Arc<Family<Counter>>,
    deprecated: Arc<Family<Gauge>>,
    users: Few<Counter, 6>,
    identified: Few<Counter, 2>,
    identified_seconds: Few<Histogram, 2>,
    decided: Few<Counter, 2>,
    decided_seconds: Few<Histogram, 2>,
}

// Upstream tells these apart, and all others together.
const USERS: [&str; 6] =
    ["admin", "client", "kube_proxy", "kubelet", "system:serviceaccount:kube-system:default", "other"];

// A family whose one label has few values. What never happened is not shown.
struct Few<M, const N: usize> {
    family: Arc<Family<M>>,
    values: [&'static str; N],
    handles: [OnceLock<Arc<M>>; N],
}

impl<M: Metric, const N: usize> Few<M, N> {
    fn new(registry: &Registry, desc: &'static Desc, values: [&'static str; N]) -> Self {
        Self { family: registry.family(desc), values, handles: [const { OnceLock::new() }; N] }
    }

    fn at(&self, at: usize) -> &M {
        self.handles[at].get_or_init(|| self.family.with(&[self.values[at]]))
    }
}

// The handles of one set of labels.
struct Series {
    labels: [Box<str>; 8],
    families: Arc<Families>,
    codes: [OnceLock<Arc<Counter>>; CODES.len()],
    duration: Arc<Histogram>,
    sli_duration: Option<Arc<Histogram>>,
    size: Option<Arc<Histogram>>,
}

// verb dry_run group version resource subresource scope component
type Labels<'a> = [&'a str; 8];

impl Requests {
    pub(super) fn new(registry: &Registry) -> Self {
        let families = Families {
            counts: registry.family(&facts::REQUESTS),
            durations: registry.family(&facts::DURATIONS),
            sli_durations: registry.family(&facts::SLI_DURATIONS),
            response_sizes: registry.family(&facts::RESPONSE_SIZES),
            body_sizes: registry.family(&facts::BODY_SIZES),
            long_running: registry.family(&facts::LONG_RUNNING),
            terminations: registry.family(&facts::TERMINATIONS),
            aborts: registry.family(&facts::ABORTS),
            deprecated: registry.family(&facts::DEPRECATED),
            users: Few::new(registry, &facts::AUTHENTICATED_USERS, USERS),
            identified: Few::new(registry, &facts::AUTHENTICATIONS, ["success", "failure"]),
            identified_seconds: Few::new(registry, &facts::AUTHENTICATION_SECONDS, ["success", "failure"]),
            decided: Few::new(registry, &facts::AUTHORIZATIONS, ["allowed", "no-opinion"]),
            decided_seconds: Few::new(registry, &facts::AUTHORIZATION_SECONDS, ["allowed", "no-opinion"]),
        };
        let [reading, writing] = [InFlight::default(), InFlight::default()].map(Arc::new);
        let kinds = [("readOnly", reading.clone()), ("mutating", writing.clone())];
        registry.add(Arc::new(move |out: &mut Vec<Gathered>| {
            let samples = kinds.iter().map(|(kind, it)| Sample::number(&[kind], it.most_lately() as f64));
            out.push(Gathered { desc: &facts::IN_FLIGHT, samples: samples.collect() });
        }));
        Self {
            families: Arc::new(families),
            hasher: RandomState::new(),
            series: ArcSwap::default(),
            reading,
            writing,
        }
    }

    /// A request is worked on until what this returns is dropped.
    pub fn enter(&self, method: &Method) -> Entered<'_> {
        let writes = !matches!(*method, Method::GET | Method::HEAD);
        let kind = if writes { &self.writing } else { &self.reading };
        let now = kind.now.fetch_add(1, Relaxed) + 1;
        if now > kind.most.load(Relaxed) {
            kind.most.fetch_max(now, Relaxed);
        }
        Entered(kind)
    }

    /// Somebody was identified, or not.
    pub fn identified(&self, user: Option<&User>, since: Instant) {
        let at = usize::from(user.is_none());
        self.families.identified.at(at).inc();
        self.families.identified_seconds.at(at).observe(since.elapsed().as_secs_f64());
    }

    /// Who is behind a request, in upstream's few words.
    pub fn by(&self, user: &User) {
        let at = USERS.iter().position(|it| *it == user.name).unwrap_or(USERS.len() - 1);
        self.families.users.at(at).inc();
    }

    /// A request was allowed, or not.
    pub fn decided(&self, allowed: bool, since: Instant) {
        let at = usize::from(!allowed);
        self.families.decided.at(at).inc();
        self.families.decided_seconds.at(at).observe(since.elapsed().as_secs_f64());
    }

    /// The body of a write was read.
    pub fn body(&self, info: &RequestInfo, bytes: usize) {
        let verb = if info.verb == "deletecollection" { "delete" } else { info.verb };
        self.families.body_sizes.with(&[&info.group, &info.resource, verb]).observe(bytes as f64);
    }

    /// A deprecated kind was asked for.
    pub fn deprecated(&self, info: &RequestInfo) {
        let labels = [&*info.group, &*info.version, &*info.resource, &*info.subresource, ""];
        self.families.deprecated.with(&labels).set(1.0);
    }

    /// The server gave up on a request.
    pub fn terminated(&self, info: &RequestInfo, head: &Parts, code: u16) {
        let [verb, _, group, version, resource, subresource, scope, _] = labels(info, head);
        let subresource = if info.is_resource { subresource } else { "" };
        let code = code.to_string();
        let labels = [verb, group, version, resource, subresource, scope, COMPONENT, &code];
        self.families.terminations.with(&labels).inc();
    }

    /// A request was answered. One whose answer goes on, as a watch does, is
    /// counted when that ends. `served` says whether there is such a resource:
    /// clients do not make labels up.
    pub fn answered(
        &self,
        info: &RequestInfo,
        head: &Parts,
        response: Response<Body>,
        since: Instant,
        served: impl FnOnce() -> bool,
    ) -> Response<Body> {
        let labels = labels(info, head);
        let code = response.status().as_u16();
        // Upstream's router refuses these before anything counts them.
        if code == 405 {
            return response;
        }
        let Some(series) = self.series(&labels, served) else { return response };
        if !matches!(response.body(), Body::Stream(_)) {
            series.observe(code, since, response.body().len());
            // The body of an answer to HEAD is dropped, not sent.
            return if head.method == Method::HEAD { response } else { followed(response, series) };
        }
        let [verb, _, group, version, resource, subresource, scope, component] = labels;
        let long = [verb, group, version, resource, subresource, scope, component];
        let running = self.families.long_running.with(&long);
        running.add(1.0);
        response.map(|body| match body {
            Body::Stream(inner) => Body::stream(Running { inner, series, running, code, since, sent: 0 }),
            body => body,
        })
    }

    fn series(&self, labels: &Labels<'_>, served: impl FnOnce() -> bool) -> Option<Arc<Series>> {
        let hash = self.hasher.hash_one(labels);
        let same = |it: &&Arc<Series>| it.labels.iter().map(|it| &**it).eq(labels.iter().copied());
        if let Some(known) = self.series.load().get(&hash).and_then(|all| all.iter().find(same)) {
            return Some(known.clone());
        }
        if !served() {
            return None;
        }
        let made = Arc::new(Series::new(&self.families, labels));
        self.series.rcu(|all| {
            let mut all = HashMap::clone(all);
            let same_hash = all.entry(hash).or_default();
            if !same_hash.iter().any(|it| it.labels == made.labels) {
                same_hash.push(made.clone());
            }
            all
        });
        Some(made)
    }
}

impl Series {
    fn new(families: &Arc<Families>, labels: &Labels<'_>) -> Self {
        let [verb, dry_run, group, version, resource, subresource, scope, component] = *labels;
        let lasting = [verb, group, version, resource, subresource, scope, component];
        let reads = matches!(verb, "GET" | "LIST" | "WATCH");
        Self {
            labels: labels.map(Into::into),
            duration: families.durations.with(labels),
            sli_duration: dry_run.is_empty().then(|| families.sli_durations.with(&lasting)),
            size: reads.then(|| families.response_sizes.with(&lasting)),
            codes: Default::default(),
            families: families.clone(),
        }
    }

    // Whoever asked went away before the end of the answer.
    fn aborted(&self) {
        let [verb, _, group, version, resource, subresource, scope, _] =
            self.labels.each_ref().map(|it| &**it);
        self.families.aborts.with(&[verb, group, version, resource, subresource, scope]).inc();
    }

    fn observe(&self, code: u16, since: Instant, size: usize) {
        let count = |code: u16| {
            let [verb, dry_run, group, version, resource, subresource, scope, component] =
                self.labels.each_ref().map(|it| &**it);
            let code = code.to_string();
            let labels = [verb, dry_run, group, version, resource, subresource, scope, component, &code];
            self.families.counts.with(&labels)
        };
        match CODES.iter().position(|it| *it == code) {
            Some(at) => self.codes[at].get_or_init(|| count(code)).inc(),
            None => count(code).inc(),
        }
        let seconds = since.elapsed().as_secs_f64();
        self.duration.observe(seconds);
        if let Some(sli_duration) = &self.sli_duration {
            sli_duration.observe(seconds);
        }
        if let Some(sizes) = &self.size {
            sizes.observe(size as f64);
        }
    }
}

fn labels<'a>(info: &'a RequestInfo, head: &'a Parts) -> Labels<'a> {
    if !info.is_resource {
        // Of other paths only those are counted that do not vary.
        let path = info.path.trim_end_matches('/');
        return [method(&head.method), "", "", "", "", path, "", ""];
    }
    let whole = matches!(info.verb, "list" | "watch" | "deletecollection");
    let scope = match (whole, info.namespace.is_empty()) {
        (false, _) => "resource",
        (true, false) => "namespace",
        (true, true) => "cluster",
    };
    let verb = match info.verb {
        "watch" => "WATCH",
        "list" => "LIST",
        _ if matches!(&*info.subresource, "log" | "exec" | "portforward" | "attach" | "proxy") => "CONNECT",
        "patch" if applies(head) => "APPLY",
        _ => method(&head.method),
    };
    let dry_run = match info.query.get("dryRun") {
        None => "",
        Some(_) if info.query.all("dryRun").all(|it| it == "All") => "All",
        Some(_) => "invalid",
    };
    [verb, dry_run, &info.group, &info.version, &info.resource, &info.subresource, scope, COMPONENT]
}

fn applies(head: &Parts) -> bool {
    head.headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes() == APPLY.as_bytes())
}

fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET | Method::HEAD => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

// Answers that are made while they are sent may not get to their end.
fn followed(response: Response<Body>, series: Arc<Series>) -> Response<Body> {
    response.map(|body| match body {
        Body::Pieces { pieces, left } => {
            Body::Pieces { pieces: Box::new(Sending { pieces, left, series }), left }
        }
        body => body,
    })
}

// An answer of which `left` bytes are still to come.
struct Sending {
    pieces: Box<dyn Iterator<Item = Bytes> + Send>,
    left: usize,
    series: Arc<Series>,
}

impl Iterator for Sending {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let piece = self.pieces.next();
        self.left = self.left.saturating_sub(piece.as_ref().map_or(self.left, Bytes::len));
        piece
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if self.left > 0 {
            self.series.aborted();
        }
    }
}

#[derive(Default)]
struct InFlight {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl InFlight {
    // The most at a time since this was last asked.
    fn most_lately(&self) -> usize {
        self.most.swap(self.now.load(Relaxed), Relaxed)
    }
}

/// A request that is worked on.
pub struct Entered<'a>(&'a InFlight);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Relaxed);
    }
}

// An answer that goes on.
struct Running {
    inner: Pin<Box<dyn Stream<Item = Bytes> + Send>>,
    series: Arc<Series>,
    running: Arc<Gauge>,
    code: u16,
    since: Instant,
    sent: usize,
}

impl Stream for Running {
    type Item = Bytes;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let it = self.get_mut();
        let polled = it.inner.as_mut().poll_next(cx);
        if let Poll::Ready(Some(chunk)) = &polled {
            it.sent += chunk.len();
        }
        polled
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.running.add(-1.0);
        self.series.observe(self.code, self.since, self.sent);
    }
}
