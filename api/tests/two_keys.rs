//! Two keys: what one has made is not there for the other, on any route that there is. The cases come from the table of routes and from the
//! document, so a new route is in them without anybody remembering; one that names a thing unknown here stops the test until it is told.

#![allow(clippy::unwrap_used)]

mod bed;

use std::collections::BTreeMap;
use std::time::Duration;

use api::gate::{Access, BodyKind};
use api::keys::Key;
use api::openapi::document;
use api::routes::{self, Route};
use api::scopes::Scope;
use bed::voice::store;
use bed::{Bed, json, request, status};
use futures::{SinkExt, StreamExt};
use salvo::Server;
use salvo::conn::{Acceptor, Listener, TcpListener};
use salvo::http::{Method, Response};
use salvo::test::{RequestBuilder, ResponseExt};
use serde_json::{Value, json};
use storage::events::{self, NewEvent};
use storage::jobs::{self, NewJob};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use uuid::Uuid;

/// Stands in everything that the first key makes, and nowhere else.
const CANARY: &str = "canaryworthy";
const NOBODY: &str = "0197f000-0000-7000-8000-000000000000";

/// What an id may be the id of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Thing {
    Generation,
    Montage,
    Key,
    /// A voice that is being made of recordings, and one of a description.
    Clone,
    Design,
    /// Presets and shared voices are everybody's, so the common tests name a preset; private ones have tests of their own below.
    Voice,
}

/// What stands in the braces of a path.
fn thing_in(path: &str) -> Thing {
    let before = path.split('{').next().unwrap();
    match before {
        "/api/generations/" | "/api/jobs/" | "/api/timeline/" | "/api/audio/chunk/" => Thing::Generation,
        "/api/montages/" => Thing::Montage,
        "/api/api-keys/" => Thing::Key,
        "/api/voices/" | "/api/favorites/" => Thing::Voice,
        _ => panic!("say here what {path} names, so that it is tested with two keys"),
    }
}

/// What a field of a body, or a parameter, names.
fn thing_named(path: &str, field: &str) -> Option<Thing> {
    match field {
        "task_id" if path == "/api/clone/cancel" => Some(Thing::Clone),
        "task_id" if path == "/api/design/cancel" => Some(Thing::Design),
        "task_id" | "job_id" | "generation_id" | "generation_ids" => Some(Thing::Generation),
        "montage_id" => Some(Thing::Montage),
        "key_id" => Some(Thing::Key),
        _ => None,
    }
}

/// What the first key has made.
struct Theirs {
    generation: String,
    montage: String,
    key: String,
    clone: String,
    design: String,
}

impl Theirs {
    async fn make(bed: &Bed) -> Self {
        Self::make_with(bed, &bed.key).await
    }

    async fn make_with(bed: &Bed, key: &str) -> Self {
        let post = async |path: &str, body: &Value| {
            let mut made = bed.send(with_key(&Method::POST, path, key).json(body)).await;
            json(&mut made).await
        };
        let made = post("/api/generate/preset", &json!({"text": CANARY, "voice_id": "nora", "title": CANARY})).await;
        let generation = made["task_id"].as_str().unwrap().to_owned();
        let made = post("/api/montages", &json!({"name": CANARY, "generation_ids": [generation]})).await;
        let montage = made["id"].as_str().unwrap().to_owned();
        let key = Key::parse(key).unwrap().id().to_owned();
        let (clone, design) = (lone_job(bed, &key, "clone_voice").await, lone_job(bed, &key, "design_voice").await);
        Self { generation, montage, clone, design, key }
    }

    fn id(&self, thing: Thing) -> &str {
        match thing {
            Thing::Generation => &self.generation,
            Thing::Montage => &self.montage,
            Thing::Key => &self.key,
            Thing::Clone => &self.clone,
            Thing::Design => &self.design,
            Thing::Voice => "nora",
        }
    }

    /// All of it that can be seen, as its owner sees it.
    async fn state(&self, bed: &Bed) -> Vec<Value> {
        let mut state = Vec::new();
        for path in [format!("/api/generations/{}", self.generation), format!("/api/montages/{}", self.montage)] {
            let mut response = bed.get(&path).await;
            assert_eq!(status(&response), 200, "{path}");
            state.push(json(&mut response).await);
        }
        state
    }
}

/// A job without a generation, of which nothing will be done.
async fn lone_job(bed: &Bed, owner: &str, kind: &str) -> String {
    let job = NewJob {
        id: Uuid::now_v7(),
        kind: kind.into(),
        queue: "cpu".into(),
        priority: 0,
        owner_id: owner.into(),
        generation_id: None,
        payload: json!({"voice_id": Uuid::now_v7(), "seed": 1, "preview_ids": [], "text": "Hello.", "language": "en"}).to_string(),
        attempts_max: 1,
        run_at_ms: 0,
        dedupe_key: None,
        traceparent: None,
        tracestate: None,
    };
    let mut tx = bed.app.storage.rows.begin().await.unwrap();
    jobs::enqueue(&mut tx, std::slice::from_ref(&job), 0).await.unwrap();
    tx.commit().await.unwrap();
    job.id.to_string()
}

fn with_id(route: &Route, id: &str) -> String {
    let (before, rest) = route.path.split_once('{').unwrap();
    format!("{before}{id}{}", rest.split_once('}').unwrap().1)
        .replace("{index}", "0")
        .replace("{render_id}", NOBODY)
        .replace("{media_id}", NOBODY)
        .replace("{preview_id}", NOBODY)
}

fn with_key(method: &Method, path: &str, key: &str) -> RequestBuilder {
    request(method.clone(), path).add_header("x-api-key", key, true)
}

/// The ways in which a path may be asked for.
fn variants(route: &Route, path: &str, key: &str) -> Vec<RequestBuilder> {
    let plain = || {
        let asked = with_key(&route.method, path, key);
        match route.gate.body {
            BodyKind::Json => asked.json(&example_of(route).unwrap_or_else(|| json!({}))),
            BodyKind::Multipart => asked.add_header("content-type", "multipart/form-data; boundary=b", true).body(file_for(path)),
            BodyKind::None => asked,
        }
    };
    let mut all = vec![plain(), plain().add_header("range", "bytes=0-1", true), plain().add_header("if-match", "*", true)];
    all.push(plain().add_header("if-none-match", "*", true));
    if route.method == Method::GET {
        all.push(with_key(&Method::HEAD, path, key));
        all.push(plain().add_header("prefer", "wait=1", true).add_header("accept", "audio/*", true));
    }
    if route.method == Method::DELETE {
        all.push(with_key(&Method::DELETE, &format!("{path}?force=true"), key));
    }
    if route.method == Method::POST {
        all.push(plain().add_header("idempotency-key", "first", true));
    }
    all
}

/// A form with a file that the route can read: a picture, or silence.
fn file_for(path: &str) -> Vec<u8> {
    let picture = [&b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"[..], &8u32.to_be_bytes(), &8u32.to_be_bytes()].concat();
    let header = b"RIFF\x64\x03\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data\x40\x03\0\0";
    let silence = [&header[..], &[0; 0x340]].concat();
    let file = if path.ends_with("import-video") { picture } else { silence };
    let head = &b"--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n"[..];
    [head, &file, b"\r\n--b--\r\n"].concat()
}

async fn text_of(response: &mut Response) -> String {
    response.take_string().await.unwrap_or_default()
}

/// What of a refusal may not differ between a thing of another key and none at all.
async fn refusal(mut response: Response) -> (u16, Value) {
    let code = status(&response);
    let mut body: Value = serde_json::from_str(&text_of(&mut response).await).unwrap_or_default();
    body["request_id"] = Value::Null;
    (code, body)
}

fn with_ids() -> Vec<Route> {
    routes::table().into_iter().filter(|route| route.path.contains('{') && thing_in(route.path) != Thing::Voice).collect()
}

#[tokio::test]
async fn every_path_with_an_id() {
    let bed = Bed::without_workers().await;
    let other = bed.new_key(&Scope::ALL).await;
    let routes = with_ids();
    assert!(routes.len() >= 12);
    for route in &routes {
        let theirs = Theirs::make(&bed).await;
        let before = theirs.state(&bed).await;
        let path = with_id(route, theirs.id(thing_in(route.path)));
        let nowhere = with_id(route, NOBODY);
        for (asked, of_nobody) in variants(route, &path, &other).into_iter().zip(variants(route, &nowhere, &other)) {
            let answer = refusal(bed.send(asked).await).await;
            assert_eq!(answer.0, 404, "{} {path}: {}", route.method, answer.1);
            assert_eq!(answer, refusal(bed.send(of_nobody).await).await, "{} {path}", route.method);
        }
        assert_eq!(theirs.state(&bed).await, before, "{} {path} changed something", route.method);
        // The same request of its owner finds it.
        if thing_in(route.path) != Thing::Key {
            let owners = variants(route, &path, &bed.key).remove(0);
            let mut answer = bed.send(owners).await;
            let text = text_of(&mut answer).await;
            assert!(!text.contains(&format!("no {}", "generation with this id")) && status(&answer) != 405, "{path}: {text}");
            // A second id names nothing here; the first is known all the same.
            let second = route.path.contains("{render_id}") && text.contains("audio_not_found")
                || route.path.contains("{media_id}") && text.contains("media_not_found")
                || route.path == "/api/jobs/{id}/audio" && text.contains("audio_not_found");
            assert!(second || [200, 201, 202, 204, 409].contains(&status(&answer)), "{} {path}: {} {text}", route.method, status(&answer));
        }
    }
}

/// The body that the document shows for a route.
fn example_of(route: &Route) -> Option<Value> {
    let document = document(&routes::table());
    let method = route.method.as_str().to_ascii_lowercase();
    let content = &document["paths"][route.path][&method]["requestBody"]["content"]["application/json"];
    if content["example"].is_object() {
        return Some(content["example"].clone());
    }
    let name = content["schema"]["$ref"].as_str()?.rsplit('/').next()?;
    let example = &document["components"]["schemas"][name]["examples"][0];
    example.is_object().then(|| example.clone())
}

/// Names of the fields of a route's body, and of its parameters in the query.
fn fields_of(document: &Value, route: &Route) -> (Vec<String>, Vec<String>) {
    let operation = &document["paths"][route.path][&route.method.as_str().to_ascii_lowercase()];
    let mut fields = Vec::new();
    let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
    collect_fields(document, schema, &mut fields);
    let parameters = operation["parameters"].as_array().into_iter().flatten().filter(|parameter| parameter["in"] == "query");
    (fields, parameters.filter_map(|parameter| parameter["name"].as_str().map(str::to_owned)).collect())
}

fn collect_fields(document: &Value, schema: &Value, fields: &mut Vec<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        return collect_fields(document, document.pointer(&reference[1..]).unwrap(), fields);
    }
    fields.extend(schema["properties"].as_object().into_iter().flat_map(|properties| properties.keys().cloned()));
    for part in schema["allOf"].as_array().into_iter().flatten() {
        collect_fields(document, part, fields);
    }
}

#[tokio::test]
async fn every_body_with_an_id() {
    let bed = Bed::without_workers().await;
    let other = bed.new_key(&Scope::ALL).await;
    let table = routes::table();
    let document = document(&table);
    let mut cases = 0;
    for route in table.iter().filter(|route| route.gate.body == BodyKind::Json) {
        for field in fields_of(&document, route).0 {
            let Some(thing) = thing_named(route.path, &field) else { continue };
            let theirs = Theirs::make(&bed).await;
            let before = theirs.state(&bed).await;
            let named = |id: &str| if field.ends_with("_ids") { json!([id]) } else { json!(id) };
            let mut body = example_of(route).unwrap_or_else(|| panic!("{} shows no example of its body", route.path));
            // Of the things that a body may name, one at a time.
            let ids: Vec<String> = body.as_object().unwrap().keys().filter(|key| thing_named(route.path, key).is_some()).cloned().collect();
            ids.iter().for_each(|key| drop(body.as_object_mut().unwrap().remove(key)));
            let path = if route.path.contains('{') {
                // In the path something of the other's own.
                let own = Theirs::make_with(&bed, &other).await;
                with_id(route, own.id(thing_in(route.path)))
            } else {
                route.path.to_owned()
            };
            let mut ask = async |key: &str, id: &str| {
                body[&field] = named(id);
                refusal(bed.send(with_key(&route.method, &path, key).json(&body)).await).await
            };
            let answer = ask(&other, theirs.id(thing)).await;
            assert_eq!(answer.0, 404, "{} {path} {field}: {}", route.method, answer.1);
            assert_eq!(answer, ask(&other, NOBODY).await, "{path} {field}");
            assert_eq!(theirs.state(&bed).await, before, "{path} {field} changed something");
            if !route.path.contains('{') {
                let (code, text) = ask(&bed.key, theirs.id(thing)).await;
                assert!([200, 201, 202, 409, 422].contains(&code), "{path} {field} as its owner: {code} {text}");
            }
            cases += 1;
        }
    }
    assert!(cases >= 11, "{cases}");
}

/// A refusal without the name of what was asked for.
async fn nameless(response: Response, name: &str) -> (u16, String) {
    let (code, body) = refusal(response).await;
    (code, body.to_string().replace(name, "?"))
}

#[tokio::test]
async fn every_path_with_a_private_voice() {
    let bed = Bed::without_workers().await;
    let private = store(&bed, "somebody", |voice| (voice.name, voice.private) = (CANARY.into(), true)).await.id.to_string();
    let unchanged = bed.app.storage.blobs.voice_blobs(private.parse().unwrap(), i64::MAX).await.unwrap();
    let routes = routes::table().into_iter().filter(|route| route.path.contains('{') && thing_in(route.path) == Thing::Voice);
    let mut cases = 0;
    for route in routes {
        let (path, nowhere) = (with_id(&route, &private), with_id(&route, NOBODY));
        for (asked, of_nobody) in variants(&route, &path, &bed.key).into_iter().zip(variants(&route, &nowhere, &bed.key)) {
            let answer = nameless(bed.send(asked).await, &private).await;
            assert_eq!(answer, nameless(bed.send(of_nobody).await, NOBODY).await, "{} {path}", route.method);
            // Taking away what is not there is no mistake where it says so for everything.
            let harmless = route.path == "/api/favorites/{voice_id}" && route.method == Method::DELETE && answer.0 == 204;
            assert!(answer.0 == 404 || harmless, "{} {path}: {answer:?}", route.method);
            cases += 1;
        }
    }
    assert!(cases >= 20, "{cases}");
    assert_eq!(bed.app.storage.blobs.voice_blobs(private.parse().unwrap(), i64::MAX).await.unwrap(), unchanged);
}

#[tokio::test]
async fn every_body_that_names_a_private_voice() {
    let bed = Bed::without_workers().await;
    let own = Theirs::make(&bed).await;
    let private = store(&bed, "somebody", |voice| (voice.name, voice.private) = (CANARY.into(), true)).await.id.to_string();
    let table = routes::table();
    let document = document(&table);
    let mut cases = 0;
    for route in table.iter().filter(|route| route.gate.body == BodyKind::Json && !route.path.contains('{')) {
        for field in
            fields_of(&document, route).0.into_iter().filter(|field| ["voice_id", "voice", "voices", "voice_ids"].contains(&field.as_str()))
        {
            let ask = async |id: &str| {
                let mut body = example_of(route).unwrap_or_else(|| panic!("{} shows no example of its body", route.path));
                let given = body.as_object_mut().unwrap();
                // A task that is named is one's own: the voice alone is in question.
                let tasks: Vec<String> =
                    given.keys().filter(|name| thing_named(route.path, name) == Some(Thing::Generation)).cloned().collect();
                given.retain(|name, _| thing_named(route.path, name).is_none() && !["voice_id", "voice"].contains(&name.as_str()));
                given.extend(tasks.into_iter().map(|name| (name, json!(own.generation))));
                let named: BTreeMap<String, &str> = match &given.get("voices") {
                    Some(Value::Object(voices)) => voices.keys().map(|name| (name.clone(), id)).collect(),
                    _ => BTreeMap::new(),
                };
                body[&field] = match field.as_str() {
                    "voices" => json!(named),
                    "voice_ids" => json!([id]),
                    _ => json!(id),
                };
                nameless(bed.send(with_key(&route.method, route.path, &bed.key).json(&body)).await, id).await
            };
            let answer = ask(&private).await;
            assert_eq!(answer, ask(NOBODY).await, "{} {field}", route.path);
            assert_eq!(answer.0, 404, "{} {field}: {}", route.path, answer.1);
            cases += 1;
        }
    }
    assert!(cases >= 8, "{cases}");
}

/// Lists, totals, the queue and the state of the system tell nothing of it, whatever they are narrowed by.
#[tokio::test]
async fn nothing_that_is_read_tells_of_it() {
    let bed = Bed::without_workers().await;
    let other = bed.new_key(&Scope::ALL).await;
    let theirs = Theirs::make(&bed).await;
    let private = store(&bed, &bed.owner(), |voice| (voice.name, voice.private) = (CANARY.into(), true)).await.id.to_string();
    let table = routes::table();
    let document = document(&table);
    let secrets = [CANARY, &theirs.generation, &theirs.montage, &theirs.key, &private];
    let streams = ["/ws", "/api/events"];
    let readable = |route: &&Route| {
        let public = route.gate.access == Access::Public;
        route.method == Method::GET && !route.path.contains('{') && !streams.contains(&route.path) && !public
    };
    let mut asked = 0;
    for route in table.iter().filter(readable) {
        let mut paths = vec![route.path.to_owned()];
        for name in fields_of(&document, route).1 {
            let ids = [&theirs.generation, &theirs.montage, &private, CANARY];
            paths.extend(ids.map(|value| format!("{}?{name}={value}", route.path)));
        }
        for path in paths {
            let mut answer = bed.send(with_key(&Method::GET, &path, &other)).await;
            let text = text_of(&mut answer).await;
            // What was asked for may be repeated in a refusal.
            let told = if status(&answer) == 200 { text } else { String::new() };
            assert!(!secrets.iter().any(|secret| told.contains(secret)), "{path}: {told}");
            asked += 1;
        }
    }
    assert!(asked >= 20, "{asked}");
    let mut own = bed.get(&format!("/api/generations?q={CANARY}")).await;
    assert!(text_of(&mut own).await.contains(&theirs.generation), "its owner finds it");
}

/// Ends a test that would wait for ever.
const LIMIT: Duration = Duration::from_secs(60);

async fn listen(bed: &Bed) -> std::net::SocketAddr {
    let acceptor = TcpListener::new("127.0.0.1:0").bind().await;
    let address = acceptor.holdings()[0].local_addr.clone().into_std().unwrap();
    tokio::spawn(Server::new(acceptor).serve(routes::service(bed.app.clone())));
    address
}

#[tokio::test]
async fn over_the_websocket() {
    let bed = Bed::without_workers().await;
    let other = bed.new_key(&Scope::ALL).await;
    let theirs = Theirs::make(&bed).await;
    let before = theirs.state(&bed).await;
    let mut upgrade = format!("ws://{}/ws", listen(&bed).await).into_client_request().unwrap();
    upgrade.headers_mut().insert("x-api-key", other.parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(upgrade).await.unwrap();
    let mut next = async |message: Option<Value>| -> Value {
        if let Some(message) = message {
            socket.send(Message::text(message.to_string())).await.unwrap();
        }
        loop {
            let message = timeout(LIMIT, socket.next()).await.expect("a message").unwrap().unwrap();
            if let Message::Text(text) = message {
                return serde_json::from_str(&text).unwrap();
            }
        }
    };
    assert_eq!(next(None).await["type"], "hello");
    for task_ids in [json!([theirs.generation]), json!([])] {
        let told = next(Some(json!({"type": "subscribe", "ref": "1", "task_ids": task_ids, "after_seq": 0}))).await;
        assert_eq!((&told["type"], &told["data"]["replayed"]), (&json!("subscribed"), &json!(0)), "{told}");
    }
    for (name, id) in [("task_id", &theirs.generation), ("job_id", &theirs.generation), ("task_id", &NOBODY.to_owned())] {
        let told = next(Some(json!({"type": "cancel", "ref": "2", name: id}))).await;
        assert_eq!((&told["type"], &told["data"]["code"]), (&json!("error"), &json!("task_not_found")), "{told}");
    }
    // Something happens to theirs and then to one's own: only the latter is told.
    assert_eq!(theirs.state(&bed).await, before);
    let own = Uuid::now_v7();
    let other_owner = Key::parse(&other).unwrap().id().to_owned();
    for (owner, id) in [(bed.owner(), Uuid::parse_str(&theirs.generation).unwrap()), (other_owner, own)] {
        let mut tx = bed.app.storage.rows.begin().await.unwrap();
        let event = NewEvent { owner_id: &owner, generation_id: Some(id), kind: "job.started", data: json!({}) };
        events::append(&mut tx, event, 0).await.unwrap();
        tx.commit().await.unwrap();
    }
    let told = next(None).await;
    assert_eq!((&told["type"], &told["task_id"]), (&json!("job.started"), &json!(own.to_string())), "{told}");
}

#[tokio::test]
async fn over_the_event_stream() {
    let bed = Bed::without_workers().await;
    let other = bed.new_key(&Scope::ALL).await;
    let theirs = Theirs::make(&bed).await;
    let address = listen(&bed).await;
    for query in [String::new(), format!("?task_ids={}", theirs.generation), format!("?task_id={}", theirs.generation)] {
        let mut line = TcpStream::connect(address).await.unwrap();
        let head = format!("GET /api/events{query} HTTP/1.1\r\nhost: {address}\r\nx-api-key: {other}\r\nlast-event-id: 0\r\n\r\n");
        line.write_all(head.as_bytes()).await.unwrap();
        let other_owner = Key::parse(&other).unwrap().id().to_owned();
        let mut read = String::new();
        while !read.contains("hello") {
            read_more(&mut line, &mut read).await;
        }
        let mut tx = bed.app.storage.rows.begin().await.unwrap();
        let own = Uuid::parse_str(&theirs.generation).unwrap();
        let event = NewEvent { owner_id: &other_owner, generation_id: Some(own), kind: "job.completed", data: json!({"mark": "own"}) };
        events::append(&mut tx, event, 0).await.unwrap();
        tx.commit().await.unwrap();
        while !read.contains("\"mark\":\"own\"") {
            read_more(&mut line, &mut read).await;
        }
        assert!(!read.contains(CANARY) && !read.contains("job.queued"), "{read}");
    }
}

async fn read_more(line: &mut TcpStream, read: &mut String) {
    let mut block = vec![0; 4_096];
    let bytes = timeout(LIMIT, line.read(&mut block)).await.expect("an event").unwrap();
    assert!(bytes > 0, "the stream ended: {read}");
    read.push_str(&String::from_utf8_lossy(&block[..bytes]));
}
