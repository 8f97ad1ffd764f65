//! One id for each request: in the answer's `X-Request-Id`, in its problem, on its log line. The log line has the route's pattern, never
//! the path or the query as sent: those may hold what a user wrote.

use std::time::Instant;

use salvo::http::{HeaderName, HeaderValue};
use salvo::{Depot, FlowCtrl, Handler, Request, Response, async_trait};
use tracing::Instrument;
use uuid::Uuid;

pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The outermost hoop.
#[derive(Debug)]
pub struct RequestId;

#[async_trait]
impl Handler for RequestId {
    #[allow(clippy::disallowed_methods, reason = "measures how long the answer took, for the log alone")]
    async fn handle(&self, req: &mut Request, depot: &mut Depot, res: &mut Response, ctrl: &mut FlowCtrl) {
        let id = req.headers().get(HEADER).and_then(acceptable).unwrap_or_else(|| Uuid::now_v7().to_string());
        if let Ok(value) = HeaderValue::from_str(&id) {
            res.headers_mut().insert(HEADER, value);
        }
        let started = Instant::now();
        let span = tracing::info_span!("request", request.id = %id);
        ctrl.call_next(req, depot, res).instrument(span).await;
        tracing::debug!(
            request.id = %id,
            http.method = %req.method(),
            http.route = req.matched_path(),
            http.status = res.status_code.map(|status| status.as_u16()),
            duration_ms = started.elapsed().as_millis() as u64,
            "answered a request"
        );
    }
}

/// A caller may bring its own id, if it is short and plain.
fn acceptable(value: &HeaderValue) -> Option<String> {
    let text = value.to_str().ok()?;
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
    // No underscore: an API key sent here by mistake is not logged.
    ((8..=64).contains(&text.len()) && plain).then(|| text.to_owned())
}

/// The id that this answer carries.
pub fn of_answer(res: &Response) -> Option<&str> {
    res.headers().get(HEADER).and_then(|value| value.to_str().ok())
}
