//! Putting unfinished work of a generation into the queue again: by hand after a failure or a cancel, and by the sweep where a generation is
//! open although none of its jobs lives. What is finished stays finished.

use serde_json::json;
use storage::chunks::{self, ChunkId};
use storage::events::NewEvent;
use storage::generations::{self, Generation};
use storage::jobs::NewJob;
use storage::{StorageError, Tx, events};
use uuid::Uuid;

use crate::lone::{self, LoneKind, Told};
use crate::merge_chunks::{self, MergeChunks};
use crate::speak_chunk::SpeakChunk;
use crate::submission::GenerationOptions;
use crate::view::JobView;
use crate::{Jobs, moves};

/// Why a job was not put back.
#[derive(Debug, thiserror::Error)]
pub enum RetryError {
    #[error("no job {0}")]
    NotFound(Uuid),
    /// It is waiting, running or complete.
    #[error("job {0} has neither failed nor been cancelled")]
    NotFailed(Uuid),
    /// What it was to work on was deleted when it ended.
    #[error("what job {0} worked on is gone")]
    Gone(Uuid),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Jobs {
    /// A failed or cancelled generation goes on with what is missing; a job that was asked for by itself runs again.
    pub async fn retry(&self, owner_id: &str, id: Uuid) -> Result<JobView, RetryError> {
        let now_ms = self.clock.now_ms();
        let mut tx = self.storage.rows.begin().await?;
        generations::lock(&mut tx, id).await?;
        match generations::find_in(&mut tx, id).await? {
            Some(generation) if generation.owner_id == owner_id => {
                if !generations::reopen(&mut tx, id).await? {
                    return Err(RetryError::NotFailed(id));
                }
                let data = json!({"type": generation.kind, "chunks_total": generation.chunks_total, "retried": true});
                let event = NewEvent { owner_id, generation_id: Some(id), kind: "job.queued", data };
                requeue_rest(&mut tx, &generation, now_ms).await?;
                events::append(&mut tx, event, now_ms).await?;
            }
            Some(_) => return Err(RetryError::NotFound(id)),
            None => {
                let row = storage::jobs::find(self.storage.rows.read(), id).await?;
                let row = row.filter(|row| row.owner_id == owner_id).ok_or(RetryError::NotFound(id))?;
                if !storage::jobs::revive(&mut tx, id, now_ms).await? {
                    return Err(RetryError::NotFailed(id));
                }
                if let Some(Ok(kind)) = LoneKind::parse(&row.kind, &row.payload) {
                    if !kind.can_run_again(&mut tx, id).await? {
                        return Err(RetryError::Gone(id));
                    }
                    lone::tell(&mut tx, &Told::of_row(&row), "job.queued", json!({"retried": true}), now_ms).await?;
                }
            }
        }
        tx.commit().await?;
        self.job(owner_id, id).await?.ok_or(RetryError::NotFound(id))
    }
}

/// Enqueues a job for every take that is not complete; where all are, the merge, or the end.
pub(crate) async fn requeue_rest(tx: &mut Tx, generation: &Generation, now_ms: i64) -> Result<(), StorageError> {
    let open = chunks::reopen(tx, generation.id).await?;
    if !open.is_empty() {
        let jobs = open.into_iter().map(|id| job_of(generation, id, now_ms)).collect::<Result<Vec<_>, _>>()?;
        return storage::jobs::enqueue(tx, &jobs, now_ms).await;
    }
    let options: GenerationOptions = serde_json::from_str(&generation.params)?;
    if options.auto_merge {
        let merge = MergeChunks::of_generation(generation.id, options.merge);
        return merge_chunks::enqueue(tx, generation, &merge, Uuid::now_v7(), now_ms).await;
    }
    moves::completed(tx, generation, None, json!({"chunks_total": generation.chunks_total}), now_ms).await.map(|_| ())
}

/// The job that speaks one take.
pub(crate) fn job_of(generation: &Generation, id: ChunkId, run_at_ms: i64) -> Result<NewJob, StorageError> {
    let payload = serde_json::to_string(&SpeakChunk { generation_id: id.generation_id, index: id.index, take: id.take, replaces: false })?;
    Ok(NewJob {
        id: Uuid::now_v7(),
        kind: SpeakChunk::NAME.into(),
        queue: SpeakChunk::QUEUE.into(),
        priority: generation.priority,
        owner_id: generation.owner_id.clone(),
        generation_id: Some(generation.id),
        payload,
        attempts_max: SpeakChunk::ATTEMPTS_MAX,
        run_at_ms,
        dedupe_key: None,
        traceparent: generation.traceparent.clone(),
        tracestate: generation.tracestate.clone(),
    })
}
