//! Longer or shorter without another pitch, for rates that the speech library does not reach: overlap-add of pieces of the sound, each
//! taken where it fits best to the one before (WSOLA: Verhelst and Roelands, ICASSP 1993).
//!
//! Deterministic: sums are made in one order. It may not know what the samples are.

/// Long enough for two periods of the deepest voice.
const WINDOW_MS: usize = 32;
/// How far a piece may be moved either way to fit: more than half a period of the deepest voice.
const SEARCH_MS: usize = 10;
/// Fits are compared on every fourth sample: speech is low enough for that.
const COMPARE_STEP: usize = 4;

/// `factor` is how much longer the result is; 1 gives the samples back. Mono samples at `rate_hz`.
pub(super) fn stretch(samples: Vec<f32>, rate_hz: u32, factor: f64) -> Vec<f32> {
    let half = rate_hz as usize * WINDOW_MS / 2000;
    let search = rate_hz as usize * SEARCH_MS / 1000;
    let wanted = (samples.len() as f64 * factor).round() as usize;
    if (factor - 1.0).abs() < 1e-6 || half == 0 || samples.len() < 4 * half {
        return if (factor - 1.0).abs() < 1e-6 { samples } else { nearest(&samples, wanted) };
    }
    let window: Vec<f32> = (0..2 * half).map(|i| hann(i, 2 * half)).collect();
    let mut out = vec![0.0f32; wanted + 2 * half];
    let mut taken = 0usize;
    let mut at = 0usize;
    // The first piece keeps its full beginning; from there on two halves of neighbouring windows add up to one.
    for (i, sample) in samples.iter().take(half).enumerate() {
        out[i] = *sample * (1.0 - window[i]);
    }
    while at < wanted {
        add(&mut out[at..], &samples, taken, &window);
        at += half;
        let natural = taken + half;
        let ideal = (at as f64 / factor).round() as usize;
        taken = best_fit(&samples, natural, ideal, search, half);
    }
    out.truncate(wanted);
    out
}

fn hann(index: usize, length: usize) -> f32 {
    let phase = (index as f64 + 0.5) / length as f64;
    (0.5 - 0.5 * (std::f64::consts::TAU * phase).cos()) as f32
}

fn add(out: &mut [f32], samples: &[f32], from: usize, window: &[f32]) {
    let piece = samples.get(from..).unwrap_or_default();
    for ((out, sample), weight) in out.iter_mut().zip(piece).zip(window) {
        *out += sample * weight;
    }
}

/// The place near `ideal` whose sound is most like what would have come next at `natural`.
fn best_fit(samples: &[f32], natural: usize, ideal: usize, search: usize, half: usize) -> usize {
    let last = samples.len().saturating_sub(half);
    let low = ideal.saturating_sub(search).min(last);
    let high = (ideal + search).min(last);
    let target = match samples.get(natural..natural + half) {
        Some(target) => target,
        None => return ideal.min(last),
    };
    let mut best = (f32::MIN, ideal.min(last));
    for from in low..=high {
        let candidate = &samples[from..from + half];
        let (mut product, mut energy) = (0.0f32, 1e-9f32);
        for (a, b) in target.iter().zip(candidate).step_by(COMPARE_STEP) {
            product += a * b;
            energy += b * b;
        }
        let fit = product / energy.sqrt();
        if fit > best.0 {
            best = (fit, from);
        }
    }
    best.1
}

/// For clips shorter than two windows nothing can be overlapped: they are too short for a pitch to be heard.
fn nearest(samples: &[f32], wanted: usize) -> Vec<f32> {
    (0..wanted).filter_map(|i| samples.get(i * samples.len() / wanted.max(1)).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE_HZ: u32 = 22_050;

    /// A tone with overtones whose pitch glides, as speech has it.
    fn voice(seconds: f64) -> Vec<f32> {
        let count = (seconds * f64::from(RATE_HZ)) as usize;
        let mut phase = 0.0f64;
        let sample = |i: usize| {
            phase += (120.0 + 20.0 * (i as f64 / 5_000.0).sin()) / f64::from(RATE_HZ);
            (1..6).map(|n| (phase * std::f64::consts::TAU * f64::from(n)).sin() / f64::from(n)).sum::<f64>() as f32 * 0.3
        };
        (0..count).map(sample).collect()
    }

    fn level(samples: &[f32]) -> f32 {
        (samples.iter().map(|s| s * s).sum::<f32>() / samples.len() as f32).sqrt()
    }

    #[test]
    fn length_follows_the_factor_and_pitch_and_level_stay() {
        let source = voice(2.0);
        let pitch = audio::measure::median_f0_hz(&source, RATE_HZ).unwrap_or_default();
        for factor in [0.4, 0.7, 1.3, 2.0, 3.0] {
            let result = stretch(source.clone(), RATE_HZ, factor);
            assert_eq!(result.len(), (source.len() as f64 * factor).round() as usize);
            let stretched = audio::measure::median_f0_hz(&result, RATE_HZ).unwrap_or_default();
            assert!((stretched / pitch - 1.0).abs() < 0.03, "{factor}: {stretched} Hz instead of {pitch} Hz");
            assert!((level(&result) / level(&source) - 1.0).abs() < 0.1, "{factor}: level {}", level(&result) / level(&source));
        }
    }

    #[test]
    fn one_changes_nothing_and_tiny_clips_are_taken() {
        let source = voice(0.2);
        assert_eq!(stretch(source.clone(), RATE_HZ, 1.0), source);
        assert_eq!(stretch(vec![0.5; 100], RATE_HZ, 2.0).len(), 200);
        assert!(stretch(Vec::new(), RATE_HZ, 2.0).is_empty());
    }
}
