//! Rows of chunks, the unit of durability: one take of one piece of text, planned at accept and completed once. This file may not know how
//! a chunk is spoken.

use std::fmt;
use std::str::FromStr;

use sqlx::any::AnyRow;
use sqlx::{AnyPool, Row};
use uuid::Uuid;

use crate::StorageError;
use crate::blobs::StoredBlob;
use crate::rows::{Tx, parse_uuid};
use crate::statement::{Script, Statement};

/// Postgres takes 65,535 parameters a statement, SQLite 32,766.
const INSERT_ROWS_MAX: usize = 500;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChunkStatus {
    Queued,
    Completed,
    Failed,
    Cancelled,
}

impl ChunkStatus {
    pub const ALL: [Self; 4] = [Self::Queued, Self::Completed, Self::Failed, Self::Cancelled];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for ChunkStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ChunkStatus {
    type Err = StorageError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or_else(|| StorageError::Malformed(format!("chunk status {text}")))
    }
}

/// Names one take of one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChunkId {
    pub generation_id: Uuid,
    pub index: u32,
    pub take: u32,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Chunk {
    pub id: ChunkId,
    pub text: String,
    pub voice_id: String,
    pub language: String,
    /// JSON of what else decides how it sounds, as the jobs crate writes it.
    pub spec: String,
    /// Equal hashes mean equal samples.
    pub params_hash: String,
    pub status: ChunkStatus,
    pub attempt: i64,
    pub audio: Option<ChunkAudio>,
    /// Taken from an equal chunk made earlier.
    pub cached: bool,
    pub suspect: bool,
    pub error: Option<String>,
    pub finished_at_ms: Option<i64>,
}

/// What a completed chunk has.
#[derive(Debug, Clone, PartialEq)]
pub struct ChunkAudio {
    pub blob: StoredBlob,
    pub sample_count: i64,
    pub duration_ms: i64,
    /// JSON list of word timings.
    pub words: String,
    /// Computing time over audio time.
    pub rtf: f64,
}

const COLUMNS: &str = "generation_id, idx, take, text, voice_id, language, spec, params_hash, status, attempt, sha256, size_bytes, \
     sample_count, duration_ms, words, rtf, cached, suspect, error, finished_at_ms";

/// A chunk as planned.
#[derive(Debug, Clone, PartialEq)]
pub struct NewChunk {
    pub index: u32,
    pub take: u32,
    pub text: String,
    pub voice_id: String,
    pub language: String,
    pub spec: String,
    pub params_hash: String,
}

pub async fn insert(tx: &mut Tx, generation_id: Uuid, chunks: &[NewChunk]) -> Result<(), StorageError> {
    let mut script = tx.script();
    push_insert(&mut script, chunks.iter().map(|chunk| (generation_id, chunk)));
    script.run(tx.connection()).await?;
    Ok(())
}

/// The rows of chunks, each with its generation.
pub(crate) fn push_insert<'c>(script: &mut Script, chunks: impl Iterator<Item = (Uuid, &'c NewChunk)>) {
    let mut chunks = chunks.peekable();
    while chunks.peek().is_some() {
        let query = script.next(
            "INSERT INTO chunks (generation_id, idx, take, text, voice_id, language, spec, params_hash, status, attempt, cached, suspect) ",
        );
        for (place, (generation_id, chunk)) in chunks.by_ref().take(INSERT_ROWS_MAX).enumerate() {
            query.push(if place == 0 { "VALUES (" } else { ", (" });
            query.push_bind(generation_id.to_string()).push(", ").push_bind(i64::from(chunk.index)).push(", ");
            query.push_bind(i64::from(chunk.take)).push(", ");
            query.push_list([&chunk.text, &chunk.voice_id, &chunk.language, &chunk.spec, &chunk.params_hash].map(String::clone));
            query.push(", 'queued', 0, 0, 0)");
        }
    }
}

pub async fn find(pool: &AnyPool, id: ChunkId) -> Result<Option<Chunk>, StorageError> {
    let mut query = Statement::new("SELECT ");
    query.push(COLUMNS).push(" FROM chunks");
    push_id(&mut query, id);
    let row = query.build().fetch_optional(pool).await?;
    row.as_ref().map(of_row).transpose()
}

/// The newest take of an index; takes are numbered from 1.
pub async fn find_newest(pool: &AnyPool, generation_id: Uuid, index: u32) -> Result<Option<Chunk>, StorageError> {
    let row = select_newest(generation_id, index).build().fetch_optional(pool).await?;
    row.as_ref().map(of_row).transpose()
}

/// As the transaction sees it.
pub async fn find_newest_in(tx: &mut Tx, generation_id: Uuid, index: u32) -> Result<Option<Chunk>, StorageError> {
    let row = select_newest(generation_id, index).build().fetch_optional(tx.connection()).await?;
    row.as_ref().map(of_row).transpose()
}

fn select_newest(generation_id: Uuid, index: u32) -> Statement {
    let mut query = Statement::new("SELECT ");
    query.push(COLUMNS).push(" FROM chunks WHERE generation_id = ").push_bind(generation_id.to_string());
    query.push(" AND idx = ").push_bind(i64::from(index)).push(" ORDER BY take DESC LIMIT 1");
    query
}

/// The newest finished take of each chunk that was made again.
pub async fn newest_finished_takes(pool: &AnyPool, generation_id: Uuid) -> Result<Vec<(u32, u32)>, StorageError> {
    let rows = sqlx::query(
        "SELECT idx, MAX(take) AS take FROM chunks WHERE generation_id = $1 AND take > 1 AND status = 'completed' GROUP BY idx ORDER BY idx",
    )
    .bind(generation_id.to_string())
    .fetch_all(pool)
    .await?;
    rows.iter().map(|row| Ok((small(row, "idx")?, small(row, "take")?))).collect()
}

/// Forgets the finished takes of a chunk before this one; the caller deletes their blobs after the commit.
pub async fn delete_finished_before(tx: &mut Tx, id: ChunkId) -> Result<Vec<ChunkId>, StorageError> {
    let rows = sqlx::query(
        "DELETE FROM chunks WHERE generation_id = $1 AND idx = $2 AND take < $3 AND status = 'completed' RETURNING generation_id, idx, take",
    )
    .bind(id.generation_id.to_string())
    .bind(i64::from(id.index))
    .bind(i64::from(id.take))
    .fetch_all(tx.connection())
    .await?;
    rows.iter().map(|row| Ok(ChunkId { take: small(row, "take")?, ..id })).collect()
}

/// All takes of all chunks from `first_index` on, by index and take.
pub async fn list(pool: &AnyPool, generation_id: Uuid, first_index: u32, limit: u32) -> Result<Vec<Chunk>, StorageError> {
    let mut query = Statement::new("SELECT ");
    query.push(COLUMNS).push(" FROM chunks WHERE generation_id = ").push_bind(generation_id.to_string());
    query.push(" AND idx >= ").push_bind(i64::from(first_index));
    query.push(" ORDER BY idx, take LIMIT ").push_bind(i64::from(limit));
    query.build().fetch_all(pool).await?.iter().map(of_row).collect()
}

/// Marks a chunk as complete; false when it was complete before, and then nothing is changed.
pub async fn complete(
    tx: &mut Tx,
    id: ChunkId,
    audio: &ChunkAudio,
    cached: bool,
    suspect: bool,
    now_ms: i64,
) -> Result<bool, StorageError> {
    let mut query = Statement::new("UPDATE chunks SET status = 'completed', error = NULL, sha256 = ");
    query.push_bind(audio.blob.sha256.clone());
    query.push(", size_bytes = ").push_bind(audio.blob.size_bytes as i64);
    query.push(", sample_count = ").push_bind(audio.sample_count);
    query.push(", duration_ms = ").push_bind(audio.duration_ms);
    query.push(", words = ").push_bind(audio.words.clone());
    query.push(", rtf = ").push_bind(audio.rtf);
    query.push(", cached = ").push_bind(i64::from(cached));
    query.push(", suspect = ").push_bind(i64::from(suspect));
    query.push(", finished_at_ms = ").push_bind(now_ms);
    push_id(&mut query, id);
    query.push(" AND status <> 'completed'");
    Ok(query.build().execute(tx.connection()).await?.rows_affected() == 1)
}

/// Another text for a chunk that is not complete, with the spec and the hash that go with it.
pub async fn set_text(tx: &mut Tx, chunk: &Chunk) -> Result<bool, StorageError> {
    let mut query = Statement::new("UPDATE chunks SET text = ");
    query.push_bind(chunk.text.clone()).push(", spec = ").push_bind(chunk.spec.clone());
    query.push(", params_hash = ").push_bind(chunk.params_hash.clone());
    push_id(&mut query, chunk.id);
    query.push(" AND status <> 'completed'");
    Ok(query.build().execute(tx.connection()).await?.rows_affected() == 1)
}

/// Moves a chunk that is not complete to another status, with what went wrong if anything did.
pub async fn set_status(tx: &mut Tx, id: ChunkId, status: ChunkStatus, attempt: i64, error: Option<&str>) -> Result<bool, StorageError> {
    let mut query = Statement::new("UPDATE chunks SET status = ");
    query.push_bind(status.to_string()).push(", attempt = ").push_bind(attempt);
    query.push(", error = ").push_bind(error.map(str::to_owned));
    push_id(&mut query, id);
    query.push(" AND status <> 'completed'");
    Ok(query.build().execute(tx.connection()).await?.rows_affected() == 1)
}

/// Takes the sound from a complete chunk, because what the store has is not that: it is to be spoken again. False where that has happened.
pub async fn spoil(tx: &mut Tx, id: ChunkId, error: &str) -> Result<bool, StorageError> {
    let mut query = Statement::new("UPDATE chunks SET status = 'queued', attempt = 0, error = ");
    query.push_bind(error.to_owned());
    query.push(", sha256 = NULL, size_bytes = NULL, sample_count = NULL, duration_ms = NULL, words = NULL, rtf = NULL");
    query.push(", cached = 0, suspect = 0, finished_at_ms = NULL");
    push_id(&mut query, id);
    query.push(" AND status = 'completed'");
    Ok(query.build().execute(tx.connection()).await?.rows_affected() == 1)
}

/// Takes of the plan that are not complete and will not be by themselves: to be queued again. Later takes were asked for one by one.
pub async fn reopen(tx: &mut Tx, generation_id: Uuid) -> Result<Vec<ChunkId>, StorageError> {
    let rows = sqlx::query(
        "UPDATE chunks SET status = 'queued', attempt = 0, error = NULL \
         WHERE generation_id = $1 AND take = 1 AND status <> 'completed' RETURNING generation_id, idx, take",
    )
    .bind(generation_id.to_string())
    .fetch_all(tx.connection())
    .await?;
    let mut ids = rows
        .iter()
        .map(|row| Ok(ChunkId { generation_id, index: small(row, "idx")?, take: small(row, "take")? }))
        .collect::<Result<Vec<_>, StorageError>>()?;
    ids.sort_by_key(|id| (id.index, id.take));
    Ok(ids)
}

/// Cancels every chunk of a generation that is not complete.
pub async fn cancel_open(tx: &mut Tx, generation_id: Uuid) -> Result<u64, StorageError> {
    let done = sqlx::query("UPDATE chunks SET status = 'cancelled' WHERE generation_id = $1 AND status = 'queued'")
        .bind(generation_id.to_string())
        .execute(tx.connection())
        .await?;
    Ok(done.rows_affected())
}

/// A finished chunk of the same owner that would sound the same.
pub async fn find_equal(pool: &AnyPool, owner_id: &str, params_hash: &str) -> Result<Option<Chunk>, StorageError> {
    let row = sqlx::query(
        "SELECT c.generation_id, c.idx, c.take, c.text, c.voice_id, c.language, c.spec, c.params_hash, c.status, c.attempt, c.sha256, \
         c.size_bytes, c.sample_count, c.duration_ms, c.words, c.rtf, c.cached, c.suspect, c.error, c.finished_at_ms \
         FROM chunks c JOIN generations g ON g.id = c.generation_id \
         WHERE c.params_hash = $1 AND c.status = 'completed' AND c.suspect = 0 AND g.owner_id = $2 LIMIT 1",
    )
    .bind(params_hash)
    .bind(owner_id)
    .fetch_optional(pool)
    .await?;
    row.as_ref().map(of_row).transpose()
}

/// How fast the newest chunks that were computed came.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Median computing time over audio time.
    pub rtf: f64,
    /// Median computing time of a chunk.
    pub chunk_ms: f64,
}

/// Of the newest generation that had anything computed; `None` before the first chunk.
pub async fn recent_pace(pool: &AnyPool) -> Result<Option<Pace>, StorageError> {
    let rows = sqlx::query(
        "SELECT rtf, rtf * duration_ms AS computed_ms FROM chunks WHERE generation_id = (SELECT generation_id FROM chunks \
         WHERE status = 'completed' AND cached = 0 ORDER BY generation_id DESC LIMIT 1) \
         AND status = 'completed' AND cached = 0 ORDER BY idx DESC LIMIT 50",
    )
    .fetch_all(pool)
    .await?;
    let median = |name: &str| {
        let mut values = rows.iter().map(|row| row.try_get::<f64, _>(name)).collect::<Result<Vec<_>, _>>()?;
        values.sort_by(f64::total_cmp);
        Ok::<_, StorageError>(values.get(values.len() / 2).copied())
    };
    Ok(median("rtf")?.zip(median("computed_ms")?).map(|(rtf, chunk_ms)| Pace { rtf, chunk_ms }))
}

fn push_id(query: &mut Statement, id: ChunkId) {
    query.push(" WHERE generation_id = ").push_bind(id.generation_id.to_string());
    query.push(" AND idx = ").push_bind(i64::from(id.index));
    query.push(" AND take = ").push_bind(i64::from(id.take));
}

fn of_row(row: &AnyRow) -> Result<Chunk, StorageError> {
    let generation_id: String = row.try_get("generation_id")?;
    let status: String = row.try_get("status")?;
    Ok(Chunk {
        id: ChunkId { generation_id: parse_uuid(&generation_id)?, index: small(row, "idx")?, take: small(row, "take")? },
        text: row.try_get("text")?,
        voice_id: row.try_get("voice_id")?,
        language: row.try_get("language")?,
        spec: row.try_get("spec")?,
        params_hash: row.try_get("params_hash")?,
        status: status.parse()?,
        attempt: row.try_get("attempt")?,
        audio: audio_of_row(row)?,
        cached: row.try_get::<i64, _>("cached")? != 0,
        suspect: row.try_get::<i64, _>("suspect")? != 0,
        error: row.try_get("error")?,
        finished_at_ms: row.try_get("finished_at_ms")?,
    })
}

fn audio_of_row(row: &AnyRow) -> Result<Option<ChunkAudio>, StorageError> {
    let Some(sha256) = row.try_get::<Option<String>, _>("sha256")? else {
        return Ok(None);
    };
    Ok(Some(ChunkAudio {
        blob: StoredBlob { sha256, size_bytes: row.try_get::<i64, _>("size_bytes")? as u64 },
        sample_count: row.try_get("sample_count")?,
        duration_ms: row.try_get("duration_ms")?,
        words: row.try_get("words")?,
        rtf: row.try_get("rtf")?,
    }))
}

fn small(row: &AnyRow, column: &str) -> Result<u32, StorageError> {
    let value: i64 = row.try_get(column)?;
    u32::try_from(value).map_err(|_| StorageError::Malformed(format!("{column} = {value}")))
}
