//! What the server says of itself.

use engine::resident::ResidentReport;
use jobs::EngineStatus;
use salvo::Writer;
use salvo::oapi::endpoint;
use storage::filesystem;
use storage::rows::Dialect;

use crate::answer::Reply;
use crate::app::App;
use crate::authenticate::Caller;
use crate::problem::Problem;
use crate::wire::system::{Check, EngineState, ModelState, QueueTotals, StorageState, SystemStatus, WorkerState};

/// Below this, new audio may soon find no place.
const FREE_MB_MIN: u64 = 512;

/// Detailed system status
#[endpoint(operation_id = "system_status")]
pub async fn system_status(app: App, caller: Caller) -> Result<Reply<SystemStatus>, Problem> {
    let engine = engine_state(app.jobs.engine_status());
    // What was installed since somebody last spoke is listed too.
    app.jobs.engines().offer();
    let reachable = app.storage.rows.ping().await.is_ok();
    let queue = app.jobs.queue(&caller.owner_id).await?;
    let free_mb = filesystem::free_bytes(&app.config.data_dir).map(|bytes| bytes / (1024 * 1024));
    let checks = checks(&engine, reachable, free_mb);
    let status = match () {
        () if !app.is_ready() => "starting",
        () if checks.iter().all(|check| check.ok) => "ok",
        () => "degraded",
    };
    let database = match app.storage.rows.dialect() {
        Dialect::Sqlite => "sqlite",
        Dialect::Postgres => "postgres",
    };
    Ok(Reply(SystemStatus {
        status: status.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        uptime_s: app.steady_ms() / 1000,
        engines: app.jobs.engine_statuses().into_iter().map(engine_state).collect(),
        models: app.jobs.engines().residents().reports().into_iter().map(model_state).collect(),
        workers: vec![WorkerState { name: "speech".into(), slots: queue.workers, busy: engine.busy as i64 }],
        queue: QueueTotals { paused: queue.paused, totals: queue.totals, avg_rtf: queue.avg_rtf },
        storage: StorageState { database: database.into(), reachable, free_mb },
        engine,
        checks,
    }))
}

fn model_state(report: ResidentReport) -> ModelState {
    ModelState {
        id: report.name,
        loaded: report.loaded_bytes.is_some(),
        loading: report.loading,
        // In MB with one digit behind the point.
        memory_mb: report.loaded_bytes.map(|bytes| (bytes as f64 / 1e5).round() / 10.0),
        in_use: report.in_use,
    }
}

fn engine_state(status: EngineStatus) -> EngineState {
    let (missing, command) = status.missing().map(|(what, command)| (what.to_owned(), command.to_owned())).unzip();
    EngineState {
        name: status.capabilities.engine,
        revision: status.capabilities.revision,
        available: missing.is_none(),
        missing,
        command,
        languages: status.capabilities.languages,
        instruct: status.capabilities.instruct,
        word_timings: status.capabilities.word_timings,
        calls: status.calls,
        busy: status.busy,
    }
}

fn checks(engine: &EngineState, database: bool, free_mb: Option<u64>) -> Vec<Check> {
    let speech = match &engine.missing {
        None => "ready".to_owned(),
        Some(what) => format!("{what} is not installed"),
    };
    let disk = free_mb.map_or_else(|| "its free space can't be told".to_owned(), |free| format!("{free} MB free"));
    let database_detail = if database { "answers" } else { "does not answer" };
    vec![
        Check { name: "speech".into(), ok: engine.available, detail: speech, command: engine.command.clone() },
        Check { name: "database".into(), ok: database, detail: database_detail.into(), command: None },
        Check { name: "disk".into(), ok: free_mb.is_none_or(|free| free >= FREE_MB_MIN), detail: disk, command: None },
    ]
}
