//! Events: recorded without waiting, counted when they repeat, written in the
//! background.
//!
//! Invariant: never holds a loop up. When too many wait, new ones are dropped.

mod correlate;

use std::{borrow::Cow, time::Duration};

use k8s_openapi::api::{
    core::v1::{Event as CoreEvent, ObjectReference},
    events::v1::Event as SeriesEvent,
};
use kube::{
    Api, Client, Resource,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::correlate::{Correlator, Write};
use super::{Clock, Error, reflector::until};

/// Events that may wait to be written (upstream: 1,000).
const WAITING: usize = 1000;
/// Tries of one write.
const TRIES: u32 = 5;

/// How serious an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    /// Something went as it should.
    Normal,
    /// Something needs attention.
    Warning,
}

impl Severity {
    fn as_str(self) -> &'static str {
        match self {
            Severity::Normal => "Normal",
            Severity::Warning => "Warning",
        }
    }
}

/// The API that a component reports its events through, as upstream's does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Style {
    /// `v1`: a count, first and last time. Controllers and kubelets.
    Counted,
    /// `events.k8s.io/v1`: a series and an action. The scheduler.
    Series,
}

/// Something that happened to an object.
#[derive(Debug, Clone)]
pub(crate) struct Occurrence {
    component: &'static str,
    host: String,
    style: Style,
    regarding: ObjectReference,
    severity: Severity,
    reason: Cow<'static, str>,
    action: &'static str,
    message: String,
}

/// Where recorders put their events.
#[derive(Debug, Clone)]
pub struct EventSink(mpsc::Sender<Occurrence>);

/// A sink and the end that the [`Writer`] reads.
pub(crate) fn channel() -> (EventSink, mpsc::Receiver<Occurrence>) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (EventSink(sender), receiver)
}

/// Records one component's events.
#[derive(Debug, Clone)]
pub struct Recorder {
    component: &'static str,
    host: String,
    style: Style,
    sink: EventSink,
    modest: bool,
}

impl Recorder {
    /// A recorder for `component`.
    pub fn new(component: &'static str, style: Style, sink: EventSink) -> Self {
        Self { component, host: String::new(), style, sink, modest: false }
    }

    /// The same component on `host`.
    pub fn on_host(&self, host: impl Into<String>) -> Self {
        Self { host: host.into(), ..self.clone() }
    }

    /// The same, but what is normal is left out while many events wait: what is told of each of thousands must not
    /// push out what is told of one.
    pub fn modest(self) -> Self {
        Self { modest: true, ..self }
    }

    /// Records that something happened to `object`.
    pub fn event<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        severity: Severity,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        self.act(reference(object), severity, reason, "", message.into());
    }

    /// Records what `action` led to for the object behind `regarding`.
    pub fn act(
        &self,
        regarding: ObjectReference,
        severity: Severity,
        reason: impl Into<Cow<'static, str>>,
        action: &'static str,
        message: String,
    ) {
        if self.modest && severity == Severity::Normal && self.sink.0.capacity() < WAITING / 2 {
            return;
        }
        let reason = reason.into();
        let occurrence = Occurrence {
            component: self.component,
            host: self.host.clone(),
            style: self.style,
            regarding,
            severity,
            reason,
            action,
            message,
        };
        if self.sink.0.try_send(occurrence).is_err() {
            tracing::debug!("event dropped: too many wait to be written");
        }
    }
}

/// The reference that an event carries of its object.
pub(crate) fn reference<K: Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    let meta = object.meta();
    ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: None,
    }
}

/// Writes events.
pub(crate) struct Writer {
    client: Client,
    clock: Clock,
    correlator: Correlator,
}

impl Writer {
    pub(crate) fn new(client: Client, clock: Clock) -> Self {
        Self { client, clock, correlator: Correlator::default() }
    }

    /// Writes what comes out of `source` until `shutdown`.
    pub(crate) async fn run(mut self, mut source: mpsc::Receiver<Occurrence>, shutdown: CancellationToken) {
        while let Some(occurrence) = until(&shutdown, source.recv()).await.flatten() {
            let Some(write) = self.correlator.correlate(occurrence, self.clock.now()) else { continue };
            if until(&shutdown, self.write(write)).await.is_none() {
                return;
            }
        }
    }

    async fn write(&self, write: Write) {
        for attempt in 0..TRIES {
            match self.try_write(&write).await {
                Ok(()) => return,
                // Refused for good: the namespace ends, or the event is not valid.
                Err(Error::Api(kube::Error::Api(status))) if (400..500).contains(&status.code) => {
                    tracing::debug!(message = status.message, "event refused");
                    return;
                }
                Err(error) => {
                    tracing::debug!(%error, attempt, "event not written");
                    tokio::time::sleep(Duration::from_millis(100 << attempt)).await;
                }
            }
        }
    }

    async fn try_write(&self, write: &Write) -> Result<(), Error> {
        let post = PostParams::default();
        let patch = PatchParams::default();
        match write {
            Write::Create(event) => {
                let api = Api::<CoreEvent>::namespaced(self.client.clone(), namespace(&event.metadata));
                api.create(&post, event).await?;
            }
            Write::Count(event) => {
                let api = Api::<CoreEvent>::namespaced(self.client.clone(), namespace(&event.metadata));
                let change = json!({"count": event.count, "lastTimestamp": event.last_timestamp, "message": event.message});
                let name = event.metadata.name.as_deref().unwrap_or_default();
                match api.patch(name, &patch, &Patch::Strategic(change)).await.map_err(Error::from) {
                    Err(error) if error.is_not_found() => drop(api.create(&post, event).await?),
                    other => drop(other?),
                }
            }
            Write::CreateSeries(event) => {
                let api = Api::<SeriesEvent>::namespaced(self.client.clone(), namespace(&event.metadata));
                api.create(&post, event).await?;
            }
            Write::Repeat(event) => {
                let api = Api::<SeriesEvent>::namespaced(self.client.clone(), namespace(&event.metadata));
                let name = event.metadata.name.as_deref().unwrap_or_default();
                let change = json!({"series": event.series});
                match api.patch(name, &patch, &Patch::Strategic(change)).await.map_err(Error::from) {
                    Err(error) if error.is_not_found() => drop(api.create(&post, event).await?),
                    other => drop(other?),
                }
            }
        }
        Ok(())
    }
}

fn namespace(meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> &str {
    meta.namespace.as_deref().unwrap_or("default")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_modest_leaves_room_for_others() {
        let (sink, mut source) = channel();
        let others = Recorder::new("others", Style::Counted, sink);
        let modest = others.clone().modest();
        let say = |recorder: &Recorder, severity, times: usize| {
            for _ in 0..times {
                recorder.act(ObjectReference::default(), severity, "Tested", "", String::new());
            }
        };
        say(&modest, Severity::Normal, WAITING);
        assert_eq!(source.len(), WAITING / 2 + 1, "half of the room is left");
        say(&modest, Severity::Warning, 1);
        say(&others, Severity::Normal, 1);
        assert_eq!(source.len(), WAITING / 2 + 3, "what needs attention is told");
        while source.try_recv().is_ok() {}
        say(&modest, Severity::Normal, 1);
        assert_eq!(source.len(), 1);
    }
}
