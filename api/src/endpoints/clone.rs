//! Making a voice of recordings: one, several, or parts of some; each file is read by a process of its own before anything is stored.

use std::path::{Path, PathBuf};

use jobs::recordings::{CloneOrder, KEPT_MS_MAX, RecordedPart};
use salvo::Writer;
use salvo::oapi::endpoint;
use serde_json::json;
use tempfile::TempDir;

use super::generate::job_of_before;
use super::lone::{self, JobAnswer};
use super::voices;
use crate::answer::Reply;
use crate::app::App;
use crate::authenticate::Caller;
use crate::body::OptionalJsonRequest;
use crate::clone_form::{self, Call, CloneWish};
use crate::decode_host::{DecodeTask, HostAnswer, HostTask};
use crate::problem::Problem;
use crate::temporary_bytes::Reservation;
use crate::upload::{self, MultipartRequest, Upload, UploadedFile};
use crate::waiting::{Asking, Waiting};
use crate::wire::clone::{CloneClipsForm, CloneForm, CloneMultiForm};
use crate::wire::queue::{CancelAnswer, CancelRequest};
use crate::wire::time::rfc3339;

const CALL: &str = "clone.create";
/// What engines hear.
const RATE_HZ: u32 = 24_000;
/// Of a file of which parts are kept.
const CLIPPED_MS_MAX: u64 = 60 * 60 * 1_000;
/// A recording of one voice.
const CHANNELS_MAX: u16 = 2;

/// Create voice clone (single sample)
///
/// The voice is there at once, and can speak when the job is done. Its result tells how good the recording was.
#[endpoint(operation_id = "create_clone")]
pub async fn create(
    app: App,
    caller: Caller,
    waiting: Waiting,
    asking: Asking,
    form: MultipartRequest<CloneForm>,
) -> Result<JobAnswer, Problem> {
    make(&app, &caller, waiting, asking, &form.upload, Call::Single).await
}

/// Create voice clone (multi-sample)
///
/// Several recordings of one voice, each as long as it counts.
#[endpoint(operation_id = "create_clone_multi")]
pub async fn create_multi(
    app: App,
    caller: Caller,
    waiting: Waiting,
    asking: Asking,
    form: MultipartRequest<CloneMultiForm>,
) -> Result<JobAnswer, Problem> {
    make(&app, &caller, waiting, asking, &form.upload, Call::Multi).await
}

/// Create voice clone (multi-clip with regions)
///
/// Parts of recordings, each with a weight; what lies outside of them is not kept.
#[endpoint(operation_id = "create_clone_clips")]
pub async fn create_clips(
    app: App,
    caller: Caller,
    waiting: Waiting,
    asking: Asking,
    form: MultipartRequest<CloneClipsForm>,
) -> Result<JobAnswer, Problem> {
    make(&app, &caller, waiting, asking, &form.upload, Call::Clips).await
}

/// Cancel clone creation
///
/// `{}` cancels all that the caller has waiting or running. The voice and its recordings are gone then.
#[endpoint(operation_id = "cancel_clone")]
pub async fn cancel(app: App, caller: Caller, body: OptionalJsonRequest<CancelRequest>) -> Result<Reply<CancelAnswer>, Problem> {
    lone::cancel(&app, &caller, body.0, &[CALL]).await.map(Reply)
}

async fn make(app: &App, caller: &Caller, waiting: Waiting, asking: Asking, upload: &Upload, call: Call) -> Result<JobAnswer, Problem> {
    let view = match job_of_before(app, caller, &asking).await? {
        Some(view) => view,
        None => {
            let wish = clone_form::read(upload, call)?;
            let decoded = Decoded::of(app, caller, upload, &wish, call).await?;
            let order = order_of(app, caller, wish, &decoded, asking).await?;
            app.jobs.clone_voice(&caller.owner_id, order).await?
        }
    };
    lone::answer(app, caller, waiting, view).await
}

async fn order_of(app: &App, caller: &Caller, wish: CloneWish, decoded: &Decoded, asking: Asking) -> Result<CloneOrder, Problem> {
    let mut facts = wish.facts;
    if let Some(wanted) = wish.category {
        let mut tx = app.storage.rows.begin().await?;
        facts.category = voices::category(&mut tx, Some(wanted)).await?.map_err(|message| Problem::invalid_field("category", message))?;
    }
    let consent = json!({"given": true, "at": rfc3339(app.clock.now_ms()), "key_id": caller.key_id});
    let part = |part: clone_form::Part| RecordedPart {
        wav: decoded.path(part.file_index),
        field: part.field,
        range_ms: part.range_ms,
        transcript: part.transcript,
        weight: part.weight,
    };
    Ok(CloneOrder {
        facts,
        consent: consent.to_string(),
        denoise: wish.denoise,
        parts: wish.parts.into_iter().map(part).collect(),
        idempotency: asking.once.map(|once| once.key),
        trace: asking.trace,
    })
}

/// The recordings in the form that engines hear; they go with the value.
struct Decoded {
    folder: TempDir,
    _held: Reservation,
}

impl Decoded {
    fn path(&self, index: usize) -> PathBuf {
        path_in(self.folder.path(), index)
    }

    async fn of(app: &App, caller: &Caller, upload: &Upload, wish: &CloneWish, call: Call) -> Result<Self, Problem> {
        let parent = upload::folder(app).await?;
        let made = tokio::task::spawn_blocking(move || tempfile::Builder::new().prefix("clone-").tempdir_in(parent)).await;
        let folder = made.map_err(Problem::internal)?.map_err(upload::written)?;
        let mut held = app.temporary_bytes.reserve(&caller.owner_id, 0)?;
        let longest_ms = if call == Call::Clips { CLIPPED_MS_MAX } else { KEPT_MS_MAX };
        for (index, file) in upload.files.iter().enumerate() {
            let named = match call {
                Call::Single => file.field.clone(),
                Call::Multi | Call::Clips => format!("files[{index}]"),
            };
            if wish.parts.iter().any(|part| part.file_index == index) {
                let output = path_in(folder.path(), index);
                decode(app, file, &named, &output, longest_ms.min(app.config.audio_ms_max)).await?;
                held.grow(tokio::fs::metadata(&output).await.map_err(upload::written)?.len())?;
            }
        }
        Ok(Self { folder, _held: held })
    }
}

fn path_in(folder: &Path, index: usize) -> PathBuf {
    folder.join(format!("{index}.wav"))
}

async fn decode(app: &App, file: &UploadedFile, named: &str, output: &Path, audio_ms_max: u64) -> Result<(), Problem> {
    let task = DecodeTask { output: output.to_owned(), rate_hz: Some(RATE_HZ), mono: true, channels_max: Some(CHANNELS_MAX), audio_ms_max };
    match app.decode_hosts.run(file.path(), named, HostTask::Decode(task)).await? {
        HostAnswer::Media(_) => Ok(()),
        other => Err(Problem::internal(format!("decode host: {other:?}"))),
    }
}
