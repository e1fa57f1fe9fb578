//! Says in EndpointSlices what people's own Endpoints say, for services that
//! select no pods.
//!
//! Start at [`plan::plan`].

mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use k8s_openapi::api::{
    core::v1::{Endpoints, Service},
    discovery::v1::EndpointSlice,
};

use crate::{
    endpoint_slice::{Writer, index_by_service, owners, packing::Changes},
    endpoints::LEADER,
    framework::{Error, Key, Next, Queue, Reconcile, Recorder, Setup, Severity, Store, Style},
};

const NAME: &str = "endpointslice-mirroring-controller";
const CONTROLLER_NAME: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
const WORKERS: usize = 5;

/// Puts the controller in.
pub(crate) fn start(setup: &mut Setup) {
    let endpoints = setup.reflect::<Endpoints>();
    let services = setup.reflect::<Service>();
    let slices = setup.reflect::<EndpointSlice>();
    index_by_service(&slices.store());
    let queue = Queue::new();
    let on_endpoints = queue.clone();
    endpoints.on_change(move |change| {
        let mirrored = change.sides().any(|endpoints| is_mirrored(endpoints));
        let key = change.sides().last().map(|endpoints| Key::of(&endpoints.metadata));
        on_endpoints.extend(key.filter(|_| mirrored));
    });
    let on_service = queue.clone();
    services.on_change(move |change| {
        let mut sides = change.sides();
        let mirrored = |service: &Service| selects_nothing(service);
        let (first, second) = (sides.next(), sides.next());
        let turned = match (first, second) {
            (Some(first), Some(second)) => mirrored(first) != mirrored(second),
            (first, _) => first.is_some_and(|service| mirrored(service)),
        };
        on_service.extend(second.or(first).filter(|_| turned).map(|service| Key::of(&service.metadata)));
    });
    let on_slice = queue.clone();
    slices.on_change(move |change| on_slice.extend(owners(change, CONTROLLER_NAME)));
    let controller = Mirroring {
        writer: Writer::new(setup, slices.store()),
        events: setup.recorder("endpoint-slice-mirroring-controller", Style::Counted),
        endpoints: endpoints.store(),
        services: services.store(),
    };
    setup.reconcile(NAME, queue, WORKERS, controller);
}

fn is_mirrored(endpoints: &Endpoints) -> bool {
    let (labels, annotations) = (&endpoints.metadata.labels, &endpoints.metadata.annotations);
    let skipped = labels.as_ref().and_then(|labels| labels.get(SKIP)).is_some_and(|value| value == "true");
    !skipped && !annotations.as_ref().is_some_and(|annotations| annotations.contains_key(LEADER))
}

fn selects_nothing(service: &Service) -> bool {
    service.spec.as_ref().is_none_or(|spec| spec.selector.is_none())
}

struct Mirroring {
    writer: Writer,
    events: Recorder,
    endpoints: Arc<Store<Endpoints>>,
    services: Arc<Store<Service>>,
}

impl Reconcile<Key> for Mirroring {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let slices = self.writer.slices(key, CONTROLLER_NAME)?;
        let wanted = self.services.get(key).is_some_and(|service| selects_nothing(&service));
        let endpoints = self.endpoints.get(key).filter(|endpoints| wanted && is_mirrored(endpoints));
        let Some(endpoints) = endpoints else {
            let changes = Changes { delete: slices, ..Changes::default() };
            self.writer.write(key, "Endpoints", &changes).await?;
            return Ok(Next::Change);
        };
        let plan = plan::plan(&endpoints, &slices);
        for (reason, text) in plan.warnings {
            self.events.event(&*endpoints, Severity::Warning, reason, text);
        }
        self.writer.write(key, "Endpoints", &plan.changes).await?;
        Ok(Next::Change)
    }
}
