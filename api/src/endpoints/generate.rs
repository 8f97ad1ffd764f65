//! Asking for speech: five kinds of request and one way to accept them, and merging by hand.

use jobs::submission::MergeOrder;
use jobs::view::JobView;
use salvo::http::StatusCode;
use salvo::oapi::{self, Components, EndpointOutRegister, Operation, ToSchema, endpoint};
use salvo::{Depot, Request, Response, Writer, async_trait};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::generations::audio_of;
use super::{not_found, parse_id};
use crate::answer::{self, Accepted};
use crate::app::App;
use crate::authenticate::Caller;
use crate::body::JsonRequest;
use crate::file_answer::{self, FileAnswer};
use crate::problem::{Code, Problem};
use crate::waiting::{Asking, Waiting};
use crate::wire::chunk::PlannedChunk;
use crate::wire::job::Job;
use crate::wire::speech::{ChunkedRequest, CloneRequest, IntoSubmission, MergeRequest, MultilangRequest, MultivoiceRequest, PresetRequest};

/// A job with the pieces it was cut into.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChunkedJob {
    #[serde(flatten)]
    pub job: Job,
    pub chunks: Vec<PlannedChunk>,
}

/// The answer of a request for speech: the job, or what it has made.
#[derive(Debug)]
pub enum SpeechAnswer<T> {
    Accepted(Accepted<T>),
    Done(T),
    Audio(FileAnswer),
}

#[async_trait]
impl<T: Serialize + Send> Writer for SpeechAnswer<T> {
    async fn write(self, req: &mut Request, depot: &mut Depot, res: &mut Response) {
        match self {
            Self::Accepted(accepted) => res.render(accepted),
            Self::Done(body) => answer::json(res, StatusCode::OK, &body),
            Self::Audio(file) => file.write(req, depot, res).await,
        }
    }
}

impl<T: ToSchema> EndpointOutRegister for SpeechAnswer<T> {
    fn register(components: &mut Components, operation: &mut Operation) {
        Accepted::<T>::register(components, operation);
        file_answer::document_audio(operation);
        operation.responses.remove("206");
        operation.responses.remove("304");
        let done = answer::described::<T>("The finished job, for who waited; the audio, for who accepts `audio/*`", components);
        let audio = operation.responses.remove("200");
        operation.responses.insert("200", with_audio(done, audio));
    }
}

/// The finished job and the audio are both answers of 200.
fn with_audio(mut done: oapi::Response, audio: Option<oapi::RefOr<oapi::Response>>) -> oapi::Response {
    if let Some(oapi::RefOr::Type(audio)) = audio {
        done.contents.extend(audio.contents);
    }
    done
}

/// Generate speech (preset voice)
#[endpoint(operation_id = "generate_preset")]
pub async fn generate_preset(
    app: App,
    caller: Caller,
    waiting: Waiting,
    asking: Asking,
    body: JsonRequest<PresetRequest>,
) -> Result<SpeechAnswer<Job>, Problem> {
    speak(&app, &caller, waiting, asking, body.0).await
}

/// Generate speech (cloned voice)
#[endpoint(operation_id = "generate_clone")]
pub async fn generate_clone(
    app: App,
    caller: Caller,
    waiting: Waiting,
    asking: Asking,
    body: JsonRequest<CloneRequest>,
) -> Result<SpeechAnswer<Job>, Problem> {
    speak(&app, &caller, waiting, asking, body.0).await
}

/// Chunked generation (per sentence)
///
/// The text is cut into pieces, or comes in pieces; each can be fetched as soon as it is made, and all are merged in the end.
#[endpoint(operation_id = "generate_clone_chunked")]
pub async fn clone_chunked(
    app: App,
    caller: Caller,
    waiting: Waiting,
    asking: Asking,
    body: JsonRequest<ChunkedRequest>,
) -> Result<SpeechAnswer<ChunkedJob>, Problem> {
    speak_chunked(&app, &caller, waiting, asking, body.0).await
}

/// Multi-voice chunked generation
///
/// Each piece has its voice, or the text has marks such as `[voice:ann]` and `voices` says who is meant.
#[endpoint(operation_id = "generate_clone_chunked_multivoice")]
pub async fn clone_chunked_multivoice(
    app: App,
    caller: Caller,
    waiting: Waiting,
    asking: Asking,
    body: JsonRequest<MultivoiceRequest>,
) -> Result<SpeechAnswer<ChunkedJob>, Problem> {
    speak_chunked(&app, &caller, waiting, asking, body.0).await
}

/// Multi-language chunked generation
///
/// Each piece has its language, or it is found sentence by sentence among `languages`.
#[endpoint(operation_id = "generate_clone_chunked_multilang")]
pub async fn clone_chunked_multilang(
    app: App,
    caller: Caller,
    waiting: Waiting,
    asking: Asking,
    body: JsonRequest<MultilangRequest>,
) -> Result<SpeechAnswer<ChunkedJob>, Problem> {
    speak_chunked(&app, &caller, waiting, asking, body.0).await
}

async fn speak(
    app: &App,
    caller: &Caller,
    waiting: Waiting,
    asking: Asking,
    request: impl IntoSubmission,
) -> Result<SpeechAnswer<Job>, Problem> {
    let view = submit_and_wait(app, caller, waiting, asking, request).await?;
    let audio = merged_audio(app, caller, view.generation_id.unwrap_or(view.id));
    finish(waiting, view, audio, |job| job).await
}

async fn speak_chunked(
    app: &App,
    caller: &Caller,
    waiting: Waiting,
    asking: Asking,
    request: impl IntoSubmission,
) -> Result<SpeechAnswer<ChunkedJob>, Problem> {
    let view = submit_and_wait(app, caller, waiting, asking, request).await?;
    let rows = app.jobs.all_chunks(&caller.owner_id, view.id).await?.unwrap_or_default();
    let chunks: Vec<PlannedChunk> = rows.into_iter().map(PlannedChunk::of).collect();
    let audio = merged_audio(app, caller, view.generation_id.unwrap_or(view.id));
    finish(waiting, view, audio, |job| ChunkedJob { job, chunks }).await
}

async fn submit_and_wait(
    app: &App,
    caller: &Caller,
    waiting: Waiting,
    asking: Asking,
    request: impl IntoSubmission,
) -> Result<JobView, Problem> {
    let before = job_of_before(app, caller, &asking).await?;
    let mut submission = request.into_submission(asking.trace)?;
    submission.idempotency = asking.once.map(|once| once.key);
    let view = match before {
        Some(view) => view,
        None => app.jobs.submit(&caller.owner_id, submission).await?,
    };
    wait_for(app, caller, waiting, view).await
}

/// What the same request, under the same key, was accepted as before its process died. It is not accepted again after it was deleted: a
/// request that comes late must not bring back what its sender has thrown away.
pub(super) async fn job_of_before(app: &App, caller: &Caller, asking: &Asking) -> Result<Option<JobView>, Problem> {
    let Some(job_id) = asking.once.as_ref().and_then(|once| once.accepted) else {
        return Ok(None);
    };
    let view = app.jobs.job(&caller.owner_id, job_id).await?;
    view.map(Some).ok_or_else(|| Problem::new(Code::Gone, format!("job {job_id}, which this Idempotency-Key was used for, is deleted")))
}

/// The job as it is now, or as it is when the waiting is over. A stop of the server ends the waiting.
pub(super) async fn wait_for(app: &App, caller: &Caller, waiting: Waiting, view: JobView) -> Result<JobView, Problem> {
    let Some(wait_s) = waiting.wait_s else {
        return Ok(view);
    };
    tokio::select! {
        waited = app.jobs.wait(&caller.owner_id, view.id, wait_s * 1_000) => Ok(waited?.unwrap_or(view)),
        () = app.stopping.cancelled() => Ok(view),
    }
}

/// 200 when it is done, the bytes when they were asked for, else 202. `audio` is looked for only where it is wanted and the job has made it.
pub(super) async fn finish<T>(
    waiting: Waiting,
    view: JobView,
    audio: impl Future<Output = Result<FileAnswer, Problem>>,
    body: impl FnOnce(Job) -> T,
) -> Result<SpeechAnswer<T>, Problem> {
    if waiting.wait_s.is_none() || !view.is_final() {
        let location = format!("/api/jobs/{}", view.id);
        return Ok(SpeechAnswer::Accepted(Accepted { body: body(Job::of(view)), location, retry_after_s: None }));
    }
    if !waiting.audio {
        return Ok(SpeechAnswer::Done(body(Job::of(view))));
    }
    if let Some(error) = view.error {
        return Err(Problem::new(Code::GenerationFailed, format!("job {}: {}", view.id, error.detail)));
    }
    if view.status == "cancelled" {
        return Err(Problem::new(Code::Conflict, format!("job {} was cancelled", view.id)));
    }
    audio.await.map(SpeechAnswer::Audio)
}

async fn merged_audio(app: &App, caller: &Caller, generation_id: Uuid) -> Result<FileAnswer, Problem> {
    let generation = app.jobs.generation(&caller.owner_id, generation_id).await?;
    let generation = generation.ok_or_else(|| not_found(Code::GenerationNotFound, "generation"))?;
    audio_of(app, &generation, None).await?.ok_or_else(|| Problem::new(Code::AudioNotFound, "the generation was not to be merged"))
}

/// A merge's job with the fields of its result beside it.
#[derive(Debug, Serialize, ToSchema)]
pub struct MergeJob {
    #[serde(flatten)]
    pub job: Job,
    /// The fields of `result`, for who waited.
    #[serde(flatten)]
    #[salvo(schema(skip))]
    pub merged: Option<Value>,
}

/// Merge chunks into final audio
///
/// The file becomes the generation's audio. Any order and choice of takes; a chunk may come twice.
#[endpoint(operation_id = "merge_chunks")]
pub async fn merge_chunks(
    app: App,
    caller: Caller,
    waiting: Waiting,
    asking: Asking,
    body: JsonRequest<MergeRequest>,
) -> Result<SpeechAnswer<MergeJob>, Problem> {
    let (task_id, options) = body.0.into_parts()?;
    let task_id = parse_id(&task_id, Code::TaskNotFound, "task")?;
    let view = match job_of_before(&app, &caller, &asking).await? {
        Some(view) => view,
        None => {
            let order = MergeOrder { task_id, options, idempotency: asking.once.map(|once| once.key), trace: asking.trace };
            app.jobs.request_merge(&caller.owner_id, order).await?
        }
    };
    let view = wait_for(&app, &caller, waiting, view).await?;
    let audio = merged_audio(&app, &caller, task_id);
    finish(waiting, view, audio, |job| MergeJob { merged: job.result.clone().filter(Value::is_object), job }).await
}
