//! Sound, films and pictures that a caller brings into a timeline, and what is shown and heard of them.

use salvo::extract::{Extractible, Metadata};
use salvo::oapi::extract::PathParam;
use salvo::oapi::{Components, EndpointArgRegister, EndpointOutRegister, Operation, endpoint};
use salvo::{Depot, Request, Response, Writer, async_trait};
use storage::blobs::MediaPart;
use storage::timelines::{self, Media, MediaKind};
use uuid::Uuid;

use super::{not_found, parse_id};
use crate::answer::Created;
use crate::app::{self, App};
use crate::authenticate::Caller;
use crate::file_answer::{self, FileAnswer};
use crate::file_name::content_disposition;
use crate::import_media::{self, Placing, Prepared};
use crate::problem::{Code, Problem};
use crate::upload::{MultipartRequest, Upload, UploadedFile};
use crate::wire::timeline::{ImportTrackForm, ImportVideoForm, ImportedMedia};

/// How long a picture is shown when nobody says.
const IMAGE_MS: i64 = 5_000;

/// A task of the caller's, found before anything of the body is read.
#[derive(Debug, Clone, Copy)]
pub struct OwnTask(Uuid);

impl<'ex> Extractible<'ex> for OwnTask {
    fn metadata() -> &'static Metadata {
        static METADATA: Metadata = Metadata::new("");
        &METADATA
    }

    #[allow(refining_impl_trait)]
    async fn extract(req: &'ex mut Request, depot: &'ex mut Depot) -> Result<Self, Problem> {
        let app = app::of(depot)?;
        let caller = depot.get_typed::<Caller>().map_err(|_| Problem::internal("a public route has tasks"))?;
        let id = parse_id(&req.param::<String>("task_id").unwrap_or_default(), Code::TaskNotFound, "task")?;
        let found = app.jobs.generation(&caller.owner_id, id).await?;
        found.map(|_| Self(id)).ok_or_else(|| not_found(Code::TaskNotFound, "task"))
    }
}

impl EndpointArgRegister for OwnTask {
    fn register(components: &mut Components, operation: &mut Operation, _arg: &str) {
        PathParam::<String>::register(components, operation, "task_id");
    }
}

/// Import external audio track
///
/// The sound gets a track of its own. With `loop` and no length it goes on to the end of what is there already.
#[endpoint(operation_id = "import_track")]
pub async fn import_track(
    app: App,
    caller: Caller,
    task: OwnTask,
    form: MultipartRequest<ImportTrackForm>,
) -> Result<Created<ImportedMedia>, Problem> {
    let file = form.upload.only_file()?;
    let placing = placing(&form.upload, file)?;
    let prepared = import_media::prepare_track(&app, file).await?;
    lay(&app, &caller, task.0, file, prepared, placing).await
}

/// Import video/image for timeline
///
/// A film comes with its picture and, unless `keep_audio` is false, its sound; without ffmpeg on the server with its sound alone, and
/// `warnings` says so. A picture is shown for `duration_ms`.
#[endpoint(operation_id = "import_video")]
pub async fn import_video(
    app: App,
    caller: Caller,
    task: OwnTask,
    form: MultipartRequest<ImportVideoForm>,
) -> Result<Created<ImportedMedia>, Problem> {
    let file = form.upload.only_file()?;
    let keep_audio = flag(&form.upload, "keep_audio")?.unwrap_or(true);
    let placing = placing(&form.upload, file)?;
    let prepared = import_media::prepare_video(&app, file, keep_audio).await?;
    lay(&app, &caller, task.0, file, prepared, placing).await
}

async fn lay(
    app: &App,
    caller: &Caller,
    task_id: Uuid,
    file: &UploadedFile,
    prepared: Prepared,
    mut placing: Placing,
) -> Result<Created<ImportedMedia>, Problem> {
    if prepared.is_image() {
        placing.duration_ms.get_or_insert(IMAGE_MS);
    }
    let warnings = prepared.warnings.clone();
    let (view, media) = import_media::lay(app, caller, task_id, file, prepared, placing).await?;
    let location = format!("/api/timeline/{task_id}");
    Ok(Created { body: ImportedMedia::of(view, &media, warnings)?, location })
}

fn placing(upload: &Upload, file: &UploadedFile) -> Result<Placing, Problem> {
    let named = upload.text(&["name"])?.map(str::to_owned).or_else(|| file.file_name.clone());
    Ok(Placing {
        name: named.filter(|name| !name.trim().is_empty()).unwrap_or_else(|| "Import".into()),
        start_ms: number(upload, "start_ms", "milliseconds")?.unwrap_or(0),
        duration_ms: number(upload, "duration_ms", "milliseconds")?,
        gain_db: number(upload, "gain_db", "decibels")?.unwrap_or(0.0),
        looped: flag(upload, "loop")?.unwrap_or(false),
        duck_db: number(upload, "duck_db", "decibels")?,
    })
}

fn number<T: std::str::FromStr>(upload: &Upload, name: &str, unit: &str) -> Result<Option<T>, Problem> {
    let text = upload.text(&[name])?.map(|text| text.trim().parse());
    text.transpose().map_err(|_| Problem::invalid_field(name, format!("is no number of {unit}")))
}

fn flag(upload: &Upload, name: &str) -> Result<Option<bool>, Problem> {
    match upload.text(&[name])?.map(|text| text.trim().to_ascii_lowercase()).as_deref() {
        None => Ok(None),
        Some("true" | "1" | "yes" | "on") => Ok(Some(true)),
        Some("false" | "0" | "no" | "off") => Ok(Some(false)),
        Some(_) => Err(Problem::invalid_field(name, "must be true or false")),
    }
}

/// The sound of something imported
#[endpoint(operation_id = "get_media_audio")]
pub async fn get_audio(app: App, task: OwnTask, media_id: PathParam<String>) -> Result<FileAnswer, Problem> {
    let media = find(&app, task, &media_id).await?;
    let audio = media.audio.as_ref().ok_or_else(|| Problem::new(Code::MediaNotFound, "it has no sound, or was imported without"))?;
    let key = jobs::arrange::media_key(task.0, media.id, MediaPart::Audio);
    let disposition = content_disposition(Some(&media.name), "audio", "flac");
    Ok(FileAnswer::blob(key, &audio.sha256, audio.size_bytes, "audio/flac", disposition))
}

/// A picture on its way.
#[derive(Debug)]
pub struct PictureAnswer(FileAnswer);

#[async_trait]
impl Writer for PictureAnswer {
    async fn write(self, req: &mut Request, depot: &mut Depot, res: &mut Response) {
        self.0.write(req, depot, res).await;
    }
}

impl EndpointOutRegister for PictureAnswer {
    fn register(_components: &mut Components, operation: &mut Operation) {
        file_answer::document(operation, &PICTURE_TYPES);
    }
}

/// Those that may have been imported; a film's is the first.
const PICTURE_TYPES: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];

/// The picture of something imported
///
/// The first of a film, or the picture itself.
#[endpoint(operation_id = "get_media_poster")]
pub async fn get_poster(app: App, task: OwnTask, media_id: PathParam<String>) -> Result<PictureAnswer, Problem> {
    let media = find(&app, task, &media_id).await?;
    if media.kind == MediaKind::Image {
        let content_type = PICTURE_TYPES.into_iter().find(|known| *known == media.content_type).unwrap_or(PICTURE_TYPES[0]);
        let ending = content_type.trim_start_matches("image/");
        let key = jobs::arrange::media_key(task.0, media.id, MediaPart::Source);
        let disposition = content_disposition(Some(&media.name), "picture", ending);
        return Ok(PictureAnswer(FileAnswer::blob(key, &media.source.sha256, media.source.size_bytes, content_type, disposition)));
    }
    if media.width.is_none() {
        return Err(Problem::new(Code::MediaNotFound, "nothing of it can be shown"));
    }
    let poster = app.storage.blobs.get(jobs::arrange::media_key(task.0, media.id, MediaPart::Poster)).await?;
    let disposition = content_disposition(Some(&media.name), "poster", "png");
    Ok(PictureAnswer(FileAnswer::bytes(poster, PICTURE_TYPES[0], disposition)))
}

async fn find(app: &App, task: OwnTask, media_id: &str) -> Result<Media, Problem> {
    let none = || Problem::new(Code::MediaNotFound, "this timeline has no medium with this id");
    let id = Uuid::parse_str(media_id.trim()).map_err(|_| none())?;
    timelines::find_media(app.storage.rows.read(), task.0, id).await?.ok_or_else(none)
}
