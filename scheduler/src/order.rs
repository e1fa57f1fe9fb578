//! The order in which nodes are looked at: one of each zone in turn.
//!
//! Upstream's, so that a search that stops early has seen the same nodes.

use k8s_openapi::api::core::v1::Node;

/// The labels of a zone, and of a region: the old one counts first.
const ZONE: [&str; 2] = ["failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"];
const REGION: [&str; 2] = ["failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"];

/// A region and a zone in it.
pub(crate) type Zone = (String, String);

/// Where `node` is.
pub(crate) fn zone_of(node: &Node) -> Zone {
    let labels = node.metadata.labels.as_ref();
    let first = |keys: [&str; 2]| keys.iter().find_map(|key| labels?.get(*key).cloned()).unwrap_or_default();
    (first(REGION), first(ZONE))
}

/// The names of nodes by zone; both as they came.
#[derive(Debug, Default)]
pub(crate) struct Order(Vec<(Zone, Vec<String>)>);

impl Order {
    /// Puts a node in, behind the others of its zone.
    pub(crate) fn add(&mut self, zone: Zone, name: &str) {
        match self.0.iter_mut().find(|(known, _)| *known == zone) {
            Some((_, names)) => names.push(name.to_owned()),
            None => self.0.push((zone, vec![name.to_owned()])),
        }
    }

    /// Takes a node out.
    pub(crate) fn remove(&mut self, zone: &Zone, name: &str) {
        let Some(at) = self.0.iter().position(|(known, _)| known == zone) else { return };
        let Some((_, names)) = self.0.get_mut(at) else { return };
        names.retain(|known| known != name);
        if names.is_empty() {
            self.0.remove(at);
        }
    }

    /// All nodes: the first of each zone, then the second of each, and so on.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let longest = self.0.iter().map(|(_, names)| names.len()).max().unwrap_or(0);
        (0..longest)
            .flat_map(move |at| self.0.iter().filter_map(move |(_, names)| names.get(at)))
            .map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_take_turns() {
        let mut order = Order::default();
        let zone = |name: &str| (String::new(), name.to_owned());
        for (zone_name, name) in [("b", "3"), ("a", "2"), ("b", "1"), ("b", "0"), ("a", "4"), ("", "5")] {
            order.add(zone(zone_name), name);
        }
        assert_eq!(order.names().collect::<String>(), "325140");
        order.remove(&zone("b"), "3");
        order.remove(&zone(""), "5");
        assert_eq!(order.names().collect::<String>(), "1204");
    }

    #[test]
    fn the_old_labels_count_first() {
        let check = |labels: serde_json::Value, expected: (&str, &str)| {
            let node = serde_json::from_value(serde_json::json!({"metadata": {"labels": labels}})).unwrap();
            assert_eq!(zone_of(&node), (expected.0.to_owned(), expected.1.to_owned()));
        };
        check(serde_json::json!({}), ("", ""));
        check(serde_json::json!({ZONE[1]: "new", REGION[1]: "r"}), ("r", "new"));
        check(serde_json::json!({ZONE[1]: "new", ZONE[0]: "old"}), ("", "old"));
    }
}
