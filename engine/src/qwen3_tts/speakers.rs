//! What is known of the named speakers of the published CustomVoice checkpoints: the model itself knows no more than their names.
//!
//! Source: the model card of Qwen3-TTS-12Hz-CustomVoice. A checkpoint with other speakers works as well; then nothing is known of them.

/// A speaker that a checkpoint knows by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedSpeaker {
    /// As the checkpoint has it, in lower case.
    pub name: String,
    /// `female`, `male` or `neutral`.
    pub gender: &'static str,
    /// BCP 47: what the speaker is at home in. All of the checkpoint's languages can be spoken.
    pub language: &'static str,
    pub description: &'static str,
}

const KNOWN: [(&str, &str, &str, &str); 9] = [
    ("vivian", "female", "zh", "A young woman, bright and a little edgy; at home in Chinese"),
    ("serena", "female", "zh", "A young woman, warm and gentle; at home in Chinese"),
    ("uncle_fu", "male", "zh", "An older man, low and mellow; at home in Chinese"),
    ("dylan", "male", "zh", "A young man with the sound of Beijing, clear and natural"),
    ("eric", "male", "zh", "A lively man with the sound of Chengdu, slightly husky"),
    ("ryan", "male", "en", "A man with drive and rhythm; at home in English"),
    ("aiden", "male", "en", "An American, sunny and clear; at home in English"),
    ("ono_anna", "female", "ja", "A playful woman, light and nimble; at home in Japanese"),
    ("sohee", "female", "ko", "A woman, warm and full of feeling; at home in Korean"),
];

impl NamedSpeaker {
    pub(super) fn of(name: &str) -> Self {
        let name = name.to_lowercase();
        match KNOWN.iter().find(|(known, ..)| *known == name) {
            Some((_, gender, language, description)) => Self { name, gender, language, description },
            None => Self { name, gender: "neutral", language: "en", description: "A voice of a neural model" },
        }
    }

    /// For people: `uncle_fu` is `Uncle Fu`.
    pub fn title(&self) -> String {
        let capital = |word: &str| {
            let mut chars = word.chars();
            chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
        };
        self.name.split('_').map(capital).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_for_people() {
        assert_eq!(NamedSpeaker::of("Uncle_Fu").title(), "Uncle Fu");
        assert_eq!(NamedSpeaker::of("ryan").gender, "male");
        assert_eq!((NamedSpeaker::of("x").gender, NamedSpeaker::of("").title()), ("neutral", String::new()));
    }
}
