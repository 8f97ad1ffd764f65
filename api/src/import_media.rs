//! Brings a stranger's file into a timeline: looked at by processes with limits, its sound made FLAC, its picture PNG, the blobs stored, and
//! then one save. This file may not know how a request says where it goes.

use std::path::{Path, PathBuf};

use jobs::arrange::{ArrangeError, NewMedia, TimelineView, media_key};
use jobs::ffmpeg::{Ffmpeg, FilmFacts, Picture};
use jobs::timeline::TrackKind;
use jobs::tool::{FFMPEG_MISSING, ToolError, ToolMissing};
use storage::blobs::{MediaPart, StoredBlob};
use storage::timelines::{Media, MediaKind};
use tempfile::TempDir;
use uuid::Uuid;

use crate::app::App;
use crate::authenticate::Caller;
use crate::decode_host::{HostAnswer, HostTask, MediaFacts, Sniffed};
use crate::problem::{Code, FieldProblem, Problem};
use crate::upload::{self, UploadedFile};

/// Where the medium goes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Placing {
    pub name: String,
    pub start_ms: i64,
    pub duration_ms: Option<i64>,
    pub gain_db: f32,
    pub looped: bool,
    pub duck_db: Option<f32>,
}

/// What was made of a file; its files go with the value.
#[derive(Debug)]
pub(crate) struct Prepared {
    kind: MediaKind,
    content_type: String,
    duration_ms: i64,
    picture: Option<Picture>,
    sound: Option<PathBuf>,
    poster: Option<PathBuf>,
    /// What could not be done here, and what would mend it.
    pub warnings: Vec<String>,
    _folder: TempDir,
}

impl Prepared {
    pub(crate) fn is_image(&self) -> bool {
        self.kind == MediaKind::Image
    }
}

impl From<ToolMissing> for Problem {
    fn from(missing: ToolMissing) -> Self {
        let detail = format!("{} is not installed; this installs it on the server: {}", missing.name, missing.command);
        Self::new(Code::ToolNotInstalled, detail).retry_after(5).mended_by(missing.command)
    }
}

/// A file of sound.
pub(crate) async fn prepare_track(app: &App, file: &UploadedFile) -> Result<Prepared, Problem> {
    let folder = working_folder(app).await?;
    let sound = folder.path().join("sound.flac");
    let facts = flac(app, file.path(), &file.field, &sound).await?;
    Ok(Prepared {
        kind: MediaKind::Audio,
        content_type: format!("audio/{}", facts.container),
        duration_ms: to_ms(facts.duration_ms),
        picture: None,
        sound: Some(sound),
        poster: None,
        warnings: Vec::new(),
        _folder: folder,
    })
}

/// A film or a picture.
pub(crate) async fn prepare_video(app: &App, file: &UploadedFile, keep_audio: bool) -> Result<Prepared, Problem> {
    match app.decode_hosts.run(file.path(), &file.field, HostTask::Sniff).await? {
        HostAnswer::Sniffed(Sniffed::Picture { content_type, width, height }) => Ok(Prepared {
            kind: MediaKind::Image,
            content_type,
            duration_ms: 0,
            picture: Some(Picture { width, height, fps: None }),
            sound: None,
            poster: None,
            warnings: Vec::new(),
            _folder: working_folder(app).await?,
        }),
        HostAnswer::Sniffed(Sniffed::Film { content_type }) => match Ffmpeg::find(app.jobs.tools()) {
            Ok(ffmpeg) => film(app, file, content_type, keep_audio, &ffmpeg).await,
            Err(missing) => sound_of_film(app, file, content_type, keep_audio, missing).await,
        },
        HostAnswer::Sniffed(Sniffed::Other) => {
            let detail = format!("{}: no film and no picture that can be read here; import-track takes sound", file.field);
            Err(Problem::new(Code::UnsupportedMedia, detail))
        }
        other => Err(Problem::internal(format!("decode host: {other:?}"))),
    }
}

async fn film(app: &App, file: &UploadedFile, content_type: String, keep_audio: bool, ffmpeg: &Ffmpeg) -> Result<Prepared, Problem> {
    let folder = working_folder(app).await?;
    let (path, field) = (file.path(), file.field.as_str());
    let unreadable = |error| refusal(field, error);
    // A stop of the server ends it, and so does the end of the request, which drops this call.
    let token = &app.stopping;
    let facts = ffmpeg.facts(path, folder.path(), token).await.map_err(unreadable)?;
    let FilmFacts { picture: Some(picture), .. } = facts else {
        return Err(Problem::new(Code::UnsupportedMedia, format!("{field}: it shows nothing; import-track takes sound")));
    };
    if facts.duration_ms.is_some_and(|ms| ms > to_ms(app.config.audio_ms_max)) {
        return Err(Problem::new(Code::PayloadTooLarge, format!("{field}: the film is longer than {} ms", app.config.audio_ms_max)));
    }
    let poster = folder.path().join("poster.png");
    ffmpeg.poster(path, &poster, folder.path(), token).await.map_err(unreadable)?;
    let sound = folder.path().join("sound.flac");
    let heard = if keep_audio && facts.audio_channels.is_some() {
        Some(match flac(app, path, field, &sound).await {
            Ok(heard) => heard,
            // A codec that is not read here, ffmpeg may read.
            Err(problem) if problem.code.status().is_client_error() && problem.code != Code::PayloadTooLarge => {
                let _ = tokio::fs::remove_file(&sound).await;
                let between = folder.path().join("between.flac");
                ffmpeg.sound(path, app.config.audio_ms_max, &between, folder.path(), token).await.map_err(unreadable)?;
                flac(app, &between, field, &sound).await?
            }
            Err(problem) => return Err(problem),
        })
    } else {
        None
    };
    let duration_ms = facts.duration_ms.or(heard.as_ref().map(|heard| to_ms(heard.duration_ms))).filter(|ms| *ms > 0);
    let duration_ms = duration_ms.ok_or_else(|| Problem::invalid_field(field, "does not say how long it is"))?;
    Ok(Prepared {
        kind: MediaKind::Video,
        content_type,
        duration_ms,
        picture: Some(picture),
        sound: heard.map(|_| sound),
        poster: Some(poster),
        warnings: Vec::new(),
        _folder: folder,
    })
}

/// Without ffmpeg: the sound alone, as far as it is read here.
async fn sound_of_film(
    app: &App,
    file: &UploadedFile,
    content_type: String,
    keep_audio: bool,
    missing: ToolMissing,
) -> Result<Prepared, Problem> {
    let folder = working_folder(app).await?;
    let sound = folder.path().join("sound.flac");
    let heard = match flac(app, file.path(), &file.field, &sound).await {
        Ok(heard) => heard,
        Err(problem) if matches!(problem.code, Code::UnsupportedMedia | Code::ValidationFailed) => return Err(missing.into()),
        Err(problem) => return Err(problem),
    };
    let warning =
        format!("only the sound was read: pictures need {}, and this installs it on the server: {}", missing.name, missing.command);
    Ok(Prepared {
        kind: MediaKind::Video,
        content_type,
        duration_ms: to_ms(heard.duration_ms),
        picture: None,
        sound: keep_audio.then_some(sound),
        poster: None,
        warnings: vec![warning],
        _folder: folder,
    })
}

async fn flac(app: &App, file: &Path, field: &str, output: &Path) -> Result<MediaFacts, Problem> {
    let task = HostTask::Flac { output: output.to_owned(), audio_ms_max: app.config.audio_ms_max };
    match app.decode_hosts.run(file, field, task).await? {
        HostAnswer::Media(facts) => Ok(facts),
        other => Err(Problem::internal(format!("decode host: {other:?}"))),
    }
}

async fn working_folder(app: &App) -> Result<TempDir, Problem> {
    let folder = upload::folder(app).await?;
    let made = tokio::task::spawn_blocking(move || tempfile::Builder::new().prefix("import-").tempdir_in(folder)).await;
    made.map_err(Problem::internal)?.map_err(upload::written)
}

/// What ended ffmpeg is the file's fault, or the machine's.
fn refusal(field: &str, error: ToolError) -> Problem {
    match error {
        ToolError::Failed { complaint } => {
            let why = complaint.lines().last().unwrap_or_default().trim();
            Problem::invalid_field(field, format!("is damaged or wrong: {why}"))
        }
        ToolError::TooLong { .. } | ToolError::OverLimit { .. } => Problem::invalid_field(field, error.to_string()),
        ToolError::Stopped => Problem::new(Code::NotReady, "the server is stopping").retry_after(1),
        ToolError::NotStarted { .. } => Problem { cause: Some(error.to_string()), ..FFMPEG_MISSING.into() },
        ToolError::Io(error) => upload::written(error),
    }
}

/// Stores what was prepared and lays it on a track of its own, at the end of the timeline's tracks and blocks. What was stored of a medium
/// that could not be laid goes again.
pub(crate) async fn lay(
    app: &App,
    caller: &Caller,
    task_id: Uuid,
    file: &UploadedFile,
    prepared: Prepared,
    placing: Placing,
) -> Result<(TimelineView, Media), Problem> {
    let media_id = Uuid::now_v7();
    let laid = async {
        let media = store(app, task_id, media_id, file, &prepared, &placing.name).await?;
        let track_kind = if prepared.kind == MediaKind::Audio { TrackKind::Audio } else { TrackKind::Video };
        let Placing { start_ms, duration_ms, gain_db, looped, duck_db, .. } = placing;
        let new = NewMedia { media: media.clone(), track_kind, start_ms, duration_ms, gain_db, looped, duck_db };
        let view = app.jobs.lay_media(&caller.owner_id, task_id, new).await.map_err(of_fields)?;
        Ok((view, media))
    };
    match laid.await {
        Ok(laid) => Ok(laid),
        Err(problem) => {
            for part in [MediaPart::Source, MediaPart::Audio, MediaPart::Poster] {
                if let Err(error) = app.storage.blobs.delete(media_key(task_id, media_id, part)).await {
                    tracing::warn!(%error, "a file of a refused import stays until its generation is deleted");
                }
            }
            Err(problem)
        }
    }
}

async fn store(app: &App, generation_id: Uuid, id: Uuid, file: &UploadedFile, prepared: &Prepared, name: &str) -> Result<Media, Problem> {
    let put = async |part: MediaPart, file: &Path| -> Result<StoredBlob, Problem> {
        Ok(app.storage.blobs.put_file(media_key(generation_id, id, part), file).await?)
    };
    let source = put(MediaPart::Source, file.path()).await?;
    let audio = match &prepared.sound {
        Some(sound) => Some(put(MediaPart::Audio, sound).await?),
        None => None,
    };
    if let Some(poster) = &prepared.poster {
        put(MediaPart::Poster, poster).await?;
    }
    Ok(Media {
        id,
        generation_id,
        kind: prepared.kind,
        name: name.to_owned(),
        content_type: prepared.content_type.clone(),
        source,
        audio,
        duration_ms: prepared.duration_ms,
        width: prepared.picture.map(|picture| picture.width.into()),
        height: prepared.picture.map(|picture| picture.height.into()),
        fps: prepared.picture.and_then(|picture| picture.fps),
        created_at_ms: app.clock.now_ms(),
    })
}

/// The layout's errors name the block that would be made; the request's fields have the last part of that name.
fn of_fields(error: ArrangeError) -> Problem {
    match error {
        ArrangeError::Invalid(errors) => Problem::invalid(
            errors
                .into_iter()
                .map(|error| FieldProblem { field: error.field.rsplit('.').next().unwrap_or_default().to_owned(), message: error.message })
                .collect(),
        ),
        other => other.into(),
    }
}

fn to_ms(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}
