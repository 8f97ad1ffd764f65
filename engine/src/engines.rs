//! All engines of a process: the built-in one, which is always there, and one for each neural model that is installed.
//!
//! Who plans chooses one and notes it; who speaks asks for the one that was noted. This file may not know how that choice is made.

use std::sync::Arc;

use crate::handle::EngineHandle;
use crate::neural_models::{NeuralModels, NeuralModelsConfig, Offer};
use crate::qwen3_tts::ClonePrompt;
use crate::resident::Residents;
use crate::speech::{Capabilities, EngineError};

/// What neural engines are called where an engine is named.
pub const NEURAL: &str = "qwen3-tts";

/// Cheap to clone; all clones are the same engines.
#[derive(Debug, Clone)]
pub struct Engines {
    builtin: EngineHandle,
    neural: Option<Arc<NeuralModels>>,
    residents: Residents,
}

/// The built-in engine alone.
impl From<EngineHandle> for Engines {
    fn from(builtin: EngineHandle) -> Self {
        Self { builtin, neural: None, residents: Residents::new(|| 0) }
    }
}

impl Engines {
    /// Models are listed in `residents` as they are found.
    pub fn new(builtin: EngineHandle, neural: NeuralModelsConfig, residents: Residents) -> Self {
        Self { builtin, neural: Some(Arc::new(NeuralModels::new(neural, residents.clone()))), residents }
    }

    pub fn builtin(&self) -> &EngineHandle {
        &self.builtin
    }

    /// The engine of an installed neural model, or the built-in one. Where the model's engine is not running yet its threads are started,
    /// which reads a few megabytes; its weights are loaded with its first request.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] where the model is not installed (any more).
    pub fn of(&self, model: Option<&str>) -> Result<EngineHandle, EngineError> {
        match model {
            None => Ok(self.builtin.clone()),
            Some(id) => self.models(id)?.find(id)?.handle(),
        }
    }

    /// Of the same engine.
    ///
    /// # Errors
    /// As with [`Engines::of`].
    pub fn capabilities(&self, model: Option<&str>) -> Result<Capabilities, EngineError> {
        self.of(model).map(|handle| handle.capabilities())
    }

    /// What is installed now, and what could be. Looks at the folder of the models.
    pub fn offer(&self) -> Offer {
        self.neural.as_ref().map_or_else(Offer::default, |neural| neural.offer())
    }

    /// Whether the model can speak without loading weights first.
    pub fn is_loaded(&self, model: &str) -> bool {
        self.models(model).and_then(|neural| neural.find(model)).is_ok_and(|found| found.is_loaded())
    }

    /// What a recording (24 kHz mono) becomes for a model that clones; off the async threads.
    ///
    /// # Errors
    /// As those of [`EngineHandle::synthesize`].
    pub async fn clone_prompt(&self, model: &str, samples: Vec<f32>, text: Option<String>) -> Result<ClonePrompt, EngineError> {
        let found = self.models(model)?.find(model)?;
        let work = move || found.clone_prompt(&samples, text.as_deref());
        tokio::task::spawn_blocking(work).await.map_err(|error| EngineError::Failed(format!("clone prompt: {error}")))?
    }

    /// The models of this process, other kinds included.
    pub fn residents(&self) -> &Residents {
        &self.residents
    }

    /// The built-in engine and those of the models that were asked for.
    pub fn running(&self) -> Vec<EngineHandle> {
        let neural = self.neural.iter().flat_map(|neural| neural.started());
        std::iter::once(self.builtin.clone()).chain(neural).collect()
    }

    /// [`EngineHandle::shutdown`] for all.
    pub async fn shutdown(&self) {
        for handle in self.running() {
            handle.shutdown().await;
        }
    }

    fn models(&self, id: &str) -> Result<&NeuralModels, EngineError> {
        let none = || EngineError::Unavailable { what: format!("the model {id}"), command: format!("clonyvoice models pull {id}") };
        self.neural.as_deref().ok_or_else(none)
    }
}
