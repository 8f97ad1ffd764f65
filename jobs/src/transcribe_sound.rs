//! The job that writes down what is said in a recording: window after window, each stored when it is finished, so that another run goes on behind
//! it and writes the same. What this program has spoken itself is known without a model. This file may not know how a model hears.

use std::fs::File;
use std::io::BufReader;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use audio::blocks::{MAX_BLOCK_SAMPLES, SampleBlocks};
use audio::wav::WavReader;
use engine::speech::WordTiming;
use engine::text::marks::{self, Span};
pub use engine::whisper::{SAMPLE_RATE_HZ, Wish};
use engine::whisper::{Segment, TranscribeError, Whisper, WindowText, Word};
use serde::{Deserialize, Serialize};
use serde_json::json;
use storage::blobs::{RenderPart, StoredBlob};
use storage::generations::{self, Generation};
use storage::idempotency::IdempotencyKey;
use storage::{BlobKey, StorageError, Tx, job_parts};
use uuid::Uuid;

use crate::job::{Committed, JobContext, JobError, QUEUE_CPU};
use crate::lone::{self, End, LoneKind, NewLone};
use crate::look_up::all_chunks;
use crate::submission::{FieldError, SubmitError, TraceContext};
use crate::transcribers::{NoTranscriber, no_models};
use crate::transcript::{Transcript, TranscriptFormat, shown};
use crate::view::JobView;
use crate::{Jobs, fail_point};

/// Of the text that the first window is told.
pub const PROMPT_CHARS_MAX: usize = 2_000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TranscribeSound {
    source: Source,
    wish: Wish,
    format: TranscriptFormat,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Source {
    /// 16 kHz mono WAV, stored under the job's id.
    Sound { model: String, sha256: String, size_bytes: u64, duration_ms: u64 },
    /// What this program has spoken.
    Generation { generation_id: Uuid },
}

/// A finished window; times from the begin of the sound.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Part {
    segments: Vec<Segment>,
    language: Option<String>,
    next_ms: u64,
}

impl TranscribeSound {
    pub(crate) const NAME: &str = "transcribe_sound";
    pub(crate) const SHOWN_AS: &str = "audio.transcribe";
    pub(crate) const QUEUE: &str = QUEUE_CPU;
    pub(crate) const ATTEMPTS_MAX: i64 = 3;
    /// Hours of sound on a slow machine.
    pub(crate) const TIMEOUT_MS: u64 = 24 * 60 * 60 * 1_000;

    pub(crate) async fn run(&self, context: &JobContext) -> Result<Committed, JobError> {
        lone::started(context, "transcribing").await?;
        let transcript = match &self.source {
            Source::Generation { generation_id } => self.spoken_here(context, *generation_id).await?,
            Source::Sound { model, sha256, size_bytes, duration_ms } => {
                let blob = StoredBlob { sha256: sha256.clone(), size_bytes: *size_bytes };
                self.listen(context, model, &blob, *duration_ms).await?
            }
        };
        let result = transcript.result(self.format);
        let job_id = context.fence().job_id;
        let mut tx = context.begin_finish(Some(&result.to_string())).await?;
        job_parts::delete(&mut tx, job_id).await?;
        let data = json!({"language": transcript.language, "segments_total": transcript.segments.len(), "model": transcript.model});
        lone::completed(&mut tx, context, data, context.now_ms()).await?;
        let committed = context.commit(tx, "transcribe.before_commit", "transcribe.after_commit").await?;
        // Nobody hears it again; where this fails, the sweep takes it with the job.
        lone::delete_blobs(&context.storage.blobs, self.blobs(job_id)).await;
        Ok(committed)
    }

    fn blobs(&self, job_id: Uuid) -> Vec<BlobKey> {
        match self.source {
            Source::Sound { .. } => vec![sound_key(job_id)],
            Source::Generation { .. } => Vec::new(),
        }
    }

    async fn listen(&self, context: &JobContext, model: &str, blob: &StoredBlob, duration_ms: u64) -> Result<Transcript, JobError> {
        let transcribers = context.transcribers.clone().ok_or_else(|| JobError::Wait(no_models().to_string()))?;
        let folder = tempfile::tempdir_in(&*context.temporary_folder).map_err(StorageError::from)?;
        let file = folder.path().join("sound.wav");
        match context.storage.blobs.get_file(sound_key(context.fence().job_id), blob, &file).await {
            Err(error @ (StorageError::BlobNotFound(_) | StorageError::BlobDamaged(_))) => {
                return Err(JobError::Discard(format!("the sound can't be read any more: {error}")));
            }
            got => got?,
        }
        let mut parts = self.parts_before(context).await?;
        let mut sound = Sound::open(&file)?;
        let mut next_ms = parts.last().map_or(0, |part| part.next_ms);
        while next_ms < duration_ms {
            let loaded = transcribers.load(model, &context.token).await?;
            let language = parts.iter().find_map(|part| part.language.clone());
            let mut wish = self.wish.clone();
            if next_ms > 0 {
                wish.prompt = None;
            }
            let heard = hear(context, sound, loaded.model.clone(), next_ms, wish, language).await?;
            drop(loaded);
            sound = heard.0;
            let part = placed(heard.1, next_ms, duration_ms);
            next_ms = part.next_ms;
            let said = parts.iter().map(|part| part.segments.len()).sum();
            let progress = (next_ms as f64 / duration_ms.max(1) as f64).min(1.0);
            self.store(context, parts.len(), &part, said, progress).await?;
            parts.push(part);
        }
        Ok(Transcript {
            language: parts.iter().find_map(|part| part.language.clone()),
            segments: parts.into_iter().flat_map(|part| part.segments).collect(),
            duration_ms,
            model: Some(model.to_owned()),
            translated: self.wish.translate,
            words: self.wish.words,
        })
    }

    async fn parts_before(&self, context: &JobContext) -> Result<Vec<Part>, JobError> {
        let bodies = job_parts::list(context.storage.rows.read(), context.fence().job_id).await?;
        let parsed = bodies.iter().map(|body| serde_json::from_str(body)).collect::<Result<_, _>>();
        parsed.map_err(|error| JobError::Discard(format!("a stored window: {error}")))
    }

    /// The window and its event, in one transaction.
    async fn store(&self, context: &JobContext, number: usize, part: &Part, said: usize, progress: f64) -> Result<(), JobError> {
        let body = serde_json::to_string(part).map_err(StorageError::from)?;
        let mut tx = context.begin_fenced().await?;
        job_parts::add(&mut tx, context.fence().job_id, u32::try_from(number).unwrap_or(u32::MAX), &body).await?;
        let segments: Vec<_> =
            part.segments.iter().enumerate().map(|(at, segment)| shown(segment, said + at, self.wish.words, false)).collect();
        lone::progress_in(&mut tx, context, "transcribing", progress, json!({"segments": segments})).await?;
        fail_point::pass("transcribe.before_window");
        tx.commit().await?;
        fail_point::pass("transcribe.after_window");
        Ok(())
    }

    async fn spoken_here(&self, context: &JobContext, id: Uuid) -> Result<Transcript, JobError> {
        let pool = context.storage.rows.read();
        let generation = generations::find(pool, id).await?.filter(|generation| generation.owner_id == context.job.owner_id);
        let generation = generation.ok_or_else(|| JobError::Discard("the generation was deleted meanwhile".into()))?;
        let merged = merged_of(&generation).ok_or_else(|| JobError::Discard("the generation has no merged audio".into()))?;
        let chunks = all_chunks(pool, id).await?;
        let mut segments = Vec::new();
        for place in &merged.chunks {
            let take =
                |chunk: &&storage::chunks::Chunk| chunk.id.index == place.index && place.take.is_none_or(|take| take == chunk.id.take);
            let Some(chunk) = chunks.iter().rfind(take) else { continue };
            let words = chunk.audio.as_ref().map_or("[]", |audio| audio.words.as_str());
            let words: Vec<WordTiming> = serde_json::from_str(words).map_err(|error| JobError::Discard(format!("words: {error}")))?;
            segments.push(place.segment(&chunk.text, &words, self.wish.words));
        }
        Ok(Transcript {
            segments,
            language: Some(generation.language.clone()),
            duration_ms: merged.duration_ms,
            model: None,
            translated: false,
            words: self.wish.words,
        })
    }

    /// What a failed run finished, and the sound, stay for the next.
    pub(crate) async fn ended(&self, tx: &mut Tx, job_id: Uuid, end: End) -> Result<Vec<BlobKey>, StorageError> {
        if end == End::Failed {
            return Ok(Vec::new());
        }
        job_parts::delete(tx, job_id).await?;
        Ok(self.blobs(job_id))
    }
}

/// Swept like a download: with its job.
fn sound_key(job_id: Uuid) -> BlobKey {
    BlobKey::Download { media_id: job_id, part: RenderPart::Wav }
}

/// A merge as the generation's row tells of it.
#[derive(Debug, Deserialize)]
struct Merged {
    duration_ms: u64,
    chunks: Vec<MergedPlace>,
}

#[derive(Debug, Deserialize)]
struct MergedPlace {
    index: u32,
    #[serde(default)]
    take: Option<u32>,
    start_ms: u64,
    end_ms: u64,
    /// Cut from the chunk's begin.
    #[serde(default)]
    lead_ms: u64,
}

fn merged_of(generation: &Generation) -> Option<Merged> {
    serde_json::from_str(generation.result.as_deref()?).ok()
}

impl MergedPlace {
    fn segment(&self, text: &str, words: &[WordTiming], with_words: bool) -> Segment {
        let place = |ms: u32| (self.start_ms + u64::from(ms)).saturating_sub(self.lead_ms).clamp(self.start_ms, self.end_ms);
        let word = |timing: &WordTiming| Word {
            word: format!(" {}", timing.word),
            start_ms: place(timing.start_ms),
            end_ms: place(timing.end_ms),
            probability: 1.0,
        };
        let said: String = marks::parse(text)
            .into_iter()
            .filter_map(|span| match span {
                Span::Text { range, .. } => text.get(range),
                _ => None,
            })
            .collect();
        Segment {
            start_ms: self.start_ms,
            end_ms: self.end_ms,
            text: format!(" {}", said.trim()),
            avg_logprob: 0.0,
            no_speech_prob: 0.0,
            compression_ratio: 1.0,
            temperature: 0.0,
            words: if with_words { words.iter().map(word).collect() } else { Vec::new() },
        }
    }
}

/// Reads a recording once, from its begin to its end: what lies before the window is forgotten.
#[derive(Debug)]
struct Sound {
    reader: WavReader<BufReader<File>>,
    /// Samples from `from` on.
    kept: Vec<f32>,
    from: usize,
}

impl Sound {
    fn open(file: &Path) -> Result<Self, JobError> {
        let file = BufReader::with_capacity(256 * 1024, File::open(file).map_err(StorageError::from)?);
        let reader = WavReader::new(file).map_err(|error| JobError::Discard(format!("the sound: {error}")))?;
        Ok(Self { reader, kept: Vec::new(), from: 0 })
    }

    /// Fewer at the end. `from` never goes back.
    fn window(&mut self, from: usize, samples: usize) -> Result<&[f32], JobError> {
        let mut block = vec![0.0; MAX_BLOCK_SAMPLES];
        loop {
            let gone = from.saturating_sub(self.from).min(self.kept.len());
            self.kept.drain(..gone);
            self.from += gone;
            if self.from == from && self.kept.len() >= samples {
                break;
            }
            let read = self.reader.read(&mut block).map_err(|error| JobError::Retry(format!("the sound: {error}")))?;
            if read == 0 {
                break;
            }
            self.kept.extend_from_slice(&block[..read]);
        }
        Ok(&self.kept[..self.kept.len().min(samples)])
    }
}

/// One window, off the async threads; a stop is heeded at every token.
async fn hear(
    context: &JobContext,
    mut sound: Sound,
    model: Arc<Whisper>,
    from_ms: u64,
    wish: Wish,
    language: Option<String>,
) -> Result<(Sound, WindowText), JobError> {
    let token = context.token.clone();
    let work = move || {
        let from = usize::try_from(from_ms * u64::from(SAMPLE_RATE_HZ) / 1_000).unwrap_or(usize::MAX);
        let samples = sound.window(from, model.window_samples())?;
        let mut go_on = || if token.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        let heard = model.window(samples, &wish, language.as_deref(), &mut go_on).map_err(|error| match error {
            TranscribeError::Stopped => JobError::Stopped,
            TranscribeError::Model(engine::whisper::ModelError::Request(why)) => JobError::Discard(why),
            TranscribeError::Model(error) => JobError::Retry(error.to_string()),
        })?;
        Ok((sound, heard))
    };
    tokio::task::spawn_blocking(work).await.map_err(|error| JobError::Retry(format!("transcribe: {error}")))?
}

/// A window at its place in the sound.
fn placed(heard: WindowText, from_ms: u64, duration_ms: u64) -> Part {
    let place = |ms: u64| (from_ms + ms).min(duration_ms);
    let word = |word: Word| Word { start_ms: place(word.start_ms), end_ms: place(word.end_ms), ..word };
    let segment = |segment: Segment| Segment {
        start_ms: place(segment.start_ms),
        end_ms: place(segment.end_ms),
        words: segment.words.into_iter().map(word).collect(),
        ..segment
    };
    Part {
        segments: heard.segments.into_iter().map(segment).collect(),
        language: heard.language,
        next_ms: from_ms + heard.advance_ms.max(1),
    }
}

/// What is to be written down.
#[derive(Debug, Clone, PartialEq)]
pub enum ToTranscribe {
    /// 16 kHz mono, decoded here, with the id of the model that [`Jobs::choose_transcriber`] gave.
    Wav { file: PathBuf, model: String, duration_ms: u64 },
    /// The caller's own.
    Generation(Uuid),
}

/// What a caller asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct TranscribeOrder {
    pub source: ToTranscribe,
    pub wish: Wish,
    pub format: TranscriptFormat,
    pub idempotency: Option<IdempotencyKey>,
    pub trace: TraceContext,
}

impl Jobs {
    /// The model that a request gets. Looks at the disk.
    ///
    /// # Errors
    /// [`SubmitError::NoTranscriber`], with the command that installs one.
    pub async fn choose_transcriber(&self, model: Option<String>, language: Option<String>) -> Result<String, SubmitError> {
        let Some(transcribers) = self.config.transcribers.clone() else { return Err(no_models().into()) };
        let looking = tokio::task::spawn_blocking(move || transcribers.choose(model.as_deref(), language.as_deref()));
        let chosen: Result<String, NoTranscriber> = looking.await.map_err(|error| StorageError::Internal(format!("models: {error}")))?;
        Ok(chosen?)
    }

    /// Accepts a recording to be written down.
    ///
    /// # Errors
    /// [`SubmitError`]; nothing is left of what is refused.
    pub async fn transcribe(&self, owner_id: &str, order: TranscribeOrder) -> Result<JobView, SubmitError> {
        self.check_lone_room(owner_id).await?;
        let id = Uuid::now_v7();
        let TranscribeOrder { source, wish, format, idempotency, trace } = order;
        let source = match source {
            ToTranscribe::Generation(generation_id) => {
                self.check_spoken(owner_id, generation_id).await?;
                Source::Generation { generation_id }
            }
            ToTranscribe::Wav { file, model, duration_ms } => {
                let StoredBlob { sha256, size_bytes } = self.storage.blobs.put_file(sound_key(id), &file).await?;
                Source::Sound { model, sha256, size_bytes, duration_ms }
            }
        };
        let job = TranscribeSound { source, wish, format };
        let blobs = job.blobs(id);
        let kind = LoneKind::Transcribe(job);
        let new = NewLone { id, kind, owner_id: owner_id.to_owned(), dedupe_key: None, idempotency, trace, data: json!({}) };
        if let Err(error) = self.accept_once(&new).await {
            lone::delete_blobs(&self.storage.blobs, blobs).await;
            return Err(error);
        }
        self.job(owner_id, id).await?.ok_or(SubmitError::TaskNotFound(id))
    }

    async fn check_spoken(&self, owner_id: &str, id: Uuid) -> Result<(), SubmitError> {
        let generation = self.generation(owner_id, id).await?.ok_or(SubmitError::TaskNotFound(id))?;
        if merged_of(&generation).is_none() {
            let message = "has no merged audio (yet): POST /api/generate/merge-chunks makes it".to_owned();
            return Err(SubmitError::Invalid(vec![FieldError { field: "generation_id".into(), message }]));
        }
        Ok(())
    }
}
