//! Who reads which part: the voices that the server offers against the people of the story. Pure.

use serde::Deserialize;

use crate::Failure;

/// A voice as `GET /api/voices` tells it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Voice {
    pub(crate) id: String,
    pub(crate) name: String,
    #[serde(default)]
    gender: Option<String>,
    #[serde(default)]
    language: Option<String>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
}

impl Voice {
    pub(crate) fn description(&self) -> String {
        match &self.description {
            Some(text) if !text.is_empty() => format!("{} ({text})", self.name),
            _ => self.name.clone(),
        }
    }
}

/// A person of the story and what their voice should be like.
struct Part {
    name: &'static str,
    gender: &'static str,
    tag: &'static str,
    language: &'static str,
}

const PARTS: [Part; 4] = [
    Part { name: "narrator", gender: "female", tag: "narration", language: "en" },
    Part { name: "marten", gender: "male", tag: "elderly", language: "en" },
    Part { name: "ida", gender: "female", tag: "clear", language: "en" },
    Part { name: "odile", gender: "female", tag: "bright", language: "fr" },
];

/// A voice for each part, none twice while there are enough.
pub(crate) fn cast(voices: &[Voice]) -> Result<Vec<(&'static str, Voice)>, Failure> {
    let mut chosen: Vec<(&'static str, Voice)> = Vec::new();
    for part in &PARTS {
        let taken = |voice: &Voice| chosen.iter().any(|(_, other)| other.id == voice.id);
        // The first of the best: the server lists its voices in a fixed order.
        let best = voices.iter().rev().max_by_key(|voice| (!taken(voice), fit(part, voice)));
        chosen.push((part.name, best.cloned().ok_or("the server offers no voices")?));
    }
    Ok(chosen)
}

fn fit(part: &Part, voice: &Voice) -> u32 {
    let gender = voice.gender.as_deref() == Some(part.gender);
    let tag = voice.tags.iter().any(|tag| tag == part.tag);
    let language = voice.language.as_deref().is_some_and(|language| language.starts_with(part.language));
    4 * u32::from(gender) + 2 * u32::from(tag) + u32::from(language)
}

/// For an example call: the voice that the server names first.
pub(crate) fn first_voice(voices: &[Voice]) -> String {
    voices.first().map(|voice| voice.id.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;

    use super::*;

    fn voice(id: &str, gender: &str, language: &str, tags: &[&str]) -> Voice {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        Voice { id: id.into(), name: id.into(), gender: Some(gender.into()), language: Some(language.into()), description: None, tags }
    }

    #[test]
    fn every_part_of_the_story_is_cast_and_the_story_is_long() {
        let named: BTreeSet<&str> = crate::STORY.split("[voice:").skip(1).map(|rest| rest.split(']').next().unwrap()).collect();
        assert_eq!(named, PARTS.iter().map(|part| part.name).collect());
        let words = crate::STORY.split_whitespace().filter(|word| !word.starts_with("[voice:")).count();
        assert!(words >= 1_500, "{words}");
    }

    #[test]
    fn each_gets_the_voice_that_fits_and_none_is_given_twice() {
        let voices = [
            voice("elias", "male", "en-US", &["narration"]),
            voice("opa", "male", "en-GB", &["elderly"]),
            voice("nora", "female", "en-US", &["narration"]),
            voice("mia", "female", "en-US", &["clear"]),
            voice("lea", "female", "fr", &[]),
        ];
        let ids: Vec<String> = cast(&voices).unwrap().into_iter().map(|(_, voice)| voice.id).collect();
        assert_eq!(ids, ["nora", "opa", "mia", "lea"]);
        let ids: Vec<String> = cast(&voices[..2]).unwrap().into_iter().map(|(_, voice)| voice.id).collect();
        assert_eq!(ids[..2], ["elias", "opa"]);
        assert!(cast(&[]).is_err());
    }
}
