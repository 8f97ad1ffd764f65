//! The models that can be had: the manifests that the program brings, and those in a folder of the operator's.

use std::io;
use std::path::{Path, PathBuf};

use crate::manifest::{Manifest, ManifestError};

const BUILTIN: [&str; 14] = [
    include_str!("../catalogue/madlad-400-3b-mt.toml"),
    include_str!("../catalogue/qwen3-4b-instruct-2507.toml"),
    include_str!("../catalogue/qwen3-4b-instruct-2507-gguf.toml"),
    include_str!("../catalogue/qwen3-tts-0.6b-base.toml"),
    include_str!("../catalogue/qwen3-tts-0.6b-customvoice.toml"),
    include_str!("../catalogue/qwen3-tts-1.7b-base.toml"),
    include_str!("../catalogue/qwen3-tts-1.7b-customvoice.toml"),
    include_str!("../catalogue/qwen3-tts-1.7b-voicedesign.toml"),
    include_str!("../catalogue/whisper-tiny.toml"),
    include_str!("../catalogue/whisper-base.toml"),
    include_str!("../catalogue/whisper-small.toml"),
    include_str!("../catalogue/whisper-medium.toml"),
    include_str!("../catalogue/whisper-large-v3.toml"),
    include_str!("../catalogue/whisper-large-v3-turbo.toml"),
];

/// Why the catalogue can't be read: an operator's file is wrong.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    #[error("{}: {error}", path.display())]
    Manifest { path: PathBuf, error: ManifestError },
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
}

/// Manifests by their ids, which are unique.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    manifests: Vec<Manifest>,
}

impl Catalogue {
    /// What the program brings.
    ///
    /// # Errors
    /// Never in a program that passed its tests.
    pub fn builtin() -> Result<Self, ManifestError> {
        let manifests = BUILTIN.into_iter().map(Manifest::parse).collect::<Result<_, _>>()?;
        Ok(Self { manifests })
    }

    /// Adds the `*.toml` of a folder, in the order of their names; one with a known id takes the place of that one.
    ///
    /// # Errors
    /// [`CatalogueError`], with the file.
    pub fn with_folder(mut self, folder: &Path) -> Result<Self, CatalogueError> {
        let io_of = |path: &Path| {
            let path = path.to_owned();
            move |error| CatalogueError::Io { path, error }
        };
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(io_of(folder))? {
            let path = entry.map_err(io_of(folder))?.path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                paths.push(path);
            }
        }
        paths.sort();
        for path in paths {
            let text = std::fs::read_to_string(&path).map_err(io_of(&path))?;
            self.add(Manifest::parse(&text).map_err(|error| CatalogueError::Manifest { path, error })?);
        }
        Ok(self)
    }

    pub fn add(&mut self, manifest: Manifest) {
        self.manifests.retain(|known| known.id != manifest.id);
        self.manifests.push(manifest);
    }

    pub fn get(&self, id: &str) -> Option<&Manifest> {
        self.manifests.iter().find(|manifest| manifest.id == id)
    }

    pub fn all(&self) -> &[Manifest] {
        &self.manifests
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::manifest::{Ability, Family};

    #[test]
    fn what_the_program_brings_is_well_formed() {
        let catalogue = Catalogue::builtin().unwrap();
        let ids: std::collections::BTreeSet<&str> = catalogue.all().iter().map(|manifest| manifest.id.as_str()).collect();
        assert_eq!(ids.len(), BUILTIN.len());
        for manifest in catalogue.all() {
            let transcribes = manifest.family == Family::Whisper;
            let least_bytes = if transcribes { 100_000_000 } else { 1_000_000_000 };
            assert!(manifest.size_bytes() > least_bytes && !manifest.licence.is_empty() && !manifest.memory_mb.is_empty());
            let translates = matches!(manifest.family, Family::Madlad | Family::Qwen3);
            assert_eq!(manifest.can(Ability::Translate), translates, "{}", manifest.id);
            assert_eq!(manifest.can(Ability::Transcribe), transcribes, "{}", manifest.id);
        }
        assert!(catalogue.all().iter().any(|manifest| manifest.can(Ability::Design)));
    }

    #[test]
    fn an_operators_manifest_takes_the_place_of_ours() {
        let folder = tempfile::tempdir().unwrap();
        let base = BUILTIN.iter().find(|text| text.contains("Qwen/Qwen3-TTS-12Hz-0.6B-Base")).unwrap();
        let text = base.replace("Qwen/Qwen3-TTS-12Hz-0.6B-Base", "mine/fork");
        std::fs::write(folder.path().join("a.toml"), text).unwrap();
        std::fs::write(folder.path().join("notes.txt"), "nothing").unwrap();
        let catalogue = Catalogue::builtin().unwrap().with_folder(folder.path()).unwrap();
        assert_eq!(catalogue.all().len(), BUILTIN.len());
        assert_eq!(catalogue.get("qwen3-tts-0.6b-base").unwrap().hub.repo, "mine/fork");
        std::fs::write(folder.path().join("b.toml"), "id = 5").unwrap();
        let error = Catalogue::builtin().unwrap().with_folder(folder.path()).unwrap_err().to_string();
        assert!(error.contains("b.toml: "), "{error}");
    }
}
