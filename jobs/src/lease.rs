//! Leases of this process: which jobs it holds, how each is told to stop, and the one thread that keeps them alive.
//!
//! The keeper has a runtime and a database connection of its own, so that no job, however long it blocks a thread, can keep the heartbeat
//! from going out. This file may not know what a job does.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use storage::leases::Fence;
use storage::{Rows, StorageError};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::clock::Clock;

/// Why a run is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StopReason {
    Cancelled,
    /// Somebody else may have the job by now: nothing may be written.
    LeaseLost,
    Shutdown,
}

/// The right to run one job.
#[derive(Debug)]
pub struct Lease {
    pub fence: Fence,
    pub generation_id: Option<Uuid>,
    token: CancellationToken,
    why: OnceLock<StopReason>,
    leases: Weak<Leases>,
}

impl Lease {
    /// Fires when the run must stop; [`Lease::stop_reason`] says why.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    pub fn stop_reason(&self) -> Option<StopReason> {
        self.why.get().copied()
    }

    fn stop(&self, reason: StopReason) {
        let _ = self.why.set(reason);
        self.token.cancel();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(leases) = self.leases.upgrade() {
            leases.forget(self.fence);
        }
    }
}

/// All leases of this process, and its name as their owner.
#[derive(Debug)]
pub struct Leases {
    /// `<node id>/<process id>`; new at every start, so that a former process of the same node can't be taken for this one.
    pub owner: String,
    held: Mutex<HashMap<Fence, Weak<Lease>>>,
    /// What the last beat found in our name and not in our hands.
    unheld: Mutex<HashSet<Fence>>,
}

impl Leases {
    pub fn new(node_id: &str) -> Arc<Self> {
        Arc::new(Self { owner: format!("{node_id}/{}", Uuid::now_v7()), held: Mutex::default(), unheld: Mutex::default() })
    }

    fn held(&self) -> MutexGuard<'_, HashMap<Fence, Weak<Lease>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn take(self: &Arc<Self>, fence: Fence, generation_id: Option<Uuid>) -> Arc<Lease> {
        let lease =
            Arc::new(Lease { fence, generation_id, token: CancellationToken::new(), why: OnceLock::new(), leases: Arc::downgrade(self) });
        self.held().insert(fence, Arc::downgrade(&lease));
        lease
    }

    fn forget(&self, fence: Fence) {
        self.held().remove(&fence);
    }

    pub fn count(&self) -> usize {
        self.held().len()
    }

    fn snapshot(&self) -> Vec<Arc<Lease>> {
        self.held().values().filter_map(Weak::upgrade).collect()
    }

    pub fn stop_all(&self, reason: StopReason) {
        for lease in self.snapshot() {
            lease.stop(reason);
        }
    }

    /// Tells the runs of these jobs at once; runs in other processes learn of it at their next heartbeat.
    pub fn cancel(&self, job_ids: &[Uuid]) {
        for lease in self.snapshot() {
            if job_ids.contains(&lease.fence.job_id) {
                lease.stop(StopReason::Cancelled);
            }
        }
    }

    /// Compares what we think we hold with what the database says we hold. `before` was taken before the database was asked: a lease that
    /// was claimed since then is not in the answer and not lost.
    fn compare(&self, before: &[Arc<Lease>], held: &[storage::leases::HeldLease]) {
        for lease in before {
            match held.iter().find(|held| held.fence == lease.fence) {
                None => lease.stop(StopReason::LeaseLost),
                Some(held) if held.cancel_requested => lease.stop(StopReason::Cancelled),
                Some(_) => {}
            }
        }
    }
}

impl Leases {
    /// Leases that the database has in our name though no run of ours has them, now and at the beat before: their verdict could not be
    /// written. (Once may be a claim on its way to its run.)
    fn abandoned(&self, renewed: &[storage::leases::HeldLease]) -> Vec<Fence> {
        let held = self.held();
        let unheld: HashSet<Fence> = renewed.iter().map(|lease| lease.fence).filter(|fence| !held.contains_key(fence)).collect();
        let before = std::mem::replace(&mut *self.unheld.lock().unwrap_or_else(PoisonError::into_inner), unheld.clone());
        unheld.intersection(&before).copied().collect()
    }
}

#[derive(Debug, Clone)]
pub struct LeaseConfig {
    /// At least 30 s: a disk may stall for seconds.
    pub lease_ms: i64,
    pub beat_ms: u64,
}

impl Default for LeaseConfig {
    fn default() -> Self {
        Self { lease_ms: 40_000, beat_ms: 5_000 }
    }
}

/// One beat: renew, compare. Split from the loop so that a test can call it.
pub(crate) async fn beat(rows: &Rows, leases: &Leases, config: &LeaseConfig, now_ms: i64) -> Result<(), StorageError> {
    storage::leases::hold_session(rows, &leases.owner).await?;
    let before = leases.snapshot();
    if before.is_empty() {
        return Ok(());
    }
    let held = storage::leases::heartbeat(rows, &leases.owner, now_ms + config.lease_ms).await?;
    leases.compare(&before, &held);
    // Renewed for ever, nobody would ever run them again.
    for fence in leases.abandoned(&held) {
        let mut tx = rows.begin().await?;
        if storage::leases::snooze(&mut tx, fence).await? {
            tx.commit().await?;
            tracing::warn!(job.id = %fence.job_id, "put back a job whose run ended without a verdict");
        }
    }
    Ok(())
}

/// A cancel from another process: a commit has been seen, and it may have been meant for a job of ours.
async fn look_for_cancels(rows: &Rows, leases: &Leases) {
    if leases.count() == 0 {
        return;
    }
    match storage::leases::cancel_requests(rows, &leases.owner).await {
        Ok(fences) => leases.cancel(&fences.iter().map(|fence| fence.job_id).collect::<Vec<_>>()),
        Err(error) => tracing::warn!(error = %error, "can't look for cancel requests, the next heartbeat will"),
    }
}

/// Runs until `closing` fires. `sweep` is called after every successful beat, never before: our own leases must be fresh when expired ones
/// are looked for.
pub(crate) async fn keep_alive<S>(
    rows: Rows,
    leases: Arc<Leases>,
    config: LeaseConfig,
    clock: Arc<dyn Clock>,
    closing: CancellationToken,
    sweep: S,
) where
    S: AsyncFn(&Rows),
{
    let mut renewed_ms = clock.now_ms();
    if let Err(error) = storage::leases::hold_session(&rows, &leases.owner).await {
        tracing::warn!(error = %error, "session not marked, will be repeated");
    }
    let mut changed = rows.jobs_changed();
    loop {
        let beat_due = clock.sleep(config.beat_ms);
        tokio::pin!(beat_due);
        loop {
            tokio::select! {
                () = closing.cancelled() => return,
                () = &mut beat_due => break,
                _ = changed.changed() => look_for_cancels(&rows, &leases).await,
            }
        }
        let started_ms = clock.now_ms();
        match beat(&rows, &leases, &config, started_ms).await {
            Ok(()) => {
                renewed_ms = started_ms;
                sweep(&rows).await;
            }
            Err(error) => {
                tracing::warn!(lease.held = leases.count(), error = %error, "heartbeat failed, will be repeated");
                if clock.now_ms() - renewed_ms > config.lease_ms {
                    leases.stop_all(StopReason::LeaseLost);
                }
            }
        }
    }
}
