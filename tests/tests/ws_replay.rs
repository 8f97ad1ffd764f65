//! A client that loses its connection and comes back with `after_seq` sees every stored event once and in order, also when the server was
//! killed in between.

#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use tests::{Envelope, Socket, TestServer, script};

const CHUNKS: u64 = 120;

/// What a client keeps: the stored events, as they came.
#[derive(Default)]
struct Seen {
    events: Vec<Envelope>,
    ready: usize,
}

impl Seen {
    fn last_seq(&self) -> i64 {
        self.events.last().and_then(|event| event.seq).unwrap_or(0)
    }

    /// Reads until `chunks` are ready, or the job is completed.
    async fn read(&mut self, socket: &mut Socket, task: &str, chunks: usize) {
        let ready = self.ready;
        let mut now_ready = ready;
        let read = socket
            .collect_until(|event| {
                now_ready += usize::from(event.is("chunk.ready", task));
                now_ready == chunks || event.is("job.completed", task)
            })
            .await;
        self.ready = now_ready;
        self.events.extend(read.into_iter().filter(|event| event.seq.is_some()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_stored_event_once_and_in_order() {
    let mut server = TestServer::scripted(script::slow(5)).await;
    let client = server.client();
    let mut seen = Seen::default();

    let mut socket = server.socket().await;
    socket.subscribe(Some(0)).await;
    let chunks: Vec<Value> = (0..CHUNKS).map(|index| json!({"text": format!("Wave number {index} struck the rocks.")})).collect();
    let task = client.submit("/api/generate/clone-chunked", &json!({"chunks": chunks, "voice_id": client.preset(0).await})).await;
    seen.read(&mut socket, &task, 20).await;

    // The line drops; the server goes on.
    drop(socket);
    let mut socket = server.socket().await;
    socket.subscribe(Some(seen.last_seq())).await;
    seen.read(&mut socket, &task, 60).await;

    // The server is killed.
    server.kill().await;
    server.restart().await;
    let mut socket = server.socket().await;
    socket.subscribe(Some(seen.last_seq())).await;
    seen.read(&mut socket, &task, usize::MAX).await;

    let mut all = Seen::default();
    let mut socket = server.socket().await;
    let subscribed = socket.subscribe(Some(0)).await;
    assert_eq!(subscribed.data["gap"], false, "{subscribed:?}");
    all.read(&mut socket, &task, usize::MAX).await;

    assert_eq!(all.ready as u64, CHUNKS);
    assert!(all.events.is_sorted_by(|one, next| one.seq < next.seq), "in order, none twice");
    assert_eq!(seen.events, all.events, "what came in three pieces is what is stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_beyond_the_end_gets_the_future() {
    let server = TestServer::scripted(script::at_once()).await;
    let client = server.client();
    let voice = client.preset(0).await;
    let first = client.submit("/api/generate/preset", &json!({"text": "The first.", "voice_id": voice})).await;
    let mut socket = server.socket().await;
    socket.subscribe(Some(0)).await;
    let end = socket.until(|event| event.is("job.completed", &first)).await;

    let mut socket = server.socket().await;
    let subscribed = socket.subscribe(end.seq).await;
    assert_eq!(subscribed.data["replayed"], 0, "{subscribed:?}");
    let second = client.submit("/api/generate/preset", &json!({"text": "The second.", "voice_id": voice})).await;
    let events = socket.collect_until(|event| event.is("job.completed", &second)).await;
    assert!(events.iter().all(|event| event.task_id.as_deref() != Some(first.as_str())), "{events:?}");
    assert!(events.iter().any(|event| event.is("job.queued", &second)), "{events:?}");
}
