//! A machine without espeak-ng: the server starts all the same, says what is missing, and refuses to speak with the command that helps.

#![allow(clippy::unwrap_used)]
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;
use tests::server::program_path;
use tests::{ServerOptions, TestServer};

#[tokio::test(flavor = "multi_thread")]
async fn it_starts_and_says_what_to_install() {
    // The real host, told to load a library that is not there: what it says then is what it says on a bare machine.
    let folder = tempfile::tempdir().unwrap();
    let host = folder.path().join("espeak-host");
    let program = program_path("clonyvoice-espeak-host");
    fs::write(&host, format!("#!/bin/sh\nexec '{}' \"$@\" --library /nowhere/libespeak-ng.so\n", program.display())).unwrap();
    fs::set_permissions(&host, fs::Permissions::from_mode(0o755)).unwrap();
    let options =
        ServerOptions { environment: vec![("CLONYVOICE_ESPEAK_HOST".to_owned(), host.display().to_string())], ..ServerOptions::default() };
    let server = TestServer::start(options).await;
    let client = server.client();
    let voice = client.preset(0).await;

    let status = client.get("/api/system/status").await.expect(200).json();
    assert_eq!(status["status"], "degraded", "{status:#}");
    assert!(status.to_string().contains("espeak-ng"), "{status:#}");

    let refused = client.post("/api/generate/preset", &json!({"text": "Hello.", "voice_id": voice})).await;
    let problem = refused.problem(503, "engine_unavailable");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("install") && detail.contains("espeak-ng"), "the command that helps: {detail}");
    assert!(refused.header("retry-after").is_some());
    let generations = client.get("/api/generations").await.expect(200).json();
    assert_eq!(generations["total"], 0, "nothing was accepted that cannot be done");

    let doctor = server.doctor().await;
    assert!(doctor.contains("install") && doctor.contains("espeak-ng"), "{doctor}");
    // What needs no voice works.
    client.post("/api/text/split", &json!({"text": "One. Two."})).await.expect(200);
}
