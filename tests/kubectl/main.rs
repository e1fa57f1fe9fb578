//! What people do with kubectl, done with every kubectl that can be found.
//!
//! The session of `session.yaml` runs once with each version, in a namespace of its own, against one `coracle up`
//! with a simulated node. Found are `kubectl` and its versioned neighbours (`kubectl.1.27`...) in the directories
//! of PATH, links followed, and the one that `tests/reference/build kubectl` makes. None at all is an error
//! only if `CORACLE_REQUIRE_REFERENCE` is set (as `make test` does where Go is).
//!
//! To work with:
//! - `CORACLE_KUBECTL_ONLY=TEXT`: only the binaries with TEXT in their path;
//! - `CORACLE_KUBECTL_SERVER=KUBECONFIG`: a server that runs already.

mod session;

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use coracle_bench::Server;
use tokio::process::Command;

use session::{Session, Step};

const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl() -> Result<(), String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kubectl");
    let steps = Step::load(&here.join("session.yaml"))?;
    let only = env::var("CORACLE_KUBECTL_ONLY").unwrap_or_default();
    let versions: Vec<PathBuf> =
        binaries().into_iter().filter(|path| path.to_string_lossy().contains(&only)).collect();
    if versions.is_empty() {
        return without_kubectl();
    }
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let (server, kubeconfig) = match env::var_os("CORACLE_KUBECTL_SERVER") {
        Some(kubeconfig) => (None, PathBuf::from(kubeconfig)),
        None => {
            let server = start(directory.path()).await?;
            let kubeconfig = server.kubeconfig().to_owned();
            (Some(server), kubeconfig)
        }
    };
    let mut failures = Vec::new();
    for (number, binary) in versions.iter().enumerate() {
        let session = Session::new(binary, &kubeconfig, directory.path(), number);
        match session.run(&steps).await {
            Ok(()) => println!("ok: {} ({} steps)", binary.display(), steps.len()),
            Err(failure) => {
                println!("FAILED: {}\n{failure}", binary.display());
                failures.push(binary.display().to_string());
            }
        }
    }
    if let Some(server) = server {
        server.stop(STOP).await.map_err(|error| error.to_string())?;
    }
    if failures.is_empty() { Ok(()) } else { Err(format!("failed with {}", failures.join(", "))) }
}

/// ^C, then `up` again: everything is still there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restart() -> Result<(), String> {
    let Some(binary) = binaries().into_iter().next_back() else { return without_kubectl() };
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let rounds = [
        "[{run: create deployment web --image=nginx --replicas=2}, {run: rollout status deployment/web --timeout=60s}]",
        "[{run: get deployment web, out: [2/2]}, {run: rollout status deployment/web --timeout=60s, out: [successfully]},
          {run: 'get pods --no-headers', out: [Running]}]",
    ];
    for (round, steps) in rounds.into_iter().enumerate() {
        let server = start(directory.path()).await?;
        let session = Session::new(&binary, server.kubeconfig(), directory.path(), 0);
        let steps = if round == 0 {
            [Step::parse("[{run: 'create namespace {ns}'}]")?, Step::parse(steps)?].concat()
        } else {
            Step::parse(steps)?
        };
        let outcome = session.run(&steps).await;
        server.stop(STOP).await.map_err(|error| error.to_string())?;
        outcome.map_err(|failure| format!("start {}: {failure}", round + 1))?;
    }
    Ok(())
}

fn without_kubectl() -> Result<(), String> {
    let what = "no kubectl on PATH, and none in the reference's directory (tests/reference/build kubectl)";
    println!("kubectl: not run: {what}");
    match env::var_os("CORACLE_REQUIRE_REFERENCE") {
        Some(_) => Err(what.into()),
        None => Ok(()),
    }
}

async fn start(directory: &Path) -> Result<Server, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coracle"));
    command.args(["up", "--listen", "127.0.0.1:0", "--data-dir"]).arg(directory.join("data"));
    command.arg("--kubeconfig").arg(directory.join("kubeconfig"));
    Server::start(command, START).await.map_err(|error| error.to_string())
}

/// Every kubectl there is, each once, in order of their names.
fn binaries() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut directories: BTreeSet<PathBuf> = env::split_paths(&path).collect();
    // A version manager keeps the versions beside the one that PATH links to.
    directories.extend(
        env::split_paths(&path).filter_map(|directory| {
            Some(directory.join("kubectl").canonicalize().ok()?.parent()?.to_owned())
        }),
    );
    directories.extend(reference_binaries());
    let mut found: BTreeMap<PathBuf, OsString> = BTreeMap::new();
    for entry in directories.iter().filter_map(|directory| directory.read_dir().ok()).flatten().flatten() {
        let name = entry.file_name();
        if is_kubectl(&name.to_string_lossy())
            && let Ok(path) = entry.path().canonicalize()
        {
            found.insert(path, name);
        }
    }
    // A plain name beside versioned ones is a chooser that calls one of them.
    let versioned: BTreeSet<PathBuf> = found
        .iter()
        .filter(|(_, name)| name.to_string_lossy().len() > "kubectl".len())
        .filter_map(|(path, _)| Some(path.parent()?.to_owned()))
        .collect();
    let is_chooser = |path: &Path, name: &OsString| {
        name == "kubectl" && path.parent().is_some_and(|directory| versioned.contains(directory))
    };
    found.into_iter().filter(|(path, name)| !is_chooser(path, name)).map(|(path, _)| path).collect()
}

fn is_kubectl(name: &str) -> bool {
    let version = name.strip_prefix("kubectl.").or_else(|| name.strip_prefix("kubectl-v"));
    name == "kubectl" || version.is_some_and(|v| v.bytes().all(|b| b.is_ascii_digit() || b == b'.'))
}

/// Where tests/reference/build puts what it builds.
fn reference_binaries() -> Option<PathBuf> {
    let named = env::var_os("CORACLE_REFERENCE").map(PathBuf::from);
    let cache = || env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".cache"));
    let directory = named.or_else(|| Some(cache().or_else(home)?.join("coracle-reference")))?;
    Some(directory.join("bin"))
}

#[test]
fn names() {
    let check = |name: &str, expected: bool| assert_eq!(is_kubectl(name), expected, "{name}");
    check("kubectl", true);
    check("kubectl.1.27", true);
    check("kubectl-v1.37.2", true);
    check("kubectl-plugin", false);
    check("kubectl.sha256", false);
}
