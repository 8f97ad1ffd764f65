//! The jobs table as an apalis backend: apalis brings the worker loop, its slots, the monitor and the drain at shutdown; claims, leases and
//! verdicts are ours.
//!
//! apalis asks `poll_next` only when a slot is free, so at most as many jobs are claimed as can run. A claim runs as a task of its own:
//! apalis may stop polling at any time (a pause, a busy worker), and a claim that has committed must find its way to a run or back.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use apalis_core::backend::finalize::Ephemeral;
use apalis_core::backend::{Backend, BackendConfig};
use apalis_core::task::Task;
use apalis_core::task::builder::TaskBuilder;
use apalis_core::task::task_id::TaskId;
use apalis_core::worker::context::WorkerContext;
use storage::StorageError;
use storage::leases::{Claim, ClaimedJob};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::layer::util::Identity;

use crate::fail_point;
use crate::lease::Lease;
use crate::tally::TALLY;
use crate::worker::WorkerShared;

/// A claimed job with its lease. Dropped without a run it goes back to the queue.
#[derive(Debug, Clone)]
pub(crate) struct Leased {
    pub job: Arc<ClaimedJob>,
    pub lease: Arc<Lease>,
}

/// One worker's access to one queue.
#[derive(Debug)]
pub(crate) struct JobBackend {
    queue: &'static str,
    shared: Arc<WorkerShared>,
    claim: Option<JoinHandle<Option<Leased>>>,
    closing: CancellationToken,
    give_back: Option<GiveBack>,
}

struct GiveBack(Pin<Box<dyn Future<Output = ()> + Send>>);

impl std::fmt::Debug for GiveBack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GiveBack")
    }
}

impl JobBackend {
    pub(crate) fn new(queue: &'static str, shared: Arc<WorkerShared>) -> Self {
        let closing = shared.closing.child_token();
        Self { queue, shared, claim: None, closing, give_back: None }
    }
}

impl Drop for JobBackend {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}

impl Backend for JobBackend {
    type Task = Task<Leased>;
    // An error would end the worker; ours are retried inside the claim loop.
    type Error = Infallible;

    fn poll_ready(&mut self, _cx: &mut Context<'_>, _worker: &WorkerContext) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(&mut self, cx: &mut Context<'_>, worker: &WorkerContext) -> Poll<Option<Result<Self::Task, Infallible>>> {
        let claim = self
            .claim
            .get_or_insert_with(|| tokio::spawn(claim_loop(self.queue, self.shared.clone(), self.closing.clone(), worker.clone())));
        let claimed = ready!(Pin::new(claim).poll(cx));
        self.claim = None;
        match claimed {
            Ok(Some(leased)) => {
                let fence = leased.job.fence;
                // The lease number is part of the id: the same job may be claimed again while a lost run still ends.
                let id = TaskId::from_string(format!("{}.{}", fence.job_id, fence.lease_no));
                Poll::Ready(Some(Ok(TaskBuilder::new(leased).task_id(id).build())))
            }
            Ok(None) => Poll::Ready(None),
            Err(error) => {
                tracing::error!(queue.name = self.queue, error = %error, "claim task failed");
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, _worker: &WorkerContext) -> Poll<Result<(), Infallible>> {
        self.closing.cancel();
        if let Some(claim) = self.claim.as_mut() {
            let claimed = ready!(Pin::new(claim).poll(cx));
            self.claim = None;
            if let Ok(Some(leased)) = claimed {
                let shared = self.shared.clone();
                self.give_back = Some(GiveBack(Box::pin(async move { shared.give_back(&leased).await })));
            }
        }
        if let Some(give_back) = self.give_back.as_mut() {
            ready!(give_back.0.as_mut().poll(cx));
            self.give_back = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl BackendConfig for JobBackend {
    type Args = Leased;
    type Id = String;
    type Kind = Ephemeral;
    type Config = ();
    type Layer = Identity;

    fn config(&self) -> &() {
        &()
    }

    fn middleware(&mut self, _worker: &mut WorkerContext) -> Identity {
        Identity::new()
    }
}

/// Waits for the next job of a queue. Ends without one only when closing.
async fn claim_loop(queue: &'static str, shared: Arc<WorkerShared>, closing: CancellationToken, worker: WorkerContext) -> Option<Leased> {
    // A watch, not a notify: a signal raised between the look and the wait is not lost, and every worker sees it.
    let mut changed = shared.context.storage.rows.jobs_changed();
    let mut failures: u32 = 0;
    loop {
        if closing.is_cancelled() {
            return None;
        }
        changed.borrow_and_update();
        let idle_ms = if worker.is_paused() {
            shared.config.idle_poll_ms
        } else {
            match claim_once(queue, &shared).await {
                Ok(Some(leased)) => return Some(leased),
                Ok(None) => {
                    failures = 0;
                    idle_ms(&shared).await
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    tracing::warn!(queue.name = queue, error = %error, "claim failed, will be repeated");
                    (40u64 << failures.min(6)).min(2_000)
                }
            }
        };
        tokio::select! {
            () = closing.cancelled() => return None,
            _ = changed.changed() => {}
            () = shared.context.clock.sleep(idle_ms) => {}
        }
    }
}

async fn claim_once(queue: &'static str, shared: &Arc<WorkerShared>) -> Result<Option<Leased>, StorageError> {
    let now_ms = shared.context.clock.now_ms();
    let claim = Claim {
        queue,
        lease_owner: &shared.leases.owner,
        now_ms,
        lease_until_ms: now_ms + shared.config.lease.lease_ms,
        ageing_ms: shared.config.ageing_ms,
    };
    let Some(job) = storage::leases::claim(&shared.context.storage.rows, &claim).await? else {
        return Ok(None);
    };
    fail_point::pass("claim.after_commit");
    TALLY.wait_s.note((now_ms - job.run_at_ms.max(job.created_at_ms)) as f64 / 1_000.0);
    let lease = shared.leases.take(job.fence, job.generation_id);
    Ok(Some(Leased { job: Arc::new(job), lease }))
}

/// Until the next scheduled job is due, at most the poll interval (which other processes' commits on SQLite need).
async fn idle_ms(shared: &WorkerShared) -> u64 {
    let longest_ms = shared.config.idle_poll_ms;
    match storage::jobs::next_due_ms(shared.context.storage.rows.read()).await {
        Ok(Some(due_ms)) => (due_ms - shared.context.clock.now_ms()).clamp(1, longest_ms as i64) as u64,
        _ => longest_ms,
    }
}
