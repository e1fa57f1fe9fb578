//! Addresses of nodes and pods.

use std::{
    collections::{HashMap, HashSet},
    net::Ipv4Addr,
};

/// Nodes count up from here.
const NODES: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 1);
/// Pods have those from here on: 10.128.0.0/9 holds eight million.
const PODS: Ipv4Addr = Ipv4Addr::new(10, 128, 0, 0);
const PODS_COUNT: u32 = 1 << 23;

/// As many as there are in 172.16.0.0/12.
pub(super) const NODES_COUNT: usize = (1 << 20) - 1;

/// The address of the node with this number.
pub(super) fn of_node(number: usize) -> String {
    let offset = u32::try_from(number).unwrap_or(0);
    Ipv4Addr::from(u32::from(NODES).wrapping_add(offset)).to_string()
}

/// The number of the node that has this address, if it is one of those.
pub(super) fn number_of_node(address: &str) -> Option<usize> {
    let parsed: Ipv4Addr = address.parse().ok()?;
    let number = usize::try_from(u32::from(parsed).checked_sub(u32::from(NODES))?).ok()?;
    (number < NODES_COUNT).then_some(number)
}

/// Which pod has which address.
#[derive(Default)]
pub(super) struct Addresses {
    by_pod: HashMap<String, u32>,
    taken: HashSet<u32>,
    cursor: u32,
}

impl Addresses {
    /// The address of the pod with this uid, a new one unless it has one.
    /// `None` when all are taken.
    pub(super) fn of(&mut self, uid: &str) -> Option<String> {
        if let Some(offset) = self.by_pod.get(uid) {
            return Some(address(*offset));
        }
        for _ in 0..PODS_COUNT {
            // Going round keeps an address from being given again at once.
            self.cursor = (self.cursor + 1) % PODS_COUNT;
            let last_byte = self.cursor & 0xff;
            if last_byte != 0 && last_byte != 0xff && self.taken.insert(self.cursor) {
                self.by_pod.insert(uid.to_owned(), self.cursor);
                return Some(address(self.cursor));
            }
        }
        None
    }

    /// The pod has this address already.
    pub(super) fn keep(&mut self, uid: &str, address: &str) {
        let Ok(parsed) = address.parse::<Ipv4Addr>() else { return };
        let offset = u32::from(parsed).wrapping_sub(u32::from(PODS));
        if offset < PODS_COUNT && self.taken.insert(offset) {
            self.by_pod.insert(uid.to_owned(), offset);
        }
    }

    /// The pod is gone.
    pub(super) fn free(&mut self, uid: &str) {
        if let Some(offset) = self.by_pod.remove(uid) {
            self.taken.remove(&offset);
        }
    }
}

fn address(offset: u32) -> String {
    Ipv4Addr::from(u32::from(PODS).wrapping_add(offset)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pod_has_its_own() {
        let mut addresses = Addresses::default();
        addresses.keep("old", "10.128.0.2");
        addresses.keep("elsewhere", "192.0.2.1");
        assert_eq!(addresses.of("a").as_deref(), Some("10.128.0.1"));
        assert_eq!(addresses.of("b").as_deref(), Some("10.128.0.3"));
        assert_eq!(addresses.of("a").as_deref(), Some("10.128.0.1"));
        addresses.free("a");
        assert_eq!(addresses.of("c").as_deref(), Some("10.128.0.4"), "not the one just freed");
        assert_eq!(of_node(0), "172.16.0.1");
        assert_eq!(of_node(255), "172.16.1.0");
        assert_eq!(number_of_node("172.16.1.0"), Some(255));
        assert_eq!(number_of_node("172.16.0.0"), None);
        assert_eq!(number_of_node("10.0.0.1"), None);
        assert_eq!(number_of_node("172.32.0.0"), None);
    }
}
