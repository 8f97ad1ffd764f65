//! Sound files: looked at, or brought into the one form that the rest of the program reads.

use std::fs::File;
use std::io::{self, BufWriter};
use std::ops::ControlFlow;
use std::path::Path;

use audio::blocks::{SampleBlocks, SampleFormat};
use audio::decode::{DecodeError, DecodeLimits, MediaDecoder};
use audio::encode::{self, EncodeConfig, EncodeError, Encoding};
use audio::probe::{self, MediaInfo};
use audio::resample::ResampledBlocks;
use audio::wav::{BitDepth, Tags, WavLayout, WavSpec, WavWriter};

use super::{DecodeTask, MediaFacts};

const BLOCK_SAMPLES: usize = 16 * 1024;

/// 5.1 channels at 96 kHz are more than any voice needs; what is beyond costs memory and time and is told so.
fn limits(audio_ms_max: u64) -> DecodeLimits {
    DecodeLimits { max_decoded_ms: audio_ms_max, max_channels: 6, max_rate_hz: 96_000 }
}

pub(super) fn probe(input: File, audio_ms_max: u64) -> Result<MediaFacts, DecodeError> {
    let info = probe::probe(Box::new(input), limits(audio_ms_max))?;
    if info.duration_ms > audio_ms_max {
        return Err(DecodeError::TooLong { limit_ms: audio_ms_max });
    }
    let format = SampleFormat { rate_hz: info.rate_hz, channels: info.channels };
    check_whole(info.claimed_frames, info.frames, format, audio_ms_max)?;
    Ok(facts(info))
}

/// How much earlier than its header says a file may end.
const MISSING_MS_MAX: u64 = 500;

/// A file that was cut off is refused: what is missing may be what was wanted.
fn check_whole(claimed: Option<u64>, frames: u64, format: SampleFormat, audio_ms_max: u64) -> Result<(), DecodeError> {
    let (claimed_ms, ms) = (claimed.map_or(0, |claimed| format.frames_to_ms(claimed)), format.frames_to_ms(frames));
    if claimed_ms > audio_ms_max {
        return Err(DecodeError::TooLong { limit_ms: audio_ms_max });
    }
    if claimed_ms > ms.saturating_add(MISSING_MS_MAX) {
        return Err(DecodeError::Malformed(format!("it ends after {ms} ms where its header says {claimed_ms} ms: it was cut off")));
    }
    Ok(())
}

fn facts(info: MediaInfo) -> MediaFacts {
    MediaFacts {
        duration_ms: info.duration_ms,
        frames: info.frames,
        sample_rate_hz: info.rate_hz,
        channels: info.channels,
        codec: info.codec,
        container: info.container,
    }
}

pub(super) fn decode(input: File, task: &DecodeTask) -> Result<MediaFacts, DecodeError> {
    let usual = limits(task.audio_ms_max);
    let limits = DecodeLimits { max_channels: task.channels_max.unwrap_or(usual.max_channels), ..usual };
    let decoder = MediaDecoder::open(Box::new(input), limits)?;
    let media = decoder.media().clone();
    let (claimed, own) = (probe::claimed(&media), decoder.format());
    check_whole(claimed, u64::MAX, own, task.audio_ms_max)?;
    let source: Box<dyn SampleBlocks> =
        if task.mono && decoder.format().channels > 1 { Box::new(Mono(decoder)) } else { Box::new(decoder) };
    let wanted_hz = task.rate_hz.unwrap_or(source.format().rate_hz);
    let mut source: Box<dyn SampleBlocks> = if wanted_hz == source.format().rate_hz {
        source
    } else {
        let refused = |error: audio::resample::ResampleError| DecodeError::Unsupported(error.to_string());
        Box::new(ResampledBlocks::new(source, wanted_hz).map_err(refused)?)
    };
    let SampleFormat { rate_hz, channels } = source.format();
    let spec = WavSpec { rate_hz, channels, depth: BitDepth::Pcm16 };
    let output = BufWriter::new(File::create_new(&task.output)?);
    let written = |error: audio::wav::WavError| DecodeError::Io(io::Error::other(error.to_string()));
    let mut writer = WavWriter::new(output, spec, WavLayout::default()).map_err(written)?;
    let mut block = vec![0.0; BLOCK_SAMPLES];
    let mut frames = 0;
    loop {
        let read = match source.read(&mut block) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) => return Err(error.downcast::<DecodeError>().unwrap_or_else(DecodeError::Io)),
        };
        writer.write(&block[..read]).map_err(written)?;
        frames += (read / usize::from(channels)) as u64;
    }
    writer.finish_seek().map_err(written)?;
    let duration_ms = SampleFormat { rate_hz, channels }.frames_to_ms(frames);
    let heard_frames = own.ms_to_frames(duration_ms);
    check_whole(claimed, heard_frames, own, task.audio_ms_max)?;
    Ok(MediaFacts { duration_ms, frames, sample_rate_hz: rate_hz, channels, codec: media.codec, container: media.container })
}

pub(super) fn flac(input: File, output: &Path, audio_ms_max: u64) -> Result<MediaFacts, DecodeError> {
    let decoder = MediaDecoder::open(Box::new(input), limits(audio_ms_max))?;
    let (media, SampleFormat { rate_hz, channels }) = (decoder.media().clone(), decoder.format());
    let claimed = probe::claimed(&media);
    check_whole(claimed, u64::MAX, decoder.format(), audio_ms_max)?;
    let target = BufWriter::with_capacity(256 * 1024, File::create_new(output)?);
    let config = EncodeConfig { encoding: Encoding::Flac(BitDepth::Pcm16), sample_rate_hz: None, tags: Tags::default() };
    let written = encode::encode(Box::new(decoder), &config, target, &mut |_| ControlFlow::Continue(()));
    let (target, encoded) = written.map_err(|error| match error {
        EncodeError::Source(error) => error.downcast::<DecodeError>().unwrap_or_else(DecodeError::Io),
        EncodeError::Write(error) => DecodeError::Io(error),
        other => DecodeError::Unsupported(other.to_string()),
    })?;
    target.into_inner().map_err(|error| DecodeError::Io(error.into_error()))?;
    check_whole(claimed, encoded.frames, SampleFormat { rate_hz, channels }, audio_ms_max)?;
    let duration_ms = SampleFormat { rate_hz, channels }.frames_to_ms(encoded.frames);
    Ok(MediaFacts {
        duration_ms,
        frames: encoded.frames,
        sample_rate_hz: rate_hz,
        channels,
        codec: media.codec,
        container: media.container,
    })
}

/// The mean of two channels.
struct Mono<S>(S);

impl<S: SampleBlocks> SampleBlocks for Mono<S> {
    fn format(&self) -> SampleFormat {
        SampleFormat { channels: 1, ..self.0.format() }
    }

    fn read(&mut self, block: &mut [f32]) -> io::Result<usize> {
        let channels = usize::from(self.0.format().channels);
        let mut wide = vec![0.0; block.len() * channels];
        let read = self.0.read(&mut wide)?;
        for (sample, frame) in block.iter_mut().zip(wide[..read].chunks_exact(channels)) {
            *sample = frame.iter().sum::<f32>() / channels as f32;
        }
        Ok(read / channels)
    }
}
