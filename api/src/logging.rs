//! Log lines go to stderr, so that stdout stays for what a command answers.

use std::io::{self, IsTerminal};

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use crate::config::{Config, LogFormat};
use crate::telemetry::Telemetry;

/// Libraries that would log headers, frames or statements.
const SILENT: [&str; 12] = [
    "tonic",
    "reqwest",
    "tungstenite",
    "tokio_tungstenite",
    "h2",
    "hyper",
    "hyper_util",
    "multer",
    "rustls",
    "sqlx",
    "symphonia",
    "object_store",
];

/// To be called once. The error names what is wrong with the filter.
pub fn start(config: &Config, telemetry: Option<&Telemetry>) -> Result<(), String> {
    let filter = EnvFilter::try_new(&config.log_filter).map_err(|error| format!("log_filter: {error}"))?;
    // These write what users send when they are asked for details; a wish for `trace` is not meant for that.
    let filter = SILENT.iter().filter_map(|target| format!("{target}=warn").parse().ok()).fold(filter, EnvFilter::add_directive);
    // With a collector the spans that go there are on the log lines too, and with them the ids of their traces.
    let traced = telemetry.and_then(|_| format!("{}=trace", jobs::trace::TARGET).parse().ok());
    let filter = traced.into_iter().fold(filter, EnvFilter::add_directive);
    let lines = fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    let lines = match config.log_format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let spans = telemetry.map(Telemetry::layer);
    tracing_subscriber::registry().with(lines.with_filter(filter)).with(spans).try_init().map_err(|error| error.to_string())
}
