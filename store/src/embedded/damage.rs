//! What is said of files that do not work.

use std::path::Path;

use rusqlite::ErrorCode;

use crate::StoreError;

/// The store's file is damaged: where, and what to do about it.
pub(crate) fn damaged(path: &Path, what: impl std::fmt::Display) -> StoreError {
    let path = path.display();
    StoreError::Damaged(format!(
        "the store {path} is damaged: {what}. Nothing was changed. Restore a backup; or, to go on with what \
         can still be read, keep a copy and run (with an sqlite3 that has .recover): sqlite3 {path} .recover | sqlite3 {path}.new && \
         sqlite3 {path}.new 'UPDATE state SET removed = NULL' && rm -f {path}-wal {path}-shm && \
         mv {path}.new {path}"
    ))
}

/// SQLite refused.
pub(crate) fn failed(path: &Path, error: &rusqlite::Error) -> StoreError {
    use rusqlite::Error;
    match error {
        Error::SqliteFailure(failure, _)
            if matches!(failure.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) =>
        {
            damaged(path, format!("SQLite says \"{error}\""))
        }
        Error::SqliteFailure(failure, _) if failure.code == ErrorCode::Unknown => {
            // A table or column that is not there.
            damaged(path, format!("SQLite says \"{error}\""))
        }
        Error::SqliteFailure(failure, _) => {
            StoreError::Disk(format!("{}: {error} (SQLite's code {})", path.display(), failure.extended_code))
        }
        // The file's content is not what the schema says.
        _ => damaged(path, error),
    }
}

/// The operating system refused.
pub(crate) fn refused(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Disk(format!("{}: {error}", path.display()))
}
