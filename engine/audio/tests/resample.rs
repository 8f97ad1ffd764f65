//! The resampler: right length, no delay, no change of level, nothing folded back.
#![allow(clippy::unwrap_used)]

use audio::blocks::{MemoryBlocks, SampleBlocks, SampleFormat};
use audio::resample::{ResampleConfig, ResampledBlocks, Resampler, resampled_frames};
use proptest::prelude::*;

const RATES: [u32; 10] = [8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000, 24_001];

fn convert(samples: &[f32], config: ResampleConfig, cuts: usize) -> Vec<f32> {
    let mut resampler = Resampler::new(config).unwrap();
    let mut out = Vec::new();
    for part in samples.chunks(cuts * usize::from(config.channels)) {
        resampler.push(part, &mut out).unwrap();
    }
    resampler.finish(&mut out).unwrap();
    out
}

fn sine(hz: f64, rate_hz: u32, frames: usize) -> Vec<f32> {
    (0..frames).map(|i| (0.5 * (std::f64::consts::TAU * hz * i as f64 / f64::from(rate_hz)).sin()) as f32).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn length_is_right_and_cuts_do_not_show(
        from in prop::sample::select(&RATES[..]),
        to in prop::sample::select(&RATES[..]),
        channels in 1u16..=2,
        frames in 0usize..20_000,
        cuts in 1usize..5000,
    ) {
        let config = ResampleConfig { from_hz: from, to_hz: to, channels };
        let samples: Vec<f32> = (0..frames * usize::from(channels)).map(|i| ((i * 7919) % 1000) as f32 / 1000.0 - 0.5).collect();
        let whole = convert(&samples, config, 1_000_000);
        prop_assert_eq!(whole.len() as u64, resampled_frames(frames as u64, from, to) * u64::from(channels));
        prop_assert_eq!(resampled_frames(frames as u64, from, to), (frames as f64 * f64::from(to) / f64::from(from)).round() as u64);
        prop_assert!(convert(&samples, config, cuts) == whole);
        let format = SampleFormat { rate_hz: from, channels };
        let mut blocks = ResampledBlocks::new(MemoryBlocks::new(&samples, format), to).unwrap();
        let mut read = Vec::new();
        let mut block = vec![0.0; cuts + 1];
        loop {
            let n = blocks.read(&mut block).unwrap();
            if n == 0 { break }
            read.extend_from_slice(&block[..n]);
        }
        prop_assert!(read == whole);
    }
}

#[test]
fn a_tone_keeps_its_level_and_its_place() {
    // Without the odd rate: its filter is as long as the sound here.
    for from_hz in &RATES[..9] {
        for to_hz in &RATES[..9] {
            let (from_hz, to_hz) = (*from_hz, *to_hz);
            let hz = 0.4 * f64::from(from_hz.min(to_hz));
            let out = convert(&sine(hz, from_hz, from_hz as usize / 2), ResampleConfig { from_hz, to_hz, channels: 1 }, 1000);
            let expected = sine(hz, to_hz, out.len());
            // The edges ring, because the tone begins and ends at once; a filter of about 1,024 frames of the lower rate is over then.
            let edge = 1200 * to_hz.div_ceil(from_hz.min(to_hz)) as usize;
            let worst = (edge..out.len() - edge).map(|i| (out[i] - expected[i]).abs()).fold(0.0, f32::max);
            assert!(worst < 2e-5, "{hz} Hz from {from_hz} to {to_hz}: off by {worst}");
        }
    }
}

#[test]
fn what_the_lower_rate_cannot_hold_is_gone() {
    let out = convert(&sine(9_000.0, 48_000, 48_000), ResampleConfig { from_hz: 48_000, to_hz: 16_000, channels: 1 }, 1000);
    let worst = out[1200..out.len() - 1200].iter().fold(0.0f32, |a, s| a.max(s.abs()));
    assert!(worst < 1e-5, "9 kHz left {worst} behind at 16 kHz");
}

#[test]
fn a_used_resampler_starts_afresh() {
    let mut resampler = Resampler::new(ResampleConfig { from_hz: 22_050, to_hz: 24_000, channels: 1 }).unwrap();
    let samples = sine(440.0, 22_050, 5000);
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for out in [&mut first, &mut second] {
        resampler.push(&samples, out).unwrap();
        resampler.finish(out).unwrap();
    }
    assert_eq!(first, second);
}

#[test]
fn impossible_conversions_are_refused() {
    for (from_hz, to_hz, channels) in [(0, 24_000, 1), (24_000, 1_000_000, 1), (24_000, 48_000, 0), (24_000, 48_000, 9)] {
        assert!(Resampler::new(ResampleConfig { from_hz, to_hz, channels }).is_err());
    }
    assert!(
        Resampler::new(ResampleConfig { from_hz: 24_000, to_hz: 48_000, channels: 2 }).unwrap().push(&[0.0; 3], &mut Vec::new()).is_err()
    );
}
