//! `make bench-queue`: what durability costs here, as ratios in one run. Contenders take turns in rounds, each on a fresh database on the same
//! disk, in an order that flips each round; the figures are medians of the rounds, the ratios medians of the rounds' ratios. The raw loop
//! runs twice in each round: the ratio of those two (A/A) says how much of the others is noise.
//!
//! `--json` prints one JSON object instead of the table, `--rounds N` sets the rounds, `--only accepts` (lives, starts, claims) leaves the rest
//! out, `--quick` is for trying the bench itself.

#![allow(clippy::disallowed_methods, reason = "measuring time is what this is for")]

mod ours;
mod raw;
mod report;
mod syncs;
mod theirs;

use std::path::{Path, PathBuf};
use std::time::Duration;

use report::{Report, Sample};

/// How much is done in each cell.
#[derive(Debug, Clone)]
pub struct Load {
    pub rounds: usize,
    /// Accepts of one client in a round.
    pub single: usize,
    /// Accepts of 64 clients together in a round.
    pub crowd: usize,
    pub clients: usize,
    /// Jobs pushed, then run, in a round.
    pub lives: usize,
    /// Starts measured on an idle queue, and the pause between them.
    pub starts: usize,
    pub pause: Duration,
    /// Jobs that wait while claims are timed, and the claims.
    pub waiting: usize,
    pub claims: usize,
}

impl Load {
    fn of_arguments(arguments: &[String]) -> Self {
        let full = Self {
            rounds: 9,
            single: 500,
            crowd: 3_200,
            clients: 64,
            lives: 200,
            starts: 300,
            pause: Duration::from_millis(8),
            waiting: 100_000,
            claims: 200,
        };
        let quick = Self { rounds: 3, single: 100, crowd: 640, lives: 50, starts: 50, waiting: 5_000, claims: 50, ..full.clone() };
        let load = if arguments.iter().any(|argument| argument == "--quick") { quick } else { full };
        let rounds = arguments.iter().position(|argument| argument == "--rounds").and_then(|at| arguments.get(at + 1)?.parse().ok());
        Self { rounds: rounds.unwrap_or(load.rounds), ..load }
    }
}

/// In tasks of the runtime, as a server's handlers run: the thread that waits for the runtime to end is none of its workers, and waking it
/// costs more than an accept does.
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    tokio::spawn(bench()).await.expect("no panic");
}

async fn bench() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let load = Load::of_arguments(&arguments);
    // Beside the target folder and not in /tmp, which may be memory: the disk is what is measured.
    let place = std::env::current_exe().ok().and_then(|program| Some(program.parent()?.to_owned())).unwrap_or_default();
    let mut report = Report::new(&load);
    let only = arguments.iter().position(|argument| argument == "--only").and_then(|at| arguments.get(at + 1));
    let wanted = |part: &str| only.is_none_or(|only| only == part);
    if wanted("accepts") {
        accepts(&load, &place, &mut report).await;
    }
    if wanted("lives") {
        lives(&load, &place, &mut report).await;
    }
    if wanted("starts") {
        starts(&load, &place, &mut report).await;
    }
    if wanted("claims") {
        claims(&load, &place, &mut report).await;
    }
    if arguments.iter().any(|argument| argument == "--json") {
        println!("{}", report.json());
    } else {
        print!("{}", report.table());
    }
}

/// A folder of one cell, gone with the value.
pub fn folder(place: &Path) -> tempfile::TempDir {
    tempfile::Builder::new().prefix("bench-queue-").tempdir_in(place).expect("a folder beside the program")
}

/// One contender in one cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Accepts {
    RawRow,
    RawRowAgain,
    RawAlike,
    Ours,
    Theirs,
    RawRows,
    RawRowsAgain,
    RawManyAlike,
    OursCrowd,
    TheirsCrowd,
}

const ACCEPTS: [Accepts; 10] = [
    Accepts::RawRow,
    Accepts::Ours,
    Accepts::RawAlike,
    Accepts::Theirs,
    Accepts::RawRowAgain,
    Accepts::RawRows,
    Accepts::OursCrowd,
    Accepts::RawManyAlike,
    Accepts::TheirsCrowd,
    Accepts::RawRowsAgain,
];

impl Accepts {
    fn name(self) -> &'static str {
        match self {
            Self::RawRow => "raw loop, one row a commit",
            Self::RawRowAgain => "raw loop, one row a commit (again)",
            Self::RawAlike => "raw loop, our rows, one accept a commit",
            Self::Ours => "our accept, 1 client",
            Self::Theirs => "apalis-sqlite push, 1 client",
            Self::RawRows => "raw loop, 64 rows a commit",
            Self::RawRowsAgain => "raw loop, 64 rows a commit (again)",
            Self::RawManyAlike => "raw loop, our rows, 64 accepts a commit",
            Self::OursCrowd => "our accept, 64 clients",
            Self::TheirsCrowd => "apalis-sqlite push, 64 clients",
        }
    }

    async fn run(self, load: &Load, place: PathBuf) -> Sample {
        match self {
            Self::RawRow | Self::RawRowAgain => raw::insert(&place, load.single, 1, raw::Rows::One),
            Self::RawAlike => raw::insert(&place, load.single, 1, raw::Rows::Alike),
            Self::RawRows | Self::RawRowsAgain => raw::insert(&place, load.crowd, load.clients, raw::Rows::One),
            Self::RawManyAlike => raw::insert(&place, load.crowd, load.clients, raw::Rows::Alike),
            Self::Ours => ours::accept(&place, load.single, 1).await,
            Self::OursCrowd => ours::accept(&place, load.crowd, load.clients).await,
            Self::Theirs => theirs::push(&place, load.single, 1).await,
            Self::TheirsCrowd => theirs::push(&place, load.crowd, load.clients).await,
        }
    }
}

async fn accepts(load: &Load, place: &Path, report: &mut Report) {
    for round in 0..load.rounds {
        let mut order = ACCEPTS;
        if round % 2 == 1 {
            order.reverse();
        }
        for contender in order {
            eprintln!("round {} of {}: {}", round + 1, load.rounds, contender.name());
            report.add(contender.name(), contender.run(load, place.to_owned()).await);
        }
    }
    let name = Accepts::name;
    report.ratio("A/A, single commits", name(Accepts::RawRowAgain), name(Accepts::RawRow), None);
    report.ratio("A/A, 64 rows a commit", name(Accepts::RawRowsAgain), name(Accepts::RawRows), None);
    // An accept is seven rows in five tables: beside a single row it shows what they cost, and beside the same rows what we add to them.
    report.ratio("1 client : raw single-commit loop, one row", name(Accepts::Ours), name(Accepts::RawRow), None);
    report.ratio("1 client : raw single-commit loop, our rows", name(Accepts::Ours), name(Accepts::RawAlike), Some(0.8));
    report.ratio("64 clients : raw loop of 64 rows a commit, one row each", name(Accepts::OursCrowd), name(Accepts::RawRows), None);
    report.ratio("64 clients : raw loop of 64 accepts a commit, our rows", name(Accepts::OursCrowd), name(Accepts::RawManyAlike), Some(0.6));
    report.ratio("1 client : apalis-sqlite push", name(Accepts::Ours), name(Accepts::Theirs), None);
    report.ratio("64 clients : apalis-sqlite push", name(Accepts::OursCrowd), name(Accepts::TheirsCrowd), None);
}

async fn lives(load: &Load, place: &Path, report: &mut Report) {
    for round in 0..load.rounds {
        eprintln!("round {} of {}: whole lives", round + 1, load.rounds);
        for turn in 0..3 {
            match if round % 2 == 0 { turn } else { 2 - turn } {
                0 => report.add("our no-op, accept to done", ours::lives(place, load.lives).await),
                1 => report.add("apalis-sqlite no-op at batch 1, push to done", theirs::lives(place, load.lives).await),
                _ => report.add("our generation of one chunk, with its sound", ours::generations(place, load.lives).await),
            }
        }
    }
    report.ratio("no-op life : apalis-sqlite", "our no-op, accept to done", "apalis-sqlite no-op at batch 1, push to done", Some(5.0));
}

async fn starts(load: &Load, place: &Path, report: &mut Report) {
    eprintln!("starts on an idle queue");
    report.latency("enqueue to start, ours", ours::starts(place, load.starts, load.pause).await, Some((2.0, 20.0)));
    report.latency("enqueue to start, apalis-sqlite polling each 25 ms", theirs::starts(place, load.starts, load.pause).await, None);
}

async fn claims(load: &Load, place: &Path, report: &mut Report) {
    eprintln!("claims, filling a queue with {} jobs", load.waiting);
    let (empty, full) = (ours::Queue::filled(place, load.claims).await, ours::Queue::filled(place, load.waiting).await);
    for _ in 0..load.rounds {
        report.add("claim, nothing else waits", empty.claim_and_put_back(load.claims).await);
        report.add("claim, a full queue", full.claim_and_put_back(load.claims).await);
    }
    report.ratio("claims with 100,000 waiting : with none", "claim, a full queue", "claim, nothing else waits", Some(1.0 / 1.5));
}
