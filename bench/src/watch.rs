//! A watch, read as cheaply as can be: who watches shares the machine with what is measured.
//!
//! Start at [`until`].

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::connection::{Connection, Protocol, request};
use crate::kubeconfig::Access;
use crate::load::LoadError;

/// One event of a watch, of which only what `T` names is decoded.
#[derive(Debug, Deserialize)]
pub struct Event<T> {
    /// `ADDED`, `MODIFIED`, `DELETED` or `ERROR`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The object.
    pub object: T,
}

/// What a watch tells.
#[derive(Debug)]
pub enum Seen<T> {
    /// It begins, perhaps again: everything that is there is told anew.
    Begin,
    /// An event.
    Event(Event<T>),
}

/// Between two tries of a watch that does not come about.
const AGAIN: Duration = Duration::from_millis(20);

/// Watches what `path` selects (with its query, but for `watch`) until `enough` says so.
///
/// # Errors
/// When `limit` passes first, or what comes is no watch.
pub async fn until<T: DeserializeOwned>(
    access: &Access,
    path: &str,
    limit: Duration,
    mut enough: impl FnMut(Seen<T>) -> bool,
) -> Result<(), LoadError> {
    let watching = async {
        loop {
            if enough(Seen::Begin) {
                return Ok(());
            }
            let mut lines = Lines::open(access, path).await?;
            while let Some(line) = lines.next().await {
                let event: Event<T> = serde_json::from_slice(&line).map_err(|source| LoadError::Watch {
                    path: path.to_owned(),
                    reason: source.to_string(),
                })?;
                if event.kind == "ERROR" {
                    break;
                }
                if enough(Seen::Event(event)) {
                    return Ok(());
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
    };
    match tokio::time::timeout(limit, watching).await {
        Ok(outcome) => outcome,
        Err(_) => Err(LoadError::Late { what: path.to_owned(), limit }),
    }
}

/// The lines of a body that goes on.
struct Lines {
    // Kept: the connection ends with it.
    _connection: Connection,
    body: Incoming,
    buffer: Vec<u8>,
    /// Where in the buffer the next line begins.
    begin: usize,
    /// Where no end of a line has been looked for yet.
    searched: usize,
}

impl Lines {
    async fn open(access: &Access, path: &str) -> Result<Self, LoadError> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{separator}watch=1");
        let mut connection = Connection::open(access, Protocol::Http2).await?;
        let request = request(access, Protocol::Http2, "GET", &path, &[], Bytes::new())?;
        let answer = connection.send(request).await?;
        if !answer.status().is_success() {
            let status = answer.status().as_u16();
            return Err(LoadError::Refused { request: format!("GET {path}"), status, body: String::new() });
        }
        let body = answer.into_body();
        Ok(Self { _connection: connection, body, buffer: Vec::new(), begin: 0, searched: 0 })
    }

    /// The next line; none when the body has ended.
    async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
            if let Some(at) = unsearched.iter().position(|byte| *byte == b'\n') {
                let end = self.searched + at;
                let line = self.buffer.get(self.begin..end).unwrap_or_default().to_vec();
                self.begin = end + 1;
                self.searched = self.begin;
                return Some(line);
            }
            self.buffer.drain(..self.begin);
            self.begin = 0;
            self.searched = self.buffer.len();
            let frame = self.body.frame().await?.ok()?;
            if let Ok(data) = frame.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
    }
}
