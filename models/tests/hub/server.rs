//! A server that behaves like the hub: it redirects large files to another address, knows parts, tells sums and commits; and it breaks off,
//! lies, or knows no parts when a test asks for it. The tests of `api` use it too.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use models::checksum::Summing;

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
pub const LARGE: &str = "model.safetensors";
pub const LARGE_BYTES: usize = 320_000;

/// How the server behaves, and what it was asked.
#[derive(Default)]
pub struct Behaviour {
    /// Each transfer of the large file ends after so many bytes.
    pub breaks_after: Option<usize>,
    /// Answers every request so.
    pub status: Option<u16>,
    /// Answers so many requests with 503 first.
    pub refusals: usize,
    pub knows_no_parts: bool,
    /// Changes a byte on the way.
    pub lies: bool,
    pub gives_no_sum: bool,
    /// `METHOD path range authorization`
    asked: Vec<String>,
}

#[derive(Clone)]
pub struct Server {
    hub: SocketAddr,
    behaviour: Arc<Mutex<Behaviour>>,
}

pub fn files() -> BTreeMap<&'static str, Vec<u8>> {
    let large = (0..LARGE_BYTES).map(|n| (n * 31 % 251) as u8).collect();
    BTreeMap::from([("config.json", b"{\"size\": \"tiny\"}".to_vec()), ("speech_tokenizer/config.json", b"{}".to_vec()), (LARGE, large)])
}

impl Server {
    pub fn start() -> Self {
        let (hub, elsewhere) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let server = Self { hub: hub.local_addr().unwrap(), behaviour: Arc::default() };
        let store = elsewhere.local_addr().unwrap();
        for (listener, is_hub) in [(hub, true), (elsewhere, false)] {
            let server = server.clone();
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let server = server.clone();
                    std::thread::spawn(move || server.answer(stream.unwrap(), is_hub.then_some(store)));
                }
            });
        }
        server
    }

    pub fn be(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.behaviour.lock().unwrap());
    }

    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.behaviour.lock().unwrap().asked)
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.hub)
    }

    /// One request a connection. `store` is where the hub sends for large files; the store itself has none.
    fn answer(&self, stream: TcpStream, store: Option<SocketAddr>) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let (mut line, mut headers) = (String::new(), BTreeMap::new());
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).unwrap();
            match header.trim_end().split_once(": ") {
                Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.to_owned()),
                None => break,
            };
        }
        let mut words = line.split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let header = |name: &str| headers.get(name).map_or("-", String::as_str);
        let _ = self.reply(stream, store, method, path, header("range"), header("authorization"));
    }

    fn reply(
        &self,
        mut out: TcpStream,
        store: Option<SocketAddr>,
        method: &str,
        path: &str,
        range: &str,
        token: &str,
    ) -> std::io::Result<()> {
        let mut behaviour = self.behaviour.lock().unwrap();
        let place = if store.is_some() { "hub" } else { "store" };
        behaviour.asked.push(format!("{place} {method} {path} {range} {token}"));
        if behaviour.refusals > 0 {
            behaviour.refusals -= 1;
            return write!(out, "HTTP/1.1 503 Later\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
        if let Some(status) = behaviour.status {
            return write!(out, "HTTP/1.1 {status} No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
        let files = files();
        let name = path.strip_prefix(&format!("/owner/name/resolve/{COMMIT}/")).or_else(|| path.strip_prefix("/owner/name/resolve/main/"));
        let name = name.or_else(|| path.strip_prefix("/store/")).unwrap_or_default();
        let Some(bytes) = files.get(name) else {
            return write!(out, "HTTP/1.1 404 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        };
        let mut summing = Summing::new(bytes.len() as u64);
        summing.update(bytes);
        let found = summing.finish();
        if let Some(store) = store.filter(|_| name == LARGE) {
            let sum = if behaviour.gives_no_sum { "\"5d41-7\"".to_owned() } else { format!("\"{}\"", found.sha256) };
            return write!(
                out,
                "HTTP/1.1 302 Found\r\nlocation: http://{store}/store/{name}\r\nx-linked-etag: {sum}\r\nx-linked-size: {}\r\n\
                 x-repo-commit: {COMMIT}\r\netag: \"of-the-redirect\"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
                bytes.len()
            );
        }
        let git_blob = &found.git_blob;
        let start = range.strip_prefix("bytes=").and_then(|range| range.trim_end_matches('-').parse::<usize>().ok());
        let start = start.filter(|_| !behaviour.knows_no_parts);
        let (status, from) = start.map_or(("200 OK", 0), |start| ("206 Partial Content", start));
        write!(out, "HTTP/1.1 {status}\r\netag: \"{git_blob}\"\r\nx-repo-commit: {COMMIT}\r\nconnection: close\r\n")?;
        if start.is_some() {
            write!(out, "content-range: bytes {from}-{}/{}\r\n", bytes.len() - 1, bytes.len())?;
        }
        write!(out, "content-length: {}\r\n\r\n", bytes.len() - from)?;
        if method == "HEAD" {
            return Ok(());
        }
        let mut body = bytes[from..].to_vec();
        if behaviour.lies && name == LARGE {
            body[0] ^= 1;
        }
        let end = behaviour.breaks_after.filter(|_| name == LARGE).map_or(body.len(), |end| end.min(body.len()));
        drop(behaviour);
        out.write_all(&body[..end])
    }
}

/// A manifest of what the server has.
pub fn manifest() -> String {
    let files: Vec<String> = files().keys().map(|path| format!("{{ path = \"{path}\" }}")).collect();
    format!(
        "id = \"tiny\"\nname = \"Tiny\"\nfamily = \"qwen3-tts\"\nabilities = [\"clone\"]\nlanguages = [\"en\"]\nparameters_millions = 1\n\
         licence = \"Apache-2.0\"\nhub = {{ repo = \"owner/name\", revision = \"main\" }}\nmemory_mb = {{ f32 = 1 }}\nfiles = [{}]\n",
        files.join(", ")
    )
}
