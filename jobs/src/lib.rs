//! What happens to a request after it is accepted: submit, the durable queue, one file for each kind of job, recovery, and what a caller
//! sees of it all.
//!
//! [`Jobs`] is the handle of the front door (submit, cancel, look up; needs no workers in this process), [`worker::Worker`] runs the jobs.
//! This crate may not know HTTP and holds no SQL.

pub mod arrange;
mod backoff;
mod cancel;
pub mod choose_engine;
pub mod clock;
mod clone_voice;
pub mod delete;
pub mod design_voice;
pub mod download;
pub mod download_video;
pub mod fail_point;
pub mod ffmpeg;
mod film;
pub mod format;
mod in_flight;
pub mod isolate;
mod job;
pub mod lease;
mod lone;
mod look_up;
mod make_film;
mod mend_chunks;
mod merge_chunks;
pub mod merge_timeline;
pub mod model_places;
pub mod montages;
mod moves;
mod neural_voice;
pub mod pause;
pub mod plan;
pub mod preview_voice;
pub mod pull_model;
mod queue;
pub mod recordings;
mod recover;
mod regenerate_chunk;
mod render;
pub mod retry;
pub mod room;
pub mod sample_text;
mod settle;
mod speak_chunk;
pub mod state;
pub mod submission;
mod submit;
mod suspect;
pub mod sweep;
pub mod tally;
pub mod timeline;
pub mod tool;
pub mod trace;
pub mod transcribe_sound;
pub mod transcribers;
pub mod transcript;
mod translate_chunk;
pub mod translate_text;
pub mod translators;
pub mod view;
pub mod voices;
pub mod worker;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use engine::engines::Engines;
use engine::handle::EngineHandle;
use engine::speech::{Availability, Capabilities};
use storage::{Storage, StorageError};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::choose_engine::EngineWish;
use crate::clock::Clock;
use crate::lease::Leases;
use crate::plan::PlanLimits;
use crate::room::{Full, Room, RoomConfig};
use crate::tool::{Tools, ToolsConfig};
use crate::transcribers::Transcribers;
use crate::translators::Translators;
use crate::worker::Worker;

/// All queues; a process may take from some of them only.
pub use job::QUEUES;

/// Splitting of text, for the endpoint of that name.
pub mod text {
    pub use engine::text::{language, marks, split};
}

#[derive(Debug, Clone)]
pub struct JobsConfig {
    pub limits: PlanLimits,
    /// Beyond it a submission is answered with `queue_full`.
    pub room: RoomConfig,
    /// How many jobs run at a time, for the look at the queue.
    pub slots: i64,
    /// For requests that name no engine.
    pub engine: EngineWish,
    /// Where files are converted; on the same disk as what is kept.
    pub temporary_folder: PathBuf,
    /// Programs of others that some requests need.
    pub tools: ToolsConfig,
    /// Where none, nothing is translated.
    pub translators: Option<Arc<Translators>>,
    /// Where none, nothing is transcribed.
    pub transcribers: Option<Arc<Transcribers>>,
}

/// Conversions at a time.
const CONVERSIONS_MAX: usize = 2;

impl JobsConfig {
    pub fn new(temporary_folder: PathBuf) -> Self {
        let room = RoomConfig { open_generations_max: 100_000, wait_max_s: 7 * 24 * 60 * 60, retry_after_s: 30 };
        let (limits, tools) = (PlanLimits::default(), ToolsConfig::none());
        Self { limits, room, slots: 4, engine: EngineWish::Auto, temporary_folder, tools, translators: None, transcribers: None }
    }
}

/// What the engine says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineStatus {
    pub availability: Availability,
    pub capabilities: Capabilities,
    /// How many requests have reached an engine since the start of the process.
    pub calls: u64,
    pub busy: usize,
}

impl EngineStatus {
    /// What is not installed, and the command that installs it.
    pub fn missing(&self) -> Option<(&str, &str)> {
        match &self.availability {
            Availability::Ready => None,
            Availability::Missing { what, command } => Some((what, command)),
        }
    }
}

/// The handle of the front door; cheap to clone.
#[derive(Debug, Clone)]
pub struct Jobs {
    pub(crate) storage: Storage,
    pub(crate) engines: Engines,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) config: Arc<JobsConfig>,
    room: Arc<Room>,
    /// The leases of this process' workers, once there are any: a cancel reaches them without a detour.
    leases: Arc<OnceLock<Arc<Leases>>>,
    converting: Arc<Semaphore>,
    tools: Tools,
}

impl Jobs {
    pub fn new(storage: Storage, engines: impl Into<Engines>, clock: Arc<dyn Clock>, config: JobsConfig) -> Self {
        Self {
            storage,
            engines: engines.into(),
            clock,
            tools: Tools::new(config.tools.clone()),
            config: Arc::new(config),
            room: Arc::default(),
            leases: Arc::default(),
            converting: Arc::new(Semaphore::new(CONVERSIONS_MAX)),
        }
    }

    /// To be called once, after the workers of this process were started.
    pub fn attach(&self, worker: &Worker) {
        let _ = self.leases.set(worker.leases());
    }

    /// Why no more work is taken at the moment, if so. Cheap: it may be asked before a request is read.
    pub async fn full(&self) -> Result<Option<Full>, StorageError> {
        self.room.check(&self.storage.rows, &self.config.room, self.clock.now_ms()).await
    }

    /// The built-in engine.
    pub fn engine_status(&self) -> EngineStatus {
        status_of(self.engines.builtin())
    }

    /// All that run.
    pub fn engine_statuses(&self) -> Vec<EngineStatus> {
        self.engines.running().iter().map(status_of).collect()
    }

    pub fn engines(&self) -> &Engines {
        &self.engines
    }

    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    fn stop_running(&self, job_ids: &[Uuid]) {
        if let Some(leases) = self.leases.get() {
            leases.cancel(job_ids);
        }
    }
}

fn status_of(engine: &EngineHandle) -> EngineStatus {
    EngineStatus { availability: engine.availability(), capabilities: engine.capabilities(), calls: engine.calls(), busy: engine.busy() }
}
