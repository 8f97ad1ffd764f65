//! Translating texts by a model on this machine.

use jobs::translate_text::{SHORT_CHARS, TranslateAnswer};
use salvo::http::StatusCode;
use salvo::oapi::{Components, EndpointOutRegister, Operation, ToSchema, endpoint};
use salvo::{Depot, Request, Response, Writer, async_trait};
use serde::Serialize;

use super::generate::{job_of_before, wait_for};
use crate::answer::{self, Accepted};
use crate::app::App;
use crate::authenticate::Caller;
use crate::body::JsonRequest;
use crate::problem::Problem;
use crate::waiting::{Asking, Waiting};
use crate::wire::job::Job;
use crate::wire::translate::{TranslateRequest, Translation, Untranslated};

/// So long a caller with a short text is kept waiting who has not said how long.
const SHORT_WAIT_S: u64 = 20;

/// The translation, with the job that made it, if one was needed.
#[derive(Debug, Serialize, ToSchema)]
pub struct Translated {
    /// Of `text`; absent where the job failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub translation: Option<String>,
    /// Of `texts`, in their order; absent where the job failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub translations: Option<Vec<String>>,
    /// As it was given, or found; null where there are no words.
    pub source: Option<String>,
    pub target: String,
    /// `madlad` or `qwen3`; null where there was nothing to translate.
    pub engine: Option<String>,
    pub model: Option<String>,
    /// Sentences that the model could not translate; they stand in the answer as they were.
    pub untranslated: Vec<Untranslated>,
    pub job: Option<Job>,
}

impl Translated {
    /// `made`: `None` of a job that failed.
    fn of(made: Option<Translation>, target: String, job: Option<Job>) -> Self {
        match made {
            Some(Translation { translation, translations, source, target, engine, model, untranslated }) => {
                Self { translation, translations, source, target, engine, model, untranslated, job }
            }
            None => Self {
                translation: None,
                translations: None,
                source: None,
                target,
                engine: None,
                model: None,
                untranslated: Vec::new(),
                job,
            },
        }
    }
}

/// Done, or on its way.
#[derive(Debug)]
pub enum Translating {
    Done(Box<Translated>),
    Accepted(Box<Accepted<Job>>),
}

#[async_trait]
impl Writer for Translating {
    async fn write(self, _req: &mut Request, _depot: &mut Depot, res: &mut Response) {
        match self {
            Self::Accepted(accepted) => res.render(*accepted),
            Self::Done(translated) => answer::json(res, StatusCode::OK, &*translated),
        }
    }
}

impl EndpointOutRegister for Translating {
    fn register(components: &mut Components, operation: &mut Operation) {
        Accepted::<Job>::register(components, operation);
        let done = "The translation of a short text, or of one that was waited for; without one where the job failed";
        operation.responses.insert("200", answer::described::<Translated>(done, components));
    }
}

/// Translate text between languages
///
/// Short texts are answered at once; longer ones are a job, whose events tell each sentence. A sentence that the model can't translate stays as it
/// is and is listed under `untranslated`.
#[endpoint(operation_id = "translate")]
pub async fn translate(
    app: App,
    caller: Caller,
    waiting: Waiting,
    asking: Asking,
    body: JsonRequest<TranslateRequest>,
) -> Result<Translating, Problem> {
    let before = job_of_before(&app, &caller, &asking).await?;
    let order = body.0.into_order(asking)?;
    let target = order.target.clone();
    let chars: usize = order.texts.iter().map(|text| text.chars().count()).sum();
    let short = (chars <= SHORT_CHARS).then_some(SHORT_WAIT_S);
    let waiting = Waiting { wait_s: waiting.wait_s.or(short), ..waiting };
    let view = match before {
        Some(view) => view,
        None => match app.jobs.translate(&caller.owner_id, order).await? {
            TranslateAnswer::Job(view) => *view,
            TranslateAnswer::AsItIs(value) => {
                let made = serde_json::from_value(value).map_err(Problem::internal)?;
                return Ok(Translating::Done(Box::new(Translated::of(Some(made), target, None))));
            }
        },
    };
    let view = wait_for(&app, &caller, waiting, view).await?;
    if waiting.wait_s.is_none() || !view.is_final() {
        let location = format!("/api/jobs/{}", view.id);
        return Ok(Translating::Accepted(Box::new(Accepted { body: Job::of(view), location, retry_after_s: None })));
    }
    let made = view.result.clone().and_then(|result| serde_json::from_value(result).ok());
    Ok(Translating::Done(Box::new(Translated::of(made, target, Some(Job::of(view))))))
}
