//! `kill -9` in the middle of 500 chunks: what is finished stays and is not made again, and the file in the end is the one that an
//! undisturbed server makes.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tests::engine_calls::engine_calls;
use tests::tools::{self, Tool};
use tests::{Client, Engine, Envelope, ServerOptions, TestServer, script, wait};

const CHUNKS: u64 = 500;
const KILL_AFTER: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn the_scripted_engine() {
    kill_and_resume(Engine::Scripted(script::slow(5))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_builtin_engine() {
    if tools::has("kill_resume::the_builtin_engine", &[Tool::Espeak]) {
        kill_and_resume(Engine::Builtin).await;
    }
}

fn work(voice_id: &str) -> Value {
    // Each text once: equal chunks would be copied, not made.
    let chunks: Vec<Value> = (0..CHUNKS).map(|index| json!({"text": format!("Ship number {index}.")})).collect();
    json!({"chunks": chunks, "voice_id": voice_id, "seed": 11})
}

async fn kill_and_resume(engine: Engine) {
    let options = ServerOptions { engine, ..ServerOptions::default() };
    let mut server = TestServer::start(options.clone()).await;
    let client = server.client();
    let mut socket = server.socket().await;
    socket.subscribe(None).await;
    let task = client.submit("/api/generate/clone-chunked", &work(&client.preset(0).await)).await;

    let mut seen = 0;
    socket
        .until(|event| {
            seen += usize::from(event.is("chunk.ready", &task));
            seen == KILL_AFTER
        })
        .await;
    let before = chunk_hashes(&client, &task, 0..KILL_AFTER as u64).await;
    server.kill().await;
    let killed_at = wait::now();

    server.restart().await;
    let ready_at = wait::now();
    let mut socket = server.socket().await;
    socket.subscribe(Some(0)).await;
    let events = socket.collect_until(|event| event.is("job.completed", &task)).await;

    let ready: Vec<(u64, jiff::Timestamp)> = events.iter().filter(|event| event.is("chunk.ready", &task)).map(index_and_time).collect();
    let mut indexes: Vec<u64> = ready.iter().map(|(index, _)| *index).collect();
    indexes.sort_unstable();
    assert_eq!(indexes, (0..CHUNKS).collect::<Vec<_>>(), "each chunk is ready once");

    // Nobody can write an event between the kill and the restart.
    let finished = ready.iter().filter(|(_, at)| *at <= killed_at).count() as u64;
    assert!((KILL_AFTER as u64..CHUNKS).contains(&finished), "the kill must hit the middle, not {finished}");
    assert_eq!(engine_calls(&client).await, CHUNKS - finished, "the second process makes what was not finished, and nothing else");
    assert_eq!(chunk_hashes(&client, &task, 0..KILL_AFTER as u64).await, before, "finished chunks keep their bytes");

    let first = ready.iter().map(|(_, at)| *at).filter(|at| *at > killed_at).min().unwrap();
    eprintln!("{finished} chunks at the kill; the first new one {} ms after /readyz", first.duration_since(ready_at).as_millis());

    let resumed = client.get(&format!("/api/generations/{task}/audio")).await.expect(200).body.clone();
    let undisturbed = undisturbed_run(options).await;
    assert_eq!(hex::encode(Sha256::digest(&resumed)), hex::encode(Sha256::digest(&undisturbed)), "the same file, byte for byte");
}

async fn undisturbed_run(options: ServerOptions) -> bytes::Bytes {
    let server = TestServer::start(options).await;
    let client = server.client();
    let task = client.submit("/api/generate/clone-chunked", &work(&client.preset(0).await)).await;
    client.completed(&task).await;
    assert_eq!(engine_calls(&client).await, CHUNKS, "no chunk is made twice here either");
    client.get(&format!("/api/generations/{task}/audio")).await.expect(200).body.clone()
}

fn index_and_time(event: &Envelope) -> (u64, jiff::Timestamp) {
    (event.data["index"].as_u64().unwrap(), event.ts.as_deref().unwrap().parse().unwrap())
}

/// Of those that can be fetched now; the server's own hash must be the one of the bytes.
async fn chunk_hashes(client: &Client, task: &str, indexes: std::ops::Range<u64>) -> BTreeMap<u64, String> {
    let mut hashes = BTreeMap::new();
    for index in indexes {
        let answer = client.get(&format!("/api/audio/chunk/{task}/{index}")).await;
        let hash = hex::encode(Sha256::digest(&answer.expect(200).body));
        assert_eq!(answer.header("etag"), Some(format!("\"{hash}\"").as_str()));
        hashes.insert(index, hash);
    }
    hashes
}
