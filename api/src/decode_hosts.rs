//! Starts `clonyvoice decode-host` for a file that a stranger sent, waits for it, and ends it when it takes too much. What becomes of that
//! process is the file's fault or the machine's, and never ours. This file may not know what is asked.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use jobs::tool::ProcessLimits;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::config::Config;
use crate::decode_host::{HostAnswer, HostRequest, HostTask};
use crate::problem::{Code, Problem};

/// The longest answer that is read: the contents of an archive.
const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// How long a request waits for a place.
const PLACE_WAIT_S: u64 = 30;
const RETRY_AFTER_S: u64 = 5;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeHostsConfig {
    pub program: PathBuf,
    pub limits: ProcessLimits,
    pub wall_ms_max: u64,
    /// At the same time.
    pub processes_max: usize,
}

impl DecodeHostsConfig {
    pub fn of(config: &Config) -> Self {
        Self {
            program: find_program(config.decode_host.as_deref()),
            limits: config.tools().limits,
            wall_ms_max: config.decode_wall_ms_max,
            processes_max: config.decode_hosts_max as usize,
        }
    }
}

/// This program itself; where we are not it but a test, the one beside us or one folder up.
pub(crate) fn find_program(named: Option<&Path>) -> PathBuf {
    if let Some(named) = named {
        return named.to_owned();
    }
    let own = std::env::current_exe().unwrap_or_default();
    let file = format!("clonyvoice{}", std::env::consts::EXE_SUFFIX);
    if own.file_name().is_some_and(|name| *name == *file) {
        return own;
    }
    let folders = own.ancestors().skip(1).take(2);
    folders.map(|folder| folder.join(&file)).find(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(file))
}

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct DecodeHosts {
    config: Arc<DecodeHostsConfig>,
    places: Arc<Semaphore>,
}

impl DecodeHosts {
    pub fn new(config: DecodeHostsConfig) -> Self {
        Self { places: Arc::new(Semaphore::new(config.processes_max.max(1))), config: Arc::new(config) }
    }

    /// # Errors
    /// 415, 413 or 422 for what is wrong with the file, which the request calls `field`; 503 where the machine has no room now.
    pub async fn run(&self, file: &Path, field: &str, task: HostTask) -> Result<HostAnswer, Problem> {
        let busy = || Problem::new(Code::NotReady, "too many files are being read; try again soon").retry_after(RETRY_AFTER_S);
        let place = timeout(Duration::from_secs(PLACE_WAIT_S), self.places.acquire()).await;
        let _place = place.map_err(|_| busy())?.map_err(Problem::internal)?;
        let request = serde_json::to_string(&HostRequest { limits: self.config.limits, task }).map_err(Problem::internal)?;
        let input = std::fs::File::open(file).map_err(crate::upload::written)?;
        let started = Command::new(&self.config.program)
            .arg("decode-host")
            .arg(request)
            .env_clear()
            .stdin(Stdio::from(input))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let mut child = started.map_err(|error| not_started(&self.config.program, &error))?;
        let stdout = child.stdout.take();
        let ended = async {
            let mut answer = Vec::new();
            if let Some(stdout) = stdout {
                stdout.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
            }
            // A process that has more to say than that is told to stop by the closed pipe.
            Ok::<_, io::Error>((child.wait().await?, answer))
        };
        match timeout(Duration::from_millis(self.config.wall_ms_max), ended).await {
            Ok(Ok((status, answer))) => self.judge(field, status, &answer),
            Ok(Err(error)) => Err(Problem::internal(error)),
            // Dropped here, and killed with it.
            Err(_) => Err(unreadable(field, &format!("takes longer than {} ms to read", self.config.wall_ms_max))),
        }
    }

    fn judge(&self, field: &str, status: ExitStatus, answer: &[u8]) -> Result<HostAnswer, Problem> {
        if !status.success() {
            return Err(self.post_mortem(field, status));
        }
        match serde_json::from_slice(answer) {
            Ok(HostAnswer::Unsupported { detail }) => {
                Err(Problem::new(Code::UnsupportedMedia, format!("{field}: no file that can be read here: {detail}")))
            }
            Ok(HostAnswer::Malformed { detail }) => Err(unreadable(field, &format!("is damaged or wrong: {detail}"))),
            Ok(HostAnswer::TooLarge { detail }) => Err(Problem::new(Code::PayloadTooLarge, format!("{field}: {detail}"))),
            Ok(HostAnswer::Failed { detail }) => Err(Problem::internal(format!("decode host: {detail}"))),
            Ok(answer) => Ok(answer),
            Err(_) => Err(unreadable(field, "can't be read")),
        }
    }

    /// Why it died.
    #[cfg(unix)]
    fn post_mortem(&self, field: &str, status: ExitStatus) -> Problem {
        use std::os::unix::process::ExitStatusExt;

        let limits = self.config.limits;
        let memory = format!("needs more than {} bytes of memory to read, or crashes its reader", limits.memory_bytes_max);
        match status.signal() {
            Some(SIGXCPU) => unreadable(field, &format!("takes more than {} s of computing to read", limits.cpu_s_max)),
            Some(SIGXFSZ) => unreadable(field, &format!("makes more than {} bytes", limits.file_bytes_max)),
            // Not by us: we wait in vain for those we kill.
            Some(SIGKILL | SIGTERM) => {
                Problem::new(Code::NotReady, "the process that read the file was ended from outside").retry_after(RETRY_AFTER_S)
            }
            Some(_) => unreadable(field, &memory),
            None => unreadable(field, "crashes its reader"),
        }
    }

    #[cfg(not(unix))]
    fn post_mortem(&self, field: &str, _status: ExitStatus) -> Problem {
        unreadable(field, "crashes its reader")
    }
}

#[cfg(unix)]
const SIGKILL: i32 = 9;
#[cfg(unix)]
const SIGTERM: i32 = 15;
#[cfg(unix)]
const SIGXCPU: i32 = 24;
#[cfg(unix)]
const SIGXFSZ: i32 = 25;

fn unreadable(field: &str, what: &str) -> Problem {
    Problem::invalid_field(field, what)
}

fn not_started(program: &Path, error: &io::Error) -> Problem {
    let problem = Problem::new(Code::ToolNotInstalled, "the program that reads uploads can't be started; the server's log has the reason");
    Problem { cause: Some(format!("{}: {error}", program.display())), ..problem.retry_after(RETRY_AFTER_S) }
}
