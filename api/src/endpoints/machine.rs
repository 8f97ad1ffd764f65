//! What the machine is and how busy it is.

use salvo::Writer;
use salvo::oapi::endpoint;
use storage::rows::Dialect;

use crate::answer::Reply;
use crate::app::App;
use crate::authenticate::Caller;
use crate::problem::Problem;
use crate::wire::machine::{Capabilities, GpuReport, SystemInfo, SystemStats, formats};

/// Of the API itself; rises when something that was promised changes.
const API_VERSION: &str = "1";
/// Whether neural models of this build can compute on NVIDIA devices.
const WITH_CUDA: bool = cfg!(feature = "cuda");
const MIB: u64 = 1024 * 1024;

/// CPU, RAM, GPU stats
///
/// Read every two seconds while anybody asks; the topic `system` of the WebSocket tells each reading as `system.stats`.
#[endpoint(operation_id = "system_stats")]
pub async fn system_stats(app: App, _caller: Caller) -> Result<Reply<SystemStats>, Problem> {
    let sample = app.machine.now().await.ok_or_else(unread)?;
    Ok(Reply(SystemStats::of(&sample)))
}

/// Detailed GPU information
///
/// Without an NVIDIA device `available` is false; that is no error.
#[endpoint(operation_id = "system_gpu")]
pub async fn system_gpu(app: App, _caller: Caller) -> Result<Reply<GpuReport>, Problem> {
    let facts = app.machine.facts().await.map_err(Problem::internal)?;
    let sample = app.machine.now().await.ok_or_else(unread)?;
    Ok(Reply(GpuReport::of(&sample, &facts, WITH_CUDA)))
}

/// Hardware info
#[endpoint(operation_id = "system_info")]
pub async fn system_info(app: App, _caller: Caller) -> Result<Reply<SystemInfo>, Problem> {
    let facts = app.machine.facts().await.map_err(Problem::internal)?;
    let sample = app.machine.now().await.ok_or_else(unread)?;
    let status = app.jobs.engine_status();
    let database = match app.storage.rows.dialect() {
        Dialect::Sqlite => "sqlite",
        Dialect::Postgres => "postgres",
    };
    Ok(Reply(SystemInfo {
        os: facts.os,
        arch: facts.arch.into(),
        cpu: facts.cpu,
        ram_total_mb: sample.ram_total_bytes / MIB,
        gpus: sample.devices.iter().map(|device| device.name.clone()).collect(),
        app_version: env!("CARGO_PKG_VERSION").into(),
        api_version: API_VERSION.into(),
        capabilities: Capabilities {
            speech: status.missing().is_none(),
            engine: status.capabilities.engine,
            languages: status.capabilities.languages.len(),
            instruct: status.capabilities.instruct,
            word_timings: status.capabilities.word_timings,
            formats: formats(),
            ffmpeg: app.jobs.tools().find("ffmpeg").is_some(),
            yt_dlp: app.jobs.tools().find("yt-dlp").is_some(),
            database: database.into(),
        },
    }))
}

fn unread() -> Problem {
    Problem::internal("the machine's figures were not read")
}
