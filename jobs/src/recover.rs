//! Taking back jobs whose worker is gone: at a start, those of this node's former process (at once, its lock is ours); while running, those
//! whose lease was not renewed.

use std::sync::atomic::Ordering;

use storage::jobs::JobState;
use storage::leases::{Lost, TakenBack};
use storage::{Rows, Storage, StorageError, Tx, generations, leases};

use crate::settle::{CODE_CRASHED, failure_of};
use crate::tally::TALLY;
use crate::{fail_point, lone, moves};

/// Returns how many jobs were taken back.
pub(crate) async fn take_back_of_node(
    storage: &Storage,
    node_id: &str,
    lease_owner: &str,
    crashes_max: i64,
    now_ms: i64,
) -> Result<usize, StorageError> {
    take_back(&storage.rows, Lost::OfNode { node_id, except_owner: lease_owner }, crashes_max, now_ms).await
}

pub(crate) async fn take_back_expired(rows: &Rows, crashes_max: i64, now_ms: i64) -> Result<usize, StorageError> {
    take_back(rows, Lost::Expired { now_ms }, crashes_max, now_ms).await
}

/// On Postgres a process that is gone is known by its ended session, long before its leases expire.
pub(crate) async fn take_back_of_dead_processes(
    rows: &Rows,
    lease_owner: &str,
    crashes_max: i64,
    now_ms: i64,
) -> Result<usize, StorageError> {
    let mut taken = 0;
    for dead in leases::dead_owners(rows, lease_owner).await? {
        tracing::warn!(lease.owner = %dead, "a worker process is gone, taking over its jobs");
        taken += take_back(rows, Lost::OfProcess { lease_owner: &dead }, crashes_max, now_ms).await?;
    }
    Ok(taken)
}

async fn take_back(rows: &Rows, lost: Lost<'_>, crashes_max: i64, now_ms: i64) -> Result<usize, StorageError> {
    let mut tx = rows.begin().await?;
    for generation_id in storage::leases::generations_of_lost(&mut tx, lost).await? {
        generations::lock(&mut tx, generation_id).await?;
    }
    let taken = storage::leases::take_back(&mut tx, lost, crashes_max, now_ms).await?;
    for job in &taken {
        tell_generation(&mut tx, job, now_ms).await?;
    }
    fail_point::pass("recover.before_commit");
    tx.commit().await?;
    TALLY.rescued.fetch_add(taken.len() as u64, Ordering::Relaxed);
    Ok(taken.len())
}

async fn tell_generation(tx: &mut Tx, job: &TakenBack, now_ms: i64) -> Result<(), StorageError> {
    let Some(generation_id) = job.generation_id else {
        return lone::taken_back(tx, job, now_ms).await;
    };
    match job.state {
        JobState::Queued => moves::interrupted(tx, generation_id, now_ms).await?,
        JobState::Failed => {
            let error = format!("the worker died {} times while it ran", job.crashes);
            let failure = failure_of(&job.kind, &job.payload, CODE_CRASHED, &error);
            if let Some(generation) = generations::find_in(tx, generation_id).await? {
                moves::failed(tx, &generation, &failure, now_ms).await?;
            }
        }
        _ => {}
    }
    moves::close_if_cancelled(tx, generation_id, now_ms).await?;
    Ok(())
}
