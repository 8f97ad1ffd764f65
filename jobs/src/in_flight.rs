//! Equal chunks that are asked for at the same time are computed once: who comes second waits until the first has committed, and then finds
//! its result. Only within a process; across processes the work is done twice and both results are right.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

/// Whose, and the hash of what decides the samples.
type Key = (String, String);

#[derive(Debug, Default)]
pub(crate) struct InFlight {
    turns: Mutex<HashMap<Key, Arc<tokio::sync::Mutex<()>>>>,
}

/// The right to compute; passes to the next one when dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    in_flight: Arc<InFlight>,
    key: Key,
    guard: Option<OwnedMutexGuard<()>>,
}

impl InFlight {
    pub(crate) async fn enter(self: &Arc<Self>, owner_id: &str, params_hash: &str) -> Turn {
        let key = (owner_id.to_owned(), params_hash.to_owned());
        let turn = self.turns.lock().unwrap_or_else(PoisonError::into_inner).entry(key.clone()).or_default().clone();
        let guard = turn.lock_owned().await;
        Turn { in_flight: self.clone(), key, guard: Some(guard) }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut turns = self.in_flight.turns.lock().unwrap_or_else(PoisonError::into_inner);
        self.guard = None;
        // The map's own reference alone: nobody waits.
        if turns.get(&self.key).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            turns.remove(&self.key);
        }
    }
}
