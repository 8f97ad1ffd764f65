//! The listening socket and what it allows before a request is one: connections, the time and size of a request's head, writes that nobody
//! takes. What comes after that is the gate's.

use std::time::Duration;

use salvo::Server;
use salvo::conn::tcp::TcpAcceptor;
use salvo::conn::{Acceptor, Listener, TcpListener};
use salvo::fuse::FuseConfig;

use crate::config::Config;
use crate::tls::{self, TlsAcceptor, TlsError};

/// A reader that takes nothing for so long is given up.
const WRITE_STALL_S: u64 = 300;
const HEADERS_MAX: usize = 100;

/// The text is for the person who started the server.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("listen on {address}: {reason}")]
    Listen { address: String, reason: String },
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// What requests come by.
#[derive(Debug)]
pub enum Door {
    Plain(TcpAcceptor),
    Tls(TlsAcceptor),
}

pub async fn open(config: &Config) -> Result<Door, ListenError> {
    let tls = match (&config.tls_cert, &config.tls_key) {
        (None, None) => None,
        (Some(cert), Some(key)) => Some(tls::load(cert, key)?),
        _ => return Err(TlsError::Half.into()),
    };
    let failed = |reason: String| ListenError::Listen { address: config.listen.to_string(), reason };
    let acceptor = TcpListener::new(config.listen).try_bind().await.map_err(|error| failed(error.to_string()))?;
    Ok(match tls {
        Some(tls) => Door::Tls(TlsAcceptor::new(acceptor, tls)),
        None => Door::Plain(acceptor),
    })
}

/// A server with the limits of the configuration.
pub fn server<A: Acceptor + Send>(acceptor: A, config: &Config) -> Server<A> {
    let head = Duration::from_millis(config.header_read_ms);
    let fuse = FuseConfig::default().with_write_stall_timeout(Duration::from_secs(WRITE_STALL_S)).with_http1_header_timeout(head);
    let mut server = Server::new(acceptor).fuse_config(fuse).max_connections(config.connections_max as usize);
    let header_bytes_max = config.header_bytes_max;
    server.http1_mut().max_headers(HEADERS_MAX).max_header_size(header_bytes_max as usize);
    server.http2_mut().max_header_list_size(header_bytes_max);
    server
}
