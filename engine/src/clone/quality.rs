//! How good recordings of a voice are: what a person should know before the voice is used.
//!
//! Energies and pitches only, no model. It may not know files or where recordings come from.

use audio::measure::{F0Search, f0_track, speaking_ms};
use serde::{Deserialize, Serialize};

use super::{MIN_SPEECH_MS, Recording};
use crate::speech::SAMPLE_RATE_HZ;

/// Below this much speech the voice is coarse, in ms.
pub const GOOD_SPEECH_MS: u64 = 10_000;
const NOISY_SNR_DB: f32 = 20.0;
const MOST_SNR_DB: f64 = 80.0;
const CLIPPED_SHARE: f32 = 0.001;
/// Neighbours as loud as this, and as each other, are cut off.
const FULL_SCALE: f32 = 0.985;
const HOP: usize = SAMPLE_RATE_HZ as usize / 100;
/// Windows of this many pitches (at 10 ms) have a speaker of their own.
const TURN_HOPS: usize = 60;
/// Medians of two speakers lie at least this far apart, in octaves.
const SPEAKERS_APART: f64 = 0.55;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CloneWarning {
    /// Under ten seconds of speech.
    Short,
    /// The noise is less than 20 dB under the speech.
    Noisy,
    /// Cut off at full scale.
    Clipped,
    /// Two groups of pitches, far apart.
    SeveralSpeakers,
    /// Hardly a pause and hardly a breathed sound: song, or music behind the voice.
    Music,
    /// Nothing above 4 kHz: a telephone.
    Narrow,
}

/// Of all recordings of a voice together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CloneQuality {
    /// Speech against what is heard in its pauses, in dB; at most 80.
    pub snr_db: f32,
    /// Share of samples that are cut off at full scale.
    pub clipping: f32,
    pub speech_ms: u64,
    pub warnings: Vec<CloneWarning>,
}

/// Pitch every 10 ms through all recordings, 0 where there is none.
pub(super) fn pitches(recordings: &[Recording<'_>]) -> Vec<f32> {
    let of = |recording: &Recording<'_>| f0_track(recording.samples, SAMPLE_RATE_HZ, F0Search::default());
    recordings.iter().flat_map(of).map(|frame| frame.f0_hz.unwrap_or(0.0)).collect()
}

pub(super) fn judge(recordings: &[Recording<'_>], pitches: &[f32], spectrum_db: &[f32]) -> CloneQuality {
    let speech_ms = recordings.iter().map(|recording| speaking_ms(recording.samples, SAMPLE_RATE_HZ)).sum();
    let total: usize = recordings.iter().map(|recording| recording.samples.len()).sum();
    let clipped: usize = recordings.iter().map(|recording| clipped(recording.samples)).sum();
    let clipping = clipped as f32 / total.max(1) as f32;
    // The worst of them is what is heard in the voice.
    let snr_db = recordings.iter().map(|recording| snr_db(recording.samples)).fold(MOST_SNR_DB, f64::min) as f32;
    let total_ms = total as u64 * 1000 / u64::from(SAMPLE_RATE_HZ);
    let voiced_ms = pitches.iter().filter(|f0_hz| **f0_hz > 0.0).count() as u64 * 10;
    let mut warnings = Vec::new();
    let mut warn = |is_so: bool, warning: CloneWarning| {
        if is_so {
            warnings.push(warning);
        }
    };
    warn(speech_ms < GOOD_SPEECH_MS.max(MIN_SPEECH_MS), CloneWarning::Short);
    warn(snr_db < NOISY_SNR_DB, CloneWarning::Noisy);
    warn(clipping > CLIPPED_SHARE, CloneWarning::Clipped);
    warn(several_speakers(pitches), CloneWarning::SeveralSpeakers);
    warn(speech_ms * 100 > total_ms * 98 && voiced_ms * 100 > speech_ms * 92, CloneWarning::Music);
    let loudest = spectrum_db.iter().copied().fold(f32::MIN, f32::max);
    warn(spectrum_db.iter().rev().take(2).all(|level| *level < loudest - 60.0), CloneWarning::Narrow);
    CloneQuality { snr_db, clipping, speech_ms, warnings }
}

fn clipped(samples: &[f32]) -> usize {
    samples.windows(2).filter(|pair| pair[0].abs() >= FULL_SCALE && (pair[0] - pair[1]).abs() < 1e-4).count()
}

/// Mean power of the louder half of the frames against the quietest twentieth.
fn snr_db(samples: &[f32]) -> f64 {
    let mut powers: Vec<f64> =
        samples.chunks_exact(HOP).map(|hop| hop.iter().map(|s| f64::from(s * s)).sum::<f64>() / HOP as f64).collect();
    powers.sort_by(f64::total_cmp);
    let Some(noise) = powers.get(powers.len() / 20) else { return 0.0 };
    let louder = &powers[powers.len() / 2..];
    let speech = louder.iter().sum::<f64>() / louder.len().max(1) as f64;
    (10.0 * ((speech - noise).max(1e-12) / noise.max(1e-12)).log10()).clamp(0.0, MOST_SNR_DB)
}

/// Whether the pitches of 0.6 s windows fall into two groups with a gap between them.
fn several_speakers(pitches: &[f32]) -> bool {
    let median = |window: &[f32]| {
        let mut octaves: Vec<f64> = window.iter().filter(|f0_hz| **f0_hz > 0.0).map(|f0_hz| f64::from(*f0_hz).log2()).collect();
        octaves.sort_by(f64::total_cmp);
        (octaves.len() >= TURN_HOPS / 4).then(|| octaves[octaves.len() / 2])
    };
    let mut medians: Vec<f64> = pitches.chunks(TURN_HOPS).filter_map(median).collect();
    medians.sort_by(f64::total_cmp);
    let least = (medians.len() / 5).max(2);
    (least..medians.len().saturating_sub(least - 1)).any(|cut| {
        let (low, high) = medians.split_at(cut);
        let (low_middle, high_middle) = (low[low.len() / 2], high[high.len() / 2]);
        let gap = high[0] - low[low.len() - 1];
        high_middle - low_middle > SPEAKERS_APART && gap > 0.3 * (high_middle - low_middle)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_groups_of_pitches_are_two_speakers() {
        let speaker = |hz: f32, windows: usize| (0..windows * TURN_HOPS).map(move |i| hz * (1.0 + 0.1 * (i as f32 / 40.0).sin()));
        let one: Vec<f32> = speaker(110.0, 20).collect();
        assert!(!several_speakers(&one));
        let two: Vec<f32> = speaker(110.0, 10).chain(speaker(210.0, 8)).collect();
        assert!(several_speakers(&two));
        assert!(!several_speakers(&[]));
    }

    #[test]
    fn clipping_is_runs_at_full_scale() {
        let wave = |gain: f32| (0..24_000).map(|i| (gain * (i as f32 * 0.05).sin()).clamp(-1.0, 1.0)).collect::<Vec<f32>>();
        assert!(clipped(&wave(0.9)) == 0);
        assert!(clipped(&wave(1.5)) > 5_000);
    }
}
