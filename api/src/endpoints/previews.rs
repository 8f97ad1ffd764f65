//! A few words in a voice, to be made and to be heard.

use jobs::preview_voice::kept_under;
use salvo::Writer;
use salvo::oapi::endpoint;
use salvo::oapi::extract::PathParam;
use storage::voice_previews::{self, Preview};
use uuid::Uuid;

use super::generate::{SpeechAnswer, job_of_before, wait_for};
use super::voices::find_stored;
use crate::answer::Accepted;
use crate::app::App;
use crate::authenticate::Caller;
use crate::body::OptionalJsonRequest;
use crate::file_answer::FileAnswer;
use crate::file_name::content_disposition;
use crate::problem::{Code, Problem};
use crate::waiting::{Asking, Waiting};
use crate::wire::design::PreviewRequest;
use crate::wire::job::Job;
use crate::wire::voice::VoicePreview;

/// Generate voice preview
///
/// It becomes the voice's preview; equal ones are made once.
#[endpoint(operation_id = "generate_preview")]
pub async fn generate(
    app: App,
    caller: Caller,
    id: PathParam<String>,
    waiting: Waiting,
    asking: Asking,
    body: OptionalJsonRequest<PreviewRequest>,
) -> Result<SpeechAnswer<Job>, Problem> {
    let voice_id = changeable(&app, &caller, &id).await?;
    let view = match job_of_before(&app, &caller, &asking).await? {
        Some(view) => view,
        None => app.jobs.preview_voice(&caller.owner_id, body.0.into_order(voice_id.clone(), asking)?).await?,
    };
    let view = wait_for(&app, &caller, waiting, view).await?;
    if waiting.wait_s.is_none() || !view.is_final() {
        let location = format!("/api/jobs/{}", view.id);
        return Ok(SpeechAnswer::Accepted(Accepted { body: Job::of(view), location, retry_after_s: None }));
    }
    if !waiting.audio {
        return Ok(SpeechAnswer::Done(Job::of(view)));
    }
    if let Some(error) = view.error {
        return Err(Problem::new(Code::GenerationFailed, format!("job {}: {}", view.id, error.detail)));
    }
    let made = view.result.as_ref().and_then(|result| Uuid::parse_str(result["preview_id"].as_str()?).ok());
    let made = made.ok_or_else(|| Problem::new(Code::Conflict, format!("job {} was cancelled", view.id)))?;
    heard(&app, &voice_id, |preview| preview.id == made).await.map(SpeechAnswer::Audio)
}

/// The id of a preset, or of a stored voice that the caller may change.
async fn changeable(app: &App, caller: &Caller, id: &str) -> Result<String, Problem> {
    if let Some(preset) = app.jobs.preset(id) {
        return Ok(preset.id);
    }
    let voice = find_stored(app, caller, id).await?;
    if voice.owner_id != caller.owner_id {
        return Err(Problem::new(Code::ReadOnly, "the voice belongs to another key, which shares it for reading"));
    }
    Ok(voice.id.to_string())
}

/// A preview of a voice, also one that is not shown
#[endpoint(operation_id = "get_voice_preview_by_id")]
pub async fn get(app: App, caller: Caller, id: PathParam<String>, preview_id: PathParam<String>) -> Result<FileAnswer, Problem> {
    let voice_id = match app.jobs.preset(&id) {
        Some(preset) => preset.id,
        None => find_stored(&app, &caller, &id).await?.id.to_string(),
    };
    let wanted = Uuid::parse_str(preview_id.trim()).ok();
    heard(&app, &voice_id, |preview| Some(preview.id) == wanted).await
}

pub(super) async fn of_voice(app: &App, voice_id: &str) -> Result<Vec<VoicePreview>, Problem> {
    let previews = voice_previews::list(app.storage.rows.read(), kept_under(voice_id)).await?;
    Ok(previews.into_iter().map(|preview| VoicePreview::of(preview, voice_id)).collect())
}

/// The newest that fits.
pub(super) async fn heard(app: &App, voice_id: &str, fits: impl Fn(&Preview) -> bool) -> Result<FileAnswer, Problem> {
    let previews = voice_previews::list(app.storage.rows.read(), kept_under(voice_id)).await?;
    let preview = previews.into_iter().rev().find(fits);
    let preview =
        preview.ok_or_else(|| Problem::new(Code::AudioNotFound, "the voice has no such preview; POST generate-preview makes one"))?;
    let disposition = content_disposition(None, &format!("preview-{}", preview.id), "wav");
    Ok(FileAnswer::blob(preview.blob_key(), &preview.blob.sha256, preview.blob.size_bytes, "audio/wav", disposition))
}
