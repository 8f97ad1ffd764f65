//! Timelines as the contract shows them: what comes in may leave out everything that has a usual value, what goes out says it all.

use std::collections::BTreeMap;

use jobs::arrange::{LayoutChange, TimelineView};
use jobs::merge_timeline::TimelineOptions;
use jobs::timeline::{self, SPEECH_TRACK};
use salvo::oapi::ToSchema;
use serde::{Deserialize, Serialize};
use storage::timelines::Media;
use uuid::Uuid;

use crate::problem::{FieldProblem, Problem};
use crate::wire::job::chunk_url;
use crate::wire::speech::NormalizeInput;

/// Where the pieces of a generation stand.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[salvo(schema(example = json!({
    "task_id": "0197f2c4-7d1e-7b3a-9c55-2f6d0e1a8b90", "revision": 1, "duration_ms": 5200,
    "tracks": [{"id": "speech", "kind": "speech", "name": "Speech", "gain_db": 0.0, "muted": false, "solo": false, "duck_db": null}],
    "blocks": [{
        "id": "chunk-0", "track_id": "speech", "kind": "chunk", "chunk_index": 0, "media_id": null, "start_ms": 0, "duration_ms": 5200,
        "trim_start_ms": 0, "trim_end_ms": 0, "gain_db": 0.0, "fade_in_ms": 0, "fade_out_ms": 0, "loop": false, "muted": false,
        "audio_url": "/api/audio/chunk/0197f2c4-7d1e-7b3a-9c55-2f6d0e1a8b90/0?take=1", "poster_url": null
    }]
})))]
pub struct Timeline {
    pub task_id: String,
    /// Rises by one at every save; 0 until the first.
    pub revision: i64,
    /// The end of the last block.
    pub duration_ms: i64,
    pub tracks: Vec<TimelineTrack>,
    pub blocks: Vec<TimelineBlock>,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct TimelineTrack {
    pub id: String,
    /// `speech`, `audio` or `video`.
    pub kind: String,
    pub name: String,
    pub gain_db: f32,
    pub muted: bool,
    /// If any track is solo, only those are heard.
    pub solo: bool,
    /// How far it steps back while somebody speaks.
    pub duck_db: Option<f32>,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct TimelineBlock {
    pub id: String,
    pub track_id: String,
    /// `chunk`, `audio`, `video` or `image`.
    pub kind: String,
    pub chunk_index: Option<u32>,
    pub media_id: Option<String>,
    pub start_ms: i64,
    pub duration_ms: i64,
    /// Left out of the source at its beginning.
    pub trim_start_ms: i64,
    /// Left out of the source at its end.
    pub trim_end_ms: i64,
    pub gain_db: f32,
    pub fade_in_ms: i64,
    pub fade_out_ms: i64,
    #[serde(rename = "loop")]
    pub looped: bool,
    pub muted: bool,
    /// Null for what has no sound.
    pub audio_url: Option<String>,
    /// Null for what shows nothing.
    pub poster_url: Option<String>,
}

fn media_audio_url(media: &Media) -> Option<String> {
    media.audio.as_ref().map(|_| format!("/api/timeline/{}/media/{}/audio", media.generation_id, media.id))
}

fn media_poster_url(media: &Media) -> Option<String> {
    media.width.map(|_| format!("/api/timeline/{}/media/{}/poster", media.generation_id, media.id))
}

pub fn render_url(generation_id: Uuid, render_id: &str) -> String {
    format!("/api/timeline/{generation_id}/audio/{render_id}")
}

impl Timeline {
    pub fn of(view: TimelineView) -> Self {
        let id = view.generation_id;
        let duration_ms = view.layout.duration_ms();
        let media = |media_id: Option<Uuid>| view.media.iter().find(|media| Some(media.id) == media_id);
        let audio_url = |block: &timeline::Block| match block.chunk_index {
            Some(index) => Some(chunk_url(id, index, view.takes.get(&index).copied().unwrap_or(1))),
            None => media(block.media_id).and_then(media_audio_url),
        };
        let poster_url = |block: &timeline::Block| media(block.media_id).and_then(media_poster_url);
        let blocks = view.layout.blocks.iter().map(|block| block_of(block, audio_url(block), poster_url(block))).collect();
        let tracks = view.layout.tracks.into_iter().map(track_of).collect();
        Self { task_id: id.to_string(), revision: view.revision, duration_ms, tracks, blocks }
    }
}

fn block_of(block: &timeline::Block, audio_url: Option<String>, poster_url: Option<String>) -> TimelineBlock {
    TimelineBlock {
        id: block.id.clone(),
        track_id: block.track_id.clone(),
        kind: block_kind_name(block.kind).into(),
        chunk_index: block.chunk_index,
        media_id: block.media_id.map(|id| id.to_string()),
        start_ms: block.start_ms,
        duration_ms: block.duration_ms,
        trim_start_ms: block.trim_start_ms,
        trim_end_ms: block.trim_end_ms,
        gain_db: block.gain_db,
        fade_in_ms: block.fade_in_ms,
        fade_out_ms: block.fade_out_ms,
        looped: block.looped,
        muted: block.muted,
        audio_url,
        poster_url,
    }
}

fn track_of(track: timeline::Track) -> TimelineTrack {
    let kind = match track.kind {
        timeline::TrackKind::Speech => "speech",
        timeline::TrackKind::Audio => "audio",
        timeline::TrackKind::Video => "video",
    };
    TimelineTrack {
        id: track.id,
        kind: kind.into(),
        name: track.name,
        gain_db: track.gain_db,
        muted: track.muted,
        solo: track.solo,
        duck_db: track.duck_db,
    }
}

fn block_kind_name(kind: timeline::BlockKind) -> &'static str {
    match kind {
        timeline::BlockKind::Chunk => "chunk",
        timeline::BlockKind::Audio => "audio",
        timeline::BlockKind::Video => "video",
        timeline::BlockKind::Image => "image",
    }
}

/// A layout to be saved: all blocks, or new places for some.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[salvo(schema(example = json!({"revision": 1, "positions": {"0": 0, "1": 3200}})))]
pub struct LayoutRequest {
    /// The revision that was changed; any when not given.
    pub revision: Option<i64>,
    /// All blocks there shall be.
    pub blocks: Option<Vec<BlockInput>>,
    /// All tracks there shall be; as they are when not given.
    pub tracks: Option<Vec<TrackInput>>,
    /// Instead of blocks: chunk index or block id to its new beginning, in milliseconds.
    #[salvo(schema(value_type = Option<BTreeMap<String, i64>>))]
    pub positions: Option<BTreeMap<String, i64>>,
}

#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub struct TrackInput {
    pub id: Option<String>,
    /// `speech`, `audio` (when not given) or `video`.
    pub kind: Option<String>,
    pub name: Option<String>,
    /// -60 to 24.
    #[salvo(schema(minimum = -60.0, maximum = 24.0))]
    pub gain_db: Option<f32>,
    pub muted: Option<bool>,
    pub solo: Option<bool>,
    /// -60 to 0.
    #[salvo(schema(minimum = -60.0, maximum = 0.0))]
    pub duck_db: Option<f32>,
}

#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub struct BlockInput {
    /// Made from the chunk's index when not given.
    pub id: Option<String>,
    /// The speech track when not given.
    pub track_id: Option<String>,
    /// `chunk`, `audio`, `video` or `image`; found by what it plays when not given.
    pub kind: Option<String>,
    pub chunk_index: Option<u32>,
    pub media_id: Option<String>,
    pub start_ms: Option<i64>,
    pub duration_ms: Option<i64>,
    pub trim_start_ms: Option<i64>,
    pub trim_end_ms: Option<i64>,
    /// -60 to 24.
    #[salvo(schema(minimum = -60.0, maximum = 24.0))]
    pub gain_db: Option<f32>,
    pub fade_in_ms: Option<i64>,
    pub fade_out_ms: Option<i64>,
    #[serde(rename = "loop")]
    pub looped: Option<bool>,
    pub muted: Option<bool>,
}

impl LayoutRequest {
    /// What is to be saved, on top of the timeline as it is: a block that says no length has what its trims leave.
    pub fn into_change(self, current: &TimelineView) -> Result<LayoutChange, Problem> {
        match (self.blocks, self.positions) {
            (Some(_), Some(_)) => Err(Problem::invalid_field("positions", "give either blocks or positions")),
            (None, None) => Err(Problem::invalid_field("blocks", "is needed, or positions")),
            (None, Some(positions)) => Ok(LayoutChange::Positions(positions)),
            (Some(blocks), None) => {
                let mut errors = Vec::new();
                let tracks =
                    self.tracks.map(|tracks| tracks.into_iter().enumerate().map(|(place, track)| track.read(place, &mut errors)).collect());
                let blocks = blocks.into_iter().enumerate().map(|(place, block)| block.read(place, current, &mut errors)).collect();
                if errors.is_empty() { Ok(LayoutChange::Whole { tracks, blocks }) } else { Err(Problem::invalid(errors)) }
            }
        }
    }
}

impl TrackInput {
    fn read(self, place: usize, errors: &mut Vec<FieldProblem>) -> timeline::Track {
        let kind = match self.kind.as_deref() {
            None | Some("audio") => timeline::TrackKind::Audio,
            Some("speech") => timeline::TrackKind::Speech,
            Some("video") => timeline::TrackKind::Video,
            Some(_) => {
                errors.push(FieldProblem::new(format!("tracks[{place}].kind"), "must be speech, audio or video"));
                timeline::TrackKind::Audio
            }
        };
        let id = self.id.unwrap_or_else(|| format!("track-{place}"));
        timeline::Track {
            name: self.name.unwrap_or_else(|| id.clone()),
            id,
            kind,
            gain_db: self.gain_db.unwrap_or(0.0),
            muted: self.muted.unwrap_or(false),
            solo: self.solo.unwrap_or(false),
            duck_db: self.duck_db,
        }
    }
}

impl BlockInput {
    fn read(self, place: usize, current: &TimelineView, errors: &mut Vec<FieldProblem>) -> timeline::Block {
        let mut wrong = |name: &str, message: &str| errors.push(FieldProblem::new(format!("blocks[{place}].{name}"), message));
        let media_id = self.media_id.as_deref().map(Uuid::parse_str);
        if matches!(media_id, Some(Err(_))) {
            wrong("media_id", "is no id");
        }
        let media_id = media_id.and_then(Result::ok);
        let medium = media_id.and_then(|id| current.media.iter().find(|media| media.id == id));
        let kind = match (self.kind.as_deref(), medium.map(|media| media.kind.as_str())) {
            (Some("chunk"), _) => timeline::BlockKind::Chunk,
            (Some("audio"), _) | (None, Some("audio")) => timeline::BlockKind::Audio,
            (Some("video"), _) | (None, Some("video")) => timeline::BlockKind::Video,
            (Some("image"), _) | (None, Some("image")) => timeline::BlockKind::Image,
            (None, _) => timeline::BlockKind::Chunk,
            (Some(_), _) => {
                wrong("kind", "must be chunk, audio, video or image");
                timeline::BlockKind::Chunk
            }
        };
        let (trim_start_ms, trim_end_ms) = (self.trim_start_ms.unwrap_or(0), self.trim_end_ms.unwrap_or(0));
        let source_ms = match kind {
            timeline::BlockKind::Chunk => self.chunk_index.and_then(|index| current.chunks_ms.get(&index).copied()),
            _ => medium.map(|media| media.duration_ms),
        };
        let left_ms = source_ms.unwrap_or(0).saturating_sub(trim_start_ms).saturating_sub(trim_end_ms);
        let named = self.chunk_index.map_or_else(|| format!("block-{place}"), |index| format!("chunk-{index}"));
        timeline::Block {
            id: self.id.unwrap_or(named),
            track_id: self.track_id.unwrap_or_else(|| SPEECH_TRACK.into()),
            kind,
            chunk_index: self.chunk_index,
            media_id,
            start_ms: self.start_ms.unwrap_or(0),
            duration_ms: self.duration_ms.unwrap_or(left_ms),
            trim_start_ms,
            trim_end_ms,
            gain_db: self.gain_db.unwrap_or(0.0),
            fade_in_ms: self.fade_in_ms.unwrap_or(0),
            fade_out_ms: self.fade_out_ms.unwrap_or(0),
            looped: self.looped.unwrap_or(false),
            muted: self.muted.unwrap_or(false),
        }
    }
}

/// A sound file and where it goes.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "the form's parts, for the document")]
pub struct ImportTrackForm {
    /// WAV, MP3, FLAC, Ogg, Opus, M4A, WebM or AIFF; also as `audio` or `audio_file`.
    #[salvo(schema(value_type = String, format = Binary))]
    file: Vec<u8>,
    /// Of the track; the file's name when not given.
    name: Option<String>,
    /// 0 when not given.
    #[salvo(schema(minimum = 0))]
    start_ms: Option<i64>,
    /// As long as it is when not given; a loop goes on to the end of the timeline.
    duration_ms: Option<i64>,
    /// -60 to 24.
    #[salvo(schema(minimum = -60.0, maximum = 24.0))]
    gain_db: Option<f32>,
    /// From its beginning again when it has ended.
    #[salvo(schema(rename = "loop"))]
    looped: Option<bool>,
    /// How far it steps back while somebody speaks: -60 to 0.
    #[salvo(schema(minimum = -60.0, maximum = 0.0))]
    duck_db: Option<f32>,
}

/// A film or a picture and where it goes.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "the form's parts, for the document")]
pub struct ImportVideoForm {
    /// MP4, WebM, Matroska, AVI and what else ffmpeg reads; PNG, JPEG, GIF or WebP.
    #[salvo(schema(value_type = String, format = Binary))]
    file: Vec<u8>,
    /// Of the track; the file's name when not given.
    name: Option<String>,
    /// 0 when not given.
    #[salvo(schema(minimum = 0))]
    start_ms: Option<i64>,
    /// How long a picture is shown (5,000 when not given), or only so much of a film.
    duration_ms: Option<i64>,
    /// -60 to 24.
    #[salvo(schema(minimum = -60.0, maximum = 24.0))]
    gain_db: Option<f32>,
    #[salvo(schema(rename = "loop"))]
    looped: Option<bool>,
    /// How far its sound steps back while somebody speaks: -60 to 0.
    #[salvo(schema(minimum = -60.0, maximum = 0.0))]
    duck_db: Option<f32>,
    /// False leaves a film's sound out.
    keep_audio: Option<bool>,
}

/// What was brought into a timeline.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ImportedMedia {
    pub task_id: String,
    /// Of the timeline, with it.
    pub revision: i64,
    pub media_id: String,
    pub track: TimelineTrack,
    pub block: TimelineBlock,
    /// Of the file; 0 for a picture.
    pub duration_ms: i64,
    /// As FLAC; null for what has no sound.
    pub audio_url: Option<String>,
    /// Null for what shows nothing.
    pub poster_url: Option<String>,
    /// Of the picture, in pixels.
    pub width: Option<i64>,
    pub height: Option<i64>,
    /// Pictures a second.
    pub fps: Option<f64>,
    /// What could not be done, and what would mend it.
    pub warnings: Vec<String>,
}

impl ImportedMedia {
    /// The medium is the last thing that was laid on the timeline.
    pub fn of(view: TimelineView, media: &Media, warnings: Vec<String>) -> Result<Self, Problem> {
        let Timeline { task_id, revision, tracks, blocks, .. } = Timeline::of(view);
        let laid = tracks.into_iter().next_back().zip(blocks.into_iter().next_back());
        let (track, block) = laid.ok_or_else(|| Problem::internal("an import left an empty timeline"))?;
        Ok(Self {
            task_id,
            revision,
            media_id: media.id.to_string(),
            track,
            block,
            duration_ms: media.duration_ms,
            audio_url: media_audio_url(media),
            poster_url: media_poster_url(media),
            width: media.width,
            height: media.height,
            fps: media.fps,
            warnings,
        })
    }
}

/// Merging a timeline into one file.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[salvo(schema(example = json!({"task_id": "0197f2c4-7d1e-7b3a-9c55-2f6d0e1a8b90", "format": "wav", "sample_rate": 48000, "channels": 2})))]
pub struct MergeTimelineRequest {
    #[serde(alias = "generation_id", alias = "job_id")]
    pub task_id: Option<String>,
    /// `wav`, `flac` or `opus` (and `mp3`, where it is built in); `mp4` with the pictures, where ffmpeg is installed.
    #[serde(alias = "response_format")]
    pub format: Option<String>,
    /// In hertz; 48,000 when not given.
    #[salvo(schema(minimum = 8000, maximum = 192000))]
    pub sample_rate: Option<u32>,
    /// 1 or 2 (when not given).
    #[salvo(schema(minimum = 1, maximum = 2))]
    pub channels: Option<u16>,
    /// 16 or 24.
    pub bit_depth: Option<u16>,
    pub normalize: Option<NormalizeInput>,
    /// Only this part; all when not given.
    pub range: Option<RangeInput>,
    /// Of an mp4: false leaves its pictures out.
    pub include_video: Option<bool>,
}

/// A part of a timeline.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
pub struct RangeInput {
    pub start_ms: i64,
    pub end_ms: i64,
}

impl MergeTimelineRequest {
    /// The task's id as it was given, and how to merge.
    pub fn into_parts(self) -> Result<(String, TimelineOptions), Problem> {
        let task_id = self.task_id.ok_or_else(|| Problem::invalid_field("task_id", "is needed"))?;
        let defaults = TimelineOptions::default();
        let options = TimelineOptions {
            format: self.format.unwrap_or(defaults.format),
            sample_rate_hz: self.sample_rate.unwrap_or(defaults.sample_rate_hz),
            channels: self.channels.unwrap_or(defaults.channels),
            bit_depth: self.bit_depth.unwrap_or(defaults.bit_depth),
            normalize: self.normalize.map_or(defaults.normalize, NormalizeInput::into_options),
            range_ms: self.range.map(|range| (range.start_ms, range.end_ms)),
            include_video: self.include_video.unwrap_or(defaults.include_video),
        };
        Ok((task_id, options))
    }
}
