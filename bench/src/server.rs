//! A control plane in a process of its own, started and stopped from outside.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::process::Family;

/// A running control plane: `coracle up`, or `tests/reference/up`.
///
/// Dropped without [`Server::stop`], it is asked to end and not waited for.
pub struct Server {
    child: Child,
    pid: u32,
    kubeconfig: PathBuf,
    started: Instant,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The program could not be run.
    #[error("running {program}: {source}")]
    Run {
        /// The program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// It ended, or said something else than that it is ready.
    #[error("{program} did not become ready: {reason}")]
    NotReady {
        /// The program.
        program: String,
        /// What it said instead.
        reason: String,
    },
}

impl Server {
    /// Runs `command`, which must print `ready URL KUBECONFIG` on its standard output, and waits for that line.
    ///
    /// # Errors
    /// When it does not within `limit`.
    pub async fn start(mut command: Command, limit: Duration) -> Result<Self, ServerError> {
        let program = command.as_std().get_program().to_string_lossy().into_owned();
        let not_ready = |reason: String| ServerError::NotReady { program: program.clone(), reason };
        let started = Instant::now();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|source| ServerError::Run { program: program.clone(), source })?;
        let pid = child.id().ok_or_else(|| not_ready("it has ended".into()))?;
        let stdout = child.stdout.take().ok_or_else(|| not_ready("it has no standard output".into()))?;
        let mut server = Self { child, pid, kubeconfig: PathBuf::new(), started };
        let mut lines = BufReader::new(stdout).lines();
        let ready = async {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(kubeconfig) = ready_line(&line) {
                    return Some(kubeconfig);
                }
            }
            None
        };
        match tokio::time::timeout(limit, ready).await {
            Ok(Some(kubeconfig)) => server.kubeconfig = kubeconfig,
            Ok(None) => return Err(not_ready("it closed its standard output".into())),
            Err(_) => return Err(not_ready(format!("nothing within {limit:?}"))),
        }
        // Whatever else it prints must not fill the pipe and block it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(server)
    }

    /// The cluster administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Its processes.
    pub fn family(&self) -> Family {
        Family::of(self.pid)
    }

    /// When it was started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Asks it to end (SIGTERM), and waits; after `limit` it is killed.
    ///
    /// # Errors
    /// When it had to be killed.
    pub async fn stop(mut self, limit: Duration) -> Result<(), ServerError> {
        self.terminate();
        match tokio::time::timeout(limit, self.child.wait()).await {
            Ok(_) => Ok(()),
            Err(_) => {
                let _ = self.child.kill().await;
                Err(ServerError::NotReady {
                    program: "stop".into(),
                    reason: format!("did not end within {limit:?}"),
                })
            }
        }
    }

    fn terminate(&self) {
        // None once the child has been waited for: then its id may be somebody else's.
        if let Some(pid) =
            self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw)
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.terminate();
    }
}

fn ready_line(line: &str) -> Option<PathBuf> {
    let (_url, kubeconfig) = line.strip_prefix("ready ")?.split_once(' ')?;
    Some(PathBuf::from(kubeconfig.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_lines() {
        let check = |line: &str, expected: Option<&str>| {
            assert_eq!(ready_line(line), expected.map(PathBuf::from), "{line}");
        };
        check("ready https://127.0.0.1:6443 /tmp/a b/kubeconfig", Some("/tmp/a b/kubeconfig"));
        check("ready", None);
        check("starting", None);
    }

    #[tokio::test]
    async fn life() {
        let start = |script: &str| {
            let mut command = Command::new("sh");
            command.arg("-c").arg(script);
            Server::start(command, Duration::from_secs(10))
        };
        let server = start("echo hello; echo ready https://h /k; exec sleep 1000").await.unwrap();
        assert_eq!(server.kubeconfig(), Path::new("/k"));
        server.stop(Duration::from_secs(10)).await.unwrap();
        assert!(start("exit 3").await.is_err());
    }
}
