//! Any bytes as a multipart body, in pieces of any size (the first byte): read, or refused with a 4xx; afterwards no file and no reservation is left.
#![no_main]

use std::error::Error;
use std::path::PathBuf;
use std::sync::LazyLock;

use api::body::BodyLimit;
use api::temporary_bytes::{TemporaryBytes, TemporaryBytesConfig};
use api::upload::Form;
use bytes::Bytes;
use http_body_util::StreamBody;
use libfuzzer_sys::fuzz_target;
use salvo::http::ReqBody;
use salvo::http::body::Frame;
use tokio::runtime::{Builder, Runtime};

const BODY_BYTES_MAX: u64 = 64 * 1024;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Builder::new_current_thread().enable_all().build().unwrap());
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = PathBuf::from(format!("/dev/shm/fuzz-multipart-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
});

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let (piece_bytes, declared) = (choice >> 1, choice % 2 == 0);
    let bounds = TemporaryBytes::new(TemporaryBytesConfig { per_owner_bytes_max: BODY_BYTES_MAX, total_bytes_max: BODY_BYTES_MAX });
    let Ok(held) = bounds.reserve("owner", if declared { bytes.len() as u64 } else { 0 }) else { return };
    let limit = BodyLimit { bytes_max: BODY_BYTES_MAX, idle_ms: 60_000, total_ms: 60_000 };
    let form = Form { boundary: "B".into(), limit, folder: FOLDER.clone(), held, declared };
    let piece = |piece: &[u8]| Ok::<_, Box<dyn Error + Send + Sync>>(Frame::data(Bytes::copy_from_slice(piece)));
    let pieces: Vec<_> = bytes.chunks(usize::from(piece_bytes).max(1)).map(piece).collect();
    let inner = Box::pin(StreamBody::new(futures::stream::iter(pieces)));
    let mut body = ReqBody::Boxed { inner, fuse_config: None };
    match RUNTIME.block_on(form.read(&mut body)) {
        Ok(upload) => {
            let sizes: u64 = upload.files.iter().map(|file| file.size_bytes).sum();
            assert!(sizes <= bytes.len() as u64);
            for file in &upload.files {
                assert_eq!(std::fs::metadata(file.path()).unwrap().len(), file.size_bytes);
            }
            assert_eq!(upload.content_hash().len(), 64);
        }
        Err(problem) => assert!(problem.code.status().is_client_error(), "{problem:?}"),
    }
    assert!(bounds.reserve("owner", BODY_BYTES_MAX).is_ok(), "what was reserved comes back");
    assert_eq!(std::fs::read_dir(&*FOLDER).unwrap().count(), 0, "no file stays");
});
