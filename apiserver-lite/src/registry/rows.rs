//! The table of kinds that are served.

use std::sync::{Arc, OnceLock};

use coracle_api::Resource;
use jiff::Timestamp;

use crate::{discovery::Discovery, resources::Row};

/// All rows, in discovery's order and findable by name.
pub struct Rows {
    ordered: Vec<Arc<Row>>,
    // Indexes into `ordered`, sorted by (plural, group, version).
    sorted: Vec<usize>,
    discovery: OnceLock<Discovery>,
}

impl Rows {
    /// The table of `rows`.
    pub fn new(rows: Vec<Row>) -> Self {
        Self::of(rows.into_iter().map(Arc::new).collect())
    }

    /// The table of rows that are shared with other tables.
    pub fn of(ordered: Vec<Arc<Row>>) -> Self {
        let mut sorted: Vec<usize> = (0..ordered.len()).collect();
        sorted.sort_by(|a, b| name(&ordered[*a]).cmp(&name(&ordered[*b])));
        Self { ordered, sorted, discovery: OnceLock::new() }
    }

    /// Every row, in discovery's order.
    pub fn all(&self) -> &[Arc<Row>] {
        &self.ordered
    }

    /// The documents that tell clients of these rows, for a server at
    /// `address`. They are as of `now` when they are asked for first.
    pub fn discovery(&self, address: impl ToString, now: Timestamp) -> &Discovery {
        self.discovery.get_or_init(|| Discovery::new(self.ordered.iter(), address.to_string(), now))
    }

    /// The row of a resource.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Row>> {
        let wanted = (plural, group, version);
        let at = self.sorted.binary_search_by(|index| name(&self.ordered[*index]).cmp(&wanted)).ok()?;
        Some(&self.ordered[self.sorted[at]])
    }

    /// Whether anything that is built in is served under a group.
    pub fn serves(&self, group: &str) -> bool {
        self.ordered.iter().any(|row| row.facts.gvk.group == group && !row.facts.schema.is_custom())
    }
}

fn name(row: &Row) -> (&str, &str, &str) {
    let facts = &row.facts;
    (&facts.plural, &facts.gvk.group, &facts.gvk.version)
}

/// What the keys of a resource begin with: upstream's prefix in etcd.
pub fn prefix(facts: &Resource) -> String {
    format!("/registry/{}/", facts.storage)
}
