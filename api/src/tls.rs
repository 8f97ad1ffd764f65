//! HTTPS where a certificate is configured: the listener's connections, each behind a handshake that runs with the connection itself, so that
//! a slow client holds up nobody. rustls with aws-lc-rs, TLS 1.2 and 1.3, HTTP/1.1 and HTTP/2.
//!
//! salvo has the same behind a feature that changes how the whole framework is built; this is the part of it that is needed. The time limit of
//! a request's head bounds the handshake too: the first read waits for both.

use std::fmt;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use salvo::conn::tcp::{TcpAcceptor, TcpCoupler};
use salvo::conn::{Accepted, Acceptor, Holding};
use salvo::fuse::ArcFusePolicy;
use salvo::http::Version;
use salvo::http::uri::Scheme;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor as Handshaker};

/// The text is for the person who started the server.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("tls_cert and tls_key belong together: only one of them is set")]
    Half,
    #[error("{0}: {1}")]
    File(String, String),
    #[error("tls: {0}")]
    Rustls(#[from] tokio_rustls::rustls::Error),
}

/// Reads a certificate (with those that signed it behind it) and its private key, both PEM.
pub fn load(cert: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let file = |path: &Path, error: &dyn fmt::Display| TlsError::File(path.display().to_string(), error.to_string());
    let read = |path: &Path| std::fs::read(path).map_err(|error| file(path, &error));
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(&read(cert)?).collect::<Result<_, _>>().map_err(|error| file(cert, &error))?;
    if chain.is_empty() {
        return Err(file(cert, &"holds no certificate in PEM"));
    }
    // The error of the parser would be about the content: it says nothing that helps.
    let private = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|_| file(key, &"holds no private key in PEM"))?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_single_cert(chain, private)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// A listener whose connections are encrypted.
pub struct TlsAcceptor {
    inner: TcpAcceptor,
    handshaker: Handshaker,
    holdings: Vec<Holding>,
}

impl fmt::Debug for TlsAcceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsAcceptor").field("holdings", &self.holdings).finish_non_exhaustive()
    }
}

impl TlsAcceptor {
    pub fn new(inner: TcpAcceptor, config: Arc<ServerConfig>) -> Self {
        let secured = |holding: &Holding| Holding {
            local_addr: holding.local_addr.clone(),
            http_versions: vec![Version::HTTP_11, Version::HTTP_2],
            http_scheme: Scheme::HTTPS,
        };
        let holdings = inner.holdings().iter().map(secured).collect();
        Self { inner, handshaker: Handshaker::from(config), holdings }
    }
}

impl Acceptor for TlsAcceptor {
    type Coupler = TcpCoupler<Self::Stream>;
    type Stream = Secured<<TcpAcceptor as Acceptor>::Stream>;

    fn holdings(&self) -> &[Holding] {
        &self.holdings
    }

    async fn accept(&mut self, fuse_policy: Option<ArcFusePolicy>) -> io::Result<Accepted<Self::Coupler, Self::Stream>> {
        let Accepted { stream, fuse_config, conn_ctrl, local_addr, remote_addr, .. } = self.inner.accept(fuse_policy).await?;
        let stream = Secured::Handshake(Box::new(self.handshaker.accept(stream)));
        Ok(Accepted { coupler: TcpCoupler::new(), stream, fuse_config, conn_ctrl, local_addr, remote_addr, http_scheme: Scheme::HTTPS })
    }
}

/// A connection that finishes its handshake when it is first used.
#[allow(missing_debug_implementations, reason = "what it holds has none")]
pub enum Secured<S> {
    Handshake(Box<Accept<S>>),
    Open(Box<TlsStream<S>>),
    Failed,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Secured<S> {
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Pin<&mut TlsStream<S>>>> {
        if let Self::Handshake(handshake) = self {
            match ready!(Pin::new(handshake.as_mut()).poll(cx)) {
                Ok(stream) => *self = Self::Open(Box::new(stream)),
                Err(error) => {
                    *self = Self::Failed;
                    return Poll::Ready(Err(error));
                }
            }
        }
        match self {
            Self::Open(stream) => Poll::Ready(Ok(Pin::new(stream.as_mut()))),
            _ => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Secured<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.get_mut().poll_open(cx))?.poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Secured<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.get_mut().poll_open(cx))?.poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.get_mut().poll_open(cx))?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Open(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
            // Nothing was said yet, so there is nothing to say goodbye to.
            _ => Poll::Ready(Ok(())),
        }
    }
}
