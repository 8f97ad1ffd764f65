//! Keys that make keys: what a child may, who sees whom, what ends with whom, rotation, limits that are shared and outlive a restart, tickets,
//! and failures by address.

#![allow(clippy::unwrap_used)]

mod bed;
#[path = "../../tests/src/postgres.rs"]
#[allow(dead_code, unreachable_pub)]
mod postgres;

use api::keep_limits;
use api::key_audit;
use api::keys::Key;
use api::limits::{Limits, Payer, Weight};
use api::scopes::Scope;
use bed::{Bed, header, json, problem, request, status};
use salvo::http::Method;
use salvo::http::Response;
use serde_json::{Value, json};
use storage::api_keys::{self, ApiKey};
use storage::audit::{self, Entry};
use storage::rate_buckets::{self, BucketName};
use storage::rows::RowsConfig;
use storage::tickets::{self, Ticket};
use storage::{Rows, StorageError};

/// The public part of a key.
fn id(key: &str) -> &str {
    &key[4..12]
}

async fn ask(bed: &Bed, method: Method, path: &str, key: &str, body: Option<Value>) -> Response {
    let asked = request(method, path).add_header("x-api-key", key, true);
    bed.send(match body {
        Some(body) => asked.json(&body),
        None => asked,
    })
    .await
}

/// A key made by another one; gives it whole.
async fn child(bed: &Bed, key: &str, body: Value) -> String {
    let mut made = ask(bed, Method::POST, "/api/api-keys", key, Some(body)).await;
    let answer = json(&mut made).await;
    assert_eq!(status(&made), 201, "{answer}");
    answer["key"].as_str().unwrap().to_owned()
}

async fn voices(bed: &Bed, key: &str) -> Response {
    ask(bed, Method::GET, "/api/voices", key, None).await
}

async fn listed(bed: &Bed, key: &str) -> Vec<String> {
    let mut list = ask(bed, Method::GET, "/api/api-keys", key, None).await;
    let list = json(&mut list).await;
    assert_eq!(list["items"], list["api_keys"]);
    list["items"].as_array().unwrap().iter().map(|key| key["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_key_gives_what_it_has_and_no_more() {
    let bed = Bed::without_workers().await;
    let mut made =
        ask(&bed, Method::POST, "/api/api-keys", &bed.key, Some(json!({"name": "phone", "scopes": ["tts:generate", "system:read"]}))).await;
    assert_eq!((status(&made), header(&made, "cache-control")), (201, Some("no-store")));
    let phone = json(&mut made).await;
    let key = phone["key"].as_str().unwrap().to_owned();
    assert!(Key::parse(&key).is_ok());
    assert_eq!(phone["rate_limits"], json!({"tts:generate": 10, "system:read": 60}));
    assert_eq!((&phone["id"], &phone["status"], &phone["parent_id"]), (&json!(id(&key)), &json!("active"), &json!(id(&bed.key))));

    // It may what it was given, and its objects are its parent's.
    let mut job = ask(&bed, Method::POST, "/api/generate/preset", &key, Some(json!({"text": "Mine.", "voice_id": "nora"}))).await;
    let job = json(&mut job).await["task_id"].as_str().unwrap().to_owned();
    assert_eq!(status(&bed.get(&format!("/api/jobs/{job}")).await), 200);
    problem(voices(&bed, &key).await, 403, "insufficient_scope").await;

    for (body, named) in [
        (json!({"name": "a", "scopes": ["voices:read"]}), "voices:read"),
        (json!({"name": "a", "scopes": ["tts:generate"], "rate_limits": {"tts:generate": 11}}), "11 is more than the 10"),
    ] {
        let refused = problem(ask(&bed, Method::POST, "/api/api-keys", &key, Some(body)).await, 403, "grant_exceeds_caller").await;
        assert!(refused["detail"].as_str().unwrap().contains(named), "{refused}");
    }
    let short = child(&bed, &key, json!({"name": "short", "expires_at": "2100-01-01T00:00:00Z"})).await;
    let later = json!({"name": "a", "expires_at": "2100-01-01T00:00:01Z"});
    problem(ask(&bed, Method::POST, "/api/api-keys", &short, Some(later)).await, 403, "grant_exceeds_caller").await;
    let mut heir = ask(&bed, Method::POST, "/api/api-keys", &short, Some(json!({"name": "heir"}))).await;
    assert_eq!(json(&mut heir).await["expires_at"], "2100-01-01T00:00:00.000Z");
    problem(ask(&bed, Method::POST, "/api/api-keys", &key, Some(json!({"name": ""}))).await, 422, "validation_failed").await;
}

#[tokio::test]
async fn no_list_and_no_table_holds_a_key() {
    let bed = Bed::without_workers().await;
    let post = async || {
        let asked = request(Method::POST, "/api/api-keys").add_header("x-api-key", &bed.key, true);
        let mut made = bed.send(asked.add_header("idempotency-key", "once", true).json(&json!({"name": "phone"}))).await;
        (header(&made, "idempotency-replayed").map(str::to_owned), json(&mut made).await)
    };
    let (_, first) = post().await;
    let key = first["key"].as_str().unwrap();
    let (replayed, again) = post().await;
    assert_eq!((replayed.as_deref(), &again["key"], &again["id"]), (Some("true"), &Value::Null, &first["id"]));
    assert_eq!(listed(&bed, &bed.key).await.len(), 2);
    let mut list = bed.get("/api/api-keys").await;
    let list = json(&mut list).await.to_string();
    let ticket = bed.post("/api/ws-ticket", &json!({})).await;
    assert_eq!(status(&ticket), 201);
    let folder = bed.folder();
    bed.app.storage.rows.close().await;
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap).filter(|entry| entry.file_type().unwrap().is_file()) {
        let bytes = std::fs::read(entry.path()).unwrap();
        for secret in [&key[12..], &bed.key[12..], "cvt_"] {
            assert!(!bytes.windows(secret.len()).any(|part| part == secret.as_bytes()), "{} holds {secret}", entry.path().display());
        }
        files += 1;
    }
    assert!(files > 0 && !list.contains(&key[12..]) && !list.contains("sha256"), "{list}");
}

#[tokio::test]
async fn keys_outside_the_subtree_are_not_there() {
    let bed = Bed::without_workers().await;
    let a = child(&bed, &bed.key, json!({"name": "a"})).await;
    let b = child(&bed, &bed.key, json!({"name": "b"})).await;
    let below_a = child(&bed, &a, json!({"name": "below a"})).await;
    let stranger = bed.new_key(&Scope::ALL).await;
    assert_eq!(listed(&bed, &bed.key).await.len(), 4);
    assert_eq!(listed(&bed, &a).await, [id(&a), id(&below_a)]);
    assert_eq!(listed(&bed, &below_a).await, [id(&below_a)]);
    assert_eq!(listed(&bed, &stranger).await, [id(&stranger)]);
    for (caller, target) in [(&a, &bed.key), (&a, &b), (&below_a, &a), (&stranger, &a), (&a, &stranger), (&bed.key, &stranger)] {
        for (method, end) in [(Method::DELETE, ""), (Method::POST, "/revoke"), (Method::POST, "/rotate")] {
            let path = format!("/api/api-keys/{}{end}", id(target));
            problem(ask(&bed, method, &path, caller, None).await, 404, "api_key_not_found").await;
        }
    }
    let mut own = ask(&bed, Method::GET, "/api/api-keys", &a, None).await;
    assert_eq!(json(&mut own).await["items"][0]["parent_id"], Value::Null, "what is above is not told");
}

#[tokio::test]
async fn the_list_has_pages_and_use() {
    let bed = Bed::without_workers().await;
    for name in 0..4 {
        child(&bed, &bed.key, json!({"name": format!("key {name}")})).await;
    }
    let (mut path, mut seen) = ("/api/api-keys?limit=2".to_owned(), Vec::new());
    loop {
        let mut page = bed.get(&path).await;
        let page = json(&mut page).await;
        assert_eq!(page["total"], 5);
        seen.extend(page["items"].as_array().unwrap().iter().map(|key| key["id"].to_string()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/api/api-keys?limit=2&cursor={cursor}");
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 5);
    let mut list = bed.get("/api/api-keys?limit=1").await;
    let own = &json(&mut list).await["items"][0];
    // Four that made a key, three pages, and this one.
    assert_eq!(own["usage"], json!({"requests": 8}));
    assert!(own["last_used_at"].is_string());
    problem(bed.get("/api/api-keys?cursor=x").await, 422, "validation_failed").await;
}

#[tokio::test]
async fn what_is_below_ends_with_a_key() {
    let bed = Bed::without_workers().await;
    for (end, code) in [("/revoke", "key_revoked"), ("", "unauthenticated")] {
        let a = child(&bed, &bed.key, json!({"name": "a"})).await;
        let b = child(&bed, &a, json!({"name": "b"})).await;
        let c = child(&bed, &b, json!({"name": "c"})).await;
        let mut changed = bed.app.storage.rows.keys_changed();
        changed.mark_unchanged();
        let method = if end.is_empty() { Method::DELETE } else { Method::POST };
        let ended = ask(&bed, method, &format!("/api/api-keys/{}{end}", id(&a)), &bed.key, None).await;
        assert_eq!(status(&ended), if end.is_empty() { 204 } else { 200 });
        assert!(changed.has_changed().unwrap(), "open sockets are told");
        for key in [&a, &b, &c] {
            problem(voices(&bed, key).await, 401, code).await;
        }
        assert_eq!(status(&voices(&bed, &bed.key).await), 200);
    }
    // A key that hangs below one that has expired in the table alone.
    let parent = bed.new_key(&Scope::ALL).await;
    let kid = child(&bed, &parent, json!({"name": "kid"})).await;
    let expired = bed.new_key_with(&Scope::ALL, 100, |key| key.expires_at_ms = Some(1)).await;
    let orphan = bed.new_key_with(&Scope::ALL, 100, |key| key.parent_id = Some(id(&expired).into())).await;
    problem(voices(&bed, &orphan).await, 401, "key_expired").await;
    assert_eq!(status(&voices(&bed, &kid).await), 200);
}

#[tokio::test]
async fn the_last_key_that_can_make_keys_stays() {
    let bed = Bed::without_workers().await;
    let own = id(&bed.key).to_owned();
    // One that can't manage keys, one that is over, and a child are no help.
    bed.new_key(&[Scope::VoicesRead]).await;
    bed.new_key_with(&Scope::ALL, 100, |key| key.expires_at_ms = Some(1)).await;
    child(&bed, &bed.key, json!({"name": "child"})).await;
    for (method, end) in [(Method::DELETE, ""), (Method::POST, "/revoke")] {
        let refused = problem(ask(&bed, method, &format!("/api/api-keys/{own}{end}"), &bed.key, None).await, 409, "conflict").await;
        assert!(refused["detail"].as_str().unwrap().contains("keys create"), "{refused}");
    }
    assert_eq!(status(&voices(&bed, &bed.key).await), 200);
    let other = bed.new_key(&[Scope::SystemRead]).await;
    assert_eq!(status(&ask(&bed, Method::POST, &format!("/api/api-keys/{own}/revoke"), &bed.key, None).await), 200);
    problem(voices(&bed, &bed.key).await, 401, "key_revoked").await;
    problem(ask(&bed, Method::DELETE, &format!("/api/api-keys/{}", id(&other)), &other, None).await, 409, "conflict").await;
}

#[tokio::test]
async fn both_forms_of_a_rotated_key_work_for_a_while() {
    let bed = Bed::without_workers().await;
    let first = child(&bed, &bed.key, json!({"name": "a"})).await;
    let rotate = async |body: Value| {
        let mut rotated = ask(&bed, Method::POST, &format!("/api/api-keys/{}/rotate", id(&first)), &bed.key, Some(body)).await;
        let answer = json(&mut rotated).await;
        assert_eq!(status(&rotated), 201, "{answer}");
        (answer["key"].as_str().unwrap().to_owned(), answer["previous_expires_at"].is_string())
    };
    let (second, overlaps) = rotate(json!({})).await;
    assert!(overlaps && id(&second) == id(&first) && second != first);
    for key in [&first, &second] {
        assert_eq!(status(&voices(&bed, key).await), 200);
    }
    let (third, overlaps) = rotate(json!({"overlap_s": 0})).await;
    assert!(!overlaps);
    problem(voices(&bed, &first).await, 401, "unauthenticated").await;
    problem(voices(&bed, &second).await, 401, "key_expired").await;
    assert_eq!(status(&voices(&bed, &third).await), 200);
    let path = format!("/api/api-keys/{}", id(&first));
    let too_long = Some(json!({"overlap_s": 2_592_001}));
    problem(ask(&bed, Method::POST, &format!("{path}/rotate"), &bed.key, too_long).await, 422, "validation_failed").await;
    ask(&bed, Method::POST, &format!("{path}/revoke"), &bed.key, None).await;
    problem(ask(&bed, Method::POST, &format!("{path}/rotate"), &bed.key, None).await, 409, "conflict").await;
}

#[tokio::test]
async fn children_share_the_bucket_of_their_parent() {
    let bed = Bed::without_workers().await;
    let parent = bed.new_key_with(&[Scope::SystemRead, Scope::VoicesRead], 5, |_| {}).await;
    let wish = |name: &str| json!({"name": name, "scopes": ["voices:read"], "rate_limits": {"voices:read": 3}});
    let (a, b) = (child(&bed, &parent, wish("a")).await, child(&bed, &parent, wish("b")).await);
    for left in ["2", "1", "0"] {
        let answer = voices(&bed, &a).await;
        assert_eq!(
            (status(&answer), header(&answer, "x-ratelimit-limit"), header(&answer, "x-ratelimit-remaining")),
            (200, Some("3"), Some(left))
        );
    }
    assert_eq!(header(&voices(&bed, &a).await, "x-ratelimit-limit"), Some("3"));
    for left in ["1", "0"] {
        let answer = voices(&bed, &b).await;
        assert_eq!(
            (status(&answer), header(&answer, "x-ratelimit-limit"), header(&answer, "x-ratelimit-remaining")),
            (200, Some("5"), Some(left))
        );
    }
    for key in [&b, &parent] {
        let refused = voices(&bed, key).await;
        assert_eq!(header(&refused, "x-ratelimit-limit"), Some("5"));
        problem(refused, 429, "rate_limited").await;
    }
}

#[tokio::test]
async fn a_restart_fills_no_bucket_and_nodes_share() {
    let bed = Bed::without_workers().await;
    let rows = &bed.app.storage.rows;
    let key = bed.new_key_with(&[Scope::VoicesRead], 5, |_| {}).await;
    for _ in 0..4 {
        assert_eq!(status(&voices(&bed, &key).await), 200);
    }
    let now_us = bed.app.limits_us();
    keep_limits::write(rows, &bed.app.limits, now_us).await.unwrap();
    let payers = [Payer { key_id: id(&key), limit_per_minute: 5 }];
    let take = |limits: &Limits| limits.take(&payers, Scope::VoicesRead, Weight::Normal, now_us);
    // The next process, and another node beside it.
    let (next, node) = (Limits::new(false), Limits::new(false));
    keep_limits::restore(rows, &next, now_us).await.unwrap();
    keep_limits::restore(rows, &node, now_us).await.unwrap();
    assert!(take(&next).allowed);
    assert!(!take(&next).allowed);
    // What one node let in reaches the other with the next writes.
    assert!(take(&node).allowed, "not told yet");
    keep_limits::write(rows, &next, now_us).await.unwrap();
    keep_limits::write(rows, &node, now_us).await.unwrap();
    assert!(!take(&node).allowed);
    let third = Limits::new(false);
    keep_limits::restore(rows, &third, now_us).await.unwrap();
    let refused = take(&third);
    assert!(!refused.allowed, "six of five were let in: {refused:?}");
}

#[tokio::test]
async fn keys_are_managed_from_this_machine_only() {
    let bed = Bed::without_workers().await;
    let asked = || request(Method::GET, "/api/api-keys").add_header("x-api-key", &bed.key, true);
    assert_eq!(status(&bed.send_from("::1", asked()).await), 200);
    problem(bed.send_from("192.168.1.5", asked()).await, 403, "key_management_is_local").await;
    problem(bed.send(asked().add_header("x-forwarded-for", "192.168.1.5", true)).await, 403, "key_management_is_local").await;
    for (method, path) in
        [(Method::POST, ""), (Method::DELETE, "/nobody00"), (Method::POST, "/nobody00/revoke"), (Method::POST, "/nobody00/rotate")]
    {
        let asked = request(method, &format!("/api/api-keys{path}")).add_header("x-api-key", &bed.key, true);
        problem(bed.send_from("192.168.1.5", asked.json(&json!({"name": "a"}))).await, 403, "key_management_is_local").await;
    }
    let open = Bed::with(|config| config.remote_key_management = true, false).await;
    let asked = request(Method::GET, "/api/api-keys").add_header("x-api-key", &open.key, true);
    assert_eq!(status(&open.send_from("192.168.1.5", asked).await), 200);
}

#[tokio::test]
async fn an_address_that_fails_often_has_to_wait() {
    let bed = Bed::with(|config| config.failures_per_minute_max = 3, false).await;
    let with = |key: &str| request(Method::GET, "/api/voices").add_header("x-api-key", key, true);
    for _ in 0..3 {
        problem(bed.send_from("10.0.0.9", with("cvk_guess")).await, 401, "unauthenticated").await;
    }
    for key in ["cvk_guess", &bed.key] {
        let refused = bed.send_from("10.0.0.9", with(key)).await;
        assert!(header(&refused, "retry-after").is_some());
        problem(refused, 429, "rate_limited").await;
    }
    assert_eq!(status(&bed.send_from("10.0.0.10", with(&bed.key)).await), 200);
    assert_eq!(status(&bed.send_from("127.0.0.1", with(&bed.key)).await), 200);
    // Written in the background: the entry comes, and it is one.
    let mut changed = None;
    while changed.is_none() {
        changed = audit::newest(bed.app.storage.rows.read(), 10).await.unwrap().into_iter().find(|entry| entry.action == "throttled");
        tokio::task::yield_now().await;
    }
    assert_eq!(changed.unwrap().address.as_deref(), Some("10.0.0.9"));
}

#[tokio::test]
async fn who_did_what_is_noted() {
    let bed = Bed::without_workers().await;
    let kid = child(&bed, &bed.key, json!({"name": "kid", "scopes": ["voices:read"]})).await;
    let path = format!("/api/api-keys/{}", id(&kid));
    ask(&bed, Method::POST, &format!("{path}/rotate"), &bed.key, None).await;
    ask(&bed, Method::POST, &format!("{path}/revoke"), &bed.key, None).await;
    ask(&bed, Method::DELETE, &path, &bed.key, None).await;
    let entries: Vec<Entry> = audit::newest(bed.app.storage.rows.read(), 10).await.unwrap();
    let actions: Vec<&str> = entries.iter().rev().map(|entry| entry.action.as_str()).collect();
    assert_eq!(actions, ["created", "rotated", "revoked", "deleted"]);
    for entry in &entries {
        assert_eq!((entry.key_id.as_deref(), entry.actor_key_id.as_deref()), (Some(id(&kid)), Some(id(&bed.key))));
        assert_eq!(entry.address.as_deref(), Some("127.0.0.1"));
    }
    let lines = key_audit::lines(&bed.app.storage.rows, 1).await.unwrap();
    assert!(lines[0].contains("deleted") && lines[0].contains(&format!("by {} from 127.0.0.1", id(&bed.key))), "{lines:?}");
}

#[tokio::test]
async fn a_ticket_works_once_and_ends_with_its_key() {
    let bed = Bed::without_workers().await;
    let parent = bed.new_key(&Scope::ALL).await;
    let key = child(&bed, &parent, json!({"name": "page", "scopes": ["ws:connect"]})).await;
    let ticket = async || {
        let mut made = ask(&bed, Method::POST, "/api/ws-ticket", &key, None).await;
        let made = json(&mut made).await;
        assert_eq!(made["expires_in_s"], 60);
        made["ticket"].as_str().unwrap().to_owned()
    };
    let come = async |path: &str, ticket: &str| bed.send(request(Method::GET, &format!("{path}?ticket={ticket}"))).await;
    let first = ticket().await;
    assert!(!first.contains(id(&key)));
    // Past the gate: a handshake that is none.
    problem(come("/ws", &first).await, 400, "invalid_request").await;
    problem(come("/ws", &first).await, 401, "unauthenticated").await;
    let stream = come("/api/events", &ticket().await).await;
    assert_eq!((status(&stream), header(&stream, "content-type")), (200, Some("text/event-stream")));
    drop(stream);
    // No other route takes one, and what is no ticket is none.
    problem(come("/api/voices", &ticket().await).await, 401, "unauthenticated").await;
    for strange in ["", "cvt_", "cvt_0", &key, &"cvt_x".repeat(40)] {
        problem(come("/ws", strange).await, 401, "unauthenticated").await;
    }
    let over =
        Ticket { ticket_sha256: "aa".into(), key_id: id(&key).into(), secret_sha256: Key::parse(&key).unwrap().hash(), expires_at_ms: 10 };
    let mut tx = bed.app.storage.rows.begin().await.unwrap();
    tickets::insert(&mut tx, &over, 9).await.unwrap();
    assert_eq!(tickets::take(&mut tx, "aa", 10).await.unwrap(), None, "its time is over");
    assert_eq!(tickets::take(&mut tx, "aa", 9).await.unwrap(), Some(over));
    tx.commit().await.unwrap();
    let last = ticket().await;
    assert_eq!(status(&ask(&bed, Method::POST, &format!("/api/api-keys/{}/revoke", id(&parent)), &parent, None).await), 200);
    problem(come("/ws", &last).await, 401, "key_revoked").await;
}

fn row(id: &str, parent_id: Option<&str>) -> ApiKey {
    ApiKey { id: id.into(), owner_id: "a".into(), parent_id: parent_id.map(Into::into), secret_sha256: id.repeat(2), ..ApiKey::default() }
}

fn ids_of(line: Result<Vec<ApiKey>, StorageError>) -> Vec<String> {
    line.unwrap().into_iter().map(|key| key.id).collect()
}

/// The statements about keys, the same on both databases.
async fn the_rows_of_keys(rows: &Rows) {
    let mut tx = rows.begin().await.unwrap();
    for (place, (id, parent)) in [("a", None), ("b", Some("a")), ("c", Some("b")), ("d", Some("a")), ("z", None)].into_iter().enumerate() {
        api_keys::insert(&mut tx, &row(id, parent), place as i64).await.unwrap();
    }
    tx.commit().await.unwrap();
    let pool = rows.read();
    assert_eq!(ids_of(api_keys::chain(pool, "c").await), ["c", "b", "a"]);
    assert!(api_keys::chain(pool, "nobody").await.unwrap().is_empty());
    assert_eq!(ids_of(api_keys::subtree(pool, "a", None, 3).await), ["a", "b", "c"]);
    assert_eq!(ids_of(api_keys::subtree(pool, "a", Some((2, "c".into())), 3).await), ["d"]);
    assert_eq!(api_keys::subtree_count(pool, "a").await.unwrap(), 4);

    let mut tx = rows.begin().await.unwrap();
    assert!(api_keys::rotate(&mut tx, "z", "new", 70, 50).await.unwrap());
    api_keys::touch(&mut tx, "z", 3, 60).await.unwrap();
    api_keys::touch(&mut tx, "z", 2, 55).await.unwrap();
    assert!(api_keys::revoke(&mut tx, "b", 40).await.unwrap());
    assert!(!api_keys::revoke(&mut tx, "nobody", 40).await.unwrap());
    assert!(!api_keys::rotate(&mut tx, "c", "new", 70, 50).await.unwrap());
    let roots: Vec<String> = api_keys::roots_locked(&mut tx).await.unwrap().into_iter().map(|key| key.id).collect();
    assert_eq!(roots, ["a", "z"]);
    tx.commit().await.unwrap();
    let ends: Vec<(String, Option<i64>)> =
        api_keys::list(pool, 10).await.unwrap().into_iter().map(|key| (key.id, key.revoked_at_ms)).collect();
    assert_eq!(ends, [("a".into(), None), ("b".into(), Some(40)), ("c".into(), Some(40)), ("d".into(), None), ("z".into(), None)]);
    let rotated = api_keys::chain(pool, "z").await.unwrap().remove(0);
    assert_eq!((rotated.secret_sha256.as_str(), rotated.previous_sha256.as_deref()), ("new", Some("zz")));
    assert_eq!(
        (rotated.previous_until_ms, rotated.rotated_at_ms, rotated.requests, rotated.last_used_at_ms),
        (Some(70), Some(50), 5, Some(60))
    );
    let mut tx = rows.begin().await.unwrap();
    assert_eq!(api_keys::delete(&mut tx, "a").await.unwrap(), 4);
    assert_eq!(api_keys::delete(&mut tx, "a").await.unwrap(), 0);
    tx.commit().await.unwrap();

    let name = |light| BucketName { key_id: "k".into(), scope: "s".into(), light };
    let mut tx = rows.begin().await.unwrap();
    assert_eq!(rate_buckets::draw(&mut tx, &name(false), 100, 10).await.unwrap(), 110);
    assert_eq!(rate_buckets::draw(&mut tx, &name(false), 90, 10).await.unwrap(), 120, "another node's counts too");
    assert_eq!(rate_buckets::draw(&mut tx, &name(false), 200, 10).await.unwrap(), 210);
    assert_eq!(rate_buckets::draw(&mut tx, &name(true), 0, 5).await.unwrap(), 5);
    assert_eq!(rate_buckets::prune(&mut tx, 100).await.unwrap(), 1);
    tx.commit().await.unwrap();
    assert_eq!(rate_buckets::load(pool, 209, 5).await.unwrap().len(), 1);
    assert!(rate_buckets::load(pool, 210, 5).await.unwrap().is_empty());

    let ticket = Ticket { ticket_sha256: "t".into(), key_id: "k".into(), secret_sha256: "s".into(), expires_at_ms: 10 };
    let mut tx = rows.begin().await.unwrap();
    tickets::insert(&mut tx, &ticket, 1).await.unwrap();
    assert_eq!(tickets::take(&mut tx, "t", 2).await.unwrap(), Some(ticket.clone()));
    assert_eq!(tickets::take(&mut tx, "t", 2).await.unwrap(), None);
    audit::add(&mut tx, &Entry { at_ms: 5, action: "created".into(), key_id: Some("k".into()), ..Entry::default() }).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(audit::newest(pool, 5).await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_rows_of_keys_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}?mode=rwc", folder.path().join("test.sqlite").display());
    the_rows_of_keys(&Rows::open(&RowsConfig::new(url)).await.unwrap()).await;
}

#[tokio::test]
async fn the_rows_of_keys_on_postgres() {
    let Some(binaries) = postgres::installed() else {
        #[allow(clippy::disallowed_methods, reason = "the switch is for the test run, no configuration of the program")]
        let required = std::env::var("CLONYVOICE_TESTS_REQUIRE_TOOLS").is_ok_and(|value| value == "1");
        assert!(!required, "postgresql is not installed");
        eprintln!("SKIPPED the_rows_of_keys_on_postgres: postgresql is not installed");
        return;
    };
    let cluster = postgres::Cluster::start(&binaries).unwrap();
    let rows = Rows::open(&RowsConfig::new(cluster.url())).await.unwrap();
    the_rows_of_keys(&rows).await;
    rows.close().await;
}
