//! Voices that were made here, on both databases: found by whoever may see them, in every order alike, spoken with as they were.
#![allow(clippy::unwrap_used)]

mod bed;

use bed::{Bed, Database, OWNER, script, submission};
use jobs::submission::{Submission, SubmitError};
use storage::categories::{self, Category};
use storage::favorites;
use storage::voices::{self, Voice, VoiceFilter, VoiceOrder, VoicePlace, VoiceSample};
use uuid::Uuid;

on_both! {
    a_page_goes_on_where_the_last_one_ended,
    a_voice_is_found_by_id_and_name_and_spoken_as_it_was,
    a_row_is_changed_once_and_read_back_whole,
}

fn voice(name: &str, language: &str) -> Voice {
    Voice {
        id: Uuid::now_v7(),
        owner_id: OWNER.into(),
        private: false,
        kind: "clone".into(),
        name: name.into(),
        description: "calm".into(),
        language: language.into(),
        gender: "female".into(),
        category: None,
        tags: vec!["warm".into()],
        color: None,
        settings: serde_json::json!({"a": 1}),
        revision: 1,
        profiles: Some(r#"[{"engine":"builtin","model":null,"profile":{"engine":"builtin","pitch_low_hz":99.0}}]"#.into()),
        preview: None,
        consent: Some("{}".into()),
        job_id: None,
        created_at_ms: 1_000,
        updated_at_ms: 1_000,
    }
}

async fn store(bed: &Bed, voice: &Voice, samples: &[VoiceSample]) {
    let mut tx = bed.storage.rows.begin().await.unwrap();
    voices::insert(&mut tx, voice, samples).await.unwrap();
    tx.commit().await.unwrap();
}

async fn a_page_goes_on_where_the_last_one_ended(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    let names = ["Zoë", "ada", "Ärmel", "Bob", "_x", "bob", "100%"];
    for (index, name) in names.iter().enumerate() {
        let language = ["en-GB", "en", "de"][index % 3];
        store(&bed, &Voice { created_at_ms: 1_000 + (index / 2) as i64, ..voice(name, language) }, &[]).await;
    }
    store(&bed, &Voice { owner_id: "owner-b".into(), private: true, ..voice("hidden", "en") }, &[]).await;
    let pool = bed.storage.rows.read();
    let filter = VoiceFilter::of_reader(OWNER);
    assert_eq!(voices::count(pool, &filter).await.unwrap(), 7);
    for order in [VoiceOrder::Newest, VoiceOrder::Name, VoiceOrder::Language] {
        let whole = voices::list(pool, &filter, order, None, 100).await.unwrap();
        assert_eq!(whole.len(), 7);
        let mut paged: Vec<Voice> = Vec::new();
        loop {
            let after = paged.last().map(|last| match order {
                VoiceOrder::Newest => VoicePlace::Age { created_at_ms: last.created_at_ms, id: last.id.to_string() },
                VoiceOrder::Name => VoicePlace::Text { sorted_by: voices::sort_name(&last.name), id: last.id.to_string() },
                VoiceOrder::Language => {
                    VoicePlace::Text { sorted_by: voices::sort_language(&last.language, &last.name), id: last.id.to_string() }
                }
            });
            let page = voices::list(pool, &filter, order, after.as_ref(), 2).await.unwrap();
            if page.is_empty() {
                break;
            }
            paged.extend(page);
        }
        assert_eq!(paged, whole, "{order:?}");
    }
    let by_name = voices::list(pool, &filter, VoiceOrder::Name, None, 100).await.unwrap();
    assert!(by_name.is_sorted_by_key(|voice| voice.name.to_lowercase().into_bytes()));
    let found = async |filter: VoiceFilter| {
        let listed = voices::list(pool, &filter, VoiceOrder::Name, None, 100).await.unwrap();
        assert_eq!(voices::count(pool, &filter).await.unwrap(), listed.len() as i64);
        listed.into_iter().map(|voice| voice.name).collect::<Vec<_>>()
    };
    let part = |part: &str| VoiceFilter { contains: Some(part.into()), ..VoiceFilter::of_reader(OWNER) };
    assert_eq!(found(part("ÄRM")).await, ["Ärmel"]);
    assert_eq!((found(part("0%")).await, found(part("_")).await), (vec!["100%".to_owned()], vec!["_x".to_owned()]));
    assert_eq!(found(VoiceFilter { language: Some("EN".into()), ..filter.clone() }).await.len(), 5);
    assert_eq!(found(VoiceFilter { language: Some("en-GB".into()), ..filter.clone() }).await.len(), 3);
    assert_eq!(found(VoiceFilter { own_only: true, ..VoiceFilter::of_reader("owner-b") }).await, ["hidden"]);
}

async fn a_voice_is_found_by_id_and_name_and_spoken_as_it_was(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    let own = voice("Ada", "de");
    store(&bed, &own, &[]).await;
    store(&bed, &Voice { owner_id: "owner-b".into(), private: true, ..voice("Secret", "de") }, &[]).await;
    let submit = async |name: &str| bed.jobs.submit(OWNER, Submission { voice_id: Some(name.into()), ..submission(&["Hello."]) }).await;
    for name in [own.id.to_string().as_str(), &own.id.to_string().to_uppercase(), "ADA", " ada"] {
        let job = submit(name).await.unwrap();
        assert_eq!(job.voice_id, Some(own.id.to_string()), "{name}");
    }
    for name in ["Secret", "nobody", "a\0b", ""] {
        assert!(matches!(submit(name).await, Err(SubmitError::VoiceNotFound(_))), "{name}");
    }
    let mut tx = bed.storage.rows.begin().await.unwrap();
    assert_eq!(voices::open_uses(&mut tx, own.id).await.unwrap(), 4);
    assert_eq!(voices::open_uses(&mut tx, Uuid::now_v7()).await.unwrap(), 0);
    drop(tx);
    let worker = bed.start().await;
    let job = submit("ada").await.unwrap();
    assert_eq!(bed.end_of(job.id).await.status, "completed");
    worker.stop(1_000).await;
    let generation = bed.jobs.generation(OWNER, job.id).await.unwrap().unwrap();
    let snapshots: serde_json::Value = serde_json::from_str(&generation.voices).unwrap();
    assert_eq!(
        (&snapshots[own.id.to_string()]["revision"], &snapshots[own.id.to_string()]["profile"]["pitch_low_hz"]),
        (&1.into(), &99.0.into())
    );
}

async fn a_row_is_changed_once_and_read_back_whole(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    let mut voice = voice("Ada", "de");
    let blob = storage::blobs::StoredBlob { sha256: "00".into(), size_bytes: 7 };
    let sample = |weight| VoiceSample {
        id: Uuid::now_v7(),
        blob: blob.clone(),
        duration_ms: 5,
        transcript: Some("Hello.".into()),
        start_ms: Some(1),
        end_ms: None,
        weight,
    };
    let samples = [sample(0.1), sample(1.0)];
    store(&bed, &voice, &samples).await;
    let pool = bed.storage.rows.read();
    assert_eq!(voices::find(pool, voice.id).await.unwrap().as_ref(), Some(&voice));
    assert_eq!(voices::samples(pool, voice.id).await.unwrap(), samples);
    let mut tx = bed.storage.rows.begin().await.unwrap();
    let wanted = Category { id: Uuid::now_v7(), name: "Märchen".into(), color: Some("#fff".into()), voice_count: 0 };
    let category = categories::find_or_insert(&mut tx, &wanted, 1).await.unwrap();
    let other = Category { id: Uuid::now_v7(), name: "MÄRCHEN".into(), ..wanted.clone() };
    assert_eq!(categories::find_or_insert(&mut tx, &other, 1).await.unwrap(), category);
    voice.category = Some(voices::VoiceCategory { id: category.id, name: category.name, color: category.color });
    voice.preview = Some(voices::VoicePreview { id: Uuid::now_v7(), blob: blob.clone() });
    assert!(voices::update(&mut tx, &voice).await.unwrap());
    assert!(!voices::update(&mut tx, &voice).await.unwrap(), "the revision has moved on");
    favorites::set(&mut tx, OWNER, &voice.id.to_string(), true, 1).await.unwrap();
    favorites::set(&mut tx, OWNER, &voice.id.to_string(), true, 2).await.unwrap();
    voices::replace_samples(&mut tx, voice.id, &samples[..1]).await.unwrap();
    tx.commit().await.unwrap();
    voice.revision = 2;
    assert_eq!(voices::find(pool, voice.id).await.unwrap().as_ref(), Some(&voice));
    assert_eq!(voices::samples(pool, voice.id).await.unwrap(), samples[..1]);
    assert_eq!(categories::list(pool, OWNER, 10).await.unwrap()[0].voice_count, 1);
    assert_eq!(favorites::list(pool, OWNER, 10).await.unwrap(), [voice.id.to_string()]);
    let alike = async |sha256, profiles| voices::find_alike(pool, OWNER, sha256, profiles).await.unwrap().len();
    assert_eq!((alike(Some("00"), None).await, alike(Some("01"), None).await, alike(None, voice.profiles.as_deref()).await), (1, 0, 1));
    let mut tx = bed.storage.rows.begin().await.unwrap();
    categories::delete(&mut tx, category.id).await.unwrap();
    assert_eq!(voices::find_in(&mut tx, voice.id).await.unwrap().unwrap().category, None);
    assert!(voices::delete(&mut tx, voice.id).await.unwrap());
    assert!(!voices::delete(&mut tx, voice.id).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(voices::samples(pool, voice.id).await.unwrap(), []);
    assert_eq!(favorites::list(pool, OWNER, 10).await.unwrap(), Vec::<String>::new());
}
