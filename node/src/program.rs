//! What a container's command would do, as far as it can be told by reading it.
//!
//! Simulated containers run nothing. Servers run until they are stopped;
//! short commands end as they say: `sleep 5`, `exit 3`, `false`, `echo hello`.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Lifecycle};

/// What becomes of a started container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// Runs until it is stopped.
    Serves,
    /// Ends by itself.
    Ends {
        /// How long after its start.
        after: Duration,
        /// With which exit code.
        code: i32,
    },
    /// Nothing here knows it.
    Unknown {
        /// How long what comes before it takes.
        after: Duration,
    },
}

/// Images that serve when they are given no command.
const SERVERS: [&str; 12] = [
    "pause",
    "nginx",
    "httpd",
    "agnhost",
    "redis",
    "registry",
    "postgres",
    "mysql",
    "etcd",
    "memcached",
    "caddy",
    "sample-apiserver",
];
/// Images that end at once when they are given no command.
const SHELLS: [&str; 8] = ["busybox", "alpine", "debian", "ubuntu", "centos", "bash", "hello-world", "perl"];
/// Commands that serve.
const SERVING: [&str; 9] =
    ["pause", "netexec", "serve-hostname", "nginx", "httpd", "tail", "top", "python", "watch"];
/// Commands that end at once, and well.
const SHORT: [&str; 32] = [
    "true", ":", "echo", "printf", "cat", "ls", "date", "touch", "mkdir", "rmdir", "chmod", "chown", "rm",
    "cp", "mv", "ln", "env", "pwd", "hostname", "id", "whoami", "uname", "test", "[", "grep", "head",
    "export", "set", "cd", "umask", "trap", "sync",
];
/// What agnhost can do that ends; all else of it serves.
const AGNHOST_ENDS: [&str; 9] = [
    "help",
    "--help",
    "-h",
    "connect",
    "dns-suffix",
    "dns-server-list",
    "etc-hosts",
    "entrypoint-tester",
    "mounttest",
];

/// What the container does.
pub(crate) fn of(container: &Container) -> Program {
    let command = container.command.as_deref().unwrap_or_default();
    let words: Vec<&str> =
        command.iter().chain(container.args.iter().flatten()).map(String::as_str).collect();
    let image = image_name(container.image.as_deref().unwrap_or_default());
    let is_shell = match words.as_slice() {
        [] => SHELLS.contains(&image),
        [one] => matches!(one.rsplit('/').next(), Some("sh" | "bash" | "ash")),
        _ => false,
    };
    if is_shell {
        // A shell that somebody may attach to waits for him.
        return if container.stdin == Some(true) { Program::Serves } else { done(0) };
    }
    // Arguments alone go to what the image starts.
    if command.is_empty() && image == "agnhost" {
        return agnhost(&words);
    }
    if command.is_empty() && is_server(image) {
        return Program::Serves;
    }
    if words.is_empty() { unknown() } else { command_line(&words) }
}

/// How long the hook that runs before a stop takes.
pub(crate) fn pre_stop(lifecycle: Option<&Lifecycle>) -> Duration {
    let Some(hook) = lifecycle.and_then(|lifecycle| lifecycle.pre_stop.as_ref()) else {
        return Duration::ZERO;
    };
    if let Some(sleep) = &hook.sleep {
        return Duration::from_secs(sleep.seconds.unsigned_abs());
    }
    let command = hook.exec.as_ref().and_then(|exec| exec.command.as_deref()).unwrap_or_default();
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    match command_line(&words) {
        Program::Ends { after, .. } | Program::Unknown { after } => after,
        // Cut off by the grace period.
        Program::Serves => Duration::MAX,
    }
}

/// True when the image says that it cannot be pulled.
pub(crate) fn cannot_exist(image: &str) -> bool {
    let name = image.rsplit('/').next().unwrap_or(image);
    let tag = name.split_once(':').map(|(_, tag)| tag).unwrap_or_default();
    let marked = |text: &str| {
        ["non-existent", "nonexistent", "does-not-exist", "doesnotexist"].iter().any(|m| text.contains(m))
    };
    tag == "404" || marked(image) || image.starts_with("invalid.registry.k8s.io/") || image.trim().is_empty()
}

fn is_server(image: &str) -> bool {
    SERVERS
        .iter()
        .any(|server| image.strip_prefix(server).is_some_and(|rest| rest.is_empty() || rest.starts_with('-')))
}

/// The last part of an image's name, without tag and digest.
fn image_name(image: &str) -> &str {
    let name = image.rsplit('/').next().unwrap_or(image);
    name.split(['@', ':']).next().unwrap_or(name)
}

fn agnhost(words: &[&str]) -> Program {
    match words.first() {
        Some(first) if AGNHOST_ENDS.contains(first) => done(0),
        _ => Program::Serves,
    }
}

fn unknown() -> Program {
    Program::Unknown { after: Duration::ZERO }
}

fn done(code: i32) -> Program {
    Program::Ends { after: Duration::ZERO, code }
}

fn command_line(words: &[&str]) -> Program {
    let Some((first, rest)) = words.split_first() else { return done(0) };
    let name = first.rsplit('/').next().unwrap_or(first);
    match name {
        "sh" | "bash" | "ash" => match rest.iter().position(|word| *word == "-c" || *word == "-ec") {
            Some(at) => script(rest.get(at + 1).copied().unwrap_or_default()),
            None => unknown(),
        },
        "sleep" => sleep(rest.first().copied()),
        "false" => done(1),
        "exit" => done(rest.first().and_then(|code| code.parse().ok()).unwrap_or(0)),
        "agnhost" => agnhost(rest),
        "exec" => command_line(rest),
        name if SERVING.contains(&name) => Program::Serves,
        name if SHORT.contains(&name) => done(0),
        _ => unknown(),
    }
}

fn sleep(time: Option<&str>) -> Program {
    let Some(text) = time else { return done(1) };
    if matches!(text, "inf" | "infinity") {
        return Program::Serves;
    }
    let (number, unit) = match text.find(|c: char| c.is_ascii_alphabetic()) {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let scale = match unit {
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => 1.0,
    };
    match number.parse::<f64>().ok().and_then(|n| Duration::try_from_secs_f64(n * scale).ok()) {
        Some(after) => Program::Ends { after, code: 0 },
        None => done(1),
    }
}

/// The statements of a script, one after the other; an endless loop serves.
fn script(text: &str) -> Program {
    if text.contains("while true") || text.contains("while :") || text.contains("while sleep") {
        return Program::Serves;
    }
    let mut total = Duration::ZERO;
    let mut last = Some(0);
    for statement in text.split([';', '\n']).flat_map(|part| part.split("&&")) {
        let words: Vec<&str> = statement.split_whitespace().collect();
        if words.is_empty() {
            continue;
        }
        match command_line(&words) {
            Program::Serves => return Program::Serves,
            Program::Ends { after, code } => {
                total = total.saturating_add(after);
                last = Some(code);
            }
            Program::Unknown { after } => {
                total = total.saturating_add(after);
                last = None;
            }
        }
        if words.first() == Some(&"exit") {
            break;
        }
    }
    last.map_or(Program::Unknown { after: total }, |code| Program::Ends { after: total, code })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn commands_are_read() {
        let check = |container: Value, expected: Program| {
            let mut value = json!({"name": "c", "image": "busybox:1.36"});
            value.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
            let parsed: Container = serde_json::from_value(value).unwrap();
            assert_eq!(of(&parsed), expected, "{container}");
        };
        let ends = |seconds, code| Program::Ends { after: Duration::from_secs(seconds), code };
        check(json!({}), ends(0, 0));
        check(json!({"image": "registry.k8s.io/pause:3.10"}), Program::Serves);
        check(json!({"image": "nginx"}), Program::Serves);
        check(
            json!({"image": "registry.k8s.io/e2e-test-images/agnhost:2.47", "args": ["netexec"]}),
            Program::Serves,
        );
        check(json!({"command": ["sleep", "5"]}), ends(5, 0));
        check(json!({"command": ["/bin/sleep", "2m"]}), ends(120, 0));
        check(json!({"command": ["sleep", "infinity"]}), Program::Serves);
        check(json!({"command": ["false"]}), ends(0, 1));
        let unknown = |seconds| Program::Unknown { after: Duration::from_secs(seconds) };
        check(json!({"command": ["perl", "-Mbignum=bpi", "-wle", "print bpi(2000)"]}), unknown(0));
        check(json!({"image": "example:1"}), unknown(0));
        check(json!({"command": ["sh", "-c", "sleep 2; serve --all"]}), unknown(2));
        check(json!({"command": ["sh", "-c", "echo a > /b && exec sleep 4"]}), ends(4, 0));
        check(json!({"stdin": true}), Program::Serves);
        check(json!({"command": ["sh"], "stdin": true}), Program::Serves);
        check(json!({"image": "e2e/agnhost:2.59", "args": ["mounttest", "--fs_type=/a"]}), ends(0, 0));
        check(json!({"image": "e2e/agnhost:2.59", "command": ["/agnhost", "pause"]}), Program::Serves);
        check(json!({"command": ["sh", "-c", "echo a; sleep 3 && exit 7; sleep 9"]}), ends(3, 7));
        check(json!({"command": ["/bin/sh"], "args": ["-c", "exit 1"]}), ends(0, 1));
        check(json!({"command": ["sh", "-c", "while true; do sleep 1; done"]}), Program::Serves);
        check(json!({"command": ["sh", "-c"]}), ends(0, 0));
        check(json!({"command": ["sh", "/script"]}), unknown(0));
        check(json!({"command": ["sleep", "99999999999999999999999999"]}), ends(0, 1));
    }

    #[test]
    fn images_that_cannot_exist() {
        for (image, expected) in [
            ("webserver:404", true),
            ("foo:non-existent", true),
            ("registry.example/a/b:404", true),
            ("invalid.registry.k8s.io/invalid/alpine:3.1", true),
            ("nginx", false),
            ("localhost:404/nginx", false),
            ("nginx:1.404", false),
        ] {
            assert_eq!(cannot_exist(image), expected, "{image}");
        }
    }
}
