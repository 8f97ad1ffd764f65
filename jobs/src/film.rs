//! A timeline's pictures as one film: which film or picture is seen when, and what ffmpeg is told to put them on one canvas beside the mixed
//! sound. Pure: values in, arguments out. This file may not know where files are kept.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::fmt::Write;
use std::ops::Range;
use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ffmpeg::{file_url, input};
use crate::submission::FieldError;
use crate::timeline::{Block, BlockKind, Layout};

/// Each is an open file and a decoder while the film is made.
pub(crate) const SHOTS_MAX: usize = 40;
/// Where nothing says another size.
const CANVAS: (u32, u32) = (1_280, 720);
const SIDE_MAX: u32 = 1_920;
const FPS: f64 = 25.0;
const FPS_MAX: f64 = 60.0;

/// What is known of a film or picture, and the pixels that it has.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Footage {
    pub width: u32,
    pub height: u32,
    pub fps: Option<f64>,
}

/// One film or picture while it is seen; times are from the beginning of the whole film.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shot {
    pub media_id: Uuid,
    pub still: bool,
    pub looped: bool,
    pub start_ms: i64,
    pub duration_ms: i64,
    /// Left out of the source at its beginning.
    pub skip_ms: i64,
}

/// The whole film, before anything is fetched.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Film {
    /// Later ones lie over earlier ones.
    pub shots: Vec<Shot>,
    pub width: u32,
    pub height: u32,
    pub fps: f64,
    pub duration_ms: i64,
}

/// Which codec makes the pictures small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VideoCodec {
    H264,
    /// Where ffmpeg was built without x264.
    Mpeg4,
}

/// Tracks lie over each other in their order. A picture whose block is muted is not shown; a film's mute is for its sound.
pub(crate) fn film(layout: &Layout, footage: &HashMap<Uuid, Footage>, range_ms: Option<Range<i64>>) -> Film {
    let seen = range_ms.unwrap_or(0..layout.duration_ms());
    let depth: HashMap<&str, usize> = layout.tracks.iter().enumerate().map(|(place, track)| (track.id.as_str(), place)).collect();
    let mut blocks: Vec<&Block> = layout.blocks.iter().filter(|block| is_shown(block)).collect();
    blocks.sort_by_key(|block| (depth.get(block.track_id.as_str()).copied().unwrap_or(0), block.start_ms));
    let shots: Vec<Shot> = blocks.into_iter().filter_map(|block| shot(block, footage, &seen)).collect();
    // The first film says the size and the pace, or else the first picture.
    let first = shots.iter().find(|shot| !shot.still).or(shots.first()).and_then(|shot| footage.get(&shot.media_id));
    let (width, height) = first.map_or(CANVAS, |first| fitted(first.width, first.height));
    let fps = first.and_then(|first| first.fps).filter(|fps| *fps >= 1.0).map_or(FPS, |fps| fps.min(FPS_MAX));
    Film { shots, width, height, fps, duration_ms: seen.end - seen.start }
}

fn is_shown(block: &Block) -> bool {
    match block.kind {
        BlockKind::Video => true,
        BlockKind::Image => !block.muted,
        BlockKind::Chunk | BlockKind::Audio => false,
    }
}

fn shot(block: &Block, footage: &HashMap<Uuid, Footage>, seen: &Range<i64>) -> Option<Shot> {
    let media_id = block.media_id.filter(|id| footage.contains_key(id))?;
    let (begin, end) = (block.start_ms.max(seen.start), (block.start_ms + block.duration_ms).min(seen.end));
    (begin < end).then(|| Shot {
        media_id,
        still: block.kind == BlockKind::Image,
        looped: block.looped,
        start_ms: begin - seen.start,
        duration_ms: end - begin,
        skip_ms: block.trim_start_ms + begin - block.start_ms,
    })
}

/// Even sides, and none longer than [`SIDE_MAX`].
fn fitted(width: u32, height: u32) -> (u32, u32) {
    let scale = (f64::from(SIDE_MAX) / f64::from(width.max(height).max(1))).min(1.0);
    let even = |side: u32| ((f64::from(side) * scale / 2.0).round() as u32 * 2).max(2);
    (even(width), even(height))
}

/// Why a layout can't become a film.
pub(crate) fn check(layout: &Layout) -> Vec<FieldError> {
    let shown: Vec<(usize, &Block)> = layout.blocks.iter().enumerate().filter(|(_, block)| is_shown(block)).collect();
    let mut errors = Vec::new();
    if shown.len() > SHOTS_MAX {
        let message = format!("{} films and pictures are shown, and a film may have {SHOTS_MAX}", shown.len());
        errors.push(FieldError { field: "format".into(), message });
    }
    let cut = |block: &Block| block.kind == BlockKind::Video && block.looped && (block.trim_start_ms > 0 || block.trim_end_ms > 0);
    for (place, _) in shown.into_iter().filter(|(_, block)| cut(block)).take(SHOTS_MAX) {
        let message = "a film that loops can't be trimmed in an mp4: import the part that is wanted".into();
        errors.push(FieldError { field: format!("blocks[{place}].loop"), message });
    }
    errors
}

impl Film {
    pub(crate) fn media(&self) -> BTreeSet<Uuid> {
        self.shots.iter().map(|shot| shot.media_id).collect()
    }

    /// `sound` is a WAV file as long as the film; `file` says where a medium lies. The same values give the same bytes.
    pub(crate) fn arguments<'a>(
        &self,
        sound: &Path,
        file: impl Fn(Uuid) -> &'a Path,
        codec: VideoCodec,
        tags: &[(&str, &str)],
        target: &Path,
    ) -> Vec<OsString> {
        let mut arguments = words("-nostdin -v error -filter_complex_threads 1 -filter_threads 1 -threads 1");
        arguments.extend(input(sound));
        for shot in &self.shots {
            arguments.extend(words("-threads 1"));
            if !shot.still {
                if shot.looped {
                    arguments.extend(words("-stream_loop -1"));
                }
                arguments.extend(["-ss".into(), seconds(shot.skip_ms).into(), "-t".into(), seconds(shot.duration_ms).into()]);
            }
            arguments.extend(input(file(shot.media_id)));
        }
        arguments.extend(["-filter_complex".into(), self.graph().into()]);
        arguments.extend(words("-map [film] -map 0:a:0"));
        arguments.extend(words(match codec {
            VideoCodec::H264 => "-c:v libx264 -preset veryfast -crf 21 -pix_fmt yuv420p -threads 1",
            VideoCodec::Mpeg4 => "-c:v mpeg4 -q:v 4 -pix_fmt yuv420p -threads 1",
        }));
        arguments.extend(words("-c:a aac -b:a 160k -map_metadata -1"));
        for (name, value) in tags {
            arguments.extend(["-metadata".into(), format!("{name}={value}").into()]);
        }
        arguments.extend(words("-fflags +bitexact -flags:v +bitexact -flags:a +bitexact -movflags +faststart -f mp4 -y"));
        arguments.push(file_url(target));
        arguments
    }

    /// A black canvas, and each shot over what came before it.
    fn graph(&self) -> String {
        let Self { width, height, fps, .. } = self;
        let mut graph = format!("color=c=black:s={width}x{height}:r={fps}:d={}[c0]", seconds(self.duration_ms));
        for (place, shot) in self.shots.iter().enumerate() {
            let (number, start, end) = (place + 1, seconds(shot.start_ms), seconds(shot.start_ms + shot.duration_ms));
            let _ = write!(graph, ";[{number}:v:0]fps={fps}");
            if shot.still {
                let _ = write!(graph, ",tpad=stop_mode=clone:stop_duration={0},trim=duration={0}", seconds(shot.duration_ms));
            }
            let _ = write!(
                graph,
                ",scale={width}:{height}:force_original_aspect_ratio=decrease,setsar=1,setpts=PTS-STARTPTS+{start}/TB[s{number}];\
                 [c{place}][s{number}]overlay=(W-w)/2:(H-h)/2:eof_action=pass:enable='gte(t,{start})*lt(t,{end})'[c{number}]"
            );
        }
        let _ = write!(graph, ";[c{}]null[film]", self.shots.len());
        graph
    }
}

fn words(text: &str) -> Vec<OsString> {
    text.split(' ').map(OsString::from).collect()
}

fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms / 1_000, ms % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::{TrackKind, track_of};

    fn block(track: &str, kind: BlockKind, id: u128, start_ms: i64, duration_ms: i64) -> Block {
        Block {
            id: format!("b{id}"),
            track_id: track.into(),
            kind,
            chunk_index: None,
            media_id: Some(Uuid::from_u128(id)),
            start_ms,
            duration_ms,
            trim_start_ms: 100,
            trim_end_ms: 0,
            gain_db: 0.0,
            fade_in_ms: 0,
            fade_out_ms: 0,
            looped: false,
            muted: false,
        }
    }

    fn layout() -> Layout {
        let tracks = ["under", "over"].map(|id| track_of(id, TrackKind::Video, id)).to_vec();
        let over = Block { muted: true, ..block("over", BlockKind::Video, 1, 500, 2_000) };
        let hidden = Block { muted: true, ..block("over", BlockKind::Image, 2, 0, 1_000) };
        Layout {
            tracks,
            blocks: vec![over, hidden, block("under", BlockKind::Image, 2, 0, 4_000), block("under", BlockKind::Audio, 3, 0, 9_000)],
        }
    }

    fn footage() -> HashMap<Uuid, Footage> {
        let of = |width, height, fps| Footage { width, height, fps };
        HashMap::from([(Uuid::from_u128(1), of(3_840, 2_161, Some(29.97))), (Uuid::from_u128(2), of(80, 60, None))])
    }

    #[test]
    fn tracks_lie_over_each_other_and_a_film_says_the_size() {
        let film = film(&layout(), &footage(), None);
        assert_eq!((film.width, film.height, film.fps, film.duration_ms), (1_920, 1_080, 29.97, 9_000));
        let seen: Vec<_> = film.shots.iter().map(|shot| (shot.media_id.as_u128(), shot.still, shot.start_ms, shot.skip_ms)).collect();
        assert_eq!(seen, [(2, true, 0, 100), (1, false, 500, 100)]);
    }

    #[test]
    fn a_part_shows_what_is_seen_in_it() {
        let film = film(&layout(), &footage(), Some(2_000..3_000));
        assert_eq!(film.duration_ms, 1_000);
        let seen: Vec<_> = film.shots.iter().map(|shot| (shot.start_ms, shot.duration_ms, shot.skip_ms)).collect();
        assert_eq!(seen, [(0, 1_000, 2_100), (0, 500, 1_600)]);
        let nothing = super::film(&layout(), &footage(), Some(8_000..9_000));
        assert_eq!((nothing.shots.len(), nothing.width, nothing.fps), (0, 1_280, 25.0));
        assert!(nothing.graph().ends_with("[c0];[c0]null[film]"));
    }

    #[test]
    fn what_can_not_be_a_film_is_told() {
        let mut layout = layout();
        assert!(check(&layout).is_empty());
        layout.blocks[0].looped = true;
        layout.blocks.extend((0..SHOTS_MAX).map(|_| block("under", BlockKind::Image, 2, 0, 10)));
        let fields: Vec<_> = check(&layout).into_iter().map(|error| error.field).collect();
        assert_eq!(fields, ["format", "blocks[0].loop"]);
    }
}
