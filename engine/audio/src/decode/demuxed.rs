//! Everything that symphonia reads, with Opus packets handed to our own decoder.
//!
//! It may not know limits; `decode` applies them to what comes out.

use std::io::{self, Read, Seek, SeekFrom};

use symphonia::core::codecs::audio::well_known::CODEC_ID_OPUS;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, Track, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream};
use symphonia::core::meta::MetadataOptions;

use super::ogg_opus::MAX_DAMAGED_IN_A_ROW;
use super::opus_packets::{OPUS_RATE_HZ, OpusPackets};
use super::{DecodeError, MediaFormat, MediaInput, input_bytes};

pub(super) struct Demuxed {
    reader: Box<dyn FormatReader>,
    track_id: u32,
    codec: Codec,
    /// Rate and channels of the packets so far; 0 before the first.
    rate_hz: u32,
    channels: u16,
    pub(super) damaged_packets: u64,
}

/// Programs that write into a pipe can't go back to fill in a length, and leave one that is nearly the largest.
const UNKNOWN_BYTES: u64 = 0x7fff_0000;

/// Said of text, pictures and everything else that no reader knows.
const NO_FORMAT: &str = "this is no sound file (read are WAV, AIFF, CAF, MP3, FLAC, Ogg, M4A, AAC, MP4, MKV and WebM)";

enum Codec {
    Symphonia(Box<dyn AudioDecoder>),
    Opus(Box<OpusPackets>),
}

impl Demuxed {
    pub(super) fn open(mut input: Box<dyn MediaInput>) -> Result<(Self, MediaFormat), DecodeError> {
        let length = input_bytes(&mut *input)?;
        let stream = MediaSourceStream::new(Box::new(Input { input, length }), Default::default());
        let reader = symphonia::default::get_probe()
            .probe(&Hint::new(), stream, FormatOptions::default(), MetadataOptions::default())
            .map_err(|e| match e {
                // The probe may read to the end of what it does not know.
                Error::IoError(e) if e.kind() == io::ErrorKind::UnexpectedEof => DecodeError::Unsupported(NO_FORMAT.to_owned()),
                Error::Unsupported(_) => DecodeError::Unsupported(NO_FORMAT.to_owned()),
                other => failed(other),
            })?;
        let container = reader.format_info().short_name.to_owned();
        let track = reader.default_track(TrackType::Audio).ok_or_else(|| DecodeError::Unsupported("no audio track".to_owned()))?;
        let params = track.codec_params.as_ref().and_then(|p| p.audio());
        let params = params.ok_or_else(|| DecodeError::Unsupported("an audio track of an unknown codec".to_owned()))?;
        let (codec, codec_name) = codec(params)?;
        let (rate_hz, channels) = (params.sample_rate.unwrap_or(0), params.channels.as_ref().map_or(0, |c| c.count() as u16));
        let declared_frames = declared_frames(track, if matches!(codec, Codec::Opus(_)) { OPUS_RATE_HZ } else { rate_hz });
        // A header that promises more than the file can hold is that of a recording that was cut off.
        let frame_bits =
            if codec_name.starts_with("pcm") { u64::from(params.bits_per_sample.unwrap_or(8)) * u64::from(channels) } else { 0 };
        let bytes = |frames: u64| frames.saturating_mul(frame_bits) / 8;
        let claimed_frames = declared_frames.filter(|&frames| bytes(frames) < UNKNOWN_BYTES);
        let declared_frames = declared_frames.filter(|&frames| bytes(frames) <= length);
        let media = MediaFormat { container, codec: codec_name, rate_hz, channels, declared_frames, claimed_frames };
        let track_id = track.id;
        Ok((Self { reader, track_id, codec, rate_hz: 0, channels: 0, damaged_packets: 0 }, media))
    }

    /// Rate and channels, once samples have come.
    pub(super) fn spec(&self) -> (u32, u16) {
        (self.rate_hz, self.channels)
    }

    pub(super) fn next(&mut self, out: &mut Vec<f32>) -> Result<bool, DecodeError> {
        out.clear();
        let mut in_a_row = 0;
        loop {
            let packet = match self.reader.next_packet() {
                Ok(Some(packet)) => packet,
                // Many files are cut off; what was there is kept.
                Ok(None) => return Ok(false),
                Err(Error::IoError(e)) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
                Err(Error::ResetRequired) => return Ok(false),
                Err(other) => return Err(failed(other)),
            };
            if packet.track_id != self.track_id {
                continue;
            }
            let whole = match &mut self.codec {
                Codec::Opus(opus) => {
                    let spec = (OPUS_RATE_HZ, opus.channels);
                    let whole = opus.decode(&packet.data, packet.trim_end.get() as usize, out);
                    self.keep_spec(spec)?;
                    whole
                }
                Codec::Symphonia(decoder) => match decoder.decode(&packet) {
                    Ok(buffer) => {
                        let spec = (buffer.spec().rate(), buffer.spec().channels().count() as u16);
                        buffer.copy_to_vec_interleaved(out);
                        if !out.is_empty() {
                            self.keep_spec(spec)?;
                        }
                        true
                    }
                    Err(Error::DecodeError(_) | Error::IoError(_)) => false,
                    Err(other) => return Err(failed(other)),
                },
            };
            if !out.is_empty() {
                return Ok(true);
            }
            if !whole {
                self.damaged_packets += 1;
                in_a_row += 1;
                if in_a_row > MAX_DAMAGED_IN_A_ROW {
                    return Err(DecodeError::Malformed("too many damaged packets".to_owned()));
                }
            }
        }
    }

    fn keep_spec(&mut self, spec: (u32, u16)) -> Result<(), DecodeError> {
        if self.rate_hz == 0 {
            (self.rate_hz, self.channels) = spec;
        }
        if (self.rate_hz, self.channels) == spec {
            return Ok(());
        }
        Err(DecodeError::Malformed(format!("{} hz, {} channels become {} hz, {} channels", self.rate_hz, self.channels, spec.0, spec.1)))
    }
}

fn codec(params: &AudioCodecParameters) -> Result<(Codec, String), DecodeError> {
    if params.codec == CODEC_ID_OPUS {
        let channels = params.channels.as_ref().map(|c| c.count() as u16);
        let opus = OpusPackets::new(params.extra_data.as_deref(), channels)?;
        return Ok((Codec::Opus(Box::new(opus)), "opus".to_owned()));
    }
    let decoder = symphonia::default::get_codecs().make_audio_decoder(params, &AudioDecoderOptions::default()).map_err(failed)?;
    let name = decoder.codec_info().short_name.to_owned();
    Ok((Codec::Symphonia(decoder), name))
}

fn declared_frames(track: &Track, rate_hz: u32) -> Option<u64> {
    track.num_frames.or_else(|| {
        let time = track.time_base?.calc_duration(track.duration?)?;
        let nanos = u128::try_from(time.as_nanos()).ok()?;
        u64::try_from(nanos * u128::from(rate_hz) / 1_000_000_000).ok()
    })
}

fn failed(error: Error) -> DecodeError {
    match error {
        Error::IoError(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            DecodeError::Malformed("the file ends too early".to_owned())
        }
        Error::IoError(error) => DecodeError::Io(error),
        Error::Unsupported(what) => DecodeError::Unsupported(what.to_owned()),
        other => DecodeError::Malformed(other.to_string()),
    }
}

/// An input with a length, as symphonia wants it.
struct Input {
    input: Box<dyn MediaInput>,
    length: u64,
}

impl Read for Input {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.input.read(bytes)
    }
}

impl Seek for Input {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.input.seek(to)
    }
}

impl MediaSource for Input {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.length)
    }
}
