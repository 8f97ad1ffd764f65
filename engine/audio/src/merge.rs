//! Many chunks of speech become one file: joined in order with pauses or crossfades, trimmed, brought to one loudness, written as
//! WAV, in memory that does not grow with their length.
//!
//! Three walks over the chunks: `scan` finds lengths and silence, `level` measures, the last one writes; `plan` between them is pure
//! arithmetic. It may not know where chunks are kept nor what is said in them. The same chunks and configuration give the same bytes
//! on the same kind of machine, however the sources cut their blocks.

mod join;
mod level;
mod plan;
mod scan;

use std::io::{self, Write};
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use crate::blocks::{MAX_RATE_HZ, MIN_RATE_HZ, SampleBlocks, SampleFormat};
use crate::loudness::{Loudness, LoudnessMeter};
use crate::wav::{BitDepth, WavError, WavLayout, WavSpec, WavWriter};

use join::Joiner;
use plan::Plan;

/// Most chunks of one merge.
pub const MAX_MERGED_CHUNKS: usize = 100_000;
/// Longest pause between two chunks.
pub const MAX_GAP_MS: u64 = 600_000;
/// Longest crossfade: so much of a chunk's end is held in memory.
pub const MAX_CROSSFADE_MS: u64 = 2_000;
/// Longest file that is made.
pub const MAX_MERGED_MS: u64 = 100 * 3_600_000;

/// One chunk of the merge; its samples come from the `open` callback of [`merge`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MergeChunk {
    /// Silence after this chunk instead of the configured gap. After the last chunk only a pause that is given here is added.
    pub pause_after_ms: Option<u64>,
}

/// Take silence from the ends of every chunk. A chunk without any sound is left as it is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrimSilence {
    /// What is louder than this (RMS over 5 ms, dB under full scale) is sound.
    pub threshold_db: f32,
    /// So much silence is left at each end.
    pub keep_ms: u64,
}

impl Default for TrimSilence {
    fn default() -> Self {
        Self { threshold_db: -50.0, keep_ms: 20 }
    }
}

/// Bring the whole file to one loudness (EBU R128) without a peak above a ceiling.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Normalize {
    /// -70 to 0.
    pub target_lufs: f64,
    /// -20 to 0.
    pub true_peak_db: f64,
}

impl Default for Normalize {
    fn default() -> Self {
        Self { target_lufs: -16.0, true_peak_db: -1.0 }
    }
}

/// How to merge.
#[derive(Debug, Clone, PartialEq)]
pub struct MergeConfig {
    /// Silence between chunks that do not say otherwise.
    pub gap_ms: u64,
    /// Overlap of neighbours with no pause between them, at equal power; it shortens the whole. Never more than half of a chunk.
    pub crossfade_ms: u64,
    /// `None`: chunks are used from their first to their last frame.
    pub trim_silence: Option<TrimSilence>,
    /// `None`: levels are left alone and whatever is beyond full scale is clipped.
    pub normalize: Option<Normalize>,
    /// Rate of the file; chunks of another rate are resampled.
    pub sample_rate_hz: u32,
    /// Bits of a sample in the file.
    pub bit_depth: BitDepth,
    /// Tags, and when to write RF64.
    pub layout: WavLayout,
}

impl Default for MergeConfig {
    fn default() -> Self {
        Self {
            gap_ms: 0,
            crossfade_ms: 0,
            trim_silence: Some(TrimSilence::default()),
            normalize: Some(Normalize::default()),
            sample_rate_hz: 24_000,
            bit_depth: BitDepth::Pcm16,
            layout: WavLayout::default(),
        }
    }
}

/// Where one chunk lies in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergedChunk {
    /// Its place in the order of the merge.
    pub index: usize,
    pub start_ms: u64,
    /// With a crossfade the next chunk starts before this.
    pub end_ms: u64,
    /// In frames of the file.
    pub start_sample: u64,
    pub end_sample: u64,
    /// Silence cut from its beginning: a word at `t` in the chunk is heard at `start_ms + t - trimmed_lead_ms`.
    pub trimmed_lead_ms: u64,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MergeReport {
    pub duration_ms: u64,
    /// Frames of the file.
    pub samples: u64,
    /// 2 if any chunk is stereo.
    pub channels: u16,
    /// Measured on the samples as they were written, after rounding.
    pub loudness: Loudness,
    /// The constant gain that normalisation applied, in dB; 0 without.
    pub gain_db: f64,
    pub chunks: Vec<MergedChunk>,
}

/// Sorted by what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// The callback asked to stop: not a failure. What was written so far is no file.
    #[error("stopped on request")]
    Stopped,
    /// The request itself is wrong; another attempt gives the same.
    #[error("merge refused: {0}")]
    Refused(String),
    /// One chunk could not be opened or read, or is broken (`InvalidData`): mend or make that chunk again.
    #[error("chunk {index}: {source}")]
    Chunk {
        index: usize,
        #[source]
        source: io::Error,
    },
    /// The chunk was longer when it was read first: somebody changed it meanwhile; try again.
    #[error("chunk {index} changed while it was merged")]
    Changed { index: usize },
    /// The writer failed; try again.
    #[error("writing: {0}")]
    Write(#[source] io::Error),
}

/// Opens chunk `i` from its beginning. It is called twice for each chunk, with normalisation three to six times, so an opener that
/// fetches over a network keeps what it fetched.
pub type OpenChunk<'a> = dyn FnMut(usize) -> io::Result<Box<dyn SampleBlocks>> + 'a;

/// Asked at every block of at most 64 Ki samples with the part that is done (0 to 1, never falling).
pub type OnBlock<'a> = dyn FnMut(f32) -> ControlFlow<()> + 'a;

/// Merges `chunks` in order into one WAV (or RF64) file and tells where everything lies in it.
///
/// The writer is written from front to back, flushed and given back; no seeking. Gain is the same for the whole file; a look-ahead
/// limiter holds what would go above the true-peak ceiling, and the gain makes up for the loudness that costs.
pub fn merge<W: Write>(
    chunks: &[MergeChunk],
    open: &mut OpenChunk<'_>,
    config: &MergeConfig,
    writer: W,
    on_block: &mut OnBlock<'_>,
) -> Result<(W, MergeReport), MergeError> {
    check(chunks, config)?;
    let mut progress = Progress { on_block, from: 0.0, to: 0.1, last: 0.0 };
    let scanned = scan::scan(chunks.len(), open, config, &mut progress)?;
    let plan = Plan::new(chunks, scanned, config)?;
    let format = plan.format;
    let mut joiner = Joiner::new(&plan, open)?;
    progress.range(0.1, 0.5);
    let level = level::find(&mut joiner, config.normalize, &mut progress)?;
    progress.range(0.5, 1.0);
    let spec = WavSpec { rate_hz: format.rate_hz, channels: format.channels, depth: config.bit_depth };
    let mut wav = WavWriter::with_length(writer, spec, config.layout.clone(), plan.frames).map_err(writing)?;
    let mut meter = meter(format)?;
    let mut shaper = level.shaper(format);
    joiner.run(&mut progress, &mut |block| {
        let shaped = shaper.shape(block);
        write(&mut wav, &mut meter, shaped)
    })?;
    write(&mut wav, &mut meter, shaper.finish())?;
    let writer = wav.finish().map_err(writing)?;
    progress.done(1.0)?;
    let report = MergeReport {
        duration_ms: format.frames_to_ms(plan.frames),
        samples: plan.frames,
        channels: format.channels,
        loudness: meter.loudness(),
        gain_db: level.gain_db,
        chunks: plan.report(),
    };
    Ok((writer, report))
}

fn write<W: Write>(wav: &mut WavWriter<W>, meter: &mut LoudnessMeter, samples: &[f32]) -> Result<(), MergeError> {
    let mut heard = Ok(());
    wav.write_heard(samples, |rounded| {
        if heard.is_ok() {
            heard = meter.push(rounded);
        }
    })
    .map_err(writing)?;
    heard.map_err(|e| MergeError::Refused(e.to_string()))
}

fn meter(format: SampleFormat) -> Result<LoudnessMeter, MergeError> {
    LoudnessMeter::new(format).map_err(|e| MergeError::Refused(e.to_string()))
}

fn writing(error: WavError) -> MergeError {
    match error {
        WavError::Io(error) => MergeError::Write(error),
        other => MergeError::Refused(other.to_string()),
    }
}

fn check(chunks: &[MergeChunk], config: &MergeConfig) -> Result<(), MergeError> {
    let refuse = |what: String| Err(MergeError::Refused(what));
    if chunks.is_empty() {
        return refuse("no chunks".to_owned());
    }
    if chunks.len() > MAX_MERGED_CHUNKS {
        return refuse(format!("{} chunks, the limit is {MAX_MERGED_CHUNKS}", chunks.len()));
    }
    let longest = chunks.iter().filter_map(|c| c.pause_after_ms).fold(config.gap_ms, u64::max);
    if longest > MAX_GAP_MS {
        return refuse(format!("a pause of {longest} ms, the limit is {MAX_GAP_MS}"));
    }
    if config.crossfade_ms > MAX_CROSSFADE_MS {
        return refuse(format!("a crossfade of {} ms, the limit is {MAX_CROSSFADE_MS}", config.crossfade_ms));
    }
    if !(MIN_RATE_HZ..=MAX_RATE_HZ).contains(&config.sample_rate_hz) {
        return refuse(format!("a sample rate of {} hz", config.sample_rate_hz));
    }
    if let Some(trim) = config.trim_silence
        && !trim.threshold_db.is_finite()
    {
        return refuse("a silence threshold that is no number".to_owned());
    }
    if let Some(normalize) = config.normalize {
        if !(-70.0..=0.0).contains(&normalize.target_lufs) {
            return refuse(format!("a target of {} lufs", normalize.target_lufs));
        }
        if !(-20.0..=0.0).contains(&normalize.true_peak_db) {
            return refuse(format!("a true peak of {} db", normalize.true_peak_db));
        }
    }
    Ok(())
}

/// Maps the progress of one walk into that of the whole, and asks whether to go on.
struct Progress<'a, 'b> {
    on_block: &'a mut OnBlock<'b>,
    from: f32,
    to: f32,
    last: f32,
}

impl Progress<'_, '_> {
    fn range(&mut self, from: f32, to: f32) {
        (self.from, self.to) = (from, to);
    }

    /// `part` of the present walk is done.
    fn done(&mut self, part: f32) -> Result<(), MergeError> {
        let whole = self.from + (self.to - self.from) * part.clamp(0.0, 1.0);
        self.last = self.last.max(whole);
        match (self.on_block)(self.last) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(MergeError::Stopped),
        }
    }
}
