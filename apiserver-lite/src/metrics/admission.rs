//! How long plugins take, each and all of a kind together.

use std::{
    sync::{Arc, OnceLock},
    time::Instant,
};

use coracle_api::metrics::{Family, Histogram, Registry};

use super::facts;
use crate::admission::Operation;

/// The plugins, by upstream's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Plugin {
    NamespaceLifecycle,
    LimitRanger,
    ServiceAccount,
    TaintNodesByCondition,
    PodSecurity,
    Priority,
    DefaultTolerationSeconds,
    DefaultStorageClass,
    StorageObjectInUseProtection,
    PersistentVolumeClaimResize,
    RuntimeClass,
    CertificateApproval,
    CertificateSigning,
    ClusterTrustBundleAttest,
    CertificateSubjectRestriction,
    DefaultIngressClass,
    PodTopologyLabels,
    PodResizeValidator,
    ResourceQuota,
}

const PLUGINS: usize = Plugin::ResourceQuota as usize + 1;

impl Plugin {
    // Whether upstream's plugin looks at these writes at all.
    fn minds(self, operation: Operation) -> bool {
        use Plugin::*;
        match operation {
            Operation::Create => !matches!(
                self,
                PersistentVolumeClaimResize | CertificateApproval | CertificateSigning | PodResizeValidator
            ),
            Operation::Update => !matches!(
                self,
                TaintNodesByCondition
                    | DefaultStorageClass
                    | StorageObjectInUseProtection
                    | RuntimeClass
                    | CertificateSubjectRestriction
                    | DefaultIngressClass
                    | PodTopologyLabels
            ),
            Operation::Delete => self == NamespaceLifecycle,
        }
    }
}

/// Which of the two rounds of plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Round {
    /// They change the object.
    Admit,
    /// They may refuse it.
    Validate,
}

/// What is measured of admission.
pub struct Admission {
    plugins: Arc<Family<Histogram>>,
    steps: Arc<Family<Histogram>>,
    // What was not refused, by round, operation and plugin.
    usual: [[[OnceLock<Arc<Histogram>>; PLUGINS]; 3]; 2],
}

impl Admission {
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            plugins: registry.family(&facts::ADMISSION_PLUGIN),
            steps: registry.family(&facts::ADMISSION_STEP),
            usual: Default::default(),
        }
    }

    /// A round begins.
    pub fn begin(&self, round: Round, operation: Operation) -> Lap<'_> {
        let now = Instant::now();
        Lap { admission: self, round, operation, began: now, last: now, refused: false }
    }

    fn plugin(&self, plugin: Plugin, round: Round, operation: Operation) -> Arc<Histogram> {
        let (kind, verb) = (round.name(), name(operation));
        let slot = &self.usual[round as usize][operation as usize][plugin as usize];
        slot.get_or_init(|| self.plugins.with(&[&format!("{plugin:?}"), kind, verb, "false"])).clone()
    }
}

/// A round that goes on. It ends when it is dropped.
pub struct Lap<'a> {
    admission: &'a Admission,
    round: Round,
    operation: Operation,
    began: Instant,
    last: Instant,
    refused: bool,
}

impl Lap<'_> {
    /// A plugin has said what it had to say, which this gives back.
    pub fn after<T, E>(&mut self, plugin: Plugin, said: Result<T, E>) -> Result<T, E> {
        let now = Instant::now();
        let seconds = (now - self.last).as_secs_f64();
        self.last = now;
        if said.is_err() {
            self.refused = true;
            let labels = [&*format!("{plugin:?}"), self.round.name(), name(self.operation), "true"];
            self.admission.plugins.with(&labels).observe(seconds);
        } else if plugin.minds(self.operation) {
            self.admission.plugin(plugin, self.round, self.operation).observe(seconds);
        }
        said
    }
}

impl Lap<'_> {
    /// A plugin that never refuses is done.
    pub fn passed(&mut self, plugin: Plugin) {
        let _ = self.after(plugin, Ok::<(), ()>(()));
    }
}

impl Drop for Lap<'_> {
    fn drop(&mut self) {
        let labels = [self.round.name(), name(self.operation), if self.refused { "true" } else { "false" }];
        self.admission.steps.with(&labels).observe(self.began.elapsed().as_secs_f64());
    }
}

impl Round {
    fn name(self) -> &'static str {
        match self {
            Self::Admit => "admit",
            Self::Validate => "validate",
        }
    }
}

fn name(operation: Operation) -> &'static str {
    match operation {
        Operation::Create => "CREATE",
        Operation::Update => "UPDATE",
        Operation::Delete => "DELETE",
    }
}
