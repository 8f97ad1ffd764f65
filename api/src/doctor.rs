//! `clonyvoice doctor`: looks at everything the main job needs and says, for each thing that is wrong, what is wrong and the command that
//! mends it. Changes nothing but what it makes to see whether it can be made.

use std::fmt;
use std::path::Path;

use engine::builtin::Installation;
use engine::speech::Availability;
use jobs::clock::{Clock, SystemClock};
use jobs::tool::Tools;
use storage::data_folder::DataFolder;
use storage::rows::{Dialect, RowsConfig};
use storage::{Rows, filesystem};

use crate::config::Config;
use crate::machine::Machine;
use crate::{blob_store, manage_models, open_files, serve, speech};

const FREE_MB_MIN: u64 = 512;
/// Leases of 30 s are compared between machines.
const SKEW_MS_MAX: i64 = 5_000;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub name: &'static str,
    pub state: State,
    pub detail: String,
    /// What to type.
    pub command: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Good,
    /// Something that is nice to have.
    Lacking,
    /// The main job does not work.
    Broken,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.state {
            State::Good => "ok     ",
            State::Lacking => "missing",
            State::Broken => "BROKEN ",
        };
        write!(f, "{mark}  {:<12}  {}", self.name, self.detail)?;
        match &self.command {
            Some(command) => write!(f, "\n{:>24}{command}", "mend it with: "),
            None => Ok(()),
        }
    }
}

/// Looks at everything, in the order in which things depend on each other.
pub async fn examine(config: &Config) -> Vec<Finding> {
    let mut findings = vec![data_folder(&config.data_dir)];
    if findings[0].state != State::Broken {
        findings.push(disk(&config.data_dir));
        findings.push(database(config).await);
        findings.push(blob_store(config).await);
    }
    findings.extend(speech_parts(config));
    findings.push(tool(config, "ffmpeg", "ffmpeg", "video tracks of the timeline"));
    findings.push(tool(config, "yt-dlp", "yt-dlp", "downloads of sound from video sites"));
    findings.push(gpu(config));
    findings.push(models(config));
    findings.push(limits(config));
    findings
}

fn data_folder(dir: &Path) -> Finding {
    match DataFolder::create(dir) {
        Ok(folder) => Finding { name: "data folder", state: State::Good, detail: folder.root().display().to_string(), command: None },
        Err(error) => {
            let command = format!("mkdir -p {dir} && chown $(id -u) {dir}", dir = dir.display());
            Finding { name: "data folder", state: State::Broken, detail: error.to_string(), command: Some(command) }
        }
    }
}

fn disk(dir: &Path) -> Finding {
    let Some(free_mb) = filesystem::free_bytes(dir).map(|bytes| bytes / (1024 * 1024)) else {
        return Finding { name: "disk", state: State::Good, detail: "its free space can't be told".into(), command: None };
    };
    let state = if free_mb >= FREE_MB_MIN { State::Good } else { State::Broken };
    let command =
        (state == State::Broken).then(|| format!("df -h {}   # free at least {FREE_MB_MIN} MB, or use --data-dir", dir.display()));
    Finding { name: "disk", state, detail: format!("{free_mb} MB free"), command }
}

async fn database(config: &Config) -> Finding {
    let broken = |detail: String| {
        let command = match &config.database_url {
            Some(_) => "psql \"$CLONYVOICE_DATABASE_URL\" -c '\\conninfo'   # does it answer? is database_url right?".into(),
            None => {
                format!("mv {0} {0}.broken   # then restore a backup, or begin anew", config.data_dir.join("clonyvoice.sqlite").display())
            }
        };
        Finding { name: "database", state: State::Broken, detail, command: Some(command) }
    };
    let folder = match DataFolder::create(&config.data_dir) {
        Ok(folder) => folder,
        Err(error) => return broken(error.to_string()),
    };
    let rows = match Rows::open(&RowsConfig { readers_max: 1, acquire_timeout_ms: 5_000, ..RowsConfig::new(config.database_url(&folder)) })
        .await
    {
        Ok(rows) => rows,
        Err(error) => return broken(error.to_string()),
    };
    let checked = rows.quick_check().await;
    let (dialect, skew_ms) = (rows.dialect(), rows.clock_skew_ms(SystemClock.now_ms()).await);
    rows.close().await;
    match (checked, skew_ms) {
        (Ok(wrong), Ok(skew_ms)) if wrong.is_empty() && skew_ms.abs() <= SKEW_MS_MAX => {
            let detail = if dialect == Dialect::Sqlite { "checked, nothing wrong" } else { "answers, and its clock agrees with ours" };
            Finding { name: "database", state: State::Good, detail: detail.into(), command: None }
        }
        (Ok(wrong), Ok(skew_ms)) if wrong.is_empty() => {
            let detail = format!("its clock differs from this machine's by {skew_ms} ms: leases would be taken from workers that live");
            Finding { name: "clock", state: State::Broken, detail, command: Some("timedatectl set-ntp true   # on both machines".into()) }
        }
        (Ok(wrong), Ok(_)) => broken(wrong.join("; ")),
        (Err(error), _) | (_, Err(error)) => broken(error.to_string()),
    }
}

async fn blob_store(config: &Config) -> Finding {
    let tried = match DataFolder::create(&config.data_dir).and_then(|folder| blob_store::open(config, &folder)) {
        Ok(blobs) => blobs.try_out().await,
        Err(error) => Err(error),
    };
    let place = config.blob_store_url.as_deref().unwrap_or("the data folder");
    match tried {
        Ok(()) => Finding { name: "blob store", state: State::Good, detail: format!("{place} takes, gives and deletes"), command: None },
        Err(error) => {
            let command = match &config.blob_store_endpoint {
                _ if config.blob_store_url.is_none() => format!("ls -ld {}", config.data_dir.join("blobs").display()),
                Some(endpoint) => {
                    format!("curl -sI {endpoint}   # does it answer? are AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the bucket right?")
                }
                None => format!("aws s3 ls {place}   # are AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and the bucket right?"),
            };
            Finding { name: "blob store", state: State::Broken, detail: error.to_string(), command: Some(command) }
        }
    }
}

/// A device is nice to have, and only where this build can use one.
fn gpu(config: &Config) -> Finding {
    let mut machine = Machine::open(&config.data_dir);
    let (facts, sample) = (machine.facts(), machine.read(0));
    let detail = match (&facts.driver, sample.devices.as_slice()) {
        (None, _) => "no NVIDIA driver: everything is computed on the processor".into(),
        (Some(driver), []) => format!("driver {driver} without a device"),
        (Some(driver), devices) => {
            let names: Vec<&str> = devices.iter().map(|device| device.name.as_str()).collect();
            format!("{}, driver {driver}", names.join(", "))
        }
    };
    let unused = facts.driver.is_some() && sample.devices.is_empty();
    let command = unused.then(|| "nvidia-smi   # which says why".into());
    Finding { name: "gpu", state: if unused { State::Lacking } else { State::Good }, detail, command }
}

/// What is installed of the models, as far as can be told without reading all of it.
fn models(config: &Config) -> Finding {
    match manage_models::ids(config) {
        Ok(all) => {
            let installed: Vec<&str> = all.iter().filter(|(_, installed)| *installed).map(|(id, _)| id.as_str()).collect();
            let detail = if installed.is_empty() {
                format!("none of {} installed: the built-in voices need none", all.len())
            } else {
                format!("installed: {}", installed.join(", "))
            };
            Finding { name: "models", state: State::Good, detail, command: None }
        }
        Err(error) => {
            let command = Some("clonyvoice models list   # says what is wrong with them".into());
            Finding { name: "models", state: State::Broken, detail: error.to_string(), command }
        }
    }
}

/// What the system allows, against what is configured.
fn limits(config: &Config) -> Finding {
    let needed = u64::from(config.connections_max) + serve::FILES_BESIDE_CONNECTIONS;
    match open_files::raise_limit() {
        Some(allowed) if allowed < needed => Finding {
            name: "limits",
            state: State::Lacking,
            detail: format!("{allowed} open files are allowed, and connections_max = {} needs {needed}", config.connections_max),
            command: Some(format!("ulimit -n {needed}   # or LimitNOFILE={needed} in the systemd unit")),
        },
        allowed => {
            let detail = allowed.map_or_else(|| "the system tells none".into(), |allowed| format!("{allowed} open files"));
            Finding { name: "limits", state: State::Good, detail, command: None }
        }
    }
}

/// The speech host with its library, and what only some languages need.
fn speech_parts(config: &Config) -> Vec<Finding> {
    let engine_folder = config.data_dir.join("engine");
    let installation = Installation::new(speech::builtin_config(config, engine_folder));
    let speech = match installation.availability() {
        Availability::Ready => {
            let count = installation.languages().len();
            Finding { name: "espeak-ng", state: State::Good, detail: format!("speaks {count} languages and accents"), command: None }
        }
        Availability::Missing { what, command } => {
            Finding { name: "espeak-ng", state: State::Broken, detail: format!("{what} is not installed"), command: Some(command) }
        }
    };
    vec![speech, tool(config, "mecab", "mecab mecab-ipadic-utf8", "Japanese with kanji")]
}

/// A program that some things need; `package` is its name in Debian.
fn tool(config: &Config, name: &'static str, package: &str, needed_for: &str) -> Finding {
    match Tools::new(config.tools()).find(name) {
        Some(path) => Finding { name, state: State::Good, detail: path.display().to_string(), command: None },
        None => {
            let detail = format!("needed for {needed_for} only");
            Finding { name, state: State::Lacking, detail, command: Some(format!("apt-get install {package}")) }
        }
    }
}
