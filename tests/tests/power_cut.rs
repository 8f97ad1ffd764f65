//! The power goes: what a client was promised before, a server has after it, at whatever moment the disk stopped and whatever it had not
//! synced. One real run is recorded, its data folder is made again as of many moments, and a server is started on each.
//!
//! `POWER_CUTS=1000` looks at more moments, `POWER_CUT_SEED` at others.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use tests::power_cut::Recorder;
use tests::power_cut::disk::{Dice, Disk, Lie, Unsynced};
use tests::power_cut::load::{self, Recording};
use tests::power_cut::log::{self, Kind};
use tests::power_cut::promises::{Promises, Verdict};
use tests::tools::{self, Tool};
use tests::{ServerOptions, TestServer};

const CUTS: u64 = 100;
/// How often each client asks in each of the four starts of the recorded run.
const ROUNDS: usize = 3;
/// Cuts for each control; one that loses something is enough.
const CONTROL_CUTS: usize = 3;
/// At a time: each waits for the disk more than it works.
const SERVERS: usize = 4;
/// Lines of a failure that are shown.
const SHOWN: usize = 30;

/// One moment: so many records are on their way to the disk.
#[derive(Debug, Clone, Copy)]
struct Cut {
    records: usize,
    unsynced: Unsynced,
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_promised_is_kept() {
    if !tools::has("power_cut::what_was_promised_is_kept", &[Tool::Cc]) {
        return;
    }
    let recorder = Recorder::build();
    let recording = load::record(&recorder, ROUNDS).await;
    eprintln!("{} records: {:?}", recording.records.len(), log::census(&recording.records));
    eprintln!("{} jobs accepted, {} events heard, {} chunks", recording.jobs.len(), recording.heard.len(), recording.made.chunks.len());

    let seed = number("POWER_CUT_SEED", 1);
    let cuts = choose_cuts(&recording, number("POWER_CUTS", CUTS), seed);
    let verdicts = cut_all(&recording, Lie::None, &cuts).await;
    let dropping = verdicts.iter().filter(|(_, verdict)| verdict.unsynced > 0).count();
    let sum = |count: fn(&Verdict) -> usize| verdicts.iter().map(|(_, verdict)| count(verdict)).sum::<usize>();
    eprintln!(
        "{} cuts, {dropping} of them with something unsynced ({} changes in all): looked for {} accepted jobs ({} of them open at the cut), \
         {} events, {} chunks, repeated {} requests",
        cuts.len(),
        sum(|verdict| verdict.unsynced),
        sum(|verdict| verdict.jobs),
        sum(|verdict| verdict.open_jobs),
        sum(|verdict| verdict.events),
        sum(|verdict| verdict.chunks),
        sum(|verdict| verdict.repeated),
    );
    assert_kept(&verdicts, seed);

    // The same run on disks that only pretend to sync: a test that sees no loss there would see none anywhere.
    let records = recording.records.len();
    for lie in [Lie::DatabaseFiles, Lie::BlobFiles, Lie::BlobFolders] {
        let cuts = (1..=CONTROL_CUTS).map(|part| Cut { records: records * part / CONTROL_CUTS, unsynced: Unsynced::Lost });
        let broken = describe(&cut_all(&recording, lie, &cuts.collect::<Vec<_>>()).await);
        let example = broken.first().map_or("", String::as_str);
        eprintln!("control {lie:?}: {} promises broken in {CONTROL_CUTS} cuts, such as: {example}", broken.len());
        assert!(!broken.is_empty(), "a disk that does not sync ({lie:?}) must lose something");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_that_a_killed_process_made() {
    killed_before("power_cut::folders_that_a_killed_process_made", &[(Kind::Mkdir, "/chunks")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_a_killed_process_wrote() {
    let steps = [(Kind::Rename, ".srt"), (Kind::Rename, ".wav"), (Kind::SyncBegin, "-wal")];
    killed_before("power_cut::a_commit_that_a_killed_process_wrote", &steps).await;
}

/// What a process writes and does not come to sync is read by the next one, which tells clients of it: then it must be on the disk.
async fn killed_before(test: &str, steps: &[(Kind, &str)]) {
    if !tools::has(test, &[Tool::Cc]) {
        return;
    }
    let recorder = Recorder::build();
    let recording = load::record_a_kill(&recorder, steps).await;
    let told_at = recording.heard.last().unwrap().told_at;
    let records = recording.records.partition_point(|record| record.end < told_at) + 1;
    let cut = Cut { records: records.min(recording.records.len()), unsynced: Unsynced::Lost };
    assert_kept(&cut_all(&recording, Lie::None, &[cut]).await, 0);
}

#[allow(clippy::disallowed_methods, reason = "the switches are for the test run, no configuration of the program")]
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// Half of them anywhere, half at the very record that a promise rests on, where one sync too few shows.
fn choose_cuts(recording: &Recording, count: u64, seed: u64) -> Vec<Cut> {
    let mut dice = Dice::new(seed);
    let promised: Vec<u64> =
        recording.jobs.iter().map(|job| job.told_at).chain(recording.heard.iter().map(|heard| heard.told_at)).collect();
    let mut cuts: Vec<Cut> = (0..count)
        .map(|number| {
            let records = if number % 2 == 0 {
                dice.below(recording.records.len() + 1)
            } else {
                let told_at = promised[dice.below(promised.len())];
                recording.records.partition_point(|record| record.end < told_at) + 1
            };
            let unsynced = if number % 4 < 2 { Unsynced::Lost } else { Unsynced::Drawn(dice.next()) };
            Cut { records: records.min(recording.records.len()), unsynced }
        })
        .collect();
    cuts.sort_by_key(|cut| cut.records);
    cuts
}

/// Several servers share the cuts; each follows the log once.
async fn cut_all(recording: &Recording, lie: Lie, cuts: &[Cut]) -> Vec<(Cut, Verdict)> {
    let shares = (0..SERVERS.min(cuts.len())).map(|server| {
        let share: Vec<Cut> = cuts.iter().copied().skip(server).step_by(SERVERS).collect();
        cut_one_after_another(recording, lie, share)
    });
    futures::future::join_all(shares).await.into_iter().flatten().collect()
}

async fn cut_one_after_another(recording: &Recording, lie: Lie, cuts: Vec<Cut>) -> Vec<(Cut, Verdict)> {
    let mut server = TestServer::start(ServerOptions { engine: load::engine(), ..ServerOptions::default() }).await;
    server.kill().await;
    let mut disk = Disk::new(&recording.data_folder, lie);
    let mut followed = 0;
    let mut verdicts = Vec::new();
    for cut in cuts {
        recording.records[followed..cut.records].iter().for_each(|record| disk.follow(record));
        followed = cut.records;
        if server.data_folder().exists() {
            fs::remove_dir_all(server.data_folder()).unwrap();
        }
        disk.cut(server.data_folder().parent().unwrap(), cut.unsynced);
        let verdict = after_the_cut(recording, cut, &mut server).await;
        verdicts.push((cut, Verdict { unsynced: disk.unsynced(), ..verdict }));
    }
    verdicts
}

async fn after_the_cut(recording: &Recording, cut: Cut, server: &mut TestServer) -> Verdict {
    let cut_at = cut.records.checked_sub(1).map_or(0, |last| recording.records[last].end);
    let promises = Promises::before(recording, cut_at);
    let mut verdict = Verdict::default();
    promises.look_into(&server.data_folder(), &mut verdict);
    // What is not in the folder can't be in the server, which may look for it for ever.
    if !verdict.broken.is_empty() {
        return verdict;
    }
    let checked_before = database_checks(server);
    // A server that refuses its folder has lost everything.
    if AssertUnwindSafe(server.restart()).catch_unwind().await.is_err() {
        verdict.broken.push("no server starts on what is left".into());
        return verdict;
    }
    if promises.any() && database_checks(server) == checked_before {
        verdict.broken.push("the server does not know that the power went, and did not check its database".into());
    }
    promises.ask(server, &mut verdict).await;
    server.kill().await;
    verdict
}

/// How often this server said that it checks its database after a stop that was none.
fn database_checks(server: &TestServer) -> usize {
    let log = fs::read_to_string(server.data_folder().with_file_name("server.log")).unwrap();
    log.matches("checking the database").count()
}

#[track_caller]
fn assert_kept(verdicts: &[(Cut, Verdict)], seed: u64) {
    let broken = describe(verdicts);
    let shown = &broken[..broken.len().min(SHOWN)];
    assert!(broken.is_empty(), "seed {seed}, {} promises broken:\n{}", broken.len(), shown.join("\n"));
}

fn describe(verdicts: &[(Cut, Verdict)]) -> Vec<String> {
    verdicts.iter().flat_map(|(cut, verdict)| verdict.broken.iter().map(move |line| format!("{cut:?}: {line}"))).collect()
}
