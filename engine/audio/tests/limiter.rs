//! The limiter: the ceiling holds on signals made to break it, and what is quiet passes untouched.
#![allow(clippy::unwrap_used)]

mod sounds;

use audio::blocks::SampleFormat;
use audio::limiter::{Limiter, LimiterConfig};
use audio::loudness::LoudnessMeter;
use proptest::prelude::*;
use sounds::{noise, sine, speech};

fn limit(samples: &[f32], config: LimiterConfig, cut_frames: usize) -> Vec<f32> {
    let mut limiter = Limiter::new(config);
    let mut out = Vec::new();
    for part in samples.chunks(cut_frames * usize::from(config.channels)) {
        limiter.push(part, &mut out);
    }
    limiter.finish(&mut out);
    out
}

fn true_peak_db(samples: &[f32], config: LimiterConfig) -> f64 {
    let mut meter = LoudnessMeter::new(SampleFormat { rate_hz: config.rate_hz, channels: config.channels }).unwrap();
    meter.push(samples).unwrap();
    meter.loudness().true_peak_db.unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_ceiling_holds_and_cuts_do_not_show(
        bursts in prop::collection::vec((0usize..400, 0.0f32..20.0, 0.01f64..0.5), 1..12),
        ceiling_db in -20.0f64..0.0,
        channels in 1u16..=2,
        cut in 1usize..2_000,
        rate_hz in prop::sample::select(vec![16_000u32, 24_000, 48_000]),
    ) {
        // Bursts of tones at any frequency, up to 26 dB over full scale.
        let samples: Vec<f32> = bursts
            .iter()
            .flat_map(|&(len, gain, turn)| (0..len * 2).map(move |i| gain * (std::f64::consts::TAU * turn * i as f64 + 0.3).sin() as f32))
            .collect();
        let config = LimiterConfig::speech(rate_hz, channels, ceiling_db);
        let out = limit(&samples, config, 100_000);
        prop_assert_eq!(out.len(), samples.len());
        let ceiling = 10f32.powf(ceiling_db as f32 / 20.0);
        prop_assert!(out.iter().all(|s| s.abs() <= ceiling * 1.00001), "a sample is above the ceiling");
        prop_assert!(limit(&samples, config, cut) == out);
        // Between the samples: exact for a constant gain, nearly so for one that glides over 5 ms. These bursts begin and end at once,
        // so they are full of what lies near Nyquist, where two meters disagree by their filters: 0.6 dB is the worst of 3,000 cases.
        if !samples.is_empty() && out.iter().any(|s| *s != 0.0) {
            let peak = true_peak_db(&out, config);
            prop_assert!(peak <= ceiling_db + 0.8, "true peak of {} over {}", peak, ceiling_db);
        }
    }
}

#[test]
fn peaks_between_the_samples_are_seen() {
    // A tone at a quarter of the rate, sampled 45 degrees off its peaks: samples reach 0.707 of it.
    let samples: Vec<f32> = (0..24_000).map(|i| (std::f64::consts::FRAC_PI_2 * (f64::from(i) + 0.5)).sin() as f32).collect();
    assert!(samples.iter().all(|s| s.abs() < 0.708));
    let config = LimiterConfig::speech(24_000, 1, -1.0);
    let out = limit(&samples, config, 1_000);
    let steady = &out[2_000..22_000];
    let peak = steady.iter().fold(0.0f32, |a, s| a.max(s.abs()));
    let expected = 10f32.powf(-1.0 / 20.0) * std::f32::consts::FRAC_1_SQRT_2;
    assert!((peak / expected - 1.0).abs() < 0.005, "samples at {peak}, expected {expected}");
}

#[test]
fn the_true_peak_ends_at_the_ceiling() {
    // White noise is as loud near Nyquist as elsewhere, and there the meter's shorter filter reads more than ours.
    let cases =
        [("speech", speech(3, 3_000), -0.9), ("noise", noise(72_000, 2), -0.7), ("low tone", sine(100.0, 1.0, 24_000, 24_000), -0.9)];
    for (name, samples, most) in cases {
        let loud: Vec<f32> = samples.iter().map(|s| s * 4.0).collect();
        let config = LimiterConfig::speech(24_000, 1, -1.0);
        let peak = true_peak_db(&limit(&loud, config, 4_096), config);
        assert!((-1.6..=most).contains(&peak), "{name}: {peak}");
    }
}

#[test]
fn what_is_under_the_ceiling_passes_bit_for_bit() {
    let quiet: Vec<f32> = noise(30_000, 8).iter().map(|s| s * 0.2).collect();
    assert_eq!(limit(&quiet, LimiterConfig::speech(24_000, 2, -1.0), 500), quiet);
    // And again some time after a peak.
    let mut peaky = quiet.clone();
    peaky[1_000] = 3.0;
    let out = limit(&peaky, LimiterConfig::speech(24_000, 1, -1.0), 500);
    assert_eq!(out[..800], peaky[..800]);
    assert_ne!(out[900..1_500], peaky[900..1_500]);
    let worst = out[29_000..].iter().zip(&peaky[29_000..]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-6, "{worst}");
}

#[test]
fn both_channels_get_one_gain() {
    let left: Vec<f32> = sine(300.0, 2.0, 24_000, 12_000);
    let both: Vec<f32> = left.iter().flat_map(|&l| [l, 0.1 * l]).collect();
    let out = limit(&both, LimiterConfig::speech(24_000, 2, -3.0), 777);
    assert!(out.chunks_exact(2).all(|f| (f[1] - 0.1 * f[0]).abs() < 1e-6));
}
