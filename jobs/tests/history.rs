//! What was spoken, found again by its words, kept in montages, and deleted: on both databases.
#![allow(clippy::unwrap_used)]

mod bed;

use bed::{Bed, Database, OWNER, rule, script, submission};
use engine::scripted::Act;
use jobs::delete::DeleteOutcome;
use jobs::montages::{MontageError, MontageInput};
use jobs::submission::{MergeOptions, MergeOrder, Submission, SubmitError, TraceContext};
use jobs::sweep::{SweepConfig, sweep};
use storage::chunks::ChunkId;
use storage::generations::{self, GenerationFilter, GenerationStatus};
use storage::idempotency::{self, Claimed, IdempotencyKey};
use storage::leases::Claim;
use storage::{BlobKey, search};
use uuid::Uuid;

on_both! {
    all_words_must_occur_in_title_text_or_voice,
    filters_narrow_pages_and_totals_alike,
    a_deleted_generation_leaves_nothing,
    an_open_one_is_deleted_by_force_only,
    a_worker_that_comes_late_commits_nothing,
    a_merge_by_hand_keeps_its_generation,
    a_stop_between_rows_and_blobs_leaves_nothing_reachable,
    a_key_used_for_a_deleted_generation_tells_no_text,
    montages_keep_their_order,
    a_montage_is_changed_only_as_it_was_seen,
    a_generation_is_accepted_into_a_montage,
}

async fn found(bed: &Bed, query: &str) -> Vec<Uuid> {
    let filter = GenerationFilter { words: search::words(query), ..GenerationFilter::of_owner(OWNER) };
    let (views, total) = bed.jobs.list(&filter, None, 100).await.unwrap();
    assert_eq!(total, views.len() as i64);
    let mut ids: Vec<Uuid> = views.iter().map(|view| view.id).collect();
    ids.reverse();
    ids
}

async fn titled(bed: &Bed, title: &str, text: &str) -> Uuid {
    bed.jobs.submit(OWNER, Submission { title: Some(title.into()), ..submission(&[text]) }).await.unwrap().id
}

async fn all_words_must_occur_in_title_text_or_voice(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    let storm = titled(&bed, "Der Sturm", "Die MÜLLERIN ging über die Straße.").await;
    let sale = titled(&bed, "100% off_er", "A back\\slash and a 100 percent offer.").await;
    let snow = titled(&bed, "雪国", "国境の長いトンネルを抜けると雪国であった。").await;
    bed.submit_as("owner-b", 0, &["Die Müllerin."]).await;
    for (query, expected) in [
        ("müllerin", vec![storm]),
        ("STURM strasse", vec![storm]),
        ("mullerin", vec![storm]),
        ("Mu\u{308}llerin", vec![storm]),
        ("sturm schnee", vec![]),
        ("100%", vec![sale]),
        ("off_er", vec![sale]),
        ("off%er", vec![]),
        ("back\\slash", vec![sale]),
        ("長いトンネル", vec![snow]),
        ("雪国 国境", vec![snow]),
        ("nora", vec![storm, sale, snow]),
        ("nora ÜBER", vec![storm]),
        ("", vec![storm, sale, snow]),
        ("'; DROP TABLE generations; --", vec![]),
    ] {
        assert_eq!(found(&bed, query).await, expected, "{query}");
    }
}

async fn filters_narrow_pages_and_totals_alike(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    let mut ids = Vec::new();
    for round in 0..7 {
        ids.push(titled(&bed, &format!("Round {round}"), "Text.").await);
    }
    bed.jobs.cancel(OWNER, ids[3]).await.unwrap();
    let of = |change: fn(&mut GenerationFilter)| {
        let mut filter = GenerationFilter::of_owner(OWNER);
        change(&mut filter);
        filter
    };
    let count = async |filter: GenerationFilter| {
        let (views, total) = bed.jobs.list(&filter, None, 100).await.unwrap();
        assert_eq!(views.len() as i64, total);
        total
    };
    assert_eq!(count(of(|filter| filter.status = Some(GenerationStatus::Queued))).await, 6);
    assert_eq!(count(of(|filter| filter.voice_id = Some("nora".into()))).await, 7);
    assert_eq!(count(of(|filter| filter.voice_id = Some("elias".into()))).await, 0);
    assert_eq!(count(of(|filter| filter.kind = Some("generate.preset".into()))).await, 0);
    assert_eq!(count(of(|filter| filter.to_ms = Some(1))).await, 0);
    assert_eq!(count(of(|filter| filter.words = search::words("round 3"))).await, 1);
    // Pages: each once, newest first, with the total of all pages.
    let filter = GenerationFilter::of_owner(OWNER);
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let (page, total) = bed.jobs.list(&filter, before, 3).await.unwrap();
        assert_eq!(total, 7);
        before = page.last().map(|view| view.id);
        seen.extend(page.iter().map(|view| view.id));
        if page.is_empty() {
            break;
        }
    }
    ids.reverse();
    assert_eq!(seen, ids);
}

async fn is_gone(bed: &Bed, id: Uuid) {
    let pool = bed.storage.rows.read();
    assert!(generations::find(pool, id).await.unwrap().is_none());
    assert!(bed.jobs.job(OWNER, id).await.unwrap().is_none());
    assert!(storage::chunks::list(pool, id, 0, 10).await.unwrap().is_empty());
    assert!(storage::renders::newest(pool, id).await.unwrap().is_none());
    assert!(storage::montages::of_generation(pool, id).await.unwrap().is_empty());
}

async fn a_deleted_generation_leaves_nothing(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    let worker = bed.start().await;
    let original = bed.submit(&["The same words.", "And others."]).await;
    bed.end_of(original).await;
    let copy = bed.submit(&["The same words."]).await;
    bed.end_of(copy).await;
    assert_eq!(bed.engine.calls(), 2, "the copy was copied");
    assert_eq!(bed.jobs.delete_generation("owner-b", original, true).await.unwrap(), DeleteOutcome::NotFound);
    assert_eq!(bed.jobs.delete_generation(OWNER, original, false).await.unwrap(), DeleteOutcome::Deleted);
    is_gone(&bed, original).await;
    assert_eq!(bed.storage.blobs.delete_generation(original).await.unwrap(), 0, "no blob was left");
    let key = BlobKey::Chunk { generation_id: copy, index: 0, take: 1 };
    let chunk = storage::chunks::find(bed.storage.rows.read(), ChunkId { generation_id: copy, index: 0, take: 1 }).await.unwrap().unwrap();
    bed.storage.blobs.get_verified(key, &chunk.audio.unwrap().blob).await.unwrap();
    assert_eq!(found(&bed, "others").await, Vec::<Uuid>::new());
    let told = bed.events(OWNER).await;
    let last = told.last().unwrap();
    assert_eq!((last.kind.as_str(), last.generation_id), ("generation.deleted", Some(original)));
    assert!(!told.iter().any(|event| event.kind == "job.cancelled"), "it had ended");
    assert_eq!(bed.jobs.delete_generation(OWNER, original, true).await.unwrap(), DeleteOutcome::NotFound);
    worker.stop(1_000).await;
}

async fn an_open_one_is_deleted_by_force_only(database: Database) {
    let bed = Bed::new(database, script(vec![rule("endless", Act::Stall, None)])).await;
    let worker = bed.start().await;
    let id = bed.submit(&["endless one", "endless two", "endless three"]).await;
    bed.calls_reach(1).await;
    assert_eq!(bed.jobs.delete_generation(OWNER, id, false).await.unwrap(), DeleteOutcome::StillOpen);
    assert_eq!(bed.job(id).await.status, "running", "nothing of it was cancelled");
    assert_eq!(bed.jobs.delete_generation(OWNER, id, true).await.unwrap(), DeleteOutcome::Deleted);
    is_gone(&bed, id).await;
    let told = bed.told().await;
    assert_eq!(told[told.len() - 2..], ["job.cancelled", "generation.deleted"]);
    // The engines that it held are free again.
    let next = bed.submit(&["calm"]).await;
    assert_eq!(bed.end_of(next).await.status, "completed");
    bed.until_idle().await;
    assert!(!bed.told().await.iter().any(|event| event.starts_with("chunk.failed")));
    worker.stop(1_000).await;
}

/// A worker elsewhere holds a chunk while its generation is deleted.
async fn a_worker_that_comes_late_commits_nothing(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    let id = bed.submit(&["One."]).await;
    let claim = Claim { queue: "cpu", lease_owner: "node-b/1", now_ms: i64::MAX / 4, lease_until_ms: i64::MAX / 2, ageing_ms: 60_000 };
    let held = storage::leases::claim(&bed.storage.rows, &claim).await.unwrap().unwrap();
    assert_eq!(bed.jobs.delete_generation(OWNER, id, false).await.unwrap(), DeleteOutcome::StillOpen);
    assert_eq!(bed.jobs.delete_generation(OWNER, id, true).await.unwrap(), DeleteOutcome::Deleted);
    let mut tx = bed.storage.rows.begin().await.unwrap();
    assert!(!storage::leases::holds(&mut tx, held.fence).await.unwrap());
    assert!(!storage::leases::finish(&mut tx, held.fence, None, 1).await.unwrap());
    assert!(!storage::leases::retry_at(&mut tx, held.fence, "late", 1).await.unwrap());
    tx.commit().await.unwrap();
    is_gone(&bed, id).await;
}

async fn a_merge_by_hand_keeps_its_generation(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    let worker = bed.start().await;
    let id = bed.submit(&["One."]).await;
    bed.end_of(id).await;
    worker.stop(1_000).await;
    let order = MergeOrder { task_id: id, options: MergeOptions::default(), idempotency: None, trace: TraceContext::default() };
    let merge = bed.jobs.request_merge(OWNER, order).await.unwrap().id;
    assert_eq!(bed.jobs.delete_generation(OWNER, id, false).await.unwrap(), DeleteOutcome::StillOpen);
    assert_eq!(bed.job(merge).await.status, "queued");
    assert_eq!(bed.jobs.delete_generation(OWNER, id, true).await.unwrap(), DeleteOutcome::Deleted);
    is_gone(&bed, id).await;
    assert!(bed.jobs.job(OWNER, merge).await.unwrap().is_none(), "its jobs go with it");
}

async fn a_stop_between_rows_and_blobs_leaves_nothing_reachable(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    let worker = bed.start().await;
    let id = bed.submit(&["One."]).await;
    bed.end_of(id).await;
    worker.stop(1_000).await;
    // What `delete_generation` has done when the power goes.
    let mut tx = bed.storage.rows.begin().await.unwrap();
    generations::delete(&mut tx, id).await.unwrap();
    tx.commit().await.unwrap();
    is_gone(&bed, id).await;
    let key = BlobKey::Chunk { generation_id: id, index: 0, take: 1 };
    assert!(bed.storage.blobs.size_bytes(key).await.unwrap() > 0);
    let config = SweepConfig { orphan_blobs_kept_ms: 0, ..SweepConfig::default() };
    sweep(&bed.storage, &config, true, i64::MAX / 2).await.unwrap();
    assert_eq!(bed.storage.blobs.delete_generation(id).await.unwrap(), 0, "the sweep has taken them");
}

async fn a_key_used_for_a_deleted_generation_tells_no_text(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    let key = IdempotencyKey { api_key_id: "k".into(), key: "once".into() };
    let claim = async || {
        let mut tx = bed.storage.rows.begin().await.unwrap();
        let claimed = idempotency::claim(&mut tx, &key, "hash", "node/1", 1).await.unwrap();
        tx.commit().await.unwrap();
        claimed
    };
    assert_eq!(claim().await, Claimed::New);
    let id = bed.jobs.submit(OWNER, Submission { idempotency: Some(key.clone()), ..submission(&["Secret."]) }).await.unwrap().id;
    let mut tx = bed.storage.rows.begin().await.unwrap();
    idempotency::store_answer(&mut tx, &key, 202, "{\"text\": \"Secret.\"}").await.unwrap();
    tx.commit().await.unwrap();
    assert!(matches!(claim().await, Claimed::Answered { .. }));
    bed.jobs.delete_generation(OWNER, id, true).await.unwrap();
    assert_eq!(claim().await, Claimed::Accepted { job_id: id }, "the key stays used, its answer is gone");
}

fn named(name: &str, ids: &[Uuid]) -> MontageInput {
    MontageInput { name: Some(name.into()), generation_ids: Some(ids.to_vec()), ..MontageInput::default() }
}

async fn order_of(bed: &Bed, id: Uuid) -> Vec<Uuid> {
    bed.jobs.montage(OWNER, id).await.unwrap().unwrap().generations.iter().map(|view| view.id).collect()
}

async fn montages_keep_their_order(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    let mut ids = Vec::new();
    for text in ["One.", "Two.", "Three.", "Four."] {
        ids.push(bed.submit(&[text]).await);
    }
    let [one, two, three, four] = ids[..] else { panic!() };
    let theirs = bed.submit_as("owner-b", 0, &["Theirs."]).await;
    let made = bed.jobs.create_montage(OWNER, named(" Tale ", &[three, one, two])).await.unwrap();
    let id = made.montage.id;
    assert_eq!((made.montage.name.as_str(), made.montage.generation_count), ("Tale", 3));
    assert_eq!(order_of(&bed, id).await, [three, one, two]);
    let refused = bed.jobs.create_montage(OWNER, named("Other", &[one, theirs, Uuid::nil()])).await.unwrap_err();
    assert!(matches!(refused, MontageError::GenerationsNotFound(places) if places == [1, 2]));
    assert_eq!(bed.jobs.montages(OWNER, None, 10).await.unwrap().1, 1, "nothing is left of what was refused");

    let change = async |input: MontageInput| bed.jobs.change_montage(OWNER, id, input, |_| true).await;
    change(MontageInput { generation_ids: Some(vec![four, two, three, one]), ..MontageInput::default() }).await.unwrap();
    assert_eq!(order_of(&bed, id).await, [four, two, three, one]);
    change(MontageInput { description: Some("About.".into()), ..MontageInput::default() }).await.unwrap();
    bed.jobs.delete_generation(OWNER, two, true).await.unwrap();
    let now = bed.jobs.montage(OWNER, id).await.unwrap().unwrap();
    assert_eq!((now.montage.name.as_str(), now.montage.description.as_deref()), ("Tale", Some("About.")));
    assert_eq!(order_of(&bed, id).await, [four, three, one], "the rest keeps its order");
    let in_it = GenerationFilter { montage_id: Some(id), ..GenerationFilter::of_owner(OWNER) };
    assert_eq!(bed.jobs.list(&in_it, None, 10).await.unwrap().1, 3);

    assert!(bed.jobs.montage("owner-b", id).await.unwrap().is_none());
    assert!(matches!(bed.jobs.change_montage("owner-b", id, named("Mine", &[]), |_| true).await, Err(MontageError::NotFound(_))));
    assert!(!bed.jobs.delete_montage("owner-b", id).await.unwrap());
    assert!(bed.jobs.delete_montage(OWNER, id).await.unwrap());
    assert!(bed.jobs.montage(OWNER, id).await.unwrap().is_none());
    assert_eq!(bed.jobs.list(&in_it, None, 10).await.unwrap().1, 0);
    assert_eq!(bed.job(one).await.status, "queued", "generations outlive their montage");
}

async fn a_montage_is_changed_only_as_it_was_seen(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    let seen = bed.jobs.create_montage(OWNER, named("Tale", &[])).await.unwrap();
    let id = seen.montage.id;
    let rename =
        async |name: &str, version: String| bed.jobs.change_montage(OWNER, id, named(name, &[]), move |stored| stored == version).await;
    let changed = rename("Second", seen.version.clone()).await.unwrap();
    assert!(matches!(rename("Third", seen.version).await, Err(MontageError::Stale)));
    assert_eq!(bed.jobs.montage(OWNER, id).await.unwrap().unwrap().montage.name, "Second");
    // A generation that joins makes another version of it.
    bed.jobs.submit(OWNER, Submission { montage_id: Some(id), ..submission(&["One."]) }).await.unwrap();
    assert!(matches!(rename("Third", changed.version).await, Err(MontageError::Stale)));
}

async fn a_generation_is_accepted_into_a_montage(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    let id = bed.jobs.create_montage(OWNER, named("Tale", &[])).await.unwrap().montage.id;
    let into = |montage_id: Uuid| Submission { montage_id: Some(montage_id), ..submission(&["One."]) };
    let first = bed.jobs.submit(OWNER, into(id)).await.unwrap().id;
    let second = bed.jobs.submit(OWNER, into(id)).await.unwrap().id;
    assert_eq!(order_of(&bed, id).await, [first, second]);
    assert_eq!(storage::montages::of_generation(bed.storage.rows.read(), first).await.unwrap(), [id]);
    for (owner, montage) in [(OWNER, Uuid::nil()), ("owner-b", id)] {
        let refused = bed.jobs.submit(owner, into(montage)).await.unwrap_err();
        assert!(matches!(refused, SubmitError::MontageNotFound(_)), "{refused}");
    }
    assert_eq!(bed.jobs.list(&GenerationFilter::of_owner(OWNER), None, 10).await.unwrap().1, 2, "nothing of it was accepted");
}
