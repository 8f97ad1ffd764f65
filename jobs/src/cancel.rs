//! Cancelling a generation or a single job: what waits is cancelled at once, what runs is told in memory and by its row, and the generation closes when the
//! last of it has ended.

use storage::chunks::ChunkStatus;
use storage::generations::{self, GenerationFilter};
use storage::{StorageError, chunks};
use uuid::Uuid;

use crate::job::JobKind;
use crate::lone::{self, Told};
use crate::view::CancelOutcome;
use crate::{Jobs, fail_point, moves};

/// How many generations of an owner one call cancels at most.
const CURRENT_MAX: u32 = 200;

impl Jobs {
    pub async fn cancel(&self, owner_id: &str, id: Uuid) -> Result<CancelOutcome, StorageError> {
        let now_ms = self.clock.now_ms();
        let mut tx = self.storage.rows.begin().await?;
        generations::lock(&mut tx, id).await?;
        let Some(generation) = generations::find_in(&mut tx, id).await? else {
            drop(tx);
            return self.cancel_job(owner_id, id).await;
        };
        if generation.owner_id != owner_id {
            return Ok(CancelOutcome::NotFound);
        }
        if generation.status.is_final() {
            return Ok(CancelOutcome::AlreadyFinal);
        }
        generations::request_cancel(&mut tx, id).await?;
        let cancelled = storage::jobs::cancel_generation(&mut tx, id, "cancelled on request", now_ms).await?;
        chunks::cancel_open(&mut tx, id).await?;
        let closed = moves::close_if_cancelled(&mut tx, id, now_ms).await?;
        fail_point::pass("cancel.before_commit");
        tx.commit().await?;
        fail_point::pass("cancel.after_commit");
        self.stop_running(&cancelled.running);
        Ok(if closed { CancelOutcome::Cancelled } else { CancelOutcome::Cancelling })
    }

    /// A job that was asked for by itself, such as a merge.
    async fn cancel_job(&self, owner_id: &str, id: Uuid) -> Result<CancelOutcome, StorageError> {
        let row = storage::jobs::find(self.storage.rows.read(), id).await?;
        let Some(row) = row.filter(|row| row.owner_id == owner_id) else {
            return Ok(CancelOutcome::NotFound);
        };
        let mut tx = self.storage.rows.begin().await?;
        if let Some(generation_id) = row.generation_id {
            generations::lock(&mut tx, generation_id).await?;
        }
        let cancelled = storage::jobs::cancel_one(&mut tx, row.id, "cancelled on request", self.clock.now_ms()).await?;
        if let (Some(_), Ok(JobKind::SpeakChunk(take))) = (&cancelled, JobKind::parse(&row.kind, &row.payload)) {
            chunks::set_status(&mut tx, take.chunk_id(), ChunkStatus::Cancelled, row.attempt, None).await?;
        }
        let mut left = Vec::new();
        if row.generation_id.is_none() && cancelled.as_ref().is_some_and(|cancelled| !cancelled.waiting.is_empty()) {
            left = lone::cancelled(&mut tx, &Told::of_row(&row), self.clock.now_ms()).await?;
        }
        tx.commit().await?;
        lone::delete_blobs(&self.storage.blobs, left).await;
        let Some(cancelled) = cancelled else {
            return Ok(CancelOutcome::AlreadyFinal);
        };
        self.stop_running(&cancelled.running);
        Ok(if cancelled.running.is_empty() { CancelOutcome::Cancelled } else { CancelOutcome::Cancelling })
    }

    /// Everything of an owner that has not ended.
    pub async fn cancel_current(&self, owner_id: &str) -> Result<Vec<(Uuid, CancelOutcome)>, StorageError> {
        let filter = GenerationFilter { open: true, ..GenerationFilter::of_owner(owner_id) };
        let open = generations::list(self.storage.rows.read(), &filter, None, CURRENT_MAX).await?;
        let mut outcomes = Vec::with_capacity(open.len());
        for generation in open {
            outcomes.push((generation.id, self.cancel(owner_id, generation.id).await?));
        }
        Ok(outcomes)
    }
}
