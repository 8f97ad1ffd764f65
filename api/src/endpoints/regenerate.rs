//! Making one chunk of a generation again.

use salvo::Writer;
use salvo::oapi::endpoint;
use storage::chunks::ChunkId;

use super::chunk_audio;
use super::generate::{SpeechAnswer, finish, job_of_before, wait_for};
use crate::app::App;
use crate::authenticate::Caller;
use crate::body::JsonRequest;
use crate::problem::{Code, Problem};
use crate::waiting::{Asking, Waiting};
use crate::wire::job::Job;
use crate::wire::speech::RegenerateRequest;

/// Regenerate a single chunk
///
/// The new take stands beside the old ones and is what the next merge uses; the merged file there is stays and is `stale`.
#[endpoint(operation_id = "regenerate_chunk")]
pub async fn regenerate_chunk(
    app: App,
    caller: Caller,
    waiting: Waiting,
    asking: Asking,
    body: JsonRequest<RegenerateRequest>,
) -> Result<SpeechAnswer<Job>, Problem> {
    let before = job_of_before(&app, &caller, &asking).await?;
    let mut order = body.0.into_order(asking.trace)?;
    let (generation_id, index) = (order.task_id, order.index);
    order.idempotency = asking.once.map(|once| once.key);
    let view = match before {
        Some(view) => view,
        None => app.jobs.regenerate_chunk(&caller.owner_id, order).await?,
    };
    let view = wait_for(&app, &caller, waiting, view).await?;
    let take = view.result.as_ref().and_then(|result| result["take"].as_u64()).and_then(|take| u32::try_from(take).ok());
    let audio = async {
        let take = take.ok_or_else(|| Problem::new(Code::AudioNotFound, "the job has made no take"))?;
        chunk_audio::finished(&app, &caller, ChunkId { generation_id, index, take }).await
    };
    finish(waiting, view, audio, |job| job).await
}
