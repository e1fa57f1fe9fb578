//! `/healthz`, `/livez`, `/readyz` with their checks, and `/version`.

use std::fmt::Write;

use http::{HeaderValue, Response, StatusCode, header};

use crate::{ApiServer, body::Body, error::ApiError, handlers::answer, request::RequestInfo};

/// The version that Coracle speaks: it is what clients negotiate by.
pub const KUBERNETES: &str = "v1.37.2";

struct Check {
    name: &'static str,
    // `None` is healthy.
    fault: fn(&ApiServer) -> Option<&'static str>,
}

fn fine(_: &ApiServer) -> Option<&'static str> {
    None
}

fn stopping(server: &ApiServer) -> Option<&'static str> {
    server.registry.hub.closing().is_cancelled().then_some("process is shutting down")
}

const LIVE: &[Check] = &[
    Check { name: "ping", fault: fine },
    Check { name: "log", fault: fine },
    Check { name: "etcd", fault: fine },
];
const READY: &[Check] = &[
    Check { name: "ping", fault: fine },
    Check { name: "log", fault: fine },
    Check { name: "etcd", fault: fine },
    Check { name: "shutdown", fault: stopping },
];

/// Answers, if the path is one of these. Of the version there is only GET; checks ask for no method.
pub fn answer(server: &ApiServer, info: &RequestInfo) -> Option<Response<Body>> {
    let path = info.path.trim_end_matches('/');
    if path == "/version" {
        return Some(match info.verb {
            "get" => version(),
            _ => answer::status(&ApiError::MethodNotAllowed.status()),
        });
    }
    let (kind, only) = path.strip_prefix('/')?.split_once('/').unwrap_or((path.strip_prefix('/')?, ""));
    let checks = match kind {
        "healthz" | "livez" => LIVE,
        "readyz" => READY,
        _ => return None,
    };
    if only.is_empty() {
        return Some(all(server, info, kind, checks));
    }
    let check = checks.iter().find(|check| check.name == only)?;
    Some(match (check.fault)(server) {
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

fn all(server: &ApiServer, info: &RequestInfo, kind: &str, checks: &[Check]) -> Response<Body> {
    let excluded: Vec<&str> = info.query.all("exclude").collect();
    let mut lines = String::new();
    let mut failed = false;
    for check in checks {
        let name = check.name;
        let _ = if excluded.contains(&name) {
            writeln!(lines, "[+]{name} excluded: ok")
        } else if (check.fault)(server).is_some() {
            failed = true;
            writeln!(lines, "[-]{name} failed: reason withheld")
        } else {
            writeln!(lines, "[+]{name} ok")
        };
    }
    let unknown: Vec<String> = excluded
        .iter()
        .filter(|name| !checks.iter().any(|check| check.name == **name))
        .map(|name| format!("{name:?}"))
        .collect();
    if !unknown.is_empty() {
        let _ = writeln!(
            lines,
            "warn: some health checks cannot be excluded: no matches for {}",
            unknown.join(", ")
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
