//! Voices: presets, and those that were made here. Everybody reads the shared ones; only the owner changes one.

use jobs::voices as presets;
use salvo::Writer;
use salvo::oapi::endpoint;
use salvo::oapi::extract::PathParam;
use storage::voices::{self, Voice as Stored, VoiceCategory, VoiceFilter};
use storage::{BlobKey, Tx, categories, favorites, voice_previews};
use uuid::Uuid;

use super::previews;
use crate::answer::{NoContent, Reply};
use crate::app::App;
use crate::authenticate::Caller;
use crate::body::JsonRequest;
use crate::file_answer::FileAnswer;
use crate::file_name::content_disposition;
use crate::if_match::{IfMatch, Tagged};
use crate::problem::{Code, FieldProblem, Problem};
use crate::query_string::Query;
use crate::voice_fields as fields;
use crate::voice_list::{self, Listed, PageWish};
use crate::wire::list::{self, Page};
use crate::wire::voice::{Viewer, Voice, VoiceChange, VoiceDetails, VoiceQuery, VoiceSample};

/// Of one owner.
pub(super) const FAVORITES_MAX: u32 = 10_000;

/// List all voices
///
/// Presets, the caller's own, and those that others share.
#[endpoint(operation_id = "list_voices")]
pub async fn list_voices(app: App, caller: Caller, query: Query<VoiceQuery>) -> Result<Reply<Page<Voice>>, Problem> {
    let query = query.0;
    let limit = list::limit(query.limit)? as usize;
    let filter = VoiceFilter {
        kind: query.kind,
        language: query.language,
        category: query.category,
        favorite: query.favorite,
        contains: query.q.map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()),
        ..VoiceFilter::of_reader(&caller.owner_id)
    };
    let known = ["preset", "clone", "design"];
    if filter.kind.as_ref().is_some_and(|kind| !known.contains(&kind.as_str())) {
        return Err(Problem::invalid_field("type", format!("must be one of {}", known.join(", "))));
    }
    let favorites = favorites_of(&app, &caller).await?;
    let wish = PageWish { sort: query.sort.unwrap_or_default(), cursor: query.cursor.as_deref(), limit };
    let page = voice_list::page(&app, &filter, &favorites, wish).await?;
    let languages = app.jobs.engine_status().capabilities.languages;
    let previewed = app.jobs.previewed_presets().await?;
    let offer = app.jobs.engines().offer();
    let viewer = Viewer { owner_id: &caller.owner_id, languages: &languages, favorites: &favorites, previewed: &previewed, offer: &offer };
    let show = |voice| match voice {
        Listed::Preset(preset) => Voice::of_preset(*preset, viewer),
        Listed::Stored(stored) => Voice::of_stored(*stored, viewer),
    };
    Ok(Reply(Page { items: page.voices.into_iter().map(show).collect(), next_cursor: page.next_cursor, total: page.total }))
}

pub(super) async fn favorites_of(app: &App, caller: &Caller) -> Result<Vec<String>, Problem> {
    Ok(favorites::list(app.storage.rows.read(), &caller.owner_id, FAVORITES_MAX).await?)
}

pub(super) fn no_voice() -> Problem {
    Problem::new(Code::VoiceNotFound, "there is no voice with this id; GET /api/voices lists them")
}

/// A stored voice that the caller may see.
pub(super) async fn find_stored(app: &App, caller: &Caller, id: &str) -> Result<Stored, Problem> {
    let id = Uuid::parse_str(id.trim()).map_err(|_| no_voice())?;
    app.jobs.stored_voice(&caller.owner_id, id).await?.ok_or_else(no_voice)
}

/// Get voice details
#[endpoint(operation_id = "get_voice")]
pub async fn get_voice(app: App, caller: Caller, id: PathParam<String>) -> Result<Tagged<Reply<VoiceDetails>>, Problem> {
    let languages = app.jobs.engine_status().capabilities.languages;
    let favorites = favorites_of(&app, &caller).await?;
    let previewed = app.jobs.previewed_presets().await?;
    let offer = app.jobs.engines().offer();
    let viewer = Viewer { owner_id: &caller.owner_id, languages: &languages, favorites: &favorites, previewed: &previewed, offer: &offer };
    if let Some(preset) = app.jobs.preset(&id) {
        let previews = previews::of_voice(&app, &preset.id).await?;
        let details = VoiceDetails { voice: Voice::of_preset(preset, viewer), samples: Vec::new(), quality: None, previews };
        return Ok(Tagged { answer: Reply(details), version: "preset".into() });
    }
    let voice = find_stored(&app, &caller, &id).await?;
    let samples = voices::samples(app.storage.rows.read(), voice.id).await?;
    let samples = samples.into_iter().map(|sample| VoiceSample::of(sample, voice.id)).collect();
    let version = voice.revision.to_string();
    let previews = previews::of_voice(&app, &voice.id.to_string()).await?;
    let quality = voice.profiles.as_deref().and_then(presets::quality);
    Ok(Tagged { answer: Reply(VoiceDetails { voice: Voice::of_stored(voice, viewer), samples, quality, previews }), version })
}

/// Update voice metadata
#[endpoint(operation_id = "update_voice")]
pub async fn update_voice(
    app: App,
    caller: Caller,
    id: PathParam<String>,
    if_match: IfMatch,
    change: JsonRequest<VoiceChange>,
) -> Result<Tagged<Reply<Voice>>, Problem> {
    refuse_preset(&app, &id)?;
    let id = find_stored(&app, &caller, &id).await?.id;
    let mut tx = app.storage.rows.begin().await?;
    let mut voice = own_in(&mut tx, &caller, id).await?;
    if_match.check(&voice.revision.to_string())?;
    apply(&mut tx, &mut voice, change.0).await?;
    voice.updated_at_ms = app.clock.now_ms();
    if !voices::update(&mut tx, &voice).await? {
        return Err(Problem::new(Code::StaleRevision, "it was changed by another request at the same time; repeat it"));
    }
    tx.commit().await?;
    voice.revision += 1;
    let languages = app.jobs.engine_status().capabilities.languages;
    let favorites = favorites_of(&app, &caller).await?;
    let previewed = app.jobs.previewed_presets().await?;
    let offer = app.jobs.engines().offer();
    let viewer = Viewer { owner_id: &caller.owner_id, languages: &languages, favorites: &favorites, previewed: &previewed, offer: &offer };
    let version = voice.revision.to_string();
    Ok(Tagged { answer: Reply(Voice::of_stored(voice, viewer)), version })
}

fn refuse_preset(app: &App, id: &str) -> Result<(), Problem> {
    if app.jobs.preset(id).is_some() {
        return Err(Problem::new(Code::ReadOnly, "presets belong to the program and stay as they are"));
    }
    Ok(())
}

/// The voice, if the caller may change it.
async fn own_in(tx: &mut Tx, caller: &Caller, id: Uuid) -> Result<Stored, Problem> {
    let voice = voices::find_in(tx, id).await?.filter(|voice| voice.is_visible_to(&caller.owner_id)).ok_or_else(no_voice)?;
    if voice.owner_id != caller.owner_id {
        return Err(Problem::new(Code::ReadOnly, "the voice belongs to another key, which shares it for reading"));
    }
    Ok(voice)
}

/// Puts the wanted values into the voice; all that are wrong are named at once.
async fn apply(tx: &mut Tx, voice: &mut Stored, change: VoiceChange) -> Result<(), Problem> {
    let mut errors = Vec::new();
    fn put<T>(errors: &mut Vec<FieldProblem>, place: &mut T, field: &str, value: Option<Result<T, String>>) {
        match value {
            Some(Ok(value)) => *place = value,
            Some(Err(message)) => errors.push(FieldProblem::new(field, message)),
            None => {}
        }
    }
    put(&mut errors, &mut voice.name, "name", change.name.map(|name| fields::name(&name)));
    put(&mut errors, &mut voice.description, "description", change.description.map(|text| fields::description(&text)));
    put(&mut errors, &mut voice.language, "language", change.language.map(|tag| fields::language(&tag)));
    put(&mut errors, &mut voice.gender, "gender", change.gender.map(|gender| fields::gender(&gender)));
    put(&mut errors, &mut voice.tags, "tags", change.tags.map(|tags| fields::tags(&tags)));
    put(&mut errors, &mut voice.color, "color", change.color.map(|color| color.map(|color| fields::color(&color)).transpose()));
    put(&mut errors, &mut voice.settings, "settings", change.settings.map(fields::settings));
    if let Some(wanted) = change.category {
        put(&mut errors, &mut voice.category, "category", Some(category(tx, wanted).await?));
    }
    if !errors.is_empty() {
        return Err(Problem::invalid(errors));
    }
    voice.private = change.private.unwrap_or(voice.private);
    Ok(())
}

pub(super) async fn category(tx: &mut Tx, wanted: Option<String>) -> Result<Result<Option<VoiceCategory>, String>, Problem> {
    let Some(wanted) = wanted.filter(|wanted| !wanted.trim().is_empty()) else {
        return Ok(Ok(None));
    };
    let found = if wanted.contains('\0') { None } else { categories::find_in(tx, &wanted).await? };
    let missing = || "is no category; POST /api/categories makes one".to_owned();
    Ok(found.map(|category| Some(VoiceCategory { id: category.id, name: category.name, color: category.color })).ok_or_else(missing))
}

/// Delete voice
///
/// Its recordings are gone with it. What it has spoken stays, with its name.
#[endpoint(operation_id = "delete_voice")]
pub async fn delete_voice(app: App, caller: Caller, id: PathParam<String>) -> Result<NoContent, Problem> {
    refuse_preset(&app, &id)?;
    let id = find_stored(&app, &caller, &id).await?.id;
    let mut tx = app.storage.rows.begin().await?;
    let voice = own_in(&mut tx, &caller, id).await?;
    let uses = voices::open_uses(&mut tx, id).await?;
    if uses > 0 {
        let detail = format!("{uses} generations are speaking with it; wait for them, or cancel them");
        return Err(Problem::new(Code::Conflict, detail));
    }
    if let Some(job_id) = app.jobs.making(&voice).await? {
        let detail = format!("the voice is being made by job {job_id}; wait for it, or cancel it");
        return Err(Problem::new(Code::Conflict, detail).retry_after(2));
    }
    let samples = voices::samples_in(&mut tx, id).await?;
    let previews = voice_previews::list_in(&mut tx, id).await?;
    voices::delete(&mut tx, id).await?;
    tx.commit().await?;
    delete_blobs(&app, voices::blob_keys(&voice, &samples, &previews)).await;
    Ok(NoContent)
}

/// Of rows that are gone. What can't be deleted now, the sweep deletes later.
pub(crate) async fn delete_blobs(app: &App, keys: Vec<BlobKey>) {
    for key in keys {
        if let Err(error) = app.storage.blobs.delete(key).await {
            tracing::warn!(%error, blob.key = %key, "a blob without a row stays until the next sweep");
        }
    }
}

/// A recording of a voice
#[endpoint(operation_id = "get_voice_sample")]
pub async fn get_voice_sample(
    app: App,
    caller: Caller,
    id: PathParam<String>,
    sample_id: PathParam<String>,
) -> Result<FileAnswer, Problem> {
    let voice = find_stored(&app, &caller, &id).await?;
    let samples = voices::samples(app.storage.rows.read(), voice.id).await?;
    let wanted = Uuid::parse_str(sample_id.trim()).ok();
    let place = samples.iter().position(|sample| Some(sample.id) == wanted);
    let (index, sample) = place
        .map(|index| (index, &samples[index]))
        .ok_or_else(|| Problem::new(Code::AudioNotFound, "the voice has no recording with this id"))?;
    let name = format!("{} {:03}", voice.name, index + 1);
    let disposition = content_disposition(Some(&name), &format!("sample-{}", sample.id), "wav");
    let key = BlobKey::VoiceSample { voice_id: voice.id, sample_id: sample.id };
    Ok(FileAnswer::blob(key, &sample.blob.sha256, sample.blob.size_bytes, "audio/wav", disposition))
}

/// A few words in a voice
#[endpoint(operation_id = "get_voice_preview")]
pub async fn get_voice_preview(app: App, caller: Caller, id: PathParam<String>) -> Result<FileAnswer, Problem> {
    if let Some(preset) = app.jobs.preset(&id) {
        return previews::heard(&app, &preset.id, |_| true).await;
    }
    let voice = find_stored(&app, &caller, &id).await?;
    let preview = voice.preview.ok_or_else(|| Problem::new(Code::AudioNotFound, "no preview was made of the voice"))?;
    let disposition = content_disposition(Some(&voice.name), &format!("voice-{}", voice.id), "wav");
    let key = BlobKey::VoicePreview { voice_id: voice.id, preview_id: preview.id };
    Ok(FileAnswer::blob(key, &preview.blob.sha256, preview.blob.size_bytes, "audio/wav", disposition))
}
