//! A reference model of the queue's protocol, a page long, walked beside the real statements: after every step of every random sequence the
//! rows say what the model says, and a stale lease has changed nothing.
#![allow(clippy::unwrap_used)]

use std::cell::Cell;

use jobs::state::{JobMove, after};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use storage::Rows;
use storage::jobs::{JobRow, JobState, NewJob};
use storage::leases::{self, Claim, Fence, Lost};
use storage::rows::RowsConfig;
use uuid::Uuid;

const SEQUENCES: u32 = 10_000;
const CRASHES_MAX: i64 = 3;
const BACKOFF_MS: i64 = 50;

/// What a sequence is made of. Workers and leases are named by small numbers; a lease that was never given out is skipped.
#[derive(Debug, Clone)]
enum Step {
    Claim {
        worker: usize,
    },
    /// A verdict with the `lease`-th lease that was ever given out, however old.
    Verdict {
        lease: usize,
        made: JobMove,
    },
    WorkerDies {
        worker: usize,
    },
    CancelAll,
    TimePasses,
    Revive,
}

fn step() -> impl Strategy<Value = Step> {
    use JobMove::{CancelRunning, Discard, Finish, RetryAt, Snooze};
    let verdict = prop::sample::select(vec![Finish, RetryAt, Discard, CancelRunning, Snooze]);
    prop_oneof![
        5 => (0..2_usize).prop_map(|worker| Step::Claim { worker }),
        5 => (0..6_usize, verdict).prop_map(|(lease, made)| Step::Verdict { lease, made }),
        2 => (0..2_usize).prop_map(|worker| Step::WorkerDies { worker }),
        1 => Just(Step::CancelAll),
        2 => Just(Step::TimePasses),
        1 => Just(Step::Revive),
    ]
}

#[derive(Debug, Clone, PartialEq)]
struct Model {
    state: JobState,
    lease_no: i64,
    worker: usize,
    attempt: i64,
    crashes: i64,
    run_at_ms: i64,
    cancel_requested: bool,
}

impl Model {
    fn make(&mut self, made: JobMove) {
        self.state = after(self.state, made).unwrap_or_else(|| panic!("{made:?} from {:?}", self.state));
    }

    /// The model of a verdict: nothing, unless the lease is the current one.
    fn verdict(&mut self, lease_no: i64, made: JobMove, now_ms: i64) -> bool {
        if self.state != JobState::Running || self.lease_no != lease_no {
            return false;
        }
        self.make(made);
        match made {
            JobMove::RetryAt => self.run_at_ms = now_ms + BACKOFF_MS,
            JobMove::Snooze => self.attempt -= 1,
            _ => {}
        }
        true
    }

    fn agrees_with(&self, row: &JobRow) -> bool {
        (row.state, row.attempt, row.crashes, row.cancel_requested) == (self.state, self.attempt, self.crashes, self.cancel_requested)
    }
}

/// One sequence in a queue of its own.
struct Walk<'a> {
    rows: &'a Rows,
    queue: String,
    generation_id: Uuid,
    ids: Vec<Uuid>,
    models: Vec<Model>,
    /// Every lease ever given out: which job, and its number.
    leases: Vec<(usize, i64)>,
    now_ms: i64,
}

impl Walk<'_> {
    async fn new(rows: &Rows, number: u32, jobs: usize) -> Walk<'_> {
        let (queue, generation_id) = (format!("q{number}"), Uuid::now_v7());
        let ids: Vec<Uuid> = (0..jobs).map(|_| Uuid::now_v7()).collect();
        let new = |id: &Uuid| NewJob {
            id: *id,
            kind: "test".into(),
            queue: queue.clone(),
            priority: 0,
            owner_id: queue.clone(),
            generation_id: Some(generation_id),
            payload: "{}".into(),
            attempts_max: 3,
            run_at_ms: 0,
            dedupe_key: None,
            traceparent: None,
            tracestate: None,
        };
        let mut tx = rows.begin().await.unwrap();
        storage::jobs::enqueue(&mut tx, &ids.iter().map(new).collect::<Vec<_>>(), 0).await.unwrap();
        tx.commit().await.unwrap();
        let fresh =
            Model { state: JobState::Queued, lease_no: 0, worker: 0, attempt: 0, crashes: 0, run_at_ms: 0, cancel_requested: false };
        Walk { rows, queue, generation_id, models: vec![fresh; jobs], ids, leases: Vec::new(), now_ms: 1_000 }
    }

    fn owner(&self, worker: usize) -> String {
        format!("{}/{worker}", self.queue)
    }

    async fn take(&mut self, step: &Step) {
        match step {
            Step::Claim { worker } => self.claim(*worker).await,
            Step::Verdict { lease, made } => self.verdict(*lease, *made).await,
            Step::WorkerDies { worker } => self.worker_dies(*worker).await,
            Step::CancelAll => self.cancel_all().await,
            Step::TimePasses => self.now_ms += BACKOFF_MS,
            Step::Revive => self.revive().await,
        }
        for (id, model) in self.ids.iter().zip(&self.models) {
            let row = storage::jobs::find(self.rows.read(), *id).await.unwrap().unwrap();
            assert!(model.agrees_with(&row), "after {step:?}: the row is {row:?}, the model {model:?}");
        }
    }

    async fn claim(&mut self, worker: usize) {
        let owner = self.owner(worker);
        let claim = Claim {
            queue: &self.queue,
            lease_owner: &owner,
            now_ms: self.now_ms,
            lease_until_ms: self.now_ms + 1_000_000_000,
            ageing_ms: 60_000,
        };
        let claimed = leases::claim(self.rows, &claim).await.unwrap();
        for model in &mut self.models {
            if model.state == JobState::Scheduled && model.run_at_ms <= self.now_ms {
                model.make(JobMove::Due);
            }
        }
        let waiting = self.models.iter().position(|model| model.state == JobState::Queued);
        assert_eq!(claimed.is_some(), waiting.is_some(), "a waiting job is given out, and only then");
        let Some(claimed) = claimed else { return };
        let job = self.ids.iter().position(|id| *id == claimed.fence.job_id).unwrap();
        assert_eq!(Some(job), waiting, "in order of enqueueing");
        let model = &mut self.models[job];
        model.make(JobMove::Claim);
        (model.lease_no, model.worker, model.attempt) = (model.lease_no + 1, worker, model.attempt + 1);
        assert_eq!(claimed.fence.lease_no, model.lease_no);
        self.leases.push((job, model.lease_no));
    }

    async fn verdict(&mut self, lease: usize, made: JobMove) {
        let Some(&(job, lease_no)) = self.leases.iter().rev().nth(lease) else { return };
        let fence = Fence { job_id: self.ids[job], lease_no };
        let mut tx = self.rows.begin().await.unwrap();
        let done = match made {
            JobMove::Finish => leases::finish(&mut tx, fence, None, self.now_ms).await,
            JobMove::RetryAt => leases::retry_at(&mut tx, fence, "again", self.now_ms + BACKOFF_MS).await,
            JobMove::Discard => leases::discard(&mut tx, fence, "never", self.now_ms).await,
            JobMove::CancelRunning => leases::cancelled(&mut tx, fence, "stop", self.now_ms).await,
            _ => leases::snooze(&mut tx, fence).await,
        };
        tx.commit().await.unwrap();
        assert_eq!(done.unwrap(), self.models[job].verdict(lease_no, made, self.now_ms), "{made:?} with lease {lease_no}");
    }

    async fn worker_dies(&mut self, worker: usize) {
        let owner = self.owner(worker);
        let mut tx = self.rows.begin().await.unwrap();
        let taken = leases::take_back(&mut tx, Lost::OfProcess { lease_owner: &owner }, CRASHES_MAX, self.now_ms).await.unwrap();
        tx.commit().await.unwrap();
        let mut held = 0;
        for model in &mut self.models {
            if model.state != JobState::Running || model.worker != worker {
                continue;
            }
            held += 1;
            model.crashes += 1;
            model.attempt -= 1;
            model.make(match (model.cancel_requested, model.crashes >= CRASHES_MAX) {
                (true, _) => JobMove::TakeBackCancelled,
                (false, true) => JobMove::TakeBackDead,
                (false, false) => JobMove::TakeBack,
            });
        }
        assert_eq!(taken.len(), held);
    }

    async fn cancel_all(&mut self) {
        let mut tx = self.rows.begin().await.unwrap();
        storage::jobs::cancel_generation(&mut tx, self.generation_id, "stop", self.now_ms).await.unwrap();
        tx.commit().await.unwrap();
        for model in &mut self.models {
            match model.state {
                JobState::Running => model.cancel_requested = true,
                JobState::Queued | JobState::Scheduled => model.make(JobMove::CancelWaiting),
                _ => {}
            }
        }
    }

    async fn revive(&mut self) {
        let id = self.ids[0];
        let mut tx = self.rows.begin().await.unwrap();
        let revived = storage::jobs::revive(&mut tx, id, self.now_ms).await.unwrap();
        tx.commit().await.unwrap();
        let model = &mut self.models[0];
        assert_eq!(revived, after(model.state, JobMove::Revive).is_some());
        if revived {
            model.make(JobMove::Revive);
            (model.attempt, model.crashes, model.cancel_requested, model.run_at_ms) = (0, 0, false, self.now_ms);
        }
    }
}

#[test]
fn the_rows_do_what_the_model_does() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    // Memory, not a disk: this is about the protocol, and what a disk can do is another test's business.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let url = format!("sqlite://{}?mode=rwc", folder.path().join("model.sqlite").display());
    let rows = runtime.block_on(Rows::open(&RowsConfig::new(url))).unwrap();
    let number = Cell::new(0);
    let mut runner = TestRunner::new(Config { cases: SEQUENCES, failure_persistence: None, ..Config::default() });
    let sequences = (1..4_usize, prop::collection::vec(step(), 1..12));
    runner
        .run(&sequences, |(jobs, steps)| {
            number.set(number.get() + 1);
            runtime.block_on(async {
                let mut walk = Walk::new(&rows, number.get(), jobs).await;
                for step in &steps {
                    walk.take(step).await;
                }
            });
            Ok(())
        })
        .unwrap();
}

#[test]
fn every_move_of_the_table_can_be_made_and_no_state_is_a_dead_end_by_mistake() {
    for state in JobState::ALL {
        let leaves = jobs::state::JOB_MOVES.iter().any(|(_, from, _)| *from == state);
        assert_eq!(leaves, state != JobState::Done, "only what is done stays so for ever: {state}");
    }
    for status in storage::generations::GenerationStatus::ALL {
        let sources = jobs::state::sources(status);
        assert!(!sources.is_empty(), "{status} can be reached");
        assert!(!sources.contains(&storage::generations::GenerationStatus::Completed), "what is complete stays so");
    }
}
