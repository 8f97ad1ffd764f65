//! Blobs: audio and other large bytes, named by [`BlobKey`] and by nothing else, kept by `object_store`.
//!
//! A put returns when the bytes are on the disk (fsync of file and folder) or acknowledged by the remote store. Keys are made of ids only,
//! so that a job that runs twice writes the same blob twice. This file may not know rows.

use std::collections::HashSet;
use std::io::{self, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, fs};

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, WriteMultipart};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio::sync::Mutex;
use tracing::Instrument;
use uuid::Uuid;

use crate::s3::{self, Presigner, S3Config};
use crate::{StorageError, filesystem};

/// S3 wants parts of at least 5 MiB.
const PART_BYTES: usize = 8 * 1024 * 1024;
const PARTS_IN_FLIGHT: usize = 2;
/// The spans that `jobs::trace` sends to a collector are told from others by it. They name no blob.
const TRACE_TARGET: &str = "clonyvoice::trace";
/// Names of folders that are remembered as durable; more are synced anew.
const DURABLE_FOLDERS_MAX: usize = 10_000;

/// The only way to name a blob. Ids are parsed types, so no user text can become part of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BlobKey {
    /// 24 kHz mono WAV of one take of one chunk.
    Chunk { generation_id: Uuid, index: u32, take: u32 },
    /// A merged file; `render_id` is the id of the job that made it.
    Render { generation_id: Uuid, render_id: Uuid, part: RenderPart },
    /// A recording that a voice was made from; both ids are never used again.
    VoiceSample { voice_id: Uuid, sample_id: Uuid },
    /// A few words of a voice. A new one has a new id.
    VoicePreview { voice_id: Uuid, preview_id: Uuid },
    /// Sound that was fetched from a stranger's URL, by the job of this id; `part` is its format.
    Download { media_id: Uuid, part: RenderPart },
    /// What was brought into a generation's timeline.
    Media { generation_id: Uuid, media_id: Uuid, part: MediaPart },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaPart {
    /// The file as it came.
    Source,
    /// Its sound, as FLAC.
    Audio,
    /// A picture of a film, as PNG.
    Poster,
}

impl MediaPart {
    fn file_name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Audio => "audio.flac",
            Self::Poster => "poster.png",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RenderPart {
    Wav,
    Flac,
    Opus,
    Mp3,
    /// A film.
    Mp4,
    Srt,
    Vtt,
    Peaks,
    /// What a timeline's file is made from.
    Layout,
}

impl RenderPart {
    fn file_ending(self) -> &'static str {
        match self {
            Self::Wav => "wav",
            Self::Flac => "flac",
            Self::Opus => "opus",
            Self::Mp3 => "mp3",
            Self::Mp4 => "mp4",
            Self::Srt => "srt",
            Self::Vtt => "vtt",
            Self::Peaks => "peaks",
            Self::Layout => "layout.json",
        }
    }
}

/// The prefix of all blobs of voices.
const VOICES: &str = "voices";
/// The prefix of all downloads.
const DOWNLOADS: &str = "downloads";

impl BlobKey {
    /// Reads the key of a voice's blob back from its path.
    fn of_voice_path(path: &ObjectPath) -> Option<Self> {
        let parts: Vec<_> = path.parts().collect();
        let [prefix, voice_id, folder, file] = parts.as_slice() else { return None };
        let voice_id = Uuid::parse_str(voice_id.as_ref()).ok()?;
        let id = Uuid::parse_str(file.as_ref().strip_suffix(".wav")?).ok()?;
        match (prefix.as_ref(), folder.as_ref()) {
            (VOICES, "samples") => Some(Self::VoiceSample { voice_id, sample_id: id }),
            (VOICES, "previews") => Some(Self::VoicePreview { voice_id, preview_id: id }),
            _ => None,
        }
    }

    /// All blobs of a generation lie below this one prefix.
    pub fn generation_prefix(generation_id: Uuid) -> String {
        format!("generations/{generation_id}")
    }
}

impl fmt::Display for BlobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chunk { generation_id, index, take } => {
                write!(f, "{}/chunks/{index:06}-{take}.wav", Self::generation_prefix(*generation_id))
            }
            Self::Render { generation_id, render_id, part } => {
                write!(f, "{}/renders/{render_id}.{}", Self::generation_prefix(*generation_id), part.file_ending())
            }
            Self::VoiceSample { voice_id, sample_id } => write!(f, "{VOICES}/{voice_id}/samples/{sample_id}.wav"),
            Self::VoicePreview { voice_id, preview_id } => write!(f, "{VOICES}/{voice_id}/previews/{preview_id}.wav"),
            Self::Download { media_id, part } => write!(f, "{DOWNLOADS}/{media_id}/audio.{}", part.file_ending()),
            Self::Media { generation_id, media_id, part } => {
                write!(f, "{}/media/{media_id}/{}", Self::generation_prefix(*generation_id), part.file_name())
            }
        }
    }
}

/// What is known of a blob once it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBlob {
    pub sha256: String,
    pub size_bytes: u64,
}

/// The folders of a local store whose names are on the disk. `object_store` syncs what it makes, but after it has made it: another put, or
/// the process that comes after a kill, finds the folder there and relies on a sync that has not been.
#[derive(Debug)]
struct Folders {
    root: PathBuf,
    durable: Mutex<HashSet<PathBuf>>,
}

impl Folders {
    /// Makes the folders of a blob, durably. One at a time: who comes second finds it done.
    async fn prepare(&self, key: BlobKey) -> Result<(), StorageError> {
        let path = self.root.join(key.to_string());
        let mut durable = self.durable.lock().await;
        let folders = path.ancestors().skip(1).take_while(|folder| *folder != self.root);
        let new: Vec<PathBuf> = folders.filter(|folder| !durable.contains(*folder)).map(Path::to_owned).collect();
        if new.is_empty() {
            return Ok(());
        }
        let made = new.clone();
        let making = tokio::task::spawn_blocking(move || {
            fs::create_dir_all(&made[0])?;
            made.iter().filter_map(|folder| folder.parent()).try_for_each(filesystem::sync_folder)
        });
        making.await.map_err(io::Error::other)??;
        if durable.len() + new.len() > DURABLE_FOLDERS_MAX {
            durable.clear();
        }
        durable.extend(new);
        Ok(())
    }

    /// To be called before a blob is deleted: the store takes folders away that are empty then.
    async fn forget_above(&self, key: BlobKey) {
        let path = self.root.join(key.to_string());
        self.durable.lock().await.retain(|folder| !path.starts_with(folder));
    }

    /// To be called before the folders are deleted.
    async fn forget(&self, prefix: &str) {
        let gone = self.root.join(prefix);
        self.durable.lock().await.retain(|folder| !folder.starts_with(&gone));
    }
}

#[derive(Clone)]
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
    /// Of a local store.
    folders: Option<Arc<Folders>>,
    /// Of a store that can give blobs away by itself.
    presigner: Option<Presigner>,
}

impl fmt::Debug for Blobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blobs({})", self.store)
    }
}

impl Blobs {
    /// A folder of this machine, every write synced: `object_store` does not do that by itself.
    pub fn open_local(folder: &Path) -> Result<Self, StorageError> {
        let store = LocalFileSystem::new_with_prefix(folder)?.with_fsync(true).with_automatic_cleanup(true);
        let folders = Folders { root: folder.canonicalize()?, durable: Mutex::default() };
        Ok(Self { store: Arc::new(store), folders: Some(Arc::new(folders)), presigner: None })
    }

    /// A bucket. It is not asked for anything yet.
    pub fn open_s3(config: &S3Config) -> Result<Self, StorageError> {
        let s3::Opened { store, presigner } = s3::open(config)?;
        Ok(Self { store, folders: None, presigner: Some(presigner) })
    }

    /// Any other store, such as one that fails on purpose.
    pub fn with_store(store: Arc<dyn ObjectStore>) -> Self {
        Self { store, folders: None, presigner: None }
    }

    /// Writes, reads and deletes a few bytes, to see whether that can be done.
    pub async fn try_out(&self) -> Result<(), StorageError> {
        let key = BlobKey::Download { media_id: Uuid::now_v7(), part: RenderPart::Layout };
        let stored = self.put(key, Bytes::from_static(b"{}")).await?;
        let read = self.get_verified(key, &stored).await;
        self.delete(key).await?;
        read.map(drop)
    }

    /// An address at which anybody gets the blob for so long without us; `None` for stores that have none.
    pub async fn presigned_url(&self, key: BlobKey, valid_s: u64) -> Result<Option<String>, StorageError> {
        match &self.presigner {
            Some(presigner) => presigner.url(key, valid_s).await.map(Some),
            None => Ok(None),
        }
    }

    async fn prepare(&self, key: BlobKey) -> Result<(), StorageError> {
        match &self.folders {
            Some(folders) => folders.prepare(key).await,
            None => Ok(()),
        }
    }

    pub(crate) fn store(&self) -> &dyn ObjectStore {
        &*self.store
    }

    pub async fn put(&self, key: BlobKey, bytes: Bytes) -> Result<StoredBlob, StorageError> {
        let span = tracing::trace_span!(target: TRACE_TARGET, "blob put", blob.bytes = bytes.len());
        self.put_bytes(key, bytes).instrument(span).await
    }

    async fn put_bytes(&self, key: BlobKey, bytes: Bytes) -> Result<StoredBlob, StorageError> {
        let stored = stored(&bytes);
        self.prepare(key).await?;
        self.store.put(&path_of(key)?, bytes.into()).await.map_err(not_taken)?;
        Ok(stored)
    }

    /// Sends a file of any size in parts: memory stays flat.
    pub async fn put_file(&self, key: BlobKey, file: &Path) -> Result<StoredBlob, StorageError> {
        self.put_parts(key, file).instrument(tracing::trace_span!(target: TRACE_TARGET, "blob put")).await
    }

    async fn put_parts(&self, key: BlobKey, file: &Path) -> Result<StoredBlob, StorageError> {
        let mut reader = tokio::fs::File::open(file).await?;
        reader.seek(SeekFrom::Start(0)).await?;
        self.prepare(key).await?;
        let upload = self.store.put_multipart(&path_of(key)?).await.map_err(not_taken)?;
        let mut parts = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        let mut hash = Sha256::new();
        let mut size_bytes = 0;
        let mut block = vec![0; 256 * 1024];
        loop {
            let read = reader.read(&mut block).await?;
            if read == 0 {
                break;
            }
            hash.update(&block[..read]);
            size_bytes += read as u64;
            parts.wait_for_capacity(PARTS_IN_FLIGHT).await?;
            parts.write(&block[..read]);
        }
        parts.finish().await?;
        Ok(StoredBlob { sha256: hex::encode(hash.finalize()), size_bytes })
    }

    /// The whole blob: only for what is known to be small, such as a chunk.
    pub async fn get(&self, key: BlobKey) -> Result<Bytes, StorageError> {
        let path = path_of(key)?;
        let getting = async { self.store.get(&path).await?.bytes().await };
        Ok(getting.instrument(tracing::trace_span!(target: TRACE_TARGET, "blob get")).await?)
    }

    /// The whole blob, if it is what its row says. A store may answer with less than it has: that is unreachable, and may be better at the
    /// next call. What comes twice as the store itself describes it, and is not what the row says, is damaged.
    pub async fn get_verified(&self, key: BlobKey, expected: &StoredBlob) -> Result<Bytes, StorageError> {
        let first = self.get(key).await?;
        let found = stored(&first);
        if found == *expected {
            return Ok(first);
        }
        let kept_bytes = self.size_bytes(key).await?;
        let second = self.get(key).await?;
        let again = stored(&second);
        if again == *expected {
            return Ok(second);
        }
        Err(differs(key, &found, expected, again == found && kept_bytes == found.size_bytes))
    }

    /// A blob of any size as a new file, if it is what its row says; see [`Self::get_verified`].
    pub async fn get_file(&self, key: BlobKey, expected: &StoredBlob, file: &Path) -> Result<(), StorageError> {
        let found = self.copy_into(key, file).await?;
        if found == *expected {
            return Ok(());
        }
        let kept_bytes = self.size_bytes(key).await?;
        let again = self.copy_into(key, file).await?;
        if again == *expected {
            return Ok(());
        }
        Err(differs(key, &found, expected, again == found && kept_bytes == found.size_bytes))
    }

    async fn copy_into(&self, key: BlobKey, file: &Path) -> Result<StoredBlob, StorageError> {
        let mut bytes = self.store.get(&path_of(key)?).await?.into_stream();
        let mut writer = tokio::fs::File::create(file).await?;
        let mut hash = Sha256::new();
        let mut size_bytes = 0;
        while let Some(part) = bytes.try_next().await? {
            hash.update(&part);
            size_bytes += part.len() as u64;
            writer.write_all(&part).await?;
        }
        writer.flush().await?;
        Ok(StoredBlob { sha256: hex::encode(hash.finalize()), size_bytes })
    }

    pub async fn size_bytes(&self, key: BlobKey) -> Result<u64, StorageError> {
        Ok(self.store.head(&path_of(key)?).await?.size)
    }

    /// The bytes of `range` (end excluded) as they arrive.
    pub async fn stream(&self, key: BlobKey, range: Range<u64>) -> Result<BoxStream<'static, Result<Bytes, StorageError>>, StorageError> {
        if range.is_empty() {
            return Ok(futures::stream::empty().boxed());
        }
        let options = object_store::GetOptions { range: Some(range.into()), ..Default::default() };
        let result = self.store.get_opts(&path_of(key)?, options).await?;
        Ok(result.into_stream().map_err(StorageError::from).boxed())
    }

    /// Nothing happens where there is no such blob: the caller wants it gone, and it is.
    pub async fn delete(&self, key: BlobKey) -> Result<(), StorageError> {
        if let Some(folders) = &self.folders {
            folders.forget_above(key).await;
        }
        match self.store.delete(&path_of(key)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The generations that have blobs.
    pub async fn generation_ids(&self) -> Result<Vec<Uuid>, StorageError> {
        let listed = self.store.list_with_delimiter(Some(&ObjectPath::from("generations"))).await?;
        Ok(listed.common_prefixes.iter().filter_map(|prefix| Uuid::parse_str(prefix.parts().next_back()?.as_ref()).ok()).collect())
    }

    /// The voices that have blobs.
    pub async fn voice_ids(&self) -> Result<Vec<Uuid>, StorageError> {
        let listed = self.store.list_with_delimiter(Some(&ObjectPath::from(VOICES))).await?;
        Ok(listed.common_prefixes.iter().filter_map(|prefix| Uuid::parse_str(prefix.parts().next_back()?.as_ref()).ok()).collect())
    }

    /// The blobs of a voice that were stored before this time. Ids do not tell: an import may keep those of an old voice.
    pub async fn voice_blobs(&self, voice_id: Uuid, before_ms: i64) -> Result<Vec<BlobKey>, StorageError> {
        let mut listed = self.store.list(Some(&ObjectPath::from(format!("{VOICES}/{voice_id}"))));
        let mut keys = Vec::new();
        while let Some(meta) = listed.try_next().await? {
            if meta.last_modified.timestamp_millis() < before_ms {
                keys.extend(BlobKey::of_voice_path(&meta.location));
            }
        }
        Ok(keys)
    }

    /// Deletes every blob of a generation; call it after the rows are gone. Returns how many there were.
    pub async fn delete_generation(&self, generation_id: Uuid) -> Result<u64, StorageError> {
        self.delete_below(&BlobKey::generation_prefix(generation_id)).await
    }

    /// The jobs that have downloaded something.
    pub async fn download_ids(&self) -> Result<Vec<Uuid>, StorageError> {
        let listed = self.store.list_with_delimiter(Some(&ObjectPath::from(DOWNLOADS))).await?;
        Ok(listed.common_prefixes.iter().filter_map(|prefix| Uuid::parse_str(prefix.parts().next_back()?.as_ref()).ok()).collect())
    }

    /// Deletes what a job has downloaded.
    pub async fn delete_download(&self, media_id: Uuid) -> Result<u64, StorageError> {
        self.delete_below(&format!("{DOWNLOADS}/{media_id}")).await
    }

    async fn delete_below(&self, prefix: &str) -> Result<u64, StorageError> {
        if let Some(folders) = &self.folders {
            folders.forget(prefix).await;
        }
        let prefix = ObjectPath::from(prefix);
        let mut listed = self.store.list(Some(&prefix));
        let mut deleted = 0;
        while let Some(meta) = listed.try_next().await? {
            match self.store.delete(&meta.location).await {
                Ok(()) => deleted += 1,
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(deleted)
    }
}

fn stored(bytes: &Bytes) -> StoredBlob {
    StoredBlob { sha256: hex::encode(Sha256::digest(bytes)), size_bytes: bytes.len() as u64 }
}

/// A bucket that is not there is "not found" too, and does not mean that a blob is gone.
fn not_taken(error: object_store::Error) -> StorageError {
    match error {
        object_store::Error::NotFound { source, .. } => StorageError::Unreachable(format!("the blob store takes nothing: {source}")),
        error => error.into(),
    }
}

/// `settled`: it came twice alike, and as large as the store says that it is.
fn differs(key: BlobKey, found: &StoredBlob, expected: &StoredBlob, settled: bool) -> StorageError {
    let told = format!("{key} came with {} bytes where its row says {}", found.size_bytes, expected.size_bytes);
    if settled { StorageError::BlobDamaged(told) } else { StorageError::Unreachable(told) }
}

fn path_of(key: BlobKey) -> Result<ObjectPath, StorageError> {
    ObjectPath::parse(key.to_string()).map_err(|error| StorageError::Internal(error.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn a_file_is_what_its_row_says_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open_local(folder.path()).unwrap();
        let key = BlobKey::VoiceSample { voice_id: Uuid::from_u128(1), sample_id: Uuid::from_u128(2) };
        let (bytes, copy) = (Bytes::from(vec![7; 3 * 1024 * 1024]), folder.path().join("copy"));
        let stored = blobs.put(key, bytes.clone()).await.unwrap();
        blobs.get_file(key, &stored, &copy).await.unwrap();
        assert_eq!(fs::read(&copy).unwrap(), bytes);
        blobs.put(key, bytes.slice(1..)).await.unwrap();
        assert!(matches!(blobs.get_file(key, &stored, &copy).await, Err(StorageError::BlobDamaged(_))));
        blobs.delete(key).await.unwrap();
        assert!(matches!(blobs.get_file(key, &stored, &copy).await, Err(StorageError::BlobNotFound(_))));
    }
}
