//! Rows of montages: named, ordered lists of an owner's generations. A generation stands in any number of them, once in each, and leaves
//! them when it is deleted; the order of the rest stays.

use sqlx::any::AnyRow;
use sqlx::{AnyPool, Row};
use uuid::Uuid;

use crate::StorageError;
use crate::rows::{Dialect, Tx, parse_uuid};
use crate::statement::{Script, Statement};

/// Postgres takes 65,535 parameters a statement, SQLite 32,766.
const INSERT_ROWS_MAX: usize = 500;

#[derive(Debug, Clone, PartialEq)]
pub struct Montage {
    pub id: Uuid,
    pub owner_id: String,
    pub name: String,
    pub description: Option<String>,
    pub created_at_ms: i64,
    /// Of its name, its description or its order by hand; not when a generation joins or leaves.
    pub updated_at_ms: i64,
    /// Counted when it is read.
    pub generation_count: i64,
}

const COLUMNS: &str = "id, owner_id, name, description, created_at_ms, updated_at_ms, \
     (SELECT COUNT(*) FROM montage_items i WHERE i.montage_id = montages.id) AS generation_count";

pub async fn insert(tx: &mut Tx, montage: &Montage) -> Result<(), StorageError> {
    sqlx::query("INSERT INTO montages (id, owner_id, name, description, created_at_ms, updated_at_ms) VALUES ($1, $2, $3, $4, $5, $6)")
        .bind(montage.id.to_string())
        .bind(&montage.owner_id)
        .bind(&montage.name)
        .bind(montage.description.as_deref())
        .bind(montage.created_at_ms)
        .bind(montage.updated_at_ms)
        .execute(tx.connection())
        .await?;
    Ok(())
}

pub async fn find(pool: &AnyPool, id: Uuid) -> Result<Option<Montage>, StorageError> {
    let mut query = Statement::new("SELECT ");
    query.push(COLUMNS).push(" FROM montages WHERE id = ").push_bind(id.to_string());
    query.build().fetch_optional(pool).await?.as_ref().map(of_row).transpose()
}

/// The row as the transaction sees it, held until it ends: two changes of a montage come one after the other.
pub async fn find_held(tx: &mut Tx, id: Uuid) -> Result<Option<Montage>, StorageError> {
    if tx.dialect() == Dialect::Postgres {
        sqlx::query("SELECT 1 FROM montages WHERE id = $1 FOR UPDATE").bind(id.to_string()).execute(tx.connection()).await?;
    }
    let mut query = Statement::new("SELECT ");
    query.push(COLUMNS).push(" FROM montages WHERE id = ").push_bind(id.to_string());
    query.build().fetch_optional(tx.connection()).await?.as_ref().map(of_row).transpose()
}

/// Newest first; `before` is the id of the last row of the page before.
pub async fn list(pool: &AnyPool, owner_id: &str, before: Option<Uuid>, limit: u32) -> Result<Vec<Montage>, StorageError> {
    let mut query = Statement::new("SELECT ");
    query.push(COLUMNS).push(" FROM montages WHERE owner_id = ").push_bind(owner_id.to_owned());
    if let Some(before) = before {
        query.push(" AND id < ").push_bind(before.to_string());
    }
    query.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(limit));
    query.build().fetch_all(pool).await?.iter().map(of_row).collect()
}

pub async fn count(pool: &AnyPool, owner_id: &str) -> Result<i64, StorageError> {
    Ok(sqlx::query_scalar("SELECT COUNT(*) FROM montages WHERE owner_id = $1").bind(owner_id).fetch_one(pool).await?)
}

pub async fn update(tx: &mut Tx, montage: &Montage) -> Result<(), StorageError> {
    sqlx::query("UPDATE montages SET name = $2, description = $3, updated_at_ms = $4 WHERE id = $1")
        .bind(montage.id.to_string())
        .bind(&montage.name)
        .bind(montage.description.as_deref())
        .bind(montage.updated_at_ms)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Its generations stay. False when there is none of this owner.
pub async fn delete(tx: &mut Tx, owner_id: &str, id: Uuid) -> Result<bool, StorageError> {
    let deleted = sqlx::query("DELETE FROM montages WHERE id = $1 AND owner_id = $2")
        .bind(id.to_string())
        .bind(owner_id)
        .execute(tx.connection())
        .await?;
    if deleted.rows_affected() == 0 {
        return Ok(false);
    }
    clear(tx, id).await?;
    Ok(true)
}

/// The generations of a montage in its order.
pub async fn generation_ids(tx: &mut Tx, id: Uuid) -> Result<Vec<Uuid>, StorageError> {
    let ids: Vec<String> =
        sqlx::query_scalar("SELECT generation_id FROM montage_items WHERE montage_id = $1 ORDER BY place, generation_id")
            .bind(id.to_string())
            .fetch_all(tx.connection())
            .await?;
    ids.iter().map(|id| parse_uuid(id)).collect()
}

/// Makes these its generations, in this order. The caller has seen that they are there and the owner's.
pub async fn set_generations(tx: &mut Tx, id: Uuid, generation_ids: &[Uuid]) -> Result<(), StorageError> {
    clear(tx, id).await?;
    let mut place = 0_i64;
    for part in generation_ids.chunks(INSERT_ROWS_MAX) {
        let mut query = Statement::new("INSERT INTO montage_items (montage_id, generation_id, place) ");
        for (nth, generation_id) in part.iter().enumerate() {
            query.push(if nth == 0 { "VALUES (" } else { ", (" });
            query.push_bind(id.to_string()).push(", ").push_bind(generation_id.to_string()).push(", ").push_bind(place).push(")");
            place += 1;
        }
        query.build().execute(tx.connection()).await?;
    }
    Ok(())
}

async fn clear(tx: &mut Tx, id: Uuid) -> Result<(), StorageError> {
    sqlx::query("DELETE FROM montage_items WHERE montage_id = $1").bind(id.to_string()).execute(tx.connection()).await?;
    Ok(())
}

/// Puts a generation at the end of its owner's montage; nowhere when there is no such montage. Nothing is locked: two that come at once may
/// get the same place, and stand in the order of their ids.
pub(crate) fn push_append(script: &mut Script, owner_id: &str, id: Uuid, generation_id: Uuid) {
    let query = script.next("INSERT INTO montage_items (montage_id, generation_id, place) SELECT m.id, ");
    query.push_bind(generation_id.to_string());
    query.push(", (SELECT COALESCE(MAX(i.place), -1) + 1 FROM montage_items i WHERE i.montage_id = m.id) FROM montages m WHERE m.id = ");
    query.push_bind(id.to_string()).push(" AND m.owner_id = ").push_bind(owner_id.to_owned());
}

/// The montages a generation stands in, oldest first.
pub async fn of_generation(pool: &AnyPool, generation_id: Uuid) -> Result<Vec<Uuid>, StorageError> {
    let ids: Vec<String> = sqlx::query_scalar(
        "SELECT i.montage_id FROM montage_items i JOIN montages m ON m.id = i.montage_id WHERE i.generation_id = $1 ORDER BY i.montage_id",
    )
    .bind(generation_id.to_string())
    .fetch_all(pool)
    .await?;
    ids.iter().map(|id| parse_uuid(id)).collect()
}

fn of_row(row: &AnyRow) -> Result<Montage, StorageError> {
    let id: String = row.try_get("id")?;
    Ok(Montage {
        id: parse_uuid(&id)?,
        owner_id: row.try_get("owner_id")?,
        name: row.try_get("name")?,
        description: row.try_get("description")?,
        created_at_ms: row.try_get("created_at_ms")?,
        updated_at_ms: row.try_get("updated_at_ms")?,
        generation_count: row.try_get("generation_count")?,
    })
}
