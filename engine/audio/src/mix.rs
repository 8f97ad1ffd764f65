//! A timeline becomes one stream: clips placed to the sample on tracks, with gain, fades, loops, mute and solo, and music that steps
//! back while somebody speaks.
//!
//! The mix is a [`SampleBlocks`] source, so `merge` with a single chunk gives it its loudness and its file. Memory is a few blocks
//! for each clip that sounds at the moment. It may not know where sources are kept, nor files, nor loudness.

mod clip;
mod duck;

use std::io;
use std::ops::Range;

use crate::blocks::{MAX_RATE_HZ, MIN_RATE_HZ, SampleBlocks, SampleFormat};

use clip::PlayingClip;
use duck::Ducker;

/// Most tracks of one mix.
pub const MAX_TRACKS: usize = 1_000;
/// Most clips of one mix.
pub const MAX_CLIPS: usize = 100_000;
/// Most clips that sound at the same time: each holds its source open.
pub const MAX_OPEN_CLIPS: usize = 128;
/// Longest mix.
pub const MAX_MIX_MS: u64 = 100 * 3_600_000;
/// Strongest gain of a clip or track; anything under -120 dB is silence.
pub const MAX_GAIN_DB: f32 = 60.0;

/// What all clips of a track share.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct MixTrack {
    pub gain_db: f32,
    /// Mute wins over solo.
    pub muted: bool,
    /// If any track is solo, only those are heard.
    pub solo: bool,
    /// How far this track steps back (a gain, so usually negative) while any track without this is heard.
    pub duck_db: Option<f32>,
}

/// The course of a fade.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FadeShape {
    /// Amplitude rises evenly.
    #[default]
    Linear,
    /// Quarter of a sine: two clips that cross keep their power.
    EqualPower,
}

/// One piece of sound on the timeline. Places and lengths are frames of the mix.
#[derive(Debug, Clone, PartialEq)]
pub struct Clip {
    /// Index into [`Mix::tracks`].
    pub track: usize,
    /// What the `open` callback is asked for.
    pub source: usize,
    /// May lie before the beginning of the mix; that part is not heard.
    pub start: i64,
    /// How long it sounds. A source that ends earlier is followed by silence, unless it loops.
    pub frames: u64,
    /// What part of the source is used; an end beyond the source's is the source's.
    pub part_ms: Range<u64>,
    /// Begins the part again when it has ended.
    pub looped: bool,
    pub gain_db: f32,
    /// Frames of fade at its beginning and its end; where both are longer than the clip they multiply.
    pub fade_in: u64,
    pub fade_out: u64,
    pub fade_shape: FadeShape,
    pub muted: bool,
}

impl Clip {
    /// All of a source from `start` on, for `frames` frames, without gain or fades.
    pub fn new(track: usize, source: usize, start: i64, frames: u64) -> Self {
        Self {
            track,
            source,
            start,
            frames,
            part_ms: 0..u64::MAX,
            looped: false,
            gain_db: 0.0,
            fade_in: 0,
            fade_out: 0,
            fade_shape: FadeShape::default(),
            muted: false,
        }
    }

    fn end(&self) -> i64 {
        self.start.saturating_add_unsigned(self.frames)
    }
}

/// A timeline.
#[derive(Debug, Clone, PartialEq)]
pub struct Mix {
    /// 1 or 2 channels. Mono sources are heard on both; stereo ones become their mean in a mono mix.
    pub format: SampleFormat,
    pub tracks: Vec<MixTrack>,
    pub clips: Vec<Clip>,
    /// The frames of the timeline that are rendered; `None`: from 0 to the end of the last clip.
    pub range: Option<Range<i64>>,
}

/// The request itself is wrong; the text says what.
#[derive(Debug, thiserror::Error)]
#[error("mix refused: {0}")]
pub struct MixError(String);

/// Opens source `i` from its beginning; asked again at every turn of a loop.
pub type OpenSource = dyn FnMut(usize) -> io::Result<Box<dyn SampleBlocks>>;

/// Frames that are mixed at once.
const BLOCK_FRAMES: usize = 2048;

/// The mix as a stream. Errors while reading are those of the sources, with the number of the source in front.
pub struct Mixer {
    format: SampleFormat,
    tracks: Vec<TrackBus>,
    /// Clips that are heard, the earliest last.
    waiting: Vec<Clip>,
    playing: Vec<PlayingClip>,
    open: Box<OpenSource>,
    at: i64,
    end: i64,
    ducker: Option<Ducker>,
    /// Mixed samples from `sent` on wait to be read.
    ready: Vec<f32>,
    sent: usize,
    ended: bool,
}

/// Factor of a track, and which bus it goes to: 0 for what is always heard in full, others by their ducking.
#[derive(Debug, Clone, Copy)]
struct TrackBus {
    gain: f32,
    bus: usize,
}

impl std::fmt::Debug for Mixer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { format, at, end, waiting, playing, .. } = self;
        f.debug_struct("Mixer")
            .field("format", format)
            .field("at", at)
            .field("end", end)
            .field("waiting", &waiting.len())
            .field("playing", &playing.len())
            .finish_non_exhaustive()
    }
}

impl Mixer {
    /// Checks the timeline; nothing is opened before it is heard.
    pub fn new(mix: Mix, open: Box<OpenSource>) -> Result<Self, MixError> {
        let range = check(&mix)?;
        let any_solo = mix.tracks.iter().any(|t| t.solo);
        let mut ducks: Vec<f32> = Vec::new();
        let mut tracks = Vec::with_capacity(mix.tracks.len());
        for track in &mix.tracks {
            let heard = !track.muted && (track.solo || !any_solo);
            let bus = track.duck_db.map_or(0, |db| {
                let known = ducks.iter().position(|&d| d == db).unwrap_or_else(|| {
                    ducks.push(db);
                    ducks.len() - 1
                });
                known + 1
            });
            tracks.push(TrackBus { gain: if heard { factor(track.gain_db) } else { 0.0 }, bus });
        }
        let heard = |c: &Clip| !c.muted && tracks[c.track].gain > 0.0 && c.frames > 0 && c.start < range.end && c.end() > range.start;
        let mut waiting: Vec<Clip> = mix.clips.into_iter().filter(heard).collect();
        // Stable and by start alone: clips that start together keep their order, and so sums keep their rounding.
        waiting.sort_by_key(|c| std::cmp::Reverse(c.start));
        let ducker = if ducks.is_empty() { None } else { Some(Ducker::new(mix.format, &ducks)) };
        Ok(Self {
            format: mix.format,
            tracks,
            waiting,
            playing: Vec::new(),
            open,
            at: range.start,
            end: range.end,
            ducker,
            ready: Vec::new(),
            sent: 0,
            ended: false,
        })
    }

    /// Frames still to be delivered or mixed.
    pub fn frames_left(&self) -> u64 {
        let mixed = ((self.ready.len() - self.sent) / usize::from(self.format.channels)) as u64;
        let held = self.ducker.as_ref().map_or(0, Ducker::held_frames);
        self.end.abs_diff(self.at) + mixed + held
    }

    /// Mixes the next block into `ready`.
    fn advance(&mut self) -> io::Result<()> {
        self.ready.clear();
        self.sent = 0;
        let channels = usize::from(self.format.channels);
        let frames = (self.end.abs_diff(self.at)).min(BLOCK_FRAMES as u64) as usize;
        if frames == 0 {
            if let Some(ducker) = &mut self.ducker {
                ducker.finish(&mut self.ready);
            }
            self.ended = true;
            return Ok(());
        }
        let mut buses = vec![vec![0.0f32; frames * channels]; self.ducker.as_ref().map_or(0, Ducker::buses) + 1];
        let block = self.at..self.at + frames as i64;
        while let Some(clip) = self.waiting.pop_if(|c| c.start < block.end) {
            if self.playing.len() == MAX_OPEN_CLIPS {
                let what = format!("more than {MAX_OPEN_CLIPS} clips at once");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
            }
            self.playing.push(PlayingClip::new(clip, self.format));
        }
        for playing in &mut self.playing {
            let track = self.tracks[playing.clip().track];
            playing.mix_into(&mut buses[track.bus], block.clone(), track.gain, &mut *self.open)?;
        }
        self.playing.retain(|p| p.clip().end() > block.end);
        self.at = block.end;
        match &mut self.ducker {
            Some(ducker) => ducker.push(&buses, &mut self.ready),
            None => self.ready.append(&mut buses[0]),
        }
        Ok(())
    }
}

impl SampleBlocks for Mixer {
    fn format(&self) -> SampleFormat {
        self.format
    }

    fn read(&mut self, block: &mut [f32]) -> io::Result<usize> {
        while self.sent == self.ready.len() && !self.ended {
            self.advance()?;
        }
        let channels = usize::from(self.format.channels);
        let rest = &self.ready[self.sent..];
        let count = rest.len().min(block.len()) / channels * channels;
        block[..count].copy_from_slice(&rest[..count]);
        self.sent += count;
        Ok(count)
    }
}

/// A gain in decibels as a factor; under -120 dB nothing is left.
fn factor(db: f32) -> f32 {
    if db < -120.0 { 0.0 } else { 10f64.powf(f64::from(db) / 20.0) as f32 }
}

fn check(mix: &Mix) -> Result<Range<i64>, MixError> {
    let refuse = |what: String| Err(MixError(what));
    let format = mix.format;
    if !(1..=2).contains(&format.channels) || !(MIN_RATE_HZ..=MAX_RATE_HZ).contains(&format.rate_hz) {
        return refuse(format!("{} channels at {} hz", format.channels, format.rate_hz));
    }
    if mix.tracks.len() > MAX_TRACKS || mix.clips.len() > MAX_CLIPS {
        return refuse(format!("{} tracks and {} clips, the limits are {MAX_TRACKS} and {MAX_CLIPS}", mix.tracks.len(), mix.clips.len()));
    }
    let gains = mix.tracks.iter().flat_map(|t| [t.gain_db, t.duck_db.unwrap_or(0.0)]).chain(mix.clips.iter().map(|c| c.gain_db));
    for gain_db in gains {
        // Minus infinity is a fader pulled down; NaN is nothing.
        if gain_db.is_nan() || gain_db > MAX_GAIN_DB {
            return refuse(format!("a gain of {gain_db} db"));
        }
    }
    if let Some(duck_db) = mix.tracks.iter().filter_map(|t| t.duck_db).find(|&db| db > 0.0) {
        return refuse(format!("ducking by {duck_db} db"));
    }
    for (i, clip) in mix.clips.iter().enumerate() {
        if clip.track >= mix.tracks.len() {
            return refuse(format!("clip {i} is on track {} of {}", clip.track, mix.tracks.len()));
        }
        if clip.part_ms.start > clip.part_ms.end {
            return refuse(format!("clip {i} uses its source from {} to {} ms", clip.part_ms.start, clip.part_ms.end));
        }
    }
    let last = mix.clips.iter().map(Clip::end).fold(0, i64::max);
    let range = mix.range.clone().unwrap_or(0..last);
    if range.start > range.end {
        return refuse(format!("a range from {} to {}", range.start, range.end));
    }
    if format.frames_to_ms(range.end.abs_diff(range.start)) > MAX_MIX_MS {
        return refuse(format!("longer than {MAX_MIX_MS} ms"));
    }
    Ok(range)
}
