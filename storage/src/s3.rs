//! Blobs in a bucket of an S3-compatible store: which bucket, how it is reached, and how long is waited for it. Who we are to the store is
//! said by the usual `AWS_*` variables, or by what the machine has (a web identity, a container's or an instance's role), so that no secret
//! stands in our settings.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path as ObjectPath;
use object_store::prefix::PrefixStore;
use object_store::signer::{Method, Signer};
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};

use crate::{BlobKey, StorageError};

/// A store that does not answer is told to the job, which waits without spending an attempt: so few tries, so that its slot is not held.
const RETRIES_MAX: usize = 3;
const RETRY_MS: u64 = 20_000;
const CONNECT_MS: u64 = 5_000;
/// Between two pieces of an answer; the whole may take as long as its reader does.
const READ_MS: u64 = 30_000;
const PREFIX_BYTES_MAX: usize = 512;

/// A bucket, and what lies below a prefix in it is ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Config {
    pub bucket: String,
    /// Without slashes at its ends; empty for the whole bucket.
    pub prefix: String,
    /// Of a store that is not Amazon's, such as `http://10.0.0.5:9000`.
    pub endpoint: Option<String>,
    /// `endpoint/bucket/key` instead of `bucket.endpoint/key`.
    pub path_style: bool,
    /// For tests; else they come from outside.
    pub credentials: Option<Credentials>,
}

#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub access_key_id: String,
    pub secret_access_key: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(...)")
    }
}

impl S3Config {
    /// Reads `s3://bucket` and `s3://bucket/prefix`. The error says what is wrong with it.
    pub fn parse(url: &str) -> Result<Self, String> {
        let rest = url.strip_prefix("s3://").ok_or("must look like s3://bucket or s3://bucket/prefix")?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_matches('/');
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
        if !(3..=63).contains(&bucket.len()) || !bucket.bytes().all(plain) {
            return Err(format!("\"{bucket}\" is no name of a bucket: 3 to 63 small letters, digits, dots and dashes"));
        }
        if prefix.len() > PREFIX_BYTES_MAX || ObjectPath::parse(prefix).is_err() {
            return Err(format!("\"{prefix}\" can't be the beginning of a key"));
        }
        Ok(Self { bucket: bucket.into(), prefix: prefix.into(), endpoint: None, path_style: true, credentials: None })
    }
}

/// The store, and what signs for it.
#[derive(Debug)]
pub(crate) struct Opened {
    pub store: Arc<dyn ObjectStore>,
    pub presigner: Presigner,
}

/// Asks the store for nothing yet.
pub(crate) fn open(config: &S3Config) -> Result<Opened, StorageError> {
    let plain_http = config.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
    let client = ClientOptions::new()
        .with_timeout_disabled()
        .with_read_timeout(Duration::from_millis(READ_MS))
        .with_connect_timeout(Duration::from_millis(CONNECT_MS))
        .with_allow_http(plain_http);
    let retry = RetryConfig { max_retries: RETRIES_MAX, retry_timeout: Duration::from_millis(RETRY_MS), backoff: BackoffConfig::default() };
    let mut builder = match &config.credentials {
        Some(Credentials { access_key_id, secret_access_key }) => {
            AmazonS3Builder::new().with_access_key_id(access_key_id).with_secret_access_key(secret_access_key)
        }
        None => AmazonS3Builder::from_env(),
    };
    builder = builder.with_bucket_name(&config.bucket).with_client_options(client).with_retry(retry);
    builder = builder.with_virtual_hosted_style_request(!config.path_style);
    if let Some(endpoint) = &config.endpoint {
        builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
    }
    let s3 = Arc::new(builder.build().map_err(|error| StorageError::DataFolder(format!("blob_store_url: {error}")))?);
    let presigner = Presigner { s3: s3.clone(), prefix: config.prefix.clone() };
    let store: Arc<dyn ObjectStore> =
        if config.prefix.is_empty() { s3 } else { Arc::new(PrefixStore::new(s3, ObjectPath::from(config.prefix.as_str()))) };
    Ok(Opened { store, presigner })
}

/// Makes addresses at which the store itself gives a blob to whoever has them.
#[derive(Debug, Clone)]
pub(crate) struct Presigner {
    s3: Arc<AmazonS3>,
    prefix: String,
}

impl Presigner {
    pub(crate) async fn url(&self, key: BlobKey, valid_s: u64) -> Result<String, StorageError> {
        let path = if self.prefix.is_empty() { key.to_string() } else { format!("{}/{key}", self.prefix) };
        let path = ObjectPath::parse(path).map_err(|error| StorageError::Internal(error.to_string()))?;
        Ok(self.s3.signed_url(Method::GET, &path, Duration::from_secs(valid_s)).await?.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_and_a_prefix_are_read() {
        let read = |url: &str| S3Config::parse(url).map(|config| (config.bucket, config.prefix));
        assert_eq!(read("s3://voice"), Ok(("voice".into(), String::new())));
        assert_eq!(read("s3://voice/"), Ok(("voice".into(), String::new())));
        assert_eq!(read("s3://voice.of-1/a/b/"), Ok(("voice.of-1".into(), "a/b".into())));
        for wrong in
            ["", "voice", "https://voice", "s3://", "s3://ab", "s3://Voice", "s3://voice/a//b", "s3://voice/..", "s3://voice/a/../b"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
