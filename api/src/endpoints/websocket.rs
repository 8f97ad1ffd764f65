//! `/ws`: the events of a key as they happen, and cancelling over the same line. The wire is in `wire::socket`, the cursor in `event_feed`;
//! here are the connection, its beats and its end.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use jobs::view::CancelOutcome;
use salvo::oapi::endpoint;
use salvo::websocket::{Message, WebSocket, WebSocketUpgrade};
use salvo::{Request, Response, Writer};
use serde_json::{Value, json};
use storage::events::{Event, SeqRange};
use storage::{StorageError, events};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use uuid::Uuid;

use crate::app::App;
use crate::authenticate::{self, Caller};
use crate::event_feed::{EventFeed, SubscribeError};
use crate::problem::{Code, Problem};
use crate::scopes::Scope;
use crate::wire::socket::{self, Envelope, Progress, Request as ClientRequest};

pub const PROTOCOL: u32 = 1;
pub const HEARTBEAT_S: u64 = 25;
/// A client that says nothing at all, not even to a ping, is gone.
const SILENCE_BEATS_MAX: u32 = 3;
/// How often the key is looked at again.
pub const RECHECK_S: u64 = 5;
/// At most four a second.
const PROGRESS_MS: u64 = 250;
/// A client that subscribes at once is not told twice what it asks for: until then nothing is told at all.
const GRACE_MS: u64 = 1_000;
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// In one beat of `RECHECK_S`.
const MESSAGES_MAX: u32 = 200;

/// Close codes of the contract.
mod close {
    pub(super) const GOING_AWAY: u16 = 1001;
    pub(super) const INTERNAL: u16 = 1011;
    pub(super) const PROTOCOL: u16 = 4400;
    pub(super) const KEY: u16 = 4401;
    pub(super) const SLOW: u16 = 4408;
    pub(super) const TOO_MANY: u16 = 4429;
}

/// Real-time progress updates
///
/// An upgrade to a WebSocket. Messages are JSON objects `{seq, type, ts, task_id, data}`; see the description of this document.
#[endpoint(operation_id = "websocket", status_codes(101), responses((status_code = 101, description = "Switched to the WebSocket protocol")))]
pub async fn upgrade(app: App, caller: Caller, req: &mut Request, res: &mut Response) -> Result<(), Problem> {
    let place = place(&app)?;
    let (feed, range) = EventFeed::open(&app.storage.rows, &app.tails, &caller.owner_id).await?;
    let connection = (app.clone(), caller, feed, range, place);
    let tracked = app.subscribers.clone();
    let upgrading = WebSocketUpgrade::new().max_message_size(MESSAGE_BYTES_MAX).max_frame_size(MESSAGE_BYTES_MAX);
    let upgraded = upgrading.upgrade(req, res, move |socket| {
        tracked.track_future(async move {
            let (app, caller, feed, range, place) = connection;
            Connection::new(app, caller, socket, feed).run(range).await;
            drop(place);
        })
    });
    upgraded.await.map_err(|error| Problem::new(Code::InvalidRequest, error.brief))
}

/// A place among the open event connections.
pub(super) fn place(app: &App) -> Result<OwnedSemaphorePermit, Problem> {
    if app.stopping.is_cancelled() {
        return Err(Problem::new(Code::NotReady, "the server is stopping").retry_after(1));
    }
    app.subscriber_places.clone().try_acquire_owned().map_err(|_| {
        let detail = format!("there are {} open event connections, and more are not taken", app.config.subscribers_max);
        Problem::new(Code::TooManySubscribers, detail).retry_after(10)
    })
}

/// Why a connection ends.
#[derive(Debug)]
enum End {
    /// The client is gone.
    Gone,
    Close(u16, &'static str),
}

struct Connection {
    app: App,
    caller: Caller,
    socket: WebSocket,
    feed: EventFeed,
    /// Whether the feed is read: after the first request, or after the grace.
    listening: bool,
    /// What changed since the last progress was told.
    progress: BTreeMap<Uuid, Progress>,
    beats: u64,
    silent_beats: u32,
    messages: u32,
}

impl Connection {
    fn new(app: App, caller: Caller, socket: WebSocket, feed: EventFeed) -> Self {
        Self { app, caller, socket, feed, listening: false, progress: BTreeMap::new(), beats: 0, silent_beats: 0, messages: 0 }
    }

    async fn run(mut self, range: SeqRange) {
        let end = match self.talk(range).await {
            ControlFlow::Break(end) => end,
            ControlFlow::Continue(()) => End::Gone,
        };
        if let End::Close(code, reason) = end {
            tracing::debug!(socket.close_code = code, key.id = %self.caller.key_id, "closed a websocket");
            let limit = Duration::from_millis(self.app.config.subscriber_send_ms.min(2_000));
            let _ = timeout(limit, self.socket.send(Message::close_with(code, reason))).await;
            // The client's own close frame ends the handshake; whoever does not send it is left.
            let _ = timeout(limit, async { while let Some(Ok(_)) = self.socket.recv().await {} }).await;
        }
    }

    async fn talk(&mut self, range: SeqRange) -> ControlFlow<End> {
        let hello = json!({
            "protocol": PROTOCOL, "server_version": env!("CARGO_PKG_VERSION"), "last_seq": range.last, "oldest_seq": range.oldest,
            "heartbeat_s": HEARTBEAT_S,
        });
        self.tell("hello", None, hello).await?;
        let app = self.app.clone();
        let grace = app.clock.sleep(GRACE_MS);
        tokio::pin!(grace);
        let mut beat = ticks(RECHECK_S * 1_000).await;
        let mut progress = ticks(PROGRESS_MS).await;
        let mut keys = app.storage.rows.keys_changed();
        loop {
            tokio::select! {
                () = app.closing.cancelled() => return ControlFlow::Break(End::Close(close::GOING_AWAY, "the server stops")),
                message = self.socket.recv() => match message {
                    Some(Ok(message)) => self.receive(&message).await?,
                    _ => return ControlFlow::Break(End::Gone),
                },
                event = self.feed.next(), if self.listening => self.deliver(event).await?,
                _ = progress.tick(), if !self.progress.is_empty() => self.tell_progress().await?,
                _ = beat.tick() => self.beat().await?,
                Ok(()) = keys.changed() => self.recheck().await?,
                () = &mut grace, if !self.listening => {
                    self.feed.listen_by_default();
                    self.listening = true;
                }
            }
        }
    }

    async fn deliver(&mut self, event: Result<Arc<Event>, StorageError>) -> ControlFlow<End> {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                tracing::error!(%error, "events were not read");
                return ControlFlow::Break(End::Close(close::INTERNAL, "come back with after_seq"));
            }
        };
        if let Some((task_id, progress)) = Progress::of(&event) {
            self.progress.insert(task_id, progress);
        } else if let (Some(task_id), "job.completed" | "job.failed" | "job.cancelled") = (event.generation_id, event.kind.as_str()) {
            self.progress.remove(&task_id);
        }
        self.send(Message::text(Envelope::stored(&event).to_text())).await
    }

    async fn tell_progress(&mut self) -> ControlFlow<End> {
        for (task_id, progress) in std::mem::take(&mut self.progress) {
            self.tell("job.progress", Some(task_id), progress.data()).await?;
        }
        ControlFlow::Continue(())
    }

    /// Every few seconds: is the key still good, is the client still there.
    async fn beat(&mut self) -> ControlFlow<End> {
        self.messages = 0;
        self.beats += 1;
        self.recheck().await?;
        if !self.beats.is_multiple_of(HEARTBEAT_S / RECHECK_S) {
            return ControlFlow::Continue(());
        }
        self.silent_beats += 1;
        if self.silent_beats > SILENCE_BEATS_MAX {
            return ControlFlow::Break(End::Gone);
        }
        let last_seq = events::seq_range(self.app.storage.rows.read()).await.map(|range| range.last).ok();
        self.tell("heartbeat", None, json!({"last_seq": last_seq})).await?;
        self.send(Message::ping(Vec::new())).await
    }

    /// Is the key still good: asked now and then, and at once when one was ended here.
    async fn recheck(&mut self) -> ControlFlow<End> {
        match authenticate::recheck(&self.app.storage, &self.caller, self.app.clock.now_ms()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return ControlFlow::Break(End::Close(close::KEY, "the key is no longer good")),
            Err(error) => tracing::warn!(%error, "a key was not rechecked, will be repeated"),
        }
        ControlFlow::Continue(())
    }

    async fn receive(&mut self, message: &Message) -> ControlFlow<End> {
        self.silent_beats = 0;
        if message.is_close() {
            return ControlFlow::Break(End::Close(1000, "bye"));
        }
        if !message.is_text() && !message.is_binary() {
            return ControlFlow::Continue(());
        }
        self.messages += 1;
        if self.messages > MESSAGES_MAX {
            return ControlFlow::Break(End::Close(close::TOO_MANY, "too many messages"));
        }
        let Ok(text) = message.as_str() else {
            return ControlFlow::Break(End::Close(close::PROTOCOL, "messages are text"));
        };
        match socket::parse(text) {
            Ok(request) => self.answer(request).await,
            Err(mistake) => {
                self.error(mistake.reference, mistake.code, mistake.detail).await?;
                if mistake.close { ControlFlow::Break(End::Close(close::PROTOCOL, "not a message")) } else { ControlFlow::Continue(()) }
            }
        }
    }

    async fn answer(&mut self, request: ClientRequest) -> ControlFlow<End> {
        match request {
            ClientRequest::Subscribe { reference, wish } => match self.feed.subscribe(reference.clone(), wish).await {
                Ok(subscribed) => {
                    self.listening = true;
                    let data = json!({"ref": reference, "replayed": subscribed.replayed, "gap": subscribed.gap});
                    self.tell("subscribed", None, data).await
                }
                Err(error @ SubscribeError::TooMany) => self.error(reference, "conflict", error.to_string()).await,
                Err(SubscribeError::Storage(error)) => {
                    tracing::error!(%error, "events were not read");
                    ControlFlow::Break(End::Close(close::INTERNAL, "come back with after_seq"))
                }
            },
            ClientRequest::Unsubscribe { reference } => {
                self.feed.unsubscribe(reference.as_deref());
                self.listening = true;
                self.tell("ack", None, json!({"ref": reference})).await
            }
            ClientRequest::Ping { reference } => self.tell("ack", None, json!({"ref": reference})).await,
            ClientRequest::Cancel { reference, task_id } => self.cancel(reference, task_id).await,
        }
    }

    async fn cancel(&mut self, reference: Option<String>, task_id: Option<String>) -> ControlFlow<End> {
        if !self.caller.grants.allows(Scope::TtsGenerate) {
            let detail = format!("cancelling needs the scope {}", Scope::TtsGenerate);
            return self.error(reference, Code::InsufficientScope.as_str(), detail).await;
        }
        let Some(task_id) = task_id.and_then(|id| Uuid::parse_str(&id).ok()) else {
            return self.error(reference, Code::TaskNotFound.as_str(), "there is no task with this id".into()).await;
        };
        let state = match self.app.jobs.cancel(&self.caller.owner_id, task_id).await {
            Ok(CancelOutcome::Cancelled) => "cancelled",
            Ok(CancelOutcome::Cancelling) => "cancelling",
            Ok(CancelOutcome::NotFound) => {
                return self.error(reference, Code::TaskNotFound.as_str(), "there is no task with this id".into()).await;
            }
            Ok(CancelOutcome::AlreadyFinal) => {
                return self.error(reference, Code::NotCancellable.as_str(), "the task has ended already".into()).await;
            }
            Err(error) => {
                tracing::error!(%error, "a cancel by websocket failed");
                return self.error(reference, Code::Internal.as_str(), "the request failed on the server".into()).await;
            }
        };
        self.tell("ack", Some(task_id), json!({"ref": reference, "task_id": task_id, "state": state})).await
    }

    async fn error(&mut self, reference: Option<String>, code: &str, detail: String) -> ControlFlow<End> {
        self.tell("error", None, json!({"ref": reference, "code": code, "detail": detail})).await
    }

    async fn tell(&mut self, kind: &str, task_id: Option<Uuid>, data: Value) -> ControlFlow<End> {
        let envelope = Envelope::told(kind, task_id, data, self.app.clock.now_ms());
        self.send(Message::text(envelope.to_text())).await
    }

    /// One message, or the end of the connection: a client that can't take it in time is told to come back.
    async fn send(&mut self, message: Message) -> ControlFlow<End> {
        match timeout(Duration::from_millis(self.app.config.subscriber_send_ms), self.socket.send(message)).await {
            Ok(Ok(())) => ControlFlow::Continue(()),
            Ok(Err(_)) => ControlFlow::Break(End::Gone),
            Err(_) => ControlFlow::Break(End::Close(close::SLOW, "too slow: come back with after_seq")),
        }
    }
}

/// Regular ticks, the first after one period; late ones are not made up for.
async fn ticks(period_ms: u64) -> Interval {
    let mut ticks = interval(Duration::from_millis(period_ms));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    ticks
}
