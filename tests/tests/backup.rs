//! `clonyvoice backup` while the server works: a server on the copy has everything that was accepted before, with the same audio, and goes
//! on with what was open.

#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use tests::{Client, TestServer, script};

const CHUNKS: u64 = 40;

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_goes_on() {
    let server = TestServer::scripted(script::slow(40)).await;
    let client = server.client();
    let voice = client.preset(0).await;
    let mut finished = Vec::new();
    for name in ["Pine", "Oak", "Elm"] {
        let task = client.submit("/api/generate/clone-chunked", &body(&voice, name, 3)).await;
        client.completed(&task).await;
        finished.push((audio(&client, &task).await, task));
    }
    let mut socket = server.socket().await;
    socket.subscribe(None).await;
    let open = client.submit("/api/generate/clone-chunked", &body(&voice, "Birch", CHUNKS)).await;
    let waiting = client.submit("/api/generate/clone-chunked", &body(&voice, "Yew", 3)).await;
    socket.until(|event| event.is("chunk.ready", &open)).await;

    // Another server, whose folder gives way to the copy.
    let mut restored = TestServer::scripted(script::slow(40)).await;
    assert!(restored.stop().await.success());
    std::fs::remove_dir_all(restored.data_folder()).unwrap();
    let said = server.run(&["backup", restored.data_folder().to_str().unwrap()]).await;
    let job = client.get(&format!("/api/jobs/{open}")).await.expect(200).json();
    eprintln!("{}; {} of {CHUNKS} chunks done behind it", said.trim(), job["chunks_done"]);
    assert_ne!(job["status"], "completed", "the backup was to be made in the middle");

    restored.restart().await;
    let copy = restored.client_with(Some(server.key()));
    for (audio_before, task) in &finished {
        assert_eq!(copy.get(&format!("/api/jobs/{task}")).await.expect(200).json()["status"], "completed");
        assert!(*audio_before == audio(&copy, task).await, "a finished file is another one in the copy");
    }
    for task in [&open, &waiting] {
        copy.completed(task).await;
        client.completed(task).await;
        assert!(audio(&copy, task).await == audio(&client, task).await, "both come to the same end");
    }
    let target = restored.data_folder();
    let arguments = ["backup", target.to_str().unwrap()];
    let refused = std::panic::AssertUnwindSafe(server.run(&arguments));
    let refused = futures::FutureExt::catch_unwind(refused).await;
    assert!(refused.is_err(), "a folder that holds something is not written into");
}

async fn audio(client: &Client, task: &str) -> bytes::Bytes {
    client.get(&format!("/api/generations/{task}/audio")).await.expect(200).body.clone()
}

fn body(voice_id: &str, name: &str, count: u64) -> Value {
    let chunks: Vec<Value> = (0..count).map(|index| json!({"text": format!("{name} number {index}.")})).collect();
    json!({"chunks": chunks, "voice_id": voice_id, "seed": 6})
}
