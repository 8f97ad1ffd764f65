//! A voice from a description in words: "a deep calm elderly man with a British accent" becomes the parameters of a built-in voice.
//!
//! No model: a table of words ([`words`]) and a little grammar ([`read`]): negation, intensifiers, the longest phrase first. The same
//! description always gives the same voice; other seeds give variants of it. English. It may not know how a voice is spoken or stored.

mod read;
mod words;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::builtin::{BuiltinVoice, Gender};
use crate::speech::VoiceProfile;

/// Longer descriptions are refused, in characters.
pub const MAX_DESCRIPTION_CHARS: usize = 1_000;
/// Variants of one description.
pub const MAX_VARIANTS: u32 = 4;

/// How far variants lie apart at most, as a share of the pitch and of the tract.
const VARIED: f32 = 0.06;
/// Two descriptions of one meaning still are two voices, but hardly: 3 %.
const JITTER: f32 = 0.03;

/// Numbers are those of [`BuiltinVoice`]; what words change is multiplied or added.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sketch {
    pub(crate) gender: Gender,
    /// Median pitch.
    pub(crate) f0_hz: f32,
    pub(crate) formant_scale: f32,
    /// 50 is usual; 0 is monotone.
    pub(crate) range: f32,
    pub(crate) rate_wpm: f32,
    pub(crate) formant_width: f32,
    pub(crate) tilt_db_per_octave: f32,
    pub(crate) breath: f32,
    pub(crate) voicing_percent: f32,
    pub(crate) roughness: f32,
    pub(crate) flutter: f32,
    pub(crate) volume_db: f32,
}

/// A voice made from a description.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DesignedVoice {
    pub profile: VoiceProfile,
    /// `female`, `male` or `neutral`.
    pub gender: String,
    /// BCP 47, where the description names an accent: the language it is spoken in by itself.
    pub accent: Option<String>,
    /// Words that made the voice, in their order.
    pub understood_terms: Vec<String>,
    /// Words of the description that say something, but nothing that is known here.
    pub ignored_terms: Vec<String>,
}

/// Sorted by what the caller does next: both are the description's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DesignError {
    #[error("the description is longer than {MAX_DESCRIPTION_CHARS} characters")]
    TooLong,
    #[error("variant {0} is not within 0 to {max}", max = MAX_VARIANTS - 1)]
    Variant(u32),
}

/// What shall be designed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DesignRequest<'a> {
    pub description: &'a str,
    /// Variants of other seeds differ.
    pub seed: u64,
    /// 0 is the voice as described; 1 to 3 are its neighbours, each to another side.
    pub variant: u32,
}

/// The voice of a description. One of which nothing is understood is a plain voice, and says so by its terms.
pub fn design(request: DesignRequest<'_>) -> Result<DesignedVoice, DesignError> {
    if request.description.chars().nth(MAX_DESCRIPTION_CHARS).is_some() {
        return Err(DesignError::TooLong);
    }
    if request.variant >= MAX_VARIANTS {
        return Err(DesignError::Variant(request.variant));
    }
    let understood = read::read(request.description);
    let mut sketch = Sketch::of(understood.gender, understood.child);
    for meaning in &understood.meanings {
        sketch.change(meaning.effects, meaning.strength);
    }
    sketch.vary(&request, &understood.canonical());
    Ok(DesignedVoice {
        profile: VoiceProfile::Builtin(sketch.voice()),
        gender: gender_name(sketch.gender).to_owned(),
        accent: understood.accent.map(str::to_owned),
        understood_terms: understood.terms,
        ignored_terms: understood.ignored,
    })
}

fn gender_name(gender: Gender) -> &'static str {
    match gender {
        Gender::Female => "female",
        Gender::Male => "male",
        Gender::Neutral => "neutral",
    }
}

/// One number of a [`Sketch`] and what a word does to it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Effect {
    /// Factors.
    Pitch(f32),
    Tract(f32),
    Rate(f32),
    Range(f32),
    Width(f32),
    Voicing(f32),
    /// Sums.
    Tilt(f32),
    Breath(f32),
    Roughness(f32),
    Flutter(f32),
    Volume(f32),
}

impl Sketch {
    fn of(gender: Gender, child: bool) -> Self {
        let (f0_hz, formant_scale) = match (gender, child) {
            (_, true) => (270.0, 1.28),
            (Gender::Male, _) => (105.0, 1.0),
            (Gender::Female, _) => (195.0, 1.14),
            (Gender::Neutral, _) => (145.0, 1.06),
        };
        Self {
            gender,
            f0_hz,
            formant_scale,
            range: 50.0,
            rate_wpm: if child { 184.0 } else { 175.0 },
            formant_width: 1.0,
            tilt_db_per_octave: 0.0,
            breath: 0.0,
            voicing_percent: 100.0,
            roughness: 2.0,
            flutter: 2.0,
            volume_db: if matches!(gender, Gender::Male) && !child { -2.5 } else { -4.5 },
        }
    }

    /// `strength` is 1 for the plain word, more for "very", less for "slightly", below 0 for "not".
    fn change(&mut self, effects: &[Effect], strength: f32) {
        for effect in effects {
            match *effect {
                Effect::Pitch(factor) => self.f0_hz *= factor.powf(strength),
                Effect::Tract(factor) => self.formant_scale *= factor.powf(strength),
                Effect::Rate(factor) => self.rate_wpm *= factor.powf(strength),
                Effect::Range(factor) => self.range *= factor.powf(strength),
                Effect::Width(factor) => self.formant_width *= factor.powf(strength),
                Effect::Voicing(factor) => self.voicing_percent *= factor.powf(strength.max(0.0)),
                Effect::Tilt(db) => self.tilt_db_per_octave += db * strength,
                Effect::Breath(more) => self.breath += more * strength,
                Effect::Roughness(more) => self.roughness += more * strength,
                Effect::Flutter(more) => self.flutter += more * strength,
                Effect::Volume(db) => self.volume_db += db * strength,
            }
        }
    }

    /// Moves the voice a little: by the description itself, and for variants by the seed, to a side of their own.
    fn vary(&mut self, request: &DesignRequest<'_>, canonical: &str) {
        let own = draws(canonical, 0);
        self.formant_scale *= 1.0 + JITTER / 2.0 * own[1];
        self.rate_wpm *= 1.0 + JITTER * own[2];
        if request.variant == 0 {
            return;
        }
        // Where the words have gone beyond what a voice can be, variants still need room.
        self.f0_hz = self.f0_hz.clamp(62.0, 390.0);
        self.formant_scale = self.formant_scale.clamp(0.8, 1.4);
        let drawn = draws(canonical, request.seed.wrapping_add(1));
        // Lower with a longer tract, higher with a shorter one, or lower with a shorter one.
        let (pitch, tract) = [(0.0, 0.0), (-1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)][request.variant as usize % 4];
        let far = |draw: f32| VARIED * (0.75 + 0.25 * draw);
        self.f0_hz *= 1.0 + pitch * far(drawn[0]);
        self.formant_scale *= 1.0 + tract * far(drawn[1]) * 0.8;
        self.tilt_db_per_octave += tract * drawn[2].abs();
        self.rate_wpm *= 1.0 + 0.04 * drawn[3];
    }

    fn voice(&self) -> BuiltinVoice {
        let f0_hz = self.f0_hz.clamp(58.0, 420.0);
        // A range of 50 is a fifth from the lowest to the highest, as the plain voice has it.
        let half = 2f32.powf(0.29 * (self.range / 50.0).clamp(0.0, 2.2));
        BuiltinVoice {
            pitch_low_hz: (f0_hz / half).clamp(40.0, 600.0),
            pitch_high_hz: (f0_hz * half).clamp(40.0, 600.0),
            rate_wpm: self.rate_wpm.clamp(90.0, 320.0),
            formant_scale: self.formant_scale.clamp(0.75, 1.5),
            formant_width: self.formant_width.clamp(0.5, 2.5),
            tilt_db_per_octave: self.tilt_db_per_octave.clamp(-9.0, 9.0),
            breath: self.breath.clamp(0.0, 80.0),
            voicing_percent: self.voicing_percent.clamp(0.0, 120.0),
            roughness: self.roughness.clamp(0.0, 7.0).round() as u8,
            flutter: self.flutter.clamp(0.0, 30.0).round() as u8,
            volume_db: self.volume_db.clamp(-14.0, 6.0),
        }
    }
}

/// Four numbers of -1 to 1 that hang on the text and the seed alone.
fn draws(text: &str, seed: u64) -> [f32; 4] {
    let digest = Sha256::new().chain_update(text).chain_update(seed.to_le_bytes()).finalize();
    std::array::from_fn(|i| {
        let bytes = [digest[4 * i], digest[4 * i + 1], digest[4 * i + 2], digest[4 * i + 3]];
        (f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX) * 2.0 - 1.0) as f32
    })
}
