//! How fast somebody speaks, in syllables a second, without knowing the words.
//!
//! N. H. de Jong, T. Wempe, "Praat script to detect syllable nuclei and measure speech rate automatically", Behavior Research Methods 41,
//! 2009: peaks of the loudness with a dip of at least 2 dB on both sides, where there is voice. It may not know who speaks.

use audio::measure::{F0Search, f0_track, speaking_ms};

use crate::speech::SAMPLE_RATE_HZ;

const HOP: usize = SAMPLE_RATE_HZ as usize / 100;
const DIP_DB: f64 = 2.0;
/// Peaks this far under the loudest twentieth are no syllables.
const FLOOR_DB: f64 = -25.0;

/// `None` for less than two seconds of speech, or without voice.
pub(super) fn syllables_per_second(samples: &[f32]) -> Option<f64> {
    let speaking_ms = speaking_ms(samples, SAMPLE_RATE_HZ);
    if speaking_ms < 2_000 {
        return None;
    }
    let power = |at: usize| {
        // 60 ms around the hop: shorter and the beats of a deep voice are peaks.
        let part = &samples[(at * HOP).saturating_sub(HOP * 5 / 2)..(at * HOP + HOP * 7 / 2).min(samples.len())];
        10.0 * (part.iter().map(|s| f64::from(s * s)).sum::<f64>() / part.len().max(1) as f64 + 1e-12).log10()
    };
    let levels: Vec<f64> = (0..samples.len() / HOP).map(power).collect();
    let mut sorted = levels.clone();
    sorted.sort_by(f64::total_cmp);
    let floor = sorted.get(sorted.len() * 95 / 100)? + FLOOR_DB;
    let track = f0_track(samples, SAMPLE_RATE_HZ, F0Search::default());
    let is_voiced = |hop: usize| track.iter().skip(hop.saturating_sub(4)).take(5).any(|frame| frame.f0_hz.is_some());
    let mut syllables = 0usize;
    let (mut rising, mut low, mut high, mut high_at) = (false, f64::MAX, f64::MIN, 0);
    for (at, level) in levels.iter().copied().enumerate() {
        if rising && level > high {
            (high, high_at) = (level, at);
        } else if rising && level < high - DIP_DB {
            (rising, low) = (false, level);
            if high > floor && is_voiced(high_at) {
                syllables += 1;
            }
        } else if !rising && level < low {
            low = level;
        } else if !rising && level > low + DIP_DB {
            (rising, high, high_at) = (true, level, at);
        }
    }
    (syllables > 0).then(|| syllables as f64 * 1000.0 / speaking_ms as f64)
}
