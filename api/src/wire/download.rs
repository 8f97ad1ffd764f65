//! Downloads as the contract shows them.

use jobs::download_video::DownloadOrder;
use salvo::oapi::ToSchema;
use serde::{Deserialize, Serialize};

use crate::problem::Problem;
use crate::waiting::Asking;

/// Fetching the sound of a film.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[salvo(schema(example = json!({"url": "https://example.org/watch?v=1", "format": "flac", "start_ms": 0, "end_ms": 60000})))]
pub struct DownloadRequest {
    /// http or https, on the usual port, of a host that everybody can reach.
    pub url: Option<String>,
    /// `flac` when not given.
    #[serde(alias = "response_format")]
    pub format: Option<String>,
    /// Only from here on.
    #[salvo(schema(minimum = 0))]
    pub start_ms: Option<i64>,
    /// Only up to here.
    #[salvo(schema(minimum = 1))]
    pub end_ms: Option<i64>,
}

impl DownloadRequest {
    pub fn into_order(self, asking: Asking) -> Result<DownloadOrder, Problem> {
        let url = self.url.filter(|url| !url.trim().is_empty()).ok_or_else(|| Problem::invalid_field("url", "is needed"))?;
        Ok(DownloadOrder {
            url: url.trim().to_owned(),
            format: self.format.unwrap_or_else(|| "flac".into()),
            start_ms: self.start_ms,
            end_ms: self.end_ms,
            idempotency: asking.once.map(|once| once.key),
            trace: asking.trace,
        })
    }
}

/// What was fetched; kept as long as its job, for a week.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct DownloadResult {
    pub audio_url: String,
    pub media_id: String,
    /// As the site calls it.
    pub title: Option<String>,
    pub duration_ms: i64,
    pub size_bytes: i64,
    /// Hex; the file's `ETag`.
    pub sha256: String,
    pub content_type: String,
}
