//! The data folder: where things lie in it, who holds it, and whether the last holder left in order.
//!
//! A folder has seats: one for a server, some for workers without one. A process holds its seat by a lock that the kernel drops with the
//! process, which is why a restarted one may take its predecessor's leases back at once. This file may not know what the leases are.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::{StorageError, filesystem};

const SERVER_SEAT: &str = "server";
const WORKER_SEATS: u32 = 64;

/// Paths inside a data folder. Creating one makes the folders.
#[derive(Debug, Clone)]
pub struct DataFolder {
    root: PathBuf,
}

impl DataFolder {
    pub fn create(root: &Path) -> Result<Self, StorageError> {
        filesystem::create_folder(root)
            .map_err(|error| StorageError::DataFolder(format!("create data folder {}: {error}", root.display())))?;
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
        filesystem::sync_folder(&folder.root)?;
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

    /// Files that no row names; each seat has a folder here, emptied at its start.
    pub fn temporary(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// The part of it that belongs to the server's seat.
    pub fn temporary_of_server(root: &Path) -> PathBuf {
        root.join("tmp").join(SERVER_SEAT)
    }

    /// What engines keep beside their models, such as voice overlays. Can be deleted at any time.
    pub fn engine(&self) -> PathBuf {
        self.root.join("engine")
    }

    pub fn is_new(&self) -> bool {
        !self.root.join("clonyvoice.sqlite").exists()
    }

    /// Takes the folder's seat of the one server, until the value is dropped.
    pub fn lock_for_server(&self) -> Result<Instance, StorageError> {
        let taken = || StorageError::DataFolder(format!("another clonyvoice server is running on {}", self.root.display()));
        self.lock(SERVER_SEAT)?.ok_or_else(taken)
    }

    /// Takes one of the folder's seats for workers without a server.
    pub fn lock_for_worker(&self) -> Result<Instance, StorageError> {
        for seat in 1..=WORKER_SEATS {
            if let Some(instance) = self.lock(&format!("worker-{seat}"))? {
                return Ok(instance);
            }
        }
        Err(StorageError::DataFolder(format!("{WORKER_SEATS} workers are running on {} already", self.root.display())))
    }

    /// `None` where another process has the seat.
    fn lock(&self, seat: &str) -> Result<Option<Instance>, StorageError> {
        let seats = self.root.join("seats");
        filesystem::create_folder(&seats)?;
        let lock = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(seats.join(format!("{seat}.lock")))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let temporary = self.temporary().join(seat);
        if temporary.exists() {
            fs::remove_dir_all(&temporary)?;
        }
        fs::create_dir_all(&temporary)?;
        let marker = seats.join(format!("{seat}.running"));
        let unclean = marker.exists();
        File::create(&marker)?.sync_all()?;
        let node_id = node_id(&seats.join(format!("{seat}.node_id")))?;
        // Without its name the seat would come back from a power cut as another node, and would wait for its own leases to run out.
        filesystem::sync_folder(&seats)?;
        Ok(Some(Instance { node_id, unclean, temporary, marker, _lock: lock }))
    }
}

/// The name of this seat among the nodes of a database; made once, kept for ever.
fn node_id(path: &Path) -> Result<String, StorageError> {
    if let Ok(text) = fs::read_to_string(path)
        && Uuid::parse_str(text.trim()).is_ok()
    {
        return Ok(text.trim().to_owned());
    }
    let id = Uuid::new_v4().to_string();
    let mut file = File::create(path)?;
    file.write_all(id.as_bytes())?;
    file.sync_all()?;
    Ok(id)
}

/// The right to work on a data folder.
#[derive(Debug)]
pub struct Instance {
    pub node_id: String,
    /// The last holder of the seat did not leave by [`Instance::leave`]: a crash, a kill or a power cut.
    pub unclean: bool,
    /// Files that no row names; empty at the start.
    pub temporary: PathBuf,
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
