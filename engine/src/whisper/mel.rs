//! Log-mel frames as the reference's feature extractor makes them: 16 kHz, FFT 400, hop 160, Slaney bands up to 8 kHz.
//!
//! A periodic Hann window, frames centred with reflected edges, the last frame dropped, power, log10 of at least 1e-10, nothing more than 8
//! below the loudest, then (x + 4) / 4. Source: `WhisperFeatureExtractor` of transformers 4.57.3. This file may not know tensors.

use std::f64::consts::PI;
use std::sync::Arc;

use realfft::{RealFftPlanner, RealToComplex};

use super::SAMPLE_RATE_HZ;
use super::config::HOP;
use crate::slaney::slaney;

const FFT: usize = 400;
const LEAST_POWER: f64 = 1e-10;
/// Powers of ten below the loudest value of a window.
const RANGE: f64 = 8.0;

pub struct LogMel {
    transform: Arc<dyn RealToComplex<f64>>,
    window: Vec<f64>,
    /// For each band its first bin and its weights from there.
    bands: Vec<(usize, Vec<f64>)>,
    samples: usize,
}

impl std::fmt::Debug for LogMel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogMel").field("bands", &self.bands.len()).field("samples", &self.samples).finish_non_exhaustive()
    }
}

impl LogMel {
    /// For windows of so many samples.
    pub fn new(bands: usize, samples: usize) -> Self {
        // In f32 like the reference's.
        let window = (0..FFT).map(|at| f64::from((0.5 - 0.5 * (2.0 * PI * at as f64 / FFT as f64).cos()) as f32)).collect();
        let top_hz = f64::from(SAMPLE_RATE_HZ) / 2.0;
        let bin_hz = f64::from(SAMPLE_RATE_HZ) / FFT as f64;
        let bands = slaney(bands, FFT / 2 + 1, top_hz, bin_hz);
        Self { transform: RealFftPlanner::new().plan_fft_forward(FFT), window, bands, samples: samples.max(FFT) }
    }

    /// Weights of each band over the 201 bins.
    pub fn filters(&self) -> Vec<Vec<f32>> {
        let whole = |(first, weights): &(usize, Vec<f64>)| {
            let mut row = vec![0.0; FFT / 2 + 1];
            for (place, weight) in row[*first..].iter_mut().zip(weights) {
                *place = *weight as f32;
            }
            row
        };
        self.bands.iter().map(whole).collect()
    }

    /// Bands x frames, band after band. Sound that is shorter than a window is followed by silence; what is longer is not heard.
    ///
    /// # Errors
    /// Those of the transform, which has none for buffers of its own size.
    pub fn frames(&self, samples: &[f32]) -> Result<Vec<f32>, realfft::FftError> {
        let frames = self.samples / HOP;
        let half = FFT / 2;
        let heard = |at: isize| {
            let last = self.samples as isize - 1;
            let at = at.abs();
            let at = if at > last { 2 * last - at } else { at };
            samples.get(at as usize).copied().map_or(0.0, f64::from)
        };
        let mut spectrum = self.transform.make_output_vec();
        let mut mel = vec![0.0; self.bands.len() * frames];
        for frame in 0..frames {
            let from = (frame * HOP) as isize - half as isize;
            let mut piece: Vec<f64> = self.window.iter().enumerate().map(|(at, weight)| heard(from + at as isize) * weight).collect();
            self.transform.process(&mut piece, &mut spectrum)?;
            for (band, (first, weights)) in self.bands.iter().enumerate() {
                let power: f64 = weights.iter().zip(&spectrum[*first..]).map(|(weight, bin)| weight * bin.norm_sqr()).sum();
                mel[band * frames + frame] = power.max(LEAST_POWER).log10();
            }
        }
        let floor = mel.iter().copied().fold(f64::NEG_INFINITY, f64::max) - RANGE;
        Ok(mel.into_iter().map(|value| ((value.max(floor) + 4.0) / 4.0) as f32).collect())
    }
}
