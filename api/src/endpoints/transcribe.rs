//! Writing down what is said in a recording.

use std::path::Path;
use std::sync::Arc;

use jobs::transcribe_sound::{SAMPLE_RATE_HZ, ToTranscribe, TranscribeOrder};
use jobs::transcript::TranscriptFormat;
use salvo::extract::{Extractible, Metadata};
use salvo::http::StatusCode;
use salvo::http::header::{CONTENT_TYPE, HeaderValue};
use salvo::oapi::{self, Components, EndpointArgRegister, EndpointOutRegister, Operation, ToSchema, endpoint};
use salvo::{Depot, Request, Response, Writer, async_trait};
use serde::Serialize;
use storage::blobs::StoredBlob;
use tempfile::TempDir;

use super::generate::{job_of_before, wait_for};
use super::{not_found, parse_id};
use crate::answer::{self, Accepted};
use crate::app::App;
use crate::authenticate::Caller;
use crate::body::JsonRequest;
use crate::decode_host::{DecodeTask, HostAnswer, HostTask};
use crate::problem::{Code, Problem};
use crate::temporary_bytes::Reservation;
use crate::upload::{self, MultipartRequest, Upload};
use crate::waiting::{Asking, Waiting};
use crate::wire::job::Job;
use crate::wire::transcribe::{TranscribeForm, TranscribeRequest, TranscribeWish, Transcription};

/// The transcription, with the job that made it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Transcribed {
    /// The fields of the job's `result`; absent where the job failed.
    #[serde(flatten)]
    pub transcription: Option<Transcription>,
    pub job: Job,
}

/// On its way, or done: as JSON, or in the format that was asked for.
#[derive(Debug)]
pub enum Transcribing {
    Accepted(Box<Accepted<Job>>),
    Done(Box<Transcribed>),
    Text { content: String, content_type: &'static str },
}

#[async_trait]
impl Writer for Transcribing {
    async fn write(self, _req: &mut Request, _depot: &mut Depot, res: &mut Response) {
        match self {
            Self::Accepted(accepted) => res.render(*accepted),
            Self::Done(transcribed) => answer::json(res, StatusCode::OK, &*transcribed),
            Self::Text { content, content_type } => {
                res.status_code(StatusCode::OK);
                res.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
                res.replace_body(salvo::http::ResBody::Once(content.into_bytes().into()));
            }
        }
    }
}

impl EndpointOutRegister for Transcribing {
    fn register(components: &mut Components, operation: &mut Operation) {
        Accepted::<Job>::register(components, operation);
        let done = "What was said, for who waited; `job` alone where the job failed";
        let mut described = answer::described::<Transcribed>(done, components);
        for (_, format) in TranscriptFormat::ALL {
            if let Some(content_type) = format.content_type() {
                let bare = content_type.split(';').next().unwrap_or(content_type);
                described = described.add_content(bare, oapi::Content::new(oapi::Object::with_type(oapi::BasicType::String)));
            }
        }
        operation.responses.insert("200", described);
    }
}

/// A form with a file, or a JSON body that names what is here.
#[derive(Debug)]
pub struct TranscribeBody {
    upload: Option<Arc<Upload>>,
    request: TranscribeRequest,
}

impl<'ex> Extractible<'ex> for TranscribeBody {
    fn metadata() -> &'static Metadata {
        JsonRequest::<TranscribeRequest>::metadata()
    }

    #[allow(refining_impl_trait)]
    async fn extract(req: &'ex mut Request, depot: &'ex mut Depot) -> Result<Self, Problem> {
        if !upload::is_multipart(req) {
            let JsonRequest(request) = JsonRequest::extract(req, depot).await?;
            return Ok(Self { upload: None, request });
        }
        let upload = upload::of_request(req, depot).await?;
        Ok(Self { request: TranscribeRequest::of_upload(&upload)?, upload: Some(upload) })
    }
}

impl EndpointArgRegister for TranscribeBody {
    fn register(components: &mut Components, operation: &mut Operation, arg: &str) {
        MultipartRequest::<TranscribeForm>::register(components, operation, arg);
        let json = oapi::Content::new(<TranscribeRequest as ToSchema>::to_schema(components));
        if let Some(body) = operation.request_body.take() {
            operation.request_body = Some(body.add_content("application/json", json));
        }
    }
}

/// Transcribe audio (Whisper)
///
/// A job, whose events tell each finished window. What was spoken here is known without a model; for everything else one has to be installed.
#[endpoint(operation_id = "transcribe")]
pub async fn transcribe(app: App, caller: Caller, waiting: Waiting, asking: Asking, body: TranscribeBody) -> Result<Transcribing, Problem> {
    let view = match job_of_before(&app, &caller, &asking).await? {
        Some(view) => view,
        None => {
            let wish = body.request.into_wish()?;
            let (source, decoded) = source_of(&app, &caller, &wish, body.upload.as_deref()).await?;
            let idempotency = asking.once.map(|once| once.key);
            let order = TranscribeOrder { source, wish: wish.wish, format: wish.format, idempotency, trace: asking.trace };
            let view = app.jobs.transcribe(&caller.owner_id, order).await?;
            drop(decoded);
            view
        }
    };
    let view = wait_for(&app, &caller, waiting, view).await?;
    if waiting.wait_s.is_none() || !view.is_final() {
        let location = format!("/api/jobs/{}", view.id);
        return Ok(Transcribing::Accepted(Box::new(Accepted { body: Job::of(view), location, retry_after_s: None })));
    }
    let transcription: Option<Transcription> = view.result.clone().and_then(|result| serde_json::from_value(result).ok());
    if let Some(transcription) = &transcription
        && let Some(content) = &transcription.content
        && let Some(content_type) = TranscriptFormat::parse(&transcription.format).and_then(TranscriptFormat::content_type)
    {
        return Ok(Transcribing::Text { content: content.clone(), content_type });
    }
    Ok(Transcribing::Done(Box::new(Transcribed { transcription, job: Job::of(view) })))
}

/// Sound as models hear it; it goes with the value.
struct Decoded {
    _folder: TempDir,
    _held: Reservation,
}

/// What is to be written down: one of a file, a generation and a medium. The model is chosen before a byte of sound is read.
async fn source_of(
    app: &App,
    caller: &Caller,
    wish: &TranscribeWish,
    upload: Option<&Upload>,
) -> Result<(ToTranscribe, Option<Decoded>), Problem> {
    let sent = upload.filter(|upload| !upload.files.is_empty());
    let given = [sent.is_some(), wish.generation_id.is_some(), wish.media_id.is_some()];
    match given.into_iter().filter(|given| *given).count() {
        0 => return Err(Problem::invalid_field("file", "is needed: a file with sound, or generation_id, or media_id")),
        1 => {}
        _ => return Err(Problem::invalid_field("file", "is one of three: give a file, or generation_id, or media_id")),
    }
    if let Some(id) = &wish.generation_id {
        let id = parse_id(id, Code::TaskNotFound, "task")?;
        return Ok((ToTranscribe::Generation(id), None));
    }
    let media = match &wish.media_id {
        None => None,
        Some(id) => {
            let id = parse_id(id, Code::MediaNotFound, "medium")?;
            Some(app.jobs.downloaded(&caller.owner_id, id).await?.ok_or_else(|| not_found(Code::MediaNotFound, "medium"))?)
        }
    };
    let model = app.jobs.choose_transcriber(wish.model.clone(), wish.wish.language.clone()).await?;
    let parent = upload::folder(app).await?;
    let made = tokio::task::spawn_blocking(move || tempfile::Builder::new().prefix("transcribe-").tempdir_in(parent)).await;
    let folder = made.map_err(Problem::internal)?.map_err(upload::written)?;
    let mut held = app.temporary_bytes.reserve(&caller.owner_id, 0)?;
    let (input, field) = match (media, sent) {
        (Some(media), _) => {
            let input = folder.path().join("media");
            let blob = StoredBlob { sha256: media.file.tag, size_bytes: media.file.size_bytes };
            app.storage.blobs.get_file(media.file.key, &blob, &input).await?;
            held.grow(blob.size_bytes)?;
            (input, "media_id".to_owned())
        }
        (None, Some(upload)) => {
            let file = upload.only_file()?;
            (file.path().to_owned(), file.field.clone())
        }
        (None, None) => return Err(Problem::invalid_field("file", "is needed")),
    };
    let file = folder.path().join("sound.wav");
    let duration_ms = decode(app, &input, &field, &file).await?;
    held.grow(tokio::fs::metadata(&file).await.map_err(upload::written)?.len())?;
    Ok((ToTranscribe::Wav { file, model, duration_ms }, Some(Decoded { _folder: folder, _held: held })))
}

async fn decode(app: &App, input: &Path, field: &str, output: &Path) -> Result<u64, Problem> {
    let task = DecodeTask {
        output: output.to_owned(),
        rate_hz: Some(SAMPLE_RATE_HZ),
        mono: true,
        channels_max: None,
        audio_ms_max: app.config.audio_ms_max,
    };
    match app.decode_hosts.run(input, field, HostTask::Decode(task)).await? {
        HostAnswer::Media(facts) if facts.duration_ms == 0 => Err(Problem::invalid_field(field, "holds no sound")),
        HostAnswer::Media(facts) => Ok(facts.duration_ms),
        other => Err(Problem::internal(format!("decode host: {other:?}"))),
    }
}
