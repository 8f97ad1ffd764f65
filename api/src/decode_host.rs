//! `clonyvoice decode-host`: reads one file of a stranger and ends. A file that makes a decoder ask for all memory, or run for ever, ends
//! this process and not the server. The server's side is `decode_hosts`.
//!
//! The file is the standard input, opened by the parent; the task is the only argument, the answer one line of JSON on the standard output.
//! This file may not know HTTP, storage or configuration.

pub(crate) mod limits;
mod media;
#[cfg(debug_assertions)]
pub mod misbehave;
mod sniff;

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use audio::decode::DecodeError;
use jobs::tool::ProcessLimits;
use serde::{Deserialize, Serialize};

use crate::archive::{ArchiveContents, ArchiveFault, ArchiveLimits, Extraction, read};

/// The argument.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostRequest {
    pub limits: ProcessLimits,
    pub task: HostTask,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "snake_case")]
pub enum HostTask {
    /// How long it is and what it is made of.
    Probe { audio_ms_max: u64 },
    /// As 16-bit WAV into `output`, a new file.
    Decode(DecodeTask),
    /// As 16-bit FLAC into `output`, a new file, at its own rate, in one channel or two.
    Flac { output: PathBuf, audio_ms_max: u64 },
    /// What a file looks like, by its first bytes.
    Sniff,
    /// Checks all of a `.clonyvoice` archive.
    ReadArchive { limits: ArchiveLimits },
    /// Writes the files of these voices into `folder`, by the names that [`ArchiveContents`] gives them.
    ExtractArchive { limits: ArchiveLimits, folder: PathBuf, voices: Vec<String> },
    /// For tests.
    #[cfg(debug_assertions)]
    Misbehave { how: misbehave::How },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecodeTask {
    pub output: PathBuf,
    /// `None`: the file's own.
    pub rate_hz: Option<u32>,
    /// Brings two channels down to one.
    pub mono: bool,
    /// Files with more are refused.
    #[serde(default)]
    pub channels_max: Option<u16>,
    /// Longer ones are refused.
    pub audio_ms_max: u64,
}

/// What a sound file is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaFacts {
    pub duration_ms: u64,
    /// At `sample_rate_hz`.
    pub frames: u64,
    pub sample_rate_hz: u32,
    pub channels: u16,
    pub codec: String,
    pub container: String,
}

/// What a file looks like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "looks_like", rename_all = "snake_case")]
pub enum Sniffed {
    /// PNG, JPEG, GIF or WebP.
    Picture {
        content_type: String,
        width: u32,
        height: u32,
    },
    /// A container that may hold pictures and sound.
    Film {
        content_type: String,
    },
    Other,
}

/// One line on the standard output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum HostAnswer {
    Media(MediaFacts),
    Archive(Box<ArchiveContents>),
    Sniffed(Sniffed),
    /// Nothing that can be read here.
    Unsupported {
        detail: String,
    },
    /// A known format with wrong bytes.
    Malformed {
        detail: String,
    },
    /// More than was allowed.
    TooLarge {
        detail: String,
    },
    /// Our own disk or pipe.
    Failed {
        detail: String,
    },
}

impl From<DecodeError> for HostAnswer {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Unsupported(detail) => Self::Unsupported { detail },
            DecodeError::Malformed(detail) => Self::Malformed { detail },
            DecodeError::TooLong { limit_ms } => Self::TooLarge { detail: format!("the recording is longer than {limit_ms} ms") },
            DecodeError::Io(error) => Self::Failed { detail: error.to_string() },
        }
    }
}

impl From<ArchiveFault> for HostAnswer {
    fn from(fault: ArchiveFault) -> Self {
        match fault {
            ArchiveFault::NoArchive(detail) => Self::Unsupported { detail },
            ArchiveFault::Wrong(detail) => Self::Malformed { detail },
            ArchiveFault::TooLarge(detail) => Self::TooLarge { detail },
            ArchiveFault::Io(error) => Self::Failed { detail: error.to_string() },
        }
    }
}

/// The whole program: `request` is the argument.
pub fn run(request: &str) -> io::Result<()> {
    let request: HostRequest = serde_json::from_str(request)?;
    limits::apply(&request.limits)?;
    let answer = perform(request.task)?;
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(&line)?;
    stdout.flush()
}

fn perform(task: HostTask) -> io::Result<HostAnswer> {
    let input = input()?;
    Ok(match task {
        HostTask::Probe { audio_ms_max } => media::probe(input, audio_ms_max).map_or_else(HostAnswer::from, HostAnswer::Media),
        HostTask::Decode(task) => media::decode(input, &task).map_or_else(HostAnswer::from, HostAnswer::Media),
        HostTask::Flac { output, audio_ms_max } => {
            media::flac(input, &output, audio_ms_max).map_or_else(HostAnswer::from, HostAnswer::Media)
        }
        HostTask::Sniff => sniff::sniff(input).map_or_else(HostAnswer::from, HostAnswer::Sniffed),
        HostTask::ReadArchive { limits } => archive(read(input, &limits, None)),
        HostTask::ExtractArchive { limits, folder, voices } => archive(read(input, &limits, Some(&Extraction { folder, voices }))),
        #[cfg(debug_assertions)]
        HostTask::Misbehave { how } => misbehave::misbehave(how),
    })
}

fn archive(read: Result<ArchiveContents, ArchiveFault>) -> HostAnswer {
    read.map_or_else(HostAnswer::from, |contents| HostAnswer::Archive(Box::new(contents)))
}

/// The standard input as the file that it is, so that it can be searched.
#[cfg(unix)]
fn input() -> io::Result<File> {
    use std::os::fd::AsFd;
    Ok(File::from(io::stdin().as_fd().try_clone_to_owned()?))
}

#[cfg(windows)]
fn input() -> io::Result<File> {
    use std::os::windows::io::AsHandle;
    Ok(File::from(io::stdin().as_handle().try_clone_to_owned()?))
}
