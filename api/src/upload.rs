//! Uploads as `multipart/form-data`: streamed into temporary files of the data folder, whatever the order of the parts, with a limit on
//! everything a stranger can make large. The files go when the request ends. This file may not know what is in them.
//!
//! multer reads whatever has arrived before it looks at it, so it is fed one piece at a time, and what it holds back is counted.

mod pace;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use multer::{Field, Multipart};
use salvo::extract::{Extractible, Metadata};
use salvo::http::ReqBody;
use salvo::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use salvo::oapi::{Components, Content, EndpointArgRegister, Operation, RequestBody, Required, ToSchema};
use salvo::{Depot, Request};
use sha2::{Digest, Sha256};
use storage::data_folder::DataFolder;
use tempfile::TempPath;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::app::{self, App};
use crate::authenticate::Caller;
use crate::body::BodyLimit;
use crate::problem::{Code, FieldProblem, Problem};
use crate::temporary_bytes::Reservation;
use pace::{Broken, Held, Paced};

/// Parts with these names are files; all others are texts.
const FILE_NAMES: [&str; 6] = ["file", "audio", "audio_file", "files", "files[]", "audio_files"];
const PARTS_MAX: usize = 512;
const FILES_MAX: usize = 64;
const NAME_BYTES_MAX: usize = 200;
const FILE_NAME_CHARS_MAX: usize = 255;
const FIELD_BYTES_MAX: usize = 256 * 1024;
/// Of all texts together.
const FIELDS_BYTES_MAX: usize = 4 * 1024 * 1024;
/// However steadily it comes.
const RECEIVE_S_MAX: u64 = 3_600;

/// What was sent.
#[derive(Debug)]
pub struct Upload {
    pub files: Vec<UploadedFile>,
    fields: Vec<(String, String)>,
    /// Given back when the files are gone.
    _held: Reservation,
}

#[derive(Debug)]
pub struct UploadedFile {
    /// The name of its part.
    pub field: String,
    /// As the client calls it: for people, never for paths.
    pub file_name: Option<String>,
    pub size_bytes: u64,
    pub sha256: String,
    path: TempPath,
}

impl UploadedFile {
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Upload {
    /// The text of a field under one of its names. `None` where it is not there or empty.
    ///
    /// # Errors
    /// 422 where it was sent more than once.
    pub fn text(&self, names: &[&str]) -> Result<Option<&str>, Problem> {
        let given = self.texts(names);
        if given.len() > 1 {
            return Err(Problem::invalid_field(names[0], "was sent more than once"));
        }
        Ok(given.first().copied().filter(|text| !text.trim().is_empty()))
    }

    /// All texts of a field that may be repeated, in their order.
    pub fn texts(&self, names: &[&str]) -> Vec<&str> {
        self.fields.iter().filter(|(name, _)| names.contains(&name.as_str())).map(|(_, text)| text.as_str()).collect()
    }

    /// The only file.
    ///
    /// # Errors
    /// 422 where there is none, more than one, or an empty one.
    pub fn only_file(&self) -> Result<&UploadedFile, Problem> {
        match self.files.as_slice() {
            [] => Err(Problem::invalid_field("file", "is needed: a file in a part named file, audio or audio_file")),
            [file] if file.size_bytes == 0 => Err(Problem::invalid_field(&file.field, "is empty")),
            [file] => Ok(file),
            files => Err(Problem::invalid_field(&files[1].field, "is one file too many: this endpoint takes one")),
        }
    }

    /// Tells what was sent, whatever the boundary was and however it came in pieces.
    pub fn content_hash(&self) -> String {
        let mut hash = Sha256::new();
        let mut add = |text: &str| {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        };
        for (name, text) in &self.fields {
            add(name);
            add(text);
        }
        for file in &self.files {
            add(&file.field);
            add(file.file_name.as_deref().unwrap_or_default());
            add(&file.sha256);
        }
        hex::encode(hash.finalize())
    }
}

/// Whether a request says that its body is `multipart/form-data`.
pub fn is_multipart(req: &Request) -> bool {
    content_type(req).trim_start().get(..MULTIPART.len()).is_some_and(|start| start.eq_ignore_ascii_case(MULTIPART))
}

const MULTIPART: &str = "multipart/form-data";

fn content_type(req: &Request) -> &str {
    req.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Reads the body of a request into temporary files. What is not read of a refused one is left for the drain.
pub async fn receive(req: &mut Request, app: &App, caller: &Caller) -> Result<Upload, Problem> {
    if !is_multipart(req) {
        return Err(Problem::new(Code::UnsupportedMedia, "this endpoint takes multipart/form-data"));
    }
    let boundary = multer::parse_boundary(content_type(req))
        .map_err(|_| Problem::new(Code::InvalidRequest, "the Content-Type of multipart/form-data needs a boundary"))?;
    let limit = *req.extensions().get::<BodyLimit>().ok_or_else(|| Problem::internal("a route without a body limit reads a body"))?;
    let declared = req.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|declared| declared > limit.bytes_max) {
        return Err(too_large(&limit));
    }
    let held = app.temporary_bytes.reserve(&caller.owner_id, declared.unwrap_or(0))?;
    let form = Form { boundary, limit, folder: folder(app).await?, held, declared: declared.is_some() };
    let mut body = req.take_body();
    let received = form.read(&mut body).await;
    req.replace_body(body);
    received
}

/// How a body is read that says it is a form.
#[derive(Debug)]
pub struct Form {
    pub boundary: String,
    pub limit: BodyLimit,
    /// Of the temporary files.
    pub folder: PathBuf,
    pub held: Reservation,
    /// The whole length is reserved already.
    pub declared: bool,
}

impl Form {
    /// All parts, the files among them on the disk.
    ///
    /// # Errors
    /// 4xx for everything that can be wrong with a form, 408 for one that stands still, 507 for a full disk.
    pub async fn read(self, body: &mut ReqBody) -> Result<Upload, Problem> {
        let fed = Held::default();
        let reader = Reader {
            parts: Multipart::new(Paced::new(body, fed.clone(), self.limit.bytes_max), self.boundary),
            fed,
            limit: self.limit,
            folder: self.folder,
            upload: Upload { files: Vec::new(), fields: Vec::new(), _held: self.held },
            declared: self.declared,
        };
        match timeout(Duration::from_secs(RECEIVE_S_MAX), reader.read()).await {
            Ok(received) => received,
            Err(_) => Err(Problem::new(Code::RequestTimeout, format!("the upload took longer than {RECEIVE_S_MAX} s"))),
        }
    }
}

/// Where temporary files lie: on the volume of the data, and emptied at the start.
pub(crate) async fn folder(app: &App) -> Result<PathBuf, Problem> {
    let folder = DataFolder::temporary_of_server(&app.config.data_dir).join("uploads");
    tokio::fs::create_dir_all(&folder).await.map_err(written)?;
    Ok(folder)
}

/// An error of our own disk.
pub(crate) fn written(error: io::Error) -> Problem {
    storage::StorageError::from(error).into()
}

fn too_large(limit: &BodyLimit) -> Problem {
    Problem::new(Code::PayloadTooLarge, format!("the body may have at most {} bytes", limit.bytes_max))
}

struct Reader<'r> {
    parts: Multipart<'r>,
    fed: Held,
    limit: BodyLimit,
    folder: PathBuf,
    upload: Upload,
    /// The whole length was reserved before.
    declared: bool,
}

impl Reader<'_> {
    async fn read(mut self) -> Result<Upload, Problem> {
        let mut fields_bytes = 0;
        for count in 0.. {
            let Some(part) = in_time(&self.limit, self.parts.next_field()).await? else { break };
            if count >= PARTS_MAX {
                return Err(Problem::new(Code::PayloadTooLarge, format!("the body may have at most {PARTS_MAX} parts")));
            }
            let name = name_of(&part)?;
            if FILE_NAMES.contains(&name.as_str()) {
                self.file(name, part).await?;
            } else {
                let text = self.text(&name, part).await?;
                fields_bytes += name.len() + text.len();
                if fields_bytes > FIELDS_BYTES_MAX {
                    return Err(Problem::new(
                        Code::PayloadTooLarge,
                        format!("the texts may have at most {FIELDS_BYTES_MAX} bytes together"),
                    ));
                }
                self.upload.fields.push((name, text));
            }
        }
        Ok(self.upload)
    }

    async fn text(&mut self, name: &str, mut part: Field<'_>) -> Result<String, Problem> {
        let mut bytes = Vec::new();
        while let Some(piece) = in_time(&self.limit, part.chunk()).await? {
            self.fed.taken(piece.len());
            if bytes.len() + piece.len() > FIELD_BYTES_MAX {
                let problem = FieldProblem::new(name, format!("must have at most {FIELD_BYTES_MAX} bytes"));
                return Err(Problem { errors: vec![problem], ..Problem::new(Code::PayloadTooLarge, format!("{name} is too long")) });
            }
            bytes.extend_from_slice(&piece);
        }
        String::from_utf8(bytes).map_err(|_| Problem::invalid_field(name, "must be text in UTF-8"))
    }

    async fn file(&mut self, field: String, mut part: Field<'_>) -> Result<(), Problem> {
        if self.upload.files.len() >= FILES_MAX {
            return Err(Problem::invalid_field(field, format!("must be at most {FILES_MAX} files")));
        }
        let file_name = part.file_name().map(|name| name.chars().filter(|c| !c.is_control()).take(FILE_NAME_CHARS_MAX).collect());
        let folder = self.folder.clone();
        let made = tokio::task::spawn_blocking(move || tempfile::Builder::new().prefix("upload-").tempfile_in(folder)).await;
        let (file, path) = made.map_err(Problem::internal)?.map_err(written)?.into_parts();
        let mut file = tokio::fs::File::from_std(file);
        let mut hash = Sha256::new();
        let mut size_bytes = 0;
        while let Some(piece) = in_time(&self.limit, part.chunk()).await? {
            self.fed.taken(piece.len());
            if !self.declared {
                self.upload._held.grow(piece.len() as u64)?;
            }
            hash.update(&piece);
            size_bytes += piece.len() as u64;
            file.write_all(&piece).await.map_err(written)?;
        }
        file.flush().await.map_err(written)?;
        let sha256 = hex::encode(hash.finalize());
        self.upload.files.push(UploadedFile { field, file_name, size_bytes, sha256, path });
        Ok(())
    }
}

fn name_of(part: &Field<'_>) -> Result<String, Problem> {
    match part.name() {
        Some(name) if !name.is_empty() && name.len() <= NAME_BYTES_MAX => Ok(name.to_owned()),
        _ => Err(Problem::new(Code::InvalidRequest, format!("each part needs a name of at most {NAME_BYTES_MAX} bytes"))),
    }
}

async fn in_time<T>(limit: &BodyLimit, step: impl Future<Output = multer::Result<T>>) -> Result<T, Problem> {
    match timeout(Duration::from_millis(limit.idle_ms), step).await {
        Ok(result) => result.map_err(|error| refusal(error, limit)),
        Err(_) => Err(Problem::new(Code::RequestTimeout, format!("the body paused for more than {} ms", limit.idle_ms))),
    }
}

fn refusal(error: multer::Error, limit: &BodyLimit) -> Problem {
    if let multer::Error::StreamReadFailed(cause) = &error
        && let Some(broken) = cause.downcast_ref::<Broken>()
    {
        return match broken {
            Broken::TooLarge => too_large(limit),
            Broken::HeadersTooLarge => Problem::new(Code::PayloadTooLarge, "the headers of the parts are too large"),
            Broken::Ended => Problem::new(Code::InvalidRequest, "the body ended before it was complete"),
        };
    }
    match error {
        multer::Error::IncompleteFieldData { .. } | multer::Error::IncompleteHeaders | multer::Error::IncompleteStream => {
            Problem::new(Code::InvalidRequest, "the body ended before its last boundary")
        }
        // Says what is wrong with the form, and nothing of the content.
        error => Problem::new(Code::InvalidRequest, format!("the multipart body can't be read: {error}")),
    }
}

/// A multipart body as an argument of an endpoint; `T` documents its parts.
#[derive(Debug)]
pub struct MultipartRequest<T> {
    pub upload: Arc<Upload>,
    form: std::marker::PhantomData<fn() -> T>,
}

impl<'ex, T: 'static> Extractible<'ex> for MultipartRequest<T> {
    fn metadata() -> &'static Metadata {
        static METADATA: Metadata = Metadata::new("");
        &METADATA
    }

    #[allow(refining_impl_trait)]
    async fn extract(req: &'ex mut Request, depot: &'ex mut Depot) -> Result<Self, Problem> {
        Ok(Self { upload: of_request(req, depot).await?, form: std::marker::PhantomData })
    }
}

/// The upload of a request: already read where the caller sent an `Idempotency-Key`.
pub(crate) async fn of_request(req: &mut Request, depot: &Depot) -> Result<Arc<Upload>, Problem> {
    if let Ok(upload) = depot.get_typed::<Arc<Upload>>() {
        return Ok(upload.clone());
    }
    let app = app::of(depot)?;
    let caller = depot.get_typed::<Caller>().map_err(|_| Problem::internal("a public route takes uploads"))?;
    receive(req, &app, caller).await.map(Arc::new)
}

impl<T: ToSchema> EndpointArgRegister for MultipartRequest<T> {
    fn register(components: &mut Components, operation: &mut Operation, _arg: &str) {
        let content = Content::new(T::to_schema(components));
        operation.request_body = Some(RequestBody::new().required(Required::True).add_content(MULTIPART, content));
    }
}
