//! The last step of a timeline's merge to mp4: the films and pictures are fetched, and ffmpeg puts them on one canvas beside the mixed
//! sound. It may not write rows or blobs.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use storage::blobs::{MediaPart, StoredBlob};
use storage::generations::Generation;
use storage::{BlobKey, StorageError};
use tempfile::{NamedTempFile, TempDir};
use uuid::Uuid;

use crate::ffmpeg::{Ffmpeg, file_url, input};
use crate::film::{Film, Footage, film};
use crate::format::tags_of;
use crate::job::{JobContext, JobError};
use crate::merge_timeline::{MergeTimeline, Snapshot};

/// Mixed sound in, film out; both are files, and the films and pictures lie in `folder` meanwhile.
pub(crate) async fn make_film(
    context: &JobContext,
    order: &MergeTimeline,
    generation: &Generation,
    snapshot: &Snapshot,
    sound: &Path,
    folder: &TempDir,
) -> Result<NamedTempFile, JobError> {
    let ffmpeg = Ffmpeg::find(&context.tools)?;
    let made = tempfile::Builder::new().prefix("film-").tempfile_in(&*context.temporary_folder).map_err(StorageError::from)?;
    let tags = tags_of(generation);
    let tags: Vec<(&str, &str)> = [("title", &tags.title), ("artist", &tags.artist), ("comment", &tags.comment)]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_deref()?)))
        .collect();
    let arguments = if order.options.include_video {
        let footage: HashMap<Uuid, Footage> =
            snapshot.media.iter().filter_map(|(id, media)| Some((*id, media.footage.as_ref()?.footage))).collect();
        let film = film(&snapshot.layout, &footage, order.options.range_ms.map(|(begin_ms, end_ms)| begin_ms..end_ms));
        let files = fetch(context, order.generation_id, snapshot, &film, folder).await?;
        let codec = ffmpeg.video_codec(folder.path(), &context.token).await?;
        film.arguments(sound, |id| files[&id].as_path(), codec, &tags, made.path())
    } else {
        sound_alone(sound, &tags, made.path())
    };
    ffmpeg.make(arguments, folder.path(), MergeTimeline::TIMEOUT_MS, &context.token).await?;
    Ok(made)
}

async fn fetch(
    context: &JobContext,
    generation_id: Uuid,
    snapshot: &Snapshot,
    film: &Film,
    folder: &TempDir,
) -> Result<HashMap<Uuid, PathBuf>, JobError> {
    let mut files = HashMap::new();
    for media_id in film.media() {
        let Some(stored) = snapshot.media.get(&media_id).and_then(|media| media.footage.as_ref()) else { continue };
        let stored = StoredBlob { sha256: stored.sha256.clone(), size_bytes: stored.size_bytes };
        let path = folder.path().join(format!("{media_id}-source"));
        context.storage.blobs.get_file(BlobKey::Media { generation_id, media_id, part: MediaPart::Source }, &stored, &path).await?;
        files.insert(media_id, path);
    }
    Ok(files)
}

fn sound_alone(sound: &Path, tags: &[(&str, &str)], target: &Path) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = ["-nostdin", "-v", "error", "-threads", "1"].map(OsString::from).to_vec();
    arguments.extend(input(sound));
    arguments.extend(["-c:a", "aac", "-b:a", "160k", "-map_metadata", "-1"].map(OsString::from));
    for (name, value) in tags {
        arguments.extend(["-metadata".into(), format!("{name}={value}").into()]);
    }
    let options = ["-fflags", "+bitexact", "-flags:a", "+bitexact", "-movflags", "+faststart", "-f", "mp4", "-y"];
    arguments.extend(options.map(OsString::from));
    arguments.push(file_url(target));
    arguments
}
