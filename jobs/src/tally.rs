//! What this process has counted since its start: how runs ended, how long jobs waited and ran, how fast was spoken. For whoever watches a
//! process from outside; nothing is decided by these numbers, and none of them names a job or an owner.
//!
//! One for the process, like its standard error: what counts is spread over every job, and none of it should carry a counter along.

use std::sync::atomic::{AtomicU64, Ordering};

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Done,
    /// Comes back later, with an attempt spent.
    Retried,
    /// Comes back when what was missing may be there.
    Waits,
    /// Dead: nobody runs it again unless asked.
    Discarded,
    Cancelled,
    /// Put back by a stop.
    PutBack,
    /// The lease was gone: what it made was thrown away.
    Fenced,
}

impl End {
    pub const ALL: [Self; 7] = [Self::Done, Self::Retried, Self::Waits, Self::Discarded, Self::Cancelled, Self::PutBack, Self::Fenced];

    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Retried => "retried",
            Self::Waits => "waits",
            Self::Discarded => "discarded",
            Self::Cancelled => "cancelled",
            Self::PutBack => "put_back",
            Self::Fenced => "fenced",
        }
    }
}

/// Upper bounds of durations, in seconds.
pub const SECONDS: [f64; 12] = [0.005, 0.02, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1_000.0, 3_600.0];
/// Upper bounds of computing time over audio time.
pub const FACTORS: [f64; 12] = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0];

/// Counts values by their size.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64; 12],
    /// One more for those above the last bound.
    counts: [AtomicU64; 13],
    sum_millionths: AtomicU64,
}

/// What a histogram held when it was looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Counted {
    /// Each bound with how many values were not above it; the last bound is infinite.
    pub up_to: Vec<(f64, u64)>,
    pub sum: f64,
}

impl Histogram {
    const fn new(bounds: &'static [f64; 12]) -> Self {
        Self { bounds, counts: [const { AtomicU64::new(0) }; 13], sum_millionths: AtomicU64::new(0) }
    }

    pub fn note(&self, value: f64) {
        let value = if value.is_finite() { value.max(0.0) } else { return };
        let place = self.bounds.iter().position(|bound| value <= *bound).unwrap_or(self.bounds.len());
        self.counts[place].fetch_add(1, Ordering::Relaxed);
        self.sum_millionths.fetch_add((value * 1e6) as u64, Ordering::Relaxed);
    }

    pub fn read(&self) -> Counted {
        let mut total = 0;
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        let up_to = bounds.zip(&self.counts).map(|(bound, count)| {
            total += count.load(Ordering::Relaxed);
            (bound, total)
        });
        Counted { up_to: up_to.collect(), sum: self.sum_millionths.load(Ordering::Relaxed) as f64 / 1e6 }
    }
}

#[derive(Debug)]
pub struct Tally {
    ends: [AtomicU64; 7],
    /// Jobs taken from workers that were gone.
    pub rescued: AtomicU64,
    /// From the time at which a job could start to its start.
    pub wait_s: Histogram,
    pub run_s: Histogram,
    pub real_time_factor: Histogram,
}

impl Tally {
    const fn new() -> Self {
        Self {
            ends: [const { AtomicU64::new(0) }; 7],
            rescued: AtomicU64::new(0),
            wait_s: Histogram::new(&SECONDS),
            run_s: Histogram::new(&SECONDS),
            real_time_factor: Histogram::new(&FACTORS),
        }
    }

    pub(crate) fn note_end(&self, end: End, run_ms: i64) {
        self.ends[end as usize].fetch_add(1, Ordering::Relaxed);
        self.run_s.note(run_ms as f64 / 1_000.0);
    }

    pub fn ended(&self, end: End) -> u64 {
        self.ends[end as usize].load(Ordering::Relaxed)
    }
}

/// Of this process.
pub static TALLY: Tally = Tally::new();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_up_to_each_bound() {
        let histogram = Histogram::new(&SECONDS);
        for value in [0.001, 0.005, 0.5, 5_000.0, f64::NAN, -1.0] {
            histogram.note(value);
        }
        let Counted { up_to, sum } = histogram.read();
        assert_eq!(up_to.first(), Some(&(0.005, 3)));
        assert_eq!(up_to[4], (1.0, 4));
        assert_eq!(up_to.last(), Some(&(f64::INFINITY, 5)));
        assert!((sum - 5_000.506).abs() < 1e-6, "{sum}");
    }

    #[test]
    fn every_end_has_its_counter() {
        let tally = Tally::new();
        for (place, end) in End::ALL.into_iter().enumerate() {
            for _ in 0..=place {
                tally.note_end(end, 10);
            }
        }
        let counted: Vec<u64> = End::ALL.into_iter().map(|end| tally.ended(end)).collect();
        assert_eq!(counted, [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(tally.run_s.read().up_to.last().map(|(_, count)| *count), Some(28));
    }
}
