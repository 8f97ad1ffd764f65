//! Whatever is wrong with a request, the answer says what: the right status, the contract's code, and problem+json with the request's id.

#![allow(clippy::unwrap_used)]

use futures::stream;
use reqwest::Method;
use serde_json::{Value, json};
use tests::{Answer, Client, Socket, TestServer, script};

/// One wrong request and the answer it must get.
struct Wrong {
    what: &'static str,
    method: Method,
    path: String,
    body: Value,
    status: u16,
    code: &'static str,
}

fn post(what: &'static str, path: &str, body: Value, status: u16, code: &'static str) -> Wrong {
    Wrong { what, method: Method::POST, path: path.to_owned(), body, status, code }
}

fn get(what: &'static str, path: &str, status: u16, code: &'static str) -> Wrong {
    Wrong { what, method: Method::GET, path: path.to_owned(), body: Value::Null, status, code }
}

const NOBODY: &str = "0197f000-0000-7000-8000-000000000000";

fn wrong_requests(voice: &str) -> Vec<Wrong> {
    let speech = |text: &str| json!({"text": text, "voice_id": voice});
    let with = |name: &str, value: Value| {
        let mut body = speech("Hello.");
        body[name] = value;
        body
    };
    let preset = "/api/generate/preset";
    let chunked = "/api/generate/clone-chunked";
    vec![
        post("unknown voice", preset, json!({"text": "Hello.", "voice_id": "nobody"}), 404, "voice_not_found"),
        post("no voice", preset, json!({"text": "Hello."}), 422, "validation_failed"),
        post("empty text", preset, speech(""), 422, "validation_failed"),
        post("text of spaces", preset, speech(" \n\t "), 422, "validation_failed"),
        post("no text", preset, json!({"voice_id": voice}), 422, "validation_failed"),
        post("too fast", preset, with("speed", json!(4.5)), 422, "validation_failed"),
        post("too slow", preset, with("speed", json!(0.1)), 422, "validation_failed"),
        post("priority", preset, with("priority", json!(11)), 422, "validation_failed"),
        post("no such format", preset, with("format", json!("cassette")), 422, "validation_failed"),
        post("no such engine", preset, with("engine", json!("steam")), 422, "validation_failed"),
        post("text is a number", preset, json!({"text": 5, "voice_id": voice}), 400, "invalid_request"),
        post("an array", preset, json!(["text"]), 400, "invalid_request"),
        post("no chunks", chunked, json!({"chunks": [], "voice_id": voice}), 422, "validation_failed"),
        post("an empty chunk", chunked, json!({"chunks": [{"text": ""}], "voice_id": voice}), 422, "validation_failed"),
        post("chunks of no size", chunked, with("max_chunk_chars", json!(0)), 422, "validation_failed"),
        post("merge of nothing", "/api/generate/merge-chunks", json!({}), 422, "validation_failed"),
        post("merge of nobody's", "/api/generate/merge-chunks", json!({"task_id": NOBODY}), 404, "task_not_found"),
        post("cancel of nobody's", "/api/generation/cancel", json!({"task_id": NOBODY}), 404, "task_not_found"),
        post("split of nothing", "/api/text/split", json!({}), 422, "validation_failed"),
        get("unknown route", "/api/nothing", 404, "route_not_found"),
        get("unknown voice by id", "/api/voices/nobody", 404, "voice_not_found"),
        get("unknown job", &format!("/api/jobs/{NOBODY}"), 404, "job_not_found"),
        get("a job that is no id", "/api/jobs/..%2f..%2fetc", 404, "job_not_found"),
        get("unknown generation", &format!("/api/generations/{NOBODY}"), 404, "generation_not_found"),
        get("unknown audio", &format!("/api/generations/{NOBODY}/audio"), 404, "generation_not_found"),
        get("unknown chunk", &format!("/api/audio/chunk/{NOBODY}/0"), 404, "task_not_found"),
        get("wrong method", preset, 405, "method_not_allowed"),
        get("list too long", "/api/generations?limit=201", 422, "validation_failed"),
        get("limit is no number", "/api/generations?limit=many", 400, "invalid_request"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_request_is_told_what_is_wrong() {
    let server = TestServer::scripted(script::at_once()).await;
    let client = server.client();
    for wrong in wrong_requests(&client.preset(0).await) {
        let mut request = client.request(wrong.method.clone(), &wrong.path);
        if wrong.method == Method::POST {
            request = request.json(&wrong.body);
        }
        eprintln!("{}", wrong.what);
        let problem = Answer::to(request).await.problem(wrong.status, wrong.code);
        if wrong.status == 422 {
            assert!(problem["errors"][0]["field"].is_string(), "{}: {problem}", wrong.what);
            assert!(problem["errors"][0]["message"].is_string(), "{}: {problem}", wrong.what);
        }
    }
    let generations = client.get("/api/generations").await.expect(200).json();
    assert_eq!(generations["total"], 0, "nothing of it was accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_json_is_told_the_place() {
    let server = TestServer::scripted(script::at_once()).await;
    let client = server.client();
    let send = async |body: &'static str| {
        let request = client.request(Method::POST, "/api/generate/clone-chunked").header("content-type", "application/json").body(body);
        Answer::to(request).await.problem(400, "invalid_request")
    };
    let detail = |problem: Value| problem["detail"].as_str().unwrap().to_owned();
    assert!(detail(send("{\"text\": \"a\",\n  \"voice_id\" 7}").await).contains("line 2 column"), "where the syntax ends");
    assert!(detail(send("").await).contains("line 1 column 0"), "nothing at all");
    let nested = send(r#"{"voice_id": "x", "chunks": [{"text": "a"}, {"text": 9}]}"#).await;
    assert!(nested.to_string().contains("chunks[1].text"), "{nested}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_scopes() {
    let server = TestServer::scripted(script::at_once()).await;
    let with = |key: &str| server.client_with(Some(key));
    let body = json!({"text": "Hello.", "voice_id": server.client().preset(0).await});
    let ask = async |client: &Client| client.post("/api/generate/preset", &body).await;

    ask(&server.client_with(None)).await.problem(401, "unauthenticated");
    ask(&with("not a key")).await.problem(401, "unauthenticated");
    ask(&with("cvk_00000000_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")).await.problem(401, "unauthenticated");
    let key = server.key();
    let last = if key.ends_with('a') { "b" } else { "a" };
    ask(&with(&format!("{}{last}", &key[..key.len() - 1]))).await.problem(401, "unauthenticated");
    let reader = server.new_key("reader", &["voices:read"]).await;
    ask(&with(&reader)).await.problem(403, "insufficient_scope");
    with(&reader).get("/api/voices").await.expect(200);
    ask(&server.client()).await.expect(202);

    assert_eq!(Socket::connect(&server.base(), None).await.unwrap_err(), 401);
    assert_eq!(Socket::connect(&server.base(), Some(&reader)).await.unwrap_err(), 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_without_calls_left_is_told_when_to_come_back() {
    let server = TestServer::scripted(script::at_once()).await;
    let printed = server.run(&["keys", "create", "--name", "slow", "--scopes", "voices:read", "--limits", "voices:read=2"]).await;
    let client = server.client_with(Some(printed.trim()));
    let mut refused = None;
    for _ in 0..4 {
        let answer = client.get("/api/voices").await;
        if answer.status != 200 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("two a minute is less than four at once");
    refused.problem(429, "rate_limited");
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_70_mb_is_too_large() {
    const PIECE: &[u8] = &[b'a'; 64 * 1024];
    const PIECES: usize = 70 * 1024 * 1024 / PIECE.len();
    let server = TestServer::scripted(script::at_once()).await;
    let client = server.client();
    let request = || client.request(Method::POST, "/api/generate/clone-chunked").header("content-type", "application/json");
    let pieces = || stream::iter((0..PIECES).map(|_| Ok::<_, std::io::Error>(PIECE)));

    let said_before = request().header("content-length", PIECE.len() * PIECES).body(reqwest::Body::wrap_stream(pieces()));
    Answer::to(said_before).await.problem(413, "payload_too_large");
    let found_out = request().body(reqwest::Body::wrap_stream(pieces()));
    Answer::to(found_out).await.problem(413, "payload_too_large");
    client.get("/api/voices").await.expect(200);
}
