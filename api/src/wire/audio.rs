//! What is said about a sound file.

use salvo::oapi::ToSchema;
use serde::Serialize;

/// A sound file.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "the form's parts, for the document")]
pub struct AudioForm {
    /// WAV, MP3, FLAC, Ogg, Opus, M4A, WebM or AIFF; also as `audio` or `audio_file`.
    #[salvo(schema(value_type = String, format = Binary))]
    file: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[salvo(schema(example = json!({"duration": 1.5, "duration_ms": 1500, "sample_rate": 44100, "channels": 2, "codec": "mp3", "format": "mp3"})))]
pub struct AudioDuration {
    /// Seconds
    pub duration: f64,
    pub duration_ms: u64,
    /// Hz
    pub sample_rate: u32,
    pub channels: u16,
    pub codec: String,
    /// The container.
    pub format: String,
}

impl From<crate::decode_host::MediaFacts> for AudioDuration {
    fn from(facts: crate::decode_host::MediaFacts) -> Self {
        Self {
            duration: facts.duration_ms as f64 / 1000.0,
            duration_ms: facts.duration_ms,
            sample_rate: facts.sample_rate_hz,
            channels: facts.channels,
            codec: facts.codec,
            format: facts.container,
        }
    }
}
