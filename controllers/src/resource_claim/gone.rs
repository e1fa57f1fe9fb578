//! The uids of the last objects that went.

use std::collections::{HashSet, VecDeque};

/// So many are remembered; of others the API is asked.
const MOST: usize = 500;

#[derive(Debug, Default)]
pub(super) struct Gone {
    order: VecDeque<String>,
    uids: HashSet<String>,
}

impl Gone {
    pub(super) fn add(&mut self, uid: String) {
        if !self.uids.insert(uid.clone()) {
            return;
        }
        self.order.push_back(uid);
        if self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.uids.remove(&oldest);
        }
    }

    pub(super) fn has(&self, uid: &str) -> bool {
        self.uids.contains(uid)
    }
}
