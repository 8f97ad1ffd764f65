//! Recordings on their way to a voice: cut to what counts, judged, stored, and then one transaction with the voice's row and the job that
//! makes it. It may not know HTTP, nor files that were not decoded yet.

use std::fs::File;
use std::io::BufReader;
use std::ops::Range;
use std::path::PathBuf;

use audio::blocks::{MAX_BLOCK_SAMPLES, SampleBlocks};
use audio::measure::speaking_ms;
use audio::wav::WavReader;
use engine::clone::MIN_SPEECH_MS;
use engine::speech::SAMPLE_RATE_HZ;
use serde_json::{Map, Value, json};
use storage::blobs::StoredBlob;
use storage::idempotency::IdempotencyKey;
use storage::voices::{self, Voice, VoiceCategory, VoiceSample};
use storage::{BlobKey, StorageError};
use uuid::Uuid;

use crate::clone_voice::CloneVoice;
use crate::lone::{self, LoneKind, NewLone};
use crate::speak_chunk::encode_wav;
use crate::submission::{FieldError, SubmitError, TraceContext};
use crate::view::JobView;
use crate::{Jobs, fail_point};

/// Of all parts of recordings together. A minute is plenty; ninety seconds are listened to.
pub const KEPT_MS_MAX: u64 = 10 * 60 * 1_000;
/// A part shorter than this holds no word.
const PART_MS_MIN: i64 = 100;

/// A voice to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct CloneOrder {
    pub facts: VoiceFacts,
    /// What was said about the right to use the recordings: a JSON object.
    pub consent: String,
    pub denoise: bool,
    pub parts: Vec<RecordedPart>,
    pub idempotency: Option<IdempotencyKey>,
    pub trace: TraceContext,
}

/// What people say about a voice; checked before.
#[derive(Debug, Clone, PartialEq)]
pub struct VoiceFacts {
    pub name: String,
    pub description: String,
    /// BCP 47.
    pub language: String,
    pub gender: String,
    pub category: Option<VoiceCategory>,
    pub tags: Vec<String>,
    pub private: bool,
}

/// A recording, or a part of one.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedPart {
    /// As the caller calls it, such as `clips[2]`.
    pub field: String,
    /// 24 kHz mono, decoded here.
    pub wav: PathBuf,
    /// Begin and end; all of it where `None`.
    pub range_ms: Option<(i64, i64)>,
    pub transcript: Option<String>,
    /// 0.01 to 100.
    pub weight: f64,
}

/// What is kept of a part.
struct Kept {
    bytes: Vec<u8>,
    duration_ms: i64,
}

impl VoiceFacts {
    /// The row of a voice that a job is going to make.
    pub(crate) fn voice(&self, owner_id: &str, kind: &str, job_id: Uuid, now_ms: i64) -> Voice {
        Voice {
            id: Uuid::now_v7(),
            owner_id: owner_id.to_owned(),
            private: self.private,
            kind: kind.to_owned(),
            name: self.name.clone(),
            description: self.description.clone(),
            language: self.language.clone(),
            gender: self.gender.clone(),
            category: self.category.clone(),
            tags: self.tags.clone(),
            color: None,
            settings: Value::Object(Map::new()),
            revision: 1,
            profiles: None,
            preview: None,
            consent: None,
            job_id: Some(job_id),
            created_at_ms: now_ms,
            updated_at_ms: now_ms,
        }
    }
}

impl Jobs {
    /// Accepts recordings to be made a voice of. The answer means that it will be done; nothing is left of what is refused.
    pub async fn clone_voice(&self, owner_id: &str, order: CloneOrder) -> Result<JobView, SubmitError> {
        self.check_engine()?;
        self.check_lone_room(owner_id).await?;
        let parts = order.parts.clone();
        let cutting = tokio::task::spawn_blocking(move || cut_all(&parts)).await;
        let kept = cutting.map_err(|error| StorageError::Internal(format!("cut: {error}")))??;
        let (job_id, now_ms) = (Uuid::now_v7(), self.clock.now_ms());
        let voice = Voice { consent: Some(order.consent.clone()), ..order.facts.voice(owner_id, "clone", job_id, now_ms) };
        let mut samples = Vec::new();
        let stored = match self.store_samples(&voice, &order.parts, kept, &mut samples).await {
            Ok(()) => self.store_rows(&voice, &samples, &order, job_id, now_ms).await,
            Err(error) => Err(error),
        };
        if let Err(error) = stored {
            lone::delete_blobs(&self.storage.blobs, voices::blob_keys(&voice, &samples, &[])).await;
            return Err(error.into());
        }
        fail_point::pass("clone.accepted");
        self.job(owner_id, job_id).await?.ok_or(SubmitError::TaskNotFound(job_id))
    }

    /// `samples` gets each before it is stored, so that it can be deleted whatever happens.
    async fn store_samples(
        &self,
        voice: &Voice,
        parts: &[RecordedPart],
        kept: Vec<Kept>,
        samples: &mut Vec<VoiceSample>,
    ) -> Result<(), StorageError> {
        for (part, kept) in parts.iter().zip(kept) {
            let sample_id = Uuid::now_v7();
            samples.push(VoiceSample {
                id: sample_id,
                blob: StoredBlob { sha256: String::new(), size_bytes: 0 },
                duration_ms: kept.duration_ms,
                transcript: part.transcript.clone(),
                start_ms: None,
                end_ms: None,
                weight: part.weight,
            });
            let blob = self.storage.blobs.put(BlobKey::VoiceSample { voice_id: voice.id, sample_id }, kept.bytes.into()).await?;
            if let Some(sample) = samples.last_mut() {
                sample.blob = blob;
            }
        }
        fail_point::pass("clone.samples_stored");
        Ok(())
    }

    async fn store_rows(
        &self,
        voice: &Voice,
        samples: &[VoiceSample],
        order: &CloneOrder,
        job_id: Uuid,
        now_ms: i64,
    ) -> Result<(), StorageError> {
        let mut tx = self.storage.rows.begin().await?;
        voices::insert(&mut tx, voice, samples).await?;
        let new = NewLone {
            id: job_id,
            kind: LoneKind::Clone(CloneVoice { voice_id: voice.id, denoise: order.denoise }),
            owner_id: voice.owner_id.clone(),
            dedupe_key: None,
            idempotency: order.idempotency.clone(),
            trace: order.trace.clone(),
            data: json!({"name": voice.name}),
        };
        lone::accept(&mut tx, &new, now_ms).await?;
        tx.commit().await
    }
}

fn wrong(field: impl Into<String>, message: impl Into<String>) -> SubmitError {
    SubmitError::Invalid(vec![FieldError { field: field.into(), message: message.into() }])
}

/// What is kept of all parts, if it can be made a voice of. Parts of one file stand together: each file is read once, and never whole.
fn cut_all(parts: &[RecordedPart]) -> Result<Vec<Kept>, SubmitError> {
    let mut kept = Vec::new();
    let (mut kept_ms, mut speech_ms) = (named_ms(parts), 0);
    check_length(parts, kept_ms)?;
    for of_one in parts.chunk_by(|a, b| a.wav == b.wav) {
        for (part, samples) in of_one.iter().zip(cut(of_one)?) {
            let duration_ms = to_ms(samples.len());
            if part.range_ms.is_none() {
                kept_ms += duration_ms;
                check_length(std::slice::from_ref(part), kept_ms)?;
            }
            speech_ms += speaking_ms(&samples, SAMPLE_RATE_HZ);
            let bytes = encode_wav(&samples).map_err(|error| StorageError::Internal(format!("a cut recording: {error}")))?;
            kept.push(Kept { bytes, duration_ms });
        }
    }
    if speech_ms < MIN_SPEECH_MS {
        let field = parts.first().map_or("file", |part| part.field.as_str());
        let message = format!("holds {speech_ms} ms of speech in all; at least {MIN_SPEECH_MS} ms are needed, and 10 s or more are better");
        return Err(wrong(field, message));
    }
    Ok(kept)
}

/// How much the ranges name; whole recordings are measured when they are read.
fn named_ms(parts: &[RecordedPart]) -> i64 {
    parts
        .iter()
        .filter_map(|part| part.range_ms)
        .map(|(start_ms, end_ms)| end_ms.saturating_sub(start_ms).max(0))
        .fold(0, i64::saturating_add)
}

fn check_length(parts: &[RecordedPart], kept_ms: i64) -> Result<(), SubmitError> {
    if kept_ms <= KEPT_MS_MAX.cast_signed() {
        return Ok(());
    }
    let field = parts.last().map_or("file", |part| part.field.as_str());
    Err(wrong(field, format!("makes more than {} s of recordings in all; a minute of good speech is plenty", KEPT_MS_MAX / 1_000)))
}

fn to_ms(samples: usize) -> i64 {
    samples as i64 * 1_000 / i64::from(SAMPLE_RATE_HZ)
}

/// The samples of the parts of one file.
fn cut(parts: &[RecordedPart]) -> Result<Vec<Vec<f32>>, SubmitError> {
    let unreadable = |error: String| StorageError::Internal(format!("a decoded recording: {error}"));
    let place = |ms: i64| usize::try_from(ms).unwrap_or(0).saturating_mul(SAMPLE_RATE_HZ as usize) / 1_000;
    let range = |part: &RecordedPart| part.range_ms.map_or(0..usize::MAX, |(start_ms, end_ms)| place(start_ms)..place(end_ms));
    let mut cuts: Vec<(Range<usize>, Vec<f32>)> = parts.iter().map(|part| (range(part), Vec::new())).collect();
    let Some(first) = parts.first() else {
        return Ok(Vec::new());
    };
    let file = BufReader::with_capacity(256 * 1024, File::open(&first.wav).map_err(StorageError::from)?);
    let mut reader = WavReader::new(file).map_err(|error| unreadable(error.to_string()))?;
    let mut block = vec![0.0; MAX_BLOCK_SAMPLES];
    let mut at = 0;
    loop {
        let read = reader.read(&mut block).map_err(|error| unreadable(error.to_string()))?;
        if read == 0 {
            break;
        }
        for (range, samples) in &mut cuts {
            let (from, to) = (range.start.max(at), range.end.min(at + read));
            if from < to {
                samples.extend_from_slice(&block[from - at..to - at]);
            }
        }
        at += read;
    }
    for part in parts {
        check_range(part, to_ms(at))?;
    }
    Ok(cuts.into_iter().map(|(_, samples)| samples).collect())
}

fn check_range(part: &RecordedPart, duration_ms: i64) -> Result<(), SubmitError> {
    let Some((start_ms, end_ms)) = part.range_ms else {
        return Ok(());
    };
    // A length may have been rounded up; whoever names the end means the end.
    if start_ms < 0 || end_ms > duration_ms + 1 {
        return Err(wrong(&part.field, format!("{start_ms} to {end_ms} ms is not in the recording, which has {duration_ms} ms")));
    }
    if end_ms - start_ms < PART_MS_MIN {
        return Err(wrong(&part.field, format!("{start_ms} to {end_ms} ms is too short: a part has at least {PART_MS_MIN} ms")));
    }
    Ok(())
}
