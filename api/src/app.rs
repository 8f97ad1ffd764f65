//! What every endpoint needs: configuration, storage, jobs, limits, and the news that the server is stopping. Made once by the wiring and
//! put into each request.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use jobs::Jobs;
use jobs::clock::Clock;
use models::library::Library;
use salvo::extract::{Extractible, Metadata};
use salvo::oapi::{Components, EndpointArgRegister, Operation};
use salvo::{Depot, Request};
use storage::Storage;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::config::Config;
use crate::decode_hosts::{DecodeHosts, DecodeHostsConfig};
use crate::event_tail::EventTails;
use crate::failures::{Failures, FailuresConfig};
use crate::imports::Imports;
use crate::key_use::KeyUse;
use crate::limits::Limits;
use crate::machine_watch::MachineWatch;
use crate::metrics::LimitHits;
use crate::problem::Problem;
use crate::queue_watch::QueueWatch;
use crate::temporary_bytes::{TemporaryBytes, TemporaryBytesConfig};

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct App(Arc<AppState>);

#[derive(Debug)]
pub struct AppState {
    pub config: Config,
    pub storage: Storage,
    pub jobs: Jobs,
    /// The models of this node.
    pub library: Arc<Library>,
    pub clock: Arc<dyn Clock>,
    pub limits: Limits,
    pub limit_hits: LimitHits,
    pub failures: Failures,
    pub key_use: KeyUse,
    /// Where uploads are read.
    pub decode_hosts: DecodeHosts,
    /// Archives that were looked at and wait for the word to import them.
    pub imports: Imports,
    /// What uploads hold of the disk.
    pub temporary_bytes: TemporaryBytes,
    /// `<node id>/<uuid>`, new at every start.
    pub process: String,
    pub tails: EventTails,
    pub queue_watch: QueueWatch,
    pub machine: MachineWatch,
    /// Fires when the server begins to stop: nobody waits for a job any longer.
    pub stopping: CancellationToken,
    /// Fires when the workers have stopped: open event connections close.
    pub closing: CancellationToken,
    /// Open event connections, so that a stop can wait for them.
    pub subscribers: TaskTracker,
    pub subscriber_places: Arc<Semaphore>,
    /// How many were too slow since the start.
    pub slow_subscribers: watch::Sender<u64>,
    started: Instant,
    started_ms: i64,
    ready: AtomicBool,
}

impl App {
    #[allow(clippy::disallowed_methods, reason = "the zero of the steady clock")]
    pub fn new(config: Config, storage: Storage, jobs: Jobs, library: Arc<Library>, clock: Arc<dyn Clock>, node_id: &str) -> Self {
        Self(Arc::new(AppState {
            limits: Limits::new(config.strict_rate_limits),
            limit_hits: LimitHits::default(),
            failures: Failures::new(FailuresConfig {
                per_minute_max: config.failures_per_minute_max,
                loopback_per_minute_max: config.failures_loopback_per_minute_max,
            }),
            key_use: KeyUse::default(),
            decode_hosts: DecodeHosts::new(DecodeHostsConfig::of(&config)),
            imports: Imports::default(),
            temporary_bytes: TemporaryBytes::new(TemporaryBytesConfig {
                per_owner_bytes_max: config.temporary_bytes_per_owner_max,
                total_bytes_max: config.temporary_bytes_max,
            }),
            process: format!("{node_id}/{}", Uuid::now_v7()),
            tails: EventTails::new(storage.rows.clone(), clock.clone()),
            queue_watch: QueueWatch::new(storage.rows.clone(), clock.clone()),
            machine: MachineWatch::new(config.data_dir.clone(), clock.clone()),
            stopping: CancellationToken::new(),
            closing: CancellationToken::new(),
            subscribers: TaskTracker::new(),
            subscriber_places: Arc::new(Semaphore::new(config.subscribers_max as usize)),
            slow_subscribers: watch::Sender::new(0),
            started: Instant::now(),
            started_ms: clock.now_ms(),
            ready: AtomicBool::new(false),
            config,
            storage,
            jobs,
            library,
            clock,
        }))
    }
}

impl Deref for App {
    type Target = AppState;

    fn deref(&self) -> &AppState {
        &self.0
    }
}

impl AppState {
    /// Epoch microseconds for limits: as the clock said at the start, and from there without its jumps.
    pub fn limits_us(&self) -> u64 {
        let started_us = self.started_ms.max(0).cast_unsigned().saturating_mul(1_000);
        started_us.saturating_add(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// Milliseconds of a clock that never goes back.
    pub fn steady_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether `/readyz` says yes.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }
}

impl<'ex> Extractible<'ex> for App {
    fn metadata() -> &'static Metadata {
        static METADATA: Metadata = Metadata::new("");
        &METADATA
    }

    #[allow(refining_impl_trait)]
    async fn extract(_req: &'ex mut Request, depot: &'ex mut Depot) -> Result<Self, Problem> {
        of(depot)
    }
}

impl EndpointArgRegister for App {
    fn register(_components: &mut Components, _operation: &mut Operation, _arg: &str) {}
}

/// For hoops, which have no extractors.
pub fn of(depot: &Depot) -> Result<App, Problem> {
    depot.get_typed::<App>().cloned().map_err(|_| Problem::internal("the router has no app"))
}
