//! The history of what was spoken, and the files of each generation.

use jobs::delete::DeleteOutcome;
use jobs::format::AudioFormat;
use jobs::view::JobView;
use salvo::oapi::extract::PathParam;
use salvo::oapi::{Components, EndpointOutRegister, Operation, endpoint};
use salvo::{Depot, Request, Response, Scribe, Writer, async_trait};
use storage::blobs::RenderPart;
use storage::generations::{Generation, GenerationFilter, GenerationStatus};
use storage::renders::Render;
use storage::{BlobKey, montages, renders, search};
use uuid::Uuid;

use super::{not_found, parse_id};
use crate::answer::{Accepted, NoContent, Reply};
use crate::app::App;
use crate::authenticate::Caller;
use crate::file_answer::{self, FileAnswer};
use crate::file_name::content_disposition;
use crate::problem::{Code, FieldProblem, Problem};
use crate::query_string::Query;
use crate::wire::chunk::Chunk;
use crate::wire::generation::{DeleteQuery, DetailsQuery, FileQuery, GenerationDetails, GenerationQuery, format_of};
use crate::wire::job::{Job, audio_url};
use crate::wire::list::{self, Page};
use crate::wire::peaks::{Peaks, PeaksQuery};
use crate::wire::time::parse_ms;

const QUERY_CHARS_MAX: usize = 300;
const QUERY_WORDS_MAX: usize = 16;

/// List generation history
#[endpoint(operation_id = "list_generations")]
pub async fn list_generations(app: App, caller: Caller, query: Query<GenerationQuery>) -> Result<Reply<Page<Job>>, Problem> {
    let asked = Asked::of(&caller, query.0)?;
    let listed = app.jobs.list(&asked.filter, asked.before, asked.limit + 1).await?;
    Ok(Reply(asked.page(listed, Job::of)))
}

/// Which page of which list.
pub(super) struct Asked {
    pub filter: GenerationFilter,
    pub before: Option<Uuid>,
    pub limit: u32,
}

impl Asked {
    pub(super) fn of(caller: &Caller, query: GenerationQuery) -> Result<Self, Problem> {
        let limit = list::limit(query.limit)?;
        let before = list::before(query.cursor.as_deref())?;
        Ok(Self { filter: filter_of(caller, query)?, before, limit })
    }

    /// Of one more than the page holds, and how many there are in all.
    pub(super) fn page<T>(&self, (mut views, total): (Vec<JobView>, i64), item: fn(JobView) -> T) -> Page<T> {
        let more = views.len() > self.limit as usize;
        views.truncate(self.limit as usize);
        let next_cursor = views.last().filter(|_| more).map(|last| last.id.to_string());
        Page { items: views.into_iter().map(item).collect(), next_cursor, total }
    }
}

fn filter_of(caller: &Caller, query: GenerationQuery) -> Result<GenerationFilter, Problem> {
    let mut errors = Vec::new();
    let mut time = |name: &str, text: Option<String>| {
        let parsed = text.as_deref().map(parse_ms);
        if parsed == Some(None) {
            errors.push(FieldProblem::new(name, "must be a time such as 2026-01-31T12:00:00Z"));
        }
        parsed.flatten()
    };
    let (from_ms, to_ms) = (time("from", query.from), time("to", query.to));
    let status = query.status.as_deref().map(|status| status.parse::<GenerationStatus>().ok());
    if status == Some(None) {
        let names = GenerationStatus::ALL.map(GenerationStatus::as_str).join(", ");
        errors.push(FieldProblem::new("status", format!("must be one of {names}")));
    }
    let asked = query.q.unwrap_or_default();
    let words = search::words(&asked);
    if asked.chars().count() > QUERY_CHARS_MAX || words.len() > QUERY_WORDS_MAX {
        errors.push(FieldProblem::new("q", format!("must have at most {QUERY_CHARS_MAX} characters and {QUERY_WORDS_MAX} words")));
    }
    if !errors.is_empty() {
        return Err(Problem::invalid(errors));
    }
    // What is no id names no montage, and nothing is in it.
    let montage_id = query.montage_id.map(|id| Uuid::parse_str(id.trim()).unwrap_or_default());
    Ok(GenerationFilter {
        kind: query.kind,
        status: status.flatten(),
        voice_id: query.voice_id,
        words,
        montage_id,
        from_ms,
        to_ms,
        ..GenerationFilter::of_owner(&caller.owner_id)
    })
}

/// Get generation details
#[endpoint(operation_id = "get_generation")]
pub async fn get_generation(
    app: App,
    caller: Caller,
    id: PathParam<String>,
    query: Query<DetailsQuery>,
) -> Result<Reply<GenerationDetails>, Problem> {
    let generation = find(&app, &caller, &id).await?;
    let view = app.jobs.job(&caller.owner_id, generation.id).await?.ok_or_else(|| not_found(Code::GenerationNotFound, "generation"))?;
    let with_words = query.0.words.unwrap_or(false);
    let chunk = |view| Chunk { words: None, ..Chunk::of(view, generation.id) };
    let chunk_with_words = |view| Chunk::of(view, generation.id);
    let rows = app.jobs.all_chunks(&caller.owner_id, generation.id).await?.unwrap_or_default().into_iter();
    let montages = montages::of_generation(app.storage.rows.read(), generation.id).await?;
    Ok(Reply(GenerationDetails {
        audio_url: view.has_audio.then(|| audio_url(generation.id)),
        stale: app.jobs.audio_is_stale(generation.id).await?,
        job: Job::of(view),
        params: serde_json::from_str(&generation.params).map_err(Problem::internal)?,
        text: generation.text,
        language: generation.language,
        chunks: if with_words { rows.map(chunk_with_words).collect() } else { rows.map(chunk).collect() },
        montage_ids: montages.iter().map(Uuid::to_string).collect(),
    }))
}

/// Delete a generation
///
/// With its chunks, its files and its place in montages. One that is not finished is only deleted with `force=true`, which cancels it.
#[endpoint(operation_id = "delete_generation")]
pub async fn delete_generation(app: App, caller: Caller, id: PathParam<String>, query: Query<DeleteQuery>) -> Result<NoContent, Problem> {
    let id = parse_id(&id, Code::GenerationNotFound, "generation")?;
    match app.jobs.delete_generation(&caller.owner_id, id, query.0.force.unwrap_or(false)).await? {
        DeleteOutcome::Deleted => Ok(NoContent),
        DeleteOutcome::NotFound => Err(not_found(Code::GenerationNotFound, "generation")),
        DeleteOutcome::StillOpen => {
            let detail =
                "something of the generation waits or runs: wait for its end, POST /api/generation/cancel, or delete it with ?force=true";
            Err(Problem::new(Code::Conflict, detail))
        }
    }
}

async fn find(app: &App, caller: &Caller, id: &str) -> Result<Generation, Problem> {
    let id = parse_id(id, Code::GenerationNotFound, "generation")?;
    app.jobs.generation(&caller.owner_id, id).await?.ok_or_else(|| not_found(Code::GenerationNotFound, "generation"))
}

/// A generation's file, or the job while it is not there yet.
#[derive(Debug)]
pub enum FileOrJob {
    File(FileAnswer),
    NotReady(Box<Accepted<Job>>),
}

#[async_trait]
impl Writer for FileOrJob {
    async fn write(self, req: &mut Request, depot: &mut Depot, res: &mut Response) {
        match self {
            Self::File(file) => file.write(req, depot, res).await,
            Self::NotReady(accepted) => res.render(*accepted),
        }
    }
}

impl EndpointOutRegister for FileOrJob {
    fn register(components: &mut Components, operation: &mut Operation) {
        Accepted::<Job>::register(components, operation);
        file_answer::document_audio(operation);
    }
}

/// Audio of a generation
///
/// Whole or in ranges; 202 with the job while it is not made yet.
#[endpoint(operation_id = "get_generation_audio")]
pub async fn get_audio(app: App, caller: Caller, id: PathParam<String>, query: Query<FileQuery>) -> Result<FileOrJob, Problem> {
    let wanted = format_of(query.0.format.as_deref())?;
    let generation = find(&app, &caller, &id).await?;
    match audio_of(&app, &generation, wanted).await? {
        Some(file) => Ok(FileOrJob::File(file)),
        None => not_ready(&app, &caller, &generation).await.map(FileOrJob::NotReady),
    }
}

/// The newest merged file.
pub(super) async fn audio_of(app: &App, generation: &Generation, wanted: Option<AudioFormat>) -> Result<Option<FileAnswer>, Problem> {
    let Some(render) = renders::newest(app.storage.rows.read(), generation.id).await? else {
        return Ok(None);
    };
    let file = app.jobs.audio_file(generation, &render, wanted).await?;
    let disposition = disposition(generation, file.format.name());
    Ok(Some(FileAnswer::blob(file.key, &file.tag, file.size_bytes, file.format.content_type(), disposition)))
}

/// Subtitles of a generation (SubRip)
#[endpoint(operation_id = "get_generation_subtitles_srt")]
pub async fn get_subtitles_srt(app: App, caller: Caller, id: PathParam<String>) -> Result<FileOrJob, Problem> {
    part(&app, &caller, &id, RenderPart::Srt, "application/x-subrip; charset=utf-8", "srt").await
}

/// Subtitles of a generation (WebVTT)
#[endpoint(operation_id = "get_generation_subtitles_vtt")]
pub async fn get_subtitles_vtt(app: App, caller: Caller, id: PathParam<String>) -> Result<FileOrJob, Problem> {
    part(&app, &caller, &id, RenderPart::Vtt, "text/vtt; charset=utf-8", "vtt").await
}

/// Peaks of a generation's audio, for drawing its waveform
#[endpoint(operation_id = "get_generation_peaks")]
pub async fn get_peaks(app: App, caller: Caller, id: PathParam<String>, query: Query<PeaksQuery>) -> Result<PeaksOrJob, Problem> {
    let max_bins = query.0.max_bins()?;
    let generation = find(&app, &caller, &id).await?;
    let Some(render) = renders::newest(app.storage.rows.read(), generation.id).await? else {
        return not_ready(&app, &caller, &generation).await.map(PeaksOrJob::NotReady);
    };
    let bytes = app.storage.blobs.get(key_of(&generation, &render, RenderPart::Peaks)).await?;
    let read = move || audio::peaks::Peaks::read(&mut bytes.as_ref()).map(|stored| Peaks::of(&stored, max_bins));
    let peaks = tokio::task::spawn_blocking(read).await.map_err(Problem::internal)?.map_err(Problem::internal)?;
    Ok(PeaksOrJob::Peaks(Reply(peaks)))
}

/// The peaks, or the job while there are none.
#[derive(Debug)]
pub enum PeaksOrJob {
    Peaks(Reply<Peaks>),
    NotReady(Box<Accepted<Job>>),
}

impl Scribe for PeaksOrJob {
    fn render(self, res: &mut Response) {
        match self {
            Self::Peaks(peaks) => res.render(peaks),
            Self::NotReady(accepted) => res.render(*accepted),
        }
    }
}

impl EndpointOutRegister for PeaksOrJob {
    fn register(components: &mut Components, operation: &mut Operation) {
        Accepted::<Job>::register(components, operation);
        Reply::<Peaks>::register(components, operation);
    }
}

async fn part(
    app: &App,
    caller: &Caller,
    id: &str,
    part: RenderPart,
    content_type: &'static str,
    ending: &str,
) -> Result<FileOrJob, Problem> {
    let generation = find(app, caller, id).await?;
    let Some(render) = renders::newest(app.storage.rows.read(), generation.id).await? else {
        return not_ready(app, caller, &generation).await.map(FileOrJob::NotReady);
    };
    let bytes = app.storage.blobs.get(key_of(&generation, &render, part)).await?;
    Ok(FileOrJob::File(FileAnswer::bytes(bytes, content_type, disposition(&generation, ending))))
}

fn key_of(generation: &Generation, render: &Render, part: RenderPart) -> BlobKey {
    BlobKey::Render { generation_id: generation.id, render_id: render.id, part }
}

fn disposition(generation: &Generation, ending: &str) -> String {
    content_disposition(generation.title.as_deref(), &format!("generation-{}", generation.id), ending)
}

/// It will be there, or it never will.
async fn not_ready(app: &App, caller: &Caller, generation: &Generation) -> Result<Box<Accepted<Job>>, Problem> {
    if generation.status.is_final() {
        let detail = match generation.status {
            GenerationStatus::Completed => "its chunks were not merged: POST /api/generate/merge-chunks does it".to_owned(),
            status => format!("the generation is {status}"),
        };
        return Err(Problem::new(Code::AudioNotFound, detail));
    }
    let view = app.jobs.job(&caller.owner_id, generation.id).await?.ok_or_else(|| not_found(Code::GenerationNotFound, "generation"))?;
    let accepted = Accepted { location: format!("/api/jobs/{}", view.id), body: Job::of(view), retry_after_s: Some(1) };
    Ok(Box::new(accepted))
}
