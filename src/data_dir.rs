//! The directory of a cluster: everything that it keeps.
//!
//! Whoever runs the cluster [holds](DataDir::hold) the directory. The lock is
//! what says that it runs, not a file: it ends with the process, however that
//! ends.

use std::{
    fs,
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{fs::FlockOperation, io::Errno};
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

    /// Where the local provisioner has its volumes.
    pub fn volumes(&self) -> PathBuf {
        self.0.join("volumes")
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

    fn lock_file(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// Makes this process the one that runs the cluster, until what is
    /// returned is dropped.
    ///
    /// # Errors
    /// `Held` when another does.
    pub fn hold(&self) -> Result<Held, HoldError> {
        let path = self.lock_file();
        let failed = |error| HoldError::File { path: path.clone(), error };
        let mut lock = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        if !taken(&lock).map_err(failed)? {
            let mut holder = String::new();
            lock.read_to_string(&mut holder).map_err(failed)?;
            return Err(HoldError::Held { path: self.0.clone(), holder: holder.trim().to_owned() });
        }
        // What one that was killed left there.
        let _ = fs::remove_file(self.running_file());
        lock.set_len(0).map_err(failed)?;
        writeln!(lock, "{}", std::process::id()).map_err(failed)?;
        Ok(Held { data: self.clone(), _lock: lock })
    }

    /// Who runs the cluster.
    pub fn running(&self) -> Option<Running> {
        let lock = fs::File::open(self.lock_file()).ok()?;
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared) != Err(Errno::WOULDBLOCK) {
            return None;
        }
        serde_json::from_slice(&fs::read(self.running_file()).ok()?).ok()
    }
}

// Whether the lock is ours now. One that only looks whether somebody has it
// has it for a moment: that is waited out.
fn taken(lock: &fs::File) -> io::Result<bool> {
    for _ in 0..10 {
        match rustix::fs::flock(lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) => std::thread::sleep(Duration::from_millis(10)),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(false)
}

/// A directory whose cluster this process runs.
pub struct Held {
    data: DataDir,
    _lock: fs::File,
}

impl Held {
    /// Says where the cluster answers.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn announce(&self, running: &Running) -> io::Result<()> {
        write_private(&self.data.running_file(), serde_json::to_string_pretty(running)?.as_bytes())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = fs::remove_file(self.data.running_file());
    }
}

/// Why a directory cannot be held.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// A cluster runs on it.
    #[error("{path} is in use by process {holder}")]
    Held {
        /// The directory.
        path: PathBuf,
        /// The process that runs it.
        holder: String,
    },
    /// The lock cannot be taken.
    #[error("{path}: {error}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// Writes a file that only its owner can read, whole or not at all.
///
/// # Errors
/// When it cannot be written.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holds_it_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::create(&directory.path().join("data")).unwrap();
        assert!(data.running().is_none());
        let running = Running { pid: 7, url: "https://127.0.0.1:1".to_owned(), kubeconfig: PathBuf::new() };
        let held = data.hold().unwrap();
        held.announce(&running).unwrap();
        assert_eq!(data.running().map(|found| found.pid), Some(7));
        let refused = data.hold().err().map(|error| error.to_string()).unwrap_or_default();
        assert!(refused.ends_with(&format!("is in use by process {}", std::process::id())), "{refused}");
        drop(held);
        assert!(data.running().is_none());
        // What a killed one left says nothing.
        write_private(&data.running_file(), serde_json::to_string(&running).unwrap().as_bytes()).unwrap();
        assert!(data.running().is_none());
        assert!(data.hold().is_ok());
    }
}
