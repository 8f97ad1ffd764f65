//! Where sound begins and ends, by its level in windows of 5 ms.
//!
//! It may not cut anything; it says where a cut would go. No model: breath above the threshold is sound.

use crate::blocks::SampleFormat;

/// Window over which the level is taken. A single loud sample does not make a window loud, a plosive does.
const WINDOW_MS: u64 = 5;

/// What [`is_silent`] calls silence, in dB under full scale (RMS).
const SILENT_DB: f32 = -60.0;
/// Window of [`is_silent`]: about 10 ms of speech at 24 kHz.
const SILENT_WINDOW: usize = 256;

/// Whether nothing can be heard in `samples`: no window of 256 samples is louder than -60 dBFS (RMS). Empty is silent.
pub fn is_silent(samples: &[f32]) -> bool {
    let limit = squared(SILENT_DB);
    // NaN is no sound: it becomes silence when it is written.
    !samples.chunks(SILENT_WINDOW).any(|window| energy(window) > limit * SILENT_WINDOW as f64)
}

/// The part of a stream that is not silence at its ends, in frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SoundBounds {
    /// First frame of the first loud window.
    pub start: u64,
    /// One past the last frame of the last loud window.
    pub end: u64,
}

/// Finds the bounds in a stream, in flat memory.
#[derive(Debug)]
pub struct SilenceScanner {
    channels: usize,
    /// Samples (not frames) of a window.
    window: usize,
    limit: f64,
    frames: u64,
    /// Of the window that is not full yet.
    sum: f64,
    count: usize,
    bounds: Option<SoundBounds>,
}

impl SilenceScanner {
    /// Whatever is louder than `threshold_db` under full scale (RMS over 5 ms and all channels) is sound.
    pub fn new(format: SampleFormat, threshold_db: f32) -> Self {
        let channels = usize::from(format.channels.max(1));
        let window = (format.ms_to_frames(WINDOW_MS) as usize).max(1) * channels;
        Self { channels, window, limit: squared(threshold_db) * window as f64, frames: 0, sum: 0.0, count: 0, bounds: None }
    }

    /// Takes whole interleaved frames.
    pub fn push(&mut self, samples: &[f32]) {
        let mut rest = samples;
        while !rest.is_empty() {
            let (part, after) = rest.split_at(rest.len().min(self.window - self.count));
            self.sum = part.iter().fold(self.sum, |sum, &s| sum + f64::from(s) * f64::from(s));
            self.count += part.len();
            rest = after;
            if self.count == self.window {
                self.close_window();
            }
        }
    }

    /// Frames seen in all, and where the sound lies; `None` when all was silent.
    ///
    /// A last window that is not full counts with the energy it has.
    pub fn finish(mut self) -> (u64, Option<SoundBounds>) {
        if self.count > 0 {
            self.close_window();
        }
        (self.frames, self.bounds)
    }

    fn close_window(&mut self) {
        let start = self.frames;
        self.frames += (self.count / self.channels) as u64;
        // The limit is that of a full window, so that a few frames at the end are not held for loud.
        if self.sum > self.limit {
            let first = self.bounds.map_or(start, |b| b.start);
            self.bounds = Some(SoundBounds { start: first, end: self.frames });
        }
        self.sum = 0.0;
        self.count = 0;
    }
}

/// The bounds of samples in memory; see [`SilenceScanner`].
pub fn sound_bounds(samples: &[f32], format: SampleFormat, threshold_db: f32) -> Option<SoundBounds> {
    let mut scanner = SilenceScanner::new(format, threshold_db);
    scanner.push(samples);
    scanner.finish().1
}

fn squared(db: f32) -> f64 {
    10f64.powf(f64::from(db) / 10.0)
}

fn energy(samples: &[f32]) -> f64 {
    samples.iter().map(|&s| f64::from(s) * f64::from(s)).sum()
}
