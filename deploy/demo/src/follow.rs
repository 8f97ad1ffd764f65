//! Follows a job over the WebSocket to its end, across lost connections and killed servers: each new connection asks for what came after the
//! last event that was seen.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::client::Client;
use crate::server::Server;
use crate::show::Show;
use crate::{Failure, a_moment};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The server's heart beats every 25 s: after this long the line is dead.
const SILENCE_MAX: Duration = Duration::from_secs(60);

#[derive(Debug, Deserialize)]
struct Envelope {
    seq: Option<i64>,
    #[serde(rename = "type")]
    kind: String,
    task_id: Option<String>,
    #[serde(default)]
    data: Value,
}

/// The finished job. A failed or cancelled one is an error.
pub(crate) async fn to_the_end(
    server: &mut Server,
    client: &Client,
    task_id: &str,
    mut kill_after: Option<u64>,
    show: &mut Show,
) -> Result<Value, Failure> {
    let mut after_seq = 0;
    loop {
        if let Some(ending) = server.revive().await? {
            show.say(&format!("the server was {ending} and has been started again: it goes on where it was"));
        }
        let Ok(mut socket) = connect(client, task_id, after_seq).await else {
            a_moment().await;
            continue;
        };
        while let Some(event) = next(&mut socket).await {
            if let Some(seq) = event.seq {
                after_seq = after_seq.max(seq);
            }
            if event.task_id.as_deref() != Some(task_id) {
                continue;
            }
            show.event(&event.kind, &event.data);
            if kill_after.is_some_and(|chunks| show.chunks_ready() >= chunks) {
                kill_after = None;
                show.say(&format!("{} chunks are ready: kill -9", show.chunks_ready()));
                server.kill().await?;
            }
            if matches!(event.kind.as_str(), "job.completed" | "job.failed" | "job.cancelled") {
                // Killed at the last moment: ask its successor.
                let Ok(job) = client.get(&format!("/api/jobs/{task_id}")).await else { break };
                return completed(job);
            }
        }
    }
}

fn completed(job: Value) -> Result<Value, Failure> {
    if job["status"] == "completed" {
        return Ok(job);
    }
    let detail = job["error"]["detail"].as_str().unwrap_or("no reason given");
    Err(format!("the story is {}: {detail}", job["status"].as_str().unwrap_or("unfinished")).into())
}

async fn connect(client: &Client, task_id: &str, after_seq: i64) -> Result<Socket, Failure> {
    let mut request = client.websocket_address().into_client_request()?;
    request.headers_mut().insert("X-API-Key", HeaderValue::from_str(client.key())?);
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await?;
    let subscribe = json!({"type": "subscribe", "ref": "demo", "topics": ["jobs"], "task_ids": [task_id], "after_seq": after_seq});
    socket.send(Message::text(subscribe.to_string())).await?;
    Ok(socket)
}

/// `None`: the line is gone.
async fn next(socket: &mut Socket) -> Option<Envelope> {
    loop {
        match tokio::time::timeout(SILENCE_MAX, socket.next()).await.ok()?? {
            Ok(Message::Text(text)) => {
                if let Ok(envelope) = serde_json::from_str(&text) {
                    return Some(envelope);
                }
            }
            Ok(Message::Close(_)) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}
