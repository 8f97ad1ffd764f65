//! What is promised beyond the plain life of a job: retries by hand, one computation for equal work, suspect speech marked, repairs and
//! retention by the sweep, and keys that make a repeated request one request.
#![allow(clippy::unwrap_used)]

mod bed;

use bed::{Bed, Database, OWNER, rule, script, submission};
use engine::scripted::Act;
use jobs::clock::{Clock, SystemClock};
use jobs::retry::RetryError;
use jobs::sweep::{SweepConfig, sweep};
use jobs::worker::WorkerConfig;
use storage::BlobKey;
use storage::idempotency::{self, Claimed, IdempotencyKey};
use storage::leases::{Claim, Lost};
use uuid::Uuid;

on_both! {
    a_failed_generation_goes_on_where_it_stopped,
    a_cancelled_generation_can_be_taken_up_again,
    equal_chunks_in_flight_are_computed_once,
    equal_chunks_in_flight_in_two_processes_are_computed_once,
    an_equal_chunk_in_a_process_that_died_is_not_waited_for,
    suspect_speech_is_tried_again_then_marked,
    a_generation_without_jobs_is_mended,
    old_rows_and_orphan_blobs_go,
    a_key_makes_a_repeated_request_one_request,
    a_run_that_lost_its_lease_changes_nothing,
    everything_may_run_twice,
}

async fn a_failed_generation_goes_on_where_it_stopped(database: Database) {
    let bed = Bed::new(database, script(vec![rule("flaky", Act::Refuse, Some(1))])).await;
    let worker = bed.start_with(jobs::worker::WorkerConfig { cpu_slots: 1, ..bed.worker_config() }).await;
    let id = bed.submit(&["fine one", "flaky", "fine two"]).await;
    assert_eq!(bed.end_of(id).await.status, "failed");
    assert!(matches!(bed.jobs.retry("owner-b", id).await, Err(RetryError::NotFound(_))));
    assert_eq!(bed.jobs.retry(OWNER, id).await.unwrap().status, "queued");
    let job = bed.end_of(id).await;
    assert_eq!((job.status.as_str(), job.chunks_done, job.error), ("completed", 3, None));
    assert_eq!(bed.engine.calls(), 4, "the finished chunk is not made again");
    assert!(matches!(bed.jobs.retry(OWNER, id).await, Err(RetryError::NotFailed(_))));
    worker.stop(1_000).await;
}

async fn a_cancelled_generation_can_be_taken_up_again(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    let id = bed.submit(&["One.", "Two."]).await;
    bed.jobs.cancel(OWNER, id).await.unwrap();
    bed.jobs.retry(OWNER, id).await.unwrap();
    let worker = bed.start().await;
    assert_eq!(bed.end_of(id).await.status, "completed");
    worker.stop(1_000).await;
}

async fn equal_chunks_in_flight_are_computed_once(database: Database) {
    let bed = Bed::new(database, script(vec![rule("Same", Act::Slow { ms_per_step: 20 }, None)])).await;
    let first = bed.submit(&["Same words."]).await;
    let second = bed.submit(&["Same words."]).await;
    let worker = bed.start().await;
    bed.end_of(first).await;
    bed.end_of(second).await;
    assert_eq!(bed.engine.calls(), 1);
    worker.stop(1_000).await;
}

/// Two workers in one process share nothing but the database: each has a name, leases and turns of its own.
async fn equal_chunks_in_flight_in_two_processes_are_computed_once(database: Database) {
    let bed = Bed::new(database, script(vec![rule("Same", Act::Slow { ms_per_step: 20 }, None)])).await;
    let one_slot = || WorkerConfig { cpu_slots: 1, ..bed.worker_config() };
    let workers = [bed.start_node("node-a", one_slot()).await, bed.start_node("node-b", one_slot()).await];
    let mut asked = Vec::new();
    for round in 0..3 {
        let text = format!("Same words {round}, and enough of them to be spoken for a while.");
        asked.push(bed.submit(&[&text]).await);
        // Two that begin at the same moment may both compute; the second one here begins while the first one speaks.
        bed.calls_reach(round + 1).await;
        asked.push(bed.submit(&[&text]).await);
        for id in asked.drain(..) {
            assert_eq!(bed.end_of(id).await.status, "completed");
        }
    }
    assert_eq!(bed.engine.calls(), 3);
    for worker in workers {
        worker.stop(1_000).await;
    }
}

async fn an_equal_chunk_in_a_process_that_died_is_not_waited_for(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    let first = bed.submit(&["Same words."]).await;
    let now_ms = SystemClock.now_ms();
    let claim = Claim { queue: "cpu", lease_owner: "dead/1", now_ms, lease_until_ms: now_ms + 3_600_000, ageing_ms: 60_000 };
    let held = storage::leases::claim(&bed.storage.rows, &claim).await.unwrap().unwrap();
    assert_eq!(held.generation_id, Some(first));
    let second = bed.submit(&["Same words."]).await;
    let worker = bed.start().await;
    bed.until_status(OWNER, second, "running").await;
    assert_eq!(bed.engine.calls(), 0, "who began before is waited for");
    let mut tx = bed.storage.rows.begin().await.unwrap();
    storage::leases::take_back(&mut tx, Lost::OfProcess { lease_owner: "dead/1" }, 9, 0).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(bed.end_of(second).await.status, "completed");
    assert_eq!(bed.end_of(first).await.status, "completed");
    assert_eq!(bed.engine.calls(), 1);
    worker.stop(1_000).await;
}

async fn suspect_speech_is_tried_again_then_marked(database: Database) {
    let bed = Bed::new(database, script(vec![rule("mute once", Act::Silence, Some(1)), rule("always mute", Act::Silence, None)])).await;
    let worker = bed.start_with(jobs::worker::WorkerConfig { cpu_slots: 1, ..bed.worker_config() }).await;
    let id = bed.submit(&["mute once", "always mute", "never mute"]).await;
    assert_eq!(bed.end_of(id).await.status, "completed");
    let chunks = bed.jobs.chunks(OWNER, id, 0, 10).await.unwrap().unwrap();
    assert_eq!(chunks.iter().map(|chunk| chunk.suspect).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(bed.engine.calls(), 5);
    // A suspect chunk is no model for an equal one.
    bed.end_of(bed.submit(&["always mute"]).await).await;
    assert_eq!(bed.engine.calls(), 7);
    worker.stop(1_000).await;
}

async fn a_generation_without_jobs_is_mended(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    let id = bed.submit(&["One.", "Two."]).await;
    // As after a restored backup: open, and its jobs are gone.
    let mut tx = bed.storage.rows.begin().await.unwrap();
    storage::jobs::cancel_generation(&mut tx, id, "lost", 0).await.unwrap();
    tx.commit().await.unwrap();
    let mended = sweep(&bed.storage, &SweepConfig::default(), false, SystemClock.now_ms()).await.unwrap();
    assert_eq!(mended, 1);
    let worker = bed.start().await;
    assert_eq!(bed.end_of(id).await.status, "completed");
    worker.stop(1_000).await;
}

async fn old_rows_and_orphan_blobs_go(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    let worker = bed.start().await;
    let id = bed.submit(&["One."]).await;
    bed.end_of(id).await;
    worker.stop(1_000).await;
    let orphan = Uuid::now_v7();
    let key = BlobKey::Chunk { generation_id: orphan, index: 0, take: 1 };
    bed.storage.blobs.put(key, "orphan".into()).await.unwrap();
    let later_ms = SystemClock.now_ms() + 30 * 24 * 60 * 60 * 1_000;
    sweep(&bed.storage, &SweepConfig::default(), true, SystemClock.now_ms()).await.unwrap();
    assert!(bed.storage.blobs.get(key).await.is_ok(), "too young to be called an orphan");
    assert!(!bed.events(OWNER).await.is_empty());
    sweep(&bed.storage, &SweepConfig::default(), true, later_ms).await.unwrap();
    assert!(bed.storage.blobs.get(key).await.is_err());
    assert!(bed.events(OWNER).await.is_empty());
    let range = storage::events::seq_range(bed.storage.rows.read()).await.unwrap();
    assert_eq!(range.oldest, range.last + 1, "numbers go on where they were");
    assert_eq!(bed.job(id).await.status, "completed", "the generation stays");
    assert!(bed.storage.blobs.get(BlobKey::Chunk { generation_id: id, index: 0, take: 1 }).await.is_ok());
}

async fn a_key_makes_a_repeated_request_one_request(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    let key = IdempotencyKey { api_key_id: "k".into(), key: "once".into() };
    let claim = async |hash: &str, process: &str, now_ms| {
        let mut tx = bed.storage.rows.begin().await.unwrap();
        let claimed = idempotency::claim(&mut tx, &key, hash, process, now_ms).await.unwrap();
        tx.commit().await.unwrap();
        claimed
    };
    assert_eq!(claim("hash", "a/1", 0).await, Claimed::New);
    assert_eq!(claim("hash", "a/1", 1_000_000).await, Claimed::InFlight);
    assert_eq!(claim("other", "a/1", 0).await, Claimed::Mismatch);
    assert_eq!(claim("hash", "b/1", 10_000).await, Claimed::InFlight);
    assert_eq!(claim("hash", "b/1", 70_000).await, Claimed::New, "its node has been silent for long");
    assert_eq!(claim("hash", "b/2", 70_001).await, Claimed::New, "we have the seat of its process");
    let mut accepted = submission(&["One."]);
    accepted.idempotency = Some(key.clone());
    let job_id = bed.jobs.submit(OWNER, accepted).await.unwrap().id;
    assert_eq!(claim("hash", "c/1", 70_002).await, Claimed::Accepted { job_id }, "a crash before the answer must not lose the job");
    let mut tx = bed.storage.rows.begin().await.unwrap();
    idempotency::store_answer(&mut tx, &key, 202, "{}").await.unwrap();
    idempotency::release(&mut tx, &key).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(claim("hash", "c/1", 70_002).await, Claimed::Answered { status: 202, answer: "{}".into() });
}

async fn a_run_that_lost_its_lease_changes_nothing(database: Database) {
    let bed = Bed::new(database, script(vec![rule("slow", Act::Slow { ms_per_step: 30 }, None)])).await;
    let worker = bed.start().await;
    let id = bed.submit(&["slow words"]).await;
    bed.calls_reach(1).await;
    // Somebody takes the job away in the middle of the run, as after a SIGSTOP of ours.
    let mut tx = bed.storage.rows.begin().await.unwrap();
    let lost = storage::leases::Lost::Expired { now_ms: i64::MAX };
    assert_eq!(storage::leases::take_back(&mut tx, lost, 9, 0).await.unwrap().len(), 1);
    tx.commit().await.unwrap();
    let job = bed.end_of(id).await;
    assert_eq!((job.status.as_str(), job.chunks_done), ("completed", 1));
    let ready = bed.told().await.iter().filter(|kind| *kind == "chunk.ready 0").count();
    assert_eq!(ready, 1, "the first run was fenced off");
    worker.stop(1_000).await;
}

async fn everything_may_run_twice(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    let worker = bed.start().await;
    let id = bed.submit(&["One.", "Two.", "Three."]).await;
    let before = bed.end_of(id).await;
    let (chunks, events) = (bed.jobs.chunks(OWNER, id, 0, 10).await.unwrap(), bed.events(OWNER).await);
    let render = storage::renders::newest(bed.storage.rows.read(), id).await.unwrap();
    // Every job of it again, as if the acknowledgements had been lost.
    assert_eq!(storage::jobs::run_again(&bed.storage.rows, id).await.unwrap(), 4);
    bed.until_idle().await;
    assert_eq!(bed.job(id).await, before);
    assert_eq!(bed.jobs.chunks(OWNER, id, 0, 10).await.unwrap(), chunks);
    assert_eq!(bed.events(OWNER).await, events);
    assert_eq!(storage::renders::newest(bed.storage.rows.read(), id).await.unwrap(), render);
    worker.stop(1_000).await;
}
