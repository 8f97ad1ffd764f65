//! Holding queues: a held queue gives out no jobs, running ones go on, and new ones are accepted.

use storage::StorageError;

use crate::Jobs;
use crate::job::QUEUES;

impl Jobs {
    /// Holds one queue, or all. False: there is no such queue.
    pub async fn pause(&self, queue: Option<&str>) -> Result<bool, StorageError> {
        self.set_paused(queue, true).await
    }

    pub async fn resume(&self, queue: Option<&str>) -> Result<bool, StorageError> {
        self.set_paused(queue, false).await
    }

    async fn set_paused(&self, queue: Option<&str>, paused: bool) -> Result<bool, StorageError> {
        let chosen: Vec<&str> = QUEUES.iter().copied().filter(|name| queue.is_none_or(|wanted| wanted == *name)).collect();
        let mut tx = self.storage.rows.begin().await?;
        for name in &chosen {
            if paused {
                storage::jobs::pause_queue(&mut tx, name, self.clock.now_ms()).await?;
            } else {
                storage::jobs::resume_queue(&mut tx, name).await?;
            }
        }
        tx.commit().await?;
        Ok(!chosen.is_empty())
    }
}
