//! Pulling from a server that behaves like the hub: it redirects large files to another address, knows parts, tells sums and commits; and it
//! breaks off, lies, or knows no parts when a test asks for it.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use models::checksum::{Checksum, Summing};
use models::folder::{FaultKind, FolderError, ModelFolder};
use models::hub::{Hub, HubConfig, HubError};
use models::import::{ImportError, import};
use models::lock::{LockFile, Source};
use models::manifest::Manifest;
use models::pull::{Progress, PullConfig, PullError, pull};
use sha1::{Digest, Sha1};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const LARGE: &str = "model.safetensors";
const LARGE_BYTES: usize = 320_000;

/// How the server behaves, and what it was asked.
#[derive(Default)]
struct Behaviour {
    /// Each transfer of the large file ends after so many bytes.
    breaks_after: Option<usize>,
    /// Answers every request so.
    status: Option<u16>,
    /// Answers so many requests with 503 first.
    refusals: usize,
    knows_no_parts: bool,
    /// Changes a byte on the way.
    lies: bool,
    gives_no_sum: bool,
    /// `METHOD path range authorization`
    asked: Vec<String>,
}

#[derive(Clone)]
struct Server {
    hub: SocketAddr,
    behaviour: Arc<Mutex<Behaviour>>,
}

fn files() -> BTreeMap<&'static str, Vec<u8>> {
    let large = (0..LARGE_BYTES).map(|n| (n * 31 % 251) as u8).collect();
    BTreeMap::from([("config.json", b"{\"size\": \"tiny\"}".to_vec()), ("speech_tokenizer/config.json", b"{}".to_vec()), (LARGE, large)])
}

impl Server {
    fn start() -> Self {
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

    fn be(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.behaviour.lock().unwrap());
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.behaviour.lock().unwrap().asked)
    }

    fn client(&self) -> Hub {
        let endpoint = format!("http://{}", self.hub);
        Hub::new(HubConfig { endpoint, token: Some("hub-token".into()), ..HubConfig::default() }).unwrap()
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
        let sha256 = summing.finish().sha256.to_string();
        if let Some(store) = store.filter(|_| name == LARGE) {
            let sum = if behaviour.gives_no_sum { "\"5d41-7\"".to_owned() } else { format!("\"{sha256}\"") };
            return write!(
                out,
                "HTTP/1.1 302 Found\r\nlocation: http://{store}/store/{name}\r\nx-linked-etag: {sum}\r\nx-linked-size: {}\r\n\
                 x-repo-commit: {COMMIT}\r\netag: \"of-the-redirect\"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
                bytes.len()
            );
        }
        let git_blob = hex::encode(Sha1::digest([format!("blob {}\0", bytes.len()).as_bytes(), bytes].concat()));
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

fn manifest() -> Manifest {
    let files: Vec<String> = files().keys().map(|path| format!("{{ path = \"{path}\" }}")).collect();
    let text = format!(
        "id = \"tiny\"\nname = \"Tiny\"\nfamily = \"qwen3-tts\"\nabilities = [\"clone\"]\nlanguages = [\"en\"]\nparameters_millions = 1\n\
         licence = \"Apache-2.0\"\nhub = {{ repo = \"owner/name\", revision = \"main\" }}\nmemory_mb = {{ f32 = 1 }}\nfiles = [{}]\n",
        files.join(", ")
    );
    Manifest::parse(&text).unwrap()
}

struct Bed {
    server: Server,
    folder: ModelFolder,
    _root: tempfile::TempDir,
}

impl Bed {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        Self { server: Server::start(), folder: ModelFolder::new(root.path().join("models")), _root: root }
    }

    async fn pull(&self) -> Result<LockFile, PullError> {
        self.pull_until(|_| ControlFlow::Continue(())).await
    }

    async fn pull_until(&self, mut progress: impl FnMut(Progress) -> ControlFlow<()> + Send) -> Result<LockFile, PullError> {
        let config = PullConfig { attempts_max: 3, pause_ms: 1 };
        pull(&self.server.client(), &manifest(), &self.folder, config, 5, &mut progress).await
    }

    fn assert_whole(&self) {
        for (path, bytes) in files() {
            assert_eq!(std::fs::read(self.folder.path_of("tiny").unwrap().join(path)).unwrap(), bytes, "{path}");
        }
        assert_eq!(self.folder.verify("tiny").unwrap(), Some(Vec::new()));
    }
}

#[tokio::test]
async fn a_model_is_pulled_checked_and_locked() {
    let bed = Bed::new();
    let mut last = Progress { done_bytes: 0, total_bytes: 0 };
    let lock = bed
        .pull_until(|progress| {
            assert!(progress.done_bytes >= last.done_bytes);
            last = progress;
            ControlFlow::Continue(())
        })
        .await
        .unwrap();
    bed.assert_whole();
    assert_eq!((last.done_bytes, last.total_bytes), (lock.size_bytes(), lock.size_bytes()));
    assert!(matches!(&lock.source, Source::Hub { commit: Some(commit), revision, .. } if commit == COMMIT && revision == "main"));
    let told: Vec<bool> = lock.files.iter().map(|file| matches!(file.told, Some(Checksum::Sha256(_)))).collect();
    assert_eq!(told, [false, true, false], "the large file by SHA-256, the small ones by git's id");
    assert_eq!(bed.folder.installed().unwrap(), [lock]);
    let asked = bed.server.asked();
    assert!(asked.iter().filter(|line| line.starts_with("hub")).all(|line| line.ends_with("Bearer hub-token")), "{asked:#?}");
    assert!(asked.iter().filter(|line| line.starts_with("store")).all(|line| line.ends_with(" -")), "no token for others: {asked:#?}");
    assert!(asked[1..].iter().filter(|line| line.starts_with("hub HEAD")).all(|line| line.contains(COMMIT)), "one commit: {asked:#?}");
}

#[tokio::test]
async fn a_line_that_breaks_is_gone_on_with() {
    let bed = Bed::new();
    bed.server.be(|server| server.breaks_after = Some(100_000));
    bed.pull().await.unwrap();
    bed.assert_whole();
    let ranges: Vec<String> = bed
        .server
        .asked()
        .iter()
        .filter(|line| line.starts_with("store GET"))
        .map(|line| line.split(' ').nth(3).unwrap().to_owned())
        .collect();
    assert_eq!(ranges, ["-", "bytes=100000-", "bytes=200000-", "bytes=300000-"]);
}

#[tokio::test]
async fn a_stopped_pull_goes_on_where_it_was() {
    let bed = Bed::new();
    let stop = |progress: Progress| if progress.done_bytes > 100_000 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    assert!(matches!(bed.pull_until(stop).await, Err(PullError::Stopped)));
    assert_eq!(bed.folder.installed().unwrap(), []);
    bed.server.asked();
    bed.pull().await.unwrap();
    bed.assert_whole();
    let asked = bed.server.asked();
    assert!(
        !asked.iter().any(|line| line.starts_with("hub GET") && line.contains("/config.json ")),
        "what is whole is not asked for: {asked:#?}"
    );
    assert!(asked.iter().any(|line| line.starts_with("store GET") && line.contains("bytes=")), "{asked:#?}");
}

#[tokio::test]
async fn a_hub_without_parts_is_asked_again_from_the_beginning() {
    let bed = Bed::new();
    let stop = |progress: Progress| if progress.done_bytes > 100_000 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    assert!(bed.pull_until(stop).await.is_err());
    bed.server.be(|server| server.knows_no_parts = true);
    bed.pull().await.unwrap();
    bed.assert_whole();
}

#[tokio::test]
async fn wrong_bytes_are_thrown_away_and_what_was_there_stays() {
    let bed = Bed::new();
    let first = bed.pull().await.unwrap();
    bed.server.be(|server| server.lies = true);
    assert!(matches!(bed.pull().await, Err(PullError::WrongBytes { path, .. }) if path == LARGE));
    assert_eq!(bed.folder.installed().unwrap(), [first]);
    bed.assert_whole();
    bed.server.be(|server| server.lies = false);
    bed.pull().await.unwrap();
    bed.assert_whole();
}

#[tokio::test]
async fn what_can_not_be_checked_is_not_installed() {
    let bed = Bed::new();
    bed.server.be(|server| server.gives_no_sum = true);
    assert!(matches!(bed.pull().await, Err(PullError::NoSum { path }) if path == LARGE));
    assert_eq!(bed.folder.installed().unwrap(), []);
}

#[tokio::test]
async fn a_hub_that_is_away_for_a_moment_is_waited_for_and_others_are_told() {
    let bed = Bed::new();
    bed.server.be(|server| server.refusals = 2);
    bed.pull().await.unwrap();
    bed.server.be(|server| server.refusals = 1_000);
    assert!(matches!(bed.pull().await, Err(PullError::Hub(HubError::Unreachable { .. }))));
    bed.server.be(|server| (server.refusals, server.status) = (0, Some(401)));
    let told = bed.pull().await.unwrap_err().to_string();
    assert!(told.contains("token") && told.contains("401"), "{told}");
    bed.server.be(|server| server.status = Some(404));
    assert!(matches!(bed.pull().await, Err(PullError::Hub(HubError::NotFound { .. }))));
    bed.assert_whole();
    for endpoint in ["ftp://hub", "hub", "http://"] {
        assert!(
            matches!(Hub::new(HubConfig { endpoint: endpoint.into(), ..HubConfig::default() }), Err(HubError::Unusable { .. })),
            "{endpoint}"
        );
    }
}

#[tokio::test]
async fn one_process_changes_a_model_at_a_time() {
    let bed = Bed::new();
    let unfinished = bed.folder.begin("tiny").unwrap();
    assert!(matches!(bed.pull().await, Err(PullError::Folder(FolderError::Busy(id))) if id == "tiny"));
    assert!(matches!(bed.folder.remove("tiny"), Err(FolderError::Busy(_))));
    drop(unfinished);
    bed.pull().await.unwrap();
    assert!(bed.folder.remove("tiny").unwrap());
    assert!(!bed.folder.remove("tiny").unwrap());
    assert_eq!((bed.folder.installed().unwrap(), bed.folder.verify("tiny").unwrap()), (Vec::new(), None));
    assert!(matches!(bed.folder.remove("../tiny"), Err(FolderError::NoId(_))));
}

#[test]
fn a_folder_is_imported_and_what_spoils_later_is_found() {
    let bed = Bed::new();
    let from = tempfile::tempdir().unwrap();
    let mut go_on = |_| ControlFlow::Continue(());
    let error = import(&manifest(), from.path(), &bed.folder, 5, &mut go_on).unwrap_err();
    assert!(matches!(error, ImportError::Missing(missing) if missing.len() == files().len()));
    for (path, bytes) in files() {
        let path = from.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let mut wrong = manifest();
    wrong.files[0].sha256 = Some("00".repeat(32).try_into().unwrap());
    assert!(matches!(import(&wrong, from.path(), &bed.folder, 5, &mut go_on), Err(ImportError::WrongBytes { .. })));
    assert!(matches!(import(&manifest(), from.path(), &bed.folder, 5, &mut |_| ControlFlow::Break(())), Err(ImportError::Stopped)));
    assert_eq!(bed.folder.installed().unwrap(), []);
    let lock = import(&manifest(), from.path(), &bed.folder, 5, &mut go_on).unwrap();
    assert_eq!((lock.source, bed.folder.verify("tiny").unwrap()), (Source::Folder, Some(Vec::new())));
    bed.assert_whole();

    let installed = bed.folder.path_of("tiny").unwrap();
    std::fs::remove_file(installed.join("config.json")).unwrap();
    std::fs::write(installed.join("speech_tokenizer/config.json"), "{ }").unwrap();
    let mut bytes = files()[LARGE].clone();
    bytes[LARGE_BYTES / 2] ^= 1;
    std::fs::write(installed.join(LARGE), bytes).unwrap();
    let faults: Vec<FaultKind> = bed.folder.verify("tiny").unwrap().unwrap().into_iter().map(|fault| fault.what).collect();
    assert_eq!(faults, [FaultKind::Missing, FaultKind::WrongBytes, FaultKind::WrongSize]);
}
