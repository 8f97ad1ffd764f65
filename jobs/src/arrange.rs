//! What callers do with a timeline: look at it, save it, lay a medium into it, and have it merged. A save is one transaction with the event
//! that tells it. This file may not know what a layout may hold (see `timeline`) nor how it is mixed.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::json;
use storage::blobs::{MediaPart, RenderPart};
use storage::chunks::{Chunk, ChunkStatus};
use storage::events::NewEvent;
use storage::generations::{self, Generation};
use storage::timelines::{self, Media, MediaKind, SavedLayout};
use storage::{BlobKey, StorageError, Tx, events};
use uuid::Uuid;

use crate::Jobs;
use crate::ffmpeg::Ffmpeg;
use crate::film::{self, Footage};
use crate::format::AudioFormat;
use crate::look_up::all_chunks;
use crate::merge_timeline::{FILM_FORMAT, MergeTimeline, Snapshot, SnapshotChunk, SnapshotFootage, SnapshotMedia, TimelineOptions};
use crate::plan::ChunkSpec;
use crate::submission::{FieldError, SubmitError, TraceContext};
use crate::timeline::{self, Block, BlockKind, LENGTH_MS_MAX, Layout, MediaSource, Sources, SpokenChunk, Track, TrackKind};
use crate::view::JobView;

/// Media of one timeline.
const MEDIA_MAX: u32 = 1_000;

/// A timeline as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct TimelineView {
    pub generation_id: Uuid,
    /// 0 until it is saved for the first time.
    pub revision: i64,
    pub layout: Layout,
    /// The take that each chunk's block plays.
    pub takes: BTreeMap<u32, u32>,
    pub chunks_ms: BTreeMap<u32, i64>,
    pub media: Vec<Media>,
}

/// What a caller saves.
#[derive(Debug, Clone, PartialEq)]
pub enum LayoutChange {
    /// Everything anew; tracks stay where none are given.
    Whole { tracks: Option<Vec<Track>>, blocks: Vec<Block> },
    /// Other places for blocks, by their id or by the index of their chunk.
    Positions(BTreeMap<String, i64>),
}

/// Why a layout was not saved.
#[derive(Debug, thiserror::Error)]
pub enum ArrangeError {
    #[error("no task {0}")]
    TaskNotFound(Uuid),
    #[error("revision {revision} is the newest")]
    Stale { revision: i64 },
    #[error("layout not valid")]
    Invalid(Vec<FieldError>),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A medium and where it goes.
#[derive(Debug, Clone, PartialEq)]
pub struct NewMedia {
    pub media: Media,
    pub track_kind: TrackKind,
    pub start_ms: i64,
    /// When not given: as long as it is; a loop goes on to the end of what is there.
    pub duration_ms: Option<i64>,
    pub gain_db: f32,
    pub looped: bool,
    pub duck_db: Option<f32>,
}

/// The row's JSON: the layout, and how long the chunks were when it was saved.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    #[serde(flatten)]
    layout: Layout,
    chunks_ms: BTreeMap<u32, i64>,
}

/// What a timeline is made from, read once.
struct Material {
    chunks: BTreeMap<u32, Chunk>,
    media: Vec<Media>,
}

impl Material {
    fn spoken(&self) -> Result<Vec<SpokenChunk>, StorageError> {
        let spoken = |(index, chunk): (&u32, &Chunk)| {
            let spec: ChunkSpec = serde_json::from_str(&chunk.spec)?;
            let duration_ms = chunk.audio.as_ref().map_or(0, |audio| audio.duration_ms);
            Ok(SpokenChunk { index: *index, duration_ms, pause_after_ms: i64::from(spec.pause_after_ms) })
        };
        self.chunks.iter().map(spoken).collect()
    }

    fn sources(&self) -> Sources {
        let length = |chunk: &Chunk| chunk.audio.as_ref().map_or(0, |audio| audio.duration_ms);
        Sources {
            chunks_ms: self.chunks.iter().map(|(index, chunk)| (*index, length(chunk))).collect(),
            media: self.media.iter().map(|media| (media.id, source_of(media))).collect(),
        }
    }

    fn layout(&self, saved: Option<&SavedLayout>) -> Result<Layout, StorageError> {
        let spoken = self.spoken()?;
        let Some(saved) = saved else {
            return Ok(timeline::layout_of_chunks(&spoken));
        };
        let stored: Stored = serde_json::from_str(&saved.layout)?;
        Ok(timeline::brought_up_to_date(stored.layout, &spoken, &stored.chunks_ms))
    }

    fn snapshot(&self, revision: i64, layout: Layout) -> Snapshot {
        let chunk = |(index, chunk): (&u32, &Chunk)| {
            let audio = chunk.audio.as_ref()?;
            let (sha256, size_bytes) = (audio.blob.sha256.clone(), audio.blob.size_bytes);
            Some((*index, SnapshotChunk { take: chunk.id.take, duration_ms: audio.duration_ms, sha256, size_bytes }))
        };
        let media = |media: &Media| {
            let audio = media.audio.as_ref().map(|audio| (audio.sha256.clone(), audio.size_bytes));
            (media.id, SnapshotMedia { source: source_of(media), audio, footage: footage_of(media) })
        };
        let media: HashMap<_, _> = self.media.iter().map(media).collect();
        Snapshot { revision, layout, chunks: self.chunks.iter().filter_map(chunk).collect(), media }
    }
}

fn source_of(media: &Media) -> MediaSource {
    let kind = match media.kind {
        MediaKind::Audio => BlockKind::Audio,
        MediaKind::Video => BlockKind::Video,
        MediaKind::Image => BlockKind::Image,
    };
    MediaSource { kind, duration_ms: media.duration_ms, has_audio: media.audio.is_some() }
}

/// What can be shown of a medium; nothing of a film whose pictures nobody could read.
fn footage_of(media: &Media) -> Option<SnapshotFootage> {
    let side = |side: Option<i64>| side.and_then(|side| u32::try_from(side).ok());
    let footage = Footage { width: side(media.width)?, height: side(media.height)?, fps: media.fps };
    Some(SnapshotFootage { footage, sha256: media.source.sha256.clone(), size_bytes: media.source.size_bytes })
}

impl Jobs {
    /// The saved timeline, brought up to date with its chunks; made from them if it was never saved.
    pub async fn timeline(&self, owner_id: &str, id: Uuid) -> Result<Option<TimelineView>, StorageError> {
        if self.generation(owner_id, id).await?.is_none() {
            return Ok(None);
        }
        let material = self.material(id).await?;
        let saved = timelines::find(self.storage.rows.read(), id).await?;
        let layout = material.layout(saved.as_ref())?;
        Ok(Some(view_of(id, saved.map_or(0, |saved| saved.revision), layout, material)))
    }

    /// Saves a layout over revision `revision`; `None` saves over whatever there is.
    pub async fn save_layout(
        &self,
        owner_id: &str,
        id: Uuid,
        revision: Option<i64>,
        change: LayoutChange,
    ) -> Result<TimelineView, ArrangeError> {
        self.arrange(owner_id, id, revision, None, |layout| match change {
            LayoutChange::Whole { tracks, blocks } => Ok(Layout { tracks: tracks.unwrap_or(layout.tracks), blocks }),
            LayoutChange::Positions(positions) => moved(layout, &positions),
        })
        .await
    }

    /// Lays a medium, whose blobs are stored, on a track of its own. Returns the timeline with the track and the block at the end.
    pub async fn lay_media(&self, owner_id: &str, id: Uuid, new: NewMedia) -> Result<TimelineView, ArrangeError> {
        let media = new.media.clone();
        self.arrange(owner_id, id, None, Some(media), move |mut layout| {
            let short = &new.media.id.simple().to_string()[20..];
            let track = Track {
                gain_db: 0.0,
                duck_db: new.duck_db,
                ..timeline::track_of(&format!("track-{short}"), new.track_kind, &new.media.name)
            };
            let whole_ms = new.media.duration_ms;
            let rest_ms = layout.duration_ms().saturating_sub(new.start_ms);
            let duration_ms = new.duration_ms.unwrap_or(if new.looped { whole_ms.max(rest_ms) } else { whole_ms });
            layout.blocks.push(Block {
                id: format!("block-{short}"),
                track_id: track.id.clone(),
                kind: source_of(&new.media).kind,
                chunk_index: None,
                media_id: Some(new.media.id),
                start_ms: new.start_ms,
                duration_ms,
                trim_start_ms: 0,
                trim_end_ms: 0,
                gain_db: new.gain_db,
                fade_in_ms: 0,
                fade_out_ms: 0,
                looped: new.looped,
                muted: false,
            });
            layout.tracks.push(track);
            Ok(layout)
        })
        .await
    }

    async fn arrange(
        &self,
        owner_id: &str,
        id: Uuid,
        revision: Option<i64>,
        media: Option<Media>,
        change: impl FnOnce(Layout) -> Result<Layout, ArrangeError>,
    ) -> Result<TimelineView, ArrangeError> {
        self.generation(owner_id, id).await?.ok_or(ArrangeError::TaskNotFound(id))?;
        let mut material = self.material(id).await?;
        material.media.extend(media.clone());
        if material.media.len() > MEDIA_MAX as usize {
            let message = format!("a timeline holds at most {MEDIA_MAX} media");
            return Err(ArrangeError::Invalid(vec![FieldError { field: "file".into(), message }]));
        }
        let now_ms = self.clock.now_ms();
        let mut tx = self.storage.rows.begin().await?;
        generations::lock(&mut tx, id).await?;
        let saved = timelines::find_in(&mut tx, id).await?;
        let current = saved.as_ref().map_or(0, |saved| saved.revision);
        if revision.is_some_and(|revision| revision != current) {
            return Err(ArrangeError::Stale { revision: current });
        }
        let layout = change(material.layout(saved.as_ref())?)?;
        let sources = material.sources();
        let errors = timeline::check(&layout, &sources);
        if !errors.is_empty() {
            return Err(ArrangeError::Invalid(errors));
        }
        if let Some(media) = &media {
            timelines::insert_media(&mut tx, media).await?;
        }
        let stored = Stored { layout, chunks_ms: sources.chunks_ms };
        let text = serde_json::to_string(&stored).map_err(StorageError::from)?;
        let revision = timelines::save(&mut tx, id, &text, now_ms).await?;
        tell(&mut tx, owner_id, id, revision, now_ms).await?;
        tx.commit().await?;
        Ok(view_of(id, revision, stored.layout, material))
    }

    /// Accepts the merge of a timeline as it is now.
    pub async fn request_timeline_merge(
        &self,
        owner_id: &str,
        task_id: Uuid,
        options: TimelineOptions,
        idempotency: Option<storage::idempotency::IdempotencyKey>,
        trace: TraceContext,
    ) -> Result<JobView, SubmitError> {
        let generation = self.generation(owner_id, task_id).await?.ok_or(SubmitError::TaskNotFound(task_id))?;
        let material = self.material(task_id).await?;
        let saved = timelines::find(self.storage.rows.read(), task_id).await?;
        let layout = material.layout(saved.as_ref())?;
        let errors = check_options(&options, &layout);
        if !errors.is_empty() {
            return Err(SubmitError::Invalid(errors));
        }
        let missing = self.unfinished(task_id, &material).await?;
        if options.is_film() {
            Ffmpeg::find(&self.tools)?;
        }
        if saved.is_none() && !missing.is_empty() {
            return Err(SubmitError::ChunksIncomplete(missing));
        }
        let snapshot = material.snapshot(saved.map_or(0, |saved| saved.revision), layout);
        let bytes = serde_json::to_vec(&snapshot).map_err(StorageError::from)?;
        let id = Uuid::now_v7();
        // The blob before the row that relies on it.
        let key = BlobKey::Render { generation_id: task_id, render_id: id, part: RenderPart::Layout };
        self.storage.blobs.put(key, bytes.into()).await?;
        let now_ms = self.clock.now_ms();
        let traced = Generation { traceparent: trace.traceparent, tracestate: trace.tracestate, ..generation };
        let job = MergeTimeline { generation_id: task_id, options }.job(&traced, id, now_ms)?;
        let mut tx = self.storage.rows.begin().await?;
        generations::lock(&mut tx, task_id).await?;
        storage::jobs::enqueue(&mut tx, &[job], now_ms).await?;
        if let Some(key) = &idempotency {
            storage::idempotency::note_job(&mut tx, key, id).await?;
        }
        tx.commit().await?;
        self.job(owner_id, id).await?.ok_or(SubmitError::TaskNotFound(id))
    }

    /// The newest finished take of each chunk, and all media.
    async fn material(&self, id: Uuid) -> Result<Material, StorageError> {
        let all = all_chunks(self.storage.rows.read(), id).await?;
        let finished = all.into_iter().filter(|chunk| chunk.status == ChunkStatus::Completed);
        // Takes come in order: the last one stays.
        let chunks = finished.map(|chunk| (chunk.id.index, chunk)).collect();
        Ok(Material { chunks, media: timelines::list_media(self.storage.rows.read(), id, MEDIA_MAX).await? })
    }

    async fn unfinished(&self, id: Uuid, material: &Material) -> Result<Vec<u32>, StorageError> {
        let mut indexes: Vec<u32> = all_chunks(self.storage.rows.read(), id).await?.into_iter().map(|chunk| chunk.id.index).collect();
        indexes.dedup();
        indexes.retain(|index| !material.chunks.contains_key(index));
        Ok(indexes)
    }
}

fn view_of(generation_id: Uuid, revision: i64, layout: Layout, material: Material) -> TimelineView {
    let takes = material.chunks.iter().map(|(index, chunk)| (*index, chunk.id.take)).collect();
    let chunks_ms = material.sources().chunks_ms;
    TimelineView { generation_id, revision, layout, takes, chunks_ms, media: material.media }
}

fn moved(mut layout: Layout, positions: &BTreeMap<String, i64>) -> Result<Layout, ArrangeError> {
    let mut errors = Vec::new();
    for (name, start_ms) in positions {
        let index = name.parse::<u32>().ok();
        let wanted = |block: &&mut Block| block.id == *name || (index.is_some() && block.chunk_index == index);
        match layout.blocks.iter_mut().find(wanted) {
            Some(block) => block.start_ms = *start_ms,
            None => errors.push(FieldError { field: format!("positions.{name}"), message: "there is no such block".into() }),
        }
    }
    if errors.is_empty() { Ok(layout) } else { Err(ArrangeError::Invalid(errors)) }
}

async fn tell(tx: &mut Tx, owner_id: &str, id: Uuid, revision: i64, now_ms: i64) -> Result<(), StorageError> {
    let event = NewEvent { owner_id, generation_id: Some(id), kind: "timeline.updated", data: json!({"revision": revision}) };
    events::append(tx, event, now_ms).await.map(|_| ())
}

fn check_options(options: &TimelineOptions, layout: &Layout) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut check = |ok: bool, field: &str, message: String| {
        if !ok {
            errors.push(FieldError { field: field.into(), message });
        }
    };
    let known = options.is_film() || AudioFormat::parse(&options.format).is_some();
    check(known, "format", format!("must be one of {}, {FILM_FORMAT}", AudioFormat::names()));
    check((8_000..=192_000).contains(&options.sample_rate_hz), "sample_rate", "must be between 8000 and 192000".into());
    check(matches!(options.channels, 1 | 2), "channels", "must be 1 or 2".into());
    check(matches!(options.bit_depth, 16 | 24), "bit_depth", "must be 16 or 24".into());
    if let Some((begin_ms, end_ms)) = options.range_ms {
        let ok = 0 <= begin_ms && begin_ms < end_ms && end_ms <= LENGTH_MS_MAX;
        check(ok, "range", "must begin at 0 or later and end after that".into());
    }
    check(!layout.blocks.is_empty(), "task_id", "there is nothing on this timeline yet".into());
    if options.is_film() && options.include_video {
        errors.extend(film::check(layout));
    }
    errors
}

/// Where the parts of a medium are kept.
pub fn media_key(generation_id: Uuid, media_id: Uuid, part: MediaPart) -> BlobKey {
    BlobKey::Media { generation_id, media_id, part }
}
