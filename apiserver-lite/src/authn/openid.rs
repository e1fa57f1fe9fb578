//! How others learn to know this cluster's tokens (OpenID Connect Discovery).

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::json;

use super::issuer;
use crate::{ApiServer, body::Body, request::RequestInfo};

/// The two documents, or `None` for another path.
pub fn answer(server: &ApiServer, info: &RequestInfo) -> Option<Response<Body>> {
    if info.verb != "get" {
        return None;
    }
    let config = &server.registry.config;
    let issuer = config.issuer.as_ref()?;
    let (kind, text) = match info.path.as_str() {
        "/.well-known/openid-configuration" => {
            let (name, keys) = (issuer::NAME, format!("https://{}/openid/v1/jwks", config.advertise));
            // In upstream's order of fields.
            let text = format!(
                r#"{{"issuer":{},"jwks_uri":{},"response_types_supported":["id_token"],"subject_types_supported":["public"],"id_token_signing_alg_values_supported":["ES256"]}}"#,
                json!(name),
                json!(keys)
            );
            ("application/json", text)
        }
        "/openid/v1/jwks" => ("application/jwk-set+json", issuer.keys()),
        _ => return None,
    };
    let mut response = Response::new(Body::from(Bytes::from(text)));
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    Some(response)
}
