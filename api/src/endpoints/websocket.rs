//! `/ws`: the events of a key as they happen, and cancelling over the same line. The wire is in `wire::socket`, what is told when in
//! `event_line`; here are the connection, its beats and its end.

use std::ops::ControlFlow;
use std::time::Duration;

use futures::SinkExt;
use jobs::view::CancelOutcome;
use salvo::oapi::endpoint;
use salvo::websocket::{Message, WebSocket, WebSocketUpgrade};
use salvo::{Request, Response, Writer};
use serde_json::{Value, json};
use storage::StorageError;
use storage::events::SeqRange;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use uuid::Uuid;

use crate::app::App;
use crate::authenticate::Caller;
use crate::event_feed::SubscribeError;
use crate::event_line::{self, BATCH_BYTES_MAX, End, EventLine, RECHECK_S, Told, ticks};
use crate::problem::{Code, Problem};
use crate::scopes::Scope;
use crate::wire::socket::{self, Envelope, Request as ClientRequest, close};

/// A client that says nothing at all, not even to a ping, is gone.
const SILENT_HEARTBEATS_MAX: u32 = 3;
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// A connection that reads nothing costs a few KiB.
const READ_BUFFER_BYTES: usize = 4 * 1024;
/// In one beat of `RECHECK_S`.
const MESSAGES_MAX: u32 = 200;
/// How long a client that was too slow may take to fetch what is on its way, and why nothing more comes.
const SLOW_CLOSE_MS: u64 = 30_000;
const CLOSE_MS: u64 = 2_000;

/// Real-time progress updates
///
/// An upgrade to a WebSocket. Messages are JSON objects `{seq, type, ts, task_id, data}`; see the description of this document.
#[endpoint(operation_id = "websocket", status_codes(101), responses((status_code = 101, description = "Switched to the WebSocket protocol")))]
pub async fn upgrade(app: App, caller: Caller, req: &mut Request, res: &mut Response) -> Result<(), Problem> {
    let place = event_line::place(&app)?;
    let (line, range) = EventLine::open(&app, &caller).await?;
    let connection = (app.clone(), caller, line, range, place);
    let tracked = app.subscribers.clone();
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX))
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(BATCH_BYTES_MAX);
    let upgrading = WebSocketUpgrade::with_config(config);
    let upgraded = upgrading.upgrade(req, res, move |socket| {
        tracked.track_future(async move {
            let (app, caller, line, range, place) = connection;
            let connection = Connection { app, caller, socket, line, silent_heartbeats: 0, messages: 0 };
            connection.run(range).await;
            drop(place);
        })
    });
    upgraded.await.map_err(|error| Problem::new(Code::InvalidRequest, error.brief))
}

struct Connection {
    app: App,
    caller: Caller,
    socket: WebSocket,
    line: EventLine,
    silent_heartbeats: u32,
    messages: u32,
}

impl Connection {
    async fn run(mut self, range: SeqRange) {
        let end = match self.talk(range).await {
            ControlFlow::Break(end) => end,
            ControlFlow::Continue(()) => End::Gone,
        };
        if let End::Close(code, reason) = end {
            self.close(code, reason).await;
        }
    }

    async fn close(mut self, code: u16, reason: &'static str) {
        tracing::debug!(socket.close_code = code, key.id = %self.caller.key_id, "closed a websocket");
        let goodbye = self.socket.send(Message::close_with(code, reason));
        if code == close::SLOW {
            self.app.slow_subscribers.send_modify(|count| *count += 1);
            // What is on its way comes before the reason, and a stop does not wait for it.
            tokio::select! {
                _ = timeout(Duration::from_millis(SLOW_CLOSE_MS), goodbye) => {}
                () = self.app.closing.cancelled() => {}
            }
        } else {
            let _ = timeout(Duration::from_millis(CLOSE_MS), goodbye).await;
        }
        // The client's own close frame ends the handshake; whoever does not send it is left.
        let _ = timeout(Duration::from_millis(CLOSE_MS), async { while let Some(Ok(_)) = self.socket.recv().await {} }).await;
    }

    async fn talk(&mut self, range: SeqRange) -> ControlFlow<End> {
        let hello = self.line.hello(range);
        self.send(Message::text(hello.to_text())).await?;
        let app = self.app.clone();
        let closing = app.closing.cancelled();
        tokio::pin!(closing);
        let mut beat = ticks(RECHECK_S * 1_000).await;
        let mut keys = app.storage.rows.keys_changed();
        loop {
            tokio::select! {
                () = &mut closing => return ControlFlow::Break(End::Close(close::GOING_AWAY, "the server stops")),
                message = self.socket.recv() => match message {
                    Some(Ok(message)) => self.receive(&message).await?,
                    _ => return ControlFlow::Break(End::Gone),
                },
                told = self.line.next() => self.deliver(told).await?,
                _ = beat.tick() => {
                    self.messages = 0;
                    event_line::recheck(&app, &self.caller).await?;
                }
                Ok(()) = keys.changed() => event_line::recheck(&app, &self.caller).await?,
            }
        }
    }

    async fn deliver(&mut self, told: Result<Told, StorageError>) -> ControlFlow<End> {
        match told {
            Ok(Told::Stored(stored)) => {
                let mut bytes = stored.text.len();
                let mut batch = vec![Message::text(stored.text.clone())];
                while bytes < BATCH_BYTES_MAX
                    && let Some(stored) = self.line.next_read()
                {
                    bytes += stored.text.len();
                    batch.push(Message::text(stored.text.clone()));
                }
                self.send_all(batch).await
            }
            Ok(Told::Passing(envelope)) => self.send(Message::text(envelope.to_text())).await,
            Ok(Told::Heartbeat(envelope)) => {
                self.silent_heartbeats += 1;
                if self.silent_heartbeats > SILENT_HEARTBEATS_MAX {
                    return ControlFlow::Break(End::Gone);
                }
                self.send_all(vec![Message::text(envelope.to_text()), Message::ping(Vec::new())]).await
            }
            Err(error) => {
                tracing::error!(%error, "events were not read");
                ControlFlow::Break(End::Close(close::INTERNAL, "come back with after_seq"))
            }
        }
    }

    async fn receive(&mut self, message: &Message) -> ControlFlow<End> {
        self.silent_heartbeats = 0;
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
            ClientRequest::Subscribe { reference, wish } => {
                if let Err(detail) = event_line::check_scope(&self.caller, &wish) {
                    self.error(reference, Code::InsufficientScope.as_str(), detail).await?;
                    return ControlFlow::Break(End::Close(close::SCOPE, "the key lacks the scope of this topic"));
                }
                match self.line.subscribe(reference.clone(), wish).await {
                    Ok(subscribed) => {
                        let data = json!({"ref": reference, "replayed": subscribed.replayed, "gap": subscribed.gap});
                        self.tell("subscribed", None, data).await
                    }
                    Err(error @ SubscribeError::TooMany) => self.error(reference, Code::Conflict.as_str(), error.to_string()).await,
                    Err(SubscribeError::Storage(error)) => {
                        tracing::error!(%error, "events were not read");
                        ControlFlow::Break(End::Close(close::INTERNAL, "come back with after_seq"))
                    }
                }
            }
            ClientRequest::Unsubscribe { reference } => {
                self.line.unsubscribe(reference.as_deref());
                self.tell("ack", None, json!({"ref": reference})).await
            }
            ClientRequest::Ping { reference } => self.tell("ack", None, json!({"ref": reference})).await,
            ClientRequest::Cancel { reference, task_id } => self.cancel(reference, task_id).await,
        }
    }

    async fn cancel(&mut self, reference: Option<String>, task_id: Option<String>) -> ControlFlow<End> {
        if !Scope::MAKERS.iter().any(|scope| self.caller.grants.allows(*scope)) {
            let detail = "cancelling needs a key with the scope that the task was made with".to_owned();
            return self.error(reference, Code::InsufficientScope.as_str(), detail).await;
        }
        let Some(task_id) = task_id.and_then(|id| Uuid::parse_str(&id).ok()) else {
            return self.error(reference, Code::TaskNotFound.as_str(), "there is no task with this id".into()).await;
        };
        let kind = match self.app.jobs.job(&self.caller.owner_id, task_id).await {
            Ok(view) => view.map(|view| view.kind).unwrap_or_default(),
            Err(error) => return self.failed(reference, &error).await,
        };
        let scope = Scope::of_work(&kind);
        if !self.caller.grants.allows(scope) {
            return self.error(reference, Code::InsufficientScope.as_str(), format!("cancelling this task needs the scope {scope}")).await;
        }
        let state = match self.app.jobs.cancel(&self.caller.owner_id, task_id).await {
            Ok(CancelOutcome::Cancelled) => "cancelled",
            Ok(CancelOutcome::Cancelling) => "cancelling",
            Ok(CancelOutcome::NotFound) => {
                return self.error(reference, Code::TaskNotFound.as_str(), "there is no task with this id".into()).await;
            }
            Ok(CancelOutcome::AlreadyFinal) => {
                return self.error(reference, Code::NotCancellable.as_str(), "the task has ended already".into()).await;
            }
            Err(error) => return self.failed(reference, &error).await,
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

    async fn failed(&mut self, reference: Option<String>, error: &StorageError) -> ControlFlow<End> {
        tracing::error!(%error, "a cancel by websocket failed");
        self.error(reference, Code::Internal.as_str(), "the request failed on the server".into()).await
    }

    async fn send(&mut self, message: Message) -> ControlFlow<End> {
        self.send_all(vec![message]).await
    }

    /// A few messages, or the end of the connection: a client that can't take them in time is told to come back.
    async fn send_all(&mut self, messages: Vec<Message>) -> ControlFlow<End> {
        let limit = Duration::from_millis(self.app.config.subscriber_send_ms);
        let sent = timeout(limit, async {
            for message in messages {
                self.socket.feed(message).await?;
            }
            self.socket.flush().await
        });
        match sent.await {
            Ok(Ok(())) => ControlFlow::Continue(()),
            Ok(Err(_)) => ControlFlow::Break(End::Gone),
            Err(_) => ControlFlow::Break(End::Close(close::SLOW, "too slow: come back with after_seq")),
        }
    }
}
