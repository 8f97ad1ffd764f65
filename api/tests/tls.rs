//! HTTPS by configuration, and what the listener allows before a request is one. Over real sockets.

#![allow(clippy::unwrap_used)]

mod bed;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use api::config::Config;
use api::listen::{self, Door};
use api::routes;
use api::tls;
use bed::Bed;
use salvo::conn::Acceptor;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Ends a test that would wait for ever.
const LIMIT: Duration = Duration::from_secs(60);

/// A self-signed certificate for `localhost` and its key; `None`, and it is said, where openssl is not installed.
fn certificate(test: &str, folder: &Path) -> Option<(PathBuf, PathBuf)> {
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if made.is_ok_and(|status| status.success()) {
        return Some((cert, key));
    }
    #[allow(clippy::disallowed_methods, reason = "the switch is for the test run, no configuration of the program")]
    let required = std::env::var("CLONYVOICE_TESTS_REQUIRE_TOOLS").is_ok_and(|value| value == "1");
    assert!(!required, "{test} needs openssl");
    eprintln!("SKIPPED {test}: openssl is not installed");
    None
}

/// Serves the bed on a port of its own; gives the address.
async fn serve(bed: &Bed, config: Config) -> std::net::SocketAddr {
    let config = Config { listen: "127.0.0.1:0".parse().unwrap(), ..config };
    let service = routes::service(bed.app.clone());
    fn address(acceptor: &impl Acceptor) -> std::net::SocketAddr {
        acceptor.holdings()[0].local_addr.clone().into_std().unwrap()
    }
    match listen::open(&config).await.unwrap() {
        Door::Plain(acceptor) => {
            let at = address(&acceptor);
            tokio::spawn(listen::server(acceptor, &config).serve(service));
            at
        }
        Door::Tls(acceptor) => {
            let at = address(&acceptor);
            tokio::spawn(listen::server(acceptor, &config).serve(service));
            at
        }
    }
}

/// Sends a request head as it is and gives all that comes until the other end closes.
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, head: &str) -> String {
    // A server that has refused already closes its end.
    let _ = stream.write_all(head.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = timeout(LIMIT, stream.read_to_end(&mut answer)).await.expect("an end");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn https_with_a_certificate_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let Some((cert, key)) = certificate("https_with_a_certificate_of_its_own", folder.path()) else { return };
    let bed = Bed::without_workers().await;
    let config = Config { tls_cert: Some(cert.clone()), tls_key: Some(key), ..bed.app.config.clone() };
    let address = serve(&bed, config).await;
    // A client that never finishes its handshake holds up nobody.
    let _silent = TcpStream::connect(address).await.unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&cert).unwrap()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let connector = TlsConnector::from(Arc::new(client.with_root_certificates(roots).with_no_client_auth()));
    let connect =
        async |name: &'static str| connector.connect(ServerName::try_from(name).unwrap(), TcpStream::connect(address).await.unwrap()).await;
    let head = format!("GET /api/voices?limit=1 HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {}\r\nConnection: close\r\n\r\n", bed.key);
    let answer = exchange(connect("localhost").await.unwrap(), &head).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"voices\""), "{answer}");
    assert!(connect("elsewhere.example").await.is_err());
    let plain = exchange(TcpStream::connect(address).await.unwrap(), &head).await;
    assert!(!plain.contains("voices"), "{plain}");
}

#[tokio::test]
async fn wrong_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let missing = folder.path().join("nowhere.pem");
    let empty = file("empty.pem", "nothing");
    let error = |cert: &Path, key: &Path| tls::load(cert, key).unwrap_err().to_string();
    assert!(error(&missing, &empty).contains("nowhere.pem"));
    assert!(error(&empty, &empty).contains("empty.pem: holds no certificate"));
    if let Some((cert, key)) = certificate("wrong_files_are_named", folder.path()) {
        assert!(error(&cert, &empty).contains("empty.pem: holds no private key"));
        assert!(error(&cert, &cert).contains("holds no private key"));
        assert!(tls::load(&cert, &key).is_ok());
    }
}

#[tokio::test]
async fn heads_have_a_limit() {
    let bed = Bed::without_workers().await;
    let address = serve(&bed, Config { header_read_ms: 200, ..bed.app.config.clone() }).await;
    let ask = async |headers: String| {
        let head = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
        exchange(TcpStream::connect(address).await.unwrap(), &head).await
    };
    assert!(ask("A: b\r\n".repeat(50)).await.starts_with("HTTP/1.1 200"));
    for headers in ["A: b\r\n".repeat(150), format!("A: {}\r\n", "b".repeat(64 * 1024))] {
        let answer = ask(headers).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
    // A head that does not end: the connection does.
    let stuck = exchange(TcpStream::connect(address).await.unwrap(), "GET /healthz HTTP/1.1\r\nHost: local").await;
    assert!(!stuck.contains("200 OK"), "{stuck}");
}

#[tokio::test]
async fn a_body_has_to_be_there_in_time() {
    let bed = Bed::with(|config| (config.body_idle_ms, config.body_total_ms) = (60_000, 200), false).await;
    let address = serve(&bed, bed.app.config.clone()).await;
    let head = format!(
        "POST /api/text/split HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\
         Connection: close\r\n\r\n{{",
        bed.key
    );
    let answer = exchange(TcpStream::connect(address).await.unwrap(), &head).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("not complete after 200 ms"), "{answer}");
}
