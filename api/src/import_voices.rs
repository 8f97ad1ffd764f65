//! From an archive that was read to voices of the caller: each whole or not at all, its recordings stored before the row that names them.

use std::path::{Path, PathBuf};

use serde_json::Value;
use storage::categories::Category;
use storage::voices::{self, Voice, VoiceCategory, VoicePreview, VoiceSample, name_key};
use storage::{BlobKey, StorageError, categories, voice_previews};
use tempfile::TempDir;
use uuid::Uuid;

use crate::app::App;
use crate::archive::{ArchiveContents, ArchiveLimits, FoundFile, FoundVoice};
use crate::decode_host::{HostAnswer, HostTask};
use crate::endpoints::voices::delete_blobs;
use crate::problem::{FieldProblem, Problem};
use crate::upload::{self, UploadedFile};
use crate::voice_fields::{self as fields, NAME_CHARS_MAX};
use crate::wire::time::parse_ms;
use crate::wire::voice_archive::{Conflict, ImportReport, ImportedVoice, NotImported, OnConflict, SkippedVoice};

const VOICES_MAX: usize = 1_000;
const MEMBERS_MAX: usize = 10_000;
const SAMPLES_MAX: usize = 500;
const JSON_BYTES_MAX: u64 = 4 * 1024 * 1024;
const CONSENT_BYTES_MAX: usize = 64 * 1024;
const RATIO_MAX: u64 = 100;
const WEIGHT_MAX: f64 = 1_000.0;
/// Names that are tried for one that is taken.
const RENAMES_MAX: u32 = 10_000;

/// What is imported of an archive, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportWish {
    /// Ids in the archive; empty for all.
    pub selected: Vec<String>,
    pub on_conflict: OnConflict,
}

fn limits(app: &App) -> ArchiveLimits {
    ArchiveLimits {
        members_max: MEMBERS_MAX,
        voices_max: VOICES_MAX,
        samples_max: SAMPLES_MAX,
        real_bytes_max: app.config.archive_bytes_max,
        member_bytes_max: app.config.archive_bytes_max.min(app.config.decode_memory_bytes_max / 4),
        json_bytes_max: JSON_BYTES_MAX,
        ratio_max: RATIO_MAX,
        audio_ms_max: app.config.audio_ms_max,
    }
}

/// Checks an archive whole, in a process of its own.
pub async fn read(app: &App, file: &UploadedFile) -> Result<ArchiveContents, Problem> {
    match app.decode_hosts.run(file.path(), &file.field, HostTask::ReadArchive { limits: limits(app) }).await? {
        HostAnswer::Archive(contents) => Ok(*contents),
        other => Err(Problem::internal(format!("decode host: {other:?}"))),
    }
}

/// The caller's voice that stands in the way of one from an archive.
#[derive(Debug, Clone, PartialEq)]
pub struct InTheWay {
    pub kind: Conflict,
    pub voice: Voice,
}

pub async fn conflict(app: &App, owner_id: &str, found: &FoundVoice) -> Result<Option<InTheWay>, StorageError> {
    let pool = app.storage.rows.read();
    let sha256s: Vec<&str> = found.samples.iter().map(|sample| sample.file.sha256.as_str()).collect();
    for voice in voices::find_alike(pool, owner_id, sha256s.first().copied(), found.profiles.as_deref()).await? {
        let samples = voices::samples(pool, voice.id).await?;
        let same = samples.iter().map(|sample| sample.blob.sha256.as_str()).eq(sha256s.iter().copied());
        if same && voice.profiles == found.profiles {
            return Ok(Some(InTheWay { kind: Conflict::SameContent, voice }));
        }
    }
    let named = own_named(app, owner_id, &found.voice.name).await?;
    Ok(named.map(|voice| InTheWay { kind: Conflict::SameName, voice }))
}

async fn own_named(app: &App, owner_id: &str, name: &str) -> Result<Option<Voice>, StorageError> {
    let found = voices::find_named(app.storage.rows.read(), owner_id, &[name]).await?;
    Ok(found.into_iter().find(|voice| voice.owner_id == owner_id && name_key(&voice.name) == name_key(name)))
}

/// Imports what is wanted of a checked archive.
pub async fn import(
    app: &App,
    owner_id: &str,
    file: &UploadedFile,
    contents: &ArchiveContents,
    wish: &ImportWish,
) -> Result<ImportReport, Problem> {
    let is_wanted = |found: &FoundVoice| wish.selected.is_empty() || wish.selected.contains(&found.voice.id);
    if let Some(unknown) = wish.selected.iter().find(|id| !contents.voices.iter().any(|found| found.voice.id == **id)) {
        return Err(Problem::invalid_field("selected", format!("\"{unknown}\" is no voice of the archive")));
    }
    let wanted: Vec<&FoundVoice> = contents.voices.iter().filter(|found| is_wanted(found)).collect();
    let bytes = wanted.iter().map(|found| found.size_bytes).sum();
    let _held = app.temporary_bytes.reserve(owner_id, bytes)?;
    let folder = extract(app, file, &wanted).await?;
    let mut report = ImportReport::default();
    for found in wanted {
        let (source_id, name) = (found.voice.id.clone(), found.voice.name.clone());
        match import_one(app, owner_id, found, wish.on_conflict, folder.path()).await {
            Ok(Outcome::Imported(imported)) => report.imported.push(imported),
            Ok(Outcome::Skipped(reason)) => report.skipped.push(SkippedVoice { source_id, name, reason }),
            Err(Failure::Invalid(errors)) => {
                let detail = "some values are not allowed".into();
                report.errors.push(NotImported { source_id, name, detail, errors });
            }
            Err(Failure::Storage(error)) if error.is_transient() && report.imported.is_empty() => return Err(error.into()),
            Err(Failure::Storage(error)) => {
                tracing::error!(%error, voice.id = source_id, "a voice of an archive was not stored");
                report.errors.push(NotImported { source_id, name, detail: "it could not be stored".into(), errors: Vec::new() });
            }
        }
    }
    Ok(report)
}

/// The files of these voices in a folder that goes with the value.
async fn extract(app: &App, file: &UploadedFile, wanted: &[&FoundVoice]) -> Result<TempDir, Problem> {
    let parent = upload::folder(app).await?;
    let made = tokio::task::spawn_blocking(move || tempfile::Builder::new().prefix("import-").tempdir_in(parent)).await;
    let folder = made.map_err(Problem::internal)?.map_err(upload::written)?;
    let voices = wanted.iter().map(|found| found.voice.id.clone()).collect();
    let task = HostTask::ExtractArchive { limits: limits(app), folder: folder.path().to_owned(), voices };
    app.decode_hosts.run(file.path(), &file.field, task).await?;
    Ok(folder)
}

enum Outcome {
    Imported(ImportedVoice),
    Skipped(Conflict),
}

enum Failure {
    Invalid(Vec<FieldProblem>),
    Storage(StorageError),
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

async fn import_one(app: &App, owner_id: &str, found: &FoundVoice, on_conflict: OnConflict, folder: &Path) -> Result<Outcome, Failure> {
    let now_ms = app.clock.now_ms();
    let (mut voice, mut samples) = checked(found, owner_id, now_ms).map_err(Failure::Invalid)?;
    let in_the_way = conflict(app, owner_id, found).await?;
    let replaced = match (in_the_way, on_conflict) {
        (Some(conflict), OnConflict::Skip) => return Ok(Outcome::Skipped(conflict.kind)),
        (Some(conflict), OnConflict::Replace) => Some(conflict.voice),
        (_, _) => None,
    };
    if let Some(old) = &replaced {
        (voice.id, voice.revision, voice.created_at_ms) = (old.id, old.revision, old.created_at_ms);
    } else {
        voice.name = free_name(app, owner_id, &voice.name).await?;
        // An archive's own id is kept where it is free: what refers to it goes on doing so.
        if voices::find(app.storage.rows.read(), voice.id).await?.is_some() {
            voice.id = Uuid::now_v7();
        }
    }
    let category = category_of(found, now_ms);
    store_blobs(app, found, &mut voice, &mut samples, folder).await?;
    let stored = store_rows(app, &mut voice, &samples, category, replaced.as_ref(), now_ms).await;
    match stored {
        Ok(old_keys) => delete_blobs(app, old_keys).await,
        Err(error) => {
            delete_blobs(app, voices::blob_keys(&voice, &samples, &[])).await;
            return Err(error.into());
        }
    }
    Ok(Outcome::Imported(ImportedVoice {
        source_id: found.voice.id.clone(),
        voice_id: voice.id.to_string(),
        name: voice.name,
        replaced: replaced.is_some(),
    }))
}

/// The row and its recordings as the archive wants them, if it may.
fn checked(found: &FoundVoice, owner_id: &str, now_ms: i64) -> Result<(Voice, Vec<VoiceSample>), Vec<FieldProblem>> {
    let mut errors = Vec::new();
    let archived = &found.voice;
    fn value<T: Default>(errors: &mut Vec<FieldProblem>, field: &str, checked: Result<T, String>) -> T {
        checked.unwrap_or_else(|message| {
            errors.push(FieldProblem::new(field, message));
            T::default()
        })
    }
    let voice = Voice {
        id: Uuid::parse_str(&archived.id).unwrap_or_else(|_| Uuid::now_v7()),
        owner_id: owner_id.to_owned(),
        private: archived.private,
        kind: archived.kind.clone(),
        name: value(&mut errors, "name", fields::name(&archived.name)),
        description: value(&mut errors, "description", fields::description(&archived.description)),
        language: value(&mut errors, "language", fields::language(&archived.language)),
        gender: value(&mut errors, "gender", fields::gender(&archived.gender)),
        category: None,
        tags: value(&mut errors, "tags", fields::tags(&archived.tags)),
        color: value(&mut errors, "color", archived.color.as_deref().map(fields::color).transpose()),
        settings: value(&mut errors, "settings", fields::settings(archived.settings.clone())),
        revision: 1,
        profiles: found.profiles.clone(),
        preview: None,
        consent: found.consent.clone(),
        job_id: None,
        created_at_ms: archived.created_at.as_deref().and_then(parse_ms).filter(|ms| (0..=now_ms).contains(ms)).unwrap_or(now_ms),
        updated_at_ms: now_ms,
    };
    if !["clone", "design"].contains(&archived.kind.as_str()) {
        errors.push(FieldProblem::new("type", "must be clone or design"));
    }
    if let Some(category) = &archived.category {
        value(&mut errors, "category.name", fields::name(&category.name));
        value(&mut errors, "category.color", category.color.as_deref().map(fields::color).transpose());
    }
    value(&mut errors, "profile.json", found.profiles.as_deref().map_or(Ok(()), jobs::voices::check_profiles));
    value(&mut errors, "consent.json", found.consent.as_deref().map_or(Ok(()), check_consent));
    let mut samples = Vec::new();
    for (index, sample) in found.samples.iter().enumerate() {
        let field = |name: &str| format!("samples[{index}].{name}");
        let told = &sample.sample;
        value(&mut errors, &field("transcript"), told.transcript.as_deref().map_or(Ok(String::new()), fields::transcript));
        value(&mut errors, &field("start_ms"), check_part(told.start_ms, told.end_ms, sample.duration_ms));
        value(&mut errors, &field("weight"), check_weight(told.weight));
        samples.push(VoiceSample {
            id: Uuid::now_v7(),
            blob: storage::blobs::StoredBlob { sha256: sample.file.sha256.clone(), size_bytes: sample.file.size_bytes },
            duration_ms: sample.duration_ms,
            transcript: told.transcript.clone(),
            start_ms: told.start_ms,
            end_ms: told.end_ms,
            weight: told.weight,
        });
    }
    if errors.is_empty() { Ok((voice, samples)) } else { Err(errors) }
}

fn check_consent(text: &str) -> Result<(), String> {
    if text.len() > CONSENT_BYTES_MAX {
        return Err(format!("must have at most {CONSENT_BYTES_MAX} bytes"));
    }
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(_)) => Ok(()),
        _ => Err("must be a JSON object".into()),
    }
}

fn check_part(start_ms: Option<i64>, end_ms: Option<i64>, duration_ms: i64) -> Result<(), String> {
    let (start_ms, end_ms) = (start_ms.unwrap_or(0), end_ms.unwrap_or(duration_ms));
    let within = 0 <= start_ms && start_ms <= end_ms && end_ms <= duration_ms;
    if within { Ok(()) } else { Err(format!("the part from {start_ms} to {end_ms} ms is not in the recording of {duration_ms} ms")) }
}

fn check_weight(weight: f64) -> Result<(), String> {
    // Written so that NaN fails too.
    if (0.0..=WEIGHT_MAX).contains(&weight) { Ok(()) } else { Err(format!("must be between 0 and {WEIGHT_MAX}")) }
}

/// `Name (2)` where the caller has a voice of that name.
async fn free_name(app: &App, owner_id: &str, name: &str) -> Result<String, StorageError> {
    let mut free = name.to_owned();
    for number in 2..RENAMES_MAX {
        if own_named(app, owner_id, &free).await?.is_none() {
            break;
        }
        let ending = format!(" ({number})");
        let kept: String = name.chars().take(NAME_CHARS_MAX - ending.len()).collect();
        free = kept.trim_end().to_owned() + &ending;
    }
    Ok(free)
}

fn category_of(found: &FoundVoice, _now_ms: i64) -> Option<Category> {
    let archived = found.voice.category.as_ref()?;
    let (name, color) = (fields::name(&archived.name).ok()?, archived.color.as_deref().and_then(|color| fields::color(color).ok()));
    Some(Category { id: Uuid::now_v7(), name, color, voice_count: 0 })
}

async fn store_blobs(
    app: &App,
    found: &FoundVoice,
    voice: &mut Voice,
    samples: &mut [VoiceSample],
    folder: &Path,
) -> Result<(), StorageError> {
    let voice_id = voice.id;
    for (sample, extracted) in samples.iter_mut().zip(&found.samples) {
        put(app, BlobKey::VoiceSample { voice_id, sample_id: sample.id }, folder, &extracted.file).await?;
    }
    if let Some(file) = &found.preview {
        let preview_id = Uuid::now_v7();
        let blob = put(app, BlobKey::VoicePreview { voice_id, preview_id }, folder, file).await?;
        voice.preview = Some(VoicePreview { id: preview_id, blob });
    }
    Ok(())
}

/// What is stored must be what was checked.
async fn put(app: &App, key: BlobKey, folder: &Path, file: &FoundFile) -> Result<storage::blobs::StoredBlob, StorageError> {
    // A name without folders, whatever the other process says.
    let name = PathBuf::from(&file.name);
    let name = name.file_name().ok_or_else(|| StorageError::Malformed("an extracted file without a name".into()))?;
    let stored = app.storage.blobs.put_file(key, &folder.join(name)).await?;
    if stored.sha256 != file.sha256 {
        app.storage.blobs.delete(key).await?;
        return Err(StorageError::Malformed(format!("{key} is not what was read before")));
    }
    Ok(stored)
}

/// One transaction. Returns the keys of blobs that no row names any longer.
async fn store_rows(
    app: &App,
    voice: &mut Voice,
    samples: &[VoiceSample],
    category: Option<Category>,
    replaced: Option<&Voice>,
    now_ms: i64,
) -> Result<Vec<BlobKey>, StorageError> {
    let mut tx = app.storage.rows.begin().await?;
    if let Some(category) = category {
        let category = categories::find_or_insert(&mut tx, &category, now_ms).await?;
        voice.category = Some(VoiceCategory { id: category.id, name: category.name, color: category.color });
    }
    let mut old_keys = Vec::new();
    match replaced {
        Some(old) => {
            let previews = voice_previews::list_in(&mut tx, old.id).await?;
            old_keys = voices::blob_keys(old, &voices::samples_in(&mut tx, old.id).await?, &previews);
            voice_previews::delete_all(&mut tx, old.id).await?;
            if !voices::update(&mut tx, voice).await? {
                return Err(StorageError::Conflict("the voice was changed at the same time".into()));
            }
            voices::replace_samples(&mut tx, voice.id, samples).await?;
        }
        None => voices::insert(&mut tx, voice, samples).await?,
    }
    tx.commit().await?;
    Ok(old_keys)
}
