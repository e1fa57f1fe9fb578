//! Discovery, OpenAPI, and paths that nothing serves.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Response, StatusCode, header, request::Parts};

use super::answer;
use crate::{
    ApiServer,
    body::Body,
    codec::{json, negotiation},
    error::ApiError,
    request::RequestInfo,
};

/// Answers a request that is about no resource. Documents are only there to GET.
pub fn answer(server: &Arc<ApiServer>, info: &RequestInfo, head: &Parts) -> Response<Body> {
    let registry = &server.registry;
    let rows = registry.rows();
    let path = head.uri.path_and_query().map_or("/", |it| it.as_str());
    let accept = head.headers.get_all(header::ACCEPT).iter().filter_map(|it| it.to_str().ok());
    let accept = accept.collect::<Vec<_>>().join(",");
    let if_none_match = head.headers.get(header::IF_NONE_MATCH).and_then(|it| it.to_str().ok());
    let discovery = rows.discovery(registry.config.advertise, registry.config.clock.now());
    let Some(found) = discovery.answer(path, &accept, if_none_match) else {
        return not_found(server, info, &head.headers);
    };
    if info.verb != "get" {
        return answer::error(&ApiError::MethodNotAllowed, &head.headers, &info.query);
    }
    let response = match found {
        Ok(response) => response,
        Err(error) => return answer::error(&error, &head.headers, &info.query),
    };
    let kind = response.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let indent = kind.starts_with(b"application/json")
        && info.path.starts_with("/api")
        && negotiation::pretty(&head.headers, &info.query);
    response.map(|body| Body::from(if indent { json::indent(&body) } else { body }))
}

/// What upstream says of a path that leads nowhere: a Status below a group that
/// is served, plain text elsewhere.
pub fn not_found(server: &Arc<ApiServer>, info: &RequestInfo, headers: &HeaderMap) -> Response<Body> {
    let group = match info.path.strip_prefix("/apis/") {
        Some(rest) => rest.split('/').next().filter(|group| !group.is_empty()),
        None => info.path.strip_prefix("/api/").map(|_| ""),
    };
    if group.is_some_and(|group| server.registry.rows().serves(group)) {
        return answer::error(&ApiError::NoSuchPath, headers, &info.query);
    }
    let mut response = Response::new(Body::from("404 page not found\n".to_owned()));
    *response.status_mut() = StatusCode::NOT_FOUND;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
