//! A text that ends every process that speaks it is found out and buried, without its neighbours; a healthy one that was only unlucky, as
//! often as one likes, is not.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Engine, ServerOptions, TestServer, wait};

const DEATHS_MAX: usize = 3;
const UNLUCKY_KILLS: u64 = 4;

fn options(script: Value) -> ServerOptions {
    let arguments = vec!["--speech-workers".into(), "1".into()];
    ServerOptions { engine: Engine::Scripted(script), arguments, ..ServerOptions::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_kills_is_buried_alone() {
    let rules = json!([{"needle": "Poison", "act": "abort"}, {"needle": "", "act": {"slow": {"ms_per_step": 20}}}]);
    let mut server = TestServer::start(options(json!({"ms_per_char": 25, "steps": 1, "rules": rules}))).await;
    let client = server.client();
    let voice = client.preset(0).await;
    let work =
        |name: &str| json!({"voice_id": voice, "seed": 1, "chunks": [{"text": format!("{name} one.")}, {"text": format!("{name} two.")}]});
    // All in one transaction's reach before the first death: the poison is asked for last.
    let before = client.submit("/api/generate/clone-chunked", &work("Bread")).await;
    let poison = client.submit("/api/generate/clone-chunked", &work("Poison")).await;
    let path = format!("/api/jobs/{poison}");
    let mut deaths = 0;
    let mut after = None;
    let job = loop {
        let ended = wait::until("the end of the poison or of the server", async || {
            if server.has_died() {
                return Some(None);
            }
            let job: Value = client.request(Method::GET, &path).send().await.ok()?.json().await.ok()?;
            (job["status"] == "failed" || job["status"] == "completed").then_some(Some(job))
        })
        .await;
        if let Some(job) = ended {
            break job;
        }
        deaths += 1;
        assert!(deaths <= DEATHS_MAX, "the server dies again and again");
        server.restart().await;
        // Neighbours that come while it goes round; the process may die while it answers.
        if after.is_none() {
            let request = client.request(Method::POST, "/api/generate/clone-chunked").json(&work("Water"));
            if let Ok(answer) = request.send().await {
                after = answer.json::<Value>().await.ok().and_then(|answer| answer["task_id"].as_str().map(str::to_owned));
            }
        }
    };
    eprintln!("{deaths} deaths of the server, then: {}", job["error"]);
    assert_eq!(job["status"], "failed", "{job:#}");
    assert_eq!(job["error"]["code"], "worker_crashed", "{job:#}");
    assert!(deaths < DEATHS_MAX, "the third death is the one of a process of its own");
    let later = client.submit("/api/generate/clone-chunked", &work("Salt")).await;
    for neighbour in [Some(before), after, Some(later)].into_iter().flatten() {
        client.completed(&neighbour).await;
    }
    assert!(!server.has_died(), "the server lives");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unlucky_one_is_not() {
    let counts = tempfile::tempdir().unwrap();
    let rules = json!([{"needle": "Unlucky", "act": "stall", "times": UNLUCKY_KILLS}]);
    let mut server =
        TestServer::start(options(json!({"ms_per_char": 25, "steps": 1, "counts_folder": counts.path(), "rules": rules}))).await;
    let client = server.client();
    let body = json!({"voice_id": client.preset(0).await, "seed": 1, "chunks": [{"text": "Unlucky, but well."}]});
    let task = client.submit("/api/generate/clone-chunked", &body).await;
    for kill in 1..=UNLUCKY_KILLS {
        wait::until("the engine at work", async || (calls(counts.path()) >= kill).then_some(())).await;
        server.kill().await;
        server.restart().await;
    }
    let job = client.completed(&task).await;
    eprintln!("{UNLUCKY_KILLS} kills while it was spoken, then: {}", job["status"]);
    assert_eq!(calls(counts.path()), UNLUCKY_KILLS + 1, "one call for each life");
}

/// How often the first rule was looked at, also when it was used up.
fn calls(counts_folder: &Path) -> u64 {
    std::fs::metadata(counts_folder.join("rule-0")).map_or(0, |file| file.len())
}
