//! The forms with which a voice is made of recordings, and the clips of the last of them.

use salvo::oapi::ToSchema;
use serde::Deserialize;

/// One recording of one voice.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "the form's parts, for the document")]
pub struct CloneForm {
    /// At most 10 minutes of speech in any format that is read here; also as `audio` or `audio_file`. Ten seconds or more are good.
    #[salvo(schema(value_type = String, format = Binary))]
    file: Vec<u8>,
    /// 1 to 200 characters.
    name: String,
    /// `true`: the person whose voice it is has agreed to this use of it. Kept with the voice.
    consent: bool,
    /// BCP 47: what the voice speaks by itself; found in the transcript where not given, else `en`.
    language: Option<String>,
    /// What is said in the recording, word by word: makes the likeness better.
    transcript: Option<String>,
    /// At most 4,000 characters.
    description: Option<String>,
    /// `female`, `male` or `neutral`.
    gender: Option<String>,
    /// Name or id of a category that there is.
    category: Option<String>,
    /// A part each, or one JSON list.
    tags: Option<Vec<String>>,
    /// True: only the owner's keys see the voice.
    private: Option<bool>,
    /// True: steady noise is not taken for a part of the voice.
    denoise: Option<bool>,
}

/// Several recordings of one voice.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "the form's parts, for the document")]
pub struct CloneMultiForm {
    /// 1 to 20 recordings, together at most 10 minutes.
    #[salvo(schema(value_type = Vec<String>))]
    files: Vec<String>,
    /// One JSON list, in the order of the files; null where a transcript is not known.
    transcripts: Option<String>,
    /// 1 to 200 characters.
    name: String,
    /// `true`: the person whose voice it is has agreed to this use of it. Kept with the voice.
    consent: bool,
    /// As for a single recording, and so are the following.
    language: Option<String>,
    description: Option<String>,
    gender: Option<String>,
    category: Option<String>,
    tags: Option<Vec<String>>,
    private: Option<bool>,
    denoise: Option<bool>,
}

/// Parts of recordings of one voice.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "the form's parts, for the document")]
pub struct CloneClipsForm {
    /// 1 to 20 recordings of at most an hour; only the clips are kept.
    #[salvo(schema(value_type = Vec<String>))]
    files: Vec<String>,
    /// One JSON list of `{"file_index", "start_ms", "end_ms", "transcript"?, "weight"?}`; 1 to 100, together at most 10 minutes.
    clips: String,
    /// 1 to 200 characters.
    name: String,
    /// `true`: the person whose voice it is has agreed to this use of it. Kept with the voice.
    consent: bool,
    /// As for a single recording, and so are the following.
    language: Option<String>,
    description: Option<String>,
    gender: Option<String>,
    category: Option<String>,
    tags: Option<Vec<String>>,
    private: Option<bool>,
    denoise: Option<bool>,
}

/// A part of a recording that counts.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Clip {
    /// The file's place, from 0.
    #[serde(default)]
    pub file_index: usize,
    pub start_ms: i64,
    pub end_ms: i64,
    pub transcript: Option<String>,
    /// How much it counts beside the others, 0.01 to 100; 1 where not given.
    pub weight: Option<f64>,
}
