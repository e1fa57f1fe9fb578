//! CSI drivers.

use coracle_api::{FieldError, FieldPath, Object, format};
use serde_json::{Value, json};

use crate::resources::{
    Column, Strategy, Write,
    columns::{AGE, NAME, boolean},
    rules::{self, Check, Errors, IMMUTABLE, Place, Rule},
    tree::{count, field, list, section, set, text, texts},
};

const WARNING: &str = "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes";

/// The behaviour of CSI drivers.
pub struct CsiDrivers;

impl Strategy for CsiDrivers {
    fn default(&self, object: &mut Object) {
        let spec = object.section_mut("spec");
        let defaults = [
            ("attachRequired", json!(true)),
            ("podInfoOnMount", json!(false)),
            ("storageCapacity", json!(false)),
            ("fsGroupPolicy", json!("ReadWriteOnceWithFSType")),
            ("requiresRepublish", json!(false)),
            ("seLinuxMount", json!(false)),
            ("preventPodSchedulingIfMissing", json!(false)),
        ];
        for (name, value) in defaults {
            spec.entry(name).or_insert(value);
        }
        if spec.get("volumeLifecycleModes").is_none_or(|modes| list(modes).is_empty()) {
            spec.insert("volumeLifecycleModes".to_owned(), json!(["Persistent"]));
        }
    }

    // The generation counts changes only: a new driver has none.
    fn prepare(&self, _write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
        if let Some(old) = old.filter(|old| section(old, "spec") != section(new, "spec")) {
            new.set_meta("generation", Some((old.generation() + 1).into()));
        }
    }

    fn validate(&self, _write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let mut errors = rules::validate(&[Check::Within("spec", SPEC)], new, None);
        if let Some(old) = old {
            let spec = FieldPath::new("spec");
            for (name, shown) in
                [("attachRequired", "attachedRequired"), ("volumeLifecycleModes", "volumeLifecycleModes")]
            {
                let now = field(new, &["spec", name]);
                if now != field(old, &["spec", name]) {
                    errors.push(FieldError::invalid(&spec.child(shown), now.clone(), IMMUTABLE));
                }
            }
        }
        errors
    }

    fn warnings(&self, _write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<String> {
        let requests = field(new, &["spec", "tokenRequests"]);
        let same = old.is_some_and(|old| field(old, &["spec", "tokenRequests"]) == requests);
        if count(requests) == 0 || same || set(field(new, &["spec", "serviceAccountTokenInSecrets"])) {
            return Vec::new();
        }
        vec![WARNING.to_owned()]
    }

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_subdomain(name, prefix)
    }

    fn updates_unconditionally(&self) -> bool {
        false
    }

    fn returns_deleted(&self) -> bool {
        true
    }
}

static SPEC: &[Check] = &[
    Check::Pointer("fsGroupPolicy", &[Rule::OneOf(&["File", "None", "ReadWriteOnceWithFSType"])]),
    Check::With(token_requests),
    Check::With(|spec, errors| {
        const MODES: &[&str] = &["Persistent", "Ephemeral"];
        for mode in spec.texts("volumeLifecycleModes").filter(|mode| !MODES.contains(mode)) {
            errors.push(FieldError::not_supported(&spec.path_of("volumeLifecycleModes"), mode, MODES));
        }
    }),
    Check::Field(
        "nodeAllocatableUpdatePeriodSeconds",
        &[Rule::AtLeast(10, "must be greater than or equal to 10 seconds")],
    ),
    Check::With(|spec, errors| {
        if let Some(value) =
            spec.get("serviceAccountTokenInSecrets").filter(|_| spec.list("tokenRequests").is_empty())
        {
            let detail = "serviceAccountTokenInSecrets is set but no tokenRequests are specified";
            let path = spec.path_of("serviceAccountTokenInSecrets");
            errors.push(FieldError::invalid(&path, value.clone(), detail));
        }
    }),
];

fn token_requests(spec: &Place<'_>, errors: &mut Errors) {
    let requests = spec.list("tokenRequests");
    for (index, request) in requests.iter().enumerate() {
        let path = spec.path_of("tokenRequests").index(index);
        let audience = text(&request["audience"]);
        if requests[..index].iter().any(|it| text(&it["audience"]) == audience) {
            errors.push(FieldError::duplicate(&path.child("audience"), audience));
            continue;
        }
        let Some(seconds) = request["expirationSeconds"].as_i64() else { continue };
        let path = path.child("expirationSeconds");
        if seconds < 600 {
            errors.push(FieldError::invalid(
                &path,
                seconds,
                "may not specify a duration less than 10 minutes",
            ));
        }
        if seconds > 1 << 32 {
            errors.push(FieldError::invalid(
                &path,
                seconds,
                "may not specify a duration larger than 2^32 seconds",
            ));
        }
    }
}

fn audiences(driver: &Object) -> Value {
    match field(driver, &["spec", "tokenRequests"]) {
        Value::Null => "<unset>".into(),
        requests => {
            list(requests).iter().map(|it| text(&it["audience"])).collect::<Vec<_>>().join(",").into()
        }
    }
}

fn modes(driver: &Object) -> Value {
    match texts(field(driver, &["spec", "volumeLifecycleModes"])).join(",").as_str() {
        "" => "<none>".into(),
        modes => modes.into(),
    }
}

/// The columns.
pub static COLUMNS: &[Column] = &[
    NAME,
    Column::new(
        "AttachRequired",
        "boolean",
        "attachRequired indicates this CSI volume driver requires an attach operation (because it implements the CSI ControllerPublishVolume() method), and that the Kubernetes attach detach controller should call the attach volume interface which checks the volumeattachment status and waits until the volume is attached before proceeding to mounting. The CSI external-attacher coordinates with CSI volume driver and updates the volumeattachment status when the attach operation is complete. If the value is specified to false, the attach operation will be skipped. Otherwise the attach operation will be called.\n\nThis field is immutable.",
        |it, _| field(it, &["spec", "attachRequired"]).as_bool().unwrap_or(true).into(),
    ),
    Column::new(
        "PodInfoOnMount",
        "boolean",
        "podInfoOnMount indicates this CSI volume driver requires additional pod information (like podName, podUID, etc.) during mount operations, if set to true. If set to false, pod information will not be passed on mount. Default is false.\n\nThe CSI driver specifies podInfoOnMount as part of driver deployment. If true, Kubelet will pass pod information as VolumeContext in the CSI NodePublishVolume() calls. The CSI driver is responsible for parsing and validating the information passed in as VolumeContext.\n\nThe following VolumeContext will be passed if podInfoOnMount is set to true. This list might grow, but the prefix will be used. \"csi.storage.k8s.io/pod.name\": pod.Name \"csi.storage.k8s.io/pod.namespace\": pod.Namespace \"csi.storage.k8s.io/pod.uid\": string(pod.UID) \"csi.storage.k8s.io/ephemeral\": \"true\" if the volume is an ephemeral inline volume\n                                defined by a CSIVolumeSource, otherwise \"false\"\n\n\"csi.storage.k8s.io/ephemeral\" is a new feature in Kubernetes 1.16. It is only required for drivers which support both the \"Persistent\" and \"Ephemeral\" VolumeLifecycleMode. Other drivers can leave pod info disabled and/or ignore this field. As Kubernetes 1.15 doesn't support this field, drivers can only support one mode when deployed on such a cluster and the deployment determines which mode that is, for example via a command line parameter of the driver.\n\nThis field was immutable in Kubernetes < 1.29 and now is mutable.",
        |it, _| boolean(it, &["spec", "podInfoOnMount"]),
    ),
    Column::new(
        "StorageCapacity",
        "boolean",
        "storageCapacity indicates that the CSI volume driver wants pod scheduling to consider the storage capacity that the driver deployment will report by creating CSIStorageCapacity objects with capacity information, if set to true.\n\nThe check can be enabled immediately when deploying a driver. In that case, provisioning new volumes with late binding will pause until the driver deployment has published some suitable CSIStorageCapacity object.\n\nAlternatively, the driver can be deployed with the field unset or false and it can be flipped later when storage capacity information has been published.\n\nThis field was immutable in Kubernetes <= 1.22 and now is mutable.",
        |it, _| boolean(it, &["spec", "storageCapacity"]),
    ),
    Column::new(
        "TokenRequests",
        "string",
        "tokenRequests indicates the CSI driver needs pods' service account tokens it is mounting volume for to do necessary authentication. Kubelet will pass the tokens in VolumeContext in the CSI NodePublishVolume calls. The CSI driver should parse and validate the following VolumeContext: \"csi.storage.k8s.io/serviceAccount.tokens\": {\n  \"<audience>\": {\n    \"token\": <token>,\n    \"expirationTimestamp\": <expiration timestamp in RFC3339>,\n  },\n  ...\n}\n\nNote: Audience in each TokenRequest should be different and at most one token is empty string. To receive a new token after expiry, RequiresRepublish can be used to trigger NodePublishVolume periodically.",
        |it, _| audiences(it),
    ),
    Column::new(
        "RequiresRepublish",
        "boolean",
        "requiresRepublish indicates the CSI driver wants `NodePublishVolume` being periodically called to reflect any possible change in the mounted volume. This field defaults to false.\n\nNote: After a successful initial NodePublishVolume call, subsequent calls to NodePublishVolume should only update the contents of the volume. New mount points will not be seen by a running container.",
        |it, _| boolean(it, &["spec", "requiresRepublish"]),
    ),
    Column::new(
        "Modes",
        "string",
        "volumeLifecycleModes defines what kind of volumes this CSI volume driver supports. The default if the list is empty is \"Persistent\", which is the usage defined by the CSI specification and implemented in Kubernetes via the usual PV/PVC mechanism.\n\nThe other mode is \"Ephemeral\". In this mode, volumes are defined inline inside the pod spec with CSIVolumeSource and their lifecycle is tied to the lifecycle of that pod. A driver has to be aware of this because it is only going to get a NodePublishVolume call for such a volume.\n\nFor more information about implementing this mode, see https://kubernetes-csi.github.io/docs/ephemeral-local-volumes.html A driver can support one or more of these modes and more modes may be added in the future.\n\nThis field is beta. This field is immutable.",
        |it, _| modes(it),
    ),
    AGE,
];
