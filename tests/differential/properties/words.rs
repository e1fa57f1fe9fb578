//! What texts the fields of Kubernetes hold, by their names: such objects get past the first look of validation.

/// Texts for the field `field` of the struct `of`.
pub fn texts(of: &str, field: &str) -> &'static [&'static str] {
    for (structs, fields, texts) in TEXTS {
        if fields.split(' ').any(|it| it == field) && structs.split(' ').any(|it| it == "*" || it == of) {
            return texts;
        }
    }
    let ends = |ends: &[&str]| ends.iter().any(|end| field.ends_with(end));
    if ends(&["IP", "IPs", "ip", "ips", "address", "addresses"]) {
        return &["10.1.2.3", "192.0.2.7", "2001:db8::1"];
    }
    if ends(&["CIDR", "CIDRs", "cidr", "cidrs"]) {
        return &["10.1.0.0/16", "192.0.2.0/24", "2001:db8::/64"];
    }
    if ends(&["path", "Path"]) {
        return &["/a", "/a/b", "a", "/"];
    }
    if ends(&["name", "Name", "names", "Names", "namespace", "hostname"]) {
        return &["a", "b", "c-1", "web"];
    }
    if ends(&["driver", "Driver", "provisioner", "attacher", "signerName", "controller", "controllerName"]) {
        return &["d.example.com", "example.com/s", "a"];
    }
    if ends(&["url", "URL"]) {
        return &["https://example.com/w", "https://example.com:8443"];
    }
    if ends(&["uid", "UID"]) {
        return &["11111111-1111-4111-8111-111111111111", "u"];
    }
    if ends(&["expression", "Expression"]) {
        return &["true", "1 == 1", "'a'", "object.x", "("];
    }
    &["a", "b", "x-1", "example.com/a", "Some text.", "", "A b/!"]
}

/// Keys of maps; of quantities, those of resources.
pub const KEYS: &[&str] = &["a", "b", "example.com/c", "x.y", "app"];
pub const RESOURCES: &[&str] =
    &["cpu", "memory", "ephemeral-storage", "example.com/gpu", "storage", "pods", "hugepages-2Mi"];

pub const QUANTITIES: &[&str] = &[
    "1", "0", "100m", "1.0", "0.5", "1Ki", "1024", "1e3", "1E2", "100M", "1.5Gi", "1000m", "2Gi", "3k",
    "0.1", "1n", "12e-1", "-1", "10000000", "+5", "1.10",
];
pub const TIMES: &[&str] = &[
    "2020-01-02T03:04:05Z",
    "2020-01-02T05:04:05+02:00",
    "2020-01-02T03:04:05.678Z",
    "1999-12-31T23:59:59Z",
    "2021-02-28T00:00:00-11:30",
];
pub const MICRO_TIMES: &[&str] = &[
    "2020-01-02T03:04:05.000006Z",
    "2020-01-02T03:04:05Z",
    "2020-01-02T03:04:05.5Z",
    "2020-01-02T03:04:05.123456789+01:00",
];
pub const DURATIONS: &[&str] = &["1m0s", "90s", "1.5h", "0s", "1h2m3s", "300ms"];
pub const BYTES: &[&str] = &["YQ==", "", "AAEC", "eyJhIjoxfQ=="];

// Structs, fields, texts; the first that fits.
const TEXTS: &[(&str, &str, &[&str])] = &[
    ("*", "apiVersion", &["v1", "apps/v1"]),
    ("*", "apiGroup apiGroups group", &["", "apps", "example.com"]),
    ("Subject", "kind", &["User", "Group", "ServiceAccount"]),
    ("RoleRef", "kind", &["ClusterRole", "Role"]),
    ("*", "kind", &["Pod", "PersistentVolumeClaim", "Thing"]),
    ("*", "image reference", &["x:1", "registry.example.com/a/b:2", "x"]),
    ("*", "protocol", &["TCP", "UDP", "SCTP"]),
    ("*", "imagePullPolicy pullPolicy", &["Always", "IfNotPresent", "Never"]),
    ("Container", "restartPolicy", &["Always", "OnFailure", "Never"]),
    ("*", "restartPolicy", &["Always", "OnFailure", "Never"]),
    ("*", "terminationMessagePolicy", &["File", "FallbackToLogsOnError"]),
    ("*", "dnsPolicy", &["ClusterFirst", "Default", "ClusterFirstWithHostNet", "None"]),
    ("*", "scheme", &["HTTP", "HTTPS"]),
    ("*", "concurrencyPolicy", &["Allow", "Forbid", "Replace"]),
    ("*", "podManagementPolicy", &["OrderedReady", "Parallel"]),
    ("*", "whenDeleted whenScaled", &["Retain", "Delete"]),
    ("Toleration DeviceToleration", "operator", &["Exists", "Equal"]),
    ("NodeSelectorRequirement", "operator", &["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]),
    ("*", "operator", &["In", "NotIn", "Exists", "DoesNotExist"]),
    ("*", "effect", &["NoSchedule", "PreferNoSchedule", "NoExecute"]),
    ("*", "topologyKey", &["kubernetes.io/hostname", "topology.kubernetes.io/zone", "a"]),
    ("*", "key labelKey", &["a", "k", "example.com/k"]),
    (
        "ObjectFieldSelector",
        "fieldPath",
        &["metadata.name", "metadata.namespace", "metadata.labels", "status.podIP"],
    ),
    ("ResourceFieldSelector", "resource", &["limits.cpu", "requests.memory", "limits.memory"]),
    ("*", "whenUnsatisfiable", &["DoNotSchedule", "ScheduleAnyway"]),
    ("*", "nodeAffinityPolicy nodeTaintsPolicy", &["Honor", "Ignore"]),
    ("*", "matchPolicy", &["Exact", "Equivalent"]),
    ("*", "failurePolicy", &["Ignore", "Fail"]),
    ("*", "reinvocationPolicy", &["Never", "IfNeeded"]),
    ("*", "sideEffects", &["None", "NoneOnDryRun"]),
    ("*", "validationActions", &["Deny", "Warn", "Audit"]),
    ("*", "parameterNotFoundAction", &["Allow", "Deny"]),
    ("*", "scope", &["*", "Namespaced", "Cluster"]),
    ("*", "operations", &["CREATE", "UPDATE", "DELETE", "*"]),
    ("*", "verbs", &["get", "list", "*"]),
    ("*", "reclaimPolicy persistentVolumeReclaimPolicy", &["Retain", "Delete", "Recycle"]),
    ("*", "volumeBindingMode", &["Immediate", "WaitForFirstConsumer"]),
    ("*", "accessModes", &["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"]),
    ("*", "volumeMode", &["Filesystem", "Block"]),
    ("*", "volumeLifecycleModes", &["Persistent", "Ephemeral"]),
    ("*", "fsGroupPolicy", &["None", "File", "ReadWriteOnceWithFSType"]),
    ("*", "fsGroupChangePolicy", &["OnRootMismatch", "Always"]),
    ("*", "pathType", &["Exact", "Prefix", "ImplementationSpecific"]),
    ("*", "sessionAffinity", &["None", "ClientIP"]),
    ("*", "internalTrafficPolicy externalTrafficPolicy", &["Cluster", "Local"]),
    ("*", "ipFamilyPolicy", &["SingleStack", "PreferDualStack", "RequireDualStack"]),
    ("*", "ipFamilies", &["IPv4", "IPv6"]),
    ("*", "addressType", &["IPv4", "IPv6", "FQDN"]),
    ("*", "trafficDistribution", &["PreferClose", "PreferSameZone", "PreferSameNode"]),
    ("*", "completionMode", &["NonIndexed", "Indexed"]),
    ("*", "podReplacementPolicy", &["TerminatingOrFailed", "Failed"]),
    ("*", "preemptionPolicy", &["Never", "PreemptLowerPriority"]),
    ("*", "unhealthyPodEvictionPolicy", &["IfHealthyBudget", "AlwaysAllow"]),
    ("*", "procMount", &["Default", "Unmasked"]),
    ("*", "mountPropagation", &["None", "HostToContainer", "Bidirectional"]),
    ("*", "recursiveReadOnly", &["Disabled", "IfPossible", "Enabled"]),
    ("*", "cachingMode", &["None", "ReadOnly", "ReadWrite"]),
    ("*", "medium", &["", "Memory", "HugePages"]),
    ("*", "policyTypes", &["Ingress", "Egress"]),
    ("*", "allocationMode", &["ExactCount", "All"]),
    ("*", "add drop", &["ALL", "NET_BIND_SERVICE", "SYS_TIME"]),
    ("*", "schedule", &["* * * * *", "*/5 1-3 * * mon", "@daily"]),
    ("*", "timeZone", &["Europe/Berlin", "Etc/UTC"]),
    ("*", "selectPolicy", &["Max", "Min", "Disabled"]),
    ("*", "scopes scopeName", &["BestEffort", "NotTerminating", "PriorityClass"]),
    ("*", "usages", &["digital signature", "client auth", "key encipherment"]),
    ("*", "updateStrategy", &["RollingUpdate"]),
    ("*", "resizePolicy", &["NotRequired", "RestartContainer"]),
    ("ContainerResizePolicy", "resourceName", &["cpu", "memory"]),
    ("*", "supplementalGroupsPolicy", &["Merge", "Strict"]),
    ("SeccompProfile AppArmorProfile", "type", &["RuntimeDefault", "Unconfined", "Localhost"]),
    ("HostPathVolumeSource", "type", &["", "Directory", "File", "DirectoryOrCreate"]),
    ("DeploymentStrategy", "type", &["RollingUpdate", "Recreate"]),
    ("StatefulSetUpdateStrategy DaemonSetUpdateStrategy", "type", &["RollingUpdate", "OnDelete"]),
    ("ServiceSpec", "type", &["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"]),
    ("LimitRangeItem", "type", &["Container", "Pod", "PersistentVolumeClaim", "example.com/thing"]),
    ("MetricSpec", "type", &["Resource", "Pods", "Object", "External", "ContainerResource"]),
    ("MetricTarget", "type", &["Utilization", "Value", "AverageValue"]),
    ("Event", "type", &["Normal", "Warning"]),
    ("Secret", "type", &["Opaque", "kubernetes.io/basic-auth", "example.com/t"]),
    ("*", "status", &["True", "False", "Unknown"]),
    ("*", "phase", &["Pending", "Running", "Bound"]),
    ("*", "type", &["Ready", "A", "example.com/b"]),
    ("*", "finalizers", &["example.com/f", "kubernetes"]),
    ("HTTPHeader", "name", &["X-A", "Accept"]),
    ("EnvVar", "name", &["A", "B_C", "d.e"]),
    ("Sysctl", "name", &["kernel.shm_rmid_forced", "net.ipv4.tcp_syncookies"]),
    ("*", "host hosts", &["example.com", "*.example.com", "10.1.2.3"]),
];
