//! Requests without a valid key, counted by the address they come from: beyond a limit an address gets 429 before its key is even looked up.
//! This machine has a generous limit of its own, since all that run on it share one address. Kept in memory: a restart forgives.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::gcra;
use crate::peer::Peer;
use crate::problem::{Code, Problem};

/// Addresses without failures in the last minute are forgotten; beyond this many, new ones share one bucket.
const ADDRESSES_MAX: usize = 50_000;
const CROWD: Option<IpAddr> = None;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailuresConfig {
    pub per_minute_max: u32,
    pub loopback_per_minute_max: u32,
}

#[derive(Debug)]
pub struct Failures {
    config: FailuresConfig,
    /// Theoretical arrival times.
    arrivals_us: Mutex<HashMap<Option<IpAddr>, u64>>,
}

impl Failures {
    pub fn new(config: FailuresConfig) -> Self {
        Self { config, arrivals_us: Mutex::default() }
    }

    /// Whether this address may try a key now.
    pub fn check(&self, peer: &Peer, now_us: u64) -> Result<(), Problem> {
        let arrivals_us = self.arrivals();
        let name = name(&arrivals_us, peer);
        let cell = gcra::step(arrivals_us.get(&name).copied().unwrap_or(0), self.limit(peer), now_us);
        if cell.allowed {
            return Ok(());
        }
        let retry_in_s = cell.retry_in_us.div_ceil(1_000_000).max(1);
        let detail = format!("too many requests without a valid key came from your address; the next is looked at in {retry_in_s} s");
        Err(Problem::new(Code::RateLimited, detail).retry_after(retry_in_s))
    }

    /// Counts a failure. True when it was the last one that was free.
    pub fn note(&self, peer: &Peer, now_us: u64) -> bool {
        let mut arrivals_us = self.arrivals();
        if arrivals_us.len() >= ADDRESSES_MAX {
            arrivals_us.retain(|_, arrival_us| *arrival_us > now_us);
        }
        let name = name(&arrivals_us, peer);
        let cell = gcra::step(arrivals_us.get(&name).copied().unwrap_or(0), self.limit(peer), now_us);
        arrivals_us.insert(name, cell.arrival_us);
        cell.allowed && cell.remaining == 0
    }

    fn limit(&self, peer: &Peer) -> u32 {
        if peer.is_loopback() { self.config.loopback_per_minute_max } else { self.config.per_minute_max }
    }

    fn arrivals(&self) -> MutexGuard<'_, HashMap<Option<IpAddr>, u64>> {
        self.arrivals_us.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name(arrivals_us: &HashMap<Option<IpAddr>, u64>, peer: &Peer) -> Option<IpAddr> {
    let name = peer.counted_as();
    if arrivals_us.len() < ADDRESSES_MAX || arrivals_us.contains_key(&name) { name } else { CROWD }
}
