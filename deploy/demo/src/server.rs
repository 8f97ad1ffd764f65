//! The server of the demo: found where one already serves the same folder, started where not, started again when it dies. It may not know
//! what is asked of the server.

use std::fs::OpenOptions;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::client::Client;
use crate::{Failure, a_moment};

const FIRST_PORT: u16 = 8765;
const PORTS_TRIED: u16 = 20;
/// The first start makes the database; an old disk may take its time.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// The server lets running chunks end before it stops.
const STOP_WITHIN: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(crate) struct Server {
    data_folder: PathBuf,
    port: u16,
    base: String,
    /// `None`: somebody else started it, and stops it.
    process: Option<Child>,
}

impl Server {
    pub(crate) async fn open(data_folder: &Path) -> Result<Self, Failure> {
        std::fs::create_dir_all(data_folder).map_err(|error| format!("data folder {}: {error}", data_folder.display()))?;
        let mut server = Self { data_folder: data_folder.to_owned(), port: 0, base: String::new(), process: None };
        if let Some(port) = server.already_serving().await? {
            server.use_port(port);
            return Ok(server);
        }
        let free = (FIRST_PORT..FIRST_PORT + PORTS_TRIED).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
        server.use_port(free.ok_or("no port from 8765 on is free")?);
        server.start().await?;
        Ok(server)
    }

    fn use_port(&mut self, port: u16) {
        self.port = port;
        self.base = format!("http://127.0.0.1:{port}");
    }

    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    pub(crate) fn introduction(&self) -> String {
        match self.process.as_ref().and_then(Child::id) {
            Some(pid) => format!("The server listens on {}. Kill it while it speaks and see what happens:  kill -9 {pid}", self.base),
            None => format!("The server that already runs on {} does the work.", self.base),
        }
    }

    /// A port where a server knows a key of our folder: then it serves our folder.
    async fn already_serving(&self) -> Result<Option<u16>, Failure> {
        let mut key = None;
        for port in FIRST_PORT..FIRST_PORT + PORTS_TRIED {
            let base = format!("http://127.0.0.1:{port}");
            if !ready(&base).await {
                continue;
            }
            let key = match &key {
                Some(key) => key,
                None => key.insert(self.new_key().await?),
            };
            if Client::new(&base, key.clone())?.voices().await.is_ok() {
                return Ok(Some(port));
            }
        }
        Ok(None)
    }

    async fn start(&mut self) -> Result<(), Failure> {
        let log_path = self.data_folder.join("demo-server.log");
        let log = OpenOptions::new().create(true).append(true).open(&log_path);
        let log = log.map_err(|error| format!("{}: {error}", log_path.display()))?;
        let mut command = Command::new(program()?);
        command.args(["serve", "--listen", &format!("127.0.0.1:{}", self.port), "--data-dir"]).arg(&self.data_folder);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
        // Ctrl-C in the terminal is for the demo, which then stops the server in order.
        #[cfg(unix)]
        command.process_group(0);
        let mut process = command.spawn()?;
        let base = self.base.clone();
        let became_ready = async {
            while !ready(&base).await {
                if let Some(status) = process.try_wait()? {
                    let log = std::fs::read_to_string(&log_path).unwrap_or_default();
                    let last = log.lines().last().unwrap_or_default();
                    return Err(format!("the server did not start ({status}): {last}\nall it said is in {}", log_path.display()).into());
                }
                a_moment().await;
            }
            Ok(())
        };
        match tokio::time::timeout(READY_WITHIN, became_ready).await {
            Ok(result) => result.map(|()| self.process = Some(process)),
            Err(_) => Err(format!("the server was not ready within {} s, see {}", READY_WITHIN.as_secs(), log_path.display()).into()),
        }
    }

    /// Starts the process again if it is gone. `Some` says how it had ended.
    pub(crate) async fn revive(&mut self) -> Result<Option<String>, Failure> {
        let Some(process) = &mut self.process else { return Ok(None) };
        let Some(status) = process.try_wait()? else { return Ok(None) };
        self.process = None;
        // Perhaps the person who killed it has started it again.
        if !ready(&self.base).await {
            self.start().await?;
        }
        Ok(Some(ending(status)))
    }

    /// `kill -9`.
    pub(crate) async fn kill(&mut self) -> Result<(), Failure> {
        match &mut self.process {
            Some(process) => Ok(process.kill().await?),
            None => Ok(()),
        }
    }

    /// Waits for the end of the process, for ever where it is not ours.
    pub(crate) async fn ended(&mut self) -> String {
        match &mut self.process {
            Some(process) => process.wait().await.map_or_else(|error| error.to_string(), ending),
            None => std::future::pending().await,
        }
    }

    /// SIGTERM, and `kill -9` for one that does not listen.
    pub(crate) async fn stop(&mut self) -> Result<(), Failure> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        #[cfg(unix)]
        if let Some(pid) = process.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed())) {
            // It may have ended by itself a moment ago.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        if tokio::time::timeout(STOP_WITHIN, process.wait()).await.is_err() {
            process.kill().await?;
        }
        Ok(())
    }

    /// Made by the command line, as a user would; works while the server runs.
    pub(crate) async fn new_key(&self) -> Result<String, Failure> {
        let mut command = Command::new(program()?);
        // A demo that is killed often connects often.
        command.args(["keys", "create", "--name", "demo", "--limits", "ws:connect=1000"]).arg("--data-dir").arg(&self.data_folder);
        let output = command.stdin(Stdio::null()).output().await?;
        if !output.status.success() {
            return Err(format!("no key: {}", String::from_utf8_lossy(&output.stderr).trim()).into());
        }
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }
}

fn ending(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return format!("killed by signal {signal}");
    }
    status.to_string()
}

async fn ready(base: &str) -> bool {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build();
    match client {
        Ok(client) => client.get(format!("{base}/readyz")).send().await.is_ok_and(|answer| answer.status() == 200),
        Err(_) => false,
    }
}

/// The server is built into the same folder as the demo.
fn program() -> Result<PathBuf, Failure> {
    let demo = std::env::current_exe()?;
    Ok(demo.with_file_name("clonyvoice").with_extension(std::env::consts::EXE_EXTENSION))
}
