//! The queue as the contract shows it. Of other owners' work only the number is told.

use std::collections::BTreeMap;

use jobs::view::QueueView;
use salvo::oapi::ToSchema;
use serde::Serialize;

use crate::wire::job::Job;

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct QueueStatus {
    /// The caller's, newest first; at most 100.
    pub running: Vec<Job>,
    /// The caller's, with their place.
    pub queued: Vec<Job>,
    /// Open generations of other keys.
    pub others: i64,
    pub paused: bool,
    /// Chunks that can be spoken at the same time.
    pub workers: i64,
    /// Single jobs (chunks, merges) of all keys, by state.
    pub totals: BTreeMap<String, i64>,
    /// Median computing time over audio time of the newest chunks.
    pub avg_rtf: Option<f64>,
}

impl QueueStatus {
    pub fn of(view: QueueView) -> Self {
        Self {
            running: view.running.into_iter().map(Job::of).collect(),
            queued: view.queued.into_iter().map(Job::of).collect(),
            others: view.others,
            paused: view.paused,
            workers: view.workers,
            totals: view.totals,
            avg_rtf: view.avg_rtf,
        }
    }
}

/// `{}` for everything the caller has running, or one task.
#[derive(Debug, Clone, Default, serde::Deserialize, ToSchema)]
#[salvo(schema(example = json!({"task_id": "0197f2c4-7d1e-7b3a-9c55-2f6d0e1a8b90"})))]
pub struct CancelRequest {
    #[serde(alias = "generation_id", alias = "job_id")]
    pub task_id: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[salvo(schema(example = json!({"cancelled": ["0197f2c4-7d1e-7b3a-9c55-2f6d0e1a8b90"], "state": "cancelling"})))]
pub struct CancelAnswer {
    pub cancelled: Vec<String>,
    /// `cancelled`, or `cancelling` while something of it still runs.
    pub state: String,
}

#[derive(Debug, Clone, Default, serde::Deserialize, ToSchema)]
#[salvo(schema(example = json!({"job_id": "0197f2c4-7d1e-7b3a-9c55-2f6d0e1a8b90"})))]
pub struct JobCancelRequest {
    #[serde(alias = "task_id", alias = "generation_id")]
    pub job_id: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[salvo(schema(example = json!({"job_id": "0197f2c4-7d1e-7b3a-9c55-2f6d0e1a8b90", "status": "cancelled"})))]
pub struct JobCancelAnswer {
    pub job_id: String,
    /// `cancelled` or `cancelling`.
    pub status: String,
}
