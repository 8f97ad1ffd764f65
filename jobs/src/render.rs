pub(crate) struct Rendered {
    pub wav: tempfile::NamedTempFile,
    pub srt: String,
    pub vtt: String,
    pub peaks: Vec<u8>,
    pub duration_ms: i64,
    pub report: serde_json::Value,
}
pub(crate) async fn render(
    _: &crate::job::JobContext,
    _: &storage::generations::Generation,
    _: Vec<storage::chunks::Chunk>,
    _: &crate::submission::MergeOptions,
) -> Result<Rendered, crate::job::JobError> {
    Err(crate::job::JobError::Fenced)
}
