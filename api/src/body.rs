//! Request bodies: read up to the route's limit in flat memory, refused cleanly beyond it, and JSON parsed with the place of what is wrong.
//!
//! A refused body is still read to its end (up to a cap) before the answer goes out: a client that is in the middle of sending would
//! otherwise see a reset connection instead of the answer.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use salvo::extract::{Extractible, Metadata};
use salvo::http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use salvo::http::{ReqBody, StatusCode};
use salvo::oapi::{Components, Content, EndpointArgRegister, Operation, RequestBody, Required, ToSchema};
use salvo::{Depot, FlowCtrl, Handler, Request, Response, async_trait};
use serde::de::DeserializeOwned;

use crate::problem::{Code, FieldProblem, Problem};

/// Beyond this the connection is closed instead of drained.
const DRAIN_BYTES_MAX: u64 = 256 * 1024 * 1024;
const DRAIN_MS_MAX: u64 = 20_000;
/// Larger bodies are parsed off the async threads.
const PARSE_INLINE_BYTES_MAX: usize = 256 * 1024;

/// What a route allows; put into the request by the route's gate.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimit {
    pub bytes_max: u64,
    pub idle_ms: u64,
    /// Until all of it must be there.
    pub total_ms: u64,
}

/// A JSON body.
#[derive(Debug)]
pub struct JsonRequest<T>(pub T);

/// A JSON body that may be left out: then it is `{}`.
#[derive(Debug)]
pub struct OptionalJsonRequest<T>(pub T);

impl<'ex, T: DeserializeOwned + Send + 'static> Extractible<'ex> for JsonRequest<T> {
    fn metadata() -> &'static Metadata {
        static METADATA: Metadata = Metadata::new("");
        &METADATA
    }

    #[allow(refining_impl_trait)]
    async fn extract(req: &'ex mut Request, _depot: &'ex mut Depot) -> Result<Self, Problem> {
        let bytes = json_bytes(req).await?;
        parse_anywhere(bytes).await.map(Self)
    }
}

impl<'ex, T: DeserializeOwned + Send + 'static> Extractible<'ex> for OptionalJsonRequest<T> {
    fn metadata() -> &'static Metadata {
        JsonRequest::<T>::metadata()
    }

    #[allow(refining_impl_trait)]
    async fn extract(req: &'ex mut Request, _depot: &'ex mut Depot) -> Result<Self, Problem> {
        let bytes = json_bytes(req).await?;
        let bytes = if bytes.iter().all(u8::is_ascii_whitespace) { Bytes::from_static(b"{}") } else { bytes };
        parse_anywhere(bytes).await.map(Self)
    }
}

async fn json_bytes(req: &mut Request) -> Result<Bytes, Problem> {
    check_content_type(req)?;
    read(req).await
}

async fn parse_anywhere<T: DeserializeOwned + Send + 'static>(bytes: Bytes) -> Result<T, Problem> {
    if bytes.len() <= PARSE_INLINE_BYTES_MAX {
        return parse(&bytes);
    }
    tokio::task::spawn_blocking(move || parse(&bytes)).await.map_err(Problem::internal)?
}

impl<T: ToSchema> EndpointArgRegister for JsonRequest<T> {
    fn register(components: &mut Components, operation: &mut Operation, _arg: &str) {
        let content = Content::new(T::to_schema(components));
        operation.request_body = Some(RequestBody::new().required(Required::True).add_content("application/json", content));
    }
}

fn check_content_type(req: &Request) -> Result<(), Problem> {
    let Some(value) = req.headers().get(CONTENT_TYPE) else {
        return Ok(());
    };
    let media = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if media == "application/json" || (media.starts_with("application/") && media.ends_with("+json")) {
        return Ok(());
    }
    Err(Problem::new(Code::UnsupportedMedia, "this endpoint takes application/json"))
}

impl<T: ToSchema> EndpointArgRegister for OptionalJsonRequest<T> {
    fn register(components: &mut Components, operation: &mut Operation, arg: &str) {
        JsonRequest::<T>::register(components, operation, arg);
        if let Some(body) = &mut operation.request_body {
            body.required = Some(Required::False);
        }
    }
}

/// The whole body, at most the route's limit.
pub async fn read(req: &mut Request) -> Result<Bytes, Problem> {
    let limit = *req.extensions().get::<BodyLimit>().ok_or_else(|| Problem::internal("a route without a body limit reads a body"))?;
    if declared_bytes(req).is_some_and(|declared| declared > limit.bytes_max) {
        return Err(too_large(&limit));
    }
    let all = tokio::time::timeout(Duration::from_millis(limit.total_ms), read_pieces(req, limit));
    let late = |_| Problem::new(Code::RequestTimeout, format!("the body was not complete after {} ms", limit.total_ms));
    all.await.map_err(late)?
}

fn too_large(limit: &BodyLimit) -> Problem {
    Problem::new(Code::PayloadTooLarge, format!("the body may have at most {} bytes", limit.bytes_max))
}

async fn read_pieces(req: &mut Request, limit: BodyLimit) -> Result<Bytes, Problem> {
    let mut body = req.take_body();
    let mut bytes = BytesMut::new();
    loop {
        let next = tokio::time::timeout(Duration::from_millis(limit.idle_ms), body.next());
        let frame = match next.await {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(bytes.freeze()),
            Err(_) => return Err(Problem::new(Code::RequestTimeout, format!("the body paused for more than {} ms", limit.idle_ms))),
        };
        let frame = frame.map_err(|_| Problem::new(Code::InvalidRequest, "the body ended before it was complete"))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if (bytes.len() + data.len()) as u64 > limit.bytes_max {
            // What is left is for the drain.
            req.replace_body(body);
            return Err(too_large(&limit));
        }
        bytes.extend_from_slice(&data);
    }
}

fn declared_bytes(req: &Request) -> Option<u64> {
    req.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// What is no JSON, or not the JSON that was wanted, is 400 and names the place: line and column, and the field's path.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    if holds_nul(bytes) {
        return Err(Problem::new(Code::InvalidRequest, "texts must not hold the character \\u0000"));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        json_problem(&path, error.inner())
    })?;
    deserializer.end().map_err(|error| json_problem(".", &error))?;
    Ok(value)
}

/// Whether a JSON text escapes a NUL: no text for Postgres, and the end of one for a C library.
fn holds_nul(json: &[u8]) -> bool {
    let mut rest = json;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        if rest[at..].starts_with(br"\u0000") {
            return true;
        }
        // Whatever is escaped, a second backslash among it, begins nothing.
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    false
}

fn json_problem(path: &str, error: &serde_json::Error) -> Problem {
    let field = if path == "." { "body" } else { path };
    // serde_json ends its messages with the place; in the list of fields it would be noise.
    let detail = format!("{field}: {error}");
    let message = error.to_string();
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
    Problem { errors: vec![FieldProblem::new(field, message)], ..Problem::new(Code::InvalidRequest, detail) }
}

/// A hoop around everything: reads what nobody read of the body of a refused request.
#[derive(Debug)]
pub struct DrainBody;

#[async_trait]
impl Handler for DrainBody {
    async fn handle(&self, req: &mut Request, depot: &mut Depot, res: &mut Response, ctrl: &mut FlowCtrl) {
        ctrl.call_next(req, depot, res).await;
        let refused = res.status_code.is_some_and(|status| status.is_client_error() || status.is_server_error());
        // A client that asked first has not sent anything; polling the body would tell it to begin.
        if refused && res.status_code != Some(StatusCode::REQUEST_TIMEOUT) && !req.headers().contains_key(EXPECT) {
            let body = req.take_body();
            let _ = tokio::time::timeout(Duration::from_millis(DRAIN_MS_MAX), drain(body)).await;
        }
    }
}

async fn drain(mut body: ReqBody) {
    let mut drained_bytes = 0;
    while let Some(Ok(frame)) = body.next().await {
        drained_bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        if drained_bytes > DRAIN_BYTES_MAX {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Request {
        text: Option<String>,
        #[serde(default)]
        chunks: Vec<Chunk>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Chunk {
        speed: Option<f32>,
    }

    fn problem(json: &str) -> Problem {
        parse::<Request>(json.as_bytes()).unwrap_err()
    }

    #[test]
    fn unknown_fields_and_null_are_no_mistake() {
        assert_eq!(parse::<Request>(br#"{"text": null, "novelty": [1]}"#).unwrap(), Request { text: None, chunks: vec![] });
    }

    #[test]
    fn broken_json_is_named_with_its_place() {
        let broken = problem("{\"text\": \"a\",\n  \"chunks\": [{\"speed\": }]}");
        assert_eq!(broken.code, Code::InvalidRequest);
        assert_eq!(broken.errors[0].field, "chunks[0].speed");
        assert!(broken.detail.contains("line 2 column 24"), "{}", broken.detail);
        assert!(problem("").detail.contains("line 1 column 0"));
        for text in ["{", "nope", "{\"text\": \"a\"} x", "\u{feff}{}", "{\"a\":1,}", "[1]", "7", "null"] {
            assert_eq!(problem(text).code, Code::InvalidRequest, "{text}");
        }
        assert_eq!(parse::<Request>(b"{\"text\": \"\xff\"}").unwrap_err().code, Code::InvalidRequest);
    }

    #[test]
    fn a_nul_is_no_text() {
        assert_eq!(problem(r#"{"text": "a\u0000b"}"#).code, Code::InvalidRequest);
        assert_eq!(problem(r#"{"text": "\\\u0000"}"#).code, Code::InvalidRequest);
        for fine in [r#"{"text": "\\u0000"}"#, r#"{"text": "\u0001"}"#, r#"{"text": "u0000 \\"}"#] {
            assert!(parse::<Request>(fine.as_bytes()).is_ok(), "{fine}");
        }
    }

    #[test]
    fn a_wrong_type_is_named_with_its_field() {
        let wrong = problem("{\"chunks\": [{}, {\"speed\": \"fast\"}]}");
        assert_eq!((wrong.code, wrong.errors[0].field.as_str()), (Code::InvalidRequest, "chunks[1].speed"));
        assert!(wrong.errors[0].message.starts_with("invalid type: string"), "{:?}", wrong.errors);
    }

    #[test]
    fn deep_nesting_is_refused() {
        assert_eq!(problem(&"[".repeat(100_000)).code, Code::InvalidRequest);
    }
}
