//! Models for neural speech as the API shows them.

use std::collections::BTreeMap;

use models::lock::LockFile;
use models::manifest::{Ability, Manifest, Precision};
use salvo::oapi::ToSchema;
use serde::{Deserialize, Serialize};

use super::time::rfc3339;

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ModelList {
    /// Of this node: others keep models of their own.
    pub models: Vec<Model>,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Model {
    pub id: String,
    pub name: String,
    /// `clone`, `preset`, `instruct`, `design`, `transcribe`, `translate`
    pub abilities: Vec<String>,
    /// BCP 47.
    pub languages: Vec<String>,
    pub parameters_millions: u32,
    /// SPDX, as its model card states it.
    pub licence: String,
    /// Repository on the hub.
    pub repo: String,
    /// About what pulling it transfers; of an installed one, what it takes on the disk.
    pub size_bytes: u64,
    /// MB while it is loaded, by precision.
    pub memory_mb: BTreeMap<String, u32>,
    pub installed: bool,
    pub installed_at: Option<String>,
}

impl Model {
    pub fn of(manifest: &Manifest, lock: Option<&LockFile>) -> Self {
        Self {
            id: manifest.id.clone(),
            name: manifest.name.clone(),
            abilities: manifest.abilities.iter().map(|ability| ability_name(*ability).to_owned()).collect(),
            languages: manifest.languages.clone(),
            parameters_millions: manifest.parameters_millions,
            licence: manifest.licence.clone(),
            repo: manifest.hub.repo.clone(),
            size_bytes: lock.map_or_else(|| manifest.size_bytes(), LockFile::size_bytes),
            memory_mb: manifest.memory_mb.iter().map(|(precision, mb)| (precision_name(*precision).to_owned(), *mb)).collect(),
            installed: lock.is_some(),
            installed_at: lock.map(|lock| rfc3339(lock.installed_at_ms)),
        }
    }
}

pub(crate) fn ability_name(ability: Ability) -> &'static str {
    match ability {
        Ability::Clone => "clone",
        Ability::Preset => "preset",
        Ability::Instruct => "instruct",
        Ability::Design => "design",
        Ability::Transcribe => "transcribe",
        Ability::Translate => "translate",
    }
}

fn precision_name(precision: Precision) -> &'static str {
    match precision {
        Precision::F32 => "f32",
        Precision::Bf16 => "bf16",
        Precision::Q8_0 => "q8_0",
        Precision::Q4_0 => "q4_0",
    }
}

/// Which model to fetch.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[salvo(schema(example = json!({"model": "qwen3-tts-0.6b-base"})))]
pub struct PullRequest {
    /// Its id in the list.
    pub model: Option<String>,
}
