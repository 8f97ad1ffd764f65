//! Chunks made again: a new take beside the old ones, what the next merge uses, what is stale, and what a failure costs.
#![allow(clippy::unwrap_used)]

mod bed;

use bed::{Bed, Database, OWNER, rule, script};
use engine::scripted::Act;
use jobs::submission::{MergeOptions, MergeOrder, RegenerateOrder, SubmitError, TraceContext};
use jobs::view::{CancelOutcome, ChunkView, JobView};
use uuid::Uuid;

on_both! {
    a_new_take_stands_beside_the_old_one_and_makes_the_file_stale,
    a_take_that_replaces_leaves_no_other,
    a_chunk_that_is_not_finished_is_not_made_again,
    a_take_that_fails_fails_alone,
    a_cancelled_take_can_be_asked_for_again,
    a_take_outlives_its_worker,
    what_does_not_fit_is_refused_with_its_field,
}

fn order(task_id: Uuid, index: u32, text: &str) -> RegenerateOrder {
    RegenerateOrder {
        task_id,
        index,
        text: (!text.is_empty()).then(|| text.to_owned()),
        voice_id: None,
        language: None,
        seed: None,
        instruct: None,
        keep_previous: true,
        idempotency: None,
        trace: TraceContext::default(),
    }
}

async fn chunks(bed: &Bed, id: Uuid) -> Vec<ChunkView> {
    bed.jobs.chunks(OWNER, id, 0, 100).await.unwrap().unwrap()
}

fn takes(chunks: &[ChunkView], index: u32) -> Vec<(u32, &str, &str)> {
    chunks.iter().filter(|chunk| chunk.index == index).map(|chunk| (chunk.take, chunk.status.as_str(), chunk.text.as_str())).collect()
}

async fn merge(bed: &Bed, task_id: Uuid, options: MergeOptions) -> JobView {
    let order = MergeOrder { task_id, options, idempotency: None, trace: TraceContext::default() };
    let job = bed.jobs.request_merge(OWNER, order).await.unwrap();
    bed.end_of(job.id).await
}

async fn a_new_take_stands_beside_the_old_one_and_makes_the_file_stale(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    let worker = bed.start().await;
    let id = bed.submit(&["One.", "Two.", "Three."]).await;
    bed.end_of(id).await;
    assert_eq!(bed.jobs.audio_is_stale(id).await.unwrap(), Some(false));

    let job = bed.jobs.regenerate_chunk(OWNER, order(id, 1, "Two, said longer.")).await.unwrap();
    assert_eq!((job.kind.as_str(), job.generation_id), ("generate.regenerate_chunk", Some(id)));
    let job = bed.end_of(job.id).await;
    let result = job.result.unwrap();
    assert_eq!((result["index"].as_u64(), result["take"].as_u64()), (Some(1), Some(2)));
    let all = chunks(&bed, id).await;
    assert_eq!(takes(&all, 1), [(1, "completed", "Two."), (2, "completed", "Two, said longer.")]);
    let generation = bed.job(id).await;
    assert_eq!((generation.status.as_str(), generation.chunks_done, generation.chunks_total), ("completed", 3, 3));
    assert_eq!(bed.jobs.audio_is_stale(id).await.unwrap(), Some(true));
    let ready = bed.events(OWNER).await.into_iter().rfind(|event| event.kind == "chunk.ready").unwrap();
    assert_eq!((ready.data["take"].as_u64(), ready.data["chunks_done"].as_u64()), (Some(2), Some(3)));

    let merged = merge(&bed, id, MergeOptions::default()).await;
    assert_eq!(merged.result.unwrap()["chunks"][1]["take"], 2);
    assert_eq!(bed.jobs.audio_is_stale(id).await.unwrap(), Some(false));
    // An old take that was asked for is what was wanted.
    let merged = merge(&bed, id, MergeOptions { takes: [(1, 1)].into(), order: vec![2, 1], ..MergeOptions::default() }).await;
    let result = merged.result.unwrap();
    assert_eq!((&result["chunks"][0]["index"], &result["chunks"][1]["take"]), (&2.into(), &1.into()));
    assert_eq!(bed.jobs.audio_is_stale(id).await.unwrap(), Some(false));
    worker.stop(1_000).await;
}

async fn a_take_that_replaces_leaves_no_other(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    let worker = bed.start().await;
    let id = bed.submit(&["One.", "Two."]).await;
    bed.end_of(id).await;
    let job = bed.jobs.regenerate_chunk(OWNER, RegenerateOrder { keep_previous: false, ..order(id, 0, "Another.") }).await.unwrap();
    bed.end_of(job.id).await;
    assert_eq!(takes(&chunks(&bed, id).await, 0), [(2, "completed", "Another.")]);
    let old = storage::BlobKey::Chunk { generation_id: id, index: 0, take: 1 };
    // The blob goes after the commit that the job's end was seen by.
    worker.stop(1_000).await;
    assert!(matches!(bed.storage.blobs.get(old).await, Err(storage::StorageError::BlobNotFound(_))));
    assert_eq!(bed.jobs.audio_is_stale(id).await.unwrap(), Some(true));
}

async fn a_chunk_that_is_not_finished_is_not_made_again(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    let id = bed.submit(&["One."]).await;
    let refused = bed.jobs.regenerate_chunk(OWNER, order(id, 0, "")).await.unwrap_err();
    assert!(matches!(refused, SubmitError::ChunkBusy { index: 0, take: 1 }), "{refused}");
    let worker = bed.start().await;
    bed.end_of(id).await;
    worker.stop(1_000).await;
    bed.jobs.regenerate_chunk(OWNER, order(id, 0, "")).await.unwrap();
    let refused = bed.jobs.regenerate_chunk(OWNER, order(id, 0, "")).await.unwrap_err();
    assert!(matches!(refused, SubmitError::ChunkBusy { index: 0, take: 2 }), "{refused}");
}

async fn a_take_that_fails_fails_alone(database: Database) {
    let bed = Bed::new(database, script(vec![rule("hopeless", Act::Refuse, None)])).await;
    let worker = bed.start().await;
    let id = bed.submit(&["One.", "Two."]).await;
    bed.end_of(id).await;
    let job = bed.jobs.regenerate_chunk(OWNER, order(id, 1, "hopeless")).await.unwrap();
    let job = bed.end_of(job.id).await;
    assert_eq!(job.status, "failed");
    assert_eq!(bed.job(id).await.status, "completed");
    assert_eq!(takes(&chunks(&bed, id).await, 1), [(1, "completed", "Two."), (2, "failed", "hopeless")]);
    assert_eq!(bed.jobs.audio_is_stale(id).await.unwrap(), Some(false), "there is no newer take to hear");
    let next = bed.jobs.regenerate_chunk(OWNER, order(id, 1, "Better.")).await.unwrap();
    assert_eq!(bed.end_of(next.id).await.status, "completed");
    worker.stop(1_000).await;
}

async fn a_cancelled_take_can_be_asked_for_again(database: Database) {
    let bed = Bed::new(database, script(vec![rule("slowly", Act::Slow { ms_per_step: 20 }, None)])).await;
    let worker = bed.start().await;
    let id = bed.submit(&["One."]).await;
    bed.end_of(id).await;
    let calls = bed.engine.calls();
    let running = bed.jobs.regenerate_chunk(OWNER, order(id, 0, "slowly, slowly, slowly, and then some more")).await.unwrap();
    bed.calls_reach(calls + 1).await;
    assert_ne!(bed.jobs.cancel(OWNER, running.id).await.unwrap(), CancelOutcome::NotFound);
    assert_eq!(bed.end_of(running.id).await.status, "cancelled");
    worker.stop(1_000).await;
    let waiting = bed.jobs.regenerate_chunk(OWNER, order(id, 0, "Another.")).await.unwrap();
    assert_eq!(bed.jobs.cancel(OWNER, waiting.id).await.unwrap(), CancelOutcome::Cancelled);
    bed.jobs.regenerate_chunk(OWNER, order(id, 0, "The last.")).await.unwrap();
    let all = chunks(&bed, id).await;
    let statuses: Vec<_> = takes(&all, 0).into_iter().map(|(take, status, _)| (take, status)).collect();
    assert_eq!(statuses, [(1, "completed"), (2, "cancelled"), (3, "cancelled"), (4, "queued")]);
    assert_eq!(bed.job(id).await.status, "completed");
}

async fn a_take_outlives_its_worker(database: Database) {
    let bed = Bed::new(database, script(vec![rule("slowly", Act::Slow { ms_per_step: 20 }, Some(1))])).await;
    let worker = bed.start().await;
    let id = bed.submit(&["One."]).await;
    bed.end_of(id).await;
    let calls = bed.engine.calls();
    let job = bed.jobs.regenerate_chunk(OWNER, order(id, 0, "slowly, slowly, slowly, and then some more")).await.unwrap();
    bed.calls_reach(calls + 1).await;
    worker.stop(0).await;
    let worker = bed.start().await;
    assert_eq!(bed.end_of(job.id).await.status, "completed");
    assert_eq!(bed.job(id).await.status, "completed");
    worker.stop(1_000).await;
}

async fn what_does_not_fit_is_refused_with_its_field(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    let worker = bed.start().await;
    let id = bed.submit(&["One."]).await;
    bed.end_of(id).await;
    let refused = async |order: RegenerateOrder| bed.jobs.regenerate_chunk(OWNER, order).await.unwrap_err();
    let SubmitError::Invalid(errors) = refused(order(id, 0, "   ")).await else { panic!() };
    assert_eq!(errors[0].field, "text");
    let nobody = RegenerateOrder { voice_id: Some("nobody".into()), ..order(id, 0, "") };
    assert!(matches!(refused(nobody).await, SubmitError::VoiceNotFound(name) if name == "nobody"));
    assert!(matches!(refused(order(id, 7, "")).await, SubmitError::ChunkNotFound { index: 7, .. }));
    assert!(matches!(refused(order(Uuid::now_v7(), 0, "")).await, SubmitError::TaskNotFound(_)));
    let other = bed.jobs.regenerate_chunk("owner-b", order(id, 0, "")).await.unwrap_err();
    assert!(matches!(other, SubmitError::TaskNotFound(_)));
    let elias = RegenerateOrder { voice_id: Some("elias".into()), ..order(id, 0, "") };
    let job = bed.jobs.regenerate_chunk(OWNER, elias).await.unwrap();
    assert_eq!(bed.end_of(job.id).await.status, "completed");
    assert_eq!(chunks(&bed, id).await[1].voice_id, "elias");
    worker.stop(1_000).await;
}
