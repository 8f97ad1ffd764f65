//! Rows of timelines: the saved layout of a generation, and the media that were brought into it. This file may not know what a layout says.

use std::fmt;
use std::str::FromStr;

use sqlx::any::AnyRow;
use sqlx::{AnyPool, Row};
use uuid::Uuid;

use crate::StorageError;
use crate::blobs::StoredBlob;
use crate::rows::{Tx, parse_uuid};

/// A layout as it was saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedLayout {
    /// Rises by one at every save, from 1.
    pub revision: i64,
    /// JSON, as the jobs crate writes it.
    pub layout: String,
    pub updated_at_ms: i64,
}

pub async fn find(pool: &AnyPool, generation_id: Uuid) -> Result<Option<SavedLayout>, StorageError> {
    let row = sqlx::query("SELECT revision, layout, updated_at_ms FROM timelines WHERE generation_id = $1")
        .bind(generation_id.to_string())
        .fetch_optional(pool)
        .await?;
    row.as_ref().map(of_row).transpose()
}

/// As the transaction sees it.
pub async fn find_in(tx: &mut Tx, generation_id: Uuid) -> Result<Option<SavedLayout>, StorageError> {
    let row = sqlx::query("SELECT revision, layout, updated_at_ms FROM timelines WHERE generation_id = $1")
        .bind(generation_id.to_string())
        .fetch_optional(tx.connection())
        .await?;
    row.as_ref().map(of_row).transpose()
}

/// Saves what the caller has read under the generation's lock; returns the new revision.
pub async fn save(tx: &mut Tx, generation_id: Uuid, layout: &str, now_ms: i64) -> Result<i64, StorageError> {
    let row = sqlx::query(
        "INSERT INTO timelines (generation_id, revision, layout, updated_at_ms) VALUES ($1, 1, $2, $3) \
         ON CONFLICT (generation_id) DO UPDATE SET revision = timelines.revision + 1, layout = EXCLUDED.layout, \
         updated_at_ms = EXCLUDED.updated_at_ms RETURNING revision",
    )
    .bind(generation_id.to_string())
    .bind(layout)
    .bind(now_ms)
    .fetch_one(tx.connection())
    .await?;
    Ok(row.try_get("revision")?)
}

fn of_row(row: &AnyRow) -> Result<SavedLayout, StorageError> {
    Ok(SavedLayout { revision: row.try_get("revision")?, layout: row.try_get("layout")?, updated_at_ms: row.try_get("updated_at_ms")? })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaKind {
    Audio,
    Video,
    Image,
}

impl MediaKind {
    pub const ALL: [Self; 3] = [Self::Audio, Self::Video, Self::Image];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Image => "image",
        }
    }
}

impl fmt::Display for MediaKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for MediaKind {
    type Err = StorageError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| StorageError::Malformed(format!("media kind {text}")))
    }
}

/// Something that was brought into a timeline.
#[derive(Debug, Clone, PartialEq)]
pub struct Media {
    pub id: Uuid,
    pub generation_id: Uuid,
    pub kind: MediaKind,
    /// As the caller's file was called.
    pub name: String,
    pub content_type: String,
    /// The file as it came.
    pub source: StoredBlob,
    /// Its sound, as FLAC that we have written ourselves; `None` where it has none.
    pub audio: Option<StoredBlob>,
    /// 0 for an image.
    pub duration_ms: i64,
    /// Of a film or picture, in pixels.
    pub width: Option<i64>,
    pub height: Option<i64>,
    pub fps: Option<f64>,
    pub created_at_ms: i64,
}

pub async fn insert_media(tx: &mut Tx, media: &Media) -> Result<(), StorageError> {
    sqlx::query(
        "INSERT INTO media (id, generation_id, kind, name, content_type, sha256, size_bytes, audio_sha256, audio_bytes, duration_ms, \
         width, height, fps, created_at_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
    )
    .bind(media.id.to_string())
    .bind(media.generation_id.to_string())
    .bind(media.kind.as_str())
    .bind(&media.name)
    .bind(&media.content_type)
    .bind(&media.source.sha256)
    .bind(media.source.size_bytes as i64)
    .bind(media.audio.as_ref().map(|audio| audio.sha256.clone()))
    .bind(media.audio.as_ref().map(|audio| audio.size_bytes as i64))
    .bind(media.duration_ms)
    .bind(media.width)
    .bind(media.height)
    .bind(media.fps)
    .bind(media.created_at_ms)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// All media of a generation, oldest first.
pub async fn list_media(pool: &AnyPool, generation_id: Uuid, limit: u32) -> Result<Vec<Media>, StorageError> {
    let rows = sqlx::query(
        "SELECT id, generation_id, kind, name, content_type, sha256, size_bytes, audio_sha256, audio_bytes, duration_ms, width, height, \
         fps, created_at_ms FROM media WHERE generation_id = $1 ORDER BY id LIMIT $2",
    )
    .bind(generation_id.to_string())
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await?;
    rows.iter().map(media_of_row).collect()
}

pub async fn find_media(pool: &AnyPool, generation_id: Uuid, id: Uuid) -> Result<Option<Media>, StorageError> {
    let row = sqlx::query(
        "SELECT id, generation_id, kind, name, content_type, sha256, size_bytes, audio_sha256, audio_bytes, duration_ms, width, height, \
         fps, created_at_ms FROM media WHERE generation_id = $1 AND id = $2",
    )
    .bind(generation_id.to_string())
    .bind(id.to_string())
    .fetch_optional(pool)
    .await?;
    row.as_ref().map(media_of_row).transpose()
}

fn media_of_row(row: &AnyRow) -> Result<Media, StorageError> {
    let id: String = row.try_get("id")?;
    let generation_id: String = row.try_get("generation_id")?;
    let kind: String = row.try_get("kind")?;
    let audio = match row.try_get::<Option<String>, _>("audio_sha256")? {
        Some(sha256) => Some(StoredBlob { sha256, size_bytes: row.try_get::<i64, _>("audio_bytes")? as u64 }),
        None => None,
    };
    Ok(Media {
        id: parse_uuid(&id)?,
        generation_id: parse_uuid(&generation_id)?,
        kind: kind.parse()?,
        name: row.try_get("name")?,
        content_type: row.try_get("content_type")?,
        source: StoredBlob { sha256: row.try_get("sha256")?, size_bytes: row.try_get::<i64, _>("size_bytes")? as u64 },
        audio,
        duration_ms: row.try_get("duration_ms")?,
        width: row.try_get("width")?,
        height: row.try_get("height")?,
        fps: row.try_get("fps")?,
        created_at_ms: row.try_get("created_at_ms")?,
    })
}
