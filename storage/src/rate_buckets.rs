//! What is left of the limits of keys: one row for each bucket that is not full, as the time at which all its calls would be paid for (the
//! "theoretical arrival time" of the generic cell rate algorithm), in epoch microseconds. This file may not know limits.

use sqlx::{AnyPool, Row};

use crate::StorageError;
use crate::rows::Tx;

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BucketName {
    pub key_id: String,
    pub scope: String,
    pub light: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    pub name: BucketName,
    pub arrival_us: u64,
}

/// Adds what a process drew from a bucket: `drawn_us` since `since_us`. What others drew meanwhile counts too; gives the bucket's arrival
/// after all of it.
pub async fn draw(tx: &mut Tx, name: &BucketName, since_us: u64, drawn_us: u64) -> Result<u64, StorageError> {
    let row = sqlx::query(
        "INSERT INTO rate_buckets (key_id, scope, light, arrival_us) VALUES ($1, $2, $3, $4 + $5) \
         ON CONFLICT (key_id, scope, light) DO UPDATE SET arrival_us = \
         CASE WHEN rate_buckets.arrival_us > $4 THEN rate_buckets.arrival_us ELSE $4 END + $5 RETURNING arrival_us",
    )
    .bind(&name.key_id)
    .bind(&name.scope)
    .bind(i64::from(name.light))
    .bind(since_us.cast_signed())
    .bind(drawn_us.cast_signed())
    .fetch_one(tx.connection())
    .await?;
    Ok(row.try_get::<i64, _>("arrival_us")?.max(0).cast_unsigned())
}

/// Buckets that are not full at `now_us`; at most `limit`.
pub async fn load(pool: &AnyPool, now_us: u64, limit: u32) -> Result<Vec<Bucket>, StorageError> {
    let sql = "SELECT key_id, scope, light, arrival_us FROM rate_buckets WHERE arrival_us > $1 ORDER BY arrival_us DESC LIMIT $2";
    let rows = sqlx::query(sql).bind(now_us.cast_signed()).bind(i64::from(limit)).fetch_all(pool).await?;
    rows.iter()
        .map(|row| {
            let name =
                BucketName { key_id: row.try_get("key_id")?, scope: row.try_get("scope")?, light: row.try_get::<i64, _>("light")? != 0 };
            Ok(Bucket { name, arrival_us: row.try_get::<i64, _>("arrival_us")?.max(0).cast_unsigned() })
        })
        .collect()
}

/// Forgets buckets that are full again.
pub async fn prune(tx: &mut Tx, now_us: u64) -> Result<u64, StorageError> {
    let done = sqlx::query("DELETE FROM rate_buckets WHERE arrival_us < $1").bind(now_us.cast_signed()).execute(tx.connection()).await?;
    Ok(done.rows_affected())
}
