//! The voices one may ask for: the presets of the built-in engine and of installed models, and those that were made here. It may not know how
//! a voice is spoken.
//!
//! What was made here is found before a plan is made, all at once, so that planning stays pure.

use std::collections::{BTreeMap, BTreeSet};

use engine::builtin::{Gender, Preset};
use engine::neural_models::Offer;
use engine::qwen3_tts::{NamedSpeaker, NeuralVoice};
use engine::speech::VoiceProfile;
use models::manifest::Ability;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use storage::StorageError;
use storage::voices::{Voice as StoredVoice, find_named, name_key};

use crate::submission::{FieldError, SubmitError};
use crate::{Jobs, neural_voice};

/// Different voices in one request.
const NAMES_MAX: usize = 256;
/// Of one voice.
const PROFILES_MAX: usize = 64;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Voice {
    pub id: String,
    pub name: String,
    /// `preset`, `clone` or `design`.
    pub kind: String,
    /// BCP 47: the language it speaks when the text does not decide.
    pub language: String,
    pub gender: String,
    pub description: String,
    pub tags: Vec<String>,
    /// 0 for presets, which change with the program only.
    pub revision: i64,
    /// For the built-in engine; of a neural one where that is all there is.
    pub profile: VoiceProfile,
    /// For neural models, by their ids.
    pub neural: BTreeMap<String, NeuralVoice>,
    /// It has recordings, of which a form for other models can be made. Looked at only where such a model is installed.
    pub recorded: bool,
}

/// A voice as it was when a request was accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VoiceSnapshot {
    pub name: String,
    pub language: String,
    /// Which state of the voice this was; the profile is what decides how it sounds, and what equal chunks are found by.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub revision: i64,
    pub profile: VoiceProfile,
    /// Of the models that speak it here, as far as they have a form of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub neural: BTreeMap<String, NeuralVoice>,
    /// As in [`Voice`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recorded: bool,
}

impl VoiceSnapshot {
    /// What an engine speaks it with: a model's own form where there is one.
    pub(crate) fn spoken_with(&self, model: Option<&str>) -> VoiceProfile {
        let neural = model.and_then(|model| self.neural.get(model));
        neural.map_or_else(|| self.profile.clone(), |voice| VoiceProfile::Neural(Box::new(voice.clone())))
    }
}

fn is_zero(revision: &i64) -> bool {
    *revision == 0
}

/// What an engine made of a voice: one entry of the list in the voice's row, and of `profile.json` in an archive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredProfile {
    pub engine: String,
    /// The neural model it belongs to; `None` where the engine has none.
    pub model: Option<String>,
    /// A [`VoiceProfile`], or what a later version or another engine knows to read.
    pub profile: Value,
    /// Of the recordings, where it was made of some: an `engine::clone::CloneQuality`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<Value>,
}

impl Voice {
    /// `models`: those that are going to speak it.
    pub fn snapshot(&self, models: &BTreeSet<String>) -> VoiceSnapshot {
        let neural = self.neural.iter().filter(|(model, _)| models.contains(*model));
        VoiceSnapshot {
            name: self.name.clone(),
            language: self.language.clone(),
            revision: self.revision,
            profile: self.profile.clone(),
            neural: neural.map(|(model, voice)| (model.clone(), voice.clone())).collect(),
            recorded: self.recorded,
        }
    }

    /// As it was, whatever has become of it.
    pub(crate) fn of_snapshot(id: &str, snapshot: &VoiceSnapshot) -> Self {
        Self {
            id: id.to_owned(),
            name: snapshot.name.clone(),
            kind: String::new(),
            language: snapshot.language.clone(),
            gender: String::new(),
            description: String::new(),
            tags: Vec::new(),
            revision: snapshot.revision,
            profile: snapshot.profile.clone(),
            neural: snapshot.neural.clone(),
            recorded: snapshot.recorded,
        }
    }

    /// `None` where no engine of ours can speak it.
    fn of_stored(stored: &StoredVoice) -> Option<Self> {
        Some(Self {
            id: stored.id.to_string(),
            name: stored.name.clone(),
            kind: stored.kind.clone(),
            language: stored.language.clone(),
            gender: stored.gender.clone(),
            description: stored.description.clone(),
            tags: stored.tags.clone(),
            revision: stored.revision,
            profile: speakable(stored.profiles.as_deref()?)?,
            neural: neural_profiles(stored.profiles.as_deref()?),
            recorded: false,
        })
    }
}

/// The profile of a voice's row that the built-in engine speaks; where there is none, the first that a neural one does.
pub fn speakable(profiles: &str) -> Option<VoiceProfile> {
    let stored: Vec<StoredProfile> = serde_json::from_str(profiles).ok()?;
    let known: Vec<VoiceProfile> = stored.iter().filter_map(|stored| VoiceProfile::deserialize(&stored.profile).ok()).collect();
    let sound = |neural: bool| {
        let mut of_kind = known.iter().filter(move |profile| matches!(profile, VoiceProfile::Neural(_)) == neural);
        of_kind.find(|profile| check(profile).is_ok()).cloned()
    };
    // A neural form that names no model is nobody's.
    sound(false).or_else(|| sound(true).filter(|_| !neural_profiles(profiles).is_empty()))
}

/// The forms of a voice's row that neural models speak, by the models' ids.
pub(crate) fn neural_profiles(profiles: &str) -> BTreeMap<String, NeuralVoice> {
    let stored: Vec<StoredProfile> = serde_json::from_str(profiles).unwrap_or_default();
    stored.iter().filter_map(neural_voice::parsed).collect()
}

/// Whether an engine of this server can speak a voice with these profiles as it is.
pub fn can_speak(profiles: &str, offer: &Offer) -> bool {
    match speakable(profiles) {
        Some(VoiceProfile::Neural(_)) => neural_profiles(profiles).keys().any(|id| offer.installed.iter().any(|model| model.id == *id)),
        builtin => builtin.is_some(),
    }
}

/// What was found of the recordings of a voice, where it was made of some.
pub fn quality(profiles: &str) -> Option<Value> {
    let stored: Vec<StoredProfile> = serde_json::from_str(profiles).ok()?;
    stored.into_iter().find_map(|stored| stored.quality)
}

/// Whether a text is a list of profiles, and those that we know are sound.
pub fn check_profiles(profiles: &str) -> Result<(), String> {
    let stored: Vec<StoredProfile> = serde_json::from_str(profiles).map_err(|error| error.to_string())?;
    if stored.len() > PROFILES_MAX {
        return Err(format!("more than {PROFILES_MAX} profiles"));
    }
    for stored in stored {
        if let Ok(profile) = VoiceProfile::deserialize(&stored.profile) {
            check(&profile)?;
        }
    }
    Ok(())
}

fn check(profile: &VoiceProfile) -> Result<(), String> {
    match profile {
        VoiceProfile::Builtin(voice) => voice.check(),
        VoiceProfile::Converted(clone) => clone.check(),
        VoiceProfile::Neural(voice) => voice.check(),
    }
}

/// The presets of the built-in engine.
pub fn all() -> Vec<Voice> {
    engine::builtin::presets().iter().map(of_preset).collect()
}

/// All presets, those of installed models behind the others.
pub fn presets(offer: &Offer) -> Vec<Voice> {
    let mut presets = all();
    presets.extend(neural_presets(offer));
    presets
}

/// A preset among them by id; names are taken too, in any case, because people type them.
pub fn preset(offer: &Offer, wanted: &str) -> Option<Voice> {
    find(wanted).or_else(|| {
        let presets = neural_presets(offer);
        let by_id = presets.iter().find(|preset| preset.id == wanted);
        by_id.or_else(|| presets.iter().find(|preset| preset.name.eq_ignore_ascii_case(wanted))).cloned()
    })
}

/// The speakers that installed models know by name, each once, however many models know it.
fn neural_presets(offer: &Offer) -> Vec<Voice> {
    let mut presets: BTreeMap<String, Voice> = BTreeMap::new();
    for model in offer.installed.iter().filter(|model| model.can(Ability::Preset)) {
        for speaker in &model.speakers {
            let id = format!("{NEURAL_PRESET}{}", speaker.name.replace('_', "-"));
            let preset = presets.entry(id.clone()).or_insert_with(|| of_speaker(id, speaker));
            preset.neural.insert(model.id.clone(), NeuralVoice::Named { speaker: speaker.name.clone() });
        }
    }
    presets.into_values().collect()
}

/// Before the ids of presets of neural models: a preset of the built-in engine may have the same name.
const NEURAL_PRESET: &str = "qwen3-";

/// A language that the model does not speak is spoken by the first preset of the built-in engine of that gender.
fn of_speaker(id: String, speaker: &NamedSpeaker) -> Voice {
    let presets = engine::builtin::presets();
    let stand_in = presets.iter().find(|preset| gender_name(preset.gender) == speaker.gender).or(presets.first());
    Voice {
        id,
        name: speaker.title(),
        kind: "preset".into(),
        language: speaker.language.into(),
        gender: speaker.gender.into(),
        description: speaker.description.into(),
        tags: vec!["neural".into()],
        revision: 0,
        profile: VoiceProfile::Builtin(stand_in.map_or_else(Default::default, |preset| preset.voice.clone())),
        neural: BTreeMap::new(),
        recorded: false,
    }
}

/// A preset of the built-in engine by id or name.
pub fn find(wanted: &str) -> Option<Voice> {
    let presets = engine::builtin::presets();
    let by_name = || presets.iter().find(|preset| preset.name.eq_ignore_ascii_case(wanted)).map(of_preset);
    preset_by_id(wanted).or_else(by_name)
}

fn preset_by_id(wanted: &str) -> Option<Voice> {
    engine::builtin::presets().iter().find(|preset| preset.id == wanted).map(of_preset)
}

fn of_preset(preset: &Preset) -> Voice {
    Voice {
        id: preset.id.to_string(),
        name: preset.name.to_string(),
        kind: "preset".into(),
        language: preset.language.to_string(),
        gender: gender_name(preset.gender).into(),
        description: preset.description.to_string(),
        tags: preset.tags.iter().map(ToString::to_string).collect(),
        revision: 0,
        profile: VoiceProfile::Builtin(preset.voice.clone()),
        neural: BTreeMap::new(),
        recorded: false,
    }
}

fn gender_name(gender: Gender) -> &'static str {
    match gender {
        Gender::Female => "female",
        Gender::Male => "male",
        Gender::Neutral => "neutral",
    }
}

/// What a caller's names stand for.
#[derive(Debug, Clone, Default)]
pub struct FoundVoices(BTreeMap<String, Voice>);

impl FoundVoices {
    pub fn get(&self, name: &str) -> Option<Voice> {
        self.0.get(name).cloned()
    }
}

impl Jobs {
    /// The voices of these names, for this caller: by the id of a preset or of a stored voice, then by the name of an own voice, of a
    /// preset, of somebody else's voice that is shared. What is found nowhere is missing in the answer; what is found and can't speak is an
    /// error.
    pub async fn find_voices(&self, owner_id: &str, names: &BTreeSet<String>, offer: &Offer) -> Result<FoundVoices, SubmitError> {
        if names.len() > NAMES_MAX {
            return Err(invalid(format!("name more than {NAMES_MAX} different voices")));
        }
        let neural = neural_presets(offer);
        let is_preset = |name: &str| preset_by_id(name).is_some() || neural.iter().any(|preset| preset.id == name);
        let unknown: Vec<&str> = names.iter().map(String::as_str).filter(|name| !is_preset(name)).collect();
        let stored = find_named(self.storage.rows.read(), owner_id, &unknown).await?;
        let mut found = BTreeMap::new();
        for name in names {
            if let Some(mut voice) = choose(name, owner_id, &stored, &neural)? {
                voice.recorded = self.is_recorded(&voice, offer).await?;
                found.insert(name.clone(), voice);
            }
        }
        Ok(FoundVoices(found))
    }

    /// One of them by whatever it may be called.
    pub async fn find_voice(&self, owner_id: &str, name: &str, offer: &Offer) -> Result<Option<Voice>, SubmitError> {
        Ok(self.find_voices(owner_id, &BTreeSet::from([name.to_owned()]), offer).await?.get(name))
    }

    /// All presets.
    pub fn presets(&self) -> Vec<Voice> {
        presets(&self.engines.offer())
    }

    /// A preset by id or name.
    pub fn preset(&self, wanted: &str) -> Option<Voice> {
        find(wanted).or_else(|| preset(&self.engines.offer(), wanted))
    }

    /// Whether a model that could speak it has no form of it yet, and there are recordings to make one of.
    async fn is_recorded(&self, voice: &Voice, offer: &Offer) -> Result<bool, StorageError> {
        let lacking = offer.installed.iter().any(|model| model.can(Ability::Clone) && !voice.neural.contains_key(&model.id));
        match uuid::Uuid::parse_str(&voice.id) {
            Ok(id) if lacking && voice.kind == "clone" => Ok(!storage::voices::samples(self.storage.rows.read(), id).await?.is_empty()),
            _ => Ok(false),
        }
    }

    /// The job that is making a voice, while it waits or runs.
    pub async fn making(&self, voice: &StoredVoice) -> Result<Option<uuid::Uuid>, StorageError> {
        let Some(job_id) = voice.job_id else {
            return Ok(None);
        };
        let row = storage::jobs::find(self.storage.rows.read(), job_id).await?;
        Ok(row.filter(|row| !row.state.is_final()).map(|row| row.id))
    }

    /// A voice of this id that the reader may see.
    pub async fn stored_voice(&self, reader_id: &str, id: uuid::Uuid) -> Result<Option<StoredVoice>, StorageError> {
        let voice = storage::voices::find(self.storage.rows.read(), id).await?;
        Ok(voice.filter(|voice| voice.is_visible_to(reader_id)))
    }
}

/// `stored`: the owner's own first.
fn choose(name: &str, owner_id: &str, stored: &[StoredVoice], neural: &[Voice]) -> Result<Option<Voice>, SubmitError> {
    if let Some(preset) = preset_by_id(name).or_else(|| neural.iter().find(|preset| preset.id == name).cloned()) {
        return Ok(Some(preset));
    }
    let key = name_key(name);
    let of_stored = |voice: &StoredVoice| {
        if let Some(job_id) = voice.job_id {
            return Err(SubmitError::VoiceNotMade { name: voice.name.clone(), job_id });
        }
        let spoken = Voice::of_stored(voice);
        spoken.map(Some).ok_or_else(|| invalid(format!("\"{}\" has no profile that an engine of this server can speak", voice.name)))
    };
    if let Some(voice) = stored.iter().find(|voice| voice.id.to_string() == key) {
        return of_stored(voice);
    }
    let named = |own: bool| stored.iter().find(|voice| (voice.owner_id == owner_id) == own && name_key(&voice.name) == key);
    if let Some(voice) = named(true) {
        return of_stored(voice);
    }
    let preset = find(name).or_else(|| neural.iter().find(|preset| preset.name.eq_ignore_ascii_case(name)).cloned());
    match (preset, named(false)) {
        (Some(preset), _) => Ok(Some(preset)),
        (None, Some(voice)) => of_stored(voice),
        (None, None) => Ok(None),
    }
}

fn invalid(message: String) -> SubmitError {
    SubmitError::Invalid(vec![FieldError { field: "voice_id".into(), message }])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use engine::neural_models::NeuralModel;
    use serde_json::json;

    use super::*;

    fn model(id: &str, ability: Ability, speakers: &[&str]) -> NeuralModel {
        let speaker = |name: &&str| NamedSpeaker { name: (*name).into(), gender: "male", language: "en", description: "" };
        let speakers = speakers.iter().map(speaker).collect();
        NeuralModel { id: id.into(), abilities: vec![ability], languages: vec!["en".into()], parameters_millions: 1, speakers }
    }

    fn offer(installed: Vec<NeuralModel>) -> Offer {
        Offer { installed, ..Offer::default() }
    }

    #[test]
    fn speakers_of_models_are_presets_each_once() {
        let offer = offer(vec![
            model("one", Ability::Preset, &["uncle_fu", "nora"]),
            model("two", Ability::Preset, &["uncle_fu"]),
            model("base", Ability::Clone, &["nobody"]),
        ]);
        let found = preset(&offer, "qwen3-uncle-fu").unwrap();
        assert_eq!(found.neural.keys().collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!(preset(&offer, "uncle fu").unwrap().id, found.id);
        assert_eq!(preset(&offer, "nora").unwrap().neural.len(), 0, "the built-in engine's own comes first");
        assert_eq!(preset(&offer, "qwen3-nobody"), None);
        assert_eq!(presets(&offer).len(), all().len() + 2);
        // For languages that no model speaks.
        assert!(matches!(found.profile, VoiceProfile::Builtin(_)) && found.gender == "male");
    }

    #[test]
    fn a_voice_of_a_model_alone_is_spoken_where_the_model_is() {
        let neural = json!({"engine": "qwen3-tts", "kind": "named", "speaker": "ryan"});
        let entry = |model: Option<&str>| json!([{"engine": "qwen3-tts", "model": model, "profile": neural}]).to_string();
        assert!(matches!(speakable(&entry(Some("one"))), Some(VoiceProfile::Neural(_))));
        assert_eq!(speakable(&entry(None)), None, "of no model");
        assert!(can_speak(&entry(Some("one")), &offer(vec![model("one", Ability::Preset, &[])])));
        assert!(!can_speak(&entry(Some("one")), &offer(vec![model("two", Ability::Preset, &[])])));
        // Where the built-in engine has a form of it too, that one is the voice, wherever it stands in the list.
        let builtin = serde_json::to_value(find("nora").unwrap().profile).unwrap();
        let both = json!([
            {"engine": "qwen3-tts", "model": "one", "profile": neural}, {"engine": "builtin", "model": null, "profile": builtin}
        ]);
        assert!(matches!(speakable(&both.to_string()), Some(VoiceProfile::Builtin(_))));
        assert_eq!(neural_profiles(&both.to_string()).len(), 1);
        assert!(can_speak(&both.to_string(), &Offer::default()));
    }

    #[test]
    fn a_snapshot_keeps_what_speaks_and_says_nothing_of_the_rest() {
        let named = |speaker: &str| NeuralVoice::Named { speaker: speaker.into() };
        let neural = BTreeMap::from([("one".to_owned(), named("a")), ("two".to_owned(), named("b"))]);
        let voice = Voice { neural, ..find("nora").unwrap() };
        let snapshot = voice.snapshot(&BTreeSet::from(["two".to_owned()]));
        assert_eq!(snapshot.spoken_with(Some("two")), VoiceProfile::Neural(Box::new(named("b"))));
        assert_eq!(snapshot.spoken_with(Some("one")), voice.profile, "still to be made of the recordings");
        assert_eq!(snapshot.spoken_with(None), voice.profile);
        // Rows of before are read, and rows without a model look as before.
        let plain = serde_json::to_value(voice.snapshot(&BTreeSet::new())).unwrap();
        assert_eq!(plain.as_object().unwrap().keys().collect::<Vec<_>>(), ["name", "language", "profile"]);
        assert_eq!(serde_json::from_value::<VoiceSnapshot>(plain).unwrap(), voice.snapshot(&BTreeSet::new()));
    }
}
