//! Puts right what services, cluster addresses and node ports say of each
//! other. Upstream's API server does this itself; here whoever runs the API
//! server runs these loops beside it.
//!
//! Start at [`start`]; [`service::look`] and [`address::look`] decide.
//! Invariant: a copy may lag behind, so nothing is repaired that a second,
//! live look does not show as well.

mod address;
mod port;
mod service;

use std::{net::IpAddr, sync::Arc, time::Duration};

use k8s_openapi::api::{
    core::v1::Service,
    networking::v1::{IPAddress, ServiceCIDR},
};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
};

use crate::{
    framework::{Clock, Error, Key, Next, Queue, Reconcile, Recorder, Setup, Severity, Store, Style, absent},
    prefix::Prefix,
};

const WORKERS: usize = 5;
/// The index of services by cluster address.
const BY_IP: &str = "cluster-ip";

/// How it is done.
#[derive(Debug, Clone)]
pub struct Repair {
    /// The first and the last node port.
    pub node_ports: (u16, u16),
    /// How often what cannot be repaired is told (upstream: three minutes).
    pub interval: Duration,
}

impl Default for Repair {
    fn default() -> Self {
        Self { node_ports: (30000, 32767), interval: Duration::from_secs(180) }
    }
}

/// Puts the loops in.
pub fn start(setup: &mut Setup, repair: &Repair) {
    let services = setup.reflect::<Service>();
    let addresses = setup.reflect::<IPAddress>();
    let cidrs = setup.reflect::<ServiceCIDR>();
    services.store().index(BY_IP, |service| cluster_ips(service).map(str::to_owned).collect());
    let (service_queue, address_queue) = (Queue::new(), Queue::new());
    let on_service = service_queue.clone();
    services.on_change(move |change| {
        on_service.extend(change.after.map(|service| Key::of(&service.metadata)));
    });
    let (on_address, of_address, known) = (address_queue.clone(), service_queue.clone(), services.store());
    addresses.on_change(move |change| {
        on_address.extend(change.after.map(|address| Key::of(&address.metadata)));
        if let Some(ip) = change.sides().last().and_then(|address| address.metadata.name.as_deref()) {
            of_address.extend(known.indexed(BY_IP, ip).iter().map(|service| Key::of(&service.metadata)));
        }
    });
    let seen = Seen {
        client: setup.client.clone(),
        clock: setup.clock.clone(),
        events: setup.recorder("ipallocator-repair-controller", Style::Series),
        services: services.store(),
        addresses: addresses.store(),
        cidrs: cidrs.store(),
        interval: repair.interval,
    };
    let seen = Arc::new(seen);
    setup.reconcile("ipallocator-repair-services", service_queue, WORKERS, Services(seen.clone()));
    setup.reconcile("ipallocator-repair-addresses", address_queue, WORKERS, Addresses(seen));
    let events = setup.recorder("portallocator-repair-controller", Style::Series);
    let (services, repair) = (services.store(), repair.clone());
    setup.when_synced(move |shutdown| port::watch(services, events, repair, shutdown));
}

/// The cluster addresses of a service.
fn cluster_ips(service: &Service) -> impl Iterator<Item = &str> {
    let spec = service.spec.as_ref().filter(|spec| spec.type_.as_deref() != Some("ExternalName"));
    let ips = spec.and_then(|spec| spec.cluster_ips.as_ref()).into_iter().flatten();
    ips.map(String::as_str).filter(|ip| !ip.is_empty() && *ip != "None")
}

struct Seen {
    client: Client,
    clock: Clock,
    events: Recorder,
    services: Arc<Store<Service>>,
    addresses: Arc<Store<IPAddress>>,
    cidrs: Arc<Store<ServiceCIDR>>,
    interval: Duration,
}

impl Seen {
    fn api(&self) -> Api<IPAddress> {
        Api::all(self.client.clone())
    }

    async fn live_service(&self, key: &Key) -> Result<Option<Service>, Error> {
        absent(Api::namespaced(self.client.clone(), &key.namespace).get(&key.name).await)
    }

    async fn live_address(&self, name: &str) -> Result<Option<IPAddress>, Error> {
        absent(self.api().get(name).await)
    }

    async fn delete(&self, name: &str) -> Result<(), Error> {
        absent(self.api().delete(name, &DeleteParams::default()).await).map(drop)
    }

    fn is_in_range(&self, ip: IpAddr) -> bool {
        self.cidrs.all().iter().any(|cidr| Prefix::of(cidr).any(|prefix| prefix.gives(ip)))
    }
}

struct Services(Arc<Seen>);

impl Reconcile<Key> for Services {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(service) = self.0.services.get(key) else { return Ok(Next::Change) };
        let mut left = false;
        for text in cluster_ips(&service) {
            left |= self.repair(key, &service, text).await?;
        }
        Ok(if left { Next::After(self.0.interval) } else { Next::Change })
    }
}

impl Services {
    // True when something is wrong that cannot be repaired.
    async fn repair(&self, key: &Key, service: &Service, text: &str) -> Result<bool, Error> {
        let seen = &*self.0;
        let known =
            text.parse::<IpAddr>().ok().and_then(|ip| seen.addresses.get(&Key::cluster(ip.to_string())));
        if self.look(service, text, known.as_deref()) == service::Finding::Fine {
            return Ok(false);
        }
        let Some(live) = seen.live_service(key).await? else { return Ok(false) };
        if live.metadata.uid != service.metadata.uid || !cluster_ips(&live).any(|ip| ip == text) {
            return Ok(false);
        }
        let address = match text.parse::<IpAddr>() {
            Ok(ip) => seen.live_address(&ip.to_string()).await?,
            Err(_) => None,
        };
        let finding = self.look(&live, text, address.as_ref());
        if let Some((reason, action, message)) = service::told(&finding, &live, text) {
            seen.events.act(crate::framework::reference(&live), Severity::Warning, reason, action, message);
        }
        match finding {
            service::Finding::Fine => Ok(false),
            service::Finding::NotAnAddress | service::Finding::OutOfRange | service::Finding::Shared => {
                Ok(true)
            }
            service::Finding::Missing(made) => {
                seen.api().create(&PostParams::default(), &made).await?;
                Ok(false)
            }
            service::Finding::WrongReference(made) | service::Finding::WrongLabels(made) => {
                seen.delete(made.metadata.name.as_deref().unwrap_or_default()).await?;
                seen.api().create(&PostParams::default(), &made).await?;
                Ok(false)
            }
        }
    }

    fn look(&self, service: &Service, text: &str, address: Option<&IPAddress>) -> service::Finding {
        let Ok(ip) = text.parse::<IpAddr>() else { return service::Finding::NotAnAddress };
        let referenced = address.and_then(service::parent).and_then(|key| self.0.services.get(&key));
        service::look(service, ip, self.0.is_in_range(ip), address, referenced.as_deref())
    }
}

struct Addresses(Arc<Seen>);

impl Reconcile<Key> for Addresses {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let seen = &*self.0;
        let now = seen.clock.now();
        let Some(known) = seen.addresses.get(key) else { return Ok(Next::Change) };
        let service = service::parent(&known).and_then(|parent| seen.services.get(&parent));
        match address::look(&known, service.as_deref(), now) {
            address::Finding::Fine => return Ok(Next::Change),
            address::Finding::Early(time) => return Ok(Next::After(time)),
            address::Finding::Wrong { .. } => {}
        }
        let Some(live) = seen.live_address(&key.name).await? else { return Ok(Next::Change) };
        let service = match service::parent(&live) {
            Some(parent) => seen.live_service(&parent).await?,
            None => None,
        };
        match address::look(&live, service.as_ref(), now) {
            address::Finding::Fine => Ok(Next::Change),
            address::Finding::Early(time) => Ok(Next::After(time)),
            address::Finding::Wrong { reason, message } => {
                let regarding = crate::framework::reference(&live);
                seen.events.act(regarding, Severity::Warning, reason, "IPAddressAllocation", message);
                seen.delete(&key.name).await?;
                Ok(Next::Change)
            }
        }
    }
}
