//! Music steps back while somebody speaks: the first bus decides, the others are turned down, early enough to be down in time.
//!
//! It may not know clips or tracks; buses in, one mix out, late by the look-ahead until it ends.

use super::factor;
use crate::blocks::SampleFormat;
use crate::envelope::{EnvelopeConfig, GainEnvelope, UNITY};

/// The music begins to fall this long before the voice.
const LOOK_AHEAD_MS: u64 = 150;
/// Pauses between words do not bring it back.
const HOLD_MS: u64 = 500;
const RELEASE_MS: u64 = 400;
/// The voice is heard where its level (mean square, 63 % within 10 ms) is above this.
const THRESHOLD_DB: f64 = -45.0;
const LEVEL_MS: u64 = 10;

pub(super) struct Ducker {
    channels: usize,
    /// Mean square of the first bus, and its step for each frame.
    level: f64,
    step: f64,
    threshold: f64,
    ducked: Vec<Ducked>,
    /// The first bus, waiting for the gains.
    voice: Vec<f32>,
    /// Gains still to come that belong to no frame.
    early: usize,
    look_ahead: usize,
}

/// One ducked bus.
struct Ducked {
    wanted: u64,
    envelope: GainEnvelope,
    samples: Vec<f32>,
    gains: Vec<u64>,
}

impl Ducker {
    /// `ducks`: the gains in dB of the buses after the first.
    pub(super) fn new(format: SampleFormat, ducks: &[f32]) -> Self {
        let frames = |ms: u64| format.ms_to_frames(ms).max(1) as usize;
        let look_ahead = frames(LOOK_AHEAD_MS);
        let config = EnvelopeConfig { look_ahead, hold: frames(HOLD_MS), release: frames(RELEASE_MS) as f64 };
        let ducked = |&db: &f32| Ducked {
            wanted: (f64::from(factor(db)) * UNITY as f64) as u64,
            envelope: GainEnvelope::new(config),
            samples: Vec::new(),
            gains: Vec::new(),
        };
        Self {
            channels: usize::from(format.channels),
            level: 0.0,
            step: 1.0 - (-1.0 / frames(LEVEL_MS) as f64).exp(),
            threshold: 10f64.powf(THRESHOLD_DB / 10.0),
            ducked: ducks.iter().map(ducked).collect(),
            voice: Vec::new(),
            early: look_ahead - 1,
            look_ahead,
        }
    }

    /// Buses beside the first.
    pub(super) fn buses(&self) -> usize {
        self.ducked.len()
    }

    /// Frames that went in and did not come out yet.
    pub(super) fn held_frames(&self) -> u64 {
        (self.voice.len() / self.channels) as u64
    }

    /// Takes a block of every bus and appends the frames whose gains are known.
    pub(super) fn push(&mut self, buses: &[Vec<f32>], out: &mut Vec<f32>) {
        let Some((voice, others)) = buses.split_first() else { return };
        self.voice.extend_from_slice(voice);
        for (ducked, samples) in self.ducked.iter_mut().zip(others) {
            ducked.samples.extend_from_slice(samples);
            ducked.gains.clear();
        }
        for frame in voice.chunks_exact(self.channels) {
            let power = frame.iter().map(|&s| f64::from(s) * f64::from(s)).sum::<f64>() / self.channels as f64;
            self.level += (power - self.level) * self.step;
            let speaks = self.level > self.threshold;
            for ducked in &mut self.ducked {
                ducked.gains.push(if speaks { ducked.wanted } else { UNITY });
            }
        }
        self.send(out);
    }

    /// Appends the rest.
    pub(super) fn finish(&mut self, out: &mut Vec<f32>) {
        for ducked in &mut self.ducked {
            ducked.gains.clear();
            ducked.gains.resize(self.look_ahead - 1, UNITY);
        }
        self.send(out);
    }

    fn send(&mut self, out: &mut Vec<f32>) {
        let known = self.ducked.first().map_or(0, |d| d.gains.len());
        let early = self.early.min(known);
        self.early -= early;
        let count = ((known - early) * self.channels).min(self.voice.len());
        let start = out.len();
        out.extend(self.voice.drain(..count));
        for ducked in &mut self.ducked {
            ducked.envelope.run(&mut ducked.gains);
            let frames = ducked.samples[..count].chunks_exact(self.channels);
            for ((to, frame), &gain) in out[start..].chunks_exact_mut(self.channels).zip(frames).zip(&ducked.gains[early..]) {
                let gain = ducked.envelope.gain(gain);
                for (to, sample) in to.iter_mut().zip(frame) {
                    *to += sample * gain;
                }
            }
            ducked.samples.drain(..count);
        }
    }
}
