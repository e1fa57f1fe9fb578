//! What is measured: names, labels, buckets and help, which are upstream's.
//!
//! `upstream.tsv` is what the real kube-apiserver serves; a test compares.

// The names say it, and the help.
#![allow(missing_docs)]

use coracle_api::metrics::{Desc, Kind};

pub static REQUESTS: Desc = Desc {
    name: "apiserver_request_total",
    help: "[STABLE] Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component, and HTTP response code.",
    kind: Kind::Counter,
    labels: &["verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component", "code"],
};
pub static DURATIONS: Desc = Desc {
    name: "apiserver_request_duration_seconds",
    help: "[STABLE] Response latency distribution in seconds for each verb, dry run value, group, version, resource, subresource, scope and component.",
    kind: Kind::Histogram(&[
        0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0,
        15.0, 20.0, 30.0, 45.0, 60.0,
    ]),
    labels: &["verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component"],
};
pub static SLI_DURATIONS: Desc = Desc {
    name: "apiserver_request_sli_duration_seconds",
    help: "[ALPHA] Response latency distribution (not counting webhook duration and priority & fairness queue wait times) in seconds for each verb, group, version, resource, subresource, scope and component.",
    kind: Kind::Histogram(&[
        0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
        45.0, 60.0,
    ]),
    labels: &["verb", "group", "version", "resource", "subresource", "scope", "component"],
};
pub static RESPONSE_SIZES: Desc = Desc {
    name: "apiserver_response_sizes",
    help: "[STABLE] Response size distribution in bytes for each group, version, verb, resource, subresource, scope and component.",
    kind: Kind::Histogram(&[1000.0, 10000.0, 100000.0, 1000000.0, 10000000.0, 100000000.0, 1000000000.0]),
    labels: &["verb", "group", "version", "resource", "subresource", "scope", "component"],
};
pub static BODY_SIZES: Desc = Desc {
    name: "apiserver_request_body_size_bytes",
    help: "[ALPHA] Apiserver request body size in bytes broken out by resource and verb.",
    kind: Kind::Histogram(&[
        50000.0, 150000.0, 250000.0, 350000.0, 450000.0, 550000.0, 650000.0, 750000.0, 850000.0, 950000.0,
        1050000.0, 1150000.0, 1250000.0, 1350000.0, 1450000.0, 1550000.0, 1650000.0, 1750000.0, 1850000.0,
        1950000.0, 2050000.0, 2150000.0, 2250000.0, 2350000.0, 2450000.0, 2550000.0, 2650000.0, 2750000.0,
        2850000.0, 2950000.0, 3050000.0,
    ]),
    labels: &["group", "resource", "verb"],
};
pub static LONG_RUNNING: Desc = Desc {
    name: "apiserver_longrunning_requests",
    help: "[STABLE] Gauge of all active long-running apiserver requests broken out by verb, group, version, resource, scope and component. Not all requests are tracked this way.",
    kind: Kind::Gauge,
    labels: &["verb", "group", "version", "resource", "subresource", "scope", "component"],
};
pub static IN_FLIGHT: Desc = Desc {
    name: "apiserver_current_inflight_requests",
    help: "[STABLE] Maximal number of currently used inflight request limit of this apiserver per request kind in last second.",
    kind: Kind::Gauge,
    labels: &["request_kind"],
};
pub static TERMINATIONS: Desc = Desc {
    name: "apiserver_request_terminations_total",
    help: "[ALPHA] Number of requests which apiserver terminated in self-defense.",
    kind: Kind::Counter,
    labels: &["verb", "group", "version", "resource", "subresource", "scope", "component", "code"],
};
pub static ABORTS: Desc = Desc {
    name: "apiserver_request_aborts_total",
    help: "[ALPHA] Number of requests which apiserver aborted possibly due to a timeout, for each group, version, verb, resource, subresource and scope",
    kind: Kind::Counter,
    labels: &["verb", "group", "version", "resource", "subresource", "scope"],
};
pub static DEPRECATED: Desc = Desc {
    name: "apiserver_requested_deprecated_apis",
    help: "[STABLE] Gauge of deprecated APIs that have been requested, broken out by API group, version, resource, subresource, and removed_release.",
    kind: Kind::Gauge,
    labels: &["group", "version", "resource", "subresource", "removed_release"],
};
pub static WATCH_EVENTS: Desc = Desc {
    name: "apiserver_watch_events_total",
    help: "[BETA] Number of events sent in watch clients",
    kind: Kind::Counter,
    labels: &["group", "version", "resource"],
};
pub static WATCH_EVENT_SIZES: Desc = Desc {
    name: "apiserver_watch_events_sizes",
    help: "[BETA] Watch event size distribution in bytes",
    kind: Kind::Histogram(&[1024.0, 2048.0, 4096.0, 8192.0, 16384.0, 32768.0, 65536.0, 131072.0]),
    labels: &["group", "version", "resource"],
};
pub static WATCH_LISTS: Desc = Desc {
    name: "apiserver_watch_list_duration_seconds",
    help: "[BETA] Response latency distribution in seconds for watch list requests broken by group, version, resource and scope.",
    kind: Kind::Histogram(&[
        0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
        45.0, 60.0, 90.0, 120.0, 180.0, 300.0,
    ]),
    labels: &["group", "version", "resource", "scope"],
};
pub static TERMINATED_WATCHERS: Desc = Desc {
    name: "apiserver_terminated_watchers_total",
    help: "[ALPHA] Counter of watchers closed due to unresponsiveness broken by resource type.",
    kind: Kind::Counter,
    labels: &["group", "resource"],
};
pub static INIT_EVENTS: Desc = Desc {
    name: "apiserver_init_events_total",
    help: "[ALPHA] Counter of init events processed in watch cache broken by resource type.",
    kind: Kind::Counter,
    labels: &["group", "resource"],
};
pub static CACHE_RECEIVED: Desc = Desc {
    name: "apiserver_watch_cache_events_received_total",
    help: "[ALPHA] Counter of events received in watch cache broken by resource type.",
    kind: Kind::Counter,
    labels: &["group", "resource"],
};
pub static CACHE_REVISION: Desc = Desc {
    name: "apiserver_watch_cache_resource_version",
    help: "[ALPHA] Current resource version of watch cache broken by resource type. This is truncated to the 15 least significant digits.",
    kind: Kind::Gauge,
    labels: &["group", "resource"],
};
pub static CACHE_CAPACITY: Desc = Desc {
    name: "watch_cache_capacity",
    help: "[ALPHA] Total capacity of watch cache broken by resource type.",
    kind: Kind::Gauge,
    labels: &["group", "resource"],
};
pub static STORED_OBJECTS: Desc = Desc {
    name: "apiserver_resource_objects",
    help: "[ALPHA] Number of stored objects at the time of last check split by kind. In case of a fetching error, the value will be -1.",
    kind: Kind::Gauge,
    labels: &["group", "resource"],
};
pub static STORED_BYTES: Desc = Desc {
    name: "apiserver_storage_size_bytes",
    help: "[STABLE] Size of the storage database file physically allocated in bytes.",
    kind: Kind::Gauge,
    labels: &["storage_cluster_id"],
};
pub static STORE_SECONDS: Desc = Desc {
    name: "etcd_request_duration_seconds",
    help: "[ALPHA] Etcd request latency in seconds for each operation and object type.",
    kind: Kind::Histogram(&[
        0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0,
        15.0, 20.0, 30.0, 45.0, 60.0,
    ]),
    labels: &["operation", "group", "resource"],
};
pub static STORE_REQUESTS: Desc = Desc {
    name: "etcd_requests_total",
    help: "[ALPHA] Etcd request counts for each operation and object type.",
    kind: Kind::Counter,
    labels: &["operation", "group", "resource"],
};
pub static ADMISSION_PLUGIN: Desc = Desc {
    name: "apiserver_admission_controller_admission_duration_seconds",
    help: "[STABLE] Admission controller latency histogram in seconds, identified by name and broken out for each operation and API resource and type (validate or admit).",
    kind: Kind::Histogram(&[0.005, 0.025, 0.1, 0.5, 1.0, 2.5]),
    labels: &["name", "type", "operation", "rejected"],
};
pub static ADMISSION_STEP: Desc = Desc {
    name: "apiserver_admission_step_admission_duration_seconds",
    help: "[STABLE] Admission sub-step latency histogram in seconds, broken out for each operation and API resource and step type (validate or admit).",
    kind: Kind::Histogram(&[0.005, 0.025, 0.1, 0.5, 1.0, 2.5]),
    labels: &["type", "operation", "rejected"],
};
pub static AUTHENTICATED_USERS: Desc = Desc {
    name: "authenticated_user_requests",
    help: "[ALPHA] Counter of authenticated requests broken out by username.",
    kind: Kind::Counter,
    labels: &["username"],
};
pub static AUTHENTICATIONS: Desc = Desc {
    name: "authentication_attempts",
    help: "[ALPHA] Counter of authenticated attempts.",
    kind: Kind::Counter,
    labels: &["result"],
};
pub static AUTHENTICATION_SECONDS: Desc = Desc {
    name: "authentication_duration_seconds",
    help: "[ALPHA] Authentication duration in seconds broken out by result.",
    kind: Kind::Histogram(&[
        0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192,
        16.384,
    ]),
    labels: &["result"],
};
pub static AUTHORIZATIONS: Desc = Desc {
    name: "authorization_attempts_total",
    help: "[ALPHA] Counter of authorization attempts broken down by result. It can be either 'allowed', 'denied', 'no-opinion' or 'error'.",
    kind: Kind::Counter,
    labels: &["result"],
};
pub static AUTHORIZATION_SECONDS: Desc = Desc {
    name: "authorization_duration_seconds",
    help: "[ALPHA] Authorization duration in seconds broken out by result.",
    kind: Kind::Histogram(&[
        0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192,
        16.384,
    ]),
    labels: &["result"],
};
pub static TLS_ERRORS: Desc = Desc {
    name: "apiserver_tls_handshake_errors_total",
    help: "[ALPHA] Number of requests dropped with 'TLS handshake error from' error",
    kind: Kind::Counter,
    labels: &[],
};
pub static BUILD: Desc = Desc {
    name: "kubernetes_build_info",
    help: "[BETA] A metric with a constant '1' value labeled by major, minor, git version, git commit, git tree state, build date, Go version, and compiler from which Kubernetes was built, and platform on which it is running.",
    kind: Kind::Gauge,
    labels: &[
        "major",
        "minor",
        "git_version",
        "git_commit",
        "git_tree_state",
        "build_date",
        "go_version",
        "compiler",
        "platform",
    ],
};
pub static VERSION: Desc = Desc {
    name: "version_info",
    help: "[ALPHA] Provides the compatibility version info of the component. The component label is the name of the component, usually kube, but is relevant for aggregated-apiservers.",
    kind: Kind::Gauge,
    labels: &["component", "binary", "emulation", "min_compat"],
};
pub static FEATURES: Desc = Desc {
    name: "kubernetes_feature_enabled",
    help: "[BETA] This metric records the data about the stage and enablement of a k8s feature.",
    kind: Kind::Gauge,
    labels: &["name", "stage"],
};
pub static CPU: Desc = Desc {
    name: "process_cpu_seconds_total",
    help: "Total user and system CPU time spent in seconds.",
    kind: Kind::Counter,
    labels: &[],
};
pub static MAX_FILES: Desc = Desc {
    name: "process_max_fds",
    help: "Maximum number of open file descriptors.",
    kind: Kind::Gauge,
    labels: &[],
};
pub static OPEN_FILES: Desc = Desc {
    name: "process_open_fds",
    help: "Number of open file descriptors.",
    kind: Kind::Gauge,
    labels: &[],
};
pub static RESIDENT: Desc = Desc {
    name: "process_resident_memory_bytes",
    help: "Resident memory size in bytes.",
    kind: Kind::Gauge,
    labels: &[],
};
pub static START_TIME: Desc = Desc {
    name: "process_start_time_seconds",
    help: "Start time of the process since unix epoch in seconds.",
    kind: Kind::Gauge,
    labels: &[],
};
pub static VIRTUAL: Desc = Desc {
    name: "process_virtual_memory_bytes",
    help: "Virtual memory size in bytes.",
    kind: Kind::Gauge,
    labels: &[],
};
pub static MAX_VIRTUAL: Desc = Desc {
    name: "process_virtual_memory_max_bytes",
    help: "Maximum amount of virtual memory available in bytes.",
    kind: Kind::Gauge,
    labels: &[],
};
pub static RECEIVED: Desc = Desc {
    name: "process_network_receive_bytes_total",
    help: "Number of bytes received by the process over the network.",
    kind: Kind::Counter,
    labels: &[],
};
pub static TRANSMITTED: Desc = Desc {
    name: "process_network_transmit_bytes_total",
    help: "Number of bytes sent by the process over the network.",
    kind: Kind::Counter,
    labels: &[],
};
pub static HEALTH: Desc = Desc {
    name: "kubernetes_healthcheck",
    help: "[STABLE] This metric records the result of a single healthcheck.",
    kind: Kind::Gauge,
    labels: &["type", "name"],
};
pub static HEALTH_TOTAL: Desc = Desc {
    name: "kubernetes_healthchecks_total",
    help: "[STABLE] This metric records the results of all healthcheck.",
    kind: Kind::Counter,
    labels: &["type", "name", "status"],
};

/// All of them.
pub static ALL: &[&Desc] = &[
    &REQUESTS,
    &DURATIONS,
    &SLI_DURATIONS,
    &RESPONSE_SIZES,
    &BODY_SIZES,
    &LONG_RUNNING,
    &IN_FLIGHT,
    &TERMINATIONS,
    &ABORTS,
    &DEPRECATED,
    &WATCH_EVENTS,
    &WATCH_EVENT_SIZES,
    &WATCH_LISTS,
    &TERMINATED_WATCHERS,
    &INIT_EVENTS,
    &CACHE_RECEIVED,
    &CACHE_REVISION,
    &CACHE_CAPACITY,
    &STORED_OBJECTS,
    &STORED_BYTES,
    &STORE_SECONDS,
    &STORE_REQUESTS,
    &ADMISSION_PLUGIN,
    &ADMISSION_STEP,
    &AUTHENTICATED_USERS,
    &AUTHENTICATIONS,
    &AUTHENTICATION_SECONDS,
    &AUTHORIZATIONS,
    &AUTHORIZATION_SECONDS,
    &TLS_ERRORS,
    &BUILD,
    &VERSION,
    &FEATURES,
    &CPU,
    &MAX_FILES,
    &OPEN_FILES,
    &RESIDENT,
    &START_TIME,
    &VIRTUAL,
    &MAX_VIRTUAL,
    &RECEIVED,
    &TRANSMITTED,
    &HEALTH,
    &HEALTH_TOTAL,
];
