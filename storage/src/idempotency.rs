//! Rows of `Idempotency-Key`: the same key and request get the first answer again, for a day. This file may not know HTTP.
//!
//! A request claims its key, does its work and stores its answer. Work that accepts a job notes the job in its own transaction
//! ([`note_job`]), so that a crash between the commit and the answer can't make a repeated request do it twice.

use sqlx::Row;
use uuid::Uuid;

use crate::StorageError;
use crate::rows::{Pool, Tx, parse_uuid};
use crate::statement::Script;

/// Which key, and of whose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    pub api_key_id: String,
    pub key: String,
}

/// What a claim found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// Nobody else has it: do the work.
    New,
    /// The first request is still at work.
    InFlight,
    /// The key was used for another request.
    Mismatch,
    /// The first request was answered so.
    Answered { status: u16, answer: String },
    /// The first request was accepted as this job, but died before it could store its answer.
    Accepted { job_id: Uuid },
}

/// A request in flight on another node that is older than that died with it.
const ABANDONED_MS: i64 = 60_000;

/// `process` is `<node id>/<id of the process>`: where another process of our node stands, it is dead, since we have its seat; of another
/// node it is taken for dead after a while.
pub async fn claim(tx: &mut Tx, key: &IdempotencyKey, request_hash: &str, process: &str, now_ms: i64) -> Result<Claimed, StorageError> {
    let inserted = sqlx::query(
        "INSERT INTO idempotency (api_key_id, idem_key, request_hash, process, created_at_ms) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (api_key_id, idem_key) DO NOTHING",
    )
    .bind(&key.api_key_id)
    .bind(&key.key)
    .bind(request_hash)
    .bind(process)
    .bind(now_ms)
    .execute(tx.connection())
    .await?;
    if inserted.rows_affected() == 1 {
        return Ok(Claimed::New);
    }
    let row = sqlx::query(
        "SELECT request_hash, process, job_id, status, answer, created_at_ms FROM idempotency WHERE api_key_id = $1 AND idem_key = $2",
    )
    .bind(&key.api_key_id)
    .bind(&key.key)
    .fetch_one(tx.connection())
    .await?;
    if row.try_get::<String, _>("request_hash")? != request_hash {
        return Ok(Claimed::Mismatch);
    }
    if let (Some(status), Some(answer)) = (row.try_get::<Option<i64>, _>("status")?, row.try_get::<Option<String>, _>("answer")?) {
        let status = u16::try_from(status).map_err(|_| StorageError::Malformed(format!("status {status}")))?;
        return Ok(Claimed::Answered { status, answer });
    }
    if let Some(job_id) = row.try_get::<Option<String>, _>("job_id")? {
        return Ok(Claimed::Accepted { job_id: parse_uuid(&job_id)? });
    }
    let holder: String = row.try_get("process")?;
    let node = |process: &str| process.split('/').next().map(str::to_owned);
    let same_node = node(&holder) == node(process);
    if holder == process || (!same_node && now_ms - row.try_get::<i64, _>("created_at_ms")? < ABANDONED_MS) {
        return Ok(Claimed::InFlight);
    }
    sqlx::query("UPDATE idempotency SET process = $3, created_at_ms = $4 WHERE api_key_id = $1 AND idem_key = $2")
        .bind(&key.api_key_id)
        .bind(&key.key)
        .bind(process)
        .bind(now_ms)
        .execute(tx.connection())
        .await?;
    Ok(Claimed::New)
}

/// Whether the key was ever claimed and not freed.
pub async fn is_known(pool: &Pool, key: &IdempotencyKey) -> Result<bool, StorageError> {
    let found = sqlx::query("SELECT 1 FROM idempotency WHERE api_key_id = $1 AND idem_key = $2")
        .bind(&key.api_key_id)
        .bind(&key.key)
        .fetch_optional(pool)
        .await?;
    Ok(found.is_some())
}

/// To be called in the transaction that accepts the job.
pub async fn note_job(tx: &mut Tx, key: &IdempotencyKey, job_id: Uuid) -> Result<(), StorageError> {
    let mut script = tx.script();
    push_note_job(&mut script, key, job_id);
    script.run(tx.connection()).await?;
    Ok(())
}

pub(crate) fn push_note_job(script: &mut Script, key: &IdempotencyKey, job_id: Uuid) {
    let query = script.next("UPDATE idempotency SET job_id = ");
    query.push_bind(job_id.to_string()).push(" WHERE api_key_id = ").push_bind(key.api_key_id.clone());
    query.push(" AND idem_key = ").push_bind(key.key.clone());
}

pub async fn store_answer(tx: &mut Tx, key: &IdempotencyKey, status: u16, answer: &str) -> Result<(), StorageError> {
    sqlx::query("UPDATE idempotency SET status = $3, answer = $4 WHERE api_key_id = $1 AND idem_key = $2")
        .bind(&key.api_key_id)
        .bind(&key.key)
        .bind(i64::from(status))
        .bind(answer)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Takes the answers of a generation's requests out of the table, since they hold its text; the keys stay used. To be called before its jobs
/// are deleted.
pub async fn forget_answers(tx: &mut Tx, generation_id: Uuid) -> Result<(), StorageError> {
    sqlx::query(
        "UPDATE idempotency SET status = NULL, answer = NULL \
         WHERE job_id = $1 OR job_id IN (SELECT id FROM jobs WHERE generation_id = $1)",
    )
    .bind(generation_id.to_string())
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Frees a key whose request failed without doing anything: it may be sent again.
pub async fn release(tx: &mut Tx, key: &IdempotencyKey) -> Result<(), StorageError> {
    sqlx::query("DELETE FROM idempotency WHERE api_key_id = $1 AND idem_key = $2 AND job_id IS NULL AND status IS NULL")
        .bind(&key.api_key_id)
        .bind(&key.key)
        .execute(tx.connection())
        .await?;
    Ok(())
}

pub async fn purge(tx: &mut Tx, before_ms: i64) -> Result<u64, StorageError> {
    let done = sqlx::query("DELETE FROM idempotency WHERE created_at_ms < $1").bind(before_ms).execute(tx.connection()).await?;
    Ok(done.rows_affected())
}
