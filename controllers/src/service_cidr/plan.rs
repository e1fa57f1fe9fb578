//! What a ServiceCIDR needs.

use std::{net::IpAddr, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::networking::v1::{IPAddress, ServiceCIDR},
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};

use crate::prefix::Prefix;

/// Keeps one that is deleted while addresses need it.
pub(super) const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
const ALLOCATOR: &str = "ipallocator.k8s.io";
/// Whoever allots addresses has learned of a deletion after this long.
const GRACE: Duration = Duration::from_secs(10);

/// What to do. A condition is there if it has to be written.
#[derive(Debug, PartialEq)]
pub(super) enum Act {
    /// It is ready, and has the finalizer.
    Admit(Option<Condition>),
    /// It cannot go yet.
    Say(Option<Condition>),
    /// It may go after this long.
    Wait(Duration),
    /// It may go.
    Release,
}

/// Decides what `cidr`, one of `all`, needs.
pub(super) fn plan(
    cidr: &ServiceCIDR,
    all: &[Arc<ServiceCIDR>],
    addresses: impl FnOnce() -> Vec<Arc<IPAddress>>,
    now: Timestamp,
) -> Act {
    let Some(deleted) = &cidr.metadata.deletion_timestamp else {
        return Act::Admit(news(cidr, "True", "", "Kubernetes Service CIDR is ready", now));
    };
    if !is_covered(cidr, all) && addresses().iter().any(|address| needs(address, cidr, all)) {
        let text = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a \
                    new ServiceCIDR";
        return Act::Say(news(cidr, "False", "Terminating", text, now));
    }
    let waited: Duration = now.duration_since(deleted.0).try_into().unwrap_or_default();
    match GRACE.checked_sub(waited).filter(|left| !left.is_zero()) {
        Some(left) => Act::Wait(left),
        None => Act::Release,
    }
}

/// The networks of `all` that `address` may be of.
pub(super) fn networks_of(address: &IPAddress, all: &[Arc<ServiceCIDR>]) -> Vec<Arc<ServiceCIDR>> {
    let Some(ip) = address.metadata.name.as_deref().and_then(|name| name.parse::<IpAddr>().ok()) else {
        return Vec::new();
    };
    all.iter().filter(|cidr| Prefix::of(cidr).any(|prefix| prefix.gives(ip))).cloned().collect()
}

/// True for addresses that the allocator of cluster addresses gave out.
pub(super) fn is_allocated(address: &IPAddress) -> bool {
    let labels = address.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(MANAGED_BY)).is_some_and(|by| by == ALLOCATOR)
}

// Whether each of its networks is part of another's.
fn is_covered(cidr: &ServiceCIDR, all: &[Arc<ServiceCIDR>]) -> bool {
    let others = || all.iter().filter(|other| other.metadata.name != cidr.metadata.name);
    Prefix::of(cidr).all(|own| others().any(|other| Prefix::of(other).any(|it| it.contains(&own))))
}

// Whether the address would be of no network without this one.
fn needs(address: &IPAddress, cidr: &ServiceCIDR, all: &[Arc<ServiceCIDR>]) -> bool {
    let networks = networks_of(address, all);
    is_allocated(address) && matches!(&networks[..], [only] if only.metadata.name == cidr.metadata.name)
}

fn news(cidr: &ServiceCIDR, status: &str, reason: &str, message: &str, now: Timestamp) -> Option<Condition> {
    let conditions = cidr.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let said = conditions.clone().find(|it| it.type_ == "Ready");
    if said.is_some_and(|it| (&*it.status, &*it.reason, &*it.message) == (status, reason, message)) {
        return None;
    }
    Some(Condition {
        type_: "Ready".into(),
        status: status.into(),
        reason: reason.into(),
        message: message.into(),
        last_transition_time: Time(Timestamp::from_second(now.as_second()).unwrap_or(now)),
        observed_generation: None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn cidr(name: &str, cidrs: &[&str], deleted: Option<i64>) -> Arc<ServiceCIDR> {
        let deleted = deleted.map(|at| Timestamp::from_second(at).unwrap().to_string());
        let metadata = json!({ "name": name, "deletionTimestamp": deleted });
        Arc::new(serde_json::from_value(json!({ "metadata": metadata, "spec": { "cidrs": cidrs } })).unwrap())
    }

    fn address(ip: &str, by: &str) -> Arc<IPAddress> {
        let metadata = json!({ "name": ip, "labels": { MANAGED_BY: by } });
        Arc::new(serde_json::from_value(json!({ "metadata": metadata })).unwrap())
    }

    #[test]
    fn what_a_network_needs() {
        let check = |what: &str, all: &[Arc<ServiceCIDR>], addresses: &[Arc<IPAddress>], expected: Value| {
            let now = Timestamp::from_second(103).unwrap();
            let found = match plan(&all[0], all, || addresses.to_vec(), now) {
                Act::Admit(condition) => json!({ "admit": condition.map(|it| it.status) }),
                Act::Say(condition) => json!({ "say": condition.map(|it| it.reason) }),
                Act::Wait(time) => json!({ "wait": time.as_secs() }),
                Act::Release => json!("release"),
            };
            assert_eq!(found, expected, "{what}");
        };
        let own = |ip: &str| vec![address(ip, ALLOCATOR)];
        let gone = |at| cidr("a", &["10.0.0.0/24"], Some(at));
        check("new", &[cidr("a", &["10.0.0.0/24"], None)], &[], json!({ "admit": "True" }));
        check("unused", &[gone(90)], &[], json!("release"));
        check("just deleted", &[gone(100)], &[], json!({ "wait": 7 }));
        check("used", &[gone(90)], &own("10.0.0.1"), json!({ "say": "Terminating" }));
        check("used elsewhere", &[gone(90)], &own("10.0.1.1"), json!("release"));
        check("of somebody else", &[gone(90)], &[address("10.0.0.1", "me")], json!("release"));
        check("its own address", &[gone(90)], &own("10.0.0.0"), json!("release"));
        let wide = cidr("b", &["10.0.0.0/16"], None);
        check("covered", &[gone(90), wide.clone()], &own("10.0.0.1"), json!("release"));
        let part = cidr("b", &["10.0.0.0/28"], None);
        check("address in a part", &[gone(90), part.clone()], &own("10.0.0.1"), json!("release"));
        check("address beside a part", &[gone(90), part], &own("10.0.0.99"), json!({ "say": "Terminating" }));
        let both = cidr("a", &["10.0.0.0/24", "fd00::/112"], Some(90));
        check("half covered", &[both, wide], &own("fd00::1"), json!({ "say": "Terminating" }));
    }

    #[test]
    fn what_is_said_already_is_not_said_again() {
        let mut said = (*cidr("a", &["10.0.0.0/24"], None)).clone();
        let now = Timestamp::from_second(103).unwrap();
        let Act::Admit(Some(condition)) = plan(&said, &[], Vec::new, now) else { panic!("it is new") };
        said.status = serde_json::from_value(json!({ "conditions": [condition] })).unwrap();
        assert_eq!(plan(&said, &[], Vec::new, now), Act::Admit(None));
    }
}
