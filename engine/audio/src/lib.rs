//! Samples and nothing else: measured, merged, written as WAV, subtitled and drawn.
//!
//! Everything here takes `f32` samples (full scale is ±1.0) or a `std::io` reader or writer. It may not know of tensors, files by
//! name, async, jobs or voices; the caller brings the bytes and decides where they go.

pub mod blocks;
pub mod decode;
pub mod encode;
mod envelope;
pub mod limiter;
pub mod loudness;
pub mod measure;
pub mod merge;
pub mod mix;
pub mod peaks;
pub mod probe;
pub mod resample;
pub mod silence;
pub mod subtitles;
pub mod wav;
