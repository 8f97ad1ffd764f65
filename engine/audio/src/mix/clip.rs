//! One clip while it sounds: its source opened, brought to the format of the mix, looped, faded and added to a bus.
//!
//! It may not know tracks or other clips.

use std::io;
use std::ops::Range;

use super::{Clip, FadeShape, OpenSource, factor};
use crate::blocks::{SampleBlocks, SampleFormat};
use crate::resample::ResampledBlocks;

/// A clip and where its reading stands.
pub(super) struct PlayingClip {
    clip: Clip,
    format: SampleFormat,
    gain: f32,
    stream: Stream,
    /// Frames of the clip that were read or skipped.
    at: u64,
    buffer: Vec<f32>,
}

enum Stream {
    Closed,
    Open {
        blocks: Box<ResampledBlocks<SourcePart>>,
        /// Whether this turn of the loop has given anything: an empty part must not be opened for ever.
        gave: bool,
    },
    Ended,
}

impl PlayingClip {
    /// Nothing is opened before it is heard.
    pub(super) fn new(clip: Clip, format: SampleFormat) -> Self {
        let gain = factor(clip.gain_db);
        Self { clip, format, gain, stream: Stream::Closed, at: 0, buffer: Vec::new() }
    }

    pub(super) fn clip(&self) -> &Clip {
        &self.clip
    }

    /// Adds what is heard in `block` to `bus`, which holds the frames of `block`.
    pub(super) fn mix_into(&mut self, bus: &mut [f32], block: Range<i64>, track_gain: f32, open: &mut OpenSource) -> io::Result<()> {
        let channels = usize::from(self.format.channels);
        let from = block.start.max(self.clip.start);
        let to = block.end.min(self.clip.end());
        let wanted_at = from.abs_diff(self.clip.start);
        while self.at < wanted_at {
            let frames = (wanted_at - self.at).min(4096) as usize;
            self.fill(frames, open)?;
        }
        let frames = to.abs_diff(from) as usize;
        let first = self.at;
        self.fill(frames, open)?;
        let offset = from.abs_diff(block.start) as usize * channels;
        let gain = self.gain * track_gain;
        let out = bus[offset..].chunks_exact_mut(channels);
        for ((to, frame), at) in out.zip(self.buffer.chunks_exact(channels)).zip(first..) {
            let gain = gain * self.fade(at);
            for (to, sample) in to.iter_mut().zip(frame) {
                *to += sample * gain;
            }
        }
        Ok(())
    }

    /// Gain of the fades at frame `at` of the clip; a fade is half a step in when it begins, so that two that cross are symmetric.
    fn fade(&self, at: u64) -> f32 {
        let Clip { frames, fade_in, fade_out, fade_shape, .. } = self.clip;
        let rise = |at: u64, len: u64| {
            if at >= len {
                return 1.0;
            }
            let part = (at as f64 + 0.5) / len as f64;
            match fade_shape {
                FadeShape::Linear => part as f32,
                FadeShape::EqualPower => (std::f64::consts::FRAC_PI_2 * part).sin() as f32,
            }
        };
        rise(at, fade_in) * rise(frames - 1 - at.min(frames - 1), fade_out)
    }

    /// Reads the next `frames` frames of the clip into `buffer`; silence where the source has ended.
    fn fill(&mut self, frames: usize, open: &mut OpenSource) -> io::Result<()> {
        let wanted = frames * usize::from(self.format.channels);
        self.buffer.clear();
        self.buffer.resize(wanted, 0.0);
        let mut filled = 0;
        while filled < wanted {
            match &mut self.stream {
                Stream::Ended => break,
                Stream::Closed => {
                    let part = self.open_part(open)?;
                    let blocks = Box::new(ResampledBlocks::new(part, self.format.rate_hz)?);
                    self.stream = Stream::Open { blocks, gave: false };
                }
                Stream::Open { blocks, gave } => {
                    let got = blocks.read(&mut self.buffer[filled..]).map_err(|e| named(self.clip.source, &e))?;
                    filled += got;
                    if got > 0 {
                        *gave = true;
                    } else {
                        self.stream = if self.clip.looped && *gave { Stream::Closed } else { Stream::Ended };
                    }
                }
            }
        }
        self.at += frames as u64;
        Ok(())
    }

    fn open_part(&self, open: &mut OpenSource) -> io::Result<SourcePart> {
        let source = open(self.clip.source).map_err(|e| named(self.clip.source, &e))?;
        let format = source.format();
        if !(1..=2).contains(&format.channels) {
            let what = io::Error::new(io::ErrorKind::InvalidData, format!("{} channels", format.channels));
            return Err(named(self.clip.source, &what));
        }
        let Range { start, end } = self.clip.part_ms;
        let skip = format.ms_to_frames(start);
        let left = format.ms_to_frames(end).saturating_sub(skip);
        Ok(SourcePart { source, skip, left, to_channels: self.format.channels, block: vec![0.0; 4096] })
    }
}

fn named(source: usize, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("source {source}: {error}"))
}

/// A part of a source with the channels of the mix.
struct SourcePart {
    source: Box<dyn SampleBlocks>,
    /// Frames still to be left out, and frames still to be used.
    skip: u64,
    left: u64,
    to_channels: u16,
    block: Vec<f32>,
}

impl SampleBlocks for SourcePart {
    fn format(&self) -> SampleFormat {
        SampleFormat { channels: self.to_channels, ..self.source.format() }
    }

    fn read(&mut self, out: &mut [f32]) -> io::Result<usize> {
        let from = usize::from(self.source.format().channels);
        let to = usize::from(self.to_channels);
        loop {
            let frames = (self.block.len() / from).min(out.len() / to) as u64;
            let frames = if self.skip > 0 { frames } else { frames.min(self.left) };
            if frames == 0 || self.left == 0 {
                return Ok(0);
            }
            let got = self.source.read(&mut self.block[..frames as usize * from])? / from;
            if got == 0 {
                self.left = 0;
                return Ok(0);
            }
            let skipped = self.skip.min(got as u64);
            self.skip -= skipped;
            let used = (got as u64 - skipped).min(self.left);
            self.left -= used;
            if used == 0 {
                continue;
            }
            let part = &self.block[skipped as usize * from..(skipped + used) as usize * from];
            let out = &mut out[..used as usize * to];
            match (from, to) {
                (1, 2) => out.chunks_exact_mut(2).zip(part).for_each(|(o, &s)| o.fill(s)),
                (2, 1) => out.iter_mut().zip(part.chunks_exact(2)).for_each(|(o, s)| *o = (s[0] + s[1]) * 0.5),
                _ => out.copy_from_slice(part),
            }
            return Ok(out.len());
        }
    }
}
