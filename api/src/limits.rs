//! How often a key may call: one token bucket for each key, scope and weight. A key that was made by another one draws from its own bucket and
//! from those of all keys above it, from all or from none. What is drawn goes to a table now and then (see `keep_limits`), so that a restart
//! does not fill the buckets, and several nodes share them with that delay.
//!
//! Time is an argument (epoch microseconds that never go back). This file may not know HTTP beyond the names of its headers.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::gcra::{self, Cell};
use crate::scopes::Scope;

const WINDOW_S: u64 = gcra::WINDOW_US / 1_000_000;
/// Reading finished chunks must not be throttled like making them.
pub const LIGHT_FACTOR: u32 = 20;
/// Idle buckets are full buckets: beyond this many they are forgotten.
pub const BUCKETS_MAX: usize = 100_000;

/// Which of a scope's two buckets a route draws from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Weight {
    Normal,
    /// 20 times the scope's limit: finished chunks, splitting text, durations.
    Light,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BucketName {
    pub key_id: String,
    pub scope: Scope,
    pub weight: Weight,
}

/// A key whose bucket a call draws from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payer<'a> {
    pub key_id: &'a str,
    pub limit_per_minute: u32,
}

/// What a call found in the tightest of its buckets; shown in the answer's headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    pub scope: Scope,
    pub weight: Weight,
    /// The bucket is of a key above the caller's.
    pub shared: bool,
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
            ("ratelimit-policy", format!("\"{name}\";q={};w={WINDOW_S}", self.limit)),
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

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Level {
    arrival_us: u64,
    /// Of it, what the table does not know yet.
    drawn_us: u64,
}

/// What this process drew from a bucket since it was last written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drawn {
    pub name: BucketName,
    /// The arrival without what was drawn.
    pub since_us: u64,
    pub drawn_us: u64,
}

/// The buckets of this process.
#[derive(Debug)]
pub struct Limits {
    /// Light routes draw from the normal bucket too.
    strict: bool,
    levels: Mutex<HashMap<BucketName, Level>>,
}

impl Limits {
    pub fn new(strict: bool) -> Self {
        Self { strict, levels: Mutex::new(HashMap::new()) }
    }

    /// Takes one token of each payer if all have one. The caller's own key comes first.
    pub fn take(&self, payers: &[Payer<'_>], scope: Scope, weight: Weight, now_us: u64) -> Decision {
        let weight = if self.strict { Weight::Normal } else { weight };
        let factor = if weight == Weight::Light { LIGHT_FACTOR } else { 1 };
        let mut levels = self.levels();
        if levels.len() >= BUCKETS_MAX {
            levels.retain(|_, level| level.drawn_us > 0 || level.arrival_us > now_us);
        }
        let mut steps = Vec::with_capacity(payers.len());
        for payer in payers {
            let name = BucketName { key_id: payer.key_id.to_owned(), scope, weight };
            let limit = payer.limit_per_minute.saturating_mul(factor);
            let cell = gcra::step(levels.get(&name).map_or(0, |level| level.arrival_us), limit, now_us);
            steps.push((name, limit, cell));
        }
        let allowed = !steps.is_empty() && steps.iter().all(|(_, _, cell)| cell.allowed);
        let tightest = tightest(steps.iter().map(|(_, limit, cell)| (*limit, *cell)), allowed);
        if allowed {
            for (name, _, cell) in steps {
                let level = levels.entry(name).or_default();
                level.arrival_us = cell.arrival_us;
                level.drawn_us += cell.interval_us;
            }
        }
        Decision { allowed, scope, weight, ..tightest }
    }

    /// What was drawn since the last call of this; it counts as written, until [`Limits::not_written`] says otherwise.
    pub fn drawn(&self) -> Vec<Drawn> {
        let mut levels = self.levels();
        let unwritten = levels.iter_mut().filter(|(_, level)| level.drawn_us > 0);
        unwritten
            .map(|(name, level)| {
                let drawn_us = std::mem::take(&mut level.drawn_us);
                Drawn { name: name.clone(), since_us: level.arrival_us.saturating_sub(drawn_us), drawn_us }
            })
            .collect()
    }

    /// The arrival that the table holds, with what others drew; what was drawn here meanwhile comes on top.
    pub fn written(&self, name: &BucketName, arrival_us: u64) {
        let mut levels = self.levels();
        let level = levels.entry(name.clone()).or_default();
        level.arrival_us = arrival_us.saturating_add(level.drawn_us);
    }

    /// It did not reach the table: the next [`Limits::drawn`] gives it again.
    pub fn not_written(&self, drawn: &Drawn) {
        self.levels().entry(drawn.name.clone()).or_default().drawn_us += drawn.drawn_us;
    }

    fn levels(&self) -> MutexGuard<'_, HashMap<BucketName, Level>> {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of those that refuse the one that does so longest, else the one with the fewest calls left.
fn tightest(cells: impl Iterator<Item = (u32, Cell)>, allowed: bool) -> Decision {
    let decides = |cell: &Cell| cell.allowed == allowed;
    let rank = |cell: &Cell| (if allowed { 0 } else { u64::MAX - cell.retry_in_us }, cell.remaining);
    let found = cells.enumerate().filter(|(_, (_, cell))| decides(cell)).min_by_key(|(_, (_, cell))| rank(cell));
    let nothing = gcra::step(0, 0, 0);
    let (place, (limit, cell)) = found.unwrap_or((0, (0, nothing)));
    Decision {
        allowed,
        scope: Scope::SystemRead,
        weight: Weight::Normal,
        shared: place > 0,
        limit,
        remaining: if allowed { cell.remaining } else { 0 },
        full_in_ms: cell.full_in_us.div_ceil(1000),
        retry_in_ms: cell.retry_in_us.div_ceil(1000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S_US: u64 = 1_000_000;

    fn own(limit_per_minute: u32) -> [Payer<'static>; 1] {
        [Payer { key_id: "k", limit_per_minute }]
    }

    fn take(limits: &Limits, now_us: u64) -> Decision {
        limits.take(&own(10), Scope::TtsGenerate, Weight::Normal, now_us)
    }

    #[test]
    fn a_minutes_worth_at_once_then_evenly() {
        let limits = Limits::new(false);
        for used in 1..=10 {
            let decision = take(&limits, 5 * S_US);
            assert!(decision.allowed);
            assert_eq!(decision.remaining, 10 - used);
        }
        let refused = take(&limits, 5 * S_US);
        assert!(!refused.allowed);
        assert_eq!((refused.retry_in_ms, refused.retry_after_s()), (6_000, 6));
        assert!(!take(&limits, 11 * S_US - 1).allowed);
        assert!(take(&limits, 11 * S_US).allowed);
        assert!(!take(&limits, 11 * S_US).allowed);
    }

    #[test]
    fn keys_scopes_and_weights_have_their_own_buckets() {
        let limits = Limits::new(false);
        for _ in 0..10 {
            take(&limits, 0);
        }
        assert!(!take(&limits, 0).allowed);
        let other = [Payer { key_id: "other", limit_per_minute: 10 }];
        assert!(limits.take(&other, Scope::TtsGenerate, Weight::Normal, 0).allowed);
        assert!(limits.take(&own(10), Scope::VoicesRead, Weight::Normal, 0).allowed);
        let light = limits.take(&own(10), Scope::TtsGenerate, Weight::Light, 0);
        assert!(light.allowed);
        assert_eq!((light.limit, light.remaining), (200, 199));
    }

    #[test]
    fn strict_has_one_bucket() {
        let limits = Limits::new(true);
        for _ in 0..10 {
            limits.take(&own(10), Scope::TtsGenerate, Weight::Light, 0);
        }
        assert!(!take(&limits, 0).allowed);
    }

    #[test]
    fn children_draw_from_the_bucket_above_and_a_refusal_draws_from_none() {
        let limits = Limits::new(false);
        let child = |id: &'static str| [Payer { key_id: id, limit_per_minute: 6 }, Payer { key_id: "parent", limit_per_minute: 10 }];
        let ask = |payers: &[Payer<'_>]| limits.take(payers, Scope::TtsGenerate, Weight::Normal, 0);
        for left in (0..6).rev() {
            let decision = ask(&child("a"));
            assert!(decision.allowed && !decision.shared);
            assert_eq!((decision.limit, decision.remaining), (6, left));
        }
        assert!(!ask(&child("a")).allowed);
        // What the refused call of `a` would have cost is still there.
        for left in (0..4).rev() {
            let decision = ask(&child("b"));
            assert!(decision.allowed && decision.shared);
            assert_eq!((decision.limit, decision.remaining), (10, left));
        }
        let refused = ask(&child("b"));
        assert!(!refused.allowed && refused.shared);
        assert_eq!((refused.limit, refused.remaining, refused.retry_after_s()), (10, 0, 6));
        assert!(!ask(&[Payer { key_id: "parent", limit_per_minute: 10 }]).allowed);
        let left = ask(&[Payer { key_id: "b", limit_per_minute: 6 }]);
        assert_eq!(left.remaining, 1);
    }

    #[test]
    fn what_was_drawn_is_given_once_and_again_if_it_was_lost() {
        let limits = Limits::new(false);
        let now_us = 1_000 * S_US;
        take(&limits, now_us);
        take(&limits, now_us);
        let drawn = limits.drawn();
        assert_eq!((drawn.len(), drawn[0].since_us, drawn[0].drawn_us), (1, now_us, 12 * S_US));
        assert!(limits.drawn().is_empty());
        take(&limits, now_us);
        limits.not_written(&drawn[0]);
        let drawn = limits.drawn();
        assert_eq!((drawn[0].since_us, drawn[0].drawn_us), (now_us, 18 * S_US));
        // Another node drew five more; one is drawn here while it is written.
        take(&limits, now_us);
        limits.written(&drawn[0].name, now_us + (3 + 5) * 6 * S_US);
        assert_eq!(take(&limits, now_us).remaining, 0);
        assert!(!take(&limits, now_us).allowed);
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
}
