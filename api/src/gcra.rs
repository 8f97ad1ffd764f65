//! The generic cell rate algorithm (ITU-T I.371): a bucket is one time stamp, the "theoretical arrival time" at which all that was drawn from
//! it would be paid for. A window's worth may be drawn at once and then comes back evenly. Pure: times and limits in, a decision out.
//!
//! `governor` does the same step and was looked at for it: one of its limiters has one quota and a clock of its own whose zero is its start,
//! so that neither a limit of each key nor state from before a restart fits; it draws from a bucket as it asks, so that a key and those above
//! it can't be asked together and drawn from all or none; and a refusal does not say when the bucket is full. What would be left of it is
//! these twenty lines. The tests hold them against it, call by call.

/// Over which limits are counted.
pub const WINDOW_US: u64 = 60_000_000;

/// What a step found, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    pub allowed: bool,
    /// Further calls that would be let in right now.
    pub remaining: u32,
    /// Until the bucket is full again.
    pub full_in_us: u64,
    /// Until the next call would be let in; 0 when it would be now.
    pub retry_in_us: u64,
    /// The bucket after this call; as before when it was refused.
    pub arrival_us: u64,
    /// What one call costs.
    pub interval_us: u64,
}

/// One call at `now_us` against a limit of so many calls a window. An arrival from another clock (a restart) waits for one window at most.
pub fn step(arrival_us: u64, limit: u32, now_us: u64) -> Cell {
    if limit == 0 {
        return Cell { allowed: false, remaining: 0, full_in_us: WINDOW_US, retry_in_us: WINDOW_US, arrival_us, interval_us: 0 };
    }
    let interval_us = (WINDOW_US / u64::from(limit)).max(1);
    // The burst is a whole window, whatever the division dropped.
    let burst_us = interval_us * u64::from(limit);
    let start_us = arrival_us.clamp(now_us, now_us.saturating_add(burst_us));
    let next_us = start_us.saturating_add(interval_us);
    let allowed = next_us - now_us <= burst_us;
    let level_us = if allowed { next_us } else { start_us };
    let ahead_us = level_us - now_us;
    let remaining = u32::try_from(burst_us.saturating_sub(ahead_us) / interval_us).unwrap_or(u32::MAX);
    let retry_in_us = (ahead_us + interval_us).saturating_sub(burst_us);
    Cell { allowed, remaining, full_in_us: ahead_us, retry_in_us, arrival_us: level_us, interval_us }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::num::NonZeroU32;
    use std::time::Duration;

    use governor::clock::FakeRelativeClock;
    use governor::{Quota, RateLimiter};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// In any window at most twice the limit gets in (a full bucket and what comes back meanwhile), and a caller that waits for as long
        /// as it is told is let in.
        #[test]
        fn never_more_than_burst_plus_rate(limit in 1_u32..500, gaps in proptest::collection::vec(0_u64..3_000, 1..300)) {
            let (mut arrival_us, mut now_us, mut taken) = (0, 0, Vec::new());
            for gap_ms in gaps {
                now_us += gap_ms * 1000;
                let cell = step(arrival_us, limit, now_us);
                arrival_us = cell.arrival_us;
                if cell.allowed {
                    taken.push(now_us);
                    prop_assert!(cell.remaining < limit);
                } else {
                    prop_assert!(cell.retry_in_us > 0);
                    prop_assert!(!step(arrival_us, limit, now_us + cell.retry_in_us - 1).allowed);
                    prop_assert!(step(arrival_us, limit, now_us + cell.retry_in_us).allowed);
                }
            }
            for (first, start) in taken.iter().enumerate() {
                let inside = taken[first..].iter().take_while(|time| **time < start + WINDOW_US).count();
                prop_assert!(inside <= 2 * limit as usize);
            }
        }

        /// The same calls are let in as by `governor` with the same interval and burst.
        #[test]
        fn as_governor_decides(limit in 1_u32..500, gaps_us in proptest::collection::vec(0_u64..3_000_000, 1..200)) {
            let interval_us = WINDOW_US / u64::from(limit);
            let quota = Quota::with_period(Duration::from_micros(interval_us)).unwrap().allow_burst(NonZeroU32::new(limit).unwrap());
            let clock = FakeRelativeClock::default();
            let governor = RateLimiter::direct_with_clock(quota, clock.clone());
            let (mut arrival_us, mut now_us) = (0, 0);
            for gap_us in gaps_us {
                now_us += gap_us;
                clock.advance(Duration::from_micros(gap_us));
                let cell = step(arrival_us, limit, now_us);
                arrival_us = cell.arrival_us;
                prop_assert_eq!(cell.allowed, governor.check().is_ok(), "at {}", now_us);
            }
        }

        /// A bucket that comes from another clock refuses for a window and no longer.
        #[test]
        fn a_strange_arrival_waits_for_a_window(arrival_us: u64, limit in 1_u32..5_000, now_us in 0_u64..1 << 60) {
            let cell = step(arrival_us, limit, now_us);
            prop_assert!(cell.retry_in_us <= WINDOW_US && cell.full_in_us <= WINDOW_US);
        }
    }

    #[test]
    fn nothing_is_let_in_without_a_limit() {
        assert!(!step(0, 0, 5).allowed);
    }
}
