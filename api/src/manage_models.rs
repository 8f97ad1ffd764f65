//! `clonyvoice models`: the models on this disk, from the command line, while the server runs or not.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;

use jobs::clock::{Clock, SystemClock};
use models::catalogue::{Catalogue, CatalogueError};
use models::folder::{FolderError, ModelFolder};
use models::hub::{Hub, HubConfig, HubError, Token};
use models::import::{ImportError, import};
use models::library::Library;
use models::lock::{LockFile, Source};
use models::manifest::{Manifest, ManifestError, Precision};
use models::pull::{Progress, PullConfig, PullError, pull};

use crate::cli::Models;
use crate::config::Config;
use crate::wire::time::rfc3339;

/// The text is for the person at the terminal.
#[derive(Debug, thiserror::Error)]
pub enum ModelsError {
    #[error("there is no model \"{wanted}\"; `clonyvoice models list` shows {known}")]
    NoModel { wanted: String, known: String },
    #[error("{0} is not installed")]
    NotInstalled(String),
    #[error("{}; `clonyvoice models remove` and `models pull` mend that", .0.join("; "))]
    Faults(Vec<String>),
    #[error(transparent)]
    Builtin(#[from] ManifestError),
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Hub(#[from] HubError),
    #[error("{0}; pull again to go on where it ended")]
    Pull(PullError),
    #[error(transparent)]
    Import(#[from] ImportError),
    #[error("the work ended before its time: {0}")]
    Join(#[from] tokio::task::JoinError),
}

/// What a configuration says of models.
///
/// # Errors
/// For a manifest of the operator's that can't be read.
pub fn library(config: &Config) -> Result<Library, ModelsError> {
    let mut catalogue = Catalogue::builtin()?;
    if let Some(folder) = &config.models_catalogue_dir {
        catalogue = catalogue.with_folder(folder)?;
    }
    let token = config.models_token.as_ref().map(|token| Token(token.reveal().to_owned()));
    let hub = HubConfig { endpoint: config.models_endpoint.clone(), token, ..HubConfig::default() };
    Ok(Library { catalogue, folder: ModelFolder::new(config.models_folder()), hub })
}

/// Ids of the models that are shown, and whether each is installed.
///
/// # Errors
/// Those of [`library`] and of the folder.
pub fn ids(config: &Config) -> Result<Vec<(String, bool)>, ModelsError> {
    let library = library(config)?;
    Ok(library.shown()?.into_iter().map(|(manifest, lock)| (manifest.id.clone(), lock.is_some())).collect())
}

pub async fn run(config: &Config, command: Models) -> Result<(), ModelsError> {
    let library = library(config)?;
    let folder = library.folder.clone();
    match command {
        Models::List => list(&library),
        Models::Pull { id, from } => {
            let manifest = find(&library.catalogue, &id)?.clone();
            let lock = match from {
                Some(from) => import_from(manifest, from.as_path(), folder.clone()).await?,
                None => pull_from(&Hub::new(library.hub)?, &manifest, &folder).await?,
            };
            eprintln!();
            println!(
                "{}: {} in {} files, checked, in {}",
                lock.id,
                size(lock.size_bytes()),
                lock.files.len(),
                folder.path_of(&id)?.display()
            );
            Ok(())
        }
        Models::Verify { id } => verify(&folder, id).await,
        Models::Remove { id } => {
            let gone = tokio::task::spawn_blocking({
                let (folder, id) = (folder.clone(), id.clone());
                move || folder.remove(&id)
            });
            if !gone.await?? {
                return Err(ModelsError::NotInstalled(id));
            }
            println!("{id}: removed");
            Ok(())
        }
    }
}

fn find<'c>(catalogue: &'c Catalogue, id: &str) -> Result<&'c Manifest, ModelsError> {
    catalogue.get(id).ok_or_else(|| ModelsError::NoModel {
        wanted: id.into(),
        known: catalogue
            .all()
            .iter()
            .filter(|manifest| manifest.offered)
            .map(|manifest| manifest.id.as_str())
            .collect::<Vec<_>>()
            .join(", "),
    })
}

fn list(library: &Library) -> Result<(), ModelsError> {
    println!("{:<30} {:>8} {:>9}  {:<12} {:<20} state", "id", "download", "memory", "licence", "can");
    for (manifest, lock) in library.shown()? {
        println!("{}", line(manifest, lock.as_ref()));
    }
    for lock in library.folder.installed()?.iter().filter(|lock| library.catalogue.get(&lock.id).is_none()) {
        println!("{:<30} {:>8} {:>9}  {:<12} {:<20} installed, not in the catalogue", lock.id, size(lock.size_bytes()), "", "", "");
    }
    Ok(())
}

fn line(manifest: &Manifest, lock: Option<&LockFile>) -> String {
    // What a machine without a GPU loads.
    let memory = manifest.memory_mb.get(&Precision::Q8_0).or_else(|| manifest.memory_mb.values().min());
    let memory = memory.map_or_else(String::new, |mb| size(u64::from(*mb) * 1_000_000));
    let can: Vec<String> = manifest.abilities.iter().map(|ability| format!("{ability:?}").to_ascii_lowercase()).collect();
    let state = match lock {
        None => "can be pulled".to_owned(),
        Some(LockFile { source: Source::Folder, installed_at_ms, .. }) => format!("installed from a folder, {}", rfc3339(*installed_at_ms)),
        Some(LockFile { installed_at_ms, .. }) => format!("installed, {}", rfc3339(*installed_at_ms)),
    };
    let download = size(lock.map_or_else(|| manifest.size_bytes(), LockFile::size_bytes));
    format!("{:<30} {download:>8} {memory:>9}  {:<12} {:<20} {state}", manifest.id, manifest.licence, can.join(", "))
}

fn size(bytes: u64) -> String {
    match bytes {
        1_000_000_000.. => format!("{:.1} GB", bytes as f64 / 1e9),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

/// On stderr, over itself.
fn show(progress: Progress) -> ControlFlow<()> {
    let share = progress.done_bytes as f64 / progress.total_bytes.max(1) as f64;
    let _ = write!(io::stderr(), "\r{:>5.1} % of {}", share * 100.0, size(progress.total_bytes));
    ControlFlow::Continue(())
}

async fn pull_from(hub: &Hub, manifest: &Manifest, folder: &ModelFolder) -> Result<LockFile, ModelsError> {
    pull(hub, manifest, folder, PullConfig::default(), SystemClock.now_ms(), &mut show).await.map_err(ModelsError::Pull)
}

async fn import_from(manifest: Manifest, from: &Path, folder: ModelFolder) -> Result<LockFile, ModelsError> {
    let from = from.to_owned();
    let work = move || import(&manifest, &from, &folder, SystemClock.now_ms(), &mut show);
    Ok(tokio::task::spawn_blocking(work).await??)
}

async fn verify(folder: &ModelFolder, id: Option<String>) -> Result<(), ModelsError> {
    let ids = match id {
        Some(id) => vec![id],
        None => folder.installed()?.into_iter().map(|lock| lock.id).collect(),
    };
    let mut wrong = Vec::new();
    for id in ids {
        let faults = tokio::task::spawn_blocking({
            let (folder, id) = (folder.clone(), id.clone());
            move || folder.verify(&id)
        });
        let faults = faults.await??.ok_or_else(|| ModelsError::NotInstalled(id.clone()))?;
        if faults.is_empty() {
            println!("{id}: as it was pulled");
        }
        wrong.extend(faults.into_iter().map(|fault| format!("{id}: {} {}", fault.path, fault.what)));
    }
    if wrong.is_empty() { Ok(()) } else { Err(ModelsError::Faults(wrong)) }
}
