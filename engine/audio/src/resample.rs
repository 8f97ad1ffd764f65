//! Sample rates: a stream at one rate in, the same stream at another out, with the delay of the filter taken away.
//!
//! The only place that names rubato (its FFT resampler: a fixed ratio, no quality to choose). It may not know why a rate is wanted.

use std::io;

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Indexing, Resampler as _};

use crate::blocks::{MAX_BLOCK_SAMPLES, MAX_RATE_HZ, MIN_RATE_HZ, SampleBlocks, SampleFormat, scale};

/// Most channels of a stream to be resampled.
pub const MAX_RESAMPLED_CHANNELS: u16 = 8;

/// Frames of the smaller side of one transform: at 1,024 the pass band reaches to 98 % of the lower Nyquist frequency.
const TRANSFORM_FRAMES: usize = 1024;

/// A rate or a channel count that cannot be resampled; the text says which.
#[derive(Debug, thiserror::Error)]
#[error("resampling: {0}")]
pub struct ResampleError(String);

impl From<ResampleError> for io::Error {
    fn from(error: ResampleError) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}

/// What comes in and what shall come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResampleConfig {
    /// 4,000 to 384,000.
    pub from_hz: u32,
    /// 4,000 to 384,000.
    pub to_hz: u32,
    /// 1 to 8.
    pub channels: u16,
}

/// How many frames `frames` frames become: `frames · to / from`, rounded to the nearest.
pub fn resampled_frames(frames: u64, from_hz: u32, to_hz: u32) -> u64 {
    scale(frames, to_hz, from_hz)
}

/// A streaming resampler. Cuts between calls do not show in its output. Equal rates pass through untouched.
#[derive(Debug)]
pub struct Resampler {
    config: ResampleConfig,
    fft: Option<Transform>,
    frames_in: u64,
    frames_out: u64,
}

#[derive(Debug)]
struct Transform {
    fft: Fft<f32>,
    /// Input that does not fill a transform yet.
    pending: Vec<f32>,
    output: Vec<f32>,
    /// Output frames still to be dropped: the delay of the filter.
    skip_frames: usize,
}

impl Resampler {
    /// Errors: a rate or channel count outside the limits of [`ResampleConfig`].
    pub fn new(config: ResampleConfig) -> Result<Self, ResampleError> {
        let rates = MIN_RATE_HZ..=MAX_RATE_HZ;
        if !rates.contains(&config.from_hz) || !rates.contains(&config.to_hz) {
            return Err(ResampleError(format!("from {} to {} hz", config.from_hz, config.to_hz)));
        }
        if !(1..=MAX_RESAMPLED_CHANNELS).contains(&config.channels) {
            return Err(ResampleError(format!("{} channels", config.channels)));
        }
        let fft = if config.from_hz == config.to_hz { None } else { Some(Transform::new(config)?) };
        Ok(Self { config, fft, frames_in: 0, frames_out: 0 })
    }

    /// Takes interleaved frames and appends what they give to `out`.
    ///
    /// Errors: samples that are no whole frames.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) -> Result<(), ResampleError> {
        let channels = usize::from(self.config.channels);
        if !samples.len().is_multiple_of(channels) {
            return Err(ResampleError("half a frame".to_owned()));
        }
        self.frames_in += (samples.len() / channels) as u64;
        let Some(fft) = &mut self.fft else {
            out.extend_from_slice(samples);
            return Ok(());
        };
        let before = out.len();
        fft.push(samples, channels, out)?;
        self.frames_out += ((out.len() - before) / channels) as u64;
        Ok(())
    }

    /// Appends the rest, so that all output together has [`resampled_frames`] frames, and is ready for the next stream.
    pub fn finish(&mut self, out: &mut Vec<f32>) -> Result<(), ResampleError> {
        let channels = usize::from(self.config.channels);
        let total = resampled_frames(self.frames_in, self.config.from_hz, self.config.to_hz);
        if let Some(fft) = &mut self.fft {
            let missing = (total.saturating_sub(self.frames_out)) as usize * channels;
            let end = out.len() + missing;
            while out.len() < end {
                fft.flush(channels, out)?;
            }
            // What is cut off here is the silence that pushed the last frames out of the filter. `push` can never have given too
            // many: it lags behind by the delay.
            out.truncate(end);
            fft.reset();
        }
        self.frames_in = 0;
        self.frames_out = 0;
        Ok(())
    }
}

impl Transform {
    fn new(config: ResampleConfig) -> Result<Self, ResampleError> {
        let (from, to) = (config.from_hz as usize, config.to_hz as usize);
        let divisor = gcd(from, to);
        // Even on both sides, because half of it is the delay and that must be a whole number of frames.
        let blocks = (TRANSFORM_FRAMES * divisor).div_ceil(from.min(to)).next_multiple_of(2);
        let frames = blocks * (from / divisor);
        let fft =
            Fft::new_custom(from, to, frames, 1, usize::from(config.channels), rubato::WindowFunction::BlackmanHarris2, FixedSync::Both)
                .map_err(|e| ResampleError(e.to_string()))?;
        let output = vec![0.0; fft.output_frames_max() * usize::from(config.channels)];
        let skip_frames = fft.output_delay();
        Ok(Self { fft, pending: Vec::new(), output, skip_frames })
    }

    fn push(&mut self, samples: &[f32], channels: usize, out: &mut Vec<f32>) -> Result<(), ResampleError> {
        let mut rest = samples;
        while !rest.is_empty() {
            let wanted = self.fft.input_frames_next() * channels;
            let part = rest.len().min(wanted - self.pending.len());
            self.pending.extend_from_slice(&rest[..part]);
            rest = &rest[part..];
            if self.pending.len() == wanted {
                self.transform(channels, out)?;
            }
        }
        Ok(())
    }

    /// One transform of what is pending, filled up with silence.
    fn flush(&mut self, channels: usize, out: &mut Vec<f32>) -> Result<(), ResampleError> {
        self.pending.resize(self.fft.input_frames_next() * channels, 0.0);
        self.transform(channels, out)
    }

    fn transform(&mut self, channels: usize, out: &mut Vec<f32>) -> Result<(), ResampleError> {
        let broken = |e: &dyn std::fmt::Display| ResampleError(e.to_string());
        let frames_out = self.output.len() / channels;
        let input = InterleavedSlice::new(&self.pending, channels, self.pending.len() / channels).map_err(|e| broken(&e))?;
        let mut output = InterleavedSlice::new_mut(&mut self.output, channels, frames_out).map_err(|e| broken(&e))?;
        let (_, made) = self.fft.process_into_buffer(&input, &mut output, Some(&Indexing::new())).map_err(|e| broken(&e))?;
        self.pending.clear();
        let skipped = self.skip_frames.min(made);
        self.skip_frames -= skipped;
        out.extend_from_slice(&self.output[skipped * channels..made * channels]);
        Ok(())
    }

    fn reset(&mut self) {
        self.fft.reset();
        self.pending.clear();
        self.skip_frames = self.fft.output_delay();
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// A source seen at another rate.
#[derive(Debug)]
pub struct ResampledBlocks<S> {
    source: S,
    resampler: Resampler,
    format: SampleFormat,
    input: Vec<f32>,
    ready: Vec<f32>,
    at: usize,
    ended: bool,
}

/// Samples asked of the source at once; small, because the other rate may be a hundred times higher.
const INPUT_SAMPLES: usize = 4096;

impl<S: SampleBlocks> ResampledBlocks<S> {
    /// Errors: a rate or channel count outside the limits of [`ResampleConfig`].
    pub fn new(source: S, to_hz: u32) -> Result<Self, ResampleError> {
        let SampleFormat { rate_hz, channels } = source.format();
        let resampler = Resampler::new(ResampleConfig { from_hz: rate_hz, to_hz, channels })?;
        let format = SampleFormat { rate_hz: to_hz, channels };
        Ok(Self { source, resampler, format, input: vec![0.0; INPUT_SAMPLES], ready: Vec::new(), at: 0, ended: false })
    }
}

impl<S: SampleBlocks> SampleBlocks for ResampledBlocks<S> {
    fn format(&self) -> SampleFormat {
        self.format
    }

    fn read(&mut self, block: &mut [f32]) -> io::Result<usize> {
        while self.at == self.ready.len() && !self.ended {
            self.ready.clear();
            self.at = 0;
            let got = self.source.read(&mut self.input)?;
            if got == 0 {
                self.resampler.finish(&mut self.ready)?;
                self.ended = true;
            } else {
                self.resampler.push(&self.input[..got], &mut self.ready)?;
            }
        }
        let channels = usize::from(self.format.channels);
        let rest = &self.ready[self.at..];
        let count = rest.len().min(block.len()).min(MAX_BLOCK_SAMPLES) / channels * channels;
        block[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        Ok(count)
    }
}
