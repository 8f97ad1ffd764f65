//! Log-mel frames as the speaker encoder was trained on: 24 kHz, FFT 1,024, hop 256, 128 Slaney bands up to 12 kHz.
//!
//! Reflection by 384 samples on both sides, a periodic Hann window, frames not centred, magnitude sqrt(re^2 + im^2 + 1e-9), natural
//! logarithm of at least 1e-5. Source: `mel_spectrogram` of the reference; bands as in librosa (Slaney, Auditory Toolbox 1998).
//! This file may not know tensors.

use std::f64::consts::PI;
use std::sync::Arc;

use realfft::{RealFftPlanner, RealToComplex};

use crate::qwen3_tts::ModelError;
use crate::slaney::slaney;

const FFT: usize = 1_024;
const HOP: usize = 256;
const PAD: usize = (FFT - HOP) / 2;
const LEAST_POWER: f64 = 1e-9;
const LEAST_MEL: f64 = 1e-5;

pub(in crate::qwen3_tts) struct LogMel {
    transform: Arc<dyn RealToComplex<f64>>,
    window: Vec<f64>,
    /// For each band its first bin and its weights from there.
    bands: Vec<(usize, Vec<f64>)>,
}

impl std::fmt::Debug for LogMel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogMel").field("bands", &self.bands.len()).finish_non_exhaustive()
    }
}

impl LogMel {
    pub(in crate::qwen3_tts) fn new(sample_rate_hz: u32, bands: usize) -> Self {
        // In f32 like the reference's: where a band is quiet, the window's rounding is heard.
        let window = (0..FFT).map(|at| f64::from((0.5 - 0.5 * (2.0 * PI * at as f64 / FFT as f64).cos()) as f32)).collect();
        let top_hz = f64::from(sample_rate_hz) / 2.0;
        let bin_hz = f64::from(sample_rate_hz) / FFT as f64;
        Self { transform: RealFftPlanner::new().plan_fft_forward(FFT), window, bands: slaney(bands, FFT / 2 + 1, top_hz, bin_hz) }
    }

    /// Frames x bands. At least 385 samples, or there is nothing to reflect.
    pub(in crate::qwen3_tts) fn frames(&self, samples: &[f32]) -> Result<Vec<Vec<f32>>, ModelError> {
        if samples.len() <= PAD {
            return Err(ModelError::Request("the recording is too short".to_owned()));
        }
        let padded = reflected(samples, PAD);
        let mut spectrum = self.transform.make_output_vec();
        let mut frames = Vec::with_capacity(padded.len() / HOP);
        for frame in padded.windows(FFT).step_by(HOP) {
            let mut frame: Vec<f64> = frame.iter().zip(&self.window).map(|(sample, window)| sample * window).collect();
            let done = self.transform.process(&mut frame, &mut spectrum);
            done.map_err(|error| ModelError::Request(format!("the recording cannot be analysed: {error}")))?;
            let magnitudes: Vec<f64> = spectrum.iter().map(|bin| (bin.norm_sqr() + LEAST_POWER).sqrt()).collect();
            frames.push(self.bands.iter().map(|band| log_of(band, &magnitudes)).collect());
        }
        Ok(frames)
    }
}

fn log_of((first, weights): &(usize, Vec<f64>), magnitudes: &[f64]) -> f32 {
    let sum: f64 = weights.iter().zip(&magnitudes[*first..]).map(|(weight, magnitude)| weight * magnitude).sum();
    sum.max(LEAST_MEL).ln() as f32
}

/// Mirrored at both ends without doubling the ends.
fn reflected(samples: &[f32], by: usize) -> Vec<f64> {
    let before = samples[1..=by].iter().rev();
    let after = samples[samples.len() - 1 - by..samples.len() - 1].iter().rev();
    before.chain(samples).chain(after).map(|sample| f64::from(*sample)).collect()
}
