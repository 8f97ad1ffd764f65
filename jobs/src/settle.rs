//! What becomes of a job whose run ended without committing: the verdict (pure) and the one transaction that writes it.
//!
//! A run that did commit needs nothing from here. This file may not know apalis.

use storage::leases::ClaimedJob;
use storage::{Storage, StorageError, chunks, generations, leases};
use uuid::Uuid;

use crate::backoff::backoff_ms;
use crate::fail_point;
use crate::job::{JobError, JobKind};
use crate::lease::StopReason;
use crate::lone::{self, Told};
use crate::moves;
use crate::tally::End;
use crate::view::JobFailure;

pub(crate) const CODE_FAILED: &str = "chunk_failed";
pub(crate) const CODE_CRASHED: &str = "worker_crashed";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Committed, or not ours any more.
    Nothing,
    RetryAt {
        run_at_ms: i64,
        error: String,
    },
    /// Like a retry, but the attempt is given back.
    WaitUntil {
        run_at_ms: i64,
        error: String,
    },
    Discard {
        code: &'static str,
        error: String,
        /// No other attempt can succeed.
        hopeless: bool,
    },
    Cancelled,
    Snooze,
}

impl Verdict {
    /// As it is counted.
    pub(crate) fn end(&self) -> End {
        match self {
            Self::Nothing => End::Fenced,
            Self::RetryAt { .. } => End::Retried,
            Self::WaitUntil { .. } => End::Waits,
            Self::Discard { .. } => End::Discarded,
            Self::Cancelled => End::Cancelled,
            Self::Snooze => End::PutBack,
        }
    }
}

/// How soon a job comes back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Where something outside is missing.
    pub wait_ms: i64,
    /// Of the backoff, uniform in 0..1.
    pub jitter: f64,
}

/// The decision, from what the run said, why it was stopped and how often it was tried.
pub(crate) fn verdict(error: &JobError, stopped: Option<StopReason>, job: &ClaimedJob, now_ms: i64, pace: &Pace) -> Verdict {
    if let Some(reason) = stopped {
        return match reason {
            StopReason::Cancelled => Verdict::Cancelled,
            StopReason::LeaseLost => Verdict::Nothing,
            StopReason::Shutdown => Verdict::Snooze,
        };
    }
    match error {
        JobError::Fenced => Verdict::Nothing,
        JobError::Discard(why) => Verdict::Discard { code: CODE_FAILED, error: why.clone(), hopeless: true },
        JobError::Crashed(why) => Verdict::Discard { code: CODE_CRASHED, error: why.clone(), hopeless: false },
        JobError::Wait(why) => Verdict::WaitUntil { run_at_ms: now_ms + pace.wait_ms, error: why.clone() },
        // Nobody asked it to stop, and yet it says so: a mistake in the run, and an attempt spent.
        JobError::Stopped | JobError::Retry(_) if job.attempt >= job.attempts_max => {
            Verdict::Discard { code: CODE_FAILED, error: error.to_string(), hopeless: false }
        }
        JobError::Stopped | JobError::Retry(_) => {
            Verdict::RetryAt { run_at_ms: now_ms + backoff_ms(job.attempt, pace.jitter), error: error.to_string() }
        }
    }
}

/// Writes a verdict with everything that follows from it. Returns the jobs of other runs that must stop because of it.
pub(crate) async fn settle(storage: &Storage, job: &ClaimedJob, verdict: &Verdict, now_ms: i64) -> Result<Vec<Uuid>, StorageError> {
    let mut tx = storage.rows.begin().await?;
    if let Some(generation_id) = job.generation_id {
        generations::lock(&mut tx, generation_id).await?;
    }
    let held = match verdict {
        Verdict::Nothing => false,
        Verdict::RetryAt { run_at_ms, error } => leases::retry_at(&mut tx, job.fence, error, *run_at_ms).await?,
        Verdict::WaitUntil { run_at_ms, error } => leases::wait_until(&mut tx, job.fence, error, *run_at_ms).await?,
        Verdict::Discard { error, .. } => leases::discard(&mut tx, job.fence, error, now_ms).await?,
        Verdict::Cancelled => leases::cancelled(&mut tx, job.fence, "cancelled on request", now_ms).await?,
        Verdict::Snooze => leases::snooze(&mut tx, job.fence).await?,
    };
    if !held {
        return Ok(Vec::new());
    }
    let mut stopped = Vec::new();
    match verdict {
        Verdict::RetryAt { error, .. } => note_failed_attempt(&mut tx, job, error, true, now_ms).await?,
        Verdict::Discard { code, error, .. } => {
            note_failed_attempt(&mut tx, job, error, false, now_ms).await?;
            stopped = fail_generation(&mut tx, job, code, error, now_ms).await?;
        }
        _ => {}
    }
    let mut left = Vec::new();
    match job.generation_id {
        Some(generation_id) => {
            moves::close_if_cancelled(&mut tx, generation_id, now_ms).await?;
        }
        None => left = lone::settled(&mut tx, &Told::of_claimed(job), verdict, now_ms).await?,
    }
    fail_point::pass("settle.before_commit");
    tx.commit().await?;
    lone::delete_blobs(&storage.blobs, left).await;
    Ok(stopped)
}

async fn note_failed_attempt(
    tx: &mut storage::Tx,
    job: &ClaimedJob,
    error: &str,
    will_retry: bool,
    now_ms: i64,
) -> Result<(), StorageError> {
    let Ok(JobKind::SpeakChunk(chunk)) = JobKind::parse(&job.kind, &job.payload) else {
        return Ok(());
    };
    let status = if will_retry { chunks::ChunkStatus::Queued } else { chunks::ChunkStatus::Failed };
    chunks::set_status(tx, chunk.chunk_id(), status, job.attempt, Some(error)).await?;
    let data = serde_json::json!({
        "index": chunk.index, "take": chunk.take, "attempt": job.attempt, "will_retry": will_retry, "error": error,
    });
    let event = storage::events::NewEvent { owner_id: &job.owner_id, generation_id: job.generation_id, kind: "chunk.failed", data };
    storage::events::append(tx, event, now_ms).await?;
    Ok(())
}

/// What the end of a discarded job means for its generation; what was asked for by hand fails alone.
async fn fail_generation(tx: &mut storage::Tx, job: &ClaimedJob, code: &str, error: &str, now_ms: i64) -> Result<Vec<Uuid>, StorageError> {
    let by_hand = JobKind::parse(&job.kind, &job.payload).is_ok_and(|kind| kind.is_by_hand());
    let Some(generation_id) = job.generation_id.filter(|_| !by_hand) else {
        return Ok(Vec::new());
    };
    let Some(generation) = generations::find_in(tx, generation_id).await? else {
        return Ok(Vec::new());
    };
    moves::failed(tx, &generation, &failure_of(&job.kind, &job.payload, code, error), now_ms).await
}

/// The failure as the caller sees it.
pub(crate) fn failure_of(kind: &str, payload: &str, code: &str, error: &str) -> JobFailure {
    let chunk_index = match JobKind::parse(kind, payload) {
        Ok(JobKind::SpeakChunk(chunk)) => Some(chunk.index),
        _ => None,
    };
    let code = if chunk_index.is_none() && code == CODE_FAILED { "merge_failed" } else { code };
    JobFailure { code: code.into(), detail: error.into(), chunk_index }
}

#[cfg(test)]
mod tests {
    use storage::leases::Fence;

    use super::*;

    const PACE: Pace = Pace { wait_ms: 5_000, jitter: 0.5 };

    fn job(attempt: i64) -> ClaimedJob {
        ClaimedJob {
            fence: Fence { job_id: Uuid::nil(), lease_no: 1 },
            kind: "speak_chunk".into(),
            queue: "cpu".into(),
            owner_id: "owner".into(),
            generation_id: None,
            priority: 0,
            payload: "{}".into(),
            attempt,
            attempts_max: 3,
            crashes: 0,
            created_at_ms: 0,
            run_at_ms: 0,
            traceparent: None,
            tracestate: None,
        }
    }

    #[test]
    fn a_stop_reason_weighs_more_than_what_the_run_said() {
        let error = JobError::Discard("broken".into());
        assert_eq!(verdict(&error, Some(StopReason::Cancelled), &job(1), 0, &PACE), Verdict::Cancelled);
        assert_eq!(verdict(&error, Some(StopReason::LeaseLost), &job(1), 0, &PACE), Verdict::Nothing);
        assert_eq!(verdict(&error, Some(StopReason::Shutdown), &job(1), 0, &PACE), Verdict::Snooze);
    }

    #[test]
    fn attempts_are_counted_and_waiting_costs_none() {
        let error = JobError::Retry("host died".into());
        assert_eq!(verdict(&error, None, &job(2), 10, &PACE), Verdict::RetryAt { run_at_ms: 1_010, error: "host died".into() });
        assert_eq!(
            verdict(&error, None, &job(3), 10, &PACE),
            Verdict::Discard { code: CODE_FAILED, error: "host died".into(), hopeless: false }
        );
        let error = JobError::Wait("disk full".into());
        assert_eq!(verdict(&error, None, &job(3), 10, &PACE), Verdict::WaitUntil { run_at_ms: 5_010, error: "disk full".into() });
    }
}
