//! Qwen3-TTS: neural speech in candle, equal to the reference's Python package on the reference's own checkpoints.
//!
//! A talker says the first code of each 80 ms frame, a predictor the other fifteen, a codec makes samples of them. Source: Qwen3-TTS
//! (Apache-2.0), package `qwen-tts` 0.1.1; `examples/parity.rs` holds this module against golden outputs of it. This module may not know
//! the built-in engine, jobs or where weights come from.

mod batch;
mod codec;
pub(crate) mod config;
mod device;
mod engine;
mod fingerprint;
pub(crate) mod kv;
pub(crate) mod layers;
mod limits;
pub(crate) mod linear;
mod model;
mod predictor;
mod prompt;
mod sampling;
mod shared_batch;
mod speaker;
mod speakers;
mod talker;
pub(crate) mod text_ids;
mod voice;
pub(crate) mod weights;

use std::path::PathBuf;

pub use batch::{Batch, End, Progress, Record, SlotConfig, SlotId};
pub use codec::DecodeStream;
pub use config::{Dialect, GenerationConfig, ModelConfig, TalkerConfig, Variant};
pub use engine::{NeuralConfig, NeuralEngine, NeuralEngines};
pub use limits::{FRAMES_PER_S, FrameLimits};
pub use linear::Precision;
pub use model::{LoadConfig, MAX_REFERENCE_S, Model, Parts, PromptParts, Utterance, describe};
pub use prompt::{ClonePrompt, Pace, PromptRequest, Reference, Speaker};
pub use sampling::Sampling;
pub use speakers::NamedSpeaker;
pub use voice::NeuralVoice;

/// The tags of the languages that a checkpoint speaks.
pub fn spoken_tags(config: &ModelConfig) -> Vec<String> {
    voice::tags(config.talker_config.codec_language_id.keys())
}

/// The speakers that a checkpoint knows by name, sorted; none for those that clone or design.
pub fn speakers(config: &ModelConfig) -> Vec<NamedSpeaker> {
    let named = config.tts_model_type == Variant::CustomVoice;
    let mut names: Vec<&String> = config.talker_config.spk_id.keys().filter(|_| named).collect();
    names.sort();
    names.into_iter().map(|name| NamedSpeaker::of(name)).collect()
}

/// Sorted by what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The folder is not a checkpoint that can be loaded: fetch it again, or take another.
    #[error("{}: {detail}", file.display())]
    Folder { file: PathBuf, detail: String },
    /// This model cannot do what was asked: change the request.
    #[error("{0}")]
    Request(String),
    /// Arithmetic failed, memory included: a smaller batch, then give up.
    #[error("{0}")]
    Compute(#[from] candle_core::Error),
}
