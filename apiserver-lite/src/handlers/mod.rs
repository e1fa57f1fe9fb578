//! One file a verb: from a parsed request to an answer.
//!
//! [`dispatch`] finds the kind and the verb; what is not there is answered as
//! upstream's router does.

pub mod answer;
mod binding;
mod body;
mod connect;
mod create;
mod delete;
pub mod documents;
mod eviction;
mod get;
mod list;
mod patch;
mod reviews;
mod scale;
mod token;
mod update;
mod watch;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Response, header, request::Parts};
use parking_lot::Mutex;

use crate::{
    ApiServer,
    authn::User,
    body::Body,
    codec::negotiation::{self, Forms, Offer},
    error::{ApiError, Subject},
    registry::{
        Registry, Target,
        options::{WriteOptions, Writing},
        write::Author,
    },
    request::RequestInfo,
    resources::Row,
};

/// A request that was authenticated and allowed.
pub struct Call<'a> {
    /// The server that answers.
    pub server: &'a Arc<ApiServer>,
    /// What is asked.
    pub info: &'a RequestInfo,
    /// By whom.
    pub user: &'a User,
    /// The request's line and headers.
    pub head: &'a Parts,
    /// What the client is warned of, whatever the answer is.
    pub warnings: Mutex<Vec<String>>,
}

impl<'a> Call<'a> {
    fn registry(&self) -> &'a Registry {
        &self.server.registry
    }

    fn headers(&self) -> &'a HeaderMap {
        &self.head.headers
    }

    // Warns the client, also when the request fails later on.
    fn warn(&self, warnings: Vec<String>) {
        self.warnings.lock().extend(warnings);
    }

    // The options of a write, and the author that carries them.
    fn options(&self, writing: Writing) -> Result<WriteOptions, ApiError> {
        WriteOptions::parse(&self.info.query, writing)
    }

    // The field manager: the client's word, or its name.
    fn manager(&self, options: &WriteOptions) -> String {
        if !options.manager.is_empty() {
            return options.manager.clone();
        }
        let agent =
            self.headers().get(header::USER_AGENT).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let name = agent.as_deref().unwrap_or_default().split('/').next().unwrap_or_default();
        let mut manager = String::new();
        for c in name.chars().filter(|c| !c.is_control()) {
            if manager.len() + c.len_utf8() > 128 {
                break;
            }
            manager.push(c);
        }
        manager
    }

    fn author<'b>(&'b self, options: &'b WriteOptions, manager: &'b str) -> Author<'b> {
        Author { user: self.user, options, manager, warnings: Vec::new() }
    }

    fn target(&self, row: &Arc<Row>) -> Target {
        Target {
            row: row.clone(),
            namespace: if row.facts.namespaced { self.info.namespace.clone() } else { String::new() },
            name: self.info.name.clone(),
        }
    }
}

/// Answers a request about a resource.
///
/// # Errors
/// As the verbs do; 404 for a resource that is not served, 405 for a verb that
/// it does not have.
pub async fn dispatch<B>(call: &Call<'_>, body: B) -> Result<Response<Body>, ApiError>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin,
    B::Error: std::fmt::Display,
{
    let info = call.info;
    let Some(row) = call.registry().row(&info.group, &info.version, &info.resource) else {
        return Ok(documents::not_found(call.server, info, call.headers()));
    };
    // Namespaced kinds are listed over all namespaces, and nothing else.
    let scoped = row.facts.namespaced != info.namespace.is_empty() || info.resource == "namespaces";
    let over_all = row.facts.namespaced && info.namespace.is_empty();
    let listed = over_all && matches!(info.verb, "list" | "watch") && info.rest.is_empty();
    if !scoped && !listed && row.facts.schema.is_custom() {
        return Ok(documents::not_found(call.server, info, call.headers()));
    }
    if !scoped && !listed {
        let known = over_all && info.name.is_empty();
        return Err(if known { ApiError::MethodNotAllowed } else { ApiError::NoSuchPath });
    }
    if !info.rest.is_empty() && !matches!(info.subresource.as_str(), "proxy") {
        return Err(ApiError::NoSuchPath);
    }
    if let Some(error) = row.strategy.unusable() {
        return Err(error);
    }
    let there = info.subresource.is_empty() || row.facts.subresource(&info.subresource).is_some();
    if there && row.facts.schema.is_custom() {
        // No encoding but text: that is said before anything is looked for.
        let forms = if info.name.is_empty() { Forms::List } else { Forms::Object };
        negotiation::output(call.headers(), &info.query, Offer::of(&row.facts, forms))?;
    }
    if call.head.method == Method::HEAD {
        return Err(ApiError::MethodNotAllowed);
    }
    if info.subresource.is_empty() {
        whole(call, &row, body).await
    } else {
        subresource(call, &row, body).await
    }
}

/// Whether a request is about something that is served.
pub fn serves(server: &ApiServer, info: &RequestInfo) -> bool {
    let row = server.registry.row(&info.group, &info.version, &info.resource);
    row.is_some_and(|row| info.subresource.is_empty() || row.facts.subresource(&info.subresource).is_some())
}

/// What a client is told of a kind that it should use no more.
pub fn deprecation(call: &Call<'_>) -> Option<String> {
    let info = call.info;
    let row = call.registry().row(&info.group, &info.version, &info.resource)?;
    row.strategy.deprecated().map(str::to_owned)
}

async fn whole<B>(call: &Call<'_>, row: &Arc<Row>, body: B) -> Result<Response<Body>, ApiError>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin,
    B::Error: std::fmt::Display,
{
    let has = |verb: &str| row.facts.verbs.iter().any(|it| it == verb);
    let verb = call.info.verb;
    let named = !call.info.name.is_empty() && !matches!(verb, "list" | "watch" | "deletecollection");
    let own = ["get", "update", "patch", "delete"];
    if named && !own.into_iter().any(has) {
        return Err(ApiError::NoSuchPath);
    }
    // What concerns one object has no place at the collection, and the other way round.
    let misplaced = if named { verb == "create" } else { own.contains(&verb) };
    if !has(verb) || misplaced {
        return Err(ApiError::MethodNotAllowed);
    }
    if named {
        segment(&call.info.name)?;
    }
    if row.facts.storage.is_empty() {
        return Box::pin(reviews::answer(call, row, body)).await;
    }
    match call.info.verb {
        "get" => get::object(call, row).await,
        "list" => Box::pin(list::collection(call, row)).await,
        "watch" => Box::pin(watch::collection(call, row)).await,
        "create" => Box::pin(create::object(call, row, body)).await,
        "update" => Box::pin(update::object(call, row, body)).await,
        "patch" => Box::pin(patch::object(call, row, body)).await,
        "delete" => Box::pin(delete::object(call, row, body)).await,
        "deletecollection" => Box::pin(delete::collection(call, row, body)).await,
        _ => Err(ApiError::MethodNotAllowed),
    }
}

// Names are segments of paths, here and in the store.
fn segment(name: &str) -> Result<(), ApiError> {
    let why = match name {
        "." | ".." => format!("may not be '{name}'"),
        _ => match name.chars().find(|c| matches!(c, '/' | '%')) {
            Some(c) => format!("may not contain '{c}'"),
            None => return Ok(()),
        },
    };
    Err(ApiError::BadRequest(format!("Name parameter invalid: {name:?}: {why}")))
}

async fn subresource<B>(call: &Call<'_>, row: &Arc<Row>, body: B) -> Result<Response<Body>, ApiError>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin,
    B::Error: std::fmt::Display,
{
    let Some(facts) = row.facts.subresource(&call.info.subresource) else {
        let custom = row.facts.schema.is_custom();
        let missing = || ApiError::NotFound(Subject::of(&row.facts, &call.info.name));
        return Err(if custom { missing() } else { ApiError::NoSuchPath });
    };
    if !facts.verbs.iter().any(|it| it == call.info.verb) {
        return Err(ApiError::MethodNotAllowed);
    }
    segment(&call.info.name)?;
    // The object's own kind: a part of it is read and written.
    let own_kind = facts.gvk.kind == row.facts.gvk.kind && call.info.subresource != "log";
    match (call.info.subresource.as_str(), call.info.verb) {
        ("scale", "get") => scale::get(call, row).await,
        ("scale", "update") => Box::pin(scale::update(call, row, body)).await,
        ("scale", "patch") => Box::pin(scale::patch(call, row, body)).await,
        ("binding", "create") => Box::pin(binding::bind(call, row, body)).await,
        ("token", "create") => token::create(call, row, body).await,
        ("eviction", "create") => Box::pin(eviction::evict(call, row, body)).await,
        (_, "get") if own_kind => get::object(call, row).await,
        (_, "update") if own_kind => Box::pin(update::object(call, row, body)).await,
        (_, "patch") if own_kind => Box::pin(patch::object(call, row, body)).await,
        _ => connect::answer(call, row).await,
    }
}
