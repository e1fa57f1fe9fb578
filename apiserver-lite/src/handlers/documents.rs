//! Discovery, OpenAPI, and paths that nothing serves.

use std::sync::Arc;

use http::{HeaderValue, Response, StatusCode, header, request::Parts};

use super::answer;
use crate::{ApiServer, body::Body, error::ApiError, request::RequestInfo};

/// Answers a request that is about no resource.
pub fn answer(server: &Arc<ApiServer>, info: &RequestInfo, _head: &Parts) -> Response<Body> {
    not_found(server, info)
}

/// What upstream says of a path that leads nowhere: a Status below a version
/// that is served, plain text elsewhere.
pub fn not_found(server: &Arc<ApiServer>, info: &RequestInfo) -> Response<Body> {
    if info.is_resource && server.registry.rows().serves(&info.group, &info.version) {
        return answer::status(&ApiError::NoSuchPath.status());
    }
    let mut response = Response::new(Body::from("404 page not found\n".to_owned()));
    *response.status_mut() = StatusCode::NOT_FOUND;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
