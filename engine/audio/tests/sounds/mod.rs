//! Test signals whose properties are known by construction.
#![allow(dead_code)]

/// White noise, uniform in -1..1.
pub(crate) fn noise(len: usize, mut seed: u64) -> Vec<f32> {
    (0..len)
        .map(|_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

pub(crate) fn sine(hz: f64, amplitude: f64, rate_hz: u32, frames: usize) -> Vec<f32> {
    (0..frames).map(|i| (amplitude * (std::f64::consts::TAU * hz * (i as f64 + 0.5) / f64::from(rate_hz)).sin()) as f32).collect()
}

/// Speech-like at 24 kHz: pitch pulses through two resonances, syllables of 200 ms, consonants of noise, silence at both ends.
/// Peaks lie some 15 dB over the loudness, as they do in speech.
pub(crate) fn speech(seed: u64, ms: usize) -> Vec<f32> {
    let rate = 24_000.0f64;
    let frames = ms * 24;
    let hiss = noise(frames, seed + 99);
    let mut out = vec![0.0f32; frames];
    let pitch = 95.0 + 17.0 * (seed % 7) as f64;
    let mut rings = [(0.0f64, 0.0f64), (0.0, 0.0)];
    let mut phase = 0.0;
    for (i, sample) in out.iter_mut().enumerate() {
        let t = i as f64 / rate;
        phase += pitch * (1.0 + 0.1 * (3.0 * t).sin()) / rate;
        let pulse = if phase >= 1.0 { 1.0 } else { 0.0 };
        phase %= 1.0;
        let syllable = (t * 5.0).fract();
        let voiced = if syllable < 0.7 { (std::f64::consts::PI * syllable / 0.7).sin() } else { 0.0 };
        let mut y = 0.0;
        for ((a, b), (hz, width, gain)) in rings.iter_mut().zip([(650.0, 90.0, 1.0), (1_700.0, 140.0, 0.5)]) {
            let r = (-std::f64::consts::PI * width / rate).exp();
            let next = 2.0 * r * (std::f64::consts::TAU * hz / rate).cos() * *a - r * r * *b + pulse;
            (*b, *a) = (*a, next);
            y += gain * next;
        }
        let consonant = if syllable > 0.8 { f64::from(hiss[i]) * 0.05 } else { 0.0 };
        let edge = if i < frames / 20 || i > frames - frames / 20 { 0.0 } else { 1.0 };
        *sample = (edge * (0.06 * voiced * y + consonant)) as f32;
    }
    out
}
