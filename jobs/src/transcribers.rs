//! The Whisper models of a process: which are installed, which of them a request gets, and loading it when it is used.
//!
//! The choice looks at the disk and not at weights, so that it can be made while a caller waits. This file may not know files of sound or rows.

use std::sync::Arc;

use engine::resident::Residents;
use engine::whisper::Whisper;
use models::folder::FolderError;
use models::manifest::{Ability, Family, Manifest};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use crate::job::JobError;
use crate::model_places::{ModelPlaces, ModelPlacesConfig};

/// What is told to be installed where nothing is: small enough for every machine.
const USUAL: &str = "whisper-base";

/// Why there is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoTranscriber {
    #[error("no such model: {0}")]
    Unknown(String),
    /// `command` installs one.
    #[error("{what} is not installed")]
    NotInstalled { what: String, command: String },
    #[error("{model} does not know {language}; it knows {known}")]
    Language { language: String, model: String, known: String },
    #[error("{0}")]
    Broken(String),
}

impl From<FolderError> for NoTranscriber {
    fn from(error: FolderError) -> Self {
        Self::Broken(error.to_string())
    }
}

/// Shared by the front door and the workers of a process.
#[derive(Debug)]
pub struct Transcribers {
    places: ModelPlaces<Whisper>,
}

/// A model that may compute now.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) model: Arc<Whisper>,
    _turn: OwnedSemaphorePermit,
}

impl Transcribers {
    /// Models are listed in `residents` as they are used.
    pub fn new(config: ModelPlacesConfig, residents: Residents) -> Arc<Self> {
        Arc::new(Self { places: ModelPlaces::new(config, residents) })
    }

    /// The id of the model for a language (any where `None`): the one that is named, or the largest that is installed and knows it. Reads the
    /// disk.
    ///
    /// # Errors
    /// [`NoTranscriber`].
    pub fn choose(&self, model: Option<&str>, language: Option<&str>) -> Result<String, NoTranscriber> {
        let candidates = self.candidates(model)?;
        let mut refused = None;
        for manifest in &candidates {
            if self.places.installed_at_ms(&manifest.id)?.is_none() {
                continue;
            }
            match language.filter(|language| !manifest.languages.iter().any(|known| known == language)) {
                None => return Ok(manifest.id.clone()),
                Some(language) => {
                    let known = manifest.languages.join(", ");
                    refused.get_or_insert(NoTranscriber::Language { language: language.to_owned(), model: manifest.id.clone(), known });
                }
            }
        }
        Err(refused.unwrap_or_else(|| not_installed(&candidates, model)))
    }

    /// Those that may do it, the largest first.
    fn candidates(&self, model: Option<&str>) -> Result<Vec<&Manifest>, NoTranscriber> {
        let all = self.places.library().catalogue.all().iter();
        let mut able: Vec<&Manifest> =
            all.filter(|manifest| manifest.family == Family::Whisper && manifest.can(Ability::Transcribe)).collect();
        able.sort_by_key(|manifest| std::cmp::Reverse(manifest.parameters_millions));
        let Some(id) = model else { return Ok(able) };
        able.retain(|manifest| manifest.id == id);
        if able.is_empty() { Err(NoTranscriber::Unknown(id.to_owned())) } else { Ok(able) }
    }

    /// Waits for a turn and loads the model, where it is not loaded.
    pub(crate) async fn load(self: &Arc<Self>, model: &str, token: &CancellationToken) -> Result<Loaded, JobError> {
        let turn = self.places.turn(token).await?;
        let (all, id) = (self.clone(), model.to_owned());
        let loading = tokio::task::spawn_blocking(move || all.load_now(&id));
        let model = loading.await.map_err(|error| JobError::Retry(format!("load {model}: {error}")))??;
        Ok(Loaded { model, _turn: turn })
    }

    fn load_now(&self, id: &str) -> Result<Arc<Whisper>, JobError> {
        let candidates = self.candidates(Some(id))?;
        let installed_at_ms = self.places.installed_at_ms(id).map_err(NoTranscriber::from)?;
        let installed_at_ms = installed_at_ms.ok_or_else(|| not_installed(&candidates, Some(id)))?;
        let folder = self.places.library().folder.path_of(id).map_err(NoTranscriber::from)?;
        self.places.get(id, installed_at_ms, || {
            let model = Whisper::load(&folder, self.places.precision())?;
            let bytes = model.bytes();
            Ok((model, bytes))
        })
    }
}

/// The one that was named, or a usual one.
fn not_installed(candidates: &[&Manifest], model: Option<&str>) -> NoTranscriber {
    let usual = candidates.iter().find(|manifest| manifest.id == USUAL).or(candidates.first());
    let id = model.or(usual.map(|manifest| manifest.id.as_str())).unwrap_or(USUAL);
    NoTranscriber::NotInstalled { what: format!("a model that transcribes ({id})"), command: format!("clonyvoice models pull {id}") }
}

/// Where a process has no models at all.
pub(crate) fn no_models() -> NoTranscriber {
    not_installed(&[], None)
}

impl From<NoTranscriber> for JobError {
    fn from(error: NoTranscriber) -> Self {
        match &error {
            NoTranscriber::NotInstalled { what, command } => Self::Wait(format!("{what} is not installed: {command}")),
            NoTranscriber::Broken(_) => Self::Retry(error.to_string()),
            NoTranscriber::Unknown(_) | NoTranscriber::Language { .. } => Self::Discard(error.to_string()),
        }
    }
}
