//! Timelines: made from chunks, saved over revisions, brought up to date, and merged to the sample, the same bytes each time.

#![allow(clippy::unwrap_used)]

use std::io::Cursor;

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Answer, Client, TestServer, script, wait};

async fn spoken(client: &Client) -> String {
    let chunks = ["The first piece of three.", "And here is the second one.", "The third ends it."].map(|text| json!({"text": text}));
    let body = json!({"chunks": chunks, "voice_id": client.preset(0).await, "seed": 3, "pause_ms": 200});
    let task = client.submit("/api/generate/clone-chunked", &body).await;
    client.completed(&task).await;
    task
}

async fn timeline(client: &Client, task: &str) -> Value {
    client.get(&format!("/api/timeline/{task}")).await.expect(200).json()
}

async fn save(client: &Client, task: &str, body: Value) -> Answer {
    client.post(&format!("/api/timeline/{task}/layout"), &body).await
}

async fn waited(client: &Client, path: &str, body: &Value) -> Answer {
    Answer::to(client.request(Method::POST, path).header("prefer", "wait=30").json(body)).await
}

async fn merged(client: &Client, body: Value) -> (Value, Vec<i16>) {
    let job = waited(client, "/api/generate/merge-timeline", &body).await.expect(200).json();
    assert_eq!(job["status"], "completed", "{job}");
    let url = job["result"]["audio_url"].as_str().unwrap();
    let bytes = client.get(url).await.expect(200).body.clone();
    (job["result"].clone(), samples(&bytes))
}

fn samples(wav: &[u8]) -> Vec<i16> {
    hound::WavReader::new(Cursor::new(wav)).unwrap().into_samples::<i16>().map(Result::unwrap).collect()
}

fn starts(timeline: &Value) -> Vec<i64> {
    timeline["blocks"].as_array().unwrap().iter().map(|block| block["start_ms"].as_i64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_are_moved_and_revisions_rise() {
    let server = TestServer::scripted(script::at_once()).await;
    let client = server.client();
    let task = spoken(&client).await;
    let first = timeline(&client, &task).await;
    assert_eq!((&first["revision"], first["blocks"].as_array().unwrap().len()), (&0.into(), 3));
    let lengths: Vec<i64> = first["blocks"].as_array().unwrap().iter().map(|block| block["duration_ms"].as_i64().unwrap()).collect();
    assert_eq!(starts(&first), [0, lengths[0] + 200, lengths[0] + lengths[1] + 400], "with the pauses of the request");

    let saved = save(&client, &task, json!({"revision": 0, "positions": {"0": 100, "2": 9_000}})).await.expect(200).json();
    assert_eq!((&saved["revision"], starts(&saved)), (&1.into(), vec![100, lengths[0] + 200, 9_000]));
    assert_eq!(timeline(&client, &task).await, saved);
    save(&client, &task, json!({"revision": 0, "positions": {"0": 0}})).await.problem(409, "stale_revision");
    let blocks = json!([{"chunk_index": 2, "start_ms": 0}, {"chunk_index": 0, "start_ms": 5_000, "trim_start_ms": 100, "gain_db": -6.0}]);
    let saved = save(&client, &task, json!({"revision": 1, "blocks": blocks})).await.expect(200).json();
    assert_eq!((&saved["revision"], &saved["blocks"][1]["duration_ms"]), (&2.into(), &json!(lengths[0] - 100)));
    assert_eq!(saved["duration_ms"], 5_000 + lengths[0] - 100);
    let audio = saved["blocks"][1]["audio_url"].as_str().unwrap();
    client.get(audio).await.expect(200);

    let problem = save(&client, &task, json!({"positions": {"7": 0}})).await.problem(422, "validation_failed");
    assert_eq!(problem["errors"][0]["field"], "positions.7");
    let wrong = json!({"blocks": [{"chunk_index": 0, "start_ms": -5}, {"chunk_index": 9}]});
    let problem = save(&client, &task, wrong).await.problem(422, "validation_failed");
    let fields: Vec<&str> = problem["errors"].as_array().unwrap().iter().map(|error| error["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["blocks[0].start_ms", "blocks[1].chunk_index", "blocks[1].duration_ms"]);
    assert_eq!(timeline(&client, &task).await["revision"], 2, "what is refused changes nothing");
    save(&client, &task, json!({})).await.problem(422, "validation_failed");

    let other = server.new_key("other", &[]).await;
    let other = server.client_with(Some(&other));
    other.get(&format!("/api/timeline/{task}")).await.problem(404, "task_not_found");
    other.post(&format!("/api/timeline/{task}/layout"), &json!({"positions": {"0": 0}})).await.problem(404, "task_not_found");
    other.post("/api/generate/merge-timeline", &json!({"task_id": task})).await.problem(404, "task_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mix_is_exact_to_the_sample_and_the_same_each_time() {
    let server = TestServer::scripted(script::at_once()).await;
    let client = server.client();
    let task = spoken(&client).await;
    let chunk = samples(&client.get(&format!("/api/audio/chunk/{task}/0")).await.expect(200).body);
    let plain = json!({"task_id": task, "sample_rate": 24_000, "channels": 1, "normalize": false});
    let tracks = json!([{"id": "speech", "kind": "speech"}, {"id": "low", "gain_db": -6.0205999, "muted": false}]);
    let blocks = json!([{"chunk_index": 0, "start_ms": 1_000}, {"id": "again", "track_id": "low", "chunk_index": 0, "start_ms": 1_000}]);
    save(&client, &task, json!({"blocks": blocks, "tracks": tracks})).await.expect(200);
    let (result, mix) = merged(&client, plain.clone()).await;
    assert_eq!((mix.len(), result["revision"].as_i64()), (24_000 + chunk.len(), Some(1)));
    assert!(mix[..24_000].iter().all(|sample| *sample == 0));
    for (sample, source) in mix[24_000..].iter().zip(&chunk) {
        let wanted = (f64::from(*source) * 1.5).clamp(-32_768.0, 32_767.0);
        assert!((f64::from(*sample) - wanted).abs() <= 1.0, "{sample} of {source}");
    }
    let (again, same) = merged(&client, plain.clone()).await;
    assert_eq!((&again["sha256"], same == mix), (&result["sha256"], true));
    assert_ne!(again["render_id"], result["render_id"]);

    // A part of it is that part.
    let mut part = plain.clone();
    part["range"] = json!({"start_ms": 1_000, "end_ms": 1_250});
    assert_eq!(merged(&client, part).await.1, mix[24_000..30_000]);
    // The generation's own audio is another thing.
    let own = client.get(&format!("/api/generations/{task}/audio")).await.expect(200).body.clone();
    assert_ne!(samples(&own), mix);

    let loud = merged(&client, json!({"task_id": task, "normalize": {"target_lufs": -20.0, "true_peak_db": -2.0}})).await.0;
    assert!((loud["loudness"]["integrated_lufs"].as_f64().unwrap() + 20.0).abs() < 0.3, "{loud}");
    assert!(loud["loudness"]["true_peak_db"].as_f64().unwrap() <= -1.9, "{loud}");
    for (name, wrong) in [("format", json!("avi")), ("channels", json!(3)), ("range", json!({"start_ms": 5, "end_ms": 5}))] {
        let mut body = plain.clone();
        body[name] = wrong;
        let problem = client.post("/api/generate/merge-timeline", &body).await.problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["field"], name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_take_is_played_and_what_was_asked_for_stays_asked_for() {
    let server = TestServer::scripted(script::at_once()).await;
    let client = server.client();
    let task = spoken(&client).await;
    save(&client, &task, json!({"positions": {"1": 20_000}})).await.expect(200);
    let before = timeline(&client, &task).await;
    let body = json!({"task_id": task, "index": 1, "text": "A second piece which is a good deal longer than the one that it replaces."});
    waited(&client, "/api/generate/regenerate-chunk", &body).await.expect(200);
    let after = timeline(&client, &task).await;
    assert_eq!((&after["revision"], starts(&after)), (&before["revision"], starts(&before)));
    assert!(after["blocks"][1]["duration_ms"].as_i64() > before["blocks"][1]["duration_ms"].as_i64());
    assert!(after["blocks"][1]["audio_url"].as_str().unwrap().ends_with("take=2"));
    let job = waited(&client, "/api/generate/merge-timeline", &json!({"task_id": task, "format": "flac"})).await.expect(200).json();
    assert_eq!((&job["result"]["duration_ms"], &job["result"]["content_type"]), (&after["duration_ms"], &"audio/flac".into()));
    let audio = client.get(job["result"]["audio_url"].as_str().unwrap()).await;
    assert_eq!(audio.expect(200).header("content-type"), Some("audio/flac"));
    assert!(audio.body.starts_with(b"fLaC"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_the_sound_of_a_cancelled_merge_is_told() {
    let server = TestServer::scripted(script::at_once()).await;
    let client = server.client();
    let task = spoken(&client).await;
    server.run(&["queue", "pause"]).await;
    let asked = client.request(Method::POST, "/api/generate/merge-timeline").header("accept", "audio/*").json(&json!({"task_id": task}));
    let asking = tokio::spawn(Answer::to(asked));
    // Nobody is told the job's id before the answer; what it is to be made from has its name.
    let renders = server.data_folder().join("blobs/generations").join(&task).join("renders");
    let job = wait::until("the merge in the queue", async || {
        let names = std::fs::read_dir(&renders).ok()?.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let job = names.filter_map(|name| name.strip_suffix(".layout.json").map(str::to_owned)).next()?;
        (client.get(&format!("/api/jobs/{job}")).await.status == 200).then_some(job)
    })
    .await;
    client.post("/api/job/cancel", &json!({"job_id": job})).await.expect(200);
    asking.await.unwrap().problem(409, "conflict");
}
