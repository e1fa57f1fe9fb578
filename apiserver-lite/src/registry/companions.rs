//! Objects that stand for what another one has: the IP addresses of a service.
//!
//! They are made before their object is stored, so that what they stand for
//! is had once, and go when it has let go. What a crash leaves between the
//! two is put right by whoever looks after the kind.

use std::sync::Arc;

use coracle_api::Object;
use futures::future::BoxFuture;
use serde_json::Value;

use super::{
    Registry, Target,
    options::{DeleteOptions, WriteOptions},
    write::Author,
};
use crate::{authn::User, codec, error::ApiError};

/// An object that is there as long as another one.
pub struct Companion {
    /// Its group, version and plural.
    pub kind: (&'static str, &'static str, &'static str),
    /// The object; its kind is filled in.
    pub object: Object,
}

/// What a write makes, and what it lets go once it is committed.
#[derive(Default)]
pub struct Companions {
    /// To be made before.
    pub made: Vec<Companion>,
    /// To be deleted after.
    pub gone: Vec<Companion>,
}

impl Registry {
    /// Makes them all, or none.
    ///
    /// # Errors
    /// `AlreadyExists`, and what else refuses a write.
    pub(super) fn make<'a>(&'a self, companions: &'a [Companion]) -> BoxFuture<'a, Result<(), ApiError>> {
        Box::pin(async move {
            for (count, companion) in companions.iter().enumerate() {
                if let Err(error) = self.make_one(companion).await {
                    self.unmake(companions.get(..count).unwrap_or_default()).await;
                    return Err(error);
                }
            }
            Ok(())
        })
    }

    async fn make_one(&self, companion: &Companion) -> Result<(), ApiError> {
        let Some(target) = self.companion(companion) else { return Ok(()) };
        let mut object = companion.object.clone();
        object.0.insert("apiVersion".to_owned(), target.row.facts.api_version().into());
        object.0.insert("kind".to_owned(), Value::String(target.row.facts.gvk.kind.to_string()));
        let user = User::server();
        let options = WriteOptions::own();
        let mut author =
            Author { user: &user, options: &options, manager: "kube-apiserver", warnings: Vec::new() };
        self.create(&target, object, &mut author).await.map(drop)
    }

    /// Deletes them, where they still are what was made.
    pub(super) fn unmake<'a>(&'a self, companions: &'a [Companion]) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            for companion in companions {
                let Some(target) = self.companion(companion) else { continue };
                let Ok(record) = self.get(&target).await else { continue };
                let there = codec::json::parse_stored(&record.bytes);
                if there.0.get("spec") != companion.object.0.get("spec") {
                    continue;
                }
                match self.delete(&target, &DeleteOptions::default(), &User::server()).await {
                    Ok(_) | Err(ApiError::NotFound(_)) => {}
                    Err(error) => {
                        tracing::warn!(%error, name = target.name, "what an object had could not be let go");
                    }
                }
            }
        })
    }

    // None where the kind is not served.
    fn companion(&self, companion: &Companion) -> Option<Target> {
        let (group, version, plural) = companion.kind;
        let row = Arc::clone(&self.row(group, version, plural)?);
        let object = &companion.object;
        Some(Target { row, namespace: object.namespace().to_owned(), name: object.name().to_owned() })
    }
}
