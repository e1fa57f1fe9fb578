//! `/healthz`, `/livez`, `/readyz` with their checks, and `/version`.
//!
//! The checks go by upstream's names and come in its order, so that whoever
//! asks for one of them, or leaves one out, finds it. A hook whose work has no
//! counterpart here is done when the server answers.

use std::fmt::Write;

use http::{HeaderValue, Response, StatusCode, header};

use crate::{ApiServer, body::Body, error::ApiError, handlers::answer, request::RequestInfo};

/// The version that Coracle speaks: it is what clients negotiate by.
pub const KUBERNETES: &str = "v1.37.2";

/// What a check looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// That the server answers at all.
    Answer,
    /// That the store answers.
    Store,
    /// That the objects which every cluster has are there.
    Defaults,
    /// That the server goes on.
    Shutdown,
}

struct Check {
    name: &'static str,
    look: Look,
    ready: bool,
    live: bool,
}

const fn check(name: &'static str, look: Look) -> Check {
    Check { name, look, ready: true, live: true }
}

const fn live(name: &'static str, look: Look) -> Check {
    Check { ready: false, ..check(name, look) }
}

const fn ready(name: &'static str, look: Look) -> Check {
    Check { live: false, ..check(name, look) }
}

const CHECKS: &[Check] = &[
    check("ping", Look::Answer),
    check("log", Look::Answer),
    live("loopback-serving-certificate", Look::Answer),
    check("etcd", Look::Store),
    ready("etcd-readiness", Look::Store),
    ready("informer-sync", Look::Answer),
    check("poststarthook/start-apiserver-admission-initializer", Look::Answer),
    check("poststarthook/generic-apiserver-start-informers", Look::Answer),
    check("poststarthook/priority-and-fairness-config-consumer", Look::Answer),
    check("poststarthook/priority-and-fairness-filter", Look::Answer),
    check("poststarthook/storage-object-count-tracker-hook", Look::Answer),
    check("poststarthook/start-apiextensions-informers", Look::Answer),
    check("poststarthook/start-apiextensions-controllers", Look::Answer),
    check("poststarthook/crd-informer-synced", Look::Answer),
    check("poststarthook/start-system-namespaces-controller", Look::Answer),
    check("poststarthook/peer-endpoint-reconciler-controller", Look::Answer),
    check("poststarthook/start-cluster-authentication-info-controller", Look::Defaults),
    check("poststarthook/start-kube-apiserver-identity-lease-controller", Look::Answer),
    check("poststarthook/start-kube-apiserver-identity-lease-garbage-collector", Look::Answer),
    check("poststarthook/storage-readiness", Look::Store),
    check("poststarthook/start-legacy-token-tracking-controller", Look::Answer),
    check("poststarthook/start-service-ip-repair-controllers", Look::Answer),
    check("poststarthook/rbac/bootstrap-roles", Look::Defaults),
    check("poststarthook/scheduling/bootstrap-system-priority-classes", Look::Answer),
    check("poststarthook/priority-and-fairness-config-producer", Look::Defaults),
    check("poststarthook/bootstrap-controller", Look::Answer),
    check("poststarthook/start-kubernetes-service-cidr-controller", Look::Answer),
    check("poststarthook/aggregator-reload-proxy-client-cert", Look::Answer),
    check("poststarthook/start-kube-aggregator-informers", Look::Answer),
    check("poststarthook/apiservice-status-local-available-controller", Look::Answer),
    check("poststarthook/apiservice-status-remote-available-controller", Look::Answer),
    check("poststarthook/apiservice-registration-controller", Look::Answer),
    check("poststarthook/apiservice-discovery-controller", Look::Answer),
    check("poststarthook/kube-apiserver-autoregistration", Look::Answer),
    check("autoregister-completion", Look::Answer),
    check("poststarthook/apiservice-openapi-controller", Look::Answer),
    check("poststarthook/apiservice-openapiv3-controller", Look::Answer),
    ready("shutdown", Look::Shutdown),
];

impl Check {
    // What is wrong; `None` is healthy. The result is measured.
    async fn fault(&self, server: &ApiServer, kind: &str) -> Option<String> {
        let registry = &server.registry;
        let fault = match self.look {
            Look::Answer => None,
            Look::Store => registry.store.get("/registry/health").await.err().map(|error| error.to_string()),
            Look::Defaults => (!registry.has_defaults()).then(|| "not finished".to_owned()),
            Look::Shutdown => registry.is_stopping().then(|| "process is shutting down".to_owned()),
        };
        registry.metrics.health.checked(kind, self.name, fault.is_none());
        fault
    }
}

/// Answers, if the path is one of these. Of the version there is only GET; checks ask for no method.
pub async fn answer(server: &ApiServer, info: &RequestInfo) -> Option<Response<Body>> {
    let path = info.path.trim_end_matches('/');
    if path == "/version" {
        return Some(match info.verb {
            "get" => version(),
            _ => answer::status(&ApiError::MethodNotAllowed.status()),
        });
    }
    let path = path.strip_prefix('/')?;
    let (kind, only) = path.split_once('/').unwrap_or((path, ""));
    let of: fn(&Check) -> bool = match kind {
        "healthz" | "livez" => |check| check.live,
        "readyz" => |check| check.ready,
        _ => return None,
    };
    if only.is_empty() {
        return Some(all(server, info, kind, of).await);
    }
    let check = CHECKS.iter().filter(|check| of(check)).find(|check| check.name == only)?;
    Some(match check.fault(server, kind).await {
        None => {
            let mut fine = text(StatusCode::OK, "ok".to_owned());
            fine.headers_mut().remove(header::X_CONTENT_TYPE_OPTIONS);
            fine
        }
        Some(fault) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("internal server error: {fault}\n")),
    })
}

/// Whether it is all checks of a kind that are asked for.
pub fn is_root(info: &RequestInfo) -> bool {
    matches!(info.path.trim_end_matches('/'), "/healthz" | "/livez" | "/readyz")
}

async fn all(server: &ApiServer, info: &RequestInfo, kind: &str, of: fn(&Check) -> bool) -> Response<Body> {
    let mut excluded: Vec<&str> = info.query.all("exclude").collect();
    // Upstream holds them in a set, which it prints in order.
    excluded.sort_unstable();
    excluded.dedup();
    let mut lines = String::new();
    let mut failed = false;
    for check in CHECKS.iter().filter(|check| of(check)) {
        let name = check.name;
        if let Ok(at) = excluded.binary_search(&name) {
            excluded.remove(at);
            let _ = writeln!(lines, "[+]{name} excluded: ok");
        } else if check.fault(server, kind).await.is_some() {
            failed = true;
            let _ = writeln!(lines, "[-]{name} failed: reason withheld");
        } else {
            let _ = writeln!(lines, "[+]{name} ok");
        }
    }
    if !excluded.is_empty() {
        let unknown: Vec<String> = excluded.iter().map(|name| format!("{name:?}")).collect();
        let _ = writeln!(
            lines,
            "warn: some health checks cannot be excluded: no matches for {}",
            unknown.join(",")
        );
    }
    if failed {
        return text(StatusCode::INTERNAL_SERVER_ERROR, format!("{lines}{kind} check failed\n"));
    }
    if info.query.get("verbose").is_none() {
        return text(StatusCode::OK, "ok".to_owned());
    }
    text(StatusCode::OK, format!("{lines}{kind} check passed\n"))
}

fn text(status: StatusCode, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn version() -> Response<Body> {
    let body = serde_json::json!({
        "major": "1",
        "minor": "37",
        "emulationMajor": "1",
        "emulationMinor": "37",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "36",
        "gitVersion": KUBERNETES,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": platform(),
    });
    answer::json(StatusCode::OK, serde_json::to_vec_pretty(&body).unwrap_or_default().into())
}

/// The system and the machine, by Go's names.
pub fn platform() -> String {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("{}/{architecture}", std::env::consts::OS)
}
