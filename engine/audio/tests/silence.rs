//! Where sound begins and ends.
#![allow(clippy::unwrap_used)]

mod sounds;

use audio::blocks::SampleFormat;
use audio::silence::{SilenceScanner, SoundBounds, is_silent, sound_bounds};
use proptest::prelude::*;
use sounds::{noise, sine};

const MONO: SampleFormat = SampleFormat { rate_hz: 24_000, channels: 1 };

proptest! {
    #[test]
    fn bounds_hold_the_sound_and_little_more(lead in 0usize..5_000, sound in 500usize..5_000, tail in 0usize..5_000, cut in 1usize..700) {
        let samples = [vec![0.0; lead], noise(sound, 4), vec![0.0; tail]].concat();
        let bounds = sound_bounds(&samples, MONO, -50.0).unwrap();
        let (start, end) = (lead as u64, (lead + sound) as u64);
        // A window of 5 ms is 120 frames.
        prop_assert!(bounds.start <= start + 1 && start < bounds.start + 120);
        prop_assert!(bounds.end + 1 >= end && bounds.end < end + 120);
        let mut scanner = SilenceScanner::new(MONO, -50.0);
        samples.chunks(cut).for_each(|part| scanner.push(part));
        prop_assert_eq!(scanner.finish(), (samples.len() as u64, Some(bounds)));
    }
}

#[test]
fn the_threshold_is_a_level() {
    // A sine of amplitude a has an RMS of a/√2: -40 dBFS here. 200 Hz, so that each window of 5 ms holds one whole period.
    let tone = sine(200.0, 0.01 * std::f64::consts::SQRT_2, 24_000, 24_000);
    assert_eq!(sound_bounds(&tone, MONO, -40.1), Some(SoundBounds { start: 0, end: 24_000 }));
    assert_eq!(sound_bounds(&tone, MONO, -39.9), None);
}

#[test]
fn a_stereo_stream_counts_frames() {
    let stereo: Vec<f32> = [vec![0.0; 2_400], noise(4_800, 1)].concat();
    let format = SampleFormat { rate_hz: 24_000, channels: 2 };
    assert_eq!(sound_bounds(&stereo, format, -50.0), Some(SoundBounds { start: 1_200, end: 3_600 }));
}

#[test]
fn silent_is_what_nobody_hears() {
    assert!(is_silent(&[]));
    assert!(is_silent(&[0.0; 10_000]));
    assert!(is_silent(&[f32::NAN; 300]));
    let at = |amplitude: f32| noise(10_000, 6).iter().map(|s| s * amplitude).collect::<Vec<_>>();
    // Uniform noise has an RMS of 1/√3, 4.8 dB under its peak.
    assert!(is_silent(&at(0.001)), "-65 dBFS");
    assert!(!is_silent(&at(0.0025)), "-57 dBFS");
    let short = [vec![0.0; 48_000], sine(300.0, 0.1, 24_000, 1_000), vec![0.0; 48_000]].concat();
    assert!(!is_silent(&short), "a short sound in a long silence");
}
