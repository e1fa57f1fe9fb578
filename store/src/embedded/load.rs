//! Reads the log into an index when the store opens, and finds out whether all
//! of it is there.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row};

use super::{
    damage,
    index::Index,
    log::{self, State},
};
use crate::{Event, Key, Record, Revision, StoreError};

// Below this many rows a second reader costs more than it saves.
const SPLIT: i64 = 2048;

pub(crate) struct Loaded {
    pub(crate) index: Index,
    pub(crate) state: State,
    /// The total of all checksums that were ever written.
    pub(crate) sum: u64,
    /// When the keys expire that do.
    pub(crate) expiries: Vec<(Duration, Revision, Key)>,
    /// Rows that nothing needs any more.
    pub(crate) dead: Vec<Revision>,
    /// Somebody recovered what could be, and the state is to say so.
    pub(crate) accepted: bool,
}

impl Loaded {
    /// Nothing.
    pub(crate) fn empty() -> Self {
        let state = State { compacted: Revision::FIRST, removed: 0, newest: Revision::FIRST };
        assemble(Vec::new(), state, 0, false)
    }
}

struct Version {
    record: Arc<Record>,
    expires: Option<u64>,
    deleted: bool,
    checksum: u32,
}

/// Reads the whole log.
///
/// # Errors
/// `Damaged` unless each row is as it was written and none is missing.
pub(crate) fn load(connection: &Connection, path: &Path) -> Result<Loaded, StoreError> {
    let failed = |error: rusqlite::Error| damage::failed(path, &error);
    connection.pragma_update(None, "mmap_size", 1_i64 << 30).map_err(failed)?;
    // Somebody recovered what could be, and says that this is all.
    let accepted = connection
        .query_row("SELECT removed IS NULL FROM state", [], |row| row.get(0))
        .optional()
        .map_err(failed)?
        .unwrap_or(false);
    if accepted {
        remove_unsound(connection, path)?;
    }
    let (first, last): (Option<i64>, Option<i64>) = connection
        .query_row("SELECT (SELECT min(revision) FROM log), (SELECT max(revision) FROM log)", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .map_err(failed)?;
    let versions = match (first, last) {
        (Some(first), Some(last)) => read(connection, path, first, last)?,
        _ => Vec::new(),
    };
    connection.pragma_update(None, "mmap_size", 0).map_err(failed)?;
    let found = versions.iter().fold(0_u64, |sum, version| sum.wrapping_add(u64::from(version.checksum)));
    let newest = versions.last().map_or(Revision::FIRST, |version| version.record.revision);
    let (state, sum) = verify(connection, path, found, newest)?;
    Ok(assemble(versions, state, sum, accepted))
}

fn remove_unsound(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let remove = || -> rusqlite::Result<()> {
        let mut select = connection
            .prepare("SELECT revision, key, created, hole, expires, deleted, checksum, value FROM log")?;
        let mut rows = select.query([])?;
        let mut unsound = Vec::new();
        while let Some(row) = rows.next()? {
            if version(row)?.is_none() {
                unsound.push(row.get::<_, i64>(0)?);
            }
        }
        for revision in unsound {
            tracing::warn!(revision, "removed a row that is not what was written");
            connection.execute("DELETE FROM log WHERE revision = ?", [revision])?;
        }
        Ok(())
    };
    remove().map_err(|error| damage::failed(path, &error))
}

fn read(connection: &Connection, path: &Path, first: i64, last: i64) -> Result<Vec<Version>, StoreError> {
    if last.saturating_sub(first) < SPLIT {
        return read_part(connection, path, first, last);
    }
    // Revisions are dense but for what was removed, so halves of the span are
    // about halves of the rows.
    let middle = first.midpoint(last);
    let (head, tail) = std::thread::scope(|scope| {
        let tail = scope.spawn(move || {
            let connection = log::connect(path)?;
            connection
                .pragma_update(None, "mmap_size", 1_i64 << 30)
                .map_err(|error| damage::failed(path, &error))?;
            read_part(&connection, path, middle + 1, last)
        });
        (read_part(connection, path, first, middle), tail.join())
    });
    let mut versions = head?;
    match tail {
        Ok(tail) => versions.append(&mut tail?),
        Err(panic) => std::panic::resume_unwind(panic),
    }
    Ok(versions)
}

fn read_part(
    connection: &Connection,
    path: &Path,
    first: i64,
    last: i64,
) -> Result<Vec<Version>, StoreError> {
    let read = || -> rusqlite::Result<Result<Vec<Version>, i64>> {
        let mut select = connection.prepare(
            "SELECT revision, key, created, hole, expires, deleted, checksum, value FROM log
             WHERE revision BETWEEN ? AND ? ORDER BY revision",
        )?;
        let mut rows = select.query([first, last])?;
        let mut versions =
            Vec::with_capacity(usize::try_from(last.saturating_sub(first)).unwrap_or(0).min(1 << 16));
        while let Some(row) = rows.next()? {
            match version(row)? {
                Some(version) => versions.push(version),
                None => return Ok(Err(row.get(0)?)),
            }
        }
        Ok(Ok(versions))
    };
    read().map_err(|error| damage::failed(path, &error))?.map_err(|revision| {
        damage::damaged(path, format!("the row of revision {revision} is not what was written"))
    })
}

// `None` if the row is not what was written.
fn version(row: &Row<'_>) -> rusqlite::Result<Option<Version>> {
    let unsigned = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
    let value = row.get_ref(7)?.as_blob_or_null().map_err(rusqlite::Error::from)?;
    let Ok(key) = row.get_ref(1)?.as_str() else { return Ok(None) };
    let Ok(hole) = row.get::<_, Option<i64>>(3)?.map(u32::try_from).transpose() else { return Ok(None) };
    let record = Record::stored(
        key.into(),
        Revision(unsigned(2)?),
        Revision(unsigned(0)?),
        Bytes::copy_from_slice(value.unwrap_or_default()),
        hole,
    );
    let expires = row.get::<_, Option<i64>>(4)?.map(i64::cast_unsigned);
    let deleted = match row.get::<_, i64>(5)? {
        0 => false,
        1 => true,
        _ => return Ok(None),
    };
    let checksum = log::checksum(&record, expires, deleted);
    let sound = row.get::<_, i64>(6)? == i64::from(checksum)
        && value.is_none() == deleted
        && (deleted || record.is_whole());
    Ok(sound.then(|| Version { record: Arc::new(record), expires, deleted, checksum }))
}

// The state, and the total of all checksums ever written, if they fit the
// rows.
fn verify(
    connection: &Connection,
    path: &Path,
    found: u64,
    newest: Revision,
) -> Result<(State, u64), StoreError> {
    let failed = |error: rusqlite::Error| damage::failed(path, &error);
    let row: Option<(i64, Option<i64>, i64, Option<i64>)> = connection
        .query_row("SELECT compacted, removed, newest, checksum FROM state", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .optional()
        .map_err(failed)?;
    let sum: u64 = connection
        .query_row("SELECT sum FROM log ORDER BY revision DESC LIMIT 1", [], |row| row.get::<_, i64>(0))
        .optional()
        .map_err(failed)?
        .unwrap_or(0)
        .cast_unsigned();
    let Some((compacted, removed, noted, checksum)) = row else {
        return Err(damage::damaged(path, "its state is missing"));
    };
    let compacted = Revision(compacted.cast_unsigned());
    let Some(removed) = removed else {
        // Accepted as it is. Older states than the newest may have holes.
        let removed = sum.wrapping_sub(found);
        return Ok((State { compacted: newest, removed, newest }, sum));
    };
    let state =
        State { compacted, removed: removed.cast_unsigned(), newest: Revision(noted.cast_unsigned()) };
    if checksum != Some(i64::from(state.checksum())) {
        return Err(damage::damaged(path, "its state is not what was written"));
    }
    if newest < state.newest || newest < state.compacted {
        return Err(damage::damaged(
            path,
            format!("its newest row is of revision {newest}, but {} was there", state.newest),
        ));
    }
    if found.wrapping_add(state.removed) != sum {
        return Err(damage::damaged(path, format!("of the rows up to revision {newest} some are missing")));
    }
    Ok((state, sum))
}

fn assemble(versions: Vec<Version>, state: State, sum: u64, accepted: bool) -> Loaded {
    let mut loaded = Loaded {
        index: Index::new(state.compacted),
        state,
        sum,
        expiries: Vec::new(),
        dead: Vec::new(),
        accepted,
    };
    for Version { mut record, expires, deleted, .. } in versions {
        let revision = record.revision;
        let previous = if deleted {
            loaded.index.restore_deletion(&record.key)
        } else {
            loaded.index.restore(record.clone())
        };
        if let Some(expires) = expires {
            loaded.expiries.push((Duration::from_millis(expires), revision, record.key.clone()));
        }
        if revision > state.compacted {
            if let (Some(last), true) = (&previous, deleted) {
                record = Arc::new(last.at(revision));
            }
            loaded.index.remember(Arc::new(Event { revision, previous, record, deleted }));
        } else {
            loaded.dead.extend(previous.map(|previous| previous.revision));
            loaded.dead.extend(deleted.then_some(revision));
        }
    }
    loaded
}
