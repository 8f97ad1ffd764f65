//! Which stored events one connection is told: a cursor over the owner's events, narrowed by what the client asked for. Shared by the
//! WebSocket and the event stream; it may not know either.
//!
//! As long as a subscription is in force, what it was told comes to this connection no second time, whatever else is asked for: a
//! subscription with `after_seq` is told what lies between that number and the cursor and no other one had. A subscription that ends is
//! forgotten, with what it was told: to hear something again, end it or use its reference again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use storage::events::{self, Event, SeqRange};
use storage::{Rows, StorageError};
use tokio::sync::watch;

use crate::event_tail::{EventTails, PAGE_ROWS, Tail};
use crate::wire::socket::{Stored, Wish};

/// Subscriptions of one connection.
const SUBSCRIPTIONS_MAX: usize = 100;
/// Tasks that all subscriptions of a connection name together.
const TASKS_MAX: usize = 2_000;

#[derive(Debug)]
pub struct EventFeed {
    rows: Rows,
    owner_id: String,
    tail: Arc<Tail>,
    changed: watch::Receiver<i64>,
    /// By the client's own reference.
    subscriptions: BTreeMap<Option<String>, Subscription>,
    /// The client has not asked for anything: it gets its jobs, live.
    by_default: ByDefault,
    ordinal: u64,
    /// All up to here was told, or is in `pending`.
    cursor: i64,
    /// What was asked for from before the cursor, oldest request first.
    replays: VecDeque<Replay>,
    /// Read and not told yet: of the first replay while there is one, else of the live order.
    pending: VecDeque<Arc<Stored>>,
}

#[derive(Debug)]
struct Subscription {
    wish: Wish,
    /// Rises from one subscription to the next.
    ordinal: u64,
    /// It is told everything that it wants after this number.
    from: i64,
    /// What the client was told before it had asked for anything, which counts as told by its first subscription.
    by_default: Option<Span>,
}

/// The numbers after one and up to another.
#[derive(Debug, Clone, Copy)]
struct Span {
    after: i64,
    up_to: i64,
}

#[derive(Debug, Clone, Copy)]
enum ByDefault {
    NotYet,
    Since(i64),
    Over,
}

#[derive(Debug)]
struct Replay {
    /// Whose it is.
    reference: Option<String>,
    span: Span,
    /// All of it is in `pending`.
    read: bool,
}

/// The answer to a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscribed {
    /// Stored events that will be told from before now.
    pub replayed: u64,
    /// Some that were asked for are purged: read the state instead.
    pub gap: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum SubscribeError {
    #[error("a connection has at most {SUBSCRIPTIONS_MAX} subscriptions, which name at most {TASKS_MAX} tasks")]
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
            by_default: ByDefault::NotYet,
            ordinal: 0,
            cursor: range.last,
            replays: VecDeque::new(),
            pending: VecDeque::new(),
        };
        Ok((feed, range))
    }

    /// For a client that has not asked: its jobs from the beginning of the connection on, until the first subscription.
    pub fn listen_by_default(&mut self) {
        if matches!(self.by_default, ByDefault::NotYet) {
            self.by_default = ByDefault::Since(self.cursor);
        }
    }

    /// Adds a subscription, or replaces the one with this reference.
    pub async fn subscribe(&mut self, reference: Option<String>, wish: Wish) -> Result<Subscribed, SubscribeError> {
        let others = self.subscriptions.iter().filter(|(known, _)| **known != reference);
        let (count, tasks) = others.fold((0, 0), |(count, tasks), (_, other)| (count + 1, tasks + other.wish.task_ids.len()));
        if count >= SUBSCRIPTIONS_MAX || tasks + wish.task_ids.len() > TASKS_MAX {
            return Err(SubscribeError::TooMany);
        }
        let range = match wish.after_seq {
            Some(_) => Some(events::seq_range(self.rows.read()).await?),
            None => None,
        };
        self.end_subscription(&reference);
        let by_default = self.end_default();
        self.ordinal += 1;
        let mut subscription = Subscription { wish, ordinal: self.ordinal, from: self.cursor, by_default };
        let mut subscribed = Subscribed { replayed: 0, gap: false };
        if let (Some(after), Some(range)) = (subscription.wish.after_seq, range) {
            subscribed.gap = after + 1 < range.oldest || after > range.last;
            if after <= range.last {
                subscription.from = after;
            }
        }
        let span = Span { after: subscription.from, up_to: self.cursor };
        self.subscriptions.insert(reference.clone(), subscription);
        if span.after < span.up_to {
            subscribed.replayed = self.count(&reference, span).await?;
            self.replays.push_back(Replay { reference, span, read: false });
        }
        Ok(subscribed)
    }

    /// Ends one subscription; without a reference all of them.
    pub fn unsubscribe(&mut self, reference: Option<&str>) {
        let ended: Vec<Option<String>> = match reference {
            Some(reference) => vec![Some(reference.to_owned())],
            None => self.subscriptions.keys().cloned().collect(),
        };
        for reference in ended {
            self.end_subscription(&reference);
        }
        self.end_default();
    }

    /// Forgets a subscription and what it would still be told.
    fn end_subscription(&mut self, reference: &Option<String>) {
        self.reconsider();
        self.subscriptions.remove(reference);
        if self.replays.front().is_some_and(|replay| replay.reference == *reference) {
            self.pending.clear();
        }
        self.replays.retain(|replay| replay.reference != *reference);
    }

    fn end_default(&mut self) -> Option<Span> {
        match std::mem::replace(&mut self.by_default, ByDefault::Over) {
            ByDefault::Since(after) => Some(Span { after, up_to: self.cursor }),
            ByDefault::NotYet | ByDefault::Over => None,
        }
    }

    /// What was read for the live order and not told is read again, by the subscriptions that will then be in force.
    fn reconsider(&mut self) {
        self.cursor = self.position();
        if self.replays.is_empty() {
            self.pending.clear();
        }
    }

    /// The next stored event; waits until there is one. Safe to drop half-way.
    pub async fn next(&mut self) -> Result<Arc<Stored>, StorageError> {
        loop {
            if let Some(stored) = self.pending.pop_front() {
                return Ok(stored);
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

    /// One that need not be waited for.
    pub fn next_read(&mut self) -> Option<Arc<Stored>> {
        self.pending.pop_front()
    }

    /// Whether stored events wait to be told.
    pub fn is_behind(&self) -> bool {
        !self.pending.is_empty() || !self.replays.is_empty()
    }

    /// Up to here the live order has come: what is newer will be judged by the subscriptions that are in force when it is told.
    pub fn position(&self) -> i64 {
        match self.pending.front() {
            Some(first) if self.replays.is_empty() => first.event.seq - 1,
            _ => self.cursor,
        }
    }

    /// Whoever comes back with this number misses nothing.
    pub fn told_to(&self) -> i64 {
        let first = self.pending.front().map(|stored| stored.event.seq - 1);
        if self.replays.is_empty() {
            return first.unwrap_or_else(|| self.tail.complete_to(self.cursor));
        }
        let replayed = self.replays.iter().map(|replay| if replay.read { replay.span.up_to } else { replay.span.after });
        replayed.chain(first).min().unwrap_or(self.cursor)
    }

    pub fn wants_topic(&self, topic: &str) -> bool {
        self.subscriptions.values().any(|subscription| subscription.wish.wants_topic(topic))
    }

    async fn read_replay(&mut self) -> Result<(), StorageError> {
        let Some(Replay { reference, span, .. }) = self.replays.front() else {
            return Ok(());
        };
        let (reference, span) = (reference.clone(), *span);
        let page = self.page(span).await?;
        let last = page.last().map_or(span.up_to, |stored| stored.event.seq);
        if let Some(replay) = self.replays.front_mut() {
            replay.read = page.len() < PAGE_ROWS as usize || last >= span.up_to;
            replay.span.after = last;
        }
        let page: Vec<Arc<Stored>> = page.into_iter().filter(|stored| self.is_replayed(&reference, span, &stored.event)).collect();
        self.pending.extend(page);
        Ok(())
    }

    /// False when there is nothing after the cursor.
    async fn read_live(&mut self) -> Result<bool, StorageError> {
        let page = match self.tail.after(self.cursor) {
            Some(page) => page,
            None => self.rows_after(self.cursor).await?,
        };
        let Some(last) = page.last() else {
            return Ok(false);
        };
        self.cursor = last.event.seq;
        let page: Vec<Arc<Stored>> = page.into_iter().filter(|stored| self.is_wanted(&stored.event)).collect();
        self.pending.extend(page);
        Ok(true)
    }

    /// The first events of a span, and perhaps later ones.
    async fn page(&self, span: Span) -> Result<Vec<Arc<Stored>>, StorageError> {
        match self.tail.between(span.after, span.up_to) {
            Some(page) => Ok(page),
            None => self.rows_after(span.after).await,
        }
    }

    async fn rows_after(&self, after: i64) -> Result<Vec<Arc<Stored>>, StorageError> {
        let rows = events::after(self.rows.read(), &self.owner_id, after, PAGE_ROWS).await?;
        Ok(rows.into_iter().map(|event| Arc::new(Stored::of(event))).collect())
    }

    async fn count(&self, reference: &Option<String>, mut span: Span) -> Result<u64, StorageError> {
        let mut count = 0;
        while span.after < span.up_to {
            let page = self.page(span).await?;
            count += page.iter().filter(|stored| self.is_replayed(reference, span, &stored.event)).count() as u64;
            match page.last() {
                Some(last) if page.len() == PAGE_ROWS as usize => span.after = last.event.seq,
                _ => break,
            }
        }
        Ok(count)
    }

    fn is_wanted(&self, event: &Event) -> bool {
        let by_default = matches!(self.by_default, ByDefault::Since(_)) && Wish::default().wants(event);
        by_default || self.subscriptions.values().any(|subscription| subscription.is_told(event))
    }

    /// Whether the replay of a subscription tells an event: it wants it, and no earlier one that is still in force was told it.
    fn is_replayed(&self, reference: &Option<String>, span: Span, event: &Event) -> bool {
        let Some(own) = self.subscriptions.get(reference) else {
            return false;
        };
        let told = |other: &Subscription| other.by_default_told(event) || (other.ordinal < own.ordinal && other.is_told(event));
        event.seq <= span.up_to && own.is_told(event) && !self.subscriptions.values().any(told)
    }
}

impl Subscription {
    fn is_told(&self, event: &Event) -> bool {
        event.seq > self.from && self.wish.wants(event)
    }

    fn by_default_told(&self, event: &Event) -> bool {
        self.by_default.is_some_and(|span| event.seq > span.after && event.seq <= span.up_to) && Wish::default().wants(event)
    }
}
