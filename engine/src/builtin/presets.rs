//! The voices that every installation has: parameter sets for the built-in engine.
//!
//! Every pair differs to the ear: two semitones in the median F0, or 3 in the mean MFCC; `tests/presets.rs` measures it. Any voice speaks
//! any language; `language` is the one it is offered for first. It may not know how they are stored or listed.

use serde::Serialize;

use super::voice::BuiltinVoice;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gender {
    Female,
    Male,
    Neutral,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Preset {
    /// Never changes: it is stored with generations.
    pub id: &'static str,
    pub name: &'static str,
    pub gender: Gender,
    /// BCP 47.
    pub language: &'static str,
    pub description: &'static str,
    pub tags: &'static [&'static str],
    pub voice: BuiltinVoice,
}

/// What the table below does not name.
const PLAIN: BuiltinVoice = BuiltinVoice {
    pitch_low_hz: 82.0,
    pitch_high_hz: 118.0,
    rate_wpm: 170.0,
    formant_scale: 1.0,
    formant_width: 1.0,
    tilt_db_per_octave: 0.0,
    breath: 0.0,
    voicing_percent: 100.0,
    roughness: 2,
    flutter: 2,
    volume_db: 0.0,
};

static PRESETS: &[Preset] = &[
    Preset {
        id: "nora",
        name: "Nora",
        gender: Gender::Female,
        language: "en-US",
        description: "a warm, even narrator for long texts",
        tags: &["narration", "warm", "adult"],
        voice: BuiltinVoice { pitch_low_hz: 150.0, pitch_high_hz: 220.0, formant_scale: 1.14, breath: 3.0, ..PLAIN },
    },
    Preset {
        id: "elias",
        name: "Elias",
        gender: Gender::Male,
        language: "en-US",
        description: "a clear, neutral man's voice",
        tags: &["narration", "neutral", "adult"],
        voice: BuiltinVoice { pitch_low_hz: 88.0, pitch_high_hz: 132.0, ..PLAIN },
    },
];

/// In the order in which they are offered.
pub fn presets() -> &'static [Preset] {
    PRESETS
}

pub fn preset(id: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.id == id)
}
