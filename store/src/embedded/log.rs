//! The log on disk: one SQLite table, one row a revision, written at its end
//! only. Rows whose version is neither the newest of its key nor retained are
//! dead and are removed later, a few at a time.
//!
//! Two sums stand guard over the rows that are there: each row has a checksum
//! and, in `sum`, the total of all checksums that were ever written; the state
//! has the total of those that were removed. What is in the file has to be the
//! difference.

use std::{path::Path, sync::Arc, time::Duration};

use rusqlite::{Connection, OpenFlags, config::DbConfig, params};

use super::{batch::Entry, checkpoint::Checkpoints, damage};
use crate::{Event, Record, Revision, StoreError};

/// What the file says it is: "Corc".
const APPLICATION: i32 = 0x436f_7263;
const FORMAT: i32 = 1;

const SCHEMA: &str = "
    CREATE TABLE log (
        revision INTEGER PRIMARY KEY,
        key TEXT NOT NULL,
        created INTEGER NOT NULL,
        hole INTEGER,
        expires INTEGER,
        deleted INTEGER NOT NULL,
        checksum INTEGER NOT NULL,
        sum INTEGER NOT NULL,
        value BLOB
    ) STRICT;
    CREATE TABLE state (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        compacted INTEGER NOT NULL,
        removed INTEGER,
        newest INTEGER NOT NULL,
        checksum INTEGER
    ) STRICT;
";

/// What the log knows of itself beside its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State {
    /// States before it cannot be read any more.
    pub(crate) compacted: Revision,
    /// The total of the checksums of the rows that were removed.
    pub(crate) removed: u64,
    /// A revision that was there when the state was written.
    pub(crate) newest: Revision,
}

impl State {
    pub(crate) fn checksum(&self) -> u32 {
        let mut hash = crc32fast::Hasher::new();
        hash.update(&self.compacted.0.to_le_bytes());
        hash.update(&self.removed.to_le_bytes());
        hash.update(&self.newest.0.to_le_bytes());
        hash.finalize()
    }
}

/// A row's checksum. The value of a deletion is that of the row before it.
pub(crate) fn checksum(record: &Record, expires: Option<u64>, deleted: bool) -> u32 {
    let mut hash = crc32fast::Hasher::new();
    hash.update(&record.revision.0.to_le_bytes());
    hash.update(&record.created.0.to_le_bytes());
    hash.update(&record.hole.map_or(u64::MAX, u64::from).to_le_bytes());
    hash.update(&expires.unwrap_or(u64::MAX).to_le_bytes());
    hash.update(&[u8::from(deleted)]);
    hash.update(&(record.key.len() as u64).to_le_bytes());
    hash.update(record.key.as_bytes());
    if !deleted {
        hash.update(&record.bytes);
    }
    hash.finalize()
}

/// Makes an empty log.
pub(crate) fn create(path: &Path) -> rusqlite::Result<()> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update(None, "application_id", APPLICATION)?;
    connection.pragma_update(None, "user_version", FORMAT)?;
    connection.execute_batch(&format!("BEGIN; {SCHEMA}"))?;
    write_state(&connection, &State { compacted: Revision::FIRST, removed: 0, newest: Revision::FIRST })?;
    connection.execute_batch("COMMIT")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.close().map_err(|(_, error)| error)
}

/// Opens a log that is there. The connection leaves the files as they are when
/// it is closed.
pub(crate) fn connect(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.pragma_update(None, "cell_size_check", true)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        Ok(connection)
    };
    let connection = open().map_err(|error| damage::failed(path, &error))?;
    // SQLite opens what it may not write for reading, and says nothing.
    match connection.is_readonly("main") {
        Ok(true) => Err(StoreError::Disk(format!("{} cannot be written", path.display()))),
        _ => Ok(connection),
    }
}

/// Makes ready for writing what was found to be sound.
pub(crate) fn prepare(connection: &Connection, path: &Path, relaxed: bool) -> Result<(), StoreError> {
    let set = || -> rusqlite::Result<()> {
        // A log that somebody recovered is not in this mode.
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", if relaxed { "NORMAL" } else { "FULL" })?;
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
        Ok(())
    };
    set().map_err(|error| damage::failed(path, &error))
}

/// Refuses files that are not a log of this format.
pub(crate) fn identify(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let read = || Ok((pragma("application_id")?, pragma("user_version")?));
    match read().map_err(|error| damage::failed(path, &error))? {
        (APPLICATION, FORMAT) => Ok(()),
        (APPLICATION, format) => Err(StoreError::Damaged(format!(
            "{} has the format {format}; this version of Coracle reads {FORMAT}",
            path.display()
        ))),
        _ => Err(damage::damaged(path, "its header is not that of a store")),
    }
}

fn write_state(connection: &Connection, state: &State) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO state (id, compacted, removed, newest, checksum) VALUES (1, ?, ?, ?, ?)",
        )?
        .execute(params![
            state.compacted.0.cast_signed(),
            state.removed.cast_signed(),
            state.newest.0.cast_signed(),
            state.checksum()
        ])
        .map(drop)
}

pub(crate) struct Log {
    connection: Connection,
    path: Arc<Path>,
    state: State,
    sum: u64,
    checkpoints: Arc<Checkpoints>,
    // What a failed transaction left in the WAL would look like damage to the
    // next start if later ones were written over a part of it.
    soiled: bool,
}

impl Log {
    /// Takes over an open log whose rows sum up to `sum`.
    pub(crate) fn new(
        connection: Connection,
        path: Arc<Path>,
        state: State,
        sum: u64,
        checkpoints: Arc<Checkpoints>,
    ) -> Self {
        Self { connection, path, state, sum, checkpoints, soiled: false }
    }

    /// Writes all entries or none; they are as safe as the mode says when it
    /// returns.
    pub(crate) fn append(&mut self, entries: &[Entry]) -> Result<(), StoreError> {
        let mut sum = self.sum;
        let mut bytes = 0;
        self.transact(|connection| {
            let mut insert = connection.prepare_cached(
                "INSERT INTO log (revision, key, created, hole, expires, deleted, checksum, sum, value)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )?;
            for Entry { event, expires } in entries {
                let Event { record, deleted, .. } = &**event;
                let expires = expires.map(millis);
                let checksum = checksum(record, expires, *deleted);
                sum = sum.wrapping_add(u64::from(checksum));
                bytes += record.bytes.len() + record.key.len();
                insert.execute(params![
                    record.revision.0.cast_signed(),
                    &*record.key,
                    record.created.0.cast_signed(),
                    record.hole,
                    expires.map(u64::cast_signed),
                    deleted,
                    checksum,
                    sum.cast_signed(),
                    (!deleted).then_some(&*record.bytes),
                ])?;
            }
            Ok(())
        })?;
        self.sum = sum;
        if let Some(last) = entries.last() {
            self.state.newest = last.event.revision;
        }
        self.checkpoints.written(bytes);
        Ok(())
    }

    /// Removes dead rows, and notes that states before `compacted` are gone.
    pub(crate) fn remove(&mut self, dead: &[Revision], compacted: Revision) -> Result<(), StoreError> {
        let mut state = State { compacted, ..self.state };
        self.transact(|connection| {
            let mut delete =
                connection.prepare_cached("DELETE FROM log WHERE revision = ? RETURNING checksum")?;
            for revision in dead {
                let mut rows = delete.query([revision.0.cast_signed()])?;
                while let Some(row) = rows.next()? {
                    state.removed = state.removed.wrapping_add(u64::from(row.get::<_, u32>(0)?));
                }
            }
            write_state(connection, &state)
        })?;
        self.state = state;
        self.checkpoints.written(dead.len() * 1024);
        Ok(())
    }

    /// Gives a few free pages back to the file system; false when there are
    /// not many.
    pub(crate) fn shrink(&mut self) -> bool {
        let step = || -> rusqlite::Result<bool> {
            let pragma = |name| self.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
            let free = pragma("freelist_count")?;
            if free < 256 || free * 4 < pragma("page_count")? {
                return Ok(false);
            }
            // It frees a page a step.
            let mut vacuum = self.connection.prepare_cached("PRAGMA incremental_vacuum(64)")?;
            let mut pages = vacuum.query([])?;
            while pages.next()?.is_some() {}
            Ok(true)
        };
        let _turn = self.checkpoints.turn();
        let shrunk = step();
        self.checkpoints.written(64 * 4096);
        // It goes on growing, and reports that, if it cannot shrink.
        self.soiled |= shrunk.is_err();
        shrunk.unwrap_or(false)
    }

    #[cfg(test)]
    pub(crate) fn synchronous(&self) -> i32 {
        self.connection.pragma_query_value(None, "synchronous", |row| row.get(0)).expect("it is a number")
    }

    fn transact(
        &mut self,
        write: impl FnOnce(&Connection) -> rusqlite::Result<()>,
    ) -> Result<(), StoreError> {
        let _turn = self.checkpoints.turn();
        let attempt = || {
            if self.soiled {
                self.checkpoints.restart_log(&self.connection)?;
                self.soiled = false;
            }
            let transaction = self.connection.transaction()?;
            write(&transaction)?;
            transaction.commit()
        };
        attempt().map_err(|error| {
            self.soiled = true;
            damage::failed(&self.path, &error)
        })
    }

    /// Notes where the log ends, so that the next start misses nothing.
    pub(crate) fn close(mut self) {
        if let Err(error) = self.remove(&[], self.state.compacted) {
            tracing::warn!(%error, "the store closes without its last note");
        }
        if let Err((_, error)) = self.connection.close() {
            tracing::warn!(%error, "the store's log did not close");
        }
    }
}

fn millis(time: Duration) -> u64 {
    // An expiry that does not fit is never.
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).min(i64::MAX.cast_unsigned())
}
