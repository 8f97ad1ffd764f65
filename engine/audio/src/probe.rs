//! How long a file is and what it is made of: from the header where it can be trusted, else by decoding.
//!
//! It may not know codecs; `decode` does.

use std::io;

use crate::blocks::{SampleBlocks, SampleFormat};
use crate::decode::{self, DecodeError, DecodeLimits, MediaDecoder, MediaFormat, MediaInput};

/// Where a length comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LengthFrom {
    /// The file's own word, of a kind that is exact when the file is whole.
    Header,
    /// All of it was decoded.
    Decoding,
}

/// What a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaInfo {
    pub duration_ms: u64,
    /// At `rate_hz`.
    pub frames: u64,
    pub rate_hz: u32,
    pub channels: u16,
    pub container: String,
    pub codec: String,
    pub length_from: LengthFrom,
    /// What a header of a kind that counts frames says, whatever the file holds.
    pub claimed_frames: Option<u64>,
}

/// Containers whose header counts frames exactly. MP3 and AAC streams have no such header, Matroska rounds and browsers leave it out.
const COUNTED: [&str; 6] = ["wave", "aiff", "caf", "flac", "isomp4", "ogg"];

/// Looks into a file. Errors: as [`MediaDecoder::open`]; `TooLong` only where it has to be decoded.
pub fn probe(mut input: Box<dyn MediaInput>, limits: DecodeLimits) -> Result<MediaInfo, DecodeError> {
    if decode::is_ogg_opus(&mut *input)? {
        // The packets' first bytes say how long they are.
        let (media, frames) = decode::measure_ogg_opus(input)?;
        return Ok(info(&media, frames, LengthFrom::Header));
    }
    let mut decoder = MediaDecoder::open(input, limits)?;
    let media = decoder.media().clone();
    match media.declared_frames {
        Some(frames) if frames > 0 && COUNTED.contains(&media.container.as_str()) => Ok(info(&media, frames, LengthFrom::Header)),
        _ => {
            let frames = count(&mut decoder)?;
            Ok(info(&media, frames, LengthFrom::Decoding))
        }
    }
}

/// What a header of a kind that counts frames says, whatever the file holds.
pub fn claimed(media: &MediaFormat) -> Option<u64> {
    media.claimed_frames.filter(|_| COUNTED.contains(&media.container.as_str()))
}

fn count(decoder: &mut MediaDecoder) -> Result<u64, DecodeError> {
    let channels = u64::from(decoder.format().channels);
    let mut block = vec![0.0; 16 * 1024];
    let mut samples = 0;
    loop {
        match decoder.read(&mut block) {
            Ok(0) => return Ok(samples / channels),
            Ok(n) => samples += n as u64,
            Err(error) => return Err(error.downcast::<DecodeError>().unwrap_or_else(|e: io::Error| DecodeError::Io(e))),
        }
    }
}

fn info(media: &MediaFormat, frames: u64, length_from: LengthFrom) -> MediaInfo {
    let format = SampleFormat { rate_hz: media.rate_hz, channels: media.channels };
    MediaInfo {
        duration_ms: format.frames_to_ms(frames),
        frames,
        rate_hz: media.rate_hz,
        channels: media.channels,
        container: media.container.clone(),
        codec: media.codec.clone(),
        length_from,
        claimed_frames: claimed(media),
    }
}
