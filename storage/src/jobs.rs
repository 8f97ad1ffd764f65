//! Rows of jobs: enqueue, look, cancel what waits, hold queues. How a worker comes to run one stands in [`crate::leases`]. This file may not
//! know what a job does.

use std::fmt;
use std::str::FromStr;

use sqlx::any::AnyRow;
use sqlx::{AnyPool, Row};
use uuid::Uuid;

use crate::StorageError;
use crate::rows::{Dialect, Rows, Tx, parse_uuid};
use crate::statement::{Script, Statement};

const INSERT_ROWS_MAX: usize = 500;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobState {
    /// Waits for its time (a retry, or a start in the future).
    Scheduled,
    /// May be claimed now.
    Queued,
    /// Leased by a worker.
    Running,
    Done,
    /// Discarded: attempts used up, a permanent error, or three crashes. Visible, and can be retried by hand.
    Failed,
    Cancelled,
}

impl JobState {
    pub const ALL: [Self; 6] = [Self::Scheduled, Self::Queued, Self::Running, Self::Done, Self::Failed, Self::Cancelled];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for JobState {
    type Err = StorageError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| StorageError::Malformed(format!("job state {text}")))
    }
}

/// A job to be enqueued.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    pub id: Uuid,
    pub kind: String,
    pub queue: String,
    pub priority: i64,
    pub owner_id: String,
    pub generation_id: Option<Uuid>,
    /// JSON of the job's arguments, under 4 KB.
    pub payload: String,
    pub attempts_max: i64,
    /// In the future: the job waits as `scheduled`.
    pub run_at_ms: i64,
    /// At most one live job has it.
    pub dedupe_key: Option<String>,
    pub traceparent: Option<String>,
    pub tracestate: Option<String>,
}

/// Enqueues jobs of one queue, priority and owner, in this order.
///
/// Their turns continue at the lane's virtual time (start-time fair queueing, Goyal et al. 1996): a new job of two chunks takes turns with
/// the owner's audiobook of a thousand chunks instead of waiting behind it.
pub async fn enqueue(tx: &mut Tx, jobs: &[NewJob], now_ms: i64) -> Result<(), StorageError> {
    if jobs.is_empty() {
        return Ok(());
    }
    let mut script = tx.script();
    push_enqueue(&mut script, &[jobs], now_ms);
    script.run(tx.connection()).await?;
    tx.wakes_jobs();
    Ok(())
}

/// The lanes and the rows of jobs; each part is of one queue, priority and owner, and begins at its lane's virtual time. No part is empty.
/// The caller says [`Tx::wakes_jobs`].
pub(crate) fn push_enqueue(script: &mut Script, parts: &[&[NewJob]], now_ms: i64) {
    let dialect = script.dialect();
    let lanes = script.next("INSERT INTO lanes (queue, priority, owner_id, served_no, served_at_ms, turn) ");
    for (place, first) in parts.iter().filter_map(|part| part.first()).enumerate() {
        lanes.push(if place == 0 { "VALUES (" } else { ", (" });
        lanes.push_bind(first.queue.clone()).push(", ").push_bind(first.priority).push(", ").push_bind(first.owner_id.clone());
        lanes.push(", 0, ").push_bind(now_ms).push(", 0)");
    }
    lanes.push(" ON CONFLICT (queue, priority, owner_id) ");
    lanes.push(match dialect {
        Dialect::Sqlite => "DO NOTHING",
        // Held until the end: the sweep may not take the lane away before its jobs are in it.
        Dialect::Postgres => "DO UPDATE SET turn = lanes.turn",
    });
    let mut jobs = parts.iter().flat_map(|part| (1_i64..).zip(*part)).peekable();
    while jobs.peek().is_some() {
        push_insert(script, jobs.by_ref().take(INSERT_ROWS_MAX), now_ms);
    }
}

/// Each job with how far behind its lane's virtual time its turn is.
fn push_insert<'j>(script: &mut Script, jobs: impl Iterator<Item = (i64, &'j NewJob)>, now_ms: i64) {
    let query = script.next(
        "INSERT INTO jobs (id, kind, queue, state, priority, owner_id, generation_id, turn, payload, attempt, attempts_max, crashes, \
         run_at_ms, lease_no, cancel_requested, dedupe_key, traceparent, tracestate, created_at_ms) ",
    );
    for (place, (behind, job)) in jobs.enumerate() {
        debug_assert!(behind > 0);
        let state = if job.run_at_ms > now_ms { JobState::Scheduled } else { JobState::Queued };
        query.push(if place == 0 { "VALUES (" } else { ", (" });
        query.push_list([job.id.to_string(), job.kind.clone(), job.queue.clone(), state.as_str().to_owned()]).push(", ");
        query.push_bind(job.priority).push(", ").push_bind(job.owner_id.clone()).push(", ");
        query.push_bind(job.generation_id.map(|id| id.to_string())).push(", ");
        query.push("(SELECT turn FROM lanes WHERE queue = ").push_bind(job.queue.clone()).push(" AND priority = ").push_bind(job.priority);
        query.push(" AND owner_id = ").push_bind(job.owner_id.clone()).push(") + ").push_bind(behind).push(", ");
        query.push_bind(job.payload.clone()).push(", 0, ").push_bind(job.attempts_max).push(", 0, ").push_bind(job.run_at_ms);
        query.push(", 0, 0, ").push_list([job.dedupe_key.clone(), job.traceparent.clone(), job.tracestate.clone()]).push(", ");
        query.push_bind(now_ms).push(")");
    }
}

/// A paused queue gives out no jobs; running ones go on.
pub async fn pause_queue(tx: &mut Tx, queue: &str, now_ms: i64) -> Result<(), StorageError> {
    sqlx::query("INSERT INTO paused_queues (queue, paused_at_ms) VALUES ($1, $2) ON CONFLICT (queue) DO NOTHING")
        .bind(queue)
        .bind(now_ms)
        .execute(tx.connection())
        .await?;
    Ok(())
}

pub async fn resume_queue(tx: &mut Tx, queue: &str) -> Result<(), StorageError> {
    sqlx::query("DELETE FROM paused_queues WHERE queue = $1").bind(queue).execute(tx.connection()).await?;
    tx.wakes_jobs();
    Ok(())
}

pub async fn paused_queues(pool: &AnyPool) -> Result<Vec<String>, StorageError> {
    Ok(sqlx::query_scalar("SELECT queue FROM paused_queues ORDER BY queue").fetch_all(pool).await?)
}

/// failed or cancelled -> queued, by hand, with all attempts anew.
pub async fn revive(tx: &mut Tx, id: Uuid, now_ms: i64) -> Result<bool, StorageError> {
    let revived = sqlx::query(
        "UPDATE jobs SET state = 'queued', attempt = 0, crashes = 0, cancel_requested = 0, error = NULL, run_at_ms = $2, \
         started_at_ms = NULL, finished_at_ms = NULL, stage = NULL, progress = NULL WHERE id = $1 AND state IN ('failed', 'cancelled')",
    )
    .bind(id.to_string())
    .bind(now_ms)
    .execute(tx.connection())
    .await?;
    tx.wakes_jobs();
    Ok(revived.rows_affected() == 1)
}

/// Whether a live job has this key. Where it waits for its time, that is now: what it waited for may be there.
pub async fn hasten(tx: &mut Tx, dedupe_key: &str, now_ms: i64) -> Result<bool, StorageError> {
    let found = sqlx::query(
        "UPDATE jobs SET run_at_ms = CASE WHEN state = 'scheduled' AND run_at_ms > $2 THEN $2 ELSE run_at_ms END \
         WHERE dedupe_key = $1 AND state IN ('scheduled', 'queued', 'running')",
    )
    .bind(dedupe_key)
    .bind(now_ms)
    .execute(tx.connection())
    .await?;
    tx.wakes_jobs();
    Ok(found.rows_affected() > 0)
}

/// When the next scheduled job is due: a worker with nothing to do sleeps no longer than that.
pub async fn next_due_ms(pool: &AnyPool) -> Result<Option<i64>, StorageError> {
    let due: Option<i64> = sqlx::query_scalar("SELECT MIN(run_at_ms) FROM jobs WHERE state = 'scheduled'").fetch_one(pool).await?;
    Ok(due)
}

/// What a cancel found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CancelledJobs {
    /// Were waiting, and are cancelled now.
    pub waiting: Vec<Uuid>,
    /// Are running; they learn of it by token or at the next heartbeat.
    pub running: Vec<Uuid>,
}

/// Cancels all live jobs of a generation.
pub async fn cancel_generation(tx: &mut Tx, generation_id: Uuid, reason: &str, now_ms: i64) -> Result<CancelledJobs, StorageError> {
    let waiting = sqlx::query_scalar::<_, String>(
        "UPDATE jobs SET state = 'cancelled', error = $2, finished_at_ms = $3 \
         WHERE generation_id = $1 AND state IN ('scheduled', 'queued') RETURNING id",
    )
    .bind(generation_id.to_string())
    .bind(reason)
    .bind(now_ms)
    .fetch_all(tx.connection())
    .await?;
    let running =
        sqlx::query_scalar::<_, String>("UPDATE jobs SET cancel_requested = 1 WHERE generation_id = $1 AND state = 'running' RETURNING id")
            .bind(generation_id.to_string())
            .fetch_all(tx.connection())
            .await?;
    // Their workers look whether they were meant.
    tx.wakes_jobs();
    Ok(CancelledJobs { waiting: parse_ids(&waiting)?, running: parse_ids(&running)? })
}

/// Cancels one job: at once where it waits, by request where it runs. `None` where it has ended.
pub async fn cancel_one(tx: &mut Tx, id: Uuid, reason: &str, now_ms: i64) -> Result<Option<CancelledJobs>, StorageError> {
    let waiting = sqlx::query(
        "UPDATE jobs SET state = 'cancelled', error = $2, finished_at_ms = $3 WHERE id = $1 AND state IN ('scheduled', 'queued')",
    )
    .bind(id.to_string())
    .bind(reason)
    .bind(now_ms)
    .execute(tx.connection())
    .await?;
    if waiting.rows_affected() == 1 {
        return Ok(Some(CancelledJobs { waiting: vec![id], running: Vec::new() }));
    }
    let running = sqlx::query("UPDATE jobs SET cancel_requested = 1 WHERE id = $1 AND state = 'running'")
        .bind(id.to_string())
        .execute(tx.connection())
        .await?;
    tx.wakes_jobs();
    Ok((running.rows_affected() == 1).then(|| CancelledJobs { waiting: Vec::new(), running: vec![id] }))
}

/// How many jobs of a generation a worker holds, as the transaction sees it.
pub async fn count_running(tx: &mut Tx, generation_id: Uuid) -> Result<i64, StorageError> {
    let count = sqlx::query_scalar("SELECT COUNT(*) FROM jobs WHERE generation_id = $1 AND state = 'running'")
        .bind(generation_id.to_string())
        .fetch_one(tx.connection())
        .await?;
    Ok(count)
}

/// A row for a person to look at.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRow {
    pub id: Uuid,
    pub kind: String,
    pub queue: String,
    pub state: JobState,
    pub owner_id: String,
    pub generation_id: Option<Uuid>,
    pub priority: i64,
    pub payload: String,
    pub result: Option<String>,
    pub error: Option<String>,
    pub attempt: i64,
    pub attempts_max: i64,
    pub crashes: i64,
    pub cancel_requested: bool,
    /// What it is at; only jobs without a generation say so.
    pub stage: Option<String>,
    /// 0 to 1.
    pub progress: Option<f64>,
    pub created_at_ms: i64,
    pub started_at_ms: Option<i64>,
    pub finished_at_ms: Option<i64>,
}

pub(crate) const COLUMNS: &str = "id, kind, queue, state, owner_id, generation_id, priority, payload, result, error, attempt, attempts_max, crashes, \
     cancel_requested, stage, progress, created_at_ms, started_at_ms, finished_at_ms";

pub async fn find(pool: &AnyPool, id: Uuid) -> Result<Option<JobRow>, StorageError> {
    let row = select_by_id(id).build().fetch_optional(pool).await?;
    row.as_ref().map(job_of_row).transpose()
}

/// The row as the transaction sees it.
pub async fn find_in(tx: &mut Tx, id: Uuid) -> Result<Option<JobRow>, StorageError> {
    let row = select_by_id(id).build().fetch_optional(tx.connection()).await?;
    row.as_ref().map(job_of_row).transpose()
}

fn select_by_id(id: Uuid) -> Statement {
    let mut query = Statement::new("SELECT ");
    query.push(COLUMNS).push(" FROM jobs WHERE id = ").push_bind(id.to_string());
    query
}

/// Puts all ended jobs of a generation back to the queue, for the test that running twice changes nothing.
#[cfg(debug_assertions)]
pub async fn run_again(rows: &Rows, generation_id: Uuid) -> Result<u64, StorageError> {
    let mut tx = rows.begin().await?;
    let again = sqlx::query("UPDATE jobs SET state = 'queued' WHERE generation_id = $1 AND state = 'done'")
        .bind(generation_id.to_string())
        .execute(tx.connection())
        .await?;
    tx.wakes_jobs();
    tx.commit().await?;
    Ok(again.rows_affected())
}

/// How many jobs of each queue are in each live state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateCount {
    pub queue: String,
    pub state: JobState,
    pub count: i64,
}

pub async fn count_live(pool: &AnyPool) -> Result<Vec<StateCount>, StorageError> {
    let rows = sqlx::query(
        "SELECT queue, state, COUNT(*) AS n FROM jobs WHERE state IN ('scheduled', 'queued', 'running') GROUP BY queue, state ORDER BY queue, state",
    )
    .fetch_all(pool)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(StateCount { queue: row.try_get("queue")?, state: row.try_get::<String, _>("state")?.parse()?, count: row.try_get("n")? })
        })
        .collect()
}

pub(crate) fn parse_ids(ids: &[String]) -> Result<Vec<Uuid>, StorageError> {
    ids.iter().map(|id| parse_uuid(id)).collect()
}

pub(crate) fn generation_of_row(row: &AnyRow) -> Result<Option<Uuid>, StorageError> {
    row.try_get::<Option<String>, _>("generation_id")?.as_deref().map(parse_uuid).transpose()
}

pub(crate) fn job_of_row(row: &AnyRow) -> Result<JobRow, StorageError> {
    Ok(JobRow {
        id: parse_uuid(&row.try_get::<String, _>("id")?)?,
        kind: row.try_get("kind")?,
        queue: row.try_get("queue")?,
        state: row.try_get::<String, _>("state")?.parse()?,
        owner_id: row.try_get("owner_id")?,
        generation_id: generation_of_row(row)?,
        priority: row.try_get("priority")?,
        payload: row.try_get("payload")?,
        result: row.try_get("result")?,
        error: row.try_get("error")?,
        attempt: row.try_get("attempt")?,
        attempts_max: row.try_get("attempts_max")?,
        crashes: row.try_get("crashes")?,
        cancel_requested: row.try_get::<i64, _>("cancel_requested")? != 0,
        stage: row.try_get("stage")?,
        progress: row.try_get("progress")?,
        created_at_ms: row.try_get("created_at_ms")?,
        started_at_ms: row.try_get("started_at_ms")?,
        finished_at_ms: row.try_get("finished_at_ms")?,
    })
}
