//! The nodes that this process plays: those it was told the number of, and
//! those of node pools, which come and go.

use std::{collections::HashMap, sync::Arc};

use coracle_controllers::framework::controller_of;
use coracle_crds::{GROUP, NodePool, node_pool};
use k8s_openapi::{api::core::v1::Node, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::Resource;
use parking_lot::RwLock;

use super::{Config, addresses};

/// The nodes that this process plays, each with a name and a number.
pub(crate) struct Fleet {
    pub(super) config: Config,
    members: RwLock<Members>,
}

#[derive(Default)]
struct Members {
    names: Vec<Option<Arc<str>>>,
    by_name: HashMap<Arc<str>, Member>,
    /// Below this every number is taken.
    first_free: usize,
}

#[derive(Clone, Copy)]
struct Member {
    number: usize,
    silent: bool,
}

impl Fleet {
    pub(super) fn new(config: Config) -> Self {
        let mut members = Members::default();
        for number in 0..config.count {
            let name: Arc<str> = format!("{}-{}", config.prefix, number + 1).into();
            members.put(name, number);
        }
        Self { config, members: RwLock::new(members) }
    }

    /// The number of the node of this name, if it is one of these.
    pub(super) fn number(&self, name: &str) -> Option<usize> {
        self.members.read().by_name.get(name).map(|member| member.number)
    }

    /// The name of the node with this number.
    pub(super) fn name(&self, number: usize) -> Option<Arc<str>> {
        self.members.read().names.get(number).cloned().flatten()
    }

    /// True when the node of this name has stopped.
    pub(super) fn is_silent(&self, name: &str) -> bool {
        self.members.read().by_name.get(name).is_some_and(|member| member.silent)
    }

    /// Takes a node in, with the number `wanted` if that is free, and says
    /// its number and whether it is new.
    pub(super) fn admit(&self, name: &str, wanted: Option<usize>) -> (usize, bool) {
        let mut members = self.members.write();
        if let Some(member) = members.by_name.get(name) {
            return (member.number, false);
        }
        let number = wanted
            .filter(|number| *number < addresses::NODES_COUNT)
            .filter(|number| members.names.get(*number).is_none_or(Option::is_none))
            .unwrap_or_else(|| members.free());
        members.put(name.into(), number);
        (number, true)
    }

    /// The node is gone; what its number was.
    pub(super) fn dismiss(&self, name: &str) -> Option<usize> {
        let mut members = self.members.write();
        let number = members.by_name.remove(name)?.number;
        if let Some(slot) = members.names.get_mut(number) {
            *slot = None;
        }
        members.first_free = members.first_free.min(number);
        Some(number)
    }

    /// Notes whether the node has stopped; true when that is news.
    pub(super) fn silence(&self, name: &str, silent: bool) -> bool {
        // The usual case is that nothing is new: no lock that others wait for.
        if self.is_silent(name) == silent {
            return false;
        }
        let mut members = self.members.write();
        let Some(member) = members.by_name.get_mut(name) else { return false };
        std::mem::replace(&mut member.silent, silent) != silent
    }
}

impl Members {
    fn put(&mut self, name: Arc<str>, number: usize) {
        if self.names.len() <= number {
            self.names.resize(number + 1, None);
        }
        if let Some(slot) = self.names.get_mut(number) {
            *slot = Some(name.clone());
        }
        self.by_name.insert(name, Member { number, silent: false });
    }

    fn free(&mut self) -> usize {
        let taken = |number: &usize| self.names.get(*number).is_some_and(Option::is_some);
        let number = (self.first_free..).find(|number| !taken(number)).unwrap_or(self.names.len());
        self.first_free = number + 1;
        number
    }
}

/// The pool that controls a node, if one does.
pub(super) fn pool_of(node: &Node) -> Option<&OwnerReference> {
    controller_of(&node.metadata).filter(|owner| {
        owner.kind == NodePool::kind(&()) && owner.api_version.split('/').next() == Some(GROUP)
    })
}

/// True when somebody has stopped the node.
pub(super) fn is_stopped(node: &Node) -> bool {
    let annotations = node.metadata.annotations.as_ref();
    annotations.and_then(|list| list.get(node_pool::HEARTBEATS)).is_some_and(|it| it == node_pool::STOPPED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_have_numbers_of_their_own() {
        let fleet = Fleet::new(Config { count: 2, ..Config::default() });
        assert_eq!(fleet.number("node-2"), Some(1));
        assert_eq!(fleet.admit("a-1", None), (2, true));
        assert_eq!(fleet.admit("a-1", Some(9)), (2, false), "known already");
        assert_eq!(fleet.admit("a-2", Some(7)), (7, true));
        assert_eq!(fleet.admit("a-3", Some(1)), (3, true), "the wanted one is taken");
        assert_eq!(fleet.dismiss("a-1"), Some(2));
        assert_eq!(fleet.dismiss("a-1"), None);
        assert_eq!(fleet.name(2), None);
        assert_eq!(fleet.admit("a-4", None), (2, true), "the lowest that is free");
        assert_eq!(fleet.admit("a-5", None), (4, true));
        assert_eq!(fleet.name(7).as_deref(), Some("a-2"));
    }

    #[test]
    fn silence_is_news_once() {
        let fleet = Fleet::new(Config::default());
        assert!(fleet.silence("node-1", true) && !fleet.silence("node-1", true));
        assert!(fleet.is_silent("node-1") && !fleet.silence("other", true));
        assert!(fleet.silence("node-1", false) && !fleet.is_silent("node-1"));
    }
}
