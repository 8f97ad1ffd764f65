//! The only way out for a downloader: a proxy on loopback, one for each job, that resolves every host once, refuses every address that is not
//! everybody's, connects to the very address it has checked, and counts the bytes. Redirects are new requests and are judged anew.
//!
//! HTTP CONNECT (RFC 9110 9.3.6) for https and absolute-form requests (RFC 9112 3.2.2) for http, with a password that only this job's
//! downloader knows. This file may not know what is downloaded.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::address::{is_public, literal};

const HEAD_BYTES_MAX: usize = 32 * 1024;
const CONNECTIONS_MAX: usize = 32;
const BLOCK_BYTES: usize = 64 * 1024;

/// Names to addresses; the system's resolver, or a test's.
pub trait Resolver: Send + Sync + 'static {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;
}

/// `getaddrinfo`.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}

#[derive(Debug, Clone)]
pub struct ProxyConfig {
    /// Of all connections together, both ways.
    pub bytes_max: u64,
    pub connect_timeout_ms: u64,
    /// A connection on which nothing moves for so long is closed.
    pub idle_ms: u64,
    pub ports: Vec<u16>,
    /// Addresses that are let through although they are not public: for tests, and for people who have a media server at home.
    pub allowed: Vec<SocketAddr>,
}

impl Default for ProxyConfig {
    fn default() -> Self {
        Self { bytes_max: 4 << 30, connect_timeout_ms: 15_000, idle_ms: 60_000, ports: vec![80, 443], allowed: Vec::new() }
    }
}

/// A running proxy; it ends with the value.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    password: String,
    state: Arc<State>,
    _accepting: JoinSet<()>,
}

struct State {
    config: ProxyConfig,
    resolver: Arc<dyn Resolver>,
    authorization: String,
    bytes: AtomicU64,
    refused: AtomicU64,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("config", &self.config).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// Why a request goes nowhere; the text is for the downloader's log and holds no password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("407 Proxy Authentication Required")]
    Password,
    #[error("400 Bad Request")]
    Malformed,
    #[error("403 Forbidden")]
    Address,
    #[error("502 Bad Gateway")]
    Unreachable,
    #[error("431 Request Header Fields Too Large")]
    Head,
}

impl Proxy {
    /// Listens on a free port of loopback. `password` is drawn by the caller: letters and digits.
    pub async fn start(config: ProxyConfig, resolver: Arc<dyn Resolver>, password: String) -> io::Result<Self> {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let authorization = format!("Basic {}", BASE64.encode(format!("clonyvoice:{password}")));
        let state = Arc::new(State { config, resolver, authorization, bytes: AtomicU64::new(0), refused: AtomicU64::new(0) });
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, state.clone()));
        Ok(Self { address, password, state, _accepting: accepting })
    }

    /// For the downloader's `--proxy`.
    pub fn url(&self) -> String {
        format!("http://clonyvoice:{}@{}", self.password, self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has gone through, both ways.
    pub fn bytes(&self) -> u64 {
        self.state.bytes.load(Ordering::Relaxed)
    }

    /// Requests that led where they may not.
    pub fn refused(&self) -> u64 {
        self.state.refused.load(Ordering::Relaxed)
    }

    pub fn is_over_limit(&self) -> bool {
        self.bytes() > self.state.config.bytes_max
    }
}

/// Connections are tasks of this one: they end with it.
async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= CONNECTIONS_MAX {
            connections.join_next().await;
        }
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((client, _)) => {
                let state = state.clone();
                connections.spawn(async move {
                    let _ = serve(client, &state).await;
                });
            }
            Err(error) => tracing::debug!(%error, "proxy accept"),
        }
    }
}

async fn serve(mut client: TcpStream, state: &State) -> io::Result<()> {
    let head = match timeout(Duration::from_millis(state.config.idle_ms), read_head(&mut client)).await {
        Ok(Ok(Some(head))) => head,
        Ok(Ok(None)) => return refuse(&mut client, &Refusal::Head).await,
        Ok(Err(error)) => return Err(error),
        Err(_) => return Ok(()),
    };
    match open(&head, state).await {
        Ok((mut server, Opened::Tunnel)) => {
            client.write_all(b"HTTP/1.1 200 Connection Established\r\n\r\n").await?;
            relay(&mut client, &mut server, state).await
        }
        Ok((mut server, Opened::Request(bytes))) => {
            server.write_all(&bytes).await?;
            relay(&mut client, &mut server, state).await
        }
        Err(refusal) => {
            if refusal == Refusal::Address {
                state.refused.fetch_add(1, Ordering::Relaxed);
            }
            refuse(&mut client, &refusal).await
        }
    }
}

async fn refuse(client: &mut TcpStream, refusal: &Refusal) -> io::Result<()> {
    let challenge = if *refusal == Refusal::Password { "Proxy-Authenticate: Basic realm=\"job\"\r\n" } else { "" };
    let answer = format!("HTTP/1.1 {refusal}\r\n{challenge}Content-Length: 0\r\nConnection: close\r\n\r\n");
    client.write_all(answer.as_bytes()).await?;
    client.shutdown().await
}

/// The bytes up to the empty line, and what came with them; `None` when there are too many.
async fn read_head(client: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    let mut block = [0; 4096];
    loop {
        let read = client.read(&mut block).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        head.extend_from_slice(&block[..read]);
        if head.windows(4).any(|window| window == b"\r\n\r\n") {
            return Ok(Some(head));
        }
        if head.len() > HEAD_BYTES_MAX {
            return Ok(None);
        }
    }
}

enum Opened {
    Tunnel,
    /// The request as the server gets it.
    Request(Vec<u8>),
}

/// Judges a request and connects to the address that was judged.
async fn open(head: &[u8], state: &State) -> Result<(TcpStream, Opened), Refusal> {
    let end = head.windows(4).position(|window| window == b"\r\n\r\n").ok_or(Refusal::Malformed)? + 4;
    let text = std::str::from_utf8(&head[..end]).map_err(|_| Refusal::Malformed)?;
    let mut lines = text.split("\r\n");
    let mut request = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some("HTTP/1.1" | "HTTP/1.0"), None) =
        (request.next(), request.next(), request.next(), request.next())
    else {
        return Err(Refusal::Malformed);
    };
    let headers: Vec<(&str, &str)> =
        lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name.trim(), value.trim())).collect();
    let authorized = headers.iter().any(|(name, value)| name.eq_ignore_ascii_case("proxy-authorization") && *value == state.authorization);
    if !authorized {
        return Err(Refusal::Password);
    }
    if method == "CONNECT" {
        let (host, port) = split_host(target, None).ok_or(Refusal::Malformed)?;
        return Ok((connect(host, port, state).await?, Opened::Tunnel));
    }
    let rest = target.strip_prefix("http://").ok_or(Refusal::Malformed)?;
    let (authority, path) = rest.find(['/', '?', '#']).map_or((rest, "/"), |at| rest.split_at(at));
    let (host, port) = split_host(authority, Some(80)).ok_or(Refusal::Malformed)?;
    let server = connect(host, port, state).await?;
    // One request a connection: the next one may lead elsewhere, and is judged by itself.
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let mut bytes = format!("{method} {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n").into_bytes();
    for (name, value) in headers {
        let dropped = ["host", "connection", "proxy-authorization", "proxy-connection", "keep-alive", "upgrade", "te"];
        if !dropped.iter().any(|dropped| name.eq_ignore_ascii_case(dropped)) {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&head[end..]);
    Ok((server, Opened::Request(bytes)))
}

/// Host and port; no user names.
pub(crate) fn split_host(authority: &str, default_port: Option<u16>) -> Option<(&str, u16)> {
    let port_at = match authority.rfind(':') {
        Some(at) if !authority[at..].contains(']') => Some(at),
        _ => None,
    };
    let (host, port) = match port_at {
        Some(at) => (&authority[..at], authority[at + 1..].parse().ok()?),
        None => (authority, default_port?),
    };
    (!host.is_empty() && !host.contains('@')).then_some((host, port))
}

async fn connect(host: &str, port: u16, state: &State) -> Result<TcpStream, Refusal> {
    let limit = Duration::from_millis(state.config.connect_timeout_ms);
    let addresses = match literal(host).map_err(|_| Refusal::Address)? {
        Some(address) => vec![SocketAddr::new(address, port)],
        None => {
            let resolving = timeout(limit, state.resolver.resolve(host, port)).await.map_err(|_| Refusal::Unreachable)?;
            resolving.map_err(|_| Refusal::Unreachable)?
        }
    };
    let may = |address: &SocketAddr| {
        let unmapped = SocketAddr::new(address.ip().to_canonical(), address.port());
        let port_open = state.config.ports.contains(&port);
        (port_open && address.ip() == unmapped.ip() && is_public(address.ip())) || state.config.allowed.contains(&unmapped)
    };
    // One bad address among good ones is a name that is made to change its mind.
    if addresses.is_empty() || !addresses.iter().all(may) {
        return Err(Refusal::Address);
    }
    for address in addresses {
        if let Ok(Ok(server)) = timeout(limit, TcpStream::connect(address)).await {
            return Ok(server);
        }
    }
    Err(Refusal::Unreachable)
}

/// Both ways, until one side ends, nothing moves, or the bytes are used up.
async fn relay(client: &mut TcpStream, server: &mut TcpStream, state: &State) -> io::Result<()> {
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let up = copy(&mut from_client, &mut to_server, state);
    let down = copy(&mut from_server, &mut to_client, state);
    tokio::try_join!(up, down).map(|_| ())
}

async fn copy<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(from: &mut R, to: &mut W, state: &State) -> io::Result<()> {
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        let read = timeout(Duration::from_millis(state.config.idle_ms), from.read(&mut block)).await;
        let read = read.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        if read == 0 {
            return to.shutdown().await;
        }
        if state.bytes.fetch_add(read as u64, Ordering::Relaxed) + read as u64 > state.config.bytes_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        to.write_all(&block[..read]).await?;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::VecDeque;
    use std::sync::Mutex;

    use super::*;

    /// Answers with one list after the other, the last one for ever: a name that changes its mind.
    struct Fake(Mutex<VecDeque<Vec<SocketAddr>>>);

    impl Fake {
        fn always(addresses: &[SocketAddr]) -> Arc<Self> {
            Arc::new(Self(Mutex::new(VecDeque::from([addresses.to_vec()]))))
        }
    }

    impl Resolver for Fake {
        fn resolve<'a>(&'a self, _host: &'a str, _port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
            let mut answers = self.0.lock().unwrap();
            let answer = if answers.len() > 1 { answers.pop_front().unwrap() } else { answers[0].clone() };
            Box::pin(async move { Ok(answer) })
        }
    }

    /// A site that answers every request alike.
    async fn site(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    // A tunnel that carries nothing is closed again.
                    let Ok(Some(head)) = read_head(&mut client).await else { return };
                    let text = String::from_utf8(head).unwrap();
                    assert!(!text.to_ascii_lowercase().contains("proxy-"), "the password is not for the site: {text}");
                    client.write_all(answer.as_bytes()).await.unwrap();
                });
            }
        });
        address
    }

    async fn proxy(resolver: Arc<dyn Resolver>, allowed: &[SocketAddr]) -> Proxy {
        let config = ProxyConfig { allowed: allowed.to_vec(), ..ProxyConfig::default() };
        Proxy::start(config, resolver, "secret".into()).await.unwrap()
    }

    async fn send(proxy: &Proxy, request: &str) -> String {
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    fn with_password(line: &str) -> String {
        let password = BASE64.encode("clonyvoice:secret");
        format!("{line} HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic {password}\r\n\r\n")
    }

    fn status(answer: &str) -> &str {
        answer.split(' ').nth(1).unwrap_or("none")
    }

    #[tokio::test]
    async fn an_allowed_site_is_reached_by_its_name() {
        let site = site("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
        let proxy = proxy(Fake::always(&[site]), &[site]).await;
        let answer = send(&proxy, &with_password(&format!("GET http://media.test:{}/a?b=c", site.port()))).await;
        assert!(answer.ends_with("hi"), "{answer}");
        let answer = send(&proxy, &with_password(&format!("CONNECT media.test:{}", site.port()))).await;
        assert_eq!(status(&answer), "200");
        assert!(proxy.bytes() > 0);
        assert_eq!(proxy.refused(), 0);
    }

    #[tokio::test]
    async fn nobody_else_may_use_it() {
        let site = site("HTTP/1.1 200 OK\r\n\r\n").await;
        let proxy = proxy(Fake::always(&[site]), &[site]).await;
        let target = format!("http://media.test:{}/", site.port());
        assert_eq!(status(&send(&proxy, &format!("GET {target} HTTP/1.1\r\n\r\n")).await), "407");
        let wrong = BASE64.encode("clonyvoice:guess");
        assert_eq!(status(&send(&proxy, &format!("GET {target} HTTP/1.1\r\nProxy-Authorization: Basic {wrong}\r\n\r\n")).await), "407");
        assert_eq!(proxy.bytes(), 0);
    }

    #[tokio::test]
    async fn what_is_not_public_is_not_reached_however_it_is_spelled() {
        let site = site("HTTP/1.1 200 OK\r\n\r\ninside").await;
        let elsewhere = SocketAddr::from(([127, 0, 0, 9], 80));
        let proxy = proxy(Fake::always(&[site]), &[elsewhere]).await;
        let hosts =
            ["127.0.0.1", "0x7f.1", "2130706433", "0177.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "media.test", "169.254.169.254", "127.1"];
        for (number, host) in hosts.into_iter().enumerate() {
            for line in [format!("GET http://{host}:{}/", site.port()), format!("CONNECT {host}:{}", site.port())] {
                assert_eq!(status(&send(&proxy, &with_password(&line)).await), "403", "{line}");
            }
            assert_eq!(proxy.refused(), 2 * (number as u64 + 1));
        }
    }

    #[tokio::test]
    async fn a_name_is_asked_once_and_the_answer_is_what_is_reached() {
        let inside = site("HTTP/1.1 200 OK\r\n\r\ninside").await;
        let outside = site("HTTP/1.1 200 OK\r\n\r\noutside").await;
        let answers = Arc::new(Fake(Mutex::new(VecDeque::from([vec![outside], vec![inside]]))));
        let proxy = proxy(answers, &[outside]).await;
        let line = with_password(&format!("GET http://rebind.test:{}/", outside.port()));
        assert!(send(&proxy, &line).await.ends_with("outside"));
        assert_eq!(status(&send(&proxy, &line).await), "403", "the second answer is judged as the first was");
        let both = Fake::always(&[outside, inside]);
        let proxy = super::tests::proxy(both, &[outside]).await;
        assert_eq!(status(&send(&proxy, &line).await), "403", "a good address does not excuse a bad one");
    }

    #[tokio::test]
    async fn other_ports_and_other_requests_go_nowhere() {
        let public = SocketAddr::from(([1, 1, 1, 1], 22));
        let proxy = proxy(Fake::always(&[public]), &[]).await;
        assert_eq!(status(&send(&proxy, &with_password("CONNECT media.test:22")).await), "403");
        for line in ["GET /", "GET ftp://media.test/", "GET http:///", "CONNECT media.test", "GET http://user@media.test/", "PRI *"] {
            let answer = send(&proxy, &with_password(line)).await;
            assert_eq!(status(&answer), "400", "{line}");
        }
        let long = with_password(&format!("GET http://media.test/{}", "a".repeat(40_000)));
        assert!(["431", "none"].contains(&status(&send(&proxy, &long).await)));
    }

    #[tokio::test]
    async fn bytes_are_counted_and_have_an_end() {
        let body: &'static str = Box::leak(format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(500_000)).into_boxed_str());
        let site = site(body).await;
        let config = ProxyConfig { allowed: vec![site], bytes_max: 100_000, ..ProxyConfig::default() };
        let proxy = Proxy::start(config, Fake::always(&[site]), "secret".into()).await.unwrap();
        let answer = send(&proxy, &with_password(&format!("GET http://media.test:{}/", site.port()))).await;
        assert!(answer.len() <= 100_000, "{}", answer.len());
        assert!(proxy.is_over_limit());
    }
}
