//! From what was heard of the model and a rehearsal of the base voice to a profile.
//!
//! The rehearsal is converted and listened to twice, and what is still missing is added: first to the mean envelopes, then to the
//! long-term spectrum. It may not know texts or how the rehearsal was spoken.

use std::ops::ControlFlow;

use audio::measure::{LTAS_BANDS, ltas_centre_hz, ltas_db};

use super::bands::{self, Bands, Mel, Shape};
use super::codebook::Codebook;
use super::convert::convert_frames;
use super::observe::{self, Frames, Observed, Statistics, observe};
use super::profile::{CLONE_VERSION, CloneProfile, PitchMap, Sounds, rounded, stored_gains};
use super::{Heard, tract};
use crate::builtin::BuiltinVoice;
use crate::speech::SAMPLE_RATE_HZ;

/// How far sounds are drawn towards the model's.
const BLEND: f32 = 0.5;
/// First guess of a gain: more is a recording's hum or its missing treble.
const MOST_GUESSED: f64 = 18.0 * std::f64::consts::LN_10 / 10.0;
/// Root mean square of the finished speech, as the presets have it.
const LEVEL_DB: f64 = -22.0;
const NOISE_SHIFT: std::ops::RangeInclusive<f64> = -4.0..=4.0;
const PITCH_SPREAD: std::ops::RangeInclusive<f64> = 0.5..=1.8;

/// `None` when `wanted` breaks, or nothing is heard in the rehearsal.
pub(super) fn fit(
    heard: &Heard,
    base: BuiltinVoice,
    rehearsal: &[f32],
    wanted: &mut dyn FnMut() -> ControlFlow<()>,
) -> Option<CloneProfile> {
    let mel = Mel::new(observe::config().bins());
    let model = &heard.statistics;
    let frames = Frames::of(rehearsal, wanted)?;
    let tract_ratio = rounded(tract::ratio(&frames.observe(1.0), model, &heard.sounds.shapes(), &mel));
    let speaker = Statistics::of(&frames.observe(f64::from(tract_ratio)), &mel, Some(model.top))?;
    let rehearsal = Rehearsal { frames: &frames, samples: rehearsal.len() };
    let top = model.top;
    let mut voiced = guess(&model.voiced, &speaker.voiced, top);
    let mut unvoiced = guess(&model.unvoiced, &speaker.unvoiced, top);
    let shift = |band: usize| rounded((model.noise[band] - speaker.noise[band]).clamp(*NOISE_SHIFT.start(), *NOISE_SHIFT.end()));
    let spread = (model.log_f0_spread / speaker.log_f0_spread.max(1e-3)).clamp(*PITCH_SPREAD.start(), *PITCH_SPREAD.end());
    let rounded_all = |values: &Shape| values.iter().map(|value| rounded(*value)).collect::<Vec<f32>>();
    let mut profile = CloneProfile {
        version: CLONE_VERSION,
        base,
        tract_ratio,
        pitch: PitchMap { from_hz: rounded(speaker.log_f0.exp()), to_hz: rounded(model.log_f0.exp()), spread: rounded(spread) },
        voiced_gain_db: stored_gains(&voiced),
        unvoiced_gain_db: stored_gains(&unvoiced),
        noise_shift: [shift(0), shift(1), shift(2)],
        sounds: Sounds {
            blend: BLEND,
            top_band: top as u8,
            base_mean: rounded_all(&speaker.shape_mean),
            base_spread: rounded_all(&speaker.shape_spread),
            model_spread: rounded_all(&model.shape_spread),
            model: heard.sounds.clone(),
        },
        gain_db: 0.0,
    };
    for round in 0..2 {
        let converted = rehearsal.levelled(&mut profile, wanted)?;
        let now = Statistics::of(&observe(&converted, 1.0, false, wanted)?, &mel, Some(top))?;
        let missing_voiced = missing(&model.voiced, &now.voiced, top);
        if round == 0 {
            add(&mut voiced, &missing_voiced, 1.0);
            add(&mut unvoiced, &missing(&model.unvoiced, &now.unvoiced, top), 1.0);
        } else if let Some(spectrum) = missing_spectrum(heard, &converted) {
            add(&mut voiced, &missing_voiced, 0.5);
            add(&mut voiced, &spectrum, 0.5);
            add(&mut unvoiced, &spectrum, 0.5);
        }
        profile.voiced_gain_db = stored_gains(&voiced);
        profile.unvoiced_gain_db = stored_gains(&unvoiced);
    }
    rehearsal.levelled(&mut profile, wanted)?;
    Some(profile)
}

/// What the base voice has spoken.
struct Rehearsal<'a> {
    frames: &'a Frames,
    samples: usize,
}

impl Rehearsal<'_> {
    /// Converts, and sets the profile's gain so that the speech is as loud as that of the presets.
    fn levelled(&self, profile: &mut CloneProfile, wanted: &mut dyn FnMut() -> ControlFlow<()>) -> Option<Vec<f32>> {
        // Far under full scale, so that nothing is bent.
        profile.gain_db = -40.0;
        let quiet = convert_frames(profile, self.frames, self.samples, wanted)?;
        let mean_square = quiet.iter().map(|s| f64::from(s * s)).sum::<f64>() / quiet.len().max(1) as f64;
        profile.gain_db = rounded((LEVEL_DB - 40.0 - 10.0 * (mean_square + 1e-20).log10()).clamp(-40.0, 40.0));
        Some(quiet)
    }
}

fn guess(model: &Bands, speaker: &Bands, top: usize) -> Bands {
    let mut gains = missing(model, speaker, top);
    gains.iter_mut().for_each(|gain| *gain = gain.clamp(-MOST_GUESSED, MOST_GUESSED));
    gains
}

/// Above the top band what is missing there.
fn missing(model: &Bands, speaker: &Bands, top: usize) -> Bands {
    std::array::from_fn(|band| model[band.min(top)] - speaker[band.min(top)])
}

fn add(gains: &mut Bands, more: &Bands, share: f64) {
    gains.iter_mut().zip(more).for_each(|(gain, more)| *gain += share * more);
}

fn missing_spectrum(heard: &Heard, converted: &[f32]) -> Option<Bands> {
    let now = ltas_db(converted, SAMPLE_RATE_HZ)?;
    let missing: [f64; LTAS_BANDS] = std::array::from_fn(|third| f64::from(heard.spectrum_db[third] - now[third]));
    Some(std::array::from_fn(|band| {
        let place = 10.0 * (bands::centre_hz(band) / f64::from(ltas_centre_hz(0))).log10();
        let place = place.clamp(0.0, (LTAS_BANDS - 1) as f64);
        let left = (place as usize).min(LTAS_BANDS - 2);
        let db = missing[left] + (missing[left + 1] - missing[left]) * (place - left as f64);
        db * std::f64::consts::LN_10 / 10.0
    }))
}

/// Examples of the model's voiced sounds.
pub(super) fn sounds(observed: &[Observed], statistics: &Statistics, mel: &Mel) -> Codebook {
    Codebook::of(&observe::centred_shapes(observed, mel, statistics))
}
