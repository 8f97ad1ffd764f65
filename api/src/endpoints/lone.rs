//! What all requests for a job without a generation have in common: the answer, now or when the job has ended, and cancelling.

use jobs::view::JobView;
use salvo::http::StatusCode;
use salvo::oapi::{Components, EndpointOutRegister, Operation};
use salvo::{Depot, Request, Response, Writer, async_trait};

use super::generate::wait_for;
use super::queue::{self, told};
use super::{not_found, parse_id};
use crate::answer::{self, Accepted};
use crate::app::App;
use crate::authenticate::Caller;
use crate::problem::{Code, Problem};
use crate::waiting::Waiting;
use crate::wire::job::Job;
use crate::wire::queue::{CancelAnswer, CancelRequest};

/// The job: on its way, or as it ended for who waited.
#[derive(Debug)]
pub enum JobAnswer {
    Accepted(Box<Accepted<Job>>),
    Done(Box<Job>),
}

#[async_trait]
impl Writer for JobAnswer {
    async fn write(self, _req: &mut Request, _depot: &mut Depot, res: &mut Response) {
        match self {
            Self::Accepted(accepted) => res.render(*accepted),
            Self::Done(job) => answer::json(res, StatusCode::OK, &*job),
        }
    }
}

impl EndpointOutRegister for JobAnswer {
    fn register(components: &mut Components, operation: &mut Operation) {
        Accepted::<Job>::register(components, operation);
        operation.responses.insert("200", answer::described::<Job>("The finished job, for who waited", components));
    }
}

/// 200 when it is done and was waited for, else 202.
pub(super) async fn answer(app: &App, caller: &Caller, waiting: Waiting, view: JobView) -> Result<JobAnswer, Problem> {
    let view = wait_for(app, caller, waiting, view).await?;
    if waiting.wait_s.is_none() || !view.is_final() {
        let location = format!("/api/jobs/{}", view.id);
        return Ok(JobAnswer::Accepted(Box::new(Accepted { body: Job::of(view), location, retry_after_s: None })));
    }
    Ok(JobAnswer::Done(Box::new(Job::of(view))))
}

/// Cancels one job of these calls, or all that the caller has.
pub(super) async fn cancel(app: &App, caller: &Caller, request: CancelRequest, calls: &[&str]) -> Result<CancelAnswer, Problem> {
    let outcomes = match request.task_id {
        Some(id) => {
            let id = parse_id(&id, Code::TaskNotFound, "task")?;
            if !app.jobs.is_lone(&caller.owner_id, id, calls).await? {
                return Err(not_found(Code::TaskNotFound, "task"));
            }
            vec![(id, queue::cancel(app, caller, id, Code::TaskNotFound, "task").await?)]
        }
        None => app.jobs.cancel_lone(&caller.owner_id, calls).await?,
    };
    Ok(told(&outcomes))
}
