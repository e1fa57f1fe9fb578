//! What people do with Helm, and our charts: the session of `session.yaml` with the real Helm against one
//! `coracle up` with two simulated nodes.
//!
//! Helm is the one that `tests/reference/build helm` makes; where it is not there, nothing is run, which is an error
//! only if `CORACLE_REQUIRE_REFERENCE` is set (as `make test` does where Go is).

#[path = "../kubectl/session.rs"]
mod session;

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use coracle_bench::Server;
use tokio::process::Command;

use session::{Session, Step};

const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn helm() -> Result<(), String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/helm");
    let steps = Step::load(&here.join("session.yaml"))?;
    let Some(helm) = binary() else {
        println!("helm: not run: it is not built (tests/reference/build helm)");
        return match env::var_os("CORACLE_REQUIRE_REFERENCE") {
            Some(_) => Err("CORACLE_REQUIRE_REFERENCE is set, and there is no helm".into()),
            None => Ok(()),
        };
    };
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let server = start(directory.path()).await?;
    let done = Session::new(&helm, server.kubeconfig(), directory.path(), 0).run(&steps).await;
    server.stop(STOP).await.map_err(|error| error.to_string())?;
    done
}

async fn start(directory: &Path) -> Result<Server, String> {
    let data = directory.join("data");
    let mut command = Command::new(env!("CARGO_BIN_EXE_coracle"));
    command
        .args(["up", "--listen", "127.0.0.1:0", "--store", "memory", "--nodes", "2", "--data-dir"])
        .arg(&data);
    command.arg("--kubeconfig").arg(directory.join("kubeconfig"));
    Server::start(command, START).await.map_err(|error| error.to_string())
}

/// Where tests/reference/build puts it.
fn binary() -> Option<PathBuf> {
    let cache = env::var_os("CORACLE_REFERENCE").map(PathBuf::from).unwrap_or_else(|| {
        let home = || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cache");
        env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("coracle-reference")
    });
    Some(cache.join("bin/helm")).filter(|path| path.exists())
}
