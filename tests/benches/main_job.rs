//! `make bench`: the figures of the main job on this machine, with the built-in engine and an optimised build, through the front door.
//! It prints and judges nothing.

#![allow(clippy::unwrap_used)]
#![allow(clippy::disallowed_methods, reason = "measuring time is what this is for")]

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tests::tools::{self, Tool};
use tests::{Answer, Client, TestServer};

const SHORT_REQUESTS: usize = 100;
const ACCEPTED: usize = 50;
const CHUNKS: usize = 500;

#[tokio::main]
async fn main() {
    if !tools::has("bench", &[Tool::Espeak]) {
        return;
    }
    let mut server = TestServer::builtin().await;
    let client = server.client();
    let voice = client.preset(0).await;
    short_requests(&client, &voice).await;
    accepting(&client, &voice).await;
    long_text(&client, &voice).await;
    restart(&mut server, &voice).await;
}

fn print(what: &str, figure: String) {
    println!("{what:<52}{figure}");
}

fn quantiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    format!("p50 {:.1} ms, p95 {:.1} ms, slowest {:.1} ms", at(0.5), at(0.95), at(1.0))
}

fn chunks(name: &str, count: usize) -> Vec<Value> {
    (0..count).map(|index| json!({"text": format!("{name}: ship number {index} passed the lighthouse at noon.")})).collect()
}

async fn short_requests(client: &Client, voice: &str) {
    let mut times = Vec::new();
    for index in 0..SHORT_REQUESTS {
        let body = json!({"text": format!("This is the short sentence with the number {index}."), "voice_id": voice});
        let request = client.request(Method::POST, "/api/generate/preset").header("accept", "audio/wav").json(&body);
        let started = Instant::now();
        Answer::to(request).await.expect(200);
        times.push(started.elapsed());
    }
    print("a sentence, from the call to its audio", quantiles(times));
}

async fn accepting(client: &Client, voice: &str) {
    let mut times = Vec::new();
    for round in 0..ACCEPTED {
        let body = json!({"chunks": chunks(&format!("round {round}"), 100), "voice_id": voice});
        let started = Instant::now();
        let task = client.submit("/api/generate/clone-chunked", &body).await;
        times.push(started.elapsed());
        client.post("/api/generation/cancel", &json!({"task_id": task})).await.expect(200);
        client.ended(&task).await;
    }
    print("100 chunks accepted for good", quantiles(times));
}

async fn long_text(client: &Client, voice: &str) {
    let body = json!({"chunks": chunks("long", CHUNKS), "voice_id": voice});
    let started = Instant::now();
    let task = client.submit("/api/generate/clone-chunked", &body).await;
    let job = client.completed(&task).await;
    let took_s = started.elapsed().as_secs_f64();
    let audio_s = job["result"]["duration_ms"].as_f64().unwrap() / 1e3;
    let figure = format!("{took_s:.1} s for {audio_s:.0} s of audio: {:.0} chunks/s, rtf {:.4}", CHUNKS as f64 / took_s, took_s / audio_s);
    print(&format!("{CHUNKS} chunks, spoken and joined"), figure);
}

async fn restart(server: &mut TestServer, voice: &str) {
    let mut socket = server.socket().await;
    socket.subscribe(None).await;
    let task =
        server.client().submit("/api/generate/clone-chunked", &json!({"chunks": chunks("restart", CHUNKS), "voice_id": voice})).await;
    socket.until(|event| event.is("chunk.ready", &task)).await;
    server.kill().await;
    let started = Instant::now();
    server.restart().await;
    let ready = started.elapsed();
    let mut socket = server.socket().await;
    socket.subscribe(None).await;
    socket.until(|event| event.is("chunk.ready", &task)).await;
    let figure =
        format!("ready after {:.0} ms, next chunk after {:.0} ms", ready.as_secs_f64() * 1e3, started.elapsed().as_secs_f64() * 1e3);
    print("started again after kill -9", figure);
}
