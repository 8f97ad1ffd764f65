//! The voices one may ask for: the presets of the built-in engine, and those that were made here. It may not know how a voice is spoken.
//!
//! What was made here is found before a plan is made, all at once, so that planning stays pure.

use std::collections::{BTreeMap, BTreeSet};

use engine::builtin::{Gender, Preset};
use engine::speech::VoiceProfile;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use storage::StorageError;
use storage::voices::{Voice as StoredVoice, find_named, name_key};

use crate::Jobs;
use crate::submission::{FieldError, SubmitError};

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
    pub profile: VoiceProfile,
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
    pub fn snapshot(&self) -> VoiceSnapshot {
        VoiceSnapshot { name: self.name.clone(), language: self.language.clone(), revision: self.revision, profile: self.profile.clone() }
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
        })
    }
}

/// The first profile of a voice's row that an engine of ours can speak.
pub fn speakable(profiles: &str) -> Option<VoiceProfile> {
    let stored: Vec<StoredProfile> = serde_json::from_str(profiles).ok()?;
    stored.iter().find_map(|stored| {
        let profile = VoiceProfile::deserialize(&stored.profile).ok()?;
        // No server has a neural engine yet: a voice that has such a profile too is spoken with its other one.
        (check(&profile).is_ok() && !matches!(profile, VoiceProfile::Neural(_))).then_some(profile)
    })
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

/// The presets.
pub fn all() -> Vec<Voice> {
    engine::builtin::presets().iter().map(of_preset).collect()
}

/// A preset by id; names are taken too, in any case, because people type them.
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
    pub async fn find_voices(&self, owner_id: &str, names: &BTreeSet<String>) -> Result<FoundVoices, SubmitError> {
        if names.len() > NAMES_MAX {
            return Err(invalid(format!("name more than {NAMES_MAX} different voices")));
        }
        let unknown: Vec<&str> = names.iter().map(String::as_str).filter(|name| preset_by_id(name).is_none()).collect();
        let stored = find_named(self.storage.rows.read(), owner_id, &unknown).await?;
        let mut found = BTreeMap::new();
        for name in names {
            if let Some(voice) = choose(name, owner_id, &stored)? {
                found.insert(name.clone(), voice);
            }
        }
        Ok(FoundVoices(found))
    }

    /// One of them by whatever it may be called.
    pub async fn find_voice(&self, owner_id: &str, name: &str) -> Result<Option<Voice>, SubmitError> {
        Ok(self.find_voices(owner_id, &BTreeSet::from([name.to_owned()])).await?.get(name))
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
fn choose(name: &str, owner_id: &str, stored: &[StoredVoice]) -> Result<Option<Voice>, SubmitError> {
    if let Some(preset) = preset_by_id(name) {
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
    match (find(name), named(false)) {
        (Some(preset), _) => Ok(Some(preset)),
        (None, Some(voice)) => of_stored(voice),
        (None, None) => Ok(None),
    }
}

fn invalid(message: String) -> SubmitError {
    SubmitError::Invalid(vec![FieldError { field: "voice_id".into(), message }])
}
