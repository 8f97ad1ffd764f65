//! A real server process on a data folder of its own: start, kill -9, start again on the same folder, stop in order.

use std::fs::{File, OpenOptions};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::{Client, Socket, wait};

/// All scopes of the documented API.
pub const SCOPES: [&str; 8] =
    ["tts:generate", "tts:timeline", "voices:read", "voices:write", "clone:create", "audio:process", "system:read", "ws:connect"];

/// Which engine the server speaks with.
#[derive(Debug, Clone, Default)]
pub enum Engine {
    /// Follows a script and needs nothing installed; only in debug builds.
    Scripted(Value),
    /// What a user gets.
    #[default]
    Builtin,
}

#[derive(Debug, Clone, Default)]
pub struct ServerOptions {
    pub engine: Engine,
    /// For every process of the program that the test starts.
    pub environment: Vec<(String, String)>,
    /// Behind `serve`.
    pub arguments: Vec<String>,
}

/// The server, its folder and a key with all scopes and no limits to speak of. Dropping it kills the process and deletes the folder; when
/// the test is failing it prints what the server wrote.
#[derive(Debug)]
pub struct TestServer {
    options: ServerOptions,
    folder: TempDir,
    port: u16,
    process: Option<Child>,
    key: String,
}

impl TestServer {
    pub async fn start(options: ServerOptions) -> Self {
        let folder = tempfile::Builder::new().prefix("clonyvoice-test-").tempdir().unwrap();
        let mut server = Self { options, folder, port: 0, process: None, key: String::new() };
        // Between finding a port and listening on it another process may take it.
        for attempt in 1..=3 {
            server.port = free_port();
            match server.spawn().await {
                Ok(()) => break,
                Err(status) if attempt == 3 => panic!("serve ended before it was ready: {status}"),
                Err(_) => {}
            }
        }
        server.key = server.new_key("test", &SCOPES).await;
        server
    }

    /// With the built-in engine and nothing special.
    pub async fn builtin() -> Self {
        Self::start(ServerOptions::default()).await
    }

    /// With an engine that follows `script`.
    pub async fn scripted(script: Value) -> Self {
        Self::start(ServerOptions { engine: Engine::Scripted(script), ..ServerOptions::default() }).await
    }

    /// Starts the process again on the same folder and port, and waits until it is ready.
    pub async fn restart(&mut self) {
        assert!(self.process.is_none(), "kill or stop it first");
        if let Err(status) = self.spawn().await {
            panic!("serve ended before it was ready: {status}");
        }
    }

    /// The same where the start may end the process; then it gives how.
    pub async fn try_restart(&mut self) -> Result<(), ExitStatus> {
        assert!(self.process.is_none(), "kill or stop it first");
        self.spawn().await
    }

    /// Sets a variable for every process that is started from now on; `None` takes it away.
    pub fn set_variable(&mut self, name: &str, value: Option<&str>) {
        self.options.environment.retain(|(known, _)| known != name);
        self.options.environment.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    }

    /// `clonyvoice work` on the same folder, killed when dropped. Its log goes where the server's goes.
    pub fn start_worker(&self, arguments: &[&str]) -> Child {
        self.start_worker_in(&self.data_folder(), arguments)
    }

    /// The same with a data folder of its own, as on another machine.
    pub fn start_worker_in(&self, folder: &Path, arguments: &[&str]) -> Child {
        let log = self.log();
        let mut command = self.program();
        command.arg("work").args(arguments).arg("--data-dir").arg(folder);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).kill_on_drop(true).spawn().unwrap()
    }

    async fn spawn(&mut self) -> Result<(), ExitStatus> {
        let log = self.log();
        let mut command = self.program();
        command.arg("serve").args(["--listen", &format!("127.0.0.1:{}", self.port)]).args(&self.options.arguments);
        command.arg("--data-dir").arg(self.data_folder());
        let mut process = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).kill_on_drop(true).spawn().unwrap();
        let probe = reqwest::Client::builder().no_proxy().build().unwrap();
        let ready = format!("{}/readyz", self.base());
        let ended = wait::until("/readyz", async || {
            if let Some(status) = process.try_wait().unwrap() {
                return Some(Err(status));
            }
            probe.get(&ready).send().await.is_ok_and(|answer| answer.status() == 200).then_some(Ok(()))
        })
        .await;
        ended.map(|()| self.process = Some(process))
    }

    /// The program with the environment of this server, without a verb.
    fn program(&self) -> Command {
        let mut command = Command::new(program_path("clonyvoice"));
        // What the person who runs the tests has set is not for the server.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CLONYVOICE_")) {
            command.env_remove(name);
        }
        if let Engine::Scripted(script) = &self.options.engine {
            command.env("CLONYVOICE_ENGINE", "scripted").env("CLONYVOICE_ENGINE_SCRIPT", script.to_string());
        }
        command.envs(self.options.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs `clonyvoice ARGUMENTS` on the same folder to its end; gives what it said on stdout.
    ///
    /// # Panics
    /// When it fails.
    pub async fn run(&self, arguments: &[&str]) -> String {
        let mut command = self.program();
        command.args(arguments).arg("--data-dir").arg(self.data_folder());
        let output = command.stdin(Stdio::null()).output().await.unwrap();
        assert!(output.status.success(), "clonyvoice {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What `clonyvoice doctor` says, on both outputs; it fails where something is missing.
    pub async fn doctor(&self) -> String {
        let mut command = self.program();
        command.arg("doctor").arg("--data-dir").arg(self.data_folder());
        let output = command.stdin(Stdio::null()).output().await.unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    /// A key with these scopes and no limits to speak of, made by the command line while the server runs.
    pub async fn new_key(&self, name: &str, scopes: &[&str]) -> String {
        let limits: Vec<String> = scopes.iter().map(|scope| format!("{scope}=1000000")).collect();
        let printed = self.run(&["keys", "create", "--name", name, "--scopes", &scopes.join(","), "--limits", &limits.join(",")]).await;
        let key = printed.trim();
        assert!(key.starts_with("cvk_") && !key.contains(char::is_whitespace), "not a key alone: {printed:?}");
        key.to_owned()
    }

    /// `kill -9`, and waits for the end.
    pub async fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.kill().await.unwrap();
    }

    /// Waits until the process ends by itself.
    pub async fn died(&mut self) -> ExitStatus {
        match tokio::time::timeout(wait::LIMIT, self.process.as_mut().expect("it runs").wait()).await {
            Ok(status) => {
                self.process = None;
                status.unwrap()
            }
            Err(_) => panic!("the server lives on"),
        }
    }

    /// How the process ended, if it does so within the time that an abort may take to be seen.
    pub async fn died_soon(&mut self) -> Option<ExitStatus> {
        let process = self.process.as_mut().expect("it runs");
        let status = tokio::time::timeout(std::time::Duration::from_secs(10), process.wait()).await.ok()?.unwrap();
        self.process = None;
        Some(status)
    }

    /// Whether the process has ended by itself.
    pub fn has_died(&mut self) -> bool {
        let died = self.process.as_mut().is_some_and(|process| process.try_wait().unwrap().is_some());
        if died {
            self.process = None;
        }
        died
    }

    /// SIGTERM, and waits for the end.
    pub async fn stop(&mut self) -> ExitStatus {
        let stopping = self.ask_to_stop();
        self.stopped(stopping).await
    }

    /// SIGTERM.
    pub fn ask_to_stop(&mut self) -> Child {
        let process = self.process.take().expect("it runs");
        let pid = rustix::process::Pid::from_raw(process.id().unwrap().cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        process
    }

    /// Waits for the end of a process that was asked to stop.
    pub async fn stopped(&self, mut process: Child) -> ExitStatus {
        match tokio::time::timeout(wait::LIMIT, process.wait()).await {
            Ok(status) => status.unwrap(),
            Err(_) => panic!("SIGTERM does not end the server"),
        }
    }

    /// Of the running process.
    pub fn process_id(&self) -> u32 {
        self.process.as_ref().and_then(Child::id).expect("it runs")
    }

    pub fn base(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn data_folder(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn key(&self) -> &str {
        &self.key
    }

    /// With the key of the test.
    pub fn client(&self) -> Client {
        self.client_with(Some(&self.key))
    }

    pub fn client_with(&self, key: Option<&str>) -> Client {
        Client::new(self.base(), key.map(str::to_owned))
    }

    /// A WebSocket with the key of the test, past its greeting.
    pub async fn socket(&self) -> Socket {
        match Socket::connect(&self.base(), Some(&self.key)).await {
            Ok(mut socket) => {
                assert_eq!(socket.next().await.unwrap().kind, "hello", "the first envelope is the greeting");
                socket
            }
            Err(status) => panic!("the upgrade was refused: {status}"),
        }
    }

    /// All that the server and its helpers wrote, on both outputs.
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    fn log(&self) -> File {
        OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.log_path()).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- the server's last lines, of {}", lines.len());
            for line in &lines[lines.len().saturating_sub(80)..] {
                eprintln!("{line}");
            }
        }
    }
}

/// A program of this workspace, built before the tests run (`make test` does).
pub fn program_path(name: &str) -> PathBuf {
    // target/debug/deps/test-0123 -> target/debug
    let test = std::env::current_exe().unwrap();
    let folder = test.ancestors().find(|folder| folder.ends_with("deps")).and_then(Path::parent).unwrap();
    let path = folder.join(name).with_extension(std::env::consts::EXE_EXTENSION);
    assert!(path.exists(), "{} is not built: cargo build --workspace --bins", path.display());
    path
}

/// Below the range from which the kernel serves outgoing connections, so that none of those takes it before the server does. Tests run as
/// processes of their own: each begins its search at another place.
fn free_port() -> u16 {
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 12_000;
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let begin = std::process::id().wrapping_mul(97);
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let port = u16::try_from(FIRST + begin.wrapping_add(step) % COUNT).expect("below 32,000");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port");
}
