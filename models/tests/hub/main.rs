//! Pulling from a server that behaves like the hub, and not always well.

#![allow(clippy::unwrap_used)]

mod server;

use std::ops::ControlFlow;

use models::checksum::Checksum;
use models::folder::{FaultKind, FolderError, ModelFolder};
use models::hub::{Hub, HubConfig, HubError, Token};
use models::import::{ImportError, import};
use models::lock::{LockFile, Source};
use models::manifest::Manifest;
use models::pull::{Progress, PullConfig, PullError, pull};
use server::{COMMIT, LARGE, LARGE_BYTES, Server, files};

fn manifest() -> Manifest {
    Manifest::parse(&server::manifest()).unwrap()
}

fn client(server: &Server) -> Hub {
    Hub::new(HubConfig { endpoint: server.endpoint(), token: Some(Token("hub-token".into())), ..HubConfig::default() }).unwrap()
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
        pull(&client(&self.server), &manifest(), &self.folder, config, 5, &mut progress).await
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
    let asked_for = |path: String| asked.iter().any(|line| line.starts_with(&format!("hub GET /owner/name/resolve/{path} ")));
    assert!(
        !asked_for(format!("{COMMIT}/config.json")) && !asked_for("main/config.json".into()),
        "what is whole is not asked for: {asked:#?}"
    );
    assert!(asked_for(format!("{COMMIT}/speech_tokenizer/config.json")), "what was not reached is: {asked:#?}");
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
