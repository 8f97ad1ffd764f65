//! Rows of API keys: who may call, with which scopes and limits. Only the hash of a key is kept. This file may not know the format of a key
//! nor what a scope allows.

use std::collections::BTreeMap;

use sqlx::any::AnyRow;
use sqlx::{AnyPool, Row};

use crate::StorageError;
use crate::rows::Tx;
use crate::statement::Statement;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// The public part of the key, by which it is looked up and named.
    pub id: String,
    /// What the key's objects belong to; equal for a key and the keys it made.
    pub owner_id: String,
    /// The key that made this one; `None` for one made on the command line.
    pub parent_id: Option<String>,
    pub name: String,
    /// Lower-case hex.
    pub secret_sha256: String,
    /// Names such as `tts:generate`.
    pub scopes: Vec<String>,
    /// Requests a minute by scope, where they differ from the default.
    pub limits: BTreeMap<String, u32>,
    pub created_at_ms: i64,
    pub expires_at_ms: Option<i64>,
    pub revoked_at_ms: Option<i64>,
    pub last_used_at_ms: Option<i64>,
}

const COLUMNS: &str =
    "id, owner_id, parent_id, name, secret_sha256, scopes, limits, created_at_ms, expires_at_ms, revoked_at_ms, last_used_at_ms";

/// Stores a new key, created now; `Conflict` when its id is taken, and the caller draws another.
pub async fn insert(tx: &mut Tx, key: &ApiKey, now_ms: i64) -> Result<(), StorageError> {
    sqlx::query(
        "INSERT INTO api_keys (id, owner_id, parent_id, name, secret_sha256, scopes, limits, created_at_ms, expires_at_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(&key.id)
    .bind(&key.owner_id)
    .bind(key.parent_id.as_deref())
    .bind(&key.name)
    .bind(&key.secret_sha256)
    .bind(serde_json::to_string(&key.scopes)?)
    .bind(serde_json::to_string(&key.limits)?)
    .bind(now_ms)
    .bind(key.expires_at_ms)
    .execute(tx.connection())
    .await?;
    Ok(())
}

pub async fn find(pool: &AnyPool, id: &str) -> Result<Option<ApiKey>, StorageError> {
    let mut query = Statement::new("SELECT ");
    query.push(COLUMNS).push(" FROM api_keys WHERE id = ").push_bind(id.to_owned());
    let row = query.build().fetch_optional(pool).await?;
    row.as_ref().map(of_row).transpose()
}

/// All keys, revoked ones too, oldest first; at most `limit`.
pub async fn list(pool: &AnyPool, limit: u32) -> Result<Vec<ApiKey>, StorageError> {
    let mut query = Statement::new("SELECT ");
    query.push(COLUMNS).push(" FROM api_keys ORDER BY created_at_ms, id LIMIT ").push_bind(i64::from(limit));
    query.build().fetch_all(pool).await?.iter().map(of_row).collect()
}

/// How many keys there are, revoked ones included: none means that nobody has ever been let in.
pub async fn count(pool: &AnyPool) -> Result<i64, StorageError> {
    Ok(sqlx::query_scalar("SELECT COUNT(*) FROM api_keys").fetch_one(pool).await?)
}

/// False when there is no such key; a key that was revoked before keeps its time.
pub async fn revoke(tx: &mut Tx, id: &str, now_ms: i64) -> Result<bool, StorageError> {
    let done = sqlx::query("UPDATE api_keys SET revoked_at_ms = COALESCE(revoked_at_ms, $2) WHERE id = $1")
        .bind(id)
        .bind(now_ms)
        .execute(tx.connection())
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Notes that a key was used; never moves the time back.
pub async fn touch(tx: &mut Tx, id: &str, now_ms: i64) -> Result<(), StorageError> {
    sqlx::query("UPDATE api_keys SET last_used_at_ms = $2 WHERE id = $1 AND (last_used_at_ms IS NULL OR last_used_at_ms < $2)")
        .bind(id)
        .bind(now_ms)
        .execute(tx.connection())
        .await?;
    Ok(())
}

fn of_row(row: &AnyRow) -> Result<ApiKey, StorageError> {
    Ok(ApiKey {
        id: row.try_get("id")?,
        owner_id: row.try_get("owner_id")?,
        parent_id: row.try_get("parent_id")?,
        name: row.try_get("name")?,
        secret_sha256: row.try_get("secret_sha256")?,
        scopes: serde_json::from_str(&row.try_get::<String, _>("scopes")?)?,
        limits: serde_json::from_str(&row.try_get::<String, _>("limits")?)?,
        created_at_ms: row.try_get("created_at_ms")?,
        expires_at_ms: row.try_get("expires_at_ms")?,
        revoked_at_ms: row.try_get("revoked_at_ms")?,
        last_used_at_ms: row.try_get("last_used_at_ms")?,
    })
}
