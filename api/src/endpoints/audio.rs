//! Sound files of the caller, looked at in a process of their own.

use salvo::Writer;
use salvo::oapi::endpoint;

use crate::answer::Reply;
use crate::app::App;
use crate::decode_host::{HostAnswer, HostTask};
use crate::problem::Problem;
use crate::upload::MultipartRequest;
use crate::wire::audio::{AudioDuration, AudioForm};

/// Get audio file duration
///
/// From the file's header where that can be trusted, else by decoding it.
#[endpoint(operation_id = "audio_duration")]
pub async fn audio_duration(app: App, form: MultipartRequest<AudioForm>) -> Result<Reply<AudioDuration>, Problem> {
    let file = form.upload.only_file()?;
    let task = HostTask::Probe { audio_ms_max: app.config.audio_ms_max };
    match app.decode_hosts.run(file.path(), &file.field, task).await? {
        HostAnswer::Media(facts) => Ok(Reply(facts.into())),
        other => Err(Problem::internal(format!("decode host: {other:?}"))),
    }
}
