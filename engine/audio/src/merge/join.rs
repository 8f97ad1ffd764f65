//! The joined signal, block by block: chunks opened in order, brought to one format, faded into each other, silence between.
//!
//! It may not know loudness or files. It holds one block, the resampler's state and the end of one chunk that fades out.

use std::f32::consts::FRAC_PI_2;

use super::plan::{Plan, PlannedChunk};
use super::scan::BLOCK_SAMPLES;
use super::{MergeError, OpenChunk, Progress};
use crate::blocks::{SampleBlocks, SampleFormat};
use crate::resample::{ResampleConfig, Resampler};

/// Where the joined blocks go.
pub(super) type Sink<'a> = dyn FnMut(&[f32]) -> Result<(), MergeError> + 'a;

/// Can be run again and again; every run gives the same samples.
pub(super) struct Joiner<'a, 'b> {
    pub(super) plan: &'a Plan,
    open: &'a mut OpenChunk<'b>,
    /// The last resampler used: chunks of one rate, which is nearly always all of them, share one.
    resampler: Option<(SampleFormat, Resampler)>,
    block: Vec<f32>,
    resampled: Vec<f32>,
    /// The end of the last chunk, faded out already, that the next one begins under.
    tail: Vec<f32>,
}

impl<'a, 'b> Joiner<'a, 'b> {
    pub(super) fn new(plan: &'a Plan, open: &'a mut OpenChunk<'b>) -> Result<Self, MergeError> {
        Ok(Self { plan, open, resampler: None, block: vec![0.0; BLOCK_SAMPLES], resampled: Vec::new(), tail: Vec::new() })
    }

    /// Sends the whole signal, `plan.frames` frames, to `sink`.
    pub(super) fn run(&mut self, progress: &mut Progress<'_, '_>, sink: &mut Sink<'_>) -> Result<(), MergeError> {
        self.tail.clear();
        let plan = self.plan;
        for (index, chunk) in plan.chunks.iter().enumerate() {
            self.chunk(index, chunk, progress, sink)?;
            self.pause(chunk, progress, sink)?;
        }
        Ok(())
    }

    fn chunk(
        &mut self,
        index: usize,
        chunk: &PlannedChunk,
        progress: &mut Progress<'_, '_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), MergeError> {
        let failed = |source| MergeError::Chunk { index, source };
        let refused = |e: crate::resample::ResampleError| MergeError::Refused(e.to_string());
        let mut source = (self.open)(index).map_err(failed)?;
        let format = source.format();
        if format != chunk.source.format {
            return Err(MergeError::Changed { index });
        }
        let mut resampler = self.resampler(format)?;
        let channels = u64::from(format.channels);
        let mut skip = chunk.source.start * channels;
        let mut left = (chunk.source.end - chunk.source.start) * channels;
        let mut place = ChunkPlace {
            chunk,
            channels: usize::from(self.plan.format.channels),
            at: 0,
            fades: std::mem::take(&mut self.tail),
            tail: Vec::new(),
        };
        while left > 0 {
            progress.done((chunk.start + place.at) as f32 / self.plan.frames.max(1) as f32)?;
            let got = source.read(&mut self.block).map_err(failed)?;
            if got == 0 {
                return Err(MergeError::Changed { index });
            }
            let skipped = skip.min(got as u64);
            skip -= skipped;
            let used = left.min(got as u64 - skipped);
            left -= used;
            let part = &self.block[skipped as usize..(skipped + used) as usize];
            self.resampled.clear();
            resampler.push(part, &mut self.resampled).map_err(refused)?;
            if left == 0 {
                resampler.finish(&mut self.resampled).map_err(refused)?;
            }
            widen(&mut self.resampled, format.channels, self.plan.format.channels);
            place.send(&mut self.resampled, sink)?;
        }
        self.tail = place.tail;
        self.resampler = Some((format, resampler));
        Ok(())
    }

    fn pause(&mut self, chunk: &PlannedChunk, progress: &mut Progress<'_, '_>, sink: &mut Sink<'_>) -> Result<(), MergeError> {
        let end = chunk.start + chunk.frames;
        let channels = usize::from(self.plan.format.channels);
        let most = (BLOCK_SAMPLES / channels) as u64;
        let mut sent = 0;
        while sent < chunk.pause {
            progress.done((end + sent) as f32 / self.plan.frames.max(1) as f32)?;
            let frames = most.min(chunk.pause - sent);
            self.resampled.clear();
            self.resampled.resize(frames as usize * channels, 0.0);
            sink(&self.resampled)?;
            sent += frames;
        }
        Ok(())
    }

    fn resampler(&mut self, format: SampleFormat) -> Result<Resampler, MergeError> {
        match self.resampler.take() {
            Some((last, resampler)) if last == format => Ok(resampler),
            _ => {
                let config = ResampleConfig { from_hz: format.rate_hz, to_hz: self.plan.format.rate_hz, channels: format.channels };
                Resampler::new(config).map_err(|e| MergeError::Refused(e.to_string()))
            }
        }
    }
}

/// One chunk on its way to the sink: what fades in, what is held back to fade out.
struct ChunkPlace<'a> {
    chunk: &'a PlannedChunk,
    channels: usize,
    /// Frames of the chunk that have passed.
    at: u64,
    /// End of the chunk before, `fade_in` frames.
    fades: Vec<f32>,
    /// End of this chunk, at most `fade_out` frames.
    tail: Vec<f32>,
}

impl ChunkPlace<'_> {
    fn send(&mut self, samples: &mut [f32], sink: &mut Sink<'_>) -> Result<(), MergeError> {
        let fade_out_at = self.chunk.frames - self.chunk.fade_out;
        let mut now = 0;
        for (i, frame) in samples.chunks_exact_mut(self.channels).enumerate() {
            let at = self.at + i as u64;
            if at < self.chunk.fade_in {
                let gain = fade(at, self.chunk.fade_in).0;
                let under = &self.fades[at as usize * self.channels..];
                for (sample, tail) in frame.iter_mut().zip(under) {
                    *sample = *sample * gain + tail;
                }
            }
            if at >= fade_out_at {
                let gain = fade(at - fade_out_at, self.chunk.fade_out).1;
                self.tail.extend(frame.iter().map(|s| s * gain));
            } else {
                now += self.channels;
            }
        }
        self.at += (samples.len() / self.channels) as u64;
        if now > 0 { sink(&samples[..now]) } else { Ok(()) }
    }
}

/// Gains in and out at frame `at` of `frames`: sine and cosine, whose squares add up to one.
fn fade(at: u64, frames: u64) -> (f32, f32) {
    let turn = FRAC_PI_2 * (at as f32 + 0.5) / frames as f32;
    (turn.sin(), turn.cos())
}

/// One channel becomes two equal ones where the file has two.
fn widen(samples: &mut Vec<f32>, from: u16, to: u16) {
    if from == 1 && to == 2 {
        *samples = samples.iter().flat_map(|&s| [s, s]).collect();
    }
}
