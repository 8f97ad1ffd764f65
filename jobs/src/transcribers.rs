//! The Whisper models of a process: which are installed, which of them a request gets, and loading it when it is used.
//!
//! The choice looks at the disk and not at weights, so that it can be made while a caller waits. This file may not know files of sound or rows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use engine::resident::{Resident, Residents};
use engine::whisper::{ModelError, Precision, Whisper};
use models::folder::FolderError;
use models::library::Library;
use models::manifest::{Ability, Family, Manifest};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::job::JobError;

/// What is told to be installed where nothing is: small enough for every machine.
const USUAL: &str = "whisper-base";

#[derive(Debug, Clone)]
pub struct TranscribersConfig {
    pub library: Arc<Library>,
    pub precision: Precision,
    /// An unused model is freed after so long; 0 for never.
    pub idle_ms: u64,
    /// Windows heard at the same time in this process: each uses all cores.
    pub at_a_time: usize,
}

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

type Place = Arc<Resident<Whisper>>;

/// Shared by the front door and the workers of a process.
#[derive(Debug)]
pub struct Transcribers {
    config: TranscribersConfig,
    residents: Residents,
    /// By model id; with the time of its installation, because another may be pulled.
    places: Mutex<HashMap<String, (i64, Place)>>,
    turns: Arc<Semaphore>,
}

/// A model that may compute now.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) model: Arc<Whisper>,
    _turn: OwnedSemaphorePermit,
}

impl Transcribers {
    /// Models are listed in `residents` as they are used.
    pub fn new(config: TranscribersConfig, residents: Residents) -> Arc<Self> {
        let turns = Arc::new(Semaphore::new(config.at_a_time.max(1)));
        Arc::new(Self { config, residents, places: Mutex::default(), turns })
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
            if self.installed_at_ms(&manifest.id)?.is_none() {
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
        let all = self.config.library.catalogue.all().iter();
        let mut able: Vec<&Manifest> =
            all.filter(|manifest| manifest.family == Family::Whisper && manifest.can(Ability::Transcribe)).collect();
        able.sort_by_key(|manifest| std::cmp::Reverse(manifest.parameters_millions));
        let Some(id) = model else { return Ok(able) };
        able.retain(|manifest| manifest.id == id);
        if able.is_empty() { Err(NoTranscriber::Unknown(id.to_owned())) } else { Ok(able) }
    }

    /// When it was installed; `None` where it is not.
    fn installed_at_ms(&self, id: &str) -> Result<Option<i64>, NoTranscriber> {
        Ok(self.config.library.folder.lock_file(id)?.map(|lock| lock.installed_at_ms))
    }

    /// Waits for a turn and loads the model, where it is not loaded.
    pub(crate) async fn load(self: &Arc<Self>, model: &str, token: &CancellationToken) -> Result<Loaded, JobError> {
        let turn = tokio::select! {
            turn = self.turns.clone().acquire_owned() => turn.map_err(|_| JobError::Stopped)?,
            () = token.cancelled() => return Err(JobError::Stopped),
        };
        let (all, id) = (self.clone(), model.to_owned());
        let loading = tokio::task::spawn_blocking(move || all.load_now(&id));
        let model = loading.await.map_err(|error| JobError::Retry(format!("load {model}: {error}")))??;
        Ok(Loaded { model, _turn: turn })
    }

    fn load_now(&self, id: &str) -> Result<Arc<Whisper>, JobError> {
        let candidates = self.candidates(Some(id))?;
        let installed_at_ms = self.installed_at_ms(id)?.ok_or_else(|| not_installed(&candidates, Some(id)))?;
        let folder = self.config.library.folder.path_of(id).map_err(NoTranscriber::from)?;
        let place = self.place(id, installed_at_ms);
        let loaded = place.get(self.residents.now_ms(), || {
            let model = Whisper::load(&folder, self.config.precision)?;
            let bytes = model.bytes();
            Ok((model, bytes))
        });
        loaded.map_err(|error: ModelError| match error {
            ModelError::Folder { .. } => {
                JobError::Wait(format!("{id} can't be loaded: {error}; `clonyvoice models verify {id}` says more"))
            }
            other => JobError::Retry(format!("{id} can't be loaded: {other}")),
        })
    }

    fn place(&self, id: &str, installed_at_ms: i64) -> Place {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, place)) = places.get(id).filter(|(at_ms, _)| *at_ms == installed_at_ms) {
            return place.clone();
        }
        let place: Place = Arc::new(Resident::new(id, self.config.idle_ms));
        if places.insert(id.to_owned(), (installed_at_ms, place.clone())).is_some() {
            self.residents.remove(id);
        }
        self.residents.add(place.clone());
        place
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
