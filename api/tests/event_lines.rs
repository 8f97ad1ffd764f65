//! The lines of both kinds of connection, over a real listener: what is told, what is answered, and how they end.

#![allow(clippy::unwrap_used)]

mod bed;

use api::scopes::Scope;
use bed::Bed;
use bed::line::{LIMIT, append, append_chunk, close_code, connect, line, listen, open_stream, say, streamed, tcp, told};
use futures::SinkExt;
use salvo::http::Method;
use serde_json::json;
use storage::api_keys;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

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
async fn the_stream_goes_on_after_the_last_event() {
    let bed = Bed::without_workers().await;
    let address = listen(&bed).await;
    let rows = &bed.app.storage.rows;
    let owner = bed.owner();
    for index in 0..4 {
        append_chunk(rows, &owner, Uuid::from_u128(7), index).await;
    }
    let mut lines = open_stream(tcp(address).await, &bed.key, "", Some("2")).await;
    let (mut ids, mut kinds) = (Vec::new(), Vec::new());
    while ids.len() < 3 {
        let line = line(&mut lines).await.unwrap();
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
    assert_eq!(kinds, ["hello", "subscribed", "chunk.ready", "chunk.ready"]);
    assert_eq!(streamed(&mut lines, "job.completed").await["seq"], 5);
    bed.app.closing.cancel();
    assert_eq!(streamed(&mut lines, "close").await["data"]["code"], 1001);
}

#[tokio::test]
async fn who_subscribes_late_is_told_what_it_was_not_told_yet() {
    let bed = Bed::without_workers().await;
    let address = listen(&bed).await;
    let (rows, owner, task) = (&bed.app.storage.rows, bed.owner(), Uuid::from_u128(7));
    for index in 0..2 {
        append_chunk(rows, &owner, task, index).await;
    }
    let mut socket = connect(address, &bed.key).await;
    told(&mut socket, "hello").await;
    append_chunk(rows, &owner, task, 2).await;
    assert_eq!(told(&mut socket, "chunk.ready").await["seq"], 3, "by default, after a while");
    say(&mut socket, json!({"type": "subscribe", "ref": "late", "after_seq": 0})).await;
    assert_eq!(told(&mut socket, "subscribed").await["data"]["replayed"], 2);
    append_chunk(rows, &owner, task, 3).await;
    for seq in [1, 2, 4] {
        assert_eq!(told(&mut socket, "chunk.ready").await["seq"], seq);
    }
    // Another one that asks for the same is told nothing; the same one again is told everything.
    say(&mut socket, json!({"type": "subscribe", "ref": "more", "task_ids": [task], "after_seq": 0})).await;
    assert_eq!(told(&mut socket, "subscribed").await["data"]["replayed"], 0);
    say(&mut socket, json!({"type": "unsubscribe", "ref": "more"})).await;
    say(&mut socket, json!({"type": "subscribe", "ref": "late", "after_seq": 0})).await;
    assert_eq!(told(&mut socket, "subscribed").await["data"]["replayed"], 4);
    for seq in 1..=4 {
        assert_eq!(told(&mut socket, "chunk.ready").await["seq"], seq);
    }
}

#[tokio::test]
async fn after_unsubscribing_nothing_more_comes() {
    let bed = Bed::without_workers().await;
    let address = listen(&bed).await;
    let (rows, owner) = (&bed.app.storage.rows, bed.owner());
    let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let mut socket = connect(address, &bed.key).await;
    for (reference, task) in [("one", one), ("other", other)] {
        say(&mut socket, json!({"type": "subscribe", "ref": reference, "task_ids": [task]})).await;
        told(&mut socket, "subscribed").await;
    }
    say(&mut socket, json!({"type": "unsubscribe", "ref": "one"})).await;
    told(&mut socket, "ack").await;
    append_chunk(rows, &owner, one, 0).await;
    let seq = append_chunk(rows, &owner, other, 0).await;
    assert_eq!(told(&mut socket, "chunk.ready").await["seq"], seq);
    say(&mut socket, json!({"type": "unsubscribe"})).await;
    told(&mut socket, "ack").await;
    append_chunk(rows, &owner, other, 1).await;
    say(&mut socket, json!({"type": "subscribe", "ref": "one", "task_ids": [one]})).await;
    told(&mut socket, "subscribed").await;
    let seq = append_chunk(rows, &owner, one, 1).await;
    assert_eq!(told(&mut socket, "chunk.ready").await["seq"], seq);
}

#[tokio::test]
async fn who_follows_the_queue_is_told_when_it_changes() {
    let bed = Bed::without_workers().await;
    let address = listen(&bed).await;
    let mut socket = connect(address, &bed.key).await;
    let other = bed.new_key(&[Scope::WsConnect, Scope::SystemRead]).await;
    let mut stream = open_stream(tcp(address).await, &other, "?topics=queue,system", None).await;
    say(&mut socket, json!({"type": "subscribe", "ref": "q", "topics": ["queue"]})).await;
    let empty = json!({"queued": 0, "running": 0, "others": 0, "paused": false});
    assert_eq!(told(&mut socket, "queue.changed").await["data"], empty);
    assert_eq!(streamed(&mut stream, "queue.changed").await["data"], empty);

    let mut made = bed.post("/api/generate/preset", &json!({"text": "Queue.", "voice_id": "nora"})).await;
    let id = bed::json(&mut made).await["task_id"].as_str().unwrap().to_owned();
    let news = told(&mut socket, "queue.changed").await;
    assert_eq!((&news["data"], news.get("seq")), (&json!({"queued": 1, "running": 0, "others": 0, "paused": false}), None));
    let elsewhere = streamed(&mut stream, "queue.changed").await;
    assert_eq!(elsewhere["data"], json!({"queued": 0, "running": 0, "others": 1, "paused": false}));

    say(&mut socket, json!({"type": "cancel", "ref": "c", "task_id": id})).await;
    assert_eq!(told(&mut socket, "queue.changed").await["data"], empty);
    assert_eq!(streamed(&mut stream, "queue.changed").await["data"], empty);
}

#[tokio::test]
async fn who_follows_the_system_is_told_its_figures() {
    let bed = Bed::without_workers().await;
    let address = listen(&bed).await;
    let mut stream = open_stream(tcp(address).await, &bed.key, "?topics=system", None).await;
    let mut socket = connect(address, &bed.key).await;
    say(&mut socket, json!({"type": "subscribe", "ref": "s", "topics": ["system"]})).await;
    let told_first = told(&mut socket, "system.stats").await;
    assert_eq!(told_first.get("seq"), None, "{told_first}");
    let first = &told_first["data"];
    assert!(first["cpu"]["cores"].as_u64().unwrap() > 0 && first["ram"]["total_mb"].as_u64().unwrap() > 0, "{first}");
    assert_eq!(streamed(&mut stream, "system.stats").await["data"]["timestamp"], first["timestamp"], "one reading for all");
    // Who asks by REST gets the reading of the others, or a later one.
    let asked = bed::json(&mut bed.get("/api/system/stats").await).await;
    assert!(asked["timestamp"].as_str() >= first["timestamp"].as_str(), "{asked} {first}");
    let second = told(&mut socket, "system.stats").await;
    assert_ne!(second["data"]["timestamp"], first["timestamp"]);
}

#[tokio::test]
async fn topics_of_the_system_need_their_scope() {
    let bed = Bed::without_workers().await;
    let address = listen(&bed).await;
    let key = bed.new_key(&[Scope::WsConnect]).await;
    for topic in ["queue", "system"] {
        let mut socket = connect(address, &key).await;
        say(&mut socket, json!({"type": "subscribe", "ref": "q", "topics": ["jobs", topic]})).await;
        assert_eq!(told(&mut socket, "error").await["data"]["code"], "insufficient_scope");
        assert_eq!(close_code(&mut socket).await, 4403);
        let get = bed::request(Method::GET, &format!("/api/events?topics={topic}")).add_header("x-api-key", &key, true);
        bed::problem(bed.send(get).await, 403, "insufficient_scope").await;
    }
    let wrong = bed.get("/api/events?topics=weather").await;
    bed::problem(wrong, 422, "validation_failed").await;
    let get = bed::request(Method::GET, "/api/events").add_header("x-api-key", &bed.key, true).add_header("last-event-id", "x", true);
    bed::problem(bed.send(get).await, 422, "validation_failed").await;
}

#[tokio::test]
async fn the_stream_tells_progress_and_ends_with_the_key() {
    let bed = Bed::without_workers().await;
    let address = listen(&bed).await;
    let key = bed.new_key(&[Scope::WsConnect]).await;
    let owner = key[4..12].to_owned();
    let mut stream = open_stream(tcp(address).await, &key, "", None).await;
    assert_eq!(streamed(&mut stream, "subscribed").await["data"], json!({"replayed": 0, "gap": false}));
    append_chunk(&bed.app.storage.rows, &owner, Uuid::from_u128(7), 3).await;
    assert_eq!(streamed(&mut stream, "job.progress").await["data"]["chunks_done"], 4);
    let mut tx = bed.app.storage.rows.begin().await.unwrap();
    api_keys::revoke(&mut tx, &owner, 1).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(streamed(&mut stream, "close").await["data"]["code"], 4401);
}
