//! The state machine of a job and of a generation as two tables: which move is legal, and what makes it. Pure; the statements in
//! `storage::jobs` make exactly these moves (each names its `from` in its WHERE), and a property test walks both.

use storage::generations::GenerationStatus;
use storage::jobs::JobState;

/// What happens to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobMove {
    /// Its time has come.
    Due,
    Claim,
    /// The five verdicts of a worker that holds the lease.
    Finish,
    RetryAt,
    Discard,
    CancelRunning,
    Snooze,
    /// Cancel of a job that no worker holds.
    CancelWaiting,
    /// The worker is gone: back to the queue, or out.
    TakeBack,
    TakeBackCancelled,
    TakeBackDead,
    /// By hand.
    Revive,
}

/// Every legal move of a job; what is not here is refused by the statement that would make it.
pub const JOB_MOVES: &[(JobMove, JobState, JobState)] = &[
    (JobMove::Due, JobState::Scheduled, JobState::Queued),
    (JobMove::Claim, JobState::Queued, JobState::Running),
    (JobMove::Finish, JobState::Running, JobState::Done),
    (JobMove::RetryAt, JobState::Running, JobState::Scheduled),
    (JobMove::Discard, JobState::Running, JobState::Failed),
    (JobMove::CancelRunning, JobState::Running, JobState::Cancelled),
    (JobMove::Snooze, JobState::Running, JobState::Queued),
    (JobMove::CancelWaiting, JobState::Scheduled, JobState::Cancelled),
    (JobMove::CancelWaiting, JobState::Queued, JobState::Cancelled),
    (JobMove::TakeBack, JobState::Running, JobState::Queued),
    (JobMove::TakeBackCancelled, JobState::Running, JobState::Cancelled),
    (JobMove::TakeBackDead, JobState::Running, JobState::Failed),
    (JobMove::Revive, JobState::Failed, JobState::Queued),
    (JobMove::Revive, JobState::Cancelled, JobState::Queued),
];

pub fn after(state: JobState, made: JobMove) -> Option<JobState> {
    JOB_MOVES.iter().find(|(kind, from, _)| *kind == made && *from == state).map(|(_, _, to)| *to)
}

use GenerationStatus::{Cancelled, Completed, Failed, Interrupted, Merging, Queued, Running};

/// Every legal move of a generation.
pub const GENERATION_MOVES: &[(GenerationStatus, GenerationStatus)] = &[
    // The first chunk is claimed; after a crash, the first chunk again.
    (Queued, Running),
    (Interrupted, Running),
    // All chunks are done.
    (Running, Merging),
    (Running, Completed),
    (Merging, Completed),
    // After a crash in the merge, the merge goes on.
    (Interrupted, Merging),
    // Its worker died.
    (Running, Interrupted),
    (Merging, Interrupted),
    // All chunks came from equal ones made before.
    (Queued, Merging),
    (Queued, Completed),
    (Interrupted, Completed),
    // A chunk or the merge was discarded.
    (Queued, Failed),
    (Running, Failed),
    (Merging, Failed),
    (Interrupted, Failed),
    (Queued, Cancelled),
    (Running, Cancelled),
    (Merging, Cancelled),
    (Interrupted, Cancelled),
    // Retried by hand.
    (Failed, Queued),
    (Cancelled, Queued),
];

/// All statuses from which `to` may be reached.
pub fn sources(to: GenerationStatus) -> Vec<GenerationStatus> {
    GENERATION_MOVES.iter().filter(|(_, target)| *target == to).map(|(from, _)| *from).collect()
}
