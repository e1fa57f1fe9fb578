//! The layer in which requests meet their fate.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use apiserver_lite::{InProcess, body::Body};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use tower::Service;

/// What goes wrong, by a seed.
pub struct Faults {
    random: std::sync::Mutex<StdRng>,
    on: AtomicBool,
    met: AtomicUsize,
}

enum Fate {
    Pass,
    /// It is not even looked at.
    Refused(u16, &'static str),
    /// It is done, and nobody learns of it.
    Lost,
    Late(Duration),
    /// Only so many frames of it come.
    Cut(usize),
}

impl Faults {
    pub fn new(seed: u64) -> Arc<Self> {
        let random = std::sync::Mutex::new(StdRng::seed_from_u64(seed));
        Arc::new(Self { random, on: AtomicBool::new(true), met: AtomicUsize::new(0) })
    }

    /// From now on nothing goes wrong.
    pub fn stop(&self) {
        self.on.store(false, Ordering::Relaxed);
    }

    /// How often something went wrong.
    pub fn met(&self) -> usize {
        self.met.load(Ordering::Relaxed)
    }

    /// A number below `limit`.
    pub fn below(&self, limit: u64) -> u64 {
        self.random.lock().map_or(0, |mut random| random.random_range(0..limit))
    }

    fn fate(&self, request: &Request<impl Sized>) -> Fate {
        if !self.on.load(Ordering::Relaxed) {
            return Fate::Pass;
        }
        let writes = request.method() != Method::GET;
        let watches = request.uri().query().is_some_and(|query| query.contains("watch="));
        let fate = match self.below(100) {
            0..2 if writes => Fate::Refused(409, "Conflict"),
            2..4 => Fate::Refused(500, "InternalError"),
            4..6 => Fate::Refused(503, "ServiceUnavailable"),
            6 => Fate::Refused(429, "TooManyRequests"),
            7..10 if writes => Fate::Lost,
            10..15 => Fate::Late(Duration::from_millis(self.below(50))),
            15..60 if watches => Fate::Cut(self.below(20) as usize),
            _ => return Fate::Pass,
        };
        self.met.fetch_add(1, Ordering::Relaxed);
        fate
    }
}

/// The API server behind it.
#[derive(Clone)]
pub struct Faulty {
    pub inner: InProcess,
    pub faults: Arc<Faults>,
}

impl<B> Service<Request<B>> for Faulty
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::fmt::Display,
{
    type Response = Response<Passed>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Passed>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let fate = self.faults.fate(&request);
        let mut inner = self.inner.clone();
        Box::pin(async move {
            let mut left = None;
            match fate {
                Fate::Refused(code, reason) => return Ok(status(code, reason)),
                Fate::Lost => {
                    let _unseen = inner.call(request).await;
                    return Ok(status(504, "Timeout"));
                }
                Fate::Late(wait) => tokio::time::sleep(wait).await,
                Fate::Cut(frames) => left = Some(frames),
                Fate::Pass => {}
            }
            let response = inner.call(request).await?;
            Ok(response.map(|body| Passed { body, left }))
        })
    }
}

fn status(code: u16, reason: &str) -> Response<Passed> {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": format!("a fault: {reason}"), "reason": reason, "code": code,
    });
    let mut response = Response::new(Passed { body: Body::from(status.to_string()), left: None });
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or_default();
    response
}

/// A body, or the beginning of it.
pub struct Passed {
    body: Body,
    left: Option<usize>,
}

impl http_body::Body for Passed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.left {
            Some(0) => return Poll::Ready(None),
            Some(left) => *left -= 1,
            None => {}
        }
        let polled = Pin::new(&mut self.body).poll_frame(context);
        // What has not come yet is not counted.
        if let (Poll::Pending, Some(left)) = (&polled, &mut self.left) {
            *left += 1;
        }
        polled
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
