//! Timbre as mel cepstra (S. B. Davis, P. Mermelstein, "Comparison of parametric representations for monosyllabic word recognition
//! in continuously spoken sentences", IEEE Trans. ASSP 28(4), 1980), averaged over the voiced frames.
//!
//! The paper leaves the details open; ours are fixed below and must not change, thresholds in tests hang on them.
//! It may not know what is being compared.

use realfft::RealFftPlanner;

use super::{F0Search, f0_track, measured, ms_to_samples, rate_fits};

/// Coefficients c1 to c19. c0, the level, is left out: a voice is no other voice for being louder.
pub const MFCC_LEN: usize = 19;

const WINDOW_MS: u32 = 25;
const FILTERS: usize = 32;
const LOWEST_HZ: f64 = 80.0;
const HIGHEST_HZ: f64 = 7_600.0;
/// Bands more than 80 dB under the sum of the frame are noise of the number format, not voice.
const BAND_FLOOR: f64 = 1e-8;
const MIN_VOICED_FRAMES: usize = 10;

/// Mean c1..c19 over the voiced frames; `None` with under ten voiced frames (100 ms) or a rate outside 16-384 kHz.
///
/// A frame is 25 ms under a Hann window every 10 ms, voiced where YIN finds a pitch at its middle. Power spectrum by an FFT of at
/// least twice the window; 32 triangular filters spaced evenly in mel = 2595·log10(1 + f/700) from 80 to 7,600 Hz, so that the
/// bands are the same Hz at every sample rate; natural logarithm of the bands' amplitudes (half that of their energies);
/// orthonormal DCT-II: c_k = sqrt(2/32) · Σ_m ½·ln(E_m) · cos(π·k·(m + ½)/32). No pre-emphasis (it would shift every mean alike)
/// and no liftering. On this scale stock variants of one synthesiser lie 1.5-2 apart, different speakers 4-9.
pub fn mean_mfcc(samples: &[f32], rate_hz: u32) -> Option<[f32; MFCC_LEN]> {
    if !rate_fits(rate_hz) {
        return None;
    }
    let samples = measured(samples, rate_hz);
    let window = ms_to_samples(WINDOW_MS, rate_hz);
    let size = (2 * window).next_power_of_two();
    let fft = RealFftPlanner::<f32>::new().plan_fft_forward(size);
    let filters = filterbank(rate_hz, size);
    let hann = hann(window);
    let (mut input, mut spectrum, mut scratch) = (fft.make_input_vec(), fft.make_output_vec(), fft.make_scratch_vec());
    let mut sum = [0.0f64; MFCC_LEN];
    let mut frames = 0usize;
    for frame in f0_track(samples, rate_hz, F0Search::default()).iter().filter(|f| f.f0_hz.is_some()) {
        let middle = (f64::from(frame.time_ms) * f64::from(rate_hz) / 1000.0).round() as usize;
        let Some(start) = middle.checked_sub(window / 2) else { continue };
        let Some(part) = samples.get(start..start + window) else { continue };
        input.fill(0.0);
        for ((to, &from), &w) in input.iter_mut().zip(part).zip(&hann) {
            *to = from * w;
        }
        // The lengths are the plan's own, which is the only thing it can refuse.
        if fft.process_with_scratch(&mut input, &mut spectrum, &mut scratch).is_err() {
            return None;
        }
        let power: Vec<f64> = spectrum.iter().map(|c| f64::from(c.norm_sqr())).collect();
        add_cepstrum(&filters, &power, &mut sum);
        frames += 1;
    }
    if frames < MIN_VOICED_FRAMES { None } else { Some(sum.map(|s| (s / frames as f64) as f32)) }
}

/// Euclidean distance between two means, in the units of [`mean_mfcc`].
pub fn mfcc_distance(a: &[f32; MFCC_LEN], b: &[f32; MFCC_LEN]) -> f32 {
    a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum::<f32>().sqrt()
}

/// The weights of one triangle, from its first bin on.
struct Filter {
    first_bin: usize,
    weights: Vec<f64>,
}

fn mel(hz: f64) -> f64 {
    2595.0 * (1.0 + hz / 700.0).log10()
}

fn hz(mel: f64) -> f64 {
    700.0 * (10f64.powf(mel / 2595.0) - 1.0)
}

fn filterbank(rate_hz: u32, size: usize) -> Vec<Filter> {
    let bin_hz = f64::from(rate_hz) / size as f64;
    let step = (mel(HIGHEST_HZ) - mel(LOWEST_HZ)) / (FILTERS + 1) as f64;
    let edge = |i: usize| hz(mel(LOWEST_HZ) + step * i as f64);
    (0..FILTERS)
        .map(|m| {
            let (low, centre, high) = (edge(m), edge(m + 1), edge(m + 2));
            let first_bin = (low / bin_hz).ceil() as usize;
            let last_bin = (high / bin_hz).floor() as usize;
            let weight = |bin: usize| {
                let f = bin as f64 * bin_hz;
                if f <= centre { (f - low) / (centre - low) } else { (high - f) / (high - centre) }
            };
            Filter { first_bin, weights: (first_bin..=last_bin).map(weight).collect() }
        })
        .collect()
}

fn hann(len: usize) -> Vec<f32> {
    (0..len).map(|i| (0.5 - 0.5 * (std::f64::consts::TAU * (i as f64 + 0.5) / len as f64).cos()) as f32).collect()
}

fn add_cepstrum(filters: &[Filter], power: &[f64], sum: &mut [f64; MFCC_LEN]) {
    let mut bands = [0.0f64; FILTERS];
    for (band, filter) in bands.iter_mut().zip(filters) {
        *band = filter.weights.iter().zip(&power[filter.first_bin..]).map(|(w, p)| w * p).sum();
    }
    let floor = (bands.iter().sum::<f64>() * BAND_FLOOR).max(f64::MIN_POSITIVE);
    let logs = bands.map(|e| 0.5 * e.max(floor).ln());
    let scale = (2.0 / FILTERS as f64).sqrt();
    for (k, total) in (1..).zip(sum.iter_mut()) {
        let turn = std::f64::consts::PI * f64::from(k) / FILTERS as f64;
        *total += scale * logs.iter().enumerate().map(|(m, l)| l * (turn * (m as f64 + 0.5)).cos()).sum::<f64>();
    }
}
