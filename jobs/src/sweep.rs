//! What nobody else does: repairs that can be made from rows alone, and the end of what is past its retention. Every step may run in several
//! processes at once and may be repeated.

use storage::retention::{self, Retention};
use storage::voice_previews::{self, Preview};
use storage::{Storage, StorageError, generations, voices};
use uuid::Uuid;

use crate::{moves, retry};

#[derive(Debug, Clone)]
pub struct SweepConfig {
    pub every_ms: u64,
    pub ended_jobs_kept_ms: i64,
    pub events_kept_ms: i64,
    pub idempotency_kept_ms: i64,
    pub empty_lanes_kept_ms: i64,
    /// Younger blobs may belong to a row that is about to be written.
    pub orphan_blobs_kept_ms: i64,
    /// Blobs are listed only at every so many sweeps: a listing asks the whole store.
    pub blobs_every: u32,
    pub rows_max: u32,
}

const HOUR_MS: i64 = 60 * 60 * 1_000;

impl Default for SweepConfig {
    fn default() -> Self {
        Self {
            every_ms: 60_000,
            ended_jobs_kept_ms: 7 * 24 * HOUR_MS,
            events_kept_ms: 7 * 24 * HOUR_MS,
            idempotency_kept_ms: 24 * HOUR_MS,
            empty_lanes_kept_ms: HOUR_MS,
            orphan_blobs_kept_ms: HOUR_MS,
            blobs_every: 60,
            rows_max: 5_000,
        }
    }
}

/// How many stuck generations one sweep mends.
const MENDED_MAX: u32 = 100;

/// One sweep. Returns how many generations were mended.
pub async fn sweep(storage: &Storage, config: &SweepConfig, with_blobs: bool, now_ms: i64) -> Result<usize, StorageError> {
    let mended = mend_stuck(storage, now_ms).await?;
    forget_unmade(storage).await?;
    let retention = Retention {
        ended_jobs_before_ms: now_ms - config.ended_jobs_kept_ms,
        events_before_ms: now_ms - config.events_kept_ms,
        idempotency_before_ms: now_ms - config.idempotency_kept_ms,
        lanes_before_ms: now_ms - config.empty_lanes_kept_ms,
        rows_max: config.rows_max,
    };
    let mut tx = storage.rows.begin().await?;
    let pruned = retention::prune(&mut tx, retention).await?;
    tx.commit().await?;
    if pruned != retention::Pruned::default() {
        tracing::info!(pruned.jobs = pruned.jobs, pruned.events = pruned.events, pruned.lanes = pruned.lanes, "pruned old rows");
    }
    if with_blobs {
        delete_orphan_blobs(storage, now_ms - config.orphan_blobs_kept_ms).await?;
        delete_orphan_voice_blobs(storage, now_ms - config.orphan_blobs_kept_ms).await?;
        delete_old_downloads(storage, now_ms - config.orphan_blobs_kept_ms).await?;
    }
    Ok(mended)
}

/// Generations that are open with nothing left to run: every transaction of ours enqueues the next job with the state change, so this mends
/// what came from elsewhere (a restored backup, a hand in the database).
async fn mend_stuck(storage: &Storage, now_ms: i64) -> Result<usize, StorageError> {
    let stuck = retention::stuck_generations(storage.rows.read(), MENDED_MAX).await?;
    for &id in &stuck {
        let mut tx = storage.rows.begin().await?;
        generations::lock(&mut tx, id).await?;
        // Looked at again under the lock: it may have moved on.
        if !retention::is_stuck(&mut tx, id).await? {
            continue;
        }
        let Some(generation) = generations::find_in(&mut tx, id).await? else { continue };
        if !moves::close_if_cancelled(&mut tx, id, now_ms).await? {
            retry::requeue_rest(&mut tx, &generation, now_ms).await?;
        }
        tx.commit().await?;
        tracing::warn!(generation.id = %id, "mended a generation that had no jobs left");
    }
    Ok(stuck.len())
}

/// Voices that were to be made by a job that failed and is forgotten by now. Their blobs go with the others that nothing names.
async fn forget_unmade(storage: &Storage) -> Result<(), StorageError> {
    for id in voices::unmade_without_job(storage.rows.read(), MENDED_MAX).await? {
        let mut tx = storage.rows.begin().await?;
        // Looked at again: an import may have made it.
        if voices::find_in(&mut tx, id).await?.is_some_and(|voice| voice.job_id.is_some()) {
            voices::delete(&mut tx, id).await?;
        }
        tx.commit().await?;
    }
    Ok(())
}

/// Blobs whose generation is gone. The age is read from the id (UUIDv7).
async fn delete_orphan_blobs(storage: &Storage, before_ms: i64) -> Result<(), StorageError> {
    for id in storage.blobs.generation_ids().await? {
        if created_ms(id).is_none_or(|created_ms| created_ms >= before_ms) || generations::find(storage.rows.read(), id).await?.is_some() {
            continue;
        }
        let deleted = storage.blobs.delete_generation(id).await?;
        tracing::info!(generation.id = %id, blobs.deleted = deleted, "deleted blobs without rows");
    }
    Ok(())
}

/// Blobs that no voice names: of one that was deleted or got another preview, or of an import that did not end.
async fn delete_orphan_voice_blobs(storage: &Storage, before_ms: i64) -> Result<(), StorageError> {
    let pool = storage.rows.read();
    for id in storage.blobs.voice_ids().await? {
        // Listed before the row is read: what is stored later is younger than `before_ms` anyway.
        let stored = storage.blobs.voice_blobs(id, before_ms).await?;
        if stored.is_empty() {
            continue;
        }
        let named = match voices::find(pool, id).await? {
            Some(voice) => voices::blob_keys(&voice, &voices::samples(pool, id).await?, &voice_previews::list(pool, id).await?),
            // A preset has previews and no row.
            None => voice_previews::list(pool, id).await?.iter().map(Preview::blob_key).collect(),
        };
        for key in stored.into_iter().filter(|key| !named.contains(key)) {
            storage.blobs.delete(key).await?;
            tracing::info!(blob.key = %key, "deleted a voice's blob without a row");
        }
    }
    Ok(())
}

/// A download is kept as long as the row of its job.
async fn delete_old_downloads(storage: &Storage, before_ms: i64) -> Result<(), StorageError> {
    for id in storage.blobs.download_ids().await? {
        let old = created_ms(id).is_some_and(|created_ms| created_ms < before_ms);
        if old && storage::jobs::find(storage.rows.read(), id).await?.is_none() {
            let deleted = storage.blobs.delete_download(id).await?;
            tracing::info!(job.id = %id, blobs.deleted = deleted, "deleted a download without a job");
        }
    }
    Ok(())
}

fn created_ms(id: Uuid) -> Option<i64> {
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    Some(seconds as i64 * 1_000 + i64::from(nanos) / 1_000_000)
}
