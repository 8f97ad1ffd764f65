//! All that one connection is told, in its order: stored events from its feed, and between them what is told and not stored: progress, the
//! queue, heartbeats. The same for the WebSocket and the event stream; it may not know either.
//!
//! A stored event is never dropped: who can't take it in time is closed and comes back with `after_seq`. Progress is told once in a while,
//! and not at all to whoever is behind.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use storage::StorageError;
use storage::events::SeqRange;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Interval, MissedTickBehavior, interval};
use uuid::Uuid;

use crate::app::App;
use crate::authenticate::{self, Caller};
use crate::event_feed::{EventFeed, SubscribeError, Subscribed};
use crate::machine::Sample;
use crate::machine_watch::Latest;
use crate::problem::{Code, Problem};
use crate::queue_watch::{QueueCounts, QueueNews};
use crate::scopes::Scope;
use crate::wire::machine::SystemStats;
use crate::wire::socket::{Envelope, Progress, Stored, Wish, close};

pub const PROTOCOL: u32 = 1;
pub const HEARTBEAT_S: u64 = 25;
/// At most four a second for each task.
const PROGRESS_MS: u64 = 250;
const PROGRESS_TASKS_MAX: usize = 256;
/// A client that subscribes at once is not told by default what it does not ask for: until then nothing is told at all.
const GRACE_MS: u64 = 1_000;
/// Messages that are ready are sent together up to here.
pub const BATCH_BYTES_MAX: usize = 64 * 1024;

/// A place among the open event connections.
pub fn place(app: &App) -> Result<OwnedSemaphorePermit, Problem> {
    if app.stopping.is_cancelled() {
        return Err(Problem::new(Code::NotReady, "the server is stopping").retry_after(1));
    }
    app.subscriber_places.clone().try_acquire_owned().map_err(|_| {
        let detail = format!("there are {} open event connections, and more are not taken", app.config.subscribers_max);
        Problem::new(Code::TooManySubscribers, detail).retry_after(10)
    })
}

/// What a subscription needs beside the connection itself: the queue and the system are looked at with `system:read`.
pub fn check_scope(caller: &Caller, wish: &Wish) -> Result<(), String> {
    if !wish.looks_at_system() || caller.grants.allows(Scope::SystemRead) {
        return Ok(());
    }
    Err(format!("the topics queue and system need a key with the scope {}", Scope::SystemRead))
}

/// How often the key of a connection is looked at again.
pub const RECHECK_S: u64 = 5;

/// Why a connection ends.
#[derive(Debug)]
pub enum End {
    /// The client is gone.
    Gone,
    /// With this code and reason.
    Close(u16, &'static str),
}

/// Is the key with which a connection was opened still good: asked now and then, and at once when one was ended here. Where that can't be
/// found out the connection stays open.
pub async fn recheck(app: &App, caller: &Caller) -> ControlFlow<End> {
    match authenticate::recheck(&app.storage, caller, app.clock.now_ms()).await {
        Ok(Ok(_)) => ControlFlow::Continue(()),
        Ok(Err(_)) => ControlFlow::Break(End::Close(close::KEY, "the key is no longer good")),
        Err(error) => {
            tracing::warn!(%error, "a key was not rechecked, will be repeated");
            ControlFlow::Continue(())
        }
    }
}

#[derive(Debug)]
pub enum Told {
    Stored(Arc<Stored>),
    Passing(Envelope),
    Heartbeat(Envelope),
}

pub struct EventLine {
    app: App,
    owner_id: String,
    feed: EventFeed,
    /// Whether the feed is read: after the first request, or after the grace.
    listening: bool,
    grace: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// What changed since the last progress was told.
    progress: BTreeMap<Uuid, Progress>,
    progress_ticks: Interval,
    heartbeats: Interval,
    /// While a subscription asks for it.
    queue: Option<watch::Receiver<Option<Arc<QueueCounts>>>>,
    queue_told: Option<QueueNews>,
    /// The same for the machine's figures.
    machine: Option<watch::Receiver<Latest>>,
    ready: VecDeque<Envelope>,
}

impl std::fmt::Debug for EventLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventLine").field("feed", &self.feed).finish_non_exhaustive()
    }
}

impl EventLine {
    pub async fn open(app: &App, caller: &Caller) -> Result<(Self, SeqRange), StorageError> {
        let (feed, range) = EventFeed::open(&app.storage.rows, &app.tails, &caller.owner_id).await?;
        let line = Self {
            app: app.clone(),
            owner_id: caller.owner_id.clone(),
            feed,
            listening: false,
            grace: app.clock.sleep(GRACE_MS),
            progress: BTreeMap::new(),
            progress_ticks: ticks(PROGRESS_MS).await,
            heartbeats: ticks(HEARTBEAT_S * 1_000).await,
            queue: None,
            queue_told: None,
            machine: None,
            ready: VecDeque::new(),
        };
        Ok((line, range))
    }

    pub fn hello(&self, range: SeqRange) -> Envelope {
        let data = json!({
            "protocol": PROTOCOL, "server_version": env!("CARGO_PKG_VERSION"), "last_seq": range.last, "oldest_seq": range.oldest,
            "heartbeat_s": HEARTBEAT_S,
        });
        Envelope::told("hello", None, data, self.app.clock.now_ms())
    }

    pub async fn subscribe(&mut self, reference: Option<String>, wish: Wish) -> Result<Subscribed, SubscribeError> {
        let (asks_for_queue, asks_for_system) = (wish.wants_topic("queue"), wish.wants_topic("system"));
        let subscribed = self.feed.subscribe(reference, wish).await?;
        self.listening = true;
        if asks_for_queue {
            // The numbers of now come first.
            self.queue = Some(self.app.queue_watch.listen());
            self.queue_told = None;
        }
        if asks_for_system {
            self.machine = Some(self.app.machine.listen());
        }
        self.leave_topics();
        Ok(subscribed)
    }

    pub fn unsubscribe(&mut self, reference: Option<&str>) {
        self.feed.unsubscribe(reference);
        self.listening = true;
        self.leave_topics();
    }

    /// What no subscription asks for any longer.
    fn leave_topics(&mut self) {
        if !self.feed.wants_topic("queue") {
            self.queue = None;
        }
        if !self.feed.wants_topic("system") {
            self.machine = None;
        }
    }

    /// What comes next; waits until there is something. Safe to drop half-way.
    pub async fn next(&mut self) -> Result<Told, StorageError> {
        loop {
            if let Some(envelope) = self.ready.pop_front() {
                return Ok(Told::Passing(envelope));
            }
            tokio::select! {
                stored = self.feed.next(), if self.listening => {
                    let stored = stored?;
                    self.note_progress(&stored);
                    return Ok(Told::Stored(stored));
                }
                _ = self.progress_ticks.tick(), if !self.progress.is_empty() => self.gather_progress(),
                latest = newest(&mut self.queue) => self.gather_queue(latest.as_deref()),
                latest = newest(&mut self.machine) => self.gather_machine(latest.as_deref()),
                _ = self.heartbeats.tick() => {
                    let data = json!({"last_seq": self.feed.told_to()});
                    return Ok(Told::Heartbeat(Envelope::told("heartbeat", None, data, self.app.clock.now_ms())));
                }
                () = &mut self.grace, if !self.listening => {
                    self.feed.listen_by_default();
                    self.listening = true;
                }
            }
        }
    }

    /// A stored event that need not be waited for.
    pub fn next_read(&mut self) -> Option<Arc<Stored>> {
        let stored = self.feed.next_read()?;
        self.note_progress(&stored);
        Some(stored)
    }

    fn note_progress(&mut self, stored: &Stored) {
        let event = &stored.event;
        if let Some((task_id, progress)) = Progress::of(event) {
            if self.progress.len() < PROGRESS_TASKS_MAX || self.progress.contains_key(&task_id) {
                self.progress.insert(task_id, progress);
            }
        } else if let (Some(task_id), "job.completed" | "job.failed" | "job.cancelled") = (event.generation_id, event.kind.as_str()) {
            self.progress.remove(&task_id);
        }
    }

    fn gather_progress(&mut self) {
        let progress = std::mem::take(&mut self.progress);
        if self.feed.is_behind() {
            return;
        }
        let now_ms = self.app.clock.now_ms();
        let told = |(task_id, progress): (Uuid, Progress)| Envelope::told("job.progress", Some(task_id), progress.data(), now_ms);
        self.ready.extend(progress.into_iter().map(told));
    }

    fn gather_queue(&mut self, latest: Option<&QueueCounts>) {
        let news = latest.map(|counts| counts.of_owner(&self.owner_id));
        if let Some(news) = news.filter(|news| self.queue_told != Some(*news)) {
            self.queue_told = Some(news);
            self.ready.push_back(Envelope::told("queue.changed", None, json!(news), self.app.clock.now_ms()));
        }
    }

    /// Figures are of the moment: whoever is behind is told later ones.
    fn gather_machine(&mut self, latest: Option<&Sample>) {
        if let Some(sample) = latest.filter(|_| !self.feed.is_behind()) {
            let stats = SystemStats::of(sample);
            self.ready.push_back(Envelope::told("system.stats", None, json!(stats), self.app.clock.now_ms()));
        }
    }
}

/// What is looked at for all connections, when it has changed. Waits for ever where nobody asked for it.
async fn newest<T>(watched: &mut Option<watch::Receiver<Option<Arc<T>>>>) -> Option<Arc<T>> {
    // The sender lives as long as the server.
    if let Some(watched) = watched
        && watched.changed().await.is_ok()
    {
        return watched.borrow_and_update().clone();
    }
    std::future::pending().await
}

/// Regular ticks, the first after one period; late ones are not made up for.
pub async fn ticks(period_ms: u64) -> Interval {
    let mut ticks = interval(Duration::from_millis(period_ms));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    ticks
}
