//! FLAC (RFC 9639): frames by flacenc, one at a time; the metadata in front is written here and completed at the end.
//!
//! It may not hold more than one frame of sound.

use std::io::{Seek, SeekFrom, Write};

use flacenc::bitsink::ByteSink;
use flacenc::component::{BitRepr, StreamInfo};
use flacenc::error::{Verified, Verify};
use flacenc::source::{Context, Fill, FrameBuf};

use super::{EncodeError, comments, cut};
use crate::blocks::SampleFormat;
use crate::wav::{BitDepth, Dither, Quantiser, Tags};

/// Frames (of sound) in one frame (of FLAC).
const BLOCK: usize = 4096;
/// The stream info stands behind `fLaC` and its own block header.
const STREAM_INFO_AT: u64 = 8;
const STREAM_INFO_BYTES: usize = 34;

pub(super) struct FlacEncoder<W> {
    writer: W,
    origin: u64,
    format: SampleFormat,
    depth: BitDepth,
    config: Verified<flacenc::config::Encoder>,
    info: StreamInfo,
    quantiser: Quantiser,
    /// Counts and hashes what is encoded.
    context: Context,
    frame: FrameBuf,
    pending: Vec<i32>,
    written_frames: usize,
    /// Smallest and largest frame in bytes.
    frame_bytes: (usize, usize),
    samples: u64,
}

impl<W: Write + Seek> FlacEncoder<W> {
    pub(super) fn new(mut writer: W, format: SampleFormat, depth: BitDepth, tags: &Tags) -> Result<Self, EncodeError> {
        let (channels, bits) = (usize::from(format.channels), usize::from(depth.bits()));
        let config = flacenc::config::Encoder::default().into_verified().map_err(|(_, e)| refused(&e))?;
        let info = StreamInfo::new(format.rate_hz as usize, channels, bits).map_err(|e| refused(&e))?;
        let frame = FrameBuf::with_size(channels, BLOCK).map_err(|e| refused(&e))?;
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
            config,
            info,
            quantiser: Quantiser::new(depth, Dither::None),
            context: Context::new(bits, channels),
            frame,
            pending: Vec::with_capacity(BLOCK * channels),
            written_frames: 0,
            frame_bytes: (usize::MAX, 0),
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
        let info = self.stream_info();
        self.writer.seek(SeekFrom::Start(self.origin + STREAM_INFO_AT)).map_err(EncodeError::Write)?;
        self.writer.write_all(&info).map_err(EncodeError::Write)?;
        self.writer.seek(SeekFrom::Start(end)).map_err(EncodeError::Write)?;
        Ok(self.writer)
    }

    fn write_frame(&mut self) -> Result<(), EncodeError> {
        self.context.fill_interleaved(&self.pending).map_err(|e| refused(&e))?;
        self.frame.fill_interleaved(&self.pending).map_err(|e| refused(&e))?;
        let frame =
            flacenc::encode_fixed_size_frame(&self.config, &self.frame, self.written_frames, &self.info).map_err(|e| refused(&e))?;
        let mut sink = ByteSink::new();
        frame.write(&mut sink).map_err(|e| refused(&e))?;
        let bytes = sink.as_slice();
        self.writer.write_all(bytes).map_err(EncodeError::Write)?;
        self.frame_bytes = (self.frame_bytes.0.min(bytes.len()), self.frame_bytes.1.max(bytes.len()));
        self.written_frames += 1;
        self.samples += (self.pending.len() / usize::from(self.format.channels)) as u64;
        self.pending.clear();
        Ok(())
    }

    /// RFC 9639, 8.2: block sizes (16 bits each), frame sizes (24 each), rate (20), channels - 1 (3), bits - 1 (5), frames of sound
    /// (36), MD5 of the samples. What does not fit is 0: unknown.
    fn stream_info(&self) -> Vec<u8> {
        let fits24 = |n: usize| if n < 1 << 24 { n as u64 } else { 0 };
        let (least, most) = if self.frame_bytes.1 == 0 { (0, 0) } else { (fits24(self.frame_bytes.0), fits24(self.frame_bytes.1)) };
        let samples = if self.samples < 1 << 36 { self.samples } else { 0 };
        let mut out = Vec::with_capacity(STREAM_INFO_BYTES);
        out.extend_from_slice(&(BLOCK as u16).to_be_bytes());
        out.extend_from_slice(&(BLOCK as u16).to_be_bytes());
        out.extend_from_slice(&least.to_be_bytes()[5..]);
        out.extend_from_slice(&most.to_be_bytes()[5..]);
        let packed = u64::from(self.format.rate_hz) << 44
            | u64::from(self.format.channels - 1) << 41
            | u64::from(self.depth.bits() - 1) << 36
            | samples;
        out.extend_from_slice(&packed.to_be_bytes());
        out.extend_from_slice(&self.context.md5_digest());
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

fn refused(error: &dyn std::fmt::Display) -> EncodeError {
    EncodeError::Refused(format!("flac: {error}"))
}
