//! The endpoints, one file for each resource. Each reads its arguments, asks `jobs` or `storage`, and puts the answer into its wire form.

pub mod api_keys;
pub mod audio;
pub mod categories;
pub mod chunk_audio;
pub mod clone;
pub mod design;
pub mod docs;
pub mod download;
pub mod events;
pub mod favorites;
pub mod generate;
pub mod generations;
pub mod health;
pub mod jobs;
pub mod lone;
pub mod machine;
pub mod metrics;
pub mod models;
pub mod montages;
pub mod previews;
pub mod queue;
pub mod regenerate;
pub mod system;
pub mod text;
pub mod timeline;
pub mod timeline_media;
pub mod transcribe;
pub mod translate;
pub mod voice_archives;
pub mod voices;
pub mod websocket;
pub mod ws_ticket;

use ::jobs::format::ConvertError;
use ::jobs::montages::GENERATIONS_MAX;
use ::jobs::room::{Full, FullReason};
use ::jobs::submission::SubmitError;
use ::jobs::transcribers::NoTranscriber;
use ::jobs::translators::NoTranslator;
use uuid::Uuid;

use crate::problem::{Code, FieldProblem, Problem};

/// At most so many missing chunks are listed.
const LISTED_MAX: usize = 100;

/// An id from a path or a body; what is no id names nothing.
fn parse_id(text: &str, code: Code, what: &str) -> Result<Uuid, Problem> {
    Uuid::parse_str(text.trim()).map_err(|_| not_found(code, what))
}

fn not_found(code: Code, what: &str) -> Problem {
    Problem::new(code, format!("there is no {what} with this id, or it belongs to another key"))
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Invalid(errors) => {
                Self::invalid(errors.into_iter().map(|error| FieldProblem { field: error.field, message: error.message }).collect())
            }
            SubmitError::VoiceNotFound(id) => {
                Self::new(Code::VoiceNotFound, format!("there is no voice \"{id}\"; GET /api/voices lists them"))
            }
            SubmitError::VoiceNotMade { name, job_id } => {
                let detail = format!("\"{name}\" is not made yet: GET /api/jobs/{job_id} tells how far it is");
                Self::new(Code::Conflict, detail).retry_after(2)
            }
            SubmitError::MontageNotFound(_) => not_found(Code::MontageNotFound, "montage"),
            SubmitError::MontageFull(_) => {
                let detail = format!("the montage has {GENERATIONS_MAX} generations already: take some out, or leave montage_id away");
                Self::new(Code::Conflict, detail)
            }
            SubmitError::TaskNotFound(_) => not_found(Code::TaskNotFound, "task"),
            SubmitError::ChunkNotFound { index, .. } => Self::new(Code::ChunkNotFound, format!("the task has no chunk {index}")),
            SubmitError::ChunkBusy { index, take } => {
                let detail = format!("take {take} of chunk {index} is not finished: wait for it, or cancel its job");
                Self::new(Code::Conflict, detail).retry_after(1)
            }
            SubmitError::ChunksIncomplete(indexes) => {
                let listed = indexes.iter().take(LISTED_MAX).map(|index| FieldProblem::new(format!("chunks[{index}]"), "is not finished"));
                let detail = format!("{} chunks are not finished", indexes.len());
                Self { errors: listed.collect(), ..Self::new(Code::ChunksIncomplete, detail) }
            }
            SubmitError::EngineUnavailable { what, command } => engine_unavailable(&what, &command),
            SubmitError::ModelNotInstalled { what, command } => {
                let help = if command.is_empty() { String::new() } else { format!("; this installs one on the server: {command}") };
                Self::new(Code::ModelNotInstalled, format!("{what} is not installed{help}")).retry_after(60).mended_by(&command)
            }
            SubmitError::ToolMissing(missing) => missing.into(),
            SubmitError::NoTranslator(none) => none.into(),
            SubmitError::NoTranscriber(none) => none.into(),
            SubmitError::QueueFull(full) => full.into(),
            SubmitError::Storage(error) => error.into(),
        }
    }
}

impl From<NoTranslator> for Problem {
    fn from(none: NoTranslator) -> Self {
        match none {
            NoTranslator::Unknown(id) => {
                Self::invalid_field("model", format!("\"{id}\" is no model that translates: GET /api/models lists them"))
            }
            NoTranslator::Target { target, model, known } => {
                Self::invalid_field("target", format!("{model} does not know \"{target}\"; it knows {known}"))
            }
            NoTranslator::NotInstalled { what, command } => {
                let detail = format!("{what} is not installed; this installs it on the server: {command}");
                Self::new(Code::ModelNotInstalled, detail).retry_after(60).mended_by(command)
            }
            NoTranslator::Broken(why) => Self::internal(why),
        }
    }
}

impl From<NoTranscriber> for Problem {
    fn from(none: NoTranscriber) -> Self {
        match none {
            NoTranscriber::Unknown(id) => {
                Self::invalid_field("model", format!("\"{id}\" is no model that transcribes: GET /api/models lists them"))
            }
            NoTranscriber::Language { language, model, known } => {
                Self::invalid_field("language", format!("{model} does not know \"{language}\"; it knows {known}"))
            }
            NoTranscriber::NotInstalled { what, command } => {
                let detail = format!("{what} is not installed; this installs it on the server: {command}");
                Self::new(Code::ModelNotInstalled, detail).retry_after(60).mended_by(command)
            }
            NoTranscriber::Broken(why) => Self::internal(why),
        }
    }
}

impl From<Full> for Problem {
    fn from(full: Full) -> Self {
        let why = match full.reason {
            FullReason::Depth { open } => format!("{open} generations are open already"),
            FullReason::Wait { wait_s } => format!("at the present pace new work would wait for {wait_s} s"),
        };
        let detail = format!("{why}; nothing was accepted, ask again in {} s", full.retry_after_s);
        Self::new(Code::QueueFull, detail).retry_after(full.retry_after_s)
    }
}

impl From<ConvertError> for Problem {
    fn from(error: ConvertError) -> Self {
        match error {
            ConvertError::TooLong { limit_ms } => {
                let hours = limit_ms / 3_600_000;
                let message =
                    format!("files of more than {hours} hours are not converted on the way: merge-chunks makes them in this format");
                Self::invalid_field("format", message)
            }
            ConvertError::Failed(why) => Self::internal(why),
            ConvertError::Storage(error) => error.into(),
        }
    }
}

/// Says what is missing and how to mend it.
fn engine_unavailable(what: &str, command: &str) -> Problem {
    let help = if command.is_empty() { String::new() } else { format!("; this installs it on the server: {command}") };
    Problem::new(Code::EngineUnavailable, format!("{what} is not installed{help}")).retry_after(5).mended_by(command)
}
