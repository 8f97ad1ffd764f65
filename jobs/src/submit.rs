//! Accepting a request: plan it, then one transaction with the generation, its chunks, their jobs and the first event. After the commit no
//! crash can lose it.

use engine::speech::Availability;
use serde_json::json;
use storage::chunks::ChunkId;
use storage::events::NewEvent;
use storage::generations::{Generation, GenerationStatus};
use storage::jobs::NewJob;
use storage::search::SearchText;
use storage::{StorageError, Tx, chunks, events, generations, idempotency, montages};
use uuid::Uuid;

use crate::plan::{self, Plan};
use crate::retry::job_of;
use crate::submission::{Submission, SubmitError};
use crate::view::JobView;
use crate::voices::Voice;
use crate::{Jobs, fail_point};

impl Jobs {
    /// Accepts a request for speech. The answer means that it will be done.
    pub async fn submit(&self, owner_id: &str, mut submission: Submission) -> Result<JobView, SubmitError> {
        self.check_engine()?;
        self.check_room().await?;
        self.check_montage(owner_id, submission.montage_id).await?;
        let seed = *submission.options.seed.get_or_insert_with(|| rand::random::<u64>() >> 11);
        let limits = self.config.limits.clone();
        let named = tokio::task::spawn_blocking(move || (plan::voice_names(&submission), submission));
        let (names, submission) = named.await.map_err(plan_died)?;
        let voices = self.find_voices(owner_id, &names).await?;
        let voice = submission.voice_id.as_deref().and_then(|name| voices.get(name));
        let (owner_id, now_ms) = (owner_id.to_owned(), self.clock.now_ms());
        let planned = tokio::task::spawn_blocking(move || {
            let plan = plan::plan(&submission, |name| voices.get(name), &limits, seed)?;
            let generation = generation_of(&owner_id, &submission, &plan, voice, now_ms)?;
            let search = SearchText::of(generation.title.as_deref(), &generation.text, &generation.voices);
            Ok::<_, SubmitError>((submission, plan, generation, search))
        });
        let (submission, plan, generation, search) = planned.await.map_err(plan_died)??;
        let rows = plan::rows_of(&plan, &self.engine.capabilities()).map_err(StorageError::from)?;
        let run_at_ms = submission.not_before_ms.unwrap_or(now_ms);
        let jobs = jobs_of(&generation, rows.len() as u32, run_at_ms)?;
        let (idempotency, montage_id) = (submission.idempotency.clone(), submission.montage_id);
        let accepted = generation.clone();
        let commit = self.storage.rows.commit_in_group(move |tx| {
            Box::pin(async move {
                generations::insert(tx, &accepted, &search).await?;
                if let Some(montage_id) = montage_id {
                    // Deleted since it was looked at: it would have lost its generations anyway.
                    montages::append(tx, &accepted.owner_id, montage_id, accepted.id).await?;
                }
                accept(tx, &accepted, &rows, &jobs, now_ms).await?;
                if let Some(key) = &idempotency {
                    idempotency::note_job(tx, key, accepted.id).await?;
                }
                fail_point::pass("accept.before_commit");
                Ok(())
            })
        });
        commit.await?;
        self.room.note_accepted();
        fail_point::pass("accept.after_commit");
        self.view_of_generation(&generation).await.map_err(SubmitError::from)
    }

    pub(crate) fn check_engine(&self) -> Result<(), SubmitError> {
        match self.engine.availability() {
            Availability::Ready => Ok(()),
            Availability::Missing { what, command } => Err(SubmitError::EngineUnavailable { what, command }),
        }
    }

    async fn check_montage(&self, owner_id: &str, montage_id: Option<Uuid>) -> Result<(), SubmitError> {
        let Some(id) = montage_id else {
            return Ok(());
        };
        match self.has_room_in_montage(owner_id, id).await? {
            Some(true) => Ok(()),
            Some(false) => Err(SubmitError::MontageFull(id)),
            None => Err(SubmitError::MontageNotFound(id)),
        }
    }

    async fn check_room(&self) -> Result<(), SubmitError> {
        self.full().await?.map_or(Ok(()), |full| Err(SubmitError::QueueFull(full)))
    }
}

/// What follows from a generation's row.
async fn accept(tx: &mut Tx, generation: &Generation, rows: &[chunks::NewChunk], jobs: &[NewJob], now_ms: i64) -> Result<(), StorageError> {
    chunks::insert(tx, generation.id, rows).await?;
    storage::jobs::enqueue(tx, jobs, now_ms).await?;
    let data = json!({"type": generation.kind, "chunks_total": generation.chunks_total, "title": generation.title});
    let event = NewEvent { owner_id: &generation.owner_id, generation_id: Some(generation.id), kind: "job.queued", data };
    events::append(tx, event, now_ms).await?;
    Ok(())
}

fn plan_died(error: tokio::task::JoinError) -> StorageError {
    StorageError::Internal(format!("plan: {error}"))
}

fn generation_of(
    owner_id: &str,
    submission: &Submission,
    plan: &Plan,
    voice: Option<Voice>,
    now_ms: i64,
) -> Result<Generation, StorageError> {
    Ok(Generation {
        id: Uuid::now_v7(),
        owner_id: owner_id.to_owned(),
        kind: submission.kind.as_str().to_owned(),
        status: GenerationStatus::Queued,
        title: submission.title.clone(),
        text: plan.text.clone(),
        voice_id: voice.as_ref().map(|voice| voice.id.clone()),
        voice_name: voice.map(|voice| voice.name),
        language: submission.options.language.clone(),
        params: serde_json::to_string(&submission.options)?,
        voices: serde_json::to_string(&plan.voices)?,
        metadata: submission.metadata.as_ref().map(ToString::to_string),
        priority: submission.priority,
        chunks_total: plan.chunks.len() as i64,
        chunks_done: 0,
        attempt: 0,
        cancel_requested: false,
        error: None,
        result: None,
        created_at_ms: now_ms,
        started_at_ms: None,
        finished_at_ms: None,
        traceparent: submission.trace.traceparent.clone(),
        tracestate: submission.trace.tracestate.clone(),
    })
}

fn jobs_of(generation: &Generation, chunks: u32, run_at_ms: i64) -> Result<Vec<NewJob>, StorageError> {
    let id = |index| ChunkId { generation_id: generation.id, index, take: 1 };
    (0..chunks).map(|index| job_of(generation, id(index), run_at_ms)).collect()
}
