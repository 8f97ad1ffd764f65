//! `clonyvoice backup`: a copy of the data folder while the server works. The wiring only; `storage::backup` does it.

use std::path::Path;

use storage::backup::{self, BackupReport};
use storage::data_folder::DataFolder;
use storage::rows::RowsConfig;
use storage::{Rows, StorageError};

use crate::blob_store;
use crate::config::Config;

pub async fn backup(config: &Config, folder: &Path) -> Result<BackupReport, StorageError> {
    let from = DataFolder::create(&config.data_dir)?;
    if from.is_new() && config.database_url.is_none() {
        return Err(StorageError::DataFolder(format!("{} holds nothing to copy", config.data_dir.display())));
    }
    let rows = Rows::open(&RowsConfig::new(config.database_url(&from))).await?;
    let report = backup::backup(&rows, &blob_store::open(config, &from)?, folder).await?;
    rows.close().await;
    Ok(report)
}
