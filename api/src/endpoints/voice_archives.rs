//! Voices as a file: export, a look at an archive, import.

use std::collections::BTreeSet;
use std::sync::Arc;

use salvo::extract::{Extractible, Metadata};
use salvo::http::StatusCode;
use salvo::http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use salvo::oapi::{self, Components, EndpointArgRegister, EndpointOutRegister, Operation, endpoint};
use salvo::{Depot, Request, Response, Writer, async_trait};
use storage::voices::{self, Voice};
use tempfile::TempPath;
use tokio_util::io::ReaderStream;
use uuid::Uuid;

use super::voices::{find_stored, no_voice};
use crate::answer::Created;
use crate::app::App;
use crate::archive::CONTENT_TYPE as ARCHIVE_TYPE;
use crate::authenticate::Caller;
use crate::body::JsonRequest;
use crate::export_voices::{self, ExportWish};
use crate::file_answer;
use crate::file_name::content_disposition;
use crate::import_voices::{self, ImportWish};
use crate::imports::{self, KEPT_MS, Pending};
use crate::problem::{Code, Problem};
use crate::temporary_bytes::Reservation;
use crate::upload::{self, MultipartRequest, Upload};
use crate::wire::time::rfc3339;
use crate::wire::voice_archive::{
    ArchiveEntry, ArchiveForm, Conflict, ExportRequest, ImportForm, ImportPreview, ImportReport, ImportRequest, OnConflict,
};

const EXPORTED_MAX: u32 = 1_000;

/// An archive on its way to the caller; its file goes with it.
#[derive(Debug)]
pub struct ArchiveAnswer {
    path: TempPath,
    size_bytes: u64,
    disposition: String,
    held: Reservation,
}

#[async_trait]
impl Writer for ArchiveAnswer {
    async fn write(self, _req: &mut Request, _depot: &mut Depot, res: &mut Response) {
        let file = match tokio::fs::File::open(&self.path).await {
            Ok(file) => file,
            Err(error) => return res.render(upload::written(error)),
        };
        res.status_code(StatusCode::OK);
        let headers = res.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(ARCHIVE_TYPE));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(self.size_bytes));
        if let Ok(disposition) = HeaderValue::from_str(&self.disposition) {
            headers.insert(CONTENT_DISPOSITION, disposition);
        }
        let kept = (self.path, self.held);
        res.stream(futures::StreamExt::map(ReaderStream::new(file), move |piece| {
            let _ = &kept;
            piece
        }));
    }
}

impl EndpointOutRegister for ArchiveAnswer {
    fn register(_components: &mut Components, operation: &mut Operation) {
        file_answer::document(operation, &[ARCHIVE_TYPE]);
        operation.responses.remove("206");
        operation.responses.remove("304");
    }
}

/// Export voices (.clonyvoice)
#[endpoint(operation_id = "export_voices")]
pub async fn export(app: App, caller: Caller, request: JsonRequest<ExportRequest>) -> Result<ArchiveAnswer, Problem> {
    let request = request.0;
    let chosen = choose(&app, &caller, &request.voice_ids).await?;
    let name = if let [voice] = chosen.as_slice() { voice.name.clone() } else { "voices".into() };
    let wish = ExportWish { with_samples: request.include_samples, with_preview: request.include_preview };
    let planned = export_voices::plan(&app, &chosen, wish).await?;
    let held = app.temporary_bytes.reserve(&caller.owner_id, planned.size_bytes)?;
    let (path, size_bytes) = export_voices::write(&app, planned).await?;
    let disposition = content_disposition(Some(&name), "voices", "clonyvoice").replacen("inline", "attachment", 1);
    Ok(ArchiveAnswer { path, size_bytes, disposition, held })
}

async fn choose(app: &App, caller: &Caller, ids: &[String]) -> Result<Vec<Voice>, Problem> {
    if ids.len() > EXPORTED_MAX as usize {
        return Err(Problem::invalid_field("voice_ids", format!("must be at most {EXPORTED_MAX}")));
    }
    let mut chosen = Vec::new();
    if ids.is_empty() {
        for id in voices::own_ids(app.storage.rows.read(), &caller.owner_id, EXPORTED_MAX).await? {
            chosen.extend(app.jobs.stored_voice(&caller.owner_id, id).await?);
        }
        if chosen.is_empty() {
            return Err(Problem::new(Code::VoiceNotFound, "you have no voices of your own to export; presets are on every server"));
        }
        return Ok(chosen);
    }
    for id in ids.iter().collect::<BTreeSet<_>>() {
        if app.jobs.preset(id).is_some() {
            return Err(Problem::invalid_field("voice_ids", format!("\"{id}\" is a preset: it is on every server and in no archive")));
        }
        chosen.push(find_stored(app, caller, id).await.map_err(|_| no_voice())?);
    }
    Ok(chosen)
}

/// Preview import file
///
/// Checks every byte of the archive and keeps it for 15 minutes.
#[endpoint(operation_id = "preview_import")]
pub async fn preview(
    app: App,
    caller: Caller,
    form: MultipartRequest<ArchiveForm>,
) -> Result<crate::answer::Reply<ImportPreview>, Problem> {
    let contents = import_voices::read(&app, form.upload.only_file()?).await?;
    let mut entries = Vec::new();
    let mut warnings = Vec::new();
    let offer = app.jobs.engines().offer();
    for found in &contents.voices {
        let conflict = import_voices::conflict(&app, &caller.owner_id, found).await?;
        if found.profiles.as_deref().is_none_or(|profiles| !jobs::voices::can_speak(profiles, &offer)) {
            warnings.push(format!("{}: no engine of this server can speak it as it is", found.voice.name));
        }
        entries.push(ArchiveEntry {
            source_id: found.voice.id.clone(),
            name: found.voice.name.clone(),
            language: found.voice.language.clone(),
            kind: found.voice.kind.clone(),
            sample_count: found.samples.len(),
            size_bytes: found.size_bytes,
            conflict: conflict.map_or(Conflict::None, |conflict| conflict.kind),
        });
    }
    let expires_at_ms = app.clock.now_ms() + KEPT_MS.cast_signed();
    let format_version = contents.version;
    let pending = Pending { owner_id: caller.owner_id, upload: form.upload, contents, expires_at_ms };
    let import_id = imports::keep(&app, pending).to_string();
    let expires_at = rfc3339(expires_at_ms);
    Ok(crate::answer::Reply(ImportPreview { import_id, expires_at, format_version, voices: entries, warnings }))
}

/// The body of an import: a form with the archive, or the id of one that is here.
#[derive(Debug)]
pub struct ImportBody {
    upload: Option<Arc<Upload>>,
    request: ImportRequest,
}

impl<'ex> Extractible<'ex> for ImportBody {
    fn metadata() -> &'static Metadata {
        JsonRequest::<ImportRequest>::metadata()
    }

    #[allow(refining_impl_trait)]
    async fn extract(req: &'ex mut Request, depot: &'ex mut Depot) -> Result<Self, Problem> {
        if !upload::is_multipart(req) {
            let JsonRequest(request) = JsonRequest::extract(req, depot).await?;
            return Ok(Self { upload: None, request });
        }
        let upload = upload::of_request(req, depot).await?;
        let on_conflict = match upload.text(&["on_conflict"])?.map(str::trim) {
            None | Some("rename") => OnConflict::Rename,
            Some("skip") => OnConflict::Skip,
            Some("replace") => OnConflict::Replace,
            Some(_) => return Err(Problem::invalid_field("on_conflict", "must be rename, skip or replace")),
        };
        let mut selected = Vec::new();
        for text in upload.texts(&["selected", "selected[]"]) {
            if text.trim_start().starts_with('[') {
                let listed: Vec<String> =
                    serde_json::from_str(text).map_err(|_| Problem::invalid_field("selected", "must be a JSON list of ids"))?;
                selected.extend(listed);
            } else if !text.trim().is_empty() {
                selected.push(text.trim().to_owned());
            }
        }
        let import_id = upload.text(&["import_id"])?.map(str::to_owned);
        Ok(Self { upload: Some(upload), request: ImportRequest { import_id, selected, on_conflict } })
    }
}

impl EndpointArgRegister for ImportBody {
    fn register(components: &mut Components, operation: &mut Operation, arg: &str) {
        MultipartRequest::<ImportForm>::register(components, operation, arg);
        let json = oapi::Content::new(<ImportRequest as oapi::ToSchema>::to_schema(components));
        if let Some(body) = operation.request_body.take() {
            operation.request_body = Some(body.add_content("application/json", json));
        }
    }
}

/// Import voices
///
/// Each voice is imported whole or not at all; the answer tells which.
#[endpoint(operation_id = "import_voices")]
pub async fn import(app: App, caller: Caller, body: ImportBody) -> Result<Created<ImportReport>, Problem> {
    let ImportBody { upload, request } = body;
    let wish = ImportWish { selected: request.selected, on_conflict: request.on_conflict };
    let sent = upload.filter(|upload| !upload.files.is_empty());
    let owner_id = &caller.owner_id;
    let report = match (sent, request.import_id) {
        (Some(_), Some(_)) => return Err(Problem::invalid_field("import_id", "is instead of a file, not beside one")),
        (Some(upload), None) => {
            let file = upload.only_file()?;
            let contents = import_voices::read(&app, file).await?;
            import_voices::import(&app, owner_id, file, &contents, &wish).await?
        }
        (None, Some(id)) => {
            let missing =
                || Problem::new(Code::ImportNotFound, "there is no archive of this id, or its 15 minutes are over: send it again");
            let id = Uuid::parse_str(id.trim()).map_err(|_| missing())?;
            let pending = app.imports.find(owner_id, id, app.clock.now_ms()).ok_or_else(missing)?;
            import_voices::import(&app, owner_id, pending.upload.only_file()?, &pending.contents, &wish).await?
        }
        (None, None) => return Err(Problem::invalid_field("file", "is needed: an archive, or the import_id of a preview")),
    };
    Ok(Created { location: "/api/voices".into(), body: report })
}
