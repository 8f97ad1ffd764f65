//! Jobs without a generation, on both databases, shown by those that make voices and previews: what each leaves behind, told in its own events, and what
//! becomes of it when it is cancelled, fails, dies or is asked for again.
#![allow(clippy::unwrap_used)]

mod bed;

use std::path::PathBuf;

use bed::{Bed, Database, OWNER, rule, script, submission};
use engine::scripted::Act;
use jobs::design_voice::{DesignOrder, PickError};
use jobs::preview_voice::PreviewOrder;
use jobs::recordings::{CloneOrder, RecordedPart, VoiceFacts};
use jobs::retry::RetryError;
use jobs::submission::{Submission, SubmitError, TraceContext};
use jobs::sweep::{SweepConfig, sweep};
use jobs::view::{CancelOutcome, JobView};
use storage::generations::{GenerationFilter, GenerationStatus};
use storage::voice_previews::{self, Preview};
use storage::voices::{self, Voice};
use uuid::Uuid;

on_both! {
    a_clone_is_made_and_speaks,
    what_is_cancelled_while_it_waits_leaves_nothing,
    what_is_cancelled_while_it_runs_leaves_nothing,
    what_can_never_be_made_leaves_nothing,
    what_may_be_tried_again_stays_for_that,
    a_run_outlives_its_worker,
    what_is_forgotten_is_swept_away,
    recordings_that_will_not_do_are_refused,
    a_design_is_made_again_alike_and_one_of_it_picked,
    a_design_that_is_cancelled_leaves_nothing,
    equal_previews_are_one_job_and_one_sound,
    a_preview_that_is_lost_is_made_again,
    only_so_many_previews_are_kept,
    jobs_of_all_kinds_are_listed_in_one_order,
}

/// The rehearsal's first words.
const REHEARSAL: &str = "The quick brown fox";

/// A word said over and over: five seconds of speech.
fn speech() -> Vec<u8> {
    let word = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../engine/tests/world/woman.wav")).unwrap();
    let data = &word[word.len() - 45_600..];
    wav(&data.repeat(6))
}

/// 16-bit mono at 24 kHz.
fn wav(data: &[u8]) -> Vec<u8> {
    let mut bytes = b"RIFF".to_vec();
    bytes.extend_from_slice(&(36 + data.len() as u32).to_le_bytes());
    bytes.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    bytes.extend_from_slice(&24_000_u32.to_le_bytes());
    bytes.extend_from_slice(&48_000_u32.to_le_bytes());
    bytes.extend_from_slice(b"\x02\0\x10\0data");
    bytes.extend_from_slice(&(data.len() as u32).to_le_bytes());
    bytes.extend_from_slice(data);
    bytes
}

/// Loud, and no voice.
fn hum() -> Vec<u8> {
    wav(&(0..120_000).flat_map(|n| (((f64::from(n) * 0.03).sin() * 9_000.0) as i16).to_le_bytes()).collect::<Vec<u8>>())
}

fn part(bed: &Bed, name: &str, bytes: &[u8], range_ms: Option<(i64, i64)>) -> RecordedPart {
    let wav: PathBuf = bed.folder.path().join(name);
    std::fs::write(&wav, bytes).unwrap();
    RecordedPart { field: name.into(), wav, range_ms, transcript: None, weight: 1.0 }
}

fn order(parts: Vec<RecordedPart>) -> CloneOrder {
    let facts = VoiceFacts {
        name: "Ada".into(),
        description: String::new(),
        language: "en".into(),
        gender: "female".into(),
        category: None,
        tags: vec![],
        private: false,
    };
    CloneOrder { facts, consent: "{}".into(), denoise: false, parts, idempotency: None, trace: TraceContext::default() }
}

async fn ask(bed: &Bed, recording: &[u8]) -> JobView {
    bed.jobs.clone_voice(OWNER, order(vec![part(bed, "file", recording, None)])).await.unwrap()
}

async fn voice(bed: &Bed, job: &JobView) -> Option<Voice> {
    voices::find(bed.storage.rows.read(), voice_id(job)).await.unwrap()
}

fn voice_id(job: &JobView) -> Uuid {
    Uuid::parse_str(job.voice_id.as_deref().unwrap()).unwrap()
}

async fn blobs(bed: &Bed, job: &JobView) -> usize {
    bed.storage.blobs.voice_blobs(voice_id(job), i64::MAX).await.unwrap().len()
}

async fn a_clone_is_made_and_speaks(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    let job = ask(&bed, &speech()).await;
    assert_eq!((job.kind.as_str(), job.status.as_str(), job.generation_id), ("clone.create", "queued", None));
    let unmade = voice(&bed, &job).await.unwrap();
    assert_eq!((unmade.job_id, unmade.profiles.is_none(), blobs(&bed, &job).await), (Some(job.id), true, 1));
    let speak = async || bed.jobs.submit(OWNER, Submission { voice_id: Some("ada".into()), ..submission(&["Hello."]) }).await;
    assert!(matches!(speak().await, Err(SubmitError::VoiceNotMade { job_id, .. }) if job_id == job.id));

    let worker = bed.start().await;
    let done = bed.end_of(job.id).await;
    assert_eq!((done.status.as_str(), done.progress), ("completed", 1.0), "{:?}", done.error);
    let result = done.result.unwrap();
    assert_eq!((&result["voice_id"], &result["clone_fidelity"]), (&job.voice_id.clone().into(), &"timbre".into()), "{result}");
    assert!(result["quality"]["speech_ms"].as_i64().unwrap() >= 3_000, "{result}");
    let made = voice(&bed, &job).await.unwrap();
    assert_eq!((made.job_id, made.revision), (None, 2));
    assert!(jobs::voices::quality(made.profiles.as_deref().unwrap()).is_some());
    let told = ["job.queued", "job.started", "job.progress", "job.progress", "job.completed"];
    assert_eq!(bed.told().await, told);
    assert!(bed.events(OWNER).await.iter().all(|event| event.generation_id == Some(job.id) && event.data["type"] == "clone.create"));
    let spoken = speak().await.unwrap();
    assert_eq!(bed.end_of(spoken.id).await.status, "completed");
    assert!(matches!(bed.jobs.retry(OWNER, job.id).await, Err(RetryError::NotFailed(_))));
    assert!(bed.jobs.job("owner-b", job.id).await.unwrap().is_none());
    worker.stop(1_000).await;
}

async fn gone(bed: &Bed, job: &JobView) {
    assert_eq!((voice(bed, job).await, blobs(bed, job).await), (None, 0));
    assert!(matches!(bed.jobs.retry(OWNER, job.id).await, Err(RetryError::Gone(_))));
    assert_ne!(bed.job(job.id).await.status, "queued", "a retry that was refused changes nothing");
}

async fn what_is_cancelled_while_it_waits_leaves_nothing(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    let job = ask(&bed, &speech()).await;
    assert_eq!(bed.jobs.cancel("owner-b", job.id).await.unwrap(), CancelOutcome::NotFound);
    assert_eq!(bed.jobs.cancel_lone(OWNER, &["design.create"]).await.unwrap(), []);
    assert_eq!(bed.jobs.cancel_lone(OWNER, &["clone.create"]).await.unwrap(), [(job.id, CancelOutcome::Cancelled)]);
    assert_eq!(bed.told().await, ["job.queued", "job.cancelled"]);
    assert_eq!(bed.jobs.cancel(OWNER, job.id).await.unwrap(), CancelOutcome::AlreadyFinal);
    gone(&bed, &job).await;
}

async fn what_is_cancelled_while_it_runs_leaves_nothing(database: Database) {
    let bed = Bed::new(database, script(vec![rule(REHEARSAL, Act::Stall, None)])).await;
    let worker = bed.start().await;
    let job = ask(&bed, &speech()).await;
    let event = bed.told_of("job.progress").await;
    assert_eq!(event.data["stage"], "rehearsing");
    let running = bed.job(job.id).await;
    assert_eq!((running.status.as_str(), running.stage.as_deref()), ("running", Some("rehearsing")));
    assert_eq!(bed.jobs.cancel(OWNER, job.id).await.unwrap(), CancelOutcome::Cancelling);
    bed.told_of("job.cancelled").await;
    assert_eq!(bed.end_of(job.id).await.status, "cancelled");
    bed.until_idle().await;
    worker.stop(1_000).await;
    gone(&bed, &job).await;
}

async fn what_can_never_be_made_leaves_nothing(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    let worker = bed.start().await;
    let job = ask(&bed, &hum()).await;
    let failed = bed.end_of(job.id).await;
    assert_eq!((failed.status.as_str(), failed.attempt), ("failed", 1));
    assert_eq!(failed.error.unwrap().detail, "there is no voice in the recordings");
    assert_eq!(bed.told_of("job.failed").await.data["error"]["code"], "job_failed");
    worker.stop(1_000).await;
    gone(&bed, &job).await;
}

async fn what_may_be_tried_again_stays_for_that(database: Database) {
    let bed = Bed::new(database, script(vec![rule(REHEARSAL, Act::Fail, Some(3))])).await;
    let worker = bed.start().await;
    let job = ask(&bed, &speech()).await;
    let failed = bed.end_of(job.id).await;
    assert_eq!((failed.status.as_str(), failed.attempt), ("failed", 3));
    assert_eq!((voice(&bed, &job).await.unwrap().job_id, blobs(&bed, &job).await), (Some(job.id), 1));
    // A free worker may have begun already.
    let again = bed.jobs.retry(OWNER, job.id).await.unwrap().status;
    assert!(["queued", "running"].contains(&again.as_str()), "{again}");
    let done = bed.end_of(job.id).await;
    assert_eq!(done.status, "completed", "{:?}", done.error);
    assert!(voice(&bed, &job).await.unwrap().profiles.is_some());
    let told = bed.told().await;
    assert_eq!(told.iter().filter(|kind| *kind == "job.started").count(), 2, "{told:?}");
    worker.stop(1_000).await;
}

async fn a_run_outlives_its_worker(database: Database) {
    let bed = Bed::new(database, script(vec![rule(REHEARSAL, Act::Stall, Some(1))])).await;
    let dying = bed.start().await;
    let job = ask(&bed, &speech()).await;
    bed.told_of("job.progress").await;
    // Its successor takes the lease; whatever the first run does then is thrown away.
    let worker = bed.start().await;
    let done = bed.end_of(job.id).await;
    assert_eq!(done.status, "completed", "{:?}", done.error);
    let told = bed.told().await;
    let place = |kind: &str| told.iter().position(|told| told == kind).unwrap_or_else(|| panic!("no {kind}: {told:?}"));
    assert!(place("job.interrupted") < place("job.resumed") && place("job.resumed") < place("job.completed"), "{told:?}");
    assert_eq!(told.iter().filter(|kind| *kind == "job.completed").count(), 1);
    assert_eq!(voice(&bed, &job).await.unwrap().revision, 2);
    drop(dying);
    worker.stop(1_000).await;
}

async fn what_is_forgotten_is_swept_away(database: Database) {
    let bed = Bed::new(database, script(vec![rule(REHEARSAL, Act::Refuse, None), rule("", Act::Fail, None)])).await;
    let worker = bed.start().await;
    let refused = ask(&bed, &speech()).await;
    assert_eq!(bed.end_of(refused.id).await.status, "failed");
    worker.stop(1_000).await;
    let waiting = ask(&bed, &speech()).await;
    // Much later: what has ended is forgotten, what waits is not.
    let later_ms = waiting.created_at_ms + 30 * 24 * 3_600_000;
    let mut tx = bed.storage.rows.begin().await.unwrap();
    storage::jobs::cancel_one(&mut tx, waiting.id, "by a hand in the database", waiting.created_at_ms).await.unwrap();
    tx.commit().await.unwrap();
    let live = ask(&bed, &speech()).await;
    for _ in 0..2 {
        sweep(&bed.storage, &SweepConfig::default(), true, later_ms).await.unwrap();
    }
    assert_eq!((voice(&bed, &waiting).await, blobs(&bed, &waiting).await), (None, 0));
    assert_eq!(voice(&bed, &live).await.unwrap().job_id, Some(live.id));
    assert_eq!(blobs(&bed, &live).await, 1);
}

async fn recordings_that_will_not_do_are_refused(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    let refused = async |parts: Vec<RecordedPart>| match bed.jobs.clone_voice(OWNER, order(parts)).await {
        Err(SubmitError::Invalid(errors)) => (errors[0].field.clone(), errors[0].message.clone()),
        other => panic!("{other:?}"),
    };
    let speech = speech();
    let (field, message) = refused(vec![part(&bed, "a", &wav(&[0; 240_000]), None)]).await;
    assert!(field == "a" && message.starts_with("holds 0 ms of speech"), "{message}");
    let clip = |range| part(&bed, "clips[0]", &speech, Some(range));
    let (field, message) = refused(vec![clip((0, 90_000))]).await;
    assert!(field == "clips[0]" && message.contains("is not in the recording, which has 5700 ms"), "{message}");
    assert!(refused(vec![clip((500, 550))]).await.1.contains("too short"));
    assert!(refused(vec![clip((0, 2_000))]).await.1.contains("ms of speech in all"));
    assert!(refused(vec![part(&bed, "long", &wav(&vec![0; 48_000 * 601]), None)]).await.1.contains("more than 600 s"));
    assert_eq!(bed.events(OWNER).await, []);
    assert_eq!(bed.storage.blobs.voice_ids().await.unwrap(), Vec::<Uuid>::new());
    let made = bed.jobs.clone_voice(OWNER, order(vec![clip((0, 2_500)), clip((2_500, 5_700))])).await.unwrap();
    let samples = voices::samples(bed.storage.rows.read(), voice_id(&made)).await.unwrap();
    assert_eq!(samples.iter().map(|sample| sample.duration_ms).collect::<Vec<_>>(), [2_500, 3_200]);
}

async fn design(bed: &Bed, variants: u32) -> JobView {
    let order = DesignOrder {
        name: "Ada".into(),
        description: "a warm low woman".into(),
        private: false,
        language: None,
        sample_text: None,
        variants,
        seed: Some(7),
        idempotency: None,
        trace: TraceContext::default(),
    };
    bed.jobs.design_voice(OWNER, order).await.unwrap()
}

async fn previews(bed: &Bed, job: &JobView) -> Vec<Preview> {
    voice_previews::list(bed.storage.rows.read(), voice_id(job)).await.unwrap()
}

async fn preview(bed: &Bed, voice_id: &str, text: &str) -> JobView {
    let text = (!text.is_empty()).then(|| text.to_owned());
    let order = PreviewOrder { voice_id: voice_id.into(), text, language: None, idempotency: None, trace: TraceContext::default() };
    bed.jobs.preview_voice(OWNER, order).await.unwrap()
}

async fn a_design_is_made_again_alike_and_one_of_it_picked(database: Database) {
    // The first run is in the middle of its second variant when it loses its lease.
    let bed = Bed::new(database, script(vec![rule("", Act::Speak, Some(1)), rule("", Act::Stall, Some(1))])).await;
    let dying = bed.start().await;
    let job = design(&bed, 3).await;
    bed.told_of("job.progress").await;
    let worker = bed.start().await;
    let done = bed.end_of(job.id).await;
    assert_eq!(done.status, "completed", "{:?}", done.error);
    let made = previews(&bed, &job).await;
    assert_eq!((made.len(), blobs(&bed, &job).await), (3, 3));
    let before = voice(&bed, &job).await.unwrap();
    assert_eq!((before.job_id, before.preview.as_ref().map(|preview| preview.id)), (None, Some(made[0].id)));
    assert_eq!(before.profiles, made[0].profiles);
    drop(dying);

    let id = voice_id(&job);
    let picked = bed.jobs.pick_variant(OWNER, id, made[2].id).await.unwrap();
    assert_eq!((picked.profiles, picked.preview.map(|preview| preview.id)), (made[2].profiles.clone(), Some(made[2].id)));
    assert_ne!(made[2].profiles, made[0].profiles);
    assert!(matches!(bed.jobs.pick_variant(OWNER, id, job.id).await, Err(PickError::NoVariant { .. })));
    assert!(matches!(bed.jobs.pick_variant("owner-b", id, made[1].id).await, Err(PickError::ReadOnly(_))));
    assert!(matches!(bed.jobs.pick_variant(OWNER, job.id, made[1].id).await, Err(PickError::VoiceNotFound(_))));
    worker.stop(1_000).await;
}

async fn a_design_that_is_cancelled_leaves_nothing(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    let waiting = design(&bed, 1).await;
    let id = voice_id(&waiting);
    assert!(matches!(bed.jobs.pick_variant(OWNER, id, waiting.id).await, Err(PickError::NotMade(_))));
    assert_eq!(bed.jobs.cancel_lone(OWNER, &["design.create"]).await.unwrap(), [(waiting.id, CancelOutcome::Cancelled)]);
    gone(&bed, &waiting).await;
}

async fn equal_previews_are_one_job_and_one_sound(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    let first = preview(&bed, "nora", "").await;
    assert_eq!((first.kind.as_str(), first.voice_id.as_deref()), ("voices.generate_preview", Some("nora")));
    assert_eq!(preview(&bed, "Nora", "").await.id, first.id, "as long as it waits or runs");
    assert_ne!(preview(&bed, "elias", "").await.id, first.id);
    // All at the same moment.
    let asked = futures::future::join_all((0..8).map(|_| preview(&bed, "oskar", ""))).await;
    assert!(asked.iter().all(|job| job.id == asked[0].id), "{asked:?}");
    let worker = bed.start().await;
    for job in [&first, &asked[0]] {
        assert_eq!(bed.end_of(job.id).await.result.unwrap()["cached"], false);
    }
    bed.until_idle().await;
    let calls = bed.engine.calls();
    let again = preview(&bed, "nora", "").await;
    let result = bed.end_of(again.id).await.result.unwrap();
    assert_eq!((&result["cached"], bed.engine.calls()), (&true.into(), calls));
    let order = PreviewOrder {
        voice_id: "nora".into(),
        text: Some("Hi.".into()),
        language: None,
        idempotency: None,
        trace: TraceContext::default(),
    };
    assert!(matches!(bed.jobs.preview_voice(OWNER, order).await, Err(SubmitError::Invalid(errors)) if errors[0].field == "text"));
    worker.stop(1_000).await;
}

async fn a_preview_that_is_lost_is_made_again(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    let worker = bed.start().await;
    let job = design(&bed, 1).await;
    bed.end_of(job.id).await;
    let id = voice_id(&job).to_string();
    let lost = previews(&bed, &job).await.remove(0);
    bed.storage.blobs.delete(lost.blob_key()).await.unwrap();
    let again = preview(&bed, &id, "").await;
    let result = bed.end_of(again.id).await.result.unwrap();
    assert_eq!(result["cached"], false, "{result}");
    let now = previews(&bed, &job).await;
    assert_eq!((now.len(), &now[0].blob, &now[0].profiles), (1, &lost.blob, &lost.profiles), "the same sound, and still a variant");
    assert_eq!(voice(&bed, &job).await.unwrap().preview.unwrap().id, now[0].id);
    assert_eq!(blobs(&bed, &job).await, 1);
    worker.stop(1_000).await;
}

async fn only_so_many_previews_are_kept(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    let worker = bed.start().await;
    let job = design(&bed, 2).await;
    bed.end_of(job.id).await;
    let id = voice_id(&job).to_string();
    for count in 0..52 {
        bed.end_of(preview(&bed, &id, &format!("Number {count}.")).await.id).await;
    }
    let kept = previews(&bed, &job).await;
    assert_eq!((kept.len(), blobs(&bed, &job).await), (50, 50));
    assert_eq!(kept.iter().filter(|preview| preview.profiles.is_some()).count(), 2, "variants stay");
    assert_eq!(kept.last().unwrap().text, "Number 51.");
    worker.stop(1_000).await;
}

async fn jobs_of_all_kinds_are_listed_in_one_order(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    let spoken = bed.jobs.submit(OWNER, submission(&["Hello."])).await.unwrap();
    let cancelled = ask(&bed, &speech()).await;
    bed.jobs.cancel(OWNER, cancelled.id).await.unwrap();
    let designed = design(&bed, 1).await;
    let ids = async |filter: GenerationFilter, before| {
        let (views, total) = bed.jobs.list_jobs(&filter, before, 2).await.unwrap();
        (views.iter().map(|view| view.id).collect::<Vec<_>>(), total)
    };
    let all = GenerationFilter::of_owner(OWNER);
    assert_eq!(ids(all.clone(), None).await, (vec![designed.id, cancelled.id], 3));
    assert_eq!(ids(all.clone(), Some(cancelled.id)).await, (vec![spoken.id], 3));
    let of_kind = |kind: &str| GenerationFilter { kind: Some(kind.into()), ..all.clone() };
    assert_eq!(ids(of_kind("design.create"), None).await, (vec![designed.id], 1));
    assert_eq!(ids(of_kind(&spoken.kind), None).await, (vec![spoken.id], 1));
    assert_eq!(ids(of_kind("no.such"), None).await, (vec![], 0));
    let of_status = |status| GenerationFilter { status: Some(status), ..all.clone() };
    assert_eq!(ids(of_status(GenerationStatus::Cancelled), None).await, (vec![cancelled.id], 1));
    assert_eq!(ids(of_status(GenerationStatus::Queued), None).await, (vec![designed.id, spoken.id], 2));
    assert_eq!(ids(of_status(GenerationStatus::Merging), None).await, (vec![], 0));
    let words = GenerationFilter { words: vec!["hello".into()], ..all.clone() };
    assert_eq!(ids(words, None).await, (vec![spoken.id], 1));
    let later = GenerationFilter { from_ms: Some(i64::MAX), ..all.clone() };
    assert_eq!(ids(later, None).await, (vec![], 0));
    assert_eq!(ids(GenerationFilter::of_owner("owner-b"), None).await, (vec![], 0));
}
