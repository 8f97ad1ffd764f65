//! SIGTERM: open connections are told, nothing accepted is lost, and the next start goes on without counting it as a failure.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::socket::Gone;
use tests::{Engine, ServerOptions, TestServer, script, wait};

const CHUNKS: u64 = 40;

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_in_the_middle_loses_nothing() {
    let mut server = TestServer::scripted(script::slow(20)).await;
    let client = server.client();
    let mut socket = server.socket().await;
    socket.subscribe(None).await;
    let chunks: Vec<Value> = (0..CHUNKS).map(|index| json!({"text": format!("Buoy number {index}.")})).collect();
    let task = client.submit("/api/generate/clone-chunked", &json!({"chunks": chunks, "voice_id": client.preset(0).await})).await;
    socket.until(|event| event.is("chunk.ready", &task)).await;

    let status = server.stop().await;
    assert!(status.success(), "{status}");
    let end = loop {
        if let Err(gone) = socket.next().await {
            break gone;
        }
    };
    assert_eq!(end, Gone::Closed(Some(1001)), "going away");

    server.restart().await;
    let mut socket = server.socket().await;
    socket.subscribe(Some(0)).await;
    let events = socket.collect_until(|event| event.is("job.completed", &task)).await;
    let of = |kind: &'static str| events.iter().filter(move |event| event.kind == kind);
    assert_eq!(of("chunk.failed").count() + of("job.failed").count(), 0, "{events:?}");
    let ready: Vec<u64> = of("chunk.ready").map(|event| event.data["index"].as_u64().unwrap()).collect();
    assert_eq!(ready.len() as u64, CHUNKS, "none twice");
    assert_eq!(ready.into_iter().collect::<BTreeSet<_>>().len() as u64, CHUNKS);
    let generation = client.get(&format!("/api/generations/{task}")).await.expect(200).json();
    assert!(generation["chunks"].as_array().unwrap().iter().all(|chunk| chunk["status"] == "completed"), "{generation:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_server_stops_and_starts() {
    let mut server = TestServer::scripted(script::at_once()).await;
    let before = server.client().get("/api/voices").await.expect(200).json();
    assert!(server.stop().await.success());
    server.restart().await;
    assert_eq!(server.client().get("/api/voices").await.expect(200).json(), before, "the key and the voices are still there");
}

/// A load balancer is told first: requests are still answered, and `/readyz` says that no more should be sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_drains_says_so_and_answers() {
    let environment = vec![("CLONYVOICE_STOP_DRAIN_MS".into(), "3000".into())];
    let mut server =
        TestServer::start(ServerOptions { engine: Engine::Scripted(script::at_once()), environment, ..ServerOptions::default() }).await;
    let client = server.client();
    client.get("/readyz").await.expect(200);
    let stopping = server.ask_to_stop();
    let drained = wait::until("503 from /readyz", async || {
        let answer = client.get("/readyz").await;
        (answer.status != 200).then_some(answer)
    })
    .await;
    drained.problem(503, "not_ready");
    assert!(drained.header("retry-after").is_some());
    client.get("/api/voices").await.expect(200);
    assert!(server.stopped(stopping).await.success());
}
