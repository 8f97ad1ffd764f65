//! How full the queue is, read once for all connections that follow it, and told when it changes: a thousand subscribers cost the database
//! as much as one, and nobody costs nothing. What one connection is told of it is in `event_line`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jobs::clock::Clock;
use serde::Serialize;
use storage::generations::{self, GenerationStatus};
use storage::{Rows, StorageError};
use tokio::sync::watch;

/// Changes within this time are told together.
const COALESCE_MS: u64 = 250;
/// Whatever raises no signal is seen after so long.
const POLL_MS: u64 = 2_000;

/// Open generations by owner, and whether a queue is held.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueueCounts {
    by_owner: HashMap<String, Own>,
    open: i64,
    paused: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Own {
    queued: i64,
    running: i64,
}

/// What one owner is told: the numbers of `GET /api/queue/status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct QueueNews {
    pub queued: i64,
    pub running: i64,
    /// Open generations of other keys.
    pub others: i64,
    pub paused: bool,
}

impl QueueCounts {
    async fn read(rows: &Rows) -> Result<Self, StorageError> {
        let mut counts = Self { paused: !storage::jobs::paused_queues(rows.read()).await?.is_empty(), ..Self::default() };
        for open in generations::count_open_by_owner(rows.read()).await? {
            let own = counts.by_owner.entry(open.owner_id).or_default();
            *(if open.status == GenerationStatus::Queued { &mut own.queued } else { &mut own.running }) += open.count;
            counts.open += open.count;
        }
        Ok(counts)
    }

    pub fn of_owner(&self, owner_id: &str) -> QueueNews {
        let own = self.by_owner.get(owner_id).copied().unwrap_or_default();
        QueueNews { queued: own.queued, running: own.running, others: self.open - own.queued - own.running, paused: self.paused }
    }
}

/// `None` until the first look.
type Latest = Option<Arc<QueueCounts>>;

#[derive(Debug)]
pub struct QueueWatch(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    rows: Rows,
    clock: Arc<dyn Clock>,
    latest: watch::Sender<Latest>,
    is_watched: Mutex<bool>,
}

impl QueueWatch {
    pub fn new(rows: Rows, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner { rows, clock, latest: watch::Sender::new(None), is_watched: Mutex::new(false) }))
    }

    /// Looks begin with the first listener and end with the last.
    pub fn listen(&self) -> watch::Receiver<Latest> {
        let mut is_watched = self.0.is_watched.lock().unwrap_or_else(PoisonError::into_inner);
        let mut latest = self.0.latest.subscribe();
        if *is_watched {
            latest.mark_changed();
        } else {
            *is_watched = true;
            tokio::spawn(follow(self.0.clone()));
        }
        latest
    }
}

async fn follow(watch: Arc<Inner>) {
    let (mut jobs, mut events) = (watch.rows.jobs_changed(), watch.rows.events_changed());
    loop {
        jobs.borrow_and_update();
        events.borrow_and_update();
        match QueueCounts::read(&watch.rows).await {
            Ok(counts) => {
                watch.latest.send_if_modified(|latest| {
                    let changed = latest.as_deref() != Some(&counts);
                    if changed {
                        *latest = Some(Arc::new(counts));
                    }
                    changed
                });
            }
            Err(error) => tracing::warn!(%error, "the queue was not counted, will be repeated"),
        }
        watch.clock.sleep(COALESCE_MS).await;
        {
            let mut is_watched = watch.is_watched.lock().unwrap_or_else(PoisonError::into_inner);
            if watch.latest.receiver_count() == 0 {
                watch.latest.send_replace(None);
                *is_watched = false;
                return;
            }
        }
        tokio::select! {
            _ = jobs.changed() => {}
            _ = events.changed() => {}
            () = watch.clock.sleep(POLL_MS) => {}
        }
    }
}
