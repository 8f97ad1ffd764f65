//! Rows of previews: a few words in a voice, each made once. Which of them is shown for a voice stands in the voice's row. This file may not
//! know how they are made.

use sqlx::any::AnyRow;
use sqlx::{AnyPool, Row};
use uuid::Uuid;

use crate::StorageError;
use crate::blobs::{BlobKey, StoredBlob};
use crate::rows::{Tx, parse_uuid};
use crate::statement::Statement;

/// The bytes are at [`BlobKey::VoicePreview`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    pub id: Uuid,
    pub voice_id: Uuid,
    /// Of one voice no two have the same.
    pub params_hash: String,
    pub text: String,
    /// BCP 47.
    pub language: String,
    /// Of a variant of a designed voice: what the voice becomes when this is picked, as in `voices.profiles`.
    pub profiles: Option<String>,
    pub seed: Option<i64>,
    pub blob: StoredBlob,
    pub duration_ms: i64,
    pub created_at_ms: i64,
}

impl Preview {
    pub fn blob_key(&self) -> BlobKey {
        BlobKey::VoicePreview { voice_id: self.voice_id, preview_id: self.id }
    }
}

const COLUMNS: &str = "id, voice_id, params_hash, text, language, profiles, seed, sha256, size_bytes, duration_ms, created_at_ms";

/// Nothing changes where the voice has an equal one.
pub async fn insert(tx: &mut Tx, preview: &Preview) -> Result<(), StorageError> {
    sqlx::query(
        "INSERT INTO voice_previews (id, voice_id, params_hash, text, language, profiles, seed, sha256, size_bytes, duration_ms, \
         created_at_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (voice_id, params_hash) DO NOTHING",
    )
    .bind(preview.id.to_string())
    .bind(preview.voice_id.to_string())
    .bind(&preview.params_hash)
    .bind(&preview.text)
    .bind(&preview.language)
    .bind(preview.profiles.as_deref())
    .bind(preview.seed)
    .bind(&preview.blob.sha256)
    .bind(preview.blob.size_bytes.cast_signed())
    .bind(preview.duration_ms)
    .bind(preview.created_at_ms)
    .execute(tx.connection())
    .await?;
    Ok(())
}

pub async fn find_equal(tx: &mut Tx, voice_id: Uuid, params_hash: &str) -> Result<Option<Preview>, StorageError> {
    let mut query = select_of(voice_id);
    query.push(" AND params_hash = ").push_bind(params_hash.to_owned());
    let row = query.build().fetch_optional(tx.connection()).await?;
    row.as_ref().map(of_row).transpose()
}

/// Of a voice, the oldest first.
pub async fn list(pool: &AnyPool, voice_id: Uuid) -> Result<Vec<Preview>, StorageError> {
    let rows = in_order(voice_id).build().fetch_all(pool).await?;
    rows.iter().map(of_row).collect()
}

/// The same as the transaction sees it.
pub async fn list_in(tx: &mut Tx, voice_id: Uuid) -> Result<Vec<Preview>, StorageError> {
    let rows = in_order(voice_id).build().fetch_all(tx.connection()).await?;
    rows.iter().map(of_row).collect()
}

fn in_order(voice_id: Uuid) -> Statement {
    let mut query = select_of(voice_id);
    query.push(" ORDER BY created_at_ms, id");
    query
}

fn select_of(voice_id: Uuid) -> Statement {
    let mut query = Statement::new("SELECT ");
    query.push(COLUMNS).push(" FROM voice_previews WHERE voice_id = ").push_bind(voice_id.to_string());
    query
}

/// Which of these have some.
pub async fn voices_with_some(pool: &AnyPool, voice_ids: &[Uuid]) -> Result<Vec<Uuid>, StorageError> {
    if voice_ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut query = Statement::new("SELECT DISTINCT voice_id FROM voice_previews WHERE voice_id IN (");
    query.push_list(voice_ids.iter().map(Uuid::to_string)).push(")");
    let ids: Vec<String> = query.build_scalar().fetch_all(pool).await?;
    ids.iter().map(|id| parse_uuid(id)).collect()
}

pub async fn delete(tx: &mut Tx, id: Uuid) -> Result<(), StorageError> {
    sqlx::query("DELETE FROM voice_previews WHERE id = $1").bind(id.to_string()).execute(tx.connection()).await?;
    Ok(())
}

pub async fn delete_all(tx: &mut Tx, voice_id: Uuid) -> Result<(), StorageError> {
    sqlx::query("DELETE FROM voice_previews WHERE voice_id = $1").bind(voice_id.to_string()).execute(tx.connection()).await?;
    Ok(())
}

fn of_row(row: &AnyRow) -> Result<Preview, StorageError> {
    Ok(Preview {
        id: parse_uuid(&row.try_get::<String, _>("id")?)?,
        voice_id: parse_uuid(&row.try_get::<String, _>("voice_id")?)?,
        params_hash: row.try_get("params_hash")?,
        text: row.try_get("text")?,
        language: row.try_get("language")?,
        profiles: row.try_get("profiles")?,
        seed: row.try_get("seed")?,
        blob: StoredBlob { sha256: row.try_get("sha256")?, size_bytes: row.try_get::<i64, _>("size_bytes")?.cast_unsigned() },
        duration_ms: row.try_get("duration_ms")?,
        created_at_ms: row.try_get("created_at_ms")?,
    })
}
