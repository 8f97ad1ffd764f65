//! Voices into one archive in a temporary file: what stands in the rows, and the blobs they name.

use std::io::{self, Read};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use storage::voices::{self, Voice};
use storage::{BlobKey, Blobs, StorageError};
use tempfile::TempPath;
use tokio::runtime::Handle;

use crate::app::App;
use crate::archive::write::{self, Content, Planned};
use crate::problem::{Code, Problem};
use crate::upload;

/// Beyond this one asks for fewer voices at a time.
const EXPORT_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;
/// Of JSON, names and the ZIP's own records, at most, for each member.
const MEMBER_EXTRA_BYTES: u64 = 512;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExportWish {
    pub with_samples: bool,
    pub with_preview: bool,
}

#[derive(Debug)]
pub struct Export {
    members: Vec<Planned>,
    /// About what the archive will have.
    pub size_bytes: u64,
}

pub async fn plan(app: &App, chosen: &[Voice], wish: ExportWish) -> Result<Export, Problem> {
    let mut members = Vec::new();
    for voice in chosen {
        let samples = if wish.with_samples { voices::samples(app.storage.rows.read(), voice.id).await? } else { Vec::new() };
        members.extend(write::plan(voice, &samples, wish.with_preview).map_err(Problem::internal)?);
    }
    let bytes = |member: &Planned| match &member.content {
        Content::Json(bytes) => bytes.len() as u64,
        Content::Blob { size_bytes, .. } => *size_bytes,
    };
    let size_bytes = members.iter().map(|member| bytes(member) + MEMBER_EXTRA_BYTES).sum();
    if size_bytes > EXPORT_BYTES_MAX {
        let detail = format!("the archive would have {size_bytes} bytes, more than {EXPORT_BYTES_MAX}: ask for fewer voices at a time");
        return Err(Problem::new(Code::PayloadTooLarge, detail));
    }
    Ok(Export { members, size_bytes })
}

/// The file, and how many bytes it has.
pub async fn write(app: &App, export: Export) -> Result<(TempPath, u64), Problem> {
    let folder = upload::folder(app).await?;
    let blobs = app.storage.blobs.clone();
    let runtime = Handle::current();
    let written = tokio::task::spawn_blocking(move || -> io::Result<(TempPath, u64)> {
        let (file, path) = tempfile::Builder::new().prefix("export-").tempfile_in(folder)?.into_parts();
        let open = |key, size_bytes| BlobReader::open(&blobs, key, size_bytes, runtime.clone());
        let file = write::write(file, export.members, open)?;
        Ok((path, file.metadata()?.len()))
    });
    match written.await.map_err(Problem::internal)? {
        Ok(written) => Ok(written),
        // A blob's own error comes through the reader.
        Err(error) => Err(error.downcast::<StorageError>().unwrap_or_else(StorageError::from).into()),
    }
}

/// A blob for a thread that may wait.
struct BlobReader {
    stream: BoxStream<'static, Result<Bytes, StorageError>>,
    piece: Bytes,
    runtime: Handle,
}

impl BlobReader {
    fn open(blobs: &Blobs, key: BlobKey, size_bytes: u64, runtime: Handle) -> io::Result<Self> {
        let stream = runtime.block_on(blobs.stream(key, 0..size_bytes)).map_err(io::Error::other)?;
        Ok(Self { stream, piece: Bytes::new(), runtime })
    }
}

impl Read for BlobReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.runtime.block_on(self.stream.next()) {
                Some(piece) => self.piece = piece.map_err(io::Error::other)?,
                None => return Ok(0),
            }
        }
        let read = self.piece.len().min(out.len());
        out[..read].copy_from_slice(&self.piece.split_to(read));
        Ok(read)
    }
}
