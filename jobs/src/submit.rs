//! Accepting a request: plan it, then one transaction with the generation, its chunks, their jobs and the first event. After the commit no
//! crash can lose it.

use std::collections::BTreeMap;

use engine::engines::Engines;
use engine::neural_models::Offer;
use engine::speech::{Availability, Capabilities, EngineError};
use serde_json::json;
use storage::StorageError;
use storage::accept::Accept;
use storage::chunks::ChunkId;
use storage::generations::{Generation, GenerationStatus};
use storage::jobs::NewJob;
use storage::search::SearchText;
use tracing::Instrument;
use uuid::Uuid;

use crate::plan::{self, Plan, PlanLimits};
use crate::retry::job_of;
use crate::submission::{Source, Submission, SubmitError};
use crate::view::JobView;
use crate::voices::{FoundVoices, Voice};
use crate::{Jobs, fail_point, trace};

impl Jobs {
    /// Accepts a request for speech. The answer means that it will be done.
    pub async fn submit(&self, owner_id: &str, mut submission: Submission) -> Result<JobView, SubmitError> {
        let span = trace::accept_span(submission.kind.as_str());
        submission.trace = trace::stored(&span, submission.trace);
        self.accept(owner_id, submission).instrument(span).await
    }

    async fn accept(&self, owner_id: &str, mut submission: Submission) -> Result<JobView, SubmitError> {
        let offer = self.engines.offer();
        if offer.installed.is_empty() {
            // Nobody else could speak.
            self.check_engine()?;
        }
        self.check_room().await?;
        self.check_montage(owner_id, submission.montage_id).await?;
        submission.options.engine.get_or_insert(self.config.engine);
        submission.translator = self.translator_of(&submission).await?;
        let seed = *submission.options.seed.get_or_insert_with(|| rand::random::<u64>() >> 11);
        let names;
        (names, submission) = without_stalling(text_bytes(&submission), move || (plan::voice_names(&submission), submission)).await?;
        let voices = self.find_voices(owner_id, &names, &offer).await?;
        let planner = Planner {
            owner_id: owner_id.to_owned(),
            voices,
            limits: self.config.limits.clone(),
            offer,
            engines: self.engines.clone(),
            seed,
            now_ms: self.clock.now_ms(),
        };
        let accept = without_stalling(text_bytes(&submission), move || planner.accept_of(submission)).await??;
        let accepted = self.storage.rows.accept(accept).await?;
        self.room.note_accepted();
        fail_point::pass("accept.after_commit");
        self.view(&accepted.generation, Some(accepted.queue_position), false).map_err(SubmitError::from)
    }

    pub(crate) fn check_engine(&self) -> Result<(), SubmitError> {
        match self.engines.builtin().availability() {
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

/// A model that was removed between the look and the plan.
impl From<EngineError> for SubmitError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Unavailable { what, command } => Self::ModelNotInstalled { what, command },
            error => Self::Storage(StorageError::Internal(format!("engine: {error}"))),
        }
    }
}

/// A text that is planned in less time than it takes to hand it to another thread.
const SHORT_BYTES: usize = 4 * 1_024;

/// Runs work that takes time with the length of a text: long ones where they keep nobody waiting.
async fn without_stalling<T: Send + 'static>(text_bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> Result<T, StorageError> {
    if text_bytes <= SHORT_BYTES {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|error| StorageError::Internal(format!("plan: {error}")))
}

fn text_bytes(submission: &Submission) -> usize {
    match &submission.source {
        Source::Text(text) => text.len(),
        Source::Chunks(chunks) => chunks.iter().map(|chunk| chunk.text.len() + CHUNK_BYTES).sum(),
    }
}

/// What a chunk costs beside its text.
const CHUNK_BYTES: usize = 256;

/// Everything that a plan needs beside the submission.
struct Planner {
    owner_id: String,
    voices: FoundVoices,
    limits: PlanLimits,
    offer: Offer,
    engines: Engines,
    seed: u64,
    now_ms: i64,
}

impl Planner {
    /// What the engines of a plan say of themselves; each must be able to speak.
    fn engines_of(&self, plan: &Plan) -> Result<BTreeMap<Option<String>, Capabilities>, SubmitError> {
        let mut capabilities = BTreeMap::new();
        for model in plan.models() {
            let engine = self.engines.of(model.as_deref())?;
            if let (None, Availability::Missing { what, command }) = (&model, engine.availability()) {
                return Err(SubmitError::EngineUnavailable { what, command });
            }
            capabilities.insert(model, engine.capabilities());
        }
        Ok(capabilities)
    }

    /// Everything that follows from a submission, down to its rows.
    fn accept_of(self, submission: Submission) -> Result<Accept, SubmitError> {
        let plan = plan::plan(&submission, |name| self.voices.get(name), &self.limits, &self.offer, self.seed)?;
        let capabilities = self.engines_of(&plan)?;
        let voice = submission.voice_id.as_deref().and_then(|name| self.voices.get(name));
        let generation = generation_of(&self.owner_id, &submission, &plan, voice, self.now_ms)?;
        let search = SearchText::of(generation.title.as_deref(), &generation.text, &generation.voices);
        let chunks = plan::rows_of(&plan, &capabilities).map_err(StorageError::from)?;
        let jobs = jobs_of(&generation, chunks.len() as u32, submission.not_before_ms.unwrap_or(self.now_ms))?;
        let data = json!({"type": generation.kind, "chunks_total": generation.chunks_total, "title": generation.title});
        Ok(Accept {
            generation,
            search,
            chunks,
            jobs,
            told: ("job.queued", data),
            montage_id: submission.montage_id,
            idempotency: submission.idempotency,
            now_ms: self.now_ms,
            before_commit: || fail_point::pass("accept.before_commit"),
        })
    }
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
