//! The newest events of each owner, read once for all its connections: a commit wakes one reader for each owner instead of one for each
//! connection, and a thousand subscribers cost the database as much as one.
//!
//! What a connection asks for from longer ago it reads from the table itself (see `event_feed`).

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use jobs::clock::Clock;
use storage::events::{self, Event};
use storage::{Rows, StorageError};
use tokio::sync::watch;

use crate::wire::socket::Stored;

/// Rows read at a time, and read back when the first connection of an owner comes: after a restart all of them come at once and ask for
/// the same.
pub const PAGE_ROWS: u32 = 200;
/// Events kept for each owner; a connection further behind reads the table, alone. What one burst writes must fit, or all connections of
/// the owner fall behind at once and each of them reads and writes out the same.
const RECENT_MAX: usize = 2_000;
const RECENT_BYTES_MAX: usize = 32 * 1024 * 1024;
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
    /// The owner has no event between `read_to` and this number.
    complete_to: i64,
    events: VecDeque<Arc<Stored>>,
    /// Of their texts.
    bytes: usize,
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
        // May hold newer ones than `last` already.
        let newest = events::newest(self.rows.read(), owner_id, PAGE_ROWS).await?;
        let mut tails = self.tails.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tail) = tails.get(owner_id).and_then(Weak::upgrade) {
            return Ok(tail);
        }
        tails.retain(|_, tail| tail.strong_count() > 0);
        let tail = Arc::new(Tail::of(newest, last));
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
        match read_on(&rows, &owner_id, &tail).await {
            Ok(true) => continue,
            Ok(false) => {}
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

/// False when there is nothing new.
async fn read_on(rows: &Rows, owner_id: &str, tail: &Tail) -> Result<bool, StorageError> {
    // First the end, then the page: whatever has a number up to the end was committed before.
    let last = events::seq_range(rows.read()).await?.last;
    let read_to = tail.lock().read_to;
    let page = events::after(rows.read(), owner_id, read_to, PAGE_ROWS).await?;
    if page.is_empty() {
        let mut recent = tail.lock();
        recent.complete_to = recent.complete_to.max(last);
        return Ok(false);
    }
    tail.push(page.into_iter().map(|event| Arc::new(Stored::of(event))).collect());
    Ok(true)
}

impl Tail {
    /// `newest`: the owner's last ones, oldest first, at most a page of them; `last`: the end of the table before they were read.
    fn of(newest: Vec<Event>, last: i64) -> Self {
        let read_to = newest.last().map_or(last, |event| event.seq.max(last));
        let complete_after = match newest.first() {
            Some(first) if newest.len() == PAGE_ROWS as usize => first.seq,
            _ => 0,
        };
        let recent = Recent { complete_after, read_to, complete_to: read_to, events: VecDeque::new(), bytes: 0 };
        let tail = Self { recent: Mutex::new(recent), last_seq: watch::Sender::new(read_to) };
        tail.push(newest.into_iter().map(|event| Arc::new(Stored::of(event))).collect());
        tail
    }

    fn lock(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, page: Vec<Arc<Stored>>) {
        let mut recent = self.lock();
        for stored in page {
            recent.read_to = recent.read_to.max(stored.event.seq);
            recent.complete_to = recent.complete_to.max(stored.event.seq);
            recent.bytes += stored.text.len();
            recent.events.push_back(stored);
        }
        while recent.events.len() > RECENT_MAX || recent.bytes > RECENT_BYTES_MAX {
            let Some(stored) = recent.events.pop_front() else { break };
            recent.bytes -= stored.text.len();
            recent.complete_after = stored.event.seq;
        }
        let read_to = recent.read_to;
        drop(recent);
        self.last_seq.send_replace(read_to);
    }

    /// Up to which number a reader that has come to `cursor` has everything of the owner.
    pub fn complete_to(&self, cursor: i64) -> i64 {
        let recent = self.lock();
        if cursor >= recent.read_to { recent.complete_to.max(cursor) } else { cursor }
    }

    /// The owner's events after `after`, at most a page, where all up to `up_to` are here; else `None`.
    pub fn between(&self, after: i64, up_to: i64) -> Option<Vec<Arc<Stored>>> {
        if self.lock().complete_to < up_to {
            return None;
        }
        self.after(after)
    }

    /// The owner's events after `cursor`, at most a page; `None` when they are not all here any more.
    pub fn after(&self, cursor: i64) -> Option<Vec<Arc<Stored>>> {
        let recent = self.lock();
        if cursor < recent.complete_after {
            return None;
        }
        let first = recent.events.partition_point(|stored| stored.event.seq <= cursor);
        Some(recent.events.iter().skip(first).take(PAGE_ROWS as usize).cloned().collect())
    }

    /// Tells when there may be more.
    pub fn changed(&self) -> watch::Receiver<i64> {
        self.last_seq.subscribe()
    }
}
