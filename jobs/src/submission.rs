//! What the front door hands over: a request for speech, parsed but not yet checked against voices, limits and the engine. It may not know
//! HTTP, and it is no row.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::choose_engine::EngineWish;

/// The contract's generate calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum GenerationKind {
    #[serde(rename = "generate.clone")]
    Clone,
    #[serde(rename = "generate.preset")]
    Preset,
    #[serde(rename = "generate.clone_chunked")]
    CloneChunked,
    #[serde(rename = "generate.clone_chunked_multivoice")]
    Multivoice,
    #[serde(rename = "generate.clone_chunked_multilang")]
    Multilang,
}

impl GenerationKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clone => "generate.clone",
            Self::Preset => "generate.preset",
            Self::CloneChunked => "generate.clone_chunked",
            Self::Multivoice => "generate.clone_chunked_multivoice",
            Self::Multilang => "generate.clone_chunked_multilang",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Submission {
    pub kind: GenerationKind,
    pub source: Source,
    /// The voice of everything that names no other. `None` only where every chunk or turn names one.
    pub voice_id: Option<String>,
    /// Multivoice: what `[voice:name]` in the text stands for.
    pub voices: BTreeMap<String, String>,
    /// Multilang: the languages that a sentence may be found to be in; empty for any.
    pub languages: Vec<String>,
    /// Multilang: what is in another language than it is to be said in is translated first; a text without a language of its own is said in
    /// each of `languages`.
    pub translate: bool,
    /// The model for that; found when it is accepted.
    pub translator: Option<String>,
    pub options: GenerationOptions,
    pub title: Option<String>,
    /// Any JSON, given back as it is.
    pub metadata: Option<serde_json::Value>,
    /// One of the owner's; the generation becomes its last.
    pub montage_id: Option<uuid::Uuid>,
    /// -10 to 10.
    pub priority: i64,
    /// Epoch milliseconds; nothing of it is started before.
    pub not_before_ms: Option<i64>,
    /// Claimed before by the front door; the accept notes the job under it.
    pub idempotency: Option<storage::idempotency::IdempotencyKey>,
    pub trace: TraceContext,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// To be split here.
    Text(String),
    /// Split by the caller; each is one chunk, however long (up to the limit of a chunk).
    Chunks(Vec<ChunkInput>),
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct ChunkInput {
    pub text: String,
    pub voice_id: Option<String>,
    pub language: Option<String>,
    pub pause_after_ms: Option<u32>,
    pub speed: Option<f32>,
    pub instruct: Option<String>,
}

/// What decides how it sounds and what file comes out; kept with the generation as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GenerationOptions {
    /// BCP 47, or `auto`: found for each chunk.
    pub language: String,
    /// 0.25 to 4.
    pub speed: f32,
    /// -12 to 12.
    pub pitch_semitones: f32,
    /// Drawn at accept when not given, then stored: a resumed job must not draw again.
    pub seed: Option<u64>,
    pub instruct: Option<String>,
    /// The setting's where not given; stored, so that what is planned later is planned alike.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineWish>,
    /// Characters, 20 to 1,000.
    pub max_chunk_chars: u32,
    /// Silence after each chunk that says nothing else, 0 to 10,000.
    pub pause_ms: u32,
    /// Multivoice: silence where the voice changes.
    pub pause_between_turns_ms: u32,
    pub auto_merge: bool,
    pub merge: MergeOptions,
}

impl Default for GenerationOptions {
    fn default() -> Self {
        Self {
            language: "auto".into(),
            speed: 1.0,
            pitch_semitones: 0.0,
            seed: None,
            instruct: None,
            engine: None,
            max_chunk_chars: 250,
            pause_ms: 200,
            pause_between_turns_ms: 400,
            auto_merge: true,
            merge: MergeOptions::default(),
        }
    }
}

/// How chunks become one file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MergeOptions {
    /// The name of an [`AudioFormat`](crate::format::AudioFormat).
    pub format: String,
    /// 8,000 to 192,000; 24,000 is what the engines deliver.
    pub sample_rate_hz: u32,
    /// 16 or 24.
    pub bit_depth: u16,
    /// `None`: each chunk's own pause.
    pub gap_ms: Option<u32>,
    /// Only where the gap is 0; at most 1,000.
    pub crossfade_ms: u32,
    pub trim_silence: bool,
    pub normalize: Option<Normalize>,
    /// Chunk indexes in the wanted order; empty for all in order.
    pub order: Vec<u32>,
    /// Take by index; the newest finished one where not named.
    pub takes: BTreeMap<u32, u32>,
}

impl Default for MergeOptions {
    fn default() -> Self {
        Self {
            format: "wav".into(),
            sample_rate_hz: 24_000,
            bit_depth: 16,
            gap_ms: None,
            crossfade_ms: 0,
            trim_silence: true,
            normalize: Some(Normalize::default()),
            order: Vec::new(),
            takes: BTreeMap::new(),
        }
    }
}

/// A merge asked for by hand.
#[derive(Debug, Clone, PartialEq)]
pub struct MergeOrder {
    pub task_id: uuid::Uuid,
    pub options: MergeOptions,
    /// As in [`Submission::idempotency`].
    pub idempotency: Option<storage::idempotency::IdempotencyKey>,
    pub trace: TraceContext,
}

/// One chunk made again. What is `None` stays as it was in the newest take; the seed is drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct RegenerateOrder {
    pub task_id: uuid::Uuid,
    pub index: u32,
    pub text: Option<String>,
    pub voice_id: Option<String>,
    pub language: Option<String>,
    pub seed: Option<u64>,
    pub instruct: Option<String>,
    /// Otherwise the finished takes before it go when it is finished.
    pub keep_previous: bool,
    /// As in [`Submission::idempotency`].
    pub idempotency: Option<storage::idempotency::IdempotencyKey>,
    pub trace: TraceContext,
}

/// EBU R 128 targets.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Normalize {
    /// -40 to -5.
    pub target_lufs: f64,
    /// -9 to 0.
    pub true_peak_db: f64,
}

impl Default for Normalize {
    fn default() -> Self {
        Self { target_lufs: -16.0, true_peak_db: -1.0 }
    }
}

/// W3C trace context of the request, continued by the first attempt of each job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceContext {
    pub traceparent: Option<String>,
    pub tracestate: Option<String>,
}

/// One thing wrong with a request; `field` as the caller wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    pub field: String,
    pub message: String,
}

/// Why a request was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    #[error("request not valid")]
    Invalid(Vec<FieldError>),
    #[error("no voice {0}")]
    VoiceNotFound(String),
    /// The job that makes it has not ended, or has failed.
    #[error("voice {name} is not made yet")]
    VoiceNotMade { name: String, job_id: uuid::Uuid },
    #[error("no montage {0}")]
    MontageNotFound(uuid::Uuid),
    #[error("montage {0} is full")]
    MontageFull(uuid::Uuid),
    #[error("no task {0}")]
    TaskNotFound(uuid::Uuid),
    #[error("no chunk {index} in task {task_id}")]
    ChunkNotFound { task_id: uuid::Uuid, index: u32 },
    /// Its newest take waits or runs.
    #[error("take {take} of chunk {index} is not finished")]
    ChunkBusy { index: u32, take: u32 },
    #[error("chunks not complete: {0:?}")]
    ChunksIncomplete(Vec<u32>),
    #[error("{what} is not installed")]
    EngineUnavailable { what: String, command: String },
    /// Asked for by the caller; `command` is what a person types to install one.
    #[error("{what} is not installed")]
    ModelNotInstalled { what: String, command: String },
    #[error(transparent)]
    ToolMissing(#[from] crate::tool::ToolMissing),
    #[error(transparent)]
    NoTranslator(#[from] crate::translators::NoTranslator),
    #[error(transparent)]
    NoTranscriber(#[from] crate::transcribers::NoTranscriber),
    #[error("queue full")]
    QueueFull(crate::room::Full),
    #[error(transparent)]
    Storage(#[from] storage::StorageError),
}
