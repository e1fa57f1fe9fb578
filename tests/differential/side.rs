//! One of the two servers: asks it, and notes what it answers.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::Read as _;
use std::time::Duration;

use bytes::Bytes;
use coracle_bench::connection::{ConnectionError, request};
use coracle_bench::{Access, Connection, Credentials, Protocol};
use http::Response;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::time::{Instant, timeout, timeout_at};

use crate::exchange::{self, Exchange, Identity, Watch};
use crate::protobuf;
use crate::template::{Variables, expand_text};

const PROTOBUF: &[u8] = b"application/vnd.kubernetes.protobuf";

/// Headers of which the value must be the same.
const COMPARED: &[&str] = &[
    "allow",
    "cache-control",
    "content-encoding",
    "content-type",
    "link",
    "location",
    "retry-after",
    "vary",
    "warning",
    "www-authenticate",
    "x-content-type-options",
];

/// Headers that only must be there.
const PRESENT: &[&str] = &[
    "audit-id",
    "etag",
    "last-modified",
    "x-kubernetes-pf-flowschema-uid",
    "x-kubernetes-pf-prioritylevel-uid",
];

const PATIENCE: Duration = Duration::from_secs(20);

/// A server, and what its answers taught.
pub struct Side {
    access: HashMap<Identity, Access>,
    connections: HashMap<(Identity, Protocol), Connection>,
    /// What exchanges captured.
    pub variables: Variables,
}

/// What a server answered.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers that matter.
    pub headers: BTreeMap<String, String>,
    /// The body, understood as far as its type allows.
    pub body: Body,
    /// How the text is laid out, which the tree does not tell.
    pub layout: String,
    /// Why there is no answer, or why something could not be captured from it.
    pub failure: Option<String>,
}

/// A body.
#[derive(Clone, Debug)]
pub enum Body {
    /// JSON or YAML.
    Tree(Value),
    /// Any other text.
    Text(String),
    /// The frames of a watch, and whether the server ended it.
    Frames {
        /// One value a frame.
        events: Vec<Value>,
        /// Not we, who had enough.
        ended: bool,
    },
    /// So many bytes that are no text.
    Bytes(usize),
}

impl Default for Body {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

impl fmt::Display for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tree(value) => write!(f, "{value}"),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Frames { events, ended } => {
                events.iter().try_for_each(|event| writeln!(f, "{event}"))?;
                write!(f, "({})", if *ended { "ended" } else { "open" })
            }
            Self::Bytes(count) => write!(f, "({count} bytes)"),
        }
    }
}

impl Side {
    /// A server that is reached with `access`, whose authority (PEM of certificate and key) can make users, if known.
    pub fn new(access: Access, authority: Option<(String, String)>) -> Result<Self, String> {
        let as_identity = |credentials: Credentials| access.with(credentials);
        let certificate = |pair: (Vec<u8>, Vec<u8>)| Credentials { certificate: Some(pair), token: None };
        let token = Some("eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJub2JvZHkifQ.bm90IGEgc2lnbmF0dXJl".to_owned());
        let mut identities = HashMap::from([
            (Identity::Anonymous, as_identity(Credentials::default())),
            (Identity::BadToken, as_identity(Credentials { certificate: None, token })),
            (Identity::Stranger, as_identity(certificate(crate::user::certificate("stranger", None)?))),
        ]);
        if let Some(authority) = authority {
            let user = crate::user::certificate("alice", Some(authority))?;
            identities.insert(Identity::User, as_identity(certificate(user)));
        }
        identities.insert(Identity::Admin, access);
        Ok(Self { access: identities, connections: HashMap::new(), variables: Variables::new() })
    }

    /// Whether it can be asked by `identity`.
    pub fn knows(&self, identity: Identity) -> bool {
        self.access.contains_key(&identity)
    }

    /// Asks, and returns the answer, with those of what was to be done during a watch.
    pub async fn ask(&mut self, exchange: &Exchange) -> (Answer, Vec<Answer>) {
        let mut during = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut answer = match timeout(PATIENCE, self.attempt(exchange, &mut during)).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(failure)) => Answer { failure: Some(failure), ..Answer::default() },
                Err(_) => Answer { failure: Some(format!("no answer in {PATIENCE:?}")), ..Answer::default() },
            };
            let settled = exchange.until.iter().all(|(pointer, expected)| match &answer.body {
                Body::Tree(tree) => tree.pointer(pointer) == Some(expected),
                Body::Text(text) => pointer.is_empty() && expected == text.as_str(),
                _ => false,
            });
            if settled || Instant::now() > deadline {
                if !settled {
                    answer.failure = Some(format!("never so: {:?}; last {}", exchange.until, answer.body));
                }
                return (answer, during);
            }
            // The other side of `until` is a server that needs a moment of its own.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn attempt(&mut self, exchange: &Exchange, during: &mut Vec<Answer>) -> Result<Answer, String> {
        let protocol = if exchange.http == 1 { Protocol::Http1 } else { Protocol::Http2 };
        let access = self.access.get(&exchange.identity).ok_or("nobody can be this user")?.clone();
        let (method, path) = exchange.request.split_once(' ').ok_or("request is not METHOD PATH")?;
        let path = encoded(&expand_text(path, &self.variables));
        let (body, content_type) = exchange::body(exchange, &self.variables)?;
        let mut headers = vec![("User-Agent".to_owned(), "differential/1".to_owned())];
        headers.retain(|_| !exchange.headers.contains_key("User-Agent"));
        headers.extend(content_type.map(|value| ("Content-Type".to_owned(), value)));
        for (name, value) in &exchange.headers {
            headers.push((name.clone(), expand_text(value, &self.variables)));
        }
        // A broken connection is opened once more: the server may have closed it since.
        let mut response = None;
        for _ in 0..2 {
            let request = request(&access, protocol, method, &path, &headers, Bytes::from(body.clone()))
                .map_err(|error| format!("cannot be asked: {error}"))?;
            match self.send(exchange, &access, protocol, request).await {
                Ok(found) => {
                    response = Some(found);
                    break;
                }
                Err(error) => {
                    self.connections.remove(&(exchange.identity, protocol));
                    response = None;
                    if !matches!(error, ConnectionError::Http(_)) {
                        return Err(error.to_string());
                    }
                }
            }
        }
        let response = response.ok_or("the connection broke, twice")?;
        let etag = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let from_headers: Vec<(String, Option<String>)> = exchange
            .capture
            .iter()
            .filter_map(|(name, from)| Some((name.clone(), etag(from.strip_prefix("header:")?))))
            .collect();
        let mut answer = match &exchange.watch {
            Some(watch) if response.status().is_success() => self.frames(watch, response, during).await?,
            _ => whole(response).await?,
        };
        for (name, value) in from_headers {
            self.capture(&mut answer, name, value.map(Value::String));
        }
        for (name, pointer) in exchange.capture.iter().filter(|(_, from)| from.starts_with('/')) {
            let value = match &answer.body {
                Body::Tree(tree) => tree.pointer(pointer).cloned(),
                _ => None,
            };
            self.capture(&mut answer, name.clone(), value);
        }
        Ok(answer)
    }

    fn capture(&mut self, answer: &mut Answer, name: String, value: Option<Value>) {
        match value {
            Some(value) => drop(self.variables.insert(name, value)),
            None => {
                self.variables.remove(&name);
                answer.failure = Some(format!(
                    "status {}, and nothing to capture as {name} in {}",
                    answer.status, answer.body
                ));
            }
        }
    }

    async fn send(
        &mut self,
        exchange: &Exchange,
        access: &Access,
        protocol: Protocol,
        request: http::Request<http_body_util::Full<Bytes>>,
    ) -> Result<Response<Incoming>, ConnectionError> {
        // A watch is left half read: nobody else may be on its connection.
        if exchange.watch.is_some() {
            return Connection::open(access, protocol).await?.send(request).await;
        }
        let key = (exchange.identity, protocol);
        if !self.connections.get(&key).is_some_and(Connection::is_open) {
            self.connections.insert(key, Connection::open(access, protocol).await?);
        }
        match self.connections.get_mut(&key) {
            Some(connection) => connection.send(request).await,
            None => Connection::open(access, protocol).await?.send(request).await,
        }
    }

    async fn frames(
        &mut self,
        watch: &Watch,
        response: Response<Incoming>,
        during: &mut Vec<Answer>,
    ) -> Result<Answer, String> {
        let (head, mut body) = response.into_parts();
        during.clear();
        for exchange in &watch.during {
            let (answer, _) = Box::pin(self.ask(exchange)).await;
            during.push(answer);
        }
        let deadline = Instant::now() + Duration::from_secs_f64(watch.seconds);
        let (mut read, mut ended) = (Vec::new(), false);
        let in_protobuf =
            head.headers.get("content-type").is_some_and(|it| it.as_bytes().starts_with(PROTOBUF));
        let lines = |read: &[u8]| read.iter().filter(|byte| **byte == b'\n').count();
        let count = |read: &[u8]| if in_protobuf { protobuf::frames(read).count() } else { lines(read) };
        while count(&read) < watch.events {
            match timeout_at(deadline, body.frame()).await {
                Ok(Some(Ok(frame))) => read.extend(frame.into_data().unwrap_or_default()),
                Ok(Some(Err(error))) => return Err(format!("the stream broke: {error}")),
                Ok(None) => {
                    ended = true;
                    break;
                }
                Err(_) => break,
            }
        }
        let text = |line: &[u8]| String::from_utf8_lossy(line).into();
        let lines = read.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let events = if in_protobuf {
            protobuf::frames(&read).map(protobuf::event).take(watch.events).collect::<Result<_, _>>()?
        } else {
            let line = |line| serde_json::from_slice(line).unwrap_or_else(|_| text(line));
            lines.map(line).take(watch.events).collect()
        };
        Ok(Answer {
            status: head.status.as_u16(),
            headers: compared(&head.headers),
            body: Body::Frames { events, ended },
            ..Answer::default()
        })
    }
}

/// With what no URL may hold percent-encoded, so that selectors can be written as people write them.
fn encoded(path: &str) -> String {
    let encode = |byte: u8| match byte {
        b' ' | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => format!("%{byte:02X}"),
        byte if byte.is_ascii_graphic() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    path.bytes().map(encode).collect()
}

async fn whole(response: Response<Incoming>) -> Result<Answer, String> {
    let (head, body) = response.into_parts();
    let mut bytes =
        body.collect().await.map_err(|error| format!("the body broke: {error}"))?.to_bytes().to_vec();
    let headers = compared(&head.headers);
    if headers.get("content-encoding").is_some_and(|encoding| encoding == "gzip") {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(bytes.as_slice())
            .read_to_end(&mut plain)
            .map_err(|error| format!("the gzip is broken: {error}"))?;
        bytes = plain;
    }
    let content_type = headers.get("content-type").map(String::as_str).unwrap_or_default();
    if content_type.starts_with("application/vnd.kubernetes.protobuf") {
        let (body, layout) = protobuf::answer(&bytes)?;
        return Ok(Answer { status: head.status.as_u16(), headers, body, layout, failure: None });
    }
    let (body, layout) = match String::from_utf8(bytes) {
        Err(error) => (Body::Bytes(error.as_bytes().len()), String::new()),
        Ok(text) => {
            let tree = if content_type.contains("json") {
                serde_json::from_str(&text).ok()
            } else if content_type.contains("yaml") {
                serde_yaml_ng::from_str(&text).ok()
            } else {
                None
            };
            match tree {
                Some(tree) => (Body::Tree(tree), layout(&text)),
                None => (Body::Text(text), String::new()),
            }
        }
    };
    Ok(Answer { status: head.status.as_u16(), headers, body, layout, failure: None })
}

fn layout(text: &str) -> String {
    let lines = if text.trim_end().contains('\n') { "several lines" } else { "one line" };
    let end = if text.ends_with('\n') { "a newline" } else { "no newline" };
    format!("{lines}, {end} at the end")
}

fn compared(headers: &http::HeaderMap) -> BTreeMap<String, String> {
    let values = |name: &&str| -> Option<(String, String)> {
        let values: Vec<_> =
            headers.get_all(*name).iter().map(|v| String::from_utf8_lossy(v.as_bytes())).collect();
        (!values.is_empty()).then(|| ((*name).to_owned(), values.join(", ")))
    };
    let present = PRESENT.iter().filter(|name| headers.contains_key(**name));
    COMPARED
        .iter()
        .filter_map(values)
        .chain(present.map(|name| ((*name).to_owned(), "(there)".to_owned())))
        .collect()
}
