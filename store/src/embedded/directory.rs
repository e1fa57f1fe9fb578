//! The store's directory: who has it, and what its files are called.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::FlockOperation;

use super::{damage, log};
use crate::StoreError;

/// A directory that this process has for itself, as long as the value lives.
pub(crate) struct Directory {
    path: PathBuf,
    lock: File,
}

impl Directory {
    /// Makes the directory if it is not there, and takes it.
    ///
    /// # Errors
    /// `Held` if another process has it.
    pub(crate) fn take(path: &Path) -> Result<Self, StoreError> {
        // What is inside are secrets too.
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| damage::refused(path, &error))?;
        let lock_path = path.join("lock");
        let refused = |error: std::io::Error| damage::refused(&lock_path, &error);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(refused)?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path: path.to_owned(), lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                let _unreadable = lock.read_to_string(&mut holder);
                let holder = match holder.split_whitespace().next() {
                    Some(pid) => format!("the process {pid}"),
                    None => "another process".to_owned(),
                };
                Err(StoreError::Held(format!("{} is in use by {holder}", path.display())))
            }
            Err(error) => Err(refused(error.into())),
        }
    }

    /// Whether the last process that had it wrote without waiting for the
    /// disk.
    pub(crate) fn was_relaxed(&mut self) -> bool {
        let mut text = String::new();
        let _unreadable = self.lock.rewind().and_then(|()| self.lock.read_to_string(&mut text));
        text.split_whitespace().nth(1) == Some("relaxed")
    }

    /// Says who has it, and how it writes.
    pub(crate) fn sign(&mut self, relaxed: bool) -> Result<(), StoreError> {
        let text = format!("{} {}\n", std::process::id(), if relaxed { "relaxed" } else { "durable" });
        let mut write = || {
            self.lock.rewind()?;
            self.lock.write_all(text.as_bytes())?;
            self.lock.set_len(text.len() as u64)
        };
        write().map_err(|error| damage::refused(&self.path, &error))
    }

    /// The log's file.
    pub(crate) fn log(&self) -> Arc<Path> {
        self.path.join("log.sqlite").into()
    }

    /// Makes the log if there is none.
    ///
    /// A log that is made half is not yet called one: an empty file with its
    /// name is a damaged log.
    pub(crate) fn ensure_log(&self) -> Result<(), StoreError> {
        let log = self.log();
        let refused = |error: std::io::Error| damage::refused(&self.path, &error);
        if log.try_exists().map_err(refused)? {
            return Ok(());
        }
        if wal_of(&log).metadata().is_ok_and(|wal| wal.len() > 0) {
            return Err(damage::damaged(&log, "the file is gone, but its WAL is there"));
        }
        let new = self.path.join("log.sqlite.creating");
        for left in [new.clone(), beside(&new, "-journal"), wal_of(&new), beside(&new, "-shm")] {
            match std::fs::remove_file(&left) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(refused(error)),
                _ => {}
            }
        }
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).map_err(refused)?;
        log::create(&new).map_err(|error| damage::failed(&new, &error))?;
        std::fs::rename(&new, &log).map_err(refused)?;
        let sync = |path: &Path| File::open(path).and_then(|directory| directory.sync_all());
        sync(&self.path).map_err(refused)?;
        // The directory itself may be new.
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => sync(parent).map_err(refused),
            _ => Ok(()),
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Closing is not enough: a child that this process has just forked
        // keeps the lock until it executes its program.
        let _closing = rustix::fs::flock(&self.lock, FlockOperation::Unlock);
    }
}

/// SQLite's WAL of a log.
pub(crate) fn wal_of(log: &Path) -> PathBuf {
    beside(log, "-wal")
}

fn beside(log: &Path, suffix: &str) -> PathBuf {
    let mut path = log.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}
