//! What users send stays out of what the server writes: with everything logged, no key, ticket, text, file name or `Idempotency-Key` is found
//! on either output, nor in what anybody can read without a key.

#![allow(clippy::unwrap_used)]

use reqwest::Method;
use serde_json::json;
use tests::server::{Engine, ServerOptions};
use tests::{Answer, Socket, TestServer, script, wait};

/// Where a word goes in; none of them may come out.
const WORDS: [&str; 12] = [
    "canarytextone",
    "canarytexttwo",
    "canarytitle",
    "canarymetadata",
    "canaryidempotency",
    "canaryfilename",
    "canaryquery",
    "canarypath",
    "canarybroken",
    "canarysocket",
    "canarykeyname",
    "canarywrongkey",
];

async fn use_everything(server: &TestServer) -> Vec<String> {
    let client = server.client();
    let mut secrets = Vec::new();
    let made = client.post("/api/api-keys", &json!({"name": "canarykeyname"})).await.expect(201).json();
    let key = made["key"].as_str().unwrap().to_owned();
    let path = format!("/api/api-keys/{}", made["id"].as_str().unwrap());
    let rotated = client.post(&format!("{path}/rotate"), &json!({})).await.expect(201).json();
    let ticket = client.post("/api/ws-ticket", &json!({})).await.expect(201).json()["ticket"].as_str().unwrap().to_owned();
    for secret in [&key, rotated["key"].as_str().unwrap(), server.key()] {
        secrets.push(secret[12..].to_owned());
    }
    secrets.push(ticket[4..].to_owned());

    let voice = client.preset(0).await;
    let body =
        json!({"text": "canarytextone. canarytexttwo.", "voice_id": voice, "title": "canarytitle", "metadata": {"note": "canarymetadata"}});
    let first =
        Answer::to(client.request(Method::POST, "/api/generate/clone-chunked").header("Idempotency-Key", "canaryidempotency").json(&body))
            .await;
    let task = first.expect(202).json()["task_id"].as_str().unwrap().to_owned();
    client.completed(&task).await;
    let mut socket = Socket::connect(&server.base(), Some(server.key())).await.unwrap();
    socket.send(&json!({"type": "subscribe", "ref": "canarysocket", "after_seq": 0})).await;
    while socket.next().await.unwrap().kind != "subscribed" {}
    socket.send(&json!({"type": "canarysocket"})).await;
    drop(socket);

    // What is wrong in all ways.
    let other = json!({"text": "canarytexttwo", "voice_id": "canarytextone"});
    for path in ["/api/generate/preset", "/api/text/split", "/api/generation/cancel", "/api/api-keys"] {
        client.post(path, &other).await;
        let broken = client.request(Method::POST, path).header("content-type", "application/json").body("{\"text\": \"canarybroken");
        assert!(Answer::to(broken).await.status >= 400);
    }
    for path in ["/api/voices/import/preview", "/api/audio-duration", "/api/text/split"] {
        let part = reqwest::multipart::Part::bytes(vec![7; 100]).file_name("canaryfilename.wav");
        let sent = client.request(Method::POST, path).multipart(reqwest::multipart::Form::new().part("file", part));
        assert!(Answer::to(sent).await.status >= 400);
    }
    for path in ["/api/voices/canarypath", "/api/jobs/canarypath", "/canarypath", "/api/voices?q=canaryquery&limit=canaryquery"] {
        client.get(path).await;
    }
    for wrong in ["canarywrongkey", "cvk_canarywrongkey", &format!("{}0", server.key())] {
        server.client_with(Some(wrong)).get("/api/voices").await.problem(401, "unauthenticated");
    }
    server.client_with(None).get(&format!("/api/voices?api_key={}", server.key())).await.problem(401, "unauthenticated");
    let come = format!("/api/events?ticket={ticket}x");
    server.client_with(None).get(&come).await.problem(401, "unauthenticated");
    secrets
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_users_send_is_written() {
    let mut server = TestServer::start(ServerOptions {
        engine: Engine::Scripted(script::at_once()),
        environment: vec![("CLONYVOICE_LOG_FILTER".into(), "trace".into())],
        ..ServerOptions::default()
    })
    .await;
    let secrets = use_everything(&server).await;
    let open = server.client_with(None);
    let mut public = String::new();
    for path in ["/openapi.json", "/docs", "/healthz", "/readyz", "/metrics", "/"] {
        public += &String::from_utf8_lossy(&open.get(path).await.body);
    }
    server.stop().await;
    let log = server.log_text();
    // It was all logged: the test looks at something.
    assert!(log.lines().count() > 20 && log.contains("answered a request"), "{log}");
    for (place, text) in [("the log", &log), ("what is public", &public)] {
        for word in secrets.iter().map(String::as_str).chain(WORDS) {
            let found = text.to_lowercase().find(&word.to_lowercase());
            assert!(found.is_none(), "{place} holds {word}: {}", &text[found.unwrap_or(0).saturating_sub(200)..][..300.min(text.len())]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_live_through_the_command_line_too() {
    let mut server = TestServer::scripted(script::at_once()).await;
    let client = server.client();
    let kid = client.post("/api/api-keys", &json!({"name": "kid", "scopes": ["voices:read"], "rate_limits": {"voices:read": 1}})).await;
    let kid = kid.expect(201).json()["key"].as_str().unwrap().to_owned();
    let id = &kid[4..12];
    let with = |key: &str| server.client_with(Some(key));
    let used = wait::now();
    with(&kid).get("/api/voices").await.expect(200);
    let rotated = server.run(&["keys", "rotate", id, "--overlap-s", "0"]).await;
    let rotated = rotated.trim().to_owned();
    with(&kid).get("/api/voices").await.problem(401, "key_expired");
    // Good, and it shares what is left of its limit: nothing.
    with(&rotated).get("/api/voices").await.problem(429, "rate_limited");
    let list = server.run(&["keys", "list"]).await;
    assert!(list.lines().any(|line| line.starts_with(id) && line.contains(&format!("by {}", &server.key()[4..12]))), "{list}");
    let audit = server.run(&["keys", "audit"]).await;
    let actions: Vec<&str> = audit.lines().filter(|line| line.contains(id)).map(|line| line.split("  ").nth(1).unwrap()).collect();
    assert_eq!(actions, ["created", "rotated"], "{audit}");

    // A restart in order fills no bucket; only time does.
    server.stop().await;
    server.restart().await;
    let again = server.client_with(Some(&rotated)).get("/api/voices").await;
    if wait::now().duration_since(used).as_secs() < 55 {
        again.problem(429, "rate_limited");
    }
    // And what was used is known.
    let list = server.client().get("/api/api-keys").await.expect(200).json();
    let row = list["items"].as_array().unwrap().iter().find(|row| row["id"] == id).unwrap();
    assert!(row["usage"]["requests"].as_i64().unwrap() >= 1 && row["last_used_at"].is_string(), "{row}");

    // Revoked by another process: the socket ends.
    let page = client.post("/api/api-keys", &json!({"name": "page", "scopes": ["ws:connect"]})).await.expect(201).json();
    let page = page["key"].as_str().unwrap().to_owned();
    let mut socket = Socket::connect(&server.base(), Some(&page)).await.unwrap();
    assert_eq!(socket.next().await.unwrap().kind, "hello");
    server.run(&["keys", "revoke", &page[4..12]]).await;
    let mut end = socket.next().await;
    while end.is_ok() {
        end = socket.next().await;
    }
    assert_eq!(end, Err(tests::socket::Gone::Closed(Some(4401))));
}
