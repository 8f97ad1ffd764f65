//! `/api/events`: the same events as on the WebSocket, as a stream that browsers and `curl` read (server-sent events). `Last-Event-ID` goes
//! on where the last connection broke off.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use futures::StreamExt;
use salvo::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use salvo::oapi::{ToParameters, endpoint};
use salvo::{Request, Response, Writer};
use serde::Deserialize;
use serde_json::json;
use storage::events::SeqRange;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::timeout;
use uuid::Uuid;

use super::websocket::{HEARTBEAT_S, PROTOCOL, RECHECK_S, place};
use crate::app::App;
use crate::authenticate::{self, Caller};
use crate::event_feed::{EventFeed, SubscribeError};
use crate::problem::Problem;
use crate::query_string::Query;
use crate::wire::socket::{Envelope, Wish};

#[derive(Debug, Clone, Default, Deserialize, ToParameters)]
pub struct EventsQuery {
    /// `jobs`, `queue`, `system`, with commas between; jobs when not given.
    pub topics: Option<String>,
    /// Only these, with commas between.
    pub task_ids: Option<String>,
    /// What was stored after this number is told first; the header `Last-Event-ID` says the same.
    pub after_seq: Option<i64>,
    /// Of `POST /api/ws-ticket`, in place of a key in a header.
    pub ticket: Option<String>,
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
        Ok(Wish { topics: split(self.topics), task_ids: task_ids?, after_seq: last_event_id.or(self.after_seq) })
    }
}

/// Events as a stream
///
/// Server-sent events with the envelopes of `/ws`; `id` is the event's `seq`.
#[endpoint(
    operation_id = "events",
    responses((status_code = 200, description = "The events as they happen", body = String, content_type = "text/event-stream"))
)]
pub async fn stream(app: App, caller: Caller, query: Query<EventsQuery>, req: &mut Request, res: &mut Response) -> Result<(), Problem> {
    let last_event_id = req.headers().get("last-event-id").and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let wish = query.0.into_wish(last_event_id)?;
    let place = place(&app)?;
    let (mut feed, range) = EventFeed::open(&app.storage.rows, &app.tails, &caller.owner_id).await?;
    let subscribed = feed.subscribe(None, wish).await.map_err(|error| match error {
        SubscribeError::Storage(error) => Problem::from(error),
        SubscribeError::TooMany => Problem::internal(error),
    })?;
    res.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    res.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies that collect answers would hold events back.
    res.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    let mut first = VecDeque::from([format!("retry: 2000\n\n{}", greeting(&app, range))]);
    if subscribed.gap {
        first.push_back(told(&app, "subscribed", json!({"replayed": subscribed.replayed, "gap": true})));
    }
    let checked_ms = app.steady_ms();
    let keys = app.storage.rows.keys_changed();
    let reader = Reader { app, caller, feed, first, keys, checked_ms, _place: place };
    res.stream(futures::stream::unfold(reader, Reader::step).map(Ok::<_, Infallible>));
    Ok(())
}

fn greeting(app: &App, range: SeqRange) -> String {
    let data = json!({
        "protocol": PROTOCOL, "server_version": env!("CARGO_PKG_VERSION"), "last_seq": range.last, "oldest_seq": range.oldest,
        "heartbeat_s": HEARTBEAT_S,
    });
    told(app, "hello", data)
}

fn told(app: &App, kind: &str, data: serde_json::Value) -> String {
    record(&Envelope::told(kind, None, data, app.clock.now_ms()))
}

/// One record of the stream. JSON has no line breaks of its own, so one `data` line is enough.
fn record(envelope: &Envelope) -> String {
    let id = envelope.seq.map(|seq| format!("id: {seq}\n")).unwrap_or_default();
    format!("{id}event: {}\ndata: {}\n\n", envelope.kind, envelope.to_text())
}

struct Reader {
    app: App,
    caller: Caller,
    feed: EventFeed,
    first: VecDeque<String>,
    /// Some key was ended or rotated.
    keys: watch::Receiver<u64>,
    /// When the key was looked at last, by the steady clock.
    checked_ms: u64,
    _place: OwnedSemaphorePermit,
}

impl Reader {
    /// The next piece of the answer; `None` ends it. The connection's own flow control holds the feed back.
    async fn step(mut self) -> Option<(String, Self)> {
        if let Some(text) = self.first.pop_front() {
            return Some((text, self));
        }
        let closing = self.app.closing.clone();
        let text = tokio::select! {
            () = closing.cancelled() => return None,
            Ok(()) = self.keys.changed() => {
                self.checked_ms = 0;
                ":\n\n".to_owned()
            }
            event = timeout(Duration::from_secs(RECHECK_S), self.feed.next()) => match event {
                Ok(Ok(event)) => record(&Envelope::stored(&event)),
                Ok(Err(error)) => {
                    tracing::error!(%error, "events were not read");
                    return None;
                }
                // A comment: it keeps the line open and finds out whether anybody is there.
                Err(_) => ":\n\n".to_owned(),
            },
        };
        self.key_is_good().await.then_some((text, self))
    }

    async fn key_is_good(&mut self) -> bool {
        let steady_ms = self.app.steady_ms();
        if self.checked_ms > 0 && steady_ms - self.checked_ms < RECHECK_S * 1_000 {
            return true;
        }
        self.checked_ms = steady_ms;
        let valid = authenticate::recheck(&self.app.storage, &self.caller, self.app.clock.now_ms()).await;
        matches!(valid, Ok(Ok(())))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_record_is_one_data_line() {
        let envelope = Envelope::told("job.failed", None, json!({"detail": "a\nb"}), 0);
        assert_eq!(record(&Envelope { seq: Some(7), ..envelope.clone() }).lines().count(), 4);
        assert!(record(&envelope).starts_with("event: job.failed\ndata: {"));
    }

    #[test]
    fn lists_have_commas() {
        let query = EventsQuery { topics: Some("jobs, system".into()), task_ids: None, after_seq: Some(3), ticket: None };
        let wish = query.into_wish(Some(9)).unwrap();
        assert_eq!((wish.topics.len(), wish.after_seq), (2, Some(9)));
        assert!(EventsQuery { task_ids: Some("x".into()), ..EventsQuery::default() }.into_wish(None).is_err());
    }
}
