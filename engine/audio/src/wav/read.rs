//! Reads WAV, RF64 and BW64 as a stream of `f32` blocks, without seeking.
//!
//! A size in a header is a claim: it ends the reading, it never sizes an allocation. Reads 16 and 24 bit integers and 32 bit floats
//! of one or two channels, which is all this crate writes; other encodings are for `decode`.

use std::io::{self, Read};

use super::header::{SIZE_IN_DS64, SUBFORMAT_TAIL};
use super::{Tags, WavError};
use crate::blocks::{MAX_BLOCK_SAMPLES, MAX_RATE_HZ, MIN_RATE_HZ, SampleBlocks, SampleFormat};

/// How samples lie in a file that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WavEncoding {
    /// 16 bit integers.
    I16,
    /// 24 bit integers.
    I24,
    /// 32 bit floats; values beyond ±1 are passed on as they are, NaN as 0.
    F32,
}

impl WavEncoding {
    fn bytes(self) -> usize {
        match self {
            Self::I16 => 2,
            Self::I24 => 3,
            Self::F32 => 4,
        }
    }
}

/// Longest `fmt ` and longest `LIST` chunk that is looked into.
const MAX_FORMAT_BYTES: u64 = 1024;
const MAX_LIST_BYTES: u64 = 64 * 1024;
/// Chunks before the samples: cover art and the like are skipped, an endless row of them is not.
const MAX_SKIPPED_BYTES: u64 = 64 * 1024 * 1024;
const MAX_CHUNKS: usize = 1000;

/// A WAV file being read, standing in its samples.
#[derive(Debug)]
pub struct WavReader<R> {
    reader: R,
    format: SampleFormat,
    encoding: WavEncoding,
    tags: Tags,
    /// Bytes of sound still to come; `None` where the header does not say (a file written into a pipe).
    left_bytes: Option<u64>,
    declared_frames: Option<u64>,
    bytes: Vec<u8>,
}

impl<R: Read> WavReader<R> {
    /// Reads up to the first sample.
    ///
    /// Errors: `Malformed`, `Unsupported`, `Io`. A file that ends inside its header is malformed.
    pub fn new(mut reader: R) -> Result<Self, WavError> {
        let mut riff = [0; 12];
        fill(&mut reader, &mut riff, "the riff header")?;
        let long = match &riff[..4] {
            b"RIFF" => false,
            b"RF64" | b"BW64" => true,
            _ => return Err(malformed("does not begin with RIFF, RF64 or BW64")),
        };
        if &riff[8..] != b"WAVE" {
            return Err(malformed("a riff file, but not of type WAVE"));
        }
        let mut head = Head { long, ..Head::default() };
        let data_size = head.read_until_data(&mut reader)?;
        let Some((format, encoding)) = head.format else { return Err(malformed("no fmt chunk before the data chunk")) };
        let left_bytes = match (data_size, head.data_bytes) {
            (SIZE_IN_DS64, Some(bytes)) => Some(bytes),
            (SIZE_IN_DS64, None) => None,
            (bytes, _) => Some(u64::from(bytes)),
        };
        let frame_bytes = encoding.bytes() as u64 * u64::from(format.channels);
        if left_bytes.is_some_and(|bytes| bytes % frame_bytes != 0) {
            return Err(malformed("the data chunk ends inside a frame"));
        }
        let declared_frames = left_bytes.map(|bytes| bytes / frame_bytes);
        Ok(Self { reader, format, encoding, tags: head.tags, left_bytes, declared_frames, bytes: Vec::new() })
    }

    /// How samples lie in this file.
    pub fn encoding(&self) -> WavEncoding {
        self.encoding
    }

    /// What the header says of the length; a claim until all has been read.
    pub fn declared_frames(&self) -> Option<u64> {
        self.declared_frames
    }

    /// The four tags this crate writes, where they stand before the samples.
    pub fn tags(&self) -> &Tags {
        &self.tags
    }

    /// The reader, wherever it stands.
    pub fn into_inner(self) -> R {
        self.reader
    }

    fn next_block(&mut self, block: &mut [f32]) -> Result<usize, WavError> {
        let channels = usize::from(self.format.channels);
        let sample_bytes = self.encoding.bytes();
        let samples = block.len().min(MAX_BLOCK_SAMPLES) / channels * channels;
        let wanted = (samples * sample_bytes) as u64;
        let wanted = self.left_bytes.map_or(wanted, |left| left.min(wanted)) as usize;
        if wanted == 0 {
            return Ok(0);
        }
        self.bytes.resize(wanted, 0);
        let got = read_full(&mut self.reader, &mut self.bytes)?;
        match &mut self.left_bytes {
            Some(left) if got < wanted => {
                return Err(malformed(format!("truncated: {} bytes of sound are missing", *left - got as u64)));
            }
            Some(left) => *left -= got as u64,
            None => {}
        }
        // Only a file without a length can end inside a frame here; what is left of that frame is dropped.
        let whole = got / (sample_bytes * channels) * channels;
        for (sample, bytes) in block.iter_mut().zip(self.bytes[..whole * sample_bytes].chunks_exact(sample_bytes)) {
            *sample = decode(self.encoding, bytes);
        }
        Ok(whole)
    }
}

impl<R: Read> SampleBlocks for WavReader<R> {
    fn format(&self) -> SampleFormat {
        self.format
    }

    fn read(&mut self, block: &mut [f32]) -> io::Result<usize> {
        Ok(self.next_block(block)?)
    }
}

fn decode(encoding: WavEncoding, bytes: &[u8]) -> f32 {
    match (encoding, bytes) {
        (WavEncoding::I16, &[a, b]) => f32::from(i16::from_le_bytes([a, b])) / 32_768.0,
        // Shifted to the top of an i32, so that the sign comes by itself; 2^31 divides exactly.
        (WavEncoding::I24, &[a, b, c]) => i32::from_le_bytes([0, a, b, c]) as f32 / 2_147_483_648.0,
        (WavEncoding::F32, &[a, b, c, d]) => {
            let value = f32::from_le_bytes([a, b, c, d]);
            if value.is_nan() { 0.0 } else { value }
        }
        _ => 0.0,
    }
}

/// What the chunks before the samples said.
#[derive(Default)]
struct Head {
    long: bool,
    format: Option<(SampleFormat, WavEncoding)>,
    data_bytes: Option<u64>,
    tags: Tags,
}

impl Head {
    /// Reads chunks up to `data` and returns its 32-bit size.
    fn read_until_data(&mut self, reader: &mut impl Read) -> Result<u32, WavError> {
        let mut skipped = 0u64;
        for _ in 0..MAX_CHUNKS {
            let mut head = [0; 8];
            fill(reader, &mut head, "a chunk header before the data chunk")?;
            let size = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
            let padded = u64::from(size) + u64::from(size % 2);
            match &head[..4] {
                b"data" => return Ok(size),
                b"ds64" if self.long => self.data_bytes = Some(ds64(&payload(reader, padded, MAX_FORMAT_BYTES, "ds64")?)?),
                b"fmt " => self.format = Some(format(&payload(reader, padded, MAX_FORMAT_BYTES, "fmt")?)?),
                b"LIST" if padded <= MAX_LIST_BYTES => {
                    skipped += padded;
                    self.tags = info(&payload(reader, padded, MAX_LIST_BYTES, "LIST")?);
                }
                _ => {
                    skipped += padded;
                    if skipped > MAX_SKIPPED_BYTES {
                        return Err(malformed("more than 64 MiB before the data chunk"));
                    }
                    if io::copy(&mut reader.take(padded), &mut io::sink())? < padded {
                        return Err(malformed("ends inside a chunk before the data chunk"));
                    }
                }
            }
        }
        Err(malformed("more than 1,000 chunks before the data chunk"))
    }
}

/// The data size of a `ds64` chunk: its second 64-bit number.
fn ds64(payload: &[u8]) -> Result<u64, WavError> {
    payload.get(8..16).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes).ok_or_else(|| malformed("ds64 chunk too short"))
}

fn format(payload: &[u8]) -> Result<(SampleFormat, WavEncoding), WavError> {
    let Some(&[tag_0, tag_1, channels_0, channels_1, rate_0, rate_1, rate_2, rate_3, _, _, _, _, align_0, align_1, bits_0, bits_1]) =
        payload.first_chunk::<16>()
    else {
        return Err(malformed("fmt chunk shorter than 16 bytes"));
    };
    let mut tag = u16::from_le_bytes([tag_0, tag_1]);
    let channels = u16::from_le_bytes([channels_0, channels_1]);
    let rate_hz = u32::from_le_bytes([rate_0, rate_1, rate_2, rate_3]);
    let align = u16::from_le_bytes([align_0, align_1]);
    let bits = u16::from_le_bytes([bits_0, bits_1]);
    if tag == 0xFFFE {
        let Some(subformat) = payload.get(24..40) else { return Err(malformed("extensible fmt chunk shorter than 40 bytes")) };
        if subformat[2..] != SUBFORMAT_TAIL {
            return Err(WavError::Unsupported("an unknown subformat".to_owned()));
        }
        tag = u16::from_le_bytes([subformat[0], subformat[1]]);
    }
    let encoding = match (tag, bits) {
        (1, 16) => WavEncoding::I16,
        (1, 24) => WavEncoding::I24,
        (3, 32) => WavEncoding::F32,
        _ => return Err(WavError::Unsupported(format!("format tag {tag} with {bits} bits"))),
    };
    if !(1..=2).contains(&channels) {
        return Err(WavError::Unsupported(format!("{channels} channels")));
    }
    if !(MIN_RATE_HZ..=MAX_RATE_HZ).contains(&rate_hz) {
        return Err(malformed(format!("sample rate of {rate_hz} hz")));
    }
    if usize::from(align) != encoding.bytes() * usize::from(channels) {
        return Err(malformed(format!("frames of {align} bytes for {channels} channels of {bits} bits")));
    }
    Ok((SampleFormat { rate_hz, channels }, encoding))
}

/// A broken INFO list loses its tags, not the sound.
fn info(payload: &[u8]) -> Tags {
    let mut tags = Tags::default();
    let Some(mut rest) = payload.strip_prefix(b"INFO") else { return tags };
    while let Some((head, after)) = rest.split_first_chunk::<8>() {
        let size = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let Some(value) = after.get(..size) else { break };
        let text = value.split(|&b| b == 0).next().map(|b| String::from_utf8_lossy(b).into_owned());
        match &head[..4] {
            b"INAM" => tags.title = text,
            b"IART" => tags.artist = text,
            b"ISFT" => tags.software = text,
            b"ICMT" => tags.comment = text,
            _ => {}
        }
        rest = after.get(size + size % 2..).unwrap_or_default();
    }
    tags
}

fn payload(reader: &mut impl Read, size: u64, limit: u64, name: &str) -> Result<Vec<u8>, WavError> {
    if size > limit {
        return Err(malformed(format!("{name} chunk of {size} bytes")));
    }
    let mut bytes = Vec::new();
    reader.take(size).read_to_end(&mut bytes)?;
    if (bytes.len() as u64) < size { Err(malformed(format!("ends inside the {name} chunk"))) } else { Ok(bytes) }
}

fn fill(reader: &mut impl Read, bytes: &mut [u8], what: &str) -> Result<(), WavError> {
    if read_full(reader, bytes)? == bytes.len() { Ok(()) } else { Err(malformed(format!("ends inside {what}"))) }
}

/// Reads until `bytes` is full or the input ends.
fn read_full(reader: &mut impl Read, bytes: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < bytes.len() {
        match reader.read(&mut bytes[got..]) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

fn malformed(what: impl Into<String>) -> WavError {
    WavError::Malformed(what.into())
}
