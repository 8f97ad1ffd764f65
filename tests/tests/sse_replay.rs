//! The event stream, as a browser's `EventSource` uses it: it comes back by itself with the last id that it saw, also when the server was
//! killed in between, and sees every stored event once and in order.

#![allow(clippy::unwrap_used)]

use std::pin::Pin;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use reqwest::Method;
use serde_json::{Value, json};
use tests::{Envelope, TestServer, script, wait};

const CHUNKS: u64 = 120;

/// One connection.
struct Line {
    bytes: Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>,
    read: Vec<u8>,
}

impl Line {
    async fn open(server: &TestServer, last_id: Option<&str>) -> Self {
        let request = server.client().request(Method::GET, "/api/events?topics=jobs").header("Last-Event-ID", last_id.unwrap_or("0"));
        let answer = request.send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.headers()["content-type"].to_str().unwrap()), (200, "text/event-stream"));
        Self { bytes: Box::pin(answer.bytes_stream()), read: Vec::new() }
    }

    /// The fields of the next record; `None` when the line is broken.
    async fn record(&mut self) -> Option<Vec<(String, String)>> {
        loop {
            if let Some(end) = self.read.windows(2).position(|pair| pair == b"\n\n") {
                let record: Vec<u8> = self.read.drain(..end + 2).collect();
                let text = String::from_utf8(record).unwrap();
                let fields = text.lines().filter_map(|line| line.split_once(": "));
                return Some(fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect());
            }
            let piece = tokio::time::timeout(wait::LIMIT, self.bytes.next()).await.expect("the event stream is silent");
            self.read.extend_from_slice(&piece?.ok()?);
        }
    }
}

/// What an `EventSource` keeps.
#[derive(Default)]
struct Seen {
    last_id: Option<String>,
    events: Vec<Envelope>,
    ready: usize,
}

impl Seen {
    /// Reads until `chunks` are ready or the job is completed; `false` when the line broke before.
    async fn read(&mut self, line: &mut Line, task: &str, chunks: usize) -> bool {
        while let Some(record) = line.record().await {
            let field = |wanted: &str| record.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
            let Some(id) = field("id") else { continue };
            let event: Envelope = serde_json::from_str(field("data").unwrap()).unwrap();
            assert_eq!((field("event"), event.seq.unwrap().to_string().as_str()), (Some(event.kind.as_str()), id));
            self.last_id = Some(id.to_owned());
            self.ready += usize::from(event.is("chunk.ready", task));
            let last = self.ready == chunks || event.is("job.completed", task);
            self.events.push(event);
            if last {
                return true;
            }
        }
        false
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_stored_event_once_and_in_order() {
    let mut server = TestServer::scripted(script::slow(5)).await;
    let client = server.client();
    let mut seen = Seen::default();
    let mut line = Line::open(&server, None).await;
    let chunks: Vec<Value> = (0..CHUNKS).map(|index| json!({"text": format!("Wave number {index} struck the rocks.")})).collect();
    let task = client.submit("/api/generate/clone-chunked", &json!({"chunks": chunks, "voice_id": client.preset(0).await})).await;
    assert!(seen.read(&mut line, &task, 20).await);

    // The line drops; the server goes on.
    drop(line);
    let mut line = Line::open(&server, seen.last_id.as_deref()).await;
    assert!(seen.read(&mut line, &task, 60).await);

    // The server is killed while the line is open: what came before the break counts, and the stream ends.
    server.kill().await;
    assert!(!seen.read(&mut line, &task, usize::MAX).await, "the line breaks with the server");
    server.restart().await;
    let mut line = Line::open(&server, seen.last_id.as_deref()).await;
    assert!(seen.read(&mut line, &task, usize::MAX).await);

    let mut all = Seen::default();
    assert!(all.read(&mut Line::open(&server, None).await, &task, usize::MAX).await);
    assert_eq!(all.ready as u64, CHUNKS);
    assert!(all.events.is_sorted_by(|one, next| one.seq < next.seq), "in order, none twice");
    assert_eq!(seen.events, all.events, "what came in pieces is what is stored");
}
