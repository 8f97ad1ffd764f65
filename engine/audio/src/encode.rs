//! A stream of samples becomes a file: WAV, FLAC, Opus or MP3, resampled where the codec does not know the rate.
//!
//! Memory is flat. The same stream gives the same bytes. It may not know loudness or names of files; and MP3 only with the feature
//! `mp3`, because LAME is LGPL.

mod flac;
#[cfg(feature = "mp3")]
mod mp3;
mod opus;

use std::io::{self, Seek, Write};
use std::ops::ControlFlow;

use crate::blocks::{SampleBlocks, SampleFormat};
use crate::resample::ResampledBlocks;
use crate::wav::{BitDepth, Tags, WavError, WavLayout, WavSpec, WavWriter};

/// Which codec, and how much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// RIFF, or RF64 past 4 GiB.
    Wav(BitDepth),
    /// Lossless, 16 or 24 bit; up to 192 kHz.
    Flac(BitDepth),
    /// In Ogg. 6,000 to 256,000 bits a second for each channel; 32,000 is good for one voice.
    Opus { bitrate_bps: u32 },
    /// Constant rate: one of LAME's, 8 to 320, the next higher is taken. Under 56 (40 at 16 kHz) LAME's header does not fit
    /// into a packet, and players hear the codec's delay: some 50 ms of silence in all.
    Mp3 { bitrate_kbps: u16 },
}

impl Encoding {
    /// MIME type of the file.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Wav(_) => "audio/wav",
            Self::Flac(_) => "audio/flac",
            Self::Opus { .. } => "audio/ogg",
            Self::Mp3 { .. } => "audio/mpeg",
        }
    }

    /// The rate of the file for a wish: the wish itself where the codec has it, else the next higher, else its highest.
    pub fn rate_for(self, wanted_hz: u32) -> u32 {
        let known: &[u32] = match self {
            Self::Wav(_) => return wanted_hz,
            Self::Flac(_) => return wanted_hz.min(192_000),
            Self::Opus { .. } => &[8_000, 12_000, 16_000, 24_000, 48_000],
            Self::Mp3 { .. } => &[8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000],
        };
        known.iter().copied().find(|&hz| hz >= wanted_hz).unwrap_or(48_000)
    }
}

/// How to encode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodeConfig {
    pub encoding: Encoding,
    /// `None`: that of the stream. Codecs take what [`Encoding::rate_for`] makes of it.
    pub sample_rate_hz: Option<u32>,
    pub tags: Tags,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoded {
    /// At `rate_hz`: what a decoder gives back, without the codec's delay.
    pub frames: u64,
    pub duration_ms: u64,
    pub rate_hz: u32,
    pub channels: u16,
}

/// Sorted by what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The callback asked to stop: not a failure. What was written so far is no file.
    #[error("stopped on request")]
    Stopped,
    /// Another attempt gives the same: an impossible setting or stream, or a codec that is not built in.
    #[error("encoding refused: {0}")]
    Refused(String),
    /// The stream failed.
    #[error("reading samples: {0}")]
    Source(#[source] io::Error),
    /// The writer failed; try again.
    #[error("writing: {0}")]
    Write(#[source] io::Error),
}

/// Samples asked of the stream at once.
const BLOCK_SAMPLES: usize = 16 * 1024;

/// Encodes all of `source` to `writer`, from where it stands, and gives the writer back, flushed.
///
/// `on_block` is asked before every block of at most 16 Ki samples with the frames that are done.
pub fn encode<W: Write + Seek>(
    source: Box<dyn SampleBlocks + '_>,
    config: &EncodeConfig,
    writer: W,
    on_block: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<(W, Encoded), EncodeError> {
    let from = source.format();
    if !(1..=2).contains(&from.channels) {
        return Err(EncodeError::Refused(format!("{} channels", from.channels)));
    }
    let rate_hz = config.encoding.rate_for(config.sample_rate_hz.unwrap_or(from.rate_hz));
    let format = SampleFormat { rate_hz, channels: from.channels };
    let mut source = ResampledBlocks::new(source, rate_hz).map_err(|e| EncodeError::Refused(e.to_string()))?;
    let mut encoder = Encoder::new(writer, format, config)?;
    let mut block = vec![0.0; BLOCK_SAMPLES];
    let mut samples = 0u64;
    loop {
        if on_block(samples / u64::from(format.channels)).is_break() {
            return Err(EncodeError::Stopped);
        }
        let got = source.read(&mut block).map_err(EncodeError::Source)?;
        if got == 0 {
            break;
        }
        encoder.push(&block[..got])?;
        samples += got as u64;
    }
    let mut writer = encoder.finish()?;
    writer.flush().map_err(EncodeError::Write)?;
    let frames = samples / u64::from(format.channels);
    Ok((writer, Encoded { frames, duration_ms: format.frames_to_ms(frames), rate_hz, channels: format.channels }))
}

enum Encoder<W: Write + Seek> {
    Wav(Box<WavWriter<W>>),
    Flac(Box<flac::FlacEncoder<W>>),
    Opus(Box<opus::OpusFile<W>>),
    #[cfg(feature = "mp3")]
    Mp3(Box<mp3::Mp3Encoder<W>>),
}

impl<W: Write + Seek> Encoder<W> {
    fn new(writer: W, format: SampleFormat, config: &EncodeConfig) -> Result<Self, EncodeError> {
        let SampleFormat { rate_hz, channels } = format;
        match config.encoding {
            Encoding::Wav(depth) => {
                let layout = WavLayout { tags: config.tags.clone(), ..WavLayout::default() };
                let wav = WavWriter::new(writer, WavSpec { rate_hz, channels, depth }, layout).map_err(wav_failed)?;
                Ok(Self::Wav(Box::new(wav)))
            }
            Encoding::Flac(depth) => Ok(Self::Flac(Box::new(flac::FlacEncoder::new(writer, format, depth, &config.tags)?))),
            Encoding::Opus { bitrate_bps } => Ok(Self::Opus(Box::new(opus::OpusFile::new(writer, format, bitrate_bps, &config.tags)?))),
            #[cfg(feature = "mp3")]
            Encoding::Mp3 { bitrate_kbps } => Ok(Self::Mp3(Box::new(mp3::Mp3Encoder::new(writer, format, bitrate_kbps, &config.tags)?))),
            #[cfg(not(feature = "mp3"))]
            Encoding::Mp3 { .. } => Err(EncodeError::Refused("this program was built without mp3".to_owned())),
        }
    }

    /// Whole interleaved frames.
    fn push(&mut self, samples: &[f32]) -> Result<(), EncodeError> {
        match self {
            Self::Wav(wav) => wav.write(samples).map_err(wav_failed),
            Self::Flac(flac) => flac.push(samples),
            Self::Opus(opus) => opus.push(samples),
            #[cfg(feature = "mp3")]
            Self::Mp3(mp3) => mp3.push(samples),
        }
    }

    fn finish(self) -> Result<W, EncodeError> {
        match self {
            Self::Wav(wav) => wav.finish_seek().map_err(wav_failed),
            Self::Flac(flac) => flac.finish(),
            Self::Opus(opus) => opus.finish(),
            #[cfg(feature = "mp3")]
            Self::Mp3(mp3) => mp3.finish(),
        }
    }
}

fn wav_failed(error: WavError) -> EncodeError {
    match error {
        WavError::Io(error) => EncodeError::Write(error),
        other => EncodeError::Refused(other.to_string()),
    }
}

/// The tags that are there, under the names of Vorbis comments (FLAC and Opus share them).
fn comments(tags: &Tags) -> Vec<(&'static str, &str)> {
    let all = [("TITLE", &tags.title), ("ARTIST", &tags.artist), ("ENCODER", &tags.software), ("COMMENT", &tags.comment)];
    all.into_iter().filter_map(|(name, text)| Some((name, text.as_deref()?))).filter(|(_, text)| !text.is_empty()).collect()
}

/// Tags are cut to this many bytes, as in WAV.
const MAX_TAG_BYTES: usize = 4096;

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TAG_BYTES)]
}
