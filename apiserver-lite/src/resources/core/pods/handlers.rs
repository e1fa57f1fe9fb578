//! Probes and life cycle hooks, and the ways in which they reach a container.

use coracle_api::{FieldError, FieldPath, format};
use serde_json::Value;

use super::containers::one_of;
use crate::resources::rules::{Check, Errors, Place, Rule, check};

/// Liveness and startup probes.
pub static LIVENESS: &[Check] = &[
    Check::All(PROBE),
    Check::With(|probe, errors| {
        let threshold = probe.number("successThreshold").unwrap_or(0);
        if threshold != 1 {
            errors.push(FieldError::invalid(&probe.path_of("successThreshold"), threshold, "must be 1"));
        }
    }),
];

/// Readiness probes.
pub static READINESS: &[Check] = &[
    Check::All(PROBE),
    Check::With(|probe, errors| {
        if let Some(seconds) = probe.number("terminationGracePeriodSeconds") {
            let path = probe.path_of("terminationGracePeriodSeconds");
            errors.push(FieldError::invalid(&path, seconds, "must not be set for readinessProbes"));
        }
    }),
];

static PROBE: &[Check] = &[
    Check::With(|probe, errors| one_handler(probe, PROBE_HANDLERS, errors)),
    Check::Field("initialDelaySeconds", &[Rule::NotNegative]),
    Check::Field("timeoutSeconds", &[Rule::NotNegative]),
    Check::Field("periodSeconds", &[Rule::NotNegative]),
    Check::Field("successThreshold", &[Rule::NotNegative]),
    Check::Field("failureThreshold", &[Rule::NotNegative]),
    Check::Field("terminationGracePeriodSeconds", &[Rule::AtLeast(1, "must be greater than 0")]),
];

/// `lifecycle`
pub static LIFECYCLE: &[Check] = &[
    Check::Within("postStart", &[Check::With(|hook, errors| one_handler(hook, HOOK_HANDLERS, errors))]),
    Check::Within("preStop", &[Check::With(|hook, errors| one_handler(hook, HOOK_HANDLERS, errors))]),
    Check::With(stop_signal),
];

type Handler = (&'static str, &'static [Check]);

static PROBE_HANDLERS: &[Handler] = &[("exec", EXEC), ("httpGet", HTTP), ("tcpSocket", TCP), ("grpc", GRPC)];

static HOOK_HANDLERS: &[Handler] =
    &[("exec", EXEC), ("httpGet", HTTP), ("tcpSocket", TCP), ("sleep", &[Check::With(sleep)])];

static EXEC: &[Check] = &[Check::With(|exec, errors| {
    if exec.list("command").is_empty() {
        errors.push(FieldError::required(&exec.path_of("command"), ""));
    }
})];

static HTTP: &[Check] = &[
    Check::Field("path", &[Rule::Required("")]),
    Check::With(|http, errors| port(http.get("port"), &http.path_of("port"), errors)),
    Check::With(|http, errors| one_of(http, "scheme", &["HTTP", "HTTPS"], errors)),
    Check::With(|http, errors| {
        for name in http.list("httpHeaders").iter().map(|header| header["name"].as_str().unwrap_or_default())
        {
            let faults = format::http_header_name(name).into_iter();
            errors.extend(faults.map(|fault| FieldError::invalid(&http.path_of("httpHeaders"), name, fault)));
        }
    }),
];

static TCP: &[Check] = &[Check::With(|tcp, errors| port(tcp.get("port"), &tcp.path_of("port"), errors))];

static GRPC: &[Check] = &[
    Check::With(|grpc, errors| port(grpc.get("port"), &grpc.path_of("port"), errors)),
    Check::Field("mode", &[Rule::OneOf(&["Plaintext", "TLS"])]),
];

fn one_handler(place: &Place<'_>, handlers: &[Handler], errors: &mut Errors) {
    let mut found = false;
    for (field, checks) in handlers {
        let Some(handler) = place.field(field) else { continue };
        if found {
            errors.push(FieldError::forbidden(&handler.path(), "may not specify more than 1 handler type"));
        } else {
            found = true;
            check(checks, &handler, errors);
        }
    }
    if !found {
        errors.push(FieldError::required(&place.path(), "must specify a handler type"));
    }
}

/// A port by number or by name.
pub fn port(port: Option<&Value>, path: &FieldPath, errors: &mut Errors) {
    let faults = match port {
        Some(Value::String(name)) => format::port_name(name),
        port => format::port_number(port.and_then(Value::as_i64).unwrap_or(0)),
    };
    let shown = port.cloned().unwrap_or_else(|| 0.into());
    errors.extend(faults.into_iter().map(|fault| FieldError::invalid(path, shown.clone(), fault)));
}

fn sleep(sleep: &Place<'_>, errors: &mut Errors) {
    let seconds = sleep.number("seconds").unwrap_or(0);
    let grace = sleep.within("spec").and_then(|spec| spec.number("terminationGracePeriodSeconds"));
    if let Some(grace) = grace.filter(|grace| seconds < 0 || seconds > *grace) {
        let detail = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        errors.push(FieldError::invalid(&sleep.path(), seconds, detail));
    }
}

const LINUX_SIGNALS: &[&str] = &[
    "SIGABRT",
    "SIGALRM",
    "SIGBUS",
    "SIGCHLD",
    "SIGCLD",
    "SIGCONT",
    "SIGFPE",
    "SIGHUP",
    "SIGILL",
    "SIGINT",
    "SIGIO",
    "SIGIOT",
    "SIGKILL",
    "SIGPIPE",
    "SIGPOLL",
    "SIGPROF",
    "SIGPWR",
    "SIGQUIT",
    "SIGRTMAX",
    "SIGRTMAX-1",
    "SIGRTMAX-10",
    "SIGRTMAX-11",
    "SIGRTMAX-12",
    "SIGRTMAX-13",
    "SIGRTMAX-14",
    "SIGRTMAX-2",
    "SIGRTMAX-3",
    "SIGRTMAX-4",
    "SIGRTMAX-5",
    "SIGRTMAX-6",
    "SIGRTMAX-7",
    "SIGRTMAX-8",
    "SIGRTMAX-9",
    "SIGRTMIN",
    "SIGRTMIN+1",
    "SIGRTMIN+10",
    "SIGRTMIN+11",
    "SIGRTMIN+12",
    "SIGRTMIN+13",
    "SIGRTMIN+14",
    "SIGRTMIN+15",
    "SIGRTMIN+2",
    "SIGRTMIN+3",
    "SIGRTMIN+4",
    "SIGRTMIN+5",
    "SIGRTMIN+6",
    "SIGRTMIN+7",
    "SIGRTMIN+8",
    "SIGRTMIN+9",
    "SIGSEGV",
    "SIGSTKFLT",
    "SIGSTOP",
    "SIGSYS",
    "SIGTERM",
    "SIGTRAP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGUSR1",
    "SIGUSR2",
    "SIGVTALRM",
    "SIGWINCH",
    "SIGXCPU",
    "SIGXFSZ",
];

fn stop_signal(lifecycle: &Place<'_>, errors: &mut Errors) {
    let signal = lifecycle.text("stopSignal");
    if signal.is_empty() {
        return;
    }
    let path = lifecycle.path_of("stopSignal");
    let os = lifecycle.within("spec").and_then(|spec| spec.get("os")).map(|os| os["name"].as_str());
    let supported = match os {
        None => {
            errors.push(FieldError::forbidden(
                &path,
                "may not be set for containers with empty `spec.os.name`",
            ));
            return;
        }
        Some(Some("windows")) => &["SIGKILL", "SIGTERM"],
        Some(Some("linux")) => LINUX_SIGNALS,
        Some(_) => return,
    };
    if !supported.contains(&signal) {
        errors.push(FieldError::not_supported(&path, signal, supported));
    }
}
