//! What a neural model needs to speak like a recording: made once of the recordings of a voice, and kept with the voice beside what the
//! built-in engine speaks it with.
//!
//! A voice that was made before the model was installed gets it when it is first spoken. The same recordings give the same, so it does not
//! matter who makes it, nor how often. This file may not know how it is used.

use engine::qwen3_tts::NeuralVoice;
use engine::speech::{SAMPLE_RATE_HZ, VoiceProfile};
use serde::Deserialize;
use storage::voices::{self, VoiceSample};
use storage::{BlobKey, StorageError};
use uuid::Uuid;

use crate::clone_voice::decoded;
use crate::job::{JobContext, JobError};
use crate::voices::{StoredProfile, neural_profiles};

/// Of a recording; every chunk pays for it, and more makes no better likeness.
const REFERENCE_MS_MAX: i64 = 30_000;
/// How often somebody else may change the voice meanwhile.
const TRIES: usize = 5;

/// The form of a stored voice for a model: as it is kept, or made now and kept from now on.
pub(crate) async fn of_voice(context: &JobContext, voice_id: &str, model: &str) -> Result<NeuralVoice, JobError> {
    let gone = || JobError::Discard("the voice was deleted, and its recordings with it".into());
    let id = Uuid::parse_str(voice_id).map_err(|_| gone())?;
    // Chunks that run at the same time need it once.
    let _turn = context.in_flight.enter("", &format!("neural voice {id} {model}")).await;
    for _ in 0..TRIES {
        let voice = voices::find(context.storage.rows.read(), id).await?.ok_or_else(gone)?;
        let before = voice.profiles.ok_or_else(gone)?;
        if let Some(kept) = neural_profiles(&before).remove(model) {
            return Ok(kept);
        }
        let made = made(context, id, model, false).await?;
        let mut profiles: Vec<StoredProfile> = serde_json::from_str(&before).map_err(StorageError::from)?;
        profiles.push(stored(&made, model)?);
        let after = serde_json::to_string(&profiles).map_err(StorageError::from)?;
        let mut tx = context.storage.rows.begin().await?;
        if voices::replace_profiles(&mut tx, id, &before, &after).await? {
            tx.commit().await?;
            return Ok(made);
        }
    }
    Err(JobError::Retry("the voice is changed all the time".into()))
}

/// As it lies in the voice's row.
pub(crate) fn stored(voice: &NeuralVoice, model: &str) -> Result<StoredProfile, StorageError> {
    Ok(StoredProfile {
        engine: engine::engines::NEURAL.into(),
        model: Some(model.into()),
        profile: serde_json::to_value(VoiceProfile::Neural(Box::new(voice.clone())))?,
        quality: None,
    })
}

/// Of the voice's recordings; `denoise` as in the job that makes the voice.
pub(crate) async fn made(context: &JobContext, voice_id: Uuid, model: &str, denoise: bool) -> Result<NeuralVoice, JobError> {
    let samples = voices::samples(context.storage.rows.read(), voice_id).await?;
    let chosen = reference(&samples).ok_or_else(|| JobError::Discard("the voice has no recordings".into()))?;
    let key = BlobKey::VoiceSample { voice_id, sample_id: chosen.id };
    let bytes = match context.storage.blobs.get_verified(key, &chosen.blob).await {
        Err(error @ (StorageError::BlobNotFound(_) | StorageError::BlobDamaged(_))) => {
            return Err(JobError::Discard(format!("a recording can't be read any more: {error}")));
        }
        bytes => bytes?,
    };
    let samples = tokio::task::spawn_blocking(move || {
        let mut samples = decoded(&bytes)?;
        samples.truncate(REFERENCE_MS_MAX as usize * SAMPLE_RATE_HZ as usize / 1_000);
        Ok::<_, String>(if denoise { audio::denoise::denoise(&samples, SAMPLE_RATE_HZ) } else { samples })
    });
    let samples = samples.await.map_err(|error| JobError::Retry(format!("decode: {error}")))?;
    let samples = samples.map_err(|error| JobError::Discard(format!("a recording: {error}")))?;
    let text = chosen.transcript.clone().filter(|_| is_whole(chosen));
    Ok(NeuralVoice::Cloned(context.engines.clone_prompt(model, samples, text).await?))
}

/// The recording that a model listens to: one whose words are known, the weightiest, the longest.
fn reference(samples: &[VoiceSample]) -> Option<&VoiceSample> {
    let has_words = |sample: &VoiceSample| sample.transcript.is_some() && is_whole(sample);
    let order = |sample: &&VoiceSample| (has_words(sample), sample.weight, sample.duration_ms.min(REFERENCE_MS_MAX));
    samples.iter().rev().max_by(|one, next| order(one).partial_cmp(&order(next)).unwrap_or(std::cmp::Ordering::Equal))
}

/// Its words are those that are listened to.
fn is_whole(sample: &VoiceSample) -> bool {
    sample.duration_ms <= REFERENCE_MS_MAX
}

/// The neural form that an entry of a voice's list has, with its model.
pub(crate) fn parsed(stored: &StoredProfile) -> Option<(String, NeuralVoice)> {
    match (VoiceProfile::deserialize(&stored.profile).ok()?, &stored.model) {
        (VoiceProfile::Neural(voice), Some(model)) if voice.check().is_ok() => Some((model.clone(), *voice)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use storage::blobs::StoredBlob;

    use super::*;

    fn sample(duration_ms: i64, weight: f64, transcript: Option<&str>) -> VoiceSample {
        VoiceSample {
            id: Uuid::now_v7(),
            blob: StoredBlob { sha256: String::new(), size_bytes: 0 },
            duration_ms,
            transcript: transcript.map(str::to_owned),
            start_ms: None,
            end_ms: None,
            weight,
        }
    }

    #[test]
    fn the_recording_with_words_is_listened_to() {
        let samples = [
            sample(20_000, 1.0, None),
            sample(5_000, 1.0, Some("five")),
            sample(9_000, 1.0, Some("nine")),
            sample(60_000, 9.0, Some("too long to be heard whole")),
        ];
        assert_eq!(reference(&samples).unwrap().id, samples[2].id);
        assert_eq!(reference(&samples[..1]).unwrap().id, samples[0].id);
        assert_eq!(reference(&[samples[0].clone(), samples[3].clone()]).unwrap().id, samples[3].id, "the weightier");
        let equal = [sample(5_000, 1.0, None), sample(5_000, 1.0, None)];
        assert_eq!(reference(&equal).unwrap().id, equal[0].id);
        assert!(reference(&[]).is_none());
    }
}
