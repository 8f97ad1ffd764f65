//! Holding queues: a held queue gives out no jobs, running ones go on, and new ones are accepted.

use storage::{Rows, StorageError};

use crate::clock::Clock;
use crate::job::QUEUES;

/// Holds one queue or all, or lets them go on. False: there is no such queue.
pub async fn set_paused(rows: &Rows, queue: Option<&str>, paused: bool, clock: &dyn Clock) -> Result<bool, StorageError> {
    let chosen: Vec<&str> = QUEUES.iter().copied().filter(|name| queue.is_none_or(|wanted| wanted == *name)).collect();
    let mut tx = rows.begin().await?;
    for name in &chosen {
        if paused {
            storage::jobs::pause_queue(&mut tx, name, clock.now_ms()).await?;
        } else {
            storage::jobs::resume_queue(&mut tx, name).await?;
        }
    }
    tx.commit().await?;
    Ok(!chosen.is_empty())
}
