//! The measurements against signals whose answer is known by construction.
#![allow(clippy::unwrap_used)]

use audio::measure::{
    F0Search, LTAS_BANDS, f0_track, ltas_centre_hz, ltas_db, ltas_distance_db, mean_mfcc, median_f0_hz, mfcc_distance, semitones,
    speaking_ms,
};

/// A vowel-like sound: harmonics of `f0_hz` up to 7.5 kHz under resonances scaled by `tract`.
fn vowel(f0_hz: f64, tract: f64, rate_hz: u32, ms: u32) -> Vec<f32> {
    let n = (u64::from(rate_hz) * u64::from(ms) / 1000) as usize;
    let gain = |hz: f64| {
        [(700.0, 130.0), (1200.0, 150.0), (2600.0, 200.0), (3500.0, 250.0)]
            .iter()
            .map(|(f, width)| 1.0 / (1.0 + ((hz - f * tract) / width).powi(2)))
            .sum::<f64>()
            + 0.01
    };
    let harmonics: Vec<(f64, f64)> =
        (1..).map(|k| f64::from(k) * f0_hz).take_while(|&hz| hz < 7_500.0).map(|hz| (hz, gain(hz) / hz.sqrt())).collect();
    (0..n)
        .map(|i| {
            let t = i as f64 / f64::from(rate_hz);
            harmonics.iter().map(|(hz, a)| a * (std::f64::consts::TAU * hz * t + hz).sin()).sum::<f64>() as f32
        })
        .collect()
}

fn noise(len: usize, mut seed: u64) -> Vec<f32> {
    (0..len)
        .map(|_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

#[test]
fn pitch_of_a_vowel_is_found_at_every_rate() {
    for rate_hz in [16_000, 22_050, 24_000, 44_100, 48_000] {
        for f0_hz in [80.0, 105.0, 147.3, 195.0, 270.0, 400.0] {
            let found = median_f0_hz(&vowel(f0_hz, 1.0, rate_hz, 400), rate_hz).unwrap();
            let off = semitones(found, f0_hz as f32).abs();
            assert!(off < 0.05, "{f0_hz} Hz at {rate_hz} Hz was heard as {found}, {off} semitones off");
        }
    }
}

#[test]
fn a_glide_is_followed() {
    let rate_hz = 24_000;
    let mut phase = 0.0f64;
    let samples: Vec<f32> = (0..rate_hz)
        .map(|i| {
            let hz = 120.0 + 120.0 * f64::from(i) / f64::from(rate_hz);
            phase += std::f64::consts::TAU * hz / f64::from(rate_hz);
            (0.5 * phase.sin() + 0.3 * (2.0 * phase).sin() + 0.2 * (3.0 * phase).sin()) as f32
        })
        .collect();
    let track = f0_track(&samples, rate_hz as u32, F0Search::default());
    assert!(track.len() > 90);
    for frame in track {
        let expected = 120.0 + 120.0 * frame.time_ms / 1000.0;
        let off = semitones(frame.f0_hz.unwrap(), expected).abs();
        assert!(off < 0.3, "at {} ms: {:?}, expected {expected}", frame.time_ms, frame.f0_hz);
    }
}

#[test]
fn noise_and_silence_have_no_pitch_and_no_timbre() {
    let rate_hz = 24_000;
    for samples in [noise(48_000, 7), vec![0.0; 48_000], Vec::new(), vec![1e-5; 48_000]] {
        assert_eq!(median_f0_hz(&samples, rate_hz), None);
        assert_eq!(mean_mfcc(&samples, rate_hz), None);
    }
    assert_eq!(median_f0_hz(&vowel(100.0, 1.0, 8_000, 500), 8_000), None, "a rate that cannot be measured");
    assert_eq!(ltas_db(&[0.0; 48_000], rate_hz), None);
    assert_eq!(speaking_ms(&[0.0; 48_000], rate_hz), 0);
}

#[test]
fn timbre_ignores_level_and_rate_and_hears_the_tract() {
    let base = mean_mfcc(&vowel(110.0, 1.0, 24_000, 600), 24_000).unwrap();
    let quiet: Vec<f32> = vowel(110.0, 1.0, 24_000, 600).iter().map(|s| s * 0.1).collect();
    assert!(mfcc_distance(&base, &mean_mfcc(&quiet, 24_000).unwrap()) < 0.01);
    for rate_hz in [16_000, 44_100, 48_000] {
        let other = mean_mfcc(&vowel(110.0, 1.0, rate_hz, 600), rate_hz).unwrap();
        let d = mfcc_distance(&base, &other);
        assert!(d < 0.35, "the same vowel at {rate_hz} Hz is {d} away");
    }
    let shorter = mfcc_distance(&base, &mean_mfcc(&vowel(110.0, 1.15, 24_000, 600), 24_000).unwrap());
    let much_shorter = mfcc_distance(&base, &mean_mfcc(&vowel(110.0, 1.3, 24_000, 600), 24_000).unwrap());
    assert!(shorter > 1.5 && much_shorter > shorter, "15 % shorter: {shorter}, 30 % shorter: {much_shorter}");
}

#[test]
fn white_noise_rises_one_decibel_a_third_octave() {
    // The power in a band of white noise goes with its width, and that grows by 10^0.1 a band: exactly 1 dB.
    let ltas = ltas_db(&noise(24_000 * 20, 3), 24_000).unwrap();
    for (band, level) in ltas.iter().enumerate() {
        let expected = band as f32 - (LTAS_BANDS - 1) as f32 / 2.0;
        assert!((level - expected).abs() < 0.5, "band {} Hz: {level} instead of {expected}", ltas_centre_hz(band));
    }
    assert!((ltas_centre_hz(0) - 100.0).abs() < 0.01 && (ltas_centre_hz(10) - 1000.0).abs() < 0.01);
}

#[test]
fn a_filter_shows_as_its_own_response() {
    // y = x + 0.9·x delayed by one sample has the gain |1 + 0.9·e^-jw|.
    let x = noise(24_000 * 20, 11);
    let y: Vec<f32> = x.iter().enumerate().map(|(i, s)| s + if i > 0 { 0.9 * x[i - 1] } else { 0.0 }).collect();
    let (a, b) = (ltas_db(&x, 24_000).unwrap(), ltas_db(&y, 24_000).unwrap());
    let gains: Vec<f32> = (0..LTAS_BANDS)
        .map(|band| {
            let w = std::f32::consts::TAU * ltas_centre_hz(band) / 24_000.0;
            10.0 * ((1.0 + 0.9 * w.cos()).powi(2) + (0.9 * w.sin()).powi(2)).log10()
        })
        .collect();
    let mean = gains.iter().sum::<f32>() / LTAS_BANDS as f32;
    let expected = (gains.iter().map(|g| (g - mean).powi(2)).sum::<f32>() / LTAS_BANDS as f32).sqrt();
    let got = ltas_distance_db(&a, &b);
    assert!((got - expected).abs() < 0.15, "{got} dB, by the formula {expected} dB");
    assert_eq!(ltas_distance_db(&a, &a), 0.0);
}

#[test]
fn short_gaps_are_speech_and_long_ones_are_not() {
    let rate_hz = 16_000;
    let part = |ms: u32| vowel(120.0, 1.0, rate_hz, ms);
    let gap = |ms: usize| vec![0.0f32; ms * 16];
    let all = [gap(500), part(300), gap(100), part(400), gap(600), part(200), gap(1000)].concat();
    assert_eq!(speaking_ms(&all, rate_hz), 300 + 100 + 400 + 200);
}
