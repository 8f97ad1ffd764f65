//! The WebSocket as a client sees it: envelopes in the order in which they come. It may not reorder, drop or deduplicate: that is what the
//! tests look for.

use futures::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::wait;

/// What travels in both directions.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Envelope {
    /// `None` for what is not stored, such as progress.
    pub seq: Option<i64>,
    #[serde(rename = "type")]
    pub kind: String,
    pub ts: Option<String>,
    pub task_id: Option<String>,
    #[serde(default)]
    pub data: Value,
}

impl Envelope {
    /// Whether this is `kind` of that task.
    pub fn is(&self, kind: &str, task_id: &str) -> bool {
        self.kind == kind && self.task_id.as_deref() == Some(task_id)
    }
}

/// Why nothing more comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gone {
    /// Closed in order, with this code.
    Closed(Option<u16>),
    /// The connection broke.
    Broken(String),
}

/// One open WebSocket.
#[derive(Debug)]
pub struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Socket {
    /// `Err` holds the HTTP status of a refused upgrade.
    ///
    /// # Panics
    /// When there is no server.
    pub async fn connect(base: &str, key: Option<&str>) -> Result<Self, u16> {
        let mut request = format!("{}/ws", base.replacen("http", "ws", 1)).into_client_request().unwrap();
        if let Some(key) = key {
            request.headers_mut().insert("X-API-Key", HeaderValue::from_str(key).unwrap());
        }
        match tokio_tungstenite::connect_async(request).await {
            Ok((stream, _)) => Ok(Self { stream }),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("no websocket at {base}: {error}"),
        }
    }

    /// For a server that may die at any moment.
    pub async fn try_connect(base: &str, key: &str) -> Option<Self> {
        let mut request = format!("{}/ws", base.replacen("http", "ws", 1)).into_client_request().unwrap();
        request.headers_mut().insert("X-API-Key", HeaderValue::from_str(key).unwrap());
        let (stream, _) = tokio_tungstenite::connect_async(request).await.ok()?;
        Some(Self { stream })
    }

    /// Asks for the events after `after_seq`; `false` when there is nobody to ask. The confirmation comes with the events.
    pub async fn try_subscribe(&mut self, after_seq: i64) -> bool {
        let data = json!({"type": "subscribe", "ref": "subscription", "topics": ["jobs"], "after_seq": after_seq});
        self.stream.send(Message::text(data.to_string())).await.is_ok()
    }

    pub async fn send(&mut self, message: &Value) {
        self.stream.send(Message::text(message.to_string())).await.unwrap();
    }

    /// Asks for the events of all tasks of the key, from `after_seq` on, and reads up to the confirmation.
    pub async fn subscribe(&mut self, after_seq: Option<i64>) -> Envelope {
        let mut data = json!({"type": "subscribe", "ref": "subscription", "topics": ["jobs"]});
        if let Some(seq) = after_seq {
            data["after_seq"] = json!(seq);
        }
        self.send(&data).await;
        self.until(|envelope| envelope.kind == "subscribed").await
    }

    /// The next envelope; pings are answered on the way.
    ///
    /// # Panics
    /// When nothing at all comes for [`wait::LIMIT`], or something that is no envelope.
    pub async fn next(&mut self) -> Result<Envelope, Gone> {
        loop {
            let Ok(message) = tokio::time::timeout(wait::LIMIT, self.stream.next()).await else {
                panic!("the websocket is silent");
            };
            match message {
                Some(Ok(Message::Text(text))) => match serde_json::from_str(&text) {
                    Ok(envelope) => return Ok(envelope),
                    Err(error) => panic!("no envelope: {error}: {text}"),
                },
                Some(Ok(Message::Close(frame))) => return Err(Gone::Closed(frame.map(|frame| frame.code.into()))),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(Gone::Broken(error.to_string())),
                None => return Err(Gone::Closed(None)),
            }
        }
    }

    /// Reads until one is found; the others are thrown away.
    ///
    /// # Panics
    /// When the connection ends before.
    pub async fn until(&mut self, mut found: impl FnMut(&Envelope) -> bool) -> Envelope {
        self.collect_until(&mut found).await.pop().unwrap()
    }

    /// Reads until one is found and gives all, that one last.
    ///
    /// # Panics
    /// When the connection ends before.
    pub async fn collect_until(&mut self, mut found: impl FnMut(&Envelope) -> bool) -> Vec<Envelope> {
        let mut read = Vec::new();
        loop {
            match self.next().await {
                Ok(envelope) => {
                    let last = found(&envelope);
                    read.push(envelope);
                    if last {
                        return read;
                    }
                }
                Err(gone) => panic!("the websocket ended ({gone:?}) after {} messages, the last: {:?}", read.len(), read.last()),
            }
        }
    }
}
