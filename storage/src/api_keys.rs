//! Rows of API keys: who may call, with which scopes and limits. Only hashes of keys are kept. Keys form trees: a key that was made by
//! another one hangs below it. This file may not know the format of a key nor what a scope allows.

use std::collections::BTreeMap;

use sqlx::any::AnyRow;
use sqlx::{Any, AnyPool, Executor, Row};

use crate::StorageError;
use crate::rows::Tx;
use crate::statement::Statement;

/// How many keys may stand above a key. Each request walks up.
pub const DEPTH_MAX: usize = 8;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
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
    /// The secret before the last rotation.
    pub previous_sha256: Option<String>,
    /// Until when that one still works.
    pub previous_until_ms: Option<i64>,
    /// Names such as `tts:generate`.
    pub scopes: Vec<String>,
    /// Requests a minute by scope, where they differ from the default.
    pub limits: BTreeMap<String, u32>,
    pub created_at_ms: i64,
    pub rotated_at_ms: Option<i64>,
    pub expires_at_ms: Option<i64>,
    pub revoked_at_ms: Option<i64>,
    pub last_used_at_ms: Option<i64>,
    /// Requests that were let in.
    pub requests: i64,
}

const COLUMNS: &str = "k.id, k.owner_id, k.parent_id, k.name, k.secret_sha256, k.previous_sha256, k.previous_until_ms, k.scopes, k.limits, \
     k.created_at_ms, k.rotated_at_ms, k.expires_at_ms, k.revoked_at_ms, k.last_used_at_ms, k.requests";

/// A statement that begins with the ids of a key and of all below it, as `below`. `UNION` ends even at a circle.
fn over_subtree(id: &str, rest: &'static str) -> Statement {
    let mut query = Statement::new("WITH RECURSIVE below (id) AS (SELECT id FROM api_keys WHERE id = ");
    query.push_bind(id.to_owned());
    query.push(" UNION SELECT c.id FROM api_keys c JOIN below b ON c.parent_id = b.id) ").push(rest);
    query
}

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

/// A key and those above it, itself first; empty when there is none. The last one has a parent only where the tree is broken.
pub async fn chain(pool: &AnyPool, id: &str) -> Result<Vec<ApiKey>, StorageError> {
    chain_by(pool, id).await
}

/// The same, as the transaction sees it.
pub async fn chain_in(tx: &mut Tx, id: &str) -> Result<Vec<ApiKey>, StorageError> {
    chain_by(tx.connection(), id).await
}

async fn chain_by<'c>(executor: impl Executor<'c, Database = Any>, id: &str) -> Result<Vec<ApiKey>, StorageError> {
    let mut query = Statement::new("WITH RECURSIVE up (id, parent_id, depth) AS (SELECT id, parent_id, 0 FROM api_keys WHERE id = ");
    query.push_bind(id.to_owned());
    query.push(" UNION ALL SELECT a.id, a.parent_id, up.depth + 1 FROM api_keys a JOIN up ON a.id = up.parent_id WHERE up.depth < ");
    query.push_bind(DEPTH_MAX as i64);
    query.push(") SELECT ").push(COLUMNS).push(" FROM up JOIN api_keys k ON k.id = up.id ORDER BY up.depth");
    query.build().fetch_all(executor).await?.iter().map(of_row).collect()
}

/// All keys, revoked ones too, oldest first; at most `limit`.
pub async fn list(pool: &AnyPool, limit: u32) -> Result<Vec<ApiKey>, StorageError> {
    let mut query = Statement::new("SELECT ");
    query.push(COLUMNS).push(" FROM api_keys k ORDER BY k.created_at_ms, k.id LIMIT ").push_bind(i64::from(limit));
    query.build().fetch_all(pool).await?.iter().map(of_row).collect()
}

/// A page of a key and all below it, oldest first, behind the key that `after` names by its time and id.
pub async fn subtree(pool: &AnyPool, id: &str, after: Option<(i64, String)>, limit: u32) -> Result<Vec<ApiKey>, StorageError> {
    let (after_ms, after_id) = after.unwrap_or((i64::MIN, String::new()));
    let mut query = over_subtree(id, "SELECT ");
    query.push(COLUMNS);
    query.push(" FROM below JOIN api_keys k ON k.id = below.id WHERE (k.created_at_ms, k.id) > (");
    query.push_bind(after_ms).push(", ").push_bind(after_id);
    query.push(") ORDER BY k.created_at_ms, k.id LIMIT ").push_bind(i64::from(limit));
    query.build().fetch_all(pool).await?.iter().map(of_row).collect()
}

/// How many keys a key and all below it are.
pub async fn subtree_count(pool: &AnyPool, id: &str) -> Result<i64, StorageError> {
    Ok(over_subtree(id, "SELECT COUNT(*) FROM below").build_scalar().fetch_one(pool).await?)
}

/// How many keys there are, revoked ones included: none means that nobody has ever been let in.
pub async fn count(pool: &AnyPool) -> Result<i64, StorageError> {
    Ok(sqlx::query_scalar("SELECT COUNT(*) FROM api_keys").fetch_one(pool).await?)
}

/// Keys that nobody made by another one, and that were not revoked. On Postgres they are locked: two that end each other's last companion
/// wait for one another.
pub async fn roots_locked(tx: &mut Tx) -> Result<Vec<ApiKey>, StorageError> {
    sqlx::query("UPDATE api_keys SET requests = requests WHERE parent_id IS NULL").execute(tx.connection()).await?;
    let mut query = Statement::new("SELECT ");
    query.push(COLUMNS).push(" FROM api_keys k WHERE k.parent_id IS NULL AND k.revoked_at_ms IS NULL ORDER BY k.id");
    query.build().fetch_all(tx.connection()).await?.iter().map(of_row).collect()
}

/// Revokes a key and all below it. False when there is no such key; what was revoked before keeps its time.
pub async fn revoke(tx: &mut Tx, id: &str, now_ms: i64) -> Result<bool, StorageError> {
    let mut query = over_subtree(id, "UPDATE api_keys SET revoked_at_ms = COALESCE(revoked_at_ms, ");
    query.push_bind(now_ms).push(") WHERE id IN (SELECT id FROM below)");
    let done = query.build().execute(tx.connection()).await?;
    tx.wakes_keys();
    Ok(done.rows_affected() > 0)
}

/// Removes a key and all below it; gives how many they were.
pub async fn delete(tx: &mut Tx, id: &str) -> Result<u64, StorageError> {
    let done = over_subtree(id, "DELETE FROM api_keys WHERE id IN (SELECT id FROM below)").build().execute(tx.connection()).await?;
    tx.wakes_keys();
    Ok(done.rows_affected())
}

/// Gives a key a new secret; the one before works until `previous_until_ms`, and the one before that no longer. False when there is no such
/// key, or it was revoked.
pub async fn rotate(tx: &mut Tx, id: &str, secret_sha256: &str, previous_until_ms: i64, now_ms: i64) -> Result<bool, StorageError> {
    let done = sqlx::query(
        "UPDATE api_keys SET previous_sha256 = secret_sha256, previous_until_ms = $3, secret_sha256 = $2, rotated_at_ms = $4 \
         WHERE id = $1 AND revoked_at_ms IS NULL",
    )
    .bind(id)
    .bind(secret_sha256)
    .bind(previous_until_ms)
    .bind(now_ms)
    .execute(tx.connection())
    .await?;
    tx.wakes_keys();
    Ok(done.rows_affected() == 1)
}

/// Notes that a key was used so many times, the last time at `now_ms`; never moves the time back.
pub async fn touch(tx: &mut Tx, id: &str, requests: i64, now_ms: i64) -> Result<(), StorageError> {
    sqlx::query(
        "UPDATE api_keys SET requests = requests + $3, \
         last_used_at_ms = CASE WHEN last_used_at_ms > $2 THEN last_used_at_ms ELSE $2 END WHERE id = $1",
    )
    .bind(id)
    .bind(now_ms)
    .bind(requests)
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
        previous_sha256: row.try_get("previous_sha256")?,
        previous_until_ms: row.try_get("previous_until_ms")?,
        scopes: serde_json::from_str(&row.try_get::<String, _>("scopes")?)?,
        limits: serde_json::from_str(&row.try_get::<String, _>("limits")?)?,
        created_at_ms: row.try_get("created_at_ms")?,
        rotated_at_ms: row.try_get("rotated_at_ms")?,
        expires_at_ms: row.try_get("expires_at_ms")?,
        revoked_at_ms: row.try_get("revoked_at_ms")?,
        last_used_at_ms: row.try_get("last_used_at_ms")?,
        requests: row.try_get("requests")?,
    })
}
