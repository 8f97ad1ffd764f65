//! The spectral envelope: the power spectrum without the traces of the pitch.
//!
//! M. Morise, "CheapTrick, a spectral envelope estimator for high-quality speech synthesis", Speech Communication 67, 2015: a Hann window
//! of three periods, smoothing over two thirds of the pitch, and a lifter that takes away what is left of the harmonics and restores
//! what the smoothing took (q1 = -0.15, M. Morise, "Error evaluation of an F0-adaptive spectral envelope estimator...", 2015).

use std::f64::consts::PI;

use realfft::num_complex::Complex64;

use super::WorldConfig;
use super::fourier::{Fourier, middle_of, sample_at};
use super::smooth::{Smoother, fill_below_pitch};

/// Window and smoothing where there is no pitch.
const UNVOICED_HZ: f64 = 500.0;
const Q1: f64 = -0.15;
/// Digital silence has no logarithm.
const FLOOR: f64 = 1e-16;

pub(super) struct CheapTrick {
    rate_hz: f64,
    /// Three periods of a lower pitch than this do not fit the transform.
    lowest_hz: f64,
    fourier: Fourier,
    smoother: Smoother,
    window: Vec<f64>,
    power: Vec<f64>,
}

impl CheapTrick {
    pub(super) fn new(config: &WorldConfig) -> Self {
        let fourier = Fourier::new(config.fft_len());
        let rate_hz = f64::from(config.rate_hz);
        let lowest_hz = 3.0 * rate_hz / (config.fft_len() as f64 - 3.0);
        Self { rate_hz, lowest_hz, fourier, smoother: Smoother::default(), window: Vec::new(), power: vec![0.0; config.bins()] }
    }

    pub(super) fn envelope(&mut self, samples: &[f32], frame: usize, f0_hz: f64, out: &mut [f64]) {
        let pitch_hz = if f0_hz > 0.0 { f0_hz.max(self.lowest_hz) } else { UNVOICED_HZ };
        self.power_around(samples, frame, pitch_hz);
        let pitch_bins = pitch_hz * self.fourier.len() as f64 / self.rate_hz;
        fill_below_pitch(&mut self.power, pitch_bins);
        self.smoother.smooth(&mut self.power, pitch_bins * 2.0 / 3.0);
        self.lifter(pitch_hz);
        out.iter_mut().zip(&self.fourier.spectrum).for_each(|(out, log)| *out = log.re.exp());
    }

    /// Power spectrum under a Hann window of three periods and unit energy.
    fn power_around(&mut self, samples: &[f32], frame: usize, pitch_hz: f64) {
        let middle = middle_of(frame, self.rate_hz);
        let half = ((1.5 * self.rate_hz / pitch_hz).round() as isize).min(self.fourier.len() as isize / 2 - 1);
        let turn = PI * pitch_hz / (1.5 * self.rate_hz);
        self.window.clear();
        self.window.extend((-half..=half).map(|at| 0.5 + 0.5 * (turn * at as f64).cos()));
        let energy = self.window.iter().map(|w| w * w).sum::<f64>().sqrt();
        self.window.iter_mut().for_each(|w| *w /= energy);
        self.fourier.time.fill(0.0);
        let (mut sum, mut weights) = (0.0, 0.0);
        for ((at, weight), out) in (-half..=half).zip(&self.window).zip(&mut self.fourier.time) {
            *out = weight * sample_at(samples, middle + at);
            sum += *out;
            weights += weight;
        }
        for (out, weight) in self.fourier.time.iter_mut().zip(&self.window) {
            *out -= weight * sum / weights;
        }
        self.fourier.forward();
        self.power.iter_mut().zip(&self.fourier.spectrum).for_each(|(power, bin)| *power = bin.norm_sqr());
    }

    /// Leaves the logarithms of the liftered power in the real parts of `fourier.spectrum`.
    fn lifter(&mut self, pitch_hz: f64) {
        for (bin, power) in self.fourier.spectrum.iter_mut().zip(&self.power) {
            *bin = Complex64::new((power + FLOOR).ln(), 0.0);
        }
        self.fourier.inverse();
        let len = self.fourier.len();
        for place in 0..=len / 2 {
            let periods = place as f64 / self.rate_hz * pitch_hz;
            let smoothing = if place == 0 { 1.0 } else { (PI * periods).sin() / (PI * periods) };
            let compensation = 1.0 - 2.0 * Q1 + 2.0 * Q1 * (2.0 * PI * periods).cos();
            let weight = smoothing * compensation / len as f64;
            self.fourier.time[place] *= weight;
            if place > 0 && place < len / 2 {
                self.fourier.time[len - place] = self.fourier.time[place];
            }
        }
        self.fourier.forward();
    }
}
