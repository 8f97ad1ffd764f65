//! The neural models that lie on this disk, each with an engine of its own that starts when it is first asked for.
//!
//! What is installed is looked at whenever somebody asks: a model that was pulled or removed meanwhile counts at once. What it says is plain
//! data, so that the choice between models is made elsewhere and is pure. This file may not know voices of the server, rows or jobs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

use models::library::Library;
use models::manifest::{Ability, Family, Manifest};

use crate::handle::{EngineConfig, EngineHandle};
use crate::qwen3_tts::{
    ClonePrompt, ModelConfig, NamedSpeaker, NeuralConfig, NeuralEngines, Precision, Variant, describe, speakers, spoken_tags,
};
use crate::resident::Residents;
use crate::speech::{EngineError, SpeechEngine};

/// How all of them are run.
#[derive(Debug, Clone)]
pub struct NeuralModelsConfig {
    pub library: Library,
    pub precision: Precision,
    /// Requests of one model that are spoken at the same time; they share its steps. 1 to 64.
    pub slots: usize,
    /// A model that nobody used for so long is freed; 0 keeps it.
    pub idle_ms: u64,
}

/// What an installed model can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeuralModel {
    /// Of its manifest.
    pub id: String,
    pub abilities: Vec<Ability>,
    /// BCP 47, without regions.
    pub languages: Vec<String>,
    /// The more, the better it speaks.
    pub parameters_millions: u32,
    /// By name; of models with [`Ability::Preset`].
    pub speakers: Vec<NamedSpeaker>,
}

impl NeuralModel {
    pub fn can(&self, ability: Ability) -> bool {
        self.abilities.contains(&ability)
    }

    /// In whatever region.
    pub fn speaks(&self, language: &str) -> bool {
        let primary = language.split(['-', '_']).next().unwrap_or_default();
        self.languages.iter().any(|known| known.eq_ignore_ascii_case(primary))
    }
}

/// Everything that a choice between engines depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offer {
    pub installed: Vec<NeuralModel>,
    /// What a person types to get a model that can do it, for abilities that some model of the catalogue has.
    pub commands: BTreeMap<Ability, String>,
}

/// All of one data folder.
#[derive(Debug)]
pub(crate) struct NeuralModels {
    config: NeuralModelsConfig,
    residents: Residents,
    commands: BTreeMap<Ability, String>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// What the folder looked like.
    seen: Vec<Trace>,
    models: Vec<Arc<Installed>>,
}

/// A lock file as the file system shows it; each install writes a new one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Trace {
    id: String,
    modified: Option<SystemTime>,
    size_bytes: u64,
    #[cfg(unix)]
    inode: u64,
}

/// A model with its engine.
#[derive(Debug)]
pub(crate) struct Installed {
    trace: Trace,
    pub(crate) model: NeuralModel,
    engines: Arc<NeuralEngines>,
    handle: OnceLock<Result<EngineHandle, String>>,
    threads: usize,
}

impl Installed {
    /// Its mailbox; the first call starts the threads and reads a few megabytes of the weights.
    pub(crate) fn handle(&self) -> Result<EngineHandle, EngineError> {
        let started = self.handle.get_or_init(|| {
            let engines = Arc::clone(&self.engines);
            let config = EngineConfig { name: self.model.id.clone(), threads: self.threads, ..EngineConfig::default() };
            let factory = move || Ok(Box::new(engines.engine()) as Box<dyn SpeechEngine>);
            EngineHandle::start(config, factory).map_err(|error| error.to_string())
        });
        started.clone().map_err(EngineError::Failed)
    }

    pub(crate) fn started(&self) -> Option<EngineHandle> {
        self.handle.get().and_then(|started| started.clone().ok())
    }

    pub(crate) fn is_loaded(&self) -> bool {
        self.engines.is_loaded()
    }

    pub(crate) fn clone_prompt(&self, samples: &[f32], text: Option<&str>) -> Result<ClonePrompt, EngineError> {
        self.engines.clone_prompt(samples, text)
    }
}

impl NeuralModels {
    /// Looks at nothing yet.
    pub(crate) fn new(config: NeuralModelsConfig, residents: Residents) -> Self {
        let commands = commands(config.library.catalogue.all());
        Self { config, residents, commands, known: Mutex::default() }
    }

    /// All that can be loaded, by id. Looks at the folder; reads files only of what is new.
    pub(crate) fn installed(&self) -> Vec<Arc<Installed>> {
        let seen = self.look();
        let mut known = self.known();
        if known.seen != seen {
            let before = std::mem::take(&mut known.models);
            known.models = seen.iter().filter_map(|trace| self.take_over(trace, &before)).collect();
            for gone in before.iter().filter(|old| !known.models.iter().any(|new| old.model.id == new.model.id)) {
                // Who speaks with it holds its engine until the end.
                self.residents.remove(&gone.model.id);
            }
            known.seen = seen;
        }
        known.models.clone()
    }

    pub(crate) fn offer(&self) -> Offer {
        Offer { installed: self.installed().iter().map(|found| found.model.clone()).collect(), commands: self.commands.clone() }
    }

    pub(crate) fn find(&self, id: &str) -> Result<Arc<Installed>, EngineError> {
        let found = self.installed().into_iter().find(|found| found.model.id == id);
        found.ok_or_else(|| EngineError::Unavailable { what: format!("the model {id}"), command: pull_command(id) })
    }

    /// Those whose engine has started.
    pub(crate) fn started(&self) -> Vec<EngineHandle> {
        self.known().models.iter().filter_map(|found| found.started()).collect()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self) -> Vec<Trace> {
        let root = self.config.library.folder.root();
        let Ok(entries) = std::fs::read_dir(root) else { return Vec::new() };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut seen: Vec<Trace> = names.filter_map(|id| trace_of(root, id)).collect();
        seen.sort_by(|one, next| one.id.cmp(&next.id));
        seen
    }

    fn take_over(&self, trace: &Trace, before: &[Arc<Installed>]) -> Option<Arc<Installed>> {
        match before.iter().find(|old| old.trace == *trace) {
            Some(old) => Some(Arc::clone(old)),
            None => self.read(trace),
        }
    }

    /// `None` for what is no model of ours.
    fn read(&self, trace: &Trace) -> Option<Arc<Installed>> {
        let manifest = self.config.library.catalogue.get(&trace.id).filter(|manifest| manifest.family == Family::Qwen3Tts)?;
        let folder = self.config.library.folder.path_of(&trace.id).ok()?;
        let model = match describe(&folder) {
            Ok(described) => model_of(manifest, &described),
            Err(error) => {
                tracing::warn!(model.id = %trace.id, %error, "an installed model cannot be used");
                return None;
            }
        };
        // Of an earlier install.
        self.residents.remove(&trace.id);
        let slots = self.config.slots.clamp(1, 64);
        let config = NeuralConfig {
            name: trace.id.clone(),
            folder,
            precision: self.config.precision,
            max_slots: slots,
            idle_ms: self.config.idle_ms,
            command: pull_command(&trace.id),
        };
        let engines = NeuralEngines::new(config, &self.residents);
        Some(Arc::new(Installed { trace: trace.clone(), model, engines, handle: OnceLock::new(), threads: slots }))
    }
}

fn trace_of(root: &Path, id: String) -> Option<Trace> {
    let path: PathBuf = root.join(&id).join(models::lock::FILE_NAME);
    let found = std::fs::metadata(path).ok().filter(|_| models::manifest::is_id(&id))?;
    Some(Trace {
        id,
        modified: found.modified().ok(),
        size_bytes: found.len(),
        #[cfg(unix)]
        inode: std::os::unix::fs::MetadataExt::ino(&found),
    })
}

/// What the manifest promises and the files keep.
fn model_of(manifest: &Manifest, described: &ModelConfig) -> NeuralModel {
    let keeps = |ability: &Ability| match ability {
        Ability::Clone => described.tts_model_type == Variant::Base,
        Ability::Preset => described.tts_model_type == Variant::CustomVoice,
        Ability::Design => described.tts_model_type == Variant::VoiceDesign,
        Ability::Instruct => described.tts_model_type != Variant::Base,
        Ability::Transcribe | Ability::Translate => false,
    };
    NeuralModel {
        id: manifest.id.clone(),
        abilities: manifest.abilities.iter().copied().filter(keeps).collect(),
        languages: spoken_tags(described),
        parameters_millions: manifest.parameters_millions,
        speakers: speakers(described),
    }
}

fn pull_command(id: &str) -> String {
    format!("clonyvoice models pull {id}")
}

/// The smallest model that is offered for each ability: it runs everywhere.
fn commands(manifests: &[Manifest]) -> BTreeMap<Ability, String> {
    let mut commands = BTreeMap::new();
    for ability in [Ability::Clone, Ability::Preset, Ability::Design] {
        let able = manifests.iter().filter(|manifest| manifest.family == Family::Qwen3Tts && manifest.offered && manifest.can(ability));
        if let Some(smallest) = able.min_by_key(|manifest| manifest.parameters_millions) {
            commands.insert(ability, pull_command(&smallest.id));
        }
    }
    commands
}
