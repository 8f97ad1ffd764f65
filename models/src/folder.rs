//! The folder of the models on this disk. `{root}/{id}/` is a whole model with its lock file; `{root}/.{id}.partial/` one that is being
//! pulled, by the one process that holds `{root}/.{id}.lock`. A model appears, and goes, at once.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::checksum;
use crate::lock::{self, LockFile};
use crate::manifest::is_id;

#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("another process is changing the model {0}")]
    Busy(String),
    #[error("\"{0}\" is no id of a model")]
    NoId(String),
    #[error("the lock file of {id} can't be read: {error}")]
    LockFile { id: String, error: serde_json::Error },
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What is wrong with an installed file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub path: String,
    pub what: FaultKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FaultKind {
    #[error("is missing")]
    Missing,
    #[error("has another size")]
    WrongSize,
    #[error("has other bytes")]
    WrongBytes,
}

#[derive(Debug, Clone)]
pub struct ModelFolder {
    root: PathBuf,
}

impl ModelFolder {
    /// The folder need not be there yet.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the files of an installed model lie.
    pub fn path_of(&self, id: &str) -> Result<PathBuf, FolderError> {
        if is_id(id) { Ok(self.root.join(id)) } else { Err(FolderError::NoId(id.into())) }
    }

    fn hidden(&self, id: &str, what: &str) -> PathBuf {
        self.root.join(format!(".{id}.{what}"))
    }

    /// All whole models, by id.
    ///
    /// # Errors
    /// Those of the disk, and a lock file that is none.
    pub fn installed(&self) -> Result<Vec<LockFile>, FolderError> {
        let entries = match fs::read_dir(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            if let Some(id) = name.to_str().filter(|name| is_id(name)) {
                found.extend(self.lock_file(id)?);
            }
        }
        found.sort_by(|one: &LockFile, next| one.id.cmp(&next.id));
        Ok(found)
    }

    /// The lock file of a whole model; `None` where it is not installed.
    ///
    /// # Errors
    /// Those of the disk, and a lock file that is none.
    pub fn lock_file(&self, id: &str) -> Result<Option<LockFile>, FolderError> {
        match fs::read(self.path_of(id)?.join(lock::FILE_NAME)) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| FolderError::LockFile { id: id.into(), error }),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads every byte of an installed model and says what is not as it was; `None` where it is not installed. Blocks.
    ///
    /// # Errors
    /// Those of the disk, and a lock file that is none.
    pub fn verify(&self, id: &str) -> Result<Option<Vec<Fault>>, FolderError> {
        let Some(lock) = self.lock_file(id)? else { return Ok(None) };
        let folder = self.path_of(id)?;
        let mut faults = Vec::new();
        for file in lock.files {
            let path = folder.join(&file.path);
            let what = match fs::metadata(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Some(FaultKind::Missing),
                Err(error) => return Err(error.into()),
                Ok(found) if found.len() != file.size_bytes => Some(FaultKind::WrongSize),
                Ok(_) => (checksum::of_file(&path)?.sha256 != file.sha256).then_some(FaultKind::WrongBytes),
            };
            faults.extend(what.map(|what| Fault { path: file.path, what }));
        }
        Ok(Some(faults))
    }

    /// Takes a model away, and what was pulled of it; `false` where there was nothing. The name goes first, then the bytes.
    ///
    /// # Errors
    /// [`FolderError::Busy`] while it is being pulled, and those of the disk.
    pub fn remove(&self, id: &str) -> Result<bool, FolderError> {
        let path = self.path_of(id)?;
        if !self.root.is_dir() {
            return Ok(false);
        }
        let _lock = self.take(id)?;
        let gone = self.hidden(id, "gone");
        remove_if_there(&gone)?;
        let installed = renamed(&path, &gone)?;
        remove_if_there(&gone)?;
        let partial = remove_if_there(&self.hidden(id, "partial"))?;
        Ok(installed || partial)
    }

    /// A place for the files of a model, with what an earlier pull left there. One process at a time.
    ///
    /// # Errors
    /// [`FolderError::Busy`], and those of the disk.
    pub fn begin(&self, id: &str) -> Result<Unfinished, FolderError> {
        let target = self.path_of(id)?;
        fs::create_dir_all(&self.root)?;
        let lock = self.take(id)?;
        let folder = self.hidden(id, "partial");
        fs::create_dir_all(&folder)?;
        Ok(Unfinished { folder, target, gone: self.hidden(id, "gone"), _lock: lock })
    }

    fn take(&self, id: &str) -> Result<File, FolderError> {
        let file = File::create(self.hidden(id, "lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(FolderError::Busy(id.into())),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }
}

/// A model that is being made whole. Dropped before its end it stays as it is, to be gone on with.
#[derive(Debug)]
pub struct Unfinished {
    folder: PathBuf,
    target: PathBuf,
    gone: PathBuf,
    _lock: File,
}

impl Unfinished {
    /// The place of a file, with the folders above it made.
    pub(crate) fn file(&self, path: &str) -> io::Result<PathBuf> {
        let path = self.folder.join(path);
        if let Some(above) = path.parent() {
            fs::create_dir_all(above)?;
        }
        Ok(path)
    }

    /// The files that are whole already.
    pub(crate) fn done(&self) -> Option<LockFile> {
        serde_json::from_slice(&fs::read(self.folder.join(lock::FILE_NAME)).ok()?).ok()
    }

    /// Notes which files are whole.
    pub(crate) fn note(&self, lock: &LockFile) -> io::Result<()> {
        let path = self.folder.join(lock::FILE_NAME);
        let next = path.with_extension("next");
        let mut file = File::create(&next)?;
        file.write_all(&serde_json::to_vec_pretty(lock).map_err(io::Error::other)?)?;
        file.sync_all()?;
        fs::rename(next, path)
    }

    /// Puts the whole model where it is looked for; one that was there goes.
    pub(crate) fn commit(self, lock: &LockFile) -> io::Result<()> {
        remove_others(&self.folder, &self.folder, lock)?;
        self.note(lock)?;
        remove_if_there(&self.gone)?;
        renamed(&self.target, &self.gone)?;
        fs::rename(&self.folder, &self.target)?;
        // The names as well, where a folder can be synced.
        if let Some(root) = self.target.parent()
            && let Ok(root) = File::open(root)
        {
            let _ = root.sync_all();
        }
        remove_if_there(&self.gone).map(drop)
    }
}

/// Takes away what the model does not consist of: parts of another revision.
fn remove_others(root: &Path, folder: &Path, lock: &LockFile) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_others(root, &path, lock)?;
        } else if !lock.files.iter().any(|file| root.join(&file.path) == path) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn renamed(from: &Path, to: &Path) -> io::Result<bool> {
    match fs::rename(from, to) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn remove_if_there(folder: &Path) -> io::Result<bool> {
    match fs::remove_dir_all(folder) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
