//! What goes wrong with a request, and the Status that says so. The only place
//! that knows HTTP codes and upstream's reasons and sentences for them.

use coracle_api::{
    FieldError, Resource,
    status::{Cause, Details, Status},
};

use crate::{apply::ApplyError, patch::PatchError};

/// Names the object, or the collection, that a failed request was about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// The API group.
    pub group: String,
    /// The plural name of the resource, or the kind where upstream's Status
    /// says that (`Invalid`).
    pub kind: String,
    /// The object's name; empty for a collection.
    pub name: String,
}

impl Subject {
    /// The object `name` of a resource.
    pub fn of(resource: &Resource, name: &str) -> Self {
        Self {
            group: resource.gvk.group.to_string(),
            kind: resource.plural.to_string(),
            name: name.to_owned(),
        }
    }

    /// The object `name` of a resource, by its kind.
    pub fn kind_of(resource: &Resource, name: &str) -> Self {
        Self {
            group: resource.gvk.group.to_string(),
            kind: resource.gvk.kind.to_string(),
            name: name.to_owned(),
        }
    }

    /// The object `name` of a resource, by the kind that it is stored as: what
    /// `Invalid` names (events of either group are those of the core).
    pub fn stored(resource: &Resource, name: &str) -> Self {
        let kind = &resource.storage_version;
        Self { group: kind.group.to_string(), kind: kind.kind.to_string(), name: name.to_owned() }
    }

    // `deployments.apps "web"`, or without a name.
    fn shown(&self) -> String {
        if self.name.is_empty() { self.qualified() } else { format!("{} {:?}", self.qualified(), self.name) }
    }

    // `deployments.apps`
    fn qualified(&self) -> String {
        if self.group.is_empty() { self.kind.clone() } else { format!("{}.{}", self.kind, self.group) }
    }
}

/// Why a request failed. Each variant is one of upstream's Status reasons.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// 400 `BadRequest`
    #[error("{0}")]
    BadRequest(String),
    /// 401 `Unauthorized`
    #[error("Unauthorized")]
    Unauthorized,
    /// 403 `Forbidden`; the reason why comes last.
    #[error("{} is forbidden: {reason}", subject.shown())]
    Forbidden {
        /// What was not allowed.
        subject: Subject,
        /// Why.
        reason: String,
    },
    /// 403 `Forbidden` with a message of its own (paths outside of resources).
    #[error("{message}")]
    ForbiddenPath {
        /// The whole message.
        message: String,
        /// What was not allowed.
        subject: Subject,
    },
    /// 404 `NotFound` for an object.
    #[error("{} {:?} not found", .0.qualified(), .0.name)]
    NotFound(Subject),
    /// 404 for a path that nothing serves.
    #[error("the server could not find the requested resource")]
    NoSuchPath,
    /// 405 `MethodNotAllowed`
    #[error("the server does not allow this method on the requested resource")]
    MethodNotAllowed,
    /// 406 `NotAcceptable`
    #[error("only the following media types are accepted: {}", .0.join(", "))]
    NotAcceptable(Vec<String>),
    /// 409 `AlreadyExists`
    #[error("{} {:?} already exists", .0.qualified(), .0.name)]
    AlreadyExists(Subject),
    /// 409 `Conflict`
    #[error("Operation cannot be fulfilled on {} {:?}: {reason}", subject.qualified(), subject.name)]
    Conflict {
        /// The object.
        subject: Subject,
        /// Why.
        reason: String,
    },
    /// 409 `Conflict` of an apply with the fields that others manage.
    #[error("{message}")]
    ApplyConflict {
        /// The whole message.
        message: String,
        /// One cause a field.
        causes: Vec<Cause>,
    },
    /// 410 `Expired`: a revision or page token that is gone.
    #[error("{0}")]
    Expired(String),
    /// 410 `Expired` of a page token, with one that continues from now.
    #[error("{message}")]
    ExpiredPage {
        /// The whole message.
        message: String,
        /// The token that goes on inconsistently.
        token: String,
    },
    /// 413 `RequestEntityTooLarge`
    #[error("Request entity too large: limit is {0}")]
    TooLarge(usize),
    /// 413 `RequestEntityTooLarge` of a patch.
    #[error("{0}")]
    PatchTooLarge(String),
    /// 415 `UnsupportedMediaType`
    #[error("the body of the request was in an unknown format - accepted media types include: {}", .0.join(", "))]
    UnsupportedMediaType(Vec<String>),
    /// 422 `Invalid`
    #[error("{}", invalid_message(subject, errors))]
    Invalid {
        /// The object, by kind.
        subject: Subject,
        /// What is wrong with it.
        errors: Vec<FieldError>,
    },
    /// 422 `Invalid` with a message of its own (a patch that does not fit).
    #[error("{0}")]
    Unprocessable(String),
    /// 429 `TooManyRequests`
    #[error("{message}")]
    TooManyRequests {
        /// The whole message.
        message: String,
        /// When to try again.
        retry_after_seconds: u32,
        /// Causes, such as `DisruptionBudget`.
        causes: Vec<Cause>,
    },
    /// 504 `Timeout`
    #[error("Timeout: {message}")]
    Timeout {
        /// What was waited for.
        message: String,
        /// When to try again.
        retry_after_seconds: u32,
        /// Causes, such as `ResourceVersionTooLarge`.
        causes: Vec<Cause>,
    },
    /// 500 `InternalError`
    #[error("Internal error occurred: {0}")]
    Internal(String),
    /// 503 `ServiceUnavailable`
    #[error("{0}")]
    Unavailable(String),
    /// Whatever else: a Status as it is.
    #[error("{}", .0.message)]
    Status(Box<Status>),
}

impl ApiError {
    /// Whether upstream's router says so, which knows nothing of kinds: no
    /// endpoint takes such a request.
    pub fn is_unrouted(&self) -> bool {
        match self {
            Self::NoSuchPath | Self::MethodNotAllowed => true,
            Self::Status(status) => {
                ["406: ", "415: "].iter().any(|unrouted| status.message.starts_with(unrouted))
            }
            _ => false,
        }
    }

    /// A `Conflict` whose object changed under the request.
    pub fn stale(subject: Subject) -> Self {
        Self::Conflict {
            subject,
            reason:
                "the object has been modified; please apply your changes to the latest version and try again"
                    .to_owned(),
        }
    }

    /// An error that has no reason, as upstream gives those of its store.
    pub fn plain(code: u16, message: &str) -> Self {
        Self::Status(Box::new(Status::failure(code, "", message.to_owned(), None)))
    }

    /// The Status that answers the request.
    pub fn status(&self) -> Status {
        let (code, reason) = self.code();
        let message = self.to_string();
        let mut details = Details::default();
        match self {
            Self::Forbidden { subject, .. } | Self::ForbiddenPath { subject, .. } => {
                name(&mut details, subject)
            }
            Self::NotFound(subject) | Self::AlreadyExists(subject) | Self::Conflict { subject, .. } => {
                name(&mut details, subject);
            }
            Self::Invalid { subject, errors } => {
                name(&mut details, subject);
                for cause in errors.iter().map(cause) {
                    if !details.causes.contains(&cause) {
                        details.causes.push(cause);
                    }
                }
            }
            Self::ApplyConflict { causes, .. } => details.causes = causes.clone(),
            Self::TooManyRequests { retry_after_seconds, causes, .. }
            | Self::Timeout { retry_after_seconds, causes, .. } => {
                details.retry_after_seconds = *retry_after_seconds;
                details.causes = causes.clone();
            }
            Self::Internal(text) => {
                details.causes = vec![Cause { message: text.clone(), ..Cause::default() }];
            }
            Self::Status(status) => return (**status).clone(),
            _ => {}
        }
        let has_details = matches!(
            self,
            Self::Forbidden { .. }
                | Self::ForbiddenPath { .. }
                | Self::NotFound(_)
                | Self::NoSuchPath
                | Self::AlreadyExists(_)
                | Self::Conflict { .. }
                | Self::ApplyConflict { .. }
                | Self::Invalid { .. }
                | Self::Unprocessable(_)
                | Self::TooManyRequests { .. }
                | Self::Timeout { .. }
                | Self::Internal(_)
                | Self::MethodNotAllowed
        );
        let continue_token = match self {
            Self::ExpiredPage { token, .. } => token.clone(),
            _ => String::new(),
        };
        Status::failure(code, reason, message, has_details.then_some(details)).with_continue(continue_token)
    }

    fn code(&self) -> (u16, &'static str) {
        match self {
            Self::BadRequest(_) => (400, "BadRequest"),
            Self::Unauthorized => (401, "Unauthorized"),
            Self::Forbidden { .. } | Self::ForbiddenPath { .. } => (403, "Forbidden"),
            Self::NotFound(_) | Self::NoSuchPath => (404, "NotFound"),
            Self::MethodNotAllowed => (405, "MethodNotAllowed"),
            Self::NotAcceptable(_) => (406, "NotAcceptable"),
            Self::AlreadyExists(_) => (409, "AlreadyExists"),
            Self::Conflict { .. } | Self::ApplyConflict { .. } => (409, "Conflict"),
            Self::Expired(_) | Self::ExpiredPage { .. } => (410, "Expired"),
            Self::TooLarge(_) | Self::PatchTooLarge(_) => (413, "RequestEntityTooLarge"),
            Self::UnsupportedMediaType(_) => (415, "UnsupportedMediaType"),
            Self::Invalid { .. } | Self::Unprocessable(_) => (422, "Invalid"),
            Self::TooManyRequests { .. } => (429, "TooManyRequests"),
            Self::Internal(_) => (500, "InternalError"),
            Self::Unavailable(_) => (503, "ServiceUnavailable"),
            Self::Timeout { .. } => (504, "Timeout"),
            Self::Status(_) => (500, ""),
        }
    }
}

impl From<ApplyError> for ApiError {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Malformed(message) => Self::BadRequest(message),
            ApplyError::Conflict { message, causes } => Self::ApplyConflict { message, causes },
            ApplyError::Failed(message) => Self::plain(500, &message),
        }
    }
}

impl From<PatchError> for ApiError {
    fn from(error: PatchError) -> Self {
        let message = error.to_string();
        match error {
            PatchError::Malformed(_) => Self::BadRequest(message),
            PatchError::Unprocessable(_) => Self::Unprocessable(message),
            PatchError::TooLarge(_) => {
                Self::Status(Box::new(Status::failure(413, "RequestEntityTooLarge", message, None)))
            }
            PatchError::Failed(_) => Self::Status(Box::new(Status::failure(500, "", message, None))),
        }
    }
}

fn name(details: &mut Details, subject: &Subject) {
    details.group = subject.group.clone();
    details.kind = subject.kind.clone();
    details.name = subject.name.clone();
}

fn cause(error: &FieldError) -> Cause {
    Cause {
        reason: error.kind.reason().to_owned(),
        message: error.body(),
        field: error.path.named().to_owned(),
    }
}

// One error stands alone, several in brackets, equal ones once: as upstream's
// aggregate prints them.
fn invalid_message(subject: &Subject, errors: &[FieldError]) -> String {
    let mut texts: Vec<String> = Vec::with_capacity(errors.len());
    for error in errors {
        let text = error.to_string();
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    let head = format!("{} {:?} is invalid", subject.qualified(), subject.name);
    match texts.as_slice() {
        [] => head,
        [one] => format!("{head}: {one}"),
        many => format!("{head}: [{}]", many.join(", ")),
    }
}
