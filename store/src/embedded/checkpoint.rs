//! Copies what was written from SQLite's WAL into its file, on a thread of its
//! own: a commit never waits for it but for the last few pages of a WAL that
//! has grown long.

use std::{path::Path, thread::JoinHandle};

use parking_lot::{Condvar, Mutex, MutexGuard};
use rusqlite::Connection;

use super::log;
use crate::StoreError;
use std::sync::Arc;

// Bytes of values after which to checkpoint.
const EVERY: usize = 8 << 20;
// Frames (4 KiB each) at which the WAL has to start again from its beginning.
const LONG: i64 = 8192;
// Frames that may be left to copy while commits wait.
const LAST: i64 = 256;

#[derive(Default)]
pub(crate) struct Checkpoints {
    state: Mutex<State>,
    wake: Condvar,
    turn: Mutex<()>,
}

#[derive(Default)]
struct State {
    written: usize,
    stopped: bool,
}

struct Progress {
    frames: i64,
    copied: i64,
}

impl Checkpoints {
    /// Notes that so many bytes were written.
    pub(crate) fn written(&self, bytes: usize) {
        let mut state = self.state.lock();
        // A transaction takes some pages whatever it writes.
        state.written += bytes + 8192;
        if state.written >= EVERY {
            self.wake.notify_one();
        }
    }

    /// Keeps the end of a long checkpoint and transactions apart.
    pub(crate) fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock()
    }

    /// Copies the whole WAL, so that the next transaction starts a new one.
    /// Only for who has the turn.
    pub(crate) fn restart_log(&self, connection: &Connection) -> rusqlite::Result<()> {
        let Progress { frames, copied } = checkpoint(connection)?;
        if frames == copied {
            return Ok(());
        }
        Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL), None))
    }

    pub(crate) fn stop(&self) {
        self.state.lock().stopped = true;
        self.wake.notify_one();
    }

    /// Starts the thread; it ends after `stop`.
    pub(crate) fn start(self: Arc<Self>, path: &Path) -> Result<JoinHandle<()>, StoreError> {
        let connection = log::connect(path)?;
        std::thread::Builder::new()
            .name("store-checkpoint".to_owned())
            .stack_size(256 << 10)
            .spawn(move || self.run(&connection))
            .map_err(|error| StoreError::Disk(format!("no thread for checkpoints: {error}")))
    }

    fn run(&self, connection: &Connection) {
        loop {
            {
                let mut state = self.state.lock();
                while state.written < EVERY && !state.stopped {
                    self.wake.wait(&mut state);
                }
                if state.stopped {
                    return;
                }
                state.written = 0;
            }
            if let Err(error) = self.advance(connection) {
                // The WAL grows until it works again.
                tracing::warn!(%error, "the store's checkpoint failed");
            }
        }
    }

    fn advance(&self, connection: &Connection) -> rusqlite::Result<()> {
        let mut copied = checkpoint(connection)?.copied;
        if copied < LONG {
            return Ok(());
        }
        // Writers outrun a checkpoint, so it never gets to the end by itself;
        // but what is left becomes less each time.
        for _ in 0..6 {
            let before = std::mem::replace(&mut copied, checkpoint(connection)?.copied);
            if copied - before <= LAST {
                break;
            }
        }
        let _turn = self.turn();
        checkpoint(connection).map(drop)
    }
}

// Passive: takes no lock that a writer waits for.
fn checkpoint(connection: &Connection) -> rusqlite::Result<Progress> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
        Ok(Progress { frames: row.get(1)?, copied: row.get(2)? })
    })
}
