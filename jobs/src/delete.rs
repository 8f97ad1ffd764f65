//! Deleting a generation: its rows in one transaction, then its blobs. A stop in between leaves blobs that nothing names, and the sweep takes
//! them. A worker that speaks one of its chunks finds its lease gone, and what it has made is thrown away.

use storage::{StorageError, generations, idempotency};
use uuid::Uuid;

use crate::{Jobs, fail_point, moves};

/// What a delete did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeleteOutcome {
    Deleted,
    /// Something of it waits or runs; nothing was changed.
    StillOpen,
    NotFound,
}

impl Jobs {
    /// With `force`, what waits or runs is cancelled with it.
    pub async fn delete_generation(&self, owner_id: &str, id: Uuid, force: bool) -> Result<DeleteOutcome, StorageError> {
        let now_ms = self.clock.now_ms();
        let mut tx = self.storage.rows.begin().await?;
        generations::lock(&mut tx, id).await?;
        let generation = generations::find_in(&mut tx, id).await?;
        let Some(generation) = generation.filter(|generation| generation.owner_id == owner_id) else {
            return Ok(DeleteOutcome::NotFound);
        };
        // A merge by hand may run under a generation that has ended.
        let cancelled = storage::jobs::cancel_generation(&mut tx, id, "its generation was deleted", now_ms).await?;
        let is_open = !generation.status.is_final() || !cancelled.waiting.is_empty() || !cancelled.running.is_empty();
        if is_open && !force {
            return Ok(DeleteOutcome::StillOpen);
        }
        idempotency::forget_answers(&mut tx, id).await?;
        generations::delete(&mut tx, id).await?;
        moves::deleted(&mut tx, &generation, now_ms).await?;
        fail_point::pass("delete.before_commit");
        tx.commit().await?;
        fail_point::pass("delete.after_commit");
        self.stop_running(&cancelled.running);
        if let Err(error) = self.storage.blobs.delete_generation(id).await {
            tracing::warn!(generation.id = %id, %error, "blobs of a deleted generation are left for the sweep");
        }
        Ok(DeleteOutcome::Deleted)
    }
}
