//! The state of the server as the contract shows it.

use std::collections::BTreeMap;

use salvo::oapi::ToSchema;
use serde::Serialize;

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct SystemStatus {
    /// `ok`, `degraded` (something below says what) or `starting`.
    pub status: String,
    pub version: String,
    pub uptime_s: u64,
    /// The built-in engine, which speaks where no neural model does.
    pub engine: EngineState,
    pub engines: Vec<EngineState>,
    /// Installed models that are loaded when they are needed.
    pub models: Vec<ModelState>,
    pub queue: QueueTotals,
    pub workers: Vec<WorkerState>,
    pub storage: StorageState,
    /// What was looked at, and how to mend what is wrong.
    pub checks: Vec<Check>,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct EngineState {
    pub name: String,
    pub revision: String,
    pub available: bool,
    /// What is missing.
    pub missing: Option<String>,
    /// What to type to mend it.
    pub command: Option<String>,
    pub languages: Vec<String>,
    pub instruct: bool,
    pub word_timings: bool,
    /// How often it was asked to speak since the server started.
    pub calls: u64,
    /// Chunks it works on now.
    pub busy: usize,
}

/// A model and whether its weights are in memory.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ModelState {
    /// As in `GET /api/models`.
    pub id: String,
    pub loaded: bool,
    /// It is being loaded now; what waits for it goes on by itself.
    pub loading: bool,
    /// What its weights take, in MB (10^6 bytes); null while it is not loaded.
    pub memory_mb: Option<f64>,
    pub in_use: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct QueueTotals {
    pub paused: bool,
    /// Single jobs (chunks, merges) of all keys, by state.
    pub totals: BTreeMap<String, i64>,
    pub avg_rtf: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct WorkerState {
    pub name: String,
    /// Jobs at the same time.
    pub slots: i64,
    pub busy: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct StorageState {
    /// `sqlite` or `postgres`.
    pub database: String,
    pub reachable: bool,
    /// Of the data folder's disk; null where it can't be told.
    pub free_mb: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Check {
    pub name: String,
    pub ok: bool,
    pub detail: String,
    /// What to type to mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

/// The answer of `/healthz` and `/readyz`.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Health {
    /// `ok`, or what it waits for.
    pub status: String,
}
