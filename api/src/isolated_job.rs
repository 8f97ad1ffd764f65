//! `clonyvoice isolated-job`: runs one job for the process that holds its lease; see `jobs::isolate`. The wiring only. It reads its
//! parent's settings from the first line of its input.

use std::io::{self, BufRead, Read};
use std::sync::Arc;

use jobs::clock::SystemClock;
use jobs::isolate::{self, Isolation, Outside};
use jobs::tool::Tools;
use storage::data_folder::DataFolder;
use storage::leases::Fence;
use storage::rows::RowsConfig;
use storage::{Rows, Storage};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::blob_store;
use crate::config::Config;
use crate::manage_models;
use crate::serve::ServeError;
use crate::{local_models, speech};

/// The longest settings that are read.
const SETTINGS_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// How the workers of this process start it.
pub(crate) fn isolation(config: &Config) -> Result<Isolation, ServeError> {
    let settings = serde_json::to_string(config).map_err(io::Error::other)?;
    Ok(Isolation { program: std::env::current_exe()?, arguments: vec!["isolated-job".into()], settings })
}

/// Runs the job and returns what to print. Ends early when the standard input ends: the parent is gone.
pub async fn run(job_id: Uuid, lease_no: i64) -> Result<String, ServeError> {
    let mut settings = String::new();
    io::stdin().lock().take(SETTINGS_BYTES_MAX).read_line(&mut settings)?;
    let config: Config = serde_json::from_str(&settings).map_err(io::Error::other)?;
    let folder = DataFolder::create(&config.data_dir)?;
    let rows = Rows::open(&RowsConfig::new(config.database_url(&folder))).await?;
    let storage = Storage { rows, blobs: blob_store::open(&config, &folder)? };
    let library = Arc::new(manage_models::library(&config).map_err(io::Error::other)?);
    let residents = speech::residents();
    let outside = Outside {
        tools: Tools::new(config.tools()),
        downloads: Some(Arc::new(config.downloads())),
        library: Some(library.clone()),
        translators: Some(local_models::translators(&config, &library, &residents)),
        transcribers: Some(local_models::transcribers(&config, &library, &residents)),
    };
    let one_worker = Config { speech_workers: 1, ..config };
    let engine_folder = folder.clone();
    let started = tokio::task::spawn_blocking(move || speech::start(&one_worker, &engine_folder, &library, residents)).await;
    let engines = started.map_err(io::Error::other)??;
    let parent_gone = CancellationToken::new();
    let watched = parent_gone.clone();
    std::thread::spawn(move || {
        let mut block = [0; 64];
        while io::stdin().lock().read(&mut block).is_ok_and(|read| read > 0) {}
        watched.cancel();
    });
    let fence = Fence { job_id, lease_no };
    let end = isolate::run_isolated(storage, engines, Arc::new(SystemClock), folder.temporary(), outside, fence, parent_gone).await;
    serde_json::to_string(&end).map_err(|error| io::Error::other(error).into())
}
