//! A cancel reaches what runs and what waits: it is told as a cancel, the engine stops, and nothing of it is made afterwards.

#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use tests::engine_calls::engine_calls;
use tests::{TestServer, script, wait};

fn long_work(voice_id: &str, name: &str) -> Value {
    let chunks: Vec<Value> = (0..200).map(|index| json!({"text": format!("{name} number {index}.")})).collect();
    json!({"chunks": chunks, "voice_id": voice_id})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_generation() {
    let server = TestServer::scripted(script::slow(60)).await;
    let client = server.client();
    let voice = client.preset(0).await;
    let mut socket = server.socket().await;
    socket.subscribe(None).await;
    let task = client.submit("/api/generate/clone-chunked", &long_work(&voice, "Boat")).await;
    socket.until(|event| event.is("chunk.ready", &task)).await;

    let asked_at = wait::now();
    let answer = client.post("/api/generation/cancel", &json!({"task_id": task})).await.expect(200).json();
    assert_eq!(answer["cancelled"], json!([task]));
    let events = socket.collect_until(|event| event.is("job.cancelled", &task)).await;
    let told_at: jiff::Timestamp = events.last().unwrap().ts.as_deref().unwrap().parse().unwrap();
    eprintln!("job.cancelled {} ms after the call", told_at.duration_since(asked_at).as_millis());
    assert!(!events.iter().any(|event| event.is("job.failed", &task) || event.is("chunk.failed", &task)), "a cancel is no failure");

    let job = client.get(&format!("/api/jobs/{task}")).await.expect(200).json();
    assert_eq!(job["status"], "cancelled");
    wait::until("nothing running", async || {
        let queue = client.get("/api/queue/status").await.expect(200).json();
        (queue["running"] == json!([]) && queue["queued"] == json!([])).then_some(())
    })
    .await;
    let calls = engine_calls(&client).await;
    assert!(calls < 200, "{calls}");

    // Another job passes through the whole of the queue and the engine: had anything of the first been left, it would show.
    let next = client.submit("/api/generate/preset", &json!({"text": "All is calm.", "voice_id": voice})).await;
    let events = socket.collect_until(|event| event.is("job.completed", &next)).await;
    assert!(!events.iter().any(|event| event.is("chunk.ready", &task)), "no chunk after the cancel");
    assert_eq!(engine_calls(&client).await, calls + 1, "the engine worked for the second job only");

    client.post("/api/generation/cancel", &json!({"task_id": task})).await.problem(409, "not_cancellable");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_websocket() {
    let server = TestServer::scripted(script::slow(60)).await;
    let client = server.client();
    let mut socket = server.socket().await;
    socket.subscribe(None).await;
    let task = client.submit("/api/generate/clone-chunked", &long_work(&client.preset(0).await, "Gull")).await;
    socket.until(|event| event.is("chunk.ready", &task)).await;
    socket.send(&json!({"type": "cancel", "ref": "c1", "task_id": task})).await;
    let events = socket.collect_until(|event| event.is("job.cancelled", &task)).await;
    let told = |kind: &str| events.iter().filter(|event| event.kind == kind).count();
    assert_eq!(told("error"), 0, "{events:?}");
    assert_eq!(client.ended(&task).await["status"], "cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_waits_never_starts() {
    let server = TestServer::scripted(script::slow(60)).await;
    let client = server.client();
    let voice = client.preset(0).await;
    let mut socket = server.socket().await;
    socket.subscribe(None).await;
    let first = client.submit("/api/generate/clone-chunked", &long_work(&voice, "Seal")).await;
    let waiting = client.submit("/api/generate/clone-chunked", &long_work(&voice, "Whale")).await;
    let answer = client.post("/api/generation/cancel", &json!({"task_id": waiting})).await.expect(200).json();
    assert_eq!(answer["cancelled"], json!([waiting]));
    socket.until(|event| event.is("job.cancelled", &waiting)).await;
    assert_eq!(client.ended(&waiting).await["chunks_done"], 0);

    // `{}` is all that the caller has running.
    let answer = client.post("/api/generation/cancel", &json!({})).await.expect(200).json();
    assert_eq!(answer["cancelled"], json!([first]));
    assert_eq!(client.ended(&first).await["status"], "cancelled");
    let answer = client.post("/api/generation/cancel", &json!({})).await.expect(200).json();
    assert_eq!(answer["cancelled"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_cancels_what_is_anothers() {
    let server = TestServer::scripted(script::slow(20)).await;
    let client = server.client();
    let task = client.submit("/api/generate/clone-chunked", &long_work(&client.preset(0).await, "Crab")).await;
    let other = server.client_with(Some(&server.new_key("other", &["tts:generate"]).await));
    other.post("/api/generation/cancel", &json!({"task_id": task})).await.problem(404, "task_not_found");
    assert_eq!(other.post("/api/generation/cancel", &json!({})).await.expect(200).json()["cancelled"], json!([]));
    client.completed(&task).await;
}
