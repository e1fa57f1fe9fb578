//! The two servers: found where they run, or started for a test.

use std::env;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use coracle_bench::{Access, Server};
use tokio::process::Command;

use crate::side::Side;

const START: Duration = Duration::from_secs(120);
const STOP: Duration = Duration::from_secs(20);

/// What comes of `test` where the real one is not built: an error only if `CORACLE_REQUIRE_REFERENCE` is set.
///
/// # Errors
/// If it is.
pub fn not_run(test: &str) -> Result<(), String> {
    println!(
        "{test}: not run: the real kube-apiserver is not built (tests/reference/build kube-apiserver etcd)"
    );
    match env::var_os("CORACLE_REQUIRE_REFERENCE") {
        Some(_) => Err("CORACLE_REQUIRE_REFERENCE is set, and there is no reference".into()),
        None => Ok(()),
    }
}

/// A server to ask, which was started for this test unless it ran already.
pub struct Party {
    /// How it is asked.
    pub side: Side,
    server: Option<Server>,
}

impl Party {
    /// The real kube-apiserver; `None` where it is not built.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn reference(root: &Path, directory: &Path) -> Result<Option<Self>, String> {
        if let Some(kubeconfig) = env::var_os("CORACLE_DIFFERENTIAL_REFERENCE") {
            return Self::running(Path::new(&kubeconfig)).map(Some);
        }
        let binaries = reference_binaries();
        if !["kube-apiserver", "etcd"].iter().all(|name| binaries.join(name).exists()) {
            return Ok(None);
        }
        let directory = directory.join("reference");
        let mut command = Command::new(root.join("tests/reference/up"));
        command.arg(&directory).arg(free_ports()?.to_string());
        Self::started(command, &directory.join("pki")).await.map(Some)
    }

    /// Coracle, without anything that would act by itself.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn ours(directory: &Path) -> Result<Self, String> {
        if let Some(kubeconfig) = env::var_os("CORACLE_DIFFERENTIAL_OURS") {
            return Self::running(Path::new(&kubeconfig));
        }
        let directory = directory.join("ours");
        let mut command = Command::new(env!("CARGO_BIN_EXE_coracle"));
        command.args(["up", "--listen", "127.0.0.1:0", "--store", "memory", "--nodes", "0"]);
        command
            .args(["--node-pools=false", "--controllers=", "--scheduler=false", "--data-dir"])
            .arg(&directory);
        command.arg("--kubeconfig").arg(directory.join("kubeconfig"));
        Self::started(command, &directory.join("pki")).await
    }

    async fn started(command: Command, pki: &Path) -> Result<Self, String> {
        let server = Server::start(command, START).await.map_err(|error| error.to_string())?;
        let mut party = Self::reached(server.kubeconfig(), pki)?;
        party.server = Some(server);
        Ok(party)
    }

    fn running(kubeconfig: &Path) -> Result<Self, String> {
        Self::reached(kubeconfig, &kubeconfig.parent().unwrap_or(Path::new(".")).join("pki"))
    }

    fn reached(kubeconfig: &Path, pki: &Path) -> Result<Self, String> {
        let access = Access::from_kubeconfig(kubeconfig).map_err(|error| error.to_string())?;
        let authority =
            fs::read_to_string(pki.join("ca.crt")).ok().zip(fs::read_to_string(pki.join("ca.key")).ok());
        Ok(Self { side: Side::new(access, authority)?, server: None })
    }

    /// Ends it, if it was started for this test.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn stop(self) -> Result<(), String> {
        match self.server {
            Some(server) => server.stop(STOP).await.map_err(|error| error.to_string()),
            None => Ok(()),
        }
    }
}

/// Where tests/reference/build puts what it builds.
fn reference_binaries() -> PathBuf {
    let cache = env::var_os("CORACLE_REFERENCE").map(PathBuf::from).unwrap_or_else(|| {
        let home = || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cache");
        env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("coracle-reference")
    });
    cache.join("bin")
}

/// The first of three neighbouring ports that nobody listens on.
fn free_ports() -> Result<u16, String> {
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let start = 20000 + (std::process::id() % 10000) as u16;
    (start..start + 2000)
        .step_by(3)
        .find(|port| (0..3).all(|offset| is_free(port + offset)))
        .ok_or_else(|| "no free ports".into())
}
