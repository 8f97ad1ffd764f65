//! Every error as `application/problem+json` (RFC 9457), one code for each cause; what the framework answers by itself (404, 405, 413, 500)
//! is put into the same form by [`ProblemCatcher`].
//!
//! The detail of a 5xx is logged and not sent. This file may not know endpoints.

use std::fmt;

use salvo::http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use salvo::http::{ResBody, StatusCode, StatusError};
use salvo::oapi::{self, Components, EndpointOutRegister, Operation, ToSchema};
use salvo::{Depot, FlowCtrl, Handler, Request, Response, Scribe, async_trait};
use serde::Serialize;
use storage::StorageError;

use crate::request_id;

/// The causes a caller can tell apart. `as_str` is the contract's `code`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    InvalidRequest,
    Unauthenticated,
    KeyRevoked,
    KeyExpired,
    InsufficientScope,
    GrantExceedsCaller,
    KeyManagementIsLocal,
    HostNotAllowed,
    OriginNotAllowed,
    ReadOnly,
    RouteNotFound,
    VoiceNotFound,
    CategoryNotFound,
    ImportNotFound,
    TaskNotFound,
    JobNotFound,
    ApiKeyNotFound,
    GenerationNotFound,
    ChunkNotFound,
    AudioNotFound,
    MediaNotFound,
    MontageNotFound,
    MethodNotAllowed,
    RequestTimeout,
    Conflict,
    NotCancellable,
    ChunksIncomplete,
    StaleRevision,
    IdempotencyInFlight,
    Gone,
    PayloadTooLarge,
    UnsupportedMedia,
    RangeNotSatisfiable,
    ValidationFailed,
    IdempotencyMismatch,
    HeadersTooLarge,
    RateLimited,
    Internal,
    GenerationFailed,
    QueueFull,
    ToolNotInstalled,
    EngineUnavailable,
    ModelNotInstalled,
    TooManySubscribers,
    StorageUnavailable,
    NotReady,
    InsufficientStorage,
}

impl Code {
    pub fn as_str(self) -> &'static str {
        self.row().1
    }

    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.row().0).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The same for every problem of a code, as the RFC wants.
    pub fn title(self) -> &'static str {
        self.row().2
    }

    fn row(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::InvalidRequest => (400, "invalid_request", "The request can't be read"),
            Self::Unauthenticated => (401, "unauthenticated", "A valid API key is needed"),
            Self::KeyRevoked => (401, "key_revoked", "The API key was revoked"),
            Self::KeyExpired => (401, "key_expired", "The API key has expired"),
            Self::InsufficientScope => (403, "insufficient_scope", "The API key lacks the scope of this endpoint"),
            Self::GrantExceedsCaller => (403, "grant_exceeds_caller", "A key can't grant what it does not have"),
            Self::KeyManagementIsLocal => (403, "key_management_is_local", "Keys are managed on the server's machine only"),
            Self::HostNotAllowed => (403, "host_not_allowed", "This server does not answer to that name"),
            Self::OriginNotAllowed => (403, "origin_not_allowed", "Pages of that origin may not call this server"),
            Self::ReadOnly => (403, "read_only", "It can be read, and not changed"),
            Self::RouteNotFound => (404, "route_not_found", "There is no such endpoint"),
            Self::VoiceNotFound => (404, "voice_not_found", "There is no such voice"),
            Self::CategoryNotFound => (404, "category_not_found", "There is no such category"),
            Self::ImportNotFound => (404, "import_not_found", "There is no such archive"),
            Self::TaskNotFound => (404, "task_not_found", "There is no such task"),
            Self::JobNotFound => (404, "job_not_found", "There is no such job"),
            Self::ApiKeyNotFound => (404, "api_key_not_found", "There is no such API key"),
            Self::GenerationNotFound => (404, "generation_not_found", "There is no such generation"),
            Self::ChunkNotFound => (404, "chunk_not_found", "There is no such chunk"),
            Self::AudioNotFound => (404, "audio_not_found", "There is no such audio"),
            Self::MediaNotFound => (404, "media_not_found", "There is no such medium"),
            Self::MontageNotFound => (404, "montage_not_found", "There is no such montage"),
            Self::MethodNotAllowed => (405, "method_not_allowed", "The endpoint does not have that method"),
            Self::RequestTimeout => (408, "request_timeout", "The request took too long to arrive"),
            Self::Conflict => (409, "conflict", "The state of the object does not allow that"),
            Self::NotCancellable => (409, "not_cancellable", "The job has ended"),
            Self::ChunksIncomplete => (409, "chunks_incomplete", "Some chunks are not finished"),
            Self::StaleRevision => (409, "stale_revision", "It was changed in the meantime"),
            Self::IdempotencyInFlight => (409, "idempotency_in_flight", "The first request with this key is still at work"),
            Self::Gone => (410, "gone", "The file is no longer kept"),
            Self::PayloadTooLarge => (413, "payload_too_large", "The request body is too large"),
            Self::UnsupportedMedia => (415, "unsupported_media", "The body is of a type this endpoint does not take"),
            Self::RangeNotSatisfiable => (416, "range_not_satisfiable", "The file ends before that range"),
            Self::ValidationFailed => (422, "validation_failed", "Some values are not allowed"),
            Self::IdempotencyMismatch => (422, "idempotency_mismatch", "The key was used for another request"),
            Self::HeadersTooLarge => (431, "headers_too_large", "The request headers are too large"),
            Self::RateLimited => (429, "rate_limited", "Too many requests"),
            Self::Internal => (500, "internal", "Something went wrong here"),
            Self::GenerationFailed => (500, "generation_failed", "The speech could not be generated"),
            Self::QueueFull => (503, "queue_full", "The queue is full"),
            Self::ToolNotInstalled => (503, "tool_not_installed", "A program this needs is not installed"),
            Self::ModelNotInstalled => (503, "model_not_installed", "No model for this is installed"),
            Self::EngineUnavailable => (503, "engine_unavailable", "The speech engine is not available"),
            Self::TooManySubscribers => (503, "too_many_subscribers", "Too many open event connections"),
            Self::StorageUnavailable => (503, "storage_unavailable", "The storage does not answer"),
            Self::NotReady => (503, "not_ready", "The server does not take requests now"),
            Self::InsufficientStorage => (507, "insufficient_storage", "The disk is full"),
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One wrong value, with the name under which the caller sent it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldProblem {
    /// Where: a field's path such as `chunks[3].text`, or a parameter's name.
    pub field: String,
    pub message: String,
}

impl FieldProblem {
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// An error on its way to the caller.
#[derive(Debug, Clone)]
pub struct Problem {
    pub code: Code,
    /// Sent, so it may hold nothing that the caller does not know or may not know.
    pub detail: String,
    pub errors: Vec<FieldProblem>,
    pub retry_after_s: Option<u64>,
    /// Logged, not sent.
    pub cause: Option<String>,
    /// What to type to mend it.
    pub command: Option<String>,
}

/// The body, as it is documented and sent.
#[derive(Debug, Serialize, ToSchema)]
#[salvo(schema(name = "Problem", example = json!({
    "type": "urn:clonyvoice:problem:validation_failed", "title": "Some values are not allowed", "status": 422,
    "detail": "text: must not be empty", "code": "validation_failed", "request_id": "0197f2c4-7d1e-7b3a-9c55-2f6d0e1a8b90",
    "errors": [{"field": "text", "message": "must not be empty"}]
})))]
pub struct ProblemBody {
    /// Names the cause; `urn:clonyvoice:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The cause in words, the same for each problem of a code.
    pub title: String,
    pub status: u16,
    /// What is wrong this time.
    pub detail: String,
    /// The cause as one word, for programs.
    pub code: String,
    /// As in `X-Request-Id`, to find the request in the server's log.
    pub request_id: Option<String>,
    /// One entry for each wrong value.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldProblem>,
    /// What to type on the server to mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

impl Problem {
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), errors: Vec::new(), retry_after_s: None, cause: None, command: None }
    }

    /// 422 with one entry for each wrong value.
    pub fn invalid(errors: Vec<FieldProblem>) -> Self {
        let lines: Vec<String> = errors.iter().take(3).map(|error| format!("{}: {}", error.field, error.message)).collect();
        let more = if errors.len() > lines.len() { format!(" (and {} more)", errors.len() - lines.len()) } else { String::new() };
        Self { errors, ..Self::new(Code::ValidationFailed, lines.join("; ") + &more) }
    }

    pub fn invalid_field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::invalid(vec![FieldProblem::new(field, message)])
    }

    /// 500; the cause goes to the log.
    pub fn internal(cause: impl fmt::Display) -> Self {
        Self { cause: Some(cause.to_string()), ..Self::new(Code::Internal, "the request failed on the server; its log has the reason") }
    }

    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    #[must_use]
    pub fn mended_by(mut self, command: impl Into<String>) -> Self {
        self.command = Some(command.into());
        self
    }

    fn body(self, request_id: Option<String>) -> ProblemBody {
        ProblemBody {
            kind: format!("urn:clonyvoice:problem:{}", self.code),
            title: self.code.title().to_owned(),
            status: self.code.status().as_u16(),
            detail: self.detail,
            code: self.code.as_str().to_owned(),
            request_id,
            errors: self.errors,
            command: self.command,
        }
    }
}

impl From<StorageError> for Problem {
    fn from(error: StorageError) -> Self {
        let mut problem = match &error {
            StorageError::Busy(_) | StorageError::Unreachable(_) => {
                Self::new(Code::StorageUnavailable, "the storage did not answer in time; nothing was changed").retry_after(1)
            }
            StorageError::Full(_) => Self::new(Code::InsufficientStorage, "no space is left on the server's disk"),
            StorageError::BlobNotFound(_) => Self::new(Code::Gone, "the file is no longer kept"),
            _ => return Self::internal(error),
        };
        problem.cause = Some(error.to_string());
        problem
    }
}

impl Scribe for Problem {
    fn render(self, res: &mut Response) {
        let status = self.code.status();
        // Without a cause it is no failure of ours: starting, full, not installed.
        if let Some(cause) = self.cause.as_deref().filter(|_| status.is_server_error()) {
            tracing::error!(problem.code = %self.code, problem.cause = cause, request.id = request_id::of_answer(res), "request failed");
        }
        if let Some(seconds) = self.retry_after_s {
            res.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            res.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"clonyvoice\""));
        }
        // What was meant for the good answer does not belong to this one.
        for name in [CONTENT_LENGTH, ETAG] {
            res.headers_mut().remove(name);
        }
        res.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        res.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        res.status_code(status);
        let body = self.body(request_id::of_answer(res).map(str::to_owned));
        res.replace_body(ResBody::Once(serde_json::to_vec(&body).unwrap_or_default().into()));
    }
}

impl EndpointOutRegister for Problem {
    fn register(components: &mut Components, operation: &mut Operation) {
        // The document adds the codes of each route (see `openapi`); this makes sure that the schema is there.
        let schema = ProblemBody::to_schema(components);
        let response = oapi::Response::new("A problem").add_content("application/problem+json", schema);
        operation.responses.insert("default", response);
    }
}

/// Gives the framework's own errors their form. They come as a [`StatusError`] or as a bare status without a body.
#[derive(Debug)]
pub struct ProblemCatcher;

#[async_trait]
impl Handler for ProblemCatcher {
    async fn handle(&self, req: &mut Request, _depot: &mut Depot, res: &mut Response, ctrl: &mut FlowCtrl) {
        let status = res.status_code.unwrap_or(StatusCode::NOT_FOUND);
        let error = match res.take_body() {
            ResBody::Error(error) => Some(error),
            _ => None,
        };
        let allowed = res.headers().get(ALLOW).and_then(|value| value.to_str().ok()).map(str::to_owned);
        res.render(of_framework(status, error.as_ref(), req.method().as_str(), allowed.as_deref()));
        // A status we have no code for stays as it is.
        if res.status_code != Some(status) && !status.is_server_error() {
            res.status_code(status);
        }
        ctrl.skip_rest();
    }
}

fn of_framework(status: StatusCode, error: Option<&StatusError>, method: &str, allowed: Option<&str>) -> Problem {
    match status.as_u16() {
        404 => Problem::new(Code::RouteNotFound, "no endpoint has this path; GET /openapi.json lists them all"),
        405 => Problem::new(Code::MethodNotAllowed, format!("not with {method}; allowed: {}", allowed.unwrap_or("see /openapi.json"))),
        408 => Problem::new(Code::RequestTimeout, "the request took too long to arrive"),
        413 => Problem::new(Code::PayloadTooLarge, "the request body is larger than this endpoint takes"),
        415 => Problem::new(Code::UnsupportedMedia, "the body is of a type this endpoint does not take"),
        416 => Problem::new(Code::RangeNotSatisfiable, "the file ends before that range"),
        431 => Problem::new(Code::HeadersTooLarge, "the request headers are too large"),
        400..=499 => {
            let detail = error.map_or("the request can't be read", |error| error.brief.as_str());
            Problem::new(Code::InvalidRequest, detail)
        }
        503 => Problem::new(Code::NotReady, "the server is busy or stopping").retry_after(1),
        _ => Problem::internal(error.map_or_else(|| status.to_string(), |error| error.brief.clone())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use salvo::catch_panic::CatchPanic;
    use salvo::catcher::Catcher;
    use salvo::prelude::{Router, Service, handler};
    use salvo::test::{ResponseExt, TestClient};

    use super::*;

    #[handler]
    async fn panicking(res: &mut Response) {
        res.headers_mut().insert(ETAG, HeaderValue::from_static("\"old\""));
        panic!("secret of the house");
    }

    #[handler]
    async fn failing() -> Result<(), Problem> {
        Err(Problem::internal("secret of the house"))
    }

    #[handler]
    async fn teapot(res: &mut Response) {
        res.status_code(StatusCode::IM_A_TEAPOT);
    }

    fn service() -> Service {
        let at = |path: &str| Router::with_path(path);
        let router = Router::new().push(at("panic").get(panicking)).push(at("fail").get(failing)).push(at("tea").get(teapot));
        Service::new(router).hoop(request_id::RequestId).hoop(CatchPanic::new()).catcher(Catcher::default().hoop(ProblemCatcher))
    }

    #[tokio::test]
    async fn what_went_wrong_inside_stays_inside() {
        for path in ["panic", "fail"] {
            let mut response = TestClient::get(format!("http://localhost/{path}")).send(&service()).await;
            assert_eq!(response.status_code, Some(StatusCode::INTERNAL_SERVER_ERROR));
            assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
            assert!(!response.headers().contains_key(ETAG));
            let body = response.take_string().await.unwrap();
            assert!(body.contains("\"internal\"") && !body.contains("secret"), "{body}");
        }
    }

    #[tokio::test]
    async fn a_status_without_a_code_keeps_its_number() {
        let mut response = TestClient::get("http://localhost/tea").send(&service()).await;
        assert_eq!(response.status_code, Some(StatusCode::IM_A_TEAPOT));
        assert!(response.take_string().await.unwrap().contains("invalid_request"));
    }

    #[test]
    fn storage_errors_are_sorted_by_what_the_caller_does_next() {
        let code = |error: StorageError| Problem::from(error).code;
        assert_eq!(code(StorageError::Busy(String::new())), Code::StorageUnavailable);
        assert_eq!(code(StorageError::Full(String::new())), Code::InsufficientStorage);
        assert_eq!(code(StorageError::BlobNotFound(String::new())), Code::Gone);
        assert_eq!(code(StorageError::Malformed(String::new())), Code::Internal);
        assert_eq!(Problem::from(StorageError::Unreachable(String::new())).retry_after_s, Some(1));
    }

    #[test]
    fn long_lists_of_wrong_fields_are_counted() {
        let problem =
            Problem::invalid((0..10).map(|index| FieldProblem::new(format!("chunks[{index}].text"), "must not be empty")).collect());
        assert!(problem.detail.ends_with("(and 7 more)"), "{}", problem.detail);
        assert_eq!(problem.errors.len(), 10);
    }
}
