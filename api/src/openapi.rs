//! The OpenAPI 3.1 document: operations and schemas come from the endpoints, and what holds for all of them (keys, scopes, limits,
//! problems, headers) is added here from the table of routes. Pure: a table in, JSON out.

use std::collections::BTreeMap;
use std::sync::Once;

use salvo::http::Method;
use salvo::oapi::naming::{FlexNamer, set_namer};
use salvo::oapi::{Components, OpenApi, ToSchema};
use serde_json::{Map, Value, json};

use crate::gate::{Access, BodyKind};
use crate::limits::{LIGHT_FACTOR, Weight};
use crate::openapi_examples;
use crate::problem::{Code, ProblemBody};
use crate::routes::Route;
use crate::scopes::Scope;

const DESCRIPTION: &str = include_str!("openapi_description.md");

/// The document as JSON.
pub fn document(table: &[Route]) -> Value {
    static NAMES: Once = Once::new();
    NAMES.call_once(|| set_namer(FlexNamer::new().short_mode(true).generic_delimiter("_", "")));
    let mut api = OpenApi::new("ClonyVoice", env!("CARGO_PKG_VERSION"));
    for route in table {
        api = api.merge_router(&route.endpoint);
    }
    ProblemBody::to_schema(&mut api.components);
    let mut document = serde_json::to_value(&api).unwrap_or_default();
    document["info"]["description"] = DESCRIPTION.into();
    document["info"]["license"] = json!({"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"});
    document["servers"] = json!([{"url": "/", "description": "This server"}]);
    document["tags"] = tags(table);
    document["components"]["securitySchemes"] = json!({
        "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "A key made by `clonyvoice keys create`"},
        "bearer": {"type": "http", "scheme": "bearer", "description": "The same key as `Authorization: Bearer`"},
    });
    document["components"]["headers"] = headers();
    for route in table {
        let method = route.method.as_str().to_ascii_lowercase();
        if let Some(operation) = document["paths"][route.path][method].as_object_mut() {
            complete(operation, route);
        }
    }
    openapi_examples::complete(&mut document);
    document
}

/// Schemas alone, for whoever documents something outside a route.
pub fn schema_of<T: ToSchema>() -> Value {
    let mut components = Components::new();
    serde_json::to_value(T::to_schema(&mut components)).unwrap_or_default()
}

fn tags(table: &[Route]) -> Value {
    let mut names: Vec<&str> = Vec::new();
    for route in table {
        if !names.contains(&route.tag) {
            names.push(route.tag);
        }
    }
    names.into_iter().map(|name| json!({"name": name})).collect()
}

fn headers() -> Value {
    let header = |description: &str, schema: Value| json!({"description": description, "schema": schema});
    json!({
        "X-Request-Id": header("The id of this request, also in the server's log", json!({"type": "string"})),
        "RateLimit-Policy": header("The limit: name, `q` requests in `w` seconds", json!({"type": "string"})),
        "RateLimit": header("What is left: `r` requests, full again in `t` seconds", json!({"type": "string"})),
        "X-RateLimit-Limit": header("Requests a minute", json!({"type": "integer"})),
        "X-RateLimit-Remaining": header("Requests left now", json!({"type": "integer"})),
        "X-RateLimit-Reset": header("Seconds until all are back", json!({"type": "integer"})),
        "Retry-After": header("Seconds to wait before asking again", json!({"type": "integer"})),
        "Location": header("Where it is, or where to look how far it is", json!({"type": "string"})),
    })
}

/// What the endpoint itself can't know.
fn complete(operation: &mut Map<String, Value>, route: &Route) {
    operation.insert("tags".into(), json!([route.tag]));
    let scopes = route.gate.access.scopes();
    let security = if scopes.is_empty() { json!([]) } else { json!([{"apiKey": []}, {"bearer": []}]) };
    operation.insert("security".into(), security);
    let names: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
    operation.insert("x-scopes".into(), json!(names));
    if let Some(scope) = scopes.first() {
        operation.insert("x-default-limit-per-minute".into(), json!(limit_of(*scope, route.gate.weight)));
    }
    describe_parameters(operation);
    if route.method == Method::POST {
        add_idempotency_key(operation);
    }
    let mut problems = problems_of(route, operation);
    let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else {
        return;
    };
    responses.remove("default");
    if let Some(content_type) = file_type(route.path) {
        for response in responses.values_mut() {
            rename_content(response, content_type);
        }
    }
    if makes_films(route.path) {
        for response in responses.values_mut() {
            add_film(response);
        }
    }
    for (status, response) in responses.iter_mut() {
        response["headers"] = answer_headers(status, route.gate.access);
    }
    for (status, codes) in std::mem::take(&mut problems) {
        let names: Vec<String> = codes.iter().map(|code| format!("`{code}`")).collect();
        let response = json!({
            "description": format!("{}: {}", codes[0].title(), names.join(", ")),
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
            "headers": answer_headers(&status.to_string(), route.gate.access),
        });
        responses.insert(status.to_string(), response);
    }
    responses.sort_keys();
}

/// What the files of a generation are, where they are not audio.
fn file_type(path: &str) -> Option<&'static str> {
    let ending = path.strip_prefix("/api/generations/{id}/")?;
    match ending {
        "subtitles.srt" => Some("application/x-subrip"),
        "subtitles.vtt" => Some("text/vtt"),
        _ => None,
    }
}

fn rename_content(response: &mut Value, content_type: &str) {
    if let Some(content) = response.get_mut("content").and_then(Value::as_object_mut)
        && let Some(file) = content.remove("audio/wav")
    {
        content.retain(|kind, _| !kind.starts_with("audio/"));
        content.insert(content_type.into(), file);
    }
}

/// A merged timeline may be a film.
fn makes_films(path: &str) -> bool {
    matches!(path, "/api/generate/merge-timeline" | "/api/timeline/{task_id}/audio/{render_id}")
}

fn add_film(response: &mut Value) {
    if let Some(content) = response.get_mut("content").and_then(Value::as_object_mut)
        && let Some(file) = content.get("audio/wav").cloned()
    {
        content.insert("video/mp4".into(), file);
    }
}

fn limit_of(scope: Scope, weight: Weight) -> u32 {
    let factor = if weight == Weight::Light { LIGHT_FACTOR } else { 1 };
    scope.default_limit_per_minute() * factor
}

fn answer_headers(status: &str, access: Access) -> Value {
    let mut names = vec!["X-Request-Id"];
    // Whoever is not let in has no bucket.
    if access != Access::Public && !matches!(status, "401" | "403" | "101") {
        names.extend(["RateLimit-Policy", "RateLimit", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"]);
    }
    match status {
        "201" | "307" => names.push("Location"),
        "202" => names.extend(["Location", "Retry-After"]),
        "429" | "503" => names.push("Retry-After"),
        _ => {}
    }
    names.into_iter().map(|name| (name.to_owned(), json!({"$ref": format!("#/components/headers/{name}")}))).collect::<Map<_, _>>().into()
}

/// The codes of a route by status: what its gate, its body and its parameters can be wrong about.
fn problems_of(route: &Route, operation: &Map<String, Value>) -> BTreeMap<u16, Vec<Code>> {
    let mut codes = vec![Code::HostNotAllowed, Code::OriginNotAllowed, Code::Internal, Code::StorageUnavailable];
    if route.gate.access != Access::Public {
        codes.extend([Code::Unauthenticated, Code::KeyRevoked, Code::KeyExpired, Code::InsufficientScope, Code::RateLimited]);
    }
    if route.gate.body == BodyKind::Multipart {
        codes.extend([Code::InsufficientStorage, Code::NotReady]);
    }
    if route.gate.body != BodyKind::None {
        codes.extend([Code::InvalidRequest, Code::RequestTimeout, Code::PayloadTooLarge, Code::UnsupportedMedia, Code::ValidationFailed]);
    }
    if route.method == Method::POST {
        codes.extend([Code::IdempotencyInFlight, Code::IdempotencyMismatch]);
    }
    let parameters = operation.get("parameters").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if matches!(route.method, Method::GET | Method::DELETE) && parameters.iter().any(|parameter| parameter["in"] == "query") {
        codes.extend([Code::InvalidRequest, Code::ValidationFailed]);
    }
    codes.extend(own_problems(&route.method, route.path));
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in codes {
        let listed = by_status.entry(code.status().as_u16()).or_default();
        if !listed.contains(&code) {
            listed.push(code);
        }
    }
    by_status
}

/// What else an endpoint answers.
fn own_problems(method: &Method, path: &str) -> Vec<Code> {
    let speak = [
        Code::VoiceNotFound,
        Code::MontageNotFound,
        Code::EngineUnavailable,
        Code::ModelNotInstalled,
        Code::QueueFull,
        Code::InsufficientStorage,
    ];
    let wanted_audio = [Code::Conflict, Code::GenerationFailed];
    match path {
        "/api/voices/{id}" => match *method {
            Method::GET => vec![Code::VoiceNotFound],
            Method::PUT => vec![Code::VoiceNotFound, Code::ReadOnly, Code::StaleRevision],
            _ => vec![Code::VoiceNotFound, Code::ReadOnly, Code::Conflict],
        },
        "/api/voices/{id}/samples/{sample_id}" | "/api/voices/{id}/preview" => {
            vec![Code::VoiceNotFound, Code::AudioNotFound, Code::Gone, Code::RangeNotSatisfiable]
        }
        "/api/voices/export" => vec![Code::VoiceNotFound, Code::NotReady, Code::InsufficientStorage],
        "/api/voices/import" => vec![Code::ImportNotFound, Code::ToolNotInstalled],
        "/api/voices/import/preview" | "/api/audio-duration" => vec![Code::ToolNotInstalled],
        "/api/categories" => match *method {
            Method::POST => vec![Code::Conflict],
            Method::DELETE => vec![Code::CategoryNotFound],
            _ => Vec::new(),
        },
        "/api/favorites/{id}" => vec![Code::VoiceNotFound, Code::Conflict],
        "/api/generate/merge-chunks" => {
            [&[Code::TaskNotFound, Code::ChunksIncomplete, Code::Gone, Code::InsufficientStorage], &wanted_audio[..]].concat()
        }
        "/api/generate/merge-timeline" => {
            let film = Code::ToolNotInstalled;
            [&[Code::TaskNotFound, Code::ChunksIncomplete, Code::Gone, Code::InsufficientStorage, film], &wanted_audio[..]].concat()
        }
        "/api/generate/regenerate-chunk" => {
            [&[Code::TaskNotFound, Code::ChunkNotFound, Code::AudioNotFound, Code::Gone], &speak[..], &wanted_audio[..]].concat()
        }
        "/api/models" if *method == Method::POST => vec![Code::QueueFull, Code::Gone],
        "/api/voices/{id}/previews/{preview_id}" => {
            vec![Code::VoiceNotFound, Code::AudioNotFound, Code::Gone, Code::RangeNotSatisfiable]
        }
        "/api/voices/{id}/generate-preview" => {
            let own = [
                Code::VoiceNotFound,
                Code::ReadOnly,
                Code::EngineUnavailable,
                Code::ModelNotInstalled,
                Code::QueueFull,
                Code::AudioNotFound,
                Code::Gone,
            ];
            [&own[..], &wanted_audio[..]].concat()
        }
        "/api/design/create" => vec![
            Code::VoiceNotFound,
            Code::AudioNotFound,
            Code::ReadOnly,
            Code::Conflict,
            Code::EngineUnavailable,
            Code::ModelNotInstalled,
            Code::QueueFull,
            Code::Gone,
        ],
        "/api/clone/cancel" | "/api/design/cancel" => vec![Code::TaskNotFound, Code::NotCancellable],
        path if path.starts_with("/api/clone/") => vec![Code::EngineUnavailable, Code::QueueFull, Code::ToolNotInstalled, Code::Gone],
        path if path.starts_with("/api/generate/") => [&speak[..], &wanted_audio[..]].concat(),
        "/api/generation/cancel" => vec![Code::TaskNotFound, Code::NotCancellable],
        "/api/job/cancel" => vec![Code::JobNotFound, Code::NotCancellable],
        "/api/jobs/{id}" => vec![Code::JobNotFound],
        "/api/jobs/{id}/audio" => vec![Code::JobNotFound, Code::AudioNotFound, Code::Gone, Code::RangeNotSatisfiable],
        "/api/download-video" => vec![Code::ToolNotInstalled, Code::QueueFull, Code::Gone, Code::InsufficientStorage],
        "/api/transcribe" => vec![
            Code::ModelNotInstalled,
            Code::QueueFull,
            Code::TaskNotFound,
            Code::MediaNotFound,
            Code::ToolNotInstalled,
            Code::Gone,
            Code::InsufficientStorage,
        ],
        "/api/translate" => vec![Code::ModelNotInstalled, Code::QueueFull, Code::Gone],
        "/api/jobs/{id}/retry" => vec![Code::JobNotFound, Code::Conflict],
        "/api/generations/{id}" if *method == Method::DELETE => vec![Code::GenerationNotFound, Code::Conflict],
        "/api/generations/{id}" => vec![Code::GenerationNotFound],
        "/api/montages" if *method == Method::POST => vec![Code::GenerationNotFound, Code::Conflict, Code::InsufficientStorage],
        "/api/montages/{id}" if *method == Method::PUT => vec![Code::MontageNotFound, Code::GenerationNotFound, Code::StaleRevision],
        "/api/montages/{id}" => vec![Code::MontageNotFound],
        "/api/timeline/{task_id}" => vec![Code::TaskNotFound],
        "/api/timeline/{task_id}/layout" => vec![Code::TaskNotFound, Code::StaleRevision],
        "/api/timeline/{task_id}/import-track" | "/api/timeline/{task_id}/import-video" => vec![Code::TaskNotFound, Code::ToolNotInstalled],
        path if path.starts_with("/api/timeline/{task_id}/media/") => {
            vec![Code::TaskNotFound, Code::MediaNotFound, Code::Gone, Code::RangeNotSatisfiable]
        }
        "/api/timeline/{task_id}/audio/{render_id}" => {
            vec![Code::TaskNotFound, Code::AudioNotFound, Code::Gone, Code::RangeNotSatisfiable]
        }
        "/api/audio/chunk/{task_id}/{index}" => {
            vec![Code::TaskNotFound, Code::ChunkNotFound, Code::AudioNotFound, Code::Gone, Code::RangeNotSatisfiable]
        }
        path if path.starts_with("/api/generations/{id}/") => {
            vec![Code::GenerationNotFound, Code::AudioNotFound, Code::Gone, Code::RangeNotSatisfiable]
        }
        "/api/api-keys" => vec![Code::KeyManagementIsLocal, Code::GrantExceedsCaller, Code::Conflict],
        path if path.starts_with("/api/api-keys/") => vec![Code::KeyManagementIsLocal, Code::ApiKeyNotFound, Code::Conflict],
        "/ws" => vec![Code::InvalidRequest, Code::TooManySubscribers, Code::NotReady],
        "/api/events" => vec![Code::TooManySubscribers, Code::NotReady],
        "/readyz" => vec![Code::NotReady],
        _ => Vec::new(),
    }
}

/// The extractors name path parameters and say nothing about them.
fn describe_parameters(operation: &mut Map<String, Value>) {
    let Some(parameters) = operation.get_mut("parameters").and_then(Value::as_array_mut) else {
        return;
    };
    for parameter in parameters.iter_mut().filter(|parameter| parameter["in"] == "path") {
        let description = match parameter["name"].as_str().unwrap_or_default() {
            "task_id" => "The id of the generation",
            "index" => "The chunk's place, from 0",
            _ => "The id",
        };
        parameter["description"] = description.into();
    }
}

fn add_idempotency_key(operation: &mut Map<String, Value>) {
    let parameter = json!({
        "name": "Idempotency-Key", "in": "header", "required": false,
        "description": "The same key and body give the first answer again, with `Idempotency-Replayed: true`, and do nothing twice; kept for a day",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    });
    if let Some(parameters) = operation.entry("parameters").or_insert_with(|| json!([])).as_array_mut() {
        parameters.push(parameter);
    }
}
