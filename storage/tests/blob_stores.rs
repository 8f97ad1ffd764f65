//! What a blob store must do, on the folder and on a bucket: the same blobs under the same names, whole or not at all.

#![allow(clippy::unwrap_used)]

#[allow(dead_code, unreachable_pub)]
#[path = "../../tests/src/s3.rs"]
mod s3;

use bytes::Bytes;
use futures::TryStreamExt;
use s3::S3Server;
use storage::blobs::{BlobKey, Blobs, RenderPart, StoredBlob};
use storage::error::StorageError;
use storage::s3::{Credentials, S3Config};
use uuid::Uuid;

/// More than a part, and no whole number of parts.
const LARGE_BYTES: usize = 20 * 1024 * 1024 + 7;

fn config(server: &S3Server, prefix: &str) -> S3Config {
    let credentials = Credentials { access_key_id: s3::ACCESS_KEY_ID.into(), secret_access_key: s3::SECRET_ACCESS_KEY.into() };
    S3Config {
        bucket: s3::BUCKET.into(),
        prefix: prefix.into(),
        endpoint: Some(server.endpoint()),
        path_style: true,
        credentials: Some(credentials),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_folder_keeps_its_promises() {
    let folder = tempfile::tempdir().unwrap();
    keeps_its_promises(&Blobs::open_local(folder.path()).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bucket_keeps_its_promises() {
    let server = S3Server::start().await;
    keeps_its_promises(&Blobs::open_s3(&config(&server, "")).unwrap()).await;
    assert!(server.objects().is_empty(), "everything was deleted: {:?}", server.objects());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_keeps_two_apart_in_one_bucket() {
    let server = S3Server::start().await;
    let (one, other) = (Blobs::open_s3(&config(&server, "one/a")).unwrap(), Blobs::open_s3(&config(&server, "other")).unwrap());
    let id = Uuid::from_u128(5);
    let key = BlobKey::Chunk { generation_id: id, index: 0, take: 1 };
    one.put(key, Bytes::from_static(b"one")).await.unwrap();
    assert!(matches!(other.get(key).await, Err(StorageError::BlobNotFound(_))));
    assert_eq!((one.generation_ids().await.unwrap(), other.generation_ids().await.unwrap()), (vec![id], Vec::new()));
    keeps_its_promises(&other).await;
    assert_eq!(one.get(key).await.unwrap(), "one");
}

async fn keeps_its_promises(blobs: &Blobs) {
    let (generation_id, render_id) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let chunk = |index| BlobKey::Chunk { generation_id, index, take: 1 };
    // Small ones, and the same again: a job may run twice.
    for _ in 0..2 {
        let stored = blobs.put(chunk(3), Bytes::from_static(b"sound")).await.unwrap();
        assert_eq!(blobs.get_verified(chunk(3), &stored).await.unwrap(), "sound");
        assert_eq!(blobs.size_bytes(chunk(3)).await.unwrap(), 5);
    }
    // A large one, in parts.
    let folder = tempfile::tempdir().unwrap();
    let (file, copy) = (folder.path().join("large"), folder.path().join("copy"));
    let bytes: Vec<u8> = (0..LARGE_BYTES).map(|place| (place % 251) as u8).collect();
    std::fs::write(&file, &bytes).unwrap();
    let key = BlobKey::Render { generation_id, render_id, part: RenderPart::Wav };
    let stored = blobs.put_file(key, &file).await.unwrap();
    assert_eq!(stored.size_bytes, LARGE_BYTES as u64);
    blobs.get_file(key, &stored, &copy).await.unwrap();
    assert!(std::fs::read(&copy).unwrap() == bytes);
    let range = LARGE_BYTES as u64 - 1_000..LARGE_BYTES as u64;
    let part: Vec<Bytes> = blobs.stream(key, range.clone()).await.unwrap().try_collect().await.unwrap();
    assert!(part.concat() == bytes[range.start as usize..]);
    // Something else than the row says.
    let other = StoredBlob { sha256: "0".repeat(64), ..stored };
    assert!(matches!(blobs.get_file(key, &other, &copy).await, Err(StorageError::BlobDamaged(_))));
    // What is there can be listed, and what is gone is gone.
    assert_eq!(blobs.generation_ids().await.unwrap(), [generation_id]);
    let sample = BlobKey::VoiceSample { voice_id: Uuid::from_u128(3), sample_id: Uuid::from_u128(4) };
    blobs.put(sample, Bytes::from_static(b"voice")).await.unwrap();
    assert_eq!(blobs.voice_blobs(Uuid::from_u128(3), i64::MAX).await.unwrap(), [sample]);
    assert_eq!(blobs.delete_generation(generation_id).await.unwrap(), 2);
    assert!(matches!(blobs.get(key).await, Err(StorageError::BlobNotFound(_))));
    assert!(matches!(blobs.size_bytes(chunk(3)).await, Err(StorageError::BlobNotFound(_))));
    assert!(blobs.generation_ids().await.unwrap().is_empty());
    for _ in 0..2 {
        blobs.delete(sample).await.unwrap();
    }
    blobs.try_out().await.unwrap();
    assert!(blobs.download_ids().await.unwrap().is_empty(), "a trial leaves nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_does_not_take_us_is_told_from_a_blob_that_is_gone() {
    let server = S3Server::start().await;
    let key = BlobKey::Chunk { generation_id: Uuid::from_u128(1), index: 0, take: 1 };
    let stranger = Credentials { access_key_id: s3::ACCESS_KEY_ID.into(), secret_access_key: "x".into() };
    let strange = Blobs::open_s3(&S3Config { credentials: Some(stranger), ..config(&server, "") }).unwrap();
    for refused in [strange.put(key, Bytes::from_static(b"x")).await.map(drop), strange.get(key).await.map(drop)] {
        assert!(matches!(refused, Err(StorageError::Unreachable(_))), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_address_holds_the_blob_and_no_secret() {
    let server = S3Server::start().await;
    let blobs = Blobs::open_s3(&config(&server, "a")).unwrap();
    let key = BlobKey::Chunk { generation_id: Uuid::from_u128(1), index: 0, take: 1 };
    let url = blobs.presigned_url(key, 60).await.unwrap().unwrap();
    assert!(url.starts_with(&format!("{}/{}/a/{key}?", server.endpoint(), s3::BUCKET)), "{url}");
    assert!(url.contains("X-Amz-Expires=60") && !url.contains(s3::SECRET_ACCESS_KEY), "{url}");
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(Blobs::open_local(folder.path()).unwrap().presigned_url(key, 60).await.unwrap(), None);
}
