//! The workers of one process: apalis workers for each queue, the lease keeper, and how both start and stop.
//!
//! `run_and_settle` is the life of one claimed job. This file and `queue.rs` are the only ones that name apalis.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use apalis::layers::WorkerBuilderExt;
use apalis_core::error::BoxDynError;
use apalis_core::monitor::Monitor;
use apalis_core::worker::builder::WorkerBuilder;
use engine::engines::Engines;
use models::library::Library;
use storage::{Storage, StorageError};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use uuid::Uuid;

use crate::clock::Clock;
use crate::download::DownloadConfig;
use crate::in_flight::InFlight;
use crate::isolate::Isolation;
use crate::job::{Committed, JobContext, JobError, JobKind, QUEUE_CPU, QUEUE_IO};
use crate::lease::{self, LeaseConfig, Leases, StopReason};
use crate::queue::{JobBackend, Leased};
use crate::recover;
use crate::settle::{self, Pace, Verdict};
use crate::sweep::{self, SweepConfig};
use crate::tally::{End, TALLY};
use crate::tool::{Tools, ToolsConfig};
use crate::trace;
use crate::transcribers::Transcribers;
use crate::translators::Translators;

#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// Chunks spoken at a time; 0 leaves the queue to others.
    pub cpu_slots: usize,
    /// Merges at a time; 0 leaves the queue to others.
    pub io_slots: usize,
    pub lease: LeaseConfig,
    /// The models of this node, for what fetches them.
    pub library: Option<Arc<Library>>,
    /// Where none, nothing is translated.
    pub translators: Option<Arc<Translators>>,
    /// Where none, nothing is transcribed.
    pub transcribers: Option<Arc<Transcribers>>,
    /// A job under which so many workers have died is discarded; with `isolation`, the last of these runs is in a process of its own, and
    /// only that process' death counts against it.
    pub crashes_max: i64,
    pub isolation: Option<Isolation>,
    /// A lane that was not served for so long counts as one priority higher.
    pub ageing_ms: i64,
    /// How long an idle worker sleeps at most.
    pub idle_poll_ms: u64,
    /// How long a job waits where something outside is missing: space, a store, the engine.
    pub wait_ms: i64,
    /// How long a stopped run may take to end before it is abandoned.
    pub abandon_ms: u64,
    pub temporary_folder: PathBuf,
    /// Programs of others that some jobs need.
    pub tools: ToolsConfig,
    /// Where none, nothing is downloaded.
    pub downloads: Option<Arc<DownloadConfig>>,
    pub sweep: SweepConfig,
}

impl WorkerConfig {
    pub fn new(temporary_folder: PathBuf) -> Self {
        Self {
            cpu_slots: 2,
            io_slots: 2,
            lease: LeaseConfig::default(),
            library: None,
            translators: None,
            transcribers: None,
            crashes_max: 3,
            isolation: None,
            ageing_ms: 60_000,
            idle_poll_ms: 1_000,
            wait_ms: 5_000,
            abandon_ms: 10_000,
            temporary_folder,
            tools: ToolsConfig::none(),
            downloads: None,
            sweep: SweepConfig::default(),
        }
    }
}

impl WorkerConfig {
    /// After how many deaths taking back a job discards it.
    fn crashes_before_discard(&self) -> i64 {
        if self.isolation.is_some() { i64::MAX } else { self.crashes_max }
    }
}

/// What all runs of a process have, less the job itself.
#[derive(Debug, Clone)]
pub(crate) struct RunContext {
    pub storage: Storage,
    pub engines: Engines,
    pub clock: Arc<dyn Clock>,
    pub temporary_folder: Arc<std::path::Path>,
    pub tools: Tools,
    pub downloads: Option<Arc<DownloadConfig>>,
    pub in_flight: Arc<InFlight>,
}

/// What the workers of a process share.
#[derive(Debug)]
pub(crate) struct WorkerShared {
    pub context: RunContext,
    pub config: WorkerConfig,
    pub leases: Arc<Leases>,
    /// Fires when no more jobs may be claimed.
    pub closing: CancellationToken,
}

impl WorkerShared {
    /// A job that was claimed but will not be run here.
    pub(crate) async fn give_back(&self, leased: &Leased) {
        self.settle(leased, &Verdict::Snooze).await;
    }

    /// Writes a verdict; a database that does not answer for longer than that leaves it to the lease's end.
    async fn settle(&self, leased: &Leased, verdict: &Verdict) {
        const TRIES: u64 = 20;
        for tried in 1..=TRIES {
            match settle::settle(&self.context.storage, &leased.job, verdict, self.context.clock.now_ms()).await {
                Ok(stopped) => return self.leases.cancel(&stopped),
                Err(error) => {
                    tracing::warn!(job.id = %leased.job.fence.job_id, error = %error, "verdict not written, will be repeated");
                    self.context.clock.sleep(tried * 50).await;
                }
            }
        }
        tracing::error!(job.id = %leased.job.fence.job_id, "verdict not written: the job comes back when its lease ends");
    }
}

/// The running workers; dropping it without [`Worker::stop`] leaves the leases to a later start.
#[derive(Debug)]
pub struct Worker {
    shared: Arc<WorkerShared>,
    monitor: tokio::task::JoinHandle<()>,
    keeper_closing: CancellationToken,
    keeper: Option<std::thread::JoinHandle<()>>,
}

impl Worker {
    /// Takes back what former processes of this node held, then starts claiming.
    pub async fn start(
        storage: Storage,
        engines: impl Into<Engines>,
        clock: Arc<dyn Clock>,
        node_id: &str,
        config: WorkerConfig,
    ) -> Result<Self, StorageError> {
        let leases = Leases::new(node_id);
        let taken = recover::take_back_of_node(&storage, node_id, &leases.owner, config.crashes_before_discard(), clock.now_ms()).await?;
        if taken > 0 {
            tracing::info!(jobs.taken_back = taken, "took back the jobs of a former process");
        }
        let temporary_folder = config.temporary_folder.as_path().into();
        let tools = Tools::new(config.tools.clone());
        let downloads = config.downloads.clone();
        let engines = engines.into();
        let context = RunContext { storage, engines, clock, temporary_folder, tools, downloads, in_flight: Arc::default() };
        let shared = Arc::new(WorkerShared { context, config, leases, closing: CancellationToken::new() });
        let keeper_closing = CancellationToken::new();
        let keeper = start_keeper(shared.clone(), keeper_closing.clone())?;
        let monitor = tokio::spawn(run_monitor(shared.clone()));
        tokio::spawn(sweep_now_and_then(shared.clone()));
        Ok(Self { shared, monitor, keeper_closing, keeper: Some(keeper) })
    }

    pub(crate) fn leases(&self) -> Arc<Leases> {
        self.shared.leases.clone()
    }

    /// What this process is called in the rows that it holds.
    pub fn lease_owner(&self) -> &str {
        &self.shared.leases.owner
    }

    /// How many jobs run now.
    pub fn busy(&self) -> usize {
        self.shared.leases.count()
    }

    /// No new claims; running jobs may end within `grace_ms`, then they are put back without losing an attempt.
    pub async fn stop(mut self, grace_ms: u64) {
        self.shared.closing.cancel();
        let clock = self.shared.context.clock.clone();
        let drained = tokio::time::timeout(Duration::from_millis(grace_ms), &mut self.monitor).await;
        if drained.is_err() {
            self.shared.leases.stop_all(StopReason::Shutdown);
            let put_back_ms = self.shared.config.abandon_ms + 2_000;
            if tokio::time::timeout(Duration::from_millis(put_back_ms), &mut self.monitor).await.is_err() {
                tracing::error!(jobs.running = self.shared.leases.count(), "workers did not stop in time");
                self.monitor.abort();
            }
        }
        self.keeper_closing.cancel();
        if let Some(keeper) = self.keeper.take() {
            while !keeper.is_finished() {
                clock.sleep(5).await;
            }
        }
    }
}

fn start_keeper(shared: Arc<WorkerShared>, closing: CancellationToken) -> Result<std::thread::JoinHandle<()>, StorageError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = std::thread::Builder::new().name("lease-keeper".into());
    thread.spawn(move || runtime.block_on(keep_leases(shared, closing))).map_err(StorageError::from)
}

async fn keep_leases(shared: Arc<WorkerShared>, closing: CancellationToken) {
    const BUSY_TIMEOUT_MS: u64 = 20_000;
    let clock = shared.context.clock.clone();
    let rows = loop {
        match shared.context.storage.rows.reopen_single(BUSY_TIMEOUT_MS).await {
            Ok(rows) => break rows,
            Err(error) => tracing::warn!(error = %error, "lease keeper can't connect, will be repeated"),
        }
        clock.sleep(1_000).await;
    };
    let sweep = async |rows: &storage::Rows| {
        let now_ms = shared.context.clock.now_ms();
        let crashes_max = shared.config.crashes_before_discard();
        let dead = recover::take_back_of_dead_processes(rows, &shared.leases.owner, crashes_max, now_ms).await;
        let expired = recover::take_back_expired(rows, crashes_max, now_ms).await;
        if let Err(error) = dead.and(expired) {
            tracing::warn!(error = %error, "taking back lost jobs failed, will be repeated");
        }
    };
    lease::keep_alive(rows, shared.leases.clone(), shared.config.lease.clone(), clock, closing, sweep).await;
}

/// The first sweep comes at once: it mends what a restored backup left.
async fn sweep_now_and_then(shared: Arc<WorkerShared>) {
    let config = &shared.config.sweep;
    for round in 0_u32.. {
        let with_blobs = round % config.blobs_every.max(1) == 0;
        let now_ms = shared.context.clock.now_ms();
        if let Err(error) = sweep::sweep(&shared.context.storage, config, with_blobs, now_ms).await {
            tracing::warn!(error = %error, "sweep failed, will be repeated");
        }
        tokio::select! {
            () = shared.closing.cancelled() => return,
            () = shared.context.clock.sleep(config.every_ms) => {}
        }
    }
}

/// Ends when closing has fired and every running job has ended.
async fn run_monitor(shared: Arc<WorkerShared>) {
    let closing = shared.closing.clone();
    let queues = [(QUEUE_CPU, shared.config.cpu_slots), (QUEUE_IO, shared.config.io_slots)];
    let mut monitor = Monitor::new().should_restart(|_, _| true);
    for (queue, slots) in queues.into_iter().filter(|(_, slots)| *slots > 0) {
        let shared = shared.clone();
        monitor = monitor.register(move |_| {
            let (backend, runner) = (JobBackend::new(queue, shared.clone()), shared.clone());
            WorkerBuilder::new(format!("{queue}-{}", Uuid::now_v7())).backend(backend).concurrency(slots).build(move |leased: Leased| {
                let shared = runner.clone();
                async move {
                    // A task of its own: everything else of an apalis worker shares one.
                    let run = tokio::spawn(async move { run_and_settle(&shared, leased).await });
                    run.await.map_err(|error| Box::new(error) as BoxDynError)
                }
            })
        });
    }
    let signal = async move {
        closing.cancelled().await;
        Ok(())
    };
    if let Err(error) = monitor.run_with_signal(signal).await {
        tracing::error!(error = %error, "workers ended");
    }
}

/// Runs a claimed job to its end, whatever that is, and writes the verdict if the run did not.
async fn run_and_settle(shared: &Arc<WorkerShared>, leased: Leased) {
    let job = &leased.job;
    let started_ms = shared.context.clock.now_ms();
    let span = trace::attempt_span(job);
    let ended = run(shared, &leased).instrument(span.clone()).await;
    let now_ms = shared.context.clock.now_ms();
    let note_end = |end: End| {
        TALLY.note_end(end, now_ms - started_ms);
        span.record("job.end", end.name());
        if matches!(end, End::Retried | End::Discarded) {
            span.record("otel.status_code", "error");
        }
    };
    let Err(error) = ended else {
        return note_end(End::Done);
    };
    let pace = Pace { wait_ms: shared.config.wait_ms, jitter: rand::random() };
    let verdict = settle::verdict(&error, leased.lease.stop_reason(), job, now_ms, &pace);
    note_end(verdict.end());
    match &verdict {
        Verdict::Nothing => tracing::warn!(job.id = %job.fence.job_id, job.lease_no = job.fence.lease_no, "lease lost, result thrown away"),
        Verdict::Discard { error, .. } => {
            // No mistake of the server, or it would have panicked: the caller is told, and a site that is away is nothing to wake anybody for.
            tracing::warn!(job.id = %job.fence.job_id, job.kind = %job.kind, job.attempt = job.attempt, error = %error, "job discarded");
        }
        Verdict::RetryAt { error, .. } | Verdict::WaitUntil { error, .. } => {
            tracing::warn!(job.id = %job.fence.job_id, job.kind = %job.kind, job.attempt = job.attempt, error = %error, "attempt failed");
        }
        Verdict::Cancelled | Verdict::Snooze => {}
    }
    if verdict != Verdict::Nothing {
        shared.settle(&leased, &verdict).await;
    }
}

/// One attempt: ends with the run, at its time limit, or a grace time after it was told to stop.
async fn run(shared: &Arc<WorkerShared>, leased: &Leased) -> Result<Committed, JobError> {
    let kind = JobKind::parse(&leased.job.kind, &leased.job.payload).map_err(|error| JobError::Discard(format!("payload: {error}")))?;
    let clock = shared.context.clock.clone();
    let attempt_token = leased.lease.token().child_token();
    let context = JobContext {
        storage: shared.context.storage.clone(),
        engines: shared.context.engines.clone(),
        clock: clock.clone(),
        temporary_folder: shared.context.temporary_folder.clone(),
        tools: shared.context.tools.clone(),
        downloads: shared.context.downloads.clone(),
        in_flight: shared.context.in_flight.clone(),
        library: shared.config.library.clone(),
        translators: shared.config.translators.clone(),
        transcribers: shared.config.transcribers.clone(),
        job: leased.job.clone(),
        token: attempt_token.clone(),
    };
    // Whatever happens to this future, blocking work that watches the token ends.
    let _stop_leftovers = attempt_token.clone().drop_guard();
    let timeout_ms = kind.timeout_ms();
    let isolation = shared.config.isolation.clone().filter(|_| leased.job.crashes >= shared.config.crashes_max - 1);
    let running = async move {
        match isolation {
            Some(isolation) => isolation.run(context.fence(), &context.token).await,
            None => kind.run(&context).await,
        }
    };
    let mut attempt = tokio::spawn(running.in_current_span());
    let ended = tokio::select! {
        ended = &mut attempt => Some(ended),
        () = clock.sleep(timeout_ms) => None,
        () = async {
            leased.lease.token().cancelled().await;
            clock.sleep(shared.config.abandon_ms).await;
        } => None,
    };
    match ended {
        Some(Ok(result)) => result,
        Some(Err(error)) if error.is_panic() => Err(JobError::Retry(format!("panicked: {}", panic_text(error.into_panic())))),
        Some(Err(_)) => Err(JobError::Stopped),
        None => {
            attempt.abort();
            Err(JobError::Retry(format!("no end after {timeout_ms} ms, or none after being told to stop")))
        }
    }
}

fn panic_text(panic: Box<dyn std::any::Any + Send>) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no text".into())
}
