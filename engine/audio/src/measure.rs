//! What a voice sounds like, as numbers: pitch, timbre, long-term spectrum, time spent speaking.
//!
//! Tests of presets and clones compare voices with these, so every formula and its source stands beside its function.
//! It may not know who speaks or why; mono samples in, numbers out, and the same samples always give the same numbers.

mod active;
mod f0;
mod mfcc;
mod spectrum;

pub use active::speaking_ms;
pub use f0::{F0Frame, F0Search, f0_track, median_f0_hz, semitones};
pub use mfcc::{MFCC_LEN, mean_mfcc, mfcc_distance};
pub use spectrum::{LTAS_BANDS, ltas_centre_hz, ltas_db, ltas_distance_db};

/// Only the first ten minutes of a recording are measured; a voice does not change after that, the bill does.
pub const MAX_MEASURED_MS: u64 = 600_000;

/// Lowest rate that can be measured: the filters reach up to 7,600 Hz.
pub const MIN_MEASURED_RATE_HZ: u32 = 16_000;

/// Highest rate that is believed; anything above is a broken header.
pub const MAX_MEASURED_RATE_HZ: u32 = 384_000;

/// Distance between the starts of two frames, everywhere in this module.
const HOP_MS: u32 = 10;

/// The part of `samples` that is measured.
fn measured(samples: &[f32], rate_hz: u32) -> &[f32] {
    let limit = usize::try_from(MAX_MEASURED_MS * u64::from(rate_hz) / 1000).unwrap_or(usize::MAX);
    &samples[..samples.len().min(limit)]
}

fn rate_fits(rate_hz: u32) -> bool {
    (MIN_MEASURED_RATE_HZ..=MAX_MEASURED_RATE_HZ).contains(&rate_hz)
}

fn ms_to_samples(ms: u32, rate_hz: u32) -> usize {
    (u64::from(ms) * u64::from(rate_hz) / 1000) as usize
}

/// Mean of the squares, summed in f64 so that the order of magnitude of a long recording does not eat the small samples.
fn mean_square(samples: &[f32]) -> f64 {
    if samples.is_empty() {
        return 0.0;
    }
    samples.iter().map(|&s| f64::from(s) * f64::from(s)).sum::<f64>() / samples.len() as f64
}
