//! The first walk: how long every chunk is, what it is made of and where its sound begins and ends.
//!
//! It may not change or keep a sample. From here on the lengths are known, which is why the file can be written into a pipe.

use std::io;

use super::plan::ScannedChunk;
use super::{MergeConfig, MergeError, OpenChunk, Progress};
use crate::blocks::{MAX_RATE_HZ, MIN_RATE_HZ, SampleBlocks};
use crate::silence::SilenceScanner;

/// Samples read at once.
pub(super) const BLOCK_SAMPLES: usize = 16 * 1024;

pub(super) fn scan(
    count: usize,
    open: &mut OpenChunk<'_>,
    config: &MergeConfig,
    progress: &mut Progress<'_, '_>,
) -> Result<Vec<ScannedChunk>, MergeError> {
    let mut block = vec![0.0; BLOCK_SAMPLES];
    let mut scanned = Vec::with_capacity(count);
    for index in 0..count {
        let failed = |source| MergeError::Chunk { index, source };
        let mut source = open(index).map_err(failed)?;
        let format = source.format();
        if !(1..=2).contains(&format.channels) || !(MIN_RATE_HZ..=MAX_RATE_HZ).contains(&format.rate_hz) {
            let what = format!("{} channels at {} hz", format.channels, format.rate_hz);
            return Err(failed(io::Error::new(io::ErrorKind::InvalidData, what)));
        }
        // Without trimming the scanner only counts; any threshold does.
        let mut scanner = SilenceScanner::new(format, config.trim_silence.map_or(0.0, |t| t.threshold_db));
        loop {
            progress.done(index as f32 / count as f32)?;
            let got = source.read(&mut block).map_err(failed)?;
            if got == 0 {
                break;
            }
            scanner.push(&block[..got]);
        }
        let (frames, bounds) = scanner.finish();
        let (start, end) = match (config.trim_silence, bounds) {
            (Some(trim), Some(sound)) => {
                let keep = format.ms_to_frames(trim.keep_ms);
                (sound.start.saturating_sub(keep), sound.end.saturating_add(keep).min(frames))
            }
            _ => (0, frames),
        };
        scanned.push(ScannedChunk { format, start, end });
    }
    Ok(scanned)
}
