//! Volumes of all types.

use std::{collections::HashSet, sync::LazyLock};

use coracle_api::{FieldError, format};
use regex::Regex;
use serde_json::Value;

use super::{claim, containers, env, projected, resources};
use crate::resources::rules::{Check, Errors, Place, Rule, check};

/// What a file's mode must be.
pub const MODE: &[Rule] = &[
    Rule::AtLeast(0, "must be a number between 0 and 0777 (octal), both inclusive"),
    Rule::AtMost(0o777, "must be a number between 0 and 0777 (octal), both inclusive"),
];

/// What a file's owner must be.
pub const USER: &[Rule] = &[Rule::Within(0, i32::MAX as i64)];

/// One type of volume.
struct Source {
    field: &'static str,
    /// How a path inside of it begins, where upstream's differs.
    shown: &'static str,
    /// How upstream's path names it when it is one too many.
    surplus: &'static str,
    checks: &'static [Check],
}

const fn source(field: &'static str, checks: &'static [Check]) -> Source {
    Source { field, shown: field, surplus: field, checks }
}

// In upstream's order: the first one set is the volume's type.
static SOURCES: &[Source] = &[
    source("emptyDir", EMPTY_DIR),
    source("hostPath", HOST_PATH),
    source(
        "gitRepo",
        &[
            Check::Field("repository", &[Rule::Required("")]),
            Check::Field("directory", &[Rule::Format(descending)]),
        ],
    ),
    Source { shown: "persistentDisk", ..source("gcePersistentDisk", GCE_DISK) },
    source("awsElasticBlockStore", AWS_DISK),
    source("secret", SECRET),
    source("nfs", NFS),
    source("iscsi", ISCSI),
    source("glusterfs", &[required("endpoints"), required("path")]),
    source("flocker", &[Check::With(flocker)]),
    source("persistentVolumeClaim", &[required("claimName")]),
    source("rbd", &[Check::With(monitors), required("image")]),
    source("cinder", &[required("volumeID"), Check::Within("secretRef", &[required("name")])]),
    Source { surplus: "cephFS", ..source("cephfs", &[Check::With(monitors)]) },
    source("quobyte", &[Check::With(quobyte), required("volume")]),
    Source { surplus: "downwarAPI", ..source("downwardAPI", DOWNWARD) },
    source("fc", &[Check::With(fibre_channel)]),
    source("flexVolume", &[required("driver"), Check::With(flex_options)]),
    source("configMap", CONFIG_MAP),
    source("azureFile", &[required("secretName"), required("shareName")]),
    source("vsphereVolume", &[required("volumePath")]),
    source("photonPersistentDisk", &[required("pdID")]),
    source("portworxVolume", &[required("volumeID")]),
    source("azureDisk", AZURE_DISK),
    source("storageos", STORAGE_OS),
    source("projected", projected::PROJECTED),
    source("scaleIO", &[required("gateway"), required("system"), required("volumeName")]),
    source("csi", &[Check::With(csi)]),
    source(
        "ephemeral",
        &[required("volumeClaimTemplate"), Check::Within("volumeClaimTemplate", claim::TEMPLATE)],
    ),
    source("image", &[required("reference"), Check::Field("pullPolicy", containers::PULL_POLICY)]),
];

const fn required(field: &'static str) -> Check {
    Check::Field(field, REQUIRED)
}

const REQUIRED: &[Rule] = &[Rule::Required("")];

/// `spec.volumes`. Returns the names of those that containers may mount.
pub fn volumes(spec: &Place<'_>, pod: &str, errors: &mut Errors) -> Vec<(String, Volume)> {
    let Some(list) = spec.field("volumes") else { return Vec::new() };
    let created: HashSet<String> = match pod {
        "" => HashSet::new(),
        pod => list.items().filter(|it| it.has("ephemeral")).map(|it| claim_name(pod, &it)).collect(),
    };
    let (mut right, mut taken) = (Vec::new(), HashSet::new());
    for volume in list.items() {
        let before = errors.len();
        let name = volume.text("name");
        one_source(&volume, pod, errors);
        check(NAME, &volume, errors);
        if taken.contains(name) {
            errors.push(FieldError::duplicate(&volume.path_of("name"), name));
        }
        if errors.len() == before {
            taken.insert(name);
            let is_claim = volume.has("persistentVolumeClaim") || volume.has("ephemeral");
            right.push((name.to_owned(), Volume { is_claim }));
        }
        if let Some(claim) = volume.field("persistentVolumeClaim") {
            let name = claim.text("claimName");
            if created.contains(name) {
                let detail = "must not reference a PVC that gets created for an ephemeral volume";
                errors.push(FieldError::invalid(&claim.path_of("claimName"), name, detail));
            }
        }
    }
    right
}

/// What the rest of a pod must know of a volume.
#[derive(Clone, Copy)]
pub struct Volume {
    /// It is a claim, or makes one: it may be a block device.
    pub is_claim: bool,
}

static NAME: &[Check] = &[Check::Field("name", &[Rule::Required(""), Rule::Format(format::dns1123_label)])];

fn claim_name(pod: &str, volume: &Place<'_>) -> String {
    format!("{pod}-{}", volume.text("name"))
}

fn one_source(volume: &Place<'_>, pod: &str, errors: &mut Errors) {
    let mut found = false;
    for source in SOURCES {
        let Some(place) = volume.field_as(source.field, source.shown) else { continue };
        if found {
            let path = volume.path_of(source.surplus);
            errors.push(FieldError::forbidden(&path, "may not specify more than 1 volume type"));
        } else {
            found = true;
            check(source.checks, &place, errors);
        }
        let name = volume.text("name");
        if source.field == "ephemeral"
            && !found_before(volume, "ephemeral")
            && !pod.is_empty()
            && !name.is_empty()
        {
            let claim = claim_name(pod, volume);
            for fault in format::name_is_subdomain(&claim, false) {
                let detail = format!("PVC name {claim:?}: {fault}");
                errors.push(FieldError::invalid(&volume.path_of("name"), name, detail));
            }
        }
        let portal = place.text("targetPortal");
        if source.field == "iscsi" && place.has("initiatorName") && name.len() + 1 + portal.len() > 64 {
            let detail = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";
            errors.push(FieldError::invalid(&volume.path_of("name"), name, detail));
        }
    }
    if !found {
        errors.push(FieldError::required(&volume.path(), "must specify a volume type"));
    }
}

fn found_before(volume: &Place<'_>, field: &str) -> bool {
    SOURCES.iter().take_while(|source| source.field != field).any(|source| volume.has(source.field))
}

static EMPTY_DIR: &[Check] = &[
    Check::With(|dir, errors| {
        if dir.get("sizeLimit").is_some_and(|limit| resources::quantity(limit).sign() < 0) {
            let detail = "SizeLimit field must be a valid resource quantity";
            errors.push(FieldError::forbidden(&dir.path_of("sizeLimit"), detail));
        }
    }),
    Check::Field(
        "mode",
        &[
            Rule::AtLeast(0, "must be a number between 0 and 01777 (octal), both inclusive"),
            Rule::AtMost(0o1777, "must be a number between 0 and 01777 (octal), both inclusive"),
        ],
    ),
];

static HOST_PATH: &[Check] = &[
    Check::Field("path", &[Rule::Required(""), Rule::Format(no_backsteps)]),
    Check::When(
        |host| !host.text("path").is_empty(),
        &[Check::Field(
            "type",
            &[Rule::OneOf(&[
                "",
                "BlockDevice",
                "CharDevice",
                "Directory",
                "DirectoryOrCreate",
                "File",
                "FileOrCreate",
                "Socket",
            ])],
        )],
    ),
];

const PARTITION: &[Rule] = &[
    Rule::AtLeast(0, "must be between 1 and 255, inclusive"),
    Rule::AtMost(255, "must be between 1 and 255, inclusive"),
];

static GCE_DISK: &[Check] = &[required("pdName"), Check::Field("partition", PARTITION)];
static AWS_DISK: &[Check] = &[required("volumeID"), Check::Field("partition", PARTITION)];

static SECRET: &[Check] = &[required("secretName"), Check::All(FILES)];
static CONFIG_MAP: &[Check] = &[required("name"), Check::All(FILES)];

static FILES: &[Check] = &[
    Check::Field("defaultMode", MODE),
    Check::Field("defaultUser", USER),
    Check::Each("items", KEY_TO_PATH),
];

/// A key of a secret or config map, and the file that it becomes.
pub static KEY_TO_PATH: &[Check] = &[
    required("key"),
    required("path"),
    Check::Field("path", &[Rule::Format(local)]),
    Check::Field("mode", MODE),
    Check::Field("user", USER),
];

static NFS: &[Check] = &[
    required("server"),
    required("path"),
    Check::With(|nfs, errors| {
        let path = nfs.text("path");
        if !path.starts_with('/') {
            errors.push(FieldError::invalid(&nfs.path_of("path"), path, "must be an absolute path"));
        }
    }),
];

static ISCSI: &[Check] = &[
    required("targetPortal"),
    Check::Field("iqn", &[Rule::Required(""), Rule::Format(initiator)]),
    Check::Field("lun", &[Rule::Within(0, 255)]),
    Check::With(|iscsi, errors| {
        let authenticates = iscsi.flag("chapAuthDiscovery") || iscsi.flag("chapAuthSession");
        if authenticates && !iscsi.has("secretRef") {
            errors.push(FieldError::required(&iscsi.path_of("secretRef"), ""));
        }
        if let Some(name) = iscsi.get("initiatorName").and_then(Value::as_str) {
            let path = iscsi.path_of("initiatorname");
            errors.extend(initiator(name).into_iter().map(|fault| FieldError::invalid(&path, name, fault)));
        }
    }),
];

fn initiator(name: &str) -> Vec<String> {
    static IQN: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"iqn\.[0-9]{4}-[0-9]{2}\.([[:alnum:]\-.]+)(:[^,;*&$|\s]+)$").ok());
    // The dot after the prefix is any character, as upstream has it.
    let identifier = |length: usize| {
        name.len() == length + 4 && name.bytes().skip(4).all(|byte| byte.is_ascii_alphanumeric())
    };
    let right = match name.get(..3) {
        Some("iqn") => IQN.as_ref().is_some_and(|it| it.is_match(name)),
        Some("eui") => identifier(16),
        Some("naa") => identifier(32),
        _ => return vec!["must be valid format starting with iqn, eui, or naa".to_owned()],
    };
    if right { Vec::new() } else { vec!["must be valid format".to_owned()] }
}

fn flocker(flocker: &Place<'_>, errors: &mut Errors) {
    let (name, uuid) = (flocker.text("datasetName"), flocker.text("datasetUUID"));
    if name.is_empty() && uuid.is_empty() {
        let detail = "one of datasetName and datasetUUID is required";
        errors.push(FieldError::required(&flocker.path(), detail));
    }
    if !name.is_empty() && !uuid.is_empty() {
        let detail = "datasetName and datasetUUID can not be specified simultaneously";
        errors.push(FieldError::invalid(&flocker.path(), "resource", detail));
    }
    if name.contains('/') {
        errors.push(FieldError::invalid(&flocker.path_of("datasetName"), name, "must not contain '/'"));
    }
}

fn monitors(ceph: &Place<'_>, errors: &mut Errors) {
    if ceph.list("monitors").is_empty() {
        errors.push(FieldError::required(&ceph.path_of("monitors"), ""));
    }
}

fn quobyte(quobyte: &Place<'_>, errors: &mut Errors) {
    const PAIRS: &str = "must be a host:port pair or multiple pairs separated by commas";
    let registry = quobyte.text("registry");
    let path = quobyte.path_of("registry");
    if registry.is_empty() {
        errors.push(FieldError::required(&path, PAIRS));
    } else if quobyte.text("tenant").len() >= 65 {
        let detail = "must be a UUID and may not exceed a length of 64 characters";
        errors.push(FieldError::required(&quobyte.path_of("tenant"), detail));
    } else {
        for _ in registry.split(',').filter(|pair| !host_port(pair)) {
            errors.push(FieldError::invalid(&path, registry, PAIRS));
        }
    }
}

fn host_port(pair: &str) -> bool {
    match pair.strip_prefix('[') {
        Some(rest) => rest.split_once(']').is_some_and(|(host, port)| {
            !host.contains('[') && port.strip_prefix(':').is_some_and(|port| !port.contains([':', '[', ']']))
        }),
        None => pair
            .split_once(':')
            .is_some_and(|(host, port)| !format!("{host}{port}").contains([':', '[', ']'])),
    }
}

static DOWNWARD: &[Check] = &[
    Check::Field("defaultMode", MODE),
    Check::Field("defaultUser", USER),
    Check::With(|downward, errors| {
        for file in downward.list("items") {
            check(DOWNWARD_FILE, &downward.here(file), errors);
        }
    }),
];

/// A file with a field of the pod in it. Upstream's paths leave the index out.
pub static DOWNWARD_FILE: &[Check] = &[
    required("path"),
    Check::Field("path", &[Rule::Format(local)]),
    Check::Within("fieldRef", &[Check::With(env::volume_field_ref)]),
    Check::With(|file, errors| match (file.has("fieldRef"), file.field("resourceFieldRef")) {
        (true, Some(_)) => {
            let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
            errors.push(FieldError::invalid(&file.path(), "resource", detail));
        }
        (false, Some(resource)) => env::resource_ref(&resource, true, errors),
        (false, None) => {
            let detail = "one of fieldRef and resourceFieldRef is required";
            errors.push(FieldError::required(&file.path(), detail));
        }
        (true, None) => {}
    }),
    Check::Field("mode", MODE),
    Check::Field("user", USER),
];

fn fibre_channel(fc: &Place<'_>, errors: &mut Errors) {
    let (names, ids) = (fc.list("targetWWNs"), fc.list("wwids"));
    if names.is_empty() && ids.is_empty() {
        let detail = "must specify either targetWWNs or wwids, but not both";
        errors.push(FieldError::required(&fc.path_of("targetWWNs"), detail));
    }
    if !names.is_empty() && !ids.is_empty() {
        let detail = "targetWWNs and wwids can not be specified simultaneously";
        errors.push(FieldError::invalid(&fc.path_of("targetWWNs"), names, detail));
    }
    if !names.is_empty() {
        check(LUN, fc, errors);
    }
}

static LUN: &[Check] = &[Check::Field(
    "lun",
    &[Rule::Required("lun is required if targetWWNs is specified"), Rule::Within(0, 255)],
)];

fn flex_options(flex: &Place<'_>, errors: &mut Errors) {
    for (key, _) in flex.entries("options") {
        let namespace = key.split_once('/').map_or(key, |(namespace, _)| namespace);
        let namespace = format!(".{}", namespace.to_lowercase());
        if namespace.ends_with(".kubernetes.io") || namespace.ends_with(".k8s.io") {
            let detail = "kubernetes.io and k8s.io namespaces are reserved";
            errors.push(FieldError::invalid(&flex.path_of("options").key(key), key, detail));
        }
    }
}

static AZURE_DISK: &[Check] = &[
    required("diskName"),
    required("diskURI"),
    Check::Field("cachingMode", &[Rule::OneOf(&["None", "ReadOnly", "ReadWrite"])]),
    Check::Field("kind", &[Rule::OneOf(&["Dedicated", "Managed", "Shared"])]),
    Check::With(|disk, errors| {
        let (kind, uri) = (disk.get("kind"), disk.text("diskURI"));
        let (prefix, form) = match kind {
            None => return,
            Some(kind) if *kind == "Managed" => (
                "/subscriptions/",
                "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}",
            ),
            Some(_) => {
                ("https://", "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd")
            }
        };
        if !uri.starts_with(prefix) {
            errors.push(FieldError::not_supported(&disk.path_of("diskURI"), uri, &[form]));
        }
    }),
];

static STORAGE_OS: &[Check] = &[
    Check::Field("volumeName", &[Rule::Required(""), Rule::Format(format::dns1123_label)]),
    Check::Field("volumeNamespace", &[Rule::Format(format::dns1123_label)]),
    Check::Within("secretRef", &[required("name")]),
];

fn csi(csi: &Place<'_>, errors: &mut Errors) {
    check(CSI_DRIVER, csi, errors);
    let Some(secret) = csi.field("nodePublishSecretRef") else { return };
    check(&[required("name")], &secret, errors);
    let name = secret.text("name");
    if !name.is_empty() {
        // Upstream leaves the reference out of this path.
        let faults = format::name_is_subdomain(name, false).into_iter();
        errors.extend(faults.map(|fault| FieldError::invalid(&csi.path_of("name"), name, fault)));
    }
}

static CSI_DRIVER: &[Check] = &[Check::Field(
    "driver",
    &[
        Rule::Required(""),
        Rule::MaxBytes(63),
        Rule::Format(|driver| format::dns1123_subdomain(&driver.to_lowercase())),
    ],
)];

/// A path that does not lead up: `..` is no part of it.
pub fn no_backsteps(path: &str) -> Vec<String> {
    if path.split('/').any(|part| part == "..") {
        vec!["must not contain '..'".to_owned()]
    } else {
        Vec::new()
    }
}

/// A relative path that does not lead up.
pub fn descending(path: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if path.starts_with('/') {
        faults.push("must be a relative path".to_owned());
    }
    faults.extend(no_backsteps(path));
    faults
}

/// A relative path that does not lead up or begin with what the kubelet keeps
/// for itself.
pub fn local(path: &str) -> Vec<String> {
    let mut faults = descending(path);
    if path.starts_with("..") && !path.starts_with("../") {
        faults.push("must not start with '..'".to_owned());
    }
    faults
}
