//! Says which networks of cluster addresses are ready, and keeps one that is
//! deleted until no address is left without a network (KEP-1880).
//!
//! Start at [`plan::plan`].

mod plan;

use std::sync::Arc;

use k8s_openapi::{
    api::networking::v1::{IPAddress, ServiceCIDR},
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;

use self::plan::{Act, FINALIZER, is_allocated, networks_of};
use crate::{
    framework::{Clock, Error, Key, Next, Queue, Reconcile, Recorder, Setup, Severity, Store, Style, absent},
    prefix::Prefix,
};

const NAME: &str = "service-cidr-controller";
const WORKERS: usize = 5;

/// Puts the controller in.
pub(crate) fn start(setup: &mut Setup) {
    let cidrs = setup.reflect::<ServiceCIDR>();
    let addresses = setup.reflect::<IPAddress>();
    let queue = Queue::new();
    let (on_cidr, known) = (queue.clone(), cidrs.store());
    cidrs.on_change(move |change| {
        on_cidr.extend(change.sides().last().map(|cidr| Key::of(&cidr.metadata)));
        if change.before.is_some() && change.after.is_some() {
            return;
        }
        // One that comes may let another go that is part of it.
        let prefixes: Vec<Prefix> = change.sides().flat_map(|cidr| Prefix::of(cidr)).collect();
        let others = known.all().into_iter();
        let touched =
            others.filter(|other| Prefix::of(other).any(|it| prefixes.iter().any(|own| own.overlaps(&it))));
        on_cidr.extend(touched.map(|cidr| Key::of(&cidr.metadata)));
    });
    let (on_address, known) = (queue.clone(), cidrs.store());
    addresses.on_change(move |change| {
        if change.before.is_some() && change.after.is_some() {
            return;
        }
        let addresses = change.sides().filter(|address| is_allocated(address));
        for cidr in addresses.flat_map(|address| networks_of(address, &known.all())) {
            on_address.add(Key::of(&cidr.metadata));
        }
    });
    let controller = ServiceCidrs {
        client: setup.client.clone(),
        clock: setup.clock.clone(),
        events: setup.recorder(NAME, Style::Counted),
        cidrs: cidrs.store(),
        addresses: addresses.store(),
    };
    setup.reconcile(NAME, queue, WORKERS, controller);
}

struct ServiceCidrs {
    client: Client,
    clock: Clock,
    events: Recorder,
    cidrs: Arc<Store<ServiceCIDR>>,
    addresses: Arc<Store<IPAddress>>,
}

impl Reconcile<Key> for ServiceCidrs {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(cidr) = self.cidrs.get(key) else { return Ok(Next::Change) };
        let now = self.clock.now();
        match plan::plan(&cidr, &self.cidrs.all(), || self.addresses.all(), now) {
            Act::Release => self.finalizer(key, "$deleteFromPrimitiveList/finalizers").await?,
            Act::Wait(time) => return Ok(Next::After(time)),
            Act::Say(condition) => self.say(key, condition).await?,
            Act::Admit(condition) => {
                if cidr.metadata.finalizers.iter().flatten().all(|it| it != FINALIZER) {
                    self.finalizer(key, "finalizers").await?;
                }
                if let Err(error) = self.say(key, condition).await {
                    let text = "The ServiceCIDR Status can not be set to Ready=True";
                    self.events.event(&*cidr, Severity::Warning, "KubernetesServiceCIDRError", text);
                    return Err(error);
                }
            }
        }
        Ok(Next::Change)
    }
}

impl ServiceCidrs {
    fn api(&self) -> Api<ServiceCIDR> {
        Api::all(self.client.clone())
    }

    async fn finalizer(&self, key: &Key, field: &str) -> Result<(), Error> {
        let patch = Patch::Strategic(json!({ "metadata": { field: [FINALIZER] } }));
        absent(self.api().patch_metadata(&key.name, &PatchParams::default(), &patch).await).map(drop)
    }

    async fn say(&self, key: &Key, condition: Option<Condition>) -> Result<(), Error> {
        let Some(condition) = condition else { return Ok(()) };
        let patch = json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "ServiceCIDR",
            "metadata": { "name": key.name },
            "status": { "conditions": [condition] },
        });
        let params = PatchParams::apply(NAME).force();
        absent(self.api().patch_status(&key.name, &params, &Patch::Apply(patch)).await).map(drop)
    }
}
