//! The voices one may ask for: today the presets of the built-in engine. It may not know how a voice is spoken.

use engine::builtin::Gender;
use engine::speech::VoiceProfile;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Voice {
    pub id: String,
    pub name: String,
    /// `preset`; later `clone` and `design` too.
    pub kind: String,
    /// BCP 47: the language it speaks when the text does not decide.
    pub language: String,
    pub gender: String,
    pub description: String,
    pub tags: Vec<String>,
    pub profile: VoiceProfile,
}

/// A voice as it was when a request was accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VoiceSnapshot {
    pub name: String,
    pub language: String,
    pub profile: VoiceProfile,
}

impl Voice {
    pub fn snapshot(&self) -> VoiceSnapshot {
        VoiceSnapshot { name: self.name.clone(), language: self.language.clone(), profile: self.profile.clone() }
    }
}

pub fn all() -> Vec<Voice> {
    engine::builtin::presets().iter().map(of_preset).collect()
}

/// By id; names are taken too, in any case, because people type them.
pub fn find(wanted: &str) -> Option<Voice> {
    let presets = engine::builtin::presets();
    let preset = presets
        .iter()
        .find(|preset| preset.id == wanted)
        .or_else(|| presets.iter().find(|preset| preset.name.eq_ignore_ascii_case(wanted)))?;
    Some(of_preset(preset))
}

fn of_preset(preset: &engine::builtin::Preset) -> Voice {
    Voice {
        id: preset.id.to_string(),
        name: preset.name.to_string(),
        kind: "preset".into(),
        language: preset.language.to_string(),
        gender: gender_name(preset.gender).into(),
        description: preset.description.to_string(),
        tags: preset.tags.iter().map(ToString::to_string).collect(),
        profile: VoiceProfile::Builtin(preset.voice.clone()),
    }
}

fn gender_name(gender: Gender) -> &'static str {
    match gender {
        Gender::Female => "female",
        Gender::Male => "male",
        Gender::Neutral => "neutral",
    }
}
