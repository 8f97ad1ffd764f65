//! Which voices an owner likes, presets included. This file may not know whether a voice exists.

use sqlx::{AnyPool, Row};

use crate::StorageError;
use crate::rows::Tx;

/// Ids of voices, the ones marked first first.
pub async fn list(pool: &AnyPool, owner_id: &str, limit: u32) -> Result<Vec<String>, StorageError> {
    let rows = sqlx::query("SELECT voice_id FROM favorites WHERE owner_id = $1 ORDER BY created_at_ms, voice_id LIMIT $2")
        .bind(owner_id)
        .bind(i64::from(limit))
        .fetch_all(pool)
        .await?;
    rows.iter().map(|row| row.try_get("voice_id").map_err(StorageError::from)).collect()
}

pub async fn count(tx: &mut Tx, owner_id: &str) -> Result<i64, StorageError> {
    Ok(sqlx::query_scalar("SELECT COUNT(*) FROM favorites WHERE owner_id = $1").bind(owner_id).fetch_one(tx.connection()).await?)
}

pub async fn contains(tx: &mut Tx, owner_id: &str, voice_id: &str) -> Result<bool, StorageError> {
    let found: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM favorites WHERE owner_id = $1 AND voice_id = $2")
        .bind(owner_id)
        .bind(voice_id)
        .fetch_one(tx.connection())
        .await?;
    Ok(found > 0)
}

/// Marks it or takes the mark away; done before, nothing changes.
pub async fn set(tx: &mut Tx, owner_id: &str, voice_id: &str, favorite: bool, now_ms: i64) -> Result<(), StorageError> {
    if favorite {
        sqlx::query(
            "INSERT INTO favorites (owner_id, voice_id, created_at_ms) VALUES ($1, $2, $3) ON CONFLICT (owner_id, voice_id) DO NOTHING",
        )
        .bind(owner_id)
        .bind(voice_id)
        .bind(now_ms)
        .execute(tx.connection())
        .await?;
    } else {
        sqlx::query("DELETE FROM favorites WHERE owner_id = $1 AND voice_id = $2")
            .bind(owner_id)
            .bind(voice_id)
            .execute(tx.connection())
            .await?;
    }
    Ok(())
}
