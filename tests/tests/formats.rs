//! Finished sound in every format that is written, read back by ffprobe; and a chunk made again, heard and merged.

#![allow(clippy::unwrap_used)]

use std::process::Command;

use serde_json::{Value, json};
use tests::tools::{self, Tool};
use tests::{Answer, Client, TestServer, script};

/// Name, MIME type, and what ffprobe calls the codec.
const FORMATS: [(&str, &str, &str); 3] = [("wav", "audio/wav", "pcm_s16le"), ("flac", "audio/flac", "flac"), ("opus", "audio/ogg", "opus")];

#[derive(Debug)]
struct Probed {
    codec: String,
    seconds: f64,
    tags: String,
}

/// What ffprobe, which shares no code with us, finds in a file.
fn probe(bytes: &[u8]) -> Probed {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let arguments = ["-v", "error", "-show_entries", "stream=codec_name:stream_tags:format=duration:format_tags", "-of", "json"];
    let output = Command::new("ffprobe").args(arguments).arg(file.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    Probed {
        codec: found["streams"][0]["codec_name"].as_str().unwrap().to_owned(),
        seconds: found["format"]["duration"].as_str().unwrap().parse().unwrap(),
        tags: format!("{} {}", found["format"]["tags"], found["streams"][0]["tags"]),
    }
}

fn assert_is(answer: &Answer, format: (&str, &str, &str), seconds: f64) -> Probed {
    let (name, content_type, codec) = format;
    answer.expect(200);
    assert_eq!(answer.header("content-type"), Some(content_type));
    assert!(answer.header("content-disposition").unwrap().contains(&format!(".{name}\"")), "{answer:?}");
    let probed = probe(&answer.body);
    assert_eq!(probed.codec, codec);
    assert!((probed.seconds - seconds).abs() < 0.05, "{name}: {probed:?}, and it has {seconds} s");
    probed
}

/// The samples of a file as sox, a third reader, decodes them: 16 bits, with its name's ending.
fn by_sox(bytes: &[u8], ending: &str) -> Vec<u8> {
    let file = tempfile::Builder::new().suffix(&format!(".{ending}")).tempfile().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let output = Command::new("sox").arg(file.path()).args(["-D", "-t", "raw", "-e", "signed", "-b", "16", "-"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

async fn spoken(client: &Client, more: Value) -> (String, f64) {
    let mut body =
        json!({"text": "The fog came in at noon. By two nobody could see the pier.", "voice_id": client.preset(0).await, "seed": 3});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let task = client.submit("/api/generate/clone-chunked", &body).await;
    let job = client.completed(&task).await;
    (task, job["result"]["duration_ms"].as_f64().unwrap() / 1_000.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merged_file_is_converted_for_who_asks() {
    if !tools::has("formats::a_merged_file_is_converted_for_who_asks", &[Tool::Ffmpeg]) {
        return;
    }
    let server = TestServer::scripted(script::at_once()).await;
    let client = server.client();
    let (task, seconds) = spoken(&client, json!({"title": "The fog"})).await;
    for format in FORMATS {
        let path = format!("/api/generations/{task}/audio?format={}", format.0);
        let first = client.get(&path).await;
        let probed = assert_is(&first, format, seconds);
        assert!(probed.tags.contains("The fog") && probed.tags.contains("synthetic speech"), "{probed:?}");
        let again = client.get(&path).await;
        assert_eq!((again.header("etag"), &again.body), (first.header("etag"), &first.body));
        let chunk = client.get(&format!("/api/audio/chunk/{task}/0?format={}", format.0)).await;
        let chunk_seconds =
            client.get(&format!("/api/generations/{task}")).await.json()["chunks"][0]["duration_ms"].as_f64().unwrap() / 1_000.0;
        assert_is(&chunk, format, chunk_seconds);
    }
    let tags: Vec<_> = futures::future::join_all(FORMATS.map(async |format| {
        let answer = client.get(&format!("/api/generations/{task}/audio?format={}", format.0)).await;
        answer.header("etag").unwrap().to_owned()
    }))
    .await;
    assert!(tags[0] != tags[1] && tags[1] != tags[2], "{tags:?}");
    let problem = client.get(&format!("/api/generations/{task}/audio?format=ogg9")).await.problem(422, "validation_failed");
    assert!(problem["errors"][0]["message"].as_str().unwrap().contains("flac"), "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_third_reader_finds_the_same_samples() {
    if !tools::has("formats::a_third_reader_finds_the_same_samples", &[Tool::Sox]) {
        return;
    }
    let server = TestServer::scripted(script::at_once()).await;
    let client = server.client();
    let (task, seconds) = spoken(&client, json!({})).await;
    let file = async |format: &str| client.get(&format!("/api/generations/{task}/audio?format={format}")).await.expect(200).body.clone();
    let (wav, flac) = (by_sox(&file("wav").await, "wav"), by_sox(&file("flac").await, "flac"));
    assert!((wav.len() as f64 / 2.0 / 24_000.0 - seconds).abs() < 0.001, "{} bytes for {seconds} s", wav.len());
    assert!(wav == flac, "lossless, and the same by sox");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_is_merged_in_the_format_it_asks_for() {
    if !tools::has("formats::a_generation_is_merged_in_the_format_it_asks_for", &[Tool::Ffmpeg]) {
        return;
    }
    let server = TestServer::scripted(script::at_once()).await;
    let client = server.client();
    for format in FORMATS {
        let (task, seconds) = spoken(&client, json!({"format": format.0, "text": format!("Merged as {}, at once.", format.0)})).await;
        assert_is(&client.get(&format!("/api/generations/{task}/audio")).await, format, seconds);
        // What was merged can be had in another format too.
        assert_is(&client.get(&format!("/api/generations/{task}/audio?format=wav")).await, FORMATS[0], seconds);
    }
    let body = json!({"text": "Hi.", "voice_id": client.preset(0).await, "format": "aac"});
    client.post("/api/generate/preset", &body).await.problem(422, "validation_failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_made_again_is_heard_and_merged() {
    let server = TestServer::scripted(script::at_once()).await;
    let client = server.client();
    let (task, _) = spoken(&client, json!({"max_chunk_chars": 30})).await;
    let old = client.get(&format!("/api/audio/chunk/{task}/1")).await.expect(200).body.clone();
    let before = client.get(&format!("/api/generations/{task}")).await.json();
    assert_eq!(before["stale"], false);

    let body = json!({"task_id": task, "index": 1, "text": "By three the pier was back, and so were the boats."});
    let answer = client.request(reqwest::Method::POST, "/api/generate/regenerate-chunk").header("prefer", "wait=20").json(&body);
    let answer = Answer::to(answer).await;
    let job = answer.expect(200).json();
    assert_eq!((&job["type"], &job["status"]), (&"generate.regenerate_chunk".into(), &"completed".into()));
    assert_eq!(job["generation_id"], task.as_str());
    let url = job["result"]["audio_url"].as_str().unwrap();
    let new = client.get(url).await.expect(200).body.clone();
    assert_ne!(new, old);
    assert_eq!(client.get(&format!("/api/audio/chunk/{task}/1")).await.expect(200).body, new, "the newest take counts");
    assert_eq!(client.get(&format!("/api/audio/chunk/{task}/1?take=1")).await.expect(200).body, old);
    assert_eq!(client.get(&format!("/api/generations/{task}")).await.json()["stale"], true);

    let merge =
        client.request(reqwest::Method::POST, "/api/generate/merge-chunks").header("prefer", "wait=20").json(&json!({"task_id": task}));
    Answer::to(merge).await.expect(200);
    let after = client.get(&format!("/api/generations/{task}")).await.json();
    assert_eq!((&after["stale"], &after["status"]), (&false.into(), &"completed".into()));
    assert_ne!(after["result"], before["result"]);

    let audio = client.request(reqwest::Method::POST, "/api/generate/regenerate-chunk").header("accept", "audio/*").json(&body);
    let audio = Answer::to(audio).await;
    assert_eq!(audio.expect(200).header("content-type"), Some("audio/wav"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_made_again_is_told_why() {
    let server = TestServer::scripted(script::slow(20)).await;
    let client = server.client();
    let again = async |body: Value| client.post("/api/generate/regenerate-chunk", &body).await;
    let body = json!({"text": "A slow one, which is not finished for a while.", "voice_id": client.preset(0).await});
    let task = client.submit("/api/generate/clone-chunked", &body).await;
    again(json!({"task_id": task, "index": 0})).await.problem(409, "conflict");
    again(json!({"task_id": task, "index": 9})).await.problem(404, "chunk_not_found");
    again(json!({"task_id": task})).await.problem(422, "validation_failed");
    again(json!({"task_id": "no-id", "index": 0})).await.problem(404, "task_not_found");
    client.completed(&task).await;
    again(json!({"task_id": task, "index": 0, "voice_id": "nobody"})).await.problem(404, "voice_not_found");
    let other = server.new_key("other", &[]).await;
    let other = server.client_with(Some(&other));
    other.post("/api/generate/regenerate-chunk", &json!({"task_id": task, "index": 0})).await.problem(404, "task_not_found");
}
