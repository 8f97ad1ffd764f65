//! Equal chunks that are asked for at the same time are computed once: who comes second waits until the first has committed, and then finds
//! its result.
//!
//! Between processes, whose rows say what each of them runs, a run waits for those that began before it; one that dies loses its lease, runs
//! no longer, and is waited for no longer. Inside a process, a turn is handed on. Nobody waits for another process while holding a turn: so
//! nobody waits in a circle. Two that begin within one moment, each before the other's claim is seen, both compute: both results are right.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use storage::StorageError;
use storage::chunks::{self, ChunkStatus};
use tokio::sync::OwnedMutexGuard;

use crate::job::{JobContext, JobKind};
use crate::speak_chunk::SpeakChunk;

/// How often a waiting run looks whether what it waits for still lives; its end is told at once.
const LOOK_MS: u64 = 1_000;

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

/// Waits until no other process computes the same; what it made is there then. The caller watches the token.
pub(crate) async fn wait_for_others(context: &JobContext, params_hash: &str) -> Result<(), StorageError> {
    let mut changed = context.storage.rows.events_changed();
    loop {
        changed.borrow_and_update();
        if !begun_elsewhere(context, params_hash).await? {
            return Ok(());
        }
        tokio::select! {
            _ = changed.changed() => {}
            () = context.clock.sleep(LOOK_MS) => {}
        }
    }
}

async fn begun_elsewhere(context: &JobContext, params_hash: &str) -> Result<bool, StorageError> {
    let pool = context.storage.rows.read();
    for payload in storage::leases::begun_elsewhere_before(pool, context.fence().job_id, SpeakChunk::NAME).await? {
        let Ok(JobKind::SpeakChunk(other)) = JobKind::parse(SpeakChunk::NAME, &payload) else { continue };
        let chunk = chunks::find(pool, other.chunk_id()).await?;
        if chunk.is_some_and(|chunk| chunk.params_hash == params_hash && chunk.status == ChunkStatus::Queued) {
            return Ok(true);
        }
    }
    Ok(false)
}
