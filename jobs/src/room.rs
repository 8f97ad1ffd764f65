//! Whether there is room for more work: by how many generations are open, and by how long new work would wait at the pace at which jobs are
//! being claimed. Asked before a body is read, and again when the work is accepted.
//!
//! The rows are looked at once a second at most; what this process has accepted since counts on top. Without a pace (nothing was claimed in
//! the last minute: no workers yet, a held queue) nobody knows how long anything waits, and the number of open generations decides alone.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use storage::load::{self, Load};
use storage::{Rows, StorageError};

use crate::job::QUEUE_CPU;

/// How old a look may be.
const LOOK_MS: i64 = 1_000;
/// Before anybody is refused, a look may be only so old.
const LOOK_BEFORE_REFUSAL_MS: i64 = 100;
/// Over how long the pace is measured.
const PACE_WINDOW_MS: i64 = 60_000;
/// A shorter measurement tells nothing.
const PACE_MIN_MS: i64 = 2_000;
const RETRY_AFTER_MAX_S: u64 = 3_600;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomConfig {
    /// Open generations of all owners.
    pub open_generations_max: i64,
    /// How long new work may have to wait for its turn, as far as can be told.
    pub wait_max_s: i64,
    /// What to tell a refused caller where no pace is known.
    pub retry_after_s: u64,
}

/// Why there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full {
    pub reason: FullReason,
    /// When it is worth asking again, at the pace of the last minute.
    pub retry_after_s: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FullReason {
    /// So many generations are open.
    Depth { open: i64 },
    /// New work would wait so long.
    Wait { wait_s: i64 },
}

/// What was seen, and what was done since.
#[derive(Debug, Default)]
struct Seen {
    looks: VecDeque<(i64, Load)>,
    accepted_since: i64,
}

#[derive(Debug, Default)]
pub(crate) struct Room {
    seen: Mutex<Seen>,
}

impl Room {
    /// Refuses, or says nothing.
    pub(crate) async fn check(&self, rows: &Rows, config: &RoomConfig, now_ms: i64) -> Result<Option<Full>, StorageError> {
        if self.seen().age_ms(now_ms) > LOOK_MS {
            self.look(rows, now_ms).await?;
        }
        if self.seen().full(config).is_some() && self.seen().age_ms(now_ms) > LOOK_BEFORE_REFUSAL_MS {
            self.look(rows, now_ms).await?;
        }
        Ok(self.seen().full(config))
    }

    pub(crate) fn note_accepted(&self) {
        self.seen().accepted_since += 1;
    }

    async fn look(&self, rows: &Rows, now_ms: i64) -> Result<(), StorageError> {
        let accepted = self.seen().accepted_since;
        let load = load::look(rows.read(), QUEUE_CPU).await?;
        self.seen().note(now_ms, load, accepted);
        Ok(())
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn age_ms(&self, now_ms: i64) -> i64 {
        // A clock that was set back makes a look old.
        self.looks.back().map_or(i64::MAX, |(at_ms, _)| if *at_ms > now_ms { i64::MAX } else { now_ms - at_ms })
    }

    /// `accepted` were accepted before the rows were looked at.
    fn note(&mut self, at_ms: i64, load: Load, accepted: i64) {
        self.accepted_since -= accepted;
        // With nothing waiting, claims come at the pace of the callers and not of the workers. A counter or a clock that went back begins anew.
        let broken = self.looks.back().is_some_and(|(before_ms, before)| before.claims > load.claims || *before_ms > at_ms);
        if load.waiting == 0 || broken {
            self.looks.clear();
        }
        while self.looks.len() > 1 && self.looks.front().is_some_and(|(before_ms, _)| at_ms - before_ms > PACE_WINDOW_MS) {
            self.looks.pop_front();
        }
        self.looks.push_back((at_ms, load));
    }

    /// Claims in a second; `None` where that is not known.
    fn pace(&self) -> Option<f64> {
        let ((first_ms, first), (last_ms, last)) = (self.looks.front()?, self.looks.back()?);
        let (claims, ms) = (last.claims - first.claims, last_ms - first_ms);
        (claims > 0 && ms >= PACE_MIN_MS).then(|| claims as f64 * 1_000.0 / ms as f64)
    }

    fn full(&self, config: &RoomConfig) -> Option<Full> {
        let (_, load) = self.looks.back()?;
        let open = load.open_generations + self.accepted_since;
        let wait_s = self.pace().map(|pace| (load.waiting as f64 / pace) as i64);
        if open >= config.open_generations_max {
            // Until one generation of the usual size is through.
            let one_s = wait_s.map(|wait_s| wait_s / open.max(1) + 1);
            return Some(Full { reason: FullReason::Depth { open }, retry_after_s: seconds(one_s, config) });
        }
        let wait_s = wait_s.filter(|wait_s| *wait_s > config.wait_max_s)?;
        Some(Full { reason: FullReason::Wait { wait_s }, retry_after_s: seconds(Some(wait_s - config.wait_max_s), config) })
    }
}

fn seconds(known: Option<i64>, config: &RoomConfig) -> u64 {
    known.map_or(config.retry_after_s, |seconds| (seconds.max(1) as u64).min(RETRY_AFTER_MAX_S))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: RoomConfig = RoomConfig { open_generations_max: 100, wait_max_s: 60, retry_after_s: 30 };

    fn load(open_generations: i64, waiting: i64, claims: i64) -> Load {
        Load { open_generations, waiting, claims }
    }

    #[test]
    fn the_wait_is_what_waits_at_the_pace_of_the_last_minute() {
        let mut seen = Seen::default();
        seen.note(0, load(5, 1_000, 50), 0);
        assert_eq!(seen.full(&CONFIG), None, "one look gives no pace");
        seen.note(10_000, load(5, 900, 150), 0);
        // Ten a second: 90 s.
        assert_eq!(seen.full(&CONFIG), Some(Full { reason: FullReason::Wait { wait_s: 90 }, retry_after_s: 30 }));
        seen.note(20_000, load(5, 500, 250), 0);
        assert_eq!(seen.full(&CONFIG), None, "50 s are allowed");
        // Much slower from here on: after a minute the old pace is forgotten.
        for minute in 1..4 {
            seen.note(20_000 + minute * 60_000, load(5, 500, 250 + minute * 60), 0);
        }
        assert_eq!(seen.full(&CONFIG), Some(Full { reason: FullReason::Wait { wait_s: 500 }, retry_after_s: 440 }));
    }

    #[test]
    fn without_a_pace_the_depth_decides_alone() {
        let mut seen = Seen::default();
        for at_ms in [0, 10_000, 20_000] {
            seen.note(at_ms, load(99, 1_000_000, 7), 0);
        }
        assert_eq!(seen.full(&CONFIG), None, "a queue that nobody works on is no full queue");
        seen.accepted_since += 1;
        assert_eq!(seen.full(&CONFIG), Some(Full { reason: FullReason::Depth { open: 100 }, retry_after_s: 30 }));
    }

    #[test]
    fn the_pace_of_an_idle_queue_is_not_the_pace_of_its_workers() {
        let mut seen = Seen::default();
        seen.note(0, load(0, 0, 10), 0);
        seen.note(30_000, load(1, 0, 11), 0);
        seen.note(40_000, load(50, 40, 12), 0);
        assert_eq!(seen.pace(), Some(0.1), "from when something waited, or nothing did for the last time");
        seen.note(50_000, load(0, 0, 60), 0);
        assert_eq!(seen.pace(), None);
    }

    #[test]
    fn what_was_accepted_before_a_look_is_in_it() {
        let mut seen = Seen { accepted_since: 7, ..Seen::default() };
        seen.note(0, load(95, 1, 0), 5);
        assert_eq!(seen.full(&CONFIG), None);
        seen.accepted_since += 3;
        assert!(seen.full(&CONFIG).is_some());
    }

    #[test]
    fn a_full_queue_says_when_one_generation_will_be_through() {
        let mut seen = Seen::default();
        seen.note(0, load(100, 1_000, 0), 0);
        seen.note(10_000, load(100, 1_000, 250), 0);
        // 25 a second, 40 s for all, ten jobs a generation.
        assert_eq!(seen.full(&CONFIG), Some(Full { reason: FullReason::Depth { open: 100 }, retry_after_s: 1 }));
    }

    #[test]
    fn counters_and_clocks_that_go_back_begin_anew() {
        let mut seen = Seen::default();
        seen.note(0, load(5, 1_000, 50), 0);
        seen.note(10_000, load(5, 900, 3), 0);
        assert_eq!(seen.pace(), None);
        assert_eq!(seen.age_ms(9_000), i64::MAX);
    }
}
