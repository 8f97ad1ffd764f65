//! The process dies by abort at every commit boundary that the product names. Started again, it ends where an undisturbed one ends, with
//! the same audio, byte for byte, and has told each chunk once. A boundary that is never passed fails the test.

#![allow(clippy::unwrap_used)]

use std::os::unix::process::ExitStatusExt;

use bytes::Bytes;
use futures::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};
use tests::crash_loop::{announced, stored_events};
use tests::{Client, Engine, ServerOptions, TestServer, wait};

const CHUNKS: u64 = 4;
/// Servers at the same time.
const SERVERS: usize = 3;
const SIGABRT: i32 = 6;
const VARIABLE: &str = "CLONYVOICE_FAIL_POINT";

#[tokio::test(flavor = "multi_thread")]
async fn every_commit_boundary() {
    let undisturbed = undisturbed_run().await;
    let cases = cases();
    let ran: Vec<Option<String>> =
        futures::stream::iter(&cases).map(|case| die_at(case, &undisturbed)).buffer_unordered(SERVERS).collect().await;
    let wrong: Vec<String> = ran.into_iter().flatten().collect();
    eprintln!("{} deaths: {}", cases.len(), cases.join(", "));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// All names, read from the product's source, as nothing here links it. What is passed by each chunk is also tried at the last one.
fn cases() -> Vec<String> {
    let source = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../jobs/src/fail_point.rs")).unwrap();
    let list = source.split_once("ALL: &[&str] = &[").unwrap().1.split_once("];").unwrap().0;
    let names: Vec<&str> = list.split('"').skip(1).step_by(2).collect();
    assert!(names.len() >= 16, "{names:?}");
    let last = names.iter().filter(|name| name.starts_with("chunk.")).map(|name| format!("{name}:{CHUNKS}"));
    let merge = format!("claim.after_commit:{}", CHUNKS + 1);
    names.iter().map(|name| format!("{name}:1")).chain(last).chain([merge]).collect()
}

fn options(counts_folder: &std::path::Path) -> ServerOptions {
    let script = json!({"ms_per_char": 25, "steps": 1, "counts_folder": counts_folder, "rules": [
        {"needle": "Stumble", "act": "fail", "times": 1},
        {"needle": "", "act": {"slow": {"ms_per_step": 100}}},
    ]});
    let arguments = vec!["--speech-workers".into(), "1".into()];
    ServerOptions { engine: Engine::Scripted(script), arguments, ..ServerOptions::default() }
}

fn body(voice_id: &str) -> Value {
    let words = ["Anchor", "Stumble", "Cable", "Deck"];
    let chunks: Vec<Value> = words.iter().map(|word| json!({"text": format!("{word} of the boat.")})).collect();
    json!({"chunks": chunks, "voice_id": voice_id, "seed": 3})
}

async fn undisturbed_run() -> Bytes {
    let counts = tempfile::tempdir().unwrap();
    let server = TestServer::start(options(counts.path())).await;
    let client = server.client();
    let task = client.submit("/api/generate/clone-chunked", &body(&client.preset(0).await)).await;
    client.completed(&task).await;
    client.get(&format!("/api/generations/{task}/audio")).await.expect(200).body.clone()
}

/// What is wrong, if anything is.
async fn die_at(case: &str, undisturbed: &Bytes) -> Option<String> {
    let counts = tempfile::tempdir().unwrap();
    let mut server = TestServer::start(options(counts.path())).await;
    let client = server.client();
    let body = body(&client.preset(0).await);
    let mut task = None;
    let died = if case.starts_with("recover.") {
        let mut socket = server.socket().await;
        socket.subscribe(None).await;
        task = submit_once(&client, &body).await;
        socket.until(|event| event.kind == "chunk.ready").await;
        server.kill().await;
        server.set_variable(VARIABLE, Some(case));
        server.try_restart().await.err()
    } else {
        server.kill().await;
        server.set_variable(VARIABLE, Some(case));
        server.restart().await;
        task = submit_once(&client, &body).await.or(task);
        if case.starts_with("cancel.") {
            let request = client.request(Method::POST, "/api/generation/cancel").json(&json!({"task_id": task}));
            if let Ok(answer) = request.send().await {
                return Some(format!("{case}: never passed: the cancel was answered with {}", answer.status()));
            }
            Some(server.died().await)
        } else {
            die_or_end(&mut server, &client, task.as_deref()).await
        }
    };
    match died {
        Some(status) if status.signal() == Some(SIGABRT) => {}
        other => return Some(format!("{case}: did not die there, but {other:?}")),
    }
    server.set_variable(VARIABLE, None);
    server.restart().await;
    let task = match task {
        Some(task) => task,
        None => resubmit(case, &client, &body).await,
    };
    let job = client.ended(&task).await;
    let wanted = if case.starts_with("cancel.after") { "cancelled" } else { "completed" };
    if job["status"] != wanted {
        return Some(format!("{case}: ended as {job}"));
    }
    let events = stored_events(&server.base(), server.key(), 0).await;
    let announced = announced(&events);
    if wanted == "completed" {
        let audio = client.get(&format!("/api/generations/{task}/audio")).await.expect(200).body.clone();
        if audio != *undisturbed {
            return Some(format!("{case}: other audio"));
        }
        if announced.len() as u64 != CHUNKS || announced.values().any(|times| *times != 1) {
            return Some(format!("{case}: chunks were told so often: {announced:?}"));
        }
    }
    let tasks = events.iter().filter(|event| event.kind == "job.queued").count();
    let ends = events.iter().filter(|event| event.kind == format!("job.{wanted}")).count();
    (tasks != 1 || ends != 1).then(|| format!("{case}: {tasks} jobs were queued, {ends} ended"))
}

/// `None` when the server died before it answered.
async fn submit_once(client: &Client, body: &Value) -> Option<String> {
    let request = client.request(Method::POST, "/api/generate/clone-chunked").header("Idempotency-Key", "the-only-one");
    let answer: Value = request.json(body).send().await.ok()?.json().await.ok()?;
    answer["task_id"].as_str().map(str::to_owned)
}

/// Asks again under the same key, until the server is sure that nobody else is at it.
async fn resubmit(case: &str, client: &Client, body: &Value) -> String {
    let asked_at = wait::now();
    let task = wait::until("an answer under the same Idempotency-Key", async || submit_once(client, body).await).await;
    eprintln!("{case}: the same request was accepted {} ms after the restart", wait::now().duration_since(asked_at).as_millis());
    task
}

/// How the process died, or `None` when the job came to its end in it.
async fn die_or_end(server: &mut TestServer, client: &Client, task: Option<&str>) -> Option<std::process::ExitStatus> {
    let Some(task) = task else { return Some(server.died().await) };
    let path = format!("/api/jobs/{task}");
    let ended = wait::until("a death or an end", async || {
        let Ok(answer) = client.request(Method::GET, &path).send().await else { return Some(false) };
        let Ok(job) = answer.json::<Value>().await else { return Some(false) };
        (job["status"] == "completed" || job["status"] == "failed").then_some(true)
    })
    .await;
    // merge.after_commit and chunk.after_commit die right after what has just been seen.
    if ended { server.died_soon().await } else { Some(server.died().await) }
}
