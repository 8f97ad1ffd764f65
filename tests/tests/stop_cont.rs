//! A worker that is stopped (SIGSTOP) for longer than its leases, and goes on (SIGCONT) when another has done its work: all that it brings
//! late is thrown away, and it works on. A lease is half a minute, so one round stops many runs at once; each is a stale commit that must
//! not be. Most of them learn it from the first heartbeat after the sleep and not from the fence of their commit, which `jobs/tests` tries
//! alone.
//!
//! `STOP_CONT_RUNS=200` stops more.

#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tests::crash_loop::{announced, stored_events};
use tests::postgres::{self, Cluster};
use tests::tools::{self, Tool};
use tests::{Engine, ServerOptions, TestServer, wait};
use tokio::process::Child;

const RUNS: u64 = 50;

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_too_late_is_not_taken() {
    what_comes_too_late(None).await;
}

/// Where a session that stands still keeps its locks, until Postgres ends it.
#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_too() {
    if !tools::has("stop_cont::on_postgres_too", &[Tool::Postgres]) {
        return;
    }
    let cluster = Cluster::start(&postgres::installed().unwrap()).unwrap();
    what_comes_too_late(Some(cluster.url())).await;
}

async fn what_comes_too_late(database_url: Option<String>) {
    let runs = runs();
    let counts = tempfile::tempdir().unwrap();
    // The first calls are those of the worker that will be stopped: they ask nobody whether to go on.
    let script = json!({"ms_per_char": 25, "steps": 1, "counts_folder": counts.path(), "rules": [
        {"needle": "", "act": {"hang": {"ms": 1500}}, "times": runs},
    ]});
    let mut environment = vec![("CLONYVOICE_ROLE".into(), "api".into()), ("CLONYVOICE_LEASE_MS".into(), "30000".into())];
    environment.extend(database_url.map(|url| ("CLONYVOICE_DATABASE_URL".to_owned(), url)));
    let server = TestServer::start(ServerOptions { engine: Engine::Scripted(script), environment, ..ServerOptions::default() }).await;
    let client = server.client();
    let mut first = server.start_worker(&["--speech-workers", &runs.to_string()]);
    let chunks: Vec<Value> = (0..runs).map(|index| json!({"text": format!("Late number {index}.")})).collect();
    let body = json!({"chunks": chunks, "voice_id": client.preset(0).await, "seed": 2});
    let task = client.submit("/api/generate/clone-chunked", &body).await;
    let calls = async || std::fs::metadata(counts.path().join("rule-0")).is_ok_and(|file| file.len() >= runs).then_some(());
    wait::until("all runs at work", calls).await;
    signal(&first, Signal::STOP);
    let done_before = client.get(&format!("/api/jobs/{task}")).await.expect(200).json()["chunks_done"].as_u64().unwrap();
    let stopped_at = wait::now();

    let mut second = server.start_worker(&["--speech-workers", "2"]);
    client.completed(&task).await;
    eprintln!(
        "{done_before} of {runs} before the stop; taken over and completed after {} s",
        wait::now().duration_since(stopped_at).as_secs()
    );
    let before = stored_events(&server.base(), server.key(), 0).await;
    let audio = client.get(&format!("/api/generations/{task}/audio")).await.expect(200).body.clone();

    second.kill().await.unwrap();
    signal(&first, Signal::CONT);
    // It is alone now: what it does next proves that it woke up well.
    let body = json!({"chunks": [{"text": "Early again."}, {"text": "And well."}], "voice_id": client.preset(0).await});
    let next = client.submit("/api/generate/clone-chunked", &body).await;
    client.completed(&next).await;
    // It ends in order, so all its old runs have ended in one way or another.
    signal(&first, Signal::TERM);
    let status = first.wait().await.unwrap();
    assert!(status.success(), "{status}");
    let mut after = stored_events(&server.base(), server.key(), 0).await;
    after.retain(|event| event.task_id.as_deref() != Some(next.as_str()));
    assert_eq!(before, after, "a late commit was told");
    let announced = announced(&after);
    assert_eq!(announced.len() as u64, runs);
    assert!(announced.values().all(|times| *times == 1), "{announced:?}");
    let again = client.get(&format!("/api/generations/{task}/audio")).await.expect(200).body.clone();
    assert!(audio == again, "a late merge was stored");
    assert!(done_before < runs, "nothing was stopped in the middle");
    let log = std::fs::read_to_string(server.data_folder().with_file_name("server.log")).unwrap();
    let thrown_away = log.matches("result thrown away").count() as u64;
    eprintln!("{thrown_away} runs woke after their lease and were thrown away, 0 late commits");
    assert_eq!(thrown_away, runs - done_before, "each run that slept through its lease learns of it");
}

/// For the test run, and no configuration of the program.
#[allow(clippy::disallowed_methods, reason = "the switch is for the test run, no configuration of the program")]
fn runs() -> u64 {
    std::env::var("STOP_CONT_RUNS").map_or(RUNS, |value| value.parse().unwrap())
}

fn signal(process: &Child, signal: Signal) {
    kill_process(Pid::from_raw(process.id().unwrap().cast_signed()).unwrap(), signal).unwrap();
}
