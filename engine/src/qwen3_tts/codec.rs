//! The 12.5 Hz codec: 24 kHz samples to frames of 16 codes, and back.
//!
//! The encoder is the encoder half of Mimi (Moshi, arXiv 2410.00037); the decoder is Qwen's own and wholly causal, so that a stream with
//! state gives what a whole decode gives. Everything is f32. Reference: `qwen_tts/core/tokenizer_12hz`. This module may not know text.

mod attention;
mod conv;
mod decoder;
mod encoder;
mod quantizer;
mod snake;
mod tap_product;

pub(super) use conv::{Conv, ConvConfig};
pub use decoder::DecodeStream;
pub(super) use decoder::{Decoder, Stages as DecoderStages};
pub(super) use encoder::{Encoder, Stages as EncoderStages};
