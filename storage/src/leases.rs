//! The protocol of a lease: claim, heartbeat, the five verdicts, take back. Every write by a worker carries a [`Fence`] in its WHERE: a worker
//! that lost its lease changes nothing and learns so from the answer.
//!
//! This file may not know what a job does; `jobs::state` has the table of legal moves that these statements make.

use sha2::{Digest, Sha256};
use sqlx::any::AnyRow;
use sqlx::{AnyPool, Row};
use uuid::Uuid;

use crate::StorageError;
use crate::generations;
use crate::jobs::{JobState, generation_of_row, parse_ids};
use crate::rows::{Dialect, Rows, Tx, parse_uuid};
use crate::statement::{Script, Statement};

/// What a worker may do while it lasts: `lease_no` rises at every claim, so the number of an old lease matches no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fence {
    pub job_id: Uuid,
    pub lease_no: i64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ClaimedJob {
    pub fence: Fence,
    pub kind: String,
    pub queue: String,
    pub owner_id: String,
    pub generation_id: Option<Uuid>,
    pub priority: i64,
    pub payload: String,
    /// This run included.
    pub attempt: i64,
    pub attempts_max: i64,
    pub crashes: i64,
    pub created_at_ms: i64,
    pub run_at_ms: i64,
    pub traceparent: Option<String>,
    pub tracestate: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim<'a> {
    pub queue: &'a str,
    /// `<node id>/<process id>`: new at every start of a process.
    pub lease_owner: &'a str,
    pub now_ms: i64,
    pub lease_until_ms: i64,
    /// A lane that was not served for so long counts as one priority higher.
    pub ageing_ms: i64,
}

/// Takes the next job: highest priority (aged), then the owner served least recently, then the lane's own order.
pub async fn claim(rows: &Rows, claim: &Claim<'_>) -> Result<Option<ClaimedJob>, StorageError> {
    let mut script = rows.script();
    push_make_due(&mut script, claim.now_ms);
    push_claim(&mut script, claim);
    let (mut tx, found) = rows.begin_with(script).await?;
    let claimed = found.last().filter(|row| row.try_column("lease_no").is_ok());
    if found.len() - usize::from(claimed.is_some()) > 1 {
        // One of those that became due is ours to claim now; the others are for whoever else waits.
        tx.wakes_jobs();
    }
    let mut script = tx.script();
    let Some(row) = claimed else {
        tx.commit_with(script).await?;
        return Ok(None);
    };
    let claimed = claimed_of_row(row)?;
    push_served(&mut script, claim, &claimed, row.try_get("turn")?);
    tx.commit_with(script).await?;
    Ok(Some(claimed))
}

/// scheduled -> queued, for all whose time has come; a row each.
fn push_make_due(script: &mut Script, now_ms: i64) {
    let query = script.next("UPDATE jobs SET state = 'queued' WHERE state = 'scheduled' AND run_at_ms <= ");
    query.push_bind(now_ms).push(" RETURNING id");
}

/// queued -> running for the one whose turn it is; its row, if there is one.
fn push_claim(script: &mut Script, claim: &Claim<'_>) {
    let dialect = script.dialect();
    let query = script.next("UPDATE jobs SET state = 'running', lease_no = lease_no + 1, attempt = attempt + 1, lease_owner = ");
    query.push_bind(claim.lease_owner.to_owned()).push(", lease_until_ms = ").push_bind(claim.lease_until_ms);
    query.push(", started_at_ms = ").push_bind(claim.now_ms).push(" WHERE state = 'queued' AND id = (");
    push_pick(query, dialect, claim);
    query.push(
        ") RETURNING id, kind, queue, owner_id, generation_id, priority, payload, attempt, attempts_max, crashes, lease_no, turn, \
         created_at_ms, run_at_ms, traceparent, tracestate",
    );
}

/// The lane of a claimed job was served, and its virtual time is at least that job's turn.
fn push_served(script: &mut Script, claim: &Claim<'_>, claimed: &ClaimedJob, turn: i64) {
    let query = script.next("UPDATE lanes SET served_no = (SELECT MAX(served_no) + 1 FROM lanes AS l WHERE l.queue = ");
    query.push_bind(claim.queue.to_owned()).push("), served_at_ms = ").push_bind(claim.now_ms);
    query.push(", turn = CASE WHEN turn < ").push_bind(turn).push(" THEN ").push_bind(turn).push(" ELSE turn END WHERE queue = ");
    query.push_bind(claim.queue.to_owned()).push(" AND priority = ").push_bind(claimed.priority);
    query.push(" AND owner_id = ").push_bind(claimed.owner_id.clone());
}

/// The id of the job whose turn it is. One index probe a lane, and there are as many lanes as owners with work: the length of the queue does
/// not matter.
fn push_pick(query: &mut Statement, dialect: Dialect, claim: &Claim<'_>) {
    query.push(match dialect {
        Dialect::Sqlite => {
            "SELECT j.id FROM lanes l JOIN jobs j ON j.id = (SELECT h.id FROM jobs h WHERE h.state = 'queued' \
             AND h.queue = l.queue AND h.priority = l.priority AND h.owner_id = l.owner_id ORDER BY h.turn, h.id LIMIT 1)"
        }
        // Several claimers at once must not wait for each other's row: each skips what another has locked.
        Dialect::Postgres => {
            "SELECT j.id FROM lanes l CROSS JOIN LATERAL (SELECT h.id, h.turn, h.run_at_ms FROM jobs h WHERE h.state = 'queued' \
             AND h.queue = l.queue AND h.priority = l.priority AND h.owner_id = l.owner_id ORDER BY h.turn, h.id LIMIT 1 \
             FOR UPDATE SKIP LOCKED) j"
        }
    });
    query.push(" WHERE l.queue = ").push_bind(claim.queue.to_owned());
    query.push(" AND NOT EXISTS (SELECT 1 FROM paused_queues p WHERE p.queue = ").push_bind(claim.queue.to_owned());
    query.push(") ORDER BY l.priority + (").push_bind(claim.now_ms);
    query.push(" - CASE WHEN l.served_at_ms > j.run_at_ms THEN l.served_at_ms ELSE j.run_at_ms END) / ");
    query.push_bind(claim.ageing_ms.max(1)).push(" DESC, l.served_no, j.turn, j.id LIMIT 1");
}

/// A lease that this process still holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldLease {
    pub fence: Fence,
    pub cancel_requested: bool,
}

/// Renews all leases of a process in one statement and tells which there are: a lease that is not among them is lost.
pub async fn heartbeat(rows: &Rows, lease_owner: &str, lease_until_ms: i64) -> Result<Vec<HeldLease>, StorageError> {
    let mut tx = rows.begin().await?;
    let held = sqlx::query(
        "UPDATE jobs SET lease_until_ms = $2 WHERE lease_owner = $1 AND state = 'running' RETURNING id, lease_no, cancel_requested",
    )
    .bind(lease_owner)
    .bind(lease_until_ms)
    .fetch_all(tx.connection())
    .await?;
    tx.commit().await?;
    held.iter()
        .map(|row| Ok(HeldLease { fence: fence_of_row(row)?, cancel_requested: row.try_get::<i64, _>("cancel_requested")? != 0 }))
        .collect()
}

/// Jobs of a process that somebody, perhaps in another process, has asked to stop.
pub async fn cancel_requests(rows: &Rows, lease_owner: &str) -> Result<Vec<Fence>, StorageError> {
    let found = sqlx::query("SELECT id, lease_no FROM jobs WHERE lease_owner = $1 AND state = 'running' AND cancel_requested = 1")
        .bind(lease_owner)
        .fetch_all(rows.read())
        .await?;
    found.iter().map(fence_of_row).collect()
}

/// Marks this session of the database as the life of a process, so that others see its end at once. Postgres only; to be repeated at every
/// beat, since a connection may have been made anew. `rows` must be a handle with a single connection.
pub async fn hold_session(rows: &Rows, lease_owner: &str) -> Result<(), StorageError> {
    if rows.dialect() == Dialect::Postgres {
        // Held by the session; taking it again only counts.
        sqlx::query("SELECT CASE WHEN pg_try_advisory_lock($1) THEN 1 ELSE 0 END")
            .bind(session_number(lease_owner))
            .execute(rows.read())
            .await?;
    }
    Ok(())
}

/// Owners of running jobs whose session has ended. Empty on SQLite, where processes are on one machine and a lock file tells.
pub async fn dead_owners(rows: &Rows, own: &str) -> Result<Vec<String>, StorageError> {
    if rows.dialect() == Dialect::Sqlite {
        return Ok(Vec::new());
    }
    let owners: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT lease_owner FROM jobs WHERE state = 'running' AND lease_owner IS NOT NULL AND lease_owner <> $1",
    )
    .bind(own)
    .fetch_all(rows.read())
    .await?;
    let mut dead = Vec::new();
    for owner in owners {
        let number = session_number(&owner);
        let free: i64 = sqlx::query_scalar("SELECT CAST(CASE WHEN pg_try_advisory_lock($1) THEN 1 ELSE 0 END AS BIGINT)")
            .bind(number)
            .fetch_one(rows.read())
            .await?;
        if free == 1 {
            sqlx::query("SELECT CASE WHEN pg_advisory_unlock($1) THEN 1 ELSE 0 END").bind(number).execute(rows.read()).await?;
            dead.push(owner);
        }
    }
    Ok(dead)
}

/// Postgres names advisory locks by numbers.
fn session_number(lease_owner: &str) -> i64 {
    let digest = Sha256::digest(lease_owner.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    i64::from_be_bytes(first)
}

/// Starts the transaction in which a run ends, with the verdict "done" and its generation locked. `None`: the lease was lost.
pub async fn begin_finish(rows: &Rows, run: Run, result: Option<&str>, now_ms: i64) -> Result<Option<Tx>, StorageError> {
    let mut script = rows.script();
    run.push_lock(&mut script);
    push_finish(&mut script, run.fence, result, now_ms);
    let (tx, found) = rows.begin_with(script).await?;
    Ok(is_held(&found).then_some(tx))
}

/// Starts a transaction in the middle of a run, with its generation locked. `None`: the lease was lost.
pub async fn begin_held(rows: &Rows, run: Run) -> Result<Option<Tx>, StorageError> {
    let mut script = rows.script();
    run.push_lock(&mut script);
    push_holds(&mut script, run.fence);
    let (tx, found) = rows.begin_with(script).await?;
    Ok(is_held(&found).then_some(tx))
}

/// A run, and the generation that is locked before its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    pub fence: Fence,
    pub generation_id: Option<Uuid>,
}

impl Run {
    fn push_lock(self, script: &mut Script) {
        if let Some(generation_id) = self.generation_id {
            generations::push_lock(script, generation_id);
        }
    }
}

/// Verdict "done". False: the lease was lost, and the transaction must be dropped.
pub async fn finish(tx: &mut Tx, fence: Fence, result: Option<&str>, now_ms: i64) -> Result<bool, StorageError> {
    let mut script = tx.script();
    push_finish(&mut script, fence, result, now_ms);
    Ok(is_held(&script.run(tx.connection()).await?))
}

fn push_finish(script: &mut Script, fence: Fence, result: Option<&str>, now_ms: i64) {
    let query = script.next("UPDATE jobs SET state = 'done', error = NULL, lease_owner = NULL, result = ");
    query.push_bind(result.map(str::to_owned)).push(", finished_at_ms = ").push_bind(now_ms);
    push_fence(query, fence);
}

/// Every write by a worker: a row where the lease holds, and none where it is lost.
fn push_fence(query: &mut Statement, fence: Fence) {
    query.push(" WHERE id = ").push_bind(fence.job_id.to_string());
    query.push(" AND lease_no = ").push_bind(fence.lease_no).push(" AND state = 'running' RETURNING lease_no");
}

fn is_held(found: &[AnyRow]) -> bool {
    found.last().is_some_and(|row| row.try_column("lease_no").is_ok())
}

/// Verdict "retry at". A time in the past makes it claimable at once.
pub async fn retry_at(tx: &mut Tx, fence: Fence, error: &str, run_at_ms: i64) -> Result<bool, StorageError> {
    const SQL: &str = "UPDATE jobs SET state = 'scheduled', error = $3, run_at_ms = $4, lease_owner = NULL \
         WHERE id = $1 AND lease_no = $2 AND state = 'running'";
    tx.wakes_jobs();
    write_verdict(tx, SQL, fence, error, run_at_ms).await
}

/// Like a retry, but the attempt is given back: something outside was missing.
pub async fn wait_until(tx: &mut Tx, fence: Fence, error: &str, run_at_ms: i64) -> Result<bool, StorageError> {
    const SQL: &str = "UPDATE jobs SET state = 'scheduled', error = $3, run_at_ms = $4, attempt = attempt - 1, lease_owner = NULL \
         WHERE id = $1 AND lease_no = $2 AND state = 'running'";
    tx.wakes_jobs();
    write_verdict(tx, SQL, fence, error, run_at_ms).await
}

/// Verdict "discard", with the reason.
pub async fn discard(tx: &mut Tx, fence: Fence, error: &str, now_ms: i64) -> Result<bool, StorageError> {
    const SQL: &str = "UPDATE jobs SET state = 'failed', error = $3, lease_owner = NULL, finished_at_ms = $4 \
         WHERE id = $1 AND lease_no = $2 AND state = 'running'";
    write_verdict(tx, SQL, fence, error, now_ms).await
}

/// Verdict "cancelled".
pub async fn cancelled(tx: &mut Tx, fence: Fence, reason: &str, now_ms: i64) -> Result<bool, StorageError> {
    const SQL: &str = "UPDATE jobs SET state = 'cancelled', error = $3, lease_owner = NULL, finished_at_ms = $4 \
         WHERE id = $1 AND lease_no = $2 AND state = 'running'";
    write_verdict(tx, SQL, fence, reason, now_ms).await
}

/// Every verdict's statement names the fence as its first two values.
async fn write_verdict(tx: &mut Tx, sql: &'static str, fence: Fence, text: &str, at_ms: i64) -> Result<bool, StorageError> {
    let query = sqlx::query(sql).bind(fence.job_id.to_string()).bind(fence.lease_no).bind(text).bind(at_ms);
    Ok(query.execute(tx.connection()).await?.rows_affected() == 1)
}

/// Verdict "snooze": back to the queue as if it had not been claimed; the attempt is given back.
pub async fn snooze(tx: &mut Tx, fence: Fence) -> Result<bool, StorageError> {
    let done = sqlx::query(
        "UPDATE jobs SET state = 'queued', attempt = attempt - 1, lease_owner = NULL WHERE id = $1 AND lease_no = $2 AND state = 'running'",
    )
    .bind(fence.job_id.to_string())
    .bind(fence.lease_no)
    .execute(tx.connection())
    .await?;
    tx.wakes_jobs();
    Ok(done.rows_affected() == 1)
}

/// Whether the lease still holds, as the transaction sees it; on Postgres it stays so until the transaction ends.
pub async fn holds(tx: &mut Tx, fence: Fence) -> Result<bool, StorageError> {
    let mut script = tx.script();
    push_holds(&mut script, fence);
    Ok(is_held(&script.run(tx.connection()).await?))
}

fn push_holds(script: &mut Script, fence: Fence) {
    push_fence(script.next("UPDATE jobs SET lease_no = lease_no"), fence);
}

/// A job whose worker is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenBack {
    pub job_id: Uuid,
    pub generation_id: Option<Uuid>,
    pub kind: String,
    pub owner_id: String,
    pub payload: String,
    pub crashes: i64,
    pub state: JobState,
}

/// Which leases are taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost<'a> {
    /// All of one process: its database session has ended.
    OfProcess { lease_owner: &'a str },
    /// All of a node: its lock is ours, so its former process is dead.
    OfNode { node_id: &'a str, except_owner: &'a str },
    /// All that were not renewed in time.
    Expired { now_ms: i64 },
}

impl Lost<'_> {
    fn push_where(&self, query: &mut Statement) {
        match self {
            Self::OfNode { node_id, except_owner } => {
                query.push(" AND lease_owner LIKE ").push_bind(format!("{node_id}/%"));
                query.push(" AND lease_owner <> ").push_bind((*except_owner).to_owned());
            }
            Self::OfProcess { lease_owner } => {
                query.push(" AND lease_owner = ").push_bind((*lease_owner).to_owned());
            }
            Self::Expired { now_ms } => {
                query.push(" AND lease_until_ms < ").push_bind(*now_ms);
            }
        }
    }
}

/// The generations whose jobs [`take_back`] would take, in the order in which to lock them.
pub async fn generations_of_lost(tx: &mut Tx, lost: Lost<'_>) -> Result<Vec<Uuid>, StorageError> {
    let mut query = Statement::new("SELECT DISTINCT generation_id FROM jobs WHERE state = 'running' AND generation_id IS NOT NULL");
    lost.push_where(&mut query);
    query.push(" ORDER BY generation_id");
    let ids: Vec<String> = query.build_scalar().fetch_all(tx.connection()).await?;
    parse_ids(&ids)
}

/// Takes jobs from workers that are gone (the attempt is given back, a crash is counted): back to the queue, or to `cancelled` if that was asked for, or to `failed` once a job has seen
/// `crashes_max` workers die.
pub async fn take_back(tx: &mut Tx, lost: Lost<'_>, crashes_max: i64, now_ms: i64) -> Result<Vec<TakenBack>, StorageError> {
    let mut query = Statement::new(
        "UPDATE jobs SET crashes = crashes + 1, attempt = attempt - 1, lease_owner = NULL, error = 'the worker died', state = CASE ",
    );
    query.push("WHEN cancel_requested = 1 THEN 'cancelled' WHEN crashes + 1 >= ").push_bind(crashes_max);
    query
        .push(" THEN 'failed' ELSE 'queued' END, finished_at_ms = CASE WHEN cancel_requested = 1 OR crashes + 1 >= ")
        .push_bind(crashes_max);
    query.push(" THEN ").push_bind(now_ms).push(" ELSE NULL END WHERE state = 'running'");
    lost.push_where(&mut query);
    query.push(" RETURNING id, generation_id, kind, owner_id, payload, crashes, state");
    let rows = query.build().fetch_all(tx.connection()).await?;
    tx.wakes_jobs();
    rows.iter().map(taken_of_row).collect()
}

/// A job whose lease is still held, as its claimer got it: for the process that runs it in its claimer's stead.
pub async fn find_leased(pool: &AnyPool, fence: Fence) -> Result<Option<ClaimedJob>, StorageError> {
    let row = sqlx::query(
        "SELECT id, kind, queue, owner_id, generation_id, priority, payload, attempt, attempts_max, crashes, lease_no, created_at_ms, \
         run_at_ms, traceparent, tracestate FROM jobs WHERE id = $1 AND lease_no = $2 AND state = 'running'",
    )
    .bind(fence.job_id.to_string())
    .bind(fence.lease_no)
    .fetch_optional(pool)
    .await?;
    row.as_ref().map(claimed_of_row).transpose()
}

/// Payloads of the jobs of this kind and of the same owner that other processes run, and began before this one did. The order of beginning is
/// the same for all who ask, so that no two wait for each other.
pub async fn begun_elsewhere_before(pool: &AnyPool, job_id: Uuid, kind: &str) -> Result<Vec<String>, StorageError> {
    let payloads = sqlx::query_scalar(
        "SELECT k.payload FROM jobs k, jobs me WHERE me.id = $1 AND k.state = 'running' AND k.kind = $2 AND k.owner_id = me.owner_id \
         AND k.lease_owner <> me.lease_owner \
         AND (k.started_at_ms < me.started_at_ms OR (k.started_at_ms = me.started_at_ms AND k.id < me.id))",
    )
    .bind(job_id.to_string())
    .bind(kind)
    .fetch_all(pool)
    .await?;
    Ok(payloads)
}

/// How SQLite would look for the next job, for the test that it does so by index.
#[cfg(debug_assertions)]
pub async fn claim_plan(pool: &AnyPool) -> Result<Vec<String>, StorageError> {
    let claim = Claim { queue: "cpu", lease_owner: "", now_ms: 0, lease_until_ms: 0, ageing_ms: 1 };
    let mut explain = Statement::new("EXPLAIN QUERY PLAN ");
    push_pick(&mut explain, Dialect::Sqlite, &claim);
    let rows = explain.build().fetch_all(pool).await?;
    rows.iter().map(|row| Ok(row.try_get("detail")?)).collect()
}

fn fence_of_row(row: &AnyRow) -> Result<Fence, StorageError> {
    let id: String = row.try_get("id")?;
    Ok(Fence { job_id: parse_uuid(&id)?, lease_no: row.try_get("lease_no")? })
}

fn claimed_of_row(row: &AnyRow) -> Result<ClaimedJob, StorageError> {
    Ok(ClaimedJob {
        fence: fence_of_row(row)?,
        kind: row.try_get("kind")?,
        queue: row.try_get("queue")?,
        owner_id: row.try_get("owner_id")?,
        generation_id: generation_of_row(row)?,
        priority: row.try_get("priority")?,
        payload: row.try_get("payload")?,
        attempt: row.try_get("attempt")?,
        attempts_max: row.try_get("attempts_max")?,
        crashes: row.try_get("crashes")?,
        created_at_ms: row.try_get("created_at_ms")?,
        run_at_ms: row.try_get("run_at_ms")?,
        traceparent: row.try_get("traceparent")?,
        tracestate: row.try_get("tracestate")?,
    })
}

fn taken_of_row(row: &AnyRow) -> Result<TakenBack, StorageError> {
    Ok(TakenBack {
        job_id: parse_uuid(&row.try_get::<String, _>("id")?)?,
        generation_id: generation_of_row(row)?,
        kind: row.try_get("kind")?,
        owner_id: row.try_get("owner_id")?,
        payload: row.try_get("payload")?,
        crashes: row.try_get("crashes")?,
        state: row.try_get::<String, _>("state")?.parse()?,
    })
}
