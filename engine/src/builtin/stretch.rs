//! Longer or shorter without another pitch, for rates that the speech library does not reach: overlap-add of pieces of the sound, each
//! taken where it fits best to the one before (WSOLA: Verhelst and Roelands, ICASSP 1993).
//!
//! Deterministic: sums are made in one order. It may not know what the samples are.

use std::ops::ControlFlow;

/// Long enough for two periods of the deepest voice.
const WINDOW_MS: usize = 32;
/// How far a piece may be moved either way to fit: more than half a period of the deepest voice.
const SEARCH_MS: usize = 10;
/// The place is first looked for in steps of this many samples, on as coarse a picture of the sound; speech is low enough for that.
const COARSE: usize = 4;
/// Pieces between two questions whether to go on.
const ASK_EVERY: usize = 16;

/// `factor` is how much longer the result is; 1 gives the samples back. Mono samples at `rate_hz`. `None` when `wanted` breaks.
pub(crate) fn stretch(samples: Vec<f32>, rate_hz: u32, factor: f64, wanted: &mut dyn FnMut() -> ControlFlow<()>) -> Option<Vec<f32>> {
    let half = rate_hz as usize * WINDOW_MS / 2000;
    let search = rate_hz as usize * SEARCH_MS / 1000;
    let length = (samples.len() as f64 * factor).round() as usize;
    if (factor - 1.0).abs() < 1e-6 {
        return Some(samples);
    }
    if half < COARSE || samples.len() < 4 * half {
        return Some(nearest(&samples, length));
    }
    let window: Vec<f32> = (0..2 * half).map(|i| hann(i, 2 * half)).collect();
    let coarse: Vec<f32> = samples.chunks(COARSE).map(|few| few.iter().sum()).collect();
    let mut out = vec![0.0f32; length + 2 * half];
    // The first piece keeps its full beginning; from there on two halves of neighbouring windows add up to one.
    for ((out, sample), weight) in out.iter_mut().zip(&samples[..half]).zip(&window) {
        *out = sample * (1.0 - weight);
    }
    let (mut taken, mut at, mut pieces) = (0, 0, 0);
    while at < length {
        if pieces % ASK_EVERY == 0 && wanted().is_break() {
            return None;
        }
        add(&mut out[at..], &samples[taken..], &window);
        at += half;
        pieces += 1;
        let natural = taken + half;
        let ideal = ((at as f64 / factor).round() as usize).min(samples.len() - half);
        taken = match samples.get(natural..natural + half) {
            Some(target) => best_fit(&samples, &coarse, target, natural, ideal, search),
            // The end is reached: nothing comes next that could be fitted to.
            None => ideal,
        };
    }
    out.truncate(length);
    Some(out)
}

fn hann(index: usize, length: usize) -> f32 {
    let phase = (index as f64 + 0.5) / length as f64;
    (0.5 - 0.5 * (std::f64::consts::TAU * phase).cos()) as f32
}

fn add(out: &mut [f32], piece: &[f32], window: &[f32]) {
    for ((out, sample), weight) in out.iter_mut().zip(piece).zip(window) {
        *out += sample * weight;
    }
}

/// The place near `ideal` whose sound is most like `target`, which is what would have come next, at `natural`.
fn best_fit(samples: &[f32], coarse: &[f32], target: &[f32], natural: usize, ideal: usize, search: usize) -> usize {
    let last = samples.len() - target.len();
    let length = target.len() / COARSE;
    let coarse_target = &coarse[natural / COARSE..natural / COARSE + length];
    let coarse_last = last.min(ideal + search) / COARSE;
    let near = best(ideal.saturating_sub(search) / COARSE..=coarse_last.min(coarse.len() - length), |from| {
        likeness(coarse_target, &coarse[from..from + length])
    });
    let near = near.unwrap_or(ideal / COARSE) * COARSE;
    let fine = near.saturating_sub(COARSE).min(last)..=(near + COARSE).min(last);
    best(fine, |from| likeness(target, &samples[from..from + target.len()])).unwrap_or(ideal)
}

/// The first of the places with the greatest likeness.
fn best(places: std::ops::RangeInclusive<usize>, likeness: impl Fn(usize) -> f32) -> Option<usize> {
    let mut found: Option<(f32, usize)> = None;
    for place in places {
        let like = likeness(place);
        if found.is_none_or(|(most, _)| like > most) {
            found = Some((like, place));
        }
    }
    found.map(|(_, place)| place)
}

/// Correlation, not divided by the energy of `target`, which is the same for all candidates.
fn likeness(target: &[f32], candidate: &[f32]) -> f32 {
    let (mut product, mut energy) = (0.0f32, 1e-9f32);
    for (a, b) in target.iter().zip(candidate) {
        product += a * b;
        energy += b * b;
    }
    product / energy.sqrt()
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

    fn stretched(samples: &[f32], factor: f64) -> Vec<f32> {
        stretch(samples.to_vec(), RATE_HZ, factor, &mut || ControlFlow::Continue(())).unwrap_or_default()
    }

    #[test]
    fn length_follows_the_factor_and_pitch_and_level_stay() {
        let source = voice(2.0);
        let pitch = audio::measure::median_f0_hz(&source, RATE_HZ).unwrap_or_default();
        for factor in [0.4, 0.7, 1.3, 2.0, 3.0] {
            let result = stretched(&source, factor);
            assert_eq!(result.len(), (source.len() as f64 * factor).round() as usize);
            let moved = audio::measure::median_f0_hz(&result, RATE_HZ).unwrap_or_default();
            assert!((moved / pitch - 1.0).abs() < 0.03, "{factor}: {moved} Hz instead of {pitch} Hz");
            assert!((level(&result) / level(&source) - 1.0).abs() < 0.1, "{factor}: level {}", level(&result) / level(&source));
        }
    }

    #[test]
    fn one_changes_nothing_and_tiny_clips_are_taken() {
        let source = voice(0.2);
        assert_eq!(stretched(&source, 1.0), source);
        assert_eq!(stretched(&[0.5; 100], 2.0).len(), 200);
        assert!(stretched(&[], 2.0).is_empty());
    }

    #[test]
    fn it_asks_whether_to_go_on() {
        let mut left = 3;
        let mut wanted = || {
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        assert_eq!(stretch(voice(2.0), RATE_HZ, 2.0, &mut wanted), None);
    }
}
