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
        voice: BuiltinVoice {
            pitch_low_hz: 160.0,
            pitch_high_hz: 230.0,
            rate_wpm: 168.0,
            formant_scale: 1.14,
            tilt_db_per_octave: -1.0,
            breath: 2.0,
            roughness: 1,
            volume_db: -4.5,
            ..PLAIN
        },
    },
    Preset {
        id: "elias",
        name: "Elias",
        gender: Gender::Male,
        language: "en-US",
        description: "a clear, neutral man's voice",
        tags: &["narration", "neutral", "adult"],
        voice: BuiltinVoice { pitch_low_hz: 88.0, pitch_high_hz: 138.0, volume_db: -2.0, ..PLAIN },
    },
    Preset {
        id: "beatrix",
        name: "Beatrix",
        gender: Gender::Female,
        language: "en-GB",
        description: "an elderly lady, unhurried and a little hoarse",
        tags: &["elderly", "storytelling", "slow"],
        voice: BuiltinVoice {
            pitch_low_hz: 132.0,
            pitch_high_hz: 198.0,
            rate_wpm: 145.0,
            formant_scale: 1.11,
            tilt_db_per_octave: 0.5,
            roughness: 5,
            flutter: 14,
            breath: 12.0,
            volume_db: -2.0,
            ..PLAIN
        },
    },
    Preset {
        id: "harold",
        name: "Harold",
        gender: Gender::Male,
        language: "en-GB",
        description: "an old man with gravel in his voice",
        tags: &["elderly", "storytelling", "gravelly"],
        voice: BuiltinVoice {
            pitch_low_hz: 74.0,
            pitch_high_hz: 108.0,
            rate_wpm: 146.0,
            formant_scale: 0.97,
            tilt_db_per_octave: 2.5,
            roughness: 6,
            flutter: 14,
            breath: 5.0,
            volume_db: -0.5,
            ..PLAIN
        },
    },
    Preset {
        id: "oskar",
        name: "Oskar",
        gender: Gender::Male,
        language: "de",
        description: "a very deep, calm voice",
        tags: &["deep", "calm", "adult"],
        voice: BuiltinVoice {
            pitch_low_hz: 56.0,
            pitch_high_hz: 82.0,
            rate_wpm: 155.0,
            formant_scale: 0.92,
            tilt_db_per_octave: -3.0,
            volume_db: -2.5,
            ..PLAIN
        },
    },
    Preset {
        id: "amelie",
        name: "Amélie",
        gender: Gender::Female,
        language: "fr",
        description: "bright and quick",
        tags: &["bright", "lively", "adult"],
        voice: BuiltinVoice {
            pitch_low_hz: 196.0,
            pitch_high_hz: 308.0,
            rate_wpm: 185.0,
            formant_scale: 1.15,
            tilt_db_per_octave: 4.0,
            volume_db: -5.0,
            ..PLAIN
        },
    },
    Preset {
        id: "mateo",
        name: "Mateo",
        gender: Gender::Male,
        language: "es",
        description: "a young man, friendly and lively",
        tags: &["young", "lively", "friendly"],
        voice: BuiltinVoice {
            pitch_low_hz: 116.0,
            pitch_high_hz: 184.0,
            rate_wpm: 182.0,
            formant_scale: 1.04,
            tilt_db_per_octave: 2.5,
            volume_db: -2.5,
            ..PLAIN
        },
    },
    Preset {
        id: "chiara",
        name: "Chiara",
        gender: Gender::Female,
        language: "it",
        description: "a dark, soft alto",
        tags: &["dark", "soft", "adult"],
        voice: BuiltinVoice {
            pitch_low_hz: 146.0,
            pitch_high_hz: 204.0,
            rate_wpm: 160.0,
            formant_scale: 1.07,
            tilt_db_per_octave: -7.0,
            volume_db: -6.0,
            ..PLAIN
        },
    },
    Preset {
        id: "otis",
        name: "Otis",
        gender: Gender::Male,
        language: "en-US",
        description: "a firm newsreader",
        tags: &["news", "serious", "adult"],
        voice: BuiltinVoice {
            pitch_low_hz: 106.0,
            pitch_high_hz: 156.0,
            rate_wpm: 172.0,
            formant_scale: 0.92,
            tilt_db_per_octave: 4.0,
            roughness: 0,
            flutter: 0,
            volume_db: -2.5,
            ..PLAIN
        },
    },
    Preset {
        id: "pia",
        name: "Pia",
        gender: Gender::Female,
        language: "de",
        description: "a little girl",
        tags: &["child", "bright"],
        voice: BuiltinVoice { pitch_low_hz: 275.0, pitch_high_hz: 410.0, rate_wpm: 178.0, formant_scale: 1.38, volume_db: -5.5, ..PLAIN },
    },
    Preset {
        id: "finn",
        name: "Finn",
        gender: Gender::Male,
        language: "en-US",
        description: "a boy of about ten",
        tags: &["child", "lively"],
        voice: BuiltinVoice {
            pitch_low_hz: 225.0,
            pitch_high_hz: 340.0,
            rate_wpm: 180.0,
            formant_scale: 1.3,
            tilt_db_per_octave: -1.0,
            volume_db: -4.5,
            ..PLAIN
        },
    },
    Preset {
        id: "wren",
        name: "Wren",
        gender: Gender::Female,
        language: "en-GB",
        description: "a whisper, without any voice",
        tags: &["whisper", "soft"],
        voice: BuiltinVoice {
            pitch_low_hz: 140.0,
            pitch_high_hz: 190.0,
            rate_wpm: 150.0,
            formant_scale: 1.16,
            breath: 75.0,
            voicing_percent: 0.0,
            flutter: 10,
            volume_db: -8.0,
            ..PLAIN
        },
    },
    Preset {
        id: "silas",
        name: "Silas",
        gender: Gender::Male,
        language: "en-US",
        description: "a hushed voice, close to a whisper",
        tags: &["hushed", "dark"],
        voice: BuiltinVoice {
            pitch_low_hz: 80.0,
            pitch_high_hz: 110.0,
            rate_wpm: 150.0,
            formant_scale: 0.95,
            tilt_db_per_octave: -3.0,
            breath: 60.0,
            voicing_percent: 12.0,
            flutter: 10,
            volume_db: 1.5,
            ..PLAIN
        },
    },
    Preset {
        id: "mei",
        name: "Mei",
        gender: Gender::Female,
        language: "zh",
        description: "clear and gentle",
        tags: &["clear", "gentle", "adult"],
        voice: BuiltinVoice {
            pitch_low_hz: 178.0,
            pitch_high_hz: 262.0,
            rate_wpm: 165.0,
            formant_scale: 1.25,
            formant_width: 0.7,
            volume_db: -3.0,
            ..PLAIN
        },
    },
    Preset {
        id: "haruka",
        name: "Haruka",
        gender: Gender::Female,
        language: "ja",
        description: "high and polite",
        tags: &["high", "polite", "young"],
        voice: BuiltinVoice {
            pitch_low_hz: 222.0,
            pitch_high_hz: 340.0,
            rate_wpm: 172.0,
            formant_scale: 1.2,
            tilt_db_per_octave: 1.0,
            breath: 14.0,
            volume_db: -5.0,
            ..PLAIN
        },
    },
    Preset {
        id: "minjun",
        name: "Min-jun",
        gender: Gender::Male,
        language: "ko",
        description: "a soft-spoken young man",
        tags: &["soft", "young"],
        voice: BuiltinVoice {
            pitch_low_hz: 110.0,
            pitch_high_hz: 164.0,
            rate_wpm: 168.0,
            formant_scale: 1.03,
            tilt_db_per_octave: -4.0,
            breath: 14.0,
            volume_db: -4.5,
            ..PLAIN
        },
    },
    Preset {
        id: "grigori",
        name: "Grigori",
        gender: Gender::Male,
        language: "ru",
        description: "a broad bass",
        tags: &["deep", "strong", "adult"],
        voice: BuiltinVoice {
            pitch_low_hz: 64.0,
            pitch_high_hz: 96.0,
            rate_wpm: 160.0,
            formant_scale: 0.86,
            formant_width: 0.7,
            tilt_db_per_octave: 1.0,
            volume_db: 2.0,
            ..PLAIN
        },
    },
    Preset {
        id: "beto",
        name: "Beto",
        gender: Gender::Male,
        language: "pt-BR",
        description: "a relaxed baritone",
        tags: &["relaxed", "warm", "adult"],
        voice: BuiltinVoice {
            pitch_low_hz: 79.0,
            pitch_high_hz: 118.0,
            rate_wpm: 162.0,
            formant_scale: 1.05,
            formant_width: 1.7,
            tilt_db_per_octave: -2.0,
            volume_db: -6.5,
            ..PLAIN
        },
    },
];

/// In the order in which they are offered.
pub fn presets() -> &'static [Preset] {
    PRESETS
}

pub fn preset(id: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.id == id)
}
