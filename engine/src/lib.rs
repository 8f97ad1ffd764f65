//! Text in, samples out: everything that computes speech. Async code never computes here: one thread owns one device, and
//! `EngineHandle` is the bounded mailbox in front of those threads.
//!
//! This crate may not know rows, blobs, HTTP or jobs. It is the only place that may name candle.

pub mod builtin;
pub mod clone;
pub mod design;
pub mod engines;
pub mod handle;
pub mod neural_models;
pub mod qwen3_tts;
pub mod resident;
#[cfg(debug_assertions)]
pub mod scripted;
mod slaney;
pub mod speech;
pub mod text;
pub mod translate;
pub mod whisper;
pub mod world;
