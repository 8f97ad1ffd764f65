//! A voice of the neural engine as plain data, to be kept in a row, exported and hashed; and the names of languages on both sides.
//!
//! This file may not know tensors or models: what a checkpoint cannot speak with, it refuses itself.

use serde::{Deserialize, Serialize};

use super::model::MAX_REFERENCE_S;
use super::prompt::ClonePrompt;

/// Which of a checkpoint's ways of speaking, and with what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum NeuralVoice {
    /// A speaker that a CustomVoice checkpoint knows by name.
    Named { speaker: String },
    /// A voice that a VoiceDesign checkpoint makes anew of its description each time.
    Described { description: String },
    /// A recording, for Base checkpoints.
    Cloned(ClonePrompt),
}

const MAX_SPEAKER_CHARS: usize = 64;
/// Also of a style instruction.
pub(super) const MAX_DESCRIPTION_CHARS: usize = 1_000;
const MAX_TEXT_CHARS: usize = 4_000;
const MAX_VECTOR: usize = 8_192;
const MAX_GROUPS: usize = 64;
const MAX_CODE: u32 = 65_535;
/// 12.5 frames a second, and the one that is begun.
const MAX_FRAMES: usize = MAX_REFERENCE_S * 25 / 2 + 1;

impl NeuralVoice {
    /// Whether a profile from outside is sound. What only one checkpoint can tell is told when it speaks.
    pub fn check(&self) -> Result<(), String> {
        let within = |what: &str, text: &str, most: usize| {
            let chars = text.chars().count();
            if chars == 0 || chars > most { Err(format!("{what} has {chars} characters, and may have 1 to {most}")) } else { Ok(()) }
        };
        match self {
            Self::Named { speaker } => within("speaker", speaker, MAX_SPEAKER_CHARS),
            Self::Described { description } => within("description", description, MAX_DESCRIPTION_CHARS),
            Self::Cloned(clone) => {
                let length = clone.x_vector.len();
                if length == 0 || length > MAX_VECTOR || clone.x_vector.iter().any(|value| !value.is_finite()) {
                    return Err(format!("x_vector has {length} values, and may have 1 to {MAX_VECTOR} finite ones"));
                }
                let Some(reference) = &clone.reference else { return Ok(()) };
                within("reference text", &reference.text, MAX_TEXT_CHARS)?;
                let frames = reference.codes.len();
                if frames == 0 || frames > MAX_FRAMES {
                    return Err(format!("the reference has {frames} frames, and may have 1 to {MAX_FRAMES}"));
                }
                let sound = |frame: &Vec<u32>| frame.len() <= MAX_GROUPS && frame.iter().all(|code| *code <= MAX_CODE);
                if reference.codes.iter().all(sound) { Ok(()) } else { Err("a frame of the reference is no frame of codes".to_owned()) }
            }
        }
    }
}

/// Tags of languages and the model's names for them.
const LANGUAGES: [(&str, &str); 10] = [
    ("zh", "chinese"),
    ("en", "english"),
    ("ja", "japanese"),
    ("ko", "korean"),
    ("de", "german"),
    ("fr", "french"),
    ("ru", "russian"),
    ("pt", "portuguese"),
    ("es", "spanish"),
    ("it", "italian"),
];

/// The model's name for a BCP 47 tag. `None`: the model does not know the language.
pub(super) fn language_name(tag: &str) -> Option<&'static str> {
    let primary = tag.split(['-', '_']).next().unwrap_or_default();
    LANGUAGES.iter().find(|(tag, _)| tag.eq_ignore_ascii_case(primary)).map(|(_, name)| *name)
}

/// The tags of those names that the model lists.
pub(super) fn tags<'n>(names: impl Iterator<Item = &'n String>) -> Vec<String> {
    let names: Vec<&String> = names.collect();
    LANGUAGES.iter().filter(|(_, name)| names.iter().any(|known| known == name)).map(|(tag, _)| (*tag).to_owned()).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::qwen3_tts::prompt::Reference;

    #[test]
    fn tags_are_read_by_their_language() {
        assert_eq!(language_name("en-US"), Some("english"));
        assert_eq!(language_name("ZH-Hans-CN"), Some("chinese"));
        assert_eq!(language_name("pt_BR"), Some("portuguese"));
        assert_eq!((language_name("nl"), language_name("")), (None, None));
    }

    #[test]
    fn voices_keep_their_form() {
        let voices = [
            NeuralVoice::Named { speaker: "ryan".to_owned() },
            NeuralVoice::Described { description: "deep".to_owned() },
            NeuralVoice::Cloned(ClonePrompt {
                x_vector: vec![0.5],
                reference: Some(Reference { text: "hi".to_owned(), codes: vec![vec![1; 16]] }),
            }),
        ];
        for voice in voices {
            assert_eq!(voice.check(), Ok(()));
            let text = serde_json::to_string(&voice).unwrap();
            assert_eq!(serde_json::from_str::<NeuralVoice>(&text).unwrap(), voice, "{text}");
        }
    }

    #[test]
    fn what_is_no_voice_is_refused() {
        let clone = |x_vector: Vec<f32>, codes| {
            NeuralVoice::Cloned(ClonePrompt { x_vector, reference: Some(Reference { text: "hi".to_owned(), codes }) })
        };
        for voice in [
            NeuralVoice::Named { speaker: String::new() },
            NeuralVoice::Described { description: "a".repeat(1_001) },
            clone(vec![], vec![vec![1]]),
            clone(vec![f32::INFINITY], vec![vec![1]]),
            clone(vec![0.0], vec![]),
            clone(vec![0.0], vec![vec![1]; MAX_FRAMES + 1]),
            clone(vec![0.0], vec![vec![70_000]]),
        ] {
            assert!(voice.check().is_err(), "{voice:?}");
        }
    }
}
