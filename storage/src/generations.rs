//! Rows of generations: what a person asked to hear, and how far it has come. This file may not know how a chunk is spoken or merged.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use sqlx::any::AnyRow;
use sqlx::{AnyPool, Row};
use uuid::Uuid;

use crate::StorageError;
use crate::rows::{Dialect, Tx, parse_uuid};
use crate::search::{self, SearchText};
use crate::statement::{Script, Statement};

/// The contract's job statuses. `loading_model` is shown while a neural model loads and is never stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GenerationStatus {
    Queued,
    Running,
    Merging,
    Completed,
    Failed,
    Cancelled,
    /// Found unfinished after a crash; goes on by itself.
    Interrupted,
}

impl GenerationStatus {
    pub const ALL: [Self; 7] =
        [Self::Queued, Self::Running, Self::Merging, Self::Completed, Self::Failed, Self::Cancelled, Self::Interrupted];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Merging => "merging",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
        }
    }

    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

impl fmt::Display for GenerationStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for GenerationStatus {
    type Err = StorageError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| StorageError::Malformed(format!("generation status {text}")))
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Generation {
    pub id: Uuid,
    pub owner_id: String,
    /// The contract's type, such as `generate.clone_chunked`.
    pub kind: String,
    pub status: GenerationStatus,
    pub title: Option<String>,
    pub text: String,
    /// The one voice of the request; `None` where chunks have their own.
    pub voice_id: Option<String>,
    pub voice_name: Option<String>,
    pub language: String,
    /// JSON of the options, as the jobs crate writes them.
    pub params: String,
    /// JSON: each voice as it was when the request was accepted, so that editing a voice changes no running job.
    pub voices: String,
    /// JSON that the caller gave and gets back.
    pub metadata: Option<String>,
    pub priority: i64,
    pub chunks_total: i64,
    pub chunks_done: i64,
    /// How often it was started: 1, and one more for each crash survived.
    pub attempt: i64,
    pub cancel_requested: bool,
    /// JSON `{code, detail}`.
    pub error: Option<String>,
    pub result: Option<String>,
    pub created_at_ms: i64,
    pub started_at_ms: Option<i64>,
    pub finished_at_ms: Option<i64>,
    pub traceparent: Option<String>,
    pub tracestate: Option<String>,
}

const COLUMNS: &str = "id, owner_id, kind, status, title, text, voice_id, voice_name, language, params, voices, metadata, priority, \
     chunks_total, chunks_done, attempt, cancel_requested, error, result, created_at_ms, started_at_ms, finished_at_ms, traceparent, tracestate";

/// Ids in one statement.
const IDS_MAX: usize = 500;

/// For lists, which show neither: two hundred texts of two megabytes each would be read for nothing.
const COLUMNS_WITHOUT_TEXTS: &str = "id, owner_id, kind, status, title, '' AS text, voice_id, voice_name, language, params, '{}' AS voices, \
     metadata, priority, chunks_total, chunks_done, attempt, cancel_requested, error, result, created_at_ms, started_at_ms, finished_at_ms, \
     traceparent, tracestate";

/// Stores a generation, and what it is found by.
pub async fn insert(tx: &mut Tx, generation: &Generation, search: &SearchText) -> Result<(), StorageError> {
    let mut script = tx.script();
    push_insert(&mut script, &[(generation, search)]);
    script.run(tx.connection()).await?;
    Ok(())
}

/// The rows of generations, and what they are found by.
pub(crate) fn push_insert(script: &mut Script, generations: &[(&Generation, &SearchText)]) {
    let query = script.next(
        "INSERT INTO generations (id, owner_id, kind, status, title, text, voice_id, voice_name, language, params, voices, metadata, \
         priority, chunks_total, chunks_done, attempt, cancel_requested, created_at_ms, traceparent, tracestate) ",
    );
    for (place, (generation, _)) in generations.iter().enumerate() {
        let text = |text: &String| Some(text.clone());
        query.push(if place == 0 { "VALUES (" } else { ", (" }).push_list([
            Some(generation.id.to_string()),
            text(&generation.owner_id),
            text(&generation.kind),
            Some(generation.status.to_string()),
            generation.title.clone(),
            text(&generation.text),
            generation.voice_id.clone(),
            generation.voice_name.clone(),
            text(&generation.language),
            text(&generation.params),
            text(&generation.voices),
            generation.metadata.clone(),
        ]);
        let Generation { priority, chunks_total, chunks_done, attempt, created_at_ms, .. } = **generation;
        query.push(", ").push_list([priority, chunks_total, chunks_done, attempt]).push(", 0, ").push_bind(created_at_ms);
        query.push(", ").push_list([generation.traceparent.clone(), generation.tracestate.clone()]).push(")");
    }
    search::push_insert(script, generations.iter().map(|(generation, search)| (generation.id, *search)));
}

/// Deletes a generation with its chunks, renders, jobs and places in montages; to be called under its lock. Its blobs are the caller's, after
/// the commit. A worker that still holds one of the jobs finds its lease gone.
pub async fn delete(tx: &mut Tx, id: Uuid) -> Result<(), StorageError> {
    for sql in ["DELETE FROM jobs WHERE generation_id = $1", "DELETE FROM generations WHERE id = $1"] {
        sqlx::query(sql).bind(id.to_string()).execute(tx.connection()).await?;
    }
    Ok(())
}

pub async fn find(pool: &AnyPool, id: Uuid) -> Result<Option<Generation>, StorageError> {
    let row = select_by_id(id).build().fetch_optional(pool).await?;
    row.as_ref().map(of_row).transpose()
}

/// The row as the transaction sees it.
pub async fn find_in(tx: &mut Tx, id: Uuid) -> Result<Option<Generation>, StorageError> {
    let row = select_by_id(id).build().fetch_optional(tx.connection()).await?;
    row.as_ref().map(of_row).transpose()
}

fn select_by_id(id: Uuid) -> Statement {
    let mut query = Statement::new("SELECT ");
    query.push(COLUMNS).push(" FROM generations WHERE id = ").push_bind(id.to_string());
    query
}

/// Holds a generation for this transaction: two workers that end its last jobs at the same moment must not each see the other's as running.
/// Always taken before the rows of its jobs and chunks, so that no two transactions wait for each other in a circle. SQLite has one writer
/// anyway.
pub async fn lock(tx: &mut Tx, id: Uuid) -> Result<(), StorageError> {
    let mut script = tx.script();
    push_lock(&mut script, id);
    script.run(tx.connection()).await?;
    Ok(())
}

pub(crate) fn push_lock(script: &mut Script, id: Uuid) {
    if script.dialect() == Dialect::Postgres {
        script.next("SELECT 1 AS locked FROM generations WHERE id = ").push_bind(id.to_string()).push(" FOR UPDATE");
    }
}

/// What a list of generations is narrowed by.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GenerationFilter {
    pub owner_id: String,
    pub kind: Option<String>,
    pub status: Option<GenerationStatus>,
    pub voice_id: Option<String>,
    /// All of them must occur; from [`search::words`].
    pub words: Vec<String>,
    /// Those in this montage.
    pub montage_id: Option<Uuid>,
    pub from_ms: Option<i64>,
    pub to_ms: Option<i64>,
    /// Only open ones: not completed, failed or cancelled.
    pub open: bool,
}

impl GenerationFilter {
    pub fn of_owner(owner_id: impl Into<String>) -> Self {
        Self { owner_id: owner_id.into(), ..Self::default() }
    }

    fn push_where(&self, query: &mut Statement) {
        query.push(" WHERE owner_id = ").push_bind(self.owner_id.clone());
        if let Some(kind) = &self.kind {
            query.push(" AND kind = ").push_bind(kind.clone());
        }
        if let Some(status) = self.status {
            query.push(" AND status = ").push_bind(status.to_string());
        }
        if let Some(voice_id) = &self.voice_id {
            query.push(" AND voice_id = ").push_bind(voice_id.clone());
        }
        if let Some(montage_id) = self.montage_id {
            query
                .push(" AND id IN (SELECT generation_id FROM montage_items WHERE montage_id = ")
                .push_bind(montage_id.to_string())
                .push(")");
        }
        if !self.words.is_empty() {
            query.push(" AND EXISTS (SELECT 1 FROM generation_search s WHERE s.generation_id = generations.id");
            for word in &self.words {
                query.push(" AND s.folded LIKE ").push_bind(search::pattern(word)).push(" ESCAPE '\\'");
            }
            query.push(")");
        }
        if let Some(from_ms) = self.from_ms {
            query.push(" AND created_at_ms >= ").push_bind(from_ms);
        }
        if let Some(to_ms) = self.to_ms {
            query.push(" AND created_at_ms <= ").push_bind(to_ms);
        }
        if self.open {
            query.push(" AND status IN ('queued', 'running', 'merging', 'interrupted')");
        }
    }
}

/// Text that LIKE takes as it is, with `\` as the escape.
pub(crate) fn like_escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}

/// Newest first, without texts and voices; `before` is the id of the last row of the page before (ids are UUIDv7, so their order is the order
/// of time).
pub async fn list(pool: &AnyPool, filter: &GenerationFilter, before: Option<Uuid>, limit: u32) -> Result<Vec<Generation>, StorageError> {
    let mut query = Statement::new("SELECT ");
    query.push(COLUMNS_WITHOUT_TEXTS).push(" FROM generations");
    filter.push_where(&mut query);
    if let Some(before) = before {
        query.push(" AND id < ").push_bind(before.to_string());
    }
    query.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(limit));
    query.build().fetch_all(pool).await?.iter().map(of_row).collect()
}

/// Those of a montage in its order, without texts and voices.
pub async fn list_of_montage(pool: &AnyPool, montage_id: Uuid) -> Result<Vec<Generation>, StorageError> {
    let mut query = Statement::new("SELECT ");
    query
        .push(COLUMNS_WITHOUT_TEXTS)
        .push(" FROM generations JOIN montage_items i ON i.generation_id = generations.id WHERE i.montage_id = ");
    query.push_bind(montage_id.to_string()).push(" ORDER BY i.place, id");
    query.build().fetch_all(pool).await?.iter().map(of_row).collect()
}

/// Which of these are the owner's, as the transaction sees it.
pub async fn of_owner(tx: &mut Tx, owner_id: &str, ids: &[Uuid]) -> Result<HashSet<Uuid>, StorageError> {
    let mut known = HashSet::new();
    for part in ids.chunks(IDS_MAX) {
        let mut query = Statement::new("SELECT id FROM generations WHERE owner_id = ");
        query.push_bind(owner_id.to_owned()).push(" AND id IN (").push_list(part.iter().map(Uuid::to_string)).push(")");
        let found: Vec<String> = query.build_scalar().fetch_all(tx.connection()).await?;
        for id in &found {
            known.insert(parse_uuid(id)?);
        }
    }
    Ok(known)
}

pub async fn count(pool: &AnyPool, filter: &GenerationFilter) -> Result<i64, StorageError> {
    let mut query = Statement::new("SELECT COUNT(*) FROM generations");
    filter.push_where(&mut query);
    Ok(query.build_scalar().fetch_one(pool).await?)
}

/// How many generations of all owners are open.
pub async fn count_open(pool: &AnyPool) -> Result<i64, StorageError> {
    let count = sqlx::query_scalar("SELECT COUNT(*) FROM generations WHERE status IN ('queued', 'running', 'merging', 'interrupted')")
        .fetch_one(pool)
        .await?;
    Ok(count)
}

/// What is left to do of an open generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenWork {
    pub id: Uuid,
    pub chunks_left: i64,
}

/// The open generations of all owners in the order in which they are worked on, as far as that can be told from them alone: the most urgent
/// first, the oldest of these first.
pub async fn open_work(pool: &AnyPool, limit: i64) -> Result<Vec<OpenWork>, StorageError> {
    let rows = sqlx::query(
        "SELECT id, chunks_total - chunks_done AS chunks_left FROM generations \
         WHERE status IN ('queued', 'running', 'merging', 'interrupted') ORDER BY priority DESC, id LIMIT $1",
    )
    .bind(limit)
    .fetch_all(pool)
    .await?;
    let of_row = |row: &AnyRow| {
        let id: String = row.try_get("id")?;
        Ok(OpenWork { id: parse_uuid(&id)?, chunks_left: row.try_get("chunks_left")? })
    };
    rows.iter().map(of_row).collect()
}

/// The open generations of an owner that have the same status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenCount {
    pub owner_id: String,
    pub status: GenerationStatus,
    pub count: i64,
}

/// The open generations of all owners, counted.
pub async fn count_open_by_owner(pool: &AnyPool) -> Result<Vec<OpenCount>, StorageError> {
    let rows = sqlx::query(
        "SELECT owner_id, status, COUNT(*) AS count FROM generations WHERE status IN ('queued', 'running', 'merging', 'interrupted') \
         GROUP BY owner_id, status",
    )
    .fetch_all(pool)
    .await?;
    let of_row = |row: &AnyRow| {
        let status: String = row.try_get("status")?;
        Ok(OpenCount { owner_id: row.try_get("owner_id")?, status: status.parse()?, count: row.try_get("count")? })
    };
    rows.iter().map(of_row).collect()
}

/// Further back nobody counts: the number is shown at every accept, and must not cost more the longer the queue is.
pub const QUEUE_POSITION_MAX: i64 = 1_000;

/// 1 for the next one to start, at most [`QUEUE_POSITION_MAX`]; meaningful only while it is queued.
pub async fn queue_position(pool: &AnyPool, generation: &Generation) -> Result<i64, StorageError> {
    let ahead: i64 = sqlx::query_scalar(
        "SELECT (SELECT COUNT(*) FROM (SELECT 1 AS one FROM generations WHERE status = 'queued' AND priority > $1 LIMIT $3) AS higher) \
         + (SELECT COUNT(*) FROM (SELECT 1 AS one FROM generations WHERE status = 'queued' AND priority = $1 AND id < $2 LIMIT $3) AS same)",
    )
    .bind(generation.priority)
    .bind(generation.id.to_string())
    .bind(QUEUE_POSITION_MAX)
    .fetch_one(pool)
    .await?;
    Ok(place_behind(ahead))
}

/// How many wait that go before a new one of this priority, as a row with the number as `ahead`.
pub(crate) fn push_ahead(script: &mut Script, priority: i64) {
    let query = script.next("SELECT COUNT(*) AS ahead FROM (SELECT 1 AS one FROM generations WHERE status = 'queued' AND priority >= ");
    query.push_bind(priority).push(" LIMIT ").push_bind(QUEUE_POSITION_MAX).push(") AS ahead");
}

pub(crate) fn place_behind(ahead: i64) -> i64 {
    (ahead + 1).min(QUEUE_POSITION_MAX)
}

/// Moves a generation from one of the `from` statuses to `to`; false when it was in none of them.
pub async fn transition(tx: &mut Tx, id: Uuid, from: &[GenerationStatus], to: GenerationStatus, now_ms: i64) -> Result<bool, StorageError> {
    let mut query = Statement::new("UPDATE generations SET status = ");
    query.push_bind(to.to_string());
    if matches!(to, GenerationStatus::Running) {
        query.push(", started_at_ms = COALESCE(started_at_ms, ").push_bind(now_ms).push("), attempt = attempt + 1");
    }
    if to.is_final() {
        query.push(", finished_at_ms = ").push_bind(now_ms);
    } else {
        query.push(", finished_at_ms = NULL");
    }
    query.push(" WHERE id = ").push_bind(id.to_string()).push(" AND status IN (");
    query.push_list(from.iter().map(ToString::to_string)).push(")");
    Ok(query.build().execute(tx.connection()).await?.rows_affected() == 1)
}

/// Open again after it had failed or was cancelled.
pub async fn reopen(tx: &mut Tx, id: Uuid) -> Result<bool, StorageError> {
    let reopened = sqlx::query(
        "UPDATE generations SET status = 'queued', cancel_requested = 0, error = NULL, started_at_ms = NULL, finished_at_ms = NULL \
         WHERE id = $1 AND status IN ('failed', 'cancelled')",
    )
    .bind(id.to_string())
    .execute(tx.connection())
    .await?;
    Ok(reopened.rows_affected() == 1)
}

pub async fn set_error(tx: &mut Tx, id: Uuid, error: Option<&str>) -> Result<(), StorageError> {
    set(tx, "UPDATE generations SET error = $2 WHERE id = $1", id, error).await
}

pub async fn set_result(tx: &mut Tx, id: Uuid, result: Option<&str>) -> Result<(), StorageError> {
    set(tx, "UPDATE generations SET result = $2 WHERE id = $1", id, result).await
}

/// JSON of the snapshots, when a new take needs a voice that the request did not have.
pub async fn set_voices(tx: &mut Tx, id: Uuid, voices: &str) -> Result<(), StorageError> {
    set(tx, "UPDATE generations SET voices = $2 WHERE id = $1", id, Some(voices)).await
}

async fn set(tx: &mut Tx, sql: &'static str, id: Uuid, value: Option<&str>) -> Result<(), StorageError> {
    sqlx::query(sql).bind(id.to_string()).bind(value).execute(tx.connection()).await?;
    Ok(())
}

pub async fn request_cancel(tx: &mut Tx, id: Uuid) -> Result<(), StorageError> {
    sqlx::query("UPDATE generations SET cancel_requested = 1 WHERE id = $1").bind(id.to_string()).execute(tx.connection()).await?;
    Ok(())
}

/// To be called in the transaction that takes the sound from a complete chunk.
pub async fn count_chunk_spoilt(tx: &mut Tx, id: Uuid) -> Result<(), StorageError> {
    let sql = "UPDATE generations SET chunks_done = chunks_done - 1 WHERE id = $1";
    sqlx::query(sql).bind(id.to_string()).execute(tx.connection()).await?;
    Ok(())
}

/// To be called in the transaction that completes a chunk, only when that chunk was not complete before: a job that runs twice counts once.
/// Returns (done, total).
pub async fn count_chunk_done(tx: &mut Tx, id: Uuid) -> Result<(i64, i64), StorageError> {
    let row = sqlx::query("UPDATE generations SET chunks_done = chunks_done + 1 WHERE id = $1 RETURNING chunks_done, chunks_total")
        .bind(id.to_string())
        .fetch_one(tx.connection())
        .await?;
    Ok((row.try_get("chunks_done")?, row.try_get("chunks_total")?))
}

pub(crate) fn of_row(row: &AnyRow) -> Result<Generation, StorageError> {
    let id: String = row.try_get("id")?;
    let status: String = row.try_get("status")?;
    Ok(Generation {
        id: parse_uuid(&id)?,
        owner_id: row.try_get("owner_id")?,
        kind: row.try_get("kind")?,
        status: status.parse()?,
        title: row.try_get("title")?,
        text: row.try_get("text")?,
        voice_id: row.try_get("voice_id")?,
        voice_name: row.try_get("voice_name")?,
        language: row.try_get("language")?,
        params: row.try_get("params")?,
        voices: row.try_get("voices")?,
        metadata: row.try_get("metadata")?,
        priority: row.try_get("priority")?,
        chunks_total: row.try_get("chunks_total")?,
        chunks_done: row.try_get("chunks_done")?,
        attempt: row.try_get("attempt")?,
        cancel_requested: row.try_get::<i64, _>("cancel_requested")? != 0,
        error: row.try_get("error")?,
        result: row.try_get("result")?,
        created_at_ms: row.try_get("created_at_ms")?,
        started_at_ms: row.try_get("started_at_ms")?,
        finished_at_ms: row.try_get("finished_at_ms")?,
        traceparent: row.try_get("traceparent")?,
        tracestate: row.try_get("tracestate")?,
    })
}
