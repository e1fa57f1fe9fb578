//! Opens the files of a store.

use std::{path::Path, sync::Arc, thread::JoinHandle};

use super::{
    Dropped,
    checkpoint::Checkpoints,
    damage,
    directory::{self, Directory},
    load::{self, Loaded},
    log::{self, Log},
    wal::{self, Wal},
};
use crate::StoreError;

/// A store's files, and what was in them.
pub(super) struct Opened {
    pub(super) loaded: Loaded,
    pub(super) log: Log,
    pub(super) files: Files,
    pub(super) dropped: Option<Dropped>,
}

/// What is open on disk, beside the log itself.
pub(super) struct Files {
    pub(super) path: Arc<Path>,
    checkpoints: Arc<Checkpoints>,
    checkpointer: JoinHandle<()>,
    directory: Directory,
}

impl Files {
    /// Ends the checkpoints. The directory is to be kept until the log is
    /// closed.
    pub(super) fn stop(self) -> Directory {
        self.checkpoints.stop();
        let _panicked = self.checkpointer.join();
        self.directory
    }
}

/// Opens the log in a directory, or makes one, and reads it.
pub(super) fn open(path: &Path, relaxed: bool) -> Result<Opened, StoreError> {
    let mut directory = Directory::take(path)?;
    directory.ensure_log()?;
    let path = directory.log();
    let dropped = drop_unfinished(&path, directory.was_relaxed())?;
    directory.sign(relaxed)?;
    let connection = log::connect(&path)?;
    log::identify(&connection, &path)?;
    let loaded = load::load(&connection, &path)?;
    log::prepare(&connection, &path, relaxed)?;
    let checkpoints = Arc::new(Checkpoints::default());
    let mut log = Log::new(connection, path.clone(), loaded.state, loaded.sum, checkpoints.clone());
    if loaded.accepted {
        log.remove(&[], loaded.state.compacted)?;
    }
    let checkpointer = checkpoints.clone().start(&path)?;
    let files = Files { path, checkpoints, checkpointer, directory };
    Ok(Opened { loaded, log, files, dropped })
}

// Cuts off what a crash left at the end of the WAL, so that it is not met
// again behind what is written from now on.
fn drop_unfinished(log: &Path, relaxed: bool) -> Result<Option<Dropped>, StoreError> {
    let path = directory::wal_of(log);
    let refused = |error: std::io::Error| damage::refused(&path, &error);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refused(error)),
    };
    let (len, dropped) = match wal::inspect(&bytes, relaxed) {
        Wal::Sound { len, dropped } => (len, dropped),
        Wal::Damaged { offset } => {
            return Err(damage::damaged(
                log,
                format!(
                    "its WAL {} is not what was written at byte {offset}, and acknowledged writes follow",
                    path.display()
                ),
            ));
        }
    };
    if len < bytes.len() as u64 {
        let file = std::fs::OpenOptions::new().write(true).open(&path).map_err(refused)?;
        file.set_len(len).and_then(|()| file.sync_all()).map_err(refused)?;
    }
    if dropped == 0 {
        return Ok(None);
    }
    tracing::warn!(wal = %path.display(), bytes = dropped, at = len, "dropped the end of a write that a crash cut off");
    Ok(Some(Dropped { bytes: dropped }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durable_waits_for_the_disk() {
        let check = |relaxed, synchronous| {
            let directory = tempfile::tempdir().expect("a directory");
            let opened = open(directory.path(), relaxed).expect("it opens");
            // SQLite: 2 syncs the WAL before a commit returns, 1 does not.
            assert_eq!(opened.log.synchronous(), synchronous, "relaxed: {relaxed}");
            opened.files.stop();
        };
        check(false, 2);
        check(true, 1);
    }
}
