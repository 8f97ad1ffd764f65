//! Storage errors, sorted by what the caller does next. No error text of a database reaches a user: the front door logs it.

use std::io;

#[derive(Debug, Clone, thiserror::Error)]
pub enum StorageError {
    /// Another writer holds the database, or two transactions collided: the same call may succeed at once or soon.
    #[error("database busy: {0}")]
    Busy(String),
    /// The database or the blob store does not answer: try again later, nothing is lost.
    #[error("storage unreachable: {0}")]
    Unreachable(String),
    /// No space is left: refuse new work until there is.
    #[error("disk full: {0}")]
    Full(String),
    /// A unique rule was broken: somebody else was first.
    #[error("already exists: {0}")]
    Conflict(String),
    /// The blob that a row names is not there.
    #[error("blob not found: {0}")]
    BlobNotFound(String),
    /// The store keeps something else than its row says, and will go on doing so: whatever it was must be made again.
    #[error("blob damaged: {0}")]
    BlobDamaged(String),
    /// The data folder can't be used as it is; the text says why and what to do.
    #[error("{0}")]
    DataFolder(String),
    /// A row holds what no version of this program writes.
    #[error("row not readable: {0}")]
    Malformed(String),
    /// A mistake of ours: repeating won't help.
    #[error("storage failed: {0}")]
    Internal(String),
}

impl StorageError {
    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Busy(_) | Self::Unreachable(_) | Self::Full(_))
    }
}

/// SQLite's primary result codes are the low byte of the extended ones.
const SQLITE_BUSY: i64 = 5;
const SQLITE_LOCKED: i64 = 6;
const SQLITE_IOERR: i64 = 10;
const SQLITE_FULL: i64 = 13;
const SQLITE_CANTOPEN: i64 = 14;

impl From<sqlx::Error> for StorageError {
    fn from(error: sqlx::Error) -> Self {
        let text = error.to_string();
        match &error {
            sqlx::Error::Database(database) => {
                if database.is_unique_violation() {
                    return Self::Conflict(text);
                }
                let code = database.code().unwrap_or_default();
                if code.len() == 5 {
                    return from_sqlstate(&code, text);
                }
                match code.parse::<i64>().map(|code| code & 0xff) {
                    Ok(SQLITE_BUSY | SQLITE_LOCKED) => Self::Busy(text),
                    Ok(SQLITE_FULL) => Self::Full(text),
                    Ok(SQLITE_IOERR | SQLITE_CANTOPEN) => Self::Unreachable(text),
                    _ => Self::Internal(text),
                }
            }
            sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed | sqlx::Error::Tls(_) => {
                Self::Unreachable(text)
            }
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_) | sqlx::Error::Decode(_) => Self::Malformed(text),
            _ => Self::Internal(text),
        }
    }
}

/// Postgres tells by SQLSTATE (appendix A of its manual): class 08 is a lost connection, 53100 a full disk, 57P a server going down, 25P03
/// a session that stood still inside a transaction and was ended.
fn from_sqlstate(code: &str, text: String) -> StorageError {
    match code {
        "40001" | "40P01" | "55P03" => StorageError::Busy(text),
        "53100" => StorageError::Full(text),
        "25P03" => StorageError::Unreachable(text),
        _ if code.starts_with("08") || code.starts_with("57P") || code.starts_with("53") => StorageError::Unreachable(text),
        _ => StorageError::Internal(text),
    }
}

impl From<object_store::Error> for StorageError {
    fn from(error: object_store::Error) -> Self {
        let text = error.to_string();
        match &error {
            object_store::Error::NotFound { path, .. } => Self::BlobNotFound(path.clone()),
            object_store::Error::NotSupported { .. } | object_store::Error::NotImplemented { .. } => Self::Internal(text),
            _ if io_cause(&error).is_some_and(|io| io.kind() == io::ErrorKind::StorageFull) => Self::Full(text),
            _ => Self::Unreachable(text),
        }
    }
}

fn io_cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a io::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Some(io);
        }
        next = error.source();
    }
    None
}

impl From<io::Error> for StorageError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(error.to_string()),
            _ => Self::Unreachable(error.to_string()),
        }
    }
}

impl From<serde_json::Error> for StorageError {
    fn from(error: serde_json::Error) -> Self {
        Self::Malformed(error.to_string())
    }
}
