//! Rows of jobs that belong to no generation: who has which, and how far each is. This file may not know what such a job does.

use sqlx::AnyPool;

use crate::StorageError;
use crate::jobs::{JobRow, job_of_row, parse_ids};
use crate::leases::Fence;
use crate::rows::Tx;
use crate::statement::Statement;
use uuid::Uuid;

/// What of an owner's is looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoneFilter {
    pub owner_id: String,
    /// Names of kinds; empty for all.
    pub kinds: Vec<String>,
    /// Only those that have not ended.
    pub live: bool,
}

impl LoneFilter {
    fn push_where(&self, query: &mut Statement) {
        query.push(" WHERE generation_id IS NULL AND owner_id = ").push_bind(self.owner_id.clone());
        if !self.kinds.is_empty() {
            query.push(" AND kind IN (").push_list(self.kinds.iter().cloned()).push(")");
        }
        if self.live {
            query.push(" AND state IN ('scheduled', 'queued', 'running')");
        }
    }
}

/// The newest first.
pub async fn list(pool: &AnyPool, filter: &LoneFilter, limit: u32) -> Result<Vec<JobRow>, StorageError> {
    let mut query = Statement::new("SELECT ");
    query.push(crate::jobs::COLUMNS).push(" FROM jobs");
    filter.push_where(&mut query);
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
