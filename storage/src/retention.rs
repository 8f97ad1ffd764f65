//! Deleting what nobody asks for any more, a bounded number of rows a call, so that the write lock is never held long. What is kept how
//! long is the caller's to say.

use sqlx::Row;
use uuid::Uuid;

use crate::rows::{Pool, Tx, parse_uuid};
use crate::{StorageError, events, idempotency};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Rows of jobs that have ended; their generations stay.
    pub ended_jobs_before_ms: i64,
    pub events_before_ms: i64,
    pub idempotency_before_ms: i64,
    /// Lanes that were not served since and are empty.
    pub lanes_before_ms: i64,
    pub rows_max: u32,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    pub jobs: u64,
    pub events: u64,
    pub idempotency: u64,
    pub lanes: u64,
}

pub async fn prune(tx: &mut Tx, retention: Retention) -> Result<Pruned, StorageError> {
    let jobs = sqlx::query(
        "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE state IN ('done', 'failed', 'cancelled') AND finished_at_ms < $1 LIMIT $2)",
    )
    .bind(retention.ended_jobs_before_ms)
    .bind(i64::from(retention.rows_max))
    .execute(tx.connection())
    .await?;
    let lanes = sqlx::query(
        "DELETE FROM lanes WHERE served_at_ms < $1 AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.queue = lanes.queue \
         AND j.priority = lanes.priority AND j.owner_id = lanes.owner_id AND j.state IN ('queued', 'scheduled'))",
    )
    .bind(retention.lanes_before_ms)
    .execute(tx.connection())
    .await?;
    Ok(Pruned {
        jobs: jobs.rows_affected(),
        lanes: lanes.rows_affected(),
        idempotency: idempotency::purge(tx, retention.idempotency_before_ms).await?,
        events: events::purge(tx, retention.events_before_ms, retention.rows_max).await?,
    })
}

/// A generation that is open although none of its jobs lives: something is to be repaired.
pub async fn stuck_generations(pool: &Pool, limit: u32) -> Result<Vec<Uuid>, StorageError> {
    let rows = sqlx::query(
        "SELECT g.id FROM generations g WHERE g.status IN ('queued', 'running', 'merging', 'interrupted') \
         AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.generation_id = g.id AND j.state IN ('scheduled', 'queued', 'running')) \
         ORDER BY g.id LIMIT $1",
    )
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await?;
    rows.iter().map(|row| parse_uuid(&row.try_get::<String, _>("id")?)).collect()
}

/// The same question for one generation, as the transaction sees it.
pub async fn is_stuck(tx: &mut Tx, id: Uuid) -> Result<bool, StorageError> {
    let live: i64 = sqlx::query_scalar(
        "SELECT (SELECT COUNT(*) FROM jobs WHERE generation_id = $1 AND state IN ('scheduled', 'queued', 'running')) \
         + (SELECT COUNT(*) FROM generations WHERE id = $1 AND status IN ('completed', 'failed', 'cancelled'))",
    )
    .bind(id.to_string())
    .fetch_one(tx.connection())
    .await?;
    Ok(live == 0)
}
