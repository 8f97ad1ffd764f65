//! The job that fetches the sound of a film from a stranger's URL: yt-dlp behind our own proxy, what it brings read in a process with limits,
//! cut, encoded and stored. It may run twice: what an earlier run has left is written anew. This file may not know the sites.

use std::fs::File;
use std::io::{self, BufReader, BufWriter};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use audio::blocks::SampleBlocks;
use audio::decode::{DecodeLimits, MediaDecoder};
use audio::wav::{BitDepth, Tags};
use serde::{Deserialize, Serialize};
use serde_json::json;
use storage::idempotency::IdempotencyKey;
use storage::{BlobKey, StorageError};
use tempfile::TempDir;
use tokio::sync::watch;
use uuid::Uuid;

use crate::Jobs;
use crate::download::proxy::{Proxy, ProxyConfig};
use crate::download::yt_dlp::{self, Said};
use crate::download::{DownloadConfig, Unread, url};
use crate::ffmpeg::Ffmpeg;
use crate::format::{AudioFile, AudioFormat, write_as};
use crate::job::{Committed, JobContext, JobError, QUEUE_IO};
use crate::lone::{self, LoneKind, NewLone};
use crate::submission::{FieldError, SubmitError, TraceContext};
use crate::tool::{ProcessLimits, ToolError, ToolMissing, ToolRun};
use crate::view::JobView;

pub const YT_DLP_MISSING: ToolMissing = ToolMissing { name: "yt-dlp", command: "pipx install yt-dlp" };
/// Between two looks at how far it is.
const PROGRESS_MS: u64 = 1_000;
/// What of the way is fetching; the rest is reading and writing.
const FETCHED: f64 = 0.8;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DownloadVideo {
    pub url: String,
    /// The name of an [`AudioFormat`].
    pub format: String,
    pub start_ms: Option<i64>,
    pub end_ms: Option<i64>,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct DownloadOrder {
    pub url: String,
    pub format: String,
    pub start_ms: Option<i64>,
    pub end_ms: Option<i64>,
    pub idempotency: Option<IdempotencyKey>,
    pub trace: TraceContext,
}

/// What a download has brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Downloaded {
    pub file: AudioFile,
    pub title: Option<String>,
}

/// A file with what is known of it.
struct Fetched {
    file: PathBuf,
    title: Option<String>,
}

impl DownloadVideo {
    pub(crate) const NAME: &str = "download_video";
    pub(crate) const SHOWN_AS: &str = "audio.download_video";
    pub(crate) const QUEUE: &str = QUEUE_IO;
    pub(crate) const ATTEMPTS_MAX: i64 = 3;
    pub(crate) const TIMEOUT_MS: u64 = 60 * 60 * 1_000;

    pub(crate) async fn run(&self, context: &JobContext) -> Result<Committed, JobError> {
        let config = context.downloads.as_deref().ok_or_else(|| JobError::Wait("downloads are not set up on this worker".into()))?;
        lone::started(context, "fetching").await?;
        let folder = tempfile::tempdir_in(&*context.temporary_folder).map_err(StorageError::from)?;
        let Fetched { file, title } = self.fetch(context, config, &folder).await?;
        lone::progress(context, "reading", FETCHED).await?;
        let flac = read(context, config, &file, &folder).await?;
        let target = folder.path().join("target");
        let (order, from, to) = (self.clone(), flac, target.clone());
        let tags = Tags { title: title.clone(), ..Tags::default() };
        let cut = tokio::task::spawn_blocking(move || order.write(&from, &to, tags)).await;
        let duration_ms = cut.map_err(|error| JobError::Retry(format!("write: {error}")))??;
        if context.token.is_cancelled() {
            return Err(JobError::Stopped);
        }
        let blob = context.storage.blobs.put_file(self.key(context.fence().job_id), &target).await?;
        let result = json!({
            "media_id": context.fence().job_id, "title": title, "duration_ms": duration_ms, "size_bytes": blob.size_bytes,
            "sha256": blob.sha256, "content_type": self.format().content_type(),
        });
        let mut tx = context.begin_finish(Some(&result.to_string())).await?;
        let now_ms = context.now_ms();
        lone::completed(&mut tx, context, json!({"duration_ms": duration_ms, "size_bytes": blob.size_bytes}), now_ms).await?;
        context.commit(tx, "download.before_commit", "download.after_commit").await
    }

    fn format(&self) -> AudioFormat {
        AudioFormat::parse(&self.format).unwrap_or(AudioFormat::Flac)
    }

    pub(crate) fn key(&self, job_id: Uuid) -> BlobKey {
        BlobKey::Download { media_id: job_id, part: self.format().part() }
    }

    async fn fetch(&self, context: &JobContext, config: &DownloadConfig, folder: &TempDir) -> Result<Fetched, JobError> {
        let program = context.tools.find("yt-dlp").ok_or(YT_DLP_MISSING)?;
        let password = Uuid::new_v4().simple().to_string();
        let limits = ProxyConfig { bytes_max: config.bytes_max, allowed: config.allowed.clone(), ..ProxyConfig::default() };
        let proxy = Proxy::start(limits, config.resolver.clone(), password.clone()).await.map_err(StorageError::from)?;
        let wanted = yt_dlp::Limits { bytes_max: config.bytes_max, audio_ms_max: config.audio_ms_max };
        // Its path leads to Python and to no program that might go around the proxy.
        let programs = lonely_path(context, folder)?;
        let file_limits =
            ProcessLimits { cpu_s_max: config.wall_ms_max / 1_000, file_bytes_max: config.bytes_max, ..context.tools.limits() };
        let run = ToolRun {
            program,
            arguments: yt_dlp::arguments(&self.url, folder.path(), wanted),
            folder: folder.path().to_owned(),
            input: yt_dlp::settings(&proxy.url()),
            limits: file_limits,
            wall_ms_max: config.wall_ms_max,
            environment: vec![("PATH", programs.into()), ("YTDLP_NO_PLUGINS", "1".into())],
        };
        let (far, mut how_far) = watch::channel(0.0);
        let mut title = None;
        let mut on_line = |line: &str| match yt_dlp::said(line) {
            Some(Said::Title(said)) => title = Some(said),
            Some(Said::Progress(progress)) => drop(far.send(progress)),
            None => {}
        };
        let running = context.tools.run(run, &context.token, &mut on_line);
        let telling = async {
            while how_far.changed().await.is_ok() {
                let progress = *how_far.borrow_and_update() * FETCHED;
                if let Err(error) = lone::progress(context, "fetching", progress).await {
                    return error;
                }
                context.clock.sleep(PROGRESS_MS).await;
            }
            std::future::pending().await
        };
        let ended = tokio::select! {
            ended = running => ended,
            error = telling => return Err(error),
        };
        ended.map_err(|error| why(error, &proxy, &password))?;
        if proxy.is_over_limit() {
            return Err(JobError::Discard(format!("it has more than {} bytes", config.bytes_max)));
        }
        let file = fetched_file(folder.path())?.ok_or_else(|| {
            let hours = config.audio_ms_max / 3_600_000;
            JobError::Discard(format!(
                "nothing was fetched: live streams, and what is longer than {hours} hours or larger than {} bytes, are not",
                config.bytes_max
            ))
        })?;
        Ok(Fetched { file, title })
    }

    /// The wanted part in the wanted format; gives its length.
    fn write(&self, from: &Path, to: &Path, tags: Tags) -> Result<i64, JobError> {
        let limits = DecodeLimits { max_decoded_ms: u64::MAX / 2, ..DecodeLimits::default() };
        let open = File::open(from).map_err(StorageError::from)?;
        let source = MediaDecoder::open(Box::new(BufReader::new(open)), limits).map_err(|error| JobError::Retry(error.to_string()))?;
        let part = Part::new(source, self.start_ms, self.end_ms);
        let target = BufWriter::new(File::create(to).map_err(StorageError::from)?);
        let written = write_as(Box::new(part), self.format(), BitDepth::Pcm16, tags, target, &mut || ControlFlow::Continue(()));
        let (target, encoded) = written.map_err(|error| JobError::Discard(error.to_string()))?;
        target.into_inner().map_err(|error| StorageError::from(error.into_error()))?;
        if encoded.frames == 0 {
            return Err(JobError::Discard("nothing is left: it ends before start_ms".into()));
        }
        Ok(i64::try_from(encoded.duration_ms).unwrap_or(i64::MAX))
    }
}

/// What ended the program, in words that hold neither the password nor our paths.
fn why(error: ToolError, proxy: &Proxy, password: &str) -> JobError {
    if proxy.is_over_limit() {
        return JobError::Discard("it has more bytes than may be fetched".into());
    }
    if proxy.refused() > 0 {
        return JobError::Discard("the URL leads to an address that is not public".into());
    }
    match error {
        ToolError::Failed { complaint } => {
            let reason = yt_dlp::reason(&complaint).replace(password, "...");
            if yt_dlp::may_pass(&complaint) { JobError::Retry(reason) } else { JobError::Discard(reason) }
        }
        error => error.into(),
    }
}

fn lonely_path(context: &JobContext, folder: &TempDir) -> Result<PathBuf, StorageError> {
    let programs = folder.path().join("programs");
    std::fs::create_dir(&programs)?;
    #[cfg(unix)]
    if let Some(python) = context.tools.find("python3") {
        std::os::unix::fs::symlink(python, programs.join("python3"))?;
    }
    Ok(programs)
}

fn fetched_file(folder: &Path) -> Result<Option<PathBuf>, StorageError> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let ours = entry.path().file_stem().is_some_and(|stem| stem == yt_dlp::FILE_STEM);
        if ours && entry.file_type()?.is_file() {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

/// As FLAC; what is not read here, ffmpeg may read.
async fn read(context: &JobContext, config: &DownloadConfig, file: &Path, folder: &TempDir) -> Result<PathBuf, JobError> {
    let flac = folder.path().join("sound.flac");
    let refused = match config.reader.flac(file, &flac).await {
        Ok(_) => return Ok(flac),
        Err(Unread::Busy(why)) => return Err(JobError::Wait(why)),
        Err(Unread::Refused(why)) => why,
    };
    let Ok(ffmpeg) = Ffmpeg::find(&context.tools) else {
        return Err(JobError::Discard(refused));
    };
    let (between, flac) = (folder.path().join("between.flac"), folder.path().join("converted.flac"));
    ffmpeg.sound(file, config.audio_ms_max, &between, folder.path(), &context.token).await?;
    match config.reader.flac(&between, &flac).await {
        Ok(_) => Ok(flac),
        Err(Unread::Busy(why)) => Err(JobError::Wait(why)),
        Err(Unread::Refused(why)) => Err(JobError::Discard(why)),
    }
}

/// From one time to another.
struct Part<S> {
    source: S,
    skip_frames: u64,
    left_frames: u64,
    block: Vec<f32>,
}

impl<S: SampleBlocks> Part<S> {
    fn new(source: S, start_ms: Option<i64>, end_ms: Option<i64>) -> Self {
        let frames = |ms: i64| source.format().ms_to_frames(ms.max(0).cast_unsigned());
        let skip_frames = start_ms.map_or(0, frames);
        let left_frames = end_ms.map_or(u64::MAX, |end_ms| frames(end_ms).saturating_sub(skip_frames));
        Self { source, skip_frames, left_frames, block: vec![0.0; 8_192] }
    }
}

impl<S: SampleBlocks> SampleBlocks for Part<S> {
    fn format(&self) -> audio::blocks::SampleFormat {
        self.source.format()
    }

    fn read(&mut self, out: &mut [f32]) -> io::Result<usize> {
        let channels = usize::from(self.source.format().channels);
        while self.skip_frames > 0 {
            let wanted = (self.block.len() / channels).min(usize::try_from(self.skip_frames).unwrap_or(usize::MAX));
            let read = self.source.read(&mut self.block[..wanted * channels])?;
            if read == 0 {
                return Ok(0);
            }
            self.skip_frames -= (read / channels) as u64;
        }
        let wanted = (out.len() / channels).min(usize::try_from(self.left_frames).unwrap_or(usize::MAX));
        let read = self.source.read(&mut out[..wanted * channels])?;
        self.left_frames -= (read / channels) as u64;
        Ok(read)
    }
}

impl Jobs {
    /// Accepts a download. `allowed` are addresses that are let through although they are not public.
    pub async fn request_download(
        &self,
        owner_id: &str,
        order: DownloadOrder,
        allowed: &[std::net::SocketAddr],
    ) -> Result<JobView, SubmitError> {
        let errors = check(&order, allowed);
        if !errors.is_empty() {
            return Err(SubmitError::Invalid(errors));
        }
        if self.tools.find("yt-dlp").is_none() {
            return Err(YT_DLP_MISSING.into());
        }
        self.check_lone_room(owner_id).await?;
        let DownloadOrder { url, format, start_ms, end_ms, idempotency, trace } = order;
        let id = Uuid::now_v7();
        let kind = LoneKind::Download(DownloadVideo { url, format, start_ms, end_ms });
        let new = NewLone { id, kind, owner_id: owner_id.into(), dedupe_key: None, idempotency, trace, data: json!({}) };
        let mut tx = self.storage.rows.begin().await?;
        lone::accept(&mut tx, &new, self.clock.now_ms()).await?;
        tx.commit().await?;
        self.job(owner_id, id).await?.ok_or(SubmitError::TaskNotFound(id))
    }

    /// What a finished download has brought; `None` for every other job.
    pub async fn downloaded(&self, owner_id: &str, id: Uuid) -> Result<Option<Downloaded>, StorageError> {
        let row = storage::jobs::find(self.storage.rows.read(), id).await?;
        let row = row.filter(|row| row.owner_id == owner_id && row.kind == DownloadVideo::NAME);
        let Some((payload, result)) = row.and_then(|row| Some((row.payload, row.result?))) else {
            return Ok(None);
        };
        let order: DownloadVideo = serde_json::from_str(&payload)?;
        let result: serde_json::Value = serde_json::from_str(&result)?;
        let known = result["sha256"].as_str().zip(result["size_bytes"].as_u64());
        let title = result["title"].as_str().map(str::to_owned);
        let file =
            known.map(|(sha256, size_bytes)| AudioFile { key: order.key(id), tag: sha256.into(), size_bytes, format: order.format() });
        Ok(file.map(|file| Downloaded { file, title }))
    }
}

fn check(order: &DownloadOrder, allowed: &[std::net::SocketAddr]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut wrong = |field: &str, message: String| errors.push(FieldError { field: field.into(), message });
    if let Err(why) = url::check(&order.url, allowed) {
        wrong("url", why.into());
    }
    if AudioFormat::parse(&order.format).is_none() {
        wrong("format", format!("must be one of {}", AudioFormat::names()));
    }
    let (start_ms, end_ms) = (order.start_ms.unwrap_or(0), order.end_ms.unwrap_or(i64::MAX));
    if start_ms < 0 {
        wrong("start_ms", "must be 0 or more".into());
    } else if end_ms <= start_ms {
        wrong("end_ms", "must be after start_ms".into());
    }
    errors
}
