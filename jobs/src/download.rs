//! Fetching sound from a stranger's URL: which URLs are taken, which addresses may be reached, the proxy that reaches them, and the program
//! that knows the sites. The job is in `download_video`.

pub mod address;
pub mod proxy;
pub mod url;
pub(crate) mod yt_dlp;

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use futures::future::BoxFuture;

use self::proxy::{Resolver, SystemResolver};

/// Reads what a stranger's site has given, where it can do no harm, and writes it as FLAC.
pub trait SoundReader: fmt::Debug + Send + Sync {
    /// The length in milliseconds, or what is wrong with the file. `output` is a new file.
    fn flac<'a>(&'a self, file: &'a Path, output: &'a Path) -> BoxFuture<'a, Result<i64, Unread>>;
}

/// Why a file was not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// The file's fault: another attempt gives the same.
    #[error("{0}")]
    Refused(String),
    /// The machine's.
    #[error("{0}")]
    Busy(String),
}

#[derive(Clone)]
pub struct DownloadConfig {
    pub reader: Arc<dyn SoundReader>,
    pub resolver: Arc<dyn Resolver>,
    /// Addresses that are let through although they are not public.
    pub allowed: Vec<SocketAddr>,
    /// Of all that a download moves.
    pub bytes_max: u64,
    pub wall_ms_max: u64,
    /// Longer ones are refused.
    pub audio_ms_max: u64,
}

impl DownloadConfig {
    pub fn new(reader: Arc<dyn SoundReader>) -> Self {
        Self {
            reader,
            resolver: Arc::new(SystemResolver),
            allowed: Vec::new(),
            bytes_max: 2 << 30,
            wall_ms_max: 30 * 60 * 1_000,
            audio_ms_max: 4 * 3_600_000,
        }
    }
}

impl fmt::Debug for DownloadConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DownloadConfig").field("allowed", &self.allowed).field("bytes_max", &self.bytes_max).finish_non_exhaustive()
    }
}
