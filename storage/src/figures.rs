//! The queue in numbers, for whoever watches it: how many jobs are in each state, how long the oldest waits, how large the log of SQLite has
//! grown. Nothing that names a job or an owner.

use std::path::Path;

use sqlx::Row;

use crate::StorageError;
use crate::jobs::{self, StateCount};
use crate::rows::Pool;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueFigures {
    /// Live jobs by queue and state.
    pub live: Vec<StateCount>,
    /// Since when the longest waiting job of each queue could start.
    pub oldest_ms: Vec<(String, i64)>,
}

/// Read from partial indexes: what it costs grows with what waits, and not with what has ended.
pub async fn of_queue(pool: &Pool) -> Result<QueueFigures, StorageError> {
    let oldest = sqlx::query("SELECT queue, MIN(run_at_ms) AS oldest_ms FROM jobs WHERE state = 'queued' GROUP BY queue ORDER BY queue")
        .fetch_all(pool)
        .await?;
    let of_row = |row: &sqlx::any::AnyRow| Ok::<_, StorageError>((row.try_get("queue")?, row.try_get("oldest_ms")?));
    Ok(QueueFigures { live: jobs::count_live(pool).await?, oldest_ms: oldest.iter().map(of_row).collect::<Result<_, _>>()? })
}

/// Bytes of SQLite's write-ahead log in a data folder; `None` where there is none.
pub fn wal_bytes(folder: &Path) -> Option<u64> {
    std::fs::metadata(folder.join("clonyvoice.sqlite-wal")).ok().map(|meta| meta.len())
}
