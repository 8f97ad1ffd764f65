//! Several machines: two front doors and three workers, each with a folder of its own, on one Postgres and one bucket. One worker and one
//! front door are killed; the client goes on at the other one with `after_seq`. Nothing is lost, nothing doubled, and the file is the one that
//! a single process makes.

#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::crash_loop::{announced, stored_events};
use tests::postgres::{self, Cluster};
use tests::s3::{self, S3Server};
use tests::tools::{self, Tool};
use tests::{Client, Engine, ServerOptions, Socket, TestServer, script};

const CHUNKS: u64 = 60;

/// The same database and bucket for every node.
fn shared(cluster: &Cluster, bucket: &S3Server) -> Vec<(String, String)> {
    let ours = [
        ("DATABASE_URL", cluster.url()),
        ("BLOB_STORE_URL", format!("s3://{}/nodes", s3::BUCKET)),
        ("BLOB_STORE_ENDPOINT", bucket.endpoint()),
        // Of an hour: who waited for their end would not see the end of this test.
        ("LEASE_MS", "3600000".to_owned()),
        ("ROLE", "api".to_owned()),
    ];
    let mut shared: Vec<(String, String)> = ours.map(|(name, value)| (format!("CLONYVOICE_{name}"), value)).to_vec();
    shared.push(("AWS_ACCESS_KEY_ID".into(), s3::ACCESS_KEY_ID.into()));
    shared.push(("AWS_SECRET_ACCESS_KEY".into(), s3::SECRET_ACCESS_KEY.into()));
    shared
}

fn body(voice_id: &str) -> Value {
    let chunks: Vec<Value> = (0..CHUNKS).map(|index| json!({"text": format!("Raft number {index}.")})).collect();
    json!({"chunks": chunks, "voice_id": voice_id, "seed": 4})
}

#[tokio::test(flavor = "multi_thread")]
async fn two_doors_and_three_workers_lose_one_of_each() {
    if !tools::has("many_nodes::two_doors_and_three_workers_lose_one_of_each", &[Tool::Postgres]) {
        return;
    }
    let cluster = Cluster::start(&postgres::installed().unwrap()).unwrap();
    let bucket = S3Server::start().await;
    let engine = Engine::Scripted(script::slow(150));
    let options = ServerOptions { engine: engine.clone(), environment: shared(&cluster, &bucket), ..ServerOptions::default() };
    let mut first = TestServer::start(options.clone()).await;
    let second = TestServer::start(options).await;
    let key = first.key().to_owned();
    let (near, far) = (first.client(), Client::new(second.base(), Some(key.clone())));
    let folders = tempfile::tempdir().unwrap();
    let worker =
        |name: &str, queues: &str| second.start_worker_in(&folders.path().join(name), &["--speech-workers", "2", "--queues", queues]);
    let mut victim = worker("a", "cpu,io");

    let mut socket = first.socket().await;
    socket.subscribe(Some(0)).await;
    let task = near.submit("/api/generate/clone-chunked", &body(&near.preset(0).await)).await;
    let mut heard = socket.collect_until(|event| event.is("chunk.ready", &task)).await;
    let mut others = [worker("b", "cpu"), worker("c", "io")];
    let mut seen = 1;
    let more = socket.collect_until(|event| {
        seen += u64::from(event.is("chunk.ready", &task));
        seen >= 15
    });
    heard.extend(more.await);
    victim.kill().await.unwrap();
    let more = socket.collect_until(|event| {
        seen += u64::from(event.is("chunk.ready", &task));
        seen >= 30
    });
    heard.extend(more.await);
    first.kill().await;
    // What had been sent before the kill may still be on the way.
    while let Ok(event) = socket.next().await {
        heard.push(event);
    }
    let last_seq = heard.iter().filter_map(|event| event.seq).max().unwrap();
    let mut socket = Socket::connect(&second.base(), Some(&key)).await.unwrap();
    let subscribed = socket.subscribe(Some(last_seq)).await;
    assert_eq!(subscribed.data["gap"], false, "{subscribed:?}");
    heard.extend(socket.collect_until(|event| event.is("job.completed", &task)).await);
    let done = far.completed(&task).await;
    assert_eq!(done["chunks_done"], CHUNKS, "{done}");

    // By both connections together each stored event once and in order.
    let stored: Vec<i64> = stored_events(&second.base(), &key, 0).await.iter().filter_map(|event| event.seq).collect();
    let told: Vec<i64> = heard.iter().filter_map(|event| event.seq).filter(|seq| seq <= stored.last().unwrap()).collect();
    assert_eq!(told, stored);
    let announced = announced(&heard);
    assert_eq!((announced.len() as u64, announced.values().all(|times| *times == 1)), (CHUNKS, true), "{announced:?}");

    let audio = far.get(&format!("/api/generations/{task}/audio")).await.expect(200).body.clone();
    let names: BTreeSet<String> = bucket.objects().iter().map(|path| path.display().to_string()).collect();
    assert!(names.iter().all(|name| name.contains("/nodes/generations/")), "{names:?}");
    assert_eq!(names.iter().filter(|name| name.contains("/chunks/")).count() as u64, CHUNKS, "{names:?}");
    let alone = TestServer::start(ServerOptions { engine, ..ServerOptions::default() }).await;
    let client = alone.client();
    let task = client.submit("/api/generate/clone-chunked", &body(&client.preset(0).await)).await;
    client.completed(&task).await;
    assert!(audio == client.get(&format!("/api/generations/{task}/audio")).await.expect(200).body, "another file than one process makes");
    for worker in &mut others {
        worker.kill().await.unwrap();
    }
}

/// With `blob_store_presigned_s` the bucket itself gives the audio.
#[tokio::test(flavor = "multi_thread")]
async fn audio_is_fetched_from_the_bucket() {
    let bucket = S3Server::start().await;
    let environment = vec![
        ("CLONYVOICE_BLOB_STORE_URL".into(), format!("s3://{}", s3::BUCKET)),
        ("CLONYVOICE_BLOB_STORE_ENDPOINT".into(), bucket.endpoint()),
        ("CLONYVOICE_BLOB_STORE_PRESIGNED_S".into(), "60".into()),
        ("AWS_ACCESS_KEY_ID".into(), s3::ACCESS_KEY_ID.into()),
        ("AWS_SECRET_ACCESS_KEY".into(), s3::SECRET_ACCESS_KEY.into()),
    ];
    let server =
        TestServer::start(ServerOptions { engine: Engine::Scripted(script::at_once()), environment, ..ServerOptions::default() }).await;
    let client = server.client();
    let task = client.submit("/api/generate/clone-chunked", &json!({"text": "To the bucket.", "voice_id": client.preset(0).await})).await;
    client.completed(&task).await;
    let chunk = client.get(&format!("/api/generations/{task}")).await.expect(200).json()["chunks"][0].clone();

    let request = client.request(reqwest::Method::GET, &format!("/api/audio/chunk/{task}/0"));
    let (plain, request) = request.build_split();
    drop(plain);
    let redirected = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap()
        .execute(request.unwrap())
        .await
        .unwrap();
    assert_eq!(redirected.status(), 307);
    let address = redirected.headers()["location"].to_str().unwrap().to_owned();
    assert!(address.starts_with(&bucket.endpoint()), "{address}");
    // No key is needed there.
    let fetched = reqwest::Client::builder().no_proxy().build().unwrap().get(&address).send().await.unwrap();
    assert_eq!(fetched.status(), 200);
    let bytes = fetched.bytes().await.unwrap();
    assert_eq!(bytes.len() as u64, chunk["size_bytes"].as_u64().unwrap());
    assert!(!server.log_text().contains(s3::SECRET_ACCESS_KEY), "the log holds the secret of the bucket");
    let doctor = server.doctor().await;
    assert!(doctor.contains("blob store") && doctor.contains("takes, gives and deletes"), "{doctor}");
}
