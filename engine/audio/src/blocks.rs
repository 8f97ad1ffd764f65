//! The one shape in which sound flows through this crate: blocks of interleaved `f32` frames pulled from a source.
//!
//! It may not know where the samples come from; a file reader, a slice and a resampler look the same from here.

use std::io;

/// Rate and channel count of a stream of interleaved samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleFormat {
    /// Frames a second.
    pub rate_hz: u32,
    /// Samples a frame.
    pub channels: u16,
}

/// Lowest and highest sample rate that this crate reads, writes or resamples.
pub const MIN_RATE_HZ: u32 = 4_000;
/// See [`MIN_RATE_HZ`].
pub const MAX_RATE_HZ: u32 = 384_000;
/// The most samples (not frames) that anything in this crate asks a source for at once.
pub const MAX_BLOCK_SAMPLES: usize = 64 * 1024;

impl SampleFormat {
    /// Length of `frames` in milliseconds, rounded to the nearest.
    pub fn frames_to_ms(self, frames: u64) -> u64 {
        scale(frames, 1000, self.rate_hz)
    }

    /// Number of frames in `ms` milliseconds, rounded to the nearest.
    pub fn ms_to_frames(self, ms: u64) -> u64 {
        scale(ms, self.rate_hz, 1000)
    }
}

/// `value · to / from`, rounded to the nearest (half up), without overflow on the way; 0 when `from` is 0.
pub(crate) fn scale(value: u64, to: u32, from: u32) -> u64 {
    if from == 0 {
        return 0;
    }
    let from = u128::from(from);
    let scaled = (u128::from(value) * u128::from(to) + from / 2) / from;
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

/// A source of sound, read once from front to back. Full scale is ±1.0; a source may go beyond.
pub trait SampleBlocks {
    /// Does not change during the life of the source.
    fn format(&self) -> SampleFormat;

    /// Writes whole interleaved frames to the front of `block` and returns how many samples (not frames) they are; 0 is the end.
    ///
    /// A source may deliver less than asked for, at any time. Errors: those of the reader below, and `InvalidData` for broken bytes.
    fn read(&mut self, block: &mut [f32]) -> io::Result<usize>;
}

impl<S: SampleBlocks + ?Sized> SampleBlocks for Box<S> {
    fn format(&self) -> SampleFormat {
        (**self).format()
    }

    fn read(&mut self, block: &mut [f32]) -> io::Result<usize> {
        (**self).read(block)
    }
}

/// Samples that are in memory already.
#[derive(Debug, Clone)]
pub struct MemoryBlocks<T> {
    samples: T,
    format: SampleFormat,
    at: usize,
}

impl<T: AsRef<[f32]>> MemoryBlocks<T> {
    /// `samples` are interleaved; an incomplete last frame is not delivered.
    pub fn new(samples: T, format: SampleFormat) -> Self {
        Self { samples, format, at: 0 }
    }
}

impl<T: AsRef<[f32]>> SampleBlocks for MemoryBlocks<T> {
    fn format(&self) -> SampleFormat {
        self.format
    }

    fn read(&mut self, block: &mut [f32]) -> io::Result<usize> {
        let channels = usize::from(self.format.channels).max(1);
        let rest = &self.samples.as_ref()[self.at..];
        let count = rest.len().min(block.len()) / channels * channels;
        block[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        Ok(count)
    }
}
