//! The protocol of leases and accepts, statement by statement, with times as arguments: what a heartbeat keeps, who may take back what, what
//! an old lease can still do (nothing), what neighbours in one commit share (nothing), and what a stranger sees (nothing).
#![allow(clippy::unwrap_used)]

mod bed;

use bed::{Bed, Database, OWNER, script, submission};
use jobs::retry::RetryError;
use jobs::submission::{MergeOptions, MergeOrder, Submission, SubmitError, TraceContext};
use jobs::view::CancelOutcome;
use std::collections::BTreeSet;

use storage::StorageError;
use storage::accept::Accept;
use storage::events::{self, NewEvent};
use storage::generations::{self, Generation, GenerationFilter};
use storage::jobs::{JobState, NewJob};
use storage::leases::{self, Claim, Fence, Lost};
use storage::rows::{Rows, RowsConfig};
use storage::search::SearchText;
use uuid::Uuid;

on_both! {
    a_heartbeat_keeps_its_leases_and_no_others,
    a_node_takes_back_what_its_former_process_held,
    an_old_lease_can_do_nothing,
    neighbours_in_a_commit_do_not_share_an_error,
    a_dropped_transaction_is_undone,
    nobody_sees_or_touches_what_is_anothers,
    a_drawn_seed_is_kept,
}

async fn claim(bed: &Bed, lease_owner: &str, now_ms: i64) -> Fence {
    let claim = Claim { queue: "cpu", lease_owner, now_ms, lease_until_ms: now_ms + 30_000, ageing_ms: 60_000 };
    leases::claim(&bed.storage.rows, &claim).await.unwrap().unwrap().fence
}

async fn take_back(bed: &Bed, lost: Lost<'_>) -> Vec<uuid::Uuid> {
    let mut tx = bed.storage.rows.begin().await.unwrap();
    let mut taken: Vec<_> = leases::take_back(&mut tx, lost, 3, 0).await.unwrap().into_iter().map(|job| job.job_id).collect();
    tx.commit().await.unwrap();
    taken.sort();
    taken
}

fn now_ms() -> i64 {
    jobs::clock::Clock::now_ms(&jobs::clock::SystemClock)
}

async fn a_heartbeat_keeps_its_leases_and_no_others(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    bed.submit(&["1", "2"]).await;
    let start_ms = now_ms();
    let kept = claim(&bed, "a/1", start_ms).await;
    let silent = claim(&bed, "b/1", start_ms).await;
    let held = leases::heartbeat(&bed.storage.rows, "a/1", start_ms + 60_000).await.unwrap();
    assert_eq!(held.iter().map(|lease| lease.fence).collect::<Vec<_>>(), [kept]);
    assert!(take_back(&bed, Lost::Expired { now_ms: start_ms + 29_999 }).await.is_empty());
    assert_eq!(take_back(&bed, Lost::Expired { now_ms: start_ms + 40_000 }).await, [silent.job_id]);
    assert_eq!(take_back(&bed, Lost::Expired { now_ms: start_ms + 60_001 }).await, [kept.job_id]);
}

async fn a_node_takes_back_what_its_former_process_held(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    bed.submit(&["1", "2", "3", "4"]).await;
    let mut fences = Vec::new();
    for lease_owner in ["node/1", "node/2", "node-b/1", "other/1"] {
        fences.push(claim(&bed, lease_owner, now_ms()).await);
    }
    let lost = Lost::OfNode { node_id: "node", except_owner: "node/2" };
    assert_eq!(take_back(&bed, lost).await, [fences[0].job_id]);
    assert_eq!(take_back(&bed, Lost::OfProcess { lease_owner: "other/1" }).await, [fences[3].job_id]);
}

async fn an_old_lease_can_do_nothing(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    bed.submit(&["1"]).await;
    let old = claim(&bed, "a/1", now_ms()).await;
    take_back(&bed, Lost::OfProcess { lease_owner: "a/1" }).await;
    let new = claim(&bed, "b/1", now_ms()).await;
    assert_eq!((old.job_id, old.lease_no + 1), (new.job_id, new.lease_no));
    let mut tx = bed.storage.rows.begin().await.unwrap();
    assert!(!leases::holds(&mut tx, old).await.unwrap());
    assert!(!leases::finish(&mut tx, old, None, 1).await.unwrap());
    assert!(!leases::retry_at(&mut tx, old, "", 1).await.unwrap());
    assert!(!leases::wait_until(&mut tx, old, "", 1).await.unwrap());
    assert!(!leases::discard(&mut tx, old, "", 1).await.unwrap());
    assert!(!leases::cancelled(&mut tx, old, "", 1).await.unwrap());
    assert!(!leases::snooze(&mut tx, old).await.unwrap());
    assert!(leases::holds(&mut tx, new).await.unwrap());
    assert!(leases::finish(&mut tx, new, None, 1).await.unwrap());
    assert!(!leases::finish(&mut tx, new, None, 1).await.unwrap(), "once");
    tx.commit().await.unwrap();
    let row = storage::jobs::find(bed.storage.rows.read(), new.job_id).await.unwrap().unwrap();
    assert_eq!((row.state, row.attempt, row.crashes), (JobState::Done, 1, 1));
}

/// A job that may be refused for its key.
fn job(generation_id: Option<Uuid>, dedupe_key: Option<&str>) -> NewJob {
    NewJob {
        id: Uuid::now_v7(),
        kind: "speak_chunk".into(),
        queue: "cpu".into(),
        priority: 0,
        owner_id: OWNER.into(),
        generation_id,
        payload: "{}".into(),
        attempts_max: 1,
        run_at_ms: 0,
        dedupe_key: dedupe_key.map(str::to_owned),
        traceparent: None,
        tracestate: None,
    }
}

fn accept_like(pattern: &Generation, dedupe_key: Option<&str>, title: &str) -> Accept {
    let generation = Generation { id: Uuid::now_v7(), title: Some(title.to_owned()), ..pattern.clone() };
    Accept {
        search: SearchText::of(Some(title), "", "{}"),
        chunks: Vec::new(),
        jobs: vec![job(Some(generation.id), dedupe_key)],
        generation,
        told: ("job.queued", title.into()),
        montage_id: None,
        idempotency: None,
        now_ms: 0,
        before_commit: || (),
    }
}

/// What is refused only shows when the rows before it are written: nothing of that may stay, and all of the others'.
async fn neighbours_in_a_commit_do_not_share_an_error(database: Database) {
    for unlucky in [None, Some(3)] {
        commit_neighbours(database, unlucky).await;
    }
}

async fn commit_neighbours(database: Database, unlucky: Option<usize>) {
    const NEIGHBOURS: usize = 23;
    let bed = Bed::new(database, script(vec![])).await;
    let first = bed.submit(&["1"]).await;
    let pattern = generations::find(bed.storage.rows.read(), first).await.unwrap().unwrap();
    let rows = &bed.storage.rows;
    rows.accept(accept_like(&pattern, Some("taken"), "first")).await.unwrap();
    // While the writer waits for this one, the others gather for the next commit.
    let held = rows.begin().await.unwrap();
    let accepts = (0..NEIGHBOURS).map(|place| accept_like(&pattern, (Some(place) == unlucky).then_some("taken"), &place.to_string()));
    let (ended, ()) = tokio::join!(futures::future::join_all(accepts.map(|accept| rows.accept(accept))), async {
        tokio::task::yield_now().await;
        drop(held);
    });
    let mut places = Vec::new();
    for (place, ended) in ended.iter().enumerate() {
        match ended {
            Ok(accepted) => {
                assert_eq!(accepted.generation.title, Some(place.to_string()));
                places.push(accepted.queue_position);
            }
            Err(error) => assert!(Some(place) == unlucky && matches!(error, StorageError::Conflict(_)), "{place}: {error}"),
        }
    }
    if database == Database::Sqlite {
        let lucky = NEIGHBOURS - usize::from(unlucky.is_some());
        assert_eq!(places, (3..).take(lucky).collect::<Vec<i64>>(), "behind the two that were there, in order");
    }
    let stored = generations::list(rows.read(), &GenerationFilter::of_owner(OWNER), None, 100).await.unwrap();
    let titled: BTreeSet<Option<String>> = stored.into_iter().map(|generation| generation.title).collect();
    let told: BTreeSet<Option<String>> = bed.events(OWNER).await.iter().map(|event| event.data.as_str().map(str::to_owned)).collect();
    let lucky = (0..NEIGHBOURS).filter(|place| Some(*place) != unlucky).map(|place| Some(place.to_string()));
    let expected: BTreeSet<Option<String>> = lucky.chain([Some("first".into()), None]).collect();
    assert_eq!((&titled, &told), (&expected, &expected), "titles of rows and of events; None is the pattern's");
}

/// Nobody begins after it, and yet its lock is gone and its rows with it.
async fn a_dropped_transaction_is_undone(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    let other = Rows::open(&RowsConfig::new(bed.database_url())).await.unwrap();
    for _ in 0..3 {
        let mut tx = bed.storage.rows.begin().await.unwrap();
        let event = NewEvent { owner_id: OWNER, generation_id: None, kind: "queue.changed", data: 1.into() };
        events::append(&mut tx, event, 0).await.unwrap();
        drop(tx);
        // Waits for the lock, as another process would, and gives up after ten seconds.
        other.begin().await.unwrap().commit().await.unwrap();
    }
    assert!(bed.events(OWNER).await.is_empty());
    // What fails inside a transaction fails alone.
    let mut tx = bed.storage.rows.begin().await.unwrap();
    storage::jobs::enqueue(&mut tx, &[job(None, Some("one"))], 0).await.unwrap();
    assert!(matches!(storage::jobs::enqueue(&mut tx, &[job(None, Some("one"))], 0).await, Err(StorageError::Conflict(_))));
    drop(tx);
    bed.storage.rows.begin().await.unwrap().commit().await.unwrap();
    bed.storage.rows.close().await;
    assert!(matches!(bed.storage.rows.begin().await, Err(StorageError::Unreachable(_))), "closed");
}

async fn nobody_sees_or_touches_what_is_anothers(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    let worker = bed.start().await;
    let id = bed.submit(&["Mine.", "All mine."]).await;
    bed.end_of(id).await;
    let stranger = "somebody else";
    assert_eq!(bed.jobs.job(stranger, id).await.unwrap(), None);
    assert_eq!(bed.jobs.generation(stranger, id).await.unwrap(), None);
    assert_eq!(bed.jobs.chunks(stranger, id, 0, 10).await.unwrap(), None);
    assert_eq!(bed.jobs.cancel(stranger, id).await.unwrap(), CancelOutcome::NotFound);
    assert!(matches!(bed.jobs.retry(stranger, id).await, Err(RetryError::NotFound(_))));
    let order = MergeOrder { task_id: id, options: MergeOptions::default(), idempotency: None, trace: TraceContext::default() };
    assert!(matches!(bed.jobs.request_merge(stranger, order).await, Err(SubmitError::TaskNotFound(_))));
    assert!(bed.events(stranger).await.is_empty());
    let calls = bed.engine.calls();
    let theirs = bed.submit_as(stranger, 0, &["Mine."]).await;
    assert_eq!(bed.jobs.wait(stranger, theirs, 30_000).await.unwrap().unwrap().status, "completed");
    assert_eq!(bed.engine.calls(), calls + 1, "what sounds the same is not taken from another owner");
    worker.stop(1_000).await;
}

async fn a_drawn_seed_is_kept(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    let mut drawn = Vec::new();
    for _ in 0..2 {
        let mut unseeded: Submission = submission(&["One."]);
        unseeded.options.seed = None;
        let id = bed.jobs.submit(OWNER, unseeded).await.unwrap().id;
        let generation = bed.jobs.generation(OWNER, id).await.unwrap().unwrap();
        let options: serde_json::Value = serde_json::from_str(&generation.params).unwrap();
        drawn.push(options["seed"].as_u64().expect("a number in the row"));
    }
    assert_ne!(drawn[0], drawn[1]);
}
