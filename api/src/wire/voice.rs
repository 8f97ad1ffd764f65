//! Voices, categories and favourites as the contract shows them.

use engine::neural_models::Offer;
use salvo::oapi::{ToParameters, ToSchema};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use storage::voices::VoiceSample as Sample;

use crate::wire::list::Item;
use crate::wire::time::rfc3339;

/// A voice that can speak.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Voice {
    pub id: String,
    pub name: String,
    /// `preset`, `clone` or `design`.
    #[serde(rename = "type")]
    pub kind: String,
    /// BCP 47: the language it speaks when the text does not decide.
    pub language: String,
    /// All languages it can speak; empty while the engine is not installed.
    pub languages: Vec<String>,
    pub gender: String,
    pub description: String,
    pub tags: Vec<String>,
    /// The category's name.
    pub category: Option<String>,
    pub category_id: Option<String>,
    /// `#rrggbb`
    pub color: Option<String>,
    /// What a client keeps with the voice.
    #[salvo(schema(value_type = Object))]
    pub settings: Value,
    pub is_favorite: bool,
    pub preview_url: Option<String>,
    /// Whether it can speak here: false while it is made, and for one that only another engine can speak.
    pub ready: bool,
    /// The job that makes it, until it is made; where that failed, `POST /api/jobs/{id}/retry` tries again.
    pub job_id: Option<String>,
    /// Only its owner's keys see it.
    pub private: bool,
    /// The caller can't change it: a preset, or another owner's.
    pub read_only: bool,
    /// Rises with each change; also the `ETag` of the voice. Presets have none.
    pub revision: Option<i64>,
    /// RFC 3339
    pub created_at: Option<String>,
    /// RFC 3339
    pub updated_at: Option<String>,
}

impl Item for Voice {
    const PLURAL: &'static str = "voices";
    const LIST: &'static str = "VoiceList";
}

/// What else than its row decides how a voice is shown to a caller.
#[derive(Debug, Clone, Copy)]
pub struct Viewer<'a> {
    pub owner_id: &'a str,
    /// All that the engine speaks.
    pub languages: &'a [String],
    /// Ids of the caller's favourites.
    pub favorites: &'a [String],
    /// Presets that have a preview.
    pub previewed: &'a [String],
    /// What is installed.
    pub offer: &'a Offer,
}

impl Voice {
    pub fn of_preset(voice: jobs::voices::Voice, viewer: Viewer<'_>) -> Self {
        let preview_url = viewer.previewed.contains(&voice.id).then(|| format!("/api/voices/{}/preview", voice.id));
        Self {
            is_favorite: viewer.favorites.contains(&voice.id),
            id: voice.id,
            name: voice.name,
            kind: voice.kind,
            language: voice.language,
            languages: viewer.languages.to_vec(),
            gender: voice.gender,
            description: voice.description,
            tags: voice.tags,
            category: None,
            category_id: None,
            color: None,
            settings: Value::Object(Map::new()),
            preview_url,
            ready: true,
            job_id: None,
            private: false,
            read_only: true,
            revision: None,
            created_at: None,
            updated_at: None,
        }
    }

    pub fn of_stored(voice: storage::voices::Voice, viewer: Viewer<'_>) -> Self {
        let id = voice.id.to_string();
        let can_speak = voice.profiles.as_deref().is_some_and(|profiles| jobs::voices::can_speak(profiles, viewer.offer));
        Self {
            is_favorite: viewer.favorites.contains(&id),
            name: voice.name,
            kind: voice.kind,
            language: voice.language,
            languages: if can_speak { viewer.languages.to_vec() } else { Vec::new() },
            gender: voice.gender,
            description: voice.description,
            tags: voice.tags,
            category_id: voice.category.as_ref().map(|category| category.id.to_string()),
            category: voice.category.map(|category| category.name),
            color: voice.color,
            settings: voice.settings,
            preview_url: voice.preview.map(|_| format!("/api/voices/{id}/preview")),
            ready: can_speak,
            job_id: voice.job_id.map(|id| id.to_string()),
            private: voice.private,
            read_only: voice.owner_id != viewer.owner_id,
            revision: Some(voice.revision),
            created_at: Some(rfc3339(voice.created_at_ms)),
            updated_at: Some(rfc3339(voice.updated_at_ms)),
            id,
        }
    }
}

/// A voice with the recordings it was made from.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct VoiceDetails {
    #[serde(flatten)]
    pub voice: Voice,
    /// Empty for presets.
    pub samples: Vec<VoiceSample>,
    /// Of the recordings, where the voice was made of some here.
    #[salvo(schema(value_type = Option<CloneQuality>))]
    pub quality: Option<Value>,
    /// The oldest first.
    pub previews: Vec<VoicePreview>,
}

/// A few words in a voice.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct VoicePreview {
    pub id: String,
    pub text: String,
    pub language: String,
    pub duration_ms: i64,
    pub audio_url: String,
    /// A variant of a designed voice: `POST /api/design/create` with `voice_id` and `preview_id` makes the voice this.
    pub is_variant: bool,
}

impl VoicePreview {
    /// `voice_id` as callers know it.
    pub fn of(preview: storage::voice_previews::Preview, voice_id: &str) -> Self {
        Self {
            audio_url: format!("/api/voices/{voice_id}/previews/{}", preview.id),
            id: preview.id.to_string(),
            text: preview.text,
            language: preview.language,
            duration_ms: preview.duration_ms,
            is_variant: preview.profiles.is_some(),
        }
    }
}

/// How good the recordings of a voice are.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct CloneQuality {
    /// Speech against what is heard in its pauses; at most 80.
    pub snr_db: f64,
    /// Share of the samples that are cut off at full scale.
    pub clipping: f64,
    pub speech_ms: i64,
    /// `short` (under 10 s of speech), `noisy`, `clipped`, `several_speakers`, `music`, `narrow` (a telephone).
    pub warnings: Vec<String>,
}

/// A recording that a cloned voice was made from.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct VoiceSample {
    pub id: String,
    pub duration_ms: i64,
    pub transcript: Option<String>,
    /// The part that counts; all of it where null.
    pub start_ms: Option<i64>,
    pub end_ms: Option<i64>,
    pub weight: f64,
    pub audio_url: String,
}

impl VoiceSample {
    pub fn of(sample: Sample, voice_id: uuid::Uuid) -> Self {
        Self {
            audio_url: format!("/api/voices/{voice_id}/samples/{}", sample.id),
            id: sample.id.to_string(),
            duration_ms: sample.duration_ms,
            transcript: sample.transcript,
            start_ms: sample.start_ms,
            end_ms: sample.end_ms,
            weight: sample.weight,
        }
    }
}

/// What of a voice is to be changed; what is left out stays.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, ToSchema)]
#[serde(default)]
#[salvo(schema(example = json!({"name": "Ada", "tags": ["warm", "slow"], "category": "Narrators", "color": "#4f8ad9"})))]
pub struct VoiceChange {
    /// 1 to 200 characters.
    pub name: Option<String>,
    /// At most 4,000 characters.
    pub description: Option<String>,
    /// BCP 47
    pub language: Option<String>,
    /// `female`, `male` or `neutral`.
    pub gender: Option<String>,
    /// Name or id of a category; null takes the voice out of its category.
    #[serde(deserialize_with = "given")]
    #[salvo(schema(value_type = Option<String>))]
    pub category: Option<Option<String>>,
    /// At most 32, of at most 64 characters.
    pub tags: Option<Vec<String>>,
    /// `#rrggbb`; null takes it away.
    #[serde(deserialize_with = "given")]
    #[salvo(schema(value_type = Option<String>))]
    pub color: Option<Option<String>>,
    /// Any object of at most 16 KiB; it takes the place of the old one.
    #[salvo(schema(value_type = Option<Object>))]
    pub settings: Option<Map<String, Value>>,
    /// True: only the owner's keys see it.
    pub private: Option<bool>,
}

/// Tells null from left out.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[salvo(schema(inline))]
pub enum VoiceSort {
    /// Presets as the engine lists them, then the newest first.
    #[default]
    Default,
    Name,
    Language,
    /// The newest first, presets last.
    Created,
}

#[derive(Debug, Clone, Default, Deserialize, ToParameters)]
pub struct VoiceQuery {
    /// `preset`, `clone` or `design`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// A BCP 47 tag; `en` finds `en-US` and `en-GB` too.
    pub language: Option<String>,
    /// Id or name of a category.
    pub category: Option<String>,
    pub favorite: Option<bool>,
    /// Part of the name, the description or a tag, in any case.
    pub q: Option<String>,
    /// `default`, `name`, `language` or `created`.
    #[salvo(parameter(value_type = Option<String>))]
    pub sort: Option<VoiceSort>,
    /// 1 to 200.
    #[salvo(parameter(minimum = 1, maximum = 200, default = json!(50)))]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// A category that voices can be put in; everybody on this server shares them.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Category {
    pub id: String,
    pub name: String,
    /// `#rrggbb`
    pub color: Option<String>,
    /// Of those that the caller sees.
    pub voice_count: i64,
}

impl From<storage::categories::Category> for Category {
    fn from(category: storage::categories::Category) -> Self {
        Self { id: category.id.to_string(), name: category.name, color: category.color, voice_count: category.voice_count }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct CategoryList {
    pub categories: Vec<Category>,
}

#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[salvo(schema(example = json!({"name": "Narrators", "color": "#4f8ad9"})))]
pub struct NewCategory {
    /// 1 to 200 characters; no other category has it, in whatever case.
    pub name: Option<String>,
    /// `#rrggbb`
    pub color: Option<String>,
}

/// Which category is meant; one of the two.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, ToSchema, ToParameters)]
#[serde(default)]
#[salvo(schema(example = json!({"name": "Narrators"})))]
pub struct CategoryChoice {
    pub id: Option<String>,
    pub name: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Favorites {
    /// Ids of voices, the ones marked first first.
    pub favorites: Vec<String>,
    pub voices: Vec<Voice>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(default)]
#[salvo(schema(example = json!({"favorite": true})))]
pub struct FavoriteChange {
    /// Left out: the other of what it is.
    pub favorite: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FavoriteState {
    pub voice_id: String,
    pub is_favorite: bool,
}
