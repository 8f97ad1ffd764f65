//! The job that makes a voice of a description: each variant says a sentence, and the voice is the first of them until another is picked.
//! What a variant is follows from the description and the seed alone, so that a second run makes the same. This file may not know how words
//! become a voice.

use engine::design::{DesignError, DesignRequest, DesignedVoice, MAX_DESCRIPTION_CHARS, MAX_VARIANTS, design};
use engine::qwen3_tts::NeuralVoice;
use engine::speech::{SAMPLE_RATE_HZ, SynthesisRequest, VoiceProfile};
use serde::{Deserialize, Serialize};
use serde_json::json;
use storage::idempotency::IdempotencyKey;
use storage::voice_previews::{self, Preview};
use storage::voices::{self, Made, Voice, VoicePreview};
use storage::{BlobKey, StorageError, Tx};
use uuid::Uuid;

use crate::choose_engine::{EngineWish, best_for_clones, best_for_designs};
use crate::clone_voice::speaks;
use crate::job::{Committed, JobContext, JobError, QUEUE_CPU};
use crate::lone::{self, End, LoneKind, NewLone};
use crate::plan::params_hash;
use crate::recordings::VoiceFacts;
use crate::sample_text::{sentence, spoken};
use crate::speak_chunk::encode;
use crate::submission::{FieldError, SubmitError, TraceContext};
use crate::view::JobView;
use crate::voices::StoredProfile;
use crate::{Jobs, neural_voice};

/// What a voice speaks whose description names no accent.
const LANGUAGE: &str = "en-US";
/// JSON numbers of clients are exact up to here.
const SEED_MAX: u64 = 1 << 53;

/// A voice to be designed.
#[derive(Debug, Clone, PartialEq)]
pub struct DesignOrder {
    pub name: String,
    pub description: String,
    pub private: bool,
    /// BCP 47; the accent of the description where not given.
    pub language: Option<String>,
    /// What the variants say; a sentence of the language where not given.
    pub sample_text: Option<String>,
    /// 1 to 4.
    pub variants: u32,
    /// Drawn where not given. Other seeds give other variants.
    pub seed: Option<u64>,
    pub idempotency: Option<IdempotencyKey>,
    pub trace: TraceContext,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DesignVoice {
    pub voice_id: Uuid,
    pub seed: u64,
    /// One for each variant.
    pub preview_ids: Vec<Uuid>,
    pub text: String,
    pub language: String,
    /// Where both are installed: a model that speaks as the description says, and one that clones what it said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<DesignModels>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DesignModels {
    pub design: String,
    pub clone: String,
}

/// A variant as it is kept: what it says, and its forms for the engines.
struct Variant {
    preview: Preview,
    designed: DesignedVoice,
}

/// Why a variant was not picked.
#[derive(Debug, thiserror::Error)]
pub enum PickError {
    #[error("no voice {0}")]
    VoiceNotFound(Uuid),
    #[error("voice {0} belongs to somebody else")]
    ReadOnly(Uuid),
    /// It is being made.
    #[error("voice {0} is not made yet")]
    NotMade(Uuid),
    #[error("voice {voice_id} has no variant {preview_id}")]
    NoVariant { voice_id: Uuid, preview_id: Uuid },
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Jobs {
    /// Accepts a description to be made a voice.
    pub async fn design_voice(&self, owner_id: &str, order: DesignOrder) -> Result<JobView, SubmitError> {
        self.check_engine()?;
        self.check_lone_room(owner_id).await?;
        let seed = order.seed.unwrap_or_else(|| rand::random::<u64>() >> 11);
        let languages = self.engines.builtin().capabilities().languages;
        let (designed, language, text) = checked(&order, seed, &languages).map_err(SubmitError::Invalid)?;
        let offer = self.engines.offer();
        let design_and_clone = (best_for_designs(&offer, &language), best_for_clones(&offer, &language));
        let models = match design_and_clone {
            (Some(design), Some(clone)) if self.config.engine != EngineWish::Builtin => Some(DesignModels { design, clone }),
            _ => None,
        };
        let facts = VoiceFacts {
            name: order.name,
            description: order.description,
            language: language.clone(),
            gender: designed.gender,
            category: None,
            tags: Vec::new(),
            private: order.private,
        };
        let (job_id, now_ms) = (Uuid::now_v7(), self.clock.now_ms());
        let voice = facts.voice(owner_id, "design", job_id, now_ms);
        let preview_ids = (0..order.variants).map(|_| Uuid::now_v7()).collect();
        let new = NewLone {
            id: job_id,
            kind: LoneKind::Design(DesignVoice { voice_id: voice.id, seed, preview_ids, text, language, models }),
            owner_id: owner_id.to_owned(),
            dedupe_key: None,
            idempotency: order.idempotency,
            trace: order.trace,
            data: json!({"name": voice.name, "variants": order.variants}),
        };
        let mut tx = self.storage.rows.begin().await?;
        voices::insert(&mut tx, &voice, &[]).await?;
        lone::accept(&mut tx, &new, now_ms).await?;
        tx.commit().await?;
        self.job(owner_id, job_id).await?.ok_or(SubmitError::TaskNotFound(job_id))
    }

    /// Makes a designed voice one of its variants; it may be picked again and otherwise.
    pub async fn pick_variant(&self, owner_id: &str, voice_id: Uuid, preview_id: Uuid) -> Result<Voice, PickError> {
        let mut tx = self.storage.rows.begin().await?;
        let voice = voices::find_in(&mut tx, voice_id).await?.filter(|voice| voice.is_visible_to(owner_id));
        let voice = voice.ok_or(PickError::VoiceNotFound(voice_id))?;
        if voice.owner_id != owner_id {
            return Err(PickError::ReadOnly(voice_id));
        }
        if voice.job_id.is_some() {
            return Err(PickError::NotMade(voice_id));
        }
        let picked = voice_previews::list_in(&mut tx, voice_id).await?.into_iter().find(|preview| preview.id == preview_id);
        let none = PickError::NoVariant { voice_id, preview_id };
        let Some(Preview { id, blob, profiles: Some(profiles), .. }) = picked else {
            return Err(none);
        };
        let shown = VoicePreview { id, blob };
        voices::set_preview(&mut tx, voice_id, &shown, Some(&profiles), self.clock.now_ms()).await?;
        tx.commit().await?;
        voices::find(self.storage.rows.read(), voice_id).await?.ok_or(PickError::VoiceNotFound(voice_id))
    }
}

/// The first variant, the language, and what all of them say.
fn checked(order: &DesignOrder, seed: u64, languages: &[String]) -> Result<(DesignedVoice, String, String), Vec<FieldError>> {
    let mut errors = Vec::new();
    let mut wrong = |field: &str, message: String| errors.push(FieldError { field: field.into(), message });
    if !(1..=MAX_VARIANTS).contains(&order.variants) {
        wrong("variants", format!("must be between 1 and {MAX_VARIANTS}"));
    }
    if seed > SEED_MAX {
        wrong("seed", format!("must be at most {SEED_MAX}"));
    }
    let designed = match design(DesignRequest { description: &order.description, seed, variant: 0 }) {
        Ok(designed) => Some(designed),
        Err(DesignError::TooLong) => {
            wrong("description", format!("must have at most {MAX_DESCRIPTION_CHARS} characters"));
            None
        }
        Err(error @ DesignError::Variant(_)) => {
            wrong("variants", error.to_string());
            None
        }
    };
    let accent = designed.as_ref().and_then(|designed| designed.accent.clone());
    let language = order.language.clone().or(accent).unwrap_or_else(|| LANGUAGE.to_owned());
    if !speaks(languages, &language) {
        wrong("language", format!("\"{language}\" is none that the engine speaks; GET /api/voices lists them"));
    }
    let text = order.sample_text.as_deref().map_or_else(|| Ok(sentence(&language).to_owned()), spoken).unwrap_or_else(|message| {
        wrong("sample_text", message);
        String::new()
    });
    match designed {
        Some(designed) if errors.is_empty() => Ok((designed, language, text)),
        _ => Err(errors),
    }
}

impl DesignVoice {
    pub(crate) const NAME: &str = "design_voice";
    pub(crate) const SHOWN_AS: &str = "design.create";
    pub(crate) const QUEUE: &str = QUEUE_CPU;
    pub(crate) const ATTEMPTS_MAX: i64 = 3;
    pub(crate) const TIMEOUT_MS: u64 = 10 * 60 * 1_000;

    pub(crate) async fn run(&self, context: &JobContext) -> Result<Committed, JobError> {
        let voice = voices::find(context.storage.rows.read(), self.voice_id).await?;
        let voice = voice.filter(|voice| voice.job_id == Some(context.fence().job_id));
        let voice = voice.ok_or_else(|| JobError::Discard("the voice was deleted, or made otherwise, meanwhile".into()))?;
        lone::started(context, "speaking").await?;
        let mut variants = Vec::new();
        for (variant, preview_id) in (0..).zip(&self.preview_ids) {
            let request = DesignRequest { description: &voice.description, seed: self.seed, variant };
            let designed = design(request).map_err(|error| JobError::Discard(error.to_string()))?;
            let preview = self.speak(context, *preview_id, (&voice, variant), &designed).await?;
            variants.push(Variant { preview, designed });
            if variants.len() < self.preview_ids.len() {
                lone::progress(context, "speaking", variants.len() as f64 / self.preview_ids.len() as f64).await?;
            }
        }
        self.finish(context, &voice, &variants).await
    }

    /// What a variant says is asked of the model that knows descriptions, where there is one; the voice is then what it sounded like.
    fn request(&self, (voice, variant): (&Voice, u32), designed: &DesignedVoice) -> SynthesisRequest {
        let described = || NeuralVoice::Described { description: voice.description.clone() };
        SynthesisRequest {
            text: self.text.clone(),
            voice: self.models.as_ref().map_or_else(|| designed.profile.clone(), |_| VoiceProfile::Neural(Box::new(described()))),
            language: self.language.clone(),
            speed: 1.0,
            pitch_semitones: 0.0,
            // Without a model as previews are spoken: the same sentence, asked for later, is this one.
            seed: self.models.as_ref().map_or(0, |_| self.seed.wrapping_add(u64::from(variant) << 53)),
            instruct: None,
        }
    }

    async fn speak(
        &self,
        context: &JobContext,
        preview_id: Uuid,
        which: (&Voice, u32),
        designed: &DesignedVoice,
    ) -> Result<Preview, JobError> {
        let request = self.request(which, designed);
        let engine = context.engines.of(self.models.as_ref().map(|models| models.design.as_str()))?;
        let params_hash = params_hash(&engine.capabilities(), &request).map_err(StorageError::from)?;
        let stored = StoredProfile {
            engine: "builtin".into(),
            model: None,
            profile: serde_json::to_value(&designed.profile).map_err(StorageError::from)?,
            quality: None,
        };
        let speech = engine.synthesize(request, context.token.clone()).await?;
        let mut profiles = vec![stored];
        if let Some(models) = &self.models {
            let text = Some(self.text.clone());
            let cloned = NeuralVoice::Cloned(context.engines.clone_prompt(&models.clone, speech.samples.clone(), text).await?);
            profiles.push(neural_voice::stored(&cloned, &models.clone)?);
        }
        let duration_ms = speech.samples.len() as i64 * 1_000 / i64::from(SAMPLE_RATE_HZ);
        let bytes = encode(speech).await?;
        let blob = context.storage.blobs.put(BlobKey::VoicePreview { voice_id: self.voice_id, preview_id }, bytes).await?;
        Ok(Preview {
            id: preview_id,
            voice_id: self.voice_id,
            params_hash,
            text: self.text.clone(),
            language: self.language.clone(),
            profiles: Some(serde_json::to_string(&profiles).map_err(StorageError::from)?),
            seed: Some(self.seed.cast_signed()),
            blob,
            duration_ms,
            created_at_ms: context.now_ms(),
        })
    }

    async fn finish(&self, context: &JobContext, voice: &Voice, variants: &[Variant]) -> Result<Committed, JobError> {
        let Variant { preview: first, designed } =
            variants.first().ok_or_else(|| JobError::Discard("no variants were asked for".into()))?;
        let previews: Vec<serde_json::Value> = variants
            .iter()
            .zip(0..)
            .map(|(Variant { preview, .. }, variant): (_, u32)| {
                json!({"preview_id": preview.id, "seed": self.seed, "variant": variant, "duration_ms": preview.duration_ms})
            })
            .collect();
        let result = json!({
            "voice_id": voice.id, "name": voice.name, "language": self.language, "gender": designed.gender, "previews": previews,
            "understood_terms": designed.understood_terms, "ignored_terms": designed.ignored_terms,
            "model": self.models.as_ref().map(|models| &models.clone),
        });
        let now_ms = context.now_ms();
        let mut tx = context.begin_finish(Some(&result.to_string())).await?;
        let shown = VoicePreview { id: first.id, blob: first.blob.clone() };
        let profiles = first.profiles.as_deref().unwrap_or_default();
        let made = Made { voice_id: voice.id, job_id: context.fence().job_id, profiles, gender: None, preview: Some(&shown) };
        if !voices::set_made(&mut tx, &made, now_ms).await? {
            return Err(JobError::Discard("the voice was deleted, or made otherwise, meanwhile".into()));
        }
        for Variant { preview, .. } in variants {
            voice_previews::insert(&mut tx, preview).await?;
        }
        let data = json!({"name": voice.name, "previews": previews, "ignored_terms": designed.ignored_terms});
        lone::completed(&mut tx, context, data, now_ms).await?;
        context.commit(tx, "design.before_commit", "design.after_commit").await
    }

    /// As with clones: see [`crate::clone_voice::CloneVoice::ended`].
    pub(crate) async fn ended(&self, tx: &mut Tx, job_id: Uuid, end: End) -> Result<Vec<BlobKey>, StorageError> {
        if end == End::Failed || !voices::delete_unmade(tx, self.voice_id, job_id).await? {
            return Ok(Vec::new());
        }
        let voice_id = self.voice_id;
        Ok(self.preview_ids.iter().map(|id| BlobKey::VoicePreview { voice_id, preview_id: *id }).collect())
    }

    pub(crate) async fn can_run_again(&self, tx: &mut Tx, job_id: Uuid) -> Result<bool, StorageError> {
        Ok(voices::find_in(tx, self.voice_id).await?.is_some_and(|voice| voice.job_id == Some(job_id)))
    }
}
