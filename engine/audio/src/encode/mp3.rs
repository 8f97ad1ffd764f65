//! MP3 through LAME, with an ID3v2.4 tag in front and LAME's own header frame, from which players learn the delay and the end.
//!
//! LAME is LGPL and linked statically; this file is the only one that names it.

use std::io::{Seek, SeekFrom, Write};

use mp3lame_encoder::{Bitrate, Builder, Encoder, FlushGap, InterleavedPcm, Mode, MonoPcm, Quality, max_required_buffer_size};

use super::{EncodeError, cut};
use crate::blocks::SampleFormat;
use crate::wav::Tags;

/// Frames given to LAME at once.
const BLOCK_FRAMES: usize = 4096;

pub(super) struct Mp3Encoder<W> {
    writer: W,
    /// Where LAME's header frame stands.
    header_at: u64,
    encoder: Encoder,
    channels: usize,
    bytes: Vec<u8>,
}

impl<W: Write + Seek> Mp3Encoder<W> {
    pub(super) fn new(mut writer: W, format: SampleFormat, bitrate_kbps: u16, tags: &Tags) -> Result<Self, EncodeError> {
        let channels = usize::from(format.channels);
        let builder = Builder::new().ok_or_else(|| EncodeError::Refused("mp3: lame did not start".to_owned()))?;
        let encoder = builder
            .with_num_channels(format.channels as u8)
            .and_then(|b| b.with_sample_rate(format.rate_hz))
            .and_then(|b| b.with_output_sample_rate(std::num::NonZeroU32::new(format.rate_hz)))
            .and_then(|b| b.with_brate(bitrate(bitrate_kbps)))
            .and_then(|b| b.with_mode(if channels == 1 { Mode::Mono } else { Mode::JointStereo }))
            .and_then(|b| b.with_quality(Quality::NearBest))
            .and_then(|b| b.with_to_write_vbr_tag(true))
            .and_then(Builder::build)
            .map_err(refused)?;
        let origin = writer.stream_position().map_err(EncodeError::Write)?;
        let id3 = id3(tags);
        writer.write_all(&id3).map_err(EncodeError::Write)?;
        Ok(Self { writer, header_at: origin + id3.len() as u64, encoder, channels, bytes: Vec::new() })
    }

    pub(super) fn push(&mut self, samples: &[f32]) -> Result<(), EncodeError> {
        for block in samples.chunks(BLOCK_FRAMES * self.channels) {
            self.bytes.clear();
            self.bytes.reserve(max_required_buffer_size(BLOCK_FRAMES));
            if self.channels == 1 {
                self.encoder.encode_to_vec(MonoPcm(block), &mut self.bytes)
            } else {
                self.encoder.encode_to_vec(InterleavedPcm(block), &mut self.bytes)
            }
            .map_err(refused)?;
            self.writer.write_all(&self.bytes).map_err(EncodeError::Write)?;
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<W, EncodeError> {
        self.bytes.clear();
        self.bytes.reserve(max_required_buffer_size(0));
        self.encoder.flush_to_vec::<FlushGap>(&mut self.bytes).map_err(refused)?;
        self.writer.write_all(&self.bytes).map_err(EncodeError::Write)?;
        let size = self.encoder.lame_tag_size();
        if size > 0 {
            self.bytes.clear();
            self.bytes.reserve(size);
            self.encoder.lame_tag_encode_to_vec(&mut self.bytes);
            let end = self.writer.stream_position().map_err(EncodeError::Write)?;
            self.writer.seek(SeekFrom::Start(self.header_at)).map_err(EncodeError::Write)?;
            self.writer.write_all(&self.bytes).map_err(EncodeError::Write)?;
            self.writer.seek(SeekFrom::Start(end)).map_err(EncodeError::Write)?;
        }
        Ok(self.writer)
    }
}

fn bitrate(kbps: u16) -> Bitrate {
    match kbps {
        0..=8 => Bitrate::Kbps8,
        9..=16 => Bitrate::Kbps16,
        17..=24 => Bitrate::Kbps24,
        25..=32 => Bitrate::Kbps32,
        33..=40 => Bitrate::Kbps40,
        41..=48 => Bitrate::Kbps48,
        49..=64 => Bitrate::Kbps64,
        65..=80 => Bitrate::Kbps80,
        81..=96 => Bitrate::Kbps96,
        97..=112 => Bitrate::Kbps112,
        113..=128 => Bitrate::Kbps128,
        129..=160 => Bitrate::Kbps160,
        161..=192 => Bitrate::Kbps192,
        193..=224 => Bitrate::Kbps224,
        225..=256 => Bitrate::Kbps256,
        257.. => Bitrate::Kbps320,
    }
}

/// An ID3v2.4.0 tag with UTF-8 text; nothing without tags. LAME's own would be Latin-1.
fn id3(tags: &Tags) -> Vec<u8> {
    let mut frames = Vec::new();
    let mut frame = |id: &[u8; 4], prefix: &[u8], text: &Option<String>| {
        let text = cut(text.as_deref().unwrap_or_default());
        if text.is_empty() {
            return;
        }
        frames.extend_from_slice(id);
        frames.extend_from_slice(&synchsafe(prefix.len() + text.len()));
        frames.extend_from_slice(&[0, 0]);
        frames.extend_from_slice(prefix);
        frames.extend_from_slice(text.as_bytes());
    };
    // 3 is UTF-8; a comment has a language and an empty description before its text.
    frame(b"TIT2", &[3], &tags.title);
    frame(b"TPE1", &[3], &tags.artist);
    frame(b"TSSE", &[3], &tags.software);
    frame(b"COMM", b"\x03und\x00", &tags.comment);
    if frames.is_empty() {
        return frames;
    }
    let mut out = b"ID3\x04\x00\x00".to_vec();
    out.extend_from_slice(&synchsafe(frames.len()));
    out.extend_from_slice(&frames);
    out
}

/// Seven bits a byte, so that no size looks like the beginning of sound.
fn synchsafe(size: usize) -> [u8; 4] {
    [21, 14, 7, 0].map(|shift| (size >> shift & 0x7F) as u8)
}

fn refused(error: impl std::fmt::Display) -> EncodeError {
    EncodeError::Refused(format!("mp3: {error}"))
}
