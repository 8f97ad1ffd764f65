//! Rows of jobs that belong to no generation: who has which, and how far each is. This file may not know what such a job does.

use sqlx::AnyPool;

use crate::StorageError;
use crate::jobs::{JobRow, job_of_row, parse_ids};
use crate::leases::Fence;
use crate::rows::Tx;
use crate::statement::Statement;
use uuid::Uuid;

/// How far a job is, as its owner sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoneStatus {
    /// Not ended.
    Live,
    Queued,
    /// Its worker died, and it waits for another.
    Interrupted,
    Running,
    Completed,
    Failed,
    Cancelled,
}

impl LoneStatus {
    fn condition(self) -> &'static str {
        match self {
            Self::Live => "state IN ('scheduled', 'queued', 'running')",
            Self::Queued => "(state = 'scheduled' OR (state = 'queued' AND crashes = 0))",
            Self::Interrupted => "state = 'queued' AND crashes > 0",
            Self::Running => "state = 'running'",
            Self::Completed => "state = 'done'",
            Self::Failed => "state = 'failed'",
            Self::Cancelled => "state = 'cancelled'",
        }
    }
}

/// What of an owner's is looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoneFilter {
    pub owner_id: String,
    /// Names of kinds; empty for all.
    pub kinds: Vec<String>,
    pub status: Option<LoneStatus>,
    pub from_ms: Option<i64>,
    pub to_ms: Option<i64>,
}

impl LoneFilter {
    /// What of an owner's has not ended.
    pub fn live_of(owner_id: impl Into<String>) -> Self {
        Self { owner_id: owner_id.into(), status: Some(LoneStatus::Live), ..Self::default() }
    }

    fn push_where(&self, query: &mut Statement) {
        query.push(" WHERE generation_id IS NULL AND owner_id = ").push_bind(self.owner_id.clone());
        if !self.kinds.is_empty() {
            query.push(" AND kind IN (").push_list(self.kinds.iter().cloned()).push(")");
        }
        if let Some(status) = self.status {
            query.push(" AND ").push(status.condition());
        }
        if let Some(from_ms) = self.from_ms {
            query.push(" AND created_at_ms >= ").push_bind(from_ms);
        }
        if let Some(to_ms) = self.to_ms {
            query.push(" AND created_at_ms <= ").push_bind(to_ms);
        }
    }
}

/// The newest first; `before` is the id of the last row of the page before.
pub async fn list(pool: &AnyPool, filter: &LoneFilter, before: Option<Uuid>, limit: u32) -> Result<Vec<JobRow>, StorageError> {
    let mut query = Statement::new("SELECT ");
    query.push(crate::jobs::COLUMNS).push(" FROM jobs");
    filter.push_where(&mut query);
    if let Some(before) = before {
        query.push(" AND id < ").push_bind(before.to_string());
    }
    query.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(limit));
    query.build().fetch_all(pool).await?.iter().map(job_of_row).collect()
}

pub async fn count(pool: &AnyPool, filter: &LoneFilter) -> Result<i64, StorageError> {
    let mut query = Statement::new("SELECT COUNT(*) FROM jobs");
    filter.push_where(&mut query);
    Ok(query.build_scalar().fetch_one(pool).await?)
}

/// The live job with this key: there is at most one.
pub async fn find_live(pool: &AnyPool, dedupe_key: &str) -> Result<Option<Uuid>, StorageError> {
    let ids: Vec<String> = sqlx::query_scalar("SELECT id FROM jobs WHERE dedupe_key = $1 AND state IN ('scheduled', 'queued', 'running')")
        .bind(dedupe_key)
        .fetch_all(pool)
        .await?;
    Ok(parse_ids(&ids)?.pop())
}

/// The first word of a run. False where an earlier run has said it, or where the lease is gone.
pub async fn begin(tx: &mut Tx, fence: Fence, stage: &str) -> Result<bool, StorageError> {
    const SQL: &str = "UPDATE jobs SET stage = $3, progress = $4 WHERE id = $1 AND lease_no = $2 AND state = 'running' AND stage IS NULL";
    write(tx, SQL, fence, stage, 0.0).await
}

/// How far a run is. False where the lease is gone.
pub async fn set_progress(tx: &mut Tx, fence: Fence, stage: &str, progress: f64) -> Result<bool, StorageError> {
    const SQL: &str = "UPDATE jobs SET stage = $3, progress = $4 WHERE id = $1 AND lease_no = $2 AND state = 'running'";
    write(tx, SQL, fence, stage, progress).await
}

async fn write(tx: &mut Tx, sql: &'static str, fence: Fence, stage: &str, progress: f64) -> Result<bool, StorageError> {
    let query = sqlx::query(sql).bind(fence.job_id.to_string()).bind(fence.lease_no).bind(stage).bind(progress);
    Ok(query.execute(tx.connection()).await?.rows_affected() == 1)
}
