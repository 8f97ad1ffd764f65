//! The wiring of the server, and the order of its start and its end.
//!
//! Start: data folder and its lock, storage, engine, workers (which take back what a former process left), listener, ready. End: not ready,
//! no new connections, workers, open sockets, engine, storage, the lock.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use engine::engines::Engines;
use engine::speech::EngineError;
use jobs::clock::{Clock, SystemClock};
use jobs::lease::LeaseConfig;
use jobs::plan::PlanLimits;
use jobs::room::RoomConfig;
use jobs::worker::{Worker, WorkerConfig};
use jobs::{Jobs, JobsConfig};
use models::library::Library;
use salvo::conn::Acceptor;
use storage::data_folder::{DataFolder, Instance};
use storage::rows::RowsConfig;
use storage::{Rows, Storage, StorageError, api_keys};
use tokio::time::timeout;

use crate::app::App;
use crate::config::{Config, Role};
use crate::create_key::{self, KeyCommandError, NewKey};
use crate::keys::Key;
use crate::listen::{self, Door, ListenError};
use crate::manage_models::{self, ModelsError};
use crate::{blob_store, isolated_job, keep_limits, local_models, open_files, routes, speech};

/// How long open sockets may take to say goodbye.
const SOCKETS_CLOSE_S: u64 = 5;
/// Database, blobs, pipes to the speech program.
pub(crate) const FILES_BESIDE_CONNECTIONS: u64 = 256;
const ENGINE_STOP_S: u64 = 5;
/// Chunks are small, so that one merge at a time per two cores is enough.
const MERGE_SLOTS: usize = 2;

/// The text is for the person who started the server.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("the database is damaged: {0}; `clonyvoice doctor` says more")]
    Damaged(String),
    #[error("speech engine: {0}")]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("models: {0}")]
    Models(#[from] ModelsError),
    #[error("first key: {0}")]
    Key(#[from] KeyCommandError),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Runs until SIGTERM or SIGINT.
pub async fn serve(config: Config) -> Result<(), ServeError> {
    arm_fail_point(&config);
    allow_connections(&config);
    let folder = DataFolder::create(&config.data_dir)?;
    let instance = folder.lock_for_server()?;
    let storage = open_storage(&config, &folder, &instance).await?;
    let watcher = tokio::spawn(storage.rows.clone().watch_other_processes());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let library = Arc::new(manage_models::library(&config)?);
    let engines = start_engines(&config, &folder, &library).await?;
    let unloader = tokio::spawn(speech::unload_idle(engines.residents().clone(), clock.clone()));
    let translators = local_models::translators(&config, &library, engines.residents());
    let transcribers = local_models::transcribers(&config, &library, engines.residents());
    let accepting = JobsConfig {
        translators: Some(translators.clone()),
        transcribers: Some(transcribers.clone()),
        ..jobs_config(&config, &instance, &engines)
    };
    let jobs = Jobs::new(storage.clone(), engines.clone(), clock.clone(), accepting);
    let door = listen::open(&config).await?;
    let worker = match config.role {
        Role::All => {
            let work = worker_config(&config, &instance, library.clone(), &engines)?;
            let work = WorkerConfig { translators: Some(translators), transcribers: Some(transcribers), ..work };
            let worker = Worker::start(storage.clone(), engines.clone(), clock.clone(), &instance.node_id, work).await?;
            jobs.attach(&worker);
            Some(worker)
        }
        Role::Api => None,
    };
    first_key(&config, &storage.rows, clock.as_ref()).await?;
    let app = App::new(config, storage, jobs, library, clock, &instance.node_id);
    keep_limits::restore(&app.storage.rows, &app.limits, app.limits_us()).await?;
    let ended = match door {
        Door::Plain(acceptor) => run(app, acceptor, worker, engines, instance).await,
        Door::Tls(acceptor) => run(app, acceptor, worker, engines, instance).await,
    };
    watcher.abort();
    unloader.abort();
    ended
}

/// Only works, for servers on the same database. Runs until SIGTERM or SIGINT.
pub async fn work(config: Config) -> Result<(), ServeError> {
    arm_fail_point(&config);
    let folder = DataFolder::create(&config.data_dir)?;
    let instance = folder.lock_for_worker()?;
    let storage = open_storage(&config, &folder, &instance).await?;
    let watcher = tokio::spawn(storage.rows.clone().watch_other_processes());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let library = Arc::new(manage_models::library(&config)?);
    let engines = start_engines(&config, &folder, &library).await?;
    let unloader = tokio::spawn(speech::unload_idle(engines.residents().clone(), clock.clone()));
    let translators = local_models::translators(&config, &library, engines.residents());
    let transcribers = local_models::transcribers(&config, &library, engines.residents());
    let work = WorkerConfig {
        translators: Some(translators),
        transcribers: Some(transcribers),
        ..worker_config(&config, &instance, library, &engines)?
    };
    let worker = Worker::start(storage.clone(), engines.clone(), clock, &instance.node_id, work).await?;
    tracing::info!(worker.slots = speech::slots(&config, &engines), server.version = env!("CARGO_PKG_VERSION"), "working");
    let signal = stop_signal().await?;
    tracing::info!(signal, "stopping");
    worker.stop(config.stop_grace_ms).await;
    if timeout(Duration::from_secs(ENGINE_STOP_S), engines.shutdown()).await.is_err() {
        tracing::warn!("the engine did not stop in time");
    }
    watcher.abort();
    unloader.abort();
    storage.rows.close().await;
    instance.leave()?;
    tracing::info!("stopped");
    Ok(())
}

/// Each connection is an open file.
fn allow_connections(config: &Config) {
    let needed = u64::from(config.connections_max) + FILES_BESIDE_CONNECTIONS;
    if let Some(allowed) = open_files::raise_limit().filter(|allowed| *allowed < needed) {
        tracing::warn!(limit.open_files = allowed, limit.connections = config.connections_max, "the system allows too few open files");
    }
}

#[cfg(debug_assertions)]
fn arm_fail_point(config: &Config) {
    if let Some(wanted) = &config.fail_point {
        let (name, nth) = wanted.split_once(':').unwrap_or((wanted, "1"));
        jobs::fail_point::arm(name, nth.parse().unwrap_or(1));
    }
}

#[cfg(not(debug_assertions))]
fn arm_fail_point(_config: &Config) {}

async fn run<A: Acceptor + 'static>(
    app: App,
    acceptor: A,
    worker: Option<Worker>,
    engines: Engines,
    instance: Instance,
) -> Result<(), ServeError> {
    let server = listen::server(acceptor, &app.config);
    let handle = server.handle();
    let serving = tokio::spawn(server.try_serve(routes::service(app.clone())));
    let keeping = tokio::spawn(keep_limits::run(app.clone()));
    app.set_ready(true);
    tracing::info!(server.address = %app.config.listen, server.version = env!("CARGO_PKG_VERSION"), "ready");
    let signal = stop_signal().await?;
    tracing::info!(signal, "stopping");

    app.set_ready(false);
    app.stopping.cancel();
    let grace_ms = app.config.stop_grace_ms;
    // Still listening: /readyz says that we go, and what is asked meanwhile is answered. What is accepted now waits for another process, or
    // for the next start.
    let working = async {
        if let Some(worker) = worker {
            worker.stop(grace_ms).await;
        }
    };
    tokio::join!(working, app.clock.sleep(app.config.stop_drain_ms));
    handle.stop_graceful(Duration::from_millis(grace_ms) + Duration::from_secs(SOCKETS_CLOSE_S));
    // Only now: the last chunks were still told.
    app.closing.cancel();
    app.subscribers.close();
    if timeout(Duration::from_secs(SOCKETS_CLOSE_S), app.subscribers.wait()).await.is_err() {
        tracing::warn!(subscribers = app.subscribers.len(), "open sockets did not close in time");
    }
    match timeout(Duration::from_millis(grace_ms) + Duration::from_secs(2 * SOCKETS_CLOSE_S), serving).await {
        Ok(Ok(served)) => served?,
        Ok(Err(error)) => tracing::error!(%error, "the listener ended badly"),
        Err(_) => tracing::warn!("open requests did not end in time"),
    }
    if timeout(Duration::from_secs(ENGINE_STOP_S), engines.shutdown()).await.is_err() {
        tracing::warn!("the engine did not stop in time");
    }
    // After the last request.
    let _ = keeping.await;
    let limits = keep_limits::write(&app.storage.rows, &app.limits, app.limits_us()).await;
    if let Err(error) = limits.and(app.key_use.write_all(&app.storage).await) {
        tracing::warn!(%error, "the last uses of keys were not written");
    }
    app.storage.rows.close().await;
    instance.leave()?;
    tracing::info!("stopped");
    Ok(())
}

async fn open_storage(config: &Config, folder: &DataFolder, instance: &Instance) -> Result<Storage, ServeError> {
    let rows = Rows::open(&RowsConfig::new(config.database_url(folder))).await?;
    if instance.unclean {
        tracing::info!("the last stop was not in order: checking the database");
        let wrong = rows.quick_check().await?;
        if !wrong.is_empty() {
            return Err(ServeError::Damaged(wrong.join("; ")));
        }
    }
    Ok(Storage { rows, blobs: blob_store::open(config, folder)? })
}

async fn start_engines(config: &Config, folder: &DataFolder, library: &Arc<Library>) -> Result<Engines, ServeError> {
    let (config, folder, library) = (config.clone(), folder.clone(), library.clone());
    let started = tokio::task::spawn_blocking(move || speech::start(&config, &folder, &library, speech::residents())).await;
    Ok(started.map_err(io::Error::other)??)
}

fn jobs_config(config: &Config, instance: &Instance, engines: &Engines) -> JobsConfig {
    let defaults = JobsConfig::new(instance.temporary.clone());
    let limits =
        PlanLimits { text_chars_max: config.text_chars_max as usize, chunks_max: config.chunks_max as usize, ..defaults.limits.clone() };
    let slots = speech::slots(config, engines) as i64;
    let room = RoomConfig {
        open_generations_max: i64::from(config.queue_depth_max),
        wait_max_s: i64::from(config.queue_wait_max_s),
        ..defaults.room
    };
    let engine = speech::wish(config);
    JobsConfig { limits, room, slots, engine, temporary_folder: instance.temporary.clone(), tools: config.tools(), ..defaults }
}

fn worker_config(config: &Config, instance: &Instance, library: Arc<Library>, engines: &Engines) -> Result<WorkerConfig, ServeError> {
    Ok(WorkerConfig {
        cpu_slots: slots_of(config, "cpu", speech::slots(config, engines)),
        io_slots: slots_of(config, "io", MERGE_SLOTS),
        lease: LeaseConfig { lease_ms: config.lease_ms.cast_signed(), beat_ms: config.heartbeat_ms },
        library: Some(library),
        isolation: Some(isolated_job::isolation(config)?),
        tools: config.tools(),
        downloads: Some(Arc::new(config.downloads())),
        ..WorkerConfig::new(instance.temporary.clone())
    })
}

/// None of a queue that is left to other processes.
fn slots_of(config: &Config, queue: &str, slots: usize) -> usize {
    if config.queues.iter().any(|taken| taken == queue) { slots } else { 0 }
}

/// Where nobody has ever had a key, makes one and shows it, if there is somebody to see it. It never goes to the log.
async fn first_key(config: &Config, rows: &Rows, clock: &dyn Clock) -> Result<(), ServeError> {
    if api_keys::count(rows.read()).await? > 0 {
        return Ok(());
    }
    let data_dir = config.data_dir.display();
    if !io::stdout().is_terminal() {
        tracing::info!("nobody has a key yet: `clonyvoice keys create --name NAME --data-dir {data_dir}` makes one");
        return Ok(());
    }
    let key = create_key::create(rows, &NewKey { name: "first".into(), ..NewKey::default() }, clock).await?;
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{}", welcome(&key, &address(config), &config.data_dir))?;
    stdout.flush()?;
    Ok(())
}

/// How a person on this machine reaches the server.
fn address(config: &Config) -> String {
    let scheme = if config.tls_cert.is_some() { "https" } else { "http" };
    format!("{scheme}://{}", config.listen)
}

fn welcome(key: &Key, address: &str, data_dir: &Path) -> String {
    let voice = jobs::voices::all().into_iter().next().map_or_else(String::new, |voice| voice.id);
    format!(
        "\nThis is the first start. Your API key, shown this once:\n\n  {key}\n\nHear it speak:\n\n  \
         curl {address}/api/generate/preset -H 'X-API-Key: {key}' -H 'Accept: audio/wav' \\\n    \
         --json '{{\"text\": \"Hello. I am the voice of this machine.\", \"voice_id\": \"{voice}\"}}' -o hello.wav\n\n\
         More keys: clonyvoice keys create --name NAME --data-dir {data_dir}\nEverything else: {address}/docs\n",
        key = key.reveal(),
        data_dir = data_dir.display(),
    )
}

/// Waits for SIGTERM or SIGINT; after the first, a second one ends the process at once.
async fn stop_signal() -> io::Result<&'static str> {
    #[cfg(unix)]
    let name = {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    };
    #[cfg(not(unix))]
    let name = {
        tokio::signal::ctrl_c().await?;
        "Ctrl-C"
    };
    tokio::spawn(async {
        if tokio::signal::ctrl_c().await.is_ok() {
            tracing::warn!("stopped at once, on a second signal");
            std::process::exit(130);
        }
    });
    Ok(name)
}
