//! The whole way of a request, top-down.

use std::{panic::AssertUnwindSafe, sync::Arc};

use bytes::Bytes;
use futures::FutureExt;
use http::{HeaderValue, Method, Request, Response, header, request::Parts};
use parking_lot::Mutex;

use crate::{
    ApiServer,
    authn::{self, Peer, impersonation},
    authz,
    body::Body,
    codec,
    error::ApiError,
    handlers::{self, Call},
    health,
    request::RequestInfo,
};

/// Answers a request: parse, authenticate, authorize, dispatch. Never panics:
/// a handler that does answers 500.
pub async fn handle<B>(server: Arc<ApiServer>, peer: Peer, request: Request<B>) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::fmt::Display,
{
    let (head, body) = request.into_parts();
    let answer = AssertUnwindSafe(answer(&server, &peer, &head, body)).catch_unwind().await;
    let mut response = answer.unwrap_or_else(|_| {
        tracing::error!("a handler panicked");
        let text = "This request caused apiserver to panic. Look in the logs for details.";
        handlers::answer::status(&ApiError::plain(500, text).status())
    });
    let headers = response.headers_mut();
    headers.insert("audit-id", audit_id());
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache, private"));
    let mut response = codec::gzip::compress(&head.headers, response);
    if head.method == Method::HEAD {
        *response.body_mut() = Body::empty();
    }
    response
}

async fn answer<B>(server: &Arc<ApiServer>, peer: &Peer, head: &Parts, body: B) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::fmt::Display,
{
    let info = RequestInfo::parse(&head.method, head.uri.path(), head.uri.query());
    let authorization = head.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(user) = authn::identify(&server.registry, peer, authorization).await else {
        return handlers::answer::error(&ApiError::Unauthorized, &head.headers, &info.query);
    };
    let acting = impersonation::wanted(&head.headers, &user, &info);
    let acting = acting.map(|wanted| wanted.map_or(user, Arc::new));
    let user = match acting.and_then(|user| authz::allow(&user, &info).map(|()| user)) {
        Ok(user) => user,
        Err(error) => {
            let mut response = handlers::answer::error(&error, &head.headers, &info.query);
            let nosniff = HeaderValue::from_static("nosniff");
            response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
            return response;
        }
    };
    if !info.is_resource {
        if let Some(response) = health::answer(server, &info) {
            return response;
        }
        if let Some(response) = authn::openid::answer(server, &info) {
            return response;
        }
        return handlers::documents::answer(server, &info, head);
    }
    let call = Call { server, info: &info, user: &user, head, warnings: Mutex::default() };
    call.warnings.lock().extend(handlers::deprecation(&call));
    let mut response = match handlers::dispatch(&call, body).await {
        Ok(response) => response,
        Err(error) => handlers::answer::error(&error, &head.headers, &info.query),
    };
    handlers::answer::warn(&mut response, &call.warnings.into_inner());
    response
}

fn audit_id() -> HeaderValue {
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    let id = uuid::Uuid::new_v4().as_hyphenated().encode_lower(&mut text).len();
    HeaderValue::from_bytes(&text[..id]).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests;
