//! One id for each request: in the answer's `X-Request-Id`, in its problem, on its log line. The log line has the route's pattern, never
//! the path or the query as sent: those may hold what a user wrote.

use std::time::Instant;

use jobs::trace;
use salvo::http::{HeaderName, HeaderValue};
use salvo::{Depot, FlowCtrl, Handler, Request, Response, async_trait};
use tracing::field::Empty;
use tracing::{Instrument, Span};
use uuid::Uuid;

use crate::waiting::trace_of;

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
        let traced = span.in_scope(|| server_span(req));
        ctrl.call_next(req, depot, res).instrument(traced.clone()).instrument(span).await;
        end_server_span(&traced, req, res);
        traced.in_scope(|| {
            tracing::debug!(
                request.id = %id,
                http.method = %req.method(),
                http.route = req.matched_path(),
                http.status = res.status_code.map(|status| status.as_u16()),
                duration_ms = started.elapsed().as_millis() as u64,
                "answered a request"
            );
        });
    }
}

/// By the conventions for HTTP servers; of the address only the route's pattern. A caller's trace goes on.
fn server_span(req: &Request) -> Span {
    let span = tracing::trace_span!(
        target: trace::TARGET,
        "http",
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = %req.method(),
        http.route = Empty,
        http.response.status_code = Empty,
        trace_id = Empty,
    );
    if !span.is_disabled() {
        let sent = trace_of(req.headers());
        if let Some(parent) = sent.traceparent.and_then(|parent| trace::parse(&parent, sent.tracestate.as_deref())) {
            trace::continue_trace(&span, parent);
        }
        trace::note_trace_id(&span);
    }
    span
}

fn end_server_span(span: &Span, req: &mut Request, res: &Response) {
    if span.is_disabled() {
        return;
    }
    // It comes without the slash it begins with.
    let route = format!("/{}", req.matched_path());
    trace::rename(span, format!("{} {route}", req.method()));
    span.record("http.route", &*route);
    let status = res.status_code.map_or(200, |status| status.as_u16());
    span.record("http.response.status_code", status);
    if status >= 500 {
        span.record("otel.status_code", "error");
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
