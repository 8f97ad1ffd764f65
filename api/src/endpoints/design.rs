//! Making a voice of a description: variants to listen to, of which one is picked.

use jobs::design_voice::PickError;
use salvo::http::StatusCode;
use salvo::oapi::{Components, EndpointOutRegister, Operation, endpoint};
use salvo::{Depot, Request, Response, Writer, async_trait};
use uuid::Uuid;

use super::generate::job_of_before;
use super::lone::{self, JobAnswer};
use super::voices::{find_stored, no_voice};
use crate::answer::{self, Accepted, Reply};
use crate::app::App;
use crate::authenticate::Caller;
use crate::body::{JsonRequest, OptionalJsonRequest};
use crate::problem::{Code, Problem};
use crate::waiting::{Asking, Waiting};
use crate::wire::design::{DesignReply, DesignRequest, DesignWish, PickedVariant};
use crate::wire::job::Job;
use crate::wire::queue::{CancelAnswer, CancelRequest};

const CALL: &str = "design.create";

/// The job of a design, or what was picked.
#[derive(Debug)]
pub enum DesignAnswer {
    Job(JobAnswer),
    Picked(PickedVariant),
}

#[async_trait]
impl Writer for DesignAnswer {
    async fn write(self, req: &mut Request, depot: &mut Depot, res: &mut Response) {
        match self {
            Self::Job(job) => job.write(req, depot, res).await,
            Self::Picked(picked) => answer::json(res, StatusCode::OK, &picked),
        }
    }
}

impl EndpointOutRegister for DesignAnswer {
    fn register(components: &mut Components, operation: &mut Operation) {
        Accepted::<Job>::register(components, operation);
        let done = answer::described::<DesignReply>("The finished job, for who waited; the variant that was picked", components);
        operation.responses.insert("200", done);
    }
}

impl From<PickError> for Problem {
    fn from(error: PickError) -> Self {
        match error {
            PickError::VoiceNotFound(_) => no_voice(),
            PickError::ReadOnly(_) => Self::new(Code::ReadOnly, "the voice belongs to another key, which shares it for reading"),
            PickError::NotMade(_) => Self::new(Code::Conflict, "the voice is not made yet: wait for its job").retry_after(2),
            PickError::NoVariant { .. } => {
                Self::new(Code::AudioNotFound, "the voice has no such variant; the result of its job lists them as previews")
            }
            PickError::Storage(error) => error.into(),
        }
    }
}

/// Create voice from description
///
/// Each variant says a sentence. The voice is the first of them, until `{"voice_id", "preview_id"}` picks another.
#[endpoint(operation_id = "create_design")]
pub async fn create(
    app: App,
    caller: Caller,
    waiting: Waiting,
    asking: Asking,
    body: JsonRequest<DesignRequest>,
) -> Result<DesignAnswer, Problem> {
    let before = job_of_before(&app, &caller, &asking).await?;
    let view = match (before, body.0.into_wish(asking)?) {
        (Some(view), _) => view,
        (None, DesignWish::Make(order)) => app.jobs.design_voice(&caller.owner_id, *order).await?,
        (None, DesignWish::Pick { voice_id, preview_id }) => {
            return pick(&app, &caller, &voice_id, preview_id.as_deref()).await.map(DesignAnswer::Picked);
        }
    };
    lone::answer(&app, &caller, waiting, view).await.map(DesignAnswer::Job)
}

async fn pick(app: &App, caller: &Caller, voice_id: &str, preview_id: Option<&str>) -> Result<PickedVariant, Problem> {
    let voice_id = find_stored(app, caller, voice_id).await?.id;
    let preview_id = preview_id.ok_or_else(|| Problem::invalid_field("preview_id", "is needed: the variant that the voice shall be"))?;
    // What is no id names no variant.
    let preview_id = Uuid::parse_str(preview_id.trim()).unwrap_or_default();
    let voice = app.jobs.pick_variant(&caller.owner_id, voice_id, preview_id).await?;
    let voice_url = format!("/api/voices/{voice_id}");
    let audio_url = format!("{voice_url}/previews/{preview_id}");
    Ok(PickedVariant { voice_id: voice_id.to_string(), preview_id: preview_id.to_string(), name: voice.name, voice_url, audio_url })
}

/// Cancel design creation
///
/// `{}` cancels all that the caller has waiting or running. The voice is gone then.
#[endpoint(operation_id = "cancel_design")]
pub async fn cancel(app: App, caller: Caller, body: OptionalJsonRequest<CancelRequest>) -> Result<Reply<CancelAnswer>, Problem> {
    lone::cancel(&app, &caller, body.0, &[CALL]).await.map(Reply)
}
