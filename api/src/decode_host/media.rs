//! Sound files: looked at, or brought into the one form that the rest of the program reads.

use std::fs::File;
use std::io::{self, BufWriter};

use audio::blocks::{SampleBlocks, SampleFormat};
use audio::decode::{DecodeError, DecodeLimits, MediaDecoder};
use audio::probe::{self, MediaInfo};
use audio::resample::ResampledBlocks;
use audio::wav::{BitDepth, WavLayout, WavSpec, WavWriter};

use super::{DecodeTask, MediaFacts};

const BLOCK_SAMPLES: usize = 16 * 1024;

fn limits(audio_ms_max: u64) -> DecodeLimits {
    DecodeLimits { max_decoded_ms: audio_ms_max, ..DecodeLimits::default() }
}

pub(super) fn probe(input: File, audio_ms_max: u64) -> Result<MediaFacts, DecodeError> {
    let info = probe::probe(Box::new(input), limits(audio_ms_max))?;
    if info.duration_ms > audio_ms_max {
        return Err(DecodeError::TooLong { limit_ms: audio_ms_max });
    }
    Ok(facts(info))
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
    Ok(MediaFacts { duration_ms, frames, sample_rate_hz: rate_hz, channels, codec: media.codec, container: media.container })
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
