//! Voices made of descriptions: variants are heard, one is picked, and what was not understood is told; previews are made once for equal
//! words and are files like all others.

#![allow(clippy::unwrap_used)]

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Answer, Client, TestServer, script};

async fn designed(client: &Client, body: Value) -> Value {
    let task = client.submit("/api/design/create", &body).await;
    client.completed(&task).await["result"].clone()
}

async fn previewed(client: &Client, voice: &str, body: &Value) -> Value {
    let task = client.submit(&format!("/api/voices/{voice}/generate-preview"), body).await;
    client.completed(&task).await["result"].clone()
}

async fn voice(client: &Client, id: &Value) -> Value {
    client.get(&format!("/api/voices/{}", id.as_str().unwrap())).await.expect(200).json()
}

fn files_in(folder: &std::path::Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries.map(|entry| entry.unwrap().path()).map(|path| if path.is_dir() { files_in(&path) } else { 1 }).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn variants_are_heard_and_one_is_picked() {
    let mut server = TestServer::scripted(script::at_once()).await;
    let client = server.client();
    let description = "a very deep, calm, elderly man with a Scottish accent and a flurbish manner";
    let body = json!({"name": "Old Captain", "description": description, "variants": 3, "seed": 7});
    let result = designed(&client, body.clone()).await;
    assert_eq!(result["ignored_terms"], json!(["flurbish", "manner"]), "{result}");
    assert_eq!((&result["gender"], &result["language"]), (&json!("male"), &json!("en-GB-scotland")));
    let previews = result["previews"].as_array().unwrap();
    assert_eq!(previews.iter().map(|preview| preview["variant"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1, 2]);
    let made = voice(&client, &result["voice_id"]).await;
    assert_eq!(
        (&made["type"], &made["ready"], &made["name"], &made["description"]),
        (&json!("design"), &json!(true), &json!("Old Captain"), &json!(description))
    );

    // Files like all others: tagged, and in part.
    let url = previews[1]["audio_url"].as_str().unwrap();
    let whole = client.get(url).await;
    assert!(whole.expect(200).body.starts_with(b"RIFF"));
    assert_eq!(whole.header("content-type"), Some("audio/wav"));
    let tag = whole.header("etag").unwrap().to_owned();
    Answer::to(client.request(Method::GET, url).header("if-none-match", &tag)).await.expect(304);
    let part = Answer::to(client.request(Method::GET, url).header("range", "bytes=4-11")).await;
    assert_eq!(part.expect(206).body, whole.body.slice(4..12));

    let shown = client.get(made["preview_url"].as_str().unwrap()).await.expect(200).header("etag").unwrap().to_owned();
    assert_eq!(client.get(previews[0]["audio_url"].as_str().unwrap()).await.expect(200).header("etag"), Some(&*shown));
    let pick = json!({"voice_id": result["voice_id"], "preview_id": previews[1]["preview_id"]});
    let picked = client.post("/api/design/create", &pick).await.expect(200).json();
    assert_eq!((&picked["preview_id"], &picked["audio_url"]), (&previews[1]["preview_id"], &previews[1]["audio_url"]));
    server.kill().await;
    server.restart().await;
    let client = server.client();
    let now = voice(&client, &result["voice_id"]).await;
    assert_eq!(now["revision"].as_i64().unwrap(), made["revision"].as_i64().unwrap() + 1);
    assert_eq!(client.get(now["preview_url"].as_str().unwrap()).await.expect(200).header("etag"), Some(&*tag));
    // Another is another voice, and the first is to be had again.
    let export = async || client.post("/api/voices/export", &json!({"voice_ids": [result["voice_id"]]})).await.expect(200).body.clone();
    let second = export().await;
    let back = json!({"voice_id": result["voice_id"], "preview_id": previews[0]["preview_id"]});
    client.post("/api/design/create", &back).await.expect(200);
    assert!(export().await != second);

    let task = client.submit("/api/generate/clone", &json!({"text": "Hello there.", "voice_id": "old captain"})).await;
    client.completed(&task).await;
    // The same words and the same seed are the same voice.
    let again = designed(&client, body).await;
    let same = client.get(again["previews"][2]["audio_url"].as_str().unwrap()).await.expect(200).header("etag").unwrap().to_owned();
    assert_eq!(client.get(previews[2]["audio_url"].as_str().unwrap()).await.expect(200).header("etag"), Some(&*same));

    let id = result["voice_id"].as_str().unwrap();
    Answer::to(client.request(Method::DELETE, &format!("/api/voices/{id}"))).await.expect(204);
    client.get(url).await.problem(404, "voice_not_found");
    assert_eq!(files_in(&server.data_folder().join("blobs/voices").join(id)), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_and_what_is_cancelled_is_gone() {
    let server = TestServer::scripted(script::never()).await;
    let client = server.client();
    let wrong = [
        (json!({}), "description"),
        (json!({"description": "  "}), "description"),
        (json!({"description": "x".repeat(1_001)}), "description"),
        (json!({"description": "a man", "variants": 5}), "variants"),
        (json!({"description": "a man", "variants": 0}), "variants"),
        (json!({"description": "a man", "language": "xx-YY"}), "language"),
        (json!({"description": "a man", "name": "a\nb"}), "name"),
        (json!({"description": "a man", "sample_text": "?!"}), "sample_text"),
    ];
    for (body, field) in wrong {
        let problem = client.post("/api/design/create", &body).await.problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["field"], field, "{body}: {problem}");
    }
    let nobody = "0197f000-0000-7000-8000-000000000000";
    for id in ["nora", nobody] {
        let pick = json!({"voice_id": id, "preview_id": nobody});
        client.post("/api/design/create", &pick).await.problem(404, "voice_not_found");
    }
    let job = client.post("/api/design/create", &json!({"description": "a bright young woman"})).await.expect(202).json();
    let pick = json!({"voice_id": job["voice_id"], "preview_id": nobody});
    client.post("/api/design/create", &pick).await.problem(409, "conflict");
    let problem = client.post("/api/design/create", &json!({"voice_id": job["voice_id"]})).await.problem(422, "validation_failed");
    assert_eq!(problem["errors"][0]["field"], "preview_id");
    client.post("/api/clone/cancel", &json!({"task_id": job["job_id"]})).await.problem(404, "task_not_found");
    client.post("/api/design/cancel", &json!({"task_id": job["job_id"]})).await.expect(200);
    assert_eq!(client.ended(job["job_id"].as_str().unwrap()).await["status"], "cancelled");
    let id = job["voice_id"].as_str().unwrap();
    client.get(&format!("/api/voices/{id}")).await.problem(404, "voice_not_found");
    assert_eq!(files_in(&server.data_folder().join("blobs/voices")), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_previews_are_made_once() {
    let counts = tempfile::tempdir().unwrap();
    // Counts what the engine is asked for, by its rule.
    let engine = json!({"ms_per_char": 25, "steps": 1, "counts_folder": counts.path(), "rules": [{"needle": "", "act": "speak", "times": 1_000_000}]});
    let server = TestServer::scripted(engine).await;
    let client = server.client();
    let calls = || std::fs::read(counts.path().join("rule-0")).map_or(0, |uses| uses.len());
    let made = designed(&client, json!({"name": "Una", "description": "a warm woman"})).await;
    let id = made["voice_id"].as_str().unwrap();
    let before = calls();
    let words = json!({"text": "These are my own words."});
    let first = previewed(&client, id, &words).await;
    assert_eq!((&first["cached"], &first["text"], calls()), (&json!(false), &words["text"], before + 1));
    let again = previewed(&client, id, &words).await;
    assert_eq!((&again["cached"], &again["preview_id"], calls()), (&json!(true), &first["preview_id"], before + 1));
    let url = voice(&client, &made["voice_id"]).await["preview_url"].as_str().unwrap().to_owned();
    assert_eq!(client.get(&url).await.expect(200).header("etag"), Some(&*format!("\"{}\"", first["sha256"].as_str().unwrap())));
    // Without words a sentence of the language: for the voice's own that is what its design said.
    let usual = previewed(&client, id, &json!({})).await;
    assert_eq!((&usual["cached"], &usual["preview_id"]), (&json!(true), &made["previews"][0]["preview_id"]));
    let german = previewed(&client, id, &json!({"language": "de"})).await;
    assert!(german["text"].as_str().unwrap().starts_with("Guten Tag"), "{german}");
    assert_eq!(calls(), before + 2);
    let heard =
        Answer::to(client.request(Method::POST, &format!("/api/voices/{id}/generate-preview")).header("accept", "audio/*").json(&words))
            .await;
    assert_eq!(heard.expect(200).header("content-type"), Some("audio/wav"));

    // Presets say their own sentence, for everybody.
    let preset = client.preset(0).await;
    client.get(&format!("/api/voices/{preset}/preview")).await.problem(404, "audio_not_found");
    let sentence = previewed(&client, &preset, &json!({})).await;
    assert_eq!(sentence["voice_id"], preset);
    client.get(sentence["audio_url"].as_str().unwrap()).await.expect(200);
    let other = server.new_key("other", &tests::server::SCOPES).await;
    let other = server.client_with(Some(&other));
    let shown = voice(&other, &json!(preset)).await["preview_url"].as_str().unwrap().to_owned();
    other.get(&shown).await.expect(200);
    assert_eq!(previewed(&other, &preset, &json!({})).await["cached"], true);
    let problem = client.post(&format!("/api/voices/{preset}/generate-preview"), &words).await.problem(422, "validation_failed");
    assert_eq!(problem["errors"][0]["field"], "text");

    // Others hear a shared voice and may not change it.
    other.get(&url).await.expect(200);
    other.post(&format!("/api/voices/{id}/generate-preview"), &json!({})).await.problem(403, "read_only");
    for (body, field) in
        [(json!({"text": "x".repeat(501)}), "text"), (json!({"text": "..."}), "text"), (json!({"language": "klingon"}), "language")]
    {
        let problem = client.post(&format!("/api/voices/{id}/generate-preview"), &body).await.problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["field"], field);
    }
    let nobody = "/api/voices/0197f000-0000-7000-8000-000000000000/generate-preview";
    client.post(nobody, &json!({})).await.problem(404, "voice_not_found");
    client.get(&format!("/api/voices/{id}/previews/x")).await.problem(404, "audio_not_found");
}
