//! How often a key may call: one token bucket for each key, scope and weight, as the generic cell rate algorithm (ITU-T I.371): a bucket is
//! one time stamp, the "theoretical arrival time". A minute's worth may be used at once and then comes back evenly.
//!
//! Time is an argument (milliseconds of any steady clock). This file may not know HTTP beyond the names of its headers.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::scopes::Scope;

const WINDOW_MS: u64 = 60_000;
/// Reading finished chunks must not be throttled like making them.
pub const LIGHT_FACTOR: u32 = 20;
/// Idle buckets are full buckets: beyond this many they are forgotten.
const BUCKETS_MAX: usize = 100_000;

/// Which of a scope's two buckets a route draws from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Weight {
    Normal,
    /// 20 times the scope's limit: finished chunks, splitting text, durations.
    Light,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct BucketName {
    key_id: String,
    scope: Scope,
    weight: Weight,
}

/// What a call found; shown in the answer's headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    pub scope: Scope,
    pub weight: Weight,
    /// Requests a window.
    pub limit: u32,
    /// Calls that would be let in right now.
    pub remaining: u32,
    /// Until the bucket is full again.
    pub full_in_ms: u64,
    /// Until the next call would be let in; 0 when it would be now.
    pub retry_in_ms: u64,
}

impl Decision {
    /// `RateLimit-Policy`, `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10) and the older `X-RateLimit-*`.
    pub fn headers(&self) -> [(&'static str, String); 5] {
        let name = self.scope.as_str().replace(':', "-") + if self.weight == Weight::Light { "-light" } else { "" };
        let full_in_s = self.full_in_ms.div_ceil(1000);
        [
            ("ratelimit-policy", format!("\"{name}\";q={};w={}", self.limit, WINDOW_MS / 1000)),
            ("ratelimit", format!("\"{name}\";r={};t={full_in_s}", self.remaining)),
            ("x-ratelimit-limit", self.limit.to_string()),
            ("x-ratelimit-remaining", self.remaining.to_string()),
            ("x-ratelimit-reset", full_in_s.to_string()),
        ]
    }

    /// For `Retry-After`: whole seconds, at least one.
    pub fn retry_after_s(&self) -> u64 {
        self.retry_in_ms.div_ceil(1000).max(1)
    }
}

/// The buckets of this process.
#[derive(Debug)]
pub struct Limits {
    /// Light routes draw from the normal bucket too.
    strict: bool,
    /// Theoretical arrival times, in microseconds so that high limits do not round to nothing.
    arrivals: Mutex<HashMap<BucketName, u64>>,
}

impl Limits {
    pub fn new(strict: bool) -> Self {
        Self { strict, arrivals: Mutex::new(HashMap::new()) }
    }

    /// Takes one token if there is one.
    pub fn take(&self, key_id: &str, scope: Scope, weight: Weight, limit_per_minute: u32, now_ms: u64) -> Decision {
        let weight = if self.strict { Weight::Normal } else { weight };
        let limit = match weight {
            Weight::Normal => limit_per_minute,
            Weight::Light => limit_per_minute.saturating_mul(LIGHT_FACTOR),
        };
        let mut arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        if arrivals.len() >= BUCKETS_MAX {
            arrivals.retain(|_, arrival_us| *arrival_us > now_ms * 1000);
        }
        let name = BucketName { key_id: key_id.to_owned(), scope, weight };
        let arrival_us = arrivals.get(&name).copied().unwrap_or(0);
        let (cell, next_us) = step(arrival_us, limit, now_ms * 1000);
        if cell.allowed {
            arrivals.insert(name, next_us);
        }
        Decision { scope, weight, limit, ..cell.decision(scope, weight, limit) }
    }
}

/// The outcome of one step of the algorithm, in microseconds.
#[derive(Debug, Clone, Copy)]
struct Cell {
    allowed: bool,
    remaining: u32,
    full_in_us: u64,
    retry_in_us: u64,
}

impl Cell {
    fn decision(self, scope: Scope, weight: Weight, limit: u32) -> Decision {
        Decision {
            allowed: self.allowed,
            scope,
            weight,
            limit,
            remaining: self.remaining,
            full_in_ms: self.full_in_us.div_ceil(1000),
            retry_in_ms: self.retry_in_us.div_ceil(1000),
        }
    }
}

fn step(arrival_us: u64, limit: u32, now_us: u64) -> (Cell, u64) {
    const WINDOW_US: u64 = WINDOW_MS * 1000;
    if limit == 0 {
        return (Cell { allowed: false, remaining: 0, full_in_us: WINDOW_US, retry_in_us: WINDOW_US }, arrival_us);
    }
    let interval_us = (WINDOW_US / u64::from(limit)).max(1);
    // The burst is a whole window, whatever the division dropped.
    let burst_us = interval_us * u64::from(limit);
    let start_us = arrival_us.max(now_us);
    let next_us = start_us + interval_us;
    let allowed = next_us - now_us <= burst_us;
    let level_us = if allowed { next_us } else { start_us };
    let ahead_us = level_us - now_us;
    let remaining = u32::try_from(burst_us.saturating_sub(ahead_us) / interval_us).unwrap_or(u32::MAX);
    let retry_in_us = (ahead_us + interval_us).saturating_sub(burst_us);
    (Cell { allowed, remaining, full_in_us: ahead_us, retry_in_us }, level_us)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn take(limits: &Limits, now_ms: u64) -> Decision {
        limits.take("k", Scope::TtsGenerate, Weight::Normal, 10, now_ms)
    }

    #[test]
    fn a_minutes_worth_at_once_then_evenly() {
        let limits = Limits::new(false);
        for used in 1..=10 {
            let decision = take(&limits, 5_000);
            assert!(decision.allowed);
            assert_eq!(decision.remaining, 10 - used);
        }
        let refused = take(&limits, 5_000);
        assert!(!refused.allowed);
        assert_eq!((refused.retry_in_ms, refused.retry_after_s()), (6_000, 6));
        assert!(!take(&limits, 10_999).allowed);
        assert!(take(&limits, 11_000).allowed);
        assert!(!take(&limits, 11_000).allowed);
    }

    #[test]
    fn keys_scopes_and_weights_have_their_own_buckets() {
        let limits = Limits::new(false);
        for _ in 0..10 {
            take(&limits, 0);
        }
        assert!(!take(&limits, 0).allowed);
        assert!(limits.take("other", Scope::TtsGenerate, Weight::Normal, 10, 0).allowed);
        assert!(limits.take("k", Scope::VoicesRead, Weight::Normal, 10, 0).allowed);
        let light = limits.take("k", Scope::TtsGenerate, Weight::Light, 10, 0);
        assert!(light.allowed);
        assert_eq!((light.limit, light.remaining), (200, 199));
    }

    #[test]
    fn strict_has_one_bucket() {
        let limits = Limits::new(true);
        for _ in 0..10 {
            limits.take("k", Scope::TtsGenerate, Weight::Light, 10, 0);
        }
        assert!(!take(&limits, 0).allowed);
    }

    #[test]
    fn headers_name_the_policy() {
        let limits = Limits::new(false);
        let names: Vec<String> = take(&limits, 0).headers().map(|(name, value)| format!("{name}: {value}")).into();
        assert_eq!(
            names,
            [
                "ratelimit-policy: \"tts-generate\";q=10;w=60",
                "ratelimit: \"tts-generate\";r=9;t=6",
                "x-ratelimit-limit: 10",
                "x-ratelimit-remaining: 9",
                "x-ratelimit-reset: 6",
            ]
        );
    }

    proptest! {
        /// In any window of a minute at most twice the limit gets in (a full bucket and what comes back meanwhile), and a caller that waits
        /// for as long as it is told is let in.
        #[test]
        fn never_more_than_burst_plus_rate(limit in 1_u32..500, gaps in proptest::collection::vec(0_u64..3_000, 1..300)) {
            let mut arrival_us = 0;
            let mut now_us = 0;
            let mut taken = Vec::new();
            for gap_ms in gaps {
                now_us += gap_ms * 1000;
                let (cell, next) = step(arrival_us, limit, now_us);
                arrival_us = next;
                if cell.allowed {
                    taken.push(now_us);
                    prop_assert!(cell.remaining < limit);
                } else {
                    prop_assert!(cell.retry_in_us > 0);
                    prop_assert!(!step(arrival_us, limit, now_us + cell.retry_in_us - 1).0.allowed);
                    prop_assert!(step(arrival_us, limit, now_us + cell.retry_in_us).0.allowed);
                }
            }
            for (first, start) in taken.iter().enumerate() {
                let inside = taken[first..].iter().take_while(|time| **time < start + 60_000_000).count();
                prop_assert!(inside <= 2 * limit as usize);
            }
        }
    }
}
