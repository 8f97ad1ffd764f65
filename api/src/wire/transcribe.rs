//! Transcriptions as the contract shows them.

use jobs::transcribe_sound::{PROMPT_CHARS_MAX, Wish};
use jobs::transcript::TranscriptFormat;
use salvo::oapi::ToSchema;
use serde::{Deserialize, Serialize};

use crate::problem::{FieldProblem, Problem};
use crate::upload::Upload;

/// What is to be written down, where it is here already.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[salvo(schema(example = json!({"generation_id": "0197f2c4-7d1e-7b3a-9c55-2f6d0e1a8b90", "response_format": "srt", "word_timestamps": true})))]
pub struct TranscribeRequest {
    /// Something that was spoken here: its words and their times are known, and no model is needed.
    #[serde(alias = "task_id")]
    pub generation_id: Option<String>,
    /// The sound that `POST /api/download-video` has brought.
    pub media_id: Option<String>,
    /// As the model calls it, such as `en`; `auto`: found.
    #[serde(alias = "lang")]
    pub language: Option<String>,
    /// An id of `GET /api/models` that can transcribe, or `auto`: the largest that is installed.
    pub model: Option<String>,
    /// Names, and how words are written: the model takes it for what was said before.
    #[serde(alias = "initial_prompt")]
    pub prompt: Option<String>,
    /// `json`, `text`, `srt`, `vtt` or `verbose_json`.
    #[serde(alias = "format")]
    pub response_format: Option<String>,
    /// When each word was said.
    pub word_timestamps: Option<bool>,
    /// English text, whatever is spoken.
    pub translate: Option<bool>,
    /// `transcribe`, or `translate`.
    pub task: Option<String>,
}

/// Sound to be written down.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "the form's parts, for the document")]
pub struct TranscribeForm {
    /// A file with sound. In its place `generation_id` or `media_id`.
    #[salvo(schema(value_type = Option<String>, format = Binary))]
    file: Option<Vec<u8>>,
    generation_id: Option<String>,
    media_id: Option<String>,
    /// As the model calls it, such as `en`; `auto`: found.
    language: Option<String>,
    /// An id of `GET /api/models` that can transcribe, or `auto`: the largest that is installed.
    model: Option<String>,
    /// Names, and how words are written.
    prompt: Option<String>,
    /// `json`, `text`, `srt`, `vtt` or `verbose_json`.
    response_format: Option<String>,
    /// `true`: when each word was said.
    word_timestamps: Option<String>,
    /// `true`: English text, whatever is spoken.
    translate: Option<String>,
    /// `transcribe`, or `translate`.
    task: Option<String>,
}

/// A request that was understood.
#[derive(Debug, Clone, PartialEq)]
pub struct TranscribeWish {
    pub generation_id: Option<String>,
    pub media_id: Option<String>,
    pub model: Option<String>,
    pub wish: Wish,
    pub format: TranscriptFormat,
}

impl TranscribeRequest {
    /// # Errors
    /// 422 for a field that is there twice, or no truth.
    pub fn of_upload(upload: &Upload) -> Result<Self, Problem> {
        let text = |names: &[&str]| upload.text(names).map(|text| text.map(str::to_owned));
        let flag = |name: &str| match upload.text(&[name])?.map(|text| text.trim().to_ascii_lowercase()).as_deref() {
            None => Ok(None),
            Some("false" | "0" | "no" | "off") => Ok(Some(false)),
            Some("true" | "1" | "yes" | "on") => Ok(Some(true)),
            Some(_) => Err(Problem::invalid_field(name, "must be true or false")),
        };
        Ok(Self {
            generation_id: text(&["generation_id", "task_id"])?,
            media_id: text(&["media_id"])?,
            language: text(&["language", "lang"])?,
            model: text(&["model"])?,
            prompt: text(&["prompt", "initial_prompt"])?,
            response_format: text(&["response_format", "format"])?,
            word_timestamps: flag("word_timestamps")?,
            translate: flag("translate")?,
            task: text(&["task"])?,
        })
    }

    /// # Errors
    /// 422 with all that is wrong.
    pub fn into_wish(self) -> Result<TranscribeWish, Problem> {
        let mut errors = Vec::new();
        let said = |value: Option<String>| value.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty() && text != "auto");
        let format = said(self.response_format).map_or(Some(TranscriptFormat::Json), |name| TranscriptFormat::parse(&name));
        let format = format.unwrap_or_else(|| {
            let names: Vec<&str> = TranscriptFormat::ALL.into_iter().map(|(name, _)| name).collect();
            errors.push(FieldProblem::new("response_format", format!("must be one of {}", names.join(", "))));
            TranscriptFormat::Json
        });
        let translate = match said(self.task).as_deref() {
            None => self.translate.unwrap_or(false),
            Some("translate") => true,
            Some("transcribe") => false,
            Some(_) => {
                errors.push(FieldProblem::new("task", "must be transcribe or translate"));
                false
            }
        };
        let prompt = said(self.prompt);
        if prompt.as_ref().is_some_and(|prompt| prompt.chars().count() > PROMPT_CHARS_MAX) {
            errors.push(FieldProblem::new("prompt", format!("must have at most {PROMPT_CHARS_MAX} characters")));
        }
        if !errors.is_empty() {
            return Err(Problem::invalid(errors));
        }
        // Models know languages without their regions.
        let language = said(self.language).map(|tag| tag.split(['-', '_']).next().unwrap_or_default().to_ascii_lowercase());
        let wish = Wish { language, translate, prompt, words: self.word_timestamps.unwrap_or(false) };
        Ok(TranscribeWish { generation_id: said(self.generation_id), media_id: said(self.media_id), model: said(self.model), wish, format })
    }
}

/// What was said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Transcription {
    pub text: String,
    /// As it was given, or found; null where nobody speaks.
    pub language: Option<String>,
    /// Of the sound, in seconds.
    pub duration: f64,
    pub segments: Vec<TranscribedSegment>,
    /// Null where the words were known without one.
    pub model: Option<String>,
    /// `transcribe` or `translate`.
    pub task: String,
    /// As it was asked for.
    pub format: String,
    /// The text in that format, where it is not JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
}

/// A sentence or so; times in seconds from the begin of the sound.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TranscribedSegment {
    pub id: u32,
    pub start: f64,
    pub end: f64,
    pub text: String,
    /// Where they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<Vec<TranscribedWord>>,
    /// With `verbose_json`, as the three that follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avg_logprob: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_speech_prob: Option<f64>,
    /// More than 2.4 is a text that repeats itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression_ratio: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TranscribedWord {
    pub word: String,
    pub start: f64,
    pub end: f64,
    pub probability: f64,
}
