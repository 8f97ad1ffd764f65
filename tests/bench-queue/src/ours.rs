//! Our queue as its callers use it: [`jobs::Jobs::submit`] accepts, [`jobs::worker::Worker`] runs. The engine gives a hundredth of a second
//! of sound at once, so that what is measured is the queue.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use engine::handle::{EngineConfig, EngineHandle};
use engine::speech::{Availability, Capabilities, EngineError, Speech, SpeechEngine, SynthesisRequest};
use jobs::clock::{Clock, SystemClock};
use jobs::submission::{ChunkInput, GenerationKind, GenerationOptions, Source, Submission, TraceContext};
use jobs::worker::{Worker, WorkerConfig};
use jobs::room::RoomConfig;
use jobs::{Jobs, JobsConfig};
use sqlx::{ConnectOptions, Connection};
use storage::leases::{self, Claim};
use storage::rows::{Rows, RowsConfig};
use storage::{Blobs, Storage};

use crate::report::Sample;
use crate::{folder, syncs};

/// When the engine was first asked for a text.
type Started = Arc<Mutex<HashMap<String, Instant>>>;

struct Instantly(Started);

impl SpeechEngine for Instantly {
    fn capabilities(&self) -> Capabilities {
        let languages = vec!["en-US".to_owned()];
        Capabilities { engine: "bench".into(), revision: "1".into(), languages, instruct: false, word_timings: false, uses_seed: false }
    }

    fn availability(&self) -> Availability {
        Availability::Ready
    }

    fn synthesize(&mut self, request: &SynthesisRequest, _: &mut dyn FnMut(f32) -> ControlFlow<()>) -> Result<Speech, EngineError> {
        self.0.lock().expect("no panic").entry(request.text.clone()).or_insert_with(Instant::now);
        Ok(Speech { samples: vec![0.1; 240], words: Vec::new() })
    }
}

struct Bed {
    folder: tempfile::TempDir,
    storage: Storage,
    engine: EngineHandle,
    jobs: Jobs,
    started: Started,
}

impl Bed {
    async fn new(place: &Path) -> Self {
        let folder = folder(place);
        for name in ["blobs", "tmp"] {
            std::fs::create_dir_all(folder.path().join(name)).expect("a folder");
        }
        let rows = Rows::open(&RowsConfig::new(Self::url(&folder))).await.expect("a database");
        let storage = Storage { rows, blobs: Blobs::open_local(&folder.path().join("blobs")).expect("a store") };
        let started = Started::default();
        let asked = started.clone();
        let config = EngineConfig { name: "bench".into(), ..EngineConfig::default() };
        let engine = EngineHandle::start(config, move || Ok(Box::new(Instantly(asked.clone())) as Box<dyn SpeechEngine>)).expect("an engine");
        let room = RoomConfig { open_generations_max: i64::MAX, wait_max_s: i64::MAX, retry_after_s: 1 };
        let config = JobsConfig { room, ..JobsConfig::new(folder.path().join("tmp")) };
        let jobs = Jobs::new(storage.clone(), engine.clone(), Arc::new(SystemClock), config);
        Self { folder, storage, engine, jobs, started }
    }

    fn url(folder: &tempfile::TempDir) -> String {
        format!("sqlite://{}?mode=rwc", folder.path().join("ours.sqlite").display())
    }

    async fn accept(&self, text: String) {
        self.jobs.submit("owner", submission(vec![text])).await.expect("accepted");
    }

    async fn accept_all(&self, count: usize, clients: usize) {
        let client = |client: usize| {
            let jobs = self.jobs.clone();
            tokio::spawn(async move {
                for index in (client..count).step_by(clients) {
                    let text = format!("The sentence with the number {index}.");
                    jobs.submit("owner", submission(vec![text])).await.expect("accepted");
                }
            })
        };
        for client in futures::future::join_all((0..clients).map(client)).await {
            client.expect("no panic");
        }
    }

    async fn start(&self) -> Worker {
        let config = WorkerConfig { cpu_slots: 1, io_slots: 1, ..WorkerConfig::new(self.folder.path().join("tmp")) };
        Worker::start(self.storage.clone(), self.engine.clone(), Arc::new(SystemClock), "bench", config).await.expect("a worker")
    }

    async fn until_idle(&self) {
        let mut changed = self.storage.rows.events_changed();
        loop {
            changed.borrow_and_update();
            if storage::jobs::count_live(self.storage.rows.read()).await.expect("a count").is_empty() {
                return;
            }
            let _ = tokio::time::timeout(Duration::from_millis(2), changed.changed()).await;
        }
    }

    /// By hand, past the program: for what no caller can ask for.
    async fn execute(&self, sql: &'static str) {
        let options: sqlx::sqlite::SqliteConnectOptions = Self::url(&self.folder).parse().expect("an address");
        let mut connection = options.connect().await.expect("a connection");
        sqlx::query(sql).execute(&mut connection).await.expect(sql);
        connection.close().await.expect("closed");
    }
}

fn submission(texts: Vec<String>) -> Submission {
    let chunks = texts.into_iter().map(|text| ChunkInput { text, ..ChunkInput::default() }).collect();
    let options = GenerationOptions { language: "en-US".into(), seed: Some(7), auto_merge: false, ..GenerationOptions::default() };
    Submission {
        kind: GenerationKind::CloneChunked,
        source: Source::Chunks(chunks),
        voice_id: Some("nora".into()),
        voices: Default::default(),
        languages: Vec::new(),
        translate: false,
        translator: None,
        options,
        title: None,
        metadata: None,
        priority: 0,
        montage_id: None,
        not_before_ms: None,
        idempotency: None,
        trace: TraceContext::default(),
    }
}

pub async fn accept(place: &Path, count: usize, clients: usize) -> Sample {
    let bed = Bed::new(place).await;
    let (before, started) = (syncs::so_far(), Instant::now());
    bed.accept_all(count, clients).await;
    Sample { done: count, took: started.elapsed(), syncs: syncs::so_far().since(before) }
}

/// Accepted one by one, then run by one slot of a worker. The chunks are marked as complete in between, so that a run has nothing to do but
/// to see that, and to end: claim, run, done.
pub async fn lives(place: &Path, count: usize) -> Sample {
    let bed = Bed::new(place).await;
    let (before, started) = (syncs::so_far(), Instant::now());
    bed.accept_all(count, 1).await;
    let (accepted, accepting) = (syncs::so_far(), started.elapsed());
    bed.execute("UPDATE chunks SET status = 'completed', sha256 = '', size_bytes = 0, sample_count = 0, duration_ms = 0, words = '[]', rtf = 0").await;
    let (between, started) = (syncs::so_far(), Instant::now());
    let worker = bed.start().await;
    bed.until_idle().await;
    let running = started.elapsed();
    let (run, accept) = (syncs::so_far().since(between), accepted.since(before));
    worker.stop(1_000).await;
    let syncs = syncs::Syncs { log: run.log + accept.log, other: run.other + accept.other };
    Sample { done: count, took: accepting + running, syncs }
}

/// Accepted one by one, then spoken: every chunk's sound is stored and synced before its row.
pub async fn generations(place: &Path, count: usize) -> Sample {
    let bed = Bed::new(place).await;
    let (before, started) = (syncs::so_far(), Instant::now());
    bed.accept_all(count, 1).await;
    let worker = bed.start().await;
    bed.until_idle().await;
    let sample = Sample { done: count, took: started.elapsed(), syncs: syncs::so_far().since(before) };
    worker.stop(1_000).await;
    sample
}

/// From the call that accepts to the engine's start, on a queue where nothing else waits.
pub async fn starts(place: &Path, count: usize, pause: Duration) -> Vec<Duration> {
    let bed = Bed::new(place).await;
    let worker = bed.start().await;
    let mut asked = Vec::new();
    for index in 0..count {
        let text = format!("The start with the number {index}.");
        asked.push((text.clone(), Instant::now()));
        bed.accept(text).await;
        bed.until_idle().await;
        tokio::time::sleep(pause).await;
    }
    worker.stop(1_000).await;
    let started = bed.started.lock().expect("no panic");
    asked.iter().map(|(text, at)| started[text].duration_since(*at)).collect()
}

/// A queue in which jobs of ten keys wait, and nobody works.
pub struct Queue {
    bed: Bed,
}

impl Queue {
    pub async fn filled(place: &Path, waiting: usize) -> Self {
        const KEYS: usize = 10;
        const CHUNKS_MAX: usize = 5_000;
        let bed = Bed::new(place).await;
        for key in 0..KEYS {
            let mut left = waiting / KEYS;
            while left > 0 {
                let part = left.min(CHUNKS_MAX);
                let texts = (0..part).map(|index| format!("word {left} {index}")).collect();
                bed.jobs.submit(&format!("key {key}"), submission(texts)).await.expect("accepted");
                left -= part;
            }
        }
        Self { bed }
    }

    /// Times claims only; what was claimed goes back between two rounds.
    pub async fn claim_and_put_back(&self, claims: usize) -> Sample {
        let now_ms = SystemClock.now_ms();
        let claim = Claim { queue: "cpu", lease_owner: "bench/1", now_ms, lease_until_ms: now_ms + 3_600_000, ageing_ms: 60_000 };
        let mut claimed = Vec::with_capacity(claims);
        let (before, started) = (syncs::so_far(), Instant::now());
        for _ in 0..claims {
            claimed.push(leases::claim(&self.bed.storage.rows, &claim).await.expect("a claim").expect("a job").fence);
        }
        let sample = Sample { done: claims, took: started.elapsed(), syncs: syncs::so_far().since(before) };
        let mut tx = self.bed.storage.rows.begin().await.expect("a transaction");
        for fence in claimed {
            leases::snooze(&mut tx, fence).await.expect("put back");
        }
        tx.commit().await.expect("committed");
        sample
    }
}
