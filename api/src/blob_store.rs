//! Where blobs are kept: the folder in the data folder, or a bucket. The wiring between the configuration and `storage`.

use storage::data_folder::DataFolder;
use storage::s3::S3Config;
use storage::{Blobs, StorageError};

use crate::config::Config;

pub fn open(config: &Config, folder: &DataFolder) -> Result<Blobs, StorageError> {
    match of_config(config).map_err(StorageError::DataFolder)? {
        Some(s3) => Blobs::open_s3(&s3),
        None => Blobs::open_local(&folder.blobs()),
    }
}

/// The bucket that is configured; the error says what is wrong with its setting.
pub fn of_config(config: &Config) -> Result<Option<S3Config>, String> {
    let Some(url) = &config.blob_store_url else {
        return Ok(None);
    };
    let s3 = S3Config::parse(url)?;
    Ok(Some(S3Config { endpoint: config.blob_store_endpoint.clone(), path_style: config.blob_store_path_style, ..s3 }))
}
