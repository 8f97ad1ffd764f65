//! Pulling a model from the hub: file by file, each gone on with where it broke off, each checked against what the hub said of it, and the
//! whole in place at once. All files come from one commit, also when the branch moves meanwhile.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;

use crate::checksum::{Checksum, Found, Summing, feed};
use crate::folder::{FolderError, ModelFolder, Unfinished};
use crate::hub::{Hub, HubError, Place, RemoteFile};
use crate::lock::{LockFile, LockedFile, Source};
use crate::manifest::{Manifest, ManifestFile};

#[derive(Debug, Clone, Copy)]
pub struct PullConfig {
    /// Attempts in a row that bring no byte.
    pub attempts_max: u32,
    /// Before the second of them; doubles.
    pub pause_ms: u64,
}

impl Default for PullConfig {
    fn default() -> Self {
        Self { attempts_max: 5, pause_ms: 1_000 }
    }
}

/// Of the whole model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub done_bytes: u64,
    pub total_bytes: u64,
}

/// Asked after each piece whether to go on.
pub type OnProgress<'p> = &'p mut (dyn FnMut(Progress) -> ControlFlow<()> + Send);

/// Sorted by what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    #[error(transparent)]
    Hub(#[from] HubError),
    /// The bytes are not those of the hub's own sum. They were thrown away: pulling again begins that file anew.
    #[error("{path} came with other bytes than the hub says ({found}); it was thrown away")]
    WrongBytes { path: String, found: String },
    /// Neither hub nor catalogue say what the bytes must be.
    #[error("the hub gives no sum of {path}, so it can't be checked")]
    NoSum { path: String },
    #[error("the pull was stopped; what is there stays and is gone on with")]
    Stopped,
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Pulls what is not there yet.
///
/// # Errors
/// [`PullError`]; a model that was installed before stays as it was.
pub async fn pull(
    hub: &Hub,
    manifest: &Manifest,
    folder: &ModelFolder,
    config: PullConfig,
    now_ms: i64,
    progress: OnProgress<'_>,
) -> Result<LockFile, PullError> {
    let unfinished = folder.begin(&manifest.id)?;
    let remote = look_up_all(hub, manifest, config).await?;
    let commit = remote.first().and_then(|file| file.commit.clone());
    let (repo, revision) = (manifest.hub.repo.clone(), manifest.hub.revision.clone());
    let source = Source::Hub { endpoint: hub.endpoint().into(), repo, revision, commit };
    // A file is kept by its sum: where it came from does not matter.
    let done = unfinished.done().map(|lock| lock.files).unwrap_or_default();
    let mut lock = LockFile { id: manifest.id.clone(), source, installed_at_ms: now_ms, files: Vec::new() };
    let total_bytes = remote.iter().map(|file| file.size_bytes).sum();
    let mut pulling = Pulling { hub, unfinished: &unfinished, config, done_bytes: 0, total_bytes, progress };
    for (file, expected) in remote.iter().zip(&manifest.files) {
        let known = done.iter().find(|known| known.path == file.path && known.told.is_some() && known.told == told_of(file, expected));
        let locked = match known {
            Some(known) => {
                pulling.done_bytes += known.size_bytes;
                known.clone()
            }
            None => pulling.file(file, expected).await?,
        };
        lock.files.push(locked);
        unfinished.note(&lock)?;
    }
    unfinished.commit(&lock)?;
    Ok(lock)
}

/// The first file tells which commit the revision is; the others are asked for from that one.
async fn look_up_all(hub: &Hub, manifest: &Manifest, config: PullConfig) -> Result<Vec<RemoteFile>, PullError> {
    let mut found: Vec<RemoteFile> = Vec::new();
    for file in &manifest.files {
        let commit = found.first().and_then(|first| first.commit.clone());
        let revision = commit.as_deref().unwrap_or(&manifest.hub.revision);
        let place = Place { repo: &manifest.hub.repo, revision, path: &file.path };
        let mut attempt = 1;
        let remote = loop {
            match hub.look_up(place).await {
                Err(HubError::Unreachable { .. }) if attempt < config.attempts_max => pause(config, &mut attempt).await,
                answer => break answer?,
            }
        };
        if told_of(&remote, file).is_none() {
            return Err(PullError::NoSum { path: file.path.clone() });
        }
        found.push(remote);
    }
    Ok(found)
}

#[allow(clippy::disallowed_methods, reason = "a hub that is away says nothing when it is back; a test gives a pause of 1 ms")]
async fn pause(config: PullConfig, attempt: &mut u32) {
    let pause_ms = config.pause_ms.saturating_mul(1 << (*attempt - 1).min(16));
    *attempt += 1;
    tokio::time::sleep(Duration::from_millis(pause_ms)).await;
}

/// What the bytes must be: the catalogue's word before the hub's.
fn told_of(remote: &RemoteFile, expected: &ManifestFile) -> Option<Checksum> {
    expected.sha256.as_ref().map(|sha256| Checksum::Sha256(sha256.to_string())).or_else(|| remote.told.clone())
}

struct Pulling<'p, 'q> {
    hub: &'p Hub,
    unfinished: &'p Unfinished,
    config: PullConfig,
    /// Of files that are whole.
    done_bytes: u64,
    total_bytes: u64,
    progress: OnProgress<'q>,
}

impl Pulling<'_, '_> {
    async fn file(&mut self, remote: &RemoteFile, expected: &ManifestFile) -> Result<LockedFile, PullError> {
        let told = told_of(remote, expected).ok_or_else(|| PullError::NoSum { path: remote.path.clone() })?;
        let path = self.unfinished.file(&remote.path)?;
        // Under a name of its bytes, so that parts of two revisions do not meet.
        let part = path.with_file_name(part_name(&path, &told));
        let mut attempt = 1;
        let found = loop {
            let before = part_bytes(&part);
            match self.attempt(remote, &part).await {
                Err(PullError::Hub(HubError::Unreachable { .. })) if part_bytes(&part) > before => attempt = 1,
                Err(PullError::Hub(HubError::Unreachable { .. })) if attempt < self.config.attempts_max => {
                    pause(self.config, &mut attempt).await;
                }
                answer => break answer?,
            }
        };
        if found.size_bytes != remote.size_bytes || !told.matches(&found) {
            fs::remove_file(&part)?;
            return Err(PullError::WrongBytes { path: remote.path.clone(), found: found.sha256.to_string() });
        }
        fs::rename(&part, &path)?;
        self.done_bytes += found.size_bytes;
        Ok(LockedFile { path: remote.path.clone(), size_bytes: found.size_bytes, sha256: found.sha256, told: Some(told) })
    }

    /// One request, from where the part ends; the sums of the whole when it is there.
    async fn attempt(&mut self, remote: &RemoteFile, part: &Path) -> Result<Found, PullError> {
        let mut file = OpenOptions::new().create(true).truncate(false).read(true).append(true).open(part)?;
        if file.metadata()?.len() > remote.size_bytes {
            file.set_len(0)?;
        }
        let mut summing = sum_of(part, remote.size_bytes).await?;
        if summing.size_bytes() < remote.size_bytes {
            let (begins, pieces) = self.hub.read(remote, summing.size_bytes()).await?;
            if begins == 0 && summing.size_bytes() > 0 {
                // The hub knows no parts: from the beginning.
                file.set_len(0)?;
                summing = Summing::new(remote.size_bytes);
            }
            let mut pieces = pin!(pieces);
            while let Some(piece) = pieces.next().await {
                self.take(&mut file, &mut summing, piece?.as_ref(), remote)?;
            }
            if summing.size_bytes() < remote.size_bytes {
                let detail = format!("{} ended after {} of {} bytes", remote.path, summing.size_bytes(), remote.size_bytes);
                return Err(HubError::Unreachable { host: self.hub.endpoint().into(), detail }.into());
            }
        }
        file.sync_all()?;
        Ok(summing.finish())
    }

    fn take(&mut self, file: &mut File, summing: &mut Summing, piece: &[u8], remote: &RemoteFile) -> Result<(), PullError> {
        file.write_all(piece)?;
        summing.update(piece);
        if summing.size_bytes() > remote.size_bytes {
            // More than there is: the sum will be wrong, and it must not fill the disk before that is seen.
            file.set_len(0)?;
            return Err(PullError::WrongBytes { path: remote.path.clone(), found: "it does not end where it should".into() });
        }
        let progress = Progress { done_bytes: self.done_bytes + summing.size_bytes(), total_bytes: self.total_bytes };
        if (self.progress)(progress).is_break() { Err(PullError::Stopped) } else { Ok(()) }
    }
}

/// Of what is there already; it may be gigabytes, so it is read beside the async threads.
async fn sum_of(part: &Path, length_bytes: u64) -> io::Result<Summing> {
    let mut file = File::open(part)?;
    let reading = tokio::task::spawn_blocking(move || {
        let mut summing = Summing::new(length_bytes);
        feed(&mut file, &mut summing).map(|()| summing)
    });
    reading.await.map_err(io::Error::other)?
}

fn part_name(path: &Path, told: &Checksum) -> String {
    let (Checksum::Sha256(sum) | Checksum::GitBlob(sum)) = told;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    format!("{name}.{}.part", &sum[..16])
}

fn part_bytes(part: &Path) -> u64 {
    fs::metadata(part).map_or(0, |found| found.len())
}
