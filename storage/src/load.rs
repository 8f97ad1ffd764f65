//! How much work there is and how much of it has been taken: three numbers for whoever decides whether there is room for more. This file may
//! not know what is decided.

use sqlx::Row;

use crate::StorageError;
use crate::rows::Pool;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Of all owners: not completed, failed or cancelled.
    pub open_generations: i64,
    /// Jobs of the queue that could start now.
    pub waiting: i64,
    /// How many jobs of the queue were ever claimed: rises by one at each claim, and begins anew when no lane is left.
    pub claims: i64,
}

/// Three counts from three partial indexes: a millisecond for ten thousand waiting jobs.
pub async fn look(pool: &Pool, queue: &str) -> Result<Load, StorageError> {
    let row = sqlx::query(
        "SELECT (SELECT COUNT(*) FROM generations WHERE status IN ('queued', 'running', 'merging', 'interrupted')) AS open_generations, \
         (SELECT COUNT(*) FROM jobs WHERE queue = $1 AND state = 'queued') AS waiting, \
         (SELECT COALESCE(MAX(served_no), 0) FROM lanes WHERE queue = $1) AS claims",
    )
    .bind(queue)
    .fetch_one(pool)
    .await?;
    Ok(Load { open_generations: row.try_get("open_generations")?, waiting: row.try_get("waiting")?, claims: row.try_get("claims")? })
}
