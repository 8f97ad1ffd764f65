//! The OpenAPI document and a page that shows it. The page is one file of ours without anything from elsewhere, so it works offline.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use salvo::http::StatusCode;
use salvo::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, LOCATION};
use salvo::oapi::endpoint;
use salvo::{Depot, Response};
use serde_json::Value;
use uuid::Uuid;

use crate::problem::Problem;
use crate::{openapi, routes};

const PAGE: &str = include_str!("docs.html");

/// The document, made when it is first asked for: a start has no time for it.
#[derive(Debug, Clone, Default)]
pub struct Document(Arc<OnceLock<Bytes>>);

impl Document {
    fn bytes(&self) -> Bytes {
        self.0.get_or_init(|| openapi::document(&routes::table()).to_string().into()).clone()
    }
}

/// This document
#[endpoint(operation_id = "openapi", responses((status_code = 200, description = "OpenAPI 3.1", body = Value, content_type = "application/json")))]
pub async fn openapi_json(depot: &mut Depot, res: &mut Response) -> Result<(), Problem> {
    let document = depot.get_typed::<Document>().map_err(|_| Problem::internal("the router has no document"))?.clone();
    let bytes = tokio::task::spawn_blocking(move || document.bytes()).await.map_err(Problem::internal)?;
    res.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    res.body(bytes);
    Ok(())
}

/// This document as a page
#[endpoint(operation_id = "docs", responses((status_code = 200, description = "A page", body = String, content_type = "text/html")))]
pub async fn page(res: &mut Response) -> Result<(), Problem> {
    // Only the page's own script and style run, whatever the document holds.
    let nonce = Uuid::new_v4().simple().to_string();
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; media-src 'self' blob:; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let policy = HeaderValue::from_str(&policy).map_err(Problem::internal)?;
    res.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    res.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    res.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    res.body(PAGE.replace("{{nonce}}", &nonce));
    Ok(())
}

/// To the page
#[endpoint(operation_id = "root", status_codes(302), responses((status_code = 302, description = "To /docs")))]
pub async fn root(res: &mut Response) {
    res.headers_mut().insert(LOCATION, HeaderValue::from_static("/docs"));
    res.status_code(StatusCode::FOUND);
}
