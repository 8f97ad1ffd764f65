//! The job of a demo that was stopped before its end, so that the next one can go on with it. The file holds a key: only its owner may read
//! it, and it goes when the story is told.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Failure;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unfinished {
    pub(crate) key: String,
    pub(crate) task_id: String,
}

fn file(data_folder: &Path) -> PathBuf {
    data_folder.join("demo-unfinished.json")
}

pub(crate) fn remember(data_folder: &Path, unfinished: &Unfinished) -> Result<(), Failure> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(file(data_folder))?.write_all(serde_json::to_string(unfinished)?.as_bytes())?;
    Ok(())
}

/// `None` where there is nothing, or nothing that can be read.
pub(crate) fn recall(data_folder: &Path) -> Option<Unfinished> {
    serde_json::from_str(&fs::read_to_string(file(data_folder)).ok()?).ok()
}

pub(crate) fn forget(data_folder: &Path) -> Result<(), Failure> {
    match fs::remove_file(file(data_folder)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
