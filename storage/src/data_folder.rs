//! The data folder: where things lie in it, who holds it, and whether the last holder left in order.
//!
//! One server process holds a folder at a time (a lock that the kernel drops with the process), which is why a restarted server may take
//! its predecessor's leases back at once. This file may not know what the leases are.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::{StorageError, filesystem};

/// Paths inside a data folder. Creating one makes the folders.
#[derive(Debug, Clone)]
pub struct DataFolder {
    root: PathBuf,
}

impl DataFolder {
    pub fn create(root: &Path) -> Result<Self, StorageError> {
        fs::create_dir_all(root).map_err(|error| StorageError::DataFolder(format!("create data folder {}: {error}", root.display())))?;
        let root = root.canonicalize()?;
        if let Some(kind) = filesystem::network_filesystem(&root) {
            return Err(StorageError::DataFolder(format!(
                "data folder {} is on a network file system ({kind}), where SQLite's locks do not work: use a local disk, or Postgres and S3",
                root.display()
            )));
        }
        let folder = Self { root };
        for path in [folder.blobs(), folder.temporary(), folder.engine()] {
            fs::create_dir_all(&path)?;
        }
        Ok(folder)
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn database_url(&self) -> String {
        format!("sqlite://{}?mode=rwc", self.root.join("clonyvoice.sqlite").display())
    }

    pub fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    /// Files that no row names; emptied at every start of a server.
    pub fn temporary(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// What engines keep beside their models, such as voice overlays. Can be deleted at any time.
    pub fn engine(&self) -> PathBuf {
        self.root.join("engine")
    }

    pub fn is_new(&self) -> bool {
        !self.root.join("clonyvoice.sqlite").exists()
    }

    fn clear_temporary(&self) -> Result<(), StorageError> {
        for entry in fs::read_dir(self.temporary())? {
            let path = entry?.path();
            if path.is_dir() { fs::remove_dir_all(&path)? } else { fs::remove_file(&path)? }
        }
        Ok(())
    }

    /// Takes the folder for this process until the guard is dropped.
    pub fn lock(&self) -> Result<Instance, StorageError> {
        let path = self.root.join("instance.lock");
        let lock = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StorageError::DataFolder(format!("another clonyvoice server is running on {}", self.root.display())));
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        self.clear_temporary()?;
        let marker = self.root.join("running");
        let unclean = marker.exists();
        File::create(&marker)?.sync_all()?;
        Ok(Instance { node_id: self.node_id()?, unclean, marker, _lock: lock })
    }

    /// The name of this installation among the nodes of a database; made once, kept for ever.
    fn node_id(&self) -> Result<String, StorageError> {
        let path = self.root.join("node_id");
        if let Ok(text) = fs::read_to_string(&path)
            && Uuid::parse_str(text.trim()).is_ok()
        {
            return Ok(text.trim().to_owned());
        }
        let id = Uuid::new_v4().to_string();
        let mut file = File::create(&path)?;
        file.write_all(id.as_bytes())?;
        file.sync_all()?;
        Ok(id)
    }
}

/// The right to serve from a data folder.
#[derive(Debug)]
pub struct Instance {
    pub node_id: String,
    /// The last holder did not leave by [`Instance::leave`]: a crash, a kill or a power cut.
    pub unclean: bool,
    marker: PathBuf,
    _lock: File,
}

impl Instance {
    /// Marks a stop in order; the lock goes with the value.
    pub fn leave(self) -> Result<(), StorageError> {
        fs::remove_file(&self.marker)?;
        Ok(())
    }
}
