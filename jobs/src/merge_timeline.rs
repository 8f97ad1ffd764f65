//! The job that makes one file of a timeline: blocks mixed to the sample, loudness measured and set, and one transaction at the end. What was
//! asked for is snapshotted beside the file, so that a second run gives the same bytes whatever was saved meanwhile.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufReader, Cursor};
use std::path::PathBuf;

use audio::blocks::{SampleBlocks, SampleFormat};
use audio::decode::{DecodeLimits, MediaDecoder};
use audio::merge::{self, MergeChunk, MergeConfig, MergeReport};
use audio::mix::Mixer;
use audio::wav::{BitDepth, WavLayout, WavReader};
use serde::{Deserialize, Serialize};
use serde_json::json;
use storage::blobs::{MediaPart, RenderPart, StoredBlob};
use storage::chunks::ChunkId;
use storage::generations::{self, Generation};
use storage::jobs::NewJob;
use storage::renders::{Render, RenderKind};
use storage::{BlobKey, StorageError, renders};
use uuid::Uuid;

use crate::film::Footage;
use crate::format::{AudioFormat, tags_of};
use crate::job::{Committed, JobContext, JobError, QUEUE_IO};
use crate::make_film::make_film;
use crate::moves;
use crate::render::{self, RenderError, Written};
use crate::submission::Normalize;
use crate::timeline::{Layout, MediaSource, SourceId, Sources, score};

/// How a timeline becomes a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimelineOptions {
    /// The name of an [`AudioFormat`].
    pub format: String,
    /// 8,000 to 192,000.
    pub sample_rate_hz: u32,
    /// 1 or 2.
    pub channels: u16,
    /// 16 or 24.
    pub bit_depth: u16,
    pub normalize: Option<Normalize>,
    /// Begin and end; `None` for all.
    pub range_ms: Option<(i64, i64)>,
    /// Of an mp4: false leaves its pictures out.
    #[serde(default = "yes")]
    pub include_video: bool,
}

fn yes() -> bool {
    true
}

/// Sound and pictures.
pub const FILM_FORMAT: &str = "mp4";
pub const FILM_CONTENT_TYPE: &str = "video/mp4";

impl TimelineOptions {
    /// Made by ffmpeg.
    pub(crate) fn is_film(&self) -> bool {
        self.format == FILM_FORMAT
    }
}

impl Default for TimelineOptions {
    fn default() -> Self {
        Self {
            format: "wav".into(),
            sample_rate_hz: 48_000,
            channels: 2,
            bit_depth: 16,
            normalize: Some(Normalize::default()),
            range_ms: None,
            include_video: true,
        }
    }
}

/// Everything that the mix is made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    pub revision: i64,
    pub layout: Layout,
    pub chunks: BTreeMap<u32, SnapshotChunk>,
    pub media: HashMap<Uuid, SnapshotMedia>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SnapshotChunk {
    pub take: u32,
    pub duration_ms: i64,
    pub sha256: String,
    pub size_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SnapshotMedia {
    pub source: MediaSource,
    pub audio: Option<(String, u64)>,
    #[serde(default)]
    pub footage: Option<SnapshotFootage>,
}

/// The file that a film or picture came as.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SnapshotFootage {
    pub footage: Footage,
    pub sha256: String,
    pub size_bytes: u64,
}

impl Snapshot {
    fn sources(&self) -> Sources {
        Sources {
            chunks_ms: self.chunks.iter().map(|(index, chunk)| (*index, chunk.duration_ms)).collect(),
            media: self.media.iter().map(|(id, media)| (*id, media.source)).collect(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct MergeTimeline {
    pub generation_id: Uuid,
    pub options: TimelineOptions,
}

impl Eq for MergeTimeline {}

impl MergeTimeline {
    pub(crate) const NAME: &str = "merge_timeline";
    pub(crate) const ATTEMPTS_MAX: i64 = 3;
    pub(crate) const TIMEOUT_MS: u64 = 6 * 60 * 60 * 1_000;

    pub(crate) fn job(&self, generation: &Generation, id: Uuid, now_ms: i64) -> Result<NewJob, StorageError> {
        Ok(NewJob {
            id,
            kind: Self::NAME.into(),
            queue: QUEUE_IO.into(),
            priority: generation.priority,
            owner_id: generation.owner_id.clone(),
            generation_id: Some(generation.id),
            payload: serde_json::to_string(self)?,
            attempts_max: Self::ATTEMPTS_MAX,
            run_at_ms: now_ms,
            dedupe_key: None,
            traceparent: generation.traceparent.clone(),
            tracestate: generation.tracestate.clone(),
        })
    }

    pub(crate) async fn run(&self, context: &JobContext) -> Result<Committed, JobError> {
        let generation = generations::find(context.storage.rows.read(), self.generation_id).await?;
        let generation = generation.ok_or_else(|| JobError::Discard("its generation is gone".into()))?;
        let snapshot = self.snapshot(context).await?;
        let folder = tempfile::tempdir_in(&*context.temporary_folder).map_err(StorageError::from)?;
        let media = self.fetch_media(context, &snapshot, &folder).await?;
        let (order, blocking, known) = (self.clone(), context.clone(), generation.clone());
        let mixed = snapshot.clone();
        let written = tokio::task::spawn_blocking(move || order.mix(&blocking, &known, &mixed, &media)).await;
        let written = written.map_err(|error| JobError::Retry(format!("mix: {error}")))??;
        let made = if self.options.is_film() {
            let file = make_film(context, self, &generation, &snapshot, written.file.path(), &folder).await?;
            Made { file, part: RenderPart::Mp4, content_type: FILM_CONTENT_TYPE, peaks: written.peaks, report: written.report }
        } else {
            Made::of(written)
        };
        drop(folder);
        let blob = self.store(context, &made).await?;
        self.finish(context, &generation, &snapshot, &made, blob).await
    }

    fn key(&self, context: &JobContext, part: RenderPart) -> BlobKey {
        BlobKey::Render { generation_id: self.generation_id, render_id: context.fence().job_id, part }
    }

    async fn snapshot(&self, context: &JobContext) -> Result<Snapshot, JobError> {
        let bytes = context.storage.blobs.get(self.key(context, RenderPart::Layout)).await?;
        serde_json::from_slice(&bytes).map_err(|error| JobError::Discard(format!("layout: {error}")))
    }

    /// The sound of media is too large for memory and is read more than once: each lies in a file while the job runs.
    async fn fetch_media(
        &self,
        context: &JobContext,
        snapshot: &Snapshot,
        folder: &tempfile::TempDir,
    ) -> Result<HashMap<Uuid, PathBuf>, JobError> {
        let wanted = score(&snapshot.layout, &snapshot.sources(), self.format(), self.range()).sources;
        let mut files = HashMap::new();
        for source in wanted {
            let SourceId::Media(media_id) = source else { continue };
            let audio = snapshot.media.get(&media_id).and_then(|media| media.audio.as_ref());
            let (sha256, size_bytes) = audio.cloned().ok_or_else(|| JobError::Discard(format!("medium {media_id} has no sound")))?;
            let path = folder.path().join(media_id.to_string());
            let key = BlobKey::Media { generation_id: self.generation_id, media_id, part: MediaPart::Audio };
            context.storage.blobs.get_file(key, &StoredBlob { sha256, size_bytes }, &path).await?;
            files.insert(media_id, path);
        }
        Ok(files)
    }

    fn encoding(&self) -> (AudioFormat, BitDepth) {
        let format = AudioFormat::parse(&self.options.format).unwrap_or(AudioFormat::Wav);
        (format, BitDepth::from_bits(self.options.bit_depth).unwrap_or(BitDepth::Pcm16))
    }

    fn format(&self) -> SampleFormat {
        let (format, depth) = self.encoding();
        let rate_hz = match self.options.sample_rate_hz {
            // Films have one of two rates everywhere.
            wanted_hz if self.options.is_film() => {
                if wanted_hz == 44_100 {
                    44_100
                } else {
                    48_000
                }
            }
            wanted_hz => format.encoding(depth).rate_for(wanted_hz),
        };
        SampleFormat { rate_hz, channels: self.options.channels }
    }

    fn range(&self) -> Option<std::ops::Range<i64>> {
        self.options.range_ms.map(|(begin_ms, end_ms)| begin_ms..end_ms)
    }

    fn mix(
        &self,
        context: &JobContext,
        generation: &Generation,
        snapshot: &Snapshot,
        media: &HashMap<Uuid, PathBuf>,
    ) -> Result<Written, JobError> {
        let (format, depth) = self.encoding();
        let score = score(&snapshot.layout, &snapshot.sources(), self.format(), self.range());
        let config = MergeConfig {
            gap_ms: 0,
            crossfade_ms: 0,
            trim_silence: None,
            normalize: self
                .options
                .normalize
                .map(|normalize| merge::Normalize { target_lufs: normalize.target_lufs, true_peak_db: normalize.true_peak_db }),
            sample_rate_hz: self.format().rate_hz,
            bit_depth: depth,
            layout: WavLayout { tags: tags_of(generation), ..WavLayout::default() },
        };
        // The mix is one chunk, played anew for each walk of the merge.
        let mut open = |_: usize| -> io::Result<Box<dyn SampleBlocks>> {
            let opener = Opener {
                runtime: tokio::runtime::Handle::current(),
                context: context.clone(),
                generation_id: self.generation_id,
                chunks: snapshot.chunks.clone(),
                sources: score.sources.clone(),
                media: media.clone(),
            };
            let mixer = Mixer::new(score.mix.clone(), Box::new(move |source| opener.open(source))).map_err(io::Error::other)?;
            Ok(Box::new(mixer))
        };
        render::write(context, &[MergeChunk::default()], &mut open, &config, format).map_err(|error| match error {
            RenderError::Damaged { error, .. } => JobError::Retry(format!("the stored sound of a block: {error}")),
            RenderError::Job(error) => error,
        })
    }

    async fn store(&self, context: &JobContext, made: &Made) -> Result<StoredBlob, JobError> {
        let blobs = &context.storage.blobs;
        blobs.put(self.key(context, RenderPart::Peaks), made.peaks.clone().into()).await?;
        Ok(blobs.put_file(self.key(context, made.part), made.file.path()).await?)
    }

    async fn finish(
        &self,
        context: &JobContext,
        generation: &Generation,
        snapshot: &Snapshot,
        made: &Made,
        blob: StoredBlob,
    ) -> Result<Committed, JobError> {
        let now_ms = context.now_ms();
        let loudness = json!({
            "integrated_lufs": made.report.loudness.integrated_lufs, "true_peak_db": made.report.loudness.true_peak_db,
        });
        let render = Render {
            id: context.fence().job_id,
            generation_id: self.generation_id,
            kind: RenderKind::Timeline,
            params: serde_json::to_string(&self.options).map_err(StorageError::from)?,
            content_type: made.content_type.into(),
            blob,
            duration_ms: made.report.duration_ms as i64,
            report: json!({"loudness": loudness, "gain_db": made.report.gain_db}).to_string(),
            created_at_ms: now_ms,
        };
        let result = json!({
            "render_id": render.id, "revision": snapshot.revision, "duration_ms": render.duration_ms, "size_bytes": render.blob.size_bytes,
            "sha256": render.blob.sha256, "content_type": render.content_type, "loudness": loudness,
        });
        let mut tx = context.begin_finish(Some(&result.to_string())).await?;
        renders::put(&mut tx, &render).await?;
        let data = json!({
            "job_id": render.id, "type": "generate.merge_timeline", "revision": snapshot.revision, "duration_ms": render.duration_ms,
            "size_bytes": render.blob.size_bytes, "loudness": loudness,
        });
        moves::merged(&mut tx, generation, data, now_ms).await?;
        context.commit(tx, "merge.before_commit", "merge.after_commit").await
    }
}

/// The file as it is kept, with what was measured on its way.
struct Made {
    file: tempfile::NamedTempFile,
    part: RenderPart,
    content_type: &'static str,
    peaks: Vec<u8>,
    report: MergeReport,
}

impl Made {
    fn of(written: Written) -> Self {
        let Written { file, format, peaks, report } = written;
        Self { file, part: format.part(), content_type: format.content_type(), peaks, report }
    }
}

/// Opens the sources of a mix, as often as it asks.
struct Opener {
    runtime: tokio::runtime::Handle,
    context: JobContext,
    generation_id: Uuid,
    chunks: BTreeMap<u32, SnapshotChunk>,
    sources: Vec<SourceId>,
    media: HashMap<Uuid, PathBuf>,
}

impl Opener {
    fn open(&self, source: usize) -> io::Result<Box<dyn SampleBlocks>> {
        match self.sources[source] {
            SourceId::Chunk(index) => {
                let chunk = &self.chunks[&index];
                let ChunkId { generation_id, index, take } = ChunkId { generation_id: self.generation_id, index, take: chunk.take };
                let stored = StoredBlob { sha256: chunk.sha256.clone(), size_bytes: chunk.size_bytes };
                let key = BlobKey::Chunk { generation_id, index, take };
                let bytes = self.runtime.block_on(self.context.storage.blobs.get_verified(key, &stored)).map_err(io::Error::other)?;
                Ok(Box::new(WavReader::new(Cursor::new(bytes)).map_err(io::Error::other)?))
            }
            // FLAC that we have written ourselves: nothing of a stranger's is parsed here.
            SourceId::Media(id) => {
                let input = Box::new(BufReader::with_capacity(64 * 1024, File::open(&self.media[&id])?));
                let limits = DecodeLimits { max_decoded_ms: u64::MAX / 2, ..DecodeLimits::default() };
                Ok(Box::new(MediaDecoder::open(input, limits)?))
            }
        }
    }
}
