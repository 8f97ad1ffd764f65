//! The whole life of a voice that was made elsewhere: it comes as an archive, is found, changed, spoken with, liked, given away and deleted.

#![allow(clippy::unwrap_used)]

use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use tests::{Answer, Client, TestServer, script};

/// Made by another ZIP library, and packed.
const ARCHIVE: &[u8] = include_bytes!("../fixtures/ada.clonyvoice");
const ID: &str = "0197f000-0000-7000-8000-00000000000a";

async fn send(client: &Client, path: &str, archive: &[u8]) -> Answer {
    let form = Form::new().part("file", Part::bytes(archive.to_vec()).file_name("ada.clonyvoice"));
    Answer::to(client.request(Method::POST, path).multipart(form)).await
}

async fn change(client: &Client, body: &Value) -> Answer {
    Answer::to(client.request(Method::PUT, &format!("/api/voices/{ID}")).json(body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn from_import_to_delete() {
    let mut server = TestServer::scripted(script::at_once()).await;
    let client = server.client();
    let preview = send(&client, "/api/voices/import/preview", ARCHIVE).await.expect(200).json();
    assert_eq!((&preview["voices"][0]["name"], &preview["voices"][0]["conflict"]), (&json!("Ada"), &json!("none")), "{preview}");
    let body = json!({"import_id": preview["import_id"]});
    let report = client.post("/api/voices/import", &body).await.expect(201).json();
    assert_eq!(report["imported"][0]["voice_id"], ID, "{report}");
    assert_eq!(client.get("/api/voices?q=ada&type=clone").await.expect(200).json()["items"][0]["category"], "Narrators");
    assert_eq!(change(&client, &json!({"name": "Countess"})).await.expect(200).json()["revision"], 2);

    server.kill().await;
    server.restart().await;
    let client = server.client();
    let voice = client.get(&format!("/api/voices/{ID}")).await.expect(200).json();
    assert_eq!(voice["name"], "Countess", "what was answered outlives a kill");
    let sample = client.get(voice["samples"][0]["audio_url"].as_str().unwrap()).await;
    assert!(sample.expect(200).body.starts_with(b"RIFF"));
    let task = client.submit("/api/generate/clone", &json!({"text": "Hello there.", "voice_id": "countess"})).await;
    assert_eq!(client.completed(&task).await["status"], "completed");
    assert_eq!(client.post(&format!("/api/favorites/{ID}"), &json!({})).await.expect(200).json()["is_favorite"], true);

    let exported = client.post("/api/voices/export", &json!({"voice_ids": [ID]})).await.expect(200).body.clone();
    let other = TestServer::scripted(script::at_once()).await;
    send(&other.client(), "/api/voices/import", &exported).await.expect(201);
    let again = other.client().post("/api/voices/export", &json!({"voice_ids": [ID]})).await.expect(200).body.clone();
    assert!(again == exported, "exported, imported on an empty server and exported again");

    let gone = Answer::to(client.request(Method::DELETE, &format!("/api/voices/{ID}"))).await;
    gone.expect(204);
    client.get(&format!("/api/voices/{ID}")).await.problem(404, "voice_not_found");
    assert_eq!(client.get("/api/favorites").await.expect(200).json()["favorites"], json!([]));
    let spoken = client.get(&format!("/api/generations/{task}")).await.expect(200).json();
    assert_eq!(spoken["voice_name"], "Countess", "what it has spoken keeps its name");
    client.get(&format!("/api/generations/{task}/audio")).await.expect(200);
    assert!(!server.data_folder().join("blobs/voices").join(ID).join("samples").read_dir().is_ok_and(|mut files| files.next().is_some()));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_none_are_refused_and_the_server_goes_on() {
    let server = TestServer::scripted(script::at_once()).await;
    let client = server.client();
    for (path, file) in
        [("/api/voices/import", b"PK\x03\x04 and no more".as_slice()), ("/api/audio-duration", b"fLaC\x00\x00\x00\x22 and no more")]
    {
        let answer = send(&client, path, file).await;
        assert!([415, 422].contains(&answer.status), "{path}: {}", answer.status);
    }
    send(&client, "/api/voices/import", ARCHIVE).await.expect(201);
}
