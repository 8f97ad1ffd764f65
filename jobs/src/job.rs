//! What a job is: the struct of its arguments with a fixed name, a `run`, and an error that says what the queue does next.
//!
//! This file may not know apalis nor how leases are kept; it is all that the kinds of job see of the queue.

use std::sync::Arc;

use engine::engines::Engines;
use models::library::Library;
use serde::{Deserialize, Serialize};
use storage::leases::{self, ClaimedJob, Fence, Run};
use storage::{Storage, StorageError, Tx};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::download::DownloadConfig;
use crate::fail_point;
use crate::in_flight::InFlight;
use crate::lone::LoneKind;
use crate::merge_chunks::MergeChunks;
use crate::merge_timeline::MergeTimeline;
use crate::speak_chunk::SpeakChunk;
use crate::tool::Tools;
use crate::transcribers::Transcribers;
use crate::translators::Translators;

/// Everything that a run may touch.
#[derive(Debug, Clone)]
pub(crate) struct JobContext {
    pub storage: Storage,
    pub engines: Engines,
    pub clock: Arc<dyn Clock>,
    pub temporary_folder: Arc<std::path::Path>,
    pub tools: Tools,
    /// Where none, nothing is downloaded.
    pub downloads: Option<Arc<DownloadConfig>>,
    pub in_flight: Arc<InFlight>,
    /// Of a process that keeps models.
    pub library: Option<Arc<Library>>,
    /// Of a process that translates.
    pub translators: Option<Arc<Translators>>,
    /// Of a process that transcribes.
    pub transcribers: Option<Arc<Transcribers>>,
    pub job: Arc<ClaimedJob>,
    /// Fires when the run must stop.
    pub token: CancellationToken,
}

impl JobContext {
    pub(crate) fn fence(&self) -> Fence {
        self.job.fence
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Opens the one transaction in which a run ends: the job is done in it, and whatever else the caller writes into it is done with it or
    /// not at all.
    pub(crate) async fn begin_finish(&self, result: Option<&str>) -> Result<Tx, JobError> {
        let begun = leases::begin_finish(&self.storage.rows, self.as_run(), result, self.now_ms()).await?;
        begun.ok_or(JobError::Fenced)
    }

    /// Opens a transaction in the middle of a run; refused when the lease is gone.
    pub(crate) async fn begin_fenced(&self) -> Result<Tx, JobError> {
        leases::begin_held(&self.storage.rows, self.as_run()).await?.ok_or(JobError::Fenced)
    }

    fn as_run(&self) -> Run {
        Run { fence: self.fence(), generation_id: self.job.generation_id }
    }

    /// Commits at a named boundary.
    pub(crate) async fn commit(&self, tx: Tx, before: &'static str, after: &'static str) -> Result<Committed, JobError> {
        fail_point::pass(before);
        tx.commit().await?;
        fail_point::pass(after);
        Ok(Committed(()))
    }
}

/// Proof that a run has ended in a committed transaction: made by [`JobContext::commit`], here or in a process of the job's own.
#[derive(Debug)]
pub(crate) struct Committed(());

impl Committed {
    /// The process that ran the job says so.
    pub(crate) fn by_another_process() -> Self {
        Self(())
    }
}

/// What the queue does next.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JobError {
    /// Try again after a while, until the attempts are used up.
    #[error("{0}")]
    Retry(String),
    /// No other attempt can succeed.
    #[error("{0}")]
    Discard(String),
    /// It ends every process it runs in.
    #[error("{0}")]
    Crashed(String),
    /// Something outside is missing (disk space, the database, an installed engine): wait for it without spending an attempt.
    #[error("waiting: {0}")]
    Wait(String),
    /// The token fired; the lease knows why.
    #[error("stopped")]
    Stopped,
    /// The lease is gone: whatever was done is thrown away.
    #[error("lease lost")]
    Fenced,
}

impl From<StorageError> for JobError {
    fn from(error: StorageError) -> Self {
        match &error {
            StorageError::Busy(_) | StorageError::Unreachable(_) | StorageError::Full(_) => Self::Wait(error.to_string()),
            _ => Self::Retry(error.to_string()),
        }
    }
}

const OUT_OF_MEMORY: &str = "out of memory, even for one request alone: free some on the server, set models_precision to a smaller one, or \
    install a smaller model";

impl From<engine::speech::EngineError> for JobError {
    fn from(error: engine::speech::EngineError) -> Self {
        use engine::speech::EngineError;
        match error {
            EngineError::Stopped => Self::Stopped,
            EngineError::Refused(why) => Self::Discard(why),
            EngineError::Unavailable { what, command } => Self::Wait(format!("{what} is not installed: {command}")),
            EngineError::OutOfMemory => Self::Retry(OUT_OF_MEMORY.into()),
            EngineError::Failed(why) => Self::Retry(why),
        }
    }
}

/// The queues; each has its own workers.
pub(crate) const QUEUE_CPU: &str = "cpu";
pub(crate) const QUEUE_IO: &str = "io";
pub const QUEUES: [&str; 2] = [QUEUE_CPU, QUEUE_IO];

/// All kinds. The wire name in the row never changes once released.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum JobKind {
    SpeakChunk(SpeakChunk),
    MergeChunks(MergeChunks),
    MergeTimeline(MergeTimeline),
    /// Without a generation.
    Lone(LoneKind),
}

impl JobKind {
    pub(crate) fn parse(kind: &str, payload: &str) -> Result<Self, serde_json::Error> {
        match kind {
            SpeakChunk::NAME => serde_json::from_str(payload).map(Self::SpeakChunk),
            MergeChunks::NAME => serde_json::from_str(payload).map(Self::MergeChunks),
            MergeTimeline::NAME => serde_json::from_str(payload).map(Self::MergeTimeline),
            _ => match LoneKind::parse(kind, payload) {
                Some(parsed) => parsed.map(Self::Lone),
                None => Err(serde::de::Error::custom(format!("no job kind {kind}"))),
            },
        }
    }

    pub(crate) async fn run(&self, context: &JobContext) -> Result<Committed, JobError> {
        match self {
            Self::SpeakChunk(job) => job.run(context).await,
            Self::MergeChunks(job) => job.run(context).await,
            Self::MergeTimeline(job) => job.run(context).await,
            Self::Lone(job) => job.run(context).await,
        }
    }

    /// Asked for by itself, and not a step of its generation.
    pub(crate) fn is_by_hand(&self) -> bool {
        match self {
            Self::SpeakChunk(job) => job.is_by_hand(),
            Self::MergeChunks(job) => !job.completes_generation,
            Self::MergeTimeline(_) | Self::Lone(_) => true,
        }
    }

    /// How long one attempt may take before it counts as hung.
    pub(crate) fn timeout_ms(&self) -> u64 {
        match self {
            Self::SpeakChunk(_) => SpeakChunk::TIMEOUT_MS,
            Self::MergeChunks(_) => MergeChunks::TIMEOUT_MS,
            Self::MergeTimeline(_) => MergeTimeline::TIMEOUT_MS,
            Self::Lone(job) => job.timeout_ms(),
        }
    }
}
