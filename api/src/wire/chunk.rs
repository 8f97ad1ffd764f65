//! Chunks as the contract shows them.

use jobs::view::ChunkView;
use salvo::oapi::{ToParameters, ToSchema};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::wire::job::chunk_url;

/// One take of one piece of a generation.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Chunk {
    pub index: u32,
    /// Numbered from 1; the newest counts.
    pub take: u32,
    pub text: String,
    pub voice_id: String,
    pub language: String,
    /// `queued`, `completed`, `failed` or `cancelled`.
    pub status: String,
    pub attempt: i64,
    pub duration_ms: Option<i64>,
    pub size_bytes: Option<u64>,
    pub sha256: Option<String>,
    /// Computing time over audio time.
    pub rtf: Option<f64>,
    /// Taken from an equal chunk made before.
    pub cached: bool,
    /// It sounds wrong (too long, too short, silent), and other seeds did no better.
    pub suspect: bool,
    pub error: Option<String>,
    /// `builtin` or `qwen3-tts`: who speaks it.
    pub engine: String,
    /// The neural model that speaks it.
    pub model: Option<String>,
    /// Times of the words in the chunk's audio, where they were asked for and the engine gives them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub words: Option<Value>,
    /// Null until it is completed.
    pub audio_url: Option<String>,
}

impl Chunk {
    pub fn of(view: ChunkView, generation_id: Uuid) -> Self {
        let done = view.sha256.is_some();
        Self {
            audio_url: done.then(|| chunk_url(generation_id, view.index, view.take)),
            index: view.index,
            take: view.take,
            text: view.text,
            voice_id: view.voice_id,
            language: view.language,
            status: view.status,
            attempt: view.attempt,
            duration_ms: view.duration_ms,
            size_bytes: view.size_bytes,
            sha256: view.sha256,
            rtf: view.rtf,
            cached: view.cached,
            suspect: view.suspect,
            error: view.error,
            engine: view.engine.into(),
            model: view.model,
            words: Some(view.words),
        }
    }
}

/// A chunk that was asked for and is not made yet.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ChunkState {
    pub task_id: String,
    pub index: u32,
    pub take: u32,
    /// `queued`.
    pub status: String,
}

#[derive(Debug, Clone, Default, Deserialize, ToParameters)]
pub struct ChunkQuery {
    /// The newest finished take when not given.
    #[salvo(parameter(minimum = 1))]
    pub take: Option<u32>,
    /// `wav`, `flac` or `opus` (and `mp3`, where it is built in); `wav` when not given.
    pub format: Option<String>,
}

/// A piece of a generation as it was planned.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct PlannedChunk {
    pub index: u32,
    pub text: String,
    pub status: String,
}

impl PlannedChunk {
    pub fn of(view: ChunkView) -> Self {
        Self { index: view.index, text: view.text, status: view.status }
    }
}
