//! What one connection is told: a cursor over the owner's stored events, narrowed by what the client asked for. Shared by the WebSocket and
//! the event stream; it may not know either.
//!
//! Each stored event comes once and in order. Asking with `after_seq` tells again what lies between that number and the cursor, for that
//! subscription alone; from the cursor on all subscriptions share one order.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use storage::events::{self, Event, SeqRange};
use storage::{Rows, StorageError};
use tokio::sync::watch;

use crate::event_tail::{EventTails, PAGE_ROWS, Tail};
use crate::wire::socket::Wish;

/// Subscriptions of one connection.
const SUBSCRIPTIONS_MAX: usize = 100;

#[derive(Debug)]
pub struct EventFeed {
    rows: Rows,
    owner_id: String,
    tail: Arc<Tail>,
    changed: watch::Receiver<i64>,
    /// By the client's own reference.
    subscriptions: BTreeMap<Option<String>, Wish>,
    /// The client has not asked for anything: it gets its jobs, live.
    by_default: bool,
    /// All up to here was told, or is in `pending`.
    cursor: i64,
    /// What was asked for again, oldest request first.
    replays: VecDeque<Replay>,
    /// Read and not told yet: of the first replay while there is one, else of the live order.
    pending: VecDeque<Arc<Event>>,
}

#[derive(Debug)]
struct Replay {
    wish: Wish,
    after: i64,
    up_to: i64,
    /// All of it is in `pending`.
    read: bool,
}

/// The answer to a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscribed {
    /// Stored events that will be told again.
    pub replayed: u64,
    /// Some that were asked for are purged: read the state instead.
    pub gap: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum SubscribeError {
    #[error("a connection has at most {SUBSCRIPTIONS_MAX} subscriptions")]
    TooMany,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl EventFeed {
    /// Begins at what is stored now; nothing is told before the first subscription.
    pub async fn open(rows: &Rows, tails: &EventTails, owner_id: &str) -> Result<(Self, SeqRange), StorageError> {
        // The tail first: what is stored after the range was read is in it.
        let tail = tails.of_owner(owner_id).await?;
        let changed = tail.changed();
        let range = events::seq_range(rows.read()).await?;
        let feed = Self {
            rows: rows.clone(),
            owner_id: owner_id.to_owned(),
            tail,
            changed,
            subscriptions: BTreeMap::new(),
            by_default: false,
            cursor: range.last,
            replays: VecDeque::new(),
            pending: VecDeque::new(),
        };
        Ok((feed, range))
    }

    /// For a client that never asks: its jobs from the beginning of the connection on, until the first subscription.
    pub fn listen_by_default(&mut self) {
        self.by_default = self.subscriptions.is_empty();
    }

    /// Adds a subscription, or replaces the one with this reference.
    pub async fn subscribe(&mut self, reference: Option<String>, wish: Wish) -> Result<Subscribed, SubscribeError> {
        if self.subscriptions.len() >= SUBSCRIPTIONS_MAX && !self.subscriptions.contains_key(&reference) {
            return Err(SubscribeError::TooMany);
        }
        let mut subscribed = Subscribed { replayed: 0, gap: false };
        if let Some(after) = wish.after_seq {
            // What was read for the live order and not told is read again, by the new set of subscriptions.
            let cursor = match self.pending.front() {
                Some(first) if self.replays.is_empty() => first.seq - 1,
                _ => self.cursor,
            };
            let range = events::seq_range(self.rows.read()).await?;
            subscribed.gap = after + 1 < range.oldest || after > range.last;
            subscribed.replayed = self.count(&wish, after, cursor).await?;
            if self.replays.is_empty() {
                self.pending.clear();
                self.cursor = cursor;
            }
            if after < cursor {
                self.replays.push_back(Replay { wish: wish.clone(), after, up_to: cursor, read: false });
            }
        }
        self.by_default = false;
        self.subscriptions.insert(reference, wish);
        Ok(subscribed)
    }

    /// Ends one subscription; without a reference all of them.
    pub fn unsubscribe(&mut self, reference: Option<&str>) {
        self.by_default = false;
        match reference {
            Some(reference) => {
                self.subscriptions.remove(&Some(reference.to_owned()));
            }
            None => self.subscriptions.clear(),
        }
    }

    /// The next stored event; waits until there is one. Safe to drop half-way.
    pub async fn next(&mut self) -> Result<Arc<Event>, StorageError> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Ok(event);
            }
            if self.replays.front().is_some_and(|replay| replay.read) {
                self.replays.pop_front();
                continue;
            }
            if !self.replays.is_empty() {
                self.read_replay().await?;
                continue;
            }
            self.changed.borrow_and_update();
            if !self.read_live().await? {
                // The sender lives in the tail, which this feed holds.
                let _ = self.changed.changed().await;
            }
        }
    }

    async fn read_replay(&mut self) -> Result<(), StorageError> {
        let Some(replay) = self.replays.front_mut() else {
            return Ok(());
        };
        let page = events::after(self.rows.read(), &self.owner_id, replay.after, PAGE_ROWS).await?;
        let last = page.last().map_or(replay.up_to, |event| event.seq);
        replay.read = page.len() < PAGE_ROWS as usize || last >= replay.up_to;
        replay.after = last;
        let (up_to, wish) = (replay.up_to, &replay.wish);
        self.pending.extend(page.into_iter().filter(|event| event.seq <= up_to && is_wanted(event, wish)).map(Arc::new));
        Ok(())
    }

    /// False when there is nothing after the cursor.
    async fn read_live(&mut self) -> Result<bool, StorageError> {
        let page = match self.tail.after(self.cursor) {
            Some(page) => page,
            None => {
                let rows = events::after(self.rows.read(), &self.owner_id, self.cursor, PAGE_ROWS).await?;
                rows.into_iter().map(Arc::new).collect()
            }
        };
        let Some(last) = page.last() else {
            return Ok(false);
        };
        self.cursor = last.seq;
        let default = self.by_default.then(Wish::default);
        let wanted = |event: &Event| self.subscriptions.values().chain(&default).any(|wish| is_wanted(event, wish));
        let page: Vec<Arc<Event>> = page.into_iter().filter(|event| wanted(event)).collect();
        self.pending.extend(page);
        Ok(true)
    }

    async fn count(&self, wish: &Wish, after: i64, up_to: i64) -> Result<u64, StorageError> {
        let (mut after, mut count) = (after, 0);
        while after < up_to {
            let page = events::after(self.rows.read(), &self.owner_id, after, PAGE_ROWS).await?;
            count += page.iter().filter(|event| event.seq <= up_to && is_wanted(event, wish)).count() as u64;
            match page.last() {
                Some(last) if page.len() == PAGE_ROWS as usize => after = last.seq,
                _ => break,
            }
        }
        Ok(count)
    }
}

/// Pure: whether a subscription asks for an event.
fn is_wanted(event: &Event, wish: &Wish) -> bool {
    let topic = match event.kind.split('.').next().unwrap_or_default() {
        "job" | "chunk" | "timeline" => "jobs",
        "queue" => "queue",
        _ => "system",
    };
    let by_topic = if wish.topics.is_empty() { topic == "jobs" } else { wish.topics.iter().any(|wanted| wanted == topic) };
    let by_task = wish.task_ids.is_empty() || event.generation_id.is_none_or(|id| wish.task_ids.contains(&id));
    by_topic && by_task
}
