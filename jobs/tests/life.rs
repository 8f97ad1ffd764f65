//! The life of a generation in one process: done, failed, retried, cancelled, snoozed, taken back; and that each is told once.
#![allow(clippy::unwrap_used)]

mod bed;

use bed::{Bed, Database, OWNER, rule, script, submission};
use engine::scripted::{Act, Script};
use jobs::submission::{Source, SubmitError};
use jobs::view::CancelOutcome;
use storage::BlobKey;
use storage::leases::{Claim, Lost};

on_both! {
    chunks_are_spoken_once_then_merged,
    an_equal_chunk_is_copied_not_made_again,
    failures_and_panics_cost_an_attempt_of_one_chunk,
    a_chunk_without_hope_fails_its_generation_and_nobody_else,
    attempts_end,
    a_waiting_generation_is_cancelled_at_once,
    a_running_generation_stops_and_says_so_once,
    a_run_that_does_not_listen_is_abandoned,
    a_stop_puts_running_jobs_back_without_spending_an_attempt,
    jobs_of_a_dead_process_of_this_node_are_taken_back_at_the_start,
    the_third_dead_worker_is_the_last,
    requests_that_can_not_be_done_are_refused_with_the_field,
}

async fn chunks_are_spoken_once_then_merged(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    let id = bed.submit(&["One.", "Two.", "Three."]).await;
    let worker = bed.start().await;
    let job = bed.end_of(id).await;
    assert_eq!((job.status.as_str(), job.chunks_done, job.progress), ("completed", 3, 1.0));
    assert_eq!(bed.engine.calls(), 3);
    let mut told = bed.told().await;
    told.sort();
    assert_eq!(told, ["chunk.ready 0", "chunk.ready 1", "chunk.ready 2", "job.completed", "job.merging", "job.queued", "job.started"]);
    let render = storage::renders::newest(bed.storage.rows.read(), id).await.unwrap().unwrap();
    let part = storage::blobs::RenderPart::Wav;
    let wav = bed.storage.blobs.get(BlobKey::Render { generation_id: id, render_id: render.id, part }).await.unwrap();
    assert_eq!(wav.len() as u64, render.blob.size_bytes);
    let part = storage::blobs::RenderPart::Srt;
    let srt = bed.storage.blobs.get(BlobKey::Render { generation_id: id, render_id: render.id, part }).await.unwrap();
    let srt = std::str::from_utf8(&srt).unwrap();
    assert!(srt.starts_with("1\n00:00:00,0") && srt.contains("Three."), "{srt}");
    assert!(job.result.unwrap()["loudness"]["integrated_lufs"].as_f64().is_some());
    worker.stop(1_000).await;
}

async fn an_equal_chunk_is_copied_not_made_again(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    let worker = bed.start().await;
    let first = bed.submit(&["Same words."]).await;
    bed.end_of(first).await;
    let second = bed.submit(&["Same words."]).await;
    bed.end_of(second).await;
    assert_eq!(bed.engine.calls(), 1);
    let chunks = bed.jobs.chunks(OWNER, second, 0, 10).await.unwrap().unwrap();
    assert!(chunks[0].cached);
    let other = bed.submit_as("owner-b", 0, &["Same words."]).await;
    bed.jobs.wait("owner-b", other, 30_000).await.unwrap();
    assert_eq!(bed.engine.calls(), 2, "another owner's chunk must not be used");
    worker.stop(1_000).await;
}

async fn failures_and_panics_cost_an_attempt_of_one_chunk(database: Database) {
    let bed = Bed::new(
        database,
        script(vec![rule("flaky", Act::Fail, Some(1)), rule("nervous", Act::Panic, Some(1)), rule("greedy", Act::OutOfMemory, Some(1))]),
    )
    .await;
    let worker = bed.start().await;
    let id = bed.submit(&["flaky", "nervous", "greedy", "calm"]).await;
    assert_eq!(bed.end_of(id).await.status, "completed");
    assert_eq!(bed.engine.calls(), 7);
    let failed: Vec<_> = bed.events(OWNER).await.into_iter().filter(|event| event.kind == "chunk.failed").collect();
    assert_eq!(failed.len(), 3);
    assert!(failed.iter().all(|event| event.data["will_retry"] == true && event.data["attempt"] == 1));
    worker.stop(1_000).await;
}

async fn a_chunk_without_hope_fails_its_generation_and_nobody_else(database: Database) {
    let bed =
        Bed::new(database, script(vec![rule("hopeless", Act::Refuse, None), rule("slow", Act::Slow { ms_per_step: 20 }, None)])).await;
    let worker = bed.start().await;
    let bad = bed.submit(&["hopeless", "slow one", "slow two", "slow three", "slow four"]).await;
    let good = bed.submit(&["fine"]).await;
    let job = bed.end_of(bad).await;
    assert_eq!(job.status, "failed");
    let error = job.error.unwrap();
    assert_eq!((error.code.as_str(), error.chunk_index), ("chunk_failed", Some(0)));
    assert_eq!(bed.end_of(good).await.status, "completed");
    let told = bed.told().await;
    assert_eq!(told.iter().filter(|kind| *kind == "job.failed").count(), 1);
    assert!(!told.contains(&"job.cancelled".to_string()), "a failure is not a cancel");
    worker.stop(1_000).await;
}

async fn attempts_end(database: Database) {
    let bed = Bed::new(database, script(vec![rule("never", Act::Fail, None)])).await;
    let worker = bed.start().await;
    let id = bed.submit(&["never"]).await;
    assert_eq!(bed.end_of(id).await.status, "failed");
    assert_eq!(bed.engine.calls(), 3);
    worker.stop(1_000).await;
}

async fn a_waiting_generation_is_cancelled_at_once(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    let id = bed.submit(&["One.", "Two."]).await;
    assert_eq!(bed.jobs.cancel(OWNER, id).await.unwrap(), CancelOutcome::Cancelled);
    assert_eq!(bed.jobs.cancel(OWNER, id).await.unwrap(), CancelOutcome::AlreadyFinal);
    assert_eq!(bed.jobs.cancel("owner-b", id).await.unwrap(), CancelOutcome::NotFound);
    let worker = bed.start().await;
    let other = bed.submit(&["Three."]).await;
    bed.end_of(other).await;
    assert_eq!(bed.engine.calls(), 1);
    worker.stop(1_000).await;
}

async fn a_running_generation_stops_and_says_so_once(database: Database) {
    let bed = Bed::new(database, script(vec![rule("stall", Act::Stall, None)])).await;
    let worker = bed.start().await;
    let id = bed.submit(&["stall one", "stall two", "never spoken"]).await;
    bed.calls_reach(2).await;
    assert_eq!(bed.jobs.cancel(OWNER, id).await.unwrap(), CancelOutcome::Cancelling);
    assert_eq!(bed.end_of(id).await.status, "cancelled");
    bed.until(|| bed.engine.busy() == 0).await;
    assert_eq!(bed.engine.calls(), 2);
    assert_eq!(bed.told().await, ["job.queued", "job.started", "job.cancelled"]);
    worker.stop(1_000).await;
}

async fn a_run_that_does_not_listen_is_abandoned(database: Database) {
    let bed = Bed::new(database, script(vec![rule("deaf", Act::Hang { ms: 3_000 }, Some(1))])).await;
    let worker = bed.start().await;
    let id = bed.submit(&["deaf"]).await;
    bed.calls_reach(1).await;
    bed.jobs.cancel(OWNER, id).await.unwrap();
    assert_eq!(bed.end_of(id).await.status, "cancelled");
    worker.stop(1_000).await;
}

async fn a_stop_puts_running_jobs_back_without_spending_an_attempt(database: Database) {
    let bed = Bed::new(database, script(vec![rule("stall", Act::Stall, Some(1))])).await;
    let worker = bed.start().await;
    let id = bed.submit(&["stall once"]).await;
    bed.calls_reach(1).await;
    worker.stop(1).await;
    let mut tx = bed.storage.rows.begin().await.unwrap();
    assert_eq!(storage::jobs::count_running(&mut tx, id).await.unwrap(), 0);
    drop(tx);
    let claim = Claim { queue: "cpu", lease_owner: "test/1", now_ms: i64::MAX / 4, lease_until_ms: i64::MAX / 2, ageing_ms: 60_000 };
    let job = storage::leases::claim(&bed.storage.rows, &claim).await.unwrap().unwrap();
    assert_eq!((job.attempt, job.crashes), (1, 0), "this claim is the first attempt that counts");
}

async fn jobs_of_a_dead_process_of_this_node_are_taken_back_at_the_start(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    let id = bed.submit(&["One.", "Two."]).await;
    let former = format!("{}/former", bed.node_id);
    let claim = Claim { queue: "cpu", lease_owner: &former, now_ms: i64::MAX / 4, lease_until_ms: i64::MAX / 2, ageing_ms: 60_000 };
    let lost = storage::leases::claim(&bed.storage.rows, &claim).await.unwrap().unwrap();
    let other = Claim { lease_owner: "node-b/1", ..claim };
    let theirs = storage::leases::claim(&bed.storage.rows, &other).await.unwrap().unwrap();
    let worker = bed.start().await;
    bed.until(|| bed.engine.calls() >= 1).await;
    bed.told_of("chunk.ready").await;
    let mut tx = bed.storage.rows.begin().await.unwrap();
    assert!(!storage::leases::holds(&mut tx, lost.fence).await.unwrap(), "the former process must not be able to commit");
    assert!(storage::leases::holds(&mut tx, theirs.fence).await.unwrap(), "another node's lease is its own");
    // Now that node falls silent.
    let taken = storage::leases::take_back(&mut tx, Lost::Expired { now_ms: i64::MAX / 2 + 1 }, 3, 0).await.unwrap();
    assert_eq!(taken.len(), 1);
    tx.commit().await.unwrap();
    assert_eq!(bed.end_of(id).await.status, "completed");
    worker.stop(1_000).await;
}

async fn the_third_dead_worker_is_the_last(database: Database) {
    let bed = Bed::new(database, Script::default()).await;
    let id = bed.submit(&["Poison.", "Neighbour."]).await;
    for round in 1..=3 {
        let owner = format!("{}/{round}", bed.node_id);
        let claim = Claim { queue: "cpu", lease_owner: &owner, now_ms: i64::MAX / 4, lease_until_ms: i64::MAX / 2, ageing_ms: 60_000 };
        storage::leases::claim(&bed.storage.rows, &claim).await.unwrap().unwrap();
        // A start of the node takes it back.
        let worker = bed.start_with(jobs::worker::WorkerConfig { cpu_slots: 1, ..bed.worker_config() });
        if round < 3 {
            // Stopped before it can claim: only the take-back matters here.
            let mut tx = bed.storage.rows.begin().await.unwrap();
            let lost = Lost::OfNode { node_id: &bed.node_id, except_owner: "" };
            assert_eq!(storage::leases::take_back(&mut tx, lost, 3, 0).await.unwrap()[0].crashes, round);
            tx.commit().await.unwrap();
            drop(worker);
            continue;
        }
        let worker = worker.await;
        let job = bed.end_of(id).await;
        assert_eq!((job.status.as_str(), job.error.unwrap().code.as_str()), ("failed", "worker_crashed"));
        let other = bed.submit(&["Somebody else's."]).await;
        assert_eq!(bed.end_of(other).await.status, "completed");
        worker.stop(1_000).await;
    }
}

async fn requests_that_can_not_be_done_are_refused_with_the_field(database: Database) {
    let bed =
        Bed::new(database, Script { missing: Some(("espeak-ng".into(), "apt-get install espeak-ng".into())), ..Script::default() }).await;
    let refused = bed.jobs.submit(OWNER, submission(&["One."])).await;
    assert!(matches!(refused, Err(SubmitError::EngineUnavailable { command, .. }) if command.contains("apt-get")));

    let bed = Bed::new(database, Script::default()).await;
    let mut wrong = submission(&["One.", "  "]);
    wrong.options.speed = 9.0;
    let Err(SubmitError::Invalid(errors)) = bed.jobs.submit(OWNER, wrong).await else { panic!("accepted") };
    let fields: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(fields, ["speed", "chunks[1].text"]);
    let mut unknown = submission(&["One."]);
    unknown.voice_id = Some("nobody".into());
    assert!(matches!(bed.jobs.submit(OWNER, unknown).await, Err(SubmitError::VoiceNotFound(id)) if id == "nobody"));
    let mut empty = submission(&[]);
    empty.source = Source::Text(" \n ".into());
    assert!(matches!(bed.jobs.submit(OWNER, empty).await, Err(SubmitError::Invalid(_))));
    assert!(bed.events(OWNER).await.is_empty());
}
