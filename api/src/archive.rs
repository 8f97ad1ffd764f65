//! The `.clonyvoice` archive: voices as one file. What is in it, member by member, and the limits of one that a stranger sends.
//!
//! A ZIP of `manifest.json` and, for each voice, `voices/{id}/` with `voice.json`, `samples.json` and `samples/NNN.wav`, `profile.json`,
//! `preview.wav` and `consent.json`. Equal voices give equal bytes: members are stored as they are, sorted, without times, and what is JSON
//! in a row is carried over as text. Reading happens in `decode_host` only.

mod names;
mod read;
pub(crate) mod write;
mod zip;

use std::io;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use self::read::{Extraction, read};

pub const FORMAT: &str = "clonyvoice";
pub const VERSION: u32 = 1;
pub const CONTENT_TYPE: &str = "application/vnd.clonyvoice+zip";

/// `manifest.json`: what the archive holds beside itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) format: String,
    pub(crate) version: u32,
    /// Sorted by path.
    pub(crate) members: Vec<Member>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) path: String,
    pub(crate) size_bytes: u64,
    pub(crate) sha256: String,
}

/// `voice.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArchivedVoice {
    /// Equal to the name of its folder.
    pub id: String,
    /// `clone` or `design`.
    #[serde(rename = "type")]
    pub kind: String,
    pub name: String,
    #[serde(default)]
    pub description: String,
    pub language: String,
    pub gender: String,
    pub category: Option<ArchivedCategory>,
    #[serde(default)]
    pub tags: Vec<String>,
    pub color: Option<String>,
    #[serde(default)]
    pub settings: Map<String, Value>,
    #[serde(default)]
    pub private: bool,
    /// RFC 3339
    pub created_at: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchivedCategory {
    pub name: String,
    pub color: Option<String>,
}

/// `samples.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Samples {
    pub(crate) samples: Vec<ArchivedSample>,
}

/// A recording; its file is `samples/NNN.wav` by its place, counted from 001.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArchivedSample {
    pub file: String,
    /// For people; on import it is measured.
    pub duration_ms: i64,
    pub transcript: Option<String>,
    pub start_ms: Option<i64>,
    pub end_ms: Option<i64>,
    pub weight: f64,
}

/// What one sent archive may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveLimits {
    pub members_max: usize,
    pub voices_max: usize,
    pub samples_max: usize,
    /// Of all members together, unpacked.
    pub real_bytes_max: u64,
    /// Of one.
    pub member_bytes_max: u64,
    pub json_bytes_max: u64,
    /// A member may be so many times larger than its packed form.
    pub ratio_max: u64,
    /// Of one recording.
    pub audio_ms_max: u64,
}

/// What was found in an archive whose every byte was checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArchiveContents {
    pub version: u32,
    pub voices: Vec<FoundVoice>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FoundVoice {
    pub voice: ArchivedVoice,
    pub samples: Vec<FoundSample>,
    /// JSON, as it stands in the archive.
    pub profiles: Option<String>,
    pub consent: Option<String>,
    pub preview: Option<FoundFile>,
    /// Of all its members, unpacked.
    pub size_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FoundSample {
    pub sample: ArchivedSample,
    /// As measured.
    pub duration_ms: i64,
    pub file: FoundFile,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundFile {
    /// The name of its file when it is extracted.
    pub name: String,
    pub size_bytes: u64,
    pub sha256: String,
}

/// Why an archive is refused.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveFault {
    #[error("{0}")]
    NoArchive(String),
    #[error("{0}")]
    Wrong(String),
    #[error("{0}")]
    TooLarge(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}
