//! A front door on a port, and its clients: what the tests over real connections share.

use std::net::SocketAddr;
use std::time::Duration;

use api::routes;
use futures::{SinkExt, StreamExt};
use salvo::Server;
use salvo::conn::{Acceptor, Listener, TcpListener};
use serde_json::{Value, json};
use storage::Rows;
use storage::events::{self, NewEvent};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use uuid::Uuid;

use crate::bed::Bed;

/// Ends a test that would wait for ever.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

pub(crate) async fn append(rows: &Rows, owner: &str, task: Uuid, kind: &str, data: Value) -> i64 {
    let mut tx = rows.begin().await.unwrap();
    let seq = events::append(&mut tx, NewEvent { owner_id: owner, generation_id: Some(task), kind, data }, 0).await.unwrap();
    tx.commit().await.unwrap();
    seq
}

pub(crate) async fn append_chunk(rows: &Rows, owner: &str, task: Uuid, index: u32) -> i64 {
    append(rows, owner, task, "chunk.ready", json!({"index": index, "take": 1, "chunks_done": index + 1, "chunks_total": 10})).await
}

pub(crate) type Socket = WebSocketStream<TcpStream>;
pub(crate) type Stream = Lines<BufReader<TcpStream>>;

/// The bed's front door on a port.
pub(crate) async fn listen(bed: &Bed) -> SocketAddr {
    let acceptor = TcpListener::new("127.0.0.1:0").bind().await;
    let address = acceptor.holdings()[0].local_addr.clone().into_std().unwrap();
    tokio::spawn(Server::new(acceptor).try_serve(routes::service(bed.app.clone())));
    address
}

/// With a receive buffer that does not grow, so that one who does not read stalls the other end soon.
pub(crate) async fn tcp(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(256 * 1024).unwrap();
    socket.connect(address).await.unwrap()
}

pub(crate) async fn connect(address: SocketAddr, key: &str) -> Socket {
    let mut request = format!("ws://{address}/ws").into_client_request().unwrap();
    request.headers_mut().insert("x-api-key", key.parse().unwrap());
    // A thousand of them are in this process.
    let config = WebSocketConfig::default().read_buffer_size(4 * 1024);
    tokio_tungstenite::client_async_with_config(request, tcp(address).await, Some(config)).await.unwrap().0
}

pub(crate) async fn message(socket: &mut Socket) -> Message {
    timeout(LIMIT, socket.next()).await.expect("a message").unwrap().unwrap()
}

/// The next envelope of this type; others are passed over.
pub(crate) async fn told(socket: &mut Socket, kind: &str) -> Value {
    loop {
        if let Message::Text(text) = message(socket).await {
            let envelope: Value = serde_json::from_str(&text).unwrap();
            if envelope["type"] == kind {
                return envelope;
            }
        }
    }
}

pub(crate) async fn close_code(socket: &mut Socket) -> u16 {
    loop {
        if let Message::Close(frame) = message(socket).await {
            return frame.unwrap().code.into();
        }
    }
}

pub(crate) async fn say(socket: &mut Socket, value: Value) {
    socket.send(Message::text(value.to_string())).await.unwrap();
}

/// Asks for `/api/events`; `query` begins with `?`, or is empty.
pub(crate) async fn open_stream(mut stream: TcpStream, key: &str, query: &str, last_event_id: Option<&str>) -> Stream {
    let address = stream.peer_addr().unwrap();
    let last = last_event_id.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
    let head = format!("GET /api/events{query} HTTP/1.1\r\nHost: {address}\r\nX-API-Key: {key}\r\n{last}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    BufReader::new(stream).lines()
}

/// The next line; `None` at the end.
pub(crate) async fn line(stream: &mut Stream) -> Option<String> {
    timeout(LIMIT, stream.next_line()).await.expect("a line").unwrap()
}

/// The envelope of the next record of this type.
pub(crate) async fn streamed(stream: &mut Stream, kind: &str) -> Value {
    let wanted = format!("event: {kind}");
    while line(stream).await.expect("a record") != wanted {}
    let data = line(stream).await.expect("its data");
    serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap()
}
