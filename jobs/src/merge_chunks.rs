//! The job that makes one file of the chunks: chosen takes in order, streamed (memory does not grow with the length), loudness measured and
//! set, subtitles and peaks beside it, and one transaction at the end.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use storage::blobs::{RenderPart, StoredBlob};
use storage::chunks::{Chunk, ChunkStatus};
use storage::generations::{self, Generation, GenerationStatus};
use storage::jobs::NewJob;
use storage::renders::{Render, RenderKind};
use storage::{BlobKey, StorageError, Tx, renders};
use uuid::Uuid;

use crate::choose_engine::engine_name;
use crate::format::AudioFormat;
use crate::job::{Committed, JobContext, JobError, QUEUE_IO};
use crate::look_up::all_chunks;
use crate::render::{self, RenderError, Rendered};
use crate::speak_chunk::model_of;
use crate::submission::{FieldError, MergeOptions, MergeOrder, SubmitError};
use crate::view::JobView;
use crate::{Jobs, fail_point, mend_chunks, moves};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct MergeChunks {
    pub generation_id: Uuid,
    pub options: MergeOptions,
    /// The generation is complete when this is.
    pub completes_generation: bool,
}

impl Eq for MergeChunks {}

impl MergeChunks {
    pub(crate) const NAME: &str = "merge_chunks";
    pub(crate) const QUEUE: &str = QUEUE_IO;
    pub(crate) const ATTEMPTS_MAX: i64 = 3;
    pub(crate) const TIMEOUT_MS: u64 = 6 * 60 * 60 * 1_000;

    pub(crate) fn of_generation(generation_id: Uuid, options: MergeOptions) -> Self {
        Self { generation_id, options, completes_generation: true }
    }

    pub(crate) async fn run(&self, context: &JobContext) -> Result<Committed, JobError> {
        let generation = generations::find(context.storage.rows.read(), self.generation_id).await?;
        let generation = generation.ok_or_else(|| JobError::Discard("its generation is gone".into()))?;
        if self.completes_generation && generation.status == GenerationStatus::Interrupted {
            self.announce_resume(context, &generation).await?;
        }
        let chunks = all_chunks(context.storage.rows.read(), self.generation_id).await?;
        let coming: BTreeSet<u32> = chunks.iter().filter(|chunk| chunk.status == ChunkStatus::Queued).map(|chunk| chunk.id.index).collect();
        let chosen = choose(chunks, &self.options).map_err(|missing| match missing.iter().all(|index| coming.contains(index)) {
            true => JobError::Wait(format!("chunks {missing:?} are made again")),
            false => JobError::Discard(format!("chunks not complete: {missing:?}")),
        })?;
        let rendered = match render::render(context, &generation, chosen.clone(), &self.options).await {
            Ok(rendered) => rendered,
            Err(RenderError::Damaged { index, error }) => {
                let told = mend_chunks::mend(context, &generation, &chosen, &chosen[index], &error).await?;
                return Err(JobError::Retry(told));
            }
            Err(RenderError::Job(error)) => return Err(error),
        };
        fail_point::pass("merge.before_blob");
        let blob = self.store(context, &rendered).await?;
        fail_point::pass("merge.after_blob");
        self.finish(context, &generation, &rendered, (blob, engines_of(&chosen))).await
    }

    async fn announce_resume(&self, context: &JobContext, generation: &Generation) -> Result<(), JobError> {
        let mut tx = context.begin_fenced().await?;
        moves::started(&mut tx, generation, GenerationStatus::Merging, context.now_ms()).await?;
        tx.commit().await?;
        Ok(())
    }

    /// The parts first, the audio last: who finds the audio finds the rest too.
    async fn store(&self, context: &JobContext, rendered: &Rendered) -> Result<StoredBlob, JobError> {
        let key = |part| BlobKey::Render { generation_id: self.generation_id, render_id: context.fence().job_id, part };
        let blobs = &context.storage.blobs;
        blobs.put(key(RenderPart::Srt), rendered.srt.clone().into()).await?;
        blobs.put(key(RenderPart::Vtt), rendered.vtt.clone().into()).await?;
        blobs.put(key(RenderPart::Peaks), rendered.peaks.clone().into()).await?;
        Ok(blobs.put_file(key(rendered.format.part()), rendered.file.path()).await?)
    }

    async fn finish(
        &self,
        context: &JobContext,
        generation: &Generation,
        rendered: &Rendered,
        (blob, engines): (StoredBlob, Value),
    ) -> Result<Committed, JobError> {
        let now_ms = context.now_ms();
        let render = Render {
            id: context.fence().job_id,
            generation_id: self.generation_id,
            kind: RenderKind::Chunks,
            params: serde_json::to_string(&self.options).map_err(StorageError::from)?,
            content_type: rendered.format.content_type().into(),
            blob,
            duration_ms: rendered.duration_ms,
            report: rendered.report.to_string(),
            created_at_ms: now_ms,
        };
        let mut result = result_of(&render, &rendered.report);
        result["engines"] = engines;
        let text = result.to_string();
        let mut tx = context.begin_finish(Some(&text)).await?;
        renders::put(&mut tx, &render).await?;
        let data = json!({
            "job_id": context.fence().job_id, "duration_ms": render.duration_ms, "size_bytes": render.blob.size_bytes,
            "loudness": rendered.report["loudness"], "chunks_total": generation.chunks_total,
        });
        if self.completes_generation {
            moves::completed(&mut tx, generation, Some(&text), data, now_ms).await?;
            moves::close_if_cancelled(&mut tx, generation.id, now_ms).await?;
        } else {
            // The generation's audio is now this file, and its result says what is in it.
            generations::set_result(&mut tx, generation.id, Some(&text)).await?;
            moves::merged(&mut tx, generation, data, now_ms).await?;
        }
        context.commit(tx, "merge.before_commit", "merge.after_commit").await
    }
}

/// Who spoke, and how many chunks of it.
fn engines_of(chunks: &[Chunk]) -> Value {
    let mut counts: BTreeMap<Option<String>, usize> = BTreeMap::new();
    for chunk in chunks {
        *counts.entry(model_of(chunk)).or_default() += 1;
    }
    let shown =
        counts.into_iter().map(|(model, chunks)| json!({"engine": engine_name(model.as_deref()), "model": model, "chunks": chunks}));
    Value::Array(shown.collect())
}

/// The answer of a merge, without links.
fn result_of(render: &Render, report: &Value) -> Value {
    json!({
        "render_id": render.id, "duration_ms": render.duration_ms, "size_bytes": render.blob.size_bytes,
        "sha256": render.blob.sha256, "content_type": render.content_type, "loudness": report["loudness"], "chunks": report["chunks"],
    })
}

/// The take of each index that the options ask for, in the order they ask for; or the indexes that have none.
pub(crate) fn choose(chunks: Vec<Chunk>, options: &MergeOptions) -> Result<Vec<Chunk>, Vec<u32>> {
    let mut by_index: BTreeMap<u32, Vec<Chunk>> = BTreeMap::new();
    for chunk in chunks {
        by_index.entry(chunk.id.index).or_default().push(chunk);
    }
    let order: Vec<u32> = if options.order.is_empty() { by_index.keys().copied().collect() } else { options.order.clone() };
    let mut chosen = Vec::with_capacity(order.len());
    let mut missing = Vec::new();
    for index in order {
        let wanted = options.takes.get(&index);
        let takes = by_index.get(&index).into_iter().flatten();
        let mut done = takes.filter(|chunk| chunk.status == ChunkStatus::Completed && wanted.is_none_or(|take| *take == chunk.id.take));
        match done.next_back() {
            Some(chunk) => chosen.push(chunk.clone()),
            None => missing.push(index),
        }
    }
    if missing.is_empty() { Ok(chosen) } else { Err(missing) }
}

pub(crate) fn check_options(options: &MergeOptions) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut check = |ok: bool, field: &str, message: &str| {
        if !ok {
            errors.push(FieldError { field: field.into(), message: message.into() });
        }
    };
    check(AudioFormat::parse(&options.format).is_some(), "format", &format!("must be one of {}", AudioFormat::names()));
    check((8_000..=192_000).contains(&options.sample_rate_hz), "sample_rate", "must be between 8000 and 192000");
    check(matches!(options.bit_depth, 16 | 24), "bit_depth", "must be 16 or 24");
    check(options.gap_ms.is_none_or(|ms| ms <= 10_000), "gap_ms", "must be at most 10000");
    check(options.crossfade_ms <= 1_000, "crossfade_ms", "must be at most 1000");
    if let Some(normalize) = options.normalize {
        check((-40.0..=-5.0).contains(&normalize.target_lufs), "normalize.target_lufs", "must be between -40 and -5");
        check((-9.0..=0.0).contains(&normalize.true_peak_db), "normalize.true_peak_db", "must be between -9 and 0");
    }
    check(options.order.len() <= 100_000, "order", "must be at most 100000 indexes");
    errors
}

/// At most one live merge completes a generation: where there is one, it goes on, now if it waits.
pub(crate) async fn enqueue(tx: &mut Tx, generation: &Generation, merge: &MergeChunks, id: Uuid, now_ms: i64) -> Result<(), StorageError> {
    let dedupe_key = merge.completes_generation.then(|| format!("merge/{}", generation.id));
    if let Some(key) = &dedupe_key
        && storage::jobs::hasten(tx, key, now_ms).await?
    {
        return Ok(());
    }
    let job = NewJob {
        id,
        kind: MergeChunks::NAME.into(),
        queue: MergeChunks::QUEUE.into(),
        priority: generation.priority,
        owner_id: generation.owner_id.clone(),
        generation_id: Some(generation.id),
        payload: serde_json::to_string(merge)?,
        attempts_max: MergeChunks::ATTEMPTS_MAX,
        run_at_ms: now_ms,
        dedupe_key,
        traceparent: generation.traceparent.clone(),
        tracestate: generation.tracestate.clone(),
    };
    storage::jobs::enqueue(tx, &[job], now_ms).await
}

/// Where a chunk lies in a merged file; the part of the report that is read again.
#[derive(Debug, Deserialize)]
struct PlacedTake {
    index: u32,
    take: u32,
}

#[derive(Debug, Deserialize)]
struct Report {
    chunks: Vec<PlacedTake>,
}

/// Whether a merged file holds a take that a newer one has replaced. A take that the merge was told to use is no old one.
fn is_stale(render: &Render, newest: &[(u32, u32)]) -> Result<bool, StorageError> {
    let report: Report = serde_json::from_str(&render.report)?;
    let options: MergeOptions = serde_json::from_str(&render.params)?;
    let newest: BTreeMap<u32, u32> = newest.iter().copied().collect();
    let old = |place: &PlacedTake| {
        !options.takes.contains_key(&place.index) && newest.get(&place.index).is_some_and(|newest| *newest > place.take)
    };
    Ok(report.chunks.iter().any(old))
}

impl Jobs {
    /// Whether a chunk was made again since the generation's audio was merged; `None` where there is no audio.
    pub async fn audio_is_stale(&self, generation_id: Uuid) -> Result<Option<bool>, StorageError> {
        let pool = self.storage.rows.read();
        let Some(render) = renders::newest(pool, generation_id).await? else {
            return Ok(None);
        };
        let newest = storage::chunks::newest_finished_takes(pool, generation_id).await?;
        is_stale(&render, &newest).map(Some)
    }

    /// Merges by hand: a job of its own, whose file becomes the generation's audio.
    pub async fn request_merge(&self, owner_id: &str, order: MergeOrder) -> Result<JobView, SubmitError> {
        let MergeOrder { task_id, options, idempotency, trace } = order;
        let errors = check_options(&options);
        if !errors.is_empty() {
            return Err(SubmitError::Invalid(errors));
        }
        let generation = self.generation(owner_id, task_id).await?.ok_or(SubmitError::TaskNotFound(task_id))?;
        let chunks = all_chunks(self.storage.rows.read(), task_id).await?;
        let known: BTreeSet<u32> = chunks.iter().map(|chunk| chunk.id.index).collect();
        if let Some(unknown) = options.order.iter().find(|index| !known.contains(index)) {
            let message = format!("there is no chunk {unknown}");
            return Err(SubmitError::Invalid(vec![FieldError { field: "order".into(), message }]));
        }
        choose(chunks, &options).map_err(SubmitError::ChunksIncomplete)?;
        let now_ms = self.clock.now_ms();
        let id = Uuid::now_v7();
        let merge = MergeChunks { generation_id: task_id, options, completes_generation: false };
        let traced = Generation { traceparent: trace.traceparent, tracestate: trace.tracestate, ..generation };
        let mut tx = self.storage.rows.begin().await?;
        enqueue(&mut tx, &traced, &merge, id, now_ms).await?;
        if let Some(key) = &idempotency {
            storage::idempotency::note_job(&mut tx, key, id).await?;
        }
        tx.commit().await?;
        self.job(owner_id, id).await?.ok_or(SubmitError::TaskNotFound(id))
    }
}
