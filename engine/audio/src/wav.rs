//! WAV and RF64 files: integer PCM is written as a stream, our own files (and plain ones of others) are read as a stream.
//!
//! Layout: Microsoft/IBM RIFF 1.0 and WAVEFORMATEX(TENSIBLE); past 4 GiB EBU Tech 3306 (RF64 with a `ds64` chunk).
//! It may not know other codecs (those are `decode` and `encode`) nor names of files.

mod header;
mod quantise;
mod read;
mod write;

pub use header::{BitDepth, Tags, WavLayout, WavSpec};
pub use quantise::{Dither, Quantiser};
pub use read::{WavEncoding, WavReader};
pub use write::{WavWriter, wav_size_bytes};

use std::io;

/// What went wrong with a WAV file, sorted by what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum WavError {
    /// The bytes are no WAV file or a broken one; another attempt gives the same.
    #[error("malformed wav: {0}")]
    Malformed(String),
    /// A WAV file in an encoding that this reader does not do; `decode` may.
    #[error("unsupported wav: {0}")]
    Unsupported(String),
    /// The caller's own mistake: an impossible spec or another number of frames than announced.
    #[error("invalid use of the wav writer: {0}")]
    Invalid(String),
    /// The reader or writer below; another attempt may succeed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<WavError> for io::Error {
    fn from(error: WavError) -> Self {
        match error {
            WavError::Io(error) => error,
            WavError::Invalid(_) => Self::new(io::ErrorKind::InvalidInput, error),
            WavError::Malformed(_) | WavError::Unsupported(_) => Self::new(io::ErrorKind::InvalidData, error),
        }
    }
}
