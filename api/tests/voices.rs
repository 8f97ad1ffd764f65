//! Voices that were made here: one list with the presets, changes by their owner only, and nothing left behind.

#![allow(clippy::unwrap_used)]

mod bed;

use bed::voice::store;
use bed::{Bed, header, json, problem, request, status};
use bytes::Bytes;
use salvo::http::{Method, Response};
use serde_json::{Value, json};
use storage::BlobKey;
use uuid::Uuid;

const NOBODY: &str = "0197f000-0000-7000-8000-000000000000";

async fn put(bed: &Bed, id: Uuid, body: &Value) -> Response {
    let asked = request(Method::PUT, &format!("/api/voices/{id}")).add_header("x-api-key", &bed.key, true);
    bed.send(asked.json(body)).await
}

async fn delete(bed: &Bed, key: &str, path: &str) -> Response {
    bed.send(request(Method::DELETE, path).add_header("x-api-key", key, true)).await
}

async fn names(bed: &Bed, query: &str) -> Vec<String> {
    let list = json(&mut bed.get(&format!("/api/voices?{query}")).await).await;
    list["items"]
        .as_array()
        .unwrap_or_else(|| panic!("{query}: {list}"))
        .iter()
        .map(|voice| voice["name"].as_str().unwrap().into())
        .collect()
}

#[tokio::test]
async fn presets_and_stored_voices_are_one_list() {
    let bed = Bed::without_workers().await;
    let presets = names(&bed, "").await;
    let voice = store(&bed, &bed.owner(), |_| {}).await;
    store(&bed, &bed.owner(), |voice| (voice.name, voice.language, voice.kind) = ("Zoë".into(), "fr".into(), "design".into())).await;
    assert_eq!(names(&bed, "type=clone").await, ["Ada"]);
    assert_eq!(names(&bed, "type=design&q=ZOË").await, ["Zoë"]);
    assert_eq!(names(&bed, "q=warm&type=clone").await, ["Ada"]);
    assert_eq!(names(&bed, "q=100%25").await.len(), 0, "a percent sign is no wildcard");
    assert!(
        names(&bed, "language=en").await.contains(&"Ada".to_owned()) && !names(&bed, "language=en-US").await.contains(&"Ada".to_owned())
    );
    assert_eq!(names(&bed, "sort=created").await[2..], presets, "the newest first, presets last");
    for sort in ["default", "name", "language", "created"] {
        let whole = names(&bed, &format!("sort={sort}&limit=200")).await;
        assert_eq!(whole.len(), presets.len() + 2);
        let mut paged = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = json(&mut bed.get(&format!("/api/voices?sort={sort}&limit=3&cursor={cursor}")).await).await;
            assert_eq!(page["total"], presets.len() + 2);
            paged.extend(page["items"].as_array().unwrap().iter().map(|voice| voice["name"].as_str().unwrap().to_owned()));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = next.to_owned(),
                None => break,
            }
        }
        assert_eq!(paged, whole, "{sort}");
    }
    let by_name = names(&bed, "sort=name").await;
    assert!(by_name.is_sorted_by_key(|name| name.to_lowercase()), "{by_name:?}");
    problem(bed.get("/api/voices?cursor=zz").await, 422, "validation_failed").await;
    problem(bed.get("/api/voices?type=robot").await, 422, "validation_failed").await;
    problem(bed.get("/api/voices?q=%00").await, 400, "invalid_request").await;
    let mut one = bed.get(&format!("/api/voices/{}", voice.id)).await;
    assert_eq!(header(&one, "etag"), Some("\"1\""));
    let one = json(&mut one).await;
    assert_eq!((one["samples"][0]["duration_ms"].as_i64(), one["read_only"].as_bool()), (Some(5), Some(false)), "{one}");
    for url in [&one["samples"][0]["audio_url"], &one["preview_url"]] {
        let mut audio = bed.get(url.as_str().unwrap()).await;
        assert_eq!((status(&audio), header(&audio, "content-type")), (200, Some("audio/wav")));
        assert_eq!(header(&audio, "etag").map(str::len), Some(66));
        assert!(salvo::test::ResponseExt::take_bytes(&mut audio, None).await.unwrap().starts_with(b"RIFF "));
    }
    problem(bed.get(&format!("/api/voices/{}/samples/{NOBODY}", voice.id)).await, 404, "audio_not_found").await;
}

#[tokio::test]
async fn a_change_is_checked_and_made_to_what_was_seen() {
    let bed = Bed::without_workers().await;
    let voice = store(&bed, &bed.owner(), |_| {}).await;
    bed.post("/api/categories", &json!({"name": "Narrators"})).await;
    let wanted =
        json!({"name": " Eva ", "tags": ["a", "a", "b"], "color": "#ABC", "category": "narrators", "settings": {"x": 1}, "private": true});
    let mut changed = put(&bed, voice.id, &wanted).await;
    assert_eq!((status(&changed), header(&changed, "etag")), (200, Some("\"2\"")));
    let changed = json(&mut changed).await;
    assert_eq!(
        (changed["name"].as_str(), changed["category"].as_str(), changed["color"].as_str()),
        (Some("Eva"), Some("Narrators"), Some("#abc"))
    );
    assert_eq!((&changed["tags"], &changed["settings"], &changed["private"]), (&json!(["a", "b"]), &json!({"x": 1}), &json!(true)));
    assert_eq!(changed["description"], "calm", "what is left out stays");
    assert_eq!(names(&bed, "category=Narrators").await, ["Eva"]);
    let cleared = json(&mut put(&bed, voice.id, &json!({"category": null, "color": null})).await).await;
    assert!(cleared["category"].is_null() && cleared["color"].is_null());
    let stale = request(Method::PUT, &format!("/api/voices/{}", voice.id)).add_header("x-api-key", &bed.key, true);
    let stale = stale.add_header("if-match", "\"2\"", true).json(&json!({"name": "Late"}));
    problem(bed.send(stale).await, 409, "stale_revision").await;
    let wrong = json!({"name": "", "language": "x", "gender": "robot", "tags": [""], "color": "red", "category": "none", "description": "x".repeat(4_001)});
    let refused = problem(put(&bed, voice.id, &wrong).await, 422, "validation_failed").await;
    assert_eq!(refused["errors"].as_array().unwrap().len(), 7, "{refused}");
    problem(put(&bed, voice.id, &json!({"settings": []})).await, 400, "invalid_request").await;
    let after = json(&mut bed.get(&format!("/api/voices/{}", voice.id)).await).await;
    assert_eq!((after["name"].as_str(), after["revision"].as_i64()), (Some("Eva"), Some(3)), "a refused change changes nothing");
    problem(
        bed.send(request(Method::PUT, "/api/voices/nora").add_header("x-api-key", &bed.key, true).json(&json!({}))).await,
        403,
        "read_only",
    )
    .await;
}

#[tokio::test]
async fn another_key_reads_shared_voices_and_changes_none() {
    let bed = Bed::without_workers().await;
    let shared = store(&bed, "somebody", |voice| voice.name = "Shared".into()).await;
    let private = store(&bed, "somebody", |voice| (voice.name, voice.private) = ("Private".into(), true)).await;
    assert_eq!(names(&bed, "type=clone").await, ["Shared"]);
    let seen = json(&mut bed.get(&format!("/api/voices/{}", shared.id)).await).await;
    assert_eq!(seen["read_only"], true);
    assert_eq!(status(&bed.get(seen["samples"][0]["audio_url"].as_str().unwrap()).await), 200);
    problem(put(&bed, shared.id, &json!({"name": "Mine"})).await, 403, "read_only").await;
    problem(delete(&bed, &bed.key, &format!("/api/voices/{}", shared.id)).await, 403, "read_only").await;
    for part in ["", "/preview", &format!("/samples/{NOBODY}")] {
        problem(bed.get(&format!("/api/voices/{}{part}", private.id)).await, 404, "voice_not_found").await;
    }
    problem(put(&bed, private.id, &json!({"name": "Mine"})).await, 404, "voice_not_found").await;
    problem(delete(&bed, &bed.key, &format!("/api/voices/{}", private.id)).await, 404, "voice_not_found").await;
    problem(bed.post(&format!("/api/favorites/{}", private.id), &json!({})).await, 404, "voice_not_found").await;
    for voice in [private.id.to_string(), "Private".into()] {
        problem(bed.post("/api/generate/clone", &json!({"text": "Hello.", "voice_id": voice})).await, 404, "voice_not_found").await;
    }
    let spoken = json(&mut bed.post("/api/generate/clone", &json!({"text": "Hello.", "voice_id": "shared"})).await).await;
    assert_eq!(spoken["status"], "queued", "{spoken}");
}

#[tokio::test]
async fn a_voice_that_speaks_stays_and_one_that_goes_leaves_nothing() {
    let bed = Bed::without_workers().await;
    let voice = store(&bed, &bed.owner(), |_| {}).await;
    let path = format!("/api/voices/{}", voice.id);
    let job = json(&mut bed.post("/api/generate/clone", &json!({"text": "Hello.", "voice_id": voice.id})).await).await;
    problem(delete(&bed, &bed.key, &path).await, 409, "conflict").await;
    bed.post("/api/generation/cancel", &json!({"task_id": job["job_id"]})).await;
    bed.post(&format!("/api/favorites/{}", voice.id), &json!({})).await;
    assert_eq!(status(&delete(&bed, &bed.key, &path).await), 204);
    problem(bed.get(&path).await, 404, "voice_not_found").await;
    problem(delete(&bed, &bed.key, &path).await, 404, "voice_not_found").await;
    assert_eq!(bed.app.storage.blobs.voice_blobs(voice.id, i64::MAX).await.unwrap(), []);
    assert_eq!(json(&mut bed.get("/api/favorites").await).await["favorites"], json!([]));
    let history = json(&mut bed.get(&format!("/api/generations/{}", job["job_id"].as_str().unwrap())).await).await;
    assert_eq!(
        (history["voice_name"].as_str(), history["voice_id"].as_str()),
        (Some("Ada"), Some(voice.id.to_string().as_str())),
        "{history}"
    );
    problem(delete(&bed, &bed.key, "/api/voices/nora").await, 403, "read_only").await;
}

#[tokio::test]
async fn a_voice_without_a_profile_is_told_apart_from_an_unknown_one() {
    let bed = Bed::without_workers().await;
    let voice = store(&bed, &bed.owner(), |voice| voice.profiles = None).await;
    let later = json!([{"engine": "of-later", "model": "m", "profile": {"engine": "of-later"}}]);
    let other = store(&bed, &bed.owner(), |voice| (voice.name, voice.profiles) = ("Eva".into(), Some(later.to_string()))).await;
    for name in [voice.id.to_string(), "ADA".into(), other.id.to_string()] {
        let refused =
            problem(bed.post("/api/generate/clone", &json!({"text": "Hi.", "voice_id": name})).await, 422, "validation_failed").await;
        assert_eq!(refused["errors"][0]["field"], "voice_id");
        assert!(refused["detail"].as_str().unwrap().contains("profile"), "{refused}");
    }
    assert_eq!(json(&mut bed.get(&format!("/api/voices/{}", voice.id)).await).await["languages"], json!([]));
}

#[tokio::test]
async fn an_own_name_goes_before_a_presets() {
    let bed = Bed::without_workers().await;
    let voice = store(&bed, &bed.owner(), |voice| voice.name = "Nora".into()).await;
    store(&bed, "somebody", |voice| voice.name = "Elias".into()).await;
    let spoken = async |name: &str| {
        let job = json(&mut bed.post("/api/generate/clone", &json!({"text": "Hello.", "voice_id": name})).await).await;
        json(&mut bed.get(&format!("/api/generations/{}", job["job_id"].as_str().unwrap())).await).await["voice_id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(spoken("Nora").await, voice.id.to_string());
    assert_eq!(spoken("nora").await, "nora", "the id of a preset is nobody else's");
    assert_eq!(spoken("Elias").await, "elias");
}

#[tokio::test]
async fn categories_are_shared_and_unique() {
    let bed = Bed::without_workers().await;
    let mut made = bed.post("/api/categories", &json!({"name": "Märchen", "color": "#fff"})).await;
    assert_eq!(status(&made), 201);
    let made = json(&mut made).await;
    problem(bed.post("/api/categories", &json!({"name": "MÄRCHEN"})).await, 409, "conflict").await;
    problem(bed.post("/api/categories", &json!({"color": "white"})).await, 422, "validation_failed").await;
    let voice = store(&bed, &bed.owner(), |_| {}).await;
    put(&bed, voice.id, &json!({"category": made["id"]})).await;
    let list = json(&mut bed.get("/api/categories").await).await;
    assert_eq!(list["categories"], json!([{"id": made["id"], "name": "Märchen", "color": "#fff", "voice_count": 1}]));
    problem(delete(&bed, &bed.key, "/api/categories").await, 422, "validation_failed").await;
    problem(delete(&bed, &bed.key, "/api/categories?name=other").await, 404, "category_not_found").await;
    let by_body = request(Method::DELETE, "/api/categories").add_header("x-api-key", &bed.key, true).json(&json!({"name": "märchen"}));
    assert_eq!(status(&bed.send(by_body).await), 204);
    assert!(json(&mut bed.get(&format!("/api/voices/{}", voice.id)).await).await["category"].is_null());
}

#[tokio::test]
async fn favourites_toggle_and_are_ones_own() {
    let bed = Bed::without_workers().await;
    let voice = store(&bed, &bed.owner(), |_| {}).await;
    let toggle =
        async |id: &str, body: &Value| json(&mut bed.post(&format!("/api/favorites/{id}"), body).await).await["is_favorite"].clone();
    assert_eq!(toggle("nora", &json!({})).await, true);
    assert_eq!(toggle(&voice.id.to_string(), &json!({"favorite": true})).await, true);
    assert_eq!(toggle(&voice.id.to_string(), &json!({"favorite": true})).await, true);
    let list = json(&mut bed.get("/api/favorites").await).await;
    assert_eq!(list["favorites"], json!(["nora", voice.id]));
    assert_eq!(names(&bed, "favorite=true").await, ["Nora", "Ada"]);
    assert_eq!(list["voices"][1]["is_favorite"], true);
    let other = bed.new_key(&api::scopes::Scope::ALL).await;
    let others = bed.send(request(Method::GET, "/api/favorites").add_header("x-api-key", &other, true)).await;
    assert_eq!(json(&mut { others }).await["favorites"], json!([]));
    let empty = request(Method::POST, "/api/favorites/nora").add_header("x-api-key", &bed.key, true);
    assert_eq!(json(&mut bed.send(empty).await).await["is_favorite"], false, "an empty body toggles");
    problem(bed.post("/api/favorites/nobody", &json!({})).await, 404, "voice_not_found").await;
}

#[tokio::test]
async fn the_sweep_takes_blobs_without_a_row_and_no_others() {
    let bed = Bed::without_workers().await;
    let voice = store(&bed, &bed.owner(), |_| {}).await;
    let blobs = &bed.app.storage.blobs;
    let old_preview = BlobKey::VoicePreview { voice_id: voice.id, preview_id: Uuid::now_v7() };
    let of_nobody = BlobKey::VoiceSample { voice_id: Uuid::now_v7(), sample_id: Uuid::now_v7() };
    for key in [old_preview, of_nobody] {
        blobs.put(key, Bytes::from_static(b"left behind")).await.unwrap();
    }
    let config = jobs::sweep::SweepConfig { orphan_blobs_kept_ms: 3_600_000, ..Default::default() };
    jobs::sweep::sweep(&bed.app.storage, &config, true, bed.app.clock.now_ms()).await.unwrap();
    assert!(blobs.size_bytes(of_nobody).await.is_ok(), "young blobs may belong to a row that is about to be written");
    jobs::sweep::sweep(&bed.app.storage, &config, true, bed.app.clock.now_ms() + 7_200_000).await.unwrap();
    assert!(blobs.size_bytes(of_nobody).await.is_err() && blobs.size_bytes(old_preview).await.is_err());
    assert_eq!(blobs.voice_blobs(voice.id, i64::MAX).await.unwrap().len(), 2);
}
