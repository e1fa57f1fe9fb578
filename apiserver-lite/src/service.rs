//! The server as a tower service: what `kube::Client` speaks to when both are
//! in one process, with no socket and no TLS.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};

use crate::{
    ApiServer,
    authn::{Peer, User},
    body::Body,
    pipeline,
};

/// A connection to the server from within its process, as one user.
#[derive(Clone)]
pub struct InProcess {
    server: Arc<ApiServer>,
    user: Arc<User>,
}

impl InProcess {
    /// Speaks to `server` as `user`.
    pub fn new(server: Arc<ApiServer>, user: User) -> Self {
        Self { server, user: Arc::new(user) }
    }
}

impl<B> tower::Service<Request<B>> for InProcess
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::fmt::Display,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (server, peer) = (self.server.clone(), Peer::Known(self.user.clone()));
        Box::pin(async move { Ok(pipeline::handle(server, peer, request).await) })
    }
}
