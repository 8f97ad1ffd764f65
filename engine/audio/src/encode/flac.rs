//! FLAC (RFC 9639): what stands before the frames, and the stream of them. Written here and not taken from a library, because the one
//! there is (flacenc 0.5.1) made 100 MB of 768 samples of 24-bit noise.
//!
//! It may not hold more than one frame of sound.

mod bits;
mod frame;
mod predict;
mod residual;

use std::io::{Seek, SeekFrom, Write};

use md5::{Digest, Md5};

use super::{EncodeError, comments, cut};
use crate::blocks::SampleFormat;
use crate::wav::{BitDepth, Dither, Quantiser, Tags};

use frame::FrameSpec;

/// Frames of sound in one frame of FLAC; the streamable subset allows 4,608 up to 48 kHz.
const BLOCK: usize = 4096;
/// The stream info stands behind `fLaC` and its own block header.
const STREAM_INFO_AT: u64 = 8;
const STREAM_INFO_BYTES: usize = 34;
/// What the number of a frame can be.
const MAX_FRAMES: u64 = 1 << 31;

pub(super) struct FlacEncoder<W> {
    writer: W,
    origin: u64,
    format: SampleFormat,
    depth: BitDepth,
    quantiser: Quantiser,
    md5: Md5,
    pending: Vec<i32>,
    frames: u64,
    /// Smallest and largest frame in bytes.
    frame_bytes: (u64, u64),
    samples: u64,
}

impl<W: Write + Seek> FlacEncoder<W> {
    pub(super) fn new(mut writer: W, format: SampleFormat, depth: BitDepth, tags: &Tags) -> Result<Self, EncodeError> {
        let origin = writer.stream_position().map_err(EncodeError::Write)?;
        let mut head = b"fLaC".to_vec();
        block_header(&mut head, 0, STREAM_INFO_BYTES, false);
        head.extend_from_slice(&[0; STREAM_INFO_BYTES]);
        let comments = vorbis_comment(tags);
        block_header(&mut head, 4, comments.len(), true);
        head.extend_from_slice(&comments);
        writer.write_all(&head).map_err(EncodeError::Write)?;
        Ok(Self {
            writer,
            origin,
            format,
            depth,
            quantiser: Quantiser::new(depth, Dither::None),
            md5: Md5::new(),
            pending: Vec::with_capacity(BLOCK * usize::from(format.channels)),
            frames: 0,
            frame_bytes: (u64::MAX, 0),
            samples: 0,
        })
    }

    pub(super) fn push(&mut self, samples: &[f32]) -> Result<(), EncodeError> {
        let full = BLOCK * usize::from(self.format.channels);
        for &sample in samples {
            self.pending.push(self.quantiser.quantise(sample));
            if self.pending.len() == full {
                self.write_frame()?;
            }
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<W, EncodeError> {
        if !self.pending.is_empty() {
            self.write_frame()?;
        }
        let end = self.writer.stream_position().map_err(EncodeError::Write)?;
        let (origin, info) = (self.origin, self.stream_info());
        let mut writer = self.writer;
        writer.seek(SeekFrom::Start(origin + STREAM_INFO_AT)).map_err(EncodeError::Write)?;
        writer.write_all(&info).map_err(EncodeError::Write)?;
        writer.seek(SeekFrom::Start(end)).map_err(EncodeError::Write)?;
        Ok(writer)
    }

    fn write_frame(&mut self) -> Result<(), EncodeError> {
        if self.frames == MAX_FRAMES {
            return Err(EncodeError::Refused("longer than a flac file can be".to_owned()));
        }
        let bytes_per_sample = usize::from(self.depth.bytes());
        let hashed: Vec<u8> = self.pending.iter().flat_map(|s| s.to_le_bytes().into_iter().take(bytes_per_sample)).collect();
        self.md5.update(&hashed);
        let channels = usize::from(self.format.channels);
        let split = |channel: usize| self.pending.iter().skip(channel).step_by(channels).copied().collect::<Vec<i32>>();
        let planes: Vec<Vec<i32>> = (0..channels).map(split).collect();
        let spec = FrameSpec { rate_hz: self.format.rate_hz, bits: u32::from(self.depth.bits()), number: self.frames };
        let bytes = frame::encode(&planes, &spec);
        self.writer.write_all(&bytes).map_err(EncodeError::Write)?;
        let size = bytes.len() as u64;
        self.frame_bytes = (self.frame_bytes.0.min(size), self.frame_bytes.1.max(size));
        self.frames += 1;
        self.samples += (self.pending.len() / channels) as u64;
        self.pending.clear();
        Ok(())
    }

    /// RFC 9639, 8.2: block sizes (16 bits each), frame sizes (24 each), rate (20), channels - 1 (3), bits - 1 (5), frames of sound
    /// (36), MD5 of the samples. What does not fit is 0: unknown.
    fn stream_info(&self) -> Vec<u8> {
        let fits = |n: u64, bits: u32| if n < 1 << bits { n } else { 0 };
        let least = if self.frames == 0 { 0 } else { fits(self.frame_bytes.0, 24) };
        let mut out = Vec::with_capacity(STREAM_INFO_BYTES);
        out.extend_from_slice(&(BLOCK as u16).to_be_bytes());
        out.extend_from_slice(&(BLOCK as u16).to_be_bytes());
        out.extend_from_slice(&least.to_be_bytes()[5..]);
        out.extend_from_slice(&fits(self.frame_bytes.1, 24).to_be_bytes()[5..]);
        let packed = u64::from(self.format.rate_hz) << 44
            | u64::from(self.format.channels - 1) << 41
            | u64::from(self.depth.bits() - 1) << 36
            | fits(self.samples, 36);
        out.extend_from_slice(&packed.to_be_bytes());
        out.extend_from_slice(&self.md5.clone().finalize());
        out
    }
}

/// Kind, whether it is the last, and the length of a metadata block.
fn block_header(out: &mut Vec<u8>, kind: u8, bytes: usize, last: bool) {
    out.push(kind | if last { 0x80 } else { 0 });
    // Four tags of 4 KiB: far under the 24 bits.
    out.extend_from_slice(&(bytes as u32).to_be_bytes()[1..]);
}

/// RFC 9639, 8.6: vendor, count and comments, lengths little-endian.
fn vorbis_comment(tags: &Tags) -> Vec<u8> {
    let lines: Vec<String> = comments(tags).iter().map(|(name, text)| format!("{name}={}", cut(text))).collect();
    let mut out = Vec::new();
    text(&mut out, "ClonyVoice");
    out.extend_from_slice(&(lines.len() as u32).to_le_bytes());
    lines.iter().for_each(|line| text(&mut out, line));
    out
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}
