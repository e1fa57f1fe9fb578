//! Why a reconcile failed.

/// A failed reconcile; the key is tried again later.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API refused or did not answer.
    #[error("{}", api_message(.0))]
    Api(#[from] kube::Error),
    /// An object cannot be worked with as it is.
    #[error("{0}")]
    Invalid(String),
    /// Some steps failed; the others were done.
    #[error("{0}")]
    Incomplete(String),
    /// What was read is older than what this loop wrote.
    #[error("the local copy of {0} is stale")]
    Stale(String),
}

/// The text that upstream's clients show for an API error: the status's message.
fn api_message(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        other => other.to_string(),
    }
}

impl Error {
    fn status(&self) -> Option<&kube::core::Status> {
        match self {
            Error::Api(kube::Error::Api(status)) => Some(status),
            _ => None,
        }
    }

    /// True when the object is not there.
    pub fn is_not_found(&self) -> bool {
        self.status().is_some_and(|s| s.is_not_found() || s.code == 404)
    }

    /// True when an object of that name is there already.
    pub fn is_already_exists(&self) -> bool {
        self.status().is_some_and(|s| s.is_already_exists())
    }

    /// True when somebody else wrote first.
    pub fn is_conflict(&self) -> bool {
        self.status().is_some_and(|s| s.is_conflict())
    }

    /// True when the object is refused as invalid.
    pub fn is_invalid(&self) -> bool {
        self.status().is_some_and(|s| s.is_invalid())
    }

    /// True when the namespace is ending, so that nothing can be created in it.
    pub fn is_namespace_terminating(&self) -> bool {
        self.status()
            .and_then(|s| s.details.as_ref())
            .is_some_and(|d| d.causes.iter().any(|c| c.reason == "NamespaceTerminating"))
    }
}

/// `Ok(None)` when the object is not there.
pub(crate) fn absent<T>(result: Result<T, kube::Error>) -> Result<Option<T>, Error> {
    match result.map_err(Error::from) {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}
