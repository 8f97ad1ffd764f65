//! `clonyvoice doctor`: looks at everything the main job needs and says, for each thing that is wrong, what is wrong and the command that
//! mends it. Changes nothing but what it makes to see whether it can be made.

use std::fmt;
use std::path::Path;

use engine::builtin::Installation;
use engine::speech::Availability;
use jobs::tool::Tools;
use storage::data_folder::DataFolder;
use storage::rows::RowsConfig;
use storage::{Rows, filesystem};

use crate::config::Config;
use crate::speech;

const FREE_MB_MIN: u64 = 512;

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
        findings.push(database(&config.data_dir).await);
    }
    findings.extend(speech_parts(config));
    findings.push(tool(config, "ffmpeg", "ffmpeg", "video tracks of the timeline"));
    findings.push(tool(config, "yt-dlp", "yt-dlp", "downloads of sound from video sites"));
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

async fn database(dir: &Path) -> Finding {
    let broken = |detail: String| {
        let command = format!("mv {0} {0}.broken   # then restore a backup, or begin anew", dir.join("clonyvoice.sqlite").display());
        Finding { name: "database", state: State::Broken, detail, command: Some(command) }
    };
    let folder = match DataFolder::create(dir) {
        Ok(folder) => folder,
        Err(error) => return broken(error.to_string()),
    };
    let rows = match Rows::open(&RowsConfig { readers_max: 1, ..RowsConfig::new(folder.database_url()) }).await {
        Ok(rows) => rows,
        Err(error) => return broken(error.to_string()),
    };
    let checked = rows.quick_check().await;
    rows.close().await;
    match checked {
        Ok(wrong) if wrong.is_empty() => {
            Finding { name: "database", state: State::Good, detail: "checked, nothing wrong".into(), command: None }
        }
        Ok(wrong) => broken(wrong.join("; ")),
        Err(error) => broken(error.to_string()),
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
