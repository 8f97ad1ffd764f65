//! The hub over HTTP: what a file is (size, sum, commit), and its bytes from any place on. It follows redirects by hand, so that the token goes
//! to the hub and to nobody else, and nothing falls from https to http.
//!
//! The protocol is that of `https://huggingface.co/{repo}/resolve/{revision}/{path}`: a HEAD answers, or redirects elsewhere, with `ETag` or
//! `X-Linked-Etag`, `Content-Length` or `X-Linked-Size`, and `X-Repo-Commit`. Mirrors do the same under another endpoint.

use std::fmt;
use std::time::Duration;

use futures::{Stream, StreamExt};
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, LOCATION, RANGE};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Response, StatusCode};
use url::Url;

use crate::checksum::Checksum;

pub const PUBLIC_ENDPOINT: &str = "https://huggingface.co";
const REDIRECTS_MAX: usize = 10;

/// A secret that the hub knows; no log shows it.
#[derive(Clone)]
pub struct Token(pub String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(...)")
    }
}

#[derive(Debug, Clone)]
pub struct HubConfig {
    /// Without a path; a mirror's where one is used.
    pub endpoint: String,
    /// For repositories that ask for one.
    pub token: Option<Token>,
    pub connect_ms: u64,
    /// How long a transfer may stand still.
    pub idle_ms: u64,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self { endpoint: PUBLIC_ENDPOINT.into(), token: None, connect_ms: 10_000, idle_ms: 30_000 }
    }
}

/// Sorted by what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// Try again.
    #[error("{host} can't be reached: {detail}")]
    Unreachable { host: String, detail: String },
    /// Give a token, or accept the terms of the model on its page.
    #[error("{host} wants a token for {what}, or its terms accepted on its page (status {status})")]
    Forbidden { host: String, what: String, status: u16 },
    #[error("{host} has no {what}")]
    NotFound { host: String, what: String },
    /// Nothing to be done but to choose another endpoint.
    #[error("{host} is no hub that can be used: {detail}")]
    Unusable { host: String, detail: String },
}

/// One file of a repository, as the hub tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteFile {
    pub path: String,
    pub size_bytes: u64,
    /// `None` where the hub's `ETag` says nothing of the bytes.
    pub told: Option<Checksum>,
    pub commit: Option<String>,
    url: Url,
}

/// Where a file lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    pub repo: &'a str,
    pub revision: &'a str,
    pub path: &'a str,
}

#[derive(Debug, Clone)]
pub struct Hub {
    http: Client,
    endpoint: Url,
    token: Option<Token>,
}

impl Hub {
    /// # Errors
    /// [`HubError::Unusable`] for an endpoint that is no http or https address.
    pub fn new(config: HubConfig) -> Result<Self, HubError> {
        let endpoint = endpoint_of(&config.endpoint)?;
        let http = Client::builder()
            .redirect(Policy::none())
            .connect_timeout(Duration::from_millis(config.connect_ms))
            .read_timeout(Duration::from_millis(config.idle_ms))
            .user_agent(concat!("clonyvoice/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| HubError::Unusable { host: host_of(&endpoint), detail: chain(&error) })?;
        Ok(Self { http, endpoint, token: config.token })
    }

    pub fn endpoint(&self) -> &str {
        self.endpoint.as_str().trim_end_matches('/')
    }

    /// What the hub tells of a file, without its bytes.
    ///
    /// # Errors
    /// All of [`HubError`].
    pub async fn look_up(&self, place: Place<'_>) -> Result<RemoteFile, HubError> {
        let mut url = self.endpoint.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(place.repo.split('/')).push("resolve").push(place.revision).extend(place.path.split('/'));
        }
        let first = url.clone();
        let (mut etag, mut size_bytes, mut commit) = (None, None, None);
        for _ in 0..REDIRECTS_MAX {
            let answer = self.send(Method::HEAD, &url, None, place.path).await?;
            let headers = answer.headers();
            etag = etag.or_else(|| text(headers, "x-linked-etag"));
            size_bytes = size_bytes.or_else(|| number(headers, "x-linked-size"));
            commit = commit.or_else(|| text(headers, "x-repo-commit"));
            let next = self.redirected(&answer, &url)?;
            // What lies elsewhere knows neither the commit nor the sum; and a HEAD of a signed address is refused by some stores.
            if let Some(next) = next.as_ref().filter(|next| next.origin() == self.endpoint.origin()) {
                url = next.clone();
                continue;
            }
            if next.is_none() {
                etag = etag.or_else(|| text(headers, ETAG.as_str()));
                size_bytes = size_bytes.or_else(|| number(headers, CONTENT_LENGTH.as_str()));
            }
            let size_bytes = size_bytes.ok_or_else(|| self.unusable(&url, format!("it does not say how large {} is", place.path)))?;
            let told = etag.as_deref().and_then(Checksum::of_etag);
            return Ok(RemoteFile { path: place.path.into(), size_bytes, told, commit, url: first });
        }
        Err(self.unusable(&url, "it redirects without end".into()))
    }

    /// The bytes of a file from `from` on, and where they really begin: 0 where the hub does not know parts.
    ///
    /// # Errors
    /// All of [`HubError`]; the stream ends with [`HubError::Unreachable`] where the line breaks.
    pub async fn read(
        &self,
        file: &RemoteFile,
        from: u64,
    ) -> Result<(u64, impl Stream<Item = Result<impl AsRef<[u8]>, HubError>>), HubError> {
        let mut url = file.url.clone();
        for _ in 0..REDIRECTS_MAX {
            let answer = self.send(Method::GET, &url, (from > 0).then_some(from), &file.path).await?;
            if let Some(next) = self.redirected(&answer, &url)? {
                url = next;
                continue;
            }
            let begins = match answer.status() {
                StatusCode::PARTIAL_CONTENT => range_start(answer.headers()).filter(|start| *start == from),
                _ => Some(0),
            };
            let begins =
                begins.ok_or_else(|| self.unusable(&url, format!("it answers another part of {} than was asked for", file.path)))?;
            let host = host_of(&url);
            let broken = move |error: reqwest::Error| HubError::Unreachable { host: host.clone(), detail: chain(&error) };
            return Ok((begins, answer.bytes_stream().map(move |piece| piece.map_err(&broken))));
        }
        Err(self.unusable(&url, "it redirects without end".into()))
    }

    async fn send(&self, method: Method, url: &Url, from: Option<u64>, what: &str) -> Result<Response, HubError> {
        let mut request = self.http.request(method, url.clone());
        if let Some(token) = self.token.as_ref().filter(|_| url.origin() == self.endpoint.origin()) {
            request = request.header(AUTHORIZATION, format!("Bearer {}", token.0));
        }
        if let Some(from) = from {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        let host = host_of(url);
        let answer = request.send().await.map_err(|error| HubError::Unreachable { host: host.clone(), detail: chain(&error) })?;
        let status = answer.status();
        let what = what.to_owned();
        match status.as_u16() {
            200..=399 => Ok(answer),
            401 | 403 => Err(HubError::Forbidden { host, what, status: status.as_u16() }),
            404 | 410 => Err(HubError::NotFound { host, what }),
            408 | 429 | 500.. => Err(HubError::Unreachable { host, detail: format!("it answers {what} with status {status}") }),
            _ => Err(HubError::Unusable { host, detail: format!("it answers {what} with status {status}") }),
        }
    }

    /// Where an answer sends us, unless it is what was asked for.
    fn redirected(&self, answer: &Response, from: &Url) -> Result<Option<Url>, HubError> {
        if !answer.status().is_redirection() {
            return Ok(None);
        }
        let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let next = location.and_then(|location| from.join(location).ok());
        let next = next.ok_or_else(|| self.unusable(from, "it redirects to nowhere".into()))?;
        if !matches!(next.scheme(), "http" | "https") || (from.scheme() == "https" && next.scheme() == "http") {
            return Err(self.unusable(from, format!("it redirects to {}:", next.scheme())));
        }
        Ok(Some(next))
    }

    fn unusable(&self, url: &Url, detail: String) -> HubError {
        HubError::Unusable { host: host_of(url), detail }
    }
}

/// The address of a hub.
///
/// # Errors
/// [`HubError::Unusable`] for what is no http or https address.
pub fn endpoint_of(text: &str) -> Result<Url, HubError> {
    let unusable = |detail: String| HubError::Unusable { host: text.to_owned(), detail };
    let endpoint = Url::parse(text).map_err(|error| unusable(error.to_string()))?;
    if !matches!(endpoint.scheme(), "http" | "https") || endpoint.host().is_none() {
        return Err(unusable("an endpoint begins with http:// or https:// and a host".into()));
    }
    Ok(endpoint)
}

fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    text(headers, name)?.trim().parse().ok()
}

/// The first byte of `bytes 100-199/200`.
fn range_start(headers: &HeaderMap) -> Option<u64> {
    text(headers, CONTENT_RANGE.as_str())?.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}

/// An error with its causes: reqwest's own text names the address alone, which may hold a signature, so that is taken out.
fn chain(error: &reqwest::Error) -> String {
    let mut causes = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    if causes.is_empty() { "the connection failed".into() } else { causes.join(": ") }
}
