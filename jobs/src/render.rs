//! The computing half of a merge: chosen chunks in, one file in the temporary folder and its subtitles and peaks out. Runs on a blocking
//! thread; it may not write rows or blobs.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Cursor};
use std::ops::{ControlFlow, Range};

use audio::blocks::SampleBlocks;
use audio::merge::{self, MergeChunk, MergeConfig, MergeError, MergeReport, MergedChunk, TrimSilence};
use audio::peaks::PeakBuilder;
use audio::subtitles::{self, CueRules, SpokenChunk, TimedWord};
use audio::wav::{BitDepth, WavLayout, WavReader};
use engine::speech::WordTiming;
use engine::text::marks::{self, Span};
use serde_json::{Value, json};
use storage::chunks::Chunk;
use storage::generations::Generation;
use storage::{BlobKey, StorageError};

use crate::format::{AudioFormat, ConvertError, tags_of, write_as};
use crate::job::{JobContext, JobError};
use crate::plan::ChunkSpec;
use crate::submission::MergeOptions;

/// What a merge made; the file goes with the value.
#[derive(Debug)]
pub(crate) struct Rendered {
    pub file: tempfile::NamedTempFile,
    pub format: AudioFormat,
    pub srt: String,
    pub vtt: String,
    pub peaks: Vec<u8>,
    pub duration_ms: i64,
    /// `loudness` and `chunks` as the contract shows them.
    pub report: Value,
}

/// Why there is no file.
#[derive(Debug)]
pub(crate) enum RenderError {
    /// The chunk at this place of the list has no sound any more, or another than its row says.
    Damaged {
        index: usize,
        error: StorageError,
    },
    Job(JobError),
}

impl<E: Into<JobError>> From<E> for RenderError {
    fn from(error: E) -> Self {
        Self::Job(error.into())
    }
}

pub(crate) async fn render(
    context: &JobContext,
    generation: &Generation,
    chunks: Vec<Chunk>,
    options: &MergeOptions,
) -> Result<Rendered, RenderError> {
    let config = config_of(generation, options);
    let (context, options) = (context.clone(), options.clone());
    let rendered = tokio::task::spawn_blocking(move || render_blocking(&context, &chunks, &options, &config)).await;
    rendered.map_err(|error| JobError::Retry(format!("merge: {error}")))?
}

fn config_of(generation: &Generation, options: &MergeOptions) -> MergeConfig {
    let depth = BitDepth::from_bits(options.bit_depth).unwrap_or(BitDepth::Pcm16);
    let encoding = format_of(options).encoding(depth);
    MergeConfig {
        gap_ms: u64::from(options.gap_ms.unwrap_or(0)),
        crossfade_ms: u64::from(options.crossfade_ms),
        trim_silence: options.trim_silence.then(TrimSilence::default),
        normalize: options
            .normalize
            .map(|normalize| merge::Normalize { target_lufs: normalize.target_lufs, true_peak_db: normalize.true_peak_db }),
        sample_rate_hz: encoding.rate_for(options.sample_rate_hz),
        bit_depth: depth,
        layout: WavLayout { tags: tags_of(generation), ..WavLayout::default() },
    }
}

/// A file with what was measured on its way.
#[derive(Debug)]
pub(crate) struct Written {
    pub file: tempfile::NamedTempFile,
    pub format: AudioFormat,
    pub peaks: Vec<u8>,
    pub report: MergeReport,
}

/// The samples that `open` gives, in order, as one file of the wanted format. Blocks its thread.
pub(crate) fn write(
    context: &JobContext,
    sources: &[MergeChunk],
    open: &mut dyn FnMut(usize) -> io::Result<Box<dyn SampleBlocks>>,
    config: &MergeConfig,
    format: AudioFormat,
) -> Result<Written, RenderError> {
    let mut on_block = |_done: f32| if context.token.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let wav = temporary_file(context)?;
    let writer = BufWriter::with_capacity(256 * 1024, wav.reopen().map_err(StorageError::from)?);
    let (writer, report) = merge::merge(sources, open, config, writer, &mut on_block).map_err(failed)?;
    let file: File = writer.into_inner().map_err(|error| StorageError::from(error.into_error()))?;
    drop(file);
    let peaks = peaks_of(&wav)?;
    let file = if format == AudioFormat::Wav { wav } else { encode_file(context, &wav, format, config)? };
    Ok(Written { file, format, peaks, report })
}

/// Checked when the merge was asked for.
fn format_of(options: &MergeOptions) -> AudioFormat {
    AudioFormat::parse(&options.format).unwrap_or(AudioFormat::Wav)
}

fn render_blocking(context: &JobContext, chunks: &[Chunk], options: &MergeOptions, config: &MergeConfig) -> Result<Rendered, RenderError> {
    let sources = sources_of(chunks, options)?;
    let runtime = tokio::runtime::Handle::current();
    let mut open = |index: usize| -> io::Result<Box<dyn SampleBlocks>> {
        let Chunk { id, audio, .. } = &chunks[index];
        let key = BlobKey::Chunk { generation_id: id.generation_id, index: id.index, take: id.take };
        let stored = audio.as_ref().ok_or_else(|| io::Error::other("not complete"))?;
        let bytes = runtime.block_on(context.storage.blobs.get_verified(key, &stored.blob)).map_err(io::Error::other)?;
        let reader = WavReader::new(Cursor::new(bytes)).map_err(io::Error::other)?;
        Ok(Box::new(reader))
    };
    let Written { file, format, peaks, report } = write(context, &sources, &mut open, config, format_of(options))?;
    let cues = subtitles::cues(&spoken_chunks(chunks, &report)?, &CueRules::default());
    Ok(Rendered {
        srt: written(|writer| subtitles::write_srt(&cues, writer))?,
        vtt: written(|writer| subtitles::write_vtt(&cues, writer))?,
        peaks,
        duration_ms: report.duration_ms as i64,
        report: report_of(chunks, &report),
        file,
        format,
    })
}

fn temporary_file(context: &JobContext) -> Result<tempfile::NamedTempFile, JobError> {
    Ok(tempfile::Builder::new().prefix("render-").tempfile_in(&*context.temporary_folder).map_err(StorageError::from)?)
}

/// Merged as WAV first: loudness and peaks are read from there, and a codec knows no second walk.
fn encode_file(
    context: &JobContext,
    wav: &tempfile::NamedTempFile,
    format: AudioFormat,
    config: &MergeConfig,
) -> Result<tempfile::NamedTempFile, JobError> {
    let target = temporary_file(context)?;
    let open = |file: &tempfile::NamedTempFile| file.reopen().map_err(|error| JobError::from(StorageError::from(error)));
    let reader = WavReader::new(BufReader::with_capacity(256 * 1024, open(wav)?)).map_err(|error| JobError::Retry(error.to_string()))?;
    let writer = BufWriter::with_capacity(256 * 1024, open(&target)?);
    let mut go_on = || if context.token.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let written = write_as(Box::new(reader), format, config.bit_depth, config.layout.tags.clone(), writer, &mut go_on);
    match written {
        Ok(_) => Ok(target),
        Err(_) if context.token.is_cancelled() => Err(JobError::Stopped),
        Err(ConvertError::Storage(error)) => Err(error.into()),
        Err(error) => Err(JobError::Discard(error.to_string())),
    }
}

/// The gap that was asked for, or else each chunk's own pause; nothing after the last. Trimming takes the pauses that marks put at the edges
/// of chunks: they are put back here.
fn sources_of(chunks: &[Chunk], options: &MergeOptions) -> Result<Vec<MergeChunk>, JobError> {
    let spec = |chunk: &Chunk| serde_json::from_str(&chunk.spec).map_err(|error| JobError::Discard(format!("chunk spec: {error}")));
    let specs: Vec<ChunkSpec> = chunks.iter().map(spec).collect::<Result<_, _>>()?;
    let pause_ms = |place: usize| {
        let next = specs.get(place + 1)?;
        if options.gap_ms.is_some() || options.crossfade_ms > 0 {
            return None;
        }
        let trimmed_ms = if options.trim_silence { specs[place].tail_ms + next.lead_ms } else { 0 };
        Some(u64::from(specs[place].pause_after_ms + trimmed_ms))
    };
    Ok((0..specs.len()).map(|place| MergeChunk { pause_after_ms: pause_ms(place) }).collect())
}

/// What is heard when, for the subtitles: the words' times as the merge has placed their chunk.
fn spoken_chunks(chunks: &[Chunk], report: &MergeReport) -> Result<Vec<SpokenChunk>, JobError> {
    let spoken = |place: &MergedChunk| {
        let chunk = &chunks[place.index];
        let words: Vec<WordTiming> = match &chunk.audio {
            Some(audio) => serde_json::from_str(&audio.words).map_err(|error| JobError::Discard(format!("words: {error}")))?,
            None => Vec::new(),
        };
        let timed =
            |word: &WordTiming| TimedWord::placed(word.char_start, word.char_len, u64::from(word.start_ms)..u64::from(word.end_ms), place);
        Ok(SpokenChunk {
            hidden_chars: marks_in(&chunk.text),
            text: chunk.text.clone(),
            start_ms: place.start_ms,
            end_ms: place.end_ms,
            words: words.iter().map(timed).collect(),
        })
    };
    report.chunks.iter().map(spoken).collect()
}

/// The characters of a text that are marks and nobody should read.
fn marks_in(text: &str) -> Vec<Range<u32>> {
    let char_at = |byte: usize| text[..byte].chars().count() as u32;
    let spans = marks::parse(text).into_iter();
    spans
        .filter_map(|span| match span {
            Span::Text { .. } => None,
            Span::Pause { range, .. } | Span::Voice { range, .. } | Span::Language { range, .. } => {
                Some(char_at(range.start)..char_at(range.end))
            }
        })
        .collect()
}

fn written(write: impl FnOnce(&mut dyn io::Write) -> io::Result<()>) -> Result<String, JobError> {
    let mut bytes = Vec::new();
    write(&mut bytes).map_err(StorageError::from)?;
    String::from_utf8(bytes).map_err(|error| JobError::Discard(format!("subtitles: {error}")))
}

fn peaks_of(wav: &tempfile::NamedTempFile) -> Result<Vec<u8>, JobError> {
    let file = wav.reopen().map_err(StorageError::from)?;
    let mut reader = WavReader::new(BufReader::with_capacity(256 * 1024, file)).map_err(|error| JobError::Retry(error.to_string()))?;
    let mut peaks = PeakBuilder::new(reader.format());
    let mut block = vec![0.0; audio::blocks::MAX_BLOCK_SAMPLES];
    loop {
        let read = reader.read(&mut block).map_err(StorageError::from)?;
        if read == 0 {
            break;
        }
        peaks.push(&block[..read]);
    }
    let mut bytes = Vec::new();
    peaks.finish().write(&mut bytes).map_err(StorageError::from)?;
    Ok(bytes)
}

fn report_of(chunks: &[Chunk], report: &MergeReport) -> Value {
    let places: Vec<Value> = report
        .chunks
        .iter()
        .map(|place| {
            let id = chunks[place.index].id;
            json!({
                "index": id.index, "take": id.take, "start_ms": place.start_ms, "end_ms": place.end_ms,
                "lead_ms": place.trimmed_lead_ms,
            })
        })
        .collect();
    json!({
        "loudness": {"integrated_lufs": report.loudness.integrated_lufs, "true_peak_db": report.loudness.true_peak_db},
        "gain_db": report.gain_db,
        "chunks": places,
    })
}

fn failed(error: MergeError) -> RenderError {
    let error = match error {
        MergeError::Stopped => JobError::Stopped,
        MergeError::Refused(why) => JobError::Discard(why),
        // A disk that is full or a store that does not answer is waited for; a blob that is gone or damaged is not.
        MergeError::Chunk { index, source } => match source.get_ref().and_then(|inner| inner.downcast_ref::<StorageError>()) {
            Some(error) if error.is_transient() => JobError::Wait(format!("chunk {index}: {error}")),
            Some(error @ (StorageError::BlobDamaged(_) | StorageError::BlobNotFound(_))) => {
                return RenderError::Damaged { index, error: error.clone() };
            }
            _ => JobError::Retry(format!("chunk {index}: {source}")),
        },
        MergeError::Changed { .. } => JobError::Retry(error.to_string()),
        MergeError::Write(error) => JobError::from(StorageError::from(error)),
    };
    RenderError::Job(error)
}
