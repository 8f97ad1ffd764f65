//! The queue: what runs, what waits, and stopping it.

use jobs::view::CancelOutcome;
use salvo::Writer;
use salvo::oapi::endpoint;
use uuid::Uuid;

use super::{not_found, parse_id};
use crate::answer::Reply;
use crate::app::App;
use crate::authenticate::Caller;
use crate::body::{JsonRequest, OptionalJsonRequest};
use crate::problem::{Code, Problem};
use crate::wire::queue::{CancelAnswer, CancelRequest, JobCancelAnswer, JobCancelRequest, QueueStatus};

/// GPU queue status
///
/// The caller's jobs; of other keys only the number.
#[endpoint(operation_id = "queue_status")]
pub async fn queue_status(app: App, caller: Caller) -> Result<Reply<QueueStatus>, Problem> {
    Ok(Reply(QueueStatus::of(app.jobs.queue(&caller.owner_id).await?)))
}

/// Cancel ongoing generation
///
/// `{}` cancels everything the caller has running or waiting.
#[endpoint(operation_id = "cancel_generation")]
pub async fn cancel_generation(app: App, caller: Caller, body: OptionalJsonRequest<CancelRequest>) -> Result<Reply<CancelAnswer>, Problem> {
    let outcomes = match body.0.task_id {
        Some(id) => {
            let id = parse_id(&id, Code::TaskNotFound, "task")?;
            // Others are cancelled with the scope of what they were asked for.
            if app.jobs.is_lone(&caller.owner_id, id, &[]).await? {
                return Err(not_found(Code::TaskNotFound, "task"));
            }
            vec![(id, cancel(&app, &caller, id, Code::TaskNotFound, "task").await?)]
        }
        None => app.jobs.cancel_current(&caller.owner_id).await?,
    };
    Ok(Reply(told(&outcomes)))
}

/// One that ended between the look and the cancel was not cancelled by us.
pub(super) fn told(outcomes: &[(Uuid, CancelOutcome)]) -> CancelAnswer {
    let stopped = |outcome: &CancelOutcome| matches!(outcome, CancelOutcome::Cancelled | CancelOutcome::Cancelling);
    let cancelled: Vec<&(Uuid, CancelOutcome)> = outcomes.iter().filter(|(_, outcome)| stopped(outcome)).collect();
    let running = cancelled.iter().any(|(_, outcome)| *outcome == CancelOutcome::Cancelling);
    CancelAnswer {
        cancelled: cancelled.iter().map(|(id, _)| id.to_string()).collect(),
        state: if running { "cancelling" } else { "cancelled" }.into(),
    }
}

/// Cancel a queued job
#[endpoint(operation_id = "cancel_job")]
pub async fn cancel_job(app: App, caller: Caller, body: JsonRequest<JobCancelRequest>) -> Result<Reply<JobCancelAnswer>, Problem> {
    let id = body.0.job_id.ok_or_else(|| Problem::invalid_field("job_id", "is needed"))?;
    let id = parse_id(&id, Code::JobNotFound, "job")?;
    let outcome = cancel(&app, &caller, id, Code::JobNotFound, "job").await?;
    let status = if outcome == CancelOutcome::Cancelling { "cancelling" } else { "cancelled" };
    Ok(Reply(JobCancelAnswer { job_id: id.to_string(), status: status.into() }))
}

/// Cancels one; what is not there and what has ended are problems.
pub(super) async fn cancel(app: &App, caller: &Caller, id: Uuid, code: Code, what: &str) -> Result<CancelOutcome, Problem> {
    match app.jobs.cancel(&caller.owner_id, id).await? {
        CancelOutcome::NotFound => Err(not_found(code, what)),
        CancelOutcome::AlreadyFinal => Err(Problem::new(Code::NotCancellable, format!("the {what} has ended already"))),
        outcome => Ok(outcome),
    }
}
