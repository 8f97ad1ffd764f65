//! One front door and two workers on one Postgres: one worker is killed, the other takes over at once, because Postgres knows that the
//! session is gone; nothing is doubled, and the file is the one that a single process makes.

#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use tests::crash_loop::{announced, stored_events};
use tests::postgres::{self, Cluster};
use tests::tools::{self, Tool};
use tests::{Engine, ServerOptions, TestServer, script, wait};

const CHUNKS: u64 = 60;

#[tokio::test(flavor = "multi_thread")]
async fn one_is_killed() {
    if !tools::has("two_workers_postgres::one_is_killed", &[Tool::Postgres]) {
        return;
    }
    let binaries = postgres::installed().unwrap();
    let cluster = Cluster::start(&binaries).unwrap();
    // Leases of an hour: who waited for their end would not see the end of this test.
    let variables = [("ROLE", "api"), ("DATABASE_URL", &cluster.url()), ("LEASE_MS", "3600000")];
    let environment = variables.map(|(name, value)| (format!("CLONYVOICE_{name}"), value.to_owned())).to_vec();
    let engine = Engine::Scripted(script::slow(100));
    let server = TestServer::start(ServerOptions { engine: engine.clone(), environment, ..ServerOptions::default() }).await;
    let client = server.client();
    let mut victim = server.start_worker(&["--speech-workers", "2"]);
    let mut socket = server.socket().await;
    socket.subscribe(Some(0)).await;
    let task = client.submit("/api/generate/clone-chunked", &body(&client.preset(0).await)).await;
    socket.until(|event| event.is("chunk.ready", &task)).await;
    let mut survivor = server.start_worker(&["--speech-workers", "2"]);
    let mut seen = 0;
    socket
        .until(|event| {
            seen += usize::from(event.is("chunk.ready", &task));
            seen == 20
        })
        .await;
    victim.kill().await.unwrap();
    let killed_at = wait::now();
    let interrupted = socket.collect_until(|event| event.is("job.interrupted", &task) || event.is("job.completed", &task)).await;
    eprintln!("{} {} ms after the kill", interrupted.last().unwrap().kind, wait::now().duration_since(killed_at).as_millis());
    client.completed(&task).await;

    let announced = announced(&stored_events(&server.base(), server.key(), 0).await);
    assert_eq!(announced.len() as u64, CHUNKS);
    assert!(announced.values().all(|times| *times == 1), "{announced:?}");
    let audio = client.get(&format!("/api/generations/{task}/audio")).await.expect(200).body.clone();

    let alone = TestServer::start(ServerOptions { engine, ..ServerOptions::default() }).await;
    let client = alone.client();
    let task = client.submit("/api/generate/clone-chunked", &body(&client.preset(0).await)).await;
    client.completed(&task).await;
    assert!(audio == client.get(&format!("/api/generations/{task}/audio")).await.expect(200).body, "another file than one process makes");
    survivor.kill().await.unwrap();
}

fn body(voice_id: &str) -> Value {
    let chunks: Vec<Value> = (0..CHUNKS).map(|index| json!({"text": format!("Oar number {index}.")})).collect();
    json!({"chunks": chunks, "voice_id": voice_id, "seed": 4})
}
