//! Plays a Stage: what it patches, deletes and tells.

use std::fmt::Debug;

use coracle_controllers::framework::{Clock, Error, Recorder, Severity};
use coracle_crds::stage::{EventType, PatchType};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{Stage, changes, compiled::Change};

/// Plays Stages.
pub(crate) struct Player {
    pub(crate) clock: Clock,
    pub(crate) events: Recorder,
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Played<K> {
    /// The object as it is now; none where nothing was written.
    Kept(Option<K>),
    /// It was deleted, or was not there any more.
    Gone,
    /// Somebody else wrote first: look again.
    Lost,
}

impl Player {
    /// Plays `stage` for `object`, all but what it does to containers.
    /// # Errors
    /// A template cannot be evaluated, or the API refuses what came of it.
    pub(crate) async fn play<K>(
        &self,
        api: &Api<K>,
        stage: &Stage,
        object: &K,
        more: Vec<(&'static str, String)>,
    ) -> Result<Played<K>, Error>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    {
        let changes = changes(stage, object, self.clock.now(), more).map_err(Error::Invalid)?;
        let mut written = None;
        for change in changes {
            match send(api, object, change).await {
                Ok(object) => written = Some(object),
                Err(error) if error.is_not_found() => return Ok(Played::Gone),
                Err(error) if error.is_conflict() => return Ok(Played::Lost),
                Err(error) => return Err(error),
            }
        }
        if stage.delete {
            let params = DeleteParams {
                grace_period_seconds: Some(0),
                preconditions: Some(Preconditions { uid: object.uid(), resource_version: None }),
                ..DeleteParams::default()
            };
            match api.delete(&object.name_any(), &params).await.map_err(Error::from) {
                Err(error) if !error.is_not_found() && !error.is_conflict() => return Err(error),
                _ => {}
            }
        }
        self.tell(stage, object);
        Ok(if stage.delete { Played::Gone } else { Played::Kept(written) })
    }

    fn tell<K: Resource<DynamicType = ()>>(&self, stage: &Stage, object: &K) {
        let Some(event) = &stage.event else { return };
        let meta = object.meta();
        let regarding = ObjectReference {
            api_version: Some(K::api_version(&()).into_owned()),
            kind: Some(K::kind(&()).into_owned()),
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
            field_path: None,
        };
        let severity = match event.type_ {
            EventType::Normal => Severity::Normal,
            EventType::Warning => Severity::Warning,
        };
        self.events.act(regarding, severity, event.reason.clone(), "", event.message.clone());
    }
}

async fn send<K>(api: &Api<K>, object: &K, mut change: Change) -> Result<K, Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let uid = json!(object.meta().uid);
    let (name, params) = (object.name_any(), PatchParams::default());
    // Never onto another object of that name.
    match (change.type_, &mut change.body) {
        (PatchType::Json, Value::Array(operations)) => {
            operations.insert(0, json!({"op": "test", "path": "/metadata/uid", "value": uid}));
        }
        (PatchType::Merge | PatchType::Strategic, Value::Object(fields)) => {
            let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
            if let Some(metadata) = metadata.as_object_mut() {
                metadata.insert("uid".to_owned(), uid);
            }
        }
        _ => return Err(Error::Invalid("a patch is an object, one of type json a list".to_owned())),
    }
    let patch = match change.type_ {
        PatchType::Merge => Patch::Merge(change.body),
        PatchType::Strategic => Patch::Strategic(change.body),
        PatchType::Json => {
            let parsed =
                serde_json::from_value(change.body).map_err(|error| Error::Invalid(error.to_string()))?;
            Patch::Json::<Value>(parsed)
        }
    };
    Ok(if change.status {
        api.patch_status(&name, &params, &patch).await?
    } else {
        api.patch(&name, &params, &patch).await?
    })
}
