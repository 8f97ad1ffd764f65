//! Samples and nothing else: read, resampled, joined, mixed, levelled, measured, drawn, subtitled and written.
//!
//! Everything here takes `f32` samples (full scale is ±1.0) or a `std::io` reader or writer, streams in flat memory unless it says
//! otherwise, and gives the same output for the same input. It may not know of tensors, files by name, async, jobs or voices; the
//! caller brings the bytes and decides where they go.
//!
//! | to do | module |
//! | --- | --- |
//! | name a stream of samples | [`blocks`]: the trait `SampleBlocks` that all others speak |
//! | read sound files of the world, or ask how long one is | [`decode`], [`probe`] |
//! | read and write our own WAV and RF64 | [`wav`] |
//! | write WAV, FLAC, Opus, MP3 | [`encode`] |
//! | join chunks of speech into one file | [`merge`] |
//! | lay clips on tracks | [`mix`], whose result goes through [`merge`] as one chunk |
//! | change the rate, hold peaks, measure loudness, find silence | [`resample`], [`limiter`], [`loudness`], [`silence`] |
//! | draw, caption | [`peaks`], [`subtitles`] |
//! | take steady noise out of a recording | [`denoise`] |
//! | compare voices in numbers | [`measure`] |

pub mod blocks;
pub mod decode;
pub mod denoise;
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
