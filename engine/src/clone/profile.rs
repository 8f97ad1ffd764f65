//! A cloned voice as plain data: the voice of the built-in engine that speaks, and what is done to its speech.
//!
//! Some 8 kB of JSON whatever was recorded; it is stored with the voice and travels with each request. It may not know recordings.

use serde::{Deserialize, Serialize};

use super::bands::{BANDS, SHAPE};
use super::codebook::Codebook;
use super::tract;
use crate::builtin::BuiltinVoice;

/// Of [`CloneProfile::version`]; another number is another kind of profile.
pub const CLONE_VERSION: u32 = 1;

/// Furthest that a band is raised or lowered, in dB.
const MOST_GAIN_DB: f32 = 24.0;

/// Made by [`super::Heard::fit`]. All gains are on [`BANDS`] bands of the mel scale.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CloneProfile {
    pub version: u32,
    /// Speaks what is converted.
    pub base: BuiltinVoice,
    /// Resonances are moved to this many times their frequency, 0.82 to 1.22.
    pub tract_ratio: f32,
    pub pitch: PitchMap,
    pub(super) voiced_gain_db: Vec<f32>,
    pub(super) unvoiced_gain_db: Vec<f32>,
    /// Added to the logits of the aperiodicity at 3, 6 and 9 kHz.
    pub(super) noise_shift: [f32; 3],
    pub(super) sounds: Sounds,
    /// On the finished samples.
    pub gain_db: f32,
}

/// The pitch is moved so that its logarithm has the model's median and spread.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PitchMap {
    /// Median of the base voice.
    pub from_hz: f32,
    /// Median of the model.
    pub to_hz: f32,
    /// Distances from the median, in octaves, grow by this factor: 0.5 to 1.8.
    pub spread: f32,
}

/// How the model pronounces: sounds of the base voice are drawn towards the model's that are most like them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Sounds {
    /// Share of the way that is gone, 0 to 1.
    pub(super) blend: f32,
    /// The recordings reach no further than this band.
    pub(super) top_band: u8,
    pub(super) base_mean: Vec<f32>,
    pub(super) base_spread: Vec<f32>,
    pub(super) model_spread: Vec<f32>,
    pub(super) model: Codebook,
}

impl CloneProfile {
    /// Median pitch of the model.
    pub fn f0_hz(&self) -> f32 {
        self.pitch.to_hz
    }

    /// What is wrong with a profile that came from outside, as a fragment of a sentence.
    pub fn check(&self) -> Result<(), String> {
        if self.version != CLONE_VERSION {
            return Err(format!("the voice profile has version {}, this program reads version {CLONE_VERSION}: clone again", self.version));
        }
        self.base.check()?;
        let within = |name: &str, values: &[f32], low: f32, high: f32| {
            // Written so that NaN fails too.
            let wrong = values.iter().find(|value| !(low..=high).contains(*value));
            wrong.map_or(Ok(()), |value| Err(format!("{name} {value} is not within {low} to {high}")))
        };
        let long = |name: &str, values: &[f32], len: usize| match values.len() == len {
            true => Ok(()),
            false => Err(format!("{name} has {} values instead of {len}", values.len())),
        };
        let (low, high) = (*tract::RATIOS.start() as f32, *tract::RATIOS.end() as f32);
        within("tract_ratio", &[self.tract_ratio], low - 0.01, high + 0.01)?;
        within("pitch", &[self.pitch.from_hz, self.pitch.to_hz], 30.0, 1_000.0)?;
        within("pitch spread", &[self.pitch.spread], 0.1, 4.0)?;
        within("noise_shift", &self.noise_shift, -12.0, 12.0)?;
        within("gain_db", &[self.gain_db], -40.0, 40.0)?;
        within("blend", &[self.sounds.blend], 0.0, 1.0)?;
        for (name, gains) in [("voiced_gain_db", &self.voiced_gain_db), ("unvoiced_gain_db", &self.unvoiced_gain_db)] {
            long(name, gains, BANDS)?;
            within(name, gains, -2.0 * MOST_GAIN_DB, 2.0 * MOST_GAIN_DB)?;
        }
        if usize::from(self.sounds.top_band) >= BANDS {
            return Err(format!("top_band {} is not within 0 to {}", self.sounds.top_band, BANDS - 1));
        }
        let Sounds { base_mean, base_spread, model_spread, .. } = &self.sounds;
        long("base_mean", base_mean, SHAPE)?;
        within("base_mean", base_mean, -300.0, 300.0)?;
        for (name, spread) in [("base_spread", base_spread), ("model_spread", model_spread)] {
            long(name, spread, SHAPE)?;
            within(name, spread, 0.01, 100.0)?;
        }
        self.sounds.model.check()
    }
}

/// Two decimals are enough, and short in JSON.
pub(super) fn rounded(value: f64) -> f32 {
    ((value * 100.0).round() / 100.0) as f32
}

/// Gains as they are stored: in dB, within their range. `gains` are natural logarithms of power.
pub(super) fn stored_gains(gains: &[f64; BANDS]) -> Vec<f32> {
    let db = |gain: &f64| rounded((gain * 10.0 / std::f64::consts::LN_10).clamp(f64::from(-MOST_GAIN_DB), f64::from(MOST_GAIN_DB)));
    gains.iter().map(db).collect()
}
