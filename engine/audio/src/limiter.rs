//! A look-ahead limiter that keeps the true peak, the one between the samples, under a ceiling.
//!
//! Detection on the 4 times oversampled signal (ITU-R BS.1770-4 annex 2); the gain is the least that any peak within the look-ahead
//! asks for, let go slowly and smoothed by two moving averages that together are as long as the look-ahead, so that the gain at a
//! peak is never above what the peak allows. It may not know loudness; and where nothing is too loud every sample passes unchanged.

use std::collections::VecDeque;

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
/// Gains are integers of this many parts: sums of integers stay exact however long the stream is.
const UNITY: u64 = 1 << 30;
/// Longest look-ahead in frames (50 ms at 192 kHz).
const MAX_LOOK_AHEAD: usize = 9_600;

/// The state of one stream. Output lags behind input; [`finish`](Self::finish) gives the rest.
#[derive(Debug)]
pub struct Limiter {
    channels: usize,
    ceiling: f32,
    release: f64,
    filters: [[f32; TAPS]; 3],
    /// The frames that are not out yet, interleaved, and those the interpolation still needs.
    frames: VecDeque<f32>,
    /// The last `TAPS` samples of each channel, twice over, so that the newest `TAPS` always lie in one piece.
    history: Vec<[f32; 2 * TAPS]>,
    at: usize,
    /// Highest peak between the previous two frames that the interpolation has seen.
    last_peak: f32,
    minimum: SlidingMinimum,
    /// Gain after release, in parts of one.
    released: f64,
    first: MovingSum,
    second: MovingSum,
    frames_in: u64,
    frames_out: u64,
    /// Frames between the newest input and the gain that is known.
    delay: u64,
}

impl Limiter {
    /// The look-ahead is held between 0.5 ms and 9,600 frames; a ceiling above 0 dB is 0 dB.
    pub fn new(config: LimiterConfig) -> Self {
        let rate = f64::from(config.rate_hz);
        let frames = |ms: f64| (rate * ms / 1000.0).round();
        let look_ahead = (frames(config.look_ahead_ms.max(0.5)) as usize).clamp(2, MAX_LOOK_AHEAD);
        let channels = usize::from(config.channels.max(1));
        // Two averages of A and B frames reach over A + B - 1.
        let first = look_ahead / 2 + 1;
        let second = look_ahead - look_ahead / 2;
        Self {
            channels,
            ceiling: 10f64.powf(config.ceiling_db.min(0.0) / 20.0) as f32,
            release: 1.0 - (-1.0 / frames(config.release_ms.max(1.0)).max(1.0)).exp(),
            filters: interpolators(),
            frames: VecDeque::new(),
            history: vec![[0.0; 2 * TAPS]; channels],
            at: 0,
            last_peak: 0.0,
            minimum: SlidingMinimum::new(look_ahead),
            released: UNITY as f64,
            first: MovingSum::new(first),
            second: MovingSum::new(second),
            frames_in: 0,
            frames_out: 0,
            delay: (HALF_TAPS + look_ahead - 1) as u64,
        }
    }

    /// Takes interleaved frames and appends those whose gain is known by now to `out`. Half a frame at the end is left out.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        for frame in samples.chunks_exact(self.channels) {
            self.frames.extend(frame);
            self.frames_in += 1;
            self.step(Some(frame), out);
        }
    }

    /// Appends the rest: output is as long as input. The limiter is spent afterwards.
    pub fn finish(&mut self, out: &mut Vec<f32>) {
        for _ in 0..self.delay {
            self.step(None, out);
        }
    }

    /// One frame further in time.
    fn step(&mut self, frame: Option<&[f32]>, out: &mut Vec<f32>) {
        let peak = self.peak(frame);
        let around = peak.max(self.last_peak);
        self.last_peak = peak;
        let wanted = if around > self.ceiling { (f64::from(self.ceiling / around) * UNITY as f64) as u64 } else { UNITY };
        let least = self.minimum.push(wanted) as f64;
        self.released = least.min(self.released + (UNITY as f64 - self.released) * self.release);
        // Rounded down: the gain stays at or under what the peak allows.
        let mean = self.second.push(self.first.push(self.released as u64));
        let full = UNITY * (self.first.len() * self.second.len()) as u64;
        self.release_frame(mean, full, out);
    }

    fn release_frame(&mut self, gain: u64, full: u64, out: &mut Vec<f32>) {
        // The first gains belong to frames before the beginning.
        if self.minimum.pushed <= self.delay || self.frames_out == self.frames_in {
            return;
        }
        let gain = if gain == full { 1.0 } else { (gain as f64 / full as f64) as f32 };
        for _ in 0..self.channels {
            out.push(self.frames.pop_front().unwrap_or(0.0) * gain);
        }
        self.frames_out += 1;
    }

    /// Highest magnitude from the frame `HALF_TAPS` ago up to just before its successor.
    fn peak(&mut self, frame: Option<&[f32]>) -> f32 {
        self.at = (self.at + 1) % TAPS;
        let mut peak = 0.0f32;
        for (channel, history) in self.history.iter_mut().enumerate() {
            let sample = frame.map_or(0.0, |f| f[channel]);
            let sample = if sample.is_finite() { sample } else { 0.0 };
            history[self.at] = sample;
            history[self.at + TAPS] = sample;
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

/// The least of the last `len` values, each push in constant time on average: values that a later, smaller one hides are dropped.
#[derive(Debug)]
struct SlidingMinimum {
    len: u64,
    pushed: u64,
    candidates: VecDeque<(u64, u64)>,
}

impl SlidingMinimum {
    fn new(len: usize) -> Self {
        Self { len: len as u64, pushed: 0, candidates: VecDeque::new() }
    }

    fn push(&mut self, value: u64) -> u64 {
        while self.candidates.back().is_some_and(|&(_, last)| last >= value) {
            self.candidates.pop_back();
        }
        self.candidates.push_back((self.pushed, value));
        self.pushed += 1;
        while self.candidates.front().is_some_and(|&(at, _)| at + self.len < self.pushed) {
            self.candidates.pop_front();
        }
        self.candidates.front().map_or(value, |&(_, least)| least)
    }
}

/// The sum of the last `len` values. It starts at zero; the first gain is used only after both sums have filled.
#[derive(Debug)]
struct MovingSum {
    values: VecDeque<u64>,
    sum: u64,
}

impl MovingSum {
    fn new(len: usize) -> Self {
        Self { values: VecDeque::from(vec![0; len]), sum: 0 }
    }

    fn len(&self) -> usize {
        self.values.len()
    }

    fn push(&mut self, value: u64) -> u64 {
        self.sum += value;
        self.values.push_back(value);
        self.sum -= self.values.pop_front().unwrap_or(0);
        self.sum
    }
}
