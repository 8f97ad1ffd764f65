//! `clonyvoice`: reads the command line and the configuration, then does what was asked for. What a command answers goes to stdout,
//! everything else to stderr.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use api::cli::{Cli, Command, Keys};
use api::config::{self, Config};
use api::create_key::{self, NewKey};
use api::doctor::{self, State};
use api::telemetry::Telemetry;
use api::{backup, decode_host, hold_queue, isolated_job, key_audit, limited, logging, manage_models, say, serve};
use clap::Parser;
use jobs::clock::SystemClock;

/// Of `doctor`, when the main job does not work, and of everything that fails.
const FAILED: u8 = 1;
/// Of wrong settings, like wrong arguments.
const WRONG_USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Before anything else: it has no settings, no log and one thread.
    if let Command::DecodeHost { request } = &cli.command {
        return decode(request);
    }
    if let Command::Limited { limits, command } = &cli.command {
        return become_limited(limits, command);
    }
    let config = match config::load(&cli.flags(), cli.places.config.as_deref()) {
        Ok(config) => config,
        Err(error) => return fail(WRONG_USAGE, &error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(FAILED, &error),
    };
    let telemetry = match telemetry_of(&cli.command, &runtime) {
        Ok(telemetry) => telemetry,
        Err(error) => return fail(WRONG_USAGE, &error),
    };
    if let Err(error) = logging::start(&config, telemetry.as_ref()) {
        return fail(WRONG_USAGE, &error);
    }
    let unknown = config::unknown_variables();
    if !unknown.is_empty() {
        tracing::warn!(variables = unknown.join(", "), "variables that are no settings are ignored");
    }
    let code = runtime.block_on(run(cli.command, config));
    if let Some(telemetry) = telemetry {
        telemetry.stop();
    }
    code
}

/// Of the processes that live long; the others have nothing to tell.
fn telemetry_of(command: &Command, runtime: &tokio::runtime::Runtime) -> Result<Option<Telemetry>, String> {
    let Some(wish) = config::traces_wish().filter(|_| matches!(command, Command::Serve(_) | Command::Work(_))) else {
        return Ok(None);
    };
    let _within = runtime.enter();
    Telemetry::start(&wish).map(Some)
}

async fn run(command: Command, config: Config) -> ExitCode {
    match command {
        Command::Serve(_) => match serve::serve(config).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(FAILED, &error),
        },
        Command::Work(_) => match serve::work(config).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(FAILED, &error),
        },
        Command::Backup { folder } => match backup::backup(&config, &folder).await {
            Ok(report) => {
                println!("{}: the database and {} audio files of {} bytes", folder.display(), report.blobs, report.blob_bytes);
                ExitCode::SUCCESS
            }
            Err(error) => fail(FAILED, &error),
        },
        Command::Queue(command) => match hold_queue::hold(&config, &command).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(FAILED, &error),
        },
        Command::IsolatedJob { job_id, lease_no } => match isolated_job::run(job_id, lease_no).await {
            Ok(end) => {
                // Nobody reads where the parent has died; then there is nothing to say.
                let _ = writeln!(std::io::stdout(), "{end}");
                ExitCode::SUCCESS
            }
            Err(error) => fail(FAILED, &error),
        },
        Command::DecodeHost { request } => decode(&request),
        Command::Limited { limits, command } => become_limited(&limits, &command),
        Command::Keys(command) => keys(command, &config).await,
        Command::Models(command) => match manage_models::run(&config, command).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(FAILED, &error),
        },
        Command::Say(wish) => match say::say(&config, &wish).await {
            Ok(said) => {
                println!("{}: {:.2} s, spoken by {}", wish.output.display(), said.duration_ms as f64 / 1000.0, said.voice);
                ExitCode::SUCCESS
            }
            Err(error) => fail(FAILED, &error),
        },
        Command::Doctor => {
            let findings = doctor::examine(&config).await;
            for finding in &findings {
                println!("{finding}");
            }
            let broken = findings.iter().any(|finding| finding.state == State::Broken);
            ExitCode::from(if broken { FAILED } else { 0 })
        }
    }
}

async fn keys(command: Keys, config: &Config) -> ExitCode {
    let rows = match create_key::open_rows(config).await {
        Ok(rows) => rows,
        Err(error) => return fail(FAILED, &error),
    };
    let clock = SystemClock;
    let done = match command {
        Keys::Create { name, scopes, limits, expires_in_days } => {
            let new = NewKey { name, scopes, limits, expires_in_days };
            create_key::create(&rows, &new, &clock).await.map(|key| println!("{}", key.reveal()))
        }
        Keys::List => {
            create_key::list(&rows, &clock).await.map(|lines| lines.iter().for_each(|line| println!("{line}"))).map_err(Into::into)
        }
        Keys::Rotate { id, overlap_s } => create_key::rotate(&rows, &id, overlap_s, &clock).await.map(|key| println!("{}", key.reveal())),
        Keys::Audit { limit } => {
            key_audit::lines(&rows, limit).await.map(|lines| lines.iter().for_each(|line| println!("{line}"))).map_err(Into::into)
        }
        Keys::Revoke { id } => create_key::revoke(&rows, &id, &clock).await.map(|()| eprintln!("revoked")),
    };
    rows.close().await;
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(FAILED, &error),
    }
}

fn decode(request: &str) -> ExitCode {
    match decode_host::run(request) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(FAILED, &error),
    }
}

fn become_limited(limits: &str, command: &[OsString]) -> ExitCode {
    match limited::run(limits, command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(FAILED, &error),
    }
}

fn fail(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("clonyvoice: {error}");
    ExitCode::from(code)
}
