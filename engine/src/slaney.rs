//! Mel bands as librosa makes them (Slaney, Auditory Toolbox 1998): what the speaker encoder and Whisper hear through. This file may not know
//! windows or logarithms.

/// Slaney's scale: linear up to 1 kHz, logarithmic above.
const LINEAR_HZ: f64 = 200.0 / 3.0;
const BREAK_HZ: f64 = 1_000.0;
const BREAK_MEL: f64 = BREAK_HZ / LINEAR_HZ;

fn log_step() -> f64 {
    6.4_f64.ln() / 27.0
}

fn mel_of(hz: f64) -> f64 {
    if hz < BREAK_HZ { hz / LINEAR_HZ } else { BREAK_MEL + (hz / BREAK_HZ).ln() / log_step() }
}

fn hz_of(mel: f64) -> f64 {
    if mel < BREAK_MEL { mel * LINEAR_HZ } else { BREAK_HZ * ((mel - BREAK_MEL) * log_step()).exp() }
}

/// Triangles of equal area, their feet on the neighbours' peaks: for each band its first bin and its weights from there, of `bins` bins that
/// are `bin_hz` apart.
pub(crate) fn slaney(bands: usize, bins: usize, top_hz: f64, bin_hz: f64) -> Vec<(usize, Vec<f64>)> {
    let edges: Vec<f64> = (0..bands + 2).map(|at| hz_of(mel_of(top_hz) * at as f64 / (bands + 1) as f64)).collect();
    let band = |index: usize| {
        let (left, peak, right) = (edges[index], edges[index + 1], edges[index + 2]);
        let height = 2.0 / (right - left);
        let weights = (0..bins).map(|bin| {
            let hz = bin as f64 * bin_hz;
            // librosa keeps its weights in f32.
            f64::from((((hz - left) / (peak - left)).min((right - hz) / (right - peak)).max(0.0) * height) as f32)
        });
        let weights: Vec<f64> = weights.collect();
        let first = weights.iter().position(|weight| *weight > 0.0).unwrap_or(0);
        let last = weights.iter().rposition(|weight| *weight > 0.0).unwrap_or(0);
        (first, weights[first..=last].to_vec())
    };
    (0..bands).map(band).collect()
}
