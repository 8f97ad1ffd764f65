//! Programs of other people (ffmpeg, yt-dlp): found where this machine keeps programs, run with limits on memory, computing time, time and
//! the size of what they write, without our environment, in a process group that is ended as a whole. What they say is read line by line, up
//! to a limit. This file may not know what they are asked for.

use std::ffi::OsString;
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::job::JobError;

/// Of all that a program says on its standard output, and of one line.
const SAID_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Of its last words on the standard error.
const COMPLAINT_BYTES_MAX: usize = 2_000;

/// What a process may use of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessLimits {
    pub memory_bytes_max: u64,
    pub cpu_s_max: u64,
    /// Of each file that it writes.
    pub file_bytes_max: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolsConfig {
    /// `clonyvoice`: with `limited`, limits and a command it takes these limits upon itself and becomes the command.
    pub runner: PathBuf,
    /// Where programs are looked for, in this order.
    pub folders: Vec<PathBuf>,
    pub limits: ProcessLimits,
}

impl ToolsConfig {
    /// Finds nothing.
    pub fn none() -> Self {
        let limits = ProcessLimits { memory_bytes_max: 1 << 30, cpu_s_max: 120, file_bytes_max: 2 << 30 };
        Self { runner: PathBuf::from("clonyvoice"), folders: Vec::new(), limits }
    }
}

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tools(Arc<ToolsConfig>);

/// One run of a program.
#[derive(Debug, Clone)]
pub struct ToolRun {
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    /// Where it works; also its home and its place for temporary files.
    pub folder: PathBuf,
    /// On its standard input.
    pub input: Vec<u8>,
    pub limits: ProcessLimits,
    pub wall_ms_max: u64,
    /// Beside, and instead of, what every program gets.
    pub environment: Vec<(&'static str, OsString)>,
}

/// Why a run did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// The machine's fault.
    #[error("start {program}: {error}")]
    NotStarted { program: String, error: io::Error },
    #[error("takes longer than {limit_ms} ms")]
    TooLong { limit_ms: u64 },
    /// More than [`ProcessLimits`] allow.
    #[error("needs more {what} than it may have")]
    OverLimit { what: &'static str },
    /// It ended by itself and says why.
    #[error("{complaint}")]
    Failed { complaint: String },
    #[error("stopped")]
    Stopped,
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A program that is not there, and what to type to have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{name} is not installed: {command}")]
pub struct ToolMissing {
    pub name: &'static str,
    pub command: &'static str,
}

impl From<ToolMissing> for JobError {
    fn from(missing: ToolMissing) -> Self {
        Self::Wait(missing.to_string())
    }
}

impl From<ToolError> for JobError {
    fn from(error: ToolError) -> Self {
        match error {
            ToolError::Stopped => Self::Stopped,
            ToolError::NotStarted { .. } => Self::Wait(error.to_string()),
            ToolError::Io(error) => storage::StorageError::from(error).into(),
            ToolError::TooLong { .. } | ToolError::OverLimit { .. } | ToolError::Failed { .. } => Self::Discard(error.to_string()),
        }
    }
}

pub const FFMPEG_MISSING: ToolMissing = ToolMissing { name: "ffmpeg", command: "apt-get install ffmpeg" };

impl Tools {
    pub fn new(config: ToolsConfig) -> Self {
        Self(Arc::new(config))
    }

    pub fn limits(&self) -> ProcessLimits {
        self.0.limits
    }

    /// Looked for each time: who installs it need not start the server again.
    pub fn find(&self, name: &str) -> Option<PathBuf> {
        let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
        self.0.folders.iter().map(|folder| folder.join(&file)).find(|path| path.metadata().is_ok_and(|found| is_program(&found)))
    }

    /// Runs a program to its end and shows each line of its standard output. A call that is dropped ends the program, and all that it has
    /// started.
    pub async fn run(&self, run: ToolRun, token: &CancellationToken, on_line: &mut (dyn FnMut(&str) + Send)) -> Result<(), ToolError> {
        let name = run.program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut child = self.start(&run).map_err(|error| ToolError::NotStarted { program: name.clone(), error })?;
        let group = Group::of(&child);
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let talking = async {
            let telling = async {
                if let Some(mut stdin) = stdin {
                    // It may end without having read everything.
                    let _ = stdin.write_all(&run.input).await;
                }
            };
            let ((), said, complaint) = tokio::join!(telling, read_lines(stdout, on_line), read_end(stderr));
            said?;
            Ok::<_, io::Error>((child.wait().await?, complaint?))
        };
        let (status, complaint) = tokio::select! {
            ended = timeout(Duration::from_millis(run.wall_ms_max), talking) => {
                ended.map_err(|_| ToolError::TooLong { limit_ms: run.wall_ms_max })??
            }
            () = token.cancelled() => return Err(ToolError::Stopped),
        };
        drop(group);
        judge(status, complaint, &run)
    }

    fn start(&self, run: &ToolRun) -> io::Result<Child> {
        let limits = serde_json::to_string(&run.limits)?;
        let mut command = Command::new(&self.0.runner);
        command.arg("limited").arg(limits).arg(&run.program).args(&run.arguments);
        command.env_clear().env("LC_ALL", "C.UTF-8").env("HOME", &run.folder).env("TMPDIR", &run.folder);
        if let Ok(path) = std::env::join_paths(&self.0.folders) {
            command.env("PATH", path);
        }
        command.envs(run.environment.iter().map(|(name, value)| (name, value)));
        #[cfg(unix)]
        command.process_group(0);
        command.current_dir(&run.folder).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
    }
}

#[cfg(unix)]
fn is_program(found: &Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    found.is_file() && found.permissions().mode() & 0o111 != 0
}

#[cfg(not(unix))]
fn is_program(found: &Metadata) -> bool {
    found.is_file()
}

/// A process and all that it has started; they end with the value.
#[derive(Debug)]
struct Group(Option<u32>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(leader) = self.0.and_then(|id| rustix::process::Pid::from_raw(id.cast_signed())) {
            let _ = rustix::process::kill_process_group(leader, rustix::process::Signal::KILL);
        }
    }
}

async fn read_lines(stdout: Option<impl AsyncRead + Unpin>, on_line: &mut (dyn FnMut(&str) + Send)) -> io::Result<()> {
    let Some(stdout) = stdout else { return Ok(()) };
    let mut reader = BufReader::new(stdout.take(SAID_BYTES_MAX));
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).await? > 0 {
        on_line(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']));
        line.clear();
    }
    // Whoever babbles is heard out, and forgotten.
    tokio::io::copy(&mut reader.into_inner().into_inner(), &mut tokio::io::sink()).await.map(|_| ())
}

/// The last words.
async fn read_end(stderr: Option<impl AsyncRead + Unpin>) -> io::Result<String> {
    let Some(mut stderr) = stderr else { return Ok(String::new()) };
    let mut kept = Vec::new();
    let mut block = vec![0; 8 * 1024];
    loop {
        let read = stderr.read(&mut block).await?;
        if read == 0 {
            break;
        }
        kept.extend_from_slice(&block[..read]);
        let old = kept.len().saturating_sub(COMPLAINT_BYTES_MAX);
        kept.drain(..old);
    }
    Ok(String::from_utf8_lossy(&kept).trim().to_owned())
}

fn judge(status: ExitStatus, complaint: String, run: &ToolRun) -> Result<(), ToolError> {
    if status.success() {
        return Ok(());
    }
    #[cfg(unix)]
    {
        use std::os::unix::process::ExitStatusExt;
        // SIGXCPU and SIGXFSZ; ffmpeg ends itself with 128 and more on some signals.
        match status.signal() {
            Some(24) => return Err(ToolError::OverLimit { what: "computing time" }),
            Some(25) => return Err(ToolError::OverLimit { what: "space" }),
            Some(6 | 9 | 11) => return Err(ToolError::OverLimit { what: "memory" }),
            _ => {}
        }
    }
    if complaint.contains("Cannot allocate memory") || complaint.contains("MemoryError") {
        return Err(ToolError::OverLimit { what: "memory" });
    }
    if complaint.contains("File too large") {
        return Err(ToolError::OverLimit { what: "space" });
    }
    Err(ToolError::Failed { complaint: without_paths(&complaint, &run.folder) })
}

/// Where we keep things is nobody's business.
fn without_paths(text: &str, folder: &Path) -> String {
    let folder = folder.to_string_lossy();
    text.replace(&format!("file:{folder}/"), "").replace(&format!("{folder}/"), "").replace(&*folder, "")
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Leaves out what is before the command: the limits are the business of the program that applies them.
    fn tools(folder: &Path) -> Tools {
        let runner = folder.join("runner");
        std::fs::write(&runner, "#!/bin/sh\nshift 2\nexec \"$@\"\n").unwrap();
        std::fs::set_permissions(&runner, std::fs::Permissions::from_mode(0o755)).unwrap();
        let folders = vec![folder.to_owned(), PathBuf::from("/bin"), PathBuf::from("/usr/bin")];
        Tools::new(ToolsConfig { runner, folders, ..ToolsConfig::none() })
    }

    fn shell(tools: &Tools, folder: &Path, script: &str) -> ToolRun {
        ToolRun {
            program: tools.find("sh").unwrap(),
            arguments: vec!["-c".into(), script.into()],
            folder: folder.to_owned(),
            input: b"asked\n".to_vec(),
            limits: tools.limits(),
            wall_ms_max: 60_000,
            environment: Vec::new(),
        }
    }

    async fn run(script: &str) -> (Vec<String>, Result<(), ToolError>) {
        let folder = tempfile::tempdir().unwrap();
        let tools = tools(folder.path());
        let mut lines = Vec::new();
        let run = shell(&tools, folder.path(), script);
        let end = tools.run(run, &CancellationToken::new(), &mut |line| lines.push(line.to_owned())).await;
        (lines, end)
    }

    #[tokio::test]
    async fn lines_are_shown_and_the_last_words_told() {
        let (lines, end) = run("cat; echo two; echo $HOME/x is wrong >&2; exit 3").await;
        assert_eq!(lines, ["asked", "two"]);
        assert!(matches!(end, Err(ToolError::Failed { complaint }) if complaint == "x is wrong"));
        let (lines, end) = run("env | grep -c CARGO; kill -XCPU $$").await;
        assert_eq!(lines, ["0"], "our environment is not theirs");
        assert!(matches!(end, Err(ToolError::OverLimit { what: "computing time" })));
    }

    #[tokio::test]
    async fn what_it_has_started_ends_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let tools = tools(folder.path());
        let token = CancellationToken::new();
        let mut pid = None;
        let asked = shell(&tools, folder.path(), "sleep 600 & echo $!; wait");
        let stop = token.clone();
        let end = tools
            .run(asked, &token, &mut |line| {
                pid = Some(line.to_owned());
                stop.cancel();
            })
            .await;
        assert!(matches!(end, Err(ToolError::Stopped)));
        let stat = format!("/proc/{}/stat", pid.unwrap());
        // Killed at once; whoever adopts it may take a moment to bury it.
        while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            tokio::task::yield_now().await;
        }
        let late = ToolRun { wall_ms_max: 50, ..shell(&tools, folder.path(), "sleep 600") };
        assert!(matches!(tools.run(late, &CancellationToken::new(), &mut |_| {}).await, Err(ToolError::TooLong { limit_ms: 50 })));
    }

    #[test]
    fn only_programs_are_found() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("notes"), "no program").unwrap();
        assert!(tools(folder.path()).find("notes").is_none() && tools(folder.path()).find("runner").is_some());
    }
}
