//! A thousand subscribers, of whom one in a hundred stops reading: the others get every stored event once and in order, those are closed
//! with 4408 and get the rest when they come back. In one process, so that the stalled ones know when they were given up.

#![allow(clippy::unwrap_used)]

mod bed;

use std::net::SocketAddr;
use std::time::Duration;

use api::open_files;
use bed::Bed;
use bed::line::{LIMIT, Socket, Stream, append_chunk, connect, line, listen, message, open_stream, say, streamed, tcp, told};
use futures::stream::{self, StreamExt};
use serde_json::{Value, json};
use storage::Rows;
use storage::events::{self, NewEvent};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

const SUBSCRIBERS: usize = 1_000;
const STALLED: usize = 10;
const SMALL: u32 = 40;
/// Together more than the buffers of both ends of a local connection, for those who do not filter.
const LARGE: u32 = 160;
const LARGE_BYTES: usize = 64 * 1024;
const CONNECTING: usize = 32;
/// The limit of the whole process, clients and all; a leak of every event for every subscriber would be 10 GB.
const RESIDENT_BYTES_MAX: u64 = 1024 * 1024 * 1024;

const FOLLOWED: Uuid = Uuid::from_u128(1);
const LOUD: Uuid = Uuid::from_u128(2);

async fn a_bed() -> (Bed, SocketAddr) {
    open_files::raise_limit();
    let bed = Bed::with(|config| config.subscriber_send_ms = 5_000, false).await;
    let address = listen(&bed).await;
    print_memory("before");
    (bed, address)
}

/// Events of both tasks, mixed; the seqs of all, and of the followed task alone.
async fn speak(rows: &Rows, owner: &str) -> (Vec<i64>, Vec<i64>) {
    let text = "x".repeat(LARGE_BYTES);
    let (mut all, mut small) = (Vec::new(), Vec::new());
    for index in 0..SMALL {
        small.push(append_chunk(rows, owner, FOLLOWED, index).await);
        all.extend(small.last());
        let mut tx = rows.begin().await.unwrap();
        for _ in 0..LARGE / SMALL {
            let event = NewEvent { owner_id: owner, generation_id: Some(LOUD), kind: "job.started", data: json!({"text": text}) };
            all.push(events::append(&mut tx, event, 0).await.unwrap());
        }
        tx.commit().await.unwrap();
    }
    (all, small)
}

#[cfg(target_os = "linux")]
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap().trim().trim_end_matches(" kB");
    Some(kib.parse::<u64>().unwrap() * 1024)
}

#[cfg(not(target_os = "linux"))]
fn resident_bytes() -> Option<u64> {
    None
}

fn print_memory(when: &str) {
    if let Some(bytes) = resident_bytes() {
        println!("resident {when}: {} MiB", bytes >> 20);
        assert!(bytes < RESIDENT_BYTES_MAX);
    }
}

async fn all_given_up(bed: &Bed) {
    let mut slow = bed.app.slow_subscribers.subscribe();
    timeout(LIMIT, slow.wait_for(|count| *count == STALLED as u64)).await.expect("the stalled ones are given up").unwrap();
}

async fn subscribed(mut socket: Socket, task_ids: Value, after_seq: i64) -> Socket {
    say(&mut socket, json!({"type": "subscribe", "ref": "s", "task_ids": task_ids, "after_seq": after_seq})).await;
    told(&mut socket, "subscribed").await;
    socket
}

#[derive(serde::Deserialize)]
struct Numbered {
    seq: Option<i64>,
}

/// The seqs of stored events up to the end, or up to `count`, and the code of the end.
async fn read_socket(socket: &mut Socket, count: usize) -> (Vec<i64>, Option<u16>) {
    let mut seqs = Vec::new();
    while seqs.len() < count {
        match message(socket).await {
            Message::Text(text) => seqs.extend(serde_json::from_str::<Numbered>(&text).unwrap().seq),
            Message::Close(frame) => return (seqs, Some(frame.unwrap().code.into())),
            _ => {}
        }
    }
    (seqs, None)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_sockets_and_some_that_stall() {
    let (bed, address) = a_bed().await;
    let (rows, owner, key) = (&bed.app.storage.rows, bed.owner(), bed.key.as_str());
    let live = stream::iter(0..SUBSCRIBERS - STALLED)
        .map(|_| async { subscribed(connect(address, key).await, json!([FOLLOWED]), 0).await })
        .buffer_unordered(CONNECTING);
    let live: Vec<Socket> = live.collect().await;
    let stalled = stream::iter(0..STALLED)
        .map(|_| async { subscribed(connect(address, key).await, json!([]), 0).await })
        .buffer_unordered(CONNECTING);
    let stalled: Vec<Socket> = stalled.collect().await;
    print_memory("with all subscribers");

    let readers: Vec<_> =
        live.into_iter().map(|mut socket| tokio::spawn(async move { read_socket(&mut socket, SMALL as usize).await })).collect();
    let (all, small) = speak(rows, &owner).await;
    for reader in readers {
        assert_eq!(reader.await.unwrap(), (small.clone(), None));
    }
    all_given_up(&bed).await;
    print_memory("with all events told");

    // At once: they have half a minute to fetch what is on its way.
    let ends: Vec<_> =
        stalled.into_iter().map(|mut socket| tokio::spawn(async move { read_socket(&mut socket, usize::MAX).await })).collect();
    for end in ends {
        let (mut seqs, code) = end.await.unwrap();
        assert_eq!(code, Some(4408));
        assert!(seqs.len() < all.len());
        let mut socket = subscribed(connect(address, key).await, json!([]), seqs.last().copied().unwrap_or(0)).await;
        let (rest, code) = read_socket(&mut socket, all.len() - seqs.len()).await;
        seqs.extend(rest);
        assert_eq!((seqs, code), (all.clone(), None));
    }
    bed.app.closing.cancel();
    bed.app.subscribers.close();
    timeout(Duration::from_secs(60), bed.app.subscribers.wait()).await.expect("all lines ended");
    print_memory("without subscribers");
}

/// The seqs of stored events up to the end, or up to `count`, and the code of the end.
async fn read_stream(stream: &mut Stream, count: usize) -> (Vec<i64>, Option<u64>) {
    let mut seqs = Vec::new();
    while seqs.len() < count {
        let line = line(stream).await.expect("a last record");
        if let Some(id) = line.strip_prefix("id: ") {
            seqs.push(id.parse().unwrap());
        } else if line == "event: close" {
            let data = self::line(stream).await.unwrap();
            let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            return (seqs, data["data"]["code"].as_u64());
        }
    }
    (seqs, None)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_streams_and_some_that_stall() {
    let (bed, address) = a_bed().await;
    let (rows, owner, key) = (&bed.app.storage.rows, bed.owner(), bed.key.as_str());
    let open = async |query: String| {
        let mut stream = open_stream(tcp(address).await, key, &query, None).await;
        streamed(&mut stream, "subscribed").await;
        stream
    };
    let live = stream::iter(0..SUBSCRIBERS - STALLED).map(|_| open(format!("?task_ids={FOLLOWED}&after_seq=0")));
    let live: Vec<Stream> = live.buffer_unordered(CONNECTING).collect().await;
    let stalled = stream::iter(0..STALLED).map(|_| open("?after_seq=0".into()));
    let stalled: Vec<Stream> = stalled.buffer_unordered(CONNECTING).collect().await;
    print_memory("with all subscribers");

    let readers: Vec<_> =
        live.into_iter().map(|mut stream| tokio::spawn(async move { read_stream(&mut stream, SMALL as usize).await })).collect();
    let (all, small) = speak(rows, &owner).await;
    for reader in readers {
        assert_eq!(reader.await.unwrap(), (small.clone(), None));
    }
    all_given_up(&bed).await;
    print_memory("with all events told");

    let ends: Vec<_> =
        stalled.into_iter().map(|mut stream| tokio::spawn(async move { read_stream(&mut stream, usize::MAX).await })).collect();
    for end in ends {
        let (mut seqs, code) = end.await.unwrap();
        assert_eq!(code, Some(4408));
        assert!(seqs.len() < all.len());
        let last = seqs.last().map(i64::to_string);
        let mut stream = open_stream(tcp(address).await, key, "?after_seq=0", last.as_deref()).await;
        let (rest, code) = read_stream(&mut stream, all.len() - seqs.len()).await;
        seqs.extend(rest);
        assert_eq!((seqs, code), (all.clone(), None));
    }
    bed.app.closing.cancel();
    bed.app.subscribers.close();
    timeout(Duration::from_secs(60), bed.app.subscribers.wait()).await.expect("all lines ended");
    print_memory("without subscribers");
}
