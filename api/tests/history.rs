//! History and montages as a caller writes them: filters, deleting, order, versions, and what is said when something is wrong.

#![allow(clippy::unwrap_used)]

mod bed;

use bed::{Bed, header, json, problem, request, status};
use salvo::http::{Method, Response};
use salvo::test::RequestBuilder;
use serde_json::{Value, json};

const NOBODY: &str = "0197f000-0000-7000-8000-000000000000";

fn asked(bed: &Bed, method: Method, path: &str) -> RequestBuilder {
    request(method, path).add_header("x-api-key", &bed.key, true)
}

async fn put(bed: &Bed, path: &str, body: &Value) -> Response {
    bed.send(asked(bed, Method::PUT, path).json(body)).await
}

async fn delete(bed: &Bed, path: &str) -> Response {
    bed.send(asked(bed, Method::DELETE, path)).await
}

async fn speak(bed: &Bed, body: Value) -> String {
    let mut made = bed.post("/api/generate/preset", &body).await;
    assert_eq!(status(&made), 202);
    json(&mut made).await["task_id"].as_str().unwrap().to_owned()
}

async fn list(bed: &Bed, query: &str) -> Value {
    let mut response = bed.get(&format!("/api/generations?{query}")).await;
    let body = json(&mut response).await;
    assert_eq!(status(&response), 200, "{query}: {body}");
    body
}

#[tokio::test]
async fn the_history_is_narrowed_by_each_filter() {
    let bed = Bed::without_workers().await;
    let first = speak(&bed, json!({"text": "Die Brücke.", "voice_id": "nora", "title": "Erstes"})).await;
    let second = speak(&bed, json!({"text": "The bridge.", "voice_id": "elias"})).await;
    let mut made = bed.post("/api/montages", &json!({"name": "M", "generation_ids": [second]})).await;
    let montage = json(&mut made).await["id"].as_str().unwrap().to_owned();
    for (query, expected) in [
        ("q=BR%C3%9CCKE", vec![&first]),
        ("q=brucke%20erstes", vec![&first]),
        ("q=bridge", vec![&second]),
        ("q=%20", vec![&second, &first]),
        ("q=%25", vec![]),
        ("voice_id=nora", vec![&first]),
        (&format!("montage_id={montage}"), vec![&second]),
        ("montage_id=nonsense", vec![]),
        ("type=generate.preset", vec![&second, &first]),
        ("type=generate.clone", vec![]),
        ("status=queued", vec![&second, &first]),
        ("status=failed", vec![]),
        ("from=2026-01-01T00:00:00Z", vec![&second, &first]),
        ("to=2020-01-01T00:00:00%2B02:00", vec![]),
    ] {
        let page = list(&bed, query).await;
        let ids: Vec<&str> = page["items"].as_array().unwrap().iter().map(|item| item["task_id"].as_str().unwrap()).collect();
        assert_eq!(ids, expected, "{query}");
        assert_eq!(page["total"], expected.len(), "{query}");
    }
    for q in ["x".repeat(301), (0..17).map(|nth| format!("w{nth}%20")).collect()] {
        problem(bed.get(&format!("/api/generations?q={q}")).await, 422, "validation_failed").await;
    }
    let page = list(&bed, "limit=1").await;
    assert_eq!(page["items"][0]["task_id"], *second);
    let next = list(&bed, &format!("limit=1&cursor={}", page["next_cursor"].as_str().unwrap())).await;
    assert_eq!((&next["items"][0]["task_id"], &next["next_cursor"], &next["total"]), (&json!(first), &Value::Null, &json!(2)));
    problem(bed.get("/api/generations?cursor=7").await, 422, "validation_failed").await;
}

#[tokio::test]
async fn a_deleted_generation_is_gone_from_every_route() {
    let bed = Bed::with_workers().await;
    let mut made = bed.post("/api/generate/preset?wait=60", &json!({"text": "Gone soon.", "voice_id": "nora"})).await;
    let id = json(&mut made).await["task_id"].as_str().unwrap().to_owned();
    assert_eq!(status(&made), 200);
    let answer = delete(&bed, &format!("/api/generations/{id}")).await;
    assert_eq!(status(&answer), 204);
    for (path, code) in [
        (format!("/api/generations/{id}"), "generation_not_found"),
        (format!("/api/generations/{id}/audio"), "generation_not_found"),
        (format!("/api/generations/{id}/subtitles.srt"), "generation_not_found"),
        (format!("/api/generations/{id}/subtitles.vtt"), "generation_not_found"),
        (format!("/api/generations/{id}/peaks"), "generation_not_found"),
        (format!("/api/jobs/{id}"), "job_not_found"),
        (format!("/api/audio/chunk/{id}/0"), "task_not_found"),
    ] {
        problem(bed.get(&path).await, 404, code).await;
    }
    problem(delete(&bed, &format!("/api/generations/{id}")).await, 404, "generation_not_found").await;
    problem(delete(&bed, "/api/generations/nonsense").await, 404, "generation_not_found").await;
    assert_eq!(list(&bed, "").await["total"], 0);
}

#[tokio::test]
async fn one_that_waits_is_deleted_by_force_and_its_key_is_used_up() {
    let bed = Bed::without_workers().await;
    let body = json!({"text": "Waiting.", "voice_id": "nora"});
    let submit =
        async || bed.send(asked(&bed, Method::POST, "/api/generate/preset").add_header("idempotency-key", "k", true).json(&body)).await;
    let mut made = submit().await;
    let id = json(&mut made).await["task_id"].as_str().unwrap().to_owned();
    let path = format!("/api/generations/{id}");
    let told = problem(delete(&bed, &path).await, 409, "conflict").await;
    assert!(told["detail"].as_str().unwrap().contains("force=true"), "{told}");
    problem(delete(&bed, &format!("{path}?force=perhaps")).await, 400, "invalid_request").await;
    assert_eq!(status(&delete(&bed, &format!("{path}?force=true")).await), 204);
    problem(bed.get(&path).await, 404, "generation_not_found").await;
    problem(submit().await, 410, "gone").await;
    assert_eq!(list(&bed, "").await["total"], 0, "the late repeat brought nothing back");
}

#[tokio::test]
async fn the_life_of_a_montage() {
    let bed = Bed::without_workers().await;
    let one = speak(&bed, json!({"text": "One.", "voice_id": "nora"})).await;
    let two = speak(&bed, json!({"text": "Two.", "voice_id": "nora"})).await;
    let mut made = bed.post("/api/montages", &json!({"name": "Tale", "description": "d", "generation_ids": [two, one]})).await;
    assert_eq!(status(&made), 201);
    let location = header(&made, "location").unwrap().to_owned();
    let first_tag = header(&made, "etag").unwrap().to_owned();
    let montage = json(&mut made).await;
    assert_eq!(location, format!("/api/montages/{}", montage["id"].as_str().unwrap()));
    assert_eq!(montage["generation_ids"], json!([two, one]));
    assert_eq!((&montage["generations"][0]["task_id"], &montage["generation_count"]), (&json!(two), &json!(2)));

    let three = speak(&bed, json!({"text": "Three.", "voice_id": "nora", "montage_id": montage["id"]})).await;
    let mut shown = bed.get(&location).await;
    let tag = header(&shown, "etag").unwrap().to_owned();
    assert_ne!(tag, first_tag, "what joined makes another version");
    assert_eq!(json(&mut shown).await["generation_ids"], json!([two, one, three]));
    let mut details = bed.get(&format!("/api/generations/{three}")).await;
    assert_eq!(json(&mut details).await["montage_ids"], json!([montage["id"]]));

    let change =
        async |tag: &str, body: Value| bed.send(asked(&bed, Method::PUT, &location).add_header("if-match", tag, true).json(&body)).await;
    problem(change(&first_tag, json!({"name": "New"})).await, 409, "stale_revision").await;
    let mut changed = change(&tag, json!({"name": "New", "description": "", "generation_ids": [three, two]})).await;
    assert_eq!(status(&changed), 200);
    let changed = json(&mut changed).await;
    assert_eq!(
        (&changed["name"], &changed["description"], &changed["generation_ids"]),
        (&json!("New"), &Value::Null, &json!([three, two]))
    );
    let mut same = put(&bed, &location, &json!({})).await;
    assert_eq!(json(&mut same).await["name"], "New");

    assert_eq!(status(&delete(&bed, &format!("/api/generations/{three}?force=true")).await), 204);
    let mut shown = bed.get(&location).await;
    assert_eq!(json(&mut shown).await["generation_ids"], json!([two]));
    let mut all = bed.get("/api/montages?limit=1").await;
    let all = json(&mut all).await;
    assert_eq!((&all["total"], &all["montages"][0]["generation_count"], &all["next_cursor"]), (&json!(1), &json!(1), &Value::Null));
    assert_eq!(status(&delete(&bed, &location).await), 204);
    problem(delete(&bed, &location).await, 404, "montage_not_found").await;
    problem(bed.get(&location).await, 404, "montage_not_found").await;
    assert_eq!(status(&bed.get(&format!("/api/generations/{two}")).await), 200, "generations stay");
}

#[tokio::test]
async fn what_is_wrong_with_a_montage_is_told() {
    let bed = Bed::without_workers().await;
    let one = speak(&bed, json!({"text": "One.", "voice_id": "nora"})).await;
    let mut made = bed.post("/api/montages", &json!({"name": "Tale"})).await;
    let path = format!("/api/montages/{}", json(&mut made).await["id"].as_str().unwrap());
    for (body, code, field) in [
        (json!({"name": ""}), 422, "name"),
        (json!({"name": " "}), 422, "name"),
        (json!({"name": "x".repeat(201)}), 422, "name"),
        (json!({"name": "a", "description": "x".repeat(2_001)}), 422, "description"),
        (json!({"name": "a", "generation_ids": [one, one]}), 422, "generation_ids[1]"),
        (json!({"name": "a", "generation_ids": [one, NOBODY]}), 404, "generation_ids[1]"),
        (json!({"name": "a", "generation_ids": ["nonsense"]}), 404, "generation_ids[0]"),
    ] {
        let name = if code == 404 { "generation_not_found" } else { "validation_failed" };
        for response in [bed.post("/api/montages", &body).await, put(&bed, &path, &body).await] {
            let told = problem(response, code, name).await;
            assert_eq!(told["errors"][0]["field"], field, "{told}");
        }
    }
    problem(bed.post("/api/montages", &json!({})).await, 400, "invalid_request").await;
    problem(put(&bed, &path, &json!({"generation_ids": "x"})).await, 400, "invalid_request").await;
    problem(put(&bed, &format!("/api/montages/{NOBODY}"), &json!({"name": "a"})).await, 404, "montage_not_found").await;
    for id in [NOBODY, "nonsense"] {
        let body = json!({"text": "One.", "voice_id": "nora", "montage_id": id});
        problem(bed.post("/api/generate/preset", &body).await, 404, "montage_not_found").await;
    }
    assert_eq!(list(&bed, "").await["total"], 1);
}
