//! How much of the voice at each frequency is noise.
//!
//! M. Morise, "D4C, a band-aperiodicity estimator for high-quality speech synthesis", Speech Communication 84, 2016: a parameter made of
//! group delays that is the same sine wave, one turn a harmonic, for a periodic signal, whatever its spectrum; what of it is no such
//! sine is noise. Measured in bands 3 kHz apart, straight lines in dB between. Voiced or not is the paper's "love train": energy below
//! 4 kHz against that below 7.9 kHz.

use std::f64::consts::PI;

use realfft::num_complex::Complex64;

use super::WorldConfig;
use super::fourier::{Fourier, middle_of, sample_at};
use super::smooth::{Smoother, fill_below_pitch};

/// Windows hold four periods; of a pitch lower than this the first of them.
const LOWEST_HZ: f64 = 47.0;
const BAND_STEP_HZ: f64 = 3_000.0;
const HIGHEST_BAND_HZ: f64 = 15_000.0;
/// At 0 Hz a voice holds no noise.
const FLOOR_DB: f64 = -60.0;
/// Share of the energy that a voiced frame has below 4 kHz. The paper's 0.85 takes the voice from bright speakers; white noise has 0.5.
const VOICED_SHARE: f64 = 0.7;
const LOVE_LOWEST_HZ: f64 = 40.0;

#[derive(Clone, Copy)]
enum Window {
    Hann,
    Blackman,
}

pub(super) struct D4c {
    rate_hz: f64,
    fourier: Fourier,
    first: Vec<Complex64>,
    smoother: Smoother,
    power: Vec<f64>,
    delay: Vec<f64>,
    smooth_delay: Vec<f64>,
    weights: Vec<f64>,
    band: Fourier,
    band_window: Vec<f64>,
}

impl D4c {
    pub(super) fn new(config: &WorldConfig) -> Self {
        let rate_hz = f64::from(config.rate_hz);
        let fourier = Fourier::new(((4.0 * rate_hz / LOWEST_HZ) as usize + 1).next_power_of_two());
        let bins = fourier.len() / 2 + 1;
        let band_len = (BAND_STEP_HZ * fourier.len() as f64 / rate_hz) as usize * 2 + 1;
        let band = Fourier::new(fourier.len());
        let band_window = (0..band_len).map(|at| nuttall(at as f64 / (band_len - 1) as f64)).collect();
        Self {
            rate_hz,
            fourier,
            first: Vec::new(),
            smoother: Smoother::default(),
            power: vec![0.0; bins],
            delay: vec![0.0; bins],
            smooth_delay: Vec::new(),
            weights: Vec::new(),
            band,
            band_window,
        }
    }

    pub(super) fn is_voiced(&mut self, samples: &[f32], frame: usize, f0_hz: f64) -> bool {
        let middle = middle_of(frame, self.rate_hz) as f64;
        self.windowed(samples, middle, f0_hz.max(LOVE_LOWEST_HZ), 3.0, Window::Blackman);
        self.fourier.forward();
        let bin = |hz: f64| ((hz * self.fourier.len() as f64 / self.rate_hz).ceil() as usize).min(self.power.len() - 1);
        let energy = |to_hz: f64| self.fourier.spectrum[bin(100.0) + 1..=bin(to_hz)].iter().map(|c| c.norm_sqr()).sum::<f64>();
        energy(4_000.0) > VOICED_SHARE * energy(7_900.0)
    }

    /// Amplitude of the noise as a share of the whole at each bin of the envelope.
    pub(super) fn aperiodicity(&mut self, samples: &[f32], frame: usize, f0_hz: f64, out: &mut [f64]) {
        if f0_hz <= 0.0 {
            out.fill(1.0);
            return;
        }
        let f0_hz = f0_hz.max(LOWEST_HZ);
        self.group_delay(samples, frame, f0_hz);
        let bands = ((HIGHEST_BAND_HZ.min(self.rate_hz / 2.0 - BAND_STEP_HZ)) / BAND_STEP_HZ) as usize;
        let mut points_db = [0.0; 8];
        points_db[0] = FLOOR_DB;
        for (band, point) in points_db.iter_mut().enumerate().take(bands + 1).skip(1) {
            // Higher pitches have fewer harmonics under the window, which looks like noise.
            *point = (self.band_db(band) + (f0_hz - 100.0) / 50.0).clamp(FLOOR_DB, 0.0);
        }
        let bin_hz = self.rate_hz / 2.0 / (out.len() - 1) as f64;
        let highest_hz = bands as f64 * BAND_STEP_HZ;
        for (bin, out) in out.iter_mut().enumerate() {
            let hz = bin as f64 * bin_hz;
            let (left, share) = if hz < highest_hz {
                ((hz / BAND_STEP_HZ) as usize, hz / BAND_STEP_HZ % 1.0)
            } else {
                (bands, (hz - highest_hz) / (self.rate_hz / 2.0 - highest_hz))
            };
            let db = points_db[left] + (points_db[left + 1] - points_db[left]) * share;
            *out = 10f64.powf(db / 20.0);
        }
    }

    /// The paper's parameter: into `delay`.
    fn group_delay(&mut self, samples: &[f32], frame: usize, f0_hz: f64) {
        let middle = frame as f64 * super::FRAME_MS / 1000.0 * self.rate_hz;
        let pitch_bins = f0_hz * self.fourier.len() as f64 / self.rate_hz;
        // A quarter of a period to either side, so that what changes within a period goes away.
        let quarter = self.rate_hz / f0_hz / 4.0;
        self.delay.fill(0.0);
        for at in [middle - quarter, middle + quarter] {
            self.add_centroid(samples, at, f0_hz);
        }
        fill_below_pitch(&mut self.delay, pitch_bins);
        self.windowed(samples, middle, f0_hz, 4.0, Window::Hann);
        self.fourier.forward();
        self.power.iter_mut().zip(&self.fourier.spectrum).for_each(|(power, bin)| *power = bin.norm_sqr());
        fill_below_pitch(&mut self.power, pitch_bins);
        self.smoother.smooth(&mut self.power, pitch_bins);
        self.delay.iter_mut().zip(&self.power).for_each(|(delay, power)| *delay /= power + 1e-16);
        self.smoother.smooth(&mut self.delay, pitch_bins / 2.0);
        self.smooth_delay.clone_from(&self.delay);
        self.smoother.smooth(&mut self.smooth_delay, pitch_bins);
        self.delay.iter_mut().zip(&self.smooth_delay).for_each(|(delay, smooth)| *delay -= smooth);
    }

    /// Energy times its mean time at each frequency, of four periods of unit energy around `at`.
    fn add_centroid(&mut self, samples: &[f32], at: f64, f0_hz: f64) {
        let len = self.windowed(samples, at, f0_hz, 4.0, Window::Blackman);
        let energy = self.fourier.time[..len].iter().map(|s| s * s).sum::<f64>().sqrt();
        if energy <= 0.0 {
            return;
        }
        self.fourier.time[..len].iter_mut().for_each(|s| *s /= energy);
        let mut timed: Vec<f64> = self.fourier.time[..len].iter().zip(1..).map(|(s, at)| s * f64::from(at)).collect();
        self.fourier.forward();
        self.first.clone_from(&self.fourier.spectrum);
        timed.resize(self.fourier.len(), 0.0);
        self.fourier.time.copy_from_slice(&timed);
        self.fourier.forward();
        for ((delay, x), tx) in self.delay.iter_mut().zip(&self.first).zip(&self.fourier.spectrum) {
            *delay += x.re * tx.re + x.im * tx.im;
        }
    }

    /// `periods` periods around `at` under a window, without their mean, at the beginning of `fourier.time`. Gives their length.
    fn windowed(&mut self, samples: &[f32], at: f64, f0_hz: f64, periods: f64, window: Window) -> usize {
        let longest = self.fourier.len() as isize / 2 - 1;
        let half = ((periods / 2.0 * self.rate_hz / f0_hz).round() as isize).min(longest);
        let middle = at.round() as isize;
        let turn = 2.0 * PI * f0_hz / (periods * self.rate_hz);
        self.weights.clear();
        self.weights.extend((-half..=half).map(|at| {
            let cos = (turn * at as f64).cos();
            match window {
                Window::Hann => 0.5 + 0.5 * cos,
                // 0.42 + 0.5 cos φ + 0.08 cos 2φ
                Window::Blackman => 0.34 + 0.5 * cos + 0.16 * cos * cos,
            }
        }));
        self.fourier.time.fill(0.0);
        let (mut sum, mut weights) = (0.0, 0.0);
        for ((out, at), weight) in self.fourier.time.iter_mut().zip(-half..=half).zip(&self.weights) {
            *out = weight * sample_at(samples, middle + at);
            sum += *out;
            weights += weight;
        }
        self.fourier.time.iter_mut().zip(&self.weights).for_each(|(out, weight)| *out -= weight * sum / weights);
        2 * half as usize + 1
    }

    /// What is left beside the sine in one band, in dB of the band.
    fn band_db(&mut self, band: usize) -> f64 {
        let half = self.band_window.len() / 2;
        let centre = (BAND_STEP_HZ * band as f64 * self.fourier.len() as f64 / self.rate_hz) as usize;
        self.band.time.fill(0.0);
        for ((out, window), bin) in self.band.time.iter_mut().zip(&self.band_window).zip(centre - half..) {
            *out = window * self.delay.get(bin).copied().unwrap_or(0.0);
        }
        self.band.forward();
        let mut power: Vec<f64> = self.band.spectrum.iter().map(|c| c.norm_sqr()).collect();
        // The sine's main lobe is this wide under the window.
        let lobe = (self.band.len() as f64 * 8.0 / self.band_window.len() as f64).round() as usize;
        let total: f64 = power.iter().sum();
        let rest = power.len() - lobe.min(power.len() - 2) - 1;
        power.select_nth_unstable_by(rest, f64::total_cmp);
        let rest: f64 = power[..rest].iter().sum();
        10.0 * ((rest + 1e-16) / (total + 1e-16)).log10()
    }
}

/// At `at` of 0 to 1 of its length.
fn nuttall(at: f64) -> f64 {
    let phase = 2.0 * PI * at;
    0.355_768 - 0.487_396 * phase.cos() + 0.144_232 * (2.0 * phase).cos() - 0.012_604 * (3.0 * phase).cos()
}
