//! Translation through the front door, with phrase books for models: what comes out is known. What is killed in the middle says the same in the
//! end; where no model is installed, that is said, and no text is made up.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use serde_json::{Value, json};
use tests::{Client, Engine, ServerOptions, TestServer, script};

fn fixtures() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/fixtures/translate").canonicalize().unwrap();
    folder.to_str().unwrap().to_owned()
}

/// With a catalogue that has the phrase books, and those of them installed that are named.
async fn server(installed: &[&str]) -> TestServer {
    let environment = vec![("CLONYVOICE_MODELS_CATALOGUE_DIR".to_owned(), format!("{}/catalogue", fixtures()))];
    let server =
        TestServer::start(ServerOptions { engine: Engine::Scripted(script::at_once()), environment, ..ServerOptions::default() }).await;
    for kind in installed {
        let from = format!("{}/phrases_{kind}", fixtures());
        server.run(&["models", "pull", &format!("phrases-{kind}"), "--from", &from]).await;
    }
    server
}

async fn translated(client: &Client, body: &Value) -> Value {
    client.post("/api/translate", body).await.expect(200).json()
}

/// Long enough to be a job that nobody waits for.
fn long_text(sentences: usize) -> String {
    (0..sentences)
        .map(|n| ["Hello world.", "The cat sleeps.", "The dog runs!\n", "[pause]Good morning."][n % 4])
        .collect::<Vec<_>>()
        .join(" ")
}

fn expected(sentences: usize) -> String {
    let one = |n: usize| ["Bonjour à tous.", "Le chat dort.", "Le chien court.\n", "[pause]Belle matinée."][n % 4];
    (0..sentences).map(one).collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn both_kinds_of_models_translate() {
    for kind in ["t5", "qwen3"] {
        let server = server(&[kind]).await;
        let client = server.client();
        let answer = translated(&client, &json!({"text": "Hello world!\n\n[voice:bob]The cat sleeps. [pause:1s]", "target": "fr"})).await;
        assert_eq!(answer["translation"], "Bonjour à tous.\n\n[voice:bob]Le chat dort. [pause:1s]");
        assert_eq!(answer["source"], "en");
        assert_eq!((&answer["target"], &answer["untranslated"]), (&json!("fr"), &json!([])));
        assert_eq!(answer["engine"], if kind == "t5" { "madlad" } else { "qwen3" });
        assert_eq!(answer["model"], format!("phrases-{kind}"));
        assert_eq!(answer["job"]["status"], "completed");

        let several = json!({"texts": ["Hello.", "", "The dog runs."], "source": "en", "target": "de-AT"});
        let answer = translated(&client, &several).await;
        assert_eq!(answer["translations"], json!(["Guten Tag.", "", "Der Hund rennt."]));
        assert!(answer.get("translation").is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_that_does_nothing_else_is_preferred_and_another_can_be_named() {
    let server = server(&["t5", "qwen3"]).await;
    let client = server.client();
    let hello = json!({"text": "Hello.", "target": "fr"});
    assert_eq!(translated(&client, &hello).await["model"], "phrases-t5");
    let named = json!({"text": "Hello.", "target": "fr", "model": "phrases-qwen3"});
    assert_eq!(translated(&client, &named).await["model"], "phrases-qwen3");
    // The phrase book of T5 has no token for it.
    let spanish = json!({"text": "Hello.", "target": "es"});
    assert_eq!(translated(&client, &spanish).await["model"], "phrases-qwen3");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_no_model_needs_none() {
    let server = server(&[]).await;
    let client = server.client();
    for (text, target) in [("", "fr"), (" \n[pause]", "fr"), ("This is plain English, as anyone can see.", "en-GB"), ("12 %", "de")] {
        let answer = translated(&client, &json!({"text": text, "target": target})).await;
        assert_eq!((&answer["translation"], &answer["model"], &answer["job"]), (&json!(text), &Value::Null, &Value::Null));
    }
    let problem = client.post("/api/translate", &json!({"text": "Hello there.", "source": "en", "target": "fr"})).await;
    let problem = problem.problem(503, "model_not_installed");
    assert_eq!(problem["command"], "clonyvoice models pull madlad-400-3b-mt");
    let problem = client.post("/api/translate", &json!({"text": "Hello.", "target": "fr", "model": "phrases-t5"})).await;
    assert_eq!(problem.problem(503, "model_not_installed")["command"], "clonyvoice models pull phrases-t5");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_values_are_named() {
    let server = server(&["t5"]).await;
    let client = server.client();
    for (body, field) in [
        (json!({"target": "fr"}), "text"),
        (json!({"text": "Hello.", "texts": ["Hello."], "target": "fr"}), "texts"),
        (json!({"texts": [], "target": "fr"}), "texts"),
        (json!({"text": "Hello."}), "target"),
        (json!({"text": "Hello.", "target": "auto"}), "target"),
        (json!({"text": "Hello.", "target": "<2fr>"}), "target"),
        (json!({"text": "Hello.", "target": "tlh"}), "target"),
        (json!({"text": "Hello.", "target": "fr", "source": "?"}), "source"),
        (json!({"text": "Hello.", "target": "fr", "model": "gpt"}), "model"),
        (json!({"text": "a ".repeat(25_001), "target": "fr"}), "text"),
        (json!({"texts": vec!["a"; 1_001], "target": "fr"}), "texts"),
    ] {
        let problem = client.post("/api/translate", &body).await.problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["field"], field, "{problem}");
    }
    let unknown = client.post("/api/translate", &json!({"text": "Hello.", "target": "tlh"})).await.problem(422, "validation_failed");
    assert!(unknown["detail"].as_str().unwrap().contains("it knows de, fr, zh"), "{unknown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_model_cannot_translate_stays_and_is_told() {
    let server = server(&["t5"]).await;
    let answer = translated(&server.client(), &json!({"text": "Hello. Forever! Again?", "source": "en", "target": "fr"})).await;
    assert_eq!(answer["translation"], "Bonjour à tous. Forever! encore encore encore encore");
    assert_eq!(answer["untranslated"], json!([{"index": 0, "text": "Forever!", "reason": "the model found no end"}]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_text_is_a_job_that_tells_of_its_way() {
    let server = server(&["t5"]).await;
    let client = server.client();
    let mut socket = server.socket().await;
    socket.subscribe(None).await;
    let accepted = client.post("/api/translate", &json!({"text": long_text(120), "source": "en", "target": "fr"})).await;
    let job = accepted.expect(202).json();
    assert_eq!(job["type"], "audio.translate");
    let task = job["job_id"].as_str().unwrap().to_owned();
    let events = socket.collect_until(|event| event.is("job.completed", &task)).await;
    let kinds: Vec<&str> = events.iter().filter(|event| event.task_id.as_deref() == Some(&task)).map(|event| event.kind.as_str()).collect();
    assert!(kinds.starts_with(&["job.queued", "job.started", "job.progress"]), "{kinds:?}");
    let sentences: Vec<String> = events
        .iter()
        .filter(|event| event.is("job.progress", &task))
        .flat_map(|event| event.data["sentences"].as_array().cloned().unwrap_or_default())
        .map(|sentence| sentence["translation"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(sentences.len(), 120);
    assert_eq!(sentences[..2], ["Bonjour à tous.", "Le chat dort."]);
    let result = client.completed(&task).await["result"].clone();
    assert_eq!(result["translation"], expected(120));
    // Who waits gets it in the answer.
    let request = client.request(reqwest::Method::POST, "/api/translate").header("prefer", "wait=60");
    let waited = tests::Answer::to(request.json(&json!({"text": long_text(120), "source": "en", "target": "fr"}))).await;
    assert_eq!(waited.expect(200).json()["translation"], expected(120));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_the_middle_changes_nothing() {
    const SENTENCES: usize = 600;
    let mut server = server(&["t5"]).await;
    let client = server.client();
    let mut socket = server.socket().await;
    socket.subscribe(None).await;
    let task = client.submit("/api/translate", &json!({"text": long_text(SENTENCES), "source": "en", "target": "fr"})).await;
    socket.until(|event| event.is("job.progress", &task)).await;
    server.kill().await;
    server.restart().await;
    let mut socket = server.socket().await;
    socket.subscribe(Some(0)).await;
    let events = socket.collect_until(|event| event.is("job.completed", &task)).await;
    assert!(events.iter().any(|event| event.is("job.interrupted", &task)), "the kill must hit the middle");
    let sentences: usize = events
        .iter()
        .filter(|event| event.is("job.progress", &task))
        .map(|event| event.data["sentences"].as_array().map_or(0, Vec::len))
        .sum();
    assert_eq!(sentences, SENTENCES, "each sentence is told once");
    assert_eq!(server.client().completed(&task).await["result"]["translation"], expected(SENTENCES));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_death_at_each_commit_changes_nothing() {
    for (place, kind) in [("translate.before_part:2", "t5"), ("translate.after_part:2", "qwen3"), ("translate.before_commit", "t5")] {
        let mut server = server(&[kind]).await;
        server.stop().await;
        server.set_variable("CLONYVOICE_FAIL_POINT", Some(place));
        server.restart().await;
        let client = server.client();
        let task = client.submit("/api/translate", &json!({"text": long_text(100), "source": "en", "target": "fr"})).await;
        server.died().await;
        server.set_variable("CLONYVOICE_FAIL_POINT", None);
        server.restart().await;
        assert_eq!(server.client().completed(&task).await["result"]["translation"], expected(100), "{place}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_translation_ends() {
    let server = server(&["qwen3"]).await;
    let client = server.client();
    let mut socket = server.socket().await;
    socket.subscribe(None).await;
    let task = client.submit("/api/translate", &json!({"text": long_text(400), "source": "en", "target": "fr"})).await;
    socket.until(|event| event.is("job.progress", &task)).await;
    client.post("/api/job/cancel", &json!({"job_id": task})).await.expect(200);
    socket.until(|event| event.is("job.cancelled", &task)).await;
    assert_eq!(client.ended(&task).await["status"], "cancelled");
    // It can be taken up again.
    client.post(&format!("/api/jobs/{task}/retry"), &json!({})).await.expect(202);
    assert_eq!(client.completed(&task).await["result"]["translation"], expected(400));
}

fn multilang(server_voice: &str, more: &Value) -> Value {
    let mut body = json!({"voice_id": server_voice, "translate": true});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

/// Text and language of each chunk of a generation.
async fn spoken(client: &Client, task: &str) -> Vec<(String, String)> {
    let generation = client.get(&format!("/api/generations/{task}")).await.expect(200).json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    generation["chunks"].as_array().unwrap().iter().map(|chunk| (text(&chunk["text"]), text(&chunk["language"]))).collect()
}

fn pair(text: &str, language: &str) -> (String, String) {
    (text.to_owned(), language.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn multilang_speaks_the_translation() {
    let server = server(&["t5"]).await;
    let client = server.client();
    let voice = client.preset(0).await;
    let path = "/api/generate/clone-chunked-multilang";
    let chunks = json!({"chunks": [
        {"text": "Good morning, hello to all of you.", "language": "fr"},
        {"text": "The dog runs through the garden, as it does every day.", "language": "de"},
        {"text": "Cette phrase est écrite en français, et tout le monde le voit bien.", "language": "fr"},
    ]});
    let task = client.submit(path, &multilang(&voice, &chunks)).await;
    client.completed(&task).await;
    let said = spoken(&client, &task).await;
    let kept = "Cette phrase est écrite en français, et tout le monde le voit bien.";
    assert_eq!(said, [pair("Belle matinée.", "fr"), pair("Der Hund rennt.", "de"), pair(kept, "fr")]);

    let text = json!({"text": "The cat sleeps in the sun and does not move at all.", "languages": ["fr", "de"]});
    let task = client.submit(path, &multilang(&voice, &text)).await;
    client.completed(&task).await;
    assert_eq!(spoken(&client, &task).await, [pair("Le chat dort.", "fr"), pair("Die Katze schläft.", "de")]);

    for (body, field) in [
        (json!({"text": "Hello there, all of you."}), "languages"),
        (json!({"chunks": [{"text": "Hello."}]}), "chunks[0].language"),
        (json!({"text": "Hello.", "languages": ["fr", "tlh"]}), "target"),
    ] {
        let problem = client.post(path, &multilang(&voice, &body)).await.problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["field"], field, "{problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_death_between_translating_and_speaking_keeps_the_words() {
    for place in ["translate.chunk.before_commit", "translate.chunk.after_commit"] {
        let mut server = server(&["t5"]).await;
        server.stop().await;
        server.set_variable("CLONYVOICE_FAIL_POINT", Some(place));
        server.restart().await;
        let client = server.client();
        let voice = client.preset(0).await;
        let body = multilang(&voice, &json!({"chunks": [{"text": "The dog runs through the garden.", "language": "fr"}]}));
        let task = client.submit("/api/generate/clone-chunked-multilang", &body).await;
        server.died().await;
        server.set_variable("CLONYVOICE_FAIL_POINT", None);
        if place.ends_with("after_commit") {
            // The words are stored: another model, or none, changes nothing.
            server.run(&["models", "remove", "phrases-t5"]).await;
        }
        server.restart().await;
        let client = server.client();
        client.completed(&task).await;
        assert_eq!(spoken(&client, &task).await, [pair("Le chien court.", "fr")], "{place}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn multilang_without_a_model_says_so() {
    let server = server(&[]).await;
    let client = server.client();
    let voice = client.preset(0).await;
    let body = multilang(&voice, &json!({"chunks": [{"text": "The dog runs.", "language": "fr"}]}));
    client.post("/api/generate/clone-chunked-multilang", &body).await.problem(503, "model_not_installed");
}
