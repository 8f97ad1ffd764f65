//! The seam every speech engine implements: a request for one chunk of text in, 24 kHz mono samples with word times out.
//!
//! Engines are synchronous and own their device; they may not know about jobs, retries or storage. Cancel and shutdown reach an engine
//! through the value that `on_step` returns.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

/// Every engine delivers this rate; resampling for other rates happens when a file is written.
pub const SAMPLE_RATE_HZ: u32 = 24_000;

/// One chunk to be spoken. Equal requests give equal samples, bit for bit, on the same engine revision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SynthesisRequest {
    /// At most a few hundred characters. May hold pause marks (`[pause]`, `[pause:1.5s]`, `<break time="1s"/>`), no other marks.
    pub text: String,
    /// What to speak with; see [`VoiceProfile`].
    pub voice: VoiceProfile,
    /// BCP 47 tag such as `en-US`, `zh`, `pt-BR`. Never "auto": the planner has resolved it.
    pub language: String,
    /// 0.25 to 4, 1 is the voice's own rate.
    pub speed: f32,
    /// -12 to 12 semitones above the voice's own pitch.
    pub pitch_semitones: f32,
    /// Engines that draw random numbers draw them from this seed only.
    pub seed: u64,
    /// Style instruction; engines without the capability ignore it.
    pub instruct: Option<String>,
}

/// A voice as an engine needs it: plain data, so that it can be stored in a row, exported and hashed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "engine", rename_all = "kebab-case")]
pub enum VoiceProfile {
    /// A parameter set of the built-in engine.
    Builtin(crate::builtin::BuiltinVoice),
    /// Speech of the built-in engine, converted to the voice of some recordings.
    #[serde(rename = "builtin-clone")]
    Converted(Box<crate::clone::CloneProfile>),
    /// A voice of a Qwen3-TTS checkpoint.
    #[serde(rename = "qwen3-tts")]
    Neural(Box<crate::qwen3_tts::NeuralVoice>),
}

/// Samples and the times of the words in them.
#[derive(Debug, Clone, PartialEq)]
pub struct Speech {
    /// Mono, [`SAMPLE_RATE_HZ`], nominally within -1..1.
    pub samples: Vec<f32>,
    /// In order of time; empty where the engine has no timings.
    pub words: Vec<WordTiming>,
}

/// One spoken word: its place in the request's text (in characters, not bytes) and its time in the samples.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WordTiming {
    pub word: String,
    pub char_start: u32,
    pub char_len: u32,
    pub start_ms: u32,
    pub end_ms: u32,
}

/// What an engine can do; the front door shows it and the planner obeys it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Capabilities {
    pub engine: String,
    /// Changes whenever equal requests could give other samples: part of the hash that finds finished chunks.
    pub revision: String,
    pub languages: Vec<String>,
    pub instruct: bool,
    pub word_timings: bool,
    /// False: equal requests with other seeds sound the same, and finished chunks are found whatever the seed.
    pub uses_seed: bool,
}

/// Whether an engine can speak now, and what mends it when not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Availability {
    Ready,
    /// `command` is what a person types to mend it on this machine.
    Missing {
        what: String,
        command: String,
    },
}

/// Sorted by what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// `on_step` asked to stop: not a failure.
    #[error("stopped on request")]
    Stopped,
    /// Nothing to gain from another attempt: the request itself is wrong.
    #[error("request refused: {0}")]
    Refused(String),
    /// Something must be installed first; no attempt is spent.
    #[error("{what} is not installed")]
    Unavailable { what: String, command: String },
    /// Free memory, then try again.
    #[error("out of memory")]
    OutOfMemory,
    /// Another attempt may succeed: a panic, a dead host process, a time-out.
    #[error("{0}")]
    Failed(String),
}

/// A synthesiser that owns its device. Implemented by the built-in engine, by neural engines and by the scripted one of the tests.
pub trait SpeechEngine: Send {
    fn capabilities(&self) -> Capabilities;

    fn availability(&self) -> Availability;

    /// `on_step` is called at least every 200 ms of work with the fraction done (0..1); `Break` ends the call with
    /// [`EngineError::Stopped`].
    fn synthesize(&mut self, request: &SynthesisRequest, on_step: &mut dyn FnMut(f32) -> ControlFlow<()>) -> Result<Speech, EngineError>;
}
