//! Generations: the history of what was spoken.

use jobs::format::AudioFormat;
use salvo::oapi::{ToParameters, ToSchema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::problem::Problem;
use crate::wire::chunk::Chunk;
use crate::wire::job::Job;
use crate::wire::list::Item;

impl Item for Job {
    const PLURAL: &'static str = "generations";
    const LIST: &'static str = "GenerationList";
}

/// The same jobs in the list of jobs.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(transparent)]
#[salvo(schema(inline))]
pub struct ListedJob(pub Job);

impl Item for ListedJob {
    const PLURAL: &'static str = "jobs";
    const LIST: &'static str = "JobList";
}

/// A generation with all that is known of it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct GenerationDetails {
    #[serde(flatten)]
    pub job: Job,
    pub text: String,
    pub language: String,
    /// What it was made with.
    pub params: Value,
    /// Null until there is a merged file.
    pub audio_url: Option<String>,
    /// Whether a chunk was made again since the file was merged; null until there is one.
    pub stale: Option<bool>,
    /// All takes, by index; at most 20,000.
    pub chunks: Vec<Chunk>,
    pub montage_ids: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize, ToParameters)]
pub struct GenerationQuery {
    /// The one voice of the request.
    pub voice_id: Option<String>,
    /// Such as `generate.preset`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// `queued`, `running`, `merging`, `completed`, `failed`, `cancelled` or `interrupted`.
    pub status: Option<String>,
    /// Those in this montage.
    pub montage_id: Option<String>,
    /// Words that must all occur in title, text or voice name, in any case and with or without accents; at most 300 characters and 16 words.
    #[salvo(parameter(max_length = 300))]
    pub q: Option<String>,
    /// Created at or after this time: RFC 3339.
    pub from: Option<String>,
    /// Created at or before this time: RFC 3339.
    pub to: Option<String>,
    /// 1 to 200.
    #[salvo(parameter(minimum = 1, maximum = 200, default = json!(50)))]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize, ToParameters)]
pub struct DetailsQuery {
    /// `true`: with the times of the words of each chunk.
    pub words: Option<bool>,
}

#[derive(Debug, Clone, Default, Deserialize, ToParameters)]
pub struct DeleteQuery {
    /// `true`: also one that waits or runs; it is cancelled.
    pub force: Option<bool>,
}

#[derive(Debug, Clone, Default, Deserialize, ToParameters)]
pub struct FileQuery {
    /// `wav`, `flac` or `opus` (and `mp3`, where it is built in); as it was merged when not given.
    pub format: Option<String>,
}

/// The format of a query, if it names one.
pub fn format_of(name: Option<&str>) -> Result<Option<AudioFormat>, Problem> {
    let refused = || Problem::invalid_field("format", format!("must be one of {}", AudioFormat::names()));
    name.map(|name| AudioFormat::parse(name).ok_or_else(refused)).transpose()
}
