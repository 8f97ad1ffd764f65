//! Export and import of voices as the contract shows them.

use salvo::oapi::ToSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(default)]
#[salvo(schema(example = json!({"voice_ids": [], "include_samples": true, "include_preview": true})))]
pub struct ExportRequest {
    /// Ids of stored voices; empty for all of the caller's own.
    pub voice_ids: Vec<String>,
    /// Without its recordings a voice speaks as before, and can't be made anew from them.
    pub include_samples: bool,
    pub include_preview: bool,
}

impl Default for ExportRequest {
    fn default() -> Self {
        Self { voice_ids: Vec::new(), include_samples: true, include_preview: true }
    }
}

/// What of the caller's stands in the way of a voice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[salvo(schema(inline))]
pub enum Conflict {
    None,
    SameName,
    /// The same recordings and profiles.
    SameContent,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ImportPreview {
    /// For the import, until `expires_at`; on this server only.
    pub import_id: String,
    /// RFC 3339
    pub expires_at: String,
    pub format_version: u32,
    pub voices: Vec<ArchiveEntry>,
    /// What will not be as in the archive.
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ArchiveEntry {
    /// The voice's id in the archive.
    pub source_id: String,
    pub name: String,
    pub language: String,
    /// `clone` or `design`.
    #[serde(rename = "type")]
    pub kind: String,
    pub sample_count: usize,
    pub size_bytes: u64,
    pub conflict: Conflict,
}

/// What happens to a voice that is there already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[salvo(schema(inline))]
pub enum OnConflict {
    /// Both stay; the new one becomes `Name (2)`.
    #[default]
    Rename,
    /// The old one stays.
    Skip,
    /// The old one keeps its id and becomes the new one.
    Replace,
}

/// An archive to be looked at.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "the form's parts, for the document")]
pub struct ArchiveForm {
    /// A `.clonyvoice` archive.
    #[salvo(schema(value_type = String, format = Binary))]
    file: Vec<u8>,
}

/// An archive to be imported, or the id of one that was looked at before.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "the form's parts, for the document")]
pub struct ImportForm {
    /// A `.clonyvoice` archive.
    #[salvo(schema(value_type = Option<String>, format = Binary))]
    file: Option<Vec<u8>>,
    /// Of a preview, instead of the file.
    import_id: Option<String>,
    /// Ids in the archive, as a part each or as one JSON list; without any all are imported.
    selected: Option<Vec<String>>,
    /// `rename`, `skip` or `replace`.
    on_conflict: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(default)]
pub struct ImportRequest {
    /// Of a preview.
    pub import_id: Option<String>,
    /// Ids in the archive; empty for all.
    pub selected: Vec<String>,
    #[salvo(schema(value_type = String))]
    pub on_conflict: OnConflict,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct ImportReport {
    pub imported: Vec<ImportedVoice>,
    pub skipped: Vec<SkippedVoice>,
    /// Of these nothing was stored.
    pub errors: Vec<NotImported>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ImportedVoice {
    pub source_id: String,
    /// The same where it was free.
    pub voice_id: String,
    pub name: String,
    /// An older voice became this one.
    pub replaced: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct SkippedVoice {
    pub source_id: String,
    pub name: String,
    pub reason: Conflict,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct NotImported {
    pub source_id: String,
    pub name: String,
    pub detail: String,
    pub errors: Vec<crate::problem::FieldProblem>,
}
