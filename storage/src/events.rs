//! The append-only log that every reader follows with a cursor: WebSocket, SSE, webhooks and waiting requests, in any process.
//!
//! Sequence numbers rise in commit order and without gaps: an appending transaction holds the counter's row until it ends. Append last in a
//! transaction, so that the row is held for a moment only and always locked after all others.

use serde_json::Value;
use sqlx::any::AnyRow;
use sqlx::{AnyPool, Row};
use uuid::Uuid;

use crate::StorageError;
use crate::rows::{Tx, parse_uuid};
use crate::statement::{Script, Statement};

#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent<'a> {
    pub owner_id: &'a str,
    pub generation_id: Option<Uuid>,
    /// The contract's name, such as `chunk.ready`.
    pub kind: &'a str,
    pub data: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub seq: i64,
    pub owner_id: String,
    pub generation_id: Option<Uuid>,
    pub kind: String,
    pub data: Value,
    pub at_ms: i64,
}

/// Stores an event with the next number.
pub async fn append(tx: &mut Tx, event: NewEvent<'_>, now_ms: i64) -> Result<i64, StorageError> {
    let mut script = tx.script();
    push_append(&mut script, &[event], now_ms).push(" RETURNING seq");
    let rows = script.run(tx.connection()).await?;
    tx.wakes_events();
    let row = rows.last().ok_or_else(|| StorageError::Malformed("no counter of events".into()))?;
    Ok(row.try_get("seq")?)
}

/// The next numbers for these events, then their rows. The caller says [`Tx::wakes_events`].
pub(crate) fn push_append<'s>(script: &'s mut Script, events: &[NewEvent<'_>], now_ms: i64) -> &'s mut Statement {
    script.next("UPDATE counters SET value = value + ").push_bind(events.len() as i64).push(" WHERE name = 'event_seq'");
    let query = script.next("INSERT INTO events (seq, owner_id, generation_id, type, data, at_ms) ");
    for (place, event) in events.iter().enumerate() {
        query.push(if place == 0 { "VALUES (" } else { ", (" });
        query.push("(SELECT value FROM counters WHERE name = 'event_seq') - ").push_bind((events.len() - 1 - place) as i64);
        query.push(", ").push_bind(event.owner_id.to_owned()).push(", ").push_bind(event.generation_id.map(|id| id.to_string()));
        query.push(", ").push_list([event.kind.to_owned(), event.data.to_string()]).push(", ").push_bind(now_ms).push(")");
    }
    query
}

/// The owner's events after a cursor, oldest first.
pub async fn after(pool: &AnyPool, owner_id: &str, after_seq: i64, limit: u32) -> Result<Vec<Event>, StorageError> {
    let rows = sqlx::query(
        "SELECT seq, owner_id, generation_id, type, data, at_ms FROM events WHERE owner_id = $1 AND seq > $2 ORDER BY seq LIMIT $3",
    )
    .bind(owner_id)
    .bind(after_seq)
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await?;
    rows.iter().map(event_of_row).collect()
}

/// The owner's last events, oldest first.
pub async fn newest(pool: &AnyPool, owner_id: &str, limit: u32) -> Result<Vec<Event>, StorageError> {
    let rows =
        sqlx::query("SELECT seq, owner_id, generation_id, type, data, at_ms FROM events WHERE owner_id = $1 ORDER BY seq DESC LIMIT $2")
            .bind(owner_id)
            .bind(i64::from(limit))
            .fetch_all(pool)
            .await?;
    rows.iter().rev().map(event_of_row).collect()
}

/// First and last number that a reader can still be given; (last + 1, last) when all are purged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeqRange {
    pub oldest: i64,
    pub last: i64,
}

pub async fn seq_range(pool: &AnyPool) -> Result<SeqRange, StorageError> {
    let row = sqlx::query(
        "SELECT c.value AS last, (SELECT seq FROM events ORDER BY seq LIMIT 1) AS oldest FROM counters c WHERE c.name = 'event_seq'",
    )
    .fetch_one(pool)
    .await?;
    let last: i64 = row.try_get("last")?;
    let oldest: Option<i64> = row.try_get("oldest")?;
    Ok(SeqRange { oldest: oldest.unwrap_or(last + 1), last })
}

/// Deletes what is older than the retention; at most `limit` rows, so that the write lock is held shortly.
pub async fn purge(tx: &mut Tx, before_ms: i64, limit: u32) -> Result<u64, StorageError> {
    let done = sqlx::query(
        "DELETE FROM events WHERE seq IN (SELECT seq FROM (SELECT seq, at_ms FROM events ORDER BY seq LIMIT $2) AS head WHERE at_ms < $1)",
    )
    .bind(before_ms)
    .bind(i64::from(limit))
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected())
}

fn event_of_row(row: &AnyRow) -> Result<Event, StorageError> {
    let generation_id: Option<String> = row.try_get("generation_id")?;
    let data: String = row.try_get("data")?;
    Ok(Event {
        seq: row.try_get("seq")?,
        owner_id: row.try_get("owner_id")?,
        generation_id: generation_id.as_deref().map(parse_uuid).transpose()?,
        kind: row.try_get("type")?,
        data: serde_json::from_str(&data)?,
        at_ms: row.try_get("at_ms")?,
    })
}
