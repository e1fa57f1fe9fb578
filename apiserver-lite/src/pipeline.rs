//! The whole way of a request, top-down.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Instant};

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
    health, metrics,
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
    let measures = &server.registry.metrics.requests;
    let _entered = measures.enter(&head.method);
    let since = Instant::now();
    let info = RequestInfo::parse(&head.method, head.uri.path(), head.uri.query());
    let authorization = head.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let identified = authn::identify(&server.registry, peer, authorization).await;
    measures.identified(identified.as_deref(), since);
    let Some(user) = identified else {
        return handlers::answer::error(&ApiError::Unauthorized, &head.headers, &info.query);
    };
    measures.by(&user);
    let deciding = Instant::now();
    let acting = impersonation::wanted(&head.headers, &user, &info);
    let acting = acting.map(|wanted| wanted.map_or(user, Arc::new));
    let allowed = acting.and_then(|user| authz::allow(&user, &info).map(|()| user));
    measures.decided(allowed.is_ok(), deciding);
    let user = match allowed {
        Ok(user) => user,
        Err(error) => {
            let mut response = handlers::answer::error(&error, &head.headers, &info.query);
            let nosniff = HeaderValue::from_static("nosniff");
            response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
            return response;
        }
    };
    if !info.is_resource {
        if let Some(response) = health::answer(server, &info).await {
            return measures.answered(&info, head, response, since, || health::is_root(&info));
        }
        if let Some(response) = metrics::scrape::answer(server, &info, &head.headers).await {
            return response;
        }
        if let Some(response) = authn::openid::answer(server, &info) {
            return response;
        }
        return handlers::documents::answer(server, &info, head);
    }
    let call = Call { server, info: &info, user: &user, head, warnings: Mutex::default() };
    if let Some(deprecated) = handlers::deprecation(&call) {
        measures.deprecated(&info);
        call.warnings.lock().push(deprecated);
    }
    let mut response = match handlers::dispatch(&call, body).await {
        Ok(response) => response,
        Err(error) => {
            if matches!(error, ApiError::Timeout { .. }) {
                measures.terminated(&info, head, 504);
            }
            if error.is_unrouted() {
                call.warnings.lock().clear();
            }
            handlers::answer::error(&error, &head.headers, &info.query)
        }
    };
    handlers::answer::warn(&mut response, &call.warnings.into_inner());
    measures.answered(&info, head, response, since, || handlers::serves(server, &info))
}

fn audit_id() -> HeaderValue {
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    let id = uuid::Uuid::new_v4().as_hyphenated().encode_lower(&mut text).len();
    HeaderValue::from_bytes(&text[..id]).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests;
