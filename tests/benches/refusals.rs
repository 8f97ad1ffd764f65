//! `make bench-refusals`: whether the time of a refusal tells what is there. Pairs of requests that must not be told apart, in turns, each on a
//! connection of its own: a key that nobody has beside a known one with a wrong secret, a thing of another key beside none at all. The same request
//! twice says how much is noise.
//!
//! It prints and judges nothing.

#![allow(clippy::unwrap_used)]
#![allow(clippy::disallowed_methods, reason = "measuring time is what this is for")]

use std::time::Instant;

use reqwest::{Method, RequestBuilder};
use serde_json::json;
use tests::tools::{self, Tool};
use tests::{Client, ServerOptions, TestServer};

const ROUNDS: usize = 4_000;
const NOBODY: &str = "0197f000-0000-7000-8000-000000000000";
/// Of `cvk_`, the id, the secret and the checksum: where the secret begins.
const SECRET_AT: usize = 12;
const SECRET_CHARS: usize = 43;

#[tokio::main]
async fn main() {
    if !tools::has("bench", &[Tool::Espeak]) {
        return;
    }
    let environment = vec![("CLONYVOICE_FAILURES_LOOPBACK_PER_MINUTE_MAX".into(), "1000000".into())];
    let server = TestServer::start(ServerOptions { environment, ..ServerOptions::default() }).await;
    let (one, other) = (server.new_key("one", &tests::server::SCOPES).await, server.new_key("other", &tests::server::SCOPES).await);
    let client = server.client_with(Some(&one));
    let voice = client.preset(0).await;
    let theirs = client.submit("/api/generate/preset", &json!({"text": "Whose is this?", "voice_id": voice})).await;
    client.completed(&theirs).await;

    let anonymous = server.client_with(None);
    let with_key = |key: String| anonymous.request(Method::GET, "/api/voices").header("x-api-key", key);
    let (known, unknown) = (altered(&one, &one), altered("cvk_00000000", &one));
    let limited = server.new_key("limited", &["system:read"]).await;
    let other_client = server.client_with(Some(&other));
    let asked = |client: &Client, id: &str| client.request(Method::GET, &format!("/api/generations/{id}"));

    pair("401: the same unknown key twice", 401, || with_key(unknown.clone()), || with_key(unknown.clone())).await;
    pair("401: a wrong secret : an unknown key", 401, || with_key(known.clone()), || with_key(unknown.clone())).await;
    pair("403: without the scope, twice", 403, || with_key(limited.clone()), || with_key(limited.clone())).await;
    pair("404: a thing of another key : none", 404, || asked(&other_client, &theirs), || asked(&other_client, NOBODY)).await;
    let (refused, forbidden) = (with_key(unknown.clone()), with_key(limited.clone()));
    let (refused, forbidden) = (|| refused.try_clone().unwrap(), || forbidden.try_clone().unwrap());
    pair_of(("403 without the scope : 401 an unknown key", 403, 401), forbidden, refused).await;
}

/// `cvk_` and id of the first, a secret that is not that of the second, and the checksum that belongs to them.
fn altered(id: &str, secret: &str) -> String {
    let secret: String = secret[SECRET_AT..SECRET_AT + SECRET_CHARS].chars().rev().collect();
    let body = format!("{}{secret}", &id[..SECRET_AT]);
    format!("{body}{}", base62(crc32(body.as_bytes())))
}

/// CRC-32 (IEEE 802.3), a bit at a time.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

fn base62(mut number: u32) -> String {
    const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut digits = [b'0'; 6];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[(number % 62) as usize];
        number /= 62;
    }
    String::from_utf8(digits.to_vec()).unwrap()
}

async fn pair(name: &str, status: u16, one: impl Fn() -> RequestBuilder, other: impl Fn() -> RequestBuilder) {
    pair_of((name, status, status), one, other).await;
}

async fn pair_of((name, one_status, other_status): (&str, u16, u16), one: impl Fn() -> RequestBuilder, other: impl Fn() -> RequestBuilder) {
    let (mut ones, mut others) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        for turn in 0..2 {
            let first = (round + turn) % 2 == 0;
            let (request, status, times) = if first { (one(), one_status, &mut ones) } else { (other(), other_status, &mut others) };
            let started = Instant::now();
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), status, "{name}");
            answer.bytes().await.unwrap();
            times.push(started.elapsed().as_secs_f64() * 1e6);
        }
    }
    let (one, other) = (median(ones), median(others));
    println!("{name:<48}{one:>8.1} us : {other:>8.1} us = {:.3}", one / other);
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times[times.len() / 2]
}
