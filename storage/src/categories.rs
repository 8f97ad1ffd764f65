//! Rows of categories, which everybody on this installation shares. This file may not know who may see which voice beyond what
//! `private` says.

use sqlx::any::AnyRow;
use sqlx::{AnyPool, Row};
use uuid::Uuid;

use crate::StorageError;
use crate::rows::{Tx, parse_uuid};
use crate::voices::name_key;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Category {
    pub id: Uuid,
    pub name: String,
    pub color: Option<String>,
    /// Of those that the reader may see.
    pub voice_count: i64,
}

/// `Conflict` where one has this name, in whatever case.
pub async fn insert(tx: &mut Tx, category: &Category, now_ms: i64) -> Result<(), StorageError> {
    sqlx::query("INSERT INTO categories (id, name, name_key, color, created_at_ms) VALUES ($1, $2, $3, $4, $5)")
        .bind(category.id.to_string())
        .bind(&category.name)
        .bind(name_key(&category.name))
        .bind(category.color.as_deref())
        .bind(now_ms)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// The category of this name; made where there is none.
pub async fn find_or_insert(tx: &mut Tx, category: &Category, now_ms: i64) -> Result<Category, StorageError> {
    sqlx::query(
        "INSERT INTO categories (id, name, name_key, color, created_at_ms) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (name_key) DO NOTHING",
    )
    .bind(category.id.to_string())
    .bind(&category.name)
    .bind(name_key(&category.name))
    .bind(category.color.as_deref())
    .bind(now_ms)
    .execute(tx.connection())
    .await?;
    let row = sqlx::query("SELECT id, name, color, 0 AS voice_count FROM categories WHERE name_key = $1")
        .bind(name_key(&category.name))
        .fetch_one(tx.connection())
        .await?;
    of_row(&row)
}

/// All of them by age, with how many voices `reader_id` sees in each.
pub async fn list(pool: &AnyPool, reader_id: &str, limit: u32) -> Result<Vec<Category>, StorageError> {
    sqlx::query(
        "SELECT c.id, c.name, c.color, (SELECT COUNT(*) FROM voices v WHERE v.category_id = c.id AND (v.private = 0 OR v.owner_id = $1)) \
         AS voice_count FROM categories c ORDER BY c.created_at_ms, c.id LIMIT $2",
    )
    .bind(reader_id)
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await?
    .iter()
    .map(of_row)
    .collect()
}

pub async fn count(tx: &mut Tx) -> Result<i64, StorageError> {
    Ok(sqlx::query_scalar("SELECT COUNT(*) FROM categories").fetch_one(tx.connection()).await?)
}

/// By id or by name.
pub async fn find_in(tx: &mut Tx, wanted: &str) -> Result<Option<Category>, StorageError> {
    let row = sqlx::query("SELECT id, name, color, 0 AS voice_count FROM categories WHERE id = $1 OR name_key = $2")
        .bind(wanted.trim().to_ascii_lowercase())
        .bind(name_key(wanted))
        .fetch_optional(tx.connection())
        .await?;
    row.as_ref().map(of_row).transpose()
}

/// Its voices are in no category afterwards.
pub async fn delete(tx: &mut Tx, id: Uuid) -> Result<(), StorageError> {
    sqlx::query("DELETE FROM categories WHERE id = $1").bind(id.to_string()).execute(tx.connection()).await?;
    Ok(())
}

fn of_row(row: &AnyRow) -> Result<Category, StorageError> {
    Ok(Category {
        id: parse_uuid(&row.try_get::<String, _>("id")?)?,
        name: row.try_get("name")?,
        color: row.try_get("color")?,
        voice_count: row.try_get("voice_count")?,
    })
}
