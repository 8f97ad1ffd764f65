//! What a caller sees of a generation or of a single job: the rows put together as the contract's Job. It may not know HTTP: links and time
//! formats are the front door's.

use serde::Serialize;
use uuid::Uuid;

/// Times are epoch milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JobView {
    /// Of the generation, or of the job where it is a job of its own (a merge asked for by hand).
    pub id: Uuid,
    pub generation_id: Option<Uuid>,
    pub owner_id: String,
    /// `generate.clone_chunked`, `generate.merge_chunks`, ...
    pub kind: String,
    pub status: String,
    /// 0 to 1.
    pub progress: f64,
    pub stage: Option<String>,
    /// 1 is next; `None` once started.
    pub queue_position: Option<i64>,
    pub eta_ms: Option<i64>,
    pub chunks_total: i64,
    pub chunks_done: i64,
    pub attempt: i64,
    pub priority: i64,
    pub created_at_ms: i64,
    pub started_at_ms: Option<i64>,
    pub finished_at_ms: Option<i64>,
    pub error: Option<JobFailure>,
    /// A merge's answer, as in the contract, without links.
    pub result: Option<serde_json::Value>,
    pub title: Option<String>,
    pub voice_id: Option<String>,
    pub voice_name: Option<String>,
    pub metadata: Option<serde_json::Value>,
    /// Whether there is a merged file.
    pub has_audio: bool,
}

impl JobView {
    pub fn is_final(&self) -> bool {
        matches!(self.status.as_str(), "completed" | "failed" | "cancelled")
    }
}

/// Why a job failed, for the caller: no internals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct JobFailure {
    /// `chunk_failed`, `engine_unavailable`, `worker_crashed`, `merge_failed`, ...
    pub code: String,
    pub detail: String,
    pub chunk_index: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChunkView {
    pub index: u32,
    pub take: u32,
    pub text: String,
    pub voice_id: String,
    pub language: String,
    pub status: String,
    pub attempt: i64,
    pub duration_ms: Option<i64>,
    pub size_bytes: Option<u64>,
    pub sha256: Option<String>,
    pub rtf: Option<f64>,
    pub cached: bool,
    pub suspect: bool,
    pub error: Option<String>,
    pub words: serde_json::Value,
    /// Who speaks it, as the plan says.
    pub engine: &'static str,
    pub model: Option<String>,
}

/// A montage with its generations in order.
#[derive(Debug, Clone, PartialEq)]
pub struct MontageView {
    pub montage: storage::montages::Montage,
    pub generations: Vec<JobView>,
    /// Changes with what the caller can change.
    pub version: String,
}

/// What a cancel did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum CancelOutcome {
    /// Nothing of it was running: it is cancelled now.
    Cancelled,
    /// Something is running and is being stopped.
    Cancelling,
    /// It had ended before.
    AlreadyFinal,
    NotFound,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QueueView {
    pub running: Vec<JobView>,
    pub queued: Vec<JobView>,
    /// Open generations of other owners: a count is all one may know.
    pub others: i64,
    pub paused: bool,
    pub workers: i64,
    /// Live jobs (chunks, merges) by state.
    pub totals: std::collections::BTreeMap<String, i64>,
    /// Median computing time over audio time of the newest chunks.
    pub avg_rtf: Option<f64>,
}
