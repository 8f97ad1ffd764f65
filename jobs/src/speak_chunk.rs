//! The job that speaks one take of one chunk: read the plan, compute or find equal samples, store them, and end in one transaction with the
//! event and, after the last chunk, with the merge enqueued.

use std::collections::BTreeMap;

use audio::wav::{BitDepth, WavError, WavLayout, WavSpec, WavWriter};
use bytes::Bytes;
use engine::handle::EngineHandle;
use engine::speech::{SAMPLE_RATE_HZ, Speech, SynthesisRequest, VoiceProfile};
use serde::{Deserialize, Serialize};
use serde_json::json;
use storage::chunks::{self, Chunk, ChunkAudio, ChunkId, ChunkStatus};
use storage::events::NewEvent;
use storage::generations::{self, Generation, GenerationStatus};
use storage::{BlobKey, StorageError, Tx};
use tracing::Instrument;
use tracing::field::Empty;
use uuid::Uuid;

use crate::choose_engine::engine_name;
use crate::job::{Committed, JobContext, JobError, QUEUE_CPU};
use crate::merge_chunks::{self, MergeChunks};
use crate::plan::{ChunkSpec, request_of};
use crate::submission::GenerationOptions;
use crate::suspect::suspicion;
use crate::tally::TALLY;
use crate::voices::VoiceSnapshot;
use crate::{fail_point, in_flight, moves, neural_voice, trace, translate_chunk};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SpeakChunk {
    pub generation_id: Uuid,
    pub index: u32,
    pub take: u32,
    /// The finished takes before it go with its commit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replaces: bool,
}

/// A chunk's samples on their way to the store.
struct Spoken {
    audio: ChunkAudio,
    cached: bool,
    suspect: bool,
    model: Option<String>,
}

/// The neural model that the plan has chosen for a chunk.
pub(crate) fn model_of(chunk: &Chunk) -> Option<String> {
    serde_json::from_str::<ChunkSpec>(&chunk.spec).ok().and_then(|spec| spec.model)
}

/// Mixed into the seed of the second try of a suspect chunk.
const OTHER_SEED: u64 = 0x5eed;

impl SpeakChunk {
    pub(crate) const NAME: &str = "speak_chunk";
    pub(crate) const QUEUE: &str = QUEUE_CPU;
    pub(crate) const ATTEMPTS_MAX: i64 = 3;
    pub(crate) const TIMEOUT_MS: u64 = 10 * 60 * 1_000;

    pub(crate) fn chunk_id(&self) -> ChunkId {
        ChunkId { generation_id: self.generation_id, index: self.index, take: self.take }
    }

    fn blob_key(&self) -> BlobKey {
        key_of(self.chunk_id())
    }

    /// Asked for by itself: the plan's takes are the first ones.
    pub(crate) fn is_by_hand(&self) -> bool {
        self.take > 1
    }

    pub(crate) async fn run(&self, context: &JobContext) -> Result<Committed, JobError> {
        let span = tracing::trace_span!(target: trace::TARGET, "chunk", chunk.index = self.index, chunk.take = self.take);
        self.make(context).instrument(span).await
    }

    async fn make(&self, context: &JobContext) -> Result<Committed, JobError> {
        let pool = context.storage.rows.read();
        let (generation, chunk) = tokio::try_join!(generations::find(pool, self.generation_id), chunks::find(pool, self.chunk_id()))?;
        let generation = generation.ok_or_else(|| JobError::Discard("its generation is gone".into()))?;
        let chunk = chunk.ok_or_else(|| JobError::Discard("its chunk is gone".into()))?;
        if chunk.status == ChunkStatus::Completed {
            let tx = context.begin_finish(None).await?;
            return context.commit(tx, "chunk.before_commit", "chunk.after_commit").await;
        }
        if matches!(generation.status, GenerationStatus::Queued | GenerationStatus::Interrupted) {
            announce_start(context, &generation).await?;
        }
        let chunk = translate_chunk::translated(context, &generation, chunk).await?;
        // Held until the commit: who waits for it finds our result.
        let turn = async {
            in_flight::wait_for_others(context, &chunk.params_hash).await?;
            Ok(context.in_flight.enter(&generation.owner_id, &chunk.params_hash).await)
        };
        let _turn = tokio::select! {
            turn = turn => turn.map_err(|error: StorageError| JobError::from(error))?,
            () = context.token.cancelled() => return Err(JobError::Stopped),
        };
        let mut spoken = match self.copy_equal(context, &generation, &chunk).await? {
            Some(audio) => Spoken { audio, cached: true, suspect: false, model: model_of(&chunk) },
            None => self.speak(context, &generation, &chunk).await?,
        };
        spoken.suspect |= translate_chunk::is_incomplete(&chunk);
        self.finish(context, &generation, &spoken).await
    }

    /// Finished chunks of the same owner that sound the same are copied, not made again.
    async fn copy_equal(&self, context: &JobContext, generation: &Generation, chunk: &Chunk) -> Result<Option<ChunkAudio>, JobError> {
        let equal = chunks::find_equal(context.storage.rows.read(), &generation.owner_id, &chunk.params_hash).await?;
        let Some(Chunk { id, audio: Some(audio), .. }) = equal else {
            return Ok(None);
        };
        let bytes = match context.storage.blobs.get_verified(key_of(id), &audio.blob).await {
            Ok(bytes) => bytes,
            // Deleted between the look and the read, or spoilt by the disk: then it is made anew.
            Err(StorageError::BlobNotFound(_) | StorageError::BlobDamaged(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let blob = self.put(context, bytes).await?;
        Ok(Some(ChunkAudio { blob, rtf: 0.0, ..audio }))
    }

    async fn speak(&self, context: &JobContext, generation: &Generation, chunk: &Chunk) -> Result<Spoken, JobError> {
        let spec: ChunkSpec = serde_json::from_str(&chunk.spec).map_err(|error| JobError::Discard(format!("chunk spec: {error}")))?;
        let voices: BTreeMap<String, VoiceSnapshot> =
            serde_json::from_str(&generation.voices).map_err(|error| JobError::Discard(format!("voices: {error}")))?;
        let voice = voices.get(&chunk.voice_id).ok_or_else(|| JobError::Discard(format!("no voice {}", chunk.voice_id)))?;
        let engine = context.engines.of(spec.model.as_deref())?;
        let mut request = request_of(&chunk.text, &chunk.language, &spec, voice);
        if let Some(model) = &spec.model {
            if !context.engines.is_loaded(model) {
                announce_loading(context, generation, model).await?;
            }
            if !matches!(request.voice, VoiceProfile::Neural(_)) {
                request.voice = VoiceProfile::Neural(Box::new(neural_voice::of_voice(context, &chunk.voice_id, model).await?));
            }
        }
        let started_ms = context.now_ms();
        let (speech, suspect) = synthesize(context, &engine, request).await?;
        let computed_ms = context.now_ms() - started_ms;
        let sample_count = speech.samples.len();
        let words = serde_json::to_string(&speech.words).map_err(|error| JobError::Discard(format!("words: {error}")))?;
        let bytes = encode(speech).await?;
        let blob = self.put(context, bytes).await?;
        let duration_ms = sample_count as i64 * 1_000 / i64::from(SAMPLE_RATE_HZ);
        let rtf = computed_ms as f64 / duration_ms.max(1) as f64;
        TALLY.real_time_factor.note(rtf);
        let audio = ChunkAudio { blob, sample_count: sample_count as i64, duration_ms, words, rtf };
        Ok(Spoken { audio, cached: false, suspect, model: spec.model })
    }

    async fn put(&self, context: &JobContext, bytes: Bytes) -> Result<storage::blobs::StoredBlob, JobError> {
        fail_point::pass("chunk.before_blob");
        let blob = context.storage.blobs.put(self.blob_key(), bytes).await?;
        fail_point::pass("chunk.after_blob");
        Ok(blob)
    }

    async fn finish(&self, context: &JobContext, generation: &Generation, spoken: &Spoken) -> Result<Committed, JobError> {
        let now_ms = context.now_ms();
        let result = self.is_by_hand().then(|| {
            let (audio, Self { index, take, .. }) = (&spoken.audio, self);
            let (cached, suspect) = (spoken.cached, spoken.suspect);
            json!({
                "index": index, "take": take, "duration_ms": audio.duration_ms, "size_bytes": audio.blob.size_bytes,
                "sha256": audio.blob.sha256, "cached": cached, "suspect": suspect,
                "engine": engine_name(spoken.model.as_deref()), "model": spoken.model,
            })
            .to_string()
        });
        let mut tx = context.begin_finish(result.as_deref()).await?;
        let mut replaced = Vec::new();
        if chunks::complete(&mut tx, self.chunk_id(), &spoken.audio, spoken.cached, spoken.suspect, now_ms).await? {
            if self.is_by_hand() {
                self.announce_take(&mut tx, generation, spoken, context, now_ms).await?;
            } else {
                self.announce(&mut tx, generation, spoken, now_ms).await?;
            }
            if self.replaces {
                replaced = chunks::delete_finished_before(&mut tx, self.chunk_id()).await?;
            }
        }
        moves::close_if_cancelled(&mut tx, generation.id, now_ms).await?;
        let committed = context.commit(tx, "chunk.before_commit", "chunk.after_commit").await?;
        for id in replaced {
            // What stays behind after a crash here goes with the generation.
            if let Err(error) = context.storage.blobs.delete(key_of(id)).await {
                tracing::warn!(%error, "a replaced take was not deleted");
            }
        }
        Ok(committed)
    }

    /// A take that was asked for by hand moves nothing: it is there, and its job is done.
    async fn announce_take(
        &self,
        tx: &mut Tx,
        generation: &Generation,
        spoken: &Spoken,
        context: &JobContext,
        now_ms: i64,
    ) -> Result<(), JobError> {
        let data = json!({
            "index": self.index, "take": self.take, "duration_ms": spoken.audio.duration_ms, "cached": spoken.cached, "suspect": spoken.suspect,
            "chunks_done": generation.chunks_done, "chunks_total": generation.chunks_total, "job_id": context.fence().job_id,
            "engine": engine_name(spoken.model.as_deref()), "model": spoken.model,
        });
        let event = NewEvent { owner_id: &generation.owner_id, generation_id: Some(generation.id), kind: "chunk.ready", data };
        storage::events::append(tx, event, now_ms).await?;
        Ok(())
    }

    async fn announce(&self, tx: &mut Tx, generation: &Generation, spoken: &Spoken, now_ms: i64) -> Result<(), JobError> {
        let (done, total) = generations::count_chunk_done(tx, generation.id).await?;
        // A chunk of a complete generation is made again for a merge that waits for it, and for nothing else.
        let all_done = done >= total && !generation.cancel_requested && !generation.status.is_final();
        let options: GenerationOptions =
            serde_json::from_str(&generation.params).map_err(|error| JobError::Discard(format!("params: {error}")))?;
        if all_done && options.auto_merge {
            let merge = MergeChunks::of_generation(generation.id, options.merge.clone());
            merge_chunks::enqueue(tx, generation, &merge, Uuid::now_v7(), now_ms).await?;
        }
        let data = json!({
            "index": self.index, "take": self.take, "duration_ms": spoken.audio.duration_ms, "cached": spoken.cached, "suspect": spoken.suspect,
            "chunks_done": done, "chunks_total": total, "engine": engine_name(spoken.model.as_deref()), "model": spoken.model,
        });
        let event = NewEvent { owner_id: &generation.owner_id, generation_id: Some(generation.id), kind: "chunk.ready", data };
        storage::events::append(tx, event, now_ms).await?;
        if all_done && options.auto_merge {
            moves::merging(tx, generation, now_ms).await?;
        } else if all_done {
            moves::completed(tx, generation, None, json!({"chunks_total": total}), now_ms).await?;
        }
        Ok(())
    }
}

fn key_of(id: ChunkId) -> BlobKey {
    BlobKey::Chunk { generation_id: id.generation_id, index: id.index, take: id.take }
}

/// Speaks; what can't be the text is spoken once more with another seed, and marked when that is no better. Both seeds come from the row,
/// so a job that runs twice gives the same samples.
async fn synthesize(context: &JobContext, engine: &EngineHandle, request: SynthesisRequest) -> Result<(Speech, bool), JobError> {
    let first = call_engine(context, engine, request.clone()).await?;
    let Some(found) = suspicion(&request, &first) else {
        return Ok((first, false));
    };
    tracing::warn!(job.id = %context.fence().job_id, suspicion = ?found, "speech is not plausible for its text");
    if !engine.capabilities().uses_seed {
        return Ok((first, true));
    }
    let again = SynthesisRequest { seed: request.seed ^ OTHER_SEED, ..request };
    let second = call_engine(context, engine, again.clone()).await?;
    let suspect = suspicion(&again, &second).is_some();
    Ok((second, suspect))
}

/// The time in the engine's mailbox is part of the span.
async fn call_engine(context: &JobContext, engine: &EngineHandle, request: SynthesisRequest) -> Result<Speech, JobError> {
    let span = tracing::trace_span!(target: trace::TARGET, "synthesize", text.chars = request.text.chars().count(), audio.samples = Empty);
    let speech = engine.synthesize(request, context.token.clone()).instrument(span.clone()).await?;
    span.record("audio.samples", speech.samples.len());
    Ok(speech)
}

/// queued or interrupted -> running, under the fence: a worker that lost its lease may not even say that it started.
async fn announce_start(context: &JobContext, generation: &Generation) -> Result<(), JobError> {
    let mut tx = context.begin_fenced().await?;
    moves::started(&mut tx, generation, GenerationStatus::Running, context.now_ms()).await?;
    fail_point::pass("start.before_commit");
    tx.commit().await?;
    Ok(())
}

/// Told once for each chunk that finds the weights away: it takes seconds until they are there.
async fn announce_loading(context: &JobContext, generation: &Generation, model: &str) -> Result<(), JobError> {
    let mut tx = context.begin_fenced().await?;
    let data = json!({"model": model, "job_id": context.fence().job_id});
    let event = NewEvent { owner_id: &generation.owner_id, generation_id: Some(generation.id), kind: "job.loading_model", data };
    storage::events::append(&mut tx, event, context.now_ms()).await?;
    tx.commit().await?;
    Ok(())
}

/// 16-bit mono WAV, off the async threads.
pub(crate) async fn encode(speech: Speech) -> Result<Bytes, JobError> {
    let encoded = tokio::task::spawn_blocking(move || encode_wav(&speech.samples)).await;
    let bytes = encoded.map_err(|error| JobError::Retry(format!("encode: {error}")))?;
    bytes.map(Bytes::from).map_err(|error| JobError::Retry(format!("encode: {error}")))
}

pub(crate) fn encode_wav(samples: &[f32]) -> Result<Vec<u8>, WavError> {
    let spec = WavSpec { rate_hz: SAMPLE_RATE_HZ, channels: 1, depth: BitDepth::Pcm16 };
    let bytes = Vec::with_capacity(samples.len() * 2 + 64);
    let mut writer = WavWriter::with_length(bytes, spec, WavLayout::default(), samples.len() as u64)?;
    writer.write(samples)?;
    writer.finish()
}
