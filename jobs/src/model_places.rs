//! The models of one kind in a process: a place in memory for each that is installed, and turns for those that compute.
//!
//! Which model a request gets is chosen elsewhere. This file may not know what a model does.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use engine::qwen3_tts::{ModelError, Precision};
use engine::resident::{Resident, Residents};
use models::folder::FolderError;
use models::library::Library;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::job::JobError;

#[derive(Debug, Clone)]
pub struct ModelPlacesConfig {
    pub library: Arc<Library>,
    pub precision: Precision,
    /// An unused model is freed after so long; 0 for never.
    pub idle_ms: u64,
    /// Pieces of work at the same time in this process: each uses all cores.
    pub at_a_time: usize,
}

type Place<M> = Arc<Resident<M>>;

/// Shared by the front door and the workers of a process.
#[derive(Debug)]
pub(crate) struct ModelPlaces<M> {
    config: ModelPlacesConfig,
    residents: Residents,
    /// By model id; with the time of its installation, because another may be pulled.
    places: Mutex<HashMap<String, (i64, Place<M>)>>,
    turns: Arc<Semaphore>,
}

impl<M: Send + Sync + Debug + 'static> ModelPlaces<M> {
    /// Models are listed in `residents` as they are used.
    pub(crate) fn new(config: ModelPlacesConfig, residents: Residents) -> Self {
        let turns = Arc::new(Semaphore::new(config.at_a_time.max(1)));
        Self { config, residents, places: Mutex::default(), turns }
    }

    pub(crate) fn library(&self) -> &Library {
        &self.config.library
    }

    pub(crate) fn precision(&self) -> Precision {
        self.config.precision
    }

    /// When it was installed; `None` where it is not.
    pub(crate) fn installed_at_ms(&self, id: &str) -> Result<Option<i64>, FolderError> {
        Ok(self.config.library.folder.lock_file(id)?.map(|lock| lock.installed_at_ms))
    }

    /// Waits until fewer than `at_a_time` compute; given back when it is dropped.
    pub(crate) async fn turn(&self, token: &CancellationToken) -> Result<OwnedSemaphorePermit, JobError> {
        tokio::select! {
            turn = self.turns.clone().acquire_owned() => turn.map_err(|_| JobError::Stopped),
            () = token.cancelled() => Err(JobError::Stopped),
        }
    }

    /// The model, loaded by `load` (which says its bytes too) where it is not yet. Blocks.
    pub(crate) fn get(
        &self,
        id: &str,
        installed_at_ms: i64,
        load: impl FnOnce() -> Result<(M, u64), ModelError>,
    ) -> Result<Arc<M>, JobError> {
        self.place(id, installed_at_ms).get(self.residents.now_ms(), load).map_err(|error| match error {
            ModelError::Folder { .. } => {
                JobError::Wait(format!("{id} can't be loaded: {error}; `clonyvoice models verify {id}` says more"))
            }
            other => JobError::Retry(format!("{id} can't be loaded: {other}")),
        })
    }

    fn place(&self, id: &str, installed_at_ms: i64) -> Place<M> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, place)) = places.get(id).filter(|(at_ms, _)| *at_ms == installed_at_ms) {
            return place.clone();
        }
        let place: Place<M> = Arc::new(Resident::new(id, self.config.idle_ms));
        if places.insert(id.to_owned(), (installed_at_ms, place.clone())).is_some() {
            self.residents.remove(id);
        }
        self.residents.add(place.clone());
        place
    }
}
