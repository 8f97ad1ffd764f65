//! The newest events of each owner, read once for all its connections: a commit wakes one reader for each owner instead of one for each
//! connection, and a thousand subscribers cost the database as much as one.
//!
//! What a connection asks for from longer ago it reads from the table itself (see `event_feed`).

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use jobs::clock::Clock;
use storage::events::{self, Event};
use storage::{Rows, StorageError};
use tokio::sync::watch;

/// Rows read at a time.
pub const PAGE_ROWS: u32 = 500;
/// Events kept for each owner; a connection further behind reads the table.
const RECENT_MAX: usize = 2_000;
/// Commits of other processes raise no signal here.
const POLL_MS: u64 = 1_000;

/// The tails of all owners that somebody listens to.
#[derive(Debug)]
pub struct EventTails {
    rows: Rows,
    clock: Arc<dyn Clock>,
    tails: Mutex<HashMap<String, Weak<Tail>>>,
}

/// One owner's newest events.
#[derive(Debug)]
pub struct Tail {
    recent: Mutex<Recent>,
    last_seq: watch::Sender<i64>,
}

#[derive(Debug)]
struct Recent {
    /// All events of the owner after this number, up to the last one read, are in `events`.
    complete_after: i64,
    /// Up to here the table was read.
    read_to: i64,
    events: VecDeque<Arc<Event>>,
}

impl EventTails {
    pub fn new(rows: Rows, clock: Arc<dyn Clock>) -> Self {
        Self { rows, clock, tails: Mutex::new(HashMap::new()) }
    }

    /// The owner's tail, started when nobody has it. It ends with its last user.
    pub async fn of_owner(&self, owner_id: &str) -> Result<Arc<Tail>, StorageError> {
        if let Some(tail) = self.known(owner_id) {
            return Ok(tail);
        }
        let last = events::seq_range(self.rows.read()).await?.last;
        let mut tails = self.tails.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tail) = tails.get(owner_id).and_then(Weak::upgrade) {
            return Ok(tail);
        }
        tails.retain(|_, tail| tail.strong_count() > 0);
        let recent = Recent { complete_after: last, read_to: last, events: VecDeque::new() };
        let tail = Arc::new(Tail { recent: Mutex::new(recent), last_seq: watch::Sender::new(last) });
        tails.insert(owner_id.to_owned(), Arc::downgrade(&tail));
        tokio::spawn(follow(self.rows.clone(), self.clock.clone(), owner_id.to_owned(), Arc::downgrade(&tail)));
        Ok(tail)
    }

    fn known(&self, owner_id: &str) -> Option<Arc<Tail>> {
        self.tails.lock().unwrap_or_else(PoisonError::into_inner).get(owner_id).and_then(Weak::upgrade)
    }
}

/// Reads what is new until nobody listens any more.
async fn follow(rows: Rows, clock: Arc<dyn Clock>, owner_id: String, tail: Weak<Tail>) {
    let mut changed = rows.events_changed();
    loop {
        let Some(tail) = tail.upgrade() else {
            return;
        };
        changed.borrow_and_update();
        match events::after(rows.read(), &owner_id, tail.read_to(), PAGE_ROWS).await {
            Ok(page) if !page.is_empty() => {
                tail.push(page);
                continue;
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "events were not read, will be repeated"),
        }
        // Not holding the tail while waiting: its last user may leave.
        drop(tail);
        tokio::select! {
            _ = changed.changed() => {}
            () = clock.sleep(POLL_MS) => {}
        }
    }
}

impl Tail {
    fn read_to(&self) -> i64 {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).read_to
    }

    fn push(&self, page: Vec<Event>) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        for event in page {
            recent.read_to = event.seq;
            recent.events.push_back(Arc::new(event));
        }
        while recent.events.len() > RECENT_MAX {
            if let Some(event) = recent.events.pop_front() {
                recent.complete_after = event.seq;
            }
        }
        let read_to = recent.read_to;
        drop(recent);
        self.last_seq.send_replace(read_to);
    }

    /// The owner's events after `cursor`, at most a page; `None` when they are not all here any more.
    pub fn after(&self, cursor: i64) -> Option<Vec<Arc<Event>>> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if cursor < recent.complete_after {
            return None;
        }
        let first = recent.events.partition_point(|event| event.seq <= cursor);
        Some(recent.events.iter().skip(first).take(PAGE_ROWS as usize).cloned().collect())
    }

    /// Tells when there may be more.
    pub fn changed(&self) -> watch::Receiver<i64> {
        self.last_seq.subscribe()
    }
}
