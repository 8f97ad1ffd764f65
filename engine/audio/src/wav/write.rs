//! Writes integer PCM as a stream, into a pipe when the length is known beforehand and into a seekable file when it is not.
//!
//! It may not hold more of the sound than one block, and its bytes depend on the frames alone, not on how they were cut into calls.

use std::io::{Seek, SeekFrom, Write};

use super::header::{Place, header, riff_bytes, sizes};
use super::{BitDepth, Dither, Quantiser, WavError, WavLayout, WavSpec};

/// Samples turned into bytes at once.
const BLOCK_SAMPLES: usize = 16 * 1024;

/// A WAV file being written. End it with [`finish`](Self::finish) (length known) or [`finish_seek`](Self::finish_seek) (any length):
/// a writer that is dropped leaves a file with wrong sizes.
#[derive(Debug)]
pub struct WavWriter<W> {
    writer: W,
    spec: WavSpec,
    layout: WavLayout,
    quantiser: Quantiser,
    /// Bytes before the samples.
    header_bytes: u64,
    /// Where the file begins in the writer; 0 unless the writer had been used before.
    origin: u64,
    /// As announced; `None` when the sizes are patched at the end.
    announced_frames: Option<u64>,
    samples: u64,
    bytes: Vec<u8>,
}

impl<W: Write> WavWriter<W> {
    /// A file of exactly `frames` frames, written from front to back without seeking: RIFF, or RF64 when it is too long for that.
    ///
    /// Errors: `Invalid` for an impossible spec, `Io` of the writer.
    pub fn with_length(mut writer: W, spec: WavSpec, layout: WavLayout, frames: u64) -> Result<Self, WavError> {
        spec.check()?;
        if frames > u64::MAX / 64 {
            return Err(WavError::Invalid(format!("{frames} frames")));
        }
        let small = header(&spec, &layout.tags, Place::None, frames);
        let fits = riff_bytes(&spec, small.len() as u64, frames) <= layout.rf64_above_bytes.min(u64::from(u32::MAX) - 1);
        let head = if fits { small } else { header(&spec, &layout.tags, Place::Ds64, frames) };
        writer.write_all(&head)?;
        Ok(Self::started(writer, spec, layout, &head, Some(frames)))
    }

    /// Adds noise before rounding; call it before the first sample.
    #[must_use]
    pub fn with_dither(mut self, dither: Dither) -> Self {
        self.quantiser = Quantiser::new(self.spec.depth, dither);
        self
    }

    /// Rounds and writes interleaved samples. Cuts between calls need not be cuts between frames.
    ///
    /// Errors: `Invalid` beyond the announced length, `Io` of the writer.
    pub fn write(&mut self, samples: &[f32]) -> Result<(), WavError> {
        self.write_heard(samples, |_| {})
    }

    /// Like [`write`](Self::write), and hands the samples on as they will be read back (rounded), for whoever measures the file.
    pub fn write_heard(&mut self, samples: &[f32], mut heard: impl FnMut(&[f32])) -> Result<(), WavError> {
        self.admit(samples.len() as u64)?;
        let scale = 1.0 / Quantiser::full_scale(self.spec.depth);
        let mut rounded = [0.0f32; 1024];
        for block in samples.chunks(BLOCK_SAMPLES) {
            self.bytes.clear();
            for part in block.chunks(rounded.len()) {
                for (sample, out) in part.iter().zip(&mut rounded) {
                    let step = self.quantiser.quantise(*sample);
                    // Exact: 24 bits fit into the fraction of an f32 and the factor is a power of two.
                    *out = step as f32 * scale;
                    let bytes = step.to_le_bytes();
                    match self.spec.depth {
                        BitDepth::Pcm16 => self.bytes.extend_from_slice(&bytes[..2]),
                        BitDepth::Pcm24 => self.bytes.extend_from_slice(&bytes[..3]),
                    }
                }
                heard(&rounded[..part.len()]);
            }
            self.writer.write_all(&self.bytes)?;
        }
        self.samples += samples.len() as u64;
        Ok(())
    }

    /// Ends a file of announced length and gives the writer back, flushed.
    ///
    /// Errors: `Invalid` when another number of frames was written than announced, or none was announced; `Io` of the writer.
    pub fn finish(mut self) -> Result<W, WavError> {
        let frames = self.whole_frames()?;
        if self.announced_frames != Some(frames) {
            let announced = self.announced_frames.map_or_else(|| "no length".to_owned(), |n| format!("{n} frames"));
            return Err(WavError::Invalid(format!("{frames} frames written, {announced} announced")));
        }
        self.pad(frames)?;
        self.writer.flush()?;
        Ok(self.writer)
    }

    fn started(writer: W, spec: WavSpec, layout: WavLayout, head: &[u8], announced_frames: Option<u64>) -> Self {
        let quantiser = Quantiser::new(spec.depth, Dither::None);
        let bytes = Vec::with_capacity(BLOCK_SAMPLES * usize::from(spec.depth.bytes()));
        Self { writer, spec, layout, quantiser, header_bytes: head.len() as u64, origin: 0, announced_frames, samples: 0, bytes }
    }

    fn admit(&self, samples: u64) -> Result<(), WavError> {
        let Some(frames) = self.announced_frames else { return Ok(()) };
        let limit = frames * u64::from(self.spec.channels);
        if self.samples + samples > limit {
            return Err(WavError::Invalid(format!("more samples than the {frames} frames announced")));
        }
        Ok(())
    }

    fn whole_frames(&self) -> Result<u64, WavError> {
        let channels = u64::from(self.spec.channels);
        if self.samples.is_multiple_of(channels) {
            Ok(self.samples / channels)
        } else {
            Err(WavError::Invalid("the last frame lacks a channel".to_owned()))
        }
    }

    /// Chunks begin at even places; the pad byte is not part of the data.
    fn pad(&mut self, frames: u64) -> Result<(), WavError> {
        if (frames * self.spec.frame_bytes()) % 2 == 1 {
            self.writer.write_all(&[0])?;
        }
        Ok(())
    }
}

impl<W: Write + Seek> WavWriter<W> {
    /// A file of a length that shows at the end. It starts where the writer stands, with room kept for 64-bit sizes.
    ///
    /// Errors: `Invalid` for an impossible spec, `Io` of the writer.
    pub fn new(mut writer: W, spec: WavSpec, layout: WavLayout) -> Result<Self, WavError> {
        spec.check()?;
        let origin = writer.stream_position()?;
        let head = header(&spec, &layout.tags, Place::Junk, 0);
        writer.write_all(&head)?;
        Ok(Self { origin, ..Self::started(writer, spec, layout, &head, None) })
    }

    /// Writes the sizes into the header, turns it into RF64 when 32 bits are not enough, and gives the writer back, flushed and
    /// standing at the end of the file.
    ///
    /// Errors: `Invalid` after half a frame or after [`with_length`](Self::with_length), `Io` of the writer.
    pub fn finish_seek(mut self) -> Result<W, WavError> {
        if self.announced_frames.is_some() {
            return Err(WavError::Invalid("a file of announced length ends with finish".to_owned()));
        }
        let frames = self.whole_frames()?;
        self.pad(frames)?;
        let end = self.writer.stream_position()?;
        let limit = self.layout.rf64_above_bytes.min(u64::from(u32::MAX) - 1);
        let place = if riff_bytes(&self.spec, self.header_bytes, frames) > limit { Place::Ds64 } else { Place::Junk };
        if place == Place::Ds64 {
            self.patch(0, b"RF64")?;
            self.patch(super::header::DS64_AT, b"ds64")?;
        }
        for (at, bytes) in sizes(&self.spec, self.header_bytes, place, frames) {
            self.patch(at, &bytes)?;
        }
        self.writer.seek(SeekFrom::Start(end))?;
        self.writer.flush()?;
        Ok(self.writer)
    }

    fn patch(&mut self, at: u64, bytes: &[u8]) -> Result<(), WavError> {
        self.writer.seek(SeekFrom::Start(self.origin + at))?;
        self.writer.write_all(bytes)?;
        Ok(())
    }
}

/// Bytes of the file that [`WavWriter::with_length`] writes, for a `Content-Length` or a check of the disk beforehand.
pub fn wav_size_bytes(spec: &WavSpec, layout: &WavLayout, frames: u64) -> u64 {
    let small = header(spec, &layout.tags, Place::None, 0).len() as u64;
    let riff = riff_bytes(spec, small, frames);
    let fits = riff <= layout.rf64_above_bytes.min(u64::from(u32::MAX) - 1);
    let ds64 = 8 + u64::from(super::header::DS64_BYTES);
    8 + riff + if fits { 0 } else { ds64 }
}
