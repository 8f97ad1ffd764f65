//! The job that makes a voice of recordings: listen, let the base voice rehearse, fit, and one transaction in which the voice can speak. The
//! voice's row and its recordings are there since the request was accepted. This file may not know where recordings come from.

use std::io::Cursor;
use std::ops::ControlFlow;

use audio::blocks::{MAX_BLOCK_SAMPLES, SampleBlocks};
use audio::wav::WavReader;
use engine::clone::{self, CloneError, CloneProfile, Heard, Recording};
use engine::speech::{SAMPLE_RATE_HZ, VoiceProfile};
use serde::{Deserialize, Serialize};
use serde_json::json;
use storage::voices::{self, Made, Voice};
use storage::{BlobKey, StorageError, Tx};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::choose_engine::best_for_clones;
use crate::job::{Committed, JobContext, JobError, QUEUE_CPU};
use crate::lone::{self, End};
use crate::voices::StoredProfile;
use crate::{fail_point, neural_voice};

/// What comes after that is not listened to.
const HEARD_SAMPLES_MAX: usize = (clone::MAX_HEARD_MS * SAMPLE_RATE_HZ as u64 / 1_000) as usize;
/// How the clone is like its model: in pitch and colour, not in melody and accent.
const FIDELITY: &str = "timbre";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CloneVoice {
    pub voice_id: Uuid,
    /// Takes steady noise out of what is listened to; the recordings stay as they are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub denoise: bool,
}

/// A recording as it is listened to.
struct Heeded {
    samples: Vec<f32>,
    weight: f32,
    transcript: Option<String>,
}

impl CloneVoice {
    pub(crate) const NAME: &str = "clone_voice";
    pub(crate) const SHOWN_AS: &str = "clone.create";
    pub(crate) const QUEUE: &str = QUEUE_CPU;
    pub(crate) const ATTEMPTS_MAX: i64 = 3;
    pub(crate) const TIMEOUT_MS: u64 = 10 * 60 * 1_000;

    pub(crate) async fn run(&self, context: &JobContext) -> Result<Committed, JobError> {
        let voice = voices::find(context.storage.rows.read(), self.voice_id).await?;
        let voice = voice.filter(|voice| voice.job_id == Some(context.fence().job_id));
        let voice = voice.ok_or_else(|| JobError::Discard("the voice was deleted, or made otherwise, meanwhile".into()))?;
        lone::started(context, "analysing").await?;
        let heard = self.listen(context, &voice).await?;
        lone::progress(context, "rehearsing", 0.5).await?;
        let rehearsal = context.engines.builtin().synthesize(heard.rehearsal(&voice.language), context.token.clone()).await?;
        lone::progress(context, "fitting", 0.7).await?;
        let profile = fit(heard.clone(), rehearsal.samples, context.token.clone()).await?;
        let neural = self.neural(context, &voice).await?;
        self.finish(context, &voice, &heard, (profile, neural)).await
    }

    async fn listen(&self, context: &JobContext, voice: &Voice) -> Result<Heard, JobError> {
        let can_rehearse = speaks(&context.engines.builtin().capabilities().languages, &voice.language);
        let mut heeded: Vec<Heeded> = Vec::new();
        let mut heard_samples = 0;
        for sample in voices::samples(context.storage.rows.read(), voice.id).await? {
            if heard_samples >= HEARD_SAMPLES_MAX {
                break;
            }
            let key = BlobKey::VoiceSample { voice_id: voice.id, sample_id: sample.id };
            let bytes = match context.storage.blobs.get_verified(key, &sample.blob).await {
                Err(error @ (StorageError::BlobNotFound(_) | StorageError::BlobDamaged(_))) => {
                    return Err(JobError::Discard(format!("a recording can't be read any more: {error}")));
                }
                bytes => bytes?,
            };
            let samples = decoded(&bytes).map_err(|error| JobError::Discard(format!("a recording: {error}")))?;
            heard_samples += samples.len();
            // Words that the engine can't say can't be rehearsed.
            let transcript = sample.transcript.filter(|_| can_rehearse);
            heeded.push(Heeded { samples, weight: sample.weight as f32, transcript });
        }
        let (denoise, token) = (self.denoise, context.token.clone());
        let listening = tokio::task::spawn_blocking(move || {
            for one in heeded.iter_mut().filter(|_| denoise) {
                one.samples = audio::denoise::denoise(&one.samples, SAMPLE_RATE_HZ);
            }
            let recordings: Vec<Recording<'_>> = heeded
                .iter()
                .map(|one| Recording { samples: &one.samples, weight: one.weight, transcript: one.transcript.as_deref() })
                .collect();
            clone::analyse(&recordings, &mut || go_on(&token))
        });
        listening.await.map_err(|error| JobError::Retry(format!("analysis: {error}")))?.map_err(unusable)
    }

    /// The voice for the best model that is installed; others make theirs when they first speak it.
    async fn neural(&self, context: &JobContext, voice: &Voice) -> Result<Option<StoredProfile>, JobError> {
        let Some(model) = best_for_clones(&context.engines.offer(), &voice.language) else {
            return Ok(None);
        };
        lone::progress(context, "listening", 0.85).await?;
        match neural_voice::made(context, voice.id, &model, self.denoise).await {
            Ok(made) => Ok(Some(neural_voice::stored(&made, &model)?)),
            Err(error @ (JobError::Stopped | JobError::Fenced)) => Err(error),
            // A voice that the built-in engine speaks is one, and the model tries again when it is to speak.
            Err(error) => {
                tracing::warn!(voice.id = %voice.id, model.id = model, %error, "a voice is made without its neural form");
                Ok(None)
            }
        }
    }

    async fn finish(
        &self,
        context: &JobContext,
        voice: &Voice,
        heard: &Heard,
        (profile, neural): (CloneProfile, Option<StoredProfile>),
    ) -> Result<Committed, JobError> {
        profile.check().map_err(|error| JobError::Discard(format!("the recordings make no voice: {error}")))?;
        let stored = StoredProfile {
            engine: "builtin".into(),
            model: None,
            profile: serde_json::to_value(VoiceProfile::Converted(Box::new(profile))).map_err(StorageError::from)?,
            quality: Some(serde_json::to_value(&heard.quality).map_err(StorageError::from)?),
        };
        let model = neural.as_ref().and_then(|neural| neural.model.clone());
        let all: Vec<StoredProfile> = std::iter::once(stored).chain(neural).collect();
        let profiles = serde_json::to_string(&all).map_err(StorageError::from)?;
        let result = json!({
            "voice_id": voice.id, "name": voice.name, "language": voice.language, "clone_fidelity": FIDELITY, "quality": heard.quality,
            "model": model,
        });
        let now_ms = context.now_ms();
        let mut tx = context.begin_finish(Some(&result.to_string())).await?;
        let made = Made { voice_id: voice.id, job_id: context.fence().job_id, profiles: &profiles, gender: None, preview: None };
        if !voices::set_made(&mut tx, &made, now_ms).await? {
            return Err(JobError::Discard("the voice was deleted, or made otherwise, meanwhile".into()));
        }
        lone::completed(&mut tx, context, json!({"name": voice.name, "quality": heard.quality}), now_ms).await?;
        context.commit(tx, "clone.before_commit", "clone.after_commit").await
    }

    /// What can't be made goes with its recordings; what may be tried again stays for that.
    pub(crate) async fn ended(&self, tx: &mut Tx, job_id: Uuid, end: End) -> Result<Vec<BlobKey>, StorageError> {
        if end == End::Failed {
            return Ok(Vec::new());
        }
        let Some(voice) = voices::find_in(tx, self.voice_id).await? else {
            return Ok(Vec::new());
        };
        let samples = voices::samples_in(tx, voice.id).await?;
        let deleted = voices::delete_unmade(tx, voice.id, job_id).await?;
        fail_point::pass("clone.deleted");
        Ok(if deleted { voices::blob_keys(&voice, &samples, &[]) } else { Vec::new() })
    }

    pub(crate) async fn can_run_again(&self, tx: &mut Tx, job_id: Uuid) -> Result<bool, StorageError> {
        Ok(voices::find_in(tx, self.voice_id).await?.is_some_and(|voice| voice.job_id == Some(job_id)))
    }
}

/// Whether an engine with these languages can say something in a language, in whatever region.
pub(crate) fn speaks(languages: &[String], wanted: &str) -> bool {
    let primary = |tag: &str| tag.split('-').next().unwrap_or_default().to_ascii_lowercase();
    languages.iter().any(|language| primary(language) == primary(wanted))
}

async fn fit(heard: Heard, rehearsal: Vec<f32>, token: CancellationToken) -> Result<CloneProfile, JobError> {
    let fitting = tokio::task::spawn_blocking(move || heard.fit(&rehearsal, &mut || go_on(&token)));
    fitting.await.map_err(|error| JobError::Retry(format!("fit: {error}")))?.map_err(unusable)
}

fn go_on(token: &CancellationToken) -> ControlFlow<()> {
    if token.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

fn unusable(error: CloneError) -> JobError {
    match error {
        CloneError::Stopped => JobError::Stopped,
        error => JobError::Discard(error.to_string()),
    }
}

/// All samples of a WAV that we have written.
pub(crate) fn decoded(wav: &[u8]) -> Result<Vec<f32>, String> {
    let mut reader = WavReader::new(Cursor::new(wav)).map_err(|error| error.to_string())?;
    let (mut samples, mut block) = (Vec::with_capacity(wav.len() / 2), vec![0.0; MAX_BLOCK_SAMPLES]);
    loop {
        let read = reader.read(&mut block).map_err(|error| error.to_string())?;
        if read == 0 {
            return Ok(samples);
        }
        samples.extend_from_slice(&block[..read]);
    }
}
