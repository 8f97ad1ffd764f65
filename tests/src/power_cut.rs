//! A disk that loses what was not synced, under a real server. `tests/power-cut/record.c` is loaded into the process and records every
//! change below its data folder ([`log`]); from the record the folder is made again as a disk may hold it when the power goes at any
//! moment ([`disk`]); a server is started on that, and asked for everything that clients had been promised by then ([`promises`]).
//!
//! Clients and disk are ordered by the length of the log: what a client was told when the log had `n` bytes rests on those `n` bytes.
//! Linux only, with a C compiler.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use tempfile::TempDir;

use self::log::Kind;
use crate::server::program_path;
use crate::{Engine, ServerOptions, TestServer};

pub mod disk;
pub mod load;
pub mod log;
pub mod promises;

/// Where the changes of one run are written. Gone with the value.
#[derive(Debug, Clone)]
pub struct Recorder {
    folder: Arc<TempDir>,
}

impl Recorder {
    /// Builds the library.
    ///
    /// # Panics
    /// With what the compiler says.
    pub fn build() -> Self {
        let target = program_path("clonyvoice").with_file_name("power-cut");
        std::fs::create_dir_all(&target).unwrap();
        let folder = tempfile::Builder::new().prefix("run-").tempdir_in(target).unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("power-cut/record.c");
        let recorder = Self { folder: Arc::new(folder) };
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-U_FORTIFY_SOURCE", "-pthread", "-o"])
            .arg(recorder.library())
            .arg(source)
            .output()
            .unwrap();
        assert!(built.status.success(), "cc: {}", String::from_utf8_lossy(&built.stderr));
        recorder
    }

    fn library(&self) -> PathBuf {
        self.folder.path().join("record.so")
    }

    pub fn log_path(&self) -> PathBuf {
        self.folder.path().join("changes")
    }

    /// Puts the recorder into every process of a server.
    pub fn options(&self, engine: Engine) -> ServerOptions {
        let variable = |name: &str, path: PathBuf| (name.to_owned(), path.to_str().unwrap().to_owned());
        let environment = vec![variable("LD_PRELOAD", self.library()), variable("POWER_CUT_LOG", self.log_path())];
        ServerOptions { engine, environment, ..ServerOptions::default() }
    }

    /// Ends the server, as by kill -9, after records of these kinds with these words in their paths have come in this order.
    #[must_use]
    pub fn kill_at(&self, steps: &[(Kind, &str)]) -> (String, String) {
        let steps: Vec<String> = steps.iter().map(|(kind, part)| format!("{}:{part}", kind.number())).collect();
        ("POWER_CUT_KILL".to_owned(), steps.join(" "))
    }

    /// How many bytes of the log there are: whatever anybody was told before rests on them.
    pub fn now(&self) -> u64 {
        std::fs::metadata(self.log_path()).unwrap().len()
    }

    /// `kill -9` between two changes: one that was made and not recorded would be a change that nobody knows of.
    pub async fn kill(&self, server: &mut TestServer) {
        let log = File::open(self.log_path()).unwrap();
        log.lock().unwrap();
        server.kill().await;
        log.unlock().unwrap();
    }
}
