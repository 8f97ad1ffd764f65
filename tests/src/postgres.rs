//! A Postgres of a test's own: a fresh cluster in a temporary folder, reached by a Unix socket there, gone with the test.
//!
//! Nothing but the standard library and `tempfile`, because the tests of other crates include this file too. Postgres refuses to run as
//! root, so root runs it as the user `postgres` that Debian's package makes.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    folder: tempfile::TempDir,
    server: Child,
}

/// The newest installed Postgres; `None` where there is none.
pub fn installed() -> Option<PathBuf> {
    let mut versions: Vec<PathBuf> =
        fs::read_dir("/usr/lib/postgresql").ok()?.filter_map(|entry| Some(entry.ok()?.path().join("bin"))).collect();
    versions.retain(|folder| folder.join("initdb").exists() && folder.join("postgres").exists());
    versions.sort();
    versions.pop()
}

impl Cluster {
    /// Starts a cluster with an empty database. `binaries` as [`installed`] found them.
    pub fn start(binaries: &Path) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("clonyvoice-pg").tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777))?;
        let data = folder.path().join("data");
        let made = as_server_user(&binaries.join("initdb"))
            .args(["--auth=trust", "--username=clonyvoice", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8", "-D"])
            .arg(&data)
            .stdout(Stdio::null())
            .output()?;
        if !made.status.success() {
            return Err(io::Error::other(format!("initdb: {}", String::from_utf8_lossy(&made.stderr))));
        }
        let log = fs::File::create(folder.path().join("log"))?;
        let mut server = as_server_user(&binaries.join("postgres"))
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=60", "-c"])
            .arg(format!("unix_socket_directories={}", folder.path().display()))
            .arg("-D")
            .arg(&data)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        loop {
            let ready = Command::new(binaries.join("pg_isready")).args(["-q", "-h"]).arg(folder.path()).status()?;
            if ready.success() {
                return Ok(Self { folder, server });
            }
            if let Some(status) = server.try_wait()? {
                let log = fs::read_to_string(folder.path().join("log")).unwrap_or_default();
                return Err(io::Error::other(format!("postgres ended with {status}: {log}")));
            }
            std::thread::yield_now();
        }
    }

    pub fn url(&self) -> String {
        let folder = self.folder.path().display().to_string().replace('/', "%2F");
        format!("postgres://clonyvoice@{folder}/postgres")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// `program` as somebody who may run Postgres, ended by the kernel when we end.
fn as_server_user(program: &Path) -> Command {
    let root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    if !root {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--pdeathsig=KILL", "--"]).arg(program);
    command
}
