//! What the server measures, under upstream's names, and `/metrics`.
//!
//! Start at [`Metrics`]. `facts.rs` says what there is; [`requests`] counts in
//! the way of each request and so keeps its handles; what is only read, as the
//! sizes of the store, is gathered when a scrape asks ([`scrape`]).
//!
//! Upstream's families that are not here are listed in `tests.rs`, with why:
//! mostly those of parts that this server does not have. Those of Go's runtime
//! (`go_*`) are not even listed.

pub mod admission;
pub mod facts;
mod process;
pub mod requests;
pub mod scrape;
pub mod watches;

use std::{sync::Arc, time::Instant};

use coracle_api::{
    Resource,
    metrics::{Counter, Family, Gauge, Histogram, Registry},
};

use admission::Admission;
use requests::Requests;
use watches::Watches;

/// All that one server measures.
pub struct Metrics {
    /// Where the whole process' measurements come together: controllers and
    /// scheduler of the same process add theirs.
    pub registry: Arc<Registry>,
    /// Requests, from the first byte to the answer.
    pub requests: Requests,
    /// What watchers get.
    pub watches: Watches,
    /// How long plugins take.
    pub admission: Admission,
    /// What the store is asked for.
    pub commits: Commits,
    /// What the checks of health said.
    pub health: Health,
    /// Connections that did not get past TLS.
    pub tls_errors: Arc<Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let registry = Arc::new(Registry::default());
        Self {
            requests: Requests::new(&registry),
            watches: Watches::new(&registry),
            admission: Admission::new(&registry),
            commits: Commits {
                seconds: registry.family(&facts::STORE_SECONDS),
                requests: registry.family(&facts::STORE_REQUESTS),
            },
            health: Health::default(),
            tls_errors: registry.family(&facts::TLS_ERRORS).with(&[]),
            registry,
        }
    }
}

/// Writes to the store, which upstream's etcd would get.
pub struct Commits {
    seconds: Arc<Family<Histogram>>,
    requests: Arc<Family<Counter>>,
}

impl Commits {
    /// A commit of an object of `resource` that began at `since` has ended.
    pub fn done(&self, operation: &str, resource: &Resource, since: Instant) {
        let labels = [operation, &*resource.gvk.group, &*resource.plural];
        self.requests.with(&labels).inc();
        self.seconds.with(&labels).observe(since.elapsed().as_secs_f64());
    }
}

/// The results of checks: what `/metrics/slis` shows.
pub struct Health {
    /// Its own, small, page.
    pub registry: Registry,
    last: Arc<Family<Gauge>>,
    all: Arc<Family<Counter>>,
}

impl Default for Health {
    fn default() -> Self {
        let registry = Registry::default();
        Self { last: registry.family(&facts::HEALTH), all: registry.family(&facts::HEALTH_TOTAL), registry }
    }
}

impl Health {
    /// A check of `/livez` and the like was made.
    pub fn checked(&self, endpoint: &str, name: &str, healthy: bool) {
        self.last.with(&[endpoint, name]).set(if healthy { 1.0 } else { 0.0 });
        self.all.with(&[endpoint, name, if healthy { "success" } else { "error" }]).inc();
    }
}

#[cfg(test)]
mod tests;
