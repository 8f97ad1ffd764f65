//! What a timeline is: tracks, blocks on them, and what may be said of each. Pure: made from chunks, checked against what there is, and
//! turned into a mix. Times are milliseconds from the beginning. This file may not know rows or files.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

use audio::blocks::SampleFormat;
use audio::mix::{Clip, FadeShape, MAX_OPEN_CLIPS, Mix, MixTrack};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::submission::FieldError;

pub const TRACKS_MAX: usize = 100;
pub const BLOCKS_MAX: usize = 50_000;
/// The end of the last block.
pub const LENGTH_MS_MAX: i64 = 100 * 3_600_000;
const NAME_CHARS_MAX: usize = 200;
/// Errors that one answer lists.
const ERRORS_MAX: usize = 50;
/// The track of the generation's own chunks; always there.
pub const SPEECH_TRACK: &str = "speech";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrackKind {
    Speech,
    Audio,
    Video,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Track {
    pub id: String,
    pub kind: TrackKind,
    pub name: String,
    /// -60 to 24.
    pub gain_db: f32,
    pub muted: bool,
    /// If any track is solo, only those are heard.
    pub solo: bool,
    /// How far it steps back while somebody speaks: -60 to 0.
    pub duck_db: Option<f32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockKind {
    /// The newest take of a chunk.
    Chunk,
    Audio,
    Video,
    Image,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Block {
    pub id: String,
    pub track_id: String,
    pub kind: BlockKind,
    pub chunk_index: Option<u32>,
    pub media_id: Option<Uuid>,
    pub start_ms: i64,
    /// How long it is heard (or seen). What is longer than the source is silent at its end, unless it loops.
    pub duration_ms: i64,
    /// Left out of the source at its beginning and its end.
    pub trim_start_ms: i64,
    pub trim_end_ms: i64,
    /// -60 to 24.
    pub gain_db: f32,
    pub fade_in_ms: i64,
    pub fade_out_ms: i64,
    #[serde(rename = "loop")]
    pub looped: bool,
    pub muted: bool,
}

/// What is saved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Layout {
    pub tracks: Vec<Track>,
    pub blocks: Vec<Block>,
}

impl Layout {
    /// The end of the last block.
    pub fn duration_ms(&self) -> i64 {
        self.blocks.iter().map(|block| block.start_ms + block.duration_ms).max().unwrap_or(0)
    }
}

/// How long the sources of blocks are.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sources {
    /// Chunk index to the length of its newest finished take.
    pub chunks_ms: BTreeMap<u32, i64>,
    pub media: HashMap<Uuid, MediaSource>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaSource {
    pub kind: BlockKind,
    /// 0 for an image.
    pub duration_ms: i64,
    pub has_audio: bool,
}

/// A chunk for the layout that nobody has saved yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpokenChunk {
    pub index: u32,
    pub duration_ms: i64,
    pub pause_after_ms: i64,
}

/// A track for everything that is spoken.
pub fn speech_track() -> Track {
    track_of(SPEECH_TRACK, TrackKind::Speech, "Speech")
}

pub fn track_of(id: &str, kind: TrackKind, name: &str) -> Track {
    Track { id: id.into(), kind, name: name.into(), gain_db: 0.0, muted: false, solo: false, duck_db: None }
}

/// One chunk after the other, with the pauses they were planned with.
pub fn layout_of_chunks(chunks: &[SpokenChunk]) -> Layout {
    let mut at_ms = 0;
    let mut blocks = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        blocks.push(chunk_block(chunk, at_ms));
        at_ms += chunk.duration_ms + chunk.pause_after_ms;
    }
    Layout { tracks: vec![speech_track()], blocks }
}

fn chunk_block(chunk: &SpokenChunk, start_ms: i64) -> Block {
    Block {
        id: format!("chunk-{}", chunk.index),
        track_id: SPEECH_TRACK.into(),
        kind: BlockKind::Chunk,
        chunk_index: Some(chunk.index),
        media_id: None,
        start_ms,
        duration_ms: chunk.duration_ms,
        trim_start_ms: 0,
        trim_end_ms: 0,
        gain_db: 0.0,
        fade_in_ms: 0,
        fade_out_ms: 0,
        looped: false,
        muted: false,
    }
}

/// A saved layout as it is today: a chunk that was made again has another length, and one that was finished since gets its place at the end.
/// A block that used its chunk whole uses the new one whole.
pub fn brought_up_to_date(mut layout: Layout, chunks: &[SpokenChunk], saved_ms: &BTreeMap<u32, i64>) -> Layout {
    let lengths: BTreeMap<u32, i64> = chunks.iter().map(|chunk| (chunk.index, chunk.duration_ms)).collect();
    for block in &mut layout.blocks {
        let Some(index) = block.chunk_index else { continue };
        let (Some(&now_ms), Some(&then_ms)) = (lengths.get(&index), saved_ms.get(&index)) else { continue };
        let left_ms = (now_ms - block.trim_start_ms - block.trim_end_ms).max(0);
        let whole = !block.looped && block.duration_ms == then_ms - block.trim_start_ms - block.trim_end_ms;
        if now_ms != then_ms && (whole || block.duration_ms > left_ms) && !block.looped {
            block.duration_ms = left_ms;
        }
    }
    let known: HashSet<u32> = saved_ms.keys().copied().collect();
    let mut at_ms =
        layout.blocks.iter().filter(|block| block.kind == BlockKind::Chunk).map(|block| block.start_ms + block.duration_ms).max();
    for chunk in chunks.iter().filter(|chunk| !known.contains(&chunk.index)) {
        let start_ms = at_ms.unwrap_or(0);
        layout.blocks.push(chunk_block(chunk, start_ms));
        at_ms = Some(start_ms + chunk.duration_ms + chunk.pause_after_ms);
    }
    layout
}

/// Everything that is wrong with a layout; empty when it can be saved.
pub fn check(layout: &Layout, sources: &Sources) -> Vec<FieldError> {
    let mut errors = Errors(Vec::new());
    errors.check(layout.tracks.len() <= TRACKS_MAX, "tracks", || format!("must be at most {TRACKS_MAX}"));
    errors.check(layout.blocks.len() <= BLOCKS_MAX, "blocks", || format!("must be at most {BLOCKS_MAX}"));
    let mut tracks: HashMap<&str, TrackKind> = HashMap::new();
    for (place, track) in layout.tracks.iter().enumerate().take(TRACKS_MAX) {
        let field = |name: &str| format!("tracks[{place}].{name}");
        errors.check(is_id(&track.id), &field("id"), || "must have 1 to 64 letters, digits, - or _".into());
        errors.check(tracks.insert(&track.id, track.kind).is_none(), &field("id"), || format!("there are two tracks {}", track.id));
        errors.check(track.name.chars().count() <= NAME_CHARS_MAX, &field("name"), || {
            format!("must have at most {NAME_CHARS_MAX} characters")
        });
        errors.check(is_gain(track.gain_db), &field("gain_db"), || "must be between -60 and 24".into());
        let duck = track.duck_db.is_none_or(|db| (-60.0..=0.0).contains(&db));
        errors.check(duck, &field("duck_db"), || "must be between -60 and 0".into());
    }
    let mut ids = HashSet::new();
    for (place, block) in layout.blocks.iter().enumerate().take(BLOCKS_MAX) {
        let field = |name: &str| format!("blocks[{place}].{name}");
        errors.check(is_id(&block.id), &field("id"), || "must have 1 to 64 letters, digits, - or _".into());
        errors.check(ids.insert(&block.id), &field("id"), || format!("there are two blocks {}", block.id));
        check_block(block, &tracks, sources, &field, &mut errors);
    }
    let open = most_at_once(&layout.blocks);
    errors.check(open <= MAX_OPEN_CLIPS, "blocks", || format!("{open} sound at the same time, and {MAX_OPEN_CLIPS} may"));
    errors.0
}

struct Errors(Vec<FieldError>);

impl Errors {
    fn check(&mut self, ok: bool, field: &str, message: impl FnOnce() -> String) {
        if !ok && self.0.len() < ERRORS_MAX {
            self.0.push(FieldError { field: field.into(), message: message() });
        }
    }
}

fn check_block(block: &Block, tracks: &HashMap<&str, TrackKind>, sources: &Sources, field: &impl Fn(&str) -> String, errors: &mut Errors) {
    let track = tracks.get(block.track_id.as_str());
    errors.check(track.is_some(), &field("track_id"), || format!("there is no track {}", block.track_id));
    let source_ms = match block.kind {
        BlockKind::Chunk => {
            let length = block.chunk_index.and_then(|index| sources.chunks_ms.get(&index));
            errors.check(length.is_some(), &field("chunk_index"), || "there is no finished chunk with this index".into());
            length.copied()
        }
        kind => {
            let media = block.media_id.and_then(|id| sources.media.get(&id));
            errors.check(media.is_some_and(|media| media.kind == kind), &field("media_id"), || {
                "there is no such medium of this kind in this timeline".into()
            });
            media.map(|media| media.duration_ms)
        }
    };
    let times = [block.start_ms, block.duration_ms, block.trim_start_ms, block.trim_end_ms, block.fade_in_ms, block.fade_out_ms];
    let in_range = times.iter().all(|ms| (0..=LENGTH_MS_MAX).contains(ms)) && block.start_ms + block.duration_ms <= LENGTH_MS_MAX;
    errors.check(in_range, &field("start_ms"), || format!("all times must be 0 or more, and the end at most {LENGTH_MS_MAX}"));
    if !in_range {
        return;
    }
    let still = block.kind == BlockKind::Image;
    errors.check(block.duration_ms > 0, &field("duration_ms"), || "must be more than 0".into());
    if let (Some(source_ms), false) = (source_ms, still) {
        let left_ms = source_ms - block.trim_start_ms - block.trim_end_ms;
        errors.check(left_ms > 0, &field("trim_end_ms"), || format!("nothing is left of {source_ms} ms"));
        let fits = block.looped || block.duration_ms <= left_ms;
        errors.check(fits || left_ms <= 0, &field("duration_ms"), || format!("must be at most {left_ms}, or loop must be true"));
    }
    let fades_ms = block.fade_in_ms + block.fade_out_ms;
    errors.check(fades_ms <= block.duration_ms, &field("fade_out_ms"), || "both fades together are longer than the block".into());
    errors.check(is_gain(block.gain_db), &field("gain_db"), || "must be between -60 and 24".into());
}

fn is_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

fn is_gain(db: f32) -> bool {
    (-60.0..=24.0).contains(&db)
}

/// How many blocks sound together at the worst moment.
fn most_at_once(blocks: &[Block]) -> usize {
    let mut edges: Vec<(i64, i32)> = Vec::with_capacity(blocks.len() * 2);
    for block in blocks.iter().filter(|block| !block.muted && block.kind != BlockKind::Image) {
        edges.push((block.start_ms, 1));
        edges.push((block.start_ms.saturating_add(block.duration_ms), -1));
    }
    // Ends before beginnings at the same moment.
    edges.sort_unstable();
    let mut open = 0i32;
    edges
        .iter()
        .map(|(_, step)| {
            open += step;
            open.max(0) as usize
        })
        .max()
        .unwrap_or(0)
}

/// A timeline as a mix, and what each of its sources is.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    pub mix: Mix,
    pub sources: Vec<SourceId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceId {
    Chunk(u32),
    Media(Uuid),
}

/// To the frame: a time in milliseconds is at `ms * rate / 1000`, rounded down.
pub fn score(layout: &Layout, sources: &Sources, format: SampleFormat, range_ms: Option<Range<i64>>) -> Score {
    let frame = |ms: i64| (i128::from(ms) * i128::from(format.rate_hz) / 1_000) as i64;
    let places: HashMap<&str, usize> = layout.tracks.iter().enumerate().map(|(place, track)| (track.id.as_str(), place)).collect();
    let tracks = layout.tracks.iter();
    let tracks = tracks.map(|track| MixTrack { gain_db: track.gain_db, muted: track.muted, solo: track.solo, duck_db: track.duck_db });
    let mut numbers: HashMap<SourceId, usize> = HashMap::new();
    let mut ids = Vec::new();
    let mut clips = Vec::new();
    for block in &layout.blocks {
        let Some(&track) = places.get(block.track_id.as_str()) else { continue };
        let Some((id, source_ms)) = sound_of(block, sources) else { continue };
        let source = *numbers.entry(id).or_insert_with(|| {
            ids.push(id);
            ids.len() - 1
        });
        let start = frame(block.start_ms);
        clips.push(Clip {
            part_ms: block.trim_start_ms.max(0) as u64..(source_ms - block.trim_end_ms).max(block.trim_start_ms) as u64,
            looped: block.looped,
            gain_db: block.gain_db,
            fade_in: frame(block.fade_in_ms) as u64,
            fade_out: frame(block.fade_out_ms) as u64,
            fade_shape: FadeShape::Linear,
            muted: block.muted,
            ..Clip::new(track, source, start, (frame(block.start_ms + block.duration_ms) - start) as u64)
        });
    }
    let whole_ms = range_ms.unwrap_or(0..layout.duration_ms());
    let range = Some(frame(whole_ms.start)..frame(whole_ms.end));
    Score { mix: Mix { format, tracks: tracks.collect(), clips, range }, sources: ids }
}

fn sound_of(block: &Block, sources: &Sources) -> Option<(SourceId, i64)> {
    match block.kind {
        BlockKind::Chunk => {
            let index = block.chunk_index?;
            Some((SourceId::Chunk(index), *sources.chunks_ms.get(&index)?))
        }
        BlockKind::Image => None,
        BlockKind::Audio | BlockKind::Video => {
            let id = block.media_id?;
            let media = sources.media.get(&id).filter(|media| media.has_audio)?;
            Some((SourceId::Media(id), media.duration_ms))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: SampleFormat = SampleFormat { rate_hz: 48_000, channels: 2 };

    fn chunks() -> Vec<SpokenChunk> {
        [(0, 1_000), (1, 500), (2, 2_000)].map(|(index, duration_ms)| SpokenChunk { index, duration_ms, pause_after_ms: 200 }).to_vec()
    }

    fn sources(chunks: &[SpokenChunk]) -> Sources {
        Sources { chunks_ms: chunks.iter().map(|chunk| (chunk.index, chunk.duration_ms)).collect(), media: HashMap::new() }
    }

    fn fields(layout: &Layout) -> Vec<String> {
        check(layout, &sources(&chunks())).into_iter().map(|error| error.field).collect()
    }

    #[test]
    fn chunks_stand_one_after_the_other_with_their_pauses() {
        let layout = layout_of_chunks(&chunks());
        let starts: Vec<_> = layout.blocks.iter().map(|block| block.start_ms).collect();
        assert_eq!((starts.as_slice(), layout.duration_ms()), ([0, 1_200, 1_900].as_slice(), 3_900));
        assert!(check(&layout, &sources(&chunks())).is_empty());
    }

    #[test]
    fn what_can_not_be_played_is_named() {
        let whole = layout_of_chunks(&chunks());
        let with = |change: fn(&mut Layout)| {
            let mut layout = whole.clone();
            change(&mut layout);
            fields(&layout)
        };
        assert_eq!(with(|layout| layout.blocks[1].track_id = "nowhere".into()), ["blocks[1].track_id"]);
        assert_eq!(with(|layout| layout.blocks[1].id = "chunk-0".into()), ["blocks[1].id"]);
        assert_eq!(with(|layout| layout.blocks[0].chunk_index = Some(9)), ["blocks[0].chunk_index"]);
        assert_eq!(with(|layout| layout.blocks[0].start_ms = -1), ["blocks[0].start_ms"]);
        assert_eq!(with(|layout| layout.blocks[0].start_ms = i64::MAX), ["blocks[0].start_ms"]);
        assert_eq!(with(|layout| layout.blocks[0].duration_ms = 1_001), ["blocks[0].duration_ms"]);
        assert_eq!(with(|layout| layout.blocks[0].trim_end_ms = 1_000), ["blocks[0].trim_end_ms"]);
        assert_eq!(with(|layout| layout.blocks[0].fade_in_ms = 1_001), ["blocks[0].fade_out_ms"]);
        assert_eq!(with(|layout| layout.blocks[0].gain_db = f32::NAN), ["blocks[0].gain_db"]);
        assert_eq!(with(|layout| layout.tracks[0].duck_db = Some(1.0)), ["tracks[0].duck_db"]);
        assert_eq!(with(|layout| layout.tracks.push(speech_track())), ["tracks[1].id"]);
        assert_eq!(
            with(|layout| layout.blocks[0].media_id = Some(Uuid::nil())),
            Vec::<String>::new(),
            "it is a chunk: the other is not read"
        );
        assert_eq!(with(|layout| layout.blocks[0].looped = true), Vec::<String>::new());
    }

    #[test]
    fn a_loop_may_be_longer_than_its_source_and_no_more_than_some_sound_at_once() {
        let mut layout = layout_of_chunks(&chunks());
        layout.blocks[0].looped = true;
        layout.blocks[0].duration_ms = 60_000;
        assert_eq!(fields(&layout), Vec::<String>::new());
        let block = layout.blocks[0].clone();
        layout.blocks.extend((0..MAX_OPEN_CLIPS).map(|number| Block { id: format!("b{number}"), ..block.clone() }));
        assert_eq!(fields(&layout), ["blocks"]);
    }

    #[test]
    fn a_chunk_made_again_keeps_its_place_and_takes_its_new_length() {
        let saved = layout_of_chunks(&chunks());
        let saved_ms = sources(&chunks()).chunks_ms;
        let mut now = chunks();
        now[1].duration_ms = 900;
        now.push(SpokenChunk { index: 3, duration_ms: 100, pause_after_ms: 0 });
        let mut trimmed = saved.clone();
        trimmed.blocks[1].trim_start_ms = 100;
        trimmed.blocks[1].duration_ms = 400;
        for (layout, duration_ms) in [(saved, 900), (trimmed, 800)] {
            let layout = brought_up_to_date(layout, &now, &saved_ms);
            assert_eq!((layout.blocks[1].start_ms, layout.blocks[1].duration_ms), (1_200, duration_ms));
            assert_eq!((layout.blocks[3].chunk_index, layout.blocks[3].start_ms), (Some(3), 3_900));
            assert!(check(&layout, &sources(&now)).is_empty());
        }
    }

    #[test]
    fn blocks_become_clips_to_the_frame() {
        let mut layout = layout_of_chunks(&chunks());
        layout.blocks[1].start_ms = 1_201;
        layout.blocks[1].trim_start_ms = 50;
        layout.blocks[1].duration_ms = 333;
        layout.blocks[1].fade_in_ms = 10;
        let score = score(&layout, &sources(&chunks()), RATE, None);
        let clip = &score.mix.clips[1];
        assert_eq!((clip.start, clip.frames, clip.fade_in, clip.part_ms.clone()), (57_648, 15_984, 480, 50..500));
        assert_eq!(score.sources, [SourceId::Chunk(0), SourceId::Chunk(1), SourceId::Chunk(2)]);
        assert_eq!(score.mix.range, Some(0..187_200));
        let part = super::score(&layout, &sources(&chunks()), RATE, Some(500..1_000));
        assert_eq!(part.mix.range, Some(24_000..48_000));
    }
}
