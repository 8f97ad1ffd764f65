//! Fetching the sound of a film from a URL, by a job that reaches other people's hosts and no others.

use salvo::Writer;
use salvo::oapi::endpoint;

use super::generate::job_of_before;
use super::lone::{self, JobAnswer};
use crate::app::App;
use crate::authenticate::Caller;
use crate::body::JsonRequest;
use crate::problem::Problem;
use crate::waiting::{Asking, Waiting};
use crate::wire::download::DownloadRequest;

/// Download audio from video URL
///
/// The best sound there is of a film, a song or a sound file, as far as yt-dlp knows the site. What was fetched is kept for a week.
#[endpoint(operation_id = "download_video")]
pub async fn download_video(
    app: App,
    caller: Caller,
    waiting: Waiting,
    asking: Asking,
    body: JsonRequest<DownloadRequest>,
) -> Result<JobAnswer, Problem> {
    let view = match job_of_before(&app, &caller, &asking).await? {
        Some(view) => view,
        None => {
            let order = body.0.into_order(asking)?;
            app.jobs.request_download(&caller.owner_id, order, &app.config.download_addresses()).await?
        }
    };
    lone::answer(&app, &caller, waiting, view).await
}
