//! The directory of a cluster: everything that it keeps.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// A cluster's directory.
#[derive(Debug, Clone)]
pub struct DataDir(PathBuf);

/// What a running cluster writes about itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Running {
    /// The process.
    pub pid: u32,
    /// Where its API server answers.
    pub url: String,
    /// The kubeconfig for it.
    pub kubeconfig: PathBuf,
}

impl DataDir {
    /// The directory at `path`, made when missing, for its owner only.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        Ok(Self(fs::canonicalize(path)?))
    }

    /// The directory at `path`, whether it is there or not.
    pub fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where the store keeps its files.
    pub fn store(&self) -> PathBuf {
        self.0.join("store")
    }

    /// Where certificates and keys are.
    pub fn pki(&self) -> PathBuf {
        self.0.join("pki")
    }

    /// The kubeconfig of the cluster's administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.0.join("kubeconfig")
    }

    fn running_file(&self) -> PathBuf {
        self.0.join("running.json")
    }

    /// Says that this process runs the cluster.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn announce(&self, running: &Running) -> io::Result<()> {
        write_private(&self.running_file(), serde_json::to_string_pretty(running)?.as_bytes())
    }

    /// Takes back what [`announce`](Self::announce) said.
    pub fn withdraw(&self) {
        // Gone already is as good.
        let _ = fs::remove_file(self.running_file());
    }

    /// Who runs the cluster, if that process is alive.
    pub fn running(&self) -> Option<Running> {
        let text = fs::read(self.running_file()).ok()?;
        let running: Running = serde_json::from_slice(&text).ok()?;
        Path::new(&format!("/proc/{}", running.pid)).exists().then_some(running)
    }
}

/// Writes a file that only its owner can read, whole or not at all.
///
/// # Errors
/// When it cannot be written.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}
