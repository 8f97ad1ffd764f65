//! Files: whole or in part, with a strong tag that is the hash of the bytes, streamed so that memory stays flat whatever the size.

use bytes::Bytes;
use jobs::format::AudioFormat;
use salvo::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderName,
    HeaderValue, IF_NONE_MATCH, IF_RANGE, LOCATION, RANGE,
};
use salvo::http::{Method, StatusCode};
use salvo::oapi::{self, Components, EndpointOutRegister, KnownFormat, Object, Operation, RefOr, Schema, SchemaFormat, schema::BasicType};
use salvo::{Depot, Request, Response, Writer, async_trait};
use sha2::{Digest, Sha256};
use storage::BlobKey;

use crate::app;
use crate::problem::{Code, Problem};
use crate::range::{self, Selection};

/// Where the bytes are.
#[derive(Debug, Clone)]
enum Source {
    Blob(BlobKey),
    Memory(Bytes),
}

/// A file on its way to the caller.
#[derive(Debug, Clone)]
pub struct FileAnswer {
    source: Source,
    size_bytes: u64,
    /// With its quotes.
    etag: String,
    content_type: &'static str,
    disposition: String,
}

impl FileAnswer {
    /// A blob of known hash: nothing is read before it is sent.
    pub fn blob(key: BlobKey, sha256: &str, size_bytes: u64, content_type: &'static str, disposition: String) -> Self {
        Self { source: Source::Blob(key), size_bytes, etag: format!("\"{sha256}\""), content_type, disposition }
    }

    /// Something small.
    pub fn bytes(bytes: Bytes, content_type: &'static str, disposition: String) -> Self {
        let etag = format!("\"{}\"", hex::encode(Sha256::digest(&bytes)));
        Self { size_bytes: bytes.len() as u64, source: Source::Memory(bytes), etag, content_type, disposition }
    }

    async fn answer(self, req: &Request, depot: &Depot, res: &mut Response) -> Result<(), Problem> {
        let headers = req.headers();
        set(res, ETAG, &self.etag);
        set(res, CACHE_CONTROL, "private, no-cache");
        if range::already_has(text(headers, &IF_NONE_MATCH), &self.etag) {
            res.status_code(StatusCode::NOT_MODIFIED);
            return Ok(());
        }
        let wanted = text(headers, &RANGE).filter(|_| range::range_applies(text(headers, &IF_RANGE), &self.etag));
        let (status, bytes) = match range::select(wanted, self.size_bytes) {
            Selection::Whole => (StatusCode::OK, 0..self.size_bytes),
            Selection::Part(range) => {
                set(res, CONTENT_RANGE, &format!("bytes {}-{}/{}", range.start, range.end - 1, self.size_bytes));
                (StatusCode::PARTIAL_CONTENT, range)
            }
            Selection::Unsatisfiable => {
                set(res, CONTENT_RANGE, &format!("bytes */{}", self.size_bytes));
                return Err(Problem::new(Code::RangeNotSatisfiable, format!("the file has {} bytes", self.size_bytes)));
            }
        };
        let length = bytes.end - bytes.start;
        if let Some(address) = self.elsewhere(depot).await? {
            res.status_code(StatusCode::TEMPORARY_REDIRECT);
            set(res, LOCATION, &address);
            return Ok(());
        }
        // A file that is gone must be found out before the status goes out.
        let stream = match &self.source {
            Source::Blob(key) if req.method() != Method::HEAD => Some(app::of(depot)?.storage.blobs.stream(*key, bytes.clone()).await?),
            _ => None,
        };
        res.status_code(status);
        set(res, ACCEPT_RANGES, "bytes");
        set(res, CONTENT_TYPE, self.content_type);
        set(res, CONTENT_DISPOSITION, &self.disposition);
        set(res, CONTENT_LENGTH, &length.to_string());
        match (stream, self.source) {
            (Some(stream), _) => res.stream(stream),
            (None, Source::Memory(memory)) if req.method() != Method::HEAD => {
                res.body(memory.slice(bytes.start as usize..bytes.end as usize));
            }
            _ => {}
        }
        Ok(())
    }
}

impl FileAnswer {
    /// Where the store itself gives the file, if that is wanted.
    async fn elsewhere(&self, depot: &Depot) -> Result<Option<String>, Problem> {
        let (app, Source::Blob(key)) = (app::of(depot)?, &self.source) else {
            return Ok(None);
        };
        match app.config.blob_store_presigned_s {
            0 => Ok(None),
            valid_s => Ok(app.storage.blobs.presigned_url(*key, valid_s).await?),
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn set(res: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        res.headers_mut().insert(name, value);
    }
}

#[async_trait]
impl Writer for FileAnswer {
    async fn write(self, req: &mut Request, depot: &mut Depot, res: &mut Response) {
        if let Err(problem) = self.answer(req, depot, res).await {
            res.render(problem);
        }
    }
}

/// Documents audio in any of its formats, with its ranges.
pub fn document_audio(operation: &mut Operation) {
    document(operation, &AudioFormat::ALL.map(AudioFormat::content_type));
}

/// Documents a file of one of these types.
pub fn document(operation: &mut Operation, content_types: &[&str]) {
    let binary = || {
        let format = SchemaFormat::KnownFormat(KnownFormat::Binary);
        RefOr::Type(Schema::from(Object::with_type(BasicType::String).format(format)))
    };
    let with_contents =
        |response| content_types.iter().fold(response, |response: oapi::Response, kind| response.add_content(*kind, binary()));
    operation.responses.insert("200", with_contents(oapi::Response::new("The whole file; `ETag` changes with its bytes")));
    operation.responses.insert("206", with_contents(oapi::Response::new("The range that was asked for")));
    operation
        .responses
        .insert("307", oapi::Response::new("The store gives it: with `blob_store_presigned_s`, at the address in `Location`"));
    operation.responses.insert("304", oapi::Response::new("The caller has it already"));
}

impl EndpointOutRegister for FileAnswer {
    fn register(_components: &mut Components, operation: &mut Operation) {
        document_audio(operation);
    }
}
