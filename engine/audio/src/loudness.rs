//! How loud a stream is: integrated loudness by EBU R128 (ITU-R BS.1770-4) and its true peak.
//!
//! The only place that names the ebur128 crate. It may not change a sample; gain is for `merge` and `limiter`.

use ebur128::{EbuR128, Mode};
use serde::{Deserialize, Serialize};

use crate::blocks::SampleFormat;

/// What a finished stream measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Loudness {
    /// `None` for silence and for less than 400 ms of sound, which have no loudness. Read from bins of 0.1 LU.
    pub integrated_lufs: Option<f64>,
    /// Highest peak between the samples, 4 times oversampled (BS.1770-4 annex 2), in dB under full scale; `None` for digital silence.
    pub true_peak_db: Option<f64>,
}

/// A format that cannot be measured.
#[derive(Debug, thiserror::Error)]
#[error("loudness: {0}")]
pub struct LoudnessError(String);

/// Measures a stream as it passes, in flat memory.
#[derive(Debug)]
pub struct LoudnessMeter {
    state: EbuR128,
}

impl LoudnessMeter {
    /// Errors: a format outside what BS.1770 is defined for here (1 or 2 channels, rates of [`crate::blocks`]).
    pub fn new(format: SampleFormat) -> Result<Self, LoudnessError> {
        let broken = |e: ebur128::Error| LoudnessError(e.to_string());
        // The histogram keeps 1,000 bins instead of one number for each 100 ms of a stream of any length.
        let mode = Mode::I | Mode::TRUE_PEAK | Mode::HISTOGRAM;
        // One channel counts once (no "dual mono"), as ffmpeg and the players of mono files see it.
        let state = EbuR128::new(u32::from(format.channels), format.rate_hz, mode).map_err(broken)?;
        Ok(Self { state })
    }

    /// Takes interleaved samples, whole frames.
    pub fn push(&mut self, samples: &[f32]) -> Result<(), LoudnessError> {
        self.state.add_frames_f32(samples).map_err(|e| LoudnessError(e.to_string()))
    }

    /// The measure of all that was pushed.
    pub fn loudness(&self) -> Loudness {
        let integrated_lufs = self.state.loudness_global().ok().filter(|l| l.is_finite());
        let peak = (0..self.state.channels()).filter_map(|c| self.state.true_peak(c).ok()).fold(0.0, f64::max);
        let true_peak_db = if peak > 0.0 { Some(20.0 * peak.log10()) } else { None };
        Loudness { integrated_lufs, true_peak_db }
    }
}
