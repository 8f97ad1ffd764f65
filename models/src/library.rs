//! What a process knows of models: which can be had, which lie here, and where others come from.

use crate::catalogue::Catalogue;
use crate::folder::{FolderError, ModelFolder};
use crate::hub::HubConfig;
use crate::lock::LockFile;
use crate::manifest::Manifest;

#[derive(Debug, Clone)]
pub struct Library {
    pub catalogue: Catalogue,
    pub folder: ModelFolder,
    pub hub: HubConfig,
}

impl Library {
    /// The models that are offered, and those that are installed though they are not.
    ///
    /// # Errors
    /// Those of the folder.
    pub fn shown(&self) -> Result<Vec<(&Manifest, Option<LockFile>)>, FolderError> {
        let mut installed = self.folder.installed()?;
        let mut take = |id: &str| installed.iter().position(|lock| lock.id == id).map(|place| installed.swap_remove(place));
        let shown = self.catalogue.all().iter().map(|manifest| (manifest, take(&manifest.id)));
        Ok(shown.filter(|(manifest, lock)| manifest.offered || lock.is_some()).collect())
    }
}
