//! Making a voice of a description, and a few words of a voice.

use jobs::design_voice::DesignOrder;
use jobs::preview_voice::PreviewOrder;
use salvo::oapi::ToSchema;
use serde::{Deserialize, Serialize};

use crate::idempotency::Once;
use crate::problem::{FieldProblem, Problem};
use crate::voice_fields as fields;
use crate::waiting::Asking;
use crate::wire::job::Job;

/// A description to be made a voice, or one of its variants to be picked.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, ToSchema)]
#[serde(default)]
#[salvo(schema(example = json!({"name": "Old Captain", "description": "a deep, calm, elderly man with a Scottish accent", "variants": 3})))]
pub struct DesignRequest {
    /// 1 to 200 characters; the description's beginning where not given.
    pub name: Option<String>,
    /// English, at most 1,000 characters. Words that say nothing here come back as `ignored_terms`.
    #[serde(alias = "prompt", alias = "voice_description")]
    pub description: Option<String>,
    /// BCP 47; the accent of the description where not given.
    #[serde(alias = "lang")]
    pub language: Option<String>,
    /// What the variants say, at most 500 characters; a sentence of the language where not given.
    #[serde(alias = "text")]
    pub sample_text: Option<String>,
    /// 1 to 4; 1 where not given. The first is the voice as described, the others are its neighbours.
    #[salvo(schema(minimum = 1, maximum = 4))]
    pub variants: Option<u32>,
    /// Other seeds make other neighbours; drawn where not given.
    pub seed: Option<u64>,
    /// True: only the owner's keys see the voice.
    pub private: Option<bool>,
    /// To pick: a designed voice, instead of a description.
    pub voice_id: Option<String>,
    /// To pick: one of its previews.
    pub preview_id: Option<String>,
}

/// What a body asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum DesignWish {
    Make(Box<DesignOrder>),
    Pick { voice_id: String, preview_id: Option<String> },
}

/// Of a name that is made of a description.
const NAME_CHARS: usize = 60;

impl DesignRequest {
    pub fn into_wish(self, asking: Asking) -> Result<DesignWish, Problem> {
        if let Some(voice_id) = self.voice_id {
            return Ok(DesignWish::Pick { voice_id, preview_id: self.preview_id });
        }
        let mut errors = Vec::new();
        let mut wrong = |field: &str, message: String| errors.push(FieldProblem::new(field, message));
        let description = self.description.map(|text| text.trim().to_owned()).unwrap_or_default();
        if description.is_empty() {
            wrong("description", "is needed: what the voice is like".into());
        } else if let Err(message) = fields::description(&description) {
            wrong("description", message);
        }
        let name =
            self.name.unwrap_or_else(|| description.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(NAME_CHARS).collect());
        let name = match fields::name(&name) {
            Ok(name) => name,
            // Without a description nothing can be made of it.
            Err(_) if description.is_empty() => String::new(),
            Err(message) => {
                wrong("name", message);
                String::new()
            }
        };
        let language = self.language.filter(|tag| tag != "auto").map(|tag| fields::language(&tag)).transpose().unwrap_or_else(|message| {
            wrong("language", message);
            None
        });
        if !errors.is_empty() {
            return Err(Problem::invalid(errors));
        }
        Ok(DesignWish::Make(Box::new(DesignOrder {
            name,
            description,
            private: self.private.unwrap_or(false),
            language,
            sample_text: self.sample_text.filter(|text| !text.trim().is_empty()),
            variants: self.variants.unwrap_or(1),
            seed: self.seed,
            idempotency: asking.once.map(|Once { key, .. }| key),
            trace: asking.trace,
        })))
    }
}

/// The job, or the voice that is another variant now.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum DesignReply {
    Job(Box<Job>),
    Picked(PickedVariant),
}

/// A designed voice is this variant now.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct PickedVariant {
    pub voice_id: String,
    pub preview_id: String,
    pub name: String,
    pub voice_url: String,
    pub audio_url: String,
}

/// A few words to be said.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, ToSchema)]
#[serde(default)]
#[salvo(schema(example = json!({"text": "This is how I sound.", "language": "en"})))]
pub struct PreviewRequest {
    /// At most 500 characters; a sentence of the language where not given. Presets say their own sentence only.
    #[serde(alias = "input")]
    pub text: Option<String>,
    /// BCP 47; the voice's own where not given.
    #[serde(alias = "lang")]
    pub language: Option<String>,
}

impl PreviewRequest {
    pub fn into_order(self, voice_id: String, asking: Asking) -> Result<PreviewOrder, Problem> {
        let language = self.language.filter(|tag| tag != "auto").map(|tag| fields::language(&tag)).transpose();
        Ok(PreviewOrder {
            voice_id,
            text: self.text.filter(|text| !text.trim().is_empty()),
            language: language.map_err(|message| Problem::invalid_field("language", message))?,
            idempotency: asking.once.map(|once| once.key),
            trace: asking.trace,
        })
    }
}
