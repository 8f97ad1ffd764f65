//! Rows of merged files. The newest render of a generation's chunks is its audio; older ones, and those of its timeline, stay as long as the
//! generation does. This file may not know how merging is done.

use sqlx::any::AnyRow;
use sqlx::{AnyPool, Row};
use uuid::Uuid;

use crate::StorageError;
use crate::blobs::StoredBlob;
use crate::rows::{Tx, parse_uuid};

/// What was merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenderKind {
    Chunks,
    Timeline,
}

impl RenderKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Chunks => "chunks",
            Self::Timeline => "timeline",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Render {
    /// The id of the job that made it.
    pub id: Uuid,
    pub generation_id: Uuid,
    pub kind: RenderKind,
    /// JSON of the options it was made with.
    pub params: String,
    pub content_type: String,
    pub blob: StoredBlob,
    pub duration_ms: i64,
    /// JSON: loudness and the place of each chunk.
    pub report: String,
    pub created_at_ms: i64,
}

/// Stores a render; a job that runs twice makes the same bytes, so the first row stays.
pub async fn put(tx: &mut Tx, render: &Render) -> Result<(), StorageError> {
    sqlx::query(
        "INSERT INTO renders (id, generation_id, params, content_type, sha256, size_bytes, duration_ms, report, created_at_ms, kind) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (id) DO NOTHING",
    )
    .bind(render.id.to_string())
    .bind(render.generation_id.to_string())
    .bind(&render.params)
    .bind(&render.content_type)
    .bind(&render.blob.sha256)
    .bind(render.blob.size_bytes as i64)
    .bind(render.duration_ms)
    .bind(&render.report)
    .bind(render.created_at_ms)
    .bind(render.kind.as_str())
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// The audio of a generation.
pub async fn newest(pool: &AnyPool, generation_id: Uuid) -> Result<Option<Render>, StorageError> {
    let row = sqlx::query(
        "SELECT id, generation_id, kind, params, content_type, sha256, size_bytes, duration_ms, report, created_at_ms FROM renders \
         WHERE generation_id = $1 AND kind = 'chunks' ORDER BY id DESC LIMIT 1",
    )
    .bind(generation_id.to_string())
    .fetch_optional(pool)
    .await?;
    row.as_ref().map(of_row).transpose()
}

pub async fn find(pool: &AnyPool, generation_id: Uuid, id: Uuid) -> Result<Option<Render>, StorageError> {
    let row = sqlx::query(
        "SELECT id, generation_id, kind, params, content_type, sha256, size_bytes, duration_ms, report, created_at_ms FROM renders \
         WHERE generation_id = $1 AND id = $2",
    )
    .bind(generation_id.to_string())
    .bind(id.to_string())
    .fetch_optional(pool)
    .await?;
    row.as_ref().map(of_row).transpose()
}

fn of_row(row: &AnyRow) -> Result<Render, StorageError> {
    let id: String = row.try_get("id")?;
    let generation_id: String = row.try_get("generation_id")?;
    let kind: String = row.try_get("kind")?;
    Ok(Render {
        id: parse_uuid(&id)?,
        generation_id: parse_uuid(&generation_id)?,
        kind: if kind == RenderKind::Timeline.as_str() { RenderKind::Timeline } else { RenderKind::Chunks },
        params: row.try_get("params")?,
        content_type: row.try_get("content_type")?,
        blob: StoredBlob { sha256: row.try_get("sha256")?, size_bytes: row.try_get::<i64, _>("size_bytes")? as u64 },
        duration_ms: row.try_get("duration_ms")?,
        report: row.try_get("report")?,
        created_at_ms: row.try_get("created_at_ms")?,
    })
}
