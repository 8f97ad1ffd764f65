//! Peaks against the plain definition, and their stored form.
#![allow(clippy::unwrap_used)]

mod sounds;

use audio::blocks::SampleFormat;
use audio::peaks::{BINS_PER_BIN, Bin, FRAMES_PER_BIN, PeakBuilder, Peaks};
use proptest::prelude::*;
use sounds::{noise, sine};

const MONO: SampleFormat = SampleFormat { rate_hz: 24_000, channels: 1 };

fn build(samples: &[f32], format: SampleFormat, cut_frames: usize) -> Peaks {
    let mut builder = PeakBuilder::new(format);
    for part in samples.chunks(cut_frames * usize::from(format.channels)) {
        builder.push(part);
    }
    builder.finish()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn every_level_is_what_the_samples_say(frames in 0usize..600_000, channels in 1u16..=2, cut in 1usize..5_000, seed in any::<u64>()) {
        let format = SampleFormat { rate_hz: 24_000, channels };
        let samples: Vec<f32> = noise(frames * usize::from(channels), seed).iter().map(|s| s * 1.1).collect();
        let peaks = build(&samples, format, cut);
        prop_assert_eq!(peaks.frames, frames as u64);
        let mut bin_samples = FRAMES_PER_BIN as usize * usize::from(channels);
        for level in &peaks.levels {
            let expected: Vec<Bin> = samples
                .chunks(bin_samples)
                .map(|part| Bin {
                    min: (part.iter().copied().fold(f32::INFINITY, f32::min) * 127.0).floor().clamp(-127.0, 127.0) as i8,
                    max: (part.iter().copied().fold(f32::NEG_INFINITY, f32::max) * 127.0).ceil().clamp(-127.0, 127.0) as i8,
                    rms: ((part.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / part.len() as f64).sqrt() * 127.0).round() as i8,
                })
                .collect();
            prop_assert!(level == &expected);
            bin_samples *= BINS_PER_BIN;
        }
        prop_assert!(peaks.levels.last().unwrap().len() <= 512);
        let mut bytes = Vec::new();
        peaks.write(&mut bytes).unwrap();
        prop_assert_eq!(&Peaks::read(&mut &bytes[..]).unwrap(), &peaks);
        prop_assert!(bytes.len() <= 60 + 8 * peaks.levels.len() + 4 * (frames / 256 + 8));
    }
}

#[test]
fn a_quiet_sound_is_still_drawn() {
    let peaks = build(&sine(440.0, 0.001, 24_000, 1_024), MONO, 1_000);
    assert_eq!(peaks.finest(), [Bin { min: -1, max: 1, rms: 0 }; 4]);
    assert_eq!(build(&[0.0, f32::NAN], MONO, 1).finest(), [Bin { min: 0, max: 0, rms: 0 }]);
}

#[test]
fn other_bytes_are_refused() {
    let mut bytes = Vec::new();
    build(&noise(200_000, 1), MONO, 999).write(&mut bytes).unwrap();
    assert!(Peaks::read(&mut &bytes[..]).is_ok());
    for len in [0, 7, 20, 24, 1_000, bytes.len() - 1] {
        assert!(Peaks::read(&mut &bytes[..len]).is_err());
    }
    for (at, patch) in [(0, 0u8), (10, 0xFF), (11, 0xFF), (14, 9), (20, 0), (20, 200), (25, 0xFF), (31, 0xFF)] {
        let mut broken = bytes.clone();
        broken[at] = patch;
        assert!(Peaks::read(&mut &broken[..]).is_err(), "byte {at} as {patch}");
    }
}
