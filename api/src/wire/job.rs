//! The contract's Job: one form for generations and for single jobs, with the links that only the front door knows.

use jobs::view::JobView;
use salvo::oapi::ToSchema;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::wire::download::DownloadResult;
use crate::wire::time::rfc3339;
use crate::wire::timeline::render_url;
use crate::wire::transcribe::Transcription;
use crate::wire::translate::Translation;
use crate::wire::voice::CloneQuality;

/// Long work and how far it has come.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[salvo(schema(example = json!({
    "task_id": "0197f2c4-7d1e-7b3a-9c55-2f6d0e1a8b90", "job_id": "0197f2c4-7d1e-7b3a-9c55-2f6d0e1a8b90",
    "generation_id": "0197f2c4-7d1e-7b3a-9c55-2f6d0e1a8b90", "type": "generate.clone_chunked", "status": "queued", "progress": 0.0,
    "stage": null, "queue_position": 2, "eta_ms": null, "chunks_total": 14, "chunks_done": 0, "attempt": 1, "priority": 0,
    "created_at": "2026-01-31T12:00:00.123Z", "started_at": null, "finished_at": null, "error": null, "result": null,
    "title": null, "voice_id": "nora", "voice_name": "Nora", "metadata": null,
    "links": {"self": "/api/jobs/0197f2c4-7d1e-7b3a-9c55-2f6d0e1a8b90", "generation": "/api/generations/0197f2c4-7d1e-7b3a-9c55-2f6d0e1a8b90",
              "audio": null, "timeline": null}
})))]
pub struct Job {
    /// For a generate call the same as `job_id` and `generation_id`.
    pub task_id: String,
    pub job_id: String,
    pub generation_id: Option<String>,
    #[serde(rename = "type")]
    pub kind: String,
    /// `queued`, `loading_model`, `running`, `merging`, `completed`, `failed`, `cancelled`, or `interrupted` (found after a crash; goes on by
    /// itself).
    pub status: String,
    /// 0 to 1.
    pub progress: f64,
    pub stage: Option<String>,
    /// 1 is next; 1,000 stands for all that are further back; null once started.
    pub queue_position: Option<i64>,
    pub eta_ms: Option<i64>,
    pub chunks_total: i64,
    pub chunks_done: i64,
    pub attempt: i64,
    pub priority: i64,
    pub created_at: String,
    pub started_at: Option<String>,
    pub finished_at: Option<String>,
    pub error: Option<JobError>,
    /// What the job has made: a merged file, or a new take of a chunk.
    #[salvo(schema(value_type = Option<JobResult>))]
    pub result: Option<Value>,
    pub title: Option<String>,
    pub voice_id: Option<String>,
    pub voice_name: Option<String>,
    /// As it was given.
    pub metadata: Option<Value>,
    pub links: Links,
}

/// Why a job failed.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct JobError {
    /// One word, for programs.
    pub code: String,
    pub detail: String,
    pub chunk_index: Option<u32>,
}

/// Where more is to be had; null where there is nothing (yet).
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Links {
    #[serde(rename = "self")]
    pub this: String,
    pub generation: Option<String>,
    pub audio: Option<String>,
    pub timeline: Option<String>,
}

/// What a job has made.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum JobResult {
    Merged(MergeResult),
    Take(TakeResult),
    Timeline(TimelineResult),
    Clone(CloneResult),
    Download(DownloadResult),
    Design(DesignResult),
    Preview(PreviewResult),
    Translation(Translation),
    Transcription(Transcription),
}

/// A voice made of a description.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct DesignResult {
    pub voice_id: String,
    pub voice_url: String,
    pub name: String,
    pub language: String,
    pub gender: String,
    /// The first is what the voice is until another is picked.
    pub previews: Vec<VariantPreview>,
    pub understood_terms: Vec<String>,
    /// Words that say something, but nothing that is known here.
    pub ignored_terms: Vec<String>,
    /// The neural model that the voice was made for too.
    pub model: Option<String>,
}

/// A variant of a designed voice, to be heard and picked.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct VariantPreview {
    pub preview_id: String,
    pub audio_url: String,
    pub seed: u64,
    /// From 0.
    pub variant: u32,
    pub duration_ms: i64,
}

/// A few words in a voice.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct PreviewResult {
    pub voice_id: String,
    pub voice_url: String,
    pub preview_id: String,
    pub audio_url: String,
    pub text: String,
    pub language: String,
    pub duration_ms: i64,
    pub size_bytes: i64,
    /// Hex; the file's `ETag`.
    pub sha256: String,
    /// An equal one was there.
    pub cached: bool,
}

/// A voice made of recordings.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct CloneResult {
    pub voice_id: String,
    pub voice_url: String,
    pub name: String,
    pub language: String,
    /// What of the model is in the voice: `timbre` is pitch and colour, and not melody or accent.
    pub clone_fidelity: String,
    pub quality: CloneQuality,
    /// The neural model that the voice was made for too; others make their form of it when they first speak it.
    pub model: Option<String>,
}

/// A merged timeline.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct TimelineResult {
    pub audio_url: String,
    pub render_id: String,
    /// The revision that was merged.
    pub revision: i64,
    pub duration_ms: i64,
    pub size_bytes: i64,
    /// Hex; the file's `ETag`.
    pub sha256: String,
    pub content_type: String,
    pub loudness: Option<Loudness>,
}

/// A chunk made again.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct TakeResult {
    pub audio_url: String,
    pub index: u32,
    pub take: u32,
    pub duration_ms: i64,
    pub size_bytes: i64,
    /// Hex; the file's `ETag`.
    pub sha256: String,
    /// Taken from an equal chunk made before.
    pub cached: bool,
    pub suspect: bool,
    /// `builtin` or `qwen3-tts`: who spoke it.
    pub engine: String,
    /// The neural model that spoke it.
    pub model: Option<String>,
}

/// What a merge has made.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct MergeResult {
    pub audio_url: String,
    pub duration_ms: i64,
    pub size_bytes: i64,
    /// Hex; the file's `ETag`.
    pub sha256: String,
    pub loudness: Option<Loudness>,
    /// In the order in which they are heard.
    pub chunks: Vec<ChunkPlace>,
    /// Who spoke, and how many chunks of it.
    pub engines: Vec<Spoken>,
    pub subtitles: Subtitles,
}

/// An engine's part of a merged file.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Spoken {
    /// `builtin` or `qwen3-tts`.
    pub engine: String,
    /// The neural model, where one spoke.
    pub model: Option<String>,
    pub chunks: u32,
}

/// Measured after ITU-R BS.1770.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Loudness {
    pub integrated_lufs: Option<f64>,
    pub true_peak_db: Option<f64>,
}

/// Where a chunk lies in the merged file.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ChunkPlace {
    pub index: u32,
    pub start_ms: i64,
    pub end_ms: i64,
    /// Silence that was cut from the chunk's begin.
    pub lead_ms: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Subtitles {
    pub srt_url: String,
    pub vtt_url: String,
}

pub fn audio_url(generation_id: Uuid) -> String {
    format!("/api/generations/{generation_id}/audio")
}

pub fn chunk_url(generation_id: Uuid, index: u32, take: u32) -> String {
    format!("/api/audio/chunk/{generation_id}/{index}?take={take}")
}

impl Job {
    pub fn of(view: JobView) -> Self {
        let link = |id: Uuid| format!("/api/generations/{id}");
        let links = Links {
            this: format!("/api/jobs/{}", view.id),
            generation: view.generation_id.map(link),
            audio: view.generation_id.filter(|_| view.has_audio).map(audio_url),
            timeline: view.generation_id.map(|id| format!("/api/timeline/{id}")),
        };
        Self {
            task_id: view.id.to_string(),
            job_id: view.id.to_string(),
            generation_id: view.generation_id.map(|id| id.to_string()),
            kind: view.kind,
            status: view.status,
            progress: view.progress,
            stage: view.stage,
            queue_position: view.queue_position,
            eta_ms: view.eta_ms,
            chunks_total: view.chunks_total,
            chunks_done: view.chunks_done,
            attempt: view.attempt,
            priority: view.priority,
            created_at: rfc3339(view.created_at_ms),
            started_at: view.started_at_ms.map(rfc3339),
            finished_at: view.finished_at_ms.map(rfc3339),
            error: view.error.map(|error| JobError { code: error.code, detail: error.detail, chunk_index: error.chunk_index }),
            result: view.result.map(|result| linked(result, view.generation_id)),
            title: view.title,
            voice_id: view.voice_id,
            voice_name: view.voice_name,
            metadata: view.metadata,
            links,
        }
    }
}

/// What a job without a generation has made: a voice, with previews where it has some.
fn link_voice(result: &mut Value) {
    let Some(voice_id) = result.get("voice_id").and_then(Value::as_str).map(str::to_owned) else {
        return;
    };
    let voice_url = format!("/api/voices/{voice_id}");
    for preview in result.get_mut("previews").and_then(Value::as_array_mut).into_iter().flatten() {
        let url = preview["preview_id"].as_str().map(|id| format!("{voice_url}/previews/{id}"));
        preview["audio_url"] = url.into();
    }
    if let Some(preview_id) = result.get("preview_id").and_then(Value::as_str) {
        result["audio_url"] = format!("{voice_url}/previews/{preview_id}").into();
    }
    result["voice_url"] = voice_url.into();
}

/// A result with the addresses of its files.
fn linked(mut result: Value, generation_id: Option<Uuid>) -> Value {
    let number = |name: &str| result.get(name).and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok());
    let take = number("index").zip(number("take"));
    if generation_id.is_none() {
        if let Some(id) = result.get("media_id").and_then(Value::as_str).map(str::to_owned) {
            result["audio_url"] = format!("/api/jobs/{id}/audio").into();
        }
        link_voice(&mut result);
        return result;
    }
    if let (Some(object), Some(id)) = (result.as_object_mut(), generation_id) {
        if object.contains_key("revision") {
            let render_id = object.get("render_id").and_then(Value::as_str).unwrap_or_default().to_owned();
            object.insert("audio_url".into(), render_url(id, &render_id).into());
            return result;
        }
        if let Some((index, take)) = take {
            object.insert("audio_url".into(), chunk_url(id, index, take).into());
            return result;
        }
        object.insert("audio_url".into(), audio_url(id).into());
        let subtitles = json!({
            "srt_url": format!("/api/generations/{id}/subtitles.srt"), "vtt_url": format!("/api/generations/{id}/subtitles.vtt"),
        });
        object.insert("subtitles".into(), subtitles);
    }
    result
}
