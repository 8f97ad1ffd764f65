//! Rows of voices that were made here (presets have none) and of the recordings they were made from. Who may change one is the caller's to
//! check; who may see one is part of every search. This file may not know engines: a profile is JSON to it.

use serde_json::Value;
use sqlx::any::AnyRow;
use sqlx::{AnyPool, Row};
use uuid::Uuid;

use crate::StorageError;
use crate::blobs::{BlobKey, StoredBlob};
use crate::generations::like_escaped;
use crate::rows::{Tx, parse_uuid};
use crate::statement::Statement;
use crate::voice_previews::{self, Preview};

#[derive(Debug, Clone, PartialEq)]
pub struct Voice {
    pub id: Uuid,
    pub owner_id: String,
    /// Nobody but its owner sees it.
    pub private: bool,
    /// `clone` or `design`.
    pub kind: String,
    pub name: String,
    pub description: String,
    /// BCP 47.
    pub language: String,
    pub gender: String,
    pub category: Option<VoiceCategory>,
    pub tags: Vec<String>,
    pub color: Option<String>,
    /// An object.
    pub settings: Value,
    /// 1, and one more with each change.
    pub revision: i64,
    /// What engines made of the samples: a JSON list, one entry for each engine and model. Kept as the text that it came as.
    pub profiles: Option<String>,
    pub preview: Option<VoicePreview>,
    /// What was said about the right to use the recordings: JSON, as it came.
    pub consent: Option<String>,
    /// The job that makes the voice; `None` once it is made, and for what came made.
    pub job_id: Option<Uuid>,
    pub created_at_ms: i64,
    pub updated_at_ms: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoiceCategory {
    pub id: Uuid,
    pub name: String,
    pub color: Option<String>,
}

/// Where it is: [`crate::BlobKey::VoicePreview`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoicePreview {
    pub id: Uuid,
    pub blob: StoredBlob,
}

/// A recording; its bytes are at [`crate::BlobKey::VoiceSample`].
#[derive(Debug, Clone, PartialEq)]
pub struct VoiceSample {
    pub id: Uuid,
    pub blob: StoredBlob,
    pub duration_ms: i64,
    pub transcript: Option<String>,
    /// The part that counts; all of it where `None`.
    pub start_ms: Option<i64>,
    pub end_ms: Option<i64>,
    pub weight: f64,
}

/// A name as it is compared.
pub fn name_key(name: &str) -> String {
    name.trim().to_lowercase()
}

/// What [`VoiceOrder::Name`] sorts by; bytes in hex, so that no collation has a say in it.
pub fn sort_name(name: &str) -> String {
    hex::encode(name_key(name))
}

/// What [`VoiceOrder::Language`] sorts by: by name within a language.
pub fn sort_language(language: &str, name: &str) -> String {
    hex::encode(format!("{}\0{}", language.to_ascii_lowercase(), name_key(name)))
}

/// All that a search for a part of a text looks at.
pub fn search_text<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    texts.into_iter().map(str::to_lowercase).collect::<Vec<_>>().join("\n")
}

impl Voice {
    fn search_text(&self) -> String {
        let fields = [&self.name, &self.description, &self.language, &self.gender];
        search_text(fields.into_iter().chain(&self.tags).map(String::as_str))
    }

    /// Who may see it.
    pub fn is_visible_to(&self, owner_id: &str) -> bool {
        !self.private || self.owner_id == owner_id
    }
}

const SELECT: &str = "SELECT v.id, v.owner_id, v.private, v.kind, v.name, v.description, v.language, v.gender, v.category_id, \
     c.name AS category_name, c.color AS category_color, v.tags, v.color, v.settings, v.revision, v.profiles, v.preview_id, v.preview_sha256, v.preview_size_bytes, \
     v.consent, v.job_id, v.created_at_ms, v.updated_at_ms FROM voices v LEFT JOIN categories c ON c.id = v.category_id";

/// `Conflict` where the id is taken.
pub async fn insert(tx: &mut Tx, voice: &Voice, samples: &[VoiceSample]) -> Result<(), StorageError> {
    let mut query = Statement::new(
        "INSERT INTO voices (id, owner_id, private, kind, name, name_key, sort_name, sort_language, search_text, description, language, \
         gender, category_id, tags, color, settings, revision, profiles, preview_id, preview_sha256, preview_size_bytes, consent, \
         job_id, created_at_ms, updated_at_ms) VALUES (",
    );
    query.push_bind(voice.id.to_string()).push(", ").push_bind(voice.owner_id.clone()).push(", ").push_bind(i64::from(voice.private));
    query.push(", ").push_bind(voice.kind.clone()).push(", ").push_bind(voice.name.clone());
    query.push(", ").push_bind(name_key(&voice.name)).push(", ").push_bind(sort_name(&voice.name));
    query.push(", ").push_bind(sort_language(&voice.language, &voice.name)).push(", ").push_bind(voice.search_text());
    query.push(", ").push_bind(voice.description.clone()).push(", ").push_bind(voice.language.clone());
    query.push(", ").push_bind(voice.gender.clone());
    query.push(", ").push_bind(voice.category.as_ref().map(|category| category.id.to_string()));
    query.push(", ").push_bind(serde_json::to_string(&voice.tags)?).push(", ").push_bind(voice.color.clone());
    query.push(", ").push_bind(voice.settings.to_string()).push(", ").push_bind(voice.revision);
    query.push(", ").push_bind(voice.profiles.clone());
    query.push(", ").push_bind(voice.preview.as_ref().map(|preview| preview.id.to_string()));
    query.push(", ").push_bind(voice.preview.as_ref().map(|preview| preview.blob.sha256.clone()));
    query.push(", ").push_bind(voice.preview.as_ref().map(|preview| preview.blob.size_bytes.cast_signed()));
    query.push(", ").push_bind(voice.consent.clone());
    query.push(", ").push_bind(voice.job_id.map(|id| id.to_string()));
    query.push(", ").push_bind(voice.created_at_ms).push(", ").push_bind(voice.updated_at_ms).push(")");
    query.build().execute(tx.connection()).await?;
    insert_samples(tx, voice.id, samples).await
}

async fn insert_samples(tx: &mut Tx, voice_id: Uuid, samples: &[VoiceSample]) -> Result<(), StorageError> {
    for (index, sample) in samples.iter().enumerate() {
        sqlx::query(
            "INSERT INTO voice_samples (voice_id, id, idx, sha256, size_bytes, duration_ms, transcript, start_ms, end_ms, weight) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(voice_id.to_string())
        .bind(sample.id.to_string())
        .bind(index as i64)
        .bind(&sample.blob.sha256)
        .bind(sample.blob.size_bytes.cast_signed())
        .bind(sample.duration_ms)
        .bind(sample.transcript.as_deref())
        .bind(sample.start_ms)
        .bind(sample.end_ms)
        .bind(sample.weight)
        .execute(tx.connection())
        .await?;
    }
    Ok(())
}

/// Writes everything that may change; the voice holds the revision it was read with, and the row gets the next one. False when it has
/// another by now, or is gone.
pub async fn update(tx: &mut Tx, voice: &Voice) -> Result<bool, StorageError> {
    let mut query = Statement::new("UPDATE voices SET revision = revision + 1, private = ");
    query.push_bind(i64::from(voice.private)).push(", kind = ").push_bind(voice.kind.clone());
    query.push(", name = ").push_bind(voice.name.clone()).push(", name_key = ").push_bind(name_key(&voice.name));
    query.push(", sort_name = ").push_bind(sort_name(&voice.name));
    query.push(", sort_language = ").push_bind(sort_language(&voice.language, &voice.name));
    query.push(", search_text = ").push_bind(voice.search_text()).push(", description = ").push_bind(voice.description.clone());
    query.push(", language = ").push_bind(voice.language.clone()).push(", gender = ").push_bind(voice.gender.clone());
    query.push(", category_id = ").push_bind(voice.category.as_ref().map(|category| category.id.to_string()));
    query.push(", tags = ").push_bind(serde_json::to_string(&voice.tags)?).push(", color = ").push_bind(voice.color.clone());
    query.push(", settings = ").push_bind(voice.settings.to_string());
    query.push(", profiles = ").push_bind(voice.profiles.clone());
    query.push(", preview_id = ").push_bind(voice.preview.as_ref().map(|preview| preview.id.to_string()));
    query.push(", preview_sha256 = ").push_bind(voice.preview.as_ref().map(|preview| preview.blob.sha256.clone()));
    query.push(", preview_size_bytes = ").push_bind(voice.preview.as_ref().map(|preview| preview.blob.size_bytes.cast_signed()));
    query.push(", consent = ").push_bind(voice.consent.clone());
    query.push(", job_id = ").push_bind(voice.job_id.map(|id| id.to_string()));
    query.push(", updated_at_ms = ").push_bind(voice.updated_at_ms);
    query.push(" WHERE id = ").push_bind(voice.id.to_string()).push(" AND revision = ").push_bind(voice.revision);
    Ok(query.build().execute(tx.connection()).await?.rows_affected() == 1)
}

/// Other recordings in place of those there were; in the transaction of the [`update`].
pub async fn replace_samples(tx: &mut Tx, voice_id: Uuid, samples: &[VoiceSample]) -> Result<(), StorageError> {
    sqlx::query("DELETE FROM voice_samples WHERE voice_id = $1").bind(voice_id.to_string()).execute(tx.connection()).await?;
    insert_samples(tx, voice_id, samples).await
}

/// What a job made of a voice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made<'a> {
    pub voice_id: Uuid,
    pub job_id: Uuid,
    pub profiles: &'a str,
    /// Found out on the way; the voice keeps its own where `None`.
    pub gender: Option<&'a str>,
    pub preview: Option<&'a VoicePreview>,
}

/// The voice can speak from now on. False where it is gone, or was made by something else meanwhile.
pub async fn set_made(tx: &mut Tx, made: &Made<'_>, now_ms: i64) -> Result<bool, StorageError> {
    let mut query = Statement::new("UPDATE voices SET job_id = NULL, revision = revision + 1, profiles = ");
    query.push_bind(made.profiles.to_owned()).push(", updated_at_ms = ").push_bind(now_ms);
    if let Some(gender) = made.gender {
        query.push(", gender = ").push_bind(gender.to_owned());
    }
    if let Some(preview) = made.preview {
        push_preview(&mut query, preview);
    }
    query.push(" WHERE id = ").push_bind(made.voice_id.to_string()).push(" AND job_id = ").push_bind(made.job_id.to_string());
    Ok(query.build().execute(tx.connection()).await?.rows_affected() == 1)
}

/// Other profiles in place of those that were looked at. False where the voice is gone, or has others by now. What an engine makes of the
/// recordings changes nothing that people see: the revision stays.
pub async fn replace_profiles(tx: &mut Tx, voice_id: Uuid, before: &str, after: &str) -> Result<bool, StorageError> {
    let mut query = Statement::new("UPDATE voices SET profiles = ");
    query.push_bind(after.to_owned()).push(" WHERE id = ").push_bind(voice_id.to_string());
    query.push(" AND profiles = ").push_bind(before.to_owned());
    Ok(query.build().execute(tx.connection()).await?.rows_affected() == 1)
}

/// Another preview, and where `profiles` is given another voice with it. False where the voice is gone.
pub async fn set_preview(
    tx: &mut Tx,
    voice_id: Uuid,
    preview: &VoicePreview,
    profiles: Option<&str>,
    now_ms: i64,
) -> Result<bool, StorageError> {
    let mut query = Statement::new("UPDATE voices SET revision = revision + 1, updated_at_ms = ");
    query.push_bind(now_ms);
    if let Some(profiles) = profiles {
        query.push(", profiles = ").push_bind(profiles.to_owned());
    }
    push_preview(&mut query, preview);
    query.push(" WHERE id = ").push_bind(voice_id.to_string());
    Ok(query.build().execute(tx.connection()).await?.rows_affected() == 1)
}

fn push_preview(query: &mut Statement, preview: &VoicePreview) {
    query.push(", preview_id = ").push_bind(preview.id.to_string());
    query.push(", preview_sha256 = ").push_bind(preview.blob.sha256.clone());
    query.push(", preview_size_bytes = ").push_bind(preview.blob.size_bytes.cast_signed());
}

/// Deletes a voice that its job will not make. False where it is made, or gone.
pub async fn delete_unmade(tx: &mut Tx, id: Uuid, job_id: Uuid) -> Result<bool, StorageError> {
    let held = sqlx::query("UPDATE voices SET job_id = job_id WHERE id = $1 AND job_id = $2")
        .bind(id.to_string())
        .bind(job_id.to_string())
        .execute(tx.connection())
        .await?;
    if held.rows_affected() == 0 {
        return Ok(false);
    }
    delete(tx, id).await
}

/// Voices whose job is forgotten: nobody will make them.
pub async fn unmade_without_job(pool: &AnyPool, limit: u32) -> Result<Vec<Uuid>, StorageError> {
    let ids: Vec<String> = sqlx::query_scalar(
        "SELECT v.id FROM voices v WHERE v.job_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.id = v.job_id) LIMIT $1",
    )
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await?;
    ids.iter().map(|id| parse_uuid(id)).collect()
}

/// The row, its samples and previews, and everybody's mark on it. False when there was none.
pub async fn delete(tx: &mut Tx, id: Uuid) -> Result<bool, StorageError> {
    voice_previews::delete_all(tx, id).await?;
    sqlx::query("DELETE FROM favorites WHERE voice_id = $1").bind(id.to_string()).execute(tx.connection()).await?;
    let deleted = sqlx::query("DELETE FROM voices WHERE id = $1").bind(id.to_string()).execute(tx.connection()).await?;
    Ok(deleted.rows_affected() == 1)
}

pub async fn find(pool: &AnyPool, id: Uuid) -> Result<Option<Voice>, StorageError> {
    let row = select_by_id(id).build().fetch_optional(pool).await?;
    row.as_ref().map(of_row).transpose()
}

/// The row as the transaction sees it.
pub async fn find_in(tx: &mut Tx, id: Uuid) -> Result<Option<Voice>, StorageError> {
    let row = select_by_id(id).build().fetch_optional(tx.connection()).await?;
    row.as_ref().map(of_row).transpose()
}

fn select_by_id(id: Uuid) -> Statement {
    let mut query = Statement::new(SELECT);
    query.push(" WHERE v.id = ").push_bind(id.to_string());
    query
}

/// In the order they were given.
pub async fn samples(pool: &AnyPool, voice_id: Uuid) -> Result<Vec<VoiceSample>, StorageError> {
    sqlx::query(
        "SELECT id, sha256, size_bytes, duration_ms, transcript, start_ms, end_ms, weight FROM voice_samples WHERE voice_id = $1 ORDER BY idx",
    )
    .bind(voice_id.to_string())
    .fetch_all(pool)
    .await?
    .iter()
    .map(sample_of_row)
    .collect()
}

/// The same as the transaction sees it.
pub async fn samples_in(tx: &mut Tx, voice_id: Uuid) -> Result<Vec<VoiceSample>, StorageError> {
    sqlx::query(
        "SELECT id, sha256, size_bytes, duration_ms, transcript, start_ms, end_ms, weight FROM voice_samples WHERE voice_id = $1 ORDER BY idx",
    )
    .bind(voice_id.to_string())
    .fetch_all(tx.connection())
    .await?
    .iter()
    .map(sample_of_row)
    .collect()
}

/// Where the bytes of a voice are, by its rows.
pub fn blob_keys(voice: &Voice, samples: &[VoiceSample], previews: &[Preview]) -> Vec<BlobKey> {
    let voice_id = voice.id;
    let samples = samples.iter().map(|sample| BlobKey::VoiceSample { voice_id, sample_id: sample.id });
    // One that came with an archive has no row of its own.
    let shown = voice.preview.as_ref().map(|preview| BlobKey::VoicePreview { voice_id, preview_id: preview.id });
    let shown = shown.filter(|key| !previews.iter().any(|preview| preview.blob_key() == *key));
    samples.chain(previews.iter().map(Preview::blob_key)).chain(shown).collect()
}

/// Voices that `reader_id` may see and that have one of these ids or names, the reader's own first, then the oldest.
pub async fn find_named(pool: &AnyPool, reader_id: &str, wanted: &[&str]) -> Result<Vec<Voice>, StorageError> {
    // A NUL is no text for Postgres, and no name has one.
    let wanted: Vec<&str> = wanted.iter().copied().filter(|name| !name.contains('\0')).collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let ids = wanted.iter().map(|name| name.trim().to_ascii_lowercase());
    let mut query = Statement::new(SELECT);
    query.push(" WHERE (v.private = 0 OR v.owner_id = ").push_bind(reader_id.to_owned()).push(") AND (v.id IN (");
    query.push_list(ids).push(") OR v.name_key IN (").push_list(wanted.iter().map(|name| name_key(name)));
    query.push(")) ORDER BY CASE WHEN v.owner_id = ").push_bind(reader_id.to_owned());
    query.push(" THEN 0 ELSE 1 END, v.created_at_ms, v.id LIMIT ").push_bind(NAMED_MAX);
    query.build().fetch_all(pool).await?.iter().map(of_row).collect()
}

/// Voices of these ids that `reader_id` may see, in no order.
pub async fn find_visible(pool: &AnyPool, reader_id: &str, ids: &[&str]) -> Result<Vec<Voice>, StorageError> {
    let mut found = Vec::new();
    for ids in ids.chunks(IDS_AT_ONCE) {
        let mut query = Statement::new(SELECT);
        query.push(" WHERE (v.private = 0 OR v.owner_id = ").push_bind(reader_id.to_owned()).push(") AND v.id IN (");
        query.push_list(ids.iter().map(|id| id.to_ascii_lowercase())).push(")");
        for row in query.build().fetch_all(pool).await? {
            found.push(of_row(&row)?);
        }
    }
    Ok(found)
}

/// A statement takes some ten thousand values.
const IDS_AT_ONCE: usize = 500;

/// Own voices that may have been made of the same: with this recording, or where there is none, with these profiles.
pub async fn find_alike(
    pool: &AnyPool,
    owner_id: &str,
    sample_sha256: Option<&str>,
    profiles: Option<&str>,
) -> Result<Vec<Voice>, StorageError> {
    let mut query = Statement::new(SELECT);
    query.push(" WHERE v.owner_id = ").push_bind(owner_id.to_owned());
    match (sample_sha256, profiles) {
        (Some(sha256), _) => {
            query.push(" AND v.id IN (SELECT s.voice_id FROM voice_samples s WHERE s.sha256 = ").push_bind(sha256.to_owned()).push(")");
        }
        (None, Some(profiles)) => {
            query.push(" AND v.profiles = ").push_bind(profiles.to_owned());
        }
        (None, None) => return Ok(Vec::new()),
    }
    query.push(" ORDER BY v.created_at_ms, v.id LIMIT ").push_bind(ALIKE_MAX);
    query.build().fetch_all(pool).await?.iter().map(of_row).collect()
}

const ALIKE_MAX: i64 = 20;

/// All ids of an owner's voices, the oldest first.
pub async fn own_ids(pool: &AnyPool, owner_id: &str, limit: u32) -> Result<Vec<Uuid>, StorageError> {
    let rows = sqlx::query("SELECT id FROM voices WHERE owner_id = $1 ORDER BY created_at_ms, id LIMIT $2")
        .bind(owner_id)
        .bind(i64::from(limit))
        .fetch_all(pool)
        .await?;
    rows.iter().map(|row| parse_uuid(&row.try_get::<String, _>("id")?)).collect()
}

/// Many voices may have one name.
const NAMED_MAX: i64 = 2_000;

/// What a list of voices is narrowed by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VoiceFilter {
    /// Who reads: sees the own ones and those that are not private.
    pub reader_id: String,
    pub own_only: bool,
    pub kind: Option<String>,
    /// `en` finds `en-GB` too.
    pub language: Option<String>,
    /// Id or name.
    pub category: Option<String>,
    pub favorite: Option<bool>,
    /// Part of name, description, language, gender or a tag, in any case.
    pub contains: Option<String>,
}

impl VoiceFilter {
    pub fn of_reader(reader_id: impl Into<String>) -> Self {
        Self { reader_id: reader_id.into(), ..Self::default() }
    }

    fn push_where(&self, query: &mut Statement) {
        query.push(" WHERE (v.owner_id = ").push_bind(self.reader_id.clone());
        query.push(if self.own_only { ")" } else { " OR v.private = 0)" });
        if let Some(kind) = &self.kind {
            query.push(" AND v.kind = ").push_bind(kind.clone());
        }
        if let Some(language) = &self.language {
            let language = language.to_ascii_lowercase();
            query.push(" AND (LOWER(v.language) = ").push_bind(language.clone());
            query.push(" OR LOWER(v.language) LIKE ").push_bind(format!("{}-%", like_escaped(&language))).push(" ESCAPE '\\')");
        }
        if let Some(category) = &self.category {
            query.push(" AND (c.id = ").push_bind(category.trim().to_ascii_lowercase());
            query.push(" OR c.name_key = ").push_bind(name_key(category)).push(")");
        }
        if let Some(favorite) = self.favorite {
            query.push(if favorite { " AND EXISTS (" } else { " AND NOT EXISTS (" });
            query.push("SELECT 1 FROM favorites f WHERE f.voice_id = v.id AND f.owner_id = ").push_bind(self.reader_id.clone()).push(")");
        }
        if let Some(part) = &self.contains {
            query.push(" AND v.search_text LIKE ").push_bind(format!("%{}%", like_escaped(&part.to_lowercase()))).push(" ESCAPE '\\'");
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VoiceOrder {
    Newest,
    Name,
    Language,
}

/// The last voice of the page before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VoicePlace {
    /// For [`VoiceOrder::Newest`].
    Age { created_at_ms: i64, id: String },
    /// [`sort_name`] or [`sort_language`] of it.
    Text { sorted_by: String, id: String },
}

pub async fn list(
    pool: &AnyPool,
    filter: &VoiceFilter,
    order: VoiceOrder,
    after: Option<&VoicePlace>,
    limit: u32,
) -> Result<Vec<Voice>, StorageError> {
    let mut query = Statement::new(SELECT);
    filter.push_where(&mut query);
    let column = match order {
        VoiceOrder::Newest => "v.created_at_ms",
        VoiceOrder::Name => "v.sort_name",
        VoiceOrder::Language => "v.sort_language",
    };
    match after {
        Some(VoicePlace::Age { created_at_ms, id }) => {
            query.push(" AND (v.created_at_ms < ").push_bind(*created_at_ms);
            query.push(" OR (v.created_at_ms = ").push_bind(*created_at_ms).push(" AND v.id < ").push_bind(id.clone()).push("))");
        }
        Some(VoicePlace::Text { sorted_by, id }) => {
            query.push(" AND (").push(column).push(" > ").push_bind(sorted_by.clone()).push(" OR (").push(column);
            query.push(" = ").push_bind(sorted_by.clone()).push(" AND v.id > ").push_bind(id.clone()).push("))");
        }
        None => {}
    }
    let direction = if order == VoiceOrder::Newest { " DESC" } else { "" };
    query.push(" ORDER BY ").push(column).push(direction).push(", v.id").push(direction);
    query.push(" LIMIT ").push_bind(i64::from(limit));
    query.build().fetch_all(pool).await?.iter().map(of_row).collect()
}

pub async fn count(pool: &AnyPool, filter: &VoiceFilter) -> Result<i64, StorageError> {
    let mut query = Statement::new("SELECT COUNT(*) FROM voices v LEFT JOIN categories c ON c.id = v.category_id");
    filter.push_where(&mut query);
    Ok(query.build_scalar().fetch_one(pool).await?)
}

/// How many open generations speak with this voice: they name it in the snapshot of their voices.
pub async fn open_uses(tx: &mut Tx, id: Uuid) -> Result<i64, StorageError> {
    let count = sqlx::query_scalar(
        "SELECT COUNT(*) FROM generations WHERE status IN ('queued', 'running', 'merging', 'interrupted') AND voices LIKE $1",
    )
    .bind(format!("%\"{id}\"%"))
    .fetch_one(tx.connection())
    .await?;
    Ok(count)
}

fn of_row(row: &AnyRow) -> Result<Voice, StorageError> {
    let category = match (row.try_get::<Option<String>, _>("category_id")?, row.try_get::<Option<String>, _>("category_name")?) {
        (Some(id), Some(name)) => Some(VoiceCategory { id: parse_uuid(&id)?, name, color: row.try_get("category_color")? }),
        _ => None,
    };
    let preview = match (
        row.try_get::<Option<String>, _>("preview_id")?,
        row.try_get::<Option<String>, _>("preview_sha256")?,
        row.try_get::<Option<i64>, _>("preview_size_bytes")?,
    ) {
        (Some(id), Some(sha256), Some(size_bytes)) => {
            Some(VoicePreview { id: parse_uuid(&id)?, blob: StoredBlob { sha256, size_bytes: size_bytes.cast_unsigned() } })
        }
        _ => None,
    };
    Ok(Voice {
        id: parse_uuid(&row.try_get::<String, _>("id")?)?,
        owner_id: row.try_get("owner_id")?,
        private: row.try_get::<i64, _>("private")? != 0,
        kind: row.try_get("kind")?,
        name: row.try_get("name")?,
        description: row.try_get("description")?,
        language: row.try_get("language")?,
        gender: row.try_get("gender")?,
        category,
        tags: serde_json::from_str(&row.try_get::<String, _>("tags")?)?,
        color: row.try_get("color")?,
        settings: serde_json::from_str(&row.try_get::<String, _>("settings")?)?,
        revision: row.try_get("revision")?,
        profiles: row.try_get("profiles")?,
        preview,
        consent: row.try_get("consent")?,
        job_id: row.try_get::<Option<String>, _>("job_id")?.as_deref().map(parse_uuid).transpose()?,
        created_at_ms: row.try_get("created_at_ms")?,
        updated_at_ms: row.try_get("updated_at_ms")?,
    })
}

fn sample_of_row(row: &AnyRow) -> Result<VoiceSample, StorageError> {
    Ok(VoiceSample {
        id: parse_uuid(&row.try_get::<String, _>("id")?)?,
        blob: StoredBlob { sha256: row.try_get("sha256")?, size_bytes: row.try_get::<i64, _>("size_bytes")?.cast_unsigned() },
        duration_ms: row.try_get("duration_ms")?,
        transcript: row.try_get("transcript")?,
        start_ms: row.try_get("start_ms")?,
        end_ms: row.try_get("end_ms")?,
        weight: row.try_get("weight")?,
    })
}
