//! Reading: rows put together as what a caller may see. Nothing here changes anything.

use std::collections::BTreeMap;
use std::time::Duration;

use storage::chunks::{self, Chunk};
use storage::generations::{self, Generation, GenerationFilter, GenerationStatus, OpenWork};
use storage::jobs::{JobRow, JobState};
use storage::lone_jobs::{self, LoneFilter, LoneStatus};
use storage::{StorageError, renders};
use uuid::Uuid;

use crate::Jobs;
use crate::choose_engine::engine_name;
use crate::lone::{self, LoneKind};
use crate::merge_chunks::MergeChunks;
use crate::speak_chunk::{SpeakChunk, model_of};
use crate::view::{ChunkView, JobFailure, JobView, QueueView};

/// How long a waiting reader sleeps at most before it looks again: commits of other processes on SQLite raise no signal here.
const WAIT_POLL_MS: u64 = 500;
/// Rows of chunks read at a time.
const PAGE_ROWS: u32 = 1_000;
/// Further back nobody is told when his turn is over.
const ETAS_MAX: i64 = 1_000;
/// How many generations a look at the queue shows.
const QUEUE_SHOWN_MAX: u32 = 100;

impl Jobs {
    /// A generation, or a job that was asked for by itself; `None` for an unknown id and for another owner's.
    pub async fn job(&self, owner_id: &str, id: Uuid) -> Result<Option<JobView>, StorageError> {
        if let Some(generation) = self.generation(owner_id, id).await? {
            return self.view_of_generation(&generation).await.map(Some);
        }
        let row = storage::jobs::find(self.storage.rows.read(), id).await?;
        match row.filter(|row| row.owner_id == owner_id) {
            Some(row) => self.view_of_lone(&row).await.map(Some),
            None => Ok(None),
        }
    }

    /// With the name of the voice that it is about.
    async fn view_of_lone(&self, row: &JobRow) -> Result<JobView, StorageError> {
        let mut view = view_of_job(row);
        if let Some(voice_id) = &view.voice_id {
            view.voice_name = match Uuid::parse_str(voice_id) {
                Ok(id) => storage::voices::find(self.storage.rows.read(), id).await?.map(|voice| voice.name),
                Err(_) => self.preset(voice_id).map(|preset| preset.name),
            };
        }
        Ok(view)
    }

    pub async fn generation(&self, owner_id: &str, id: Uuid) -> Result<Option<Generation>, StorageError> {
        let generation = generations::find(self.storage.rows.read(), id).await?;
        Ok(generation.filter(|generation| generation.owner_id == owner_id))
    }

    /// Returns as soon as the job is final, at the latest after `wait_ms`.
    pub async fn wait(&self, owner_id: &str, id: Uuid, wait_ms: u64) -> Result<Option<JobView>, StorageError> {
        let mut changed = self.storage.rows.events_changed();
        let deadline = self.clock.sleep(wait_ms);
        tokio::pin!(deadline);
        loop {
            changed.borrow_and_update();
            let job = self.job(owner_id, id).await?;
            if job.as_ref().is_none_or(JobView::is_final) {
                return Ok(job);
            }
            tokio::select! {
                () = &mut deadline => return Ok(job),
                _ = tokio::time::timeout(Duration::from_millis(WAIT_POLL_MS), changed.changed()) => {}
            }
        }
    }

    /// Newest first, with how many there are in all.
    pub async fn list(&self, filter: &GenerationFilter, before: Option<Uuid>, limit: u32) -> Result<(Vec<JobView>, i64), StorageError> {
        let pool = self.storage.rows.read();
        let mut views = Vec::new();
        for generation in generations::list(pool, filter, before, limit).await? {
            views.push(self.view_of_generation(&generation).await?);
        }
        Ok((views, generations::count(pool, filter).await?))
    }

    /// Generations and jobs without one, newest first, with how many there are in all.
    pub async fn list_jobs(
        &self,
        filter: &GenerationFilter,
        before: Option<Uuid>,
        limit: u32,
    ) -> Result<(Vec<JobView>, i64), StorageError> {
        let (mut views, mut total) = self.list(filter, before, limit).await?;
        if let Some(lone) = lone_alike(filter) {
            let pool = self.storage.rows.read();
            for row in lone_jobs::list(pool, &lone, before, limit).await? {
                views.push(self.view_of_lone(&row).await?);
            }
            total += lone_jobs::count(pool, &lone).await?;
            // Ids are UUIDv7: their order is the order of time.
            views.sort_by_key(|view| std::cmp::Reverse(view.id));
            views.truncate(limit as usize);
        }
        Ok((views, total))
    }

    /// All takes of all chunks, by index; `None` for an unknown generation and for another owner's.
    pub async fn all_chunks(&self, owner_id: &str, id: Uuid) -> Result<Option<Vec<ChunkView>>, StorageError> {
        if self.generation(owner_id, id).await?.is_none() {
            return Ok(None);
        }
        all_chunks(self.storage.rows.read(), id).await?.into_iter().map(view_of_chunk).collect::<Result<_, _>>().map(Some)
    }

    /// All takes from `first_index` on; `None` for an unknown generation and for another owner's.
    pub async fn chunks(&self, owner_id: &str, id: Uuid, first_index: u32, limit: u32) -> Result<Option<Vec<ChunkView>>, StorageError> {
        if self.generation(owner_id, id).await?.is_none() {
            return Ok(None);
        }
        let rows = chunks::list(self.storage.rows.read(), id, first_index, limit).await?;
        rows.into_iter().map(view_of_chunk).collect::<Result<_, _>>().map(Some)
    }

    pub async fn queue(&self, owner_id: &str) -> Result<QueueView, StorageError> {
        let pool = self.storage.rows.read();
        let filter = GenerationFilter { open: true, ..GenerationFilter::of_owner(owner_id) };
        let (open, own) = self.list(&filter, None, QUEUE_SHOWN_MAX).await?;
        let (mut queued, mut running): (Vec<_>, Vec<_>) = open.into_iter().partition(|job| job.status == GenerationStatus::Queued.as_str());
        for view in lone_jobs::list(pool, &LoneFilter::live_of(owner_id), None, QUEUE_SHOWN_MAX).await?.iter().map(view_of_job) {
            if view.status == "running" { &mut running } else { &mut queued }.push(view);
        }
        let pace = chunks::recent_pace(pool).await?;
        if let Some(pace) = pace {
            let etas = etas_ms(&generations::open_work(pool, ETAS_MAX).await?, pace.chunk_ms, self.config.slots);
            for view in queued.iter_mut().chain(&mut running).filter(|view| view.eta_ms.is_none()) {
                view.eta_ms = etas.get(&view.id).copied();
            }
        }
        let mut totals = BTreeMap::new();
        for count in storage::jobs::count_live(pool).await? {
            *totals.entry(count.state.as_str().to_owned()).or_insert(0) += count.count;
        }
        Ok(QueueView {
            running,
            queued,
            others: generations::count_open(pool).await? - own,
            paused: !storage::jobs::paused_queues(pool).await?.is_empty(),
            workers: self.config.slots,
            totals,
            avg_rtf: pace.map(|pace| pace.rtf),
        })
    }

    pub(crate) async fn view_of_generation(&self, generation: &Generation) -> Result<JobView, StorageError> {
        let pool = self.storage.rows.read();
        let queued = generation.status == GenerationStatus::Queued;
        let queue_position = if queued { Some(generations::queue_position(pool, generation).await?) } else { None };
        let has_audio = generation.status == GenerationStatus::Completed && renders::newest(pool, generation.id).await?.is_some();
        self.view(generation, queue_position, has_audio)
    }

    pub(crate) fn view(&self, generation: &Generation, queue_position: Option<i64>, has_audio: bool) -> Result<JobView, StorageError> {
        let now_ms = self.clock.now_ms();
        Ok(JobView {
            id: generation.id,
            generation_id: Some(generation.id),
            owner_id: generation.owner_id.clone(),
            kind: generation.kind.clone(),
            status: generation.status.to_string(),
            progress: progress_of(generation),
            stage: stage_of(generation),
            queue_position,
            eta_ms: eta_ms(generation, now_ms),
            chunks_total: generation.chunks_total,
            chunks_done: generation.chunks_done,
            attempt: generation.attempt,
            priority: generation.priority,
            created_at_ms: generation.created_at_ms,
            started_at_ms: generation.started_at_ms,
            finished_at_ms: generation.finished_at_ms,
            error: generation.error.as_deref().map(serde_json::from_str).transpose()?,
            result: generation.result.as_deref().map(serde_json::from_str).transpose()?,
            title: generation.title.clone(),
            voice_id: generation.voice_id.clone(),
            voice_name: generation.voice_name.clone(),
            metadata: generation.metadata.as_deref().map(serde_json::from_str).transpose()?,
            has_audio,
        })
    }
}

/// The same wish for jobs without a generation; `None` where none of them can fulfil it.
fn lone_alike(filter: &GenerationFilter) -> Option<LoneFilter> {
    let kinds = match &filter.kind {
        Some(shown) => vec![lone::name_of(shown)?.to_owned()],
        None => Vec::new(),
    };
    let status = match filter.status {
        None => filter.open.then_some(LoneStatus::Live),
        Some(GenerationStatus::Queued) => Some(LoneStatus::Queued),
        Some(GenerationStatus::Running) => Some(LoneStatus::Running),
        Some(GenerationStatus::Interrupted) => Some(LoneStatus::Interrupted),
        Some(GenerationStatus::Completed) => Some(LoneStatus::Completed),
        Some(GenerationStatus::Failed) => Some(LoneStatus::Failed),
        Some(GenerationStatus::Cancelled) => Some(LoneStatus::Cancelled),
        Some(GenerationStatus::Merging) => return None,
    };
    if filter.voice_id.is_some() || filter.montage_id.is_some() || !filter.words.is_empty() {
        return None;
    }
    Some(LoneFilter { owner_id: filter.owner_id.clone(), kinds, status, from_ms: filter.from_ms, to_ms: filter.to_ms })
}

/// All takes of all chunks of a generation, by index; at most as many as a plan may have.
pub(crate) async fn all_chunks(pool: &storage::rows::Pool, generation_id: Uuid) -> Result<Vec<Chunk>, StorageError> {
    let mut all: Vec<Chunk> = Vec::new();
    loop {
        // A page may end between two takes of a chunk: the next one starts with that chunk again.
        let first_index = all.last().map_or(0, |last| last.id.index);
        let page = chunks::list(pool, generation_id, first_index, PAGE_ROWS).await?;
        let full = page.len() == PAGE_ROWS as usize;
        let known = all.last().map(|last| (last.id.index, last.id.take));
        all.extend(page.into_iter().filter(|chunk| known.is_none_or(|known| (chunk.id.index, chunk.id.take) > known)));
        if !full {
            return Ok(all);
        }
    }
}

/// Chunks are nine tenths of the way, the merge is the rest.
fn progress_of(generation: &Generation) -> f64 {
    if generation.status == GenerationStatus::Completed {
        return 1.0;
    }
    0.9 * generation.chunks_done as f64 / generation.chunks_total.max(1) as f64
}

fn stage_of(generation: &Generation) -> Option<String> {
    match generation.status {
        GenerationStatus::Running => Some("speaking".into()),
        GenerationStatus::Merging => Some("merging".into()),
        _ if generation.cancel_requested && !generation.status.is_final() => Some("cancelling".into()),
        _ => None,
    }
}

/// From the pace so far; `None` before the first chunk.
fn eta_ms(generation: &Generation, now_ms: i64) -> Option<i64> {
    let started_ms = generation.started_at_ms.filter(|_| generation.status == GenerationStatus::Running)?;
    let left = generation.chunks_total - generation.chunks_done;
    (generation.chunks_done > 0).then(|| (now_ms - started_ms).max(0) * left / generation.chunks_done)
}

/// When each of these will be through if they are spoken one after the other, `slots` chunks at a time. An estimate: owners take turns, and
/// chunks differ.
fn etas_ms(open: &[OpenWork], chunk_ms: f64, slots: i64) -> BTreeMap<Uuid, i64> {
    let mut chunks = 0;
    let eta_ms = |work: &OpenWork| {
        chunks += work.chunks_left.max(0);
        (work.id, (chunks as f64 * chunk_ms / slots.max(1) as f64).ceil() as i64)
    };
    open.iter().map(eta_ms).collect()
}

fn view_of_job(row: &JobRow) -> JobView {
    let kind = LoneKind::parse(&row.kind, &row.payload).and_then(Result::ok);
    let status = match row.state {
        // Its worker died, and it goes on by itself.
        JobState::Queued if kind.is_some() && row.crashes > 0 => "interrupted",
        JobState::Scheduled | JobState::Queued => "queued",
        JobState::Running => "running",
        JobState::Done => "completed",
        JobState::Failed => "failed",
        JobState::Cancelled => "cancelled",
    };
    let failure = |detail: &String| JobFailure { code: "job_failed".into(), detail: detail.clone(), chunk_index: None };
    JobView {
        id: row.id,
        generation_id: row.generation_id,
        owner_id: row.owner_id.clone(),
        kind: kind_shown(&row.kind),
        status: status.into(),
        progress: if row.state == JobState::Done { 1.0 } else { row.progress.unwrap_or(0.0) },
        stage: row.stage.clone().filter(|_| row.state == JobState::Running),
        queue_position: None,
        eta_ms: None,
        chunks_total: 0,
        chunks_done: 0,
        attempt: row.attempt,
        priority: row.priority,
        created_at_ms: row.created_at_ms,
        started_at_ms: row.started_at_ms,
        finished_at_ms: row.finished_at_ms,
        error: row.error.as_ref().filter(|_| row.state == JobState::Failed).map(failure),
        result: row.result.as_deref().and_then(|text| serde_json::from_str(text).ok()),
        title: None,
        voice_id: kind.and_then(|kind| kind.voice_id()),
        voice_name: None,
        metadata: None,
        has_audio: row.state == JobState::Done && row.kind == MergeChunks::NAME,
    }
}

/// A job under the name of the call that asks for it.
fn kind_shown(kind: &str) -> String {
    match (kind, lone::shown_as(kind)) {
        (_, Some(name)) => name.into(),
        (SpeakChunk::NAME, None) => "generate.regenerate_chunk".into(),
        (kind, None) => format!("generate.{kind}"),
    }
}

fn view_of_chunk(chunk: Chunk) -> Result<ChunkView, StorageError> {
    let audio = chunk.audio.as_ref();
    let model = model_of(&chunk);
    Ok(ChunkView {
        engine: engine_name(model.as_deref()),
        model,
        index: chunk.id.index,
        take: chunk.id.take,
        text: chunk.text,
        voice_id: chunk.voice_id,
        language: chunk.language,
        status: chunk.status.to_string(),
        attempt: chunk.attempt,
        duration_ms: audio.map(|audio| audio.duration_ms),
        size_bytes: audio.map(|audio| audio.blob.size_bytes),
        sha256: audio.map(|audio| audio.blob.sha256.clone()),
        rtf: audio.map(|audio| audio.rtf),
        words: audio.map_or(Ok(serde_json::Value::Null), |audio| serde_json::from_str(&audio.words))?,
        cached: chunk.cached,
        suspect: chunk.suspect,
        error: chunk.error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_later_waits_for_those_before() {
        let work = |id, chunks_left| OpenWork { id: Uuid::from_u128(id), chunks_left };
        let etas = etas_ms(&[work(7, 4), work(3, 0), work(5, 10)], 300.0, 2);
        let of = |id| etas.get(&Uuid::from_u128(id)).copied();
        assert_eq!((of(7), of(3), of(5), of(1)), (Some(600), Some(600), Some(2_100), None));
    }
}
