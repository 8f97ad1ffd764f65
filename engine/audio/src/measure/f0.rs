//! The fundamental frequency by YIN (A. de Cheveigné, H. Kawahara, "YIN, a fundamental frequency estimator for speech and music",
//! J. Acoust. Soc. Am. 111(4), 2002), steps 1 to 5 of the paper: difference function, cumulative mean normalisation, absolute
//! threshold, parabolic interpolation; the gate for silence is ours.
//!
//! It may not know what the pitch is for.

use super::{HOP_MS, active::gate, mean_square, measured, ms_to_samples, rate_fits};

/// Where to look for the pitch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct F0Search {
    /// Lowest pitch looked for.
    pub min_hz: f32,
    /// Highest pitch looked for.
    pub max_hz: f32,
    /// The paper's absolute threshold: the first dip of the normalised difference under it is the period.
    pub threshold: f32,
    /// Where no dip is under the threshold the deepest is taken (so the paper), but above this one the frame counts as unvoiced.
    pub voiced_below: f32,
}

impl Default for F0Search {
    /// 60-550 Hz holds every speaking voice from a deep old man (about 80 Hz) to a child (about 300 Hz) with its intonation.
    fn default() -> Self {
        Self { min_hz: 60.0, max_hz: 550.0, threshold: 0.15, voiced_below: 0.35 }
    }
}

/// The pitch around one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct F0Frame {
    /// The middle of the frame.
    pub time_ms: f32,
    /// `None` where the frame is silent or unvoiced.
    pub f0_hz: Option<f32>,
    /// The normalised difference at the chosen dip (0 = perfectly periodic, about 1 = noise).
    pub aperiodicity: f32,
}

/// Length of the window whose difference is summed. One longest period is the least that works; a longer one smooths.
const WINDOW_MS: u32 = 25;

/// A voice with fewer voiced frames than this has no median worth naming.
const MIN_VOICED_FRAMES: usize = 10;

/// The pitch every 10 ms. Empty where the rate is outside 16-384 kHz, the search is empty or the sound is shorter than a frame.
///
/// d(τ) = Σ_{j<W} (x_j - x_{j+τ})²; d'(τ) = d(τ) · τ / Σ_{k=1..τ} d(k), d'(0) = 1. The period is the first local minimum of d' under
/// the threshold, refined by the parabola through its neighbours.
pub fn f0_track(samples: &[f32], rate_hz: u32, search: F0Search) -> Vec<F0Frame> {
    let fits = rate_fits(rate_hz) && search.min_hz >= 20.0 && search.max_hz > search.min_hz && search.max_hz * 4.0 <= rate_hz as f32;
    if !fits {
        return Vec::new();
    }
    let samples = measured(samples, rate_hz);
    let rate = rate_hz as f32;
    let min_lag = (rate / search.max_hz).floor() as usize;
    let max_lag = (rate / search.min_hz).ceil() as usize + 1;
    let window = ms_to_samples(WINDOW_MS, rate_hz).max(max_lag);
    let span = window + max_lag;
    let gate = gate(samples, rate_hz);
    let smooth = low_pass(samples, rate_hz);
    let hop = ms_to_samples(HOP_MS, rate_hz).max(1);
    let mut difference = vec![0.0f32; max_lag + 1];
    smooth
        .windows(span)
        .zip(samples.windows(span))
        .step_by(hop)
        .enumerate()
        .map(|(i, (frame, raw))| {
            let time_ms = (i * hop + span / 2) as f32 * 1000.0 / rate;
            if gate.is_none_or(|g| mean_square(raw) <= g) {
                return F0Frame { time_ms, f0_hz: None, aperiodicity: 1.0 };
            }
            normalised_difference(frame, window, &mut difference);
            let lag = period(&difference, min_lag, search.threshold);
            let aperiodicity = difference[lag];
            let f0_hz = (aperiodicity < search.voiced_below).then(|| rate / parabola(&difference, lag));
            F0Frame { time_ms, f0_hz, aperiodicity }
        })
        .collect()
}

/// Median of the voiced frames' pitch in Hz, by the default search; `None` with under ten voiced frames (100 ms).
pub fn median_f0_hz(samples: &[f32], rate_hz: u32) -> Option<f32> {
    let mut voiced: Vec<f32> = f0_track(samples, rate_hz, F0Search::default()).iter().filter_map(|f| f.f0_hz).collect();
    if voiced.len() < MIN_VOICED_FRAMES {
        return None;
    }
    let middle = voiced.len() / 2;
    let (_, median, _) = voiced.select_nth_unstable_by(middle, f32::total_cmp);
    Some(*median)
}

/// How many semitones `a_hz` lies above `b_hz`: 12·log2(a/b). NaN unless both are positive.
pub fn semitones(a_hz: f32, b_hz: f32) -> f32 {
    if a_hz > 0.0 && b_hz > 0.0 { 12.0 * (a_hz / b_hz).log2() } else { f32::NAN }
}

/// The paper's low-pass: the mean over one millisecond, first zero at 1 kHz. Without it breath and hiss hide the period of soft voices.
fn low_pass(samples: &[f32], rate_hz: u32) -> Vec<f32> {
    let width = ms_to_samples(1, rate_hz).max(1);
    let mut sum = 0.0f64;
    (0..samples.len())
        .map(|i| {
            sum += f64::from(samples[i]);
            if i >= width {
                sum -= f64::from(samples[i - width]);
            }
            (sum / width as f64) as f32
        })
        .collect()
}

/// d' for the lags 0..out.len().
fn normalised_difference(frame: &[f32], window: usize, out: &mut [f32]) {
    out[0] = 1.0;
    let mut sum = 0.0f64;
    for lag in 1..out.len() {
        let d = squared_difference(&frame[..window], &frame[lag..lag + window]);
        sum += f64::from(d);
        out[lag] = if sum > 0.0 { (f64::from(d) * lag as f64 / sum) as f32 } else { 1.0 };
    }
}

/// Eight running sums: one sum is a chain that the compiler may not reorder, eight are one vector register.
fn squared_difference(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 8];
    let (a8, a_rest) = a.as_chunks::<8>();
    let (b8, b_rest) = b.as_chunks::<8>();
    for (x, y) in a8.iter().zip(b8) {
        for i in 0..8 {
            let d = x[i] - y[i];
            lanes[i] += d * d;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(x, y)| (x - y) * (x - y)).sum();
    lanes.iter().sum::<f32>() + rest
}

/// The lag of the first dip under the threshold, or else of the deepest one.
fn period(d: &[f32], min_lag: usize, threshold: f32) -> usize {
    let last = d.len() - 1;
    let mut deepest = min_lag;
    let mut lag = min_lag;
    while lag < last {
        if d[lag] < threshold {
            while lag + 1 < last && d[lag + 1] < d[lag] {
                lag += 1;
            }
            return lag;
        }
        if d[lag] < d[deepest] {
            deepest = lag;
        }
        lag += 1;
    }
    deepest
}

/// The lag of the lowest point of the parabola through `lag` and its neighbours.
fn parabola(d: &[f32], lag: usize) -> f32 {
    let (left, mid, right) = (d[lag - 1], d[lag], d[lag + 1]);
    let bend = left - 2.0 * mid + right;
    if bend <= f32::EPSILON { lag as f32 } else { lag as f32 + (0.5 * (left - right) / bend).clamp(-1.0, 1.0) }
}
