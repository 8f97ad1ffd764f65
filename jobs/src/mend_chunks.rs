//! Chunks whose stored sound is gone, or is not what their rows say: they go back to the queue, and the merge that found them waits for
//! them. Waiting for a damaged file to become whole would be waiting for ever.
//!
//! This file may not know how a chunk is spoken.

use serde_json::json;
use storage::chunks::{self, Chunk};
use storage::events::{self, NewEvent};
use storage::generations::{self, Generation};
use storage::{BlobKey, StorageError};

use crate::job::{JobContext, JobError};
use crate::retry::job_of;

/// Puts back `found`, and whatever of `chosen` has another size than its row says, so that one round mends what one accident did. Returns
/// what to say of it.
pub(crate) async fn mend(
    context: &JobContext,
    generation: &Generation,
    chosen: &[Chunk],
    found: &Chunk,
    error: &StorageError,
) -> Result<String, JobError> {
    let mut damaged = vec![found];
    for chunk in chosen {
        if chunk.id != found.id && !damaged.iter().any(|other| other.id == chunk.id) && is_damaged(context, chunk).await? {
            damaged.push(chunk);
        }
    }
    damaged.sort_by_key(|chunk| (chunk.id.index, chunk.id.take));
    let now_ms = context.now_ms();
    let mut tx = context.begin_fenced().await?;
    let mut spoilt = Vec::new();
    for chunk in damaged {
        // Another merge may have been faster.
        if chunks::spoil(&mut tx, chunk.id, "its stored sound was damaged").await? {
            // Later takes were asked for by hand and were never counted.
            if chunk.id.take == 1 {
                generations::count_chunk_spoilt(&mut tx, generation.id).await?;
            }
            spoilt.push(chunk.id);
        }
    }
    let jobs = spoilt.iter().map(|id| job_of(generation, *id, now_ms)).collect::<Result<Vec<_>, _>>()?;
    storage::jobs::enqueue(&mut tx, &jobs, now_ms).await?;
    for id in &spoilt {
        let data = json!({
            "index": id.index, "take": id.take, "attempt": 0, "will_retry": true, "error": "its stored sound was damaged: it is made again",
        });
        let event = NewEvent { owner_id: &generation.owner_id, generation_id: Some(generation.id), kind: "chunk.failed", data };
        events::append(&mut tx, event, now_ms).await?;
    }
    tx.commit().await?;
    let indexes: Vec<u32> = spoilt.iter().map(|id| id.index).collect();
    tracing::error!(generation.id = %generation.id, chunks = ?indexes, error = %error, "stored sound is damaged, it is made again");
    Ok(format!("the stored sound of chunks {indexes:?} was damaged, they are made again"))
}

/// By size alone: reading everything is the next merge's work.
async fn is_damaged(context: &JobContext, chunk: &Chunk) -> Result<bool, JobError> {
    let key = BlobKey::Chunk { generation_id: chunk.id.generation_id, index: chunk.id.index, take: chunk.id.take };
    let Some(audio) = &chunk.audio else { return Ok(false) };
    match context.storage.blobs.size_bytes(key).await {
        Ok(size_bytes) => Ok(size_bytes != audio.blob.size_bytes),
        Err(StorageError::BlobNotFound(_)) => Ok(true),
        Err(error) => Err(error.into()),
    }
}
