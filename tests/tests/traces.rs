//! Traces as a collector gets them: one joins the request, its acceptance, the attempt of each chunk and the merge; what goes on after a kill
//! is a trace of its own that is linked; no text and no key is in any; and a collector that is away changes nothing.

#![allow(clippy::unwrap_used)]

use reqwest::Method;
use serde_json::{Value, json};
use tests::otlp::{self, Collector, Seen};
use tests::{Answer, Client, Engine, ServerOptions, TestServer, script};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
const SERVER: i32 = 2;
const PRODUCER: i32 = 4;
const CONSUMER: i32 = 5;

async fn start(script: Value, environment: Vec<(String, String)>) -> TestServer {
    TestServer::start(ServerOptions { engine: Engine::Scripted(script), environment, ..ServerOptions::default() }).await
}

async fn submit(client: &Client, texts: &[String]) -> String {
    let chunks: Vec<Value> = texts.iter().map(|text| json!({"text": text})).collect();
    let body = json!({"chunks": chunks, "voice_id": client.preset(0).await, "title": "canarytitle"});
    let request = client.request(Method::POST, "/api/generate/clone-chunked").header("traceparent", format!("00-{TRACE}-{PARENT}-01"));
    let answer = Answer::to(request.json(&body)).await;
    answer.expect(202).json()["task_id"].as_str().unwrap().to_owned()
}

fn of<'s>(spans: &'s [Seen], name: &'static str) -> impl Iterator<Item = &'s Seen> {
    spans.iter().filter(move |span| span.name == name && span.trace_id == TRACE)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_joins_the_request_and_all_that_follows_from_it() {
    let collector = Collector::start().await;
    let mut environment = collector.environment();
    environment.push(("CLONYVOICE_LOG_FORMAT".into(), "json".into()));
    environment.push(("CLONYVOICE_LOG_FILTER".into(), "debug".into()));
    let server = start(script::at_once(), environment).await;
    let client = server.client();
    let texts: Vec<String> = (0..3).map(|index| format!("Canarytext number {index}.")).collect();
    let task = submit(&client, &texts).await;
    client.completed(&task).await;
    let spans = collector
        .until("the whole trace", |spans| {
            let whole = of(spans, "process merge_chunks").count() == 1
                && of(spans, "process speak_chunk").count() == 3
                && of(spans, "POST /api/generate/clone-chunked").count() == 1;
            whole.then(|| spans.to_vec())
        })
        .await;

    let request = of(&spans, "POST /api/generate/clone-chunked").next().unwrap();
    assert_eq!((request.kind, request.parent_id.as_str()), (SERVER, PARENT));
    assert_eq!(request.attributes["http.response.status_code"], "202", "{request:?}");
    assert_eq!(request.attributes["http.route"], "/api/generate/clone-chunked");
    let accept = of(&spans, "accept").next().unwrap();
    assert_eq!((accept.kind, &accept.parent_id), (PRODUCER, &request.span_id));
    for attempt in of(&spans, "process speak_chunk").chain(of(&spans, "process merge_chunks")) {
        assert_eq!((attempt.kind, &attempt.parent_id), (CONSUMER, &accept.span_id), "{attempt:?}");
        assert_eq!((attempt.attributes["job.attempt"].as_str(), attempt.attributes["job.end"].as_str()), ("1", "done"), "{attempt:?}");
    }
    let attempts: Vec<&str> = of(&spans, "process speak_chunk").map(|span| span.span_id.as_str()).collect();
    let mut indexes: Vec<&str> = Vec::new();
    for chunk in of(&spans, "chunk") {
        assert!(attempts.contains(&chunk.parent_id.as_str()), "{chunk:?}");
        indexes.push(&chunk.attributes["chunk.index"]);
        let inside = |name| of(&spans, name).filter(|span| span.parent_id == chunk.span_id).count();
        assert_eq!((inside("synthesize"), inside("blob put")), (1, 1), "{spans:#?}");
    }
    indexes.sort_unstable();
    assert_eq!(indexes, ["0", "1", "2"]);
    let merge = of(&spans, "process merge_chunks").next().unwrap();
    assert!(of(&spans, "blob put").any(|span| span.parent_id == merge.span_id), "{spans:#?}");

    let told = collector.text();
    assert!(told.contains("voice-under-test"), "the name of the service comes from OTEL_SERVICE_NAME");
    for secret in ["anarytext", "canarytitle", &server.key()[12..], "/home", ".rs\"", "nora"] {
        assert!(!told.contains(secret), "{secret} is in a span");
    }
    assert!(server.log_text().lines().any(|line| line.contains(TRACE)), "no log line carries the trace");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_on_after_a_kill_is_linked() {
    let collector = Collector::start().await;
    let mut server = start(script::slow(150), collector.environment()).await;
    let client = server.client();
    let texts: Vec<String> = (0..12).map(|index| format!("Link number {index}.")).collect();
    let mut socket = server.socket().await;
    socket.subscribe(None).await;
    let task = submit(&client, &texts).await;
    socket.until(|event| event.is("chunk.ready", &task)).await;
    server.kill().await;
    server.restart().await;
    server.client().completed(&task).await;
    let resumed = collector
        .until("a resumed attempt", |spans| {
            let linked = |span: &&Seen| span.kind == CONSUMER && span.links.iter().any(|link| link == TRACE);
            spans.iter().find(linked).cloned()
        })
        .await;
    assert_ne!(resumed.trace_id, TRACE, "a trace of its own");
    assert_eq!(resumed.parent_id, "", "{resumed:?}");
    assert!(resumed.attributes["job.lease_no"].parse::<u64>().unwrap() > 1, "{resumed:?}");
    // What had not begun before the kill continues the caller's trace.
    let continued = collector.until("the merge", |spans| of(spans, "process merge_chunks").next().cloned()).await;
    assert!(continued.links.is_empty(), "{continued:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_go_out_over_http_too() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (got, mut posts) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let got = got.clone();
            tokio::spawn(async move {
                let (mut bytes, mut block) = (Vec::new(), vec![0; 64 * 1024]);
                while let Ok(read @ 1..) = stream.read(&mut block).await {
                    bytes.extend_from_slice(&block[..read]);
                    if is_whole(&bytes) {
                        let _ = got.send(std::mem::take(&mut bytes));
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                    }
                }
            });
        }
    });
    let server = start(script::at_once(), otlp::environment(&endpoint, "http/protobuf")).await;
    let client = server.client();
    let task = submit(&client, &["Over HTTP.".to_owned()]).await;
    client.completed(&task).await;
    let sent = tests::wait::until("a post with the attempt", async || {
        let post = posts.recv().await?;
        let text = String::from_utf8_lossy(&post).into_owned();
        text.contains("process speak_chunk").then_some(text)
    })
    .await;
    assert!(sent.starts_with("POST /v1/traces "), "{}", &sent[..80]);
    assert!(sent.to_lowercase().contains("content-type: application/x-protobuf"), "{}", &sent[..400]);
}

/// A request with as many bytes behind its head as that says.
fn is_whole(bytes: &[u8]) -> bool {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
    length.is_some_and(|length| bytes.len() >= end + 4 + length)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_changes_nothing() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    for protocol in ["grpc", "http/protobuf"] {
        let mut server = start(script::at_once(), otlp::environment(&nobody, protocol)).await;
        let client = server.client();
        let texts: Vec<String> = (0..20).map(|index| format!("Nobody hears number {index}.")).collect();
        let task = submit(&client, &texts).await;
        client.completed(&task).await;
        assert!(server.stop().await.success(), "{protocol}");
    }
}
