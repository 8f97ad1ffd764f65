//! The job that lets a voice say a few words, once for equal ones: who asks again gets what is there. Presets, which belong to everybody, say
//! their own sentence only. This file may not know how a voice is spoken.

use engine::speech::{SAMPLE_RATE_HZ, SynthesisRequest, VoiceProfile};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use storage::idempotency::IdempotencyKey;
use storage::voice_previews::{self, Preview};
use storage::voices::{self, VoicePreview};
use storage::{BlobKey, StorageError, Tx};
use uuid::Uuid;

use crate::clone_voice::speaks;
use crate::job::{Committed, JobContext, JobError, QUEUE_CPU};
use crate::lone::{self, LoneKind, NewLone};
use crate::plan::params_hash;
use crate::sample_text::{sentence, spoken};
use crate::speak_chunk::encode;
use crate::submission::{FieldError, SubmitError, TraceContext};
use crate::view::JobView;
use crate::voices as known;
use crate::{Jobs, choose_engine, neural_voice};

/// Of one voice; the oldest goes for a new one, but never a variant of a designed voice nor the one that is shown.
const KEPT_MAX: usize = 50;

/// A few words to be said. Whether the caller may change the voice was checked before.
#[derive(Debug, Clone, PartialEq)]
pub struct PreviewOrder {
    /// Of a preset or of a stored voice.
    pub voice_id: String,
    /// A sentence of the language where not given.
    pub text: Option<String>,
    /// The voice's own where not given.
    pub language: Option<String>,
    pub idempotency: Option<IdempotencyKey>,
    pub trace: TraceContext,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PreviewVoice {
    /// As the caller knows it.
    pub voice: String,
    /// Unless there is an equal one.
    pub preview_id: Uuid,
    pub text: String,
    pub language: String,
    /// The neural model that speaks it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// Under which the previews of a voice are kept; a preset has an id made of its name.
pub fn kept_under(voice_id: &str) -> Uuid {
    Uuid::parse_str(voice_id).unwrap_or_else(|_| {
        let digest = Sha256::digest(format!("preset {voice_id}").as_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    })
}

impl Jobs {
    /// Ids of the presets that a preview was made of.
    pub async fn previewed_presets(&self) -> Result<Vec<String>, StorageError> {
        let presets = self.presets();
        let places: Vec<Uuid> = presets.iter().map(|preset| kept_under(&preset.id)).collect();
        let with_some = voice_previews::voices_with_some(self.storage.rows.read(), &places).await?;
        Ok(presets.into_iter().zip(places).filter(|(_, place)| with_some.contains(place)).map(|(preset, _)| preset.id).collect())
    }

    /// Accepts a few words. Of equal ones that wait or run there is one job.
    pub async fn preview_voice(&self, owner_id: &str, order: PreviewOrder) -> Result<JobView, SubmitError> {
        self.check_engine()?;
        self.check_lone_room(owner_id).await?;
        let offer = self.engines.offer();
        let voice = self.find_voice(owner_id, &order.voice_id, &offer).await?;
        let voice = voice.ok_or_else(|| SubmitError::VoiceNotFound(order.voice_id.clone()))?;
        let mut job = self.checked(&voice, &order).map_err(SubmitError::Invalid)?;
        job.model = choose_engine::choose(&offer, self.config.engine, &voice, &job.language)?;
        let models = job.model.iter().cloned().collect();
        let request = job.request(voice.snapshot(&models).spoken_with(job.model.as_deref()));
        let hash = params_hash(&self.engines.capabilities(job.model.as_deref())?, &request).map_err(StorageError::from)?;
        let dedupe_key = format!("preview/{owner_id}/{}/{hash}", voice.id);
        let new = NewLone {
            id: Uuid::now_v7(),
            kind: LoneKind::Preview(job),
            owner_id: owner_id.to_owned(),
            dedupe_key: Some(dedupe_key),
            idempotency: order.idempotency,
            trace: order.trace,
            data: json!({}),
        };
        let id = self.accept_once(&new).await?;
        self.job(owner_id, id).await?.ok_or(SubmitError::TaskNotFound(id))
    }

    fn checked(&self, voice: &known::Voice, order: &PreviewOrder) -> Result<PreviewVoice, Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut wrong = |field: &str, message: String| errors.push(FieldError { field: field.into(), message });
        let language = order.language.clone().unwrap_or_else(|| voice.language.clone());
        if !speaks(&self.engines.builtin().capabilities().languages, &language) {
            wrong("language", format!("\"{language}\" is none that the engine speaks; GET /api/voices lists them"));
        }
        let text = match order.text.as_deref() {
            Some(_) if voice.kind == "preset" => {
                wrong("text", "is not for presets, which everybody hears: POST /api/generate/preset says your own words".into());
                String::new()
            }
            Some(text) => spoken(text).unwrap_or_else(|message| {
                wrong("text", message);
                String::new()
            }),
            None => sentence(&language).to_owned(),
        };
        if errors.is_empty() {
            return Ok(PreviewVoice { voice: voice.id.clone(), preview_id: Uuid::now_v7(), text, language, model: None });
        }
        Err(errors)
    }
}

impl PreviewVoice {
    pub(crate) const NAME: &str = "preview_voice";
    pub(crate) const SHOWN_AS: &str = "voices.generate_preview";
    pub(crate) const QUEUE: &str = QUEUE_CPU;
    pub(crate) const ATTEMPTS_MAX: i64 = 3;
    pub(crate) const TIMEOUT_MS: u64 = 5 * 60 * 1_000;

    fn request(&self, voice: VoiceProfile) -> SynthesisRequest {
        SynthesisRequest {
            text: self.text.clone(),
            voice,
            language: self.language.clone(),
            speed: 1.0,
            pitch_semitones: 0.0,
            seed: 0,
            instruct: None,
        }
    }

    pub(crate) async fn run(&self, context: &JobContext) -> Result<Committed, JobError> {
        lone::started(context, "speaking").await?;
        let request = self.request(self.profile(context).await?);
        let capabilities = context.engines.capabilities(self.model.as_deref())?;
        let hash = params_hash(&capabilities, &request).map_err(StorageError::from)?;
        let equal = self.equal(context, &hash).await?;
        let cached = equal.is_some();
        let preview = match equal {
            Some(preview) => preview,
            None => self.speak(context, request, hash).await?,
        };
        self.finish(context, preview, cached).await
    }

    async fn profile(&self, context: &JobContext) -> Result<VoiceProfile, JobError> {
        let gone = || JobError::Discard("the voice was deleted, or can't speak any more".into());
        match (Uuid::parse_str(&self.voice), &self.model) {
            (Ok(_), Some(model)) => Ok(VoiceProfile::Neural(Box::new(neural_voice::of_voice(context, &self.voice, model).await?))),
            (Ok(id), None) => {
                let stored = voices::find(context.storage.rows.read(), id).await?;
                known::speakable(stored.and_then(|voice| voice.profiles).as_deref().unwrap_or_default()).ok_or_else(gone)
            }
            (Err(_), model) => {
                let preset = known::preset(&context.engines.offer(), &self.voice).ok_or_else(gone)?;
                Ok(preset.snapshot(&model.iter().cloned().collect()).spoken_with(model.as_deref()))
            }
        }
    }

    /// What was made before, if its sound is still there.
    async fn equal(&self, context: &JobContext, hash: &str) -> Result<Option<Preview>, JobError> {
        let previews = voice_previews::list(context.storage.rows.read(), kept_under(&self.voice)).await?;
        let Some(preview) = previews.into_iter().find(|preview| preview.params_hash == hash) else {
            return Ok(None);
        };
        match context.storage.blobs.get_verified(preview.blob_key(), &preview.blob).await {
            Ok(_) => Ok(Some(preview)),
            Err(StorageError::BlobNotFound(_) | StorageError::BlobDamaged(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn speak(&self, context: &JobContext, request: SynthesisRequest, params_hash: String) -> Result<Preview, JobError> {
        let engine = context.engines.of(self.model.as_deref())?;
        let speech = engine.synthesize(request, context.token.clone()).await?;
        let duration_ms = speech.samples.len() as i64 * 1_000 / i64::from(SAMPLE_RATE_HZ);
        let (voice_id, id) = (kept_under(&self.voice), self.preview_id);
        let blob = context.storage.blobs.put(BlobKey::VoicePreview { voice_id, preview_id: id }, encode(speech).await?).await?;
        Ok(Preview {
            id,
            voice_id,
            params_hash,
            text: self.text.clone(),
            language: self.language.clone(),
            profiles: None,
            seed: None,
            blob,
            duration_ms,
            created_at_ms: context.now_ms(),
        })
    }

    async fn finish(&self, context: &JobContext, preview: Preview, cached: bool) -> Result<Committed, JobError> {
        let result = json!({
            "voice_id": self.voice, "preview_id": preview.id, "text": preview.text, "language": preview.language,
            "duration_ms": preview.duration_ms, "size_bytes": preview.blob.size_bytes, "sha256": preview.blob.sha256, "cached": cached,
        });
        let now_ms = context.now_ms();
        let mut tx = context.begin_finish(Some(&result.to_string())).await?;
        let mut left = Vec::new();
        if !cached {
            left = replace_equal(&mut tx, &preview).await?;
        }
        if Uuid::parse_str(&self.voice).is_ok() {
            let shown = VoicePreview { id: preview.id, blob: preview.blob.clone() };
            if !voices::set_preview(&mut tx, preview.voice_id, &shown, None, now_ms).await? {
                return Err(JobError::Discard("the voice was deleted meanwhile".into()));
            }
        }
        left.extend(drop_oldest(&mut tx, &preview).await?);
        let data = json!({"preview_id": preview.id, "cached": cached});
        lone::completed(&mut tx, context, data, now_ms).await?;
        let committed = context.commit(tx, "preview.before_commit", "preview.after_commit").await?;
        lone::delete_blobs(&context.storage.blobs, left).await;
        Ok(committed)
    }
}

/// The row; an equal one whose sound was lost goes. Returns the blobs that nothing names any more.
async fn replace_equal(tx: &mut Tx, preview: &Preview) -> Result<Vec<BlobKey>, StorageError> {
    let equal = voice_previews::find_equal(tx, preview.voice_id, &preview.params_hash).await?.filter(|equal| equal.id != preview.id);
    let mut preview = preview.clone();
    if let Some(equal) = &equal {
        // A variant stays one.
        preview.profiles = equal.profiles.clone();
        voice_previews::delete(tx, equal.id).await?;
    }
    voice_previews::insert(tx, &preview).await?;
    Ok(equal.iter().map(Preview::blob_key).collect())
}

/// Makes room, this one aside.
async fn drop_oldest(tx: &mut Tx, preview: &Preview) -> Result<Vec<BlobKey>, StorageError> {
    let all = voice_previews::list_in(tx, preview.voice_id).await?;
    let over = all.len().saturating_sub(KEPT_MAX);
    let mut left = Vec::new();
    for old in all.iter().filter(|old| old.id != preview.id && old.profiles.is_none()).take(over) {
        voice_previews::delete(tx, old.id).await?;
        left.push(old.blob_key());
    }
    Ok(left)
}
