//! How audio leaves the server: whole, in ranges, by its hash, and at once for those who wait for it.

#![allow(clippy::unwrap_used)]

use std::io::Cursor;

use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tests::{Answer, Client, TestServer, script};

fn speech(voice_id: &str) -> Value {
    json!({"text": "The fog came in at noon. By two o'clock nobody could see the pier.", "voice_id": voice_id, "seed": 3})
}

async fn finished(client: &Client) -> String {
    let task = client.submit("/api/generate/clone-chunked", &speech(&client.preset(0).await)).await;
    client.completed(&task).await;
    task
}

async fn with(client: &Client, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = client.request(method, path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::to(request).await
}

/// What every audio address must do with conditions and ranges.
async fn serves_like_a_file(client: &Client, path: &str) {
    let ranged = async |range: &str| with(client, Method::GET, path, &[("range", range)]).await;
    let whole = client.get(path).await;
    let bytes = whole.expect(200).body.clone();
    let size = bytes.len();
    let etag = format!("\"{}\"", hex::encode(Sha256::digest(&bytes)));
    assert_eq!(whole.header("content-type"), Some("audio/wav"));
    assert_eq!(whole.header("content-length"), Some(size.to_string().as_str()));
    assert_eq!(whole.header("etag"), Some(etag.as_str()), "strong, and the hash of the bytes");
    assert_eq!(whole.header("accept-ranges"), Some("bytes"));
    let wav = hound::WavReader::new(Cursor::new(bytes.clone())).unwrap();
    assert_eq!((wav.spec().sample_rate, wav.spec().channels), (24_000, 1));
    assert!(wav.duration() > 0);

    let head = with(client, Method::HEAD, path, &[]).await;
    assert_eq!(head.expect(200).header("content-length"), Some(size.to_string().as_str()));
    assert_eq!(head.header("etag"), Some(etag.as_str()));
    assert!(head.body.is_empty());

    let first = ranged("bytes=0-99").await;
    assert_eq!(first.expect(206).body, bytes[..100]);
    assert_eq!(first.header("content-range"), Some(format!("bytes 0-99/{size}").as_str()));
    assert_eq!(ranged("bytes=100-").await.expect(206).body, bytes[100..]);
    assert_eq!(ranged("bytes=-50").await.expect(206).body, bytes[size - 50..]);
    assert_eq!(ranged(&format!("bytes=10-{}", size * 2)).await.expect(206).body, bytes[10..]);
    let beyond = ranged(&format!("bytes={size}-")).await;
    assert_eq!(beyond.expect(416).header("content-range"), Some(format!("bytes */{size}").as_str()));
    // RFC 9110 14.2: what is no range is as if it were not there.
    assert_eq!(ranged("lines=1-2").await.expect(200).body, bytes);

    let unchanged = with(client, Method::GET, path, &[("if-none-match", &etag)]).await;
    assert!(unchanged.expect(304).body.is_empty());
    assert_eq!(unchanged.header("etag"), Some(etag.as_str()));
    with(client, Method::GET, path, &[("if-none-match", "\"another\"")]).await.expect(200);
    let same = with(client, Method::GET, path, &[("range", "bytes=0-9"), ("if-range", &etag)]).await;
    assert_eq!(same.expect(206).body, bytes[..10]);
    let other = with(client, Method::GET, path, &[("range", "bytes=0-9"), ("if-range", "\"another\"")]).await;
    assert_eq!(other.expect(200).body, bytes, "a range of something else is no use: the whole");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_chunks_serve_like_files() {
    let server = TestServer::scripted(script::at_once()).await;
    let client = server.client();
    let task = finished(&client).await;
    serves_like_a_file(&client, &format!("/api/generations/{task}/audio")).await;
    serves_like_a_file(&client, &format!("/api/audio/chunk/{task}/0")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_prefers_to_wait_gets_the_finished_job() {
    let server = TestServer::scripted(script::at_once()).await;
    let client = server.client();
    let body = speech(&client.preset(0).await);
    let path = "/api/generate/preset";
    let answer = Answer::to(client.request(Method::POST, path).header("prefer", "wait=60").json(&body)).await;
    let job = answer.expect(200).json();
    assert_eq!(job["status"], "completed");
    assert_eq!(job["progress"], 1.0);
    let ids: Vec<_> = ["task_id", "job_id", "generation_id"].iter().map(|name| job[*name].clone()).collect();
    assert!(ids[0].is_string() && ids.iter().all(|id| *id == ids[0]), "one id: {ids:?}");
    let audio = client.get(job["links"]["audio"].as_str().unwrap()).await.expect(200).body.clone();

    let answer = Answer::to(client.request(Method::POST, path).header("accept", "audio/wav").json(&body)).await;
    assert_eq!(answer.expect(200).header("content-type"), Some("audio/wav"));
    assert_eq!(answer.body, audio, "the same request, the same bytes");

    let answer = client.post(&format!("{path}?wait=60"), &body).await;
    assert_eq!(answer.expect(200).json()["status"], "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_wait_long_enough_gets_the_job_as_it_is() {
    let server = TestServer::scripted(script::never()).await;
    let client = server.client();
    let request = client.request(Method::POST, "/api/generate/clone-chunked").header("prefer", "wait=1");
    let answer = Answer::to(request.json(&speech(&client.preset(0).await))).await;
    let job = answer.expect(202).json();
    let task = job["task_id"].as_str().unwrap();
    assert_eq!(answer.header("location"), Some(format!("/api/jobs/{task}").as_str()));
    assert!(job["chunks"][0]["text"].as_str().unwrap().starts_with("The fog"), "{job:#}");

    let early = client.get(&format!("/api/audio/chunk/{task}/0")).await;
    let seconds: u64 = early.expect(202).header("retry-after").unwrap().parse().unwrap();
    assert!(seconds >= 1);
    client.get(&format!("/api/audio/chunk/{task}/999")).await.problem(404, "chunk_not_found");
    client.post("/api/generate/merge-chunks", &json!({"task_id": task})).await.problem(409, "chunks_incomplete");
    client.post("/api/generation/cancel", &json!({"task_id": task})).await.expect(200);
    assert_eq!(client.ended(task).await["status"], "cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn anothers_audio_is_not_there() {
    let server = TestServer::scripted(script::at_once()).await;
    let task = finished(&server.client()).await;
    let other = server.client_with(Some(&server.new_key("other", &["tts:generate", "voices:read"]).await));
    other.get(&format!("/api/generations/{task}")).await.problem(404, "generation_not_found");
    other.get(&format!("/api/generations/{task}/audio")).await.problem(404, "generation_not_found");
    other.get(&format!("/api/audio/chunk/{task}/0")).await.problem(404, "task_not_found");
    assert_eq!(other.get("/api/generations").await.expect(200).json()["total"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_by_hand_uses_order_and_gap() {
    let server = TestServer::scripted(script::at_once()).await;
    let client = server.client();
    let chunks = json!([{"text": "One fish."}, {"text": "Two red fish."}, {"text": "Three rather large blue fish."}]);
    let body = json!({"chunks": chunks, "voice_id": client.preset(0).await, "auto_merge": false});
    let task = client.submit("/api/generate/clone-chunked", &body).await;
    client.completed(&task).await;

    let merge = async |gap_ms: u64, order: Value| {
        let body = json!({"task_id": task, "gap_ms": gap_ms, "order": order});
        let request = client.request(Method::POST, "/api/generate/merge-chunks").header("prefer", "wait=60").json(&body);
        let answer = Answer::to(request).await;
        let job = answer.expect(200).json();
        // The contract names the merge's own fields; they may stand in the finished job.
        if job["audio_url"].is_string() { job } else { job["result"].clone() }
    };
    let near = merge(100, json!([0, 1, 2])).await;
    let far = merge(600, json!([0, 1, 2])).await;
    let duration = |merged: &Value| merged["duration_ms"].as_i64().unwrap();
    assert_eq!(duration(&far) - duration(&near), 1_000, "two gaps, each 500 ms longer");
    let starts: Vec<_> = far["chunks"].as_array().unwrap().iter().map(|chunk| chunk["start_ms"].as_i64().unwrap()).collect();
    let ends: Vec<_> = far["chunks"].as_array().unwrap().iter().map(|chunk| chunk["end_ms"].as_i64().unwrap()).collect();
    assert_eq!((starts[1] - ends[0], starts[2] - ends[1]), (600, 600));
    assert!(far["loudness"]["integrated_lufs"].is_number() || far["loudness"].is_null(), "{far}");

    let turned = merge(100, json!([2, 0])).await;
    let indexes: Vec<_> = turned["chunks"].as_array().unwrap().iter().map(|chunk| chunk["index"].as_i64().unwrap()).collect();
    assert_eq!(indexes, [2, 0]);
    let audio = client.get(turned["audio_url"].as_str().unwrap()).await.expect(200).body.clone();
    let wav = hound::WavReader::new(Cursor::new(audio)).unwrap();
    assert_eq!(i64::from(wav.duration()) / 24, duration(&turned));
}
