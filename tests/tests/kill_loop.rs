//! The real server under a mixed load, killed with `kill -9` at random moments and started again on the same folder, many times: nothing
//! that was accepted is lost, nothing is told twice, and hardly anything is done again.
//!
//! `CRASH_KILLS=2000` kills more often (`make crash-test KILLS=2000`), `CRASH_SEED` at other moments.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::{join, join_all};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tests::crash_loop::{Accepted, CANCELLED_WORD, Dice, User, announced};
use tests::{Client, Engine, ServerOptions, TestServer, wait};

const KILLS: u64 = 200;
/// From readiness to the kill, at most.
const LIFE_MS_MAX: u64 = 400;
const SLOTS: u64 = 2;
const USERS: [&str; 3] = ["Anna", "Bert", "Cora"];
/// Every so many'th file is compared with the one of an undisturbed server.
const COMPARED_EVERY: usize = 8;

fn options(counts_folder: Option<&std::path::Path>) -> ServerOptions {
    // Both rules do the same; the second keeps count, in a file that outlives the kills, of what nobody cancels.
    let script = json!({"ms_per_char": 25, "steps": 1, "counts_folder": counts_folder, "rules": [
        {"needle": CANCELLED_WORD, "act": {"slow": {"ms_per_step": 10}}},
        {"needle": "", "act": {"slow": {"ms_per_step": 10}}, "times": counts_folder.map(|_| u32::MAX)},
    ]});
    let arguments = vec!["--speech-workers".into(), SLOTS.to_string()];
    ServerOptions { engine: Engine::Scripted(script), arguments, ..ServerOptions::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_doubled_or_told_twice() {
    let (kills, seed) = (number("CRASH_KILLS", KILLS), number("CRASH_SEED", 1));
    eprintln!("{kills} kills, seed {seed}");
    let counts = tempfile::tempdir().unwrap();
    let mut server = TestServer::start(options(Some(counts.path()))).await;
    let mut users = new_users(&server, seed).await;
    let mut dice = Dice::new(seed);
    let begun = wait::now();
    for kill in 1..=kills {
        let life = Duration::from_millis(dice.below(LIFE_MS_MAX));
        let killing = async {
            // The moment is the point: any moment must do.
            let _ = tokio::time::timeout(life, std::future::pending::<()>()).await;
            server.kill().await;
        };
        join(killing, join_all(users.iter_mut().map(User::live))).await;
        server.restart().await;
        if kill % 50 == 0 {
            eprintln!("{kill} kills after {} s", wait::now().duration_since(begun).as_secs());
        }
    }
    join_all(users.iter_mut().map(User::finish)).await;
    eprintln!("all has ended after {} s", wait::now().duration_since(begun).as_secs());

    let mut wanted = 0;
    let mut finished = Vec::new();
    for user in &users {
        finished.extend(look_at(user).await);
        wanted += user.accepted.iter().filter(|accepted| !accepted.cancel_asked).map(|accepted| accepted.wish.chunks).sum::<u64>();
    }
    let made = std::fs::metadata(counts.path().join("rule-1")).unwrap().len();
    eprintln!("{wanted} chunks that nobody cancelled took {made} calls of the engine: {} again", made - wanted);
    assert!(made - wanted <= kills * SLOTS, "at most one for each kill and slot");
    compare(&finished).await;
}

/// For the test run, and no configuration of the program.
#[allow(clippy::disallowed_methods, reason = "the switch is for the test run, no configuration of the program")]
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().filter(|value| !value.is_empty()).map_or(default, |value| value.parse().unwrap())
}

async fn new_users(server: &TestServer, seed: u64) -> Vec<User> {
    let voice = server.client().preset(0).await;
    let mut users = Vec::new();
    for (place, name) in USERS.iter().enumerate() {
        let key = server.new_key(name, &tests::server::SCOPES).await;
        users.push(User::new(server.base(), key, name, voice.clone(), seed.wrapping_add(place as u64)));
    }
    users
}

/// Everything that one user was promised. Gives the body and the hash of the audio of what has one.
async fn look_at(user: &User) -> Vec<(Value, String)> {
    let events = user.all_events().await;
    let out_of_order: Vec<_> = user.heard.windows(2).filter(|pair| pair[0].seq >= pair[1].seq).collect();
    assert!(out_of_order.is_empty(), "in order, none twice, over all connections: {out_of_order:#?}");
    assert!(user.heard == events, "what was heard in pieces is what is stored: {} and {}", user.heard.len(), events.len());
    let announced = announced(&events);
    assert!(announced.values().all(|times| *times == 1), "announced once: {announced:?}");

    let mut statuses: BTreeMap<String, u64> = BTreeMap::new();
    let mut finished = Vec::new();
    for accepted in &user.accepted {
        let job = user.client.get(&format!("/api/jobs/{}", accepted.task)).await.expect(200).json();
        let status = job["status"].as_str().unwrap();
        *statuses.entry(status.to_owned()).or_default() += 1;
        if accepted.cancel_asked && status == "cancelled" {
            continue;
        }
        assert_eq!(status, "completed", "{job:#}");
        let told = (0..accepted.wish.chunks).all(|index| announced.contains_key(&(accepted.task.clone(), index, 1)));
        assert!(told, "every chunk of {} is announced", accepted.task);
        if !accepted.wish.by_hand {
            finished.push((accepted.wish.body.clone(), audio_hash(&user.client, accepted).await));
        }
    }
    for merge in &user.merges {
        assert_eq!(user.client.ended(merge).await["status"], "completed", "a merge by hand");
    }
    let numbers: std::collections::BTreeSet<u64> = user.accepted.iter().map(|accepted| accepted.wish.number).collect();
    assert_eq!(numbers.len(), user.accepted.len(), "each wish was accepted once");
    let queued = events.iter().filter(|event| event.kind == "job.queued").filter_map(|event| event.task_id.clone());
    let queued: std::collections::BTreeSet<String> = queued.filter(|task| !user.merges.contains(task)).collect();
    let known: std::collections::BTreeSet<String> = user.accepted.iter().map(|accepted| accepted.task.clone()).collect();
    assert_eq!(queued, known, "no wish was accepted twice");
    eprintln!(
        "{} generations {statuses:?}, {} merges by hand, {} chunks, {} events, {} wishes repeated, {} of them accepted before",
        user.accepted.len(),
        user.merges.len(),
        announced.len(),
        events.len(),
        user.repeated,
        user.replayed,
    );
    finished
}

async fn audio_hash(client: &Client, accepted: &Accepted) -> String {
    let answer = client.get(&format!("/api/generations/{}/audio", accepted.task)).await;
    hex::encode(Sha256::digest(&answer.expect(200).body))
}

/// Nothing is missing, doubled or in another order: the files are those of a server that nobody disturbed.
async fn compare(finished: &[(Value, String)]) {
    let server = TestServer::start(options(None)).await;
    let client = server.client();
    let mut compared = 0;
    for (body, hash) in finished.iter().step_by(COMPARED_EVERY) {
        let task = client.submit("/api/generate/clone-chunked", body).await;
        client.completed(&task).await;
        let audio = client.get(&format!("/api/generations/{task}/audio")).await.expect(200).body.clone();
        assert_eq!(*hash, hex::encode(Sha256::digest(&audio)), "the same file as on an undisturbed server: {body}");
        compared += 1;
    }
    eprintln!("{compared} of {} files compared with an undisturbed server, equal", finished.len());
    assert!(compared > 0);
}
