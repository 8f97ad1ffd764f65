//! Voices as the contract shows them.

use salvo::oapi::{ToParameters, ToSchema};
use serde::{Deserialize, Serialize};

use crate::wire::list::Item;

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
    pub category: Option<String>,
    pub is_favorite: bool,
    pub preview_url: Option<String>,
}

impl Item for Voice {
    const PLURAL: &'static str = "voices";
    const LIST: &'static str = "VoiceList";
}

impl Voice {
    pub fn of(voice: jobs::voices::Voice, languages: &[String]) -> Self {
        Self {
            id: voice.id,
            name: voice.name,
            kind: voice.kind,
            language: voice.language,
            languages: languages.to_vec(),
            gender: voice.gender,
            description: voice.description,
            tags: voice.tags,
            category: None,
            is_favorite: false,
            preview_url: None,
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
}

/// A recording that a cloned voice was made from.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct VoiceSample {
    pub id: String,
    pub duration_ms: i64,
    pub transcript: Option<String>,
    pub audio_url: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[salvo(schema(inline))]
pub enum VoiceSort {
    /// As the engine lists them.
    #[default]
    Default,
    Name,
    Language,
}

#[derive(Debug, Clone, Default, Deserialize, ToParameters)]
pub struct VoiceQuery {
    /// `preset`, `clone` or `design`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// A BCP 47 tag; `en` finds `en-US` and `en-GB` too.
    pub language: Option<String>,
    pub category: Option<String>,
    pub favorite: Option<bool>,
    /// Part of the name, the description or a tag, in any case.
    pub q: Option<String>,
    /// `default`, `name` or `language`.
    #[salvo(parameter(value_type = Option<String>))]
    pub sort: Option<VoiceSort>,
    /// 1 to 200.
    #[salvo(parameter(minimum = 1, maximum = 200, default = json!(50)))]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}
