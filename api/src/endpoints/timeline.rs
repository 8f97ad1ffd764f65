//! Timelines: where the pieces of a generation stand, saved over and over, and merged into one file.

use jobs::arrange::{ArrangeError, TimelineView};
use jobs::format::AudioFormat;
use jobs::merge_timeline::{FILM_CONTENT_TYPE, FILM_FORMAT};
use salvo::Writer;
use salvo::oapi::endpoint;
use salvo::oapi::extract::PathParam;
use storage::BlobKey;
use storage::blobs::RenderPart;
use storage::generations::Generation;
use storage::renders::{self, Render, RenderKind};
use uuid::Uuid;

use super::generate::{SpeechAnswer, finish, job_of_before, wait_for};
use super::{not_found, parse_id};
use crate::answer::Reply;
use crate::app::App;
use crate::authenticate::Caller;
use crate::body::JsonRequest;
use crate::file_answer::FileAnswer;
use crate::file_name::content_disposition;
use crate::problem::{Code, FieldProblem, Problem};
use crate::query_string::Query;
use crate::waiting::{Asking, Waiting};
use crate::wire::generation::{FileQuery, format_of};
use crate::wire::job::Job;
use crate::wire::timeline::{LayoutRequest, MergeTimelineRequest, Timeline};

impl From<ArrangeError> for Problem {
    fn from(error: ArrangeError) -> Self {
        match error {
            ArrangeError::TaskNotFound(_) => not_found(Code::TaskNotFound, "task"),
            ArrangeError::Stale { revision } => {
                let detail = format!("the timeline was saved since: its revision is {revision}; read it again and save over that");
                Self::new(Code::StaleRevision, detail)
            }
            ArrangeError::Invalid(errors) => {
                Self::invalid(errors.into_iter().map(|error| FieldProblem { field: error.field, message: error.message }).collect())
            }
            ArrangeError::Storage(error) => error.into(),
        }
    }
}

/// Get timeline layout
///
/// Made from the finished chunks until it is saved for the first time.
#[endpoint(operation_id = "get_timeline")]
pub async fn get_timeline(app: App, caller: Caller, task_id: PathParam<String>) -> Result<Reply<Timeline>, Problem> {
    Ok(Reply(Timeline::of(find(&app, &caller, &task_id).await?)))
}

/// Save block positions
///
/// Whole blocks, or new beginnings for some; over a revision, if one is given.
#[endpoint(operation_id = "save_timeline_layout")]
pub async fn save_layout(
    app: App,
    caller: Caller,
    task_id: PathParam<String>,
    body: JsonRequest<LayoutRequest>,
) -> Result<Reply<Timeline>, Problem> {
    let current = find(&app, &caller, &task_id).await?;
    let revision = body.0.revision;
    let change = body.0.into_change(&current)?;
    let saved = app.jobs.save_layout(&caller.owner_id, current.generation_id, revision, change).await?;
    Ok(Reply(Timeline::of(saved)))
}

async fn find(app: &App, caller: &Caller, id: &str) -> Result<TimelineView, Problem> {
    let id = parse_id(id, Code::TaskNotFound, "task")?;
    app.jobs.timeline(&caller.owner_id, id).await?.ok_or_else(|| not_found(Code::TaskNotFound, "task"))
}

/// Merge timeline into single file
///
/// The layout as it is now; the same layout and options give the same bytes.
#[endpoint(operation_id = "merge_timeline")]
pub async fn merge_timeline(
    app: App,
    caller: Caller,
    waiting: Waiting,
    asking: Asking,
    body: JsonRequest<MergeTimelineRequest>,
) -> Result<SpeechAnswer<Job>, Problem> {
    let (task_id, options) = body.0.into_parts()?;
    let task_id = parse_id(&task_id, Code::TaskNotFound, "task")?;
    let view = match job_of_before(&app, &caller, &asking).await? {
        Some(view) => view,
        None => {
            let idempotency = asking.once.map(|once| once.key);
            app.jobs.request_timeline_merge(&caller.owner_id, task_id, options, idempotency, asking.trace).await?
        }
    };
    let view = wait_for(&app, &caller, waiting, view).await?;
    let audio = render_of(&app, &caller, task_id, view.id, None);
    finish(waiting, view, audio, |job| job).await
}

/// A merged timeline
#[endpoint(operation_id = "get_timeline_audio")]
pub async fn get_audio(
    app: App,
    caller: Caller,
    task_id: PathParam<String>,
    render_id: PathParam<String>,
    query: Query<FileQuery>,
) -> Result<FileAnswer, Problem> {
    let wanted = format_of(query.0.format.as_deref())?;
    let task_id = parse_id(&task_id, Code::TaskNotFound, "task")?;
    let render_id = parse_id(&render_id, Code::AudioNotFound, "merged timeline")?;
    render_of(&app, &caller, task_id, render_id, wanted).await
}

async fn render_of(app: &App, caller: &Caller, task_id: Uuid, render_id: Uuid, wanted: Option<AudioFormat>) -> Result<FileAnswer, Problem> {
    let generation = app.jobs.generation(&caller.owner_id, task_id).await?.ok_or_else(|| not_found(Code::TaskNotFound, "task"))?;
    let render = renders::find(app.storage.rows.read(), task_id, render_id).await?.filter(|render| render.kind == RenderKind::Timeline);
    let render = render.ok_or_else(|| not_found(Code::AudioNotFound, "merged timeline"))?;
    if render.content_type == FILM_CONTENT_TYPE {
        return film_of(&generation, &render, wanted);
    }
    let file = app.jobs.audio_file(&generation, &render, wanted).await?;
    let disposition = content_disposition(generation.title.as_deref(), &format!("timeline-{task_id}"), file.format.name());
    Ok(FileAnswer::blob(file.key, &file.tag, file.size_bytes, file.format.content_type(), disposition))
}

fn film_of(generation: &Generation, render: &Render, wanted: Option<AudioFormat>) -> Result<FileAnswer, Problem> {
    if wanted.is_some() {
        return Err(Problem::invalid_field("format", "this timeline was merged as mp4: merge it again in the format that is wanted"));
    }
    let key = BlobKey::Render { generation_id: generation.id, render_id: render.id, part: RenderPart::Mp4 };
    let disposition = content_disposition(generation.title.as_deref(), &format!("timeline-{}", generation.id), FILM_FORMAT);
    Ok(FileAnswer::blob(key, &render.blob.sha256, render.blob.size_bytes, FILM_CONTENT_TYPE, disposition))
}
