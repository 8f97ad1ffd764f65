//! The last try of a job under which workers have died: in a process of its own, so that what happens to that process can be told from what
//! happens to us. If it dies while we live, the job did it, and is discarded; if somebody kills us, it dies with us and nothing is held
//! against the job. Without this, three unlucky power cuts would bury a healthy job.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use engine::engines::Engines;
use models::library::Library;
use serde::{Deserialize, Serialize};
use storage::Storage;
use storage::leases::Fence;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::download::DownloadConfig;
use crate::job::{Committed, JobContext, JobError, JobKind};
use crate::tool::Tools;
use crate::transcribers::Transcribers;
use crate::translators::Translators;

/// How to start the other process: the arguments are followed by the job's id and lease number.
#[derive(Clone, PartialEq, Eq)]
pub struct Isolation {
    pub program: PathBuf,
    pub arguments: Vec<String>,
    /// The first line of its input: our settings, which may hold secrets and therefore do not stand in the arguments.
    pub settings: String,
}

impl std::fmt::Debug for Isolation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Isolation").field("program", &self.program).field("arguments", &self.arguments).finish_non_exhaustive()
    }
}

/// What the other process says on its standard output, as one JSON value, when its run has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", content = "error", rename_all = "snake_case")]
pub enum IsolatedEnd {
    Committed,
    Retry(String),
    Discard(String),
    Wait(String),
    Stopped,
    Fenced,
}

/// The longest answer that is read.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

impl Isolation {
    /// Runs a job that this process holds in another one. A dropped or cancelled call kills it.
    pub(crate) async fn run(&self, fence: Fence, token: &CancellationToken) -> Result<Committed, JobError> {
        let mut child = tokio::process::Command::new(&self.program)
            .args(&self.arguments)
            .args([fence.job_id.to_string(), fence.lease_no.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| JobError::Retry(format!("start a process of its own: {error}")))?;
        // Held open until the end: the other process takes the end of its input for our end.
        let mut input = child.stdin.take();
        if let Some(input) = &mut input {
            let line = format!("{}\n", self.settings);
            input.write_all(line.as_bytes()).await.map_err(|error| JobError::Retry(format!("process of its own: {error}")))?;
        }
        let mut answer = Vec::new();
        let stdout = child.stdout.take();
        let ended = async {
            if let Some(stdout) = stdout {
                stdout.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
            }
            child.wait().await
        };
        let status = tokio::select! {
            status = ended => status.map_err(|error| JobError::Retry(format!("process of its own: {error}")))?,
            () = token.cancelled() => return Err(JobError::Stopped),
        };
        judge(status, &answer)
    }
}

fn judge(status: ExitStatus, answer: &[u8]) -> Result<Committed, JobError> {
    match serde_json::from_slice(answer) {
        Ok(IsolatedEnd::Committed) => Ok(Committed::by_another_process()),
        Ok(IsolatedEnd::Retry(why)) => Err(JobError::Retry(why)),
        Ok(IsolatedEnd::Discard(why)) => Err(JobError::Discard(why)),
        Ok(IsolatedEnd::Wait(why)) => Err(JobError::Wait(why)),
        Ok(IsolatedEnd::Stopped) => Err(JobError::Stopped),
        Ok(IsolatedEnd::Fenced) => Err(JobError::Fenced),
        Err(_) => Err(JobError::Crashed(format!("the worker died each time it ran, at last alone with {status}"))),
    }
}

/// What a job may need of the world outside.
#[derive(Debug, Clone)]
pub struct Outside {
    pub tools: Tools,
    pub downloads: Option<Arc<DownloadConfig>>,
    pub library: Option<Arc<Library>>,
    pub translators: Option<Arc<Translators>>,
    pub transcribers: Option<Arc<Transcribers>>,
}

/// The other process' side: runs a job whose lease its parent holds and keeps alive. `token` fires when the parent is gone.
pub async fn run_isolated(
    storage: Storage,
    engines: Engines,
    clock: Arc<dyn Clock>,
    temporary_folder: PathBuf,
    outside: Outside,
    fence: Fence,
    token: CancellationToken,
) -> IsolatedEnd {
    let ended = async {
        let job = storage::leases::find_leased(storage.rows.read(), fence).await?.ok_or(JobError::Fenced)?;
        let kind = JobKind::parse(&job.kind, &job.payload).map_err(|error| JobError::Discard(format!("payload: {error}")))?;
        let temporary_folder = temporary_folder.as_path().into();
        let Outside { tools, downloads, library, translators, transcribers } = outside;
        let in_flight = Arc::default();
        let job = Arc::new(job);
        let context = JobContext {
            storage,
            engines,
            clock,
            temporary_folder,
            tools,
            downloads,
            library,
            translators,
            transcribers,
            in_flight,
            job,
            token,
        };
        kind.run(&context).await
    };
    match ended.await {
        Ok(_) => IsolatedEnd::Committed,
        Err(JobError::Retry(why)) => IsolatedEnd::Retry(why),
        Err(JobError::Discard(why) | JobError::Crashed(why)) => IsolatedEnd::Discard(why),
        Err(JobError::Wait(why)) => IsolatedEnd::Wait(why),
        Err(JobError::Stopped) => IsolatedEnd::Stopped,
        Err(JobError::Fenced) => IsolatedEnd::Fenced,
    }
}
