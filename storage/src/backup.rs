//! A copy of everything for a safe place, made while the server works: first the rows as of one moment, then the blobs. Every blob that the
//! copied rows name was stored before its row, so the copy is whole; blobs that came later are extra and harmless.

use std::path::Path;

use futures::TryStreamExt;

use crate::rows::{Dialect, Rows};
use crate::{Blobs, StorageError, filesystem};

/// What was copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BackupReport {
    pub blobs: u64,
    pub blob_bytes: u64,
}

/// Writes a data folder that a server can be started on. `folder` must not exist or be empty.
pub async fn backup(rows: &Rows, blobs: &Blobs, folder: &Path) -> Result<BackupReport, StorageError> {
    if rows.dialect() == Dialect::Postgres {
        return Err(StorageError::DataFolder("this installation keeps its rows in Postgres: back those up with pg_dump".into()));
    }
    filesystem::create_folder(folder)?;
    if std::fs::read_dir(folder)?.next().is_some() {
        return Err(StorageError::DataFolder(format!("{} is not empty", folder.display())));
    }
    let file = folder.join("clonyvoice.sqlite");
    let name = file.to_str().ok_or_else(|| StorageError::DataFolder("the folder's name must be UTF-8".into()))?;
    sqlx::query("VACUUM INTO $1").bind(name).execute(rows.read()).await?;
    std::fs::File::open(&file)?.sync_all()?;
    let copy = Blobs::open_local(&blob_folder(folder)?)?;
    blobs.copy_all_to(&copy).await
}

fn blob_folder(folder: &Path) -> Result<std::path::PathBuf, StorageError> {
    let blobs = folder.join("blobs");
    filesystem::create_folder(&blobs)?;
    Ok(blobs)
}

impl Blobs {
    async fn copy_all_to(&self, copy: &Self) -> Result<BackupReport, StorageError> {
        let mut report = BackupReport::default();
        let mut listed = self.store().list(None);
        while let Some(meta) = listed.try_next().await? {
            let bytes = match object_store::ObjectStoreExt::get(self.store(), &meta.location).await {
                Ok(found) => found,
                // Deleted while we listed: its row was gone before.
                Err(object_store::Error::NotFound { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            let upload = copy.store().put_multipart_opts(&meta.location, Default::default()).await?;
            let mut parts = object_store::WriteMultipart::new(upload);
            let mut stream = bytes.into_stream();
            while let Some(part) = stream.try_next().await? {
                parts.wait_for_capacity(2).await?;
                parts.put(part);
            }
            parts.finish().await?;
            report.blobs += 1;
            report.blob_bytes += meta.size;
        }
        Ok(report)
    }
}
