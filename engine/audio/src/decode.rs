//! Sound files of the world as a stream of samples: WAV, AIFF, CAF, FLAC, MP1-3, AAC-LC, ALAC, Vorbis and Opus, in their own files or
//! in MP4, Matroska/WebM and Ogg.
//!
//! The only place that names symphonia. Files come from strangers: a panic inside the decoder is an error here, length, rate and
//! channels are capped, and damaged packets are left out. What it cannot do is cap the memory that a broken file makes the
//! demuxer ask for; whoever decodes uploads does it in a process with a limit. HE-AAC, AC-3, WMA and AMR need ffmpeg.

mod demuxed;
mod ogg_opus;
mod opus_packets;

use std::io::{self, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::blocks::{MAX_RATE_HZ, MIN_RATE_HZ, SampleBlocks, SampleFormat};

use demuxed::Demuxed;
use ogg_opus::OggOpus;

/// Where the bytes come from: a file, or a cursor over bytes.
pub trait MediaInput: Read + Seek + Send + Sync {}

impl<R: Read + Seek + Send + Sync> MediaInput for R {}

/// What is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Decoding ends with [`DecodeError::TooLong`] past this; the header's word is not asked.
    pub max_decoded_ms: u64,
    /// Of the file; what comes out has one or two.
    pub max_channels: u16,
    /// Of the file.
    pub max_rate_hz: u32,
}

impl Default for DecodeLimits {
    /// Four hours, 7.1 channels, 192 kHz.
    fn default() -> Self {
        Self { max_decoded_ms: 4 * 3_600_000, max_channels: 8, max_rate_hz: 192_000 }
    }
}

/// Sorted by what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// No sound file, or one in a codec that is not read here: another program may.
    #[error("unsupported media: {0}")]
    Unsupported(String),
    /// A known format with broken bytes.
    #[error("malformed media: {0}")]
    Malformed(String),
    /// More sound than was allowed.
    #[error("longer than {limit_ms} ms")]
    TooLong { limit_ms: u64 },
    /// The reader failed; another attempt may succeed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<DecodeError> for io::Error {
    /// `InvalidData` or `FileTooLarge`, with the [`DecodeError`] inside; see [`io::Error::downcast`].
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Io(error) => error,
            DecodeError::TooLong { .. } => Self::new(io::ErrorKind::FileTooLarge, error),
            DecodeError::Unsupported(_) | DecodeError::Malformed(_) => Self::new(io::ErrorKind::InvalidData, error),
        }
    }
}

/// What a file is, by its own word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaFormat {
    /// Short names: `wave`, `ogg`, `matroska`, `isomp4`, `mp3`, `flac`, ...
    pub container: String,
    /// `pcm_s16le`, `opus`, `vorbis`, `aac`, `mp3`, `flac`, ...
    pub codec: String,
    pub rate_hz: u32,
    /// Before they were brought down to one or two.
    pub channels: u16,
    /// Length that the header gives, in frames, where the file is large enough for it.
    pub declared_frames: Option<u64>,
    /// The same, whatever the file holds. `None` also where the header says that it does not know.
    pub claimed_frames: Option<u64>,
}

/// A file being decoded. As [`SampleBlocks`] it has one channel where the file has one, two where it has two, and one with the mean of
/// all where it has more.
pub struct MediaDecoder {
    source: Source,
    media: MediaFormat,
    format: SampleFormat,
    limits: DecodeLimits,
    /// Decoded samples from `sent` on wait to be read.
    ready: Vec<f32>,
    sent: usize,
    frames: u64,
    ended: bool,
}

enum Source {
    Demuxed(Box<Demuxed>),
    OggOpus(Box<OggOpus>),
}

impl Source {
    /// Replaces `out` by the next samples, interleaved in the channels of the file; false at the end.
    fn next(&mut self, out: &mut Vec<f32>) -> Result<bool, DecodeError> {
        guarded(|| match self {
            Self::Demuxed(source) => source.next(out),
            Self::OggOpus(source) => source.next(out),
        })
    }

    fn damaged_packets(&self) -> u64 {
        match self {
            Self::Demuxed(source) => source.damaged_packets,
            Self::OggOpus(source) => source.damaged_packets,
        }
    }
}

impl std::fmt::Debug for MediaDecoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { media, format, limits, frames, ended, .. } = self;
        f.debug_struct("MediaDecoder")
            .field("media", media)
            .field("format", format)
            .field("limits", limits)
            .field("frames", frames)
            .field("ended", ended)
            .finish_non_exhaustive()
    }
}

impl MediaDecoder {
    /// Finds out what the bytes are (names and extensions are not asked) and decodes the first samples.
    ///
    /// Errors: all of [`DecodeError`] but `TooLong`. A file without any sound is malformed.
    pub fn open(mut input: Box<dyn MediaInput>, limits: DecodeLimits) -> Result<Self, DecodeError> {
        let mut ready = Vec::new();
        let (mut source, mut media) = if ogg_opus::is_ogg_opus(&mut *input)? {
            let (source, media) = guarded(|| OggOpus::open(input))?;
            (Source::OggOpus(Box::new(source)), media)
        } else {
            let (source, media) = guarded(|| Demuxed::open(input))?;
            (Source::Demuxed(Box::new(source)), media)
        };
        // Some headers do not know their rate or channels; the first samples do.
        if !source.next(&mut ready)? {
            return Err(DecodeError::Malformed("no sound".to_owned()));
        }
        if let Source::Demuxed(demuxed) = &source {
            (media.rate_hz, media.channels) = demuxed.spec();
        }
        if !(MIN_RATE_HZ..=limits.max_rate_hz.min(MAX_RATE_HZ)).contains(&media.rate_hz) {
            return Err(DecodeError::Unsupported(format!(
                "a sample rate of {} Hz (read are {MIN_RATE_HZ} to {})",
                media.rate_hz, limits.max_rate_hz
            )));
        }
        if !(1..=limits.max_channels).contains(&media.channels) {
            return Err(DecodeError::Unsupported(format!("{} channels (read are 1 to {})", media.channels, limits.max_channels)));
        }
        let format = SampleFormat { rate_hz: media.rate_hz, channels: if media.channels == 2 { 2 } else { 1 } };
        let mut decoder = Self { source, media, format, limits, ready, sent: 0, frames: 0, ended: false };
        decoder.settle()?;
        Ok(decoder)
    }

    /// What the file says of itself.
    pub fn media(&self) -> &MediaFormat {
        &self.media
    }

    /// Packets left out so far because they could not be decoded.
    pub fn damaged_packets(&self) -> u64 {
        self.source.damaged_packets()
    }

    /// Brings what was just decoded into shape: channels, broken floats, the limit of length.
    fn settle(&mut self) -> Result<(), DecodeError> {
        let from = usize::from(self.media.channels);
        if from > 2 {
            let scale = 1.0 / f32::from(self.media.channels);
            self.ready = self.ready.chunks_exact(from).map(|frame| frame.iter().sum::<f32>() * scale).collect();
        }
        for sample in &mut self.ready {
            if !sample.is_finite() {
                *sample = 0.0;
            }
        }
        self.sent = 0;
        self.frames += (self.ready.len() / usize::from(self.format.channels)) as u64;
        if self.format.frames_to_ms(self.frames) > self.limits.max_decoded_ms {
            return Err(DecodeError::TooLong { limit_ms: self.limits.max_decoded_ms });
        }
        Ok(())
    }

    fn advance(&mut self) -> Result<(), DecodeError> {
        self.ended = !self.source.next(&mut self.ready)?;
        if self.ended {
            self.ready.clear();
        }
        self.settle()
    }
}

impl SampleBlocks for MediaDecoder {
    fn format(&self) -> SampleFormat {
        self.format
    }

    fn read(&mut self, block: &mut [f32]) -> io::Result<usize> {
        while self.sent == self.ready.len() && !self.ended {
            self.advance()?;
        }
        let channels = usize::from(self.format.channels);
        let rest = &self.ready[self.sent..];
        let count = rest.len().min(block.len()) / channels * channels;
        block[..count].copy_from_slice(&rest[..count]);
        self.sent += count;
        Ok(count)
    }
}

/// Whether this is an Ogg file that begins with an Opus stream; the input stands at its beginning afterwards.
pub(crate) fn is_ogg_opus(input: &mut dyn MediaInput) -> Result<bool, DecodeError> {
    ogg_opus::is_ogg_opus(input)
}

/// Format and frames of such a file.
pub(crate) fn measure_ogg_opus(input: Box<dyn MediaInput>) -> Result<(MediaFormat, u64), DecodeError> {
    guarded(|| ogg_opus::measure(input))
}

/// Decoders have panicked on malformed files; that must not take more than the file with it.
fn guarded<T>(work: impl FnOnce() -> Result<T, DecodeError>) -> Result<T, DecodeError> {
    // Unwind safe: after a panic the decoder is not used again, its error is passed on.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(DecodeError::Malformed("the decoder panicked".to_owned())))
}

/// Length of an input; it stands at its beginning afterwards.
fn input_bytes(input: &mut dyn MediaInput) -> io::Result<u64> {
    let length = input.seek(SeekFrom::End(0))?;
    input.seek(SeekFrom::Start(0))?;
    Ok(length)
}
