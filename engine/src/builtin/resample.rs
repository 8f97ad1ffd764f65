//! From the speech library's rate to the engine's: same length in time, no delay, the same samples for the same input.
//!
//! It may not know where the samples come from.

use rubato::audioadapter_buffers::owned::InterleavedOwned;
use rubato::{Fft, FixedSync, Resampler as _};

use crate::speech::SAMPLE_RATE_HZ;

/// Frames that rubato takes at once; it rounds it to what the two rates allow.
const CHUNK_FRAMES: usize = 1024;

/// Kept between calls, since making one costs more than a sentence.
pub(super) struct Resampler {
    rate_hz: u32,
    fft: Fft<f32>,
}

impl std::fmt::Debug for Resampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resampler").field("rate_hz", &self.rate_hz).finish_non_exhaustive()
    }
}

impl Resampler {
    pub(super) fn new(rate_hz: u32) -> Result<Self, String> {
        let fft = Fft::new(rate_hz as usize, SAMPLE_RATE_HZ as usize, CHUNK_FRAMES, 1, FixedSync::Both);
        Ok(Self { rate_hz, fft: fft.map_err(|error| format!("cannot resample from {rate_hz} Hz: {error}"))? })
    }

    pub(super) fn rate_hz(&self) -> u32 {
        self.rate_hz
    }

    /// Mono samples at [`SAMPLE_RATE_HZ`]. Rubato clears its state first and takes its delay off.
    pub(super) fn resample(&mut self, samples: Vec<f32>) -> Result<Vec<f32>, String> {
        let frames = samples.len();
        if frames == 0 {
            return Ok(samples);
        }
        let input = InterleavedOwned::new_from(samples, 1, frames).map_err(|error| error.to_string())?;
        let output = self.fft.process_all(&input, frames, None).map_err(|error| error.to_string())?;
        let mut output = output.take_data();
        // Rubato counts in floating point and may add a sample.
        output.truncate((frames as u64 * u64::from(SAMPLE_RATE_HZ)).div_ceil(u64::from(self.rate_hz)) as usize);
        Ok(output)
    }
}

/// The index at [`SAMPLE_RATE_HZ`] of a sample at `rate_hz`.
pub(super) fn convert_index(sample: usize, rate_hz: u32) -> usize {
    (sample as u64 * u64::from(SAMPLE_RATE_HZ) / u64::from(rate_hz.max(1))) as usize
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_click_stays_where_it_was_and_the_length_fits() {
        let mut resampler = Resampler::new(22_050).unwrap();
        let mut samples = vec![0.0; 22_050];
        samples[11_025] = 1.0;
        let first = resampler.resample(samples.clone()).unwrap();
        assert_eq!(first.len(), 24_000);
        let peak = (0..first.len()).max_by(|&a, &b| first[a].total_cmp(&first[b])).unwrap();
        // Rubato's delay is a whole number of samples, the filter's is not.
        assert!(peak.abs_diff(12_000) <= 1, "{peak}");
        let other = resampler.resample(vec![0.5; 777]).unwrap();
        assert_eq!(other.len(), (777.0_f64 * 24_000.0 / 22_050.0).ceil() as usize);
        assert_eq!(resampler.resample(samples).unwrap(), first, "what came before changes nothing");
    }

    #[test]
    fn a_tone_keeps_its_level() {
        let tone: Vec<f32> = (0..22_050).map(|i| (i as f32 * 440.0 * std::f32::consts::TAU / 22_050.0).sin()).collect();
        let resampled = Resampler::new(22_050).unwrap().resample(tone).unwrap();
        let middle = &resampled[2_000..22_000];
        let mean_square = middle.iter().map(|s| s * s).sum::<f32>() / middle.len() as f32;
        assert!((mean_square - 0.5).abs() < 0.005, "{mean_square}");
    }
}
