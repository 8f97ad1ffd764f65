//! Log lines go to stderr, so that stdout stays for what a command answers.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::config::{Config, LogFormat};

/// Libraries that would log headers, frames or statements.
const SILENT: [&str; 10] =
    ["tungstenite", "tokio_tungstenite", "h2", "hyper", "hyper_util", "multer", "rustls", "sqlx", "symphonia", "object_store"];

/// To be called once. The error names what is wrong with the filter.
pub fn start(config: &Config) -> Result<(), String> {
    let filter = EnvFilter::try_new(&config.log_filter).map_err(|error| format!("log_filter: {error}"))?;
    // These write what users send when they are asked for details; a wish for `trace` is not meant for that.
    let filter = SILENT.iter().filter_map(|target| format!("{target}=warn").parse().ok()).fold(filter, EnvFilter::add_directive);
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    let started = match config.log_format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| error.to_string())
}
