//! What the server serves, told to clients: groups, versions and resources in
//! the legacy and the aggregated form, and OpenAPI v2 and v3.
//!
//! Start at [`Discovery::answer`]. A [`Discovery`] is made anew whenever the
//! rows change; that is cheap, since each document is made when it is first
//! asked for and then kept as bytes.

mod accept;
mod aggregated;
mod groups;
mod legacy;
mod openapi;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use coracle_api::GroupVersionKind;
use http::{
    HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, LAST_MODIFIED, LOCATION, VARY},
};
use jiff::Timestamp;
use parking_lot::Mutex;
use ring::digest;
use serde::Serialize;

use crate::{
    codec::{
        negotiation::{self, Forms, PROTOBUF},
        protobuf,
    },
    error::ApiError,
};
use accept::Clause;
pub use groups::by_stability as version_order;
use groups::{Group, Served, Version};

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const AGGREGATED_PROTOBUF: &str =
    "application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
// kubectl writes an `@`, which upstream takes for the dot that is right.
const V2_PROTOBUF_ASKED: [&str; 2] =
    [V2_PROTOBUF, "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"];

/// What there is besides groups and versions.
const PATHS: [&str; 8] =
    ["/apis", "/apis/", "/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version"];

/// A response, or why there is none.
pub type Answer = Result<Response<Bytes>, ApiError>;

/// The discovery and OpenAPI documents of one set of rows.
pub struct Discovery {
    groups: Vec<Group>,
    address: String,
    // When the documents became what they are, as HTTP writes times.
    since: String,
    // Bounded by the number of documents: only those that exist come in.
    kept: Mutex<HashMap<String, Document>>,
}

/// A document as it is sent. Cloning it is cheap.
#[derive(Debug, Clone)]
struct Document {
    body: Bytes,
    content_type: &'static str,
    /// Upper-case hexadecimal, without quotes; empty where there is none.
    hash: String,
}

impl Discovery {
    /// The documents of these resources as of `now`. `address` is the
    /// `host:port` that `/api` tells clients.
    pub fn new(
        resources: impl Iterator<Item = impl Into<Served>>,
        address: impl Into<String>,
        now: Timestamp,
    ) -> Self {
        let groups = groups::sorted(resources);
        let since = now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        Self { groups, address: address.into(), since, kept: Mutex::default() }
    }

    /// Answers a GET of `path`, which may carry its query (`/openapi/v3` looks
    /// at `hash`). `accept` is empty where there is no such header. `None`:
    /// there is no document of that path, and no group or version.
    ///
    /// Sets the headers that differ by document: content type, ETag, Vary, and
    /// Cache-Control where it is not what all answers have.
    /// # Errors
    /// `NotAcceptable` when no clause of `accept` names a form there is.
    pub fn answer(&self, path: &str, accept: &str, if_none_match: Option<&str>) -> Option<Answer> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        match path {
            "/openapi/v2" => return Some(self.openapi_v2(accept, if_none_match).map(|it| self.dated(it))),
            "/openapi/v3" => return Some(Ok(self.dated(self.openapi_v3_index()))),
            "/" => return Some(Ok(self.paths())),
            _ => {}
        }
        if let Some(name) = path.strip_prefix("/openapi/v3/") {
            let answer = self.openapi_v3(name, query, accept, if_none_match);
            let answer = answer.unwrap_or_else(|| Ok(empty(StatusCode::NOT_FOUND)));
            return Some(answer.map(|it| self.dated(it)));
        }
        let path = path.strip_suffix('/').unwrap_or(path);
        let mut parts = path.strip_prefix('/')?.splitn(4, '/');
        match (parts.next()?, parts.next(), parts.next(), parts.next()) {
            ("api" | "apis", None, ..) => Some(self.root(path, accept, if_none_match)),
            ("api", Some(version), None, _) => self.version("", version, accept),
            ("apis", Some(group), None, _) if !group.is_empty() => {
                let group = self.group(group)?;
                Some(self.legacy(path, accept, || encode(&legacy::ApiGroup::new(group))))
            }
            ("apis", Some(group), Some(version), None) if !group.is_empty() => {
                self.version(group, version, accept)
            }
            _ => None,
        }
    }

    // OpenAPI documents say since when they are so.
    fn dated(&self, mut response: Response<Bytes>) -> Response<Bytes> {
        if matches!(response.status(), StatusCode::OK | StatusCode::NOT_MODIFIED) {
            set(&mut response, LAST_MODIFIED, &self.since);
        }
        response
    }

    // `/`: where to go from there.
    fn paths(&self) -> Response<Bytes> {
        let mut paths: Vec<_> = PATHS.iter().map(|it| (*it).to_owned()).collect();
        for group in &self.groups {
            let root =
                if group.name.is_empty() { "/api".to_owned() } else { format!("/apis/{}", group.name) };
            paths.extend(group.versions.iter().map(|version| format!("{root}/{}", version.name)));
            paths.push(root);
        }
        paths.sort_unstable();
        let body = serde_json::to_vec_pretty(&serde_json::json!({ "paths": paths })).unwrap_or_default();
        respond(&Document { body: body.into(), content_type: JSON, hash: String::new() }, None, "")
    }

    fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }

    fn find(&self, group: &str, version: &str) -> Option<(&Group, &Version)> {
        let group = self.group(group)?;
        Some((group, group.versions.iter().find(|it| it.name == version)?))
    }

    // `/api` and `/apis`: aggregated where the client asks for that.
    fn root(&self, path: &str, accept: &str, if_none_match: Option<&str>) -> Answer {
        let clauses = accept::clauses(accept);
        let wanted = clauses.iter().find(|it| takes_aggregated(it) || takes_legacy(it));
        if wanted.is_some_and(takes_aggregated) {
            let mut document =
                self.document(&format!("aggregated {path}"), || self.aggregated(path == "/api"));
            if wanted.is_some_and(|clause| !clause.takes(JSON)) {
                // One hash for both forms, as upstream has it.
                document = self.document(&format!("aggregated protobuf {path}"), || Document {
                    body: protobuf(&document.body),
                    content_type: AGGREGATED_PROTOBUF,
                    hash: document.hash.clone(),
                });
            }
            let mut response = respond(&document, if_none_match, "Accept");
            set(&mut response, CACHE_CONTROL, "public");
            return Ok(response);
        }
        self.legacy(path, accept, || match (path, self.group("")) {
            ("/api", Some(core)) => encode(&legacy::ApiVersions::new(core, &self.address)),
            _ => encode(&legacy::ApiGroupList::new(&self.groups)),
        })
    }

    fn aggregated(&self, core: bool) -> Document {
        let groups = || self.groups.iter().filter(move |group| group.name.is_empty() == core);
        // As upstream: the hash is that of the list before it gets a kind.
        let hash = hash(&serde_json::to_vec(&aggregated::Groups::new(groups())).unwrap_or_default());
        let body = encode(&aggregated::Groups::new(groups()).typed());
        Document { body, content_type: AGGREGATED, hash }
    }

    fn version(&self, group: &str, version: &str, accept: &str) -> Option<Answer> {
        let (group, version) = self.find(group, version)?;
        let path = format!("/{}/{}", group.name, version.name);
        Some(self.legacy(&path, accept, || encode(&legacy::ApiResourceList::new(group, version))))
    }

    fn legacy(&self, path: &str, accept: &str, make: impl FnOnce() -> Bytes) -> Answer {
        let clauses = accept::clauses(accept);
        let plain = clauses.iter().find(|it| takes_legacy(it));
        let content_type = match plain {
            None if !accept.is_empty() => {
                negotiation::route(accept, Forms::Object)?;
                let forms = negotiation::MEDIA_TYPES;
                return Err(ApiError::NotAcceptable(forms.iter().map(|&it| it.to_owned()).collect()));
            }
            Some(clause) if clause.takes(JSON) => JSON,
            Some(clause) if clause.takes(YAML) => YAML,
            Some(_) => PROTOBUF,
            None => JSON,
        };
        let document = self.document(&format!("{content_type} {path}"), || {
            let json = make();
            let body = match content_type {
                YAML => yaml(&json),
                PROTOBUF => protobuf(&json),
                _ => json,
            };
            Document { body, content_type, hash: String::new() }
        });
        Ok(respond(&document, None, ""))
    }

    fn openapi_v2(&self, accept: &str, if_none_match: Option<&str>) -> Answer {
        let clauses = accept::clauses(accept);
        let protobuf = |clause: &Clause<'_>| V2_PROTOBUF_ASKED.iter().any(|it| clause.takes(it));
        let wanted = clauses.iter().find(|it| it.takes(JSON) || protobuf(it));
        let as_protobuf = match wanted {
            Some(clause) => !clause.takes(JSON),
            None if accept.is_empty() => false,
            None => return Ok(empty(StatusCode::NOT_ACCEPTABLE)),
        };
        let json = self.document("openapi v2", || {
            let body = encode_plain(&openapi::v2(&self.groups));
            Document { hash: hash(&body), body, content_type: JSON }
        });
        let document = if as_protobuf {
            // One hash for both forms, as upstream has it.
            self.document("openapi v2 protobuf", || Document {
                body: openapi::protobuf(&json.body),
                content_type: V2_PROTOBUF,
                hash: json.hash.clone(),
            })
        } else {
            json
        };
        let mut response = respond(&document, if_none_match, "Accept-Encoding");
        response.headers_mut().append(VARY, HeaderValue::from_static("Accept"));
        Ok(response)
    }

    fn openapi_v3_index(&self) -> Response<Bytes> {
        let document = self.document("openapi v3", || {
            let versions =
                self.groups.iter().flat_map(|it| it.versions.iter().map(move |version| (it, version)));
            let names = versions.map(|(group, version)| (openapi::name(group, version), group, version));
            let urls = names.map(|(name, group, version)| {
                let hash = hexadecimal(&openapi::fingerprint(group, version));
                let url = format!("/openapi/v3/{name}?hash={hash}");
                (name, url)
            });
            let body = encode_plain(&openapi::index(urls));
            Document { body, content_type: "text/plain; charset=utf-8", hash: String::new() }
        });
        respond(&document, None, "")
    }

    fn openapi_v3(
        &self,
        name: &str,
        query: &str,
        accept: &str,
        if_none_match: Option<&str>,
    ) -> Option<Answer> {
        let document = self.openapi_v3_document(name)?;
        if !accept.is_empty() && !accept::clauses(accept).iter().any(|it| it.takes(JSON)) {
            return Some(Ok(empty(StatusCode::NOT_ACCEPTABLE)));
        }
        let asked = query.split('&').find_map(|it| it.strip_prefix("hash="));
        let mut response = respond(&document, if_none_match, "Accept");
        match asked {
            Some(hash) if hash == document.hash => set(&mut response, CACHE_CONTROL, "public, immutable"),
            Some(_) => {
                let location = format!("/openapi/v3/{name}?hash={}", document.hash);
                *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
                *response.body_mut() = Bytes::new();
                set(&mut response, LOCATION, &location);
            }
            None => {}
        }
        Some(Ok(response))
    }

    fn openapi_v3_document(&self, name: &str) -> Option<Document> {
        let (group, version) = match name.split('/').collect::<Vec<_>>()[..] {
            ["api", version] => self.find("", version)?,
            ["apis", group, version] if !group.is_empty() => self.find(group, version)?,
            _ => return None,
        };
        Some(self.document(&format!("openapi v3 {name}"), || Document {
            body: encode_plain(&openapi::v3(group, version)),
            content_type: JSON,
            hash: hexadecimal(&openapi::fingerprint(group, version)),
        }))
    }

    // The document kept under `key`, made when it is not there yet. Two first
    // requests may both make it: no lock is held meanwhile.
    fn document(&self, key: &str, make: impl FnOnce() -> Document) -> Document {
        if let Some(document) = self.kept.lock().get(key) {
            return document.clone();
        }
        let document = make();
        self.kept.lock().insert(key.to_owned(), document.clone());
        document
    }
}

fn takes_aggregated(clause: &Clause<'_>) -> bool {
    let wanted = [("g", "apidiscovery.k8s.io"), ("v", "v2"), ("as", "APIGroupDiscoveryList")];
    [JSON, PROTOBUF].iter().any(|it| clause.takes(it))
        && wanted.iter().all(|(name, value)| clause.param(name) == Some(value))
}

fn takes_legacy(clause: &Clause<'_>) -> bool {
    [JSON, YAML, PROTOBUF].iter().any(|it| clause.takes(it)) && !clause.converts()
}

/// The `storageVersionHash` that legacy discovery shows for a kind that is
/// stored in this version.
pub fn storage_version_hash(stored: &GroupVersionKind) -> String {
    let text = format!("{}/{}/{}", stored.group, stored.version, stored.kind);
    let sum = digest::digest(&digest::SHA256, text.as_bytes());
    BASE64_STANDARD.encode(sum.as_ref().split_at(8).0)
}

fn hash(bytes: &[u8]) -> String {
    hexadecimal(digest::digest(&digest::SHA512, bytes).as_ref())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn encode_plain(document: &impl Serialize) -> Bytes {
    serde_json::to_vec(document).unwrap_or_default().into()
}

// API objects end in a new line.
fn encode(document: &impl Serialize) -> Bytes {
    let mut body = serde_json::to_vec(document).unwrap_or_default();
    body.push(b'\n');
    body.into()
}

fn yaml(json: &[u8]) -> Bytes {
    let value: serde_json::Value = serde_json::from_slice(json).unwrap_or_default();
    serde_yaml_ng::to_string(&value).unwrap_or_default().into()
}

fn protobuf(json: &[u8]) -> Bytes {
    let value: serde_json::Value = serde_json::from_slice(json).unwrap_or_default();
    protobuf::write::value(&value).unwrap_or_default().into()
}

fn respond(document: &Document, if_none_match: Option<&str>, vary: &str) -> Response<Bytes> {
    let etag = format!("{:?}", document.hash);
    let known = !document.hash.is_empty() && if_none_match == Some(etag.as_str());
    let mut response = Response::new(if known { Bytes::new() } else { document.body.clone() });
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        set(&mut response, CONTENT_TYPE, document.content_type);
    }
    if !document.hash.is_empty() {
        set(&mut response, ETAG, &etag);
    }
    if !vary.is_empty() {
        set(&mut response, VARY, vary);
    }
    response
}

fn set(response: &mut Response<Bytes>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

fn empty(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}
