//! A look-ahead limiter that keeps the true peak, the one between the samples, under a ceiling.
//!
//! Detection on the 4 times oversampled signal (ITU-R BS.1770-4 annex 2); the gain is the least that any peak within the look-ahead
//! asks for, let go slowly and smoothed by two moving averages that together are as long as the look-ahead, so that the gain at a
//! peak is never above what the peak allows. It may not know loudness; and where nothing is too loud every sample passes unchanged.

use crate::envelope::{EnvelopeConfig, GainEnvelope, UNITY};

/// What the limiter holds and how.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LimiterConfig {
    /// Frames a second.
    pub rate_hz: u32,
    /// One gain for all of them.
    pub channels: u16,
    /// Highest true peak, in dB under full scale.
    pub ceiling_db: f64,
    /// How early the gain begins to fall before a peak.
    pub look_ahead_ms: f64,
    /// Time in which the gain has risen again by 63 %.
    pub release_ms: f64,
}

impl LimiterConfig {
    /// 5 ms of look-ahead and 80 ms of release: speech is not heard to pump.
    pub fn speech(rate_hz: u32, channels: u16, ceiling_db: f64) -> Self {
        Self { rate_hz, channels, ceiling_db, look_ahead_ms: 5.0, release_ms: 80.0 }
    }
}

/// Frames on each side of a point between two samples that the interpolation looks at.
const HALF_TAPS: usize = 12;
const TAPS: usize = 2 * HALF_TAPS;
/// Frames whose gains are computed together.
const BLOCK_FRAMES: usize = 1024;
/// Longest look-ahead in frames (50 ms at 192 kHz).
const MAX_LOOK_AHEAD: usize = 9_600;

/// The state of one stream. Output lags behind input; [`finish`](Self::finish) gives the rest.
#[derive(Debug)]
pub struct Limiter {
    channels: usize,
    ceiling: f32,
    filters: [[f32; TAPS]; 3],
    /// The samples that wait for their gain, interleaved, from `sent` on.
    frames: Vec<f32>,
    sent: usize,
    /// The last `TAPS` samples of each channel, twice over, so that the newest `TAPS` always lie in one piece.
    history: Vec<[f32; 2 * TAPS]>,
    at: usize,
    /// A sample up to here cannot be part of a peak above the ceiling, whatever stands beside it.
    harmless: f32,
    /// Frames for which the interpolation still has to look, because a larger sample is in its reach.
    alert: usize,
    /// Highest peak between the previous two frames that the interpolation has seen.
    last_peak: f32,
    envelope: GainEnvelope,
    /// Gains still to come that belong to no frame: at the start, the distance from the newest input to the gain that is known.
    delay: usize,
    /// Of the block at hand.
    gains: Vec<u64>,
}

impl Limiter {
    /// The look-ahead is held between 0.5 ms and 9,600 frames; a ceiling above 0 dB is 0 dB.
    pub fn new(config: LimiterConfig) -> Self {
        let rate = f64::from(config.rate_hz);
        let frames = |ms: f64| (rate * ms / 1000.0).round();
        let look_ahead = (frames(config.look_ahead_ms.max(0.5)) as usize).clamp(2, MAX_LOOK_AHEAD);
        let channels = usize::from(config.channels.max(1));
        let ceiling = 10f64.powf(config.ceiling_db.min(0.0) / 20.0) as f32;
        let filters = interpolators();
        // An interpolated value is at most the largest sample times the sum of the taps' magnitudes.
        let most = filters.iter().map(|f| f.iter().map(|t| t.abs()).sum::<f32>()).fold(1.0, f32::max);
        Self {
            channels,
            ceiling,
            filters,
            frames: Vec::new(),
            sent: 0,
            history: vec![[0.0; 2 * TAPS]; channels],
            at: 0,
            harmless: ceiling / most * 0.999,
            alert: 0,
            last_peak: 0.0,
            envelope: GainEnvelope::new(EnvelopeConfig { look_ahead, hold: 0, release: frames(config.release_ms.max(1.0)) }),
            delay: HALF_TAPS + look_ahead - 1,
            gains: Vec::new(),
        }
    }

    /// Takes interleaved frames and appends those whose gain is known by now to `out`. Half a frame at the end is left out.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        let whole = samples.len() / self.channels * self.channels;
        self.frames.extend_from_slice(&samples[..whole]);
        for block in samples[..whole].chunks(BLOCK_FRAMES * self.channels) {
            self.gains.clear();
            for frame in block.chunks_exact(self.channels) {
                let wanted = self.wanted(Some(frame));
                self.gains.push(wanted);
            }
            self.send(out);
        }
        self.frames.drain(..self.sent);
        self.sent = 0;
    }

    /// Appends the rest: output is as long as input. The limiter is spent afterwards.
    pub fn finish(&mut self, out: &mut Vec<f32>) {
        self.gains.clear();
        for _ in 0..self.waiting() {
            let wanted = self.wanted(None);
            self.gains.push(wanted);
        }
        self.send(out);
        self.frames.clear();
        self.sent = 0;
    }

    /// Frames that wait for their gain, and the gains before the beginning that were not reached yet.
    fn waiting(&self) -> usize {
        self.frames.len() / self.channels + self.delay
    }

    /// The gain, in parts of one, that the frame `HALF_TAPS` ago may have, by itself.
    fn wanted(&mut self, frame: Option<&[f32]>) -> u64 {
        let peak = self.peak(frame);
        let around = peak.max(self.last_peak);
        self.last_peak = peak;
        if around > self.ceiling { (f64::from(self.ceiling / around) * UNITY as f64) as u64 } else { UNITY }
    }

    /// Makes of the gains wanted the gains given, and sends out the frames they belong to.
    fn send(&mut self, out: &mut Vec<f32>) {
        self.envelope.run(&mut self.gains);
        // The first gains belong to a time before the beginning, the last wait for no frame.
        let early = self.delay.min(self.gains.len());
        self.delay -= early;
        let frames = self.frames[self.sent..].chunks_exact(self.channels);
        for (frame, &gain) in frames.zip(&self.gains[early..]) {
            let gain = self.envelope.gain(gain);
            out.extend(frame.iter().map(|s| s * gain));
            self.sent += self.channels;
        }
    }

    /// Highest magnitude from the frame `HALF_TAPS` ago up to just before its successor; 0 where it is surely under the ceiling.
    fn peak(&mut self, frame: Option<&[f32]>) -> f32 {
        self.at = if self.at + 1 == TAPS { 0 } else { self.at + 1 };
        self.alert = self.alert.saturating_sub(1);
        for (channel, history) in self.history.iter_mut().enumerate() {
            let sample = frame.map_or(0.0, |f| f[channel]);
            let sample = if sample.is_finite() { sample } else { 0.0 };
            if sample.abs() > self.harmless {
                self.alert = TAPS;
            }
            history[self.at] = sample;
            history[self.at + TAPS] = sample;
        }
        if self.alert == 0 {
            return 0.0;
        }
        let mut peak = 0.0f32;
        for history in &self.history {
            // Oldest first: the newest stands at `at + TAPS`.
            let Some(recent) = history[self.at + 1..].first_chunk::<TAPS>() else { continue };
            peak = peak.max(recent[HALF_TAPS - 1].abs());
            for filter in &self.filters {
                peak = peak.max(dot(filter, recent).abs());
            }
        }
        peak
    }
}

fn dot(a: &[f32; TAPS], b: &[f32; TAPS]) -> f32 {
    let mut lanes = [0.0f32; 8];
    for (x, y) in a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0) {
        for i in 0..8 {
            lanes[i] += x[i] * y[i];
        }
    }
    lanes.iter().sum()
}

/// Windowed sinc filters for the points a quarter, a half and three quarters after the frame in the middle (Blackman window).
fn interpolators() -> [[f32; TAPS]; 3] {
    let mut filters = [[0.0; TAPS]; 3];
    for (quarter, filter) in (1..).zip(&mut filters) {
        let point = (HALF_TAPS - 1) as f64 + f64::from(quarter) / 4.0;
        let mut sum = 0.0;
        let taps: Vec<f64> = (0..TAPS)
            .map(|i| {
                let x = std::f64::consts::PI * (i as f64 - point);
                let turn = x / HALF_TAPS as f64;
                let window = (0.42 + 0.5 * turn.cos() + 0.08 * (2.0 * turn).cos()).max(0.0);
                let tap = if turn.abs() >= std::f64::consts::PI { 0.0 } else { window * x.sin() / x };
                sum += tap;
                tap
            })
            .collect();
        for (to, tap) in filter.iter_mut().zip(taps) {
            *to = (tap / sum) as f32;
        }
    }
    filters
}
