//! Rows and blobs: everything that must survive a power cut. Rows (SQLite or Postgres, one SQL text) are the truth; a blob is written and
//! synced before the row that names it, and a row goes before its blob.
//!
//! This crate is the only place that holds SQL and the only one that names a file of the data folder. It may not know HTTP, engines or what
//! a job does; it only knows what a job's row looks like.

pub mod accept;
pub mod api_keys;
pub mod audit;
pub mod backup;
pub mod blobs;
pub mod categories;
pub mod chunks;
pub mod data_folder;
pub mod error;
pub mod events;
pub mod favorites;
pub mod figures;
pub mod filesystem;
pub mod generations;
mod group_commit;
pub mod idempotency;
pub mod job_parts;
pub mod jobs;
pub mod leases;
pub mod load;
pub mod lone_jobs;
pub mod montages;
pub mod rate_buckets;
pub mod renders;
pub mod retention;
pub mod rows;
pub mod s3;
pub mod search;
mod signals;
mod statement;
pub mod tickets;
pub mod timelines;
pub mod voice_previews;
pub mod voices;
mod writer;

pub use blobs::{BlobKey, Blobs};
pub use error::StorageError;
pub use rows::{Rows, Tx};

/// Both halves, opened together.
#[derive(Debug, Clone)]
pub struct Storage {
    pub rows: Rows,
    pub blobs: Blobs,
}
