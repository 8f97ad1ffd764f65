//! What one model is: where it comes from, which files it has, what it can do and what it needs. Read from TOML; pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::checksum::Sha256Hex;

const ID_CHARS_MAX: usize = 64;
const FILES_MAX: usize = 64;

/// One model of the catalogue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Lower-case letters, digits, `.` and `-`; also the name of its folder.
    pub id: String,
    pub name: String,
    pub family: Family,
    pub abilities: Vec<Ability>,
    /// BCP 47.
    pub languages: Vec<String>,
    pub parameters_millions: u32,
    /// SPDX, as the model card states it.
    pub licence: String,
    pub hub: HubSource,
    pub files: Vec<ManifestFile>,
    /// In MB (10^6 bytes) while it is loaded, for each precision that it can be loaded in.
    pub memory_mb: BTreeMap<Precision, u32>,
    /// Offered by `models list`; test assets are not.
    #[serde(default = "yes")]
    pub offered: bool,
}

fn yes() -> bool {
    true
}

/// Which code loads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    Qwen3Tts,
    Whisper,
    Madlad,
    Qwen3,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ability {
    /// Speaks like a recording.
    Clone,
    /// Speaks with voices of its own.
    Preset,
    /// Follows an instruction how to speak.
    Instruct,
    /// Makes a voice from a description.
    Design,
    Transcribe,
    Translate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    F32,
    Bf16,
    #[serde(rename = "q8_0")]
    Q8_0,
    #[serde(rename = "q4_0")]
    Q4_0,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubSource {
    /// `owner/name`.
    pub repo: String,
    /// A branch, a tag or a commit.
    pub revision: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestFile {
    /// Relative, with `/`; the same in the repository and in the folder.
    pub path: String,
    /// About, for people who decide whether to pull it; the hub says how large it is.
    #[serde(default)]
    pub size_bytes: Option<u64>,
    /// Where it is known beforehand.
    #[serde(default)]
    pub sha256: Option<Sha256Hex>,
}

/// Why a text is no manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("not a manifest: {0}")]
    Malformed(#[from] toml::de::Error),
    #[error("{field}: {message}")]
    Wrong { field: String, message: &'static str },
}

impl Manifest {
    /// # Errors
    /// [`ManifestError`], with the field.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let manifest: Self = toml::from_str(text)?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), ManifestError> {
        let wrong = |field: &str, message| Err(ManifestError::Wrong { field: field.into(), message });
        if !is_id(&self.id) {
            return wrong("id", "must be 1 to 64 lower-case letters, digits, dots and hyphens, beginning with a letter or digit");
        }
        if self.files.is_empty() || self.files.len() > FILES_MAX {
            return wrong("files", "must be 1 to 64 files");
        }
        for (place, file) in self.files.iter().enumerate() {
            if !is_relative(&file.path) {
                return Err(ManifestError::Wrong { field: format!("files[{place}].path"), message: "must be a plain relative path" });
            }
            if self.files[..place].iter().any(|earlier| earlier.path.eq_ignore_ascii_case(&file.path)) {
                return Err(ManifestError::Wrong { field: format!("files[{place}].path"), message: "is there twice" });
            }
        }
        let parts: Vec<&str> = self.hub.repo.split('/').collect();
        if parts.len() != 2 || !parts.iter().all(|part| is_relative(part)) {
            return wrong("hub.repo", "must be owner/name");
        }
        if !is_relative(&self.hub.revision) {
            return wrong("hub.revision", "must be a branch, a tag or a commit");
        }
        if self.abilities.is_empty() {
            return wrong("abilities", "must not be empty");
        }
        Ok(())
    }

    /// Of all files, as far as the manifest knows.
    pub fn size_bytes(&self) -> u64 {
        self.files.iter().filter_map(|file| file.size_bytes).sum()
    }

    pub fn can(&self, ability: Ability) -> bool {
        self.abilities.contains(&ability)
    }
}

/// Whether a text can be the id of a model, and the name of its folder.
pub fn is_id(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.len() <= ID_CHARS_MAX
        && text.bytes().next().is_some_and(plain)
        && text.bytes().all(|byte| plain(byte) || byte == b'.' || byte == b'-')
        && !text.ends_with('.')
}

/// Parts of plain characters with `/` between; none hidden, none `..`, none of Windows' own names with a colon.
fn is_relative(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    path.len() <= 200 && path.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && part.bytes().all(plain))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const MANIFEST: &str = r#"
        id = "some-model"
        name = "Some model"
        family = "qwen3-tts"
        abilities = ["clone"]
        languages = ["en"]
        parameters_millions = 1
        licence = "Apache-2.0"
        hub = { repo = "owner/name", revision = "main" }
        files = [{ path = "config.json" }, { path = "speech_tokenizer/config.json", size_bytes = 5 }]
        memory_mb = { f32 = 10, q8_0 = 3 }
    "#;

    #[test]
    fn a_manifest_is_read_whole() {
        let manifest = Manifest::parse(MANIFEST).unwrap();
        assert_eq!((manifest.family, manifest.memory_mb[&Precision::Q8_0], manifest.offered), (Family::Qwen3Tts, 3, true));
        assert_eq!(manifest.size_bytes(), 5);
        assert_eq!(Manifest::parse(&toml::to_string(&manifest).unwrap()).unwrap(), manifest);
    }

    #[test]
    fn what_would_leave_the_folder_is_refused() {
        for path in ["../x", "/x", "a//b", "a/../b", ".hidden", "a\\\\b", "C:x", "", "a/", "a b"] {
            let text = MANIFEST.replace("speech_tokenizer/config.json", path);
            let error = Manifest::parse(&text).unwrap_err().to_string();
            assert!(error.starts_with("files[1].path: "), "{path}: {error}");
        }
        for id in ["", "..", ".a", "A", "a/b", "a_b", "a.", &"a".repeat(65)] {
            assert!(Manifest::parse(&MANIFEST.replace("some-model", id)).is_err(), "{id}");
        }
        for repo in ["name", "a/b/c", "../name", "owner/.."] {
            assert!(Manifest::parse(&MANIFEST.replace("owner/name", repo)).is_err(), "{repo}");
        }
        assert!(Manifest::parse(&MANIFEST.replace("speech_tokenizer/config.json", "CONFIG.json")).is_err(), "on some disks it is the same");
        assert!(Manifest::parse(&MANIFEST.replace("licence", "license")).is_err(), "no unknown fields");
    }
}
