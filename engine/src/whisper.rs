//! Whisper: sound in, text with times out, in candle, equal to the reference on its own checkpoints.
//!
//! An encoder hears a window (30 s in the published models; the configuration says), a decoder writes what was said, between time tokens, and
//! where the decoder looked tells when each word was said. Sources: Radford et al., "Robust Speech Recognition via Large-Scale Weak
//! Supervision" (arXiv 2212.04356), openai-whisper and transformers 4.57.3, against which `examples/parity` holds this module. It may not know
//! jobs, files of sound or where weights come from.

mod attention;
mod choose;
mod config;
mod decode;
mod decoder;
mod encoder;
mod mel;
mod model;
mod rules;
mod segments;
mod tokens;
mod window;
mod words;

use std::ops::ControlFlow;

pub use crate::qwen3_tts::{ModelError, Precision};
pub use mel::LogMel;
pub use model::{Parts, Whisper};
pub use tokens::languages;
pub use words::align;

use serde::{Deserialize, Serialize};

/// What every Whisper hears; mono.
pub const SAMPLE_RATE_HZ: u32 = 16_000;

/// What is wanted of a recording.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Wish {
    /// As the model calls it (`en`); found by itself where `None`.
    pub language: Option<String>,
    /// English text, whatever is spoken.
    pub translate: bool,
    /// What the first window is told as if it had been said before: names, and how words are written.
    pub prompt: Option<String>,
    pub words: bool,
}

/// What one window holds, in milliseconds from its first sample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WindowText {
    /// Where `None`, nothing was said that a language could be found by.
    pub language: Option<String>,
    pub segments: Vec<Segment>,
    /// Where the next window begins. More than 0.
    pub advance_ms: u64,
}

/// A sentence or so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    pub start_ms: u64,
    pub end_ms: u64,
    pub text: String,
    pub avg_logprob: f32,
    /// That nobody spoke in this window.
    pub no_speech_prob: f32,
    /// Bytes of the text for each byte that it can be packed into: more than 2.4 is a model that repeats itself.
    pub compression_ratio: f32,
    pub temperature: f32,
    pub words: Vec<Word>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Word {
    /// With the space before it, where its language writes one, and its punctuation.
    pub word: String,
    pub start_ms: u64,
    pub end_ms: u64,
    pub probability: f32,
}

/// Sorted by what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum TranscribeError {
    #[error("stopped")]
    Stopped,
    #[error(transparent)]
    Model(#[from] ModelError),
}

impl From<candle_core::Error> for TranscribeError {
    fn from(error: candle_core::Error) -> Self {
        Self::Model(error.into())
    }
}

/// Asked before each token: whether to go on.
pub type GoOn<'a> = &'a mut dyn FnMut() -> ControlFlow<()>;
