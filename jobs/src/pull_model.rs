//! The job that fetches a model from the hub onto the disk of the node that runs it. What was fetched stays there through stops and crashes, so
//! another run goes on where the last one ended. This file may not know the hub's protocol.

use std::ops::ControlFlow;
use std::pin::pin;
use std::time::Duration;

use models::folder::FolderError;
use models::hub::{Hub, HubError};
use models::library::Library;
use models::lock::LockFile;
use models::manifest::Manifest;
use models::pull::{Progress, PullConfig, PullError, pull};
use serde::{Deserialize, Serialize};
use serde_json::json;
use storage::idempotency::IdempotencyKey;
use tokio::sync::watch;
use uuid::Uuid;

use crate::Jobs;
use crate::job::{Committed, JobContext, JobError, QUEUE_IO};
use crate::lone::{self, LoneKind, NewLone};
use crate::submission::{SubmitError, TraceContext};
use crate::view::JobView;

/// Between two stored events of a pull.
const TOLD_EACH: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PullModel {
    pub model_id: String,
}

impl PullModel {
    pub(crate) const NAME: &str = "pull_model";
    pub(crate) const SHOWN_AS: &str = "models.pull";
    pub(crate) const QUEUE: &str = QUEUE_IO;
    pub(crate) const ATTEMPTS_MAX: i64 = 10;
    pub(crate) const TIMEOUT_MS: u64 = 24 * 60 * 60 * 1_000;

    pub(crate) async fn run(&self, context: &JobContext) -> Result<Committed, JobError> {
        let library = context.library.clone().ok_or_else(|| JobError::Discard("this worker keeps no models".into()))?;
        let manifest = library.catalogue.get(&self.model_id);
        let manifest = manifest.ok_or_else(|| JobError::Discard(format!("the catalogue of this worker has no {}", self.model_id)))?;
        lone::started(context, "pulling").await?;
        let lock = fetch(context, &library, manifest).await?;
        let result = json!({"model": lock.id, "size_bytes": lock.size_bytes(), "files": lock.files.len()});
        let mut tx = context.begin_finish(Some(&result.to_string())).await?;
        lone::completed(&mut tx, context, result, context.now_ms()).await?;
        context.commit(tx, "pull.before_commit", "pull.after_commit").await
    }
}

/// Tells of the way about once a second; stops at the next piece, or at once where none comes.
async fn fetch(context: &JobContext, library: &Library, manifest: &Manifest) -> Result<LockFile, JobError> {
    let hub = Hub::new(library.hub.clone()).map_err(PullError::from).map_err(job_error)?;
    let (share, mut seen) = watch::channel(0.0);
    let token = context.token.clone();
    let mut on_progress = |progress: Progress| {
        share.send_replace(progress.done_bytes as f64 / progress.total_bytes.max(1) as f64);
        if token.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let mut pulling = pin!(pull(&hub, manifest, &library.folder, PullConfig::default(), context.now_ms(), &mut on_progress));
    let mut ticks = tokio::time::interval(TOLD_EACH);
    loop {
        tokio::select! {
            pulled = &mut pulling => return pulled.map_err(job_error),
            () = context.token.cancelled() => return Err(JobError::Stopped),
            _ = ticks.tick() => if seen.has_changed().unwrap_or(false) {
                let share = *seen.borrow_and_update();
                lone::progress(context, "pulling", share).await?;
            },
        }
    }
}

/// What the queue does next.
fn job_error(error: PullError) -> JobError {
    match error {
        PullError::Stopped => JobError::Stopped,
        PullError::Hub(HubError::Forbidden { .. } | HubError::NotFound { .. } | HubError::Unusable { .. }) | PullError::NoSum { .. } => {
            JobError::Discard(error.to_string())
        }
        PullError::Folder(FolderError::Busy(_)) => JobError::Wait(error.to_string()),
        PullError::Io(io) if io.kind() == std::io::ErrorKind::StorageFull => JobError::Wait("the disk of the models is full".into()),
        PullError::Hub(_) | PullError::WrongBytes { .. } | PullError::Folder(_) | PullError::Io(_) => JobError::Retry(error.to_string()),
    }
}

/// What a caller asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct PullOrder {
    /// Of the catalogue.
    pub model_id: String,
    pub idempotency: Option<IdempotencyKey>,
    pub trace: TraceContext,
}

impl Jobs {
    /// Accepts a model to be fetched. While the same caller's is on its way, that is the answer.
    pub async fn pull_model(&self, owner_id: &str, order: PullOrder) -> Result<JobView, SubmitError> {
        self.check_lone_room(owner_id).await?;
        let data = json!({"model": order.model_id});
        let new = NewLone {
            id: Uuid::now_v7(),
            dedupe_key: Some(format!("pull/{owner_id}/{}", order.model_id)),
            kind: LoneKind::Pull(PullModel { model_id: order.model_id }),
            owner_id: owner_id.to_owned(),
            idempotency: order.idempotency,
            trace: order.trace,
            data,
        };
        let id = self.accept_once(&new).await?;
        self.job(owner_id, id).await?.ok_or(SubmitError::TaskNotFound(id))
    }
}
