//! The lock file of an installed model, `lock.json` in its folder: which files, their sizes and sums, and where they came from. It is written
//! last, so a folder with one is whole. Pure.

use serde::{Deserialize, Serialize};

use crate::checksum::{Checksum, Sha256Hex};

pub const FILE_NAME: &str = "lock.json";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockFile {
    pub id: String,
    pub source: Source,
    /// Milliseconds since 1970.
    pub installed_at_ms: i64,
    pub files: Vec<LockedFile>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "from")]
pub enum Source {
    Hub {
        endpoint: String,
        repo: String,
        revision: String,
        /// What the revision was when it was pulled, where the hub says it.
        commit: Option<String>,
    },
    Folder,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedFile {
    pub path: String,
    pub size_bytes: u64,
    pub sha256: Sha256Hex,
    /// What the hub said it must be.
    pub told: Option<Checksum>,
}

impl LockFile {
    pub fn size_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size_bytes).sum()
    }
}
