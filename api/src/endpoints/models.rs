//! The models that can be had and those that lie here, and fetching one as a job.

use jobs::pull_model::PullOrder;
use salvo::Writer;
use salvo::oapi::endpoint;
use storage::StorageError;

use super::generate::job_of_before;
use super::lone::{self, JobAnswer};
use crate::answer::Reply;
use crate::app::App;
use crate::authenticate::Caller;
use crate::body::JsonRequest;
use crate::problem::Problem;
use crate::waiting::{Asking, Waiting};
use crate::wire::model::{Model, ModelList, PullRequest};

/// List models
#[endpoint(operation_id = "list_models")]
pub async fn list(app: App) -> Result<Reply<ModelList>, Problem> {
    let library = app.library.clone();
    let looked = tokio::task::spawn_blocking(move || {
        let shown = library.shown()?;
        Ok(shown.into_iter().map(|(manifest, lock)| Model::of(manifest, lock.as_ref())).collect())
    });
    let models: Result<Vec<Model>, models::folder::FolderError> = looked.await.map_err(Problem::internal)?;
    Ok(Reply(ModelList { models: models.map_err(|error| StorageError::Internal(error.to_string()))? }))
}

/// Pull a model
///
/// The job goes on where an earlier one ended, also after a restart, and checks every byte against what the hub says. Of equal ones of a caller
/// there is one at a time.
#[endpoint(operation_id = "pull_model")]
pub async fn pull(
    app: App,
    caller: Caller,
    waiting: Waiting,
    asking: Asking,
    body: JsonRequest<PullRequest>,
) -> Result<JobAnswer, Problem> {
    let view = match job_of_before(&app, &caller, &asking).await? {
        Some(view) => view,
        None => {
            let wanted = body.0.model.ok_or_else(|| Problem::invalid_field("model", "is needed: an id of GET /api/models"))?;
            let known = app.library.catalogue.get(&wanted).map(|manifest| manifest.id.clone());
            let model_id = known.ok_or_else(|| Problem::invalid_field("model", "is no id of GET /api/models"))?;
            let order = PullOrder { model_id, idempotency: asking.once.map(|once| once.key), trace: asking.trace };
            app.jobs.pull_model(&caller.owner_id, order).await?
        }
    };
    lone::answer(&app, &caller, waiting, view).await
}
