//! Rows of finished parts of jobs without a generation. This file may not know what a part is.

use sqlx::{AnyPool, Row};
use uuid::Uuid;

use crate::StorageError;
use crate::rows::Tx;

/// Adds the part of this number; the caller holds the job's lease in the same transaction, so that nobody else adds one.
pub async fn add(tx: &mut Tx, job_id: Uuid, part: u32, body: &str) -> Result<(), StorageError> {
    sqlx::query("INSERT INTO job_parts (job_id, part, body) VALUES ($1, $2, $3)")
        .bind(job_id.to_string())
        .bind(i64::from(part))
        .bind(body)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// All of a job, in order.
pub async fn list(pool: &AnyPool, job_id: Uuid) -> Result<Vec<String>, StorageError> {
    let rows = sqlx::query("SELECT body FROM job_parts WHERE job_id = $1 ORDER BY part").bind(job_id.to_string()).fetch_all(pool).await?;
    rows.iter().map(|row| Ok(row.try_get("body")?)).collect()
}

/// The job has no more use for them.
pub async fn delete(tx: &mut Tx, job_id: Uuid) -> Result<(), StorageError> {
    sqlx::query("DELETE FROM job_parts WHERE job_id = $1").bind(job_id.to_string()).execute(tx.connection()).await?;
    Ok(())
}
