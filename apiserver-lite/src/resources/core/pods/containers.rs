//! Containers: regular, init and ephemeral ones.

use std::collections::HashSet;

use coracle_api::{FieldError, format};
use serde_json::Value;

use super::{env, handlers, resources, security, spec::Names, volumes};
use crate::resources::rules::{Check, Errors, Place, Rule, check};

const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const PULL_POLICIES: &[&str] = &["Always", "IfNotPresent", "Never"];

/// The policies that an image may be pulled by.
pub static PULL_POLICY: &[Rule] = &[Rule::Required(""), Rule::OneOf(PULL_POLICIES)];

// What holds for containers of every kind.
static COMMON: &[Check] = &[
    Check::Field("name", &[Rule::Required(""), Rule::Format(format::dns1123_label)]),
    Check::Field("image", &[Rule::Required("")]),
    Check::Field(
        "terminationMessagePolicy",
        &[Rule::Required(""), Rule::OneOf(&["File", "FallbackToLogsOnError"])],
    ),
    Check::With(ports),
    Check::Each("env", env::VARIABLE),
    Check::With(env::sources),
    Check::With(mounts),
    Check::With(devices),
    Check::Field("imagePullPolicy", PULL_POLICY),
    Check::With(resources::of_container),
    Check::With(resize_policy),
    Check::Within("securityContext", security::CONTAINER),
];

static CONTAINER: &[Check] =
    &[Check::All(COMMON), Check::With(named_once), Check::All(PROBED), Check::With(restart_policy)];

static INIT: &[Check] = &[
    Check::All(COMMON),
    Check::With(init_restart_policy),
    Check::With(named_once),
    // Init containers run one by one, so each may have the same ports;
    // upstream calls each of them the first.
    Check::With(|container, errors| {
        if let Some(list) = container.above() {
            host_ports(list, &[*container], errors);
        }
    }),
    Check::When(restartable, PROBED),
    Check::When(|it| !restartable(it), RUNS_TO_END),
];

static EPHEMERAL: &[Check] = &[
    Check::All(COMMON),
    Check::With(trimmed_image),
    Check::With(named_once),
    Check::With(target_exists),
    Check::With(no_services),
    Check::Each(
        "volumeMounts",
        &[
            Check::Field("subPath", &[Rule::Unset("cannot be set for an Ephemeral Container")]),
            Check::Field("subPathExpr", &[Rule::Unset("cannot be set for an Ephemeral Container")]),
        ],
    ),
];

static PROBED: &[Check] = &[
    Check::Within("lifecycle", handlers::LIFECYCLE),
    Check::Within("livenessProbe", handlers::LIVENESS),
    Check::Within("readinessProbe", handlers::READINESS),
    Check::Within("startupProbe", handlers::LIVENESS),
];

const ONLY_ALWAYS: &str = "may not be set for init containers without restartPolicy=Always";

static RUNS_TO_END: &[Check] = &[
    Check::Field("lifecycle", &[Rule::Unset(ONLY_ALWAYS)]),
    Check::Field("livenessProbe", &[Rule::Unset(ONLY_ALWAYS)]),
    Check::Field("readinessProbe", &[Rule::Unset(ONLY_ALWAYS)]),
    Check::Field("startupProbe", &[Rule::Unset(ONLY_ALWAYS)]),
    Check::Each(
        "resizePolicy",
        &[Check::With(|policy, errors| {
            if policy.text("restartPolicy") == "RestartContainer" {
                let detail = "must not be set to 'RestartContainer' for non-sidecar initContainers";
                let path = policy.path_of("restartPolicy");
                errors.push(FieldError::invalid(&path, "RestartContainer", detail));
            }
        })],
    ),
];

/// All containers of a spec, in upstream's order.
pub static ALL: &[Check] = &[
    Check::Field("containers", &[Rule::Required("")]),
    Check::Each("containers", CONTAINER),
    Check::With(|spec, errors| {
        if let Some(list) = spec.field("containers") {
            let containers: Vec<Place<'_>> = list.items().collect();
            host_ports(&list, &containers, errors);
        }
    }),
    Check::Each("initContainers", INIT),
    Check::Each("ephemeralContainers", EPHEMERAL),
];

/// Whether an init container goes on beside the others: a sidecar.
pub fn restartable(container: &Place<'_>) -> bool {
    container.text("restartPolicy") == "Always"
}

/// Runs over init, regular and ephemeral containers, as upstream visits them.
pub fn visit(spec: &Place<'_>, mut each: impl FnMut(&Place<'_>)) {
    for field in ["initContainers", "containers", "ephemeralContainers"] {
        if let Some(list) = spec.field(field) {
            list.items().for_each(|container| each(&container));
        }
    }
}

/// What only pods want of an image, not templates.
pub fn trimmed_image(container: &Place<'_>, errors: &mut Errors) {
    let image = container.text("image");
    if image.trim() != image {
        let detail = "must not have leading or trailing whitespace";
        errors.push(FieldError::invalid(&container.path_of("image"), image, detail));
    }
}

fn named_once(container: &Place<'_>, errors: &mut Errors) {
    let name = container.text("name");
    let list = container.above().and_then(Place::name).unwrap_or_default();
    let position = container.position().unwrap_or_default();
    if container.known::<Names>().is_some_and(|names| names.is_repeated(list, name, position)) {
        errors.push(FieldError::duplicate(&container.path_of("name"), name));
    }
}

fn target_exists(container: &Place<'_>, errors: &mut Errors) {
    let target = container.text("targetContainerName");
    let known = container.known::<Names>().is_some_and(|names| names.has_lasting_container(target));
    if !target.is_empty() && !known {
        errors.push(FieldError::not_found(&container.path_of("targetContainerName"), target));
    }
}

// Ephemeral containers serve nothing, so what a service needs is not theirs.
// The order is that of Go's fields.
fn no_services(container: &Place<'_>, errors: &mut Errors) {
    for field in ["ports", "resources", "resizePolicy", "restartPolicy", "restartPolicyRules"]
        .into_iter()
        .chain(["livenessProbe", "readinessProbe", "startupProbe", "lifecycle"])
    {
        // `resources` is always written, if empty.
        let set = container
            .get(field)
            .is_some_and(|it| it.as_object().is_none_or(|it| !it.is_empty()) || field != "resources");
        if set {
            let path = container.path_of(field);
            errors.push(FieldError::forbidden(&path, "cannot be set for an Ephemeral Container"));
        }
    }
}

fn ports(container: &Place<'_>, errors: &mut Errors) {
    let Some(list) = container.field("ports") else { return };
    let mut names = HashSet::new();
    for port in list.items() {
        let name = port.text("name");
        let faults = if name.is_empty() { Vec::new() } else { format::port_name(name) };
        if faults.is_empty() && !name.is_empty() && !names.insert(name) {
            errors.push(FieldError::duplicate(&port.path_of("name"), name));
        }
        errors
            .extend(faults.into_iter().map(|fault| FieldError::invalid(&port.path_of("name"), name, fault)));
        check(PORT, &port, errors);
    }
}

static PORT: &[Check] = &[
    Check::With(|port, errors| {
        if port.number("containerPort").unwrap_or(0) == 0 {
            errors.push(FieldError::required(&port.path_of("containerPort"), ""));
        } else {
            check(&[Check::Field("containerPort", &[Rule::Within(1, 65535)])], port, errors);
        }
    }),
    Check::When(
        |port| port.number("hostPort").is_some_and(|port| port != 0),
        &[Check::Field("hostPort", &[Rule::Within(1, 65535)])],
    ),
    Check::Field("protocol", &[Rule::Required(""), Rule::OneOf(PROTOCOLS)]),
];

fn host_ports(list: &Place<'_>, containers: &[Place<'_>], errors: &mut Errors) {
    let mut taken = HashSet::new();
    for (index, container) in containers.iter().enumerate() {
        for (position, port) in container.list("ports").iter().enumerate() {
            let text = |field: &str| port[field].as_str().unwrap_or_default();
            let Some(number) = port["hostPort"].as_i64().filter(|port| *port != 0) else { continue };
            let address = format!("{}/{}/{number}", text("protocol"), text("hostIP"));
            if taken.contains(&address) {
                let path = list.path().index(index).child("ports").index(position).child("hostPort");
                errors.push(FieldError::duplicate(&path, address));
            } else {
                taken.insert(address);
            }
        }
    }
}

fn mounts(container: &Place<'_>, errors: &mut Errors) {
    let Some(list) = container.field("volumeMounts") else { return };
    let devices = container.list("volumeDevices");
    let names: HashSet<&str> = devices.iter().filter_map(|it| it["name"].as_str()).collect();
    let paths: HashSet<&str> = devices.iter().filter_map(|it| it["devicePath"].as_str()).collect();
    let mut seen = HashSet::new();
    for mount in list.items() {
        let (name, path) = (mount.text("name"), mount.text("mountPath"));
        let wrong =
            |field: &str, value: &str, detail| FieldError::invalid(&mount.path_of(field), value, detail);
        mount_target(&mount, errors);
        if !seen.insert(path) {
            errors.push(wrong("mountPath", path, "must be unique"));
        }
        if names.contains(name) {
            errors.push(wrong("name", name, "must not already exist in volumeDevices"));
        }
        if paths.contains(path) {
            errors.push(wrong("mountPath", path, "must not already exist as a path in volumeDevices"));
        }
        mount_paths(&mount, &list, errors);
        mount_propagation(&mount, &list, errors);
        mount_read_only(&mount, &list, errors);
    }
}

fn mount_target(mount: &Place<'_>, errors: &mut Errors) {
    let name = mount.text("name");
    if name.is_empty() {
        errors.push(FieldError::required(&mount.path_of("name"), ""));
    }
    if mount.known::<Names>().and_then(|names| names.volume(name)).is_none() {
        errors.push(FieldError::not_found(&mount.path_of("name"), name));
    }
    if mount.text("mountPath").is_empty() {
        errors.push(FieldError::required(&mount.path_of("mountPath"), ""));
    }
}

// Upstream names the list in these paths where it means the mount.
fn mount_paths(mount: &Place<'_>, list: &Place<'_>, errors: &mut Errors) {
    let (path, expression) = (mount.text("subPath"), mount.text("subPathExpr"));
    let local = |field: &str, text: &str, errors: &mut Errors| {
        let faults = volumes::descending(text).into_iter();
        errors.extend(faults.map(|fault| FieldError::invalid(&list.path_of(field), text, fault)));
    };
    local("subPath", path, errors);
    if !path.is_empty() && !expression.is_empty() {
        let detail = "subPathExpr and subPath are mutually exclusive";
        errors.push(FieldError::invalid(&mount.path_of("subPathExpr"), expression, detail));
    }
    local("subPathExpr", expression, errors);
}

fn mount_propagation(mount: &Place<'_>, list: &Place<'_>, errors: &mut Errors) {
    let Some(propagation) = mount.get("mountPropagation").and_then(Value::as_str) else { return };
    let path = list.path_of("mountPropagation");
    let supported = ["Bidirectional", "HostToContainer", "None"];
    if !supported.contains(&propagation) {
        errors.push(FieldError::not_supported(&path, propagation, &supported));
    }
    let context = list.above().and_then(|container| container.get("securityContext"));
    if propagation == "Bidirectional" && !context.is_some_and(|it| it["privileged"] == true) {
        let detail = "Bidirectional mount propagation is available only to privileged containers";
        errors.push(FieldError::forbidden(&path, detail));
    }
}

fn mount_read_only(mount: &Place<'_>, list: &Place<'_>, errors: &mut Errors) {
    let Some(recursive) = mount.get("recursiveReadOnly").and_then(Value::as_str) else { return };
    let path = list.path_of("recursiveReadOnly");
    let supported = ["Disabled", "Enabled", "IfPossible"];
    if !supported.contains(&recursive) {
        errors.push(FieldError::not_supported(&path, recursive, &supported));
    } else if recursive != "Disabled" {
        if !mount.flag("readOnly") {
            errors.push(FieldError::forbidden(&path, "may only be specified when readOnly is true"));
        }
        if !matches!(mount.text("mountPropagation"), "" | "None") {
            let detail = "may only be specified when mountPropagation is None or not specified";
            errors.push(FieldError::forbidden(&path, detail));
        }
    }
}

fn devices(container: &Place<'_>, errors: &mut Errors) {
    let Some(list) = container.field("volumeDevices") else { return };
    let mounts = container.list("volumeMounts");
    let mounted: HashSet<&str> = mounts.iter().filter_map(|it| it["name"].as_str()).collect();
    let mount_paths: HashSet<&str> = mounts.iter().filter_map(|it| it["mountPath"].as_str()).collect();
    let (mut names, mut paths) = (HashSet::new(), HashSet::new());
    for device in list.items() {
        let (name, path) = (device.text("name"), device.text("devicePath"));
        let wrong =
            |field: &str, value: &str, detail| FieldError::invalid(&device.path_of(field), value, detail);
        check(&[Check::Field("name", &[Rule::Required("")])], &device, errors);
        if !name.is_empty() && !names.insert(name) {
            errors.push(wrong("name", name, "must be unique"));
        }
        match device.known::<Names>().and_then(|names| names.volume(name)) {
            Some(volume) if !volume.is_claim => errors.push(wrong("name", name, ONLY_CLAIMS)),
            Some(_) => {}
            None => errors.push(FieldError::not_found(&device.path_of("name"), name)),
        }
        check(&[Check::Field("devicePath", &[Rule::Required("")])], &device, errors);
        if paths.contains(path) {
            errors.push(wrong("devicePath", path, "must be unique"));
        }
        if path.split('/').any(|part| part == "..") {
            errors.push(wrong("devicePath", path, "can not contain backsteps ('..')"));
        } else {
            paths.insert(path);
        }
        if mounted.contains(name) {
            errors.push(wrong("name", name, "must not already exist in volumeMounts"));
        }
        if mount_paths.contains(path) {
            errors.push(wrong("devicePath", path, "must not already exist as a path in volumeMounts"));
        }
    }
}

const ONLY_CLAIMS: &str =
    "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";

fn resize_policy(container: &Place<'_>, errors: &mut Errors) {
    let never =
        container.above().and_then(Place::above).is_some_and(|spec| spec.text("restartPolicy") == "Never");
    let Some(list) = container.field("resizePolicy") else { return };
    let mut seen = HashSet::new();
    for policy in list.items() {
        let (resource, restart) = (policy.text("resourceName"), policy.text("restartPolicy"));
        if !seen.insert(resource) {
            errors.push(FieldError::duplicate(&policy.path(), resource));
        }
        for (value, supported) in
            [(resource, ["cpu", "memory"]), (restart, ["NotRequired", "RestartContainer"])]
        {
            if value.is_empty() {
                errors.push(FieldError::required(&list.path(), ""));
            } else if !supported.contains(&value) {
                errors.push(FieldError::not_supported(&list.path(), value, &supported));
            }
        }
        if never && restart != "NotRequired" {
            let detail = "must be 'NotRequired' when pod `restartPolicy` is 'Never'";
            errors.push(FieldError::invalid(&list.path(), restart, detail));
        }
    }
}

fn init_restart_policy(container: &Place<'_>, errors: &mut Errors) {
    if container.has("restartPolicy") {
        restart_policy(container, errors);
    } else if !container.list("restartPolicyRules").is_empty() {
        let detail = "must specify restartPolicy when restart rules are used";
        errors.push(FieldError::required(&container.path_of("restartPolicy"), detail));
    }
}

fn restart_policy(container: &Place<'_>, errors: &mut Errors) {
    let rules = container.list("restartPolicyRules");
    let supported = ["Always", "Never", "OnFailure"];
    match container.get("restartPolicy").and_then(Value::as_str) {
        None if rules.is_empty() => return,
        None => {
            let detail = "must specify restartPolicy when restart rules are used";
            errors.push(FieldError::required(&container.path_of("restartPolicy"), detail));
        }
        Some(policy) if !supported.contains(&policy) => {
            errors.push(FieldError::not_supported(&container.path_of("restartPolicy"), policy, &supported));
        }
        Some(_) => {}
    }
    check(RESTART_RULES, container, errors);
}

static RESTART_RULES: &[Check] = &[
    Check::Field("restartPolicyRules", &[Rule::MaxItems(20)]),
    Check::Each(
        "restartPolicyRules",
        &[
            Check::With(|rule, errors| {
                one_of(rule, "action", &["Restart", "RestartAllContainers"], errors);
            }),
            Check::Field("exitCodes", &[Rule::Required("must be specified")]),
            Check::Within(
                "exitCodes",
                &[
                    Check::With(|codes, errors| one_of(codes, "operator", &["In", "NotIn"], errors)),
                    Check::Field("values", &[Rule::MaxItems(255)]),
                ],
            ),
        ],
    ),
];

/// A text that must be one of a list even when it is unset.
pub fn one_of(place: &Place<'_>, field: &str, supported: &[&str], errors: &mut Errors) {
    let value = place.text(field);
    if !supported.contains(&value) {
        errors.push(FieldError::not_supported(&place.path_of(field), value, supported));
    }
}
