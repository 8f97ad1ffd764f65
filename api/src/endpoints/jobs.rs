//! Jobs: how far long work is.

use jobs::download_video::Downloaded;
use jobs::retry::RetryError;
use salvo::Writer;
use salvo::oapi::endpoint;
use salvo::oapi::extract::PathParam;

use super::generations::{Asked, audio_of};
use super::{not_found, parse_id};
use crate::answer::{Accepted, Reply};
use crate::app::App;
use crate::authenticate::Caller;
use crate::file_answer::FileAnswer;
use crate::file_name::content_disposition;
use crate::problem::{Code, Problem};
use crate::query_string::Query;
use crate::waiting::Waiting;
use crate::wire::generation::{GenerationQuery, ListedJob};
use crate::wire::job::Job;
use crate::wire::list::Page;

/// List jobs, newest first
///
/// Generations, and everything else that was asked for: voices being made, previews, downloads, models being fetched. `voice_id`, `montage_id` and `q`
/// narrow it to generations.
#[endpoint(operation_id = "list_jobs")]
pub async fn list_jobs(app: App, caller: Caller, query: Query<GenerationQuery>) -> Result<Reply<Page<ListedJob>>, Problem> {
    let asked = Asked::of(&caller, query.0)?;
    let listed = app.jobs.list_jobs(&asked.filter, asked.before, asked.limit + 1).await?;
    Ok(Reply(asked.page(listed, |view| ListedJob(Job::of(view)))))
}

/// Get a job
///
/// With `Prefer: wait=N` the answer comes when the job has ended, or after N seconds.
#[endpoint(operation_id = "get_job")]
pub async fn get_job(app: App, caller: Caller, id: PathParam<String>, waiting: Waiting) -> Result<Reply<Job>, Problem> {
    let none = || not_found(Code::JobNotFound, "job");
    let id = parse_id(&id, Code::JobNotFound, "job")?;
    let view = app.jobs.job(&caller.owner_id, id).await?.ok_or_else(none)?;
    let view = match waiting.wait_s {
        Some(wait_s) => tokio::select! {
            waited = app.jobs.wait(&caller.owner_id, id, wait_s * 1_000) => waited?.ok_or_else(none)?,
            () = app.stopping.cancelled() => view,
        },
        None => view,
    };
    Ok(Reply(Job::of(view)))
}

/// The sound that a job has made
///
/// What was downloaded, or the merged audio of a generation.
#[endpoint(operation_id = "get_job_audio")]
pub async fn get_job_audio(app: App, caller: Caller, id: PathParam<String>) -> Result<FileAnswer, Problem> {
    let id = parse_id(&id, Code::JobNotFound, "job")?;
    if let Some(Downloaded { file, title }) = app.jobs.downloaded(&caller.owner_id, id).await? {
        let disposition = content_disposition(title.as_deref(), &format!("download-{id}"), file.format.name());
        return Ok(FileAnswer::blob(file.key, &file.tag, file.size_bytes, file.format.content_type(), disposition));
    }
    let none = || Problem::new(Code::AudioNotFound, "this job has made no audio, or not yet");
    if let Some(generation) = app.jobs.generation(&caller.owner_id, id).await? {
        return audio_of(&app, &generation, None).await?.ok_or_else(none);
    }
    app.jobs.job(&caller.owner_id, id).await?.ok_or_else(|| not_found(Code::JobNotFound, "job"))?;
    Err(none())
}

/// Retry a failed or cancelled job
///
/// What is finished stays finished; the rest is put into the queue again.
#[endpoint(operation_id = "retry_job")]
pub async fn retry_job(app: App, caller: Caller, id: PathParam<String>) -> Result<Accepted<Job>, Problem> {
    let id = parse_id(&id, Code::JobNotFound, "job")?;
    let view = app.jobs.retry(&caller.owner_id, id).await.map_err(|error| match error {
        RetryError::NotFound(_) => not_found(Code::JobNotFound, "job"),
        RetryError::NotFailed(_) => Problem::new(Code::Conflict, "the job has neither failed nor been cancelled"),
        RetryError::Gone(_) => Problem::new(Code::Conflict, "what the job worked on was deleted when it ended: ask for it again"),
        RetryError::Storage(error) => error.into(),
    })?;
    Ok(Accepted { location: format!("/api/jobs/{}", view.id), body: Job::of(view), retry_after_s: None })
}
