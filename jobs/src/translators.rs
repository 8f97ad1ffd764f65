//! The translation models of a process: which are installed, which of them a request gets, and loading it when it is used.
//!
//! The choice looks at the disk and not at weights, so that it can be made while a caller waits. This file may not know texts or rows.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use engine::qwen3_tts::ModelError;
use engine::resident::Residents;
use engine::translate::{self, Sentence, Targets, TranslateError, Translated, Translator, TranslatorConfig};
use models::folder::FolderError;
use models::manifest::{Ability, Family, Manifest};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use crate::job::JobError;
use crate::model_places::{ModelPlaces, ModelPlacesConfig};

/// The first that is installed is taken where nobody names one: MADLAD-400 does nothing but translate.
const PREFERENCE: [Family; 2] = [Family::Madlad, Family::Qwen3];

/// A model that a request was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    pub model: String,
    /// `madlad` or `qwen3`.
    pub engine: String,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum NoTranslator {
    #[error("no such model: {0}")]
    Unknown(String),
    /// `command` installs one.
    #[error("{what} is not installed")]
    NotInstalled { what: String, command: String },
    /// None that is installed knows it.
    #[error("{target} is no language that {model} translates into; it knows {known}")]
    Target { target: String, model: String, known: String },
    #[error("{0}")]
    Broken(String),
}

impl From<FolderError> for NoTranslator {
    fn from(error: FolderError) -> Self {
        Self::Broken(error.to_string())
    }
}

/// By model id; with the time of its installation, because another may be pulled.
type Known = HashMap<String, (i64, Arc<Targets>)>;

/// Shared by the front door and the workers of a process.
#[derive(Debug)]
pub struct Translators {
    places: ModelPlaces<Box<dyn Translator>>,
    known: Mutex<Known>,
}

/// A model that may compute now.
pub(crate) struct Loaded {
    pub chosen: Chosen,
    translator: Arc<Box<dyn Translator>>,
    _turn: OwnedSemaphorePermit,
}

impl Translators {
    /// Models are listed in `residents` as they are used.
    pub fn new(config: ModelPlacesConfig, residents: Residents) -> Arc<Self> {
        Arc::new(Self { places: ModelPlaces::new(config, residents), known: Mutex::default() })
    }

    /// The model for a target language: the one of this id, or the best that is installed and knows it. Reads the disk.
    ///
    /// # Errors
    /// [`NoTranslator`].
    pub fn choose(&self, model: Option<&str>, target: &str) -> Result<Chosen, NoTranslator> {
        let candidates = self.candidates(model)?;
        let mut refused = None;
        for manifest in &candidates {
            let Some(targets) = self.targets_of(manifest)? else { continue };
            if targets.word(target).is_some() {
                return Ok(chosen_of(manifest));
            }
            let known = targets.named();
            refused.get_or_insert(NoTranslator::Target { target: target.to_owned(), model: manifest.id.clone(), known });
        }
        Err(refused.unwrap_or_else(|| not_installed(&candidates)))
    }

    /// Those that may do it, the best first.
    fn candidates(&self, model: Option<&str>) -> Result<Vec<&Manifest>, NoTranslator> {
        let all = self.places.library().catalogue.all().iter().filter(|manifest| manifest.can(Ability::Translate));
        let place = |manifest: &&Manifest| PREFERENCE.iter().position(|family| *family == manifest.family);
        let mut able: Vec<&Manifest> = all.filter(|manifest| place(manifest).is_some()).collect();
        able.sort_by_key(place);
        match model {
            None => Ok(able),
            Some(id) => {
                able.retain(|manifest| manifest.id == id);
                if able.is_empty() { Err(NoTranslator::Unknown(id.to_owned())) } else { Ok(able) }
            }
        }
    }

    /// What an installed model can be asked for.
    fn targets_of(&self, manifest: &Manifest) -> Result<Option<Arc<Targets>>, NoTranslator> {
        let Some(installed_at_ms) = self.places.installed_at_ms(&manifest.id)? else { return Ok(None) };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, targets)) = known.get(&manifest.id).filter(|(at_ms, _)| *at_ms == installed_at_ms) {
            return Ok(Some(targets.clone()));
        }
        let config = self.config_of(manifest)?;
        let broken = |error: ModelError| NoTranslator::Broken(format!("{} can't be read: {error}", manifest.id));
        let targets = Arc::new(translate::targets(&config.folder, config.family).map_err(broken)?);
        known.insert(manifest.id.clone(), (installed_at_ms, targets.clone()));
        Ok(Some(targets))
    }

    fn config_of(&self, manifest: &Manifest) -> Result<TranslatorConfig, NoTranslator> {
        let folder = self.places.library().folder.path_of(&manifest.id)?;
        Ok(TranslatorConfig { folder, family: manifest.family, precision: self.places.precision() })
    }

    /// Waits for a turn and loads the model, where it is not loaded.
    pub(crate) async fn load(self: &Arc<Self>, model: &str, token: &CancellationToken) -> Result<Loaded, JobError> {
        let turn = self.places.turn(token).await?;
        let (all, id) = (self.clone(), model.to_owned());
        let loading = tokio::task::spawn_blocking(move || all.load_now(&id));
        let (chosen, translator) = loading.await.map_err(|error| JobError::Retry(format!("load {model}: {error}")))??;
        Ok(Loaded { chosen, translator, _turn: turn })
    }

    fn load_now(&self, id: &str) -> Result<(Chosen, Arc<Box<dyn Translator>>), JobError> {
        let candidates = self.candidates(Some(id))?;
        let manifest = candidates.first().ok_or_else(|| NoTranslator::Unknown(id.to_owned()))?;
        let installed_at_ms = self.places.installed_at_ms(id).map_err(NoTranslator::from)?;
        let installed_at_ms = installed_at_ms.ok_or_else(|| not_installed(&candidates))?;
        let config = self.config_of(manifest)?;
        let translator = self.places.get(id, installed_at_ms, || translate::load(&config))?;
        Ok((chosen_of(manifest), translator))
    }
}

fn chosen_of(manifest: &Manifest) -> Chosen {
    let engine = if manifest.family == Family::Madlad { "madlad" } else { "qwen3" };
    Chosen { model: manifest.id.clone(), engine: engine.to_owned() }
}

fn not_installed(candidates: &[&Manifest]) -> NoTranslator {
    let id = candidates.iter().find(|manifest| manifest.offered).or(candidates.first()).map_or("madlad-400-3b-mt", |manifest| &manifest.id);
    NoTranslator::NotInstalled { what: format!("a model that translates ({id})"), command: format!("clonyvoice models pull {id}") }
}

impl From<NoTranslator> for JobError {
    fn from(error: NoTranslator) -> Self {
        match &error {
            NoTranslator::NotInstalled { what, command } => Self::Wait(format!("{what} is not installed: {command}")),
            NoTranslator::Broken(_) => Self::Retry(error.to_string()),
            NoTranslator::Unknown(_) | NoTranslator::Target { .. } => Self::Discard(error.to_string()),
        }
    }
}

/// A sentence on its way to a thread.
#[derive(Debug, Clone)]
pub(crate) struct OwnedSentence {
    pub text: String,
    pub source: String,
    pub target: String,
}

impl Loaded {
    /// Some sentences, one after another, off the async threads; a stop is heeded at every token.
    pub(crate) async fn translate(&self, sentences: Vec<OwnedSentence>, token: &CancellationToken) -> Result<Vec<Translated>, JobError> {
        let (translator, stop) = (self.translator.clone(), token.clone());
        let work = move || {
            let mut on_token = || if stop.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
            let one = |sentence: &OwnedSentence| {
                let OwnedSentence { text, source, target } = sentence;
                translator.translate(Sentence { text, source, target }, &mut on_token)
            };
            sentences.iter().map(one).collect::<Result<Vec<_>, _>>()
        };
        let translated = tokio::task::spawn_blocking(work).await.map_err(|error| JobError::Retry(format!("translate: {error}")))?;
        translated.map_err(|error| match error {
            TranslateError::Stopped => JobError::Stopped,
            TranslateError::Refused(why) => JobError::Discard(why),
            TranslateError::Failed(why) => JobError::Retry(why),
        })
    }
}
