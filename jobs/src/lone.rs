//! Jobs without a generation: making a voice, a preview, a download. What a generation's row says of its jobs, the job's own row says here, and
//! its events bear the job's id where others bear the generation's.
//!
//! A new kind is a variant of [`LoneKind`] and a file named by its verb, whose `run` begins with [`started`], tells of its way by
//! [`progress`] and ends with [`JobContext::begin_finish`], [`completed`] and [`JobContext::commit`]. This file may not know what any of them does.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use storage::events::{self, NewEvent};
use storage::idempotency::{self, IdempotencyKey};
use storage::jobs::{JobRow, NewJob};
use storage::leases::{ClaimedJob, TakenBack};
use storage::lone_jobs::{self, LoneFilter};
use storage::{BlobKey, Blobs, StorageError, Tx};
use uuid::Uuid;

use crate::Jobs;
use crate::clone_voice::CloneVoice;
use crate::design_voice::DesignVoice;
use crate::download_video::DownloadVideo;
use crate::job::{Committed, JobContext, JobError};
use crate::preview_voice::PreviewVoice;
use crate::pull_model::PullModel;
use crate::room::{Full, FullReason};
use crate::settle::{CODE_CRASHED, Verdict};
use crate::submission::{SubmitError, TraceContext};
use crate::transcribe_sound::TranscribeSound;
use crate::translate_text::TranslateText;
use crate::view::{CancelOutcome, JobFailure};

/// How many of an owner's may be open.
const OPEN_MAX: i64 = 200;
/// When a refused caller may ask again.
const RETRY_AFTER_S: u64 = 10;

/// All kinds. The wire name in the row never changes once released.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LoneKind {
    Clone(CloneVoice),
    Design(DesignVoice),
    Preview(PreviewVoice),
    Download(DownloadVideo),
    Pull(PullModel),
    Translate(TranslateText),
    Transcribe(TranscribeSound),
}

/// How a job ended without being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Cancelled,
    /// No other attempt can succeed.
    Hopeless,
    /// It may be tried again by hand.
    Failed,
}

impl LoneKind {
    /// `None` where no kind has this name.
    pub(crate) fn parse(kind: &str, payload: &str) -> Option<Result<Self, serde_json::Error>> {
        Some(match kind {
            CloneVoice::NAME => serde_json::from_str(payload).map(Self::Clone),
            DesignVoice::NAME => serde_json::from_str(payload).map(Self::Design),
            PreviewVoice::NAME => serde_json::from_str(payload).map(Self::Preview),
            DownloadVideo::NAME => serde_json::from_str(payload).map(Self::Download),
            PullModel::NAME => serde_json::from_str(payload).map(Self::Pull),
            TranslateText::NAME => serde_json::from_str(payload).map(Self::Translate),
            TranscribeSound::NAME => serde_json::from_str(payload).map(Self::Transcribe),
            _ => return None,
        })
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Clone(_) => CloneVoice::NAME,
            Self::Design(_) => DesignVoice::NAME,
            Self::Preview(_) => PreviewVoice::NAME,
            Self::Download(_) => DownloadVideo::NAME,
            Self::Pull(_) => PullModel::NAME,
            Self::Translate(_) => TranslateText::NAME,
            Self::Transcribe(_) => TranscribeSound::NAME,
        }
    }

    fn queue(&self) -> &'static str {
        match self {
            Self::Clone(_) => CloneVoice::QUEUE,
            Self::Design(_) => DesignVoice::QUEUE,
            Self::Preview(_) => PreviewVoice::QUEUE,
            Self::Download(_) => DownloadVideo::QUEUE,
            Self::Pull(_) => PullModel::QUEUE,
            Self::Translate(_) => TranslateText::QUEUE,
            Self::Transcribe(_) => TranscribeSound::QUEUE,
        }
    }

    fn attempts_max(&self) -> i64 {
        match self {
            Self::Clone(_) => CloneVoice::ATTEMPTS_MAX,
            Self::Design(_) => DesignVoice::ATTEMPTS_MAX,
            Self::Preview(_) => PreviewVoice::ATTEMPTS_MAX,
            Self::Download(_) => DownloadVideo::ATTEMPTS_MAX,
            Self::Pull(_) => PullModel::ATTEMPTS_MAX,
            Self::Translate(_) => TranslateText::ATTEMPTS_MAX,
            Self::Transcribe(_) => TranscribeSound::ATTEMPTS_MAX,
        }
    }

    pub(crate) fn timeout_ms(&self) -> u64 {
        match self {
            Self::Clone(_) => CloneVoice::TIMEOUT_MS,
            Self::Design(_) => DesignVoice::TIMEOUT_MS,
            Self::Preview(_) => PreviewVoice::TIMEOUT_MS,
            Self::Download(_) => DownloadVideo::TIMEOUT_MS,
            Self::Pull(_) => PullModel::TIMEOUT_MS,
            Self::Translate(_) => TranslateText::TIMEOUT_MS,
            Self::Transcribe(_) => TranscribeSound::TIMEOUT_MS,
        }
    }

    fn payload(&self) -> Result<String, serde_json::Error> {
        match self {
            Self::Clone(job) => serde_json::to_string(job),
            Self::Design(job) => serde_json::to_string(job),
            Self::Preview(job) => serde_json::to_string(job),
            Self::Download(job) => serde_json::to_string(job),
            Self::Pull(job) => serde_json::to_string(job),
            Self::Translate(job) => serde_json::to_string(job),
            Self::Transcribe(job) => serde_json::to_string(job),
        }
    }

    pub(crate) async fn run(&self, context: &JobContext) -> Result<Committed, JobError> {
        match self {
            Self::Clone(job) => job.run(context).await,
            Self::Design(job) => job.run(context).await,
            Self::Preview(job) => job.run(context).await,
            Self::Download(job) => job.run(context).await,
            Self::Pull(job) => job.run(context).await,
            Self::Translate(job) => job.run(context).await,
            Self::Transcribe(job) => job.run(context).await,
        }
    }

    /// The voice that it is about.
    pub(crate) fn voice_id(&self) -> Option<String> {
        match self {
            Self::Clone(job) => Some(job.voice_id.to_string()),
            Self::Design(job) => Some(job.voice_id.to_string()),
            Self::Preview(job) => Some(job.voice.clone()),
            Self::Download(_) => None,
            Self::Pull(_) => None,
            Self::Translate(_) => None,
            Self::Transcribe(_) => None,
        }
    }

    /// In the transaction of its end: takes back what it had reserved. The blobs that are returned are deleted after the commit.
    async fn ended(&self, tx: &mut Tx, job_id: Uuid, end: End) -> Result<Vec<BlobKey>, StorageError> {
        match self {
            Self::Clone(job) => job.ended(tx, job_id, end).await,
            Self::Design(job) => job.ended(tx, job_id, end).await,
            Self::Preview(_) => Ok(Vec::new()),
            Self::Download(job) => Ok(vec![job.key(job_id)]),
            // What was fetched is gone on with.
            Self::Pull(_) => Ok(Vec::new()),
            Self::Translate(job) => job.ended(tx, job_id, end).await.map(|()| Vec::new()),
            Self::Transcribe(job) => job.ended(tx, job_id, end).await,
        }
    }

    /// Whether what it works on is still there.
    pub(crate) async fn can_run_again(&self, tx: &mut Tx, job_id: Uuid) -> Result<bool, StorageError> {
        match self {
            Self::Clone(job) => job.can_run_again(tx, job_id).await,
            Self::Design(job) => job.can_run_again(tx, job_id).await,
            Self::Preview(_) => Ok(true),
            Self::Download(_) => Ok(true),
            Self::Pull(_) => Ok(true),
            Self::Translate(_) => Ok(true),
            Self::Transcribe(_) => Ok(true),
        }
    }
}

/// The wire names of all kinds.
const NAMES: [&str; 5] = [CloneVoice::NAME, DesignVoice::NAME, PreviewVoice::NAME, DownloadVideo::NAME, PullModel::NAME];

/// The wire name of what is shown by this name.
pub(crate) fn name_of(shown: &str) -> Option<&'static str> {
    NAMES.into_iter().find(|name| shown_as(name) == Some(shown))
}

/// A job under the name of the call that asks for it, such as `clone.create`; its first word says which scope that call needs.
pub(crate) fn shown_as(kind: &str) -> Option<&'static str> {
    match kind {
        CloneVoice::NAME => Some(CloneVoice::SHOWN_AS),
        DesignVoice::NAME => Some(DesignVoice::SHOWN_AS),
        PreviewVoice::NAME => Some(PreviewVoice::SHOWN_AS),
        DownloadVideo::NAME => Some(DownloadVideo::SHOWN_AS),
        PullModel::NAME => Some(PullModel::SHOWN_AS),
        TranslateText::NAME => Some(TranslateText::SHOWN_AS),
        TranscribeSound::NAME => Some(TranscribeSound::SHOWN_AS),
        _ => None,
    }
}

/// What is accepted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NewLone {
    pub id: Uuid,
    pub kind: LoneKind,
    pub owner_id: String,
    /// At most one live job has it.
    pub dedupe_key: Option<String>,
    pub idempotency: Option<IdempotencyKey>,
    pub trace: TraceContext,
    /// What its first event tells beside the type.
    pub data: Value,
}

/// The last part of the transaction that accepts a job: the job, the note of the `Idempotency-Key`, and the first event.
pub(crate) async fn accept(tx: &mut Tx, new: &NewLone, now_ms: i64) -> Result<(), StorageError> {
    let job = NewJob {
        id: new.id,
        kind: new.kind.name().into(),
        queue: new.kind.queue().into(),
        priority: 0,
        owner_id: new.owner_id.clone(),
        generation_id: None,
        payload: new.kind.payload()?,
        attempts_max: new.kind.attempts_max(),
        run_at_ms: now_ms,
        dedupe_key: new.dedupe_key.clone(),
        traceparent: new.trace.traceparent.clone(),
        tracestate: new.trace.tracestate.clone(),
    };
    storage::jobs::enqueue(tx, std::slice::from_ref(&job), now_ms).await?;
    if let Some(key) = &new.idempotency {
        idempotency::note_job(tx, key, new.id).await?;
    }
    tell(tx, &Told::of_new(&job), "job.queued", new.data.clone(), now_ms).await
}

/// Whose event it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told<'a> {
    id: Uuid,
    owner_id: &'a str,
    kind: &'a str,
    payload: &'a str,
}

impl<'a> Told<'a> {
    fn of_new(job: &'a NewJob) -> Self {
        Self { id: job.id, owner_id: &job.owner_id, kind: &job.kind, payload: &job.payload }
    }

    pub(crate) fn of_claimed(job: &'a ClaimedJob) -> Self {
        Self { id: job.fence.job_id, owner_id: &job.owner_id, kind: &job.kind, payload: &job.payload }
    }

    pub(crate) fn of_row(row: &'a JobRow) -> Self {
        Self { id: row.id, owner_id: &row.owner_id, kind: &row.kind, payload: &row.payload }
    }

    pub(crate) fn of_taken(job: &'a TakenBack) -> Self {
        Self { id: job.job_id, owner_id: &job.owner_id, kind: &job.kind, payload: &job.payload }
    }

    /// What can't be read was written by another version: it is told of all the same.
    fn parsed(&self) -> Option<LoneKind> {
        LoneKind::parse(self.kind, self.payload).and_then(Result::ok)
    }
}

/// Stores an event of the job; the last thing in a transaction.
pub(crate) async fn tell(tx: &mut Tx, job: &Told<'_>, kind: &str, mut data: Value, now_ms: i64) -> Result<(), StorageError> {
    if let Some(object) = data.as_object_mut() {
        object.insert("type".into(), shown_as(job.kind).unwrap_or(job.kind).into());
        if let Some(voice_id) = job.parsed().and_then(|parsed| parsed.voice_id()) {
            object.insert("voice_id".into(), voice_id.into());
        }
    }
    let event = NewEvent { owner_id: job.owner_id, generation_id: Some(job.id), kind, data };
    events::append(tx, event, now_ms).await.map(|_| ())
}

/// The first thing that a run says. A run after a crash has been told of as started already, and goes on.
pub(crate) async fn started(context: &JobContext, stage: &str) -> Result<(), JobError> {
    let mut tx = context.begin_fenced().await?;
    let first = lone_jobs::begin(&mut tx, context.fence(), stage).await?;
    let kind = match (first, context.job.crashes > 0) {
        (true, _) => "job.started",
        (false, true) => "job.resumed",
        // Another attempt after a failed one, or after a stop of the server.
        (false, false) => return Ok(()),
    };
    tell(&mut tx, &Told::of_claimed(&context.job), kind, json!({"status": "running", "stage": stage}), context.now_ms()).await?;
    tx.commit().await?;
    Ok(())
}

/// How far a run is, 0 to 1. Each call is a transaction and a stored event: at stages, or about once a second, not more often.
pub(crate) async fn progress(context: &JobContext, stage: &str, progress: f64) -> Result<(), JobError> {
    let mut tx = context.begin_fenced().await?;
    progress_in(&mut tx, context, stage, progress, json!({})).await?;
    tx.commit().await?;
    Ok(())
}

/// The same within a transaction of the run, last; `data` is told beside it.
pub(crate) async fn progress_in(tx: &mut Tx, context: &JobContext, stage: &str, progress: f64, mut data: Value) -> Result<(), JobError> {
    lone_jobs::set_progress(tx, context.fence(), stage, progress).await?;
    data["stage"] = stage.into();
    data["progress"] = progress.into();
    tell(tx, &Told::of_claimed(&context.job), "job.progress", data, context.now_ms()).await?;
    Ok(())
}

/// In the transaction that [`JobContext::begin_finish`] opened, last.
pub(crate) async fn completed(tx: &mut Tx, context: &JobContext, data: Value, now_ms: i64) -> Result<(), StorageError> {
    tell(tx, &Told::of_claimed(&context.job), "job.completed", data, now_ms).await
}

/// What follows from a verdict that ends a job. The blobs that are returned are to be deleted after the commit.
pub(crate) async fn settled(tx: &mut Tx, job: &Told<'_>, verdict: &Verdict, now_ms: i64) -> Result<Vec<BlobKey>, StorageError> {
    match verdict {
        Verdict::Cancelled => cancelled(tx, job, now_ms).await,
        Verdict::Discard { code, error, hopeless } => {
            let end = if *hopeless { End::Hopeless } else { End::Failed };
            failed(tx, job, end, code, error, now_ms).await
        }
        Verdict::RetryAt { error, .. } => {
            tell(tx, job, "job.progress", json!({"stage": "retrying", "error": error}), now_ms).await?;
            Ok(Vec::new())
        }
        Verdict::Nothing | Verdict::WaitUntil { .. } | Verdict::Snooze => Ok(Vec::new()),
    }
}

pub(crate) async fn cancelled(tx: &mut Tx, job: &Told<'_>, now_ms: i64) -> Result<Vec<BlobKey>, StorageError> {
    let blobs = ended(tx, job, End::Cancelled).await?;
    tell(tx, job, "job.cancelled", json!({}), now_ms).await?;
    Ok(blobs)
}

async fn failed(tx: &mut Tx, job: &Told<'_>, end: End, code: &str, error: &str, now_ms: i64) -> Result<Vec<BlobKey>, StorageError> {
    let blobs = ended(tx, job, end).await?;
    tell(tx, job, "job.failed", json!({"error": failure(code, error)}), now_ms).await?;
    Ok(blobs)
}

async fn ended(tx: &mut Tx, job: &Told<'_>, end: End) -> Result<Vec<BlobKey>, StorageError> {
    match job.parsed() {
        Some(kind) => kind.ended(tx, job.id, end).await,
        None => Ok(Vec::new()),
    }
}

/// As the caller sees it.
pub(crate) fn failure(code: &str, error: &str) -> JobFailure {
    let code = if code == CODE_CRASHED { CODE_CRASHED } else { "job_failed" };
    JobFailure { code: code.into(), detail: error.into(), chunk_index: None }
}

/// Its worker is gone. Blobs that nothing names any more are left for the sweep.
pub(crate) async fn taken_back(tx: &mut Tx, job: &TakenBack, now_ms: i64) -> Result<(), StorageError> {
    let told = Told::of_taken(job);
    match job.state {
        storage::jobs::JobState::Queued => tell(tx, &told, "job.interrupted", json!({}), now_ms).await?,
        storage::jobs::JobState::Cancelled => drop(cancelled(tx, &told, now_ms).await?),
        storage::jobs::JobState::Failed => {
            let error = format!("the worker died {} times while it ran", job.crashes);
            failed(tx, &told, End::Failed, CODE_CRASHED, &error, now_ms).await?;
        }
        _ => {}
    }
    Ok(())
}

/// Of rows that are gone. What can't be deleted now, the sweep deletes later.
pub(crate) async fn delete_blobs(blobs: &Blobs, keys: Vec<BlobKey>) {
    for key in keys {
        if let Err(error) = blobs.delete(key).await {
            tracing::warn!(%error, blob.key = %key, "a blob without a row stays until the next sweep");
        }
    }
}

impl Jobs {
    pub(crate) async fn check_lone_room(&self, owner_id: &str) -> Result<(), SubmitError> {
        let filter = LoneFilter::live_of(owner_id);
        let open = lone_jobs::count(self.storage.rows.read(), &filter).await?;
        if open >= OPEN_MAX {
            return Err(SubmitError::QueueFull(Full { reason: FullReason::Depth { open }, retry_after_s: RETRY_AFTER_S }));
        }
        Ok(())
    }

    /// The job of this dedupe key that lives already, or else this one, accepted.
    pub(crate) async fn accept_once(&self, new: &NewLone) -> Result<Uuid, SubmitError> {
        let live = async || match &new.dedupe_key {
            Some(key) => lone_jobs::find_live(self.storage.rows.read(), key).await,
            None => Ok(None),
        };
        if let Some(id) = live().await? {
            return Ok(id);
        }
        let mut tx = self.storage.rows.begin().await?;
        let accepted = match accept(&mut tx, new, self.clock.now_ms()).await {
            Ok(()) => tx.commit().await,
            Err(error) => Err(error),
        };
        match accepted {
            Ok(()) => Ok(new.id),
            // An equal one came between the look and the accept.
            Err(StorageError::Conflict(_)) => {
                live().await?.ok_or_else(|| StorageError::Busy("an equal job ended at this moment".into()).into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a job of this id is one without a generation, of these calls (`clone.create`, ...; of any where none is named), and the owner's.
    pub async fn is_lone(&self, owner_id: &str, id: Uuid, shown: &[&str]) -> Result<bool, StorageError> {
        let row = storage::jobs::find(self.storage.rows.read(), id).await?;
        let row = row.filter(|row| row.owner_id == owner_id && row.generation_id.is_none());
        Ok(row.is_some_and(|row| shown_as(&row.kind).is_some_and(|name| shown.is_empty() || shown.contains(&name))))
    }

    /// All of these calls that have not ended.
    pub async fn cancel_lone(&self, owner_id: &str, shown: &[&str]) -> Result<Vec<(Uuid, CancelOutcome)>, StorageError> {
        let filter = LoneFilter::live_of(owner_id);
        let mut outcomes = Vec::new();
        for row in lone_jobs::list(self.storage.rows.read(), &filter, None, OPEN_MAX as u32).await? {
            if shown_as(&row.kind).is_some_and(|name| shown.contains(&name)) {
                outcomes.push((row.id, self.cancel(owner_id, row.id).await?));
            }
        }
        Ok(outcomes)
    }
}
