//! What a persistent volume may be made of: one source a volume.

use coracle_api::{FieldError, FieldPath, Object, format};
use serde_json::{Map, Value, json};

use crate::resources::{
    rules::{self, Check, Place, Rule},
    tree::{entries, object_mut, or_default, or_unset, section, text},
};

/// The sources in upstream's order: the field, where upstream reports that it
/// is one too many, where it reports what is wrong in it, and the rules.
static SOURCES: &[(&str, &str, &str, &[Check])] = &[
    ("hostPath", "hostPath", "hostPath", HOST_PATH),
    ("gcePersistentDisk", "gcePersistentDisk", "persistentDisk", GCE),
    ("awsElasticBlockStore", "awsElasticBlockStore", "awsElasticBlockStore", AWS),
    ("glusterfs", "glusterfs", "glusterfs", GLUSTERFS),
    ("flocker", "flocker", "flocker", FLOCKER),
    ("nfs", "nfs", "nfs", NFS),
    ("rbd", "rbd", "rbd", RBD),
    ("quobyte", "quobyte", "quobyte", QUOBYTE),
    ("cephfs", "cephFS", "cephfs", CEPH),
    ("iscsi", "iscsi", "iscsi", ISCSI),
    ("cinder", "cinder", "cinder", CINDER),
    ("fc", "fc", "fc", FC),
    ("flexVolume", "", "flexVolume", FLEX),
    ("azureFile", "azureFile", "azureFile", AZURE_FILE),
    ("vsphereVolume", "vsphereVolume", "vsphereVolume", &[Check::Field("volumePath", REQUIRED)]),
    (
        "photonPersistentDisk",
        "photonPersistentDisk",
        "photonPersistentDisk",
        &[Check::Field("pdID", REQUIRED)],
    ),
    ("portworxVolume", "portworxVolume", "portworxVolume", &[Check::Field("volumeID", REQUIRED)]),
    ("azureDisk", "azureDisk", "azureDisk", AZURE_DISK),
    ("scaleIO", "scaleIO", "scaleIO", SCALE_IO),
    ("local", "local", "local", LOCAL),
    ("storageos", "storageos", "storageos", STORAGE_OS),
    ("csi", "csi", "csi", CSI),
];

const REQUIRED: &[Rule] = &[Rule::Required("")];

/// The defaults of the sources.
pub fn default(spec: &mut Map<String, Value>) {
    if let Some(host) = object_mut(spec, "hostPath") {
        // An empty type means that nothing is checked before mounting.
        host.entry("type").or_insert_with(|| "".into());
    }
    if let Some(rbd) = object_mut(spec, "rbd") {
        or_default(rbd, "pool", "rbd");
        or_default(rbd, "user", "admin");
        or_default(rbd, "keyring", "/etc/ceph/keyring");
    }
    if let Some(iscsi) = object_mut(spec, "iscsi") {
        or_default(iscsi, "iscsiInterface", "default");
    }
    if let Some(disk) = object_mut(spec, "azureDisk") {
        or_unset(disk, "cachingMode", "ReadWrite");
        or_unset(disk, "kind", "Shared");
        or_unset(disk, "fsType", "ext4");
        disk.entry("readOnly").or_insert_with(|| false.into());
    }
    if let Some(scale) = object_mut(spec, "scaleIO") {
        or_default(scale, "storageMode", "ThinProvisioned");
        or_default(scale, "fsType", "xfs");
    }
}

/// The sources that a volume's spec names.
pub fn of(volume: &Object) -> Value {
    let spec = section(volume, "spec");
    let named = SOURCES.iter().filter_map(|(name, ..)| Some(((*name).to_owned(), spec.get(name)?.clone())));
    Value::Object(named.collect())
}

/// Requires one source, and what that one needs. `placed`: it is said which
/// nodes the volume can be reached from.
pub fn check(spec: &Place<'_>, placed: bool, errors: &mut Vec<FieldError>) {
    let named = spec.above().and_then(|object| object.get("metadata"));
    let volume = Volume { name: text(named.map_or(&Value::Null, |it| &it["name"])).to_owned() };
    let mut found = 0;
    for (name, more, within, checks) in SOURCES {
        let Some(source) = spec.get(name) else { continue };
        if found > 0 && !more.is_empty() {
            let detail = "may not specify more than 1 volume type";
            errors.push(FieldError::forbidden(&spec.path_of(more), detail));
            continue;
        }
        found += 1;
        let path = spec.path_of(within);
        rules::check(checks, &Place::at(path.as_str(), source, None).knowing(&volume), errors);
        match *name {
            "local" if !placed => errors.push(FieldError::required(
                &spec.path_of("nodeAffinity"),
                "Local volume requires node affinity",
            )),
            _ => {}
        }
    }
    if found == 0 {
        errors.push(FieldError::required(&spec.path(), "must specify a volume type"));
    }
}

// What sources know of the volume that they are in.
struct Volume {
    name: String,
}

static HOST_PATH: &[Check] = &[
    Check::Field("path", REQUIRED),
    Check::With(no_steps_back),
    Check::With(|host, errors| {
        const TYPES: &[&str] = &[
            "",
            "BlockDevice",
            "CharDevice",
            "Directory",
            "DirectoryOrCreate",
            "File",
            "FileOrCreate",
            "Socket",
        ];
        if !host.text("path").is_empty() && !TYPES.contains(&host.text("type")) {
            errors.push(FieldError::not_supported(&host.path_of("type"), host.text("type"), TYPES));
        }
    }),
];

fn no_steps_back(source: &Place<'_>, errors: &mut Vec<FieldError>) {
    if source.text("path").split('/').any(|part| part == "..") {
        errors.push(FieldError::invalid(
            &source.path_of("path"),
            source.text("path"),
            "must not contain '..'",
        ));
    }
}

static LOCAL: &[Check] = &[Check::Field("path", REQUIRED), Check::With(no_steps_back)];

fn partition(source: &Place<'_>, errors: &mut Vec<FieldError>) {
    match source.number("partition") {
        Some(number) if !(0..=255).contains(&number) => {
            let detail = "must be between 1 and 255, inclusive";
            errors.push(FieldError::invalid(&source.path_of("partition"), number, detail));
        }
        _ => {}
    }
}

static GCE: &[Check] = &[Check::Field("pdName", REQUIRED), Check::With(partition)];
static AWS: &[Check] = &[Check::Field("volumeID", REQUIRED), Check::With(partition)];

static GLUSTERFS: &[Check] = &[
    Check::Field("endpoints", REQUIRED),
    Check::Field("path", REQUIRED),
    Check::With(|source, errors| {
        if source.get("endpointsNamespace").is_some_and(|it| text(it).is_empty()) {
            let detail = "if the endpointnamespace is set, it must be a valid namespace name";
            errors.push(FieldError::invalid(&source.path_of("endpointsNamespace"), "", detail));
        }
    }),
    Check::Field("endpointsNamespace", &[Rule::Format(format::dns1123_label)]),
];

static FLOCKER: &[Check] = &[Check::With(|source, errors| {
    let (name, id) = (source.text("datasetName"), source.text("datasetUUID"));
    if name.is_empty() && id.is_empty() {
        errors.push(FieldError::required(&source.path(), "one of datasetName and datasetUUID is required"));
    }
    if !name.is_empty() && !id.is_empty() {
        let detail = "datasetName and datasetUUID can not be specified simultaneously";
        errors.push(FieldError::invalid(&source.path(), "resource", detail));
    }
    if name.contains('/') {
        errors.push(FieldError::invalid(&source.path_of("datasetName"), name, "must not contain '/'"));
    }
})];

static NFS: &[Check] = &[
    Check::Field("server", REQUIRED),
    Check::Field("path", REQUIRED),
    Check::With(|source, errors| {
        if !source.text("path").starts_with('/') {
            let detail = "must be an absolute path";
            errors.push(FieldError::invalid(&source.path_of("path"), source.text("path"), detail));
        }
    }),
];

static RBD: &[Check] = &[Check::Field("monitors", REQUIRED), Check::Field("image", REQUIRED)];
static CEPH: &[Check] = &[Check::Field("monitors", REQUIRED)];

static QUOBYTE: &[Check] = &[
    Check::With(|source, errors| {
        const PAIRS: &str = "must be a host:port pair or multiple pairs separated by commas";
        let registry = source.text("registry");
        let path = source.path_of("registry");
        if registry.is_empty() {
            errors.push(FieldError::required(&path, PAIRS));
        } else if source.text("tenant").len() >= 65 {
            let detail = "must be a UUID and may not exceed a length of 64 characters";
            errors.push(FieldError::required(&source.path_of("tenant"), detail));
        } else {
            for _ in registry.split(',').filter(|pair| !is_host_and_port(pair)) {
                errors.push(FieldError::invalid(&path, registry, PAIRS));
            }
        }
    }),
    Check::Field("volume", REQUIRED),
];

// As Go splits them: what has colons itself stands in brackets.
fn is_host_and_port(pair: &str) -> bool {
    let Some((host, port)) = pair.rsplit_once(':') else { return false };
    let host = match host.strip_prefix('[') {
        Some(host) => match host.strip_suffix(']') {
            Some(host) => host,
            None => return false,
        },
        None if host.contains(':') => return false,
        None => host,
    };
    !host.contains(['[', ']']) && !port.contains(['[', ']'])
}

static ISCSI: &[Check] = &[
    Check::Field("targetPortal", REQUIRED),
    Check::With(|source, errors| {
        const DETAIL: &str = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";
        let portal = source.text("targetPortal");
        let name = source.known().map_or(0, |volume: &Volume| volume.name.len());
        if source.has("initiatorName") && name + 1 + portal.len() > 64 {
            errors.push(FieldError::invalid(&source.path_of("targetportal"), portal, DETAIL));
        }
    }),
    Check::Field("iqn", REQUIRED),
    Check::With(|source, errors| initiator(source, "iqn", "iqn", errors)),
    Check::Field("lun", &[Rule::Within(0, 255)]),
    Check::With(|source, errors| {
        let asks = source.flag("chapAuthDiscovery") || source.flag("chapAuthSession");
        if asks && !source.has("secretRef") {
            errors.push(FieldError::required(&source.path_of("secretRef"), ""));
        }
    }),
    Check::Within("secretRef", &[Check::Field("name", REQUIRED)]),
    Check::With(|source, errors| initiator(source, "initiatorName", "initiatorname", errors)),
];

// An iSCSI name: `iqn.`, `eui.` or `naa.` and what belongs to it.
fn initiator(source: &Place<'_>, name: &str, shown: &str, errors: &mut Vec<FieldError>) {
    let text = source.text(name);
    // An empty name of the target was reported as missing.
    if !source.has(name) || (name == "iqn" && text.is_empty()) {
        return;
    }
    let hex = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let fits = match (text.get(..3), text.get(3..)) {
        (Some("iqn"), Some(rest)) => iqn(rest),
        (Some("eui"), Some(rest)) => rest.strip_prefix('.').is_some_and(|id| id.len() == 16 && hex(id)),
        (Some("naa"), Some(rest)) => rest.strip_prefix('.').is_some_and(|id| id.len() == 32 && hex(id)),
        _ => false,
    };
    if !fits {
        errors.push(FieldError::invalid(&source.path_of(shown), text, "must be valid format"));
    }
}

// `.2001-04.com.example:storage`
fn iqn(rest: &str) -> bool {
    let mut parts = rest.splitn(3, '.').skip(1);
    let (Some(date), Some(authority)) = (parts.next(), parts.next()) else { return false };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let dated = date
        .split_once('-')
        .is_some_and(|(year, month)| year.len() == 4 && month.len() == 2 && digits(year) && digits(month));
    let (name, label) =
        authority.split_once(':').map_or((authority, None), |(name, label)| (name, Some(label)));
    let part =
        |it: &str| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    dated && name.split('.').all(part) && label.is_none_or(|label| !label.is_empty())
}

static SECRET_AND_NAMESPACE: &[Check] =
    &[Check::Field("name", REQUIRED), Check::Field("namespace", REQUIRED)];

static CINDER: &[Check] =
    &[Check::Field("volumeID", REQUIRED), Check::Within("secretRef", SECRET_AND_NAMESPACE)];

static FC: &[Check] = &[Check::With(|source, errors| {
    let (targets, ids) = (source.list("targetWWNs"), source.list("wwids"));
    let path = source.path_of("targetWWNs");
    if targets.is_empty() && ids.is_empty() {
        let detail = "must specify either targetWWNs or wwids, but not both";
        errors.push(FieldError::required(&path, detail));
    }
    if !targets.is_empty() && !ids.is_empty() {
        let detail = "targetWWNs and wwids can not be specified simultaneously";
        errors.push(FieldError::invalid(&path, json!(targets), detail));
    }
    if targets.is_empty() {
        return;
    }
    let path = source.path_of("lun");
    match source.number("lun") {
        None => errors.push(FieldError::required(&path, "lun is required if targetWWNs is specified")),
        Some(lun) if !(0..=255).contains(&lun) => {
            errors.push(FieldError::invalid(&path, lun, "must be between 0 and 255, inclusive"));
        }
        Some(_) => {}
    }
})];

static FLEX: &[Check] = &[
    Check::Field("driver", REQUIRED),
    Check::With(|source, errors| {
        for (key, _) in entries(source.get("options").unwrap_or(&Value::Null)) {
            let namespace = key.split_once('/').map_or(key, |(namespace, _)| namespace);
            let dotted = format!(".{}", namespace.to_lowercase());
            if dotted.ends_with(".kubernetes.io") || dotted.ends_with(".k8s.io") {
                let detail = "kubernetes.io and k8s.io namespaces are reserved";
                errors.push(FieldError::invalid(&source.path_of("options").key(key), key, detail));
            }
        }
    }),
];

static AZURE_FILE: &[Check] = &[
    Check::Field("secretName", REQUIRED),
    Check::Field("shareName", REQUIRED),
    Check::With(|source, errors| {
        if source.get("secretNamespace").is_some_and(|it| text(it).is_empty()) {
            errors.push(FieldError::required(&source.path_of("secretNamespace"), ""));
        }
    }),
];

static AZURE_DISK: &[Check] = &[
    Check::Field("diskName", REQUIRED),
    Check::Field("diskURI", REQUIRED),
    Check::Field("cachingMode", &[Rule::OneOf(&["None", "ReadOnly", "ReadWrite"])]),
    Check::Field("kind", &[Rule::OneOf(&["Dedicated", "Managed", "Shared"])]),
    Check::With(|source, errors| {
        const MANAGED: &str =
            "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}";
        const BLOB: &str = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd";
        let (uri, path) = (source.text("diskURI"), source.path_of("diskURI"));
        let managed = source.text("kind") == "Managed";
        if managed && !uri.starts_with("/subscriptions/") {
            errors.push(FieldError::not_supported(&path, uri, &[MANAGED]));
        }
        if source.has("kind") && !managed && !uri.starts_with("https://") {
            errors.push(FieldError::not_supported(&path, uri, &[BLOB]));
        }
    }),
];

static SCALE_IO: &[Check] = &[
    Check::Field("gateway", REQUIRED),
    Check::Field("system", REQUIRED),
    Check::Field("volumeName", REQUIRED),
];

static STORAGE_OS: &[Check] = &[
    Check::Field("volumeName", &[Rule::Required(""), Rule::Format(format::dns1123_label)]),
    Check::Field("volumeNamespace", &[Rule::Format(format::dns1123_label)]),
    Check::Within("secretRef", SECRET_AND_NAMESPACE),
];

static SECRET: &[Check] = &[
    Check::Field("name", &[Rule::Required(""), Rule::Format(format::dns1123_subdomain)]),
    Check::Field("namespace", &[Rule::Required(""), Rule::Format(format::dns1123_label)]),
];

static CSI: &[Check] = &[
    Check::With(|source, errors| errors.extend(csi_driver(source.text("driver"), &source.path_of("driver")))),
    Check::Field("volumeHandle", REQUIRED),
    Check::Within("controllerPublishSecretRef", SECRET),
    Check::Within("controllerExpandSecretRef", SECRET),
    Check::Within("nodePublishSecretRef", SECRET),
    Check::Within("nodeExpandSecretRef", SECRET),
];

/// What is wrong with the name of a CSI driver.
pub fn csi_driver(name: &str, path: &FieldPath) -> Vec<FieldError> {
    const MAX: usize = 63;
    if name.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    let mut errors = Vec::new();
    if name.len() > MAX {
        errors.push(FieldError::too_long(path, MAX));
    }
    let faults = format::dns1123_subdomain(&name.to_lowercase());
    errors.extend(faults.into_iter().map(|fault| FieldError::invalid(path, name, fault)));
    errors
}
