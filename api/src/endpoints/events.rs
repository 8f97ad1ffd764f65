//! `/api/events`: the same events as on the WebSocket, as a stream that browsers and `curl` read (server-sent events). `Last-Event-ID` goes
//! on where the last connection broke off.

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use salvo::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};
use salvo::oapi::{ToParameters, endpoint};
use salvo::{Request, Response, Writer};
use serde::Deserialize;
use serde_json::json;
use storage::StorageError;
use tokio::sync::mpsc;
use tokio::time::timeout;
use uuid::Uuid;

use crate::app::App;
use crate::authenticate::Caller;
use crate::event_feed::SubscribeError;
use crate::event_line::{self, BATCH_BYTES_MAX, End, EventLine, RECHECK_S, Told, ticks};
use crate::problem::{Code, Problem};
use crate::query_string::Query;
use crate::wire::socket::{Envelope, Wish, close};

#[derive(Debug, Clone, Default, Deserialize, ToParameters)]
pub struct EventsQuery {
    /// `jobs`, `queue`, `system`, with commas between; jobs when not given.
    pub topics: Option<String>,
    /// Only these, with commas between.
    pub task_ids: Option<String>,
    /// What was stored after this number is told first; the header `Last-Event-ID` says the same.
    pub after_seq: Option<i64>,
}

impl EventsQuery {
    fn into_wish(self, last_event_id: Option<i64>) -> Result<Wish, Problem> {
        let split = |text: Option<String>| -> Vec<String> {
            text.unwrap_or_default().split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
        };
        let task_ids: Result<Vec<Uuid>, Problem> = split(self.task_ids)
            .iter()
            .map(|id| Uuid::parse_str(id).map_err(|_| Problem::invalid_field("task_ids", format!("\"{id}\" is no id"))))
            .collect();
        let wish = Wish { topics: split(self.topics), task_ids: task_ids?, after_seq: last_event_id.or(self.after_seq) };
        wish.check_topics().map_err(|detail| Problem::invalid_field("topics", detail))?;
        Ok(wish)
    }
}

/// An id that is none of ours is a mistake: passing over it would lose events without a word.
fn last_event_id(headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let number = value.to_str().ok().map(str::trim).filter(|text| !text.is_empty()).map(str::parse);
    number.transpose().map_err(|_| Problem::invalid_field("Last-Event-ID", "is the seq of an event, a number"))
}

/// Events as a stream
///
/// Server-sent events with the envelopes of `/ws`; `id` is the event's `seq`. Where the stream ends by the server, its last record is
/// `close` with the code of `/ws`.
#[endpoint(
    operation_id = "events",
    responses((status_code = 200, description = "The events as they happen", body = String, content_type = "text/event-stream"))
)]
pub async fn stream(app: App, caller: Caller, query: Query<EventsQuery>, req: &mut Request, res: &mut Response) -> Result<(), Problem> {
    let wish = query.0.into_wish(last_event_id(req.headers())?)?;
    event_line::check_scope(&caller, &wish).map_err(|detail| Problem::new(Code::InsufficientScope, detail))?;
    let place = event_line::place(&app)?;
    let (mut line, range) = EventLine::open(&app, &caller).await?;
    let subscribed = line.subscribe(None, wish).await.map_err(|error| match error {
        SubscribeError::Storage(error) => Problem::from(error),
        SubscribeError::TooMany => Problem::invalid_field("task_ids", error.to_string()),
    })?;
    res.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    res.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies that collect answers would hold events back.
    res.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    let told = Envelope::told("subscribed", None, json!({"replayed": subscribed.replayed, "gap": subscribed.gap}), app.clock.now_ms());
    let first = format!("retry: 2000\n\n{}{}", line.hello(range).to_record(), told.to_record());
    let (records, body) = mpsc::channel(1);
    let last_words = Arc::new(OnceLock::new());
    let writer = Writing { app: app.clone(), caller, line, records, last_words: last_words.clone() };
    app.subscribers.spawn(async move {
        writer.run(first.into()).await;
        drop(place);
    });
    res.stream(futures::stream::unfold(Some(Body { records: body, last_words }), Body::step).map(Ok::<_, Infallible>));
    Ok(())
}

/// What the connection fetches from, at its own speed.
struct Body {
    records: mpsc::Receiver<Bytes>,
    last_words: Arc<OnceLock<Bytes>>,
}

impl Body {
    async fn step(body: Option<Self>) -> Option<(Bytes, Option<Self>)> {
        let mut body = body?;
        match body.records.recv().await {
            Some(record) => Some((record, Some(body))),
            None => body.last_words.get().cloned().map(|record| (record, None)),
        }
    }
}

struct Writing {
    app: App,
    caller: Caller,
    line: EventLine,
    /// One record ahead of the connection.
    records: mpsc::Sender<Bytes>,
    /// Told when all records are fetched.
    last_words: Arc<OnceLock<Bytes>>,
}

impl Writing {
    async fn run(mut self, first: Bytes) {
        let ControlFlow::Break(End::Close(code, reason)) = self.write(first).await else {
            return;
        };
        tracing::debug!(socket.close_code = code, key.id = %self.caller.key_id, "closed an event stream");
        let data = json!({"code": code, "reason": reason});
        let _ = self.last_words.set(Envelope::told("close", None, data, self.app.clock.now_ms()).to_record().into());
        if code == close::SLOW {
            self.app.slow_subscribers.send_modify(|count| *count += 1);
        }
    }

    async fn write(&mut self, first: Bytes) -> ControlFlow<End> {
        self.send(first).await?;
        let app = self.app.clone();
        let closing = app.closing.cancelled();
        tokio::pin!(closing);
        let records = self.records.clone();
        let mut beat = ticks(RECHECK_S * 1_000).await;
        let mut keys = app.storage.rows.keys_changed();
        loop {
            tokio::select! {
                () = &mut closing => return ControlFlow::Break(End::Close(close::GOING_AWAY, "the server stops")),
                () = records.closed() => return ControlFlow::Break(End::Gone),
                told = self.line.next() => self.deliver(told).await?,
                _ = beat.tick() => {
                    event_line::recheck(&app, &self.caller).await?;
                    // A comment: it keeps the line open and finds out whether anybody is there.
                    self.send(Bytes::from_static(b":\n\n")).await?;
                }
                Ok(()) = keys.changed() => event_line::recheck(&app, &self.caller).await?,
            }
        }
    }

    async fn deliver(&mut self, told: Result<Told, StorageError>) -> ControlFlow<End> {
        match told {
            Ok(Told::Stored(stored)) => {
                let Some(next) = self.line.next_read() else {
                    return self.send(stored.record.clone()).await;
                };
                let mut batch = BytesMut::from(&stored.record[..]);
                batch.extend_from_slice(&next.record);
                while batch.len() < BATCH_BYTES_MAX
                    && let Some(stored) = self.line.next_read()
                {
                    batch.extend_from_slice(&stored.record);
                }
                self.send(batch.freeze()).await
            }
            Ok(Told::Passing(envelope) | Told::Heartbeat(envelope)) => self.send(envelope.to_record().into()).await,
            Err(error) => {
                tracing::error!(%error, "events were not read");
                ControlFlow::Break(End::Close(close::INTERNAL, "come back with Last-Event-ID"))
            }
        }
    }

    async fn send(&mut self, record: Bytes) -> ControlFlow<End> {
        match timeout(Duration::from_millis(self.app.config.subscriber_send_ms), self.records.send(record)).await {
            Ok(Ok(())) => ControlFlow::Continue(()),
            Ok(Err(_)) => ControlFlow::Break(End::Gone),
            Err(_) => ControlFlow::Break(End::Close(close::SLOW, "too slow: come back with Last-Event-ID")),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use salvo::http::HeaderName;

    use super::*;

    #[test]
    fn lists_have_commas() {
        let query = EventsQuery { topics: Some("jobs, system".into()), task_ids: None, after_seq: Some(3) };
        let wish = query.into_wish(Some(9)).unwrap();
        assert_eq!((wish.topics.len(), wish.after_seq), (2, Some(9)));
        assert!(EventsQuery { task_ids: Some("x".into()), ..EventsQuery::default() }.into_wish(None).is_err());
        assert!(EventsQuery { topics: Some("weather".into()), ..EventsQuery::default() }.into_wish(None).is_err());
        let header =
            |text: &'static str| HeaderMap::from_iter([(HeaderName::from_static("last-event-id"), HeaderValue::from_static(text))]);
        assert_eq!(last_event_id(&header(" 7 ")).unwrap(), Some(7));
        assert_eq!((last_event_id(&header("")).unwrap(), last_event_id(&HeaderMap::new()).unwrap()), (None, None));
        assert!(last_event_id(&header("x")).is_err());
    }
}
