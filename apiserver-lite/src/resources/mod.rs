//! The list of all kinds that the server knows, and what differs between them.
//!
//! A kind is a [`Row`]: facts (generated), a [`Strategy`] (behaviour) and the
//! columns of its table. One file a kind, `resources/<group>/<kind>.rs`.

pub mod admissionregistration;
pub mod age;
#[cfg(test)]
mod answers;
pub mod apiextensions;
pub mod apiregistration;
pub mod apps;
pub mod autoscaling;
pub mod batch;
pub mod certificates;
pub mod columns;
pub mod conditions;
pub mod coordination;
pub mod core;
pub mod declared;
pub mod discovery;
pub mod flowcontrol;
pub mod label_selectors;
pub mod meta;
pub mod networking;
pub mod node;
pub mod policy;
pub mod rbac;
#[cfg(test)]
mod recorded;
pub mod resource;
pub mod rules;
pub mod scheduling;
pub mod storage;
pub mod storagemigration;
pub mod tree;
pub mod workloads;

use std::{borrow::Cow, sync::Arc, time::Duration};

use coracle_api::{FieldError, Object, Resource, facts, schema::Ref};
use coracle_store::Revision;
use futures::future::BoxFuture;
use jiff::Timestamp;
use serde_json::Value;

use crate::{
    authn::User,
    custom::columns::PathColumn,
    error::ApiError,
    registry::{
        Registry,
        companions::{Companion, Companions},
        delete::Decision,
        options::DeleteOptions,
    },
};

/// One kind as the server serves it.
#[derive(Clone)]
pub struct Row {
    /// Its names, verbs, key and schema.
    pub facts: Ref<Resource>,
    /// What it does differently.
    pub strategy: Arc<dyn Strategy>,
    /// The columns of its table.
    pub columns: Cow<'static, [Column]>,
}

/// What a built-in kind adds to its facts: one line a kind.
pub struct Builtin {
    /// Its group.
    pub group: &'static str,
    /// Its plural name.
    pub plural: &'static str,
    /// Its behaviour in all versions of the group.
    pub strategy: fn() -> Arc<dyn Strategy>,
    /// Its columns.
    pub columns: &'static [Column],
}

const fn kind(
    group: &'static str,
    plural: &'static str,
    strategy: fn() -> Arc<dyn Strategy>,
    columns: &'static [Column],
) -> Builtin {
    Builtin { group, plural, strategy, columns }
}

/// The kinds that do something of their own. All others are [`Plain`].
#[rustfmt::skip]
static BUILTINS: &[Builtin] = &[
    kind("", "bindings", || Arc::new(core::bindings::Bindings), DEFAULT_COLUMNS),
    kind("", "componentstatuses", || Arc::new(core::componentstatuses::ComponentStatuses), core::componentstatuses::COLUMNS),
    kind("", "configmaps", || Arc::new(core::configmaps::ConfigMaps), core::configmaps::COLUMNS),
    kind("", "endpoints", || Arc::new(core::endpoints::Endpoints), core::endpoints::COLUMNS),
    kind("", "events", || Arc::new(core::events::Events), core::events::COLUMNS),
    kind("", "limitranges", || Arc::new(core::limitranges::LimitRanges), core::limitranges::COLUMNS),
    kind("", "namespaces", || Arc::new(core::namespaces::Namespaces), core::namespaces::COLUMNS),
    kind("", "nodes", || Arc::new(core::nodes::Nodes), core::nodes::COLUMNS),
    kind("", "persistentvolumeclaims", || Arc::new(core::persistentvolumeclaims::PersistentVolumeClaims), core::persistentvolumeclaims::COLUMNS),
    kind("", "persistentvolumes", || Arc::new(core::persistentvolumes::PersistentVolumes), core::persistentvolumes::COLUMNS),
    kind("", "pods", || Arc::new(core::pods::Pods), core::pods::columns::COLUMNS),
    kind("", "podtemplates", || Arc::new(core::podtemplates::PodTemplates), core::podtemplates::COLUMNS),
    kind("", "replicationcontrollers", || Arc::new(core::replicationcontrollers::ReplicationControllers), core::replicationcontrollers::COLUMNS),
    kind("apps", "controllerrevisions", || Arc::new(apps::controllerrevisions::ControllerRevisions), apps::controllerrevisions::COLUMNS),
    kind("apps", "daemonsets", || Arc::new(apps::daemonsets::DaemonSets), apps::daemonsets::COLUMNS),
    kind("apps", "deployments", || Arc::new(apps::deployments::Deployments), apps::deployments::COLUMNS),
    kind("apps", "replicasets", || Arc::new(apps::replicasets::ReplicaSets), apps::replicasets::COLUMNS),
    kind("apps", "statefulsets", || Arc::new(apps::statefulsets::StatefulSets), apps::statefulsets::COLUMNS),
    kind("batch", "cronjobs", || Arc::new(batch::cronjobs::CronJobs), batch::cronjobs::COLUMNS),
    kind("batch", "jobs", || Arc::new(batch::jobs::Jobs), batch::jobs::COLUMNS),
    kind("", "resourcequotas", || Arc::new(core::resourcequotas::ResourceQuotas), core::resourcequotas::COLUMNS),
    kind("", "secrets", || Arc::new(core::secrets::Secrets), core::secrets::COLUMNS),
    kind("", "serviceaccounts", || Arc::new(core::serviceaccounts::ServiceAccounts), core::serviceaccounts::COLUMNS),
    kind("", "services", || Arc::new(core::services::Services::new()), core::services::COLUMNS),
    kind("events.k8s.io", "events", || Arc::new(core::events::Events), core::events::COLUMNS),
    kind("admissionregistration.k8s.io", "mutatingadmissionpolicies", || Arc::new(admissionregistration::policies::AdmissionPolicies { mutating: true }), admissionregistration::policies::MUTATING),
    kind("admissionregistration.k8s.io", "mutatingadmissionpolicybindings", || Arc::new(admissionregistration::bindings::PolicyBindings { mutating: true }), admissionregistration::bindings::COLUMNS),
    kind("admissionregistration.k8s.io", "mutatingwebhookconfigurations", || Arc::new(admissionregistration::webhooks::WebhookConfigurations { mutating: true }), admissionregistration::webhooks::COLUMNS),
    kind("admissionregistration.k8s.io", "validatingadmissionpolicies", || Arc::new(admissionregistration::policies::AdmissionPolicies { mutating: false }), admissionregistration::policies::VALIDATING),
    kind("admissionregistration.k8s.io", "validatingadmissionpolicybindings", || Arc::new(admissionregistration::bindings::PolicyBindings { mutating: false }), admissionregistration::bindings::COLUMNS),
    kind("admissionregistration.k8s.io", "validatingwebhookconfigurations", || Arc::new(admissionregistration::webhooks::WebhookConfigurations { mutating: false }), admissionregistration::webhooks::COLUMNS),
    kind("apiextensions.k8s.io", "customresourcedefinitions", || Arc::new(apiextensions::customresourcedefinitions::CustomResourceDefinitions), apiextensions::customresourcedefinitions::COLUMNS),
    kind("apiregistration.k8s.io", "apiservices", || Arc::new(apiregistration::apiservices::ApiServices), apiregistration::apiservices::COLUMNS),
    kind("autoscaling", "horizontalpodautoscalers", || Arc::new(autoscaling::horizontalpodautoscalers::HorizontalPodAutoscalers), autoscaling::horizontalpodautoscalers::COLUMNS),
    kind("certificates.k8s.io", "certificatesigningrequests", || Arc::new(certificates::certificatesigningrequests::CertificateSigningRequests), certificates::certificatesigningrequests::COLUMNS),
    kind("certificates.k8s.io", "clustertrustbundles", || Arc::new(certificates::clustertrustbundles::ClusterTrustBundles), certificates::clustertrustbundles::COLUMNS),
    kind("certificates.k8s.io", "podcertificaterequests", || Arc::new(certificates::podcertificaterequests::PodCertificateRequests), certificates::podcertificaterequests::COLUMNS),
    kind("coordination.k8s.io", "leases", || Arc::new(coordination::leases::Leases), coordination::leases::COLUMNS),
    kind("discovery.k8s.io", "endpointslices", || Arc::new(discovery::endpointslices::EndpointSlices), discovery::endpointslices::COLUMNS),
    kind("flowcontrol.apiserver.k8s.io", "flowschemas", || Arc::new(flowcontrol::flowschemas::FlowSchemas), flowcontrol::flowschemas::COLUMNS),
    kind("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations", || Arc::new(flowcontrol::prioritylevelconfigurations::PriorityLevelConfigurations), flowcontrol::prioritylevelconfigurations::COLUMNS),
    kind("networking.k8s.io", "ingressclasses", || Arc::new(networking::ingressclasses::IngressClasses), networking::ingressclasses::COLUMNS),
    kind("networking.k8s.io", "ingresses", || Arc::new(networking::ingresses::Ingresses), networking::ingresses::COLUMNS),
    kind("networking.k8s.io", "ipaddresses", || Arc::new(networking::ipaddresses::IpAddresses), networking::ipaddresses::COLUMNS),
    kind("networking.k8s.io", "networkpolicies", || Arc::new(networking::networkpolicies::NetworkPolicies), networking::networkpolicies::COLUMNS),
    kind("networking.k8s.io", "servicecidrs", || Arc::new(networking::servicecidrs::ServiceCidrs), networking::servicecidrs::COLUMNS),
    kind("node.k8s.io", "runtimeclasses", || Arc::new(node::runtimeclasses::RuntimeClasses), node::runtimeclasses::COLUMNS),
    kind("policy", "poddisruptionbudgets", || Arc::new(policy::poddisruptionbudgets::PodDisruptionBudgets), policy::poddisruptionbudgets::COLUMNS),
    kind("rbac.authorization.k8s.io", "clusterrolebindings", || Arc::new(rbac::bindings::ClusterRoleBindings), rbac::bindings::CLUSTER_COLUMNS),
    kind("rbac.authorization.k8s.io", "clusterroles", || Arc::new(rbac::roles::ClusterRoles), rbac::roles::COLUMNS),
    kind("rbac.authorization.k8s.io", "rolebindings", || Arc::new(rbac::bindings::RoleBindings), rbac::bindings::COLUMNS),
    kind("rbac.authorization.k8s.io", "roles", || Arc::new(rbac::roles::Roles), rbac::roles::COLUMNS),
    kind("resource.k8s.io", "deviceclasses", || Arc::new(resource::deviceclasses::DeviceClasses), resource::deviceclasses::COLUMNS),
    kind("resource.k8s.io", "devicetaintrules", || Arc::new(resource::devicetaintrules::DeviceTaintRules), resource::devicetaintrules::COLUMNS),
    kind("resource.k8s.io", "resourceclaims", || Arc::new(resource::claims::ResourceClaims), resource::claims::COLUMNS),
    kind("resource.k8s.io", "resourceclaimtemplates", || Arc::new(resource::claims::ResourceClaimTemplates), resource::claims::TEMPLATE_COLUMNS),
    kind("resource.k8s.io", "resourceslices", || Arc::new(resource::resourceslices::ResourceSlices), resource::resourceslices::COLUMNS),
    kind("scheduling.k8s.io", "priorityclasses", || Arc::new(scheduling::priorityclasses::PriorityClasses), scheduling::priorityclasses::COLUMNS),
    kind("storage.k8s.io", "csidrivers", || Arc::new(storage::csidrivers::CsiDrivers), storage::csidrivers::COLUMNS),
    kind("storage.k8s.io", "csinodes", || Arc::new(storage::csinodes::CsiNodes), storage::csinodes::COLUMNS),
    kind("storage.k8s.io", "csistoragecapacities", || Arc::new(storage::csistoragecapacities::CsiStorageCapacities), storage::csistoragecapacities::COLUMNS),
    kind("storage.k8s.io", "storageclasses", || Arc::new(storage::storageclasses::StorageClasses), storage::storageclasses::COLUMNS),
    kind("storage.k8s.io", "volumeattachments", || Arc::new(storage::volumeattachments::VolumeAttachments), storage::volumeattachments::COLUMNS),
    kind("storage.k8s.io", "volumeattributesclasses", || Arc::new(storage::volumeattributesclasses::VolumeAttributesClasses), storage::volumeattributesclasses::COLUMNS),
    kind("storagemigration.k8s.io", "storageversionmigrations", || Arc::new(storagemigration::storageversionmigrations::StorageVersionMigrations), storagemigration::storageversionmigrations::COLUMNS),
];

/// Every built-in kind that is served by default, in discovery's order. Kinds
/// that keep state (services: what addresses and ports are taken) keep it in
/// the rows given here.
pub fn builtins() -> Vec<Row> {
    let rows = facts::RESOURCES.iter().map(|resource| {
        let own = BUILTINS.iter().find(|it| it.group == resource.gvk.group && it.plural == resource.plural);
        Row {
            facts: Ref::Static(resource),
            strategy: own.map_or_else(|| Arc::new(Plain) as Arc<dyn Strategy>, |own| (own.strategy)()),
            columns: Cow::Borrowed(own.map_or(DEFAULT_COLUMNS, |own| own.columns)),
        }
    });
    rows.collect()
}

/// A kind with no behaviour of its own: stored, listed, watched, and checked
/// by its schema.
pub struct Plain;

impl Strategy for Plain {}

/// Which part of an object a write is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'a> {
    /// The object itself: everything but its status.
    Whole,
    /// `/status`
    Status,
    /// Another subresource of the object's own kind: `resize`,
    /// `ephemeralcontainers`, `approval`, `finalize`.
    Other(&'a str),
}

/// What a strategy may know about the write that it takes part in.
pub struct Write<'a> {
    /// Which part is written.
    pub part: Part<'a>,
    /// The cluster's time.
    pub now: Timestamp,
    /// Who writes.
    pub user: &'a User,
    /// The version that the client speaks, `v1`, `autoscaling/v1`: some rules
    /// differ by it.
    pub api_version: &'a str,
    /// Whether nothing will be stored.
    pub dry_run: bool,
}

/// What a write took in [`Strategy::begin`]. Dropped, it gives all of it back,
/// so nothing leaks on whatever way out of the write; [kept](Claim::keep), the
/// object has it.
#[derive(Default)]
pub struct Claim {
    taken: Option<Box<dyn Taken>>,
    /// The objects that stand for what was taken.
    pub companions: Companions,
    /// What was found wrong on the way, which is said before all else.
    pub errors: Vec<FieldError>,
}

/// What a [`Claim`] holds. Its drop gives back.
pub trait Taken: Send + Sync {
    /// The write is committed: what it took stays taken, and what the object
    /// no longer has is free.
    fn keep(self: Box<Self>);
}

impl Claim {
    /// A claim of what was taken.
    pub fn of(taken: impl Taken + 'static) -> Self {
        Self { taken: Some(Box::new(taken)), ..Self::default() }
    }

    /// The write is committed.
    pub fn keep(self) {
        if let Some(taken) = self.taken {
            taken.keep();
        }
    }
}

/// What differs by kind. Every method has the default that most kinds use.
///
/// Order in a write: decode -> `default` -> (mutating admission) ->
/// `to_storage` -> `prepare` -> `validate` -> (validating admission)
/// -> `canonicalize` -> commit. `default` and admission see the version that
/// the client speaks, all others the stored one.
/// Objects are in canonical form (see `schema`): unset optional fields absent.
pub trait Strategy: Send + Sync + 'static {
    /// Sets the version's defaults, as upstream does on decoding.
    fn default(&self, _object: &mut Object) {}

    /// The same for defaults that are times, which come after those.
    fn default_at(&self, _object: &mut Object, _now: Timestamp) {}

    /// Resets what a client may not set and counts generations. `old` is
    /// there for updates. The default keeps the status out of writes to the
    /// whole and everything else out of writes to the status, and counts the
    /// generation of kinds with a spec.
    fn prepare(&self, write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
        prepare(write, new, old);
    }

    /// Everything that is wrong with the object, in upstream's order.
    /// `ObjectMeta` is validated before this, with [`Strategy::name`] as the
    /// rule for names.
    fn validate(&self, _write: &Write<'_>, _new: &Object, _old: Option<&Object>) -> Vec<FieldError> {
        Vec::new()
    }

    /// Everything that is wrong with the object and its metadata.
    fn check(
        &self,
        write: &Write<'_>,
        namespaced: bool,
        new: &Object,
        old: Option<&Object>,
    ) -> Vec<FieldError> {
        check(self, write, namespaced, new, old)
    }

    /// `Warning` headers for the client.
    fn warnings(&self, _write: &Write<'_>, _new: &Object, _old: Option<&Object>) -> Vec<String> {
        Vec::new()
    }

    /// What is wrong with a name; `prefix` for the part that `generateName`
    /// gives.
    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        let _ = (name, prefix);
        Vec::new()
    }

    /// The same, where it depends on the object.
    fn name_of(&self, _object: &Object, name: &str, prefix: bool) -> Vec<String> {
        self.name(name, prefix)
    }

    /// Whether objects of a kind that has namespaces are selected by them.
    fn selects_namespaces(&self) -> bool {
        true
    }

    /// The values of the field selectors that the kind has besides
    /// `metadata.name` and `metadata.namespace`, in a fixed order: every label
    /// each time, an unset one as the empty string.
    fn selectable(&self, _object: &Object) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// The names of those field selectors, in the same order.
    fn selectors(&self) -> &'static [&'static str] {
        &[]
    }

    /// The values of all field selectors besides the name and the namespace:
    /// those of [`Self::selectable`], and where a kind is made at run time,
    /// those that it was made with.
    fn fields(&self, object: &Object) -> Vec<(Cow<'static, str>, String)> {
        self.selectable(object).into_iter().map(|(name, value)| (Cow::Borrowed(name), value)).collect()
    }

    /// Whether such a field selector is known.
    fn selects(&self, name: &str) -> bool {
        self.selectors().contains(&name)
    }

    /// The field selector that clients of this version call `name`, if there
    /// is one.
    fn selector<'a>(&self, name: &'a str, _api_version: &str) -> Option<&'a str> {
        self.selects(name).then_some(name)
    }

    /// Tells what [`Self::fields`] says apart from what it said before the kind
    /// changed.
    fn stamp(&self) -> u64 {
        0
    }

    /// What its CRD says of the version, where there is one.
    fn said(&self) -> Option<Value> {
        None
    }

    /// Whether an update of what is not there creates it.
    fn creates_on_update(&self) -> bool {
        false
    }

    /// Whether an update may leave the resourceVersion out.
    fn updates_unconditionally(&self) -> bool {
        true
    }

    /// Brings an object, in whichever version it is, into the stored version's
    /// form. Only kinds whose versions differ in form do something.
    fn to_storage(&self, _object: &mut Object) {}

    /// Brings an object of the stored version into the form of `api_version`.
    #[allow(clippy::wrong_self_convention, reason = "the strategy converts, it is not made")]
    fn from_storage(&self, _object: &mut Object, _api_version: &str) {}

    /// What becomes of an object on its way to the stored form and back: who wrote it owns the fields that
    /// it has by then.
    fn converted(&self, _object: &mut Object, _api_version: &str) {}

    /// A list of which it counts whether an empty one was sent. Nobody owns that.
    fn counts_empty(&self) -> Option<&'static str> {
        None
    }

    /// Whether an object that was stored at this revision is shown as its bytes
    /// are. Objects of kinds that changed since are brought up to date first,
    /// by [`Self::revive`].
    fn shows_as_stored(&self, _stored: Revision) -> bool {
        true
    }

    /// Brings a stored object to what the kind is today, in the version that
    /// is stored.
    fn revive(&self, _object: &mut Object, _stored: Revision) {}

    /// Lays an object out as it is stored, where that is not as its schema
    /// says; whether it did.
    fn seal(&self, _object: &mut Object) -> bool {
        false
    }

    /// What an object of the kind has that has nothing, once upstream's
    /// internal version was made of it: bookmarks show it.
    fn fill_empty(&self, _object: &mut Object) {}

    /// The number by which tables are sorted before names, where they are.
    fn rank(&self) -> Option<fn(&Object) -> i64> {
        None
    }

    /// Whether each event of a watch of tables has the headings, and not the
    /// first alone.
    fn repeats_headings(&self) -> bool {
        false
    }

    /// Whether the kind itself is being deleted: nothing is made any more.
    fn going(&self) -> bool {
        false
    }

    /// Tells a kind that changed meanwhile that an object was still stored at
    /// this revision as it was before.
    fn stored_before(&self, _stored: Revision) {}

    /// Why this version cannot be served, whatever is asked of it.
    fn unusable(&self) -> Option<ApiError> {
        None
    }

    /// Where the numbers of the `scale` subresource are.
    fn scale(&self) -> &ScalePaths {
        &BUILTIN_SCALE
    }

    /// Whether objects of the kind are deleted with grace (pods).
    fn graceful(&self) -> bool {
        false
    }

    /// Seconds of grace for a first deletion that asks for `asked`, where the
    /// kind is [graceful](Self::graceful). `None` deletes at once; `Some(0)` is
    /// marked, then deleted; more leaves it to its owner.
    fn grace(&self, _object: &Object, asked: Option<i64>) -> Option<i64> {
        asked
    }

    /// What a deletion does, where that is not the general way (namespaces).
    fn deletion(&self, _object: &Object, _options: &DeleteOptions, _now: Timestamp) -> Option<Decision> {
        None
    }

    /// Whether an object that is being deleted and has no finalizers left may
    /// go (namespaces hold on to `spec.finalizers`).
    fn may_go(&self, _object: &Object) -> bool {
        true
    }

    /// What every client of the kind is told: that it is deprecated, and since
    /// when.
    fn deprecated(&self) -> Option<&str> {
        None
    }

    /// Why the object of that name may not be deleted, whoever asks. Deletions
    /// of collections do not ask.
    fn undeletable(&self, _name: &str) -> Option<&'static str> {
        None
    }

    /// `Warning` headers for who deletes with these options.
    fn deletion_warnings(&self, _options: &DeleteOptions) -> Vec<String> {
        Vec::new()
    }

    /// Annotations that stand for fields which only upstream's internal version
    /// has: tables do not show them.
    fn carriers(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether a deletion answers with the object and not with a Status.
    fn returns_deleted(&self) -> bool {
        false
    }

    /// Whether finalizers must be qualified names (not for custom resources and
    /// the kinds that extend the API).
    fn qualifies_finalizers(&self) -> bool {
        true
    }

    /// Whether the garbage collector's finalizers are set on the kind (events
    /// are not collected).
    fn is_collected(&self) -> bool {
        true
    }

    /// Whether dependents are orphaned when a deletion does not say (old kinds).
    fn orphans_by_default(&self) -> bool {
        false
    }

    /// How long the store keeps the object (events).
    fn ttl(&self, _object: &Object) -> Option<Duration> {
        None
    }

    /// Looks other objects up, or takes what the object needs (cluster IPs,
    /// node ports), between `prepare` and `validate`. Takes nothing in a dry
    /// run.
    fn begin<'a>(
        &'a self,
        _registry: &'a Registry,
        _write: &'a Write<'a>,
        _new: &'a mut Object,
        _old: Option<&'a Object>,
    ) -> BoxFuture<'a, Result<Claim, ApiError>> {
        Box::pin(std::future::ready(Ok(Claim::default())))
    }

    /// Gives back what a deleted object had.
    fn removed(&self, _object: &Object) {}

    /// The objects that stand for what an object has; they go with it.
    fn companions(&self, _object: &Object) -> Vec<Companion> {
        Vec::new()
    }
}

/// The default of [`Strategy::check`].
pub fn check(
    strategy: &(impl Strategy + ?Sized),
    write: &Write<'_>,
    namespaced: bool,
    new: &Object,
    old: Option<&Object>,
) -> Vec<FieldError> {
    let mut errors = match old {
        None => meta::validate(new, namespaced, |name, prefix| strategy.name_of(new, name, prefix)),
        Some(old) => meta::validate_update(new, old),
    };
    if strategy.qualifies_finalizers() {
        errors.extend(meta::finalizer_names(new));
    }
    errors.extend(strategy.validate(write, new, old));
    errors
}

/// [`Strategy::prepare`] for kinds that count no generation: keeps the status
/// out of writes to the whole and the spec out of writes to the status.
pub fn separate(write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
    match (write.part, old) {
        (Part::Whole, None) => {
            new.0.remove("status");
        }
        (Part::Whole, Some(old)) => restore(new, old, "status"),
        (Part::Status, Some(old)) => restore(new, old, "spec"),
        _ => {}
    }
}

/// As [`separate`], for kinds whose metadata cannot be written by the way of the
/// status.
pub fn separate_wholly(write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
    separate(write, new, old);
    keep_metadata(write, new, old);
}

/// Takes back what a write to the status did to the metadata.
pub fn keep_metadata(write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
    if let (Part::Status, Some(old)) = (write.part, old) {
        meta::keep(new, old);
    }
}

/// The default of [`Strategy::prepare`].
pub fn prepare(write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
    match (write.part, old) {
        (Part::Whole, None) => {
            new.0.remove("status");
            if new.0.contains_key("spec") {
                new.set_meta("generation", Some(1.into()));
            }
        }
        (Part::Whole, Some(old)) => {
            restore(new, old, "status");
            if new.0.get("spec") != old.0.get("spec") {
                new.set_meta("generation", Some((old.generation() + 1).into()));
            }
        }
        (Part::Status, Some(old)) => restore(new, old, "spec"),
        _ => {}
    }
}

/// Puts a top-level field of `new` back to what it is in `old`.
pub fn restore(new: &mut Object, old: &Object, field: &str) {
    match old.0.get(field) {
        Some(value) => {
            new.0.insert(field.to_owned(), value.clone());
        }
        None => {
            new.0.remove(field);
        }
    }
}

/// A column of a kind's table.
#[derive(Clone)]
pub struct Column {
    /// The heading.
    pub name: Cow<'static, str>,
    /// `string`, `integer`, `date` ...
    pub kind: Cow<'static, str>,
    /// `name` for the name column.
    pub format: Cow<'static, str>,
    /// What it shows.
    pub description: Cow<'static, str>,
    /// 0 always, 1 with `-o wide`.
    pub priority: i32,
    /// What stands in it.
    pub cell: Cell,
}

/// How a column's value is found.
#[derive(Clone)]
pub enum Cell {
    /// Computed. The time is now: ages are relative to it.
    Of(fn(&Object, Timestamp) -> Value),
    /// How long ago the time at a path is.
    Since(&'static [&'static str]),
    /// At a path that a CRD gives.
    Path(Arc<PathColumn>),
}

impl Cell {
    /// What stands in the cell of an object.
    pub fn of(&self, object: &Object, now: Timestamp) -> Value {
        match self {
            Self::Of(cell) => cell(object, now),
            Self::Since(path) => columns::since(object, path, now),
            Self::Path(column) => column.cell(object, now),
        }
    }

    /// The time whose age is all that stands in the cell of an object.
    pub fn moment(&self, object: &Object) -> Option<Timestamp> {
        match self {
            Self::Of(_) => None,
            Self::Since(path) => object.get(path).and_then(Value::as_str)?.parse().ok(),
            Self::Path(column) => column.moment(object),
        }
    }
}

/// Where the numbers of a scale are in its object.
#[derive(Debug, Clone)]
pub struct ScalePaths {
    /// The replicas that are wanted.
    pub replicas: Cow<'static, [Cow<'static, str>]>,
    /// The replicas that are there.
    pub current: Cow<'static, [Cow<'static, str>]>,
    /// The text of a selector. Built-in kinds have a selector in their spec.
    pub selector: Option<Cow<'static, [Cow<'static, str>]>>,
    /// Whether the paths are those of a CRD, and may lead nowhere.
    pub custom: bool,
}

static BUILTIN_SCALE: ScalePaths = ScalePaths {
    replicas: Cow::Borrowed(&[Cow::Borrowed("spec"), Cow::Borrowed("replicas")]),
    current: Cow::Borrowed(&[Cow::Borrowed("status"), Cow::Borrowed("replicas")]),
    selector: None,
    custom: false,
};

impl Column {
    /// A column that always shows.
    pub const fn new(
        name: &'static str,
        kind: &'static str,
        description: &'static str,
        cell: fn(&Object, Timestamp) -> Value,
    ) -> Self {
        Self::with(name, kind, description, Cell::Of(cell))
    }

    /// The same for any cell.
    pub const fn with(name: &'static str, kind: &'static str, description: &'static str, cell: Cell) -> Self {
        Self {
            name: Cow::Borrowed(name),
            kind: Cow::Borrowed(kind),
            format: Cow::Borrowed(""),
            description: Cow::Borrowed(description),
            priority: 0,
            cell,
        }
    }
}

/// What a kind without columns of its own shows: its name and when it was made.
pub static DEFAULT_COLUMNS: &[Column] = &[columns::NAME, columns::CREATED_AT];
