//! A whole queue in one process for the tests of this crate: a temporary data folder, the scripted engine, and workers that a test starts
//! and stops. Waiting is for observable states only, never for a length of time.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

#[path = "../../../tests/src/postgres.rs"]
mod postgres;

use std::sync::Arc;

use engine::handle::{EngineConfig, EngineHandle};
use engine::scripted::{Act, Rule, Script, ScriptedEngines};
use engine::speech::SpeechEngine;
use jobs::clock::{Clock, SystemClock};
use jobs::submission::{ChunkInput, GenerationKind, GenerationOptions, Source, Submission, TraceContext};
use jobs::view::JobView;
use jobs::worker::{Worker, WorkerConfig};
use jobs::{Jobs, JobsConfig};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use storage::events::Event;
use storage::rows::{Rows, RowsConfig};
use storage::{Blobs, Storage};
use uuid::Uuid;

/// A deadline for states that come at once on an idle machine; nothing asserts how long it took.
const PATIENCE_MS: u64 = 30_000;

pub const OWNER: &str = "owner-a";

/// Which database a test runs on; every case of the protocol runs on both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Database {
    Sqlite,
    Postgres,
}

/// Runs each named case on both databases. A case is an `async fn(Bed)` behind a function that makes its script.
#[macro_export]
macro_rules! on_both {
    ($($case:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() { super::$case($crate::bed::Database::Sqlite).await; })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                if $crate::bed::has_postgres(stringify!($case)) { super::$case($crate::bed::Database::Postgres).await; }
            })*
        }
    };
}

/// Whether a test can go on; where not, it has been said.
pub fn has_postgres(test: &str) -> bool {
    if postgres::installed().is_some() {
        return true;
    }
    #[allow(clippy::disallowed_methods, reason = "the switch is for the test run, no configuration of the program")]
    let required = std::env::var("CLONYVOICE_TESTS_REQUIRE_TOOLS").is_ok_and(|value| value == "1");
    assert!(!required, "{test} needs postgresql, and CLONYVOICE_TESTS_REQUIRE_TOOLS=1 allows no skip");
    eprintln!("SKIPPED {test}: postgresql is not installed");
    false
}

pub struct Bed {
    pub folder: tempfile::TempDir,
    cluster: Option<postgres::Cluster>,
    pub storage: Storage,
    pub engine: EngineHandle,
    pub jobs: Jobs,
    pub node_id: String,
    database_url: String,
}

impl Bed {
    pub async fn new(database: Database, script: Script) -> Self {
        Self::with_store(database, script, |local| local).await
    }

    /// With something between us and the folder of blobs.
    pub async fn with_store(database: Database, script: Script, wrap: impl FnOnce(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cluster = (database == Database::Postgres).then(|| postgres::Cluster::start(&postgres::installed().unwrap()).unwrap());
        let sqlite_url = format!("sqlite://{}?mode=rwc", folder.path().join("test.sqlite").display());
        let url = cluster.as_ref().map_or(sqlite_url, postgres::Cluster::url);
        std::fs::create_dir_all(folder.path().join("blobs")).unwrap();
        std::fs::create_dir_all(folder.path().join("tmp")).unwrap();
        let storage = Storage {
            rows: Rows::open(&RowsConfig { busy_timeout_ms: 300, ..RowsConfig::new(&*url) }).await.unwrap(),
            blobs: Blobs::with_store(wrap(Arc::new(LocalFileSystem::new_with_prefix(folder.path().join("blobs")).unwrap()))),
        };
        let engines = ScriptedEngines::new(script);
        let config = EngineConfig { name: "scripted".into(), threads: 2, ..EngineConfig::default() };
        let engine = EngineHandle::start(config, move || Ok(Box::new(engines.engine()) as Box<dyn SpeechEngine>)).unwrap();
        let jobs = Jobs::new(storage.clone(), engine.clone(), Arc::new(SystemClock), JobsConfig::new(folder.path().to_owned()));
        Self { folder, cluster, storage, engine, jobs, node_id: "node-a".into(), database_url: url }
    }

    pub fn database_url(&self) -> &str {
        &self.database_url
    }

    pub fn worker_config(&self) -> WorkerConfig {
        WorkerConfig { idle_poll_ms: 200, abandon_ms: 300, wait_ms: 100, ..WorkerConfig::new(self.folder.path().join("tmp")) }
    }

    pub async fn start(&self) -> Worker {
        self.start_with(self.worker_config()).await
    }

    pub async fn start_with(&self, config: WorkerConfig) -> Worker {
        self.start_node(&self.node_id, config).await
    }

    pub async fn start_node(&self, node_id: &str, config: WorkerConfig) -> Worker {
        let clock = Arc::new(SystemClock);
        let worker = Worker::start(self.storage.clone(), self.engine.clone(), clock, node_id, config).await.unwrap();
        self.jobs.attach(&worker);
        worker
    }

    /// A generation with these texts as its chunks.
    pub async fn submit(&self, texts: &[&str]) -> Uuid {
        self.submit_as(OWNER, 0, texts).await
    }

    pub async fn submit_as(&self, owner: &str, priority: i64, texts: &[&str]) -> Uuid {
        self.jobs.submit(owner, Submission { priority, ..submission(texts) }).await.unwrap().id
    }

    pub async fn job(&self, id: Uuid) -> JobView {
        self.jobs.job(OWNER, id).await.unwrap().unwrap()
    }

    pub async fn end_of(&self, id: Uuid) -> JobView {
        let view = self.jobs.wait(OWNER, id, PATIENCE_MS).await.unwrap().unwrap();
        assert!(view.is_final(), "still {} with {} of {} chunks", view.status, view.chunks_done, view.chunks_total);
        view
    }

    pub async fn events(&self, owner: &str) -> Vec<Event> {
        storage::events::after(self.storage.rows.read(), owner, 0, 10_000).await.unwrap()
    }

    /// The types of an owner's events in order, with the index of the chunk where there is one.
    pub async fn told(&self) -> Vec<String> {
        let events = self.events(OWNER).await;
        events
            .iter()
            .map(|event| match event.data.get("index") {
                Some(index) => format!("{} {index}", event.kind),
                None => event.kind.clone(),
            })
            .collect()
    }

    /// Waits until the log holds an event of this type.
    pub async fn told_of(&self, kind: &str) -> Event {
        let mut changed = self.storage.rows.events_changed();
        let deadline = SystemClock.sleep(PATIENCE_MS);
        tokio::pin!(deadline);
        loop {
            changed.borrow_and_update();
            if let Some(event) = self.events(OWNER).await.into_iter().find(|event| event.kind == kind) {
                return event;
            }
            tokio::select! {
                () = &mut deadline => panic!("no {kind} among {:?}", self.told().await),
                _ = changed.changed() => {}
            }
        }
    }

    /// Waits until a generation has come so far.
    pub async fn until_status(&self, owner: &str, id: Uuid, status: &str) {
        for _ in 0..PATIENCE_MS / 5 {
            if self.jobs.job(owner, id).await.unwrap().unwrap().status == status {
                return;
            }
            SystemClock.sleep(5).await;
        }
        panic!("not {status}");
    }

    /// Waits until an engine has been asked so many times.
    pub async fn calls_reach(&self, calls: u64) {
        self.until(|| self.engine.calls() >= calls).await;
    }

    /// Waits until no job waits or runs.
    pub async fn until_idle(&self) {
        for _ in 0..PATIENCE_MS / 5 {
            if storage::jobs::count_live(self.storage.rows.read()).await.unwrap().is_empty() {
                return;
            }
            SystemClock.sleep(5).await;
        }
        panic!("not idle");
    }

    pub async fn until(&self, reached: impl Fn() -> bool) {
        for _ in 0..PATIENCE_MS / 5 {
            if reached() {
                return;
            }
            SystemClock.sleep(5).await;
        }
        panic!("not reached");
    }
}

pub fn submission(texts: &[&str]) -> Submission {
    let chunks = texts.iter().map(|text| ChunkInput { text: (*text).into(), ..ChunkInput::default() }).collect();
    Submission {
        kind: GenerationKind::CloneChunked,
        source: Source::Chunks(chunks),
        voice_id: Some("nora".into()),
        voices: Default::default(),
        languages: Vec::new(),
        translate: false,
        translator: None,
        options: GenerationOptions { language: "en-US".into(), seed: Some(7), ..GenerationOptions::default() },
        title: None,
        metadata: None,
        montage_id: None,
        priority: 0,
        not_before_ms: None,
        idempotency: None,
        trace: TraceContext::default(),
    }
}

/// Follows `act` for texts with the needle, so many times.
pub fn rule(needle: &str, act: Act, times: Option<u32>) -> Rule {
    Rule { needle: needle.into(), act, times, after_steps: 0 }
}

pub fn script(rules: Vec<Rule>) -> Script {
    Script { rules, ..Script::default() }
}
