//! Each move of a generation together with the event that tells it, as functions on an open transaction: nobody else changes a status.
//!
//! Every function does nothing where the move is not legal any more (see [`crate::state`]), so that calling one twice is harmless. Events
//! carry no links: the front door makes those.

use serde_json::json;
use storage::events::NewEvent;
use storage::generations::{Generation, GenerationStatus};
use storage::{StorageError, Tx, chunks, events, generations, jobs};
use uuid::Uuid;

use crate::state::sources;
use crate::view::JobFailure;

async fn move_to(tx: &mut Tx, id: Uuid, to: GenerationStatus, now_ms: i64) -> Result<bool, StorageError> {
    generations::transition(tx, id, &sources(to), to, now_ms).await
}

async fn tell(tx: &mut Tx, generation: &Generation, kind: &str, data: serde_json::Value, now_ms: i64) -> Result<(), StorageError> {
    let event = NewEvent { owner_id: &generation.owner_id, generation_id: Some(generation.id), kind, data };
    events::append(tx, event, now_ms).await.map(|_| ())
}

/// The first job of it was claimed, or the first after a crash. `to` is running, or merging where only the merge is left.
pub(crate) async fn started(tx: &mut Tx, generation: &Generation, to: GenerationStatus, now_ms: i64) -> Result<(), StorageError> {
    let resumed = generation.status == GenerationStatus::Interrupted;
    if !move_to(tx, generation.id, to, now_ms).await? {
        return Ok(());
    }
    let kind = if resumed { "job.resumed" } else { "job.started" };
    tell(
        tx,
        generation,
        kind,
        json!({"status": to.as_str(), "chunks_done": generation.chunks_done, "chunks_total": generation.chunks_total}),
        now_ms,
    )
    .await
}

pub(crate) async fn merging(tx: &mut Tx, generation: &Generation, now_ms: i64) -> Result<bool, StorageError> {
    let moved = move_to(tx, generation.id, GenerationStatus::Merging, now_ms).await?;
    if moved {
        tell(tx, generation, "job.merging", json!({"chunks_total": generation.chunks_total}), now_ms).await?;
    }
    Ok(moved)
}

/// `result` is what the caller gets as the job's result; `data` what the event tells.
pub(crate) async fn completed(
    tx: &mut Tx,
    generation: &Generation,
    result: Option<&str>,
    data: serde_json::Value,
    now_ms: i64,
) -> Result<bool, StorageError> {
    let moved = move_to(tx, generation.id, GenerationStatus::Completed, now_ms).await?;
    if moved {
        generations::set_result(tx, generation.id, result).await?;
        generations::set_error(tx, generation.id, None).await?;
        tell(tx, generation, "job.completed", data, now_ms).await?;
    }
    Ok(moved)
}

/// A file was merged by hand: the status stays, the news is told.
pub(crate) async fn merged(tx: &mut Tx, generation: &Generation, data: serde_json::Value, now_ms: i64) -> Result<(), StorageError> {
    tell(tx, generation, "job.completed", data, now_ms).await
}

/// Ends a generation for good: what still waits is cancelled, what runs is asked to stop. Returns the jobs that run.
pub(crate) async fn failed(tx: &mut Tx, generation: &Generation, failure: &JobFailure, now_ms: i64) -> Result<Vec<Uuid>, StorageError> {
    if !move_to(tx, generation.id, GenerationStatus::Failed, now_ms).await? {
        return Ok(Vec::new());
    }
    let cancelled = jobs::cancel_generation(tx, generation.id, "another chunk failed", now_ms).await?;
    chunks::cancel_open(tx, generation.id).await?;
    generations::set_error(tx, generation.id, Some(&serde_json::to_string(failure)?)).await?;
    tell(tx, generation, "job.failed", json!({"error": failure}), now_ms).await?;
    Ok(cancelled.running)
}

/// To be called whenever a job of a generation has ended: closes it once it was asked to stop and nothing of it runs any more.
pub(crate) async fn close_if_cancelled(tx: &mut Tx, generation_id: Uuid, now_ms: i64) -> Result<bool, StorageError> {
    let Some(generation) = generations::find_in(tx, generation_id).await? else {
        return Ok(false);
    };
    if !generation.cancel_requested || storage::jobs::count_running(tx, generation_id).await? > 0 {
        return Ok(false);
    }
    if !move_to(tx, generation_id, GenerationStatus::Cancelled, now_ms).await? {
        return Ok(false);
    }
    tell(tx, &generation, "job.cancelled", json!({"chunks_done": generation.chunks_done, "chunks_total": generation.chunks_total}), now_ms)
        .await?;
    Ok(true)
}

/// Its rows are deleted. Who follows an open one hears that it was cancelled first.
pub(crate) async fn deleted(tx: &mut Tx, generation: &Generation, now_ms: i64) -> Result<(), StorageError> {
    if !generation.status.is_final() {
        let data = json!({"chunks_done": generation.chunks_done, "chunks_total": generation.chunks_total});
        tell(tx, generation, "job.cancelled", data, now_ms).await?;
    }
    tell(tx, generation, "generation.deleted", json!({"status": generation.status.as_str()}), now_ms).await
}

/// A worker that ran a job of it is gone; it goes on by itself.
pub(crate) async fn interrupted(tx: &mut Tx, generation_id: Uuid, now_ms: i64) -> Result<(), StorageError> {
    let Some(generation) = generations::find_in(tx, generation_id).await? else {
        return Ok(());
    };
    if move_to(tx, generation_id, GenerationStatus::Interrupted, now_ms).await? {
        let data = json!({"chunks_done": generation.chunks_done, "chunks_total": generation.chunks_total});
        tell(tx, &generation, "job.interrupted", data, now_ms).await?;
    }
    Ok(())
}
