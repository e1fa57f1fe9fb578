//! What rules read besides nodes and pods.

use std::sync::Arc;

use coracle_controllers::framework::{Change, Clock, Reflected, Setup, Store};
use k8s_openapi::api::{
    apps::v1::{ReplicaSet, StatefulSet},
    core::v1::{Namespace, PersistentVolume, PersistentVolumeClaim, ReplicationController, Service},
    policy::v1::PodDisruptionBudget,
    resource::v1::{DeviceClass, DeviceTaintRule, ResourceClaim, ResourceSlice},
    storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment},
};
use kube::{Api, Client, Resource, api::ListParams};

use crate::{
    plugin::{Event, Happening},
    plugins::dynamic_resources::{Ledger, extended, pools, uses},
};

/// The name of the index of volume attachments by node.
pub(crate) const BY_NODE: &str = "scheduler/node";

macro_rules! objects {
    ($($(#[$doc:meta])* $name:ident: $kind:ty),* $(,)?) => {
        /// What rules read besides nodes and pods, as last seen.
        #[derive(Clone, Default)]
        pub struct Objects {
            $($(#[$doc])* pub $name: Arc<Store<$kind>>,)*
            /// What becomes of claims of devices, where the API does not show it yet.
            pub(crate) ledger: Arc<Ledger>,
            /// The time.
            pub(crate) clock: Clock,
        }

        impl Objects {
            /// What the process's reflectors keep.
            pub fn reflect(setup: &mut Setup) -> Self {
                let objects = Self {
                    $($name: setup.reflect::<$kind>().store().clone(),)*
                    ledger: Arc::default(),
                    clock: setup.clock.clone(),
                };
                objects.indexed()
            }

            /// What is there now.
            /// # Errors
            /// The API does not list them.
            pub async fn list(client: &Client) -> Result<Self, kube::Error> {
                let (ledger, clock) = Default::default();
                Ok(Self { $($name: list::<$kind>(client).await?,)* ledger, clock }.indexed())
            }

            /// Tells when each is here.
            pub fn synced(&self) -> Vec<tokio::sync::watch::Receiver<bool>> {
                vec![$(self.$name.synced(),)*]
            }
        }
    };
}

objects! {
    /// For the labels that namespaces are selected by.
    namespaces: Namespace,
    /// Their selectors spread pods that do not say how.
    services: Service,
    /// Likewise.
    replication_controllers: ReplicationController,
    /// Likewise.
    replica_sets: ReplicaSet,
    /// Likewise.
    stateful_sets: StatefulSet,
    /// How many pods may be missed.
    budgets: PodDisruptionBudget,
    /// What pods want of storage.
    claims: PersistentVolumeClaim,
    /// What is bound to claims, or could be.
    volumes: PersistentVolume,
    /// How claims are bound.
    classes: StorageClass,
    /// What each node's drivers can attach.
    csi_nodes: CSINode,
    /// What drivers say of capacity.
    csi_drivers: CSIDriver,
    /// Where there is how much.
    capacities: CSIStorageCapacity,
    /// What is attached already.
    attachments: VolumeAttachment,
    /// What pods want of devices.
    resource_claims: ResourceClaim,
    /// The devices.
    resource_slices: ResourceSlice,
    /// Sorts of devices.
    device_classes: DeviceClass,
    /// What keeps pods from devices.
    taint_rules: DeviceTaintRule,
}

impl Objects {
    /// Calls `tell` when storage or devices change, with what that is to
    /// waiting pods.
    pub(crate) fn on_change(setup: &mut Setup, tell: impl Fn(Event<'_>) + Clone + Send + Sync + 'static) {
        fn hook<K: Reflected + Resource<DynamicType = ()>>(
            setup: &mut Setup,
            happening: Happening,
            tell: impl Fn(Event<'_>) + Send + Sync + 'static,
        ) {
            setup.reflect::<K>().on_change(move |_| tell(happening.into()));
        }
        hook::<PersistentVolumeClaim>(setup, Happening::Storage, tell.clone());
        hook::<PersistentVolume>(setup, Happening::Storage, tell.clone());
        hook::<StorageClass>(setup, Happening::Storage, tell.clone());
        hook::<CSINode>(setup, Happening::Storage, tell.clone());
        hook::<CSIDriver>(setup, Happening::Storage, tell.clone());
        hook::<CSIStorageCapacity>(setup, Happening::Storage, tell.clone());
        hook::<VolumeAttachment>(setup, Happening::Storage, tell.clone());
        hook::<ResourceSlice>(setup, Happening::Devices, tell.clone());
        hook::<DeviceClass>(setup, Happening::Devices, tell.clone());
        hook::<DeviceTaintRule>(setup, Happening::Devices, tell.clone());
        setup.reflect::<ResourceClaim>().on_change(move |change: &Change<'_, ResourceClaim>| {
            let claims = (change.before.map(Arc::as_ref), change.after.map(Arc::as_ref));
            tell(Event { claims, ..Happening::Claim.into() });
        });
    }

    pub(crate) fn indexed(self) -> Self {
        self.attachments.index(BY_NODE, |attachment| vec![attachment.spec.node_name.clone()]);
        self.resource_slices.index(pools::BY_NODE, pools::nodes);
        self.resource_slices.index(pools::BY_POOL, pools::pools);
        self.resource_claims.index(uses::BY_DEVICE, uses::used);
        self.device_classes.index(extended::BY_RESOURCE, extended::resources);
        self
    }
}

async fn list<K: Reflected + Resource<DynamicType = ()>>(
    client: &Client,
) -> Result<Arc<Store<K>>, kube::Error> {
    let all = Api::<K>::all(client.clone()).list(&ListParams::default()).await?;
    Ok(Arc::new(Store::of(all.items)))
}
