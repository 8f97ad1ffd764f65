//! `make bench-ws`: a thousand subscribers, twenty events a second: how late the events are and how many are lost, beside a bare loop over
//! tokio-tungstenite that does nothing but send the same text to everybody. Both are processes of their own, this one holds the clients of
//! both, and they take turns in one run. Lateness is from the time that stands in the event to its arrival, to the millisecond.
//!
//! It prints and judges nothing.

#![allow(clippy::unwrap_used)]
#![allow(clippy::disallowed_methods, reason = "measuring time is what this is for")]

use std::collections::BTreeSet;
use std::io::{BufRead, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use futures::stream::{self, StreamExt};
use futures::{SinkExt, future};
use jiff::Timestamp;
use serde_json::json;
use tests::tools::{self, Tool};
use tests::{Client, ServerOptions, Socket, TestServer};
use tokio::sync::broadcast;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_tungstenite::tungstenite::Message;

const SUBSCRIBERS: usize = 1_000;
const EVENTS_PER_S: u32 = 20;
const ROUND_S: u32 = 10;
const ROUNDS: usize = 5;
const CONNECTING: usize = 32;
/// Nothing more is on its way when it was silent for so long.
const SILENCE: Duration = Duration::from_secs(2);
const RELAY: &str = "--relay";

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    raise_open_files();
    if std::env::args().any(|argument| argument == RELAY) {
        return runtime.block_on(relay());
    }
    if tools::has("bench", &[Tool::Espeak]) {
        runtime.block_on(compare());
    }
}

/// Two ends of each line, in two processes.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// What one subscriber got in a round.
#[derive(Default)]
struct Got {
    seqs: Vec<i64>,
    late_ms: Vec<f64>,
    ended: bool,
}

async fn listen(mut socket: Socket) -> (Got, Socket) {
    let mut got = Got::default();
    loop {
        match timeout(SILENCE, socket.next()).await {
            Err(_) => return (got, socket),
            Ok(Err(_)) => {
                got.ended = true;
                return (got, socket);
            }
            Ok(Ok(envelope)) => {
                let now = Timestamp::now();
                let Some(seq) = envelope.seq else { continue };
                let happened: Timestamp = envelope.ts.as_deref().unwrap().parse().unwrap();
                got.seqs.push(seq);
                got.late_ms.push(now.duration_since(happened).as_secs_f64() * 1e3);
            }
        }
    }
}

/// All rounds of one contender.
#[derive(Default)]
struct Figures {
    p99_ms: Vec<f64>,
    late_ms: Vec<f64>,
    told: usize,
    lost: usize,
    doubled: usize,
    closed: usize,
}

impl Figures {
    fn add(&mut self, round: Vec<Got>) {
        let all: BTreeSet<i64> = round.iter().flat_map(|got| got.seqs.iter().copied()).collect();
        let mut late = Vec::new();
        for got in round {
            let own: BTreeSet<i64> = got.seqs.iter().copied().collect();
            self.told += got.seqs.len();
            self.lost += all.len() - own.len();
            self.doubled += got.seqs.len() - own.len();
            self.closed += usize::from(got.ended);
            late.extend(got.late_ms);
        }
        late.sort_unstable_by(f64::total_cmp);
        self.p99_ms.push(quantile(&late, 0.99));
        self.late_ms.extend(late);
    }

    fn print(&mut self, name: &str) {
        self.late_ms.sort_unstable_by(f64::total_cmp);
        self.p99_ms.sort_unstable_by(f64::total_cmp);
        println!(
            "{name:<34}{} messages: p50 {:.0} ms, p99 {:.0} ms (median of rounds {:.0} ms), slowest {:.0} ms; lost {}, doubled {}, closed {}",
            self.told,
            quantile(&self.late_ms, 0.5),
            quantile(&self.late_ms, 0.99),
            quantile(&self.p99_ms, 0.5),
            quantile(&self.late_ms, 1.0),
            self.lost,
            self.doubled,
            self.closed,
        );
    }
}

fn quantile(sorted: &[f64], share: f64) -> f64 {
    sorted.get(((sorted.len().max(1) - 1) as f64 * share).round() as usize).copied().unwrap_or(f64::NAN)
}

async fn compare() {
    // Nobody works: what is accepted is told, and nothing else happens.
    let server = TestServer::start(ServerOptions { arguments: vec!["--role".into(), "api".into()], ..ServerOptions::default() }).await;
    let client = server.client();
    let voice = client.preset(0).await;
    let ours = async || {
        let mut socket = server.socket().await;
        socket.subscribe(None).await;
        socket
    };
    let mut relay = Relay::start();
    let base = format!("http://127.0.0.1:{}", relay.port);
    let theirs = async || Socket::connect(&base, None).await.unwrap();
    let mut our_sockets: Vec<Socket> = stream::iter(0..SUBSCRIBERS).map(|_| ours()).buffer_unordered(CONNECTING).collect().await;
    let mut their_sockets: Vec<Socket> = stream::iter(0..SUBSCRIBERS).map(|_| theirs()).buffer_unordered(CONNECTING).collect().await;
    let (mut our, mut their) = (Figures::default(), Figures::default());
    for round in 0..ROUNDS {
        eprintln!("round {} of {ROUNDS}", round + 1);
        for turn in 0..2 {
            if (round + turn) % 2 == 0 {
                our_sockets = measure(our_sockets, &mut our, async |number| accept(&client, &voice, round, number).await).await;
            } else {
                their_sockets = measure(their_sockets, &mut their, async |_| relay.publish()).await;
            }
        }
    }
    println!("{SUBSCRIBERS} subscribers, {EVENTS_PER_S} events a second, {ROUNDS} rounds of {ROUND_S} s each, in turns");
    our.print("ours, stored and told");
    their.print("bare tokio-tungstenite loop");
    println!("ratio of the medians of p99: {:.2}", quantile(&our.p99_ms, 0.5) / quantile(&their.p99_ms, 0.5));
}

/// A round: everybody listens, something happens so often, until all is silent.
async fn measure(sockets: Vec<Socket>, figures: &mut Figures, mut happen: impl AsyncFnMut(u32)) -> Vec<Socket> {
    let listeners: Vec<_> = sockets.into_iter().map(|socket| tokio::spawn(listen(socket))).collect();
    let mut ticks = interval(Duration::from_secs(1) / EVENTS_PER_S);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let started = Instant::now();
    for number in 0..EVENTS_PER_S * ROUND_S {
        ticks.tick().await;
        happen(number).await;
    }
    let took = started.elapsed();
    if took > Duration::from_secs(u64::from(ROUND_S)) * 11 / 10 {
        eprintln!("the events took {:.1} s where {ROUND_S} s were meant", took.as_secs_f64());
    }
    let (round, sockets): (Vec<Got>, Vec<Socket>) = future::join_all(listeners).await.into_iter().map(Result::unwrap).unzip();
    figures.add(round);
    sockets
}

async fn accept(client: &Client, voice: &str, round: usize, number: u32) {
    let text = format!("Round {round}: ship number {number} passed the lighthouse.");
    client.submit("/api/generate/preset", &json!({"text": text, "voice_id": voice})).await;
}

/// This program once more, as the bare loop.
struct Relay {
    process: std::process::Child,
    port: u16,
    said: i64,
}

impl Relay {
    fn start() -> Self {
        let program = std::env::current_exe().unwrap();
        let mut process = Command::new(program).arg(RELAY).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        std::io::BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { process, port: line.trim().parse().unwrap(), said: 0 }
    }

    /// As long as an event of ours.
    fn publish(&mut self) {
        self.said += 1;
        let data = json!({"state": "queued", "queue_position": self.said, "kind": "preset", "chunks_total": 1});
        let task_id = "0197f2c4-7d1e-7b3a-9c55-2f6d0e1a8b90";
        let event = json!({"seq": self.said, "type": "job.queued", "ts": Timestamp::now().to_string(), "task_id": task_id, "data": data});
        writeln!(self.process.stdin.as_mut().unwrap(), "{event}").unwrap();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Every line of the standard input to every connection.
async fn relay() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap().port());
    let (lines, _) = broadcast::channel::<String>(1_024);
    let sender = lines.clone();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            let _ = sender.send(line.unwrap());
        }
        std::process::exit(0);
    });
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let mut lines = lines.subscribe();
        tokio::spawn(async move {
            let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
            while let Ok(line) = lines.recv().await {
                if socket.send(Message::text(line)).await.is_err() {
                    return;
                }
            }
        });
    }
}
