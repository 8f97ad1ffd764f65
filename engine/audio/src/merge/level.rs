//! The one gain that brings the whole to its loudness, and the limiter behind it.
//!
//! It may not know chunks; it sees the joined signal. What it measures is what will be written, but for the rounding.

use super::join::Joiner;
use super::{MergeError, Normalize, Progress, meter};
use crate::blocks::SampleFormat;
use crate::limiter::{Limiter, LimiterConfig};
use crate::loudness::Loudness;

/// More gain than this would turn the noise between the words into a signal.
const MAX_GAIN_DB: f64 = 40.0;
/// Walks with a limiter before what is reached is good enough. One is the rule, more happen with strong limiting.
const MAX_LIMITED_WALKS: u32 = 3;
/// A correction up to here is made without looking again.
const SURE_STEP_LU: f64 = 0.5;
/// Of gain that is added where the limiter works already it takes back about a third (measured on speech), so more is added.
const LIMITED_STEP: f64 = 1.4;
/// The limiter aims a little lower, because rounding and the meter's own filter may see a peak higher than it does.
const CEILING_MARGIN_DB: f64 = 0.1;

/// What the last walk does with the joined signal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Level {
    pub(super) gain_db: f64,
    /// `None`: no peak comes near the ceiling.
    ceiling_db: Option<f64>,
}

impl Level {
    pub(super) fn shaper(&self, format: SampleFormat) -> Shaper {
        let limiter = self.ceiling_db.map(|c| Limiter::new(LimiterConfig::speech(format.rate_hz, format.channels, c)));
        Shaper { gain: 10f64.powf(self.gain_db / 20.0) as f32, limiter, gained: Vec::new(), shaped: Vec::new() }
    }
}

/// Gain, then limiter.
#[derive(Debug)]
pub(super) struct Shaper {
    gain: f32,
    limiter: Option<Limiter>,
    gained: Vec<f32>,
    shaped: Vec<f32>,
}

impl Shaper {
    pub(super) fn shape(&mut self, block: &[f32]) -> &[f32] {
        self.gained.clear();
        self.gained.extend(block.iter().map(|s| s * self.gain));
        let Some(limiter) = &mut self.limiter else { return &self.gained };
        self.shaped.clear();
        limiter.push(&self.gained, &mut self.shaped);
        &self.shaped
    }

    pub(super) fn finish(&mut self) -> &[f32] {
        self.shaped.clear();
        if let Some(limiter) = &mut self.limiter {
            limiter.finish(&mut self.shaped);
        }
        &self.shaped
    }
}

pub(super) fn find(
    joiner: &mut Joiner<'_, '_>,
    normalize: Option<Normalize>,
    progress: &mut Progress<'_, '_>,
) -> Result<Level, MergeError> {
    let untouched = Level { gain_db: 0.0, ceiling_db: None };
    let Some(normalize) = normalize else { return Ok(untouched) };
    let (from, to) = (progress.from, progress.to);
    progress.range(from, (from + to) / 2.0);
    let raw = measure(joiner, untouched, progress)?;
    // Silence and less than 400 ms of sound have no loudness to correct, but their peaks are held all the same.
    let gain_db = raw.integrated_lufs.map_or(0.0, |l| (normalize.target_lufs - l).min(MAX_GAIN_DB));
    let fits = raw.true_peak_db.is_none_or(|p| p + gain_db <= normalize.true_peak_db - CEILING_MARGIN_DB);
    if fits {
        return Ok(Level { gain_db, ceiling_db: None });
    }
    let mut level = Level { gain_db, ceiling_db: Some(normalize.true_peak_db - CEILING_MARGIN_DB) };
    for _ in 0..MAX_LIMITED_WALKS {
        // What is still to come is unknown: each further walk gets half of what is left.
        let from = progress.to;
        progress.range(from, (from + to) / 2.0);
        let got = measure(joiner, level, progress)?;
        let missing_lu = got.integrated_lufs.map_or(0.0, |l| normalize.target_lufs - l);
        let over_db = got.true_peak_db.map_or(0.0, |p| p - (normalize.true_peak_db - 0.01));
        // A signal that is all peaks cannot be made louder; it gets no more gain than the first walk would give silence.
        level.gain_db = (level.gain_db + LIMITED_STEP * missing_lu).min(MAX_GAIN_DB);
        level.ceiling_db = level.ceiling_db.map(|c| c - over_db.max(0.0));
        if missing_lu.abs() <= SURE_STEP_LU && over_db <= 0.0 {
            break;
        }
    }
    Ok(level)
}

fn measure(joiner: &mut Joiner<'_, '_>, level: Level, progress: &mut Progress<'_, '_>) -> Result<Loudness, MergeError> {
    let format = joiner.plan.format;
    let mut meter = meter(format)?;
    let mut shaper = level.shaper(format);
    let refused = |e: crate::loudness::LoudnessError| MergeError::Refused(e.to_string());
    joiner.run(progress, &mut |block| meter.push(shaper.shape(block)).map_err(refused))?;
    meter.push(shaper.finish()).map_err(refused)?;
    Ok(meter.loudness())
}
