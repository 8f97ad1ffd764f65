//! A model from a folder that somebody brought, for machines without a network: its files are copied, summed and locked like pulled ones.

use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;

use crate::checksum::{Checksum, Summing, feed};
use crate::folder::{FolderError, ModelFolder};
use crate::lock::{LockFile, LockedFile, Source};
use crate::manifest::Manifest;
use crate::pull::Progress;

#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The folder lacks files; all of them.
    #[error("the folder has no {}", .0.join(", "))]
    Missing(Vec<String>),
    #[error("{path} is not what the catalogue says: it has the SHA-256 {found}")]
    WrongBytes { path: String, found: String },
    #[error("the import was stopped")]
    Stopped,
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Copies the files that the manifest names. Blocks.
///
/// # Errors
/// [`ImportError`]; nothing of the model is installed then, and one that was there stays.
pub fn import(
    manifest: &Manifest,
    from: &Path,
    folder: &ModelFolder,
    now_ms: i64,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<LockFile, ImportError> {
    let (mut missing, mut total_bytes) = (Vec::new(), 0);
    for file in &manifest.files {
        match fs::metadata(from.join(&file.path)) {
            Ok(found) if found.is_file() => total_bytes += found.len(),
            _ => missing.push(file.path.clone()),
        }
    }
    if !missing.is_empty() {
        return Err(ImportError::Missing(missing));
    }
    let unfinished = folder.begin(&manifest.id)?;
    let (mut files, mut done_bytes) = (Vec::new(), 0);
    for file in &manifest.files {
        let mut source = File::open(from.join(&file.path))?;
        let mut copy = Copying { file: File::create(unfinished.file(&file.path)?)?, done_bytes, total_bytes, progress };
        let mut summing = Summing::new(source.metadata()?.len());
        let copied = io::copy(&mut source, &mut copy);
        if matches!(&copied, Err(error) if error.kind() == io::ErrorKind::ConnectionAborted) {
            return Err(ImportError::Stopped);
        }
        done_bytes += copied?;
        copy.file.sync_all()?;
        feed(&mut File::open(unfinished.file(&file.path)?)?, &mut summing)?;
        let found = summing.finish();
        if file.sha256.as_ref().is_some_and(|expected| *expected != found.sha256) {
            return Err(ImportError::WrongBytes { path: file.path.clone(), found: found.sha256.to_string() });
        }
        let told = file.sha256.as_ref().map(|sha256| Checksum::Sha256(sha256.to_string()));
        files.push(LockedFile { path: file.path.clone(), size_bytes: found.size_bytes, sha256: found.sha256, told });
    }
    let lock = LockFile { id: manifest.id.clone(), source: Source::Folder, installed_at_ms: now_ms, files };
    unfinished.commit(&lock)?;
    Ok(lock)
}

/// Tells how far a copy is, and stops it when it is told to.
struct Copying<'p> {
    file: File,
    done_bytes: u64,
    total_bytes: u64,
    progress: &'p mut dyn FnMut(Progress) -> ControlFlow<()>,
}

impl Write for Copying<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.done_bytes += written as u64;
        match (self.progress)(Progress { done_bytes: self.done_bytes, total_bytes: self.total_bytes }) {
            ControlFlow::Continue(()) => Ok(written),
            ControlFlow::Break(()) => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
