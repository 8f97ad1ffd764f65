//! Who did what to which key, when and from where. Only added to, and pruned by age; this file may not know what the actions mean.

use sqlx::any::AnyRow;
use sqlx::{AnyPool, Row};
use uuid::Uuid;

use crate::StorageError;
use crate::rows::Tx;

/// Kept for so long; what is older goes whenever something is added.
const KEPT_MS: i64 = 400 * 24 * 60 * 60 * 1_000;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    pub at_ms: i64,
    /// A word, such as `created`.
    pub action: String,
    /// What it was done to.
    pub key_id: Option<String>,
    /// Who did it; `None` on the command line, or for somebody without a key.
    pub actor_key_id: Option<String>,
    /// From where; `None` on the command line.
    pub address: Option<String>,
    /// For people; never a secret.
    pub detail: String,
}

/// Adds an entry, in the transaction of what it tells.
pub async fn add(tx: &mut Tx, entry: &Entry) -> Result<(), StorageError> {
    sqlx::query("DELETE FROM key_audit WHERE at_ms < $1").bind(entry.at_ms - KEPT_MS).execute(tx.connection()).await?;
    sqlx::query("INSERT INTO key_audit (id, at_ms, action, key_id, actor_key_id, address, detail) VALUES ($1, $2, $3, $4, $5, $6, $7)")
        .bind(Uuid::now_v7().to_string())
        .bind(entry.at_ms)
        .bind(&entry.action)
        .bind(entry.key_id.as_deref())
        .bind(entry.actor_key_id.as_deref())
        .bind(entry.address.as_deref())
        .bind(&entry.detail)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// The newest entries, newest first.
pub async fn newest(pool: &AnyPool, limit: u32) -> Result<Vec<Entry>, StorageError> {
    let sql = "SELECT at_ms, action, key_id, actor_key_id, address, detail FROM key_audit ORDER BY id DESC LIMIT $1";
    sqlx::query(sql).bind(i64::from(limit)).fetch_all(pool).await?.iter().map(of_row).collect()
}

fn of_row(row: &AnyRow) -> Result<Entry, StorageError> {
    Ok(Entry {
        at_ms: row.try_get("at_ms")?,
        action: row.try_get("action")?,
        key_id: row.try_get("key_id")?,
        actor_key_id: row.try_get("actor_key_id")?,
        address: row.try_get("address")?,
        detail: row.try_get("detail")?,
    })
}
