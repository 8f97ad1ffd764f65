//! Whose turn it is: fairness between keys, a short request beside an audiobook, priorities and their ageing, scheduled jobs, held queues.
//! Straight at the protocol, with times as arguments.
#![allow(clippy::unwrap_used)]

mod bed;

use bed::{Bed, Database, OWNER, script, submission};
use engine::scripted::Script;
use storage::generations::{self, Generation};
use storage::leases::{Claim, ClaimedJob};
use storage::search::SearchText;
use uuid::Uuid;

on_both! {
    keys_take_turns,
    a_short_request_takes_turns_with_the_same_keys_audiobook,
    a_higher_priority_goes_first_until_a_lower_one_has_waited,
    a_scheduled_job_waits_for_its_time,
    a_held_queue_gives_out_nothing,
    the_place_in_the_queue_is_counted_so_far_and_no_further,
    a_hundred_thousand_waiting_jobs_do_not_slow_the_claim,
}

/// Claims at a time given in minutes after everything was submitted.
async fn claim(bed: &Bed, minutes: i64) -> Option<ClaimedJob> {
    let now_ms = jobs::clock::Clock::now_ms(&jobs::clock::SystemClock) + minutes * 60_000;
    let claim = Claim { queue: "cpu", lease_owner: "test/1", now_ms, lease_until_ms: now_ms + 30_000, ageing_ms: 60_000 };
    storage::leases::claim(&bed.storage.rows, &claim).await.unwrap()
}

async fn owners_of_next(bed: &Bed, count: usize) -> Vec<String> {
    let mut owners = Vec::new();
    for _ in 0..count {
        owners.push(claim(bed, 0).await.unwrap().owner_id);
    }
    owners
}

async fn keys_take_turns(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    bed.submit_as("a", 0, &["1", "2", "3", "4"]).await;
    bed.submit_as("b", 0, &["1", "2"]).await;
    bed.submit_as("c", 0, &["1"]).await;
    assert_eq!(owners_of_next(&bed, 7).await, ["a", "b", "c", "a", "b", "a", "a"]);
    // A key that comes late does not make up for what it did not ask for.
    bed.submit_as("a", 0, &["5", "6"]).await;
    bed.submit_as("d", 0, &["1", "2"]).await;
    assert_eq!(owners_of_next(&bed, 4).await, ["d", "a", "d", "a"]);
    assert!(claim(&bed, 0).await.is_none());
}

async fn a_short_request_takes_turns_with_the_same_keys_audiobook(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    let book = bed.submit_as("a", 0, &["word"; 40]).await;
    for _ in 0..10 {
        claim(&bed, 0).await.unwrap();
    }
    let short = bed.submit_as("a", 0, &["hello", "there"]).await;
    let next: Vec<_> = [claim(&bed, 0).await, claim(&bed, 0).await, claim(&bed, 0).await, claim(&bed, 0).await]
        .into_iter()
        .map(|job| job.unwrap().generation_id.unwrap())
        .collect();
    assert_eq!(next.iter().filter(|id| **id == short).count(), 2, "the short one is done within four turns");
    assert_eq!(next.iter().filter(|id| **id == book).count(), 2);
}

async fn a_higher_priority_goes_first_until_a_lower_one_has_waited(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    bed.submit_as("low", -2, &["1", "2"]).await;
    bed.submit_as("high", 1, &["1", "2", "3", "4"]).await;
    assert_eq!(owners_of_next(&bed, 2).await, ["high", "high"]);
    // Both lanes have waited for four minutes now, but the high one was served in between.
    assert_eq!(claim(&bed, 0).await.unwrap().owner_id, "high");
    assert_eq!(claim(&bed, 4).await.unwrap().owner_id, "high", "equal ageing changes no order");
    bed.submit_as("high", 1, &["5"]).await;
    let mut owners = Vec::new();
    for minutes in [5, 6, 7] {
        owners.extend(claim(&bed, minutes).await.map(|job| job.owner_id));
    }
    assert!(owners.contains(&"low".to_string()), "{owners:?}");
}

async fn a_scheduled_job_waits_for_its_time(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    let now_ms = jobs::clock::Clock::now_ms(&jobs::clock::SystemClock);
    let later = jobs::submission::Submission { not_before_ms: Some(now_ms + 10 * 60_000), ..submission(&["Later."]) };
    let job = bed.jobs.submit(OWNER, later).await.unwrap();
    assert_eq!(job.status, "queued");
    assert!(claim(&bed, 9).await.is_none());
    assert_eq!(storage::jobs::next_due_ms(bed.storage.rows.read()).await.unwrap(), Some(now_ms + 10 * 60_000));
    assert_eq!(claim(&bed, 10).await.unwrap().generation_id, Some(job.id));
}

async fn a_held_queue_gives_out_nothing(database: Database) {
    let bed = Bed::new(database, Script::default()).await;
    let set = async |queue, paused| jobs::pause::set_paused(&bed.storage.rows, queue, paused, &jobs::clock::SystemClock).await.unwrap();
    assert!(set(Some("cpu"), true).await);
    assert!(!set(Some("no such queue"), true).await);
    let worker = bed.start().await;
    let id = bed.submit(&["One."]).await;
    assert!(claim(&bed, 0).await.is_none());
    assert!(bed.jobs.queue(OWNER).await.unwrap().paused);
    assert_eq!(bed.engine.calls(), 0);
    assert!(set(None, false).await);
    assert_eq!(bed.end_of(id).await.status, "completed");
    worker.stop(1_000).await;
}

/// Work, not time: the query plan must read the next job from an index, whatever waits behind it.
async fn a_hundred_thousand_waiting_jobs_do_not_slow_the_claim(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    let texts = vec!["word"; 10_000];
    for owner in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"] {
        bed.submit_as(owner, 0, &texts).await;
    }
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..50 {
        assert!(seen.insert(claim(&bed, 0).await.unwrap().fence.job_id), "claimed twice");
    }
    if database == Database::Sqlite {
        let plan = storage::leases::claim_plan(bed.storage.rows.read()).await.unwrap().join("\n");
        assert!(plan.contains("jobs_ready"), "{plan}");
        assert!(!plan.contains("SCAN h") && !plan.contains("SCAN j"), "{plan}");
    }
}

async fn the_place_in_the_queue_is_counted_so_far_and_no_further(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    let first = bed.submit(&["One."]).await;
    let pattern = generations::find(bed.storage.rows.read(), first).await.unwrap().unwrap();
    let found_by = SearchText::of(None, "One.", "{}");
    let mut last = first;
    let mut tx = bed.storage.rows.begin().await.unwrap();
    for _ in 0..generations::QUEUE_POSITION_MAX + 5 {
        last = Uuid::now_v7();
        generations::insert(&mut tx, &Generation { id: last, ..pattern.clone() }, &found_by).await.unwrap();
    }
    tx.commit().await.unwrap();
    let second = bed.submit_as("owner-b", 1, &["Two."]).await;
    let position = async |owner: &str, id| bed.jobs.job(owner, id).await.unwrap().unwrap().queue_position;
    assert_eq!(position("owner-b", second).await, Some(1), "a higher priority");
    assert_eq!(position(OWNER, first).await, Some(2));
    assert_eq!(position(OWNER, last).await, Some(generations::QUEUE_POSITION_MAX));
}
