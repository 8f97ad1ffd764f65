//! A gain that is down before it is needed: wanted gains in, smooth gains out, late by the look-ahead. Shared by `limiter` and `mix`.
//!
//! The least of what is wanted within the look-ahead (and a hold after it), let go slowly, then smoothed by two moving averages that
//! together reach as far as the look-ahead: the gain of a frame is never above what that frame wanted. It may not know samples.

use std::collections::VecDeque;

/// Gains are integers of this many parts: sums of integers stay exact however long the stream is.
pub(crate) const UNITY: u64 = 1 << 30;
/// So near to one (a millionth) the release has ended.
const NEARLY_UNITY: f64 = 1024.0;

/// Times in frames.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EnvelopeConfig {
    /// At least 1. The gain of a frame is known when `look_ahead - 1` frames after it have been wanted.
    pub(crate) look_ahead: usize,
    /// How long a gain stays down after it was wanted.
    pub(crate) hold: usize,
    /// Frames in which the gain has risen again by 63 %.
    pub(crate) release: f64,
}

#[derive(Debug)]
pub(crate) struct GainEnvelope {
    minimum: SlidingMinimum,
    /// Gain after release, in parts of one.
    released: f64,
    release: f64,
    first: MovingSum,
    second: MovingSum,
    scale: f64,
    full: u64,
}

impl GainEnvelope {
    pub(crate) fn new(config: EnvelopeConfig) -> Self {
        let look_ahead = config.look_ahead.max(1);
        // Two averages of A and B frames reach over A + B - 1.
        let first = MovingSum::new(look_ahead / 2 + 1);
        let second = MovingSum::new(look_ahead - look_ahead / 2);
        let full = UNITY * (first.values.len() * second.values.len()) as u64;
        Self {
            minimum: SlidingMinimum::new(look_ahead + config.hold),
            released: UNITY as f64,
            release: 1.0 - (-1.0 / config.release.max(1.0)).exp(),
            first,
            second,
            scale: 1.0 / full as f64,
            full,
        }
    }

    /// Replaces wanted gains (up to [`UNITY`]) by given ones, which [`gain`](Self::gain) reads. The first `look_ahead - 1` of a
    /// stream are of no use: the averages have not filled.
    pub(crate) fn run(&mut self, gains: &mut [u64]) {
        for gain in &mut *gains {
            let least = self.minimum.push(*gain) as f64;
            self.released = least.min(self.released + (UNITY as f64 - self.released) * self.release);
            if UNITY as f64 - self.released < NEARLY_UNITY {
                self.released = UNITY as f64;
            }
            // Rounded down, so that the mean stays at or under what is wanted.
            *gain = self.released as u64;
        }
        self.first.run(gains);
        self.second.run(gains);
    }

    /// A result of [`run`](Self::run) as a factor; exactly 1 where nothing was wanted.
    pub(crate) fn gain(&self, given: u64) -> f32 {
        if given == self.full { 1.0 } else { (given as f64 * self.scale) as f32 }
    }
}

/// The least of the last `len` values, none of which is above UNITY, each push in constant time on average: a value that a later,
/// smaller one hides is dropped, and UNITY itself need not be kept.
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
        self.pushed += 1;
        if value < UNITY {
            while self.candidates.back().is_some_and(|&(_, last)| last >= value) {
                self.candidates.pop_back();
            }
            self.candidates.push_back((self.pushed, value));
        }
        while self.candidates.front().is_some_and(|&(at, _)| at + self.len <= self.pushed) {
            self.candidates.pop_front();
        }
        self.candidates.front().map_or(UNITY, |&(_, least)| least)
    }
}

/// The sum of the last `len` values, starting at zero.
#[derive(Debug)]
struct MovingSum {
    values: Vec<u64>,
    at: usize,
    sum: u64,
}

impl MovingSum {
    fn new(len: usize) -> Self {
        Self { values: vec![0; len], at: 0, sum: 0 }
    }

    /// Replaces each value by the sum up to it.
    fn run(&mut self, values: &mut [u64]) {
        for value in values {
            self.sum += *value;
            self.sum -= std::mem::replace(&mut self.values[self.at], *value);
            self.at = if self.at + 1 == self.values.len() { 0 } else { self.at + 1 };
            *value = self.sum;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_gain_is_above_what_its_frame_wanted(
            wanted in prop::collection::vec(prop_oneof![3 => Just(UNITY), 1 => 0..UNITY], 1..600),
            look_ahead in 1usize..60,
            hold in 0usize..50,
            release in 1.0f64..500.0,
            cut in 1usize..100,
        ) {
            let mut envelope = GainEnvelope::new(EnvelopeConfig { look_ahead, hold, release });
            let mut gains: Vec<u64> = wanted.iter().copied().chain(std::iter::repeat_n(UNITY, look_ahead - 1)).collect();
            gains.chunks_mut(cut).for_each(|part| envelope.run(part));
            let given = &gains[look_ahead - 1..];
            prop_assert_eq!(given.len(), wanted.len());
            for (i, (&given, &wanted)) in given.iter().zip(&wanted).enumerate() {
                prop_assert!(envelope.gain(given) <= (wanted as f64 / UNITY as f64) as f32 + 1e-6, "frame {}", i);
            }
            if wanted.iter().all(|&w| w == UNITY) {
                prop_assert!(given.iter().all(|&g| envelope.gain(g) == 1.0));
            }
        }
    }
}
