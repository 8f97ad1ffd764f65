//! Figures for Prometheus.

use salvo::http::header::{CONTENT_TYPE, HeaderValue};
use salvo::oapi::endpoint;
use salvo::{Response, Writer};

use crate::app::App;
use crate::metrics;
use crate::problem::Problem;

/// Figures for Prometheus
///
/// The text format; a scraper sends a key with `system:read` as its bearer token.
#[endpoint(operation_id = "metrics", responses((status_code = 200, description = "Prometheus' text format", body = String, content_type = "text/plain")))]
pub async fn get(app: App, res: &mut Response) -> Result<(), Problem> {
    let text = metrics::text(&app).await?;
    res.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"));
    res.body(text);
    Ok(())
}
