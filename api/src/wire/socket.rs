//! Messages of the WebSocket and of the event stream: one envelope for both, and what a client may send.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use storage::events::Event;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use uuid::Uuid;

use crate::wire::job::{audio_url, chunk_url};
use crate::wire::time::rfc3339;

/// Close codes of the contract; the event stream says them in its last record.
pub mod close {
    pub const GOING_AWAY: u16 = 1001;
    pub const INTERNAL: u16 = 1011;
    pub const PROTOCOL: u16 = 4400;
    pub const KEY: u16 = 4401;
    pub const SCOPE: u16 = 4403;
    pub const SLOW: u16 = 4408;
    pub const TOO_MANY: u16 = 4429;
}

/// What goes out. Stored events have a `seq`; what is only told (progress, greetings) has none.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Envelope {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<i64>,
    #[serde(rename = "type")]
    pub kind: String,
    pub ts: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    pub data: Value,
}

impl Envelope {
    /// Something that is told and not stored.
    pub fn told(kind: &str, task_id: Option<Uuid>, data: Value, now_ms: i64) -> Self {
        Self { seq: None, kind: kind.to_owned(), ts: rfc3339(now_ms), task_id: task_id.map(|id| id.to_string()), data }
    }

    /// A stored event, with the addresses of what it names.
    pub fn stored(event: &Event) -> Self {
        let mut data = event.data.clone();
        if let (Some(object), Some(id)) = (data.as_object_mut(), event.generation_id) {
            add_links(object, &event.kind, id);
        }
        Self {
            seq: Some(event.seq),
            kind: event.kind.clone(),
            ts: rfc3339(event.at_ms),
            task_id: event.generation_id.map(|id| id.to_string()),
            data,
        }
    }

    pub fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| String::from("{}"))
    }

    /// As a record of the event stream.
    pub fn to_record(&self) -> String {
        record(self.seq, &self.kind, &self.to_text())
    }
}

/// One record of the event stream. JSON has no line breaks of its own, so one `data` line is enough.
fn record(seq: Option<i64>, kind: &str, text: &str) -> String {
    let id = seq.map(|seq| format!("id: {seq}\n")).unwrap_or_default();
    format!("{id}event: {kind}\ndata: {text}\n\n")
}

/// A stored event with its messages, written once for all connections that are told it.
#[derive(Debug)]
pub struct Stored {
    pub event: Event,
    /// For the WebSocket.
    pub text: Utf8Bytes,
    /// For the event stream.
    pub record: Bytes,
}

impl Stored {
    pub fn of(event: Event) -> Self {
        let text = Envelope::stored(&event).to_text();
        let record = record(Some(event.seq), &event.kind, &text).into();
        Self { record, text: text.into(), event }
    }
}

fn add_links(data: &mut Map<String, Value>, kind: &str, id: Uuid) {
    match kind {
        "chunk.ready" => {
            let number = |name: &str| data.get(name).and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok());
            if let Some(index) = number("index") {
                let take = number("take").unwrap_or(1);
                data.insert("audio_url".into(), chunk_url(id, index, take).into());
            }
        }
        // Without a file there is nothing to link to: the generation was not to be merged.
        "job.completed" if data.contains_key("duration_ms") && is_speech(data) => {
            data.insert("audio_url".into(), audio_url(id).into());
        }
        _ => {}
    }
}

/// Jobs without a generation say what they are, and the addresses of what they made stand in their result.
fn is_speech(data: &Map<String, Value>) -> bool {
    data.get("type").and_then(Value::as_str).is_none_or(|kind| kind.starts_with("generate."))
}

/// How far a generation is, from the last chunk that was told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    pub chunks_done: i64,
    pub chunks_total: i64,
}

impl Progress {
    /// What a stored event says of it.
    pub fn of(event: &Event) -> Option<(Uuid, Self)> {
        if event.kind != "chunk.ready" {
            return None;
        }
        let number = |name: &str| event.data.get(name).and_then(Value::as_i64);
        Some((event.generation_id?, Self { chunks_done: number("chunks_done")?, chunks_total: number("chunks_total")? }))
    }

    pub fn data(self) -> Value {
        let share = 0.9 * self.chunks_done as f64 / self.chunks_total.max(1) as f64;
        json!({"progress": share, "chunks_done": self.chunks_done, "chunks_total": self.chunks_total})
    }
}

/// What a client may send. The fields may stand in the message itself or in its `data`.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    Subscribe { reference: Option<String>, wish: Wish },
    Unsubscribe { reference: Option<String> },
    Cancel { reference: Option<String>, task_id: Option<String> },
    Ping { reference: Option<String> },
}

/// What to be told.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Wish {
    /// `jobs`, `queue`, `system`; jobs when empty.
    #[serde(default)]
    pub topics: Vec<String>,
    /// Only these; all of the key's when empty.
    #[serde(default)]
    pub task_ids: Vec<Uuid>,
    /// What was stored after this number is told first.
    pub after_seq: Option<i64>,
}

/// Why a message was not understood. `close`: nothing sensible can follow.
#[derive(Debug, Clone, PartialEq)]
pub struct NotUnderstood {
    pub reference: Option<String>,
    pub code: &'static str,
    pub detail: String,
    pub close: bool,
}

const TOPICS: [&str; 3] = ["jobs", "queue", "system"];

impl Wish {
    /// `Err` says which topic there is none of.
    pub fn check_topics(&self) -> Result<(), String> {
        match self.topics.iter().find(|topic| !TOPICS.contains(&topic.as_str())) {
            Some(topic) => Err(format!("no topic {topic}; there are {}", TOPICS.join(", "))),
            None => Ok(()),
        }
    }

    pub fn wants_topic(&self, topic: &str) -> bool {
        if self.topics.is_empty() { topic == "jobs" } else { self.topics.iter().any(|wanted| wanted == topic) }
    }

    /// Whether it asks for more than the caller's own jobs.
    pub fn looks_at_system(&self) -> bool {
        self.wants_topic("queue") || self.wants_topic("system")
    }

    /// Whether it asks for this event, if that is new enough.
    pub fn wants(&self, event: &Event) -> bool {
        let topic = match event.kind.split('.').next().unwrap_or_default() {
            "job" | "chunk" | "timeline" => "jobs",
            "queue" => "queue",
            _ => "system",
        };
        self.wants_topic(topic) && (self.task_ids.is_empty() || event.generation_id.is_none_or(|id| self.task_ids.contains(&id)))
    }
}

pub fn parse(text: &str) -> Result<Request, NotUnderstood> {
    let broken = |detail: String| NotUnderstood { reference: None, code: "invalid_request", detail, close: true };
    let message: Value = serde_json::from_str(text).map_err(|error| broken(format!("not JSON: {error}")))?;
    let Value::Object(mut fields) = message else {
        return Err(broken("a message is a JSON object".into()));
    };
    if let Some(Value::Object(data)) = fields.remove("data") {
        fields.extend(data);
    }
    let reference = match fields.get("ref") {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let wrong = |detail: String| NotUnderstood { reference: reference.clone(), code: "invalid_request", detail, close: false };
    let kind = fields.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    match kind.as_str() {
        "subscribe" => {
            let wish: Wish = serde_path_to_error::deserialize(Value::Object(fields)).map_err(|error| wrong(error.to_string()))?;
            wish.check_topics().map_err(wrong)?;
            Ok(Request::Subscribe { reference, wish })
        }
        "unsubscribe" => Ok(Request::Unsubscribe { reference }),
        "cancel" => {
            let task_id = ["task_id", "job_id", "generation_id"].iter().find_map(|name| fields.get(*name)?.as_str().map(str::to_owned));
            Ok(Request::Cancel { reference, task_id })
        }
        "ping" => Ok(Request::Ping { reference }),
        _ => Err(wrong(format!("no message \"{kind}\"; there are subscribe, unsubscribe, cancel, ping"))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_may_stand_in_data_or_outside() {
        let outside = parse(r#"{"type": "subscribe", "ref": "1", "topics": ["jobs"], "after_seq": 7}"#).unwrap();
        let inside = parse(r#"{"type": "subscribe", "data": {"ref": "1", "topics": ["jobs"], "after_seq": 7}}"#).unwrap();
        assert_eq!(outside, inside);
        let wish = Wish { topics: vec!["jobs".into()], task_ids: vec![], after_seq: Some(7) };
        assert_eq!(outside, Request::Subscribe { reference: Some("1".into()), wish });
    }

    #[test]
    fn mistakes_are_told_and_nonsense_closes() {
        for nonsense in ["", "x", "[]", "7", "{\"type\": "] {
            assert!(parse(nonsense).unwrap_err().close, "{nonsense}");
        }
        for mistake in [
            r#"{"ref": 5}"#,
            r#"{"type": "dance", "ref": 5}"#,
            r#"{"type": "subscribe", "ref": 5, "topics": ["weather"]}"#,
            r#"{"type": "subscribe", "ref": 5, "task_ids": ["x"]}"#,
            r#"{"type": "subscribe", "ref": 5, "after_seq": "x"}"#,
        ] {
            let told = parse(mistake).unwrap_err();
            assert_eq!((told.close, told.reference.as_deref()), (false, Some("5")), "{mistake}");
        }
    }

    #[test]
    fn a_record_is_one_data_line() {
        let envelope = Envelope::told("job.failed", None, json!({"detail": "a\nb"}), 0);
        assert_eq!(Envelope { seq: Some(7), ..envelope.clone() }.to_record().lines().count(), 4);
        assert!(envelope.to_record().starts_with("event: job.failed\ndata: {"));
        let event = Event { seq: 3, owner_id: "o".into(), generation_id: None, kind: "job.started".into(), data: json!({}), at_ms: 0 };
        let told = Envelope::stored(&event);
        let stored = Stored::of(event);
        assert_eq!((stored.text.as_str(), stored.record), (told.to_text().as_str(), told.to_record().into()));
    }

    #[test]
    fn stored_events_get_their_addresses() {
        let id = Uuid::nil();
        let event =
            |kind: &str, data: Value| Event { seq: 3, owner_id: "o".into(), generation_id: Some(id), kind: kind.into(), data, at_ms: 0 };
        let ready = Envelope::stored(&event("chunk.ready", json!({"index": 4, "take": 2, "chunks_done": 1, "chunks_total": 2})));
        assert_eq!(ready.data["audio_url"], format!("/api/audio/chunk/{id}/4?take=2"));
        assert_eq!(ready.seq, Some(3));
        let completed = Envelope::stored(&event("job.completed", json!({"duration_ms": 5})));
        assert_eq!(completed.data["audio_url"], format!("/api/generations/{id}/audio"));
        assert!(Envelope::stored(&event("job.completed", json!({}))).data.get("audio_url").is_none());
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "\\PC{0,200}") {
            let _ = parse(&text);
            let _ = parse(&format!("{{\"type\": \"subscribe\", \"data\": {text}}}"));
        }
    }
}
