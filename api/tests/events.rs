//! Events as a connection is told them: each stored one once and in order, whatever is asked for when; and the lines of both kinds of
//! connection, over a real listener.

#![allow(clippy::unwrap_used)]

mod bed;

use std::collections::VecDeque;
use std::time::Duration;

use api::event_feed::{EventFeed, Subscribed};
use api::routes;
use api::scopes::Scope;
use api::wire::socket::Wish;
use bed::Bed;
use futures::{SinkExt, StreamExt};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use salvo::Server;
use salvo::conn::{Acceptor, Listener, TcpListener};
use serde_json::{Value, json};
use storage::events::{self, NewEvent};
use storage::{Rows, api_keys};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use uuid::Uuid;

/// Ends a test that would wait for ever.
const LIMIT: Duration = Duration::from_secs(60);

async fn append(rows: &Rows, owner: &str, task: Uuid, kind: &str, data: Value) -> i64 {
    let mut tx = rows.begin().await.unwrap();
    let seq = events::append(&mut tx, NewEvent { owner_id: owner, generation_id: Some(task), kind, data }, 0).await.unwrap();
    tx.commit().await.unwrap();
    seq
}

async fn append_chunk(rows: &Rows, owner: &str, task: Uuid, index: u32) -> i64 {
    append(rows, owner, task, "chunk.ready", json!({"index": index, "take": 1, "chunks_done": index + 1, "chunks_total": 10})).await
}

fn wish(task_ids: &[Uuid], after_seq: Option<i64>) -> Wish {
    Wish { topics: Vec::new(), task_ids: task_ids.to_vec(), after_seq }
}

async fn next_seqs(feed: &mut EventFeed, count: usize) -> Vec<i64> {
    let mut seqs = Vec::new();
    for _ in 0..count {
        seqs.push(timeout(LIMIT, feed.next()).await.expect("an event").unwrap().seq);
    }
    seqs
}

/// What one step of a client's life may be.
#[derive(Debug, Clone)]
enum Step {
    Append { task: usize, other_owner: bool },
    Subscribe { reference: u8, tasks: Vec<usize>, back: Option<i64> },
    Read(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0_usize..3, prop::bool::weighted(0.2)).prop_map(|(task, other_owner)| Step::Append { task, other_owner }),
        1 => (0_u8..2, prop::collection::vec(0_usize..3, 0..2), prop::option::of(0_i64..12))
            .prop_map(|(reference, tasks, back)| Step::Subscribe { reference, tasks, back }),
        2 => (1_usize..6).prop_map(Step::Read),
    ];
    prop::collection::vec(step, 1..40)
}

/// What the feed must tell. One subscription asks for everything, so that how far a connection has come is what it was told last; the others
/// come and go on top of it.
#[derive(Default)]
struct Model {
    stored: Vec<(i64, Uuid)>,
    /// Everything up to here was told in the live order.
    cursor: i64,
    /// To be told before anything of the live order.
    replay: VecDeque<i64>,
}

impl Model {
    fn subscribe(&mut self, tasks: &[Uuid], after: Option<i64>) -> u64 {
        let cursor = self.cursor;
        let asked = |seq: i64| after.is_some_and(|after| seq > after) && seq <= cursor;
        let again = self.stored.iter().filter(|(seq, task)| asked(*seq) && (tasks.is_empty() || tasks.contains(task)));
        let before = self.replay.len();
        self.replay.extend(again.map(|(seq, _)| *seq));
        (self.replay.len() - before) as u64
    }

    fn next(&mut self) -> Option<i64> {
        let live = || self.stored.iter().map(|(seq, _)| *seq).find(|seq| *seq > self.cursor);
        if let Some(seq) = self.replay.pop_front() {
            return Some(seq);
        }
        let next = live();
        self.cursor = next.unwrap_or(self.cursor);
        next
    }
}

#[test]
fn a_feed_tells_what_was_asked_for_once_and_in_order() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let bed = runtime.block_on(Bed::without_workers());
    let mut runner = TestRunner::new(ProptestConfig::with_cases(32));
    let outcome = runner.run(&steps(), |steps| {
        runtime.block_on(live_through(&bed, steps));
        Ok(())
    });
    outcome.unwrap();
}

async fn live_through(bed: &Bed, steps: Vec<Step>) {
    let rows = &bed.app.storage.rows;
    let tasks = [Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3)];
    // Each life has an owner of its own in the same table.
    let me = Uuid::now_v7().to_string();
    for task in tasks {
        append_chunk(rows, &me, task, 0).await;
    }
    let (mut feed, range) = EventFeed::open(rows, &bed.app.tails, &me).await.unwrap();
    feed.subscribe(Some("all".into()), wish(&[], None)).await.unwrap();
    let stored = events::after(rows.read(), &me, 0, 100).await.unwrap();
    let stored = stored.iter().map(|event| (event.seq, event.generation_id.unwrap())).collect();
    let mut model = Model { stored, cursor: range.last, ..Model::default() };
    for step in steps {
        match step {
            Step::Append { task, other_owner } => {
                let seq = append_chunk(rows, if other_owner { "other" } else { &me }, tasks[task], 1).await;
                if !other_owner {
                    model.stored.push((seq, tasks[task]));
                }
            }
            Step::Subscribe { reference, tasks: chosen, back } => {
                let chosen: Vec<Uuid> = chosen.into_iter().map(|task| tasks[task]).collect();
                let after = back.map(|back| (model.cursor - back).max(0));
                let subscribed = feed.subscribe(Some(reference.to_string()), wish(&chosen, after)).await.unwrap();
                assert_eq!(subscribed, Subscribed { replayed: model.subscribe(&chosen, after), gap: false });
            }
            Step::Read(count) => {
                for _ in 0..count {
                    let Some(expected) = model.next() else { break };
                    assert_eq!(next_seqs(&mut feed, 1).await, [expected]);
                }
            }
        }
    }
    while let Some(expected) = model.next() {
        assert_eq!(next_seqs(&mut feed, 1).await, [expected]);
    }
}

#[tokio::test]
async fn a_long_replay_is_whole_and_goes_over_into_the_live_order() {
    let bed = Bed::without_workers().await;
    let rows = &bed.app.storage.rows;
    let task = Uuid::from_u128(1);
    for index in 0..1_203 {
        append_chunk(rows, "me", task, index).await;
    }
    let (mut feed, range) = EventFeed::open(rows, &bed.app.tails, "me").await.unwrap();
    let subscribed = feed.subscribe(None, wish(&[], Some(0))).await.unwrap();
    assert_eq!(subscribed, Subscribed { replayed: 1_203, gap: false });
    let live = append_chunk(rows, "me", task, 9).await;
    let seqs = next_seqs(&mut feed, 1_204).await;
    assert!(seqs.is_sorted_by(|one, next| one < next));
    assert_eq!((seqs[0], seqs[1_202], seqs[1_203]), (range.oldest, range.last, live));
}

#[tokio::test]
async fn a_feed_far_behind_its_tail_reads_the_table() {
    let bed = Bed::without_workers().await;
    let rows = &bed.app.storage.rows;
    let task = Uuid::from_u128(1);
    let (mut slow, _) = EventFeed::open(rows, &bed.app.tails, "me").await.unwrap();
    slow.subscribe(None, wish(&[], None)).await.unwrap();
    // More than a tail keeps.
    let mut tx = rows.begin().await.unwrap();
    for _ in 0..2_600 {
        let event = NewEvent { owner_id: "me", generation_id: Some(task), kind: "chunk.ready", data: json!({}) };
        events::append(&mut tx, event, 0).await.unwrap();
    }
    tx.commit().await.unwrap();
    let (mut quick, range) = EventFeed::open(rows, &bed.app.tails, "me").await.unwrap();
    quick.subscribe(None, wish(&[], None)).await.unwrap();
    let last = append_chunk(rows, "me", task, 1).await;
    // Once the quick one has it, the tail has read everything.
    assert_eq!(next_seqs(&mut quick, 1).await, [last]);
    let seqs = next_seqs(&mut slow, 2_601).await;
    assert!(seqs.windows(2).all(|pair| pair[1] == pair[0] + 1));
    assert_eq!((seqs[2_600], range.last + 1), (last, last));
}

#[tokio::test]
async fn a_gap_is_told_when_events_are_gone() {
    let bed = Bed::without_workers().await;
    let rows = &bed.app.storage.rows;
    for index in 0..5 {
        append_chunk(rows, "me", Uuid::from_u128(1), index).await;
    }
    let mut tx = rows.begin().await.unwrap();
    events::purge(&mut tx, 1, 3).await.unwrap();
    tx.commit().await.unwrap();
    let (mut feed, range) = EventFeed::open(rows, &bed.app.tails, "me").await.unwrap();
    assert_eq!((range.oldest, range.last), (4, 5));
    assert_eq!(feed.subscribe(None, wish(&[], Some(2))).await.unwrap(), Subscribed { replayed: 2, gap: true });
    assert_eq!(feed.subscribe(None, wish(&[], Some(3))).await.unwrap(), Subscribed { replayed: 2, gap: false });
    assert_eq!(feed.subscribe(None, wish(&[], Some(99))).await.unwrap(), Subscribed { replayed: 0, gap: true });
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The bed's front door on a port.
async fn listen(bed: &Bed) -> std::net::SocketAddr {
    let acceptor = TcpListener::new("127.0.0.1:0").bind().await;
    let address = acceptor.holdings()[0].local_addr.clone().into_std().unwrap();
    tokio::spawn(Server::new(acceptor).try_serve(routes::service(bed.app.clone())));
    address
}

async fn connect(address: std::net::SocketAddr, key: &str) -> Socket {
    let mut request = format!("ws://{address}/ws").into_client_request().unwrap();
    request.headers_mut().insert("x-api-key", key.parse().unwrap());
    tokio_tungstenite::connect_async(request).await.unwrap().0
}

async fn message(socket: &mut Socket) -> Message {
    timeout(LIMIT, socket.next()).await.expect("a message").unwrap().unwrap()
}

/// The next envelope of this type; others are passed over.
async fn told(socket: &mut Socket, kind: &str) -> Value {
    loop {
        if let Message::Text(text) = message(socket).await {
            let envelope: Value = serde_json::from_str(&text).unwrap();
            if envelope["type"] == kind {
                return envelope;
            }
        }
    }
}

async fn close_code(socket: &mut Socket) -> u16 {
    loop {
        if let Message::Close(frame) = message(socket).await {
            return frame.unwrap().code.into();
        }
    }
}

async fn say(socket: &mut Socket, value: Value) {
    socket.send(Message::text(value.to_string())).await.unwrap();
}

#[tokio::test]
async fn a_client_that_says_nothing_gets_its_jobs_and_their_progress() {
    let bed = Bed::without_workers().await;
    let address = listen(&bed).await;
    let mut socket = connect(address, &bed.key).await;
    let hello = told(&mut socket, "hello").await;
    assert_eq!((&hello["data"]["protocol"], &hello["data"]["heartbeat_s"]), (&json!(1), &json!(25)));
    let (mine, rows) = (Uuid::from_u128(7), &bed.app.storage.rows);
    append_chunk(rows, "other", mine, 0).await;
    let seq = append_chunk(rows, &bed.owner(), mine, 3).await;
    let ready = told(&mut socket, "chunk.ready").await;
    assert_eq!((&ready["seq"], &ready["task_id"]), (&json!(seq), &json!(mine)));
    assert_eq!(ready["data"]["audio_url"], format!("/api/audio/chunk/{mine}/3?take=1"));
    let progress = told(&mut socket, "job.progress").await;
    assert_eq!((&progress["data"]["chunks_done"], progress.get("seq")), (&json!(4), None));
}

#[tokio::test]
async fn a_client_that_subscribes_at_once_is_told_nothing_twice() {
    let bed = Bed::without_workers().await;
    let address = listen(&bed).await;
    let rows = &bed.app.storage.rows;
    let owner = bed.owner();
    append_chunk(rows, &owner, Uuid::from_u128(7), 0).await;
    let mut socket = connect(address, &bed.key).await;
    // Stored between the connection and the subscription.
    append_chunk(rows, &owner, Uuid::from_u128(7), 1).await;
    say(&mut socket, json!({"type": "subscribe", "ref": "1", "topics": ["jobs"], "after_seq": 0})).await;
    let subscribed = told(&mut socket, "subscribed").await;
    assert_eq!((&subscribed["data"]["ref"], &subscribed["data"]["gap"]), (&json!("1"), &json!(false)));
    append_chunk(rows, &owner, Uuid::from_u128(7), 2).await;
    let mut seqs = Vec::new();
    for _ in 0..3 {
        seqs.push(told(&mut socket, "chunk.ready").await["seq"].as_i64().unwrap());
    }
    assert_eq!(seqs, [1, 2, 3]);
}

#[tokio::test]
async fn nonsense_closes_and_mistakes_are_told() {
    let bed = Bed::without_workers().await;
    let address = listen(&bed).await;
    let mut socket = connect(address, &bed.key).await;
    say(&mut socket, json!({"type": "dance", "ref": "9"})).await;
    let error = told(&mut socket, "error").await;
    assert_eq!((&error["data"]["ref"], &error["data"]["code"]), (&json!("9"), &json!("invalid_request")));
    say(&mut socket, json!({"type": "ping", "ref": 5})).await;
    assert_eq!(told(&mut socket, "ack").await["data"]["ref"], "5");
    say(&mut socket, json!({"type": "cancel", "ref": "c", "task_id": Uuid::nil()})).await;
    assert_eq!(told(&mut socket, "error").await["data"]["code"], "task_not_found");
    socket.send(Message::text("not json")).await.unwrap();
    assert_eq!(close_code(&mut socket).await, 4400);

    let mut socket = connect(address, &bed.key).await;
    socket.send(Message::binary(vec![0xff, 0xfe])).await.unwrap();
    assert_eq!(close_code(&mut socket).await, 4400);

    let mut socket = connect(address, &bed.key).await;
    for index in 0..300 {
        if socket.send(Message::text(json!({"type": "ping", "ref": index}).to_string())).await.is_err() {
            break;
        }
    }
    assert_eq!(close_code(&mut socket).await, 4429);
}

#[tokio::test]
async fn cancelling_needs_the_scope_of_the_job() {
    let bed = Bed::without_workers().await;
    let address = listen(&bed).await;
    let listener = bed.new_key(&[Scope::WsConnect]).await;
    let mut socket = connect(address, &listener).await;
    say(&mut socket, json!({"type": "cancel", "ref": "c", "task_id": Uuid::nil()})).await;
    assert_eq!(told(&mut socket, "error").await["data"]["code"], "insufficient_scope");

    let mut made = bed.post("/api/generate/preset", &json!({"text": "Stop.", "voice_id": "nora"})).await;
    let id = bed::json(&mut made).await["task_id"].as_str().unwrap().to_owned();
    let mut socket = connect(address, &bed.key).await;
    say(&mut socket, json!({"type": "cancel", "data": {"ref": "c", "task_id": id}})).await;
    let ack = told(&mut socket, "ack").await;
    assert_eq!((&ack["data"]["state"], &ack["task_id"]), (&json!("cancelled"), &json!(id)));
    say(&mut socket, json!({"type": "cancel", "ref": "c", "task_id": id})).await;
    assert_eq!(told(&mut socket, "error").await["data"]["code"], "not_cancellable");
}

#[tokio::test]
async fn a_revoked_key_and_a_stop_close_the_line() {
    let bed = Bed::without_workers().await;
    let address = listen(&bed).await;
    let key = bed.new_key(&[Scope::WsConnect]).await;
    let mut revoked = connect(address, &key).await;
    let mut stopped = connect(address, &bed.key).await;
    told(&mut stopped, "hello").await;
    let mut tx = bed.app.storage.rows.begin().await.unwrap();
    api_keys::revoke(&mut tx, &key[4..12], 1).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(close_code(&mut revoked).await, 4401);
    bed.app.closing.cancel();
    assert_eq!(close_code(&mut stopped).await, 1001);
    bed.app.subscribers.close();
    drop((revoked, stopped));
    timeout(LIMIT, bed.app.subscribers.wait()).await.expect("both lines ended");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_let_go() {
    let bed = Bed::with(|config| config.subscriber_send_ms = 200, false).await;
    let address = listen(&bed).await;
    let _silent = connect(address, &bed.key).await;
    let rows = &bed.app.storage.rows;
    let owner = bed.owner();
    // More than the buffers of both ends of a local connection.
    let text = "x".repeat(64 * 1024);
    for _ in 0..10 {
        let mut tx = rows.begin().await.unwrap();
        for _ in 0..50 {
            let event = NewEvent { owner_id: &owner, generation_id: None, kind: "job.started", data: json!({"text": text}) };
            events::append(&mut tx, event, 0).await.unwrap();
        }
        tx.commit().await.unwrap();
    }
    bed.app.subscribers.close();
    timeout(LIMIT, bed.app.subscribers.wait()).await.expect("the line was ended though nobody read");
}

#[tokio::test]
async fn the_stream_goes_on_after_the_last_event() {
    let bed = Bed::without_workers().await;
    let address = listen(&bed).await;
    let rows = &bed.app.storage.rows;
    let owner = bed.owner();
    for index in 0..4 {
        append_chunk(rows, &owner, Uuid::from_u128(7), index).await;
    }
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("GET /api/events HTTP/1.1\r\nHost: {address}\r\nX-API-Key: {}\r\nLast-Event-ID: 2\r\n\r\n", bed.key);
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut lines = BufReader::new(stream).lines();
    let (mut ids, mut kinds) = (Vec::new(), Vec::new());
    while ids.len() < 3 {
        let line = timeout(LIMIT, lines.next_line()).await.expect("a line").unwrap().unwrap();
        if let Some(id) = line.strip_prefix("id: ") {
            ids.push(id.parse::<i64>().unwrap());
            if ids.len() == 2 {
                append(rows, &owner, Uuid::from_u128(7), "job.completed", json!({})).await;
            }
        }
        if let Some(kind) = line.strip_prefix("event: ") {
            kinds.push(kind.to_owned());
        }
        assert!(!line.contains("content-type:") || line.contains("text/event-stream"), "{line}");
    }
    assert_eq!(ids, [3, 4, 5]);
    assert_eq!(kinds, ["hello", "chunk.ready", "chunk.ready"]);
    bed.app.closing.cancel();
    while timeout(LIMIT, lines.next_line()).await.expect("the end").unwrap().is_some() {}
}
