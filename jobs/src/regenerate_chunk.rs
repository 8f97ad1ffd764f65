//! Making one chunk again: a new take beside the old ones, by a job of its own. The plan's own takes have number 1; later ones are asked for
//! by hand, count nothing and fail alone. This file may not know how a take is spoken.

use std::collections::{BTreeMap, BTreeSet};

use engine::neural_models::Offer;
use serde_json::json;
use storage::chunks::{self, Chunk, ChunkId, ChunkStatus, NewChunk};
use storage::events::NewEvent;
use storage::generations::{self, Generation};
use storage::jobs::NewJob;
use storage::{StorageError, events};
use uuid::Uuid;

use crate::plan::{self, ChunkSpec, PlannedChunk};
use crate::speak_chunk::SpeakChunk;
use crate::submission::{
    ChunkInput, FieldError, GenerationKind, GenerationOptions, RegenerateOrder, Source, Submission, SubmitError, TraceContext,
};
use crate::view::JobView;
use crate::voices::{FoundVoices, Voice, VoiceSnapshot};
use crate::{Jobs, retry};

/// Takes of one chunk.
const TAKES_MAX: u32 = 1_000;

impl Jobs {
    /// Accepts a new take of a chunk. What is not given stays as it was in the newest take; the seed is drawn.
    pub async fn regenerate_chunk(&self, owner_id: &str, order: RegenerateOrder) -> Result<JobView, SubmitError> {
        let offer = self.engines.offer();
        if offer.installed.is_empty() {
            self.check_engine()?;
        }
        let RegenerateOrder { task_id, index, .. } = order;
        let generation = self.generation(owner_id, task_id).await?.ok_or(SubmitError::TaskNotFound(task_id))?;
        let newest = chunks::find_newest(self.storage.rows.read(), task_id, index).await?;
        let newest = newest.ok_or(SubmitError::ChunkNotFound { task_id, index })?;
        let seed = order.seed.unwrap_or_else(|| rand::random::<u64>() >> 11);
        let names: BTreeSet<String> = order.voice_id.iter().cloned().collect();
        let found = self.find_voices(owner_id, &names, &offer).await?;
        let (chunk, voices) = self.plan_take(&generation, &newest, &order, &Found { voices: found, offer }, seed)?;
        let now_ms = self.clock.now_ms();
        let mut tx = self.storage.rows.begin().await?;
        generations::lock(&mut tx, task_id).await?;
        // What was read before the lock may have changed since.
        let newest = chunks::find_newest_in(&mut tx, task_id, index).await?.ok_or(SubmitError::ChunkNotFound { task_id, index })?;
        if newest.status == ChunkStatus::Queued {
            return Err(SubmitError::ChunkBusy { index, take: newest.id.take });
        }
        if newest.id.take >= TAKES_MAX {
            let message = format!("has {TAKES_MAX} takes already");
            return Err(SubmitError::Invalid(vec![FieldError { field: "index".into(), message }]));
        }
        let id = ChunkId { take: newest.id.take + 1, ..newest.id };
        generations::set_voices(&mut tx, task_id, &serde_json::to_string(&voices).map_err(StorageError::from)?).await?;
        chunks::insert(&mut tx, task_id, &[NewChunk { take: id.take, ..chunk }]).await?;
        let job = job_of_take(&generation, id, &order, now_ms)?;
        storage::jobs::enqueue(&mut tx, std::slice::from_ref(&job), now_ms).await?;
        if let Some(key) = &order.idempotency {
            storage::idempotency::note_job(&mut tx, key, job.id).await?;
        }
        let data = json!({"type": "generate.regenerate_chunk", "job_id": job.id, "index": index, "take": id.take});
        events::append(&mut tx, NewEvent { owner_id, generation_id: Some(task_id), kind: "job.queued", data }, now_ms).await?;
        tx.commit().await?;
        self.job(owner_id, job.id).await?.ok_or(SubmitError::TaskNotFound(job.id))
    }

    /// The new take, without its number, and the generation's voices with the one it needs.
    fn plan_take(
        &self,
        generation: &Generation,
        newest: &Chunk,
        order: &RegenerateOrder,
        found: &Found,
        seed: u64,
    ) -> Result<(NewChunk, BTreeMap<String, VoiceSnapshot>), SubmitError> {
        let spec: ChunkSpec = serde_json::from_str(&newest.spec).map_err(StorageError::from)?;
        let mut voices: BTreeMap<String, VoiceSnapshot> = serde_json::from_str(&generation.voices).map_err(StorageError::from)?;
        let options: GenerationOptions = serde_json::from_str(&generation.params).map_err(StorageError::from)?;
        let planned = match &order.text {
            None if order.voice_id.is_none() && order.language.is_none() => same_again(newest, spec, order, seed),
            _ => self.planned_anew(newest, Kept { spec, options }, order, found, seed, &mut voices)?,
        };
        let voice = voices.get(&planned.voice_id).ok_or_else(|| SubmitError::VoiceNotFound(planned.voice_id.clone()))?;
        let request = plan::request_of(&planned.text, &planned.language, &planned.spec, voice);
        let chunk = NewChunk {
            index: newest.id.index,
            take: 0,
            params_hash: plan::params_hash(&self.engines.capabilities(planned.spec.model.as_deref())?, &request)
                .map_err(StorageError::from)?,
            spec: serde_json::to_string(&planned.spec).map_err(StorageError::from)?,
            text: planned.text,
            voice_id: planned.voice_id,
            language: planned.language,
        };
        Ok((chunk, voices))
    }

    /// With the rules of a submission of one chunk: its checks, its language, its pauses.
    fn planned_anew(
        &self,
        newest: &Chunk,
        Kept { spec, options }: Kept,
        order: &RegenerateOrder,
        found: &Found,
        seed: u64,
        voices: &mut BTreeMap<String, VoiceSnapshot>,
    ) -> Result<PlannedChunk, SubmitError> {
        // Without a new text or a language of its own the old one stands; a new text in an unnamed language is looked at.
        let language = order.language.clone().or_else(|| match (&order.text, options.language.as_str()) {
            (Some(_), "auto" | "") => None,
            _ => Some(newest.language.clone()),
        });
        let input = ChunkInput {
            text: order.text.clone().unwrap_or_else(|| newest.text.clone()),
            voice_id: Some(order.voice_id.clone().unwrap_or_else(|| newest.voice_id.clone())),
            language,
            pause_after_ms: Some(spec.pause_after_ms),
            speed: Some(spec.speed),
            instruct: order.instruct.clone().or(spec.instruct.clone()),
        };
        let submission = Submission {
            kind: GenerationKind::CloneChunked,
            source: Source::Chunks(vec![input]),
            voice_id: None,
            voices: BTreeMap::new(),
            languages: Vec::new(),
            translate: false,
            translator: None,
            options: GenerationOptions { pitch_semitones: spec.pitch_semitones, ..options },
            title: None,
            metadata: None,
            priority: 0,
            montage_id: None,
            not_before_ms: None,
            idempotency: None,
            trace: TraceContext::default(),
        };
        // The voice it has may be gone since, or be another by now: it is spoken as it was.
        let voice = |name: &str| match &order.voice_id {
            Some(_) => found.voices.get(name),
            None => voices.get(name).map(|snapshot| Voice::of_snapshot(name, snapshot)),
        };
        let planned = plan::plan(&submission, voice, &self.config.limits, &found.offer, seed).map_err(own_fields)?;
        for (id, mut snapshot) in planned.voices {
            // Other chunks may be spoken by other models.
            for (model, form) in voices.remove(&id).map(|known| known.neural).unwrap_or_default() {
                snapshot.neural.entry(model).or_insert(form);
            }
            voices.insert(id, snapshot);
        }
        let mut chunks = planned.chunks;
        match (chunks.pop(), chunks.is_empty()) {
            (Some(chunk), true) => Ok(PlannedChunk { spec: ChunkSpec { seed, ..chunk.spec }, ..chunk }),
            _ => {
                let message = "must be one piece".into();
                Err(SubmitError::Invalid(vec![FieldError { field: "text".into(), message }]))
            }
        }
    }
}

/// What was looked up before the plan.
struct Found {
    voices: FoundVoices,
    offer: Offer,
}

/// What a new take has from the old one and from its generation.
struct Kept {
    spec: ChunkSpec,
    options: GenerationOptions,
}

fn same_again(newest: &Chunk, spec: ChunkSpec, order: &RegenerateOrder, seed: u64) -> PlannedChunk {
    PlannedChunk {
        text: newest.text.clone(),
        voice_id: newest.voice_id.clone(),
        language: newest.language.clone(),
        spec: ChunkSpec { seed, instruct: order.instruct.clone().or(spec.instruct.clone()), ..spec },
    }
}

/// The caller did not write `chunks[0]`.
fn own_fields(error: SubmitError) -> SubmitError {
    match error {
        SubmitError::Invalid(mut errors) => {
            for error in &mut errors {
                if let Some(field) = error.field.strip_prefix("chunks[0].") {
                    error.field = field.to_owned();
                }
            }
            SubmitError::Invalid(errors)
        }
        other => other,
    }
}

fn job_of_take(generation: &Generation, id: ChunkId, order: &RegenerateOrder, now_ms: i64) -> Result<NewJob, StorageError> {
    let speak = SpeakChunk { generation_id: id.generation_id, index: id.index, take: id.take, replaces: !order.keep_previous };
    Ok(NewJob {
        id: Uuid::now_v7(),
        payload: serde_json::to_string(&speak)?,
        traceparent: order.trace.traceparent.clone(),
        tracestate: order.trace.tracestate.clone(),
        ..retry::job_of(generation, id, now_ms)?
    })
}
